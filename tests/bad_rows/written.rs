//! Rows that are refused when they are written.

use crate::{FILE, archived, counts, ids, restore, servers};

#[test]
fn few_bad_rows_among_many_take_few_statements() {
    for major in servers() {
        let (database, pgkeep, archive) = archived(
            major,
            "bad_halving",
            "CREATE TABLE goods (id int PRIMARY KEY, name text NOT NULL, price int);
             INSERT INTO goods SELECT n, 'good ' || n, CASE WHEN n IN (17, 5123, 9000) THEN -1 ELSE n END
               FROM generate_series(1, 10000) AS n;",
        );
        let model =
            database.value("SELECT md5(string_agg(g::text, ',' ORDER BY id)) FROM goods g WHERE price >= 0");
        database.execute("TRUNCATE goods; ALTER TABLE goods ADD CONSTRAINT price_is_none CHECK (price >= 0)");
        database.execute("ALTER DATABASE bad_halving SET log_statement = 'all'");
        let run = restore(&pgkeep, &archive, &[]).expect_code(3);
        database.execute("ALTER DATABASE bad_halving RESET log_statement");
        let log = database.cluster.log();
        let statements = log.lines().filter(|l| l.contains("@bad_halving ") && l.contains("statement:"));
        let halves = statements.filter(|l| l.contains("SAVEPOINT pgkeep_half")).count();
        // Each try is a savepoint and its end.
        assert!((6..=2 * 3 * 2 * 14).contains(&halves), "{major}: {halves} statements");
        run.says("table goods: 3 archived rows are refused: new row for relation \"goods\" violates check constraint \"price_is_none\"");
        assert!(!run.stderr.contains("good 17") && !run.stdout.contains("good 17"));
        assert_eq!(database.value("SELECT md5(string_agg(g::text, ',' ORDER BY id)) FROM goods g"), model);
        assert_eq!(ids(&pgkeep, FILE, "goods"), [17, 5123, 9000]);
        let log = pgkeep.restore_log();
        assert_eq!(counts(&log, "goods"), [9997, 0, 0, 0, 3]);
        assert_eq!((&log["total_errors"], &log["status"]), (&3.into(), &"partial".into()));
        assert_eq!((&log["reject_file"], &log["verified"]), (&FILE.into(), &true.into()));
        assert_eq!(log["rows_refused"][0]["rows"], 3);
    }
}

/// Tables that refuse rows, each for a reason of its own.
const REASONS: &str = "
CREATE DOMAIN score AS int;
CREATE TABLE not_null (id int PRIMARY KEY, v text);
CREATE TABLE uniq (id int PRIMARY KEY, email text);
CREATE TABLE excl (id int PRIMARY KEY, r int4range);
CREATE TABLE dom (id int PRIMARY KEY, v score);
CREATE TABLE gen (id int PRIMARY KEY, v int, w int GENERATED ALWAYS AS (100 / (v + 1)) STORED);
CREATE TABLE part (id int, v int, PRIMARY KEY (id, v)) PARTITION BY RANGE (v);
CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (10) TO (20);
CREATE TABLE called (id int PRIMARY KEY, v int);
CREATE TABLE indexed (id int PRIMARY KEY, v text);
INSERT INTO not_null SELECT n, CASE WHEN n % 7 <> 0 THEN 'v' || n END FROM generate_series(1, 30) AS n;
INSERT INTO uniq SELECT n, 'mail' || n FROM generate_series(1, 30) AS n;
INSERT INTO excl SELECT n, int4range(n * 10, n * 10 + 5) FROM generate_series(1, 30) AS n;
INSERT INTO dom SELECT n, n FROM generate_series(1, 30) AS n;
INSERT INTO gen (id, v) SELECT n, n FROM generate_series(1, 30) AS n;
INSERT INTO part SELECT n, n % 20 FROM generate_series(1, 30) AS n;
INSERT INTO called SELECT n, n FROM generate_series(1, 30) AS n;
INSERT INTO indexed SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, 30) AS n;
UPDATE indexed SET v = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) AS i) WHERE id = 4;
";

const REFUSING: &str = "
DELETE FROM not_null WHERE id > 1; ALTER TABLE not_null ALTER v SET NOT NULL;
DELETE FROM uniq WHERE id > 2; INSERT INTO uniq VALUES (1000, 'mail9'), (1001, 'mail12'); ALTER TABLE uniq ADD CONSTRAINT one_mail UNIQUE (email);
TRUNCATE excl; INSERT INTO excl VALUES (1000, '[33,44)'); ALTER TABLE excl ADD CONSTRAINT apart EXCLUDE USING gist (r WITH &&);
DELETE FROM dom WHERE id > 10; ALTER DOMAIN score ADD CONSTRAINT small CHECK (VALUE <= 25);
TRUNCATE gen; ALTER TABLE gen DROP w; ALTER TABLE gen ADD w int GENERATED ALWAYS AS (100 / (v - 5)) STORED;
TRUNCATE part; DROP TABLE part_high;
TRUNCATE called; CREATE FUNCTION even(n int) RETURNS bool LANGUAGE plpgsql AS
  $$BEGIN IF n % 10 = 3 THEN RAISE EXCEPTION 'not that' USING ERRCODE = 'P0001'; END IF; RETURN true; END$$;
ALTER TABLE called ADD CHECK (even(v));
TRUNCATE indexed; CREATE INDEX ON indexed (v);
";

#[test]
fn each_reason_takes_its_own_rows_and_no_others() {
    for major in servers() {
        let (database, pgkeep, archive) = archived(major, "bad_reasons", REASONS);
        database.execute(REFUSING);
        let before = database.digest();
        let run = restore(&pgkeep, &archive, &["--data-only", "--jobs", "2"]).expect_code(3);
        let log = pgkeep.restore_log();
        for (table, refused) in [
            ("not_null", vec![7, 14, 21, 28]),
            ("uniq", vec![9, 12]),
            ("excl", vec![3, 4]),
            ("dom", vec![26, 27, 28, 29, 30]),
            ("gen", vec![5]),
            ("part", (10..20).chain(30..31).collect()),
            ("called", vec![3, 13, 23]),
            ("indexed", vec![4]),
        ] {
            assert_eq!(ids(&pgkeep, FILE, table), refused, "{major}: {table}");
            assert_eq!(counts(&log, table)[4], refused.len() as u64, "{major}: {table}");
            let list = refused.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
            let missing = database.value(&format!(
                "SELECT count(*) FROM generate_series(1, 30) AS n
                  WHERE (n NOT IN ({list})) <> EXISTS (SELECT FROM {table} WHERE id = n)"
            ));
            assert_eq!(missing, "0", "{major}: {table}");
        }
        assert_eq!(log["total_errors"], 29);
        assert!(log["tables_failed"].as_array().unwrap().is_empty(), "{log:#}");
        assert!(run.stdout.contains("called: 3 rows NOT RESTORED: not that"), "{}", run.stdout);
        assert!(run.stdout.contains(&format!("pgkeep restore --safe --file {FILE}")), "{}", run.stdout);
        // No value of a row is told.
        for told in ["mail9", "mail12", "33,44"] {
            assert!(
                !run.stdout.contains(told) && !run.stderr.contains(told) && !log.to_string().contains(told)
            );
        }
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(database.digest(), before, "{major}");
    }
}

#[test]
fn a_live_row_whose_archived_version_is_refused_stays_as_it_is() {
    for major in servers() {
        let (database, pgkeep, archive) = archived(
            major,
            "bad_counterparts",
            "CREATE TABLE t (id int PRIMARY KEY, v int, note text);
             INSERT INTO t SELECT n, n, 'archived' FROM generate_series(1, 100) AS n;
             CREATE TABLE whole (v int);
             INSERT INTO whole SELECT n FROM generate_series(1, 20) AS n;",
        );
        // 30 and 60 are refused, and 60 is missing; 200 is too much.
        database.execute(
            "UPDATE t SET v = id + 500, note = 'live' WHERE id <= 50; DELETE FROM t WHERE id IN (60, 61);
             INSERT INTO t VALUES (200, 700, 'live'); ALTER TABLE t ADD CHECK (v NOT IN (30, 60));
             DELETE FROM whole; INSERT INTO whole VALUES (30); ALTER TABLE whole ADD CHECK (v <> 7);",
        );
        for (mode, deleted) in [("upsert", 0), ("exact", 1)] {
            let before = database.digest();
            restore(&pgkeep, &archive, &["--mode", mode]).expect_code(3);
            let log = pgkeep.restore_log();
            assert_eq!(counts(&log, "t"), [1, 49, deleted, 48, 2], "{major} {mode}");
            assert_eq!(counts(&log, "whole"), [19, 0, deleted, 0, 1], "{major} {mode}");
            assert_eq!(ids(&pgkeep, FILE, "t"), [30, 60]);
            assert_eq!(database.value("SELECT t::text FROM t WHERE id = 30"), "(30,530,live)");
            let others = "SELECT count(*) FROM t WHERE note = 'archived' AND v = id";
            assert_eq!(database.value(others), "98");
            assert_eq!(database.value("SELECT count(*) FROM t WHERE id = 200"), (1 - deleted).to_string());
            pgkeep.ok(&["rollback", "latest"]);
            assert_eq!(database.digest(), before, "{major} {mode}");
        }
    }
}

#[test]
fn of_rows_that_are_bad_only_together_the_later_one_is_refused() {
    for major in servers() {
        let (database, pgkeep, archive) = archived(
            major,
            "bad_together",
            "CREATE TABLE t (id int PRIMARY KEY, v int);
             INSERT INTO t SELECT n, n FROM generate_series(1, 1000) AS n;
             UPDATE t SET v = 5 WHERE id IN (700, 701); CREATE TABLE keyless (id int, v int);
             INSERT INTO keyless SELECT n, n FROM generate_series(1, 100) AS n; INSERT INTO keyless VALUES (3, 777);",
        );
        // 701 meets 700 and 5; 5 is live and equal. In `keyless` the key is new, so that the archive has one twice.
        database.execute(
            "DELETE FROM t WHERE id > 500; ALTER TABLE t ADD UNIQUE (v);
             TRUNCATE keyless; ALTER TABLE keyless ADD PRIMARY KEY (id);",
        );
        restore(&pgkeep, &archive, &[]).expect_code(3);
        assert_eq!(ids(&pgkeep, FILE, "t"), [700, 701]);
        let rejected = crate::rows(&pgkeep, FILE, "keyless");
        assert_eq!(rejected, [r#"{"id":3,"v":777}"#], "{major}");
        assert_eq!(database.value("SELECT v FROM keyless WHERE id = 3"), "3");
        let log = pgkeep.restore_log();
        assert_eq!(counts(&log, "keyless"), [100, 0, 0, 0, 1]);
        assert_eq!(counts(&log, "t"), [498, 0, 0, 500, 2]);
    }
}

#[test]
fn unique_values_that_were_swapped_meet_kept_rows_until_nothing_is_refused_any_more() {
    for major in servers() {
        // 1 ⇄ 2 were swapped, 2 is refused for another reason: then 1 cannot come back, either, nor can 3 take the value of 1.
        let (database, pgkeep, archive) = archived(
            major,
            "bad_swapped",
            "CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE, bad bool);
             INSERT INTO t VALUES (1, 'a', false), (2, 'b', true), (3, 'c', false), (4, 'd', false);",
        );
        database.execute(
            "UPDATE t SET v = v || 'x', bad = false;
             UPDATE t SET v = 'c' WHERE id = 1; UPDATE t SET v = 'a' WHERE id = 2; UPDATE t SET v = 'z' WHERE id = 3;
             ALTER TABLE t ADD CHECK (NOT bad);",
        );
        restore(&pgkeep, &archive, &[]).expect_code(3);
        assert_eq!(ids(&pgkeep, FILE, "t"), [1, 2, 3], "{major}");
        let rows = database.value("SELECT string_agg(id || v, ',' ORDER BY id) FROM t");
        assert_eq!(rows, "1c,2a,3z,4d");
    }
}

#[test]
fn what_only_the_target_knows_of_a_row_is_kept_beside_refused_ones() {
    for major in servers() {
        let (database, pgkeep, archive) = archived(
            major,
            "bad_kept",
            "CREATE TABLE t (id int PRIMARY KEY, v int, own text NOT NULL);
             INSERT INTO t SELECT n, n, 'x' FROM generate_series(1, 50) AS n;",
        );
        database.execute(
            "UPDATE t SET v = -id, own = 'own' || id WHERE id <= 40; DELETE FROM t WHERE id > 45;
             ALTER TABLE t ADD CHECK (v NOT IN (7, 9) AND own <> 'own3')  NOT VALID;",
        );
        // 3 has become what is refused whatever the archive has for it; new rows lack what only the target knows.
        restore(&pgkeep, &archive, &["--columns", "t:id,v"]).expect_code(3);
        assert_eq!(ids(&pgkeep, FILE, "t"), [3, 7, 9, 46, 47, 48, 49, 50], "{major}");
        assert_eq!(counts(&pgkeep.restore_log(), "t"), [0, 37, 0, 5, 8]);
        assert_eq!(
            database.value("SELECT count(*) FROM t WHERE v = id AND id <= 40 AND own = 'own' || id"),
            "37"
        );
        assert_eq!(
            database.value("SELECT string_agg(t::text, '' ORDER BY id) FROM t WHERE v < 0"),
            "(3,-3,own3)(7,-7,own7)(9,-9,own9)"
        );
    }
}
