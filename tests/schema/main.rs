//! An archive alone rebuilds the database: each kind of object goes from a database into an archive and from there into
//! an empty database, and pg_dump must say the very same of both. It says so without any adjustment but one: the lines
//! `\restrict`, whose key is random.
//!
//! Then the property: the archive of the restored database is the same as the original's, and so is that of its own
//! restore.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod across;
mod body;
mod database;
mod fixture;
mod labels;
mod matrix;

use std::path::PathBuf;

use fixture::{Fixture, prepare};
use matrix::{Outcome, report};
use support::{Client, Cluster, Pgkeep, difference, majors, shared, try_query};

/// The majors of the matrix, where they are installed and something can judge them.
const MAJORS: [u32; 4] = [13, 15, 17, 18];

/// The fixture in which somebody adds a constraint to an extension's table, which is left to the extension.
const NOT_WHOLE: &str = "extension_members";

#[test]
fn every_kind_of_object_comes_back_on_13() {
    each_kind(13);
}

#[test]
fn every_kind_of_object_comes_back_on_15() {
    each_kind(15);
}

#[test]
fn every_kind_of_object_comes_back_on_17() {
    each_kind(17);
}

#[test]
fn every_kind_of_object_comes_back_on_18() {
    each_kind(18);
}

#[test]
fn all_kinds_in_one_database_come_back_on_13() {
    all_kinds(13);
}

#[test]
fn all_kinds_in_one_database_come_back_on_15() {
    all_kinds(15);
}

#[test]
fn all_kinds_in_one_database_come_back_on_17() {
    all_kinds(17);
}

#[test]
fn all_kinds_in_one_database_come_back_on_18() {
    all_kinds(18);
}

/// Each file in a database of its own.
fn each_kind(major: u32) {
    let Some((client, cluster)) = judged(major) else { return };
    let outcome = |fixture: &Fixture| {
        if !fixture.runs_on(cluster) {
            return Outcome::NotThere;
        }
        match round_trip(cluster, &client, &fixture.kind, &[fixture]) {
            Ok(()) => Outcome::Same,
            Err(what) => Outcome::Failed(what),
        }
    };
    let column = chosen().into_iter().map(|fixture| (fixture.kind.clone(), outcome(&fixture))).collect();
    let judged: Vec<u32> = MAJORS.into_iter().filter(|&m| is_judged(m)).collect();
    report(major, &judged, column);
}

/// All files in one database: names and dependencies meet that never do in one file.
fn all_kinds(major: u32) {
    let Some((client, cluster)) = judged(major) else { return };
    let fixtures: Vec<Fixture> = chosen().into_iter().filter(|fixture| fixture.runs_on(cluster)).collect();
    let fixtures: Vec<&Fixture> = fixtures.iter().collect();
    if let Err(what) = round_trip(cluster, &client, "all kinds", &fixtures) {
        panic!("all kinds on {major}: {what}");
    }
}

/// All fixtures, or those whose names are in `PGKEEP_TEST_KINDS`, for whoever works on one of them.
fn chosen() -> Vec<Fixture> {
    let wanted = std::env::var("PGKEEP_TEST_KINDS").ok();
    let is_wanted = |fixture: &Fixture| {
        wanted.as_ref().is_none_or(|list| list.split([',', ' ']).any(|kind| kind == fixture.kind))
    };
    Fixture::all().into_iter().filter(is_wanted).collect()
}

fn is_judged(major: u32) -> bool {
    majors().contains(&major) && Client::for_server(major).is_some()
}

fn judged(major: u32) -> Option<(Client, &'static Cluster)> {
    if !majors().contains(&major) {
        return None;
    }
    let client = Client::for_server(major)?;
    let cluster = shared(Some(major));
    prepare(cluster);
    Some((client, cluster))
}

/// Original → archive → copy → archive → second copy → archive.
fn round_trip(cluster: &Cluster, client: &Client, name: &str, fixtures: &[&Fixture]) -> Result<(), String> {
    let databases = ["original", "copy", "copy of copy"].map(|which| format!("{name}, {which}"));
    for database in &databases {
        cluster.create_database(database);
    }
    let [original, copy, copy_of_copy] = databases.each_ref().map(|database| cluster.url(database));
    for fixture in fixtures {
        fixture.load(&original, cluster.postgres.major)?;
    }
    let keeper = Pgkeep::new();
    let archive = backup(&keeper, &original, "original")?;
    restore(&keeper, &copy, &archive)?;
    let [is, should] = [client.dump(&copy, &[])?, client.dump(&original, &[])?];
    if let Some(shown) = difference(&should, &is) {
        return Err(format!("pg_dump of the restored database differs:\n{shown}"));
    }
    let second = backup(&keeper, &copy, "copy")?;
    restore(&keeper, &copy_of_copy, &second)?;
    let third = backup(&keeper, &copy_of_copy, "copy_of_copy")?;
    let [first, second, third] = [(archive, &databases[0]), (second, &databases[1]), (third, &databases[2])]
        .map(|(a, d)| body::body(&a, d));
    if let Some(shown) = difference(&second, &third) {
        return Err(format!("the archive of the restored archive differs:\n{shown}"));
    }
    // What pg_dump does not tell of (a child's own expression or storage) is in the archives.
    let is_whole = fixtures.iter().all(|fixture| fixture.kind != NOT_WHOLE);
    if let Some(shown) = difference(&first, &second).filter(|_| is_whole) {
        return Err(format!("the archive of the restored database differs:\n{shown}"));
    }
    for database in &databases {
        // A database with a subscription cannot be dropped; the server goes away soon.
        let _ = try_query(&cluster.url("postgres"), &format!("DROP DATABASE \"{database}\""));
    }
    Ok(())
}

fn backup(keeper: &Pgkeep, url: &str, name: &str) -> Result<PathBuf, String> {
    let file = keeper.dir().join(format!("{name}.json.gz"));
    pgkeep(keeper, url, &["backup", "--out", file.to_str().unwrap()])?;
    Ok(file)
}

fn restore(keeper: &Pgkeep, url: &str, archive: &std::path::Path) -> Result<(), String> {
    pgkeep(keeper, url, &["restore", "--file", archive.to_str().unwrap()])
}

fn pgkeep(keeper: &Pgkeep, url: &str, arguments: &[&str]) -> Result<(), String> {
    let mut command = keeper.command();
    command.env("PGKEEP_DATABASE_URL", url).args(arguments);
    let run = support::Running::spawn(command).wait();
    match run.code {
        Some(0) => Ok(()),
        code => Err(format!("pgkeep {} ends with {code:?}:\n{}{}", arguments[0], run.stdout, run.stderr)),
    }
}
