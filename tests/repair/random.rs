//! Random databases that people have worked with and that were damaged: after a repair all damage is gone that the archive
//! knows better, and everything else is as it was.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{CONFIG, Reasons, State, TABLES, repaired};
use crate::support::{Numbers, Pgkeep, majors, shared};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn what_is_damaged_is_repaired_and_what_people_have_done_stays() {
    let all = number("PGKEEP_TEST_CASES").unwrap_or(16);
    let seeds = number("PGKEEP_TEST_SEED").map_or(0..all, |seed| seed..seed + 1);
    let majors = majors();
    for major in &majors {
        let database = shared(Some(*major)).database("random_repairs");
        database.execute(TABLES);
    }
    for seed in seeds {
        let url = shared(Some(majors[seed as usize % majors.len()])).url("random_repairs");
        hold(&url, seed);
    }
}

fn hold(url: &str, seed: u64) {
    let what = format!("PGKEEP_TEST_SEED={seed}");
    let execute = |sql: &str| drop(crate::support::query(url, sql));
    let digest = || crate::support::database_digest(url);
    let mut numbers = Numbers(0x2545_F491_4F6C_DD1D ^ (seed + 1));
    // So that seeds that are alike give numbers that are not.
    for _ in 0..20 {
        numbers.below(2);
    }
    let archived = State::random(&mut numbers);
    let mut live = archived.clone();
    for _ in 0..numbers.below(80) {
        if numbers.below(3) == 0 { live.damage(&mut numbers) } else { live.edit(&mut numbers) }
    }
    let keeper = Pgkeep::on(url);
    std::fs::write(keeper.dir().join("pgkeep.toml"), CONFIG).unwrap();
    execute("TRUNCATE sites, people, notes");
    execute("ALTER TABLE sites ALTER name SET NOT NULL; ALTER TABLE people ALTER email SET NOT NULL");
    execute(&archived.sql());
    keeper.ok(&["backup", "--out", "archived.json.gz"]);
    execute("ALTER TABLE sites ALTER name DROP NOT NULL; ALTER TABLE people ALTER email DROP NOT NULL");
    execute(&live.sql());
    let damaged = digest();

    let should = repaired(&archived, &live);
    let dry = keeper.run(&["repair", "--dry-run", "--json", "--file", "archived.json.gz"]);
    assert_eq!(digest(), damaged, "{what}: a dry run has changed something");
    check(&format!("{what}, a dry run"), &dry.json(), &should.found, &should.left);
    let is_whole = should.left.is_empty() && should.state.sites.values().all(|site| site.total >= 0);
    let run = keeper.run(&["repair", "--json", "--file", "archived.json.gz"]);
    let run = run.expect_code(if is_whole { 0 } else { 3 });
    check(&what, &run.json(), &should.found, &should.left);
    let found = digest();
    // Once more there is nothing to do, and as much to say of what is left.
    let again = keeper.run(&["repair", "--json", "--file", "archived.json.gz"]).json();
    assert_eq!(
        (&again["total_inserted"], &again["total_updated"]),
        (&0.into(), &0.into()),
        "{what}: {again:#}"
    );
    let left = repaired(&archived, &should.state).left;
    check(&format!("{what}, once more"), &again, &Reasons::new(), &left);
    let safety = run.json()["safety_backup_file"].as_str().unwrap().to_owned();
    keeper.ok(&["rollback", &safety]);
    assert_eq!(digest(), damaged, "{what}, undone");
    execute(&should.state.sql());
    assert_eq!(found, digest(), "{what}: repaired, and the model");
}

/// Holds what is said of each table to what should be.
fn check(what: &str, log: &Value, found: &Reasons, left: &Reasons) {
    let of = |key: &str| -> BTreeMap<(String, String), u64> {
        let tables = log["repairs"].as_object().cloned().unwrap_or_default();
        let reasons = tables.iter().flat_map(|(table, repaired)| {
            let reasons = repaired[key].as_object().cloned().unwrap_or_default();
            reasons.into_iter().map(move |(reason, n)| ((table.clone(), reason), n.as_u64().unwrap()))
        });
        reasons.collect()
    };
    let named = |reasons: &Reasons| -> BTreeMap<(String, String), u64> {
        reasons.iter().map(|((table, reason), n)| (((*table).to_owned(), (*reason).to_owned()), *n)).collect()
    };
    assert_eq!((of("found"), of("left")), (named(found), named(left)), "{what}: {log:#}");
}
