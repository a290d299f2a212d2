//! `--create`: the restore makes the database.

use crate::support::percent_encoded;
use crate::world::{World, same, state};

const SQL: &str =
    "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1), (2); CREATE VIEW v AS SELECT a FROM t";

#[test]
fn databases_of_any_name_are_made_and_filled() {
    let Some(world) = World::new("created", SQL) else { return };
    let should = world.state();
    for name in ["created plain", "Created \"q\"; DROP TABLE x; --é", "created'%s=\\b", " "] {
        let url = world.database.cluster.url(name);
        world.keeper.ok(&["restore", "--create", "-d", &url, "--file", &world.archive]);
        same(name, &should, &state(&world.client, &url));
        let run = world.refused(&["--create", "-d", &url], 2);
        run.says("exists already").says("the target is untouched");
        same(name, &should, &state(&world.client, &url));
        assert!(!percent_encoded(name).is_empty());
    }
}

#[test]
fn a_database_that_could_not_be_filled_is_removed_again() {
    let sql = format!(
        "{SQL}; CREATE MATERIALIZED VIEW late AS SELECT 1 / (current_database() = 'created badly')::int AS x"
    );
    let Some(world) = World::new("created badly", &sql) else { return };
    let cluster = world.database.cluster;
    let there = || {
        let names =
            cluster.query("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'created badly%'");
        names.len()
    };
    let url = cluster.url("created badly \"2\"");
    let run = world.refused(&["--create", "-d", &url], 1);
    run.says("REFRESH public.late").says("was removed again");
    assert_eq!(there(), 1);
    assert_eq!(world.keeper.restore_log()["status"], "rolled_back");
    // One that is to be tried only is not made.
    let run = world.keeper.run(&["restore", "--create", "--dry-run", "-d", &url, "--file", &world.archive]);
    assert_eq!(there(), 1, "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_role_that_may_not_make_databases_is_told_so() {
    let Some(world) = World::new("created by nobody", SQL) else { return };
    let cluster = world.database.cluster;
    cluster.execute("postgres", "CREATE ROLE restore_objects_nobody LOGIN PASSWORD 'nobody'");
    let url = cluster.url_as("restore_objects_nobody", "nobody", "created by nobody 2");
    let run = world.refused(&["--create", "-d", &url, "--no-owner"], 5);
    run.says("permission denied to create database").says("CREATEDB");
}

#[test]
fn one_with_subscriptions_that_could_not_be_finished_is_removed_again() {
    let sql = format!(
        "{SQL}; CREATE SUBSCRIPTION \"S s\" CONNECTION 'host=192.0.2.1 dbname=x' PUBLICATION p WITH (connect = false, slot_name = 'theirs');
         DROP ROLE IF EXISTS restore_objects_once; CREATE ROLE restore_objects_once SUPERUSER;
         CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER watching ON sql_drop EXECUTE FUNCTION watch();
         ALTER EVENT TRIGGER watching OWNER TO restore_objects_once; ALTER ROLE restore_objects_once NOSUPERUSER"
    );
    let Some(world) = World::new("created with subscriptions", &sql) else { return };
    let cluster = world.database.cluster;
    let run = world.refused(&["--create", "-d", &cluster.url("created with subscriptions 2")], 5);
    run.says("making EVENT TRIGGER watching").says("was removed again");
    let there = "SELECT 1 FROM pg_database WHERE datname = 'created with subscriptions 2'";
    assert!(cluster.query("postgres", there).is_empty());
    assert_eq!(cluster.query("postgres", "SELECT 1 FROM pg_subscription").len(), 1);
    world.database.execute("ALTER SUBSCRIPTION \"S s\" SET (slot_name = NONE)");
    world.database.execute("DROP SUBSCRIPTION \"S s\"");
}
