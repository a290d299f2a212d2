//! A restore into an empty database that is interrupted in the middle.

use std::time::Duration;

use crate::support::{query, try_query, wait_until};
use crate::world::{World, explained, same, state};

/// Its restore takes long at the end, where all is made but for one view's rows.
pub const SLOW: &str = r#"
    CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t SELECT n, 'b' || n FROM generate_series(1, 500) n;
    CREATE FUNCTION wait() RETURNS int LANGUAGE plpgsql AS $$
      BEGIN IF current_database() NOT LIKE '%source' THEN PERFORM pg_sleep(4); END IF; RETURN 1; END $$;
    CREATE MATERIALIZED VIEW late AS SELECT public.wait() AS x;"#;

/// Waits until the last statement of such a restore is under way.
pub fn wait_for_the_end(url: &str) {
    wait_until("the materialized view is being filled", 60, || {
        let sql =
            "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
        !query(url, sql).is_empty()
    });
}

#[test]
fn a_polite_request_to_stop_leaves_the_database_empty_again() {
    let Some(world) = World::new("killed politely source", SLOW) else { return };
    let target = world.database.cluster.database("killed politely");
    let before = state(&world.client, &target.url);
    let running = world.keeper.spawn(&["restore", "-d", &target.url, "--file", &world.archive]);
    wait_for_the_end(&target.url);
    running.terminate();
    let run = explained(running.wait(), 130);
    run.says("removed again");
    same("after the signal", &before, &state(&world.client, &target.url));
    assert_eq!(world.keeper.restore_log()["status"], "rolled_back");
}

#[test]
fn what_a_killed_restore_has_made_is_removed_by_a_rollback() {
    let Some(world) = World::new("killed source", SLOW) else { return };
    let target = world.database.cluster.database("killed");
    let before = state(&world.client, &target.url);
    let running = world.keeper.spawn(&["restore", "--safe", "-d", &target.url, "--file", &world.archive]);
    wait_for_the_end(&target.url);
    running.kill_9();
    running.wait_for(Duration::from_secs(10));
    assert_eq!(world.keeper.restore_log()["status"], "running");
    assert_ne!(before, state(&world.client, &target.url));
    // The server goes on with what it was told until it notices.
    world.keeper.ok(&["rollback", "latest", "-d", &target.url, "--lock-timeout", "60s"]);
    same("after the rollback", &before, &state(&world.client, &target.url));
}

#[test]
fn what_a_killed_restore_has_made_is_replaced_by_one_that_cleans() {
    let Some(world) = World::new("killed again source", SLOW) else { return };
    let should = world.state();
    let target = world.database.cluster.database("killed again");
    let running = world.keeper.spawn(&["restore", "-d", &target.url, "--file", &world.archive]);
    wait_for_the_end(&target.url);
    running.kill_9();
    running.wait_for(Duration::from_secs(10));
    wait_until("the server has noticed", 30, || {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'pgkeep%' AND datname = current_database()";
        try_query(&target.url, sql).is_ok_and(|rows| rows.is_empty())
    });
    world.keeper.ok(&["restore", "--clean", "--yes", "-d", &target.url, "--file", &world.archive]);
    same("after the restore", &should, &state(&world.client, &target.url));
}
