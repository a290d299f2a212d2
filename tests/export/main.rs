//! Nobody is locked in: what `export` writes, other programs read. psql and pg_dump judge scripts, the server's own
//! `COPY … TO … (FORMAT csv, HEADER)` judges CSV.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod csv;
#[path = "../schema/fixture.rs"]
mod fixture;
mod hostile;
mod script;
mod selection;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;

use support::{Client, Database, Pgkeep};

/// psql and pg_dump for a server of this major, or of the one that all tests run on. Without them there is no judge, and
/// the test fails.
pub fn judge(major: u32) -> Client {
    Client::for_server(major).expect("psql and pg_dump are there: scripts/postgres-client fetches them")
}

/// A backup of the database, and the folder in which pgkeep runs.
pub fn backed_up(database: &Database<'_>) -> (Pgkeep, PathBuf) {
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup"]);
    let archive = pgkeep.only_file("backups");
    (pgkeep, archive)
}

/// Standard output of `pgkeep export` with these arguments behind the archive.
pub fn exported(pgkeep: &Pgkeep, archive: &std::path::Path, arguments: &[&str]) -> String {
    let all = [&["export", archive.to_str().unwrap()], arguments].concat();
    pgkeep.ok(&all).stdout
}
