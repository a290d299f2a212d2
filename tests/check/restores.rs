//! Checks within a restore, before it is committed.

use serde_json::{Value, json};

use crate::support::{Database, Pgkeep, shared};
use crate::{DAMAGE, check, configure, reservations, with_checks};

/// The booking business, backed up and damaged. To bring back the bookings without the schedules would leave seats that are
/// taken and free at once.
fn damaged(name: &str) -> (Database<'static>, Pgkeep, String) {
    let (database, pgkeep) = reservations(name);
    pgkeep.ok(&["backup"]);
    let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
    database.execute(DAMAGE);
    (database, pgkeep, archive)
}

const HALF: [&str; 4] = ["restore", "--table", "bookings,booking_items,guest_notes", "--file"];

fn of_log<'a>(log: &'a Value, name: &str) -> &'a Value {
    crate::outcome(log, name)
}

#[test]
fn a_restore_that_a_check_finds_fault_with_is_undone() {
    let (database, pgkeep, archive) = damaged("check_restore");
    let before = database.digest();
    for how in ["--safe", "--yes"] {
        let run = pgkeep.run(&[&HALF[..], &[&archive, how]].concat()).expect_code(1);
        run.says("error: a check fails: availability is consistent (")
            .says("rows that should not be)")
            .says("state: the target is as it was: everything was rolled back")
            .says("next:  restore other tables along");
        assert_eq!(database.digest(), before, "{how}");
        let log = pgkeep.restore_log();
        assert_eq!((&log["status"], &log["rolled_back"]), (&"rolled_back".into(), &true.into()));
        let failing = of_log(&log, "availability is consistent");
        assert_eq!(failing["passed"], false);
        assert!(failing["offending_rows"].as_u64().unwrap() > 3, "{failing}");
        assert_eq!(failing.as_object().unwrap().len(), 3, "no row is in the log: {failing}");
        let passing = json!({"name": "commissions add up", "passed": true, "offending_rows": 0});
        assert_eq!(of_log(&log, "commissions add up"), &passing);
        assert_eq!((&log["total_inserted"], &log["verified"]), (&0.into(), &false.into()));
    }
    // With what belongs to it, it holds.
    pgkeep.ok(&[
        "restore",
        "--safe",
        "--table",
        "bookings,booking_items,guest_notes,schedules",
        "--file",
        &archive,
    ]);
    let log = pgkeep.restore_log();
    assert_eq!((&log["status"], log["checks"].as_array().unwrap().len()), (&"completed".into(), 4));
    assert!(log["checks"].as_array().unwrap().iter().all(|check| check["passed"] == true), "{log:#}");
    pgkeep.ok(&["check"]);
    let run = pgkeep.ok(&["restore", "--safe", "--file", &archive]);
    assert!(run.stdout.contains("\n  all 4 checks pass\nrestored and verified: "), "{}", run.stdout);
}

#[test]
fn with_keep_going_a_failing_check_undoes_the_whole_all_the_same() {
    let (database, pgkeep, archive) = damaged("check_keep_going");
    database.execute("ALTER TABLE boats ADD COLUMN colour text NOT NULL DEFAULT 'red'");
    let before = database.digest();
    let more = [archive.as_str(), "--safe", "--keep-going"];
    pgkeep.run(&[&HALF[..], &more].concat()).expect_code(1).says("availability is consistent");
    assert_eq!(database.digest(), before);
    let all = ["restore", "--safe", "--keep-going", "--file", &archive];
    pgkeep.run(&all).expect_code(3);
    assert_eq!(pgkeep.restore_log()["checks"][0]["passed"], true);
}

#[test]
fn checks_can_be_left_out_and_a_dry_run_says_that_it_has() {
    let (database, pgkeep, archive) = damaged("check_left_out");
    let before = database.digest();
    let run = pgkeep.ok(&[&HALF[..], &[&archive, "--dry-run", "--json"]].concat());
    run.says("the checks are not run: a dry run");
    assert!(run.json()["warnings"][0].as_str().unwrap().starts_with("the checks are not run"));
    assert_eq!(run.json()["checks"], json!([]));
    assert_eq!(database.digest(), before);
    pgkeep.ok(&[&HALF[..], &[&archive, "--safe", "--no-checks"]].concat());
    assert_eq!(pgkeep.restore_log()["checks"], json!([]));
    pgkeep.run(&["check"]).expect_code(1);
}

#[test]
fn a_rollback_puts_back_what_was_and_warns_of_a_check_that_fails_then() {
    let (database, pgkeep, archive) = damaged("check_rollback");
    // As damage that has gone past the triggers.
    database
        .execute("SET session_replication_role = replica; UPDATE schedules SET seats_left = 1 WHERE id = 5");
    let before = database.digest();
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
    let run = pgkeep.ok(&["rollback", "latest"]);
    run.says("warning: a check fails: availability is consistent (1 row that should not be): the rollback puts it back as it was");
    assert_eq!(database.digest(), before);
    let log = pgkeep.restore_log();
    assert_eq!((&log["operation"], &log["status"]), (&"rollback".into(), &"completed".into()));
    assert_eq!(of_log(&log, "availability is consistent")["offending_rows"], 1);
    assert!(
        log["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains("a check fails"))
    );
    let run = pgkeep.ok(&["rollback", "latest", "--no-checks"]);
    assert!(!run.stderr.contains("a check fails") && pgkeep.restore_log()["checks"] == json!([]));
}

#[test]
fn a_database_that_was_rebuilt_and_fails_a_check_is_empty_again() {
    let (_source, pgkeep, archive) = damaged("check_rebuild_source");
    let empty = shared(None).database("check_rebuild");
    let wrong = check("more users", "SELECT count(*) FROM users", "44") + &check("none", "SELEKT", "");
    configure(&pgkeep, &wrong);
    let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &empty.url);
    for how in [&[][..], &["--safe"]] {
        pgkeep
            .run(&[&["restore", "--file", &archive], how].concat())
            .expect_code(1)
            .says("2 checks fail: more users (the value is not 44), none (syntax error")
            .says("state: the target is as it was: what had been made was removed again");
        let left = empty.query(
            "SELECT count(*)::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE n.nspname !~ '^(pg_|information_schema)'",
        );
        assert_eq!(left[0][0].as_deref(), Some("0"));
        let log = pgkeep.restore_log();
        assert_eq!((&log["status"], &log["checks"][0]["passed"]), (&"rolled_back".into(), &false.into()));
    }
    // A database of its own goes as a whole.
    let made = shared(None).url("check_rebuild_new");
    pgkeep.run(&["restore", "--create", "--file", &archive, "-d", &made]).expect_code(1);
    let there = "SELECT count(*)::text FROM pg_database WHERE datname = 'check_rebuild_new'";
    assert_eq!(empty.query(there)[0][0].as_deref(), Some("0"));

    configure(&pgkeep, &crate::support::fixture("checks.toml"));
    pgkeep.ok(&["restore", "--file", &archive]);
    let log = pgkeep.restore_log();
    assert_eq!((&log["status"], log["checks"].as_array().unwrap().len()), (&"completed".into(), 4));
}

#[test]
fn a_new_database_is_checked_under_the_path_that_it_will_have() {
    let source = shared(None).database("check_create_source");
    source.execute(
        "CREATE SCHEMA app; CREATE TABLE app.sales (id int); INSERT INTO app.sales VALUES (1);
         ALTER DATABASE check_create_source SET search_path = app, public",
    );
    let pgkeep = Pgkeep::on(&source.url);
    configure(&pgkeep, &check("sales", "SELECT count(*) FROM sales", "1"));
    pgkeep.ok(&["backup"]);
    let archive = pgkeep.only_file("backups");
    let made = shared(None).url("check_create");
    pgkeep.ok(&["restore", "--create", "--file", archive.to_str().unwrap(), "-d", &made]);
    pgkeep.ok(&["check", "-d", &made]);
}

#[test]
fn a_check_waits_for_a_table_that_somebody_holds_as_long_as_the_restore_does() {
    let (database, pgkeep, archive) = damaged("check_lock");
    database.execute("CREATE TABLE other (a int)");
    configure(&pgkeep, &check("other", "SELECT * FROM other", ""));
    let hold = "LOCK TABLE other IN ACCESS EXCLUSIVE MODE";
    crate::support::while_held(&database.url, hold, |_| {
        let more = [archive.as_str(), "--safe", "--lock-timeout", "300ms"];
        let run = pgkeep.run(&[&HALF[..], &more].concat()).expect_code(1);
        run.says("a check fails: other (canceling statement due to lock timeout");
    });
    pgkeep.ok(&[&HALF[..], &[&archive, "--safe"]].concat());
}

#[test]
fn a_restore_gives_a_check_no_more_rights_than_that() {
    let (database, pgkeep) = with_checks("check_writes_restore", "");
    database.execute(
        "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE SEQUENCE s;
         CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'UPDATE t SET a = 3 RETURNING a'",
    );
    pgkeep.ok(&["backup"]);
    let archive = pgkeep.only_file("backups");
    let restore = ["restore", "--safe", "--file", archive.to_str().unwrap()];
    database.execute("DELETE FROM t");
    let before = database.digest();
    for sql in [
        "SELECT writes()",
        "SELECT nextval('s')",
        "SELECT 1 WHERE false; DELETE FROM t",
        "SELECT set_config('transaction_read_only', 'off', true), writes()",
    ] {
        configure(&pgkeep, &check("writer", sql, ""));
        pgkeep.run(&restore).expect_code(1).says("a check fails: writer (");
        assert_eq!(database.digest(), before, "{sql}");
    }
}
