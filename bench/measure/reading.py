"""Parts `validate` and `show`: what is done with an archive alone, without a server."""

import gzip
import json
from dataclasses import replace

from . import targets
from .process import Failed
from .workbench import Contestant


def validate(bench):
    archive = bench.kept_backup(bench.large)
    fast = bench.kept_backup(bench.large, "--compress", "zstd")
    json_bytes = unpacked_size(archive)

    def proven(path):
        return replace(bench.pgkeep(bench.large, "validate", path), size=json_bytes)

    bench.turns(
        bench.runs,
        [
            Contestant(targets.VALIDATE_GZIP, lambda: proven(archive)),
            Contestant(targets.VALIDATE_ZSTD, lambda: proven(fast)),
        ],
    )
    bench.discard_kept()


def unpacked_size(path):
    """What a gzip file of any number of members holds, without trusting the program that wrote it."""
    total = 0
    with gzip.open(path) as file:
        while piece := file.read(1 << 20):
            total += len(piece)
    return total


def show(bench):
    # So short that a few runs would say little.
    rounds = 10 * bench.runs
    bench.turns(rounds, [Contestant(targets.VERSION, lambda: bench.pgkeep(bench.large, "--version"))])
    if not bench.knows("show", "--where-key"):
        bench.skip(targets.SHOW_ROW, "this pgkeep has no show --where-key")
        return
    archive = bench.kept_backup(bench.large)
    count = int(bench.databases.query(bench.large, "SELECT max(id) FROM events"))
    # Another row each time, all over the table: the golden ratio's multiples are spread evenly.
    wanted = iter([int(n * 0.618034 % 1 * count) + 1 for n in range(rounds + 1)])

    def one_row():
        key = next(wanted)
        run = bench.pgkeep(bench.large, "show", archive, "events", "--where-key", f"id={key}")
        rows = [json.loads(line) for line in run.output.splitlines()]
        if [row["id"] for row in rows] != [key]:
            raise Failed(f"show --where-key id={key} printed {len(rows)} rows, not the one")
        return run

    bench.turns(rounds, [Contestant(targets.SHOW_ROW, one_row)])
    bench.discard_kept()
