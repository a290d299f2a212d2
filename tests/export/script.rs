//! Scripts of whole databases, kind by kind as in the matrix of objects.

use crate::fixture::{Fixture, prepare};
use crate::support::{Client, Pgkeep, difference, majors, shared};
use crate::{backed_up, exported, judge};

/// A pretty database with a bit of everything, for what need not be tried with all kinds.
const SHOP: &str = "
    CREATE SCHEMA staff;
    CREATE TYPE mood AS ENUM ('good', 'it''s bad');
    CREATE TABLE boats (plate text PRIMARY KEY, mood mood, note text DEFAULT E'a\\nb');
    CREATE TABLE trips (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, boat text REFERENCES boats, at date);
    CREATE TABLE staff.people (name text PRIMARY KEY, pay numeric, twice numeric GENERATED ALWAYS AS (pay * 2) STORED);
    CREATE TABLE bare ();
    CREATE INDEX trips_at ON trips (at);
    CREATE FUNCTION area(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a * b';
    CREATE VIEW afloat AS SELECT * FROM boats WHERE mood = 'good';
    COMMENT ON TABLE boats IS 'they float';
    GRANT SELECT ON boats TO PUBLIC;
    INSERT INTO boats VALUES ('A-1', 'good', NULL), (E'tab\\tand \\\\. and \\\\! echo', 'it''s bad', ''), ('\\.', NULL, E'\\\\N');
    INSERT INTO trips (boat, at) SELECT 'A-1', date '2025-01-01' + n FROM generate_series(1, 500) n;
    INSERT INTO staff.people VALUES ('Zoë', 1.50);
    INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES;
    SELECT setval('trips_id_seq', 4711);
";

fn all_kinds(major: u32) {
    if !majors().contains(&major) {
        return;
    }
    let cluster = shared(Some(major));
    prepare(cluster);
    // Newer servers than the one that all tests run on are judged where something can.
    let client = match Client::for_server(major) {
        None if major > shared(None).postgres.major => return,
        _ => judge(major),
    };
    let [original, copy] =
        ["export, all kinds", "export, all kinds, copy"].map(|name| cluster.database(name));
    for fixture in Fixture::all().iter().filter(|fixture| fixture.runs_on(cluster)) {
        fixture.load(&original.url, major).unwrap();
    }
    let (pgkeep, archive) = backed_up(&original);
    client.run_script(&copy.url, &exported(&pgkeep, &archive, &[])).unwrap();
    let should = client.dump(&original.url, &[]).unwrap();
    if let Some(shown) = difference(&should, &client.dump(&copy.url, &[]).unwrap()) {
        panic!("pg_dump of what psql restored differs:\n{shown}");
    }
}

#[test]
fn psql_restores_every_kind_of_object_on_13() {
    all_kinds(13);
}

#[test]
fn psql_restores_every_kind_of_object_on_15() {
    all_kinds(15);
}

#[test]
fn psql_restores_every_kind_of_object_on_17() {
    all_kinds(17);
}

#[test]
fn psql_restores_every_kind_of_object_on_18() {
    all_kinds(18);
}

#[test]
fn sections_one_after_the_other_are_the_whole_and_clean_begins_anew() {
    let cluster = shared(None);
    let client = judge(cluster.postgres.major);
    let [original, copy] = ["export_sections", "export_sections_copy"].map(|name| cluster.database(name));
    original.execute(SHOP);
    let (pgkeep, archive) = backed_up(&original);
    let should = client.dump(&original.url, &[]).unwrap();
    let same = |what: &str| {
        let is = client.dump(&copy.url, &[]).unwrap();
        if let Some(shown) = difference(&should, &is) {
            panic!("{what}:\n{shown}");
        }
    };
    for section in ["pre-data", "data", "post-data"] {
        client.run_script(&copy.url, &exported(&pgkeep, &archive, &["--section", section])).unwrap();
    }
    same("sections");
    // Over what is there, and over what is gone.
    copy.execute("DROP VIEW afloat; DROP TABLE trips; INSERT INTO boats VALUES ('more')");
    client.run_script(&copy.url, &exported(&pgkeep, &archive, &["--clean"])).unwrap();
    same("--clean");
    copy.execute("TRUNCATE boats, trips, staff.people, bare");
    client.run_script(&copy.url, &exported(&pgkeep, &archive, &["--data-only"])).unwrap();
    same("--data-only, tables that others refer to first");
    let empty = cluster.database("export_schema_only");
    client.run_script(&empty.url, &exported(&pgkeep, &archive, &["--schema-only"])).unwrap();
    let should = client.dump(&original.url, &["--schema-only"]).unwrap();
    assert_eq!(difference(&should, &client.dump(&empty.url, &["--schema-only"]).unwrap()), None);
    assert_eq!(empty.value("SELECT count(*) FROM trips"), "0");
}

#[test]
fn a_script_that_cleans_runs_where_there_is_nothing_to_clean() {
    let cluster = shared(None);
    prepare(cluster);
    let Some(client) = Client::for_server(cluster.postgres.major) else { return };
    let [original, copy] = ["export_clean", "export_clean_empty"].map(|name| cluster.database(name));
    original.execute(&format!(
        "{SHOP} CREATE TABLE first (id serial PRIMARY KEY);
         CREATE TABLE other (id int PRIMARY KEY DEFAULT nextval('first_id_seq'));
         ALTER DEFAULT PRIVILEGES IN SCHEMA staff GRANT SELECT ON TABLES TO object_reader;
         CREATE DOMAIN small AS int; ALTER DOMAIN small ADD CONSTRAINT c CHECK (VALUE < 9) NOT VALID;
         CREATE PUBLICATION boats FOR TABLE boats;"
    ));
    let (pgkeep, archive) = backed_up(&original);
    for _ in 0..2 {
        client.run_script(&copy.url, &exported(&pgkeep, &archive, &["--clean"])).unwrap();
        let should = client.dump(&original.url, &[]).unwrap();
        assert_eq!(difference(&should, &client.dump(&copy.url, &[]).unwrap()), None);
    }
}

#[test]
fn owners_privileges_and_tablespaces_can_be_left_out() {
    let cluster = shared(None);
    prepare(cluster);
    let database = cluster.database("export_style");
    database.execute(SHOP);
    database
        .execute("ALTER TABLE boats OWNER TO object_owner; ALTER TABLE boats SET TABLESPACE object_space");
    let (pgkeep, archive) = backed_up(&database);
    let whole = exported(&pgkeep, &archive, &[]);
    let words = ["OWNER TO object_owner", "GRANT SELECT", "default_tablespace = object_space"];
    for word in words {
        assert!(whole.contains(word), "{word}");
    }
    let plain = exported(&pgkeep, &archive, &["--no-owner", "--no-privileges", "--no-tablespaces"]);
    for word in ["OWNER TO", "GRANT", "object_space"] {
        assert!(!plain.contains(word), "{word}");
    }
}

#[test]
fn a_script_goes_to_a_file_that_appears_whole_and_never_over_another() {
    let cluster = shared(None);
    let database = cluster.database("export_file");
    database.execute(SHOP);
    let (pgkeep, archive) = backed_up(&database);
    let archive = archive.to_str().unwrap();
    let run = pgkeep.ok(&["export", archive, "--out", "shop.sql", "--json"]);
    let object = run.json();
    assert_eq!((object["file"].as_str(), object["rows"].as_u64()), (Some("shop.sql"), Some(506)));
    let text = std::fs::read_to_string(pgkeep.dir().join("shop.sql")).unwrap();
    assert_eq!(object["bytes"].as_u64(), Some(text.len() as u64));
    // But for the keys, which are random.
    let printed = pgkeep.ok(&["export", archive]).stdout;
    let plain =
        |text: &str| text.lines().filter(|l| !l.contains("restrict ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(plain(&printed), plain(&text));
    pgkeep.run(&["export", archive, "--out", "shop.sql"]).expect_code(2).says("shop.sql exists already");
    assert_eq!(std::fs::read_to_string(pgkeep.dir().join("shop.sql")).unwrap(), text);
    pgkeep.run(&["export", archive, "--json"]).expect_code(2).says("standard output");
}

#[test]
fn an_archive_of_rows_alone_gives_a_script_of_rows_alone() {
    let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/archives/v1.json.gz");
    let pgkeep = Pgkeep::new();
    let run = pgkeep.ok(&["export", archive, "--table", "users"]);
    run.says("the archive holds no definitions, only rows");
    assert!(run.stdout.contains("\nCOPY ") && !run.stdout.contains("CREATE TABLE"));
    pgkeep.run(&["export", archive, "--schema-only"]).expect_code(2).says("no definitions");
    pgkeep.run(&["show", archive, "--schema"]).expect_code(2).says("no definitions");
    pgkeep.run(&["diff", archive, archive, "--schema"]).expect_code(2).says("no definitions");
}
