//! Rows that the target refuses are left out one by one (`restore --keep-going --reject-file`): the others are there, the
//! refused ones are in a file with the reasons, and come from there when the cause is removed.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod file;
mod fresh;
mod references;
mod roles;
mod staged;
#[path = "../support/mod.rs"]
mod support;
mod written;

use serde_json::Value;
use support::{Database, Pgkeep, Run, majors, shared};

pub const FILE: &str = "rejects.json.gz";

/// The servers that these tests are for.
pub fn servers() -> Vec<u32> {
    majors().into_iter().filter(|major| [13, 15, 18].contains(major)).collect()
}

/// A database with these tables, and an archive of it.
pub fn archived(major: u32, name: &str, sql: &str) -> (Database<'static>, Pgkeep, String) {
    let database = shared(Some(major)).database(name);
    database.execute(sql);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "archive.json.gz"]);
    (database, pgkeep, "archive.json.gz".to_owned())
}

/// Restores with a reject file.
pub fn restore(pgkeep: &Pgkeep, archive: &str, more: &[&str]) -> Run {
    let _ = std::fs::remove_file(pgkeep.dir().join(FILE));
    let flags = ["restore", "--safe", "--keep-going", "--reject-file", FILE, "--file", archive];
    pgkeep.run(&[&flags[..], more].concat())
}

/// inserted, updated, deleted, unchanged, errors
pub fn counts(log: &Value, table: &str) -> [u64; 5] {
    let of = &log["tables_restored"][table];
    ["inserted", "updated", "deleted", "unchanged", "errors"]
        .map(|key| of[key].as_u64().unwrap_or_else(|| panic!("{key} of {table} in {log:#}")))
}

/// The rows of a table in an archive, as JSON objects, a line each, in order.
pub fn rows(pgkeep: &Pgkeep, archive: &str, table: &str) -> Vec<String> {
    let shown = pgkeep.ok(&["show", archive, table]).stdout;
    let mut lines: Vec<String> = shown.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The values of a column of a table in an archive, as numbers.
pub fn ids(pgkeep: &Pgkeep, archive: &str, table: &str) -> Vec<i64> {
    let id = |line: &String| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64().unwrap();
    let mut ids: Vec<i64> = rows(pgkeep, archive, table).iter().map(id).collect();
    ids.sort_unstable();
    ids
}
