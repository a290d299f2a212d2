"""Child processes and what they cost, here and in the server."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace

LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py")
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """Something is wrong, not slow. Ends the part that it happens in, and in the end the exit code is 1."""


@dataclass(frozen=True)
class Run:
    """One run of a program. Of one with several processes, the peak is that of the largest."""

    seconds: float
    client_cpu: float
    peak_bytes: int
    output: str = ""
    server_cpu: float = 0.0
    # Of what it wrote, or of what it read, as the part says.
    size: int | None = None
    rows_written: int | None = None


def run_child(command, environment=None):
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        tempfile.NamedTemporaryFile(mode="r") as report,
    ):
        launched = subprocess.run(
            [sys.executable, "-I", "-S", LAUNCHER, report.name, *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, **(environment or {})},
        )
        out.seek(0)
        err.seek(0)
        output, errors = out.read().decode(), err.read().decode()
        if launched.returncode != 0:
            raise Failed(f"{command[0]} could not be run\n{errors}")
        code, seconds, cpu, peak = report.read().split()
        if code != "0":
            raise Failed(f"{' '.join(command)}: exit code {code}\n{output}{errors}")
    return Run(float(seconds), float(cpu), int(peak), output)


class Server:
    """The server's processes, as /proc shows them.

    Backends are children of the postmaster, whoever's connections they serve; once they have ended and been waited
    for, their CPU time is part of the postmaster's own account.
    """

    def __init__(self, pid, probe_backend):
        """`probe_backend` opens a connection, closes it and says which process served it."""
        self.pid = pid
        backend = probe_backend()
        deadline = time.monotonic() + 30
        while backend in self.children():
            if time.monotonic() > deadline:
                raise Failed(f"backend {backend} does not end")
            time.sleep(0.01)
        # What stays when nobody is connected: checkpointer, WAL writer and the like.
        self.permanent = self.children()

    def children(self):
        """Those that the postmaster has not waited for yet, the ended ones among them."""
        return {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self.parent_of(pid) == self.pid}

    @staticmethod
    def fields(pid):
        """The fields of /proc/PID/stat behind the name, so that the first is what proc(5) calls the third."""
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None

    def parent_of(self, pid):
        fields = self.fields(pid)
        return int(fields[1]) if fields else None

    def cpu_seconds(self):
        """Of all its processes so far, after every backend has ended."""
        deadline = time.monotonic() + 30
        while others := self.children() - self.permanent:
            if time.monotonic() > deadline:
                raise Failed(f"connections stay open, of the server's processes {sorted(others)}")
            time.sleep(0.01)
        # utime and stime of each, and cutime and cstime of the postmaster.
        ticks = sum(int(field) for field in self.fields(self.pid)[11:15])
        for pid in self.permanent:
            ticks += sum(int(field) for field in self.fields(pid)[11:13])
        return ticks / TICKS

    def watch(self, command, environment=None):
        """Runs a program and adds what it has cost the server."""
        before = self.cpu_seconds()
        run = run_child(command, environment)
        return replace(run, server_cpu=self.cpu_seconds() - before)
