"""Part `diff`: what would change is said, and nothing does."""

import json
from dataclasses import replace

from . import targets
from .process import Failed
from .workbench import Contestant


def diff(bench):
    if not bench.knows("diff", "--sample"):
        bench.skip(targets.DIFF, "this pgkeep has no diff of rows")
        return
    archive = bench.kept_backup(bench.large)

    def said(*words):
        before = bench.databases.writes(bench.large)
        run = bench.pgkeep(bench.large, *words, "--jobs", bench.jobs)
        tables = json.loads(run.output)["tables"].values()
        differing = sum(t["inserted"] + t["updated"] + t["deleted"] for t in tables)
        if differing:
            raise Failed(f"{words[0]} finds {differing} rows that differ in identical data")
        return replace(run, rows_written=bench.databases.writes(bench.large) - before)

    def floor():
        """To validate the archive, then to read each table whole, as text, over one connection."""
        proven = bench.pgkeep(bench.large, "validate", archive)
        read = bench.server.watch(bench.databases.reading(bench.large))
        return replace(read, seconds=proven.seconds + read.seconds)

    bench.turns(
        bench.runs,
        [
            Contestant(targets.DIFF, lambda: said("diff", archive)),
            Contestant(targets.DRY_RUN, lambda: said("restore", "--dry-run", "--file", archive)),
            Contestant(targets.DIFF_FLOOR, floor),
        ],
    )
    bench.discard_kept()
