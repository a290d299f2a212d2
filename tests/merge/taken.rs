//! Rows and columns that a backup takes, and what a restore makes of such an archive.

use serde_json::{Value, json};

use crate::support::{Database, Pgkeep, Run, fixture, majors, shared};

const TABLES: &str = "
    CREATE TABLE sites (id int PRIMARY KEY, name text);
    CREATE TABLE bookings (id int PRIMARY KEY, site int REFERENCES sites, created_at date, status text DEFAULT 'new', note text,
                           twice int GENERATED ALWAYS AS (id * 2) STORED);
    CREATE TABLE items (id int PRIMARY KEY, booking int REFERENCES bookings, name text);
    CREATE TABLE visits (at date, place text);
    CREATE TABLE events (id int, kind text, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind);
    CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a'); CREATE TABLE events_b PARTITION OF events FOR VALUES IN ('b');
    INSERT INTO sites SELECT i, 's' || i FROM generate_series(1, 5) i;
    INSERT INTO bookings (id, site, created_at, status, note)
        SELECT i, 1 + i % 3, '2025-11-01'::date + i, CASE WHEN i <> 6 THEN 'open' END, 'n' || i FROM generate_series(1, 10) i;
    INSERT INTO items SELECT i, 1 + i % 10, 'i' || i FROM generate_series(1, 20) i;
    INSERT INTO visits SELECT '2025-11-01'::date + i % 3, 'bar' FROM generate_series(1, 9) i;
    INSERT INTO events SELECT i, CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 8) i;";

/// The ids of a table's rows in an archive.
fn ids(pgkeep: &Pgkeep, file: &str, table: &str) -> Vec<i64> {
    let rows = pgkeep.ok(&["show", file, table]);
    let mut ids: Vec<i64> = rows
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64().unwrap())
        .collect();
    ids.sort_unstable();
    ids
}

/// Rows of each table of an archive, by the table's name.
fn counts(pgkeep: &Pgkeep, file: &str) -> Value {
    let tables = pgkeep.ok(&["show", file, "--json"]).json();
    let tables = tables["tables"].as_array().unwrap().iter();
    tables.map(|t| (t["table"].as_str().unwrap().to_owned(), t["rows"].clone())).collect()
}

fn made(name: &str) -> (Database<'static>, Pgkeep) {
    let database = shared(None).database(name);
    database.execute(TABLES);
    let pgkeep = Pgkeep::on(&database.url);
    (database, pgkeep)
}

#[test]
fn of_a_table_with_a_condition_the_rows_that_meet_it_are_taken_and_others_whole() {
    for major in majors() {
        let cluster = shared(Some(major));
        let database = cluster.database("taken");
        database.execute(TABLES);
        let pgkeep = Pgkeep::on(&database.url);
        let flags = [
            "--where",
            "bookings: created_at >= $since AND bookings.status <> $$lost$$",
            "--param",
            "since=2025-11-05",
            "--where",
            "b*: id <> 9 -- and no more",
            "--where",
            "events: id > 5",
            "--where",
            "visits: at = '2025-11-02'",
            "--where",
            "items: false",
        ];
        for jobs in ["1", "3"] {
            let file = format!("some{jobs}.json.gz");
            pgkeep.ok(&[&["backup", "--jobs", jobs, "--out", &file], &flags[..]].concat());
            let should = json!({"sites": 5, "bookings": 5, "items": 0, "visits": 3, "events": 3});
            assert_eq!(counts(&pgkeep, &file), should, "{major}");
            // A NULL meets no condition.
            assert_eq!(ids(&pgkeep, &file, "bookings"), [4, 5, 7, 8, 10], "{major}");
            assert_eq!(ids(&pgkeep, &file, "events"), [6, 7, 8], "{major}");
            pgkeep.ok(&["validate", &file]);
        }
        let header = pgkeep.ok(&["show", "some1.json.gz", "--json"]).json();
        assert_eq!(
            header["selection"]["conditions"][0],
            "bookings: created_at >= '2025-11-05' AND bookings.status <> $$lost$$"
        );
        // It comes into an empty database, and over what is there; other rows are none too many.
        let copy = cluster.database("taken_copy");
        pgkeep.ok(&["restore", "--yes", "--file", "some1.json.gz", "-d", &copy.url]);
        assert_eq!(copy.value("SELECT string_agg(id::text, ' ' ORDER BY id) FROM bookings"), "4 5 7 8 10");
        database.execute("UPDATE bookings SET note = 'x' WHERE id IN (1, 4); DELETE FROM items; DELETE FROM bookings WHERE id = 5");
        pgkeep.ok(&["restore", "--safe", "--file", "some1.json.gz"]);
        let notes = "SELECT string_agg(id || note, ' ' ORDER BY id) FROM bookings";
        assert_eq!(database.value(notes), "1x 2n2 3n3 4n4 5n5 6n6 7n7 8n8 9n9 10n10");
        pgkeep
            .run(&["restore", "--safe", "--mode", "exact", "--file", "some1.json.gz"])
            .expect_code(2)
            .says("only rows that meet a condition, bookings: created_at");
        let diff = pgkeep.ok(&["diff", "some1.json.gz", "--json"]).json();
        assert_eq!(diff["tables"]["bookings"]["deleted"], 0, "{diff:#}");
    }
}

#[test]
fn what_the_chosen_rows_refer_to_comes_with_them() {
    let (database, pgkeep) = made("taken with references");
    let flags = ["--table", "items", "--where", "items: id IN (3, 13, 4)", "--with-references"];
    let said = pgkeep.ok(&[&["backup", "--out", "i.json.gz"], &flags[..]].concat());
    said.says("bookings");
    assert_eq!(counts(&pgkeep, "i.json.gz"), json!({"items": 3, "bookings": 2, "sites": 2}));
    assert_eq!(ids(&pgkeep, "i.json.gz", "bookings"), [4, 5]);
    assert_eq!(ids(&pgkeep, "i.json.gz", "sites"), [2, 3]);
    let copy = shared(None).database("taken with references copy");
    pgkeep.ok(&["restore", "--yes", "--file", "i.json.gz", "-d", &copy.url]);
    assert_eq!(
        copy.value(
            "SELECT count(*) FROM items JOIN bookings b ON b.id = booking JOIN sites s ON s.id = site"
        ),
        "3"
    );
    // A table that is wanted by a condition has the rows, too, that others need.
    let flags = ["--where", "bookings: id = 2", "--where", "items: id < 3", "--with-references"];
    pgkeep.ok(&[&["backup", "--out", "b.json.gz"], &flags[..]].concat());
    assert_eq!(ids(&pgkeep, "b.json.gz", "bookings"), [2, 3]);
    let whole = pgkeep.ok(&["backup", "--out", "w.json.gz", "--table", "items", "--with-references"]);
    whole.says("items: all rows\n").says("├─ bookings: 10 rows");
    assert_eq!(
        counts(&pgkeep, "b.json.gz"),
        json!({"items": 2, "bookings": 2, "sites": 5, "visits": 9, "events": 8})
    );
    // Nothing that a backup of everything has gets lost by it.
    database.execute("SELECT lo_from_bytea(7777, 'large')");
    pgkeep.ok(&["backup", "--out", "large.json.gz", "--with-references"]);
    assert_eq!(counts(&pgkeep, "large.json.gz")["pg_catalog.pg_largeobject"], 1);
    pgkeep.ok(&["backup", "--out", "large2.json.gz", "--where", "items: id = 1"]);
    assert_eq!(counts(&pgkeep, "large2.json.gz")["pg_catalog.pg_largeobject"], 1);
}

#[test]
fn a_restore_takes_chosen_rows_and_what_they_refer_to_out_of_any_archive() {
    let (database, pgkeep) = made("restored with references");
    pgkeep.ok(&["backup", "--out", "all.json.gz"]);
    database.execute("DELETE FROM items; DELETE FROM bookings WHERE id > 2; UPDATE sites SET name = 'x'; INSERT INTO bookings (id) VALUES (77)");
    let damaged = database.digest();
    let flags = ["--with-references", "--table", "items,bookings", "--where", "items: id IN (3, 13, 4)"];
    let flags = [&flags[..], &["--where", "bookings: id = 9"]].concat();
    let counts = |tables: &Value| {
        let tables = tables.as_object().unwrap().iter();
        let counts = tables.map(|(t, n)| (t.clone(), json!([n["inserted"], n["updated"], n["deleted"]])));
        counts.filter(|(_, n)| *n != json!([0, 0, 0])).collect::<Value>()
    };
    let should = json!({"items": [3, 0, 0], "bookings": [3, 0, 0], "sites": [0, 3, 0]});
    let restore = |how: &str| {
        pgkeep.ok(&[&["restore", how, "--json", "--file", "all.json.gz"], &flags[..]].concat()).json()
    };
    assert_eq!(counts(&restore("--dry-run")["tables"]), should);
    pgkeep.ok(&["backup", "--out", "now.json.gz"]);
    for (other, mode) in
        [("live", "exact"), ("now.json.gz", "exact"), ("live", "upsert"), ("now.json.gz", "upsert")]
    {
        let diff = ["diff", "all.json.gz", other, "--json", "--mode", mode];
        let diff = pgkeep.ok(&[&diff[..], &flags[..]].concat()).json();
        assert_eq!(counts(&diff["tables"]), should, "{other} {mode} {diff:#}");
    }
    assert_eq!(counts(&restore("--safe")["tables_restored"]), should);
    let ids =
        |table: &str| database.value(&format!("SELECT string_agg(id::text, ' ' ORDER BY id) FROM {table}"));
    assert_eq!((ids("items"), ids("bookings")), ("3 4 13".into(), "1 2 4 5 9 77".into()));
    assert_eq!(database.value("SELECT string_agg(name, ' ' ORDER BY id) FROM sites"), "s1 s2 s3 x x");
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(database.digest(), damaged);
    let refused = |more: &[&str]| {
        let run = ["restore", "--safe", "--file", "all.json.gz", "--with-references", "--table", "items"];
        pgkeep.run(&[&run[..], more].concat()).expect_code(2)
    };
    refused(&["--where", "items: id = 3", "--mode", "exact"]).says("which others are too many");
    refused(&["--where", "items: lower(name) = 'i3'"]).says("without a server").says("lower");
    refused(&["--where", "bookings: id = 3"]).says("no table that is chosen matches \"bookings\"");
    refused(&["--where", "items: id = 99"]).says("no row of items meets its condition");
    let diff = ["diff", "all.json.gz", "now.json.gz", "--where", "items: id = 99"];
    pgkeep.run(&diff).expect_code(2).says("no row of items meets its condition");
    assert_eq!(database.digest(), damaged);
}

#[test]
fn columns_that_are_left_out_stay_as_they_are() {
    let (database, pgkeep) = made("taken columns");
    let flags =
        ["--columns", "bookings: status, created_at", "--columns", "items: name", "--columns", "events: id"];
    database.execute("ALTER TABLE events ADD word text DEFAULT 'w'; UPDATE events SET word = 'x'");
    for format in ["binary", "text"] {
        let file = format!("{format}.json.gz");
        pgkeep.ok(&[&["backup", "--copy-format", format, "--out", &file], &flags[..]].concat());
        let row = pgkeep.ok(&["show", &file, "bookings", "--limit", "1"]).json();
        assert_eq!(row, json!({"id": 1, "created_at": "2025-11-02", "status": "open"}), "{format}");
    }
    let header = pgkeep.ok(&["show", "binary.json.gz", "--json"]).json();
    assert_eq!(
        header["selection"]["columns"],
        json!(["bookings: status, created_at", "items: name", "events: id"])
    );
    let bookings = &header["tables"].as_array().unwrap().iter().find(|t| t["table"] == "bookings").unwrap();
    assert_eq!(bookings["left_out"], json!(["site", "note"]), "{header:#}");
    database.execute(
        "UPDATE bookings SET status = 'lost', note = 'kept' WHERE id = 2; UPDATE bookings SET note = 'kept' WHERE id = 3;
         DELETE FROM items WHERE booking = 5; DELETE FROM bookings WHERE id = 5; INSERT INTO bookings VALUES (99, 1)",
    );
    let damaged = database.digest();
    let rows = "SELECT string_agg(concat(id, status, ':', site, ':', note), ' ' ORDER BY id) FROM bookings";
    for (mode, last) in [("upsert", " 99new:1:"), ("exact", "")] {
        let flags = ["--safe", "--mode", mode, "--table", "bookings", "--file", "binary.json.gz", "--json"];
        let log = pgkeep.ok(&[&["restore"], &flags[..]].concat()).json();
        let found = &log["tables_restored"]["bookings"];
        assert_eq!((&found["inserted"], &found["updated"]), (&json!(1), &json!(1)), "{log:#}");
        let should = "1open:2:n1 2open:3:kept 3open:1:kept 4open:2:n4 5open:: 6:1:n6 7open:2:n7 8open:3:n8 9open:1:n9 10open:2:n10";
        assert_eq!(database.value(rows), format!("{should}{last}"), "{mode}");
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(database.digest(), damaged, "{mode}");
    }
    let copy = shared(None).database("taken columns copy");
    pgkeep.ok(&["restore", "--yes", "--file", "text.json.gz", "-d", &copy.url]);
    let shown = "SELECT string_agg(concat(id, status, ':', site, ':', note, ':', twice), ' ' ORDER BY id) FROM bookings WHERE id < 3";
    assert_eq!(copy.value(shown), "1open:::2 2open:::4");
    assert_eq!(
        copy.value("SELECT string_agg(id || kind || word, ' ' ORDER BY id) FROM events WHERE id < 3"),
        "1bw 2aw"
    );
    // Into a database that holds something, too, and columns that are chosen only now.
    let half = shared(None).database("taken columns half");
    half.execute("CREATE TABLE mine (id int)");
    pgkeep.ok(&["restore", "--safe", "--file", "text.json.gz", "-d", &half.url, "--columns", "events: kind"]);
    assert_eq!(half.value(shown), "1open:::2 2open:::4");
    assert_eq!(half.value("SELECT count(*) FROM events WHERE word = 'w'"), "8");
    // A column that new rows must have is missed before anything is done.
    database.execute("ALTER TABLE items ALTER booking SET NOT NULL");
    pgkeep.ok(&[&["backup", "--out", "must.json.gz"], &flags[..]].concat());
    let other = shared(None).database("taken columns other");
    pgkeep
        .run(&["restore", "--yes", "--file", "must.json.gz", "-d", &other.url])
        .expect_code(1)
        .says("items")
        .says("booking");
    assert_eq!(other.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"), "0");
}

#[test]
fn choices_that_mean_nothing_are_refused_and_nothing_is_written() {
    let (_database, pgkeep) = made("taken nothing");
    let refused = |flags: &[&str]| -> Run {
        let run = pgkeep.run(&[&["backup", "--out", "x.json.gz"], flags].concat()).expect_code(2);
        assert!(!pgkeep.dir().join("x.json.gz").exists(), "{flags:?}");
        run
    };
    refused(&["--where", "bookings: no_such = 1"])
        .says("the condition on rows of bookings cannot be used")
        .says("no_such");
    refused(&["--where", "bookings: true); DROP TABLE visits; SELECT (true"]).says("bookings");
    refused(&["--where", "bookings: id"]).says("bookings");
    refused(&["--where", "bookings: created_at > 'soon'"]).says("bookings");
    refused(&["--where", "bookings: $since < created_at"]).says("$since");
    refused(&["--where", "nobody: true"]).says("no table that is backed up matches \"nobody\"");
    refused(&["--table", "items", "--where", "bookings: true", "--with-references"]).says("\"bookings\"");
    refused(&["--where", "events_a: true"]).says("by its own name");
    refused(&["--columns", "bookings: id, nothing"]).says("nothing");
    refused(&["--columns", "bookings: twice"]).says("generated");
    refused(&["--columns", "visits: at"]).says("no key");
    refused(&["--where", "bookings: id > 99"]).says("no row of bookings meets its condition");
    refused(&["--where", "bookings: id > 99", "--with-references", "--where", "items: false"])
        .says("no row of bookings, items meets its condition");
    refused(&["--where", "bookings: true", "--schema-only"]).says("--schema-only");
    refused(&["--where", "bookings: true", "--entity", "sites=1"]).says("--entity");
}

#[test]
fn names_in_a_condition_mean_what_they_mean_in_the_application_and_values_are_printed_as_ever() {
    let (database, pgkeep) = made("taken names");
    database.execute(
        "CREATE SCHEMA app; CREATE FUNCTION app.is_late(b date) RETURNS bool LANGUAGE sql AS 'SELECT b > ''2025-11-08''';
         CREATE TABLE app.kinds (id int PRIMARY KEY, r regclass, at timestamptz DEFAULT now());
         INSERT INTO app.kinds VALUES (1, 'app.kinds'), (2, 'public.sites');
         CREATE FUNCTION app.upper(text) RETURNS text LANGUAGE sql AS 'SELECT ''mine''::text'",
    );
    let name = database.value("SELECT current_database()");
    database.execute(&format!("ALTER DATABASE \"{name}\" SET search_path = app, public"));
    let flags = [
        "--where",
        "bookings: is_late(created_at) AND site NOT IN (SELECT id FROM sites WHERE upper(name) = 'mine')",
        "--where",
        "app.kinds: at <= now() AND pg_is_in_recovery() IS NOT NULL",
    ];
    pgkeep.ok(&[&["backup", "--out", "n.json.gz"], &flags[..]].concat());
    assert_eq!(ids(&pgkeep, "n.json.gz", "bookings"), [8, 9, 10]);
    let rows = pgkeep.ok(&["show", "n.json.gz", "app.kinds", "--limit", "1"]).json();
    assert_eq!(rows["r"], "app.kinds");
}

#[test]
fn many_rows_of_a_large_fixture_are_the_same_as_the_server_counts() {
    let database = shared(None).database("taken many");
    database.execute(&fixture("reservations.sql"));
    database.execute("CREATE TABLE big (id int PRIMARY KEY, v text); INSERT INTO big SELECT i, md5(i::text) FROM generate_series(1, 60000) i");
    let pgkeep = Pgkeep::on(&database.url);
    let flags = ["--jobs", "2", "--where", "big: v < '8'"];
    pgkeep.ok(&[&["backup", "--out", "m.json.gz"], &flags[..]].concat());
    let should = database.value("SELECT string_agg(id::text, ',' ORDER BY id) FROM big WHERE v < '8'");
    let found: Vec<String> = ids(&pgkeep, "m.json.gz", "big").iter().map(i64::to_string).collect();
    assert!(found.len() > 20_000);
    assert_eq!(found.join(","), should);
    assert_eq!(
        counts(&pgkeep, "m.json.gz")["bookings"].to_string(),
        database.value("SELECT count(*) FROM bookings")
    );
}
