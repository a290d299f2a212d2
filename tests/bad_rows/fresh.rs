//! Into a database in which the tables are not there yet.

use crate::support::shared;
use crate::{FILE, archived, counts, ids, restore, servers};

/// Rows that break what they are restored with: functions were replaced, and foreign keys not asked.
const BROKEN: &str = "
CREATE FUNCTION fine(n int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE FUNCTION own(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n';
CREATE TABLE parents (id int PRIMARY KEY, v int CHECK (fine(v)));
CREATE UNIQUE INDEX ON parents (own(id));
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents);
CREATE TABLE log (id bigserial PRIMARY KEY, t text DEFAULT 'x');
CREATE VIEW of_children AS SELECT parent, count(*) FROM children GROUP BY parent;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM parents; CREATE UNIQUE INDEX ON kept (id);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO log DEFAULT VALUES; RETURN NEW; END$$;
INSERT INTO parents SELECT n, n FROM generate_series(1, 1000) AS n;
INSERT INTO children SELECT n, n FROM generate_series(1, 1000) AS n;
CREATE TRIGGER note AFTER INSERT ON parents FOR EACH ROW EXECUTE FUNCTION note();
SET session_replication_role = replica; INSERT INTO children VALUES (2000, 5000); RESET session_replication_role;
CREATE OR REPLACE FUNCTION fine(n int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT n % 100 <> 37';
CREATE OR REPLACE FUNCTION own(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT CASE n WHEN 801 THEN 800 ELSE n END';
";

#[test]
fn a_database_is_made_without_the_rows_that_its_own_definitions_refuse() {
    for major in servers() {
        let (database, pgkeep, archive) = archived(major, "bad_fresh_source", BROKEN);
        let empty = shared(Some(major)).database("bad_fresh");
        let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &empty.url);
        let plain = pgkeep.run(&["restore", "--safe", "--keep-going", "--file", &archive]);
        assert_eq!(plain.code, Some(1), "{}", plain.stderr);
        restore(&pgkeep, &archive, &[]).expect_code(3);
        let log = pgkeep.restore_log();
        let mut bad: Vec<i64> = (0..10).map(|n| n * 100 + 37).chain([801]).collect();
        bad.sort_unstable();
        assert_eq!(ids(&pgkeep, FILE, "parents"), bad, "{major}");
        let mut children = bad.clone();
        children.push(2000);
        children.sort_unstable();
        assert_eq!(ids(&pgkeep, FILE, "children"), children, "{major}");
        assert_eq!(counts(&log, "parents"), [989, 0, 0, 0, 11], "{major}");
        assert_eq!(counts(&log, "children"), [989, 0, 0, 0, 12], "{major}");
        assert_eq!(empty.value("SELECT count(*) FROM kept"), "989");
        assert_eq!(empty.value("SELECT count(*) FROM log"), "0", "no trigger has acted");
        // The definitions are those of the source.
        let run = pgkeep.ok(&["diff", &archive, "live", "--schema", "--exit-code"]);
        assert_eq!(run.code, Some(0), "{}", run.stdout);
        let marks = "SELECT string_agg(conname || ' ' || convalidated || ' ' || pg_get_constraintdef(oid), E'\\n' ORDER BY conname) FROM pg_constraint WHERE connamespace = 'public'::regnamespace";
        assert_eq!(empty.value(marks), database.value(marks));
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(
            empty.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
            "0"
        );
    }
}

#[test]
fn what_a_constraint_does_not_ask_of_old_rows_it_does_not_ask_of_restored_ones() {
    for major in servers() {
        let (_database, pgkeep, archive) = archived(
            major,
            "bad_not_valid_source",
            "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, v int, p int);
             INSERT INTO t VALUES (1, 1, NULL), (2, -2, 5); ALTER TABLE t ADD CHECK (v > 0) NOT VALID;
             ALTER TABLE t ADD FOREIGN KEY (p) REFERENCES p NOT VALID;",
        );
        let empty = shared(Some(major)).database("bad_not_valid");
        let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &empty.url);
        restore(&pgkeep, &archive, &[]).expect_code(0);
        assert_eq!(empty.value("SELECT count(*) FROM t"), "2");
        assert!(!pgkeep.dir().join(FILE).exists(), "nothing is refused, so that there is no file");
    }
}

#[test]
fn a_partition_that_is_made_anew_takes_its_rows_but_the_refused_ones() {
    for major in servers() {
        let (database, pgkeep, archive) = archived(
            major,
            "bad_joining",
            "CREATE TABLE part (id int, v int, PRIMARY KEY (id, v)) PARTITION BY RANGE (v);
             CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (10);
             CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (10) TO (20);
             CREATE INDEX ON part (v); INSERT INTO part SELECT n, n % 20 FROM generate_series(1, 100) AS n;",
        );
        database.execute(
            "DROP TABLE part_high; TRUNCATE part; ALTER TABLE part_low ADD CHECK (id NOT IN (21, 85))",
        );
        restore(&pgkeep, &archive, &[]).expect_code(3);
        assert_eq!(ids(&pgkeep, FILE, "part"), [21, 85], "{major}");
        assert_eq!(counts(&pgkeep.restore_log(), "part"), [98, 0, 0, 0, 2]);
        assert_eq!(database.value("SELECT count(*) FROM part_high"), "50");
    }
}
