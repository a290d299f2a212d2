"""What the parts work with: the programs, the databases, a folder, and turns."""

import glob
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from typing import Callable

from .databases import Databases
from .process import Failed, Run, Server
from .series import Series, clock


@dataclass(frozen=True)
class Contestant:
    """One program in a round. `check` looks at what came of it, outside of the time; it is told the first round."""

    label: str
    measure: Callable[[], Run]
    check: Callable[[bool], None] = lambda first: None


class Program:
    """A pg_dump or pg_restore."""

    def __init__(self, path):
        self.path = path
        answer = subprocess.run([path, "--version"], check=True, capture_output=True, text=True).stdout
        self.version = re.search(r"\d+(\.\d+)*", answer).group()

    def age(self):
        return [int(number) for number in self.version.split(".")]

    def compresses(self, method, url):
        """Whether this build knows a method: an older major does not, and a newer one may lack the library."""
        command = [self.path, "-Fc", "-s", f"--compress={method}", url]
        return subprocess.run(command, capture_output=True).returncode == 0


class Workbench:
    def __init__(self, arguments):
        self.pgkeep_path = arguments.pgkeep
        self.runs = arguments.runs
        self.jobs = str(arguments.jobs)
        self.scale = arguments.scale
        self.databases = Databases(arguments.psql, arguments.server)
        self.server = Server(arguments.server_pid, self.databases.backend)
        self.pg_dump = Program(os.path.join(arguments.postgres, "pg_dump"))
        self.pg_restore = Program(os.path.join(arguments.postgres, "pg_restore"))
        peers = [Program(path) for path in arguments.peer if os.path.exists(path)]
        self.dumps = sorted([self.pg_dump, *peers], key=Program.age, reverse=True)

        self.large = self.databases.made("bench", "generate.sql", scale=self.scale)
        self.small = self.databases.made("small", "generate_small.sql")
        # Fewer for a trial, so that it is one.
        self.many_tables = max(100, min(10_000, round(10_000 * float(self.scale))))
        self.many = self.databases.made("many", "generate_many.sql", tables=self.many_tables)

        # What sources hold, which does not change.
        self.expected = {}
        self.series = {}
        # What the part `growth` has measured, for its plot.
        self.points = []
        self.skipped = {}
        self.failures = []
        # A run that was killed has left its folder. No other runs beside this one: the server's data is locked.
        for stale in glob.glob(os.path.join(arguments.work, "run-*")):
            shutil.rmtree(stale, ignore_errors=True)
        self.work = tempfile.mkdtemp(prefix="run-", dir=arguments.work)
        self.kept = os.path.join(self.work, "kept")

    def close(self):
        shutil.rmtree(self.work, ignore_errors=True)
        self.databases.drop("copy")

    # ------------------------------------------------------------------ programs

    def pgkeep(self, name, *words):
        command = [self.pgkeep_path, "--dir", self.work, "--no-progress", "--json", *words]
        return self.server.watch(command, {"PGKEEP_DATABASE_URL": self.databases.url(name)})

    def backup(self, name, *words, jobs=None):
        """pgkeep's, into a folder that `clear` empties."""
        run = self.pgkeep(name, "backup", "--jobs", jobs or self.jobs, *words)
        return replace(run, size=os.path.getsize(self.only("backups")))

    def dump(self, name, *words, program=None, jobs=None):
        """A pg_dump into a folder, by several workers."""
        folder = os.path.join(self.work, "pg_dump")
        path = (program or self.pg_dump).path
        run = self.server.watch([path, "-Fd", "-j", jobs or self.jobs, "-f", folder, *words, self.databases.url(name)])
        return replace(run, size=sum(entry.stat().st_size for entry in os.scandir(folder)))

    def newest(self, method):
        """The newest pg_dump at hand that compresses so, or None."""
        url = self.databases.url(self.small)
        return next((program for program in self.dumps if program.compresses(method, url)), None)

    def knows(self, command, flag):
        words = [self.pgkeep_path, command, "--help"]
        return flag in subprocess.run(words, check=True, capture_output=True, text=True).stdout

    # ------------------------------------------------------------------ files

    def clear(self):
        """Removes what a run has left, so that the disk does not fill."""
        for folder in ("backups", "safety_backups", "summaries", "logs", "pg_dump"):
            shutil.rmtree(os.path.join(self.work, folder), ignore_errors=True)

    def only(self, folder):
        (path,) = glob.glob(os.path.join(self.work, folder, "*"))
        return path

    def keep(self, path, name):
        """Takes a backup or dump away to where `clear` leaves it."""
        os.makedirs(self.kept, exist_ok=True)
        kept = os.path.join(self.kept, name)
        os.rename(path, kept)
        return kept

    def kept_backup(self, name, *words):
        """An archive of that database for a part to read, by pgkeep's defaults and these words."""
        self.clear()
        self.backup(name, *words)
        path = self.only("backups")
        return self.keep(path, os.path.basename(path))

    def discard_kept(self):
        shutil.rmtree(self.kept, ignore_errors=True)

    # ------------------------------------------------------------------ measuring

    def turns(self, rounds, contestants, warm_up=True):
        """Lets programs take turns, so that a slow minute of the machine hurts them all.

        A first round is not counted: it finds the caches cold.
        """
        for turn in range(0 if warm_up else 1, rounds + 1):
            line = []
            for contestant in contestants:
                self.clear()
                run = contestant.measure()
                contestant.check(turn == (0 if warm_up else 1))
                line.append(f"{contestant.label} {clock(run.seconds)}")
                if turn > 0:
                    self.series.setdefault(contestant.label, Series()).runs.append(run)
            if rounds <= 10:
                print(f"  {f'round {turn}' if turn else 'not counted'}: " + ", ".join(line), flush=True)
        self.clear()

    def skip(self, label, why):
        """Says why a target of that label is not judged."""
        self.skipped[label] = why
        print(f"  {label}: skipped, {why}", flush=True)

    def compare(self, source, copy, hashes):
        """Demands that a copy holds what its source holds."""
        if (source, hashes) not in self.expected:
            self.expected[source, hashes] = self.databases.contents(source, hashes)
        if self.expected[source, hashes] != self.databases.contents(copy, hashes):
            raise Failed(f"a restored copy differs from its source in {'rows' if hashes else 'counts of rows'}")
        if hashes and self.definitions(source) != self.definitions(copy):
            raise Failed("a restored copy differs from its source in definitions")

    def definitions(self, name):
        script = subprocess.run(
            [self.pg_dump.path, "-s", self.databases.url(name)], check=True, capture_output=True, text=True
        ).stdout
        # A word of pg_dump's that is another one each time.
        return [line for line in script.splitlines() if not re.match(r"\\(un)?restrict ", line)]
