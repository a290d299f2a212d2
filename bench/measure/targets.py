"""What the project wants to reach: each row says what, against what, and which ratio is wanted.

A row names measured series by their labels, as the parts give them; nothing else judges.
"""

import operator
from dataclasses import dataclass
from typing import Callable

from .series import MB, clock, megabytes


@dataclass(frozen=True)
class Quantity:
    """What is judged of a series, mostly as a ratio to another one's."""

    name: str
    of: Callable
    show: Callable


@dataclass(frozen=True)
class Bound:
    sign: str
    limit: float

    def holds(self, value):
        return {"≥": operator.ge, "≤": operator.le, "<": operator.lt, "=": operator.eq}[self.sign](value, self.limit)


@dataclass(frozen=True)
class Target:
    what: str
    quantity: Quantity
    bound: Bound
    against: str | None = None
    aim: float | None = None

    def value(self, series):
        """The measured value, or None where one of the series was not measured."""
        if self.what not in series or (self.against and self.against not in series):
            return None
        return self.quantity.of(series[self.what], series.get(self.against))

    def wanted(self):
        aim = f", aim {self.quantity.show(self.aim)}" if self.aim else ""
        return f"{self.bound.sign} {self.quantity.show(self.bound.limit)}{aim}"


def at_least(limit):
    return Bound("≥", limit)


def at_most(limit):
    return Bound("≤", limit)


def below(limit):
    return Bound("<", limit)


def exactly(limit):
    return Bound("=", limit)


def times(ratio):
    return f"{ratio:.2f} ×"


def finely(ratio):
    return f"{ratio:.3f} ×"


SPEED = Quantity("speed", lambda our, their: their.seconds / our.seconds, times)
TIME = Quantity("time", lambda our, their: our.seconds / their.seconds, times)
SIZE = Quantity("size", lambda our, their: our.size / their.size, finely)
SERVER_CPU = Quantity("server's CPU", lambda our, their: our.server_cpu / max(their.server_cpu, 0.01), times)
PEAK_RATIO = Quantity("peak memory", lambda our, their: our.peak_bytes / their.peak_bytes, times)
PEAK = Quantity("peak memory", lambda our, _: our.peak_bytes, megabytes)
SECONDS = Quantity("time", lambda our, _: our.seconds, clock)
ROWS_WRITTEN = Quantity("rows written", lambda our, _: our.rows_written, str)
RATE = Quantity("JSON a second", lambda our, _: our.size / our.seconds, lambda rate: f"{rate / MB:,.0f} MB/s")

GZIP = "backup, gzip"
GZIP_1 = "backup, gzip:1"
ZSTD = "backup, zstd"
PG_DUMP = "pg_dump -Fd"
EVENTS_GZIP = "backup of events, gzip"
EVENTS_ZSTD = "backup of events, zstd"
PG_DUMP_EVENTS = "pg_dump -Fd of events"
READINGS_GZIP = "backup of readings, gzip"
READINGS_ZSTD = "backup of readings, zstd"
PG_DUMP_READINGS = "pg_dump -Fd of readings"
RESTORE = "restore to empty"
PG_RESTORE = "pg_restore"
SAFE = "restore --safe, no change"
SAFE_BACKUP = "backup before it, gzip"
DIFF = "diff with the database, no change"
DRY_RUN = "restore --dry-run, no change"
DIFF_FLOOR = "validate, then COPY of every table"
VALIDATE_GZIP = "validate, gzip"
VALIDATE_ZSTD = "validate, zstd"
SHOW_ROW = "show one row by serial id"
ENTITY = "backup of one entity"
VERSION = "--version"
SMALL = "small: backup"
SMALL_PG_DUMP = "small: pg_dump -Fc"
SMALL_RESTORE = "small: restore --safe"
MANY = "many: backup"
MANY_PG_DUMP = "many: pg_dump -Fd"
MANY_SCHEMA = "many: backup --schema-only"
MANY_PG_DUMP_SCHEMA = "many: pg_dump -s"
MANY_RESTORE = "many: restore of definitions"
MANY_PSQL = "many: psql -f"


def newest(method, table=None):
    """The label of the newest pg_dump with a method of compression."""
    return f"newest pg_dump, {method}" + (f", of {table}" if table else "")


def grown(program, size, jobs=2):
    """The label of a program in the part `growth`."""
    return f"{program}, {size}, {jobs} job{'s' if jobs > 1 else ''}"


TARGETS = [
    Target(GZIP, SPEED, at_least(2.0), PG_DUMP),
    Target(GZIP, SIZE, at_most(1.05), PG_DUMP),
    Target(GZIP, SERVER_CPU, at_most(0.8), PG_DUMP),
    Target(GZIP_1, SPEED, at_least(1.05), newest("gzip:1")),
    Target(GZIP_1, SIZE, at_most(1.0), newest("gzip:1")),
    Target(ZSTD, SPEED, at_least(3.3), PG_DUMP),
    Target(ZSTD, SIZE, below(1.0), PG_DUMP),
    Target(ZSTD, SPEED, at_least(1.0), newest("zstd:1"), aim=1.2),
    Target(ZSTD, SPEED, at_least(1.0), newest("lz4"), aim=1.2),
    Target(ZSTD, SPEED, at_least(1.0), newest("none"), aim=1.2),
    Target(ZSTD, SERVER_CPU, at_most(0.8), newest("zstd:1")),
    Target(EVENTS_GZIP, SPEED, at_least(2.5), PG_DUMP_EVENTS),
    Target(EVENTS_ZSTD, SPEED, at_least(1.4), newest("zstd:1", "events")),
    Target(READINGS_GZIP, SPEED, at_least(2.5), PG_DUMP_READINGS),
    Target(READINGS_ZSTD, SPEED, at_least(1.4), newest("zstd:1", "readings")),
    Target(RESTORE, SPEED, at_least(1.3), PG_RESTORE),
    Target(SAFE, TIME, at_most(4.0), SAFE_BACKUP),
    Target(SAFE, ROWS_WRITTEN, exactly(0)),
    Target(MANY, SPEED, at_least(2.0), MANY_PG_DUMP),
    Target(MANY_SCHEMA, SPEED, at_least(2.0), MANY_PG_DUMP_SCHEMA),
    Target(MANY_RESTORE, SPEED, at_least(1.0), MANY_PSQL),
    Target(SMALL, SPEED, at_least(1.0), SMALL_PG_DUMP),
    Target(SMALL, SECONDS, below(0.5)),
    Target(SMALL_RESTORE, SECONDS, below(1.5)),
    *(Target(label, PEAK, at_most(100 * MB)) for label in (GZIP, GZIP_1, ZSTD, RESTORE, SAFE, VALIDATE_GZIP)),
    Target(VALIDATE_GZIP, RATE, at_least(1000 * MB)),
    Target(VALIDATE_ZSTD, RATE, at_least(1000 * MB)),
    Target(DIFF, TIME, at_most(1.5), DIFF_FLOOR),
    Target(DRY_RUN, TIME, at_most(1.5), DIFF_FLOOR),
    Target(DIFF, ROWS_WRITTEN, exactly(0)),
    Target(DRY_RUN, ROWS_WRITTEN, exactly(0)),
    Target(SHOW_ROW, SECONDS, below(0.020)),
    Target(VERSION, SECONDS, below(0.010)),
    Target(ENTITY, SECONDS, below(2.0)),
]

# Judged by the part `growth` alone. Equal memory means no more than an allocator's chance.
GROWTH_TARGETS = [
    target
    for program in (GZIP, ZSTD, RESTORE)
    for target in (
        Target(grown(program, "10 GB"), PEAK, at_most(100 * MB)),
        Target(grown(program, "10 GB"), PEAK_RATIO, at_most(1.1), grown(program, "1 GB")),
    )
]
