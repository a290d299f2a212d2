//! Rows that are refused because foreign keys would break.

use crate::{FILE, archived, counts, ids, restore, servers};

const FAMILY: &str = "
CREATE TABLE parents (id int PRIMARY KEY, code text UNIQUE, v int);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents, v int);
CREATE TABLE grandchildren (id int PRIMARY KEY, child int REFERENCES children ON DELETE CASCADE);
CREATE TABLE by_code (id int PRIMARY KEY, code text REFERENCES parents (code));
CREATE TABLE tree (id int PRIMARY KEY, above int REFERENCES tree);
INSERT INTO parents SELECT n, 'c' || n, n FROM generate_series(1, 20) AS n;
INSERT INTO children SELECT n, (n - 1) / 5 + 1, n FROM generate_series(1, 100) AS n;
INSERT INTO grandchildren SELECT n, n FROM generate_series(1, 100) AS n;
INSERT INTO by_code SELECT n, 'c' || n FROM generate_series(1, 10) AS n;
INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (5, NULL), (6, 5);
";

#[test]
fn what_refers_to_a_refused_row_is_refused_and_so_on_and_nothing_else() {
    for major in servers() {
        let (database, pgkeep, archive) = archived(major, "bad_family", FAMILY);
        database.execute(
            "TRUNCATE parents, children, grandchildren, by_code, tree;
             ALTER TABLE parents ADD CHECK (v <> 7); ALTER TABLE tree ADD CHECK (id <> 2);
             INSERT INTO parents VALUES (9, 'c9', 0); ALTER TABLE children ADD CHECK (v <> 41);",
        );
        let before = database.digest();
        let run = restore(&pgkeep, &archive, &[]).expect_code(3);
        let log = pgkeep.restore_log();
        assert_eq!(ids(&pgkeep, FILE, "parents"), [7]);
        assert_eq!(ids(&pgkeep, FILE, "children"), [31, 32, 33, 34, 35, 41]);
        assert_eq!(ids(&pgkeep, FILE, "grandchildren"), [31, 32, 33, 34, 35, 41]);
        assert_eq!(ids(&pgkeep, FILE, "by_code"), [7]);
        assert_eq!(ids(&pgkeep, FILE, "tree"), [2, 3, 4]);
        assert_eq!(counts(&log, "parents"), [18, 1, 0, 0, 1]);
        assert_eq!(counts(&log, "children"), [94, 0, 0, 0, 6]);
        assert_eq!(counts(&log, "tree"), [3, 0, 0, 0, 3]);
        run.says("table grandchildren: 6 archived rows are refused: no such row in table children (foreign key grandchildren_child_fkey)");
        // When the causes are removed, all is there.
        database.execute(
            "ALTER TABLE parents DROP CONSTRAINT parents_v_check; ALTER TABLE tree DROP CONSTRAINT tree_id_check;
             ALTER TABLE children DROP CONSTRAINT children_v_check;",
        );
        pgkeep.ok(&["restore", "--safe", "--file", FILE]);
        let run = pgkeep.ok(&["diff", &archive, "live", "--exit-code"]);
        assert!(!run.stdout.contains("missing"), "{}", run.stdout);
        pgkeep.ok(&["rollback", "latest"]);
        pgkeep.ok(&["rollback", pgkeep.files("safety_backups")[0].to_str().unwrap()]);
        let constraints = "ALTER TABLE parents ADD CHECK (v <> 7); ALTER TABLE tree ADD CHECK (id <> 2); ALTER TABLE children ADD CHECK (v <> 41)";
        database.execute(constraints);
        assert_eq!(database.digest(), before, "{major}");
    }
}

#[test]
fn live_rows_that_others_refer_to_are_neither_removed_nor_changed_and_count_as_errors() {
    for major in servers() {
        let (database, pgkeep, archive) = archived(major, "bad_deletes", FAMILY);
        // Of the archive `parents` alone is restored. Live rows refer to 30, and to the codes of 12 and 31.
        database.execute(
            "INSERT INTO parents VALUES (30, 'c30', 0), (31, 'c31', 0), (32, 'c32', 0);
             INSERT INTO children VALUES (200, 30, 0);
             UPDATE parents SET code = 'other' WHERE id = 12; UPDATE parents SET code = 'third' WHERE id = 13;
             INSERT INTO by_code VALUES (200, 'other'), (201, 'c31');",
        );
        let before = database.digest();
        let run = restore(&pgkeep, &archive, &["--mode", "exact", "--table", "parents"]).expect_code(3);
        let log = pgkeep.restore_log();
        // 32 goes, 13 is changed; 30, 31 and 12 stay.
        assert_eq!(counts(&log, "parents"), [0, 1, 1, 18, 3], "{major}");
        assert_eq!(ids(&pgkeep, FILE, "parents"), [12]);
        let warnings = log["warnings"].to_string();
        assert!(
            warnings.contains(
                "table parents: 1 live row is not removed: rows of table children still refer to the live row"
            ),
            "{warnings}"
        );
        run.says("rows of table by_code still refer to the live row (foreign key by_code_code_fkey)");
        let rows = database.value("SELECT string_agg(id || code, ',' ORDER BY id) FROM parents WHERE id > 11 AND id < 14 OR id > 20");
        assert_eq!(rows, "12other,13c13,30c30,31c31");
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(database.digest(), before, "{major}");
    }
}

#[test]
fn rows_of_partitions_and_rows_without_a_key_are_found_as_well() {
    for major in servers() {
        let (database, pgkeep, archive) = archived(
            major,
            "bad_partitioned",
            "CREATE TABLE parents (id int PRIMARY KEY);
             CREATE TABLE children (id int, parent int REFERENCES parents, PRIMARY KEY (id, parent)) PARTITION BY HASH (id);
             CREATE TABLE c0 PARTITION OF children FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE c1 PARTITION OF children FOR VALUES WITH (MODULUS 2, REMAINDER 1);
             CREATE TABLE keyless (id int, parent int REFERENCES parents, v numeric);
             INSERT INTO parents SELECT generate_series(1, 10);
             INSERT INTO children SELECT n, n % 10 + 1 FROM generate_series(1, 40) AS n;
             INSERT INTO keyless SELECT n / 2, n % 10 + 1, 1.0 FROM generate_series(1, 40) AS n;
             INSERT INTO keyless VALUES (NULL, 4, 'NaN'), (NULL, NULL, 'NaN');",
        );
        database.execute("TRUNCATE parents, children, keyless; ALTER TABLE parents ADD CHECK (id <> 4)");
        restore(&pgkeep, &archive, &[]).expect_code(3);
        assert_eq!(ids(&pgkeep, FILE, "children"), [3, 13, 23, 33]);
        let log = pgkeep.restore_log();
        assert_eq!(counts(&log, "keyless"), [37, 0, 0, 0, 5], "{major}");
        assert_eq!(counts(&log, "children"), [36, 0, 0, 0, 4], "{major}");
        assert_eq!(database.value("SELECT count(*) FROM keyless WHERE parent IS NULL"), "1");
    }
}
