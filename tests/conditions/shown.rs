//! `show` with `--where` and `--columns`.

use serde_json::json;

use crate::support::{Pgkeep, shared};

fn with_archive(name: &str) -> Pgkeep {
    let database = shared(None).database(name);
    database.execute(
        "CREATE TABLE bookings (id int PRIMARY KEY, status text, total numeric(10,2), at timestamptz, \"a,b\" text);
         CREATE TABLE sites (id int); CREATE SCHEMA other; CREATE TABLE other.bookings (id int PRIMARY KEY);
         INSERT INTO bookings SELECT i, CASE WHEN i % 10 = 0 THEN 'held' ELSE 'open' END, i, '2025-11-01'::timestamptz + i * interval '1 hour', 'x'
           FROM generate_series(1, 20000) i;
         INSERT INTO sites VALUES (1); INSERT INTO other.bookings VALUES (1), (2)",
    );
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    pgkeep
}

#[test]
fn rows_that_meet_a_condition_are_printed_with_the_chosen_columns_in_order() {
    let pgkeep = with_archive("shown rows");
    let show = |flags: &[&str]| pgkeep.ok(&[&["show", "b.json.gz", "bookings"], flags].concat());
    let found = show(&[
        "--where",
        "bookings: status = $s",
        "--param",
        "s=held",
        "--columns",
        "bookings: total,id",
        "--limit",
        "3",
    ]);
    assert_eq!(
        found.stdout,
        "{\"total\":\"10.00\",\"id\":10}\n{\"total\":\"20.00\",\"id\":20}\n{\"total\":\"30.00\",\"id\":30}\n"
    );
    let all = show(&[
        "--where",
        "bookings: status = 'held'",
        "--where",
        "*: id > 10000",
        "--columns",
        "bookings: id,id,\"a,b\"",
    ]);
    let ids: Vec<String> = (1001..=2000).map(|n| format!("{{\"id\":{},\"a,b\":\"x\"}}", n * 10)).collect();
    assert_eq!(all.stdout.lines().collect::<Vec<_>>(), ids);
    let by_key = ["--where-key", "id=20"];
    assert_eq!(
        show(&[&by_key[..], &["--where", "bookings: status = 'held'"]].concat()).stdout.lines().count(),
        1
    );
    let none = show(&[&by_key[..], &["--where", "bookings: status = 'open'"]].concat());
    assert!(none.stdout.is_empty());
    none.says("no row of bookings meets the condition");
    assert_eq!(show(&["--columns", "bookings: status", "--limit", "1"]).stdout, "{\"status\":\"open\"}\n");
    assert_eq!(show(&["--where", "bookings: true", "--limit", "0"]).stdout, "");
}

#[test]
fn without_a_table_the_rows_that_meet_a_condition_are_counted() {
    let pgkeep = with_archive("shown counts");
    let flags =
        ["--where", "bookings: at < '2025-11-02' AND status = 'open'", "--columns", "bookings: id,status"];
    let json = pgkeep.ok(&[&["show", "b.json.gz", "--json"], &flags[..]].concat()).json();
    let table =
        |name: &str| json["tables"].as_array().unwrap().iter().find(|t| t["table"] == name).unwrap().clone();
    assert_eq!((&table("bookings")["rows"], &table("bookings")["chosen"]), (&json!(20000), &json!(21)));
    assert_eq!(table("bookings")["columns"].as_array().unwrap().len(), 2);
    assert_eq!((&table("sites")["rows"], table("sites").get("chosen")), (&json!(1), None));
    assert_eq!(table("other.bookings").get("chosen"), None);
    let shown = pgkeep.ok(&[&["show", "b.json.gz"], &flags[..]].concat()).stdout;
    let line = shown.lines().find(|line| line.starts_with("bookings")).unwrap().to_owned();
    assert!(line.contains("21 of 20,000") && line.contains("2 of 5"), "{shown}");
    let json = pgkeep
        .ok(&["show", "b.json.gz", "--json", "--where", "*.bookings: id = 2", "--schema-name", "other"])
        .json();
    assert_eq!((json["tables"].as_array().unwrap().len(), &json["tables"][0]["chosen"]), (1, &json!(1)));
}

#[test]
fn a_choice_that_means_nothing_is_refused() {
    let pgkeep = with_archive("shown nothing");
    for (flags, said) in [
        (
            &["bookings", "--where", "sites: id = 1"][..],
            "no table of the archive that is shown matches \"sites\"",
        ),
        (&["--where", "nobody: true"], "matches \"nobody\""),
        (&["bookings", "--where", "bookings: id < 0"], "no row of bookings meets its condition"),
        (&["--where", "bookings: id < 0"], "no row of bookings meets its condition"),
        (&["--columns", "nobody: a"], "matches \"nobody\""),
        (
            &["bookings", "--columns", "bookings: id,nothing"],
            "--columns names \"nothing\", which the archive does not have",
        ),
        (&["--columns", "bookings: nothing"], "bookings has the columns id, status, total, at, a,b"),
        (&["bookings", "--where", "bookings: nothing = 1"], "column \"nothing\" does not exist"),
        (&["bookings", "--where", "bookings: upper(status) = 'OPEN'"], "the function \"upper\""),
        (&["--where", "bookings: status < 'p'"], "COLLATE"),
        (&["--where", "bookings: id = $id"], "$id"),
        (&["--schema", "bookings", "--where", "bookings: true"], "--schema shows definitions"),
    ] {
        let run = pgkeep.run(&[&["show", "b.json.gz"], flags].concat()).expect_code(2);
        run.says(said);
        assert!(run.stdout.is_empty(), "{}", run.stdout);
    }
}
