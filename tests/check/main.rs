//! `pgkeep check`, and the same checks before a backup and within a restore.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backups;
mod baselines;
mod command;
mod exists;
mod refused;
mod restores;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use support::{Database, Pgkeep, fixture, shared};

/// A database with the booking business, and a folder whose `pgkeep.toml` has what must hold of it.
pub fn reservations(name: &str) -> (Database<'static>, Pgkeep) {
    let database = shared(None).database(name);
    database.execute(&fixture("reservations.sql"));
    let pgkeep = Pgkeep::on(&database.url);
    configure(&pgkeep, &fixture("checks.toml"));
    (database, pgkeep)
}

/// An empty database, and a folder with this `pgkeep.toml`.
pub fn with_checks(name: &str, toml: &str) -> (Database<'static>, Pgkeep) {
    let database = shared(None).database(name);
    let pgkeep = Pgkeep::on(&database.url);
    configure(&pgkeep, toml);
    (database, pgkeep)
}

pub fn configure(pgkeep: &Pgkeep, toml: &str) {
    std::fs::write(pgkeep.dir().join("pgkeep.toml"), toml).unwrap();
}

/// A check as the file has it; without an expectation none.
pub fn check(name: &str, sql: &str, expect: &str) -> String {
    let expect = if expect.is_empty() { String::new() } else { format!("expect = {expect}\n") };
    format!("[[check]]\nname = '{name}'\nsql = '''{sql}'''\n{expect}")
}

/// The one of this name in the report.
pub fn outcome<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

pub fn error<'a>(report: &'a Value, name: &str) -> &'a str {
    outcome(report, name)["error"].as_str().unwrap_or_default()
}

/// Bookings go, and the trigger gives their seats back.
pub const DAMAGE: &str = "DELETE FROM bookings WHERE reference < 'BK-3'";
