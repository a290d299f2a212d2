"""Part `entity`: one wedding of 1,000 rows out of a business of 10 million."""

import json

from . import targets
from .process import Failed
from .workbench import Contestant

ROWS = 1000
NEEDED = 1


def entity(bench):
    if not bench.knows("backup", "--entity"):
        bench.skip(targets.ENTITY, "this pgkeep has no backup --entity")
        return
    weddings = max(100, round(10_000 * float(bench.scale)))
    name = bench.databases.made("weddings", "generate_weddings.sql", weddings=weddings)
    rounds = 4 * bench.runs
    # Another wedding each time, whose pages nobody has read.
    wanted = iter([int(n * 0.618034 % 1 * weddings) for n in range(rounds + 1)])

    def one_wedding():
        wedding = next(wanted)
        run = bench.backup(name, "--entity", f"weddings={wedding}")
        rows = json.loads(run.output)["rows"]
        if rows != ROWS + NEEDED:
            raise Failed(f"backup --entity weddings={wedding} took {rows} rows, not {ROWS + NEEDED}")
        return run

    bench.turns(rounds, [Contestant(targets.ENTITY, one_wedding)])
