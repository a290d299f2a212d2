//! A restore into an empty database that was interrupted, and goes on: what is in stays, and nothing comes in twice.

use std::time::Duration;

use crate::support::{Database, PASSWORD, Run, Running, query, try_query, wait_until, while_held};
use crate::world::{World, explained, same, state};

/// Two tables that are committed in several parts, and of each kind of work something that comes behind them.
const LARGE: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TABLE parent (id int PRIMARY KEY, m mood NOT NULL, t text);
    CREATE TABLE child (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent int REFERENCES parent, t text);
    INSERT INTO parent SELECT n, 'happy', repeat(md5(n::text), 30) FROM generate_series(1, 36000) n;
    INSERT INTO child (parent, t) SELECT 36001 - n, repeat(md5(n::text), 30) FROM generate_series(1, 36000) n;
    CREATE INDEX by_parent ON child (parent);
    CREATE TABLE small (a int, b text COLLATE "C"); INSERT INTO small SELECT n, NULL FROM generate_series(1, 50) n;
    CREATE SEQUENCE counter; SELECT setval('counter', 41);
    CREATE VIEW seen AS SELECT parent.id, count(child.id) FROM parent LEFT JOIN child ON child.parent = parent.id GROUP BY 1;
    CREATE MATERIALIZED VIEW kept AS SELECT sum(id) AS s FROM child;
    CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TRIGGER acts BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION act();
    CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'nobody changes anything here'; END $$;
    GRANT SELECT ON small TO PUBLIC; COMMENT ON TABLE small IS 'it''s small';
    SELECT lo_from_bytea(4711, 'large'), lo_from_bytea(4712, 'object');
    CREATE EVENT TRIGGER watches ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'DROP SCHEMA') EXECUTE FUNCTION watch();"#;

fn begin(world: &World, target: &Database<'_>, more: &[&str]) -> Running {
    let command = ["restore", "-v", "-d", &target.url, "--file", &world.archive];
    world.keeper.spawn(&[&command, more].concat())
}

fn go_on(world: &World, target: &Database<'_>, more: &[&str]) -> Run {
    let command = ["restore", "-v", "--resume", "-d", &target.url, "--file", &world.archive];
    world.keeper.run(&[&command, more].concat())
}

fn is_true(target: &Database<'_>, sql: &str) -> bool {
    try_query(&target.url, sql)
        .is_ok_and(|rows| rows.first().is_some_and(|row| row[0].as_deref() == Some("t")))
}

/// Holds a restore up as soon as `sql` is true, at the next thing that it would write down; what `work` makes of it.
fn held_up<T>(target: &Database<'_>, sql: &str, work: impl FnOnce() -> T) -> T {
    wait_until(sql, 120, || is_true(target, sql));
    while_held(
        &target.url,
        "LOCK TABLE pgkeep_restoring.done, pgkeep_restoring.rows IN EXCLUSIVE MODE",
        |_| {
            wait_until("the restore is held up", 60, || {
                let sql = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation IN
                       ('pgkeep_restoring.done'::regclass, 'pgkeep_restoring.rows'::regclass))";
                is_true(target, sql)
            });
            work()
        },
    )
}

/// Until the sessions of a restore that was killed are gone.
fn noticed(target: &Database<'_>) {
    wait_until("the server has noticed", 60, || {
        let sql = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity
                    WHERE application_name LIKE 'pgkeep%' AND datname = current_database())";
        is_true(target, sql)
    });
}

const SOME_ROWS: &str = "SELECT EXISTS (SELECT FROM pgkeep_restoring.rows WHERE first = 0)";

/// Each row of the parts that are committed, with the transaction that wrote it.
fn committed(target: &Database<'_>) -> Vec<String> {
    let rows = query(
        &target.url,
        "SELECT format('parent %s %s', id, xmin) FROM parent UNION ALL SELECT format('child %s %s', id, xmin) FROM child ORDER BY 1",
    );
    rows.into_iter().filter_map(|row| row[0].clone()).collect()
}

fn killed_and_resumed(major: u32) {
    let name = format!("resumed {major}");
    let Some(world) = World::on(Some(major), &format!("{name} source"), LARGE) else { return };
    let should = world.state();
    let target = world.database.cluster.database(&name);
    let running = begin(&world, &target, &["--resume", "--safe", "--jobs", "1"]);
    held_up(&target, SOME_ROWS, || running.kill_9());
    running.wait_for(Duration::from_secs(10));
    noticed(&target);
    let before = committed(&target);
    assert!(!before.is_empty() && before.len() < 72000, "{} rows are in", before.len());
    let mut logs = world.keeper.files("summaries");
    logs.retain(|log| log.file_name().unwrap().to_str().unwrap().starts_with("restore_log"));

    let run = go_on(&world, &target, &["--safe", "--jobs", "2", "--json"]).expect_code(0);
    same("after the restore", &should, &state(&world.client, &target.url));
    // None of them was written a second time.
    let after: std::collections::HashSet<String> = committed(&target).into_iter().collect();
    assert!(before.iter().all(|row| after.contains(row)), "rows that were in were written again");
    let log = run.json();
    let first_log = logs[0].file_name().unwrap().to_str().unwrap();
    assert_eq!(log["resumes"], serde_json::json!([first_log]));
    assert_eq!(log["tables_restored"]["parent"]["inserted"], 36000);
    assert_eq!(log["tables_restored"]["child"]["inserted"], 36000);
    assert_eq!(log["total_inserted"], 72052);
    target.execute("ALTER EVENT TRIGGER watches DISABLE");
    world.keeper.ok(&["rollback", "latest", "-d", &target.url]);
    assert_eq!(
        target.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
        "0"
    );
}

#[test]
fn what_was_committed_before_a_kill_is_not_sent_again_on_13() {
    killed_and_resumed(13);
}

#[test]
fn what_was_committed_before_a_kill_is_not_sent_again_on_15() {
    killed_and_resumed(15);
}

#[test]
fn what_was_committed_before_a_kill_is_not_sent_again_on_18() {
    killed_and_resumed(18);
}

#[test]
fn a_polite_request_to_stop_leaves_what_is_in_and_says_how_to_go_on() {
    let Some(world) = World::new("resumed politely source", LARGE) else { return };
    let should = world.state();
    let target = world.database.cluster.database("resumed politely");
    let running = begin(&world, &target, &["--resume", "--jobs", "1"]);
    held_up(&target, SOME_ROWS, || {
        running.interrupt();
        // The connection that counts what is in waits for nobody but the restore itself.
        std::thread::sleep(Duration::from_millis(500));
    });
    let run = explained(running.wait(), 130);
    run.says("restored in part, and that stays").says("of 72052 rows and ").says("--resume");
    assert_eq!(world.keeper.restore_log()["status"], "failed");
    assert_eq!(world.keeper.restore_log()["rolled_back"], false);
    go_on(&world, &target, &[]).expect_code(0);
    same("after the restore", &should, &state(&world.client, &target.url));
}

#[test]
fn a_restore_that_was_not_begun_to_be_resumed_goes_on_all_the_same_where_it_was_killed() {
    let Some(world) = World::new("resumed unasked source", LARGE) else { return };
    let should = world.state();
    let target = world.database.cluster.database("resumed unasked");
    let running = begin(&world, &target, &["--jobs", "1"]);
    held_up(&target, SOME_ROWS, || running.kill_9());
    running.wait_for(Duration::from_secs(10));
    noticed(&target);
    let before = committed(&target);
    // A table is one transaction then.
    assert_eq!(before.len(), 36000);
    go_on(&world, &target, &[]).expect_code(0);
    same("after the restore", &should, &state(&world.client, &target.url));
}

/// Killed at any moment, again and again: in the end all is there once.
#[test]
fn a_restore_that_is_killed_again_and_again_comes_to_its_end() {
    let Some(world) = World::new("resumed often source", LARGE) else { return };
    let should = world.state();
    let target = world.database.cluster.database("resumed often");
    let mut millis = 150;
    let mut runs = 0;
    let code = loop {
        runs += 1;
        assert!(runs < 200, "it makes no progress");
        let jobs = if runs % 2 == 0 { "1" } else { "2" };
        let mut running = begin(&world, &target, &["--resume", "--jobs", jobs]);
        std::thread::sleep(Duration::from_millis(millis));
        // Each run gets a little longer, so that one of them surely ends.
        millis += 60;
        if running.is_running() {
            running.kill_9();
            let _ = running.wait_for(Duration::from_secs(10));
            noticed(&target);
        } else {
            break running.wait();
        }
    };
    code.expect_code(0);
    assert!(runs > 2, "it was never interrupted");
    same("after the restore", &should, &state(&world.client, &target.url));
}

#[test]
fn foreign_keys_that_were_added_by_several_connections_are_checked_by_one() {
    let sql = "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 500000);
               CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a); INSERT INTO b SELECT n, n FROM generate_series(1, 500000) n;";
    let Some(world) = World::new("resumed keys source", sql) else { return };
    let should = world.state();
    let target = world.database.cluster.database("resumed keys");
    let running = begin(&world, &target, &["--resume", "--jobs", "2"]);
    let added = "SELECT EXISTS (SELECT FROM pgkeep_restoring.done WHERE step = 'added')
                    AND NOT EXISTS (SELECT FROM pgkeep_restoring.done WHERE step = 'checked')";
    held_up(&target, added, || running.kill_9());
    running.wait_for(Duration::from_secs(10));
    noticed(&target);
    assert_eq!(target.value("SELECT convalidated FROM pg_constraint WHERE contype = 'f'"), "f");
    go_on(&world, &target, &["--jobs", "1"]).expect_code(0);
    same("after the restore", &should, &state(&world.client, &target.url));
}

#[test]
fn a_database_that_is_made_first_is_resumed_too() {
    let Some(world) = World::new("resumed made source", LARGE) else { return };
    let should = world.state();
    let target = world.database.cluster.database("resumed made");
    world.database.cluster.execute("postgres", "DROP DATABASE \"resumed made\"");
    let running = begin(&world, &target, &["--create", "--resume", "--jobs", "1"]);
    held_up(&target, SOME_ROWS, || running.kill_9());
    running.wait_for(Duration::from_secs(10));
    noticed(&target);
    go_on(&world, &target, &["--create"]).expect_code(0);
    same("after the restore", &should, &state(&world.client, &target.url));
}

#[test]
fn only_the_same_restore_goes_on() {
    let Some(world) = World::new("resumed other source", LARGE) else { return };
    let should = world.state();
    let target = world.database.cluster.database("resumed other");
    let running = begin(&world, &target, &["--resume", "--jobs", "1"]);
    held_up(&target, SOME_ROWS, || running.kill_9());
    running.wait_for(Duration::from_secs(10));
    noticed(&target);
    let before = state(&world.client, &target.url);
    let other = world.backup(&[]);
    let run = world.keeper.run(&["restore", "--resume", "-d", &target.url, "--file", &other]);
    explained(run, 2).says("begun with another archive or other flags");
    explained(go_on(&world, &target, &["--no-privileges"]), 2)
        .says("begun with another archive or other flags");
    explained(go_on(&world, &target, &["--where", "parent: id = 1"]), 2).says("not for a choice of rows");
    same("after what was refused", &before, &state(&world.client, &target.url));
    // Somebody has written to it.
    target.execute("INSERT INTO parent VALUES (0, 'sad', NULL)");
    explained(go_on(&world, &target, &[]), 6).says("somebody has written to it");
    target.execute("DELETE FROM parent WHERE id = 0; DELETE FROM parent WHERE id = (SELECT min(id) FROM parent); DELETE FROM child WHERE id = (SELECT min(id) FROM child)");
    explained(go_on(&world, &target, &[]), 6).says("somebody has written to it");
    // Without --resume it is merged over, and nothing of ours is left.
    world.keeper.ok(&["restore", "--yes", "--clean", "-d", &target.url, "--file", &world.archive]);
    same("after the restore over it", &should, &state(&world.client, &target.url));
}

#[test]
fn there_must_be_something_to_go_on_with_and_leave_to_write_it_down() {
    let Some(world) =
        World::new("resumed nothing source", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    else {
        return;
    };
    let target = world.database.cluster.database("resumed nothing");
    target.execute("CREATE TABLE other (a int)");
    explained(go_on(&world, &target, &[]), 2).says("no interrupted restore here");
    target.execute(&format!("DROP TABLE other; CREATE ROLE resumer LOGIN PASSWORD '{PASSWORD}'; GRANT ALL ON SCHEMA public TO resumer"));
    let url = target.url_as("resumer", PASSWORD);
    let command = ["restore", "-d", &url, "--file", &world.archive, "--no-owner", "--no-privileges"];
    let run = explained(world.keeper.run(&[&command[..], &["--resume"]].concat()), 5);
    run.says("GRANT CREATE ON DATABASE");
    let run = world.keeper.ok(&[&command[..], &["-v"]].concat());
    run.says("this restore cannot be resumed");
    assert_eq!(target.value("SELECT count(*) FROM t"), "1");
}

#[test]
fn a_check_that_fails_leaves_a_restore_that_can_go_on() {
    let Some(world) = World::new("resumed check source", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    else {
        return;
    };
    let should = world.state();
    let config = world.keeper.dir().join("pgkeep.toml");
    std::fs::write(
        &config,
        "[[check]]\nname = \"none\"\nsql = \"SELECT * FROM public.t\"\nexpect = \"no rows\"\n",
    )
    .unwrap();
    let target = world.database.cluster.database("resumed check");
    let config = ["--config", config.to_str().unwrap()];
    explained(go_on(&world, &target, &config), 6).says("none").says("1 of 1 rows");
    go_on(&world, &target, &[&config[..], &["--no-checks"]].concat()).expect_code(0);
    same("after the restore", &should, &state(&world.client, &target.url));
}

#[test]
fn a_restore_that_is_paused_says_what_it_holds() {
    let Some(world) =
        World::new("paused source", "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)")
    else {
        return;
    };
    world.database.execute("INSERT INTO t VALUES (2)");
    let config = world.keeper.dir().join("pgkeep.toml");
    let check = "[[check]]\nname = \"slow\"\nsql = \"SELECT 1 FROM pg_sleep(4) AS s WHERE s IS NULL\"\nexpect = \"no rows\"\n";
    std::fs::write(&config, check).unwrap();
    let config = config.to_str().unwrap();
    let command = ["restore", "--yes", "--mode", "exact", "--config", config, "--file", &world.archive];
    let running = world.keeper.spawn(&command);
    wait_until("the check runs", 60, || {
        is_true(
            &world.database,
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database())",
        )
    });
    running.pause();
    let waits = try_query(&world.database.url, "SET lock_timeout = 100; INSERT INTO t VALUES (3)");
    assert!(waits.unwrap_err().contains("lock timeout"));
    running.go_on();
    let run = running.wait().expect_code(0);
    run.says("paused; held on the server since ").says("locks on its tables (1)").says("going on");
    assert_eq!(world.database.value("SELECT string_agg(a::text, ' ') FROM t"), "1");
}
