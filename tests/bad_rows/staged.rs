//! Rows whose values the types of the target do not take, so that they cannot even be staged.

use crate::support::{Pgkeep, shared};
use crate::{FILE, archived, counts, ids, restore, servers};

const MOODS: &str = "
CREATE TYPE mood AS ENUM ('glad', 'so so', 'sad');
CREATE TABLE t (id int PRIMARY KEY, m mood, note text);
INSERT INTO t SELECT n, CASE WHEN n IN (5, 500, 501, 999) THEN 'sad' ELSE 'glad' END::mood, 'n' || n
  FROM generate_series(1, 1000) AS n;
CREATE TABLE of_mood (id int, m mood, PRIMARY KEY (id, m));
INSERT INTO of_mood VALUES (1, 'glad'), (2, 'sad'), (3, 'glad');
";

const NO_LONGER_SAD: &str = "
DELETE FROM t WHERE m = 'sad' OR id BETWEEN 100 AND 200; DELETE FROM of_mood WHERE m = 'sad';
ALTER TYPE mood RENAME TO mood_before; CREATE TYPE mood AS ENUM ('glad', 'so so');
ALTER TABLE t ALTER m TYPE mood USING m::text::mood; ALTER TABLE of_mood ALTER m TYPE mood USING m::text::mood;
DROP TYPE mood_before;
INSERT INTO t VALUES (500, 'so so', 'live'), (2000, 'so so', 'live'); INSERT INTO of_mood VALUES (2, 'so so');
";

#[test]
fn what_a_type_does_not_take_is_left_out_and_its_live_row_stays() {
    for major in servers() {
        let (database, pgkeep, archive) = archived(major, "bad_moods", MOODS);
        database.execute(NO_LONGER_SAD);
        for (mode, deleted) in [("upsert", [0, 0]), ("exact", [1, 1])] {
            let before = database.digest();
            let run = restore(&pgkeep, &archive, &["--mode", mode]).expect_code(3);
            run.says("table t: 4 archived rows are refused: column m: invalid input value for enum");
            assert!(!run.stderr.contains("sad"), "{}", run.stderr);
            let log = pgkeep.restore_log();
            assert_eq!(counts(&log, "t"), [101, 0, deleted[0], 895, 4], "{major} {mode}");
            // What could not be its key is nobody's.
            assert_eq!(counts(&log, "of_mood"), [0, 0, deleted[1], 2, 1], "{major} {mode}");
            assert_eq!(ids(&pgkeep, FILE, "t"), [5, 500, 501, 999]);
            assert_eq!(database.value("SELECT note FROM t WHERE id = 500"), "live");
            assert_eq!(database.value("SELECT count(*) FROM t WHERE m = 'glad' AND note = 'n' || id"), "996");
            pgkeep.ok(&["rollback", "latest"]);
            assert_eq!(database.digest(), before);
        }
        // When the cause is removed, the rest comes from the file.
        restore(&pgkeep, &archive, &[]).expect_code(3);
        database.execute("ALTER TYPE mood ADD VALUE 'sad'");
        pgkeep.ok(&["restore", "--safe", "--file", FILE]);
        assert_eq!(counts(&pgkeep.restore_log(), "t"), [3, 1, 0, 0, 0]);
        let run = pgkeep.ok(&["restore", "--dry-run", "--json", "--file", &archive]);
        assert_eq!(run.json()["tables"]["t"]["unchanged"], 1000);
    }
}

#[test]
fn tables_that_are_staged_side_by_side_leave_out_theirs() {
    for major in servers() {
        let fill = "SELECT n, CASE WHEN n % 9973 = 0 THEN 'sad' ELSE 'glad' END::mood, repeat('x', 90) FROM generate_series(1, 25000) AS n";
        let tables = ["one", "two", "three"];
        let sql: String = tables
            .map(|t| {
                format!("CREATE TABLE {t} (id int PRIMARY KEY, m mood, note text); INSERT INTO {t} {fill};")
            })
            .concat();
        let mood = "CREATE TYPE mood AS ENUM ('glad', 'sad');";
        let (database, pgkeep, archive) = archived(major, "bad_side_by_side", &format!("{mood}{sql}"));
        let change = tables.map(|t| format!("UPDATE {t} SET m = 'glad', note = 'live';")).concat();
        let retype =
            tables.map(|t| format!("ALTER TABLE {t} ALTER m TYPE mood USING m::text::mood;")).concat();
        database.execute(&format!(
            "{change} ALTER TYPE mood RENAME TO before; CREATE TYPE mood AS ENUM ('glad'); {retype}
             ALTER TABLE three ADD CHECK (id <> 77 OR note = 'live')"
        ));
        let run = restore(&pgkeep, &archive, &["--jobs", "3", "--verbose"]).expect_code(3);
        run.says("tables are staged over 3 connections");
        for table in tables {
            // What another connection has staged the writing one leaves out, too.
            let mut bad = vec![9973, 19946];
            bad.splice(0..0, (table == "three").then_some(77));
            let number = bad.len() as u64;
            assert_eq!(ids(&pgkeep, FILE, table), bad, "{major}");
            assert_eq!(counts(&pgkeep.restore_log(), table), [0, 25_000 - number, 0, 0, number], "{major}");
            let live = database.value(&format!("SELECT count(*) FROM {table} WHERE note = 'live'"));
            assert_eq!(live, number.to_string());
        }
    }
}

#[test]
fn what_the_encoding_of_the_target_does_not_have_is_left_out() {
    for major in servers() {
        let (_database, pgkeep, archive) = archived(
            major,
            "bad_encoding",
            "CREATE TABLE t (id int PRIMARY KEY, v text);
             INSERT INTO t VALUES (1, 'plain'), (2, 'café'), (3, 'Привет'), (4, '日本'), (5, 'end');",
        );
        let cluster = shared(Some(major));
        let make =
            "CREATE DATABASE bad_latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'";
        cluster.execute("postgres", make);
        cluster.execute("bad_latin1", "CREATE TABLE t (id int PRIMARY KEY, v text)");
        let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &cluster.url("bad_latin1"));
        restore(&pgkeep, &archive, &[]).expect_code(3);
        assert_eq!(ids(&pgkeep, FILE, "t"), [3, 4]);
        let found = cluster.query("bad_latin1", "SELECT string_agg(v, ',' ORDER BY id) FROM t");
        assert_eq!(found[0][0].as_deref(), Some("plain,café,end"));
    }
}

#[test]
fn a_table_that_has_no_such_column_name_free_and_one_without_columns_are_no_trouble() {
    for major in servers() {
        let (database, pgkeep, archive): (_, Pgkeep, _) = archived(
            major,
            "bad_odd_tables",
            "CREATE TABLE t (pgkeep_row int PRIMARY KEY, \"pgkeep_row_\" int); INSERT INTO t VALUES (1, 2), (3, 4);
             CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;",
        );
        database.execute("TRUNCATE t, nothing; ALTER TABLE t ADD CHECK (pgkeep_row_ <> 4)");
        restore(&pgkeep, &archive, &[]).expect_code(3);
        let log = pgkeep.restore_log();
        assert_eq!(counts(&log, "t"), [1, 0, 0, 0, 1]);
        assert_eq!(counts(&log, "nothing"), [2, 0, 0, 0, 0]);
    }
}
