"""Parts `small` and `many`: start-up, round trips and the catalog, where the rows cost little."""

import os

from . import targets
from .workbench import Contestant


def small(bench):
    archive = bench.kept_backup(bench.small)
    file = os.path.join(bench.work, "pg_dump")
    peer = [bench.pg_dump.path, "-Fc", "-f", file, bench.databases.url(bench.small)]

    def dumped():
        run = bench.server.watch(peer)
        os.remove(file)
        return run

    bench.turns(
        4 * bench.runs,
        [
            Contestant(targets.SMALL, lambda: bench.backup(bench.small)),
            Contestant(targets.SMALL_PG_DUMP, dumped),
            Contestant(
                targets.SMALL_RESTORE,
                lambda: bench.pgkeep(bench.small, "restore", "--file", archive, "--safe", "--yes"),
            ),
        ],
    )
    bench.discard_kept()


def many(bench):
    script = os.path.join(bench.work, "many.sql")
    url = bench.databases.url(bench.many)
    schema_archive = bench.kept_backup(bench.many, "--schema-only")

    def restored():
        bench.databases.renew("copy")
        return bench.pgkeep("copy", "restore", "--file", schema_archive)

    def peer_restored():
        bench.databases.renew("copy")
        return bench.server.watch([bench.databases.psql, "-X", "-q", "-f", script, bench.databases.url("copy")])

    bench.turns(
        bench.runs,
        [
            Contestant(targets.MANY, lambda: bench.backup(bench.many)),
            Contestant(targets.MANY_PG_DUMP, lambda: bench.dump(bench.many)),
            Contestant(targets.MANY_SCHEMA, lambda: bench.backup(bench.many, "--schema-only")),
            Contestant(
                targets.MANY_PG_DUMP_SCHEMA, lambda: bench.server.watch([bench.pg_dump.path, "-s", "-f", script, url])
            ),
            Contestant(targets.MANY_RESTORE, restored),
            Contestant(targets.MANY_PSQL, peer_restored),
        ],
    )
    bench.databases.drop("copy")
    bench.discard_kept()
