//! What would change, row by row, before anything does.

use crate::support::{Pgkeep, shared};

#[test]
fn columns_are_counted_and_rows_are_shown_old_and_new() {
    let database = shared(None).database("seen");
    database.execute(
        "CREATE TABLE users (id int PRIMARY KEY, email text, n numeric, j jsonb); CREATE TABLE same (id int);
         INSERT INTO users SELECT i, i || '@x', 1.0, '{\"a\": [1, 2]}' FROM generate_series(1, 5) i; INSERT INTO same VALUES (1)",
    );
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    database.execute(
        "DELETE FROM users WHERE id = 1; UPDATE users SET email = E'new\\u001b[31m', n = 1.00 WHERE id = 2;
         UPDATE users SET email = NULL WHERE id = 3; INSERT INTO users VALUES (9, 'nine', 12345678901234567890.10, '123456789012345678901234567890.5')",
    );
    pgkeep.ok(&["backup", "--out", "now.json.zst"]);
    let before = database.digest();
    let as_restore = ["restore", "--dry-run", "--mode", "exact", "--sample", "5", "--file", "b.json.gz"];
    for command in [
        &as_restore[..],
        &["diff", "b.json.gz", "--sample", "5"],
        &["diff", "b.json.gz", "now.json.zst", "--sample", "5"],
    ] {
        let json = pgkeep.ok(&[command, &["--json"]].concat()).json();
        let users = &json["tables"]["users"];
        let should = serde_json::json!({
            "inserted": 1, "updated": 2, "deleted": 1, "unchanged": 2, "columns": {"email": 2, "n": 1},
            "samples": {
                "inserted": [{"id": 1, "email": "1@x", "n": 1.0, "j": {"a": [1, 2]}}],
                "updated": [
                    {"key": {"id": 2}, "old": {"email": "new\u{1b}[31m", "n": "1.00"}, "new": {"email": "2@x", "n": "1.0"}},
                    {"key": {"id": 3}, "old": {"email": null}, "new": {"email": "3@x"}},
                ],
                "deleted": [{"id": 9}],
            },
        });
        let mut found = users.clone();
        // Digits as they are, which JSON values in this test do not keep.
        found["samples"]["deleted"] = serde_json::json!([{"id": found["samples"]["deleted"][0]["id"]}]);
        found["samples"]["inserted"][0]["n"] = 1.0.into();
        for at in 0..2 {
            if let Some(n) = found["samples"]["updated"][at]["new"].get_mut("n") {
                *n = "1.0".into();
            }
            if let Some(n) = found["samples"]["updated"][at]["old"].get_mut("n") {
                *n = "1.00".into();
            }
        }
        assert_eq!(found, should, "{command:?}");
        assert_eq!(
            json["tables"]["same"],
            serde_json::json!({"inserted": 0, "updated": 0, "deleted": 0, "unchanged": 1})
        );
        let shown = pgkeep.ok(command).stdout;
        for line in [
            "  users: 1 inserted, 2 updated (email 2, n 1), 1 deleted, 2 unchanged",
            "    + {\"id\":1,\"email\":\"1@x\",\"n\":",
            "    ~ {\"id\":3}: {\"email\":null} -> {\"email\":\"3@x\"}",
            "12345678901234567890.10",
            "123456789012345678901234567890.5",
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
    assert_eq!(database.digest(), before);
    assert!(pgkeep.files("summaries").iter().all(|f| !f.to_string_lossy().contains("restore_log")));
}

#[test]
fn a_reader_may_compare_and_nobody_waits_for_it() {
    let cluster = shared(None);
    let database = cluster.database("reader");
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1); SELECT lo_from_bytea(7, 'x');
         DROP ROLE IF EXISTS comparer; CREATE ROLE comparer LOGIN PASSWORD 'x'; GRANT SELECT ON t TO comparer; GRANT SELECT ON LARGE OBJECT 7 TO comparer",
    );
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    database.execute("UPDATE t SET v = 2; SELECT lo_put(7, 0, 'y')");
    let url = database.url_as("comparer", "x");
    // Somebody has written to the table, and has not committed yet.
    let before = "SELECT count(*) FROM pg_stat_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 3";
    let written = database.value(before);
    let json = pgkeep.ok(&["diff", "b.json.gz", "--json", "-d", &url]).json();
    assert_eq!(json["tables"]["t"]["updated"], 1, "{json:#}");
    assert_eq!(
        json["tables"]["large objects"]
            .as_object()
            .or(json["tables"]["pg_catalog.pg_largeobject"].as_object())
            .map(|t| t["updated"].clone()),
        Some(1.into()),
        "{json:#}"
    );
    assert_eq!(database.value(before), written);
    let run = pgkeep.run(&["diff", "b.json.gz", "--exit-code", "-d", &url]);
    run.expect_code(7);
    // A restore needs more, and its dry run says so.
    pgkeep
        .run(&["restore", "--dry-run", "--data-only", "--file", "b.json.gz", "-d", &url])
        .expect_code(5)
        .says("GRANT");
}

#[test]
fn tables_that_only_one_side_has_or_that_do_not_fit_are_named() {
    let database = shared(None).database("unlike");
    database.execute("CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE TABLE c (id int)");
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    database.execute("DROP TABLE a; ALTER TABLE b ALTER id TYPE bigint; CREATE TABLE d (id int)");
    pgkeep.ok(&["backup", "--out", "now.json.gz"]);
    let run = pgkeep.run(&["diff", "b.json.gz", "now.json.gz", "--json"]).expect_code(3);
    let json = run.json();
    assert_eq!(
        (&json["only_here"], &json["only_there"]),
        (&serde_json::json!(["a"]), &serde_json::json!(["d"]))
    );
    assert!(json["failed"]["b"].as_str().unwrap().contains("bigint"), "{json:#}");
    let live = pgkeep.run(&["diff", "b.json.gz", "--json"]).expect_code(3).json();
    assert_eq!((&live["only_here"], &live["only_there"]), (&json["only_here"], &json["only_there"]));
    pgkeep.run(&["diff", "b.json.gz", "--exclude", "b", "--exit-code"]).expect_code(7);
    pgkeep
        .run(&["diff", "b.json.gz", "now.json.gz", "--where", "c: id + 0 = 1"])
        .expect_code(2)
        .says("condition");
    pgkeep.run(&["diff", "b.json.gz", "now.json.gz", "--table", "nobody"]).expect_code(2).says("nobody");
}
