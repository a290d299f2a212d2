//! A restore under other names: `--map` and `--into-schema`, over tables that are there and with tables that are made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod copies;
mod existing;
mod refused;
mod selected;

use support::{Database, Pgkeep, fixture, shared};

/// A database with this in it, a folder, and the archive of it.
pub fn archived(name: &str, major: Option<u32>, sql: &str) -> (Database<'static>, Pgkeep, String) {
    let database = shared(major).database(name);
    database.execute(sql);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup"]);
    let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
    (database, pgkeep, archive)
}

/// What the schema of `fixtures/odd_names.sql` needs beside it.
pub const SURROUNDINGS: &str = "
CREATE TYPE mood AS ENUM ('shop', 'items');
CREATE FUNCTION shop(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'shop.items' || $1 $$;
CREATE FUNCTION shop(integer) RETURNS integer IMMUTABLE LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION whole(anyelement) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT true $$;
";

/// That schema under a name, as SQL has it. Since 17 an exclusion constraint may be on a partitioned table.
pub fn odd(schema: &str, major: u32) -> String {
    let excluding = "
        CREATE TABLE {s}.spans (p int4range, b int4range, CONSTRAINT apart EXCLUDE USING gist (p WITH =, b WITH &&))
            PARTITION BY LIST (p);
        CREATE TABLE {s}.spans_1 PARTITION OF {s}.spans FOR VALUES IN ('[1,2)');
        CREATE TABLE {s}.spans_2 (b int4range, p int4range, CONSTRAINT \"its.own\" EXCLUDE USING gist (p WITH =, b WITH &&));
        ALTER TABLE {s}.spans ATTACH PARTITION {s}.spans_2 FOR VALUES IN ('[2,3)');
        INSERT INTO {s}.spans VALUES ('[1,2)', '[1,5)'), ('[1,2)', '[5,6)'), ('[2,3)', '[5,6)');";
    let more = if major >= 17 { excluding } else { "" };
    (fixture("odd_names.sql") + more).replace("{s}", schema)
}

/// How often rows of a query come back.
pub fn count(database: &Database<'_>, from: &str) -> u64 {
    database.value(&format!("SELECT count(*)::text FROM {from}")).parse().unwrap()
}
