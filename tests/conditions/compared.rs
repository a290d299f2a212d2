//! Between two archives the same is compared as between an archive and the database.

use serde_json::Value;

use crate::support::{Pgkeep, majors, shared};

const TABLES: &str = "
    CREATE TABLE sites (id int PRIMARY KEY, name text);
    CREATE TABLE bookings (id int PRIMARY KEY, site int REFERENCES sites, created_at timestamptz, status text, note text, total numeric(10,2));
    CREATE TABLE visits (at date, place text);
    CREATE TABLE empty (id int PRIMARY KEY, v text);
    INSERT INTO sites VALUES (1, 'a'), (2, 'b');
    INSERT INTO bookings SELECT i, 1 + i % 2, '2025-11-01'::date + i, 'open', 'n' || i, i / 2.0 FROM generate_series(1, 40) i;
    INSERT INTO visits SELECT '2025-11-01'::date + i % 3, 'bar' FROM generate_series(1, 9) i;";

/// Rows that are gone, changed, new; that have come to meet conditions, and that meet them no more.
const SINCE: &str = "
    UPDATE bookings SET status = 'lost', note = NULL, created_at = '2026-01-01' WHERE id IN (2, 9, 30);
    UPDATE bookings SET total = total + 0.000, note = 'x' WHERE id = 12; UPDATE bookings SET created_at = '2020-01-01' WHERE id IN (4, 31);
    DELETE FROM bookings WHERE id IN (3, 8, 33); INSERT INTO bookings VALUES (50, 1, '2025-12-24', 'late', 'y', 9), (51, 2, '2020-01-01', 'open', 'x', 1);
    DELETE FROM visits WHERE at = '2025-11-02'; INSERT INTO visits VALUES ('2025-11-03', 'sauna'), ('2025-11-01', 'bar'), (NULL, NULL);
    INSERT INTO sites VALUES (3, 'c'); DELETE FROM sites WHERE id = 7; INSERT INTO empty VALUES (1, 'x')";

/// What is said beside both archives, or an archive and the database.
const CHOICES: &[&[&str]] = &[
    &[],
    &["--where", "bookings: created_at >= $since", "--param", "since=2025-11-20"],
    &["--where", "bookings: status = 'open' AND NOT (total > 10 OR note LIKE 'n1%')"],
    &["--where", "bookings: note IS NULL OR note IN ('x', 'n8')"],
    &["--where", "*: true", "--where", "visits: place = 'sauna' OR at IS NULL"],
    &["--where", "visits: at >= '2025-11-03'", "--table", "visits,bookings"],
    &["--where", "visits: at < '2025-11-03'"],
    &["--where", "bookings: false"],
    &["--where", "empty: v = 'x'", "--where", "sites: id > 1"],
    &["--columns", "bookings: status"],
    &[
        "--columns",
        "bookings: status, total,created_at",
        "--where",
        "bookings: created_at > '2025-12-01' AND status <> 'lost'",
    ],
    &["--columns", "bookings: id", "--table", "bookings"],
    &["--columns", "bookings: nothing", "--columns", "sites: name"],
    &["--columns", "visits: at"],
    &["--columns", "bookings: note,created_at", "--entity", "bookings=9,12"],
];

fn without_names(mut json: Value) -> Value {
    for name in ["old", "new", "mapped"] {
        json.as_object_mut().unwrap().remove(name);
    }
    json
}

#[test]
fn an_archive_of_the_database_stands_in_for_it() {
    for major in majors() {
        let database = shared(Some(major)).database("stand in");
        database.execute(TABLES);
        let pgkeep = Pgkeep::on(&database.url);
        pgkeep.ok(&["backup", "--out", "a.json.gz"]);
        database.execute(SINCE);
        pgkeep.ok(&["backup", "--out", "b.json.zst"]);
        for choice in CHOICES {
            for mode in ["exact", "upsert", "missing", "newer"] {
                let mode =
                    if mode == "newer" { &["--newer-by", "created_at"][..] } else { &["--mode", mode] };
                let flags = [mode, choice, &["--json"]].concat();
                let live = pgkeep.run(&[&["diff", "a.json.gz", "live"], &flags[..]].concat());
                let archives = pgkeep.run(&[&["diff", "a.json.gz", "b.json.zst"], &flags[..]].concat());
                assert_eq!(
                    archives.code, live.code,
                    "{major} {flags:?}\n{}\n{}",
                    archives.stderr, live.stderr
                );
                // A condition that no row meets is an error.
                let is_met = !choice.contains(&"bookings: false");
                let codes = if is_met { &[Some(0), Some(3)][..] } else { &[Some(2)] };
                assert!(codes.contains(&live.code), "{}", live.stderr);
                assert_eq!(without_names(archives.json()), without_names(live.json()), "{major} {flags:?}");
            }
        }
        // And something does differ.
        let flags =
            ["diff", "a.json.gz", "b.json.zst", "--json", "--where", "bookings: created_at >= '2025-11-20'"];
        let bookings = pgkeep.ok(&flags).json()["tables"]["bookings"].clone();
        let counts =
            ["inserted", "updated", "deleted", "unchanged"].map(|key| bookings[key].as_u64().unwrap());
        assert_eq!(counts, [1, 2, 1, 19], "{bookings:#}");
    }
}

#[test]
fn rows_are_shown_with_the_chosen_columns_alone() {
    let database = shared(None).database("chosen samples");
    database.execute(TABLES);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "a.json.gz"]);
    database.execute(SINCE);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    let flags = [
        "--json",
        "--sample",
        "9",
        "--columns",
        "bookings: note",
        "--where",
        "bookings: id < 10",
        "--table",
        "bookings",
    ];
    let samples = |other: &str| {
        pgkeep.ok(&[&["diff", "a.json.gz", other], &flags[..]].concat()).json()["tables"]["bookings"]["samples"].clone()
    };
    let should = serde_json::json!({
        "inserted": [{"id": 3, "note": "n3"}, {"id": 8, "note": "n8"}],
        "updated": [
            {"key": {"id": 2}, "old": {"note": null}, "new": {"note": "n2"}},
            {"key": {"id": 9}, "old": {"note": null}, "new": {"note": "n9"}},
        ],
    });
    assert_eq!(samples("b.json.gz"), should);
    assert_eq!(samples("live"), should);
}

#[test]
fn what_cannot_be_told_is_refused_and_nothing_is_compared() {
    let database = shared(None).database("refused between");
    database.execute(TABLES);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "a.json.gz"]);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    for (choice, said) in [
        (&["--where", "bookings: lower(status) = 'open'"][..], "lower"),
        (&["--where", "bookings: created_at > now()"], "pgkeep diff FILE live"),
        (&["--where", "bookings: nothing = 1"], "column \"nothing\" does not exist"),
        (
            &["--where", "bookings: status = 'open'", "--columns", "bookings: note"],
            "column \"status\" does not exist",
        ),
        (&["--where", "bookings: created_at > $since"], "$since"),
        (&["--where", "nobody: true"], "no table of the archive matches \"nobody\""),
        (&["--columns", "nobody: a"], "no table of the archive matches \"nobody\""),
    ] {
        let run = pgkeep.run(&[&["diff", "a.json.gz", "b.json.gz"], choice].concat()).expect_code(2);
        run.says(said);
        assert!(run.stdout.is_empty(), "{}", run.stdout);
    }
}
