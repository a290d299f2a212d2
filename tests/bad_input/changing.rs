//! Tables that are made, dropped, truncated and altered while they are being backed up.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Pgkeep, Proxy, query, shared, try_query, wait_until};
use crate::{BULK, no_temporary_file, path};

/// Runs `work` while the statements run again and again over another connection.
fn while_running(url: &str, statements: &[String], work: impl FnOnce()) {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                for statement in statements {
                    query(url, statement);
                }
            }
        });
        // Also when the work fails: else the scope would wait for ever.
        let _stop = Stop(&done);
        work();
    });
}

#[test]
fn a_table_that_is_dropped_while_it_is_dumped_is_whole_in_the_archive() {
    let database = shared(None).database("dropped");
    database.execute(BULK);
    let proxy = Proxy::to(database.cluster.port);
    let pgkeep = Pgkeep::on(&proxy.url(&database.url, database.cluster.port));
    proxy.stall_after(1_000_000);
    let running = pgkeep.spawn(&["backup", "--json"]);
    wait_until("the backup is in the middle", 60, || proxy.forwarded() >= 1_000_000);
    for change in ["DROP TABLE bulk", "TRUNCATE bulk", "ALTER TABLE bulk DROP payload"] {
        let refused = try_query(&database.url, &format!("SET lock_timeout = '100ms'; {change}")).unwrap_err();
        assert!(refused.contains("55P03"), "{change}: {refused}");
    }
    proxy.resume();
    assert_eq!(running.wait().expect_code(0).json()["rows"], 6000);
    database.execute("DROP TABLE bulk");
}

#[test]
fn whatever_is_changed_meanwhile_the_archive_is_one_moment_of_the_database() {
    let database = shared(None).database("changing");
    database.execute("CREATE TABLE steady AS SELECT n AS id FROM generate_series(1, 500) n; CREATE TABLE rewritten AS TABLE steady; CREATE TABLE altered AS TABLE steady");
    let statements = [
        "CREATE TABLE passing AS TABLE steady",
        "BEGIN; TRUNCATE rewritten; INSERT INTO rewritten TABLE steady; COMMIT",
        "ALTER TABLE altered ADD more text DEFAULT 'x'",
        "DROP TABLE passing",
        "BEGIN; DROP TABLE rewritten; CREATE TABLE rewritten AS TABLE steady; COMMIT",
        "ALTER TABLE altered DROP more",
        "CREATE SCHEMA short; CREATE TABLE short.lived AS TABLE steady; CREATE SEQUENCE short.counter",
        "DROP SCHEMA short CASCADE",
    ]
    .map(|statement| format!("SET client_min_messages = error; {statement}"));
    let mut whole = 0;
    while_running(&database.url, &statements, || {
        for _ in 0..5 {
            let pgkeep = Pgkeep::on(&database.url);
            let run = pgkeep.run(&["backup", "--jobs", "3"]);
            if run.code == Some(0) {
                whole += 1;
                let archive = path(&pgkeep.only_file("backups"));
                pgkeep.ok(&["validate", &archive]);
                let tables = pgkeep.ok(&["show", "--json", &archive]).json()["tables"].clone();
                let names: Vec<&str> =
                    tables.as_array().unwrap().iter().map(|t| t["table"].as_str().unwrap()).collect();
                for name in ["steady", "rewritten", "altered"] {
                    assert!(names.contains(&name), "{name} is not in {names:?}");
                }
                for table in tables.as_array().unwrap() {
                    assert_eq!(table["rows"], 500, "{table:#}");
                }
            } else {
                // Too much change for several attempts is said; nothing else may go wrong.
                let run = crate::explained(run, 1);
                run.says("table").says("no");
                crate::no_archive(&pgkeep, "backups");
            }
            no_temporary_file(pgkeep.dir());
        }
    });
    assert!(whole > 0, "no backup got through");
}

#[test]
fn a_restore_of_a_table_that_is_dropped_meanwhile_waits_or_says_so() {
    let database = shared(None).database("restore_dropped");
    database.execute("CREATE TABLE t AS SELECT n AS id FROM generate_series(1, 500) n");
    let (pgkeep, archive) = crate::backed_up(&database.url);
    let statements = [
        "DROP TABLE t".to_owned(),
        "CREATE TABLE t AS SELECT n AS id FROM generate_series(1, 500) n".to_owned(),
    ];
    while_running(&database.url, &statements, || {
        for _ in 0..4 {
            let run =
                pgkeep.run(&["restore", "--safe", "--data-only", "--mode", "exact", "--file", &archive]);
            if run.code != Some(0) {
                crate::explained(run, 1).says("t").says("the target is");
            }
        }
    });
    database.execute("DROP TABLE IF EXISTS t");
    crate::no_debris(&database);
    no_temporary_file(pgkeep.dir());
}
