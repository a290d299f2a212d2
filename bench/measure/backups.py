"""Parts `backup` and `table`: the whole large database, and one big table of it alone."""

from . import targets
from .workbench import Contestant


def backup(bench):
    large = bench.large
    contestants = [
        Contestant(targets.GZIP, lambda: bench.backup(large)),
        Contestant(targets.PG_DUMP, lambda: bench.dump(large)),
        Contestant(targets.GZIP_1, lambda: bench.backup(large, "--compress", "gzip:1")),
        *newest(bench, "gzip:1"),
        Contestant(targets.ZSTD, lambda: bench.backup(large, "--compress", "zstd")),
    ]
    for method in ("zstd:1", "lz4", "none"):
        contestants += newest(bench, method)
    bench.turns(bench.runs, contestants)


def newest(bench, method, table=None):
    """The newest pg_dump that has a method, as a contestant; none if there is no such program."""
    label = targets.newest(method, table)
    program = bench.newest(method)
    if program is None:
        bench.skip(label, f"no pg_dump at hand has {method}")
        return []
    words = [f"--compress={method}", *(["-t", f"public.{table}"] if table else [])]
    return [Contestant(label, lambda: bench.dump(bench.large, *words, program=program))]


def table(bench):
    # The widest of the data set and the narrowest, which are its two largest.
    labels = {
        "events": (targets.EVENTS_GZIP, targets.PG_DUMP_EVENTS, targets.EVENTS_ZSTD),
        "readings": (targets.READINGS_GZIP, targets.PG_DUMP_READINGS, targets.READINGS_ZSTD),
    }
    contestants = []
    for name, (gzip, pg_dump, zstd) in labels.items():
        words = ["--table", f"public.{name}"]
        contestants += [
            Contestant(gzip, lambda words=words: bench.backup(bench.large, *words)),
            Contestant(pg_dump, lambda name=name: bench.dump(bench.large, "-t", f"public.{name}")),
            Contestant(zstd, lambda words=words: bench.backup(bench.large, *words, "--compress", "zstd")),
            *newest(bench, "zstd:1", name),
        ]
    bench.turns(bench.runs, contestants)
