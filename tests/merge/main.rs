//! How archived rows meet live ones, seen beforehand and done: every mode on random databases against a model in memory,
//! `diff` of archives and of databases, and which rows and columns are chosen or were taken by a backup.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod chosen;
mod conflicts;
mod model;
mod seen;
mod taken;

use std::collections::BTreeMap;

use model::{Counts, Decided, State};
use serde_json::Value;
use support::{Database, Numbers, Pgkeep, majors, shared};

/// What `[merge]` says in these tests.
pub const RULES: &str = "
[merge.guests]
newer_by = 'version'
[merge.bookings]
newer_by = ['no_such_column', 'updated_at']
status_rank = ['pending', ['confirmed', 'cancelled'], 'completed']
";

const MODES: [&str; 4] = ["upsert", "exact", "missing", "newer"];

/// The program with those rules beside it.
fn keeper(database: &Database<'_>) -> Pgkeep {
    let pgkeep = Pgkeep::on(&database.url);
    std::fs::write(pgkeep.dir().join("pgkeep.toml"), RULES).unwrap();
    pgkeep
}

/// inserted, updated, deleted, unchanged, kept, and what was decided.
fn said(table: &Value) -> (Counts, BTreeMap<String, (u64, u64)>) {
    let counts = ["inserted", "updated", "deleted", "unchanged", "kept"]
        .map(|key| table.get(key).map_or(0, |n| n.as_u64().unwrap()));
    let rules = table.get("conflicts").and_then(Value::as_object).cloned().unwrap_or_default();
    let sides = |v: &Value| (v["archive"].as_u64().unwrap(), v["target"].as_u64().unwrap());
    (counts, rules.iter().map(|(rule, v)| (rule.clone(), sides(v))).collect())
}

fn check(what: &str, tables: &Value, should: &BTreeMap<&str, (Counts, Decided)>) {
    for (table, (counts, decided)) in should {
        let found = said(&tables[table]);
        let decided: BTreeMap<String, (u64, u64)> =
            decided.iter().map(|(r, n)| ((*r).to_owned(), *n)).collect();
        assert_eq!(found, (*counts, decided), "{what}: {table} of {tables:#}");
    }
}

#[test]
fn every_mode_makes_of_random_databases_what_the_model_says_and_says_so_before_and_after() {
    for (seed, major) in majors().into_iter().enumerate() {
        let database = shared(Some(major)).database("modes");
        database.execute(model::TABLES);
        let mut numbers = Numbers(0x2545_F491_4F6C_DD1D ^ (seed as u64 + 1));
        for round in 0..3 {
            let archived = State::random(&mut numbers);
            let mut live = archived.clone();
            (0..30 + numbers.below(90)).for_each(|_| live.edit(&mut numbers));
            let pgkeep = keeper(&database);
            database.execute(&archived.sql());
            pgkeep.ok(&["backup", "--out", "archived.json.gz"]);
            database.execute(&live.sql());
            pgkeep.ok(&["backup", "--out", "live.json.zst"]);
            for mode in MODES {
                let what = format!("{major}, round {round}, {mode}");
                let (result, should) = model::restored(&archived, &live, mode);
                let flags = ["--json", "--mode", mode];
                let restore = |how: &str| {
                    pgkeep.ok(&[&["restore", how, "--file", "archived.json.gz"], &flags[..]].concat()).json()
                };
                let dry = restore("--dry-run");
                check(&format!("{what}, dry run"), &dry["tables"], &should);
                assert_eq!(
                    database.value(model::SHOWN),
                    live.shown(),
                    "{what}: a dry run has changed something"
                );
                // Both archives, without a server.
                let diff = pgkeep.ok(&[
                    &["diff", "archived.json.gz", "live.json.zst", "-d", "postgres://127.0.0.1:1/x"],
                    &flags[..],
                ]
                .concat());
                if mode == "exact" || mode == "newer" {
                    let mut should = should.clone();
                    if mode == "newer" {
                        // Rows that only the other side has are said, too.
                        let exact = model::restored(&archived, &live, "exact").1;
                        should.iter_mut().for_each(|(table, (counts, _))| counts[2] = exact[table].0[2]);
                    }
                    check(&format!("{what}, diff"), &diff.json()["tables"], &should);
                    let diff = pgkeep.ok(&[&["diff", "archived.json.gz"], &flags[..]].concat());
                    check(&format!("{what}, diff live"), &diff.json()["tables"], &should);
                }
                let log = restore("--safe");
                check(&format!("{what}, log"), &log["tables_restored"], &should);
                assert_eq!(database.value(model::SHOWN), result.shown(), "{what}");
                pgkeep.ok(&["rollback", "latest"]);
                assert_eq!(database.value(model::SHOWN), live.shown(), "{what}, undone");
            }
        }
    }
}
