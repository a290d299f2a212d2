//! Checks before a backup.

use crate::{DAMAGE, check, configure, reservations, with_checks};

#[test]
fn a_failing_check_keeps_a_backup_from_being_made() {
    let (database, pgkeep) = reservations("check_backup");
    pgkeep.ok(&["backup", "--run-checks"]);
    assert_eq!(pgkeep.files("backups").len(), 1);
    database.execute(&format!("SET session_replication_role = replica; {DAMAGE}"));
    let run = pgkeep.run(&["backup", "--run-checks"]).expect_code(1);
    run.says("error: a check fails: availability is consistent (")
        .says("rows that should not be)")
        .says("state: no archive was left behind; the database was only read")
        .says("next:  see the rows with pgkeep check");
    assert_eq!(pgkeep.files("backups").len(), 1);
    let run = pgkeep.run(&["backup", "--run-checks", "--out", "x.json", "--json"]).expect_code(1);
    assert!(
        run.json()["error"].as_str().unwrap().contains("availability")
            && !pgkeep.dir().join("x.json").exists()
    );
    // Nobody has to: a backup of what is wrong is better than none.
    pgkeep.ok(&["backup"]);
    let pgkeep = pgkeep.env("PGKEEP_RUN_CHECKS", "1");
    pgkeep.run(&["backup"]).expect_code(1);
}

#[test]
fn the_rows_that_are_checked_are_those_that_are_backed_up() {
    let toml = check("wait", "SELECT 1 WHERE pg_sleep(2) IS NULL", "");
    let (database, pgkeep) = with_checks("check_backup_moment", &toml);
    database.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let running = pgkeep.spawn(&["backup", "--run-checks", "--json"]);
    let at_work = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = 'check_backup_moment' AND wait_event = 'PgSleep'";
    crate::support::wait_until("the check sleeps", 30, || {
        database.query(at_work)[0][0].as_deref() != Some("0")
    });
    database.execute("INSERT INTO t VALUES (2)");
    assert_eq!(running.wait().expect_code(0).json()["rows"], 1);
    configure(&pgkeep, "");
    pgkeep.ok(&["backup"]);
}
