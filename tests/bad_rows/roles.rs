//! Roles that may not set the replica role: keys are taken off and put on again, or stay on.

use crate::support::{Pgkeep, shared};
use crate::{FILE, counts, ids, restore, servers};

const TABLES: &str = "
CREATE TABLE parents (id int PRIMARY KEY, v int);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents, v int);
INSERT INTO parents SELECT n, n FROM generate_series(1, 20) AS n;
INSERT INTO children SELECT n, n, n FROM generate_series(1, 20) AS n;
";

/// As owner of both; as one who has rights on their rows alone.
#[test]
fn refused_rows_are_left_out_by_every_way_of_holding_foreign_keys() {
    for major in servers() {
        for (name, owns) in [("bad_owner", true), ("bad_writer", false)] {
            let database = shared(Some(major)).database(name);
            database.execute(&format!(
                "CREATE ROLE {name} LOGIN PASSWORD 'x'; {TABLES}
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name};"
            ));
            if owns {
                database.execute(&format!(
                    "GRANT CREATE ON SCHEMA public TO {name};
                     ALTER TABLE parents OWNER TO {name}; ALTER TABLE children OWNER TO {name}"
                ));
            }
            let pgkeep = Pgkeep::on(&database.url_as(name, "x"));
            pgkeep.ok(&["backup", "--data-only", "--out", "archive.json.gz"]);
            database.execute(
                "DELETE FROM children WHERE id > 5; DELETE FROM parents WHERE id > 10;
                 UPDATE parents SET v = 0 WHERE id = 9; UPDATE children SET v = 0 WHERE id = 5;
                 INSERT INTO parents VALUES (50, 0), (51, 0); INSERT INTO children VALUES (60, 50, 0);
                 ALTER TABLE parents ADD CHECK (v NOT IN (9, 12)); ALTER TABLE children ADD CHECK (v <> 5);",
            );
            let before = database.digest();
            restore(&pgkeep, "archive.json.gz", &[]).expect_code(3);
            let what = format!("{major} {name}");
            let log = pgkeep.restore_log();
            assert_eq!(ids(&pgkeep, FILE, "parents"), [9, 12], "{what}");
            assert_eq!(ids(&pgkeep, FILE, "children"), [5, 12], "{what}");
            assert_eq!(counts(&log, "parents"), [9, 0, 0, 9, 2], "{what}");
            assert_eq!(counts(&log, "children"), [14, 0, 0, 4, 2], "{what}");
            pgkeep.ok(&["rollback", "latest"]);
            assert_eq!(database.digest(), before, "{what}");
            // Of `parents` alone, exactly: 50 is referred to, 51 is not.
            restore(&pgkeep, "archive.json.gz", &["--mode", "exact", "--table", "parents"]).expect_code(3);
            let log = pgkeep.restore_log();
            assert_eq!(counts(&log, "parents"), [9, 0, 1, 9, 3], "{what}");
            assert_eq!(database.value("SELECT count(*) FROM parents WHERE id = 50"), "1", "{what}");
            pgkeep.ok(&["rollback", "latest"]);
            assert_eq!(database.digest(), before, "{what}");
        }
    }
}
