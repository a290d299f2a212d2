"""Runs pgkeep and pg_dump alternately on the databases that bench/run prepared, and prints what they took.

Every number is the median of its runs; each pair of programs takes turns, so that a slow minute of the machine
hurts both. Nothing is judged by time here but the table's last column: met or missed, against the targets that
the project has set itself.
"""

import argparse
import glob
import gzip
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

MB = 1_000_000


class Measured:
    """The end of a child process: seconds on the clock, CPU seconds, peak memory in bytes, standard output."""

    def __init__(self, command, environment=None):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            started = time.perf_counter()
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **(environment or {})}
            )
            # wait4 gives this child's own peak, where getrusage would give that of the largest so far.
            _, status, usage = os.wait4(child.pid, 0)
            self.seconds = time.perf_counter() - started
            child.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_seconds = usage.ru_utime + usage.ru_stime
            self.peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            out.seek(0)
            err.seek(0)
            self.stdout = out.read().decode()
            if child.returncode != 0:
                sys.exit(f"{' '.join(command)}: exit code {child.returncode}\n{self.stdout}{err.read().decode()}")


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.rows = []
        self.failures = []
        self.work = tempfile.mkdtemp(prefix="run-", dir=arguments.work)

    def pgkeep(self, url, *words):
        command = [self.arguments.pgkeep, "--dir", self.work, "--no-progress", "--json", *words]
        return Measured(command, {"PGKEEP_DATABASE_URL": url})

    def query(self, url, sql):
        command = [self.arguments.psql, "-X", "-At", "-d", url, "-c", sql]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def report(self, what, value, target="", met=None):
        verdict = "" if met is None else "met" if met else "MISSED"
        self.rows.append((what, value, target, verdict))
        print(f"  {what}: {value}" + (f"  ({target}: {verdict})" if target else ""), flush=True)

    def clean(self):
        """Removes what runs have left, so that the disk does not fill."""
        for folder in ("backups", "safety_backups", "summaries", "logs", "pg_dump"):
            shutil.rmtree(os.path.join(self.work, folder), ignore_errors=True)

    def only(self, folder):
        (path,) = glob.glob(os.path.join(self.work, folder, "*"))
        return path

    def dump(self):
        folder = os.path.join(self.work, "pg_dump")
        jobs = str(self.arguments.jobs)
        return Measured([self.arguments.pg_dump, "-Fd", "-j", jobs, "-f", folder, self.arguments.large]), folder

    # ------------------------------------------------------------------ the parts

    def backup(self):
        heading(f"backup of the large database, pgkeep and pg_dump -Fd -j{self.arguments.jobs} in turns")
        ours, theirs, fast = [], [], []
        sizes = {}
        # The first round is not counted: it finds the server's caches cold.
        for turn in range(self.arguments.runs + 1):
            self.clean()
            one = self.pgkeep(self.arguments.large, "backup")
            sizes["pgkeep"] = os.path.getsize(self.only("backups"))
            self.clean()
            two, folder = self.dump()
            sizes["pg_dump"] = folder_size(folder)
            self.clean()
            three = self.pgkeep(self.arguments.large, "backup", "--compress", "zstd")
            sizes["zstd"] = os.path.getsize(self.only("backups"))
            if turn > 0:
                ours.append(one)
                theirs.append(two)
                fast.append(three)
                print(f"  run {turn}: {one.seconds:.2f} s, {two.seconds:.2f} s, with zstd {three.seconds:.2f} s", flush=True)
        our_seconds, their_seconds, fast_seconds = median(ours), median(theirs), median(fast)
        ratio, size_ratio = their_seconds / our_seconds, sizes["pgkeep"] / sizes["pg_dump"]
        peak = max(run.peak_bytes for run in ours + fast)
        self.report("pgkeep backup (gzip)", f"{our_seconds:.2f} s, {sizes['pgkeep'] / MB:.1f} MB, {cpu(ours):.1f} s of CPU")
        self.report(
            f"pg_dump -Fd -j{self.arguments.jobs}",
            f"{their_seconds:.2f} s, {sizes['pg_dump'] / MB:.1f} MB, {cpu(theirs):.1f} s of CPU",
        )
        self.report("speed against pg_dump", f"{ratio:.2f} ×", "at least 1.3 ×", ratio >= 1.3)
        self.report("size against pg_dump", f"{size_ratio:.3f} ×", "at most 1.1 ×", size_ratio <= 1.1)
        self.report("pgkeep's peak memory", f"{peak / MB:.0f} MB", "under 150 MB", peak < 150 * MB)
        self.report("pgkeep backup --compress zstd", f"{fast_seconds:.2f} s, {sizes['zstd'] / MB:.1f} MB")

    def validate(self):
        heading("validate")
        for name, words in (("gzip", ()), ("zstd", ("--compress", "zstd"))):
            self.clean()
            self.pgkeep(self.arguments.large, "backup", *words)
            archive = self.only("backups")
            if name == "gzip":
                json_bytes = unpacked_size(archive)
                print(f"  the archive holds {json_bytes / MB:.0f} MB of JSON")
            runs = [self.pgkeep(self.arguments.large, "validate", archive) for _ in range(self.arguments.runs)]
            rate = json_bytes / median(runs) / MB
            met = ("at least 500 MB/s", rate >= 500) if name == "gzip" else ()
            self.report(f"pgkeep validate ({name})", f"{median(runs):.2f} s, {rate:.0f} MB/s of JSON", *met)

    def restore(self):
        heading("restore --safe over identical data")
        self.clean()
        self.pgkeep(self.arguments.large, "backup")
        archive = self.only("backups")
        runs = []
        for _ in range(min(self.arguments.runs, 3)):
            before = self.writes(self.arguments.large)
            runs.append(self.pgkeep(self.arguments.large, "restore", "--file", archive, "--safe", "--yes"))
            written = [now - then for now, then in zip(self.writes(self.arguments.large), before)]
            if any(written):
                self.failures.append(f"a restore over identical data wrote rows: inserted, updated, deleted {written}")
            shutil.rmtree(os.path.join(self.work, "safety_backups"), ignore_errors=True)
        self.report("pgkeep restore --safe", f"{median(runs):.1f} s")
        self.report("rows written by it", f"{sum(written)}", "none", not any(written))
        self.report("its peak memory", f"{max(run.peak_bytes for run in runs) / MB:.0f} MB")

    def small(self):
        heading("20 tables, 15,000 rows")
        self.clean()
        backups, restores = [], []
        for _ in range(self.arguments.runs + 1):
            self.clean()
            backups.append(self.pgkeep(self.arguments.small, "backup"))
            archive = self.only("backups")
            restores.append(self.pgkeep(self.arguments.small, "restore", "--file", archive, "--safe", "--yes"))
        seconds = median(backups[1:])
        self.report("small: backup", f"{seconds:.3f} s", "under 0.5 s", seconds < 0.5)
        seconds = median(restores[1:])
        self.report("small: restore --safe", f"{seconds:.3f} s", "under 1.5 s", seconds < 1.5)

    def many(self):
        heading("10,000 tables with 2 indexes each, pgkeep and pg_dump -s or psql -f in turns")
        arguments = self.arguments
        script = os.path.join(self.work, "many.sql")
        our_dumps, their_dumps, our_restores, their_restores = [], [], [], []
        for turn in range(arguments.runs + 1):
            self.clean()
            dumps = [
                self.pgkeep(arguments.many, "backup", "--schema-only"),
                Measured([arguments.pg_dump, "-s", "-f", script, arguments.many]),
            ]
            self.copy_anew()
            restores = [self.pgkeep(arguments.copy, "restore", "--file", self.only("backups"))]
            self.copy_anew()
            restores.append(Measured([arguments.psql, "-X", "-q", "-f", script, arguments.copy]))
            if turn > 0:
                our_dumps.append(dumps[0])
                their_dumps.append(dumps[1])
                our_restores.append(restores[0])
                their_restores.append(restores[1])
                seconds = [run.seconds for run in dumps + restores]
                print("  run {}: {:.2f} s, {:.2f} s; restored {:.2f} s, {:.2f} s".format(turn, *seconds), flush=True)
        ours, theirs = median(our_dumps), median(their_dumps)
        self.report("many: backup --schema-only", f"{ours:.2f} s")
        self.report("many: pg_dump -s", f"{theirs:.2f} s")
        self.report("speed against pg_dump -s", f"{theirs / ours:.2f} ×", "at least 2 ×", theirs / ours >= 2)
        ours, theirs = median(our_restores), median(their_restores)
        self.report("many: restore", f"{ours:.2f} s")
        self.report("many: psql -f", f"{theirs:.2f} s")
        self.report("speed against psql -f", f"{theirs / ours:.2f} ×", "at least 1 ×", theirs >= ours)
        self.drop_copy()

    def drop_copy(self):
        server, _, name = self.arguments.copy.rpartition("/")
        self.query(server + "/postgres", f'DROP DATABASE IF EXISTS "{name}"')

    def copy_anew(self):
        self.drop_copy()
        server, _, name = self.arguments.copy.rpartition("/")
        self.query(server + "/postgres", f'CREATE DATABASE "{name}" TEMPLATE template0')

    def writes(self, url):
        # A session's counts reach the statistics when it ends, and up to a second later before Postgres 15.
        time.sleep(1.5)
        sums = "sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del)"
        return [int(n) for n in self.query(url, f"SELECT {sums} FROM pg_stat_user_tables").split("|")]

    # ------------------------------------------------------------------ the report

    def setting(self):
        arguments = self.arguments
        rows, text_bytes = self.query(
            arguments.large,
            "SELECT sum(reltuples)::bigint, pg_size_pretty(sum(pg_table_size(oid))) FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
        ).split("|")
        version = subprocess.run([arguments.pgkeep, "--version"], capture_output=True, text=True).stdout.strip()
        return [
            f"{version or 'pgkeep'}; Postgres {self.query(arguments.large, 'SHOW server_version')}, same machine",
            f"{processor()}, {os.cpu_count()} cores, {memory()}; {platform.system()} {platform.release().split('-')[0]}",
            f"scale {arguments.scale}: {round(int(rows), -3):,} rows in 8 tables, {text_bytes} in the server; "
            f"medians of {arguments.runs} runs",
        ]

    def table(self):
        rows = [("what", "measured", "target", ""), *self.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
        lines.insert(1, "| " + " | ".join("-" * max(width, 3) for width in widths) + " |")
        return lines


def heading(text):
    print(f"\n== {text}", flush=True)


def median(runs):
    return statistics.median(run.seconds for run in runs)


def cpu(runs):
    return statistics.median(run.cpu_seconds for run in runs)


def folder_size(folder):
    return sum(entry.stat().st_size for entry in os.scandir(folder))


def unpacked_size(path):
    """What a gzip file of any number of members holds, without trusting the program that wrote it."""
    total = 0
    with gzip.open(path) as file:
        while piece := file.read(1 << 20):
            total += len(piece)
    return total


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def memory():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{pages / 2**30:.0f} GiB of memory"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("pgkeep", "pg-dump", "psql", "scale", "large", "small", "many", "copy", "work"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="of pg_dump; pgkeep runs with its defaults")
    parser.add_argument("--only", default="backup,validate,restore,small,many")
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()

    bench = Bench(arguments)
    try:
        setting = bench.setting()
        print("\n".join(setting))
        for part in arguments.only.split(","):
            getattr(bench, part)()
    finally:
        shutil.rmtree(bench.work, ignore_errors=True)
    table = bench.table()
    print("\n" + "\n".join(table))
    if arguments.save:
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "RESULTS.md")
        with open(path, "w") as file:
            file.write("# What bench/run measured\n\n")
            file.write("Made by `bench/run --save`; every time is a median, pgkeep and pg_dump took turns.\n\n")
            file.write("".join(f"- {line}\n" for line in setting) + "\n" + "\n".join(table) + "\n")
        print(f"\nsaved in {path}")
    if bench.failures:
        sys.exit("\n".join(bench.failures))


if __name__ == "__main__":
    main()
