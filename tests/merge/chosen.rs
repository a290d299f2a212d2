//! Rows and columns that are chosen: nothing else is touched.

use crate::support::{Pgkeep, shared};

const TABLES: &str = "
    CREATE TABLE sites (id int PRIMARY KEY, name text);
    CREATE TABLE bookings (id int PRIMARY KEY, site int REFERENCES sites, created_at date, status text, note text DEFAULT 'new');
    CREATE TABLE visits (at date, place text);
    INSERT INTO sites VALUES (1, 'a'), (2, 'b');
    INSERT INTO bookings SELECT i, 1 + i % 2, '2025-11-01'::date + i, 'open', 'n' || i FROM generate_series(1, 10) i;
    INSERT INTO visits SELECT '2025-11-01'::date + i % 3, 'bar' FROM generate_series(1, 9) i;";

const BOOKINGS: &str = "SELECT string_agg(concat(id, ':', status, ':', note), ' ' ORDER BY id) FROM bookings";

#[test]
fn only_rows_that_meet_a_condition_are_restored() {
    let database = shared(None).database("conditions");
    database.execute(TABLES);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    database.execute(
        "UPDATE bookings SET status = 'lost', note = 'x' WHERE id IN (2, 9); DELETE FROM bookings WHERE id IN (3, 8);
         INSERT INTO bookings VALUES (20, 1, '2025-12-24', 'late'), (21, 1, '2025-11-01', 'early');
         UPDATE bookings SET created_at = '2025-12-24' WHERE id = 4; DELETE FROM visits WHERE at = '2025-11-02'; INSERT INTO visits VALUES ('2025-11-03', 'sauna')",
    );
    let damaged = database.digest();
    let since = [
        "--where",
        "bookings: created_at >= $since AND bookings.status <> $$lost$$",
        "--param",
        "since=2025-11-09",
    ];
    let table = |log: &serde_json::Value, name: &str| {
        ["inserted", "updated", "deleted", "unchanged"]
            .map(|k| log["tables_restored"][name][k].as_u64().unwrap())
    };
    // Archived rows 8, 9 and 10 meet it. Of the live ones 20 does, and 4, which is archived without meeting it.
    for (mode, counts, should) in [
        (
            "upsert",
            [1, 1, 0, 1],
            "1:open:n1 2:lost:x 4:open:n4 5:open:n5 6:open:n6 7:open:n7 8:open:n8 9:open:n9 10:open:n10 20:late:new 21:early:new",
        ),
        (
            "exact",
            [1, 1, 1, 1],
            "1:open:n1 2:lost:x 4:open:n4 5:open:n5 6:open:n6 7:open:n7 8:open:n8 9:open:n9 10:open:n10 21:early:new",
        ),
        (
            "missing",
            [1, 0, 0, 1],
            "1:open:n1 2:lost:x 4:open:n4 5:open:n5 6:open:n6 7:open:n7 8:open:n8 9:lost:x 10:open:n10 20:late:new 21:early:new",
        ),
    ] {
        let flags =
            [&["--table", "bookings", "--mode", mode, "--json", "--file", "b.json.gz"], &since[..]].concat();
        let dry = pgkeep.ok(&[&["restore", "--dry-run"], &flags[..]].concat()).json();
        assert_eq!(table(&dry, "bookings"), counts, "{mode}, dry");
        let log = pgkeep.ok(&[&["restore", "--safe"], &flags[..]].concat()).json();
        assert_eq!(table(&log, "bookings"), counts, "{mode}");
        assert_eq!(database.value(BOOKINGS), should, "{mode}");
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(database.digest(), damaged, "{mode}");
    }
    // Without a key, too.
    let visits =
        ["restore", "--safe", "--json", "--mode", "exact", "--table", "visits", "--file", "b.json.gz"];
    let log = pgkeep.ok(&[&visits[..], &["--where", "visits: at >= '2025-11-03'"]].concat()).json();
    assert_eq!(table(&log, "visits"), [0, 0, 1, 3]);
    assert_eq!(database.value("SELECT count(*) FROM visits"), "6");
    let diff = pgkeep.ok(&["diff", "b.json.gz", "--json", "--where", "visits: at < '2025-11-03'"]).json();
    assert_eq!(
        (&diff["tables"]["visits"]["inserted"], &diff["tables"]["visits"]["deleted"]),
        (&3.into(), &0.into()),
        "{diff:#}"
    );
}

#[test]
fn a_condition_that_is_none_is_refused_before_anything_happens() {
    let database = shared(None).database("no conditions");
    database.execute(TABLES);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    let before = database.digest();
    for (condition, said) in [
        ("bookings: no_such_column = 1", "no_such_column"),
        ("bookings: true); DROP TABLE visits; SELECT (true", "bookings"),
        ("bookings: id", "bookings"),
        ("nobody: true", "nobody"),
        ("bookings", "bookings"),
        ("bookings: created_at > $since", "$since"),
        ("bookings: id > 99", "no row of bookings meets its condition"),
    ] {
        for how in ["--safe", "--dry-run"] {
            pgkeep
                .run(&["restore", how, "--file", "b.json.gz", "--where", condition])
                .expect_code(2)
                .says(said);
        }
    }
    pgkeep
        .run(&["restore", "--safe", "--file", "b.json.gz", "--columns", "bookings: id,nothing"])
        .expect_code(1)
        .says("nothing");
    pgkeep
        .run(&["diff", "b.json.gz", "--columns", "bookings: note", "--where", "bookings: status = 'open'"])
        .expect_code(2)
        .says("beside --columns, the condition may name those columns");
    pgkeep
        .run(&["restore", "--safe", "--file", "b.json.gz", "--columns", "visits: at"])
        .expect_code(1)
        .says("no key");
    assert_eq!(database.digest(), before);
}

#[test]
fn only_chosen_columns_are_restored_and_others_keep_what_they_have() {
    let database = shared(None).database("columns");
    database.execute(TABLES);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    database.execute(
        "UPDATE bookings SET status = 'lost', note = 'kept' WHERE id IN (2, 9); UPDATE bookings SET note = 'kept' WHERE id = 5;
         DELETE FROM bookings WHERE id = 3; ALTER TABLE bookings ADD later int DEFAULT 7, ALTER created_at TYPE timestamp",
    );
    let damaged = database.digest();
    let flags = ["--json", "--table", "bookings", "--columns", "bookings: status", "--file", "b.json.gz"];
    let dry = pgkeep.ok(&[&["restore", "--dry-run"], &flags[..]].concat()).json();
    let log = pgkeep.ok(&[&["restore", "--safe"], &flags[..]].concat()).json();
    for log in [&dry, &log] {
        let found = &log["tables_restored"]["bookings"];
        assert_eq!(
            (&found["inserted"], &found["updated"], &found["unchanged"]),
            (&1.into(), &2.into(), &7.into()),
            "{log:#}"
        );
    }
    assert_eq!(dry["tables"]["bookings"]["columns"], serde_json::json!({"status": 2}));
    let should = "1:open:n1 2:open:kept 3:open:new 4:open:n4 5:open:kept 6:open:n6 7:open:n7 8:open:n8 9:open:kept 10:open:n10";
    assert_eq!(database.value(BOOKINGS), should);
    assert_eq!(database.value("SELECT count(*) FROM bookings WHERE later = 7"), "10");
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(database.digest(), damaged);
}

#[test]
fn columns_of_a_table_that_has_lost_its_key_are_refused_and_names_like_ours_are_names() {
    let database = shared(None).database("lost key");
    database.execute(
        "CREATE TABLE lk (id int PRIMARY KEY, email text, phone text); INSERT INTO lk VALUES (1, 'a', 'pa'), (2, 'b', 'pb');
         CREATE TABLE s (id int PRIMARY KEY, decision int, staged text, pgkeep_chosen int, kept_0 int, s int, t int, place int);
         INSERT INTO s SELECT i, i, 'x', i, i, i, i, i FROM generate_series(1, 9) i;",
    );
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    database.execute("ALTER TABLE lk DROP CONSTRAINT lk_pkey; UPDATE lk SET email = 'z', phone = 'live'; UPDATE s SET decision = 0, staged = 'kept'");
    let before = database.digest();
    for mode in ["upsert", "exact"] {
        let flags =
            ["--table", "lk", "--columns", "lk: email", "--data-only", "--mode", mode, "--file", "b.json.gz"];
        pgkeep
            .run(&[&["restore", "--safe"], &flags[..]].concat())
            .expect_code(1)
            .says("no key by which rows");
    }
    assert_eq!(database.digest(), before);
    let flags = [
        "--safe",
        "--json",
        "--columns",
        "s: decision",
        "--where",
        "s: id < 5 -- and no more",
        "--table",
        "s",
    ];
    let log = pgkeep.ok(&[&["restore", "--file", "b.json.gz"], &flags[..]].concat()).json();
    assert_eq!(log["total_updated"], 4, "{log:#}");
    let should = "1kept 2kept 3kept 4kept 0kept 0kept 0kept 0kept 0kept";
    assert_eq!(database.value("SELECT string_agg(decision || staged, ' ' ORDER BY id) FROM s"), should);
}

#[test]
fn a_condition_is_asked_once() {
    let database = shared(None).database("asked once");
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 200) i");
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    database.execute("UPDATE t SET v = 0; DELETE FROM t WHERE id > 100");
    for condition in ["t: random() < 0.5", "t: id NOT IN (SELECT id FROM t)"] {
        let flags = ["--safe", "--json", "--where", condition, "--file", "b.json.gz"];
        let log = pgkeep.ok(&[&["restore"], &flags[..]].concat()).json();
        let t = &log["tables_restored"]["t"];
        let [inserted, updated, unchanged] =
            ["inserted", "updated", "unchanged"].map(|k| t[k].as_u64().unwrap());
        assert!(inserted > 0 && unchanged == 0, "{log:#}");
        let now = "SELECT concat(count(*) FILTER (WHERE id > 100), ' ', count(*) FILTER (WHERE id <= 100 AND v > 0)) FROM t";
        assert_eq!(database.value(now), format!("{inserted} {updated}"), "{condition}");
        pgkeep.ok(&["rollback", "latest"]);
    }
}

#[test]
fn chosen_rows_come_into_tables_that_are_made_and_into_an_empty_database() {
    let cluster = shared(None);
    let database = cluster.database("made for some");
    database.execute(TABLES);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    let empty = cluster.database("empty for some");
    let flags = ["--safe", "--json", "--where", "bookings: id > 7", "--file", "b.json.gz"];
    pgkeep.ok(&[&["restore", "-d", &empty.url], &flags[..]].concat());
    let counts = "SELECT concat((SELECT count(*) FROM sites), ' ', (SELECT count(*) FROM bookings), ' ', (SELECT count(*) FROM visits))";
    assert_eq!(empty.value(counts), "2 3 9");
    database.execute("DROP TABLE bookings");
    pgkeep.ok(&[&["restore"], &flags[..]].concat());
    assert_eq!(database.value(counts), "2 3 9");
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(database.value("SELECT to_regclass('bookings') IS NULL"), "t");
}

#[test]
fn a_schemas_name_chooses_its_tables() {
    let database = shared(None).database("schemas");
    database.execute("CREATE SCHEMA shop; CREATE TABLE shop.a (id int); INSERT INTO shop.a VALUES (1); CREATE TABLE b (id int)");
    let pgkeep = Pgkeep::on(&database.url);
    let tables = |run: crate::support::Run| {
        run.json()["tables"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["table"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    pgkeep.ok(&["backup", "--out", "some.json.gz", "--schema-name", "shop"]);
    assert_eq!(tables(pgkeep.ok(&["show", "some.json.gz", "--json"])), ["shop.a"]);
    pgkeep.ok(&["backup", "--out", "all.json.gz"]);
    assert_eq!(tables(pgkeep.ok(&["show", "all.json.gz", "--json", "--schema-name", "shop"])), ["shop.a"]);
    database.execute("DELETE FROM shop.a");
    let log =
        pgkeep.ok(&["restore", "--safe", "--json", "--schema-name", "shop", "--file", "all.json.gz"]).json();
    assert_eq!(log["tables_restored"].as_object().unwrap().len(), 1);
    for command in [
        &["backup", "--out", "x.json.gz"][..],
        &["diff", "all.json.gz"],
        &["show", "all.json.gz"],
        &["restore", "--safe", "--file", "all.json.gz"],
    ] {
        pgkeep.run(&[command, &["--schema-name", "nobody"]].concat()).expect_code(2).says("nobody");
    }
}
