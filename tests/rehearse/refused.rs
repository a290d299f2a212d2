//! Rehearsals that end before, or in the middle of, the restore: nothing is left.

use crate::support::{Cluster, Options};
use crate::{World, scratch, server};

const SQL: &str = "CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t SELECT n, repeat('x', n % 90) FROM generate_series(1, 3000) n";

#[test]
fn a_damaged_archive_is_refused_before_anything_is_made() {
    let world = World::new("rehearse_damaged", SQL);
    let mut bytes = std::fs::read(&world.archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = world.pgkeep.dir().join("damaged.json.gz");
    std::fs::write(&damaged, &bytes).unwrap();
    let log = world.database.cluster.log().len();
    let run = world.pgkeep.run(&["rehearse", "damaged.json.gz"]).expect_code(4);
    run.says("damaged.json.gz: ").says("state: nothing was made");
    assert!(!world.database.cluster.log()[log..].contains("CREATE DATABASE"));
    let report = world.pgkeep.run(&["rehearse", "damaged.json.gz", "--json"]).expect_code(4).json();
    assert_eq!(report["exit_code"], 4);
}

#[test]
fn rows_alone_cannot_be_rehearsed() {
    let world = World::new("rehearse_rows", SQL);
    world.pgkeep.ok(&["backup", "--data-only", "--out", "rows.json.gz"]);
    let run = world.pgkeep.run(&["rehearse", "rows.json.gz"]).expect_code(2);
    run.says("rows.json.gz holds rows alone, no definitions: an empty database has no tables for them")
        .says("next:  rehearse a backup that was taken without --data-only");
}

#[test]
fn a_role_that_may_not_make_databases_is_told_what_to_grant() {
    let world = World::new("rehearse_denied", SQL);
    let cluster = world.database.cluster;
    cluster.execute("postgres", "CREATE ROLE \"rehearse_Nobody\" LOGIN PASSWORD 'nobody'");
    let before = world.state();
    let url = world.database.url_as("rehearse_Nobody", "nobody");
    let run = world.pgkeep.run(&["rehearse", &world.archive, "-d", &url]).expect_code(5);
    run.says("role rehearse_Nobody may not make a scratch database (no CREATEDB)")
        .says("state: nothing was made")
        .says("next:  ALTER ROLE \"rehearse_Nobody\" CREATEDB; or rehearse on another server");
    // What is said is enough.
    cluster.execute("postgres", "ALTER ROLE \"rehearse_Nobody\" CREATEDB");
    let run = world.pgkeep.ok(&["rehearse", &world.archive, "-d", &url, "--no-owner", "--no-privileges"]);
    assert!(run.stdout.contains(" restores: 1 table, 3,000 rows"), "{}", run.stdout);
    assert_eq!(world.state(), before);
}

#[test]
fn roles_that_are_missing_are_named_and_not_made() {
    let world = World::new(
        "rehearse_roles",
        &format!("{SQL}; CREATE ROLE rehearse_gone; ALTER TABLE t OWNER TO rehearse_gone"),
    );
    world.pgkeep.ok(&["backup", "--with-roles", "--out", "roles.json.gz"]);
    let other = Cluster::start(Options::default());
    let before = server(&other);
    let pgkeep = crate::support::Pgkeep::new().env("PGKEEP_AT", &other.url("postgres"));
    let archive = world.pgkeep.dir().join("roles.json.gz");
    let archive = archive.to_str().unwrap();
    let run = pgkeep.run(&["rehearse", archive]).expect_code(1);
    run.says("role rehearse_gone (first needed for TABLE public.t)")
        .says("make them: CREATE ROLE rehearse_gone; or leave owners and privileges out with --no-owner --no-privileges")
        .says("state: nothing was made");
    assert!(!run.stderr.contains("--with-roles"), "{}", run.stderr);
    pgkeep.ok(&["rehearse", archive, "--no-owner", "--no-privileges"]);
    assert_eq!(server(&other), before);
    assert!(scratch(&other).is_empty());
}

#[test]
fn a_password_on_the_command_line_is_refused() {
    let pgkeep = crate::support::Pgkeep::new();
    for arguments in [["--at", "postgres://a:tops3cret@h/x"].as_slice(), &["--at=host=h password=tops3cret"]]
    {
        let run = pgkeep.run(&[&["rehearse", "f"], arguments].concat()).expect_code(2);
        run.says("--at holds a password, which the process list shows").says("PGKEEP_AT");
        assert!(!run.stderr.contains("tops3cret"));
    }
}
