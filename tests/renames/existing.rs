//! Tables that are there under their new names.

use crate::support::{fixture, majors};
use crate::{archived, count};

const TABLES: &str = "
CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL, email text UNIQUE);
CREATE SCHEMA old;
CREATE TABLE old.people (email text, id serial PRIMARY KEY, name text NOT NULL);
INSERT INTO users (name, email) SELECT 'n' || n, 'e' || n FROM generate_series(1, 10) n;
INSERT INTO old.people (id, name, email) VALUES (1, 'n1', 'e1'), (2, 'changed', 'e2'), (99, 'only there', 'e99');
SELECT setval('old.people_id_seq', 99);
";

#[test]
fn rows_meet_those_of_the_other_table_in_every_mode_and_go_back() {
    for major in majors() {
        let (database, pgkeep, archive) = archived("modes", Some(major), TABLES);
        database.execute("TRUNCATE users");
        let before = database.digest();
        let people = |id: u32| format!("old.people WHERE id = {id} AND name LIKE 'n%'");
        for (mode, counts) in [
            ("upsert", [8, 1, 0, 1]),
            ("exact", [8, 1, 1, 1]),
            ("missing", [8, 0, 0, 1]),
            ("newer", [8, 0, 0, 1]),
        ] {
            let restore = ["restore", "--file", &archive, "--map", "users=old.people", "--mode", mode];
            let restore = [&restore[..], &["--newer-by", "email"]].concat();
            let keys = ["inserted", "updated", "deleted", "unchanged"];
            let seen = pgkeep.ok(&[&restore[..], &["--dry-run", "--json", "--sample", "1"]].concat()).json();
            assert_eq!(
                keys.map(|k| seen["tables"]["old.people"][k].as_u64().unwrap()),
                counts,
                "{mode}: {seen:#}"
            );
            let diff = ["diff", &archive, "live", "--map", "users=old.people", "--mode", mode, "--json"];
            let seen = pgkeep
                .ok(&[&diff[..], if mode == "newer" { &["--newer-by", "email"] } else { &[] }].concat())
                .json();
            assert_eq!(
                keys.map(|k| seen["tables"]["old.people"][k].as_u64().unwrap())[0],
                counts[0],
                "{mode}"
            );
            assert_eq!(seen["mapped"], serde_json::json!({"old.people": "users"}));
            assert_eq!(database.digest(), before, "{mode}");

            let run = pgkeep.ok(&[&restore[..], &["--safe"]].concat());
            assert!(
                run.stdout.contains("  1 table under another name: users as old.people\n"),
                "{}",
                run.stdout
            );
            let log = pgkeep.restore_log();
            let table = &log["tables_restored"]["old.people"];
            assert_eq!(keys.map(|k| table[k].as_u64().unwrap()), counts, "{mode}");
            assert_eq!((&log["mapped"]["old.people"], &log["verified"]), (&"users".into(), &true.into()));
            assert_eq!(log["objects_created"], 0);
            assert_eq!(count(&database, &people(10)), 1);
            assert_eq!(count(&database, &people(2)), u64::from(counts[1] == 1), "{mode}");
            assert_eq!(count(&database, "old.people WHERE id = 99"), u64::from(mode != "exact"));
            // Nobody has touched the table of the old name.
            assert_eq!(count(&database, "users"), 0);
            // The sequence never goes back but in mode exact.
            let sequence = database.value("SELECT last_value::text FROM old.people_id_seq");
            assert_eq!(sequence, if mode == "exact" { "10" } else { "99" }, "{mode}");
            pgkeep.ok(&["rollback", "latest"]);
            assert_eq!(database.digest(), before, "{mode}");
        }
    }
}

#[test]
fn whole_schemas_and_single_tables_go_where_the_best_name_says() {
    let (database, pgkeep, archive) = archived(
        "best_name",
        None,
        "CREATE SCHEMA a; CREATE TABLE a.x (id int PRIMARY KEY); CREATE TABLE a.y (id int PRIMARY KEY REFERENCES a.x);
         INSERT INTO a.x VALUES (1), (2); INSERT INTO a.y VALUES (2); CREATE TABLE z (id int); INSERT INTO z VALUES (3)",
    );
    pgkeep.ok(&[
        "restore",
        "--safe",
        "--file",
        &archive,
        "--map",
        "a.*=b.*",
        "--map",
        "a.y=c.y_old",
        "--into-schema",
        "d",
    ]);
    let tables = "SELECT string_agg(oid::regclass::text, ' ' ORDER BY oid::regclass::text) FROM pg_class
         WHERE relkind = 'r' AND relnamespace IN ('b'::regnamespace, 'c'::regnamespace, 'd'::regnamespace)";
    assert_eq!(database.value(tables), "b.x c.y_old d.z");
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'c.y_old'::regclass AND contype = 'f'";
    assert_eq!(database.value(key), "FOREIGN KEY (id) REFERENCES b.x(id)");
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(count(&database, "pg_namespace WHERE nspname IN ('b', 'c', 'd')"), 0);
    // Alone it is a choice.
    pgkeep.ok(&["restore", "--safe", "--file", &archive, "--map", "z=z2"]);
    assert_eq!(pgkeep.restore_log()["tables_restored"].as_object().unwrap().len(), 1);
}

#[test]
fn a_sequence_that_others_use_is_left_alone() {
    let (database, pgkeep, archive) = archived("shared_sequence", None, TABLES);
    // A copy as people make it: its default is the original's sequence.
    database.execute(
        "CREATE TABLE users_2 (LIKE users INCLUDING ALL); SELECT setval('users_id_seq', 1000); DELETE FROM users",
    );
    let run =
        pgkeep.ok(&["restore", "--safe", "--file", &archive, "--map", "users=users_2", "--mode", "exact"]);
    run.says("sequences without a counterpart in the target that nobody else uses are left as they are: users_id_seq");
    assert_eq!(count(&database, "users_2"), 10);
    assert_eq!(database.value("SELECT last_value::text FROM users_id_seq"), "1000");
}

#[test]
fn a_partitioned_table_takes_the_rows_of_a_plain_one_and_the_other_way_round() {
    let serial = "CREATE TABLE counted (id serial, k int) PARTITION BY LIST (k);
         CREATE TABLE counted_1 PARTITION OF counted DEFAULT; INSERT INTO counted (k) SELECT generate_series(1, 30);";
    let (database, pgkeep, archive) = archived("partitioned", None, &(fixture("reservations.sql") + serial));
    database.execute(&serial.replace("counted", "again").replace("30", "3"));
    let restore = ["restore", "--safe", "--file", &archive, "--map"];
    let run = pgkeep.ok(&[&restore[..], &["counted=again", "--mode", "exact"]].concat());
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    assert_eq!(
        database.value("SELECT count(*) || ' ' || (SELECT last_value FROM again_id_seq) FROM again_1"),
        "30 30"
    );
    database.execute(
        "CREATE TABLE plain (LIKE events INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING IDENTITY);
         CREATE TABLE parts (LIKE import_lines) PARTITION BY LIST (source); CREATE TABLE parts_1 PARTITION OF parts DEFAULT",
    );
    pgkeep.ok(&[
        "restore",
        "--safe",
        "--file",
        &archive,
        "--map",
        "events=plain",
        "--map",
        "import_lines=parts",
    ]);
    assert_eq!((count(&database, "plain"), count(&database, "parts_1")), (240, 63));
    let diff =
        ["diff", &archive, "live", "--map", "events=plain", "--map", "import_lines=parts", "--exit-code"];
    pgkeep.ok(&diff);
    database.execute("DELETE FROM plain WHERE booking_id IS NULL");
    pgkeep.run(&diff).expect_code(7);
}
