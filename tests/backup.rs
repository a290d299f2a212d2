//! What a backup promises, on real servers: one consistent snapshot by however many workers, the same bytes for the
//! same pages, and an archive that is whole or not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgkeep::archive::reader::Archive;
use support::{Cluster, Cut, Options, Pgkeep, Proxy, shared, try_query, wait_until, while_held};

/// Ends the other thread's loop, also when an assertion fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A table of several page ranges beside a small one.
const TWO_TABLES: &str = "
    CREATE TABLE big (id int PRIMARY KEY, amount int NOT NULL, filler text);
    INSERT INTO big SELECT i, 100, repeat(md5(i::text), 8) FROM generate_series(1, 150000) i;
    CREATE TABLE small (id int PRIMARY KEY, amount int NOT NULL);
    INSERT INTO small SELECT i, 100 FROM generate_series(1, 100) i;";

fn sum(pgkeep: &Pgkeep, archive: &str, table: &str) -> i64 {
    let rows = pgkeep.ok(&["show", archive, table]).stdout;
    rows.lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["amount"].as_i64().unwrap())
        .sum()
}

#[test]
fn workers_share_one_snapshot_while_others_write() {
    let database = shared(None).database("one_snapshot");
    database.execute(TWO_TABLES);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| {
            // Each transaction moves amounts from one table to the other: the sum of both never changes.
            for i in 0..100_000 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (from, to) = (1 + i * 37 % 150_000, 1 + i % 100);
                database.execute(&format!(
                    "BEGIN; UPDATE big SET amount = amount - 7 WHERE id = {from};
                     UPDATE small SET amount = amount + 7 WHERE id = {to}; COMMIT;"
                ));
            }
        });
        for jobs in ["1", "2", "4"] {
            let pgkeep = Pgkeep::on(&database.url);
            pgkeep.ok(&["backup", "--jobs", jobs]);
            let archive = pgkeep.only_file("backups");
            let archive = archive.to_str().unwrap();
            let total = sum(&pgkeep, archive, "big") + sum(&pgkeep, archive, "small");
            assert_eq!(total, 15_010_000, "{jobs} jobs");
        }
    });
}

/// Hashes of the row chunks of an archive's first table, in their order, and of how many units they are.
fn chunk_hashes(path: &std::path::Path) -> (Vec<String>, usize) {
    let archive = Archive::open(path).unwrap();
    let chunks = archive.table_chunks(0);
    let units: BTreeSet<u32> = chunks.iter().map(|c| c.range).collect();
    (chunks.iter().map(|c| c.sha256.clone()).collect(), units.len())
}

#[test]
fn rows_that_are_as_they_were_give_the_same_chunk_bytes_whoever_reads_them() {
    let database = shared(None).database("same_bytes");
    database.execute(TWO_TABLES);
    let hashes = |arguments: &[&str]| {
        let pgkeep = Pgkeep::on(&database.url);
        pgkeep.ok(&[&["backup"], arguments].concat());
        chunk_hashes(&pgkeep.only_file("backups"))
    };
    let known = |now: &[String], before: &[String]| now.iter().filter(|h| before.contains(h)).count();
    let (first, units) = hashes(&["--jobs", "1"]);
    assert!(units == 1 && first.len() > 15, "{units} {}", first.len());
    assert_eq!(hashes(&["--jobs", "1", "--copy-format", "text"]), (first.clone(), 1));
    // Read in pieces, the same but at their limits.
    let (pieces, units) = hashes(&["--jobs", "4"]);
    assert!(units > 2 && known(&pieces, &first) > first.len() - 2 * units, "{units} {}", pieces.len());
    assert_eq!(hashes(&["--jobs", "2", "--nice"]), (pieces, units));
    // One row changes, and goes to the end of the table; then the others go to other pages.
    for (change, most) in [("UPDATE big SET amount = 0 WHERE id = 70000", 4), ("VACUUM FULL big", 4)] {
        database.execute(change);
        let (now, _) = hashes(&["--jobs", "1"]);
        assert!(now != first && known(&now, &first) >= first.len() - most, "{change}");
    }
}

#[test]
fn a_pipe_takes_the_archive_and_nothing_else() {
    let database = shared(None).database("piped");
    database.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000)");
    for compress in ["gzip", "zstd", "none"] {
        let pgkeep = Pgkeep::on(&database.url);
        let output =
            pgkeep.command().args(["backup", "--out", "-", "--compress", compress]).output().unwrap();
        assert!(output.status.success());
        let file = pgkeep.dir().join("piped");
        std::fs::write(&file, output.stdout).unwrap();
        pgkeep.ok(&["validate", file.to_str().unwrap()]);
        assert_eq!(Archive::open(&file).unwrap().totals().rows, 1000);
        assert!(pgkeep.files("backups").is_empty());
    }
}

#[test]
fn a_pipe_gets_no_end_of_an_archive_when_the_backup_fails() {
    let cluster = shared(None);
    let database = cluster.database("piped_in_part");
    database.execute(TWO_TABLES);
    let proxy = Proxy::to(cluster.port);
    let pgkeep = Pgkeep::on(&proxy.url(&database.url, cluster.port));
    for jobs in ["1", "2"] {
        proxy.cut_after(20_000_000, Cut::Close);
        let output = pgkeep.command().args(["backup", "--out", "-", "--jobs", jobs]).output().unwrap();
        assert!(proxy.has_cut() && output.status.code() == Some(1), "{output:?}");
        let file = pgkeep.dir().join("piped");
        std::fs::write(&file, output.stdout).unwrap();
        pgkeep.run(&["validate", file.to_str().unwrap()]).expect_code(4);
    }
}

#[test]
fn only_what_the_patterns_mean_is_taken_with_its_sequences() {
    let database = shared(None).database("patterns");
    database.execute(
        "CREATE TABLE audit_a (id serial); CREATE TABLE audit_b (id int); CREATE TABLE users (id serial);
         CREATE SCHEMA x; CREATE TABLE x.users (id int); CREATE SEQUENCE free;
         CREATE TABLE p (id int) PARTITION BY LIST (id);
         CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);",
    );
    let taken = |arguments: &[&str]| {
        let pgkeep = Pgkeep::on(&database.url);
        pgkeep.ok(&[&["backup"], arguments].concat());
        let archive = Archive::open(&pgkeep.only_file("backups")).unwrap();
        let header = archive.header().clone();
        let tables: Vec<String> = header.tables.iter().map(|t| t.shown()).collect();
        let sequences: Vec<String> = header.sequences.iter().map(|s| s.shown()).collect();
        (tables.join(" "), sequences.join(" "))
    };
    let pair = |tables: &str, sequences: &str| (tables.to_owned(), sequences.to_owned());
    assert_eq!(taken(&[]), pair("audit_a audit_b p users x.users", "audit_a_id_seq free users_id_seq"));
    assert_eq!(taken(&["--table", "audit_*"]), pair("audit_a audit_b", "audit_a_id_seq"));
    assert_eq!(taken(&["--table", "*.users"]), pair("users x.users", "users_id_seq"));
    assert_eq!(taken(&["--exclude", "audit_*,p2", "--exclude", "users"]), pair("p1 x.users", ""));
}

#[test]
fn a_waiting_alter_table_does_not_make_the_workers_wait_for_ever() {
    let database = shared(None).database("queued_lock");
    database.execute(TWO_TABLES);
    let pgkeep = Pgkeep::on(&database.url);
    let running = pgkeep.spawn(&["backup", "--jobs", "4"]);
    wait_until("pgkeep holds its locks", 20, || {
        database.value(
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
             WHERE a.application_name = 'pgkeep' AND l.relation = 'big'::regclass",
        ) != "0"
    });
    // Waits for the backup, and everybody who wants the table after it waits, too.
    let altered = try_query(&database.url, "SET lock_timeout = '60s'; ALTER TABLE big ADD COLUMN late int");
    running.wait().expect_code(0);
    altered.unwrap();
    let archive = pgkeep.only_file("backups");
    assert_eq!(sum(&pgkeep, archive.to_str().unwrap(), "big"), 15_000_000);
}

#[test]
fn two_connections_that_describe_objects_do_not_wait_for_each_other_through_somebody_else() {
    let database = shared(None).database("queued_behind_a_description");
    // To describe the views one of them locks their tables, to describe the indexes the other; none is backed up.
    database.execute(
        "CREATE TABLE kept (id int); CREATE TABLE t1 (a int); CREATE TABLE held (a int); CREATE TABLE t2 (a int);
         CREATE INDEX ON t1 ((a + 1)); CREATE INDEX ON held ((a + 1)); CREATE INDEX ON t2 ((a + 1));
         CREATE VIEW v1 AS SELECT a FROM t1; CREATE VIEW v2 AS SELECT a FROM t2",
    );
    let locks = |tables: &str, granted: bool| {
        database.value(&format!(
            "SELECT count(DISTINCT relation) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
              WHERE a.application_name = 'pgkeep' AND l.relation IN ({tables}) AND l.granted = {granted}"
        ))
    };
    let pgkeep = Pgkeep::on(&database.url);
    let (running, alters) = while_held(&database.url, "LOCK TABLE held IN ACCESS EXCLUSIVE MODE", |_| {
        let running = pgkeep.spawn(&["backup", "--jobs", "2", "--exclude", "t1,t2,held"]);
        wait_until("one waits, and the other has described the views", 20, || {
            locks("'held'::regclass", false) == "1" && locks("'t1'::regclass, 't2'::regclass", true) == "2"
        });
        let alters = ["t1", "t2"].map(|table| {
            let url = database.url.clone();
            std::thread::spawn(move || {
                try_query(&url, &format!("SET lock_timeout = '60s'; ALTER TABLE {table} ADD COLUMN b int"))
            })
        });
        wait_until("both tables are altered, or wait for that", 20, || {
            let altered = "SELECT (SELECT count(*) FROM pg_attribute WHERE attname = 'b' AND attrelid IN ('t1'::regclass, 't2'::regclass))
                                + (SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted
                                    AND relation IN ('t1'::regclass, 't2'::regclass))";
            database.value(altered) == "2"
        });
        (running, alters)
    });
    running.wait_for(Duration::from_secs(60)).expect_code(0);
    for alter in alters {
        alter.join().unwrap().unwrap();
    }
}

#[test]
fn a_truncate_or_rewrite_just_before_the_lock_cannot_make_a_table_look_empty() {
    let database = shared(None).database("rewritten");
    database.execute("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 1000)");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                database.execute(
                    "BEGIN; CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM t; TRUNCATE t;
                     INSERT INTO t SELECT * FROM kept; COMMIT; CREATE TABLE IF NOT EXISTS comes (id int); DROP TABLE comes;",
                );
            }
        });
        for _ in 0..25 {
            let pgkeep = Pgkeep::on(&database.url);
            let result = pgkeep.ok(&["backup", "--table", "t", "--json"]).json();
            assert_eq!(result["rows"], 1000);
        }
    });
}

#[test]
fn what_an_archive_does_not_carry_is_said() {
    let database = shared(None).database("left_out");
    database.execute("CREATE TABLE t (id int PRIMARY KEY, picture oid)");
    let pgkeep = Pgkeep::on(&database.url);
    database.execute(
        "INSERT INTO t VALUES (1, lo_from_bytea(0, 'x')); CREATE FOREIGN DATA WRAPPER w;
         CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE far (id int) SERVER s",
    );
    let run = pgkeep.ok(&["backup"]);
    run.says("warning: foreign table far is left out");
}

#[test]
fn a_backup_of_no_table_is_noticed() {
    let database = shared(None).database("no_table");
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup"]).says("warning: there is no table in database no_table");
    database.execute("CREATE TABLE t (id int)");
    let run = pgkeep.run(&["backup", "--out", "none.json.gz", "--exclude", "*"]).expect_code(2);
    run.says("no table").says("--exclude");
    assert!(!pgkeep.dir().join("none.json.gz").exists());
}

#[test]
fn a_table_s_locks_are_given_back_when_it_has_been_read() {
    let cluster = Cluster::start(Options {
        config: vec!["max_locks_per_transaction = 10".to_owned(), "max_connections = 20".to_owned()],
        ..Options::default()
    });
    let database = cluster.database("locks");
    // 300 tables have room in the server's lock table, 1,200 indexes beside them have not.
    database.execute(
        "DO $$ BEGIN FOR i IN 1..300 LOOP
           EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, a int UNIQUE, b int UNIQUE, c int UNIQUE)', i);
           EXECUTE format('INSERT INTO t%s VALUES (1, 1, 1, 1)', i);
           COMMIT;
         END LOOP; END $$",
    );
    for jobs in ["1", "3"] {
        let pgkeep = Pgkeep::on(&database.url);
        let run = pgkeep.ok(&["backup", "--jobs", jobs, "--json"]);
        assert_eq!(run.json()["rows"], 300);
    }
}

#[test]
fn a_backup_holds_itself_back_when_it_is_told_to() {
    let database = shared(None).database("paced");
    database.execute(TWO_TABLES);
    let (stop, url) = (AtomicBool::new(false), database.url.clone());
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        // Somebody who is at work all the time.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = try_query(&url, "SELECT pg_sleep(0.5)");
            }
        });
        wait_until("somebody is at work", 10, || {
            database.value(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(0%'",
            ) != "0"
        });
        let pgkeep = Pgkeep::on(&database.url);
        let run = pgkeep.ok(&["backup", "--json", "--jobs", "2", "--nice", "--max-rate", "10M"]);
        run.says("going on with 1 connection");
        let result = run.json();
        // Some 40 MB at 10 MiB a second: less would be more than was allowed.
        let sent = result["json_bytes"].as_f64().unwrap() * 0.9;
        assert!(result["seconds"].as_f64().unwrap() > sent / f64::from(12 << 20), "{result}");
        assert!(result["snapshot_seconds"].as_f64().unwrap() <= result["seconds"].as_f64().unwrap());
        assert_eq!(result["rows"], 150_100);
        let archive = pgkeep.only_file("backups");
        pgkeep.ok(&["validate", archive.to_str().unwrap()]);
        pgkeep.run(&["backup", "--max-rate", "1"]).expect_code(2).says("at least 1k");
    });
}

#[test]
fn connections_that_the_server_has_few_of_are_left_to_others() {
    let cluster =
        Cluster::start(Options { config: vec!["max_connections = 9".to_owned()], ..Options::default() });
    let database = cluster.database("few");
    database.execute(TWO_TABLES);
    let pgkeep = Pgkeep::on(&database.url);
    // Nine, less three for superusers, less two of others, less the backup's own two: two would be left.
    support::while_held(&database.url, "SELECT 1", |_| {
        support::while_held(&database.url, "SELECT 1", |_| {
            let run = pgkeep.ok(&["backup", "--json"]);
            assert_eq!(run.json()["jobs"], 1);
            let run = pgkeep.ok(&["backup", "--json", "--jobs", "2"]);
            assert_eq!(run.json()["jobs"], 2);
        });
    });
}

#[test]
fn an_index_can_be_rebuilt_while_several_workers_read_its_table() {
    let database = shared(None).database("reindexed");
    // Few rows on many pages: workers have page ranges to plan for as long as it takes.
    database.execute(
        "CREATE TABLE big (id int PRIMARY KEY, filler text) WITH (fillfactor = 10);
         INSERT INTO big SELECT i, repeat(md5(i::text), 8) FROM generate_series(1, 50000) i",
    );
    let pgkeep = Pgkeep::on(&database.url);
    let running = pgkeep.spawn(&["backup", "--jobs", "2", "--max-rate", "4M"]);
    wait_until("rows are being read", 20, || {
        database.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LOCK%COPY%'")
            != "0"
    });
    // Neither waits for the other for ever: no server would see that.
    database.execute("SET statement_timeout = '60s'; REINDEX TABLE big");
    running.wait_for(std::time::Duration::from_secs(60)).expect_code(0);
}

/// Until rows of the table come in, slowly.
fn slowly(pgkeep: &Pgkeep, url: &str) -> support::Running {
    let running = pgkeep.spawn(&["backup", "--jobs", "1", "--max-rate", "2M", "--table", "big"]);
    wait_until("rows are on their way", 60, || {
        let sql = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY %' AND datname = current_database()";
        try_query(url, sql).is_ok_and(|rows| !rows.is_empty())
    });
    std::thread::sleep(Duration::from_millis(1500));
    running
}

#[test]
fn a_backup_that_is_paused_says_what_it_holds_and_goes_on() {
    let database = shared(None).database("paused");
    database.execute(TWO_TABLES);
    let pgkeep = Pgkeep::on(&database.url);
    let running = slowly(&pgkeep, &database.url);
    running.pause();
    let locks = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                  WHERE relation = 'big'::regclass AND mode = 'AccessShareLock' AND application_name LIKE 'pgkeep%'";
    assert_ne!(database.value(locks), "0");
    database.execute("UPDATE big SET amount = 0");
    running.go_on();
    let run = running.wait().expect_code(0);
    run.says("paused; held on the server since ")
        .says("a snapshot, because of which VACUUM")
        .says("on its tables (1)");
    run.says("fg, or kill -CONT ").says("going on");
    let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
    // The snapshot is that of the beginning.
    assert_eq!(sum(&pgkeep, &archive, "big"), 150_000 * 100);
}

#[test]
fn a_backup_that_is_ended_early_says_what_it_had() {
    let database = shared(None).database("ended_early");
    database.execute(TWO_TABLES);
    let pgkeep = Pgkeep::on(&database.url);
    let running = slowly(&pgkeep, &database.url);
    running.interrupt();
    let run = running.wait().expect_code(130);
    run.says("no archive was left behind").says(" rows of 1 table (").says("a backup starts anew");
    assert!(pgkeep.files("backups").is_empty());
    let running = slowly(&pgkeep, &database.url);
    running.kill_9();
    running.wait();
    let run = pgkeep.ok(&["backup", "--table", "small"]);
    run.says("an earlier backup was killed before its end: it had written ").says("this one starts anew");
    assert_eq!(pgkeep.files("backups").len(), 1);
    let run = pgkeep.ok(&["backup", "--table", "small"]);
    assert!(!run.stderr.contains("an earlier backup"), "{}", run.stderr);
}
