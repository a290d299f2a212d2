"""The databases that are measured: made once, copied, counted, compared."""

import os
import subprocess
import time

from .process import Failed

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Databases:
    def __init__(self, psql, server):
        """`server` is the URL of the server, without a database."""
        self.psql = psql
        self.server = server.rstrip("/")

    def url(self, name):
        return f"{self.server}/{name}"

    def run(self, name, *words):
        command = [self.psql, "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", self.url(name), *words]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"psql in {name}: {done.stderr.strip()}")
        return done.stdout.strip()

    def query(self, name, sql):
        return self.run(name, "-c", sql)

    def backend(self):
        return int(self.query("postgres", "SELECT pg_backend_pid()"))

    def made(self, prefix, script, **variables):
        """The database that a script of this folder makes, made if it is not there.

        The script's checksum and the variables are part of its name, so that a changed one makes new data.
        """
        path = os.path.join(HERE, script)
        checksum = subprocess.run(["cksum", path], check=True, capture_output=True, text=True).stdout.split()[0]
        name = "_".join([prefix, *map(str, variables.values()), checksum])
        if not self.query("postgres", f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            print(f"\n== making the database {name}", flush=True)
            started = time.perf_counter()
            # Under another name until it is complete.
            self.renew("unfinished")
            settings = [word for pair in variables.items() for word in ("-v", "{}={}".format(*pair))]
            self.run("unfinished", *settings, "-f", path)
            self.query("postgres", f'ALTER DATABASE unfinished RENAME TO "{name}"')
            print(f"  {time.perf_counter() - started:.0f} s", flush=True)
        return name

    def renew(self, name):
        """An empty database of this name, with nothing left to be written of what was before."""
        self.drop(name)
        self.query("postgres", f'CREATE DATABASE "{name}" TEMPLATE template0')
        self.query("postgres", "CHECKPOINT")

    def drop(self, name):
        self.query("postgres", f'DROP DATABASE IF EXISTS "{name}"')

    def tables(self, name):
        sql = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'"
        return sorted(self.query(name, sql).splitlines())

    def reading(self, name):
        """A command that reads each table from its first row to its last, over one connection, and keeps nothing."""
        copies = [word for table in self.tables(name) for word in ("-c", f"COPY {table} TO STDOUT")]
        return [self.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-d", self.url(name), *copies]

    def contents(self, name, hashes):
        """The count of each table's rows, and with `hashes` a sum over them that does not depend on their order."""
        what = "count(*)"
        if hashes:
            what += ", coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)"
        return {table: self.query(name, f"SELECT {what} FROM {table} AS t") for table in self.tables(name)}

    def table_bytes(self, name):
        """What the rows take up in the server, without indexes."""
        sql = (
            "SELECT coalesce(sum(pg_table_size(c.oid)), 0) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE relkind = 'r' AND nspname !~ '^(pg_|information_schema)'"
        )
        return int(self.query(name, sql))

    def writes(self, name):
        """Rows inserted, updated and deleted in tables of this database so far."""
        # A session's counts reach the statistics when it ends, and up to a second later before Postgres 15.
        time.sleep(1.5)
        sql = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables"
        return int(self.query(name, sql))
