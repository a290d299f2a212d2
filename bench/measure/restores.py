"""Parts `restore` and `safe`: into an empty database, and over identical data."""

import json
import os
from dataclasses import replace

from . import targets
from .process import Failed
from .workbench import Contestant


def restore(bench):
    archive = bench.kept_backup(bench.large)
    bench.clear()
    bench.dump(bench.large)
    folder = bench.keep(os.path.join(bench.work, "pg_dump"), "dump")

    def compared(first):
        # Every row and every definition once; counts each time.
        bench.compare(bench.large, "copy", hashes=first)

    bench.turns(
        bench.runs,
        [
            Contestant(targets.RESTORE, lambda: restored(bench, archive, bench.jobs), compared),
            Contestant(targets.PG_RESTORE, lambda: peer_restored(bench, folder), compared),
        ],
    )
    bench.databases.drop("copy")
    bench.discard_kept()


def restored(bench, archive, jobs):
    """pgkeep's restore of an archive into a new database."""
    bench.databases.renew("copy")
    run = bench.pgkeep("copy", "restore", "--file", archive, "--jobs", jobs)
    if json.loads(run.output)["verified"] is not True:
        raise Failed("a restore into an empty database does not say that it was verified")
    return run


def peer_restored(bench, folder):
    bench.databases.renew("copy")
    return bench.server.watch(
        [bench.pg_restore.path, "-j", bench.jobs, "-d", bench.databases.url("copy"), folder]
    )


def safe(bench):
    archive = bench.kept_backup(bench.large)

    def over_identical():
        before = bench.databases.writes(bench.large)
        run = bench.pgkeep(
            bench.large, "restore", "--file", archive, "--safe", "--yes", "--jobs", bench.jobs
        )
        written = bench.databases.writes(bench.large) - before
        if written:
            bench.failures.append(f"a restore over identical data wrote {written} rows")
        return replace(run, rows_written=written)

    bench.turns(
        bench.runs,
        [
            Contestant(targets.SAFE_BACKUP, lambda: bench.backup(bench.large)),
            Contestant(targets.SAFE, over_identical),
        ],
    )
    bench.discard_kept()
