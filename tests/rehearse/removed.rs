//! The scratch database goes in every way out.

use std::time::Duration;

use crate::support::{Cluster, Options, Pgkeep, Running, query, wait_until};
use crate::{SLOW, World, named, scratch};

/// A rehearsal that is in the middle of the restore, and its scratch database.
fn halfway(pgkeep: &Pgkeep, cluster: &Cluster, archive: &str) -> (Running, String) {
    let there = scratch(cluster);
    let running = pgkeep.spawn(&["rehearse", archive, "--connect-attempts", "1"]);
    let mut name = String::new();
    wait_until("the materialized view is being filled", 60, || {
        let sql =
            "SELECT datname FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname LIKE 'pgkeep%'";
        let rows = query(&cluster.url("postgres"), sql);
        let new = rows.into_iter().filter_map(|row| row[0].clone()).find(|n| !there.contains(n));
        name = new.unwrap_or_default();
        !name.is_empty()
    });
    (running, name)
}

#[test]
fn an_interrupted_rehearsal_leaves_nothing() {
    let cluster = Cluster::start(Options::default());
    let (pgkeep, archive) = slow(&cluster);
    for how in [Running::interrupt, Running::terminate] {
        let (running, name) = halfway(&pgkeep, &cluster, &archive);
        assert!(scratch(&cluster).contains(&name));
        how(&running);
        let run = running.wait().expect_code(130);
        run.says(&format!("state: scratch database {name} was removed, nothing else was touched"));
        assert!(scratch(&cluster).is_empty());
    }
}

#[test]
fn sessions_that_may_not_be_ended_are_waited_for() {
    let cluster = Cluster::start(Options::default());
    let (_folder, archive) = slow(&cluster);
    cluster.execute("postgres", "CREATE ROLE maker LOGIN CREATEDB PASSWORD 'maker'");
    let pgkeep = Pgkeep::on(&cluster.url_as("maker", "maker", "rehearse_slow"))
        .env("PGKEEP_NO_OWNER", "1")
        .env("PGKEEP_NO_PRIVILEGES", "1");
    let (running, name) = halfway(&pgkeep, &cluster, &archive);
    let url = cluster.url(&name);
    let other = std::thread::spawn(move || query(&url, "SELECT pg_sleep(3)"));
    wait_until("a superuser is there, too", 10, || {
        let sql = format!(
            "SELECT 1 FROM pg_stat_activity WHERE datname = '{name}' AND usename = 'postgres' AND state = 'active'"
        );
        !cluster.query("postgres", &sql).is_empty()
    });
    running.interrupt();
    running.wait().expect_code(130).says(" was removed, nothing else was touched");
    assert!(scratch(&cluster).is_empty());
    other.join().unwrap();
}

#[test]
fn a_killed_rehearsal_is_named_by_the_next() {
    let cluster = Cluster::start(Options::default());
    let (pgkeep, archive) = slow(&cluster);
    let (running, name) = halfway(&pgkeep, &cluster, &archive);
    running.kill_9();
    running.wait_for(Duration::from_secs(10));
    cluster.execute(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'pgkeep%'",
    );
    wait_until("nobody is connected", 10, || {
        cluster.query("postgres", "SELECT 1 FROM pg_stat_activity WHERE datname LIKE 'pgkeep%'").is_empty()
    });
    cluster.database("rehearse_small").execute("CREATE TABLE t (a int)");
    let small = Pgkeep::on(&cluster.url("rehearse_small"));
    small.ok(&["backup"]);
    let run = small.ok(&["rehearse", small.only_file("backups").to_str().unwrap()]);
    run.says(&format!("database {name} is left of an earlier rehearsal, and nobody is connected to it"));
    assert_eq!(scratch(&cluster), [name]);
}

#[test]
fn a_restore_that_fails_leaves_nothing() {
    let sql = "CREATE TABLE t (a int); CREATE MATERIALIZED VIEW late AS SELECT 1 / (current_database() = 'rehearse_failing')::int AS x";
    let world = World::new("rehearse_failing", sql);
    let before = world.state();
    for more in [&["--keep"][..], &[]] {
        let run = world.pgkeep.run(&[&["rehearse", &world.archive], more].concat()).expect_code(1);
        run.says("REFRESH public.late")
            .says("division by zero")
            .says(" was removed, nothing else was touched");
        assert!(!scratch(world.database.cluster).contains(&named(&run.stderr)));
    }
    assert_eq!(world.state(), before);
}

#[test]
fn one_that_cannot_be_removed_is_named_with_what_removes_it() {
    let cluster = Cluster::start(Options::default());
    let (pgkeep, archive) = slow(&cluster);
    let (running, name) = halfway(&pgkeep, &cluster, &archive);
    cluster.stop();
    let run = running.wait().expect_code(6);
    run.says("; and the scratch database could not be removed: ")
        .says(&format!("state: database {name}, a copy of what the archive holds, is left on the server"))
        .says(&format!(
            "next:  when the server can be reached, remove it: dropdb --maintenance-db 'postgres://postgres@127.0.0.1:{}/postgres' {name}",
            cluster.port
        ));
    cluster.restart();
    assert_eq!(scratch(&cluster), [name]);
}

/// A database whose copy takes long to fill, backed up.
fn slow(cluster: &Cluster) -> (Pgkeep, String) {
    let database = cluster.database("rehearse_slow");
    database.execute(SLOW);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup"]);
    let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
    (pgkeep, archive)
}
