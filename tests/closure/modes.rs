//! An entity is restored into random databases that people have worked with: every mode makes of the whole database what the
//! model says, says so beforehand, and is undone.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use serde_json::Value;

use crate::model::{Counts, MODES, Restored, restored};
use crate::state::{Edit, State, edits};
use crate::support::{Database, Pgkeep, Run, majors, shared};
use crate::world::{World, worlds};

/// A database, what was done to it before the backup and after it, and how the entity is restored.
#[derive(Clone, Debug)]
struct Case {
    world: World,
    before: Vec<Edit>,
    since: Vec<Edit>,
    mode: &'static str,
}

const SCHEMA: &str = "w";

fn cases() -> impl Strategy<Value = Case> {
    (worlds(), edits(), edits(), prop::sample::select(&MODES[..]))
        .prop_map(|(world, before, since, mode)| Case { world, before, since, mode })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn an_entity_is_restored_as_the_model_says_in_every_mode_and_nothing_else_is_touched() {
    let all = number("PGKEEP_TEST_CASES").unwrap_or(24);
    let seeds = number("PGKEEP_TEST_SEED").map_or(0..all, |seed| seed..seed + 1);
    let majors = majors();
    let databases: Vec<Database<'_>> =
        majors.iter().map(|major| shared(Some(*major)).database("random_modes")).collect();
    for seed in seeds {
        let database = &databases[seed as usize % databases.len()];
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config =
            Config { cases: 1, max_shrink_iters: 40, failure_persistence: None, ..Config::default() };
        let held = TestRunner::new_with_rng(config, rng).run(&cases(), |case| {
            hold(database, &case);
            Ok(())
        });
        match held {
            Err(TestError::Fail(why, case)) => panic!("PGKEEP_TEST_SEED={seed}: {why}\nwith {case:?}"),
            held => held.unwrap(),
        }
    }
}

fn hold(database: &Database<'_>, case: &Case) {
    let Case { world, before, since, mode } = case;
    let pgkeep = Pgkeep::on(&database.url);
    let archived = world.state().after(world, before);
    let live = archived.clone().after(world, since);
    database.execute(&format!("SET client_min_messages = error; DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"));
    database.execute(&world.sql(SCHEMA));
    database.execute(&archived.instead(world, SCHEMA));
    pgkeep.ok(&["backup", "--out", "archived.json.gz"]);
    database.execute(&live.instead(world, SCHEMA));
    pgkeep.ok(&["backup", "--out", "live.json.gz"]);
    let damaged = database.digest();

    let chosen = chosen(world, &pgkeep);
    let run = |command: &[&str], mode: &str| {
        let by: &[&str] = if mode == "newer" { &["--newer-by", "version"] } else { &[] };
        let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
        pgkeep.run(&[command, &["--json", "--mode", mode], by, &chosen].concat())
    };
    let restore = |how: &str| run(&["restore", how, "--file", "archived.json.gz"], mode);
    let Some(expected) = restored(world, &archived, &live, mode) else {
        restore("--safe").expect_code(2).says("has the key");
        return assert_eq!(database.digest(), damaged);
    };
    check("a dry run", &restore("--dry-run").expect_code(0), "tables", &expected);
    // Rows that belong to it and are not archived are counted in mode newer, too.
    let exact = restored(world, &archived, &live, "exact").unwrap();
    let (mode_of_diff, counted) = match *mode {
        "newer" => ("newer", with_deleted(&expected, &exact)),
        _ => ("exact", exact),
    };
    let diff = run(&["diff", "archived.json.gz"], mode_of_diff).expect_code(0);
    check("diff", &diff, "tables", &counted);
    // Both archives, without a server.
    let away = ["diff", "archived.json.gz", "live.json.gz", "-d", "postgres://127.0.0.1:1/x"];
    check("diff of archives", &run(&away, mode_of_diff).expect_code(0), "tables", &counted);
    assert_eq!(database.digest(), damaged, "what only looks has changed something");
    if !expected.state.is_whole(world) {
        restore("--safe").expect_code(1).says("would refer to rows").says("rolled back");
        return assert_eq!(database.digest(), damaged, "a restore that failed");
    }
    check("the log", &restore("--safe").expect_code(0), "tables_restored", &expected);
    let found = database.digest();
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(database.digest(), damaged, "undone");
    database.execute(&expected.state.instead(world, SCHEMA));
    assert_eq!(found, database.digest(), "restored, and the model");
}

/// What says which rows.
fn chosen(world: &World, pgkeep: &Pgkeep) -> Vec<String> {
    let mut flags = Vec::new();
    for (table, row) in &world.roots {
        let root = format!("{SCHEMA}.t{table}={}", world.tables[*table].id(*row));
        flags.extend(["--entity".to_owned(), root]);
    }
    if world.narrow {
        let tables = (0..world.tables.len()).filter(|table| world.within[*table]);
        let tables: Vec<String> = tables.map(|table| format!("'{SCHEMA}.t{table}'")).collect();
        let groups = format!("[data_types]\nsome = [{}]\nnone = ['none.none']", tables.join(", "));
        std::fs::write(pgkeep.dir().join("pgkeep.toml"), groups).unwrap();
        let group = if tables.is_empty() { "none" } else { "some,none" };
        flags.extend(["--data-types".to_owned(), group.to_owned()]);
    }
    flags
}

/// The counts of `found`, with the rows that only the target has as `exact` counts them.
fn with_deleted(found: &Restored, exact: &Restored) -> Restored {
    let deleted = |(table, counts): (&usize, &Counts)| {
        let mut counts = *counts;
        counts[2] = exact.counts[table][2];
        (*table, counts)
    };
    Restored { state: State::default(), counts: found.counts.iter().map(deleted).collect() }
}

/// Holds what is said of each table to what should be.
fn check(what: &str, run: &Run, key: &str, should: &Restored) {
    let json = run.json();
    let tables = json[key].as_object().unwrap_or_else(|| panic!("{what}: {json:#}"));
    let counts = |table: &Value| -> Counts {
        ["inserted", "updated", "deleted", "unchanged", "kept"]
            .map(|key| table.get(key).map_or(0, |n| n.as_u64().unwrap()))
    };
    // A table of which nothing is to be said need not be named.
    let named = |all: BTreeMap<String, Counts>| -> BTreeMap<String, Counts> {
        all.into_iter().filter(|(_, counts)| *counts != [0; 5]).collect()
    };
    let found = tables.iter().map(|(table, said)| (table.clone(), counts(said))).collect();
    let should =
        should.counts.iter().map(|(table, counts)| (format!("{SCHEMA}.t{table}"), *counts)).collect();
    assert_eq!(named(found), named(should), "{what}: {json:#}");
}
