//! Chosen tables of a script; what `show --schema` and `diff --schema` say.

use crate::support::{Database, Pgkeep, shared};
use crate::{backed_up, exported, judge};

const SHOP: &str = "
    CREATE SCHEMA staff;
    CREATE TABLE boats (plate text PRIMARY KEY, note text);
    CREATE TABLE trips (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, boat text REFERENCES boats);
    CREATE TABLE staff.people (name text PRIMARY KEY);
    CREATE INDEX trips_boat ON trips (boat);
    CREATE FUNCTION area(a int, b int) RETURNS int LANGUAGE sql AS $$ SELECT a * b $$;
    CREATE FUNCTION area(a text) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
    CREATE VIEW afloat AS SELECT plate FROM boats WHERE note IS NULL;
    COMMENT ON TABLE trips IS 'out and back';
    GRANT SELECT ON boats TO PUBLIC;
    INSERT INTO boats VALUES ('A-1'); INSERT INTO trips (boat) VALUES ('A-1');
    INSERT INTO staff.people VALUES ('Ann');
";

fn shop(name: &str) -> Database<'static> {
    let database = shared(None).database(name);
    database.execute(SHOP);
    database
}

#[test]
fn chosen_tables_come_with_what_they_need() {
    let (database, copy) = (shop("export_chosen"), shared(None).database("export_chosen_copy"));
    let (pgkeep, archive) = backed_up(&database);
    let run = pgkeep.ok(&["export", archive.to_str().unwrap(), "--table", "trips"]);
    run.says("trips_boat_fkey ON public.trips is left out: it refers to a table that is not exported");
    let client = judge(shared(None).postgres.major);
    client.run_script(&copy.url, &run.stdout).unwrap();
    assert_eq!(copy.value("SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
        "trips trips_boat trips_id_seq trips_pkey");
    assert_eq!(copy.value("INSERT INTO trips (boat) VALUES ('B') RETURNING id"), "2");
    let rest = exported(&pgkeep, &archive, &["--exclude", "trips,staff.*"]);
    client.run_script(&copy.url, &rest).unwrap();
    assert_eq!(copy.value("SELECT count(*) FROM boats"), "1");
    pgkeep
        .run(&["export", archive.to_str().unwrap(), "--table", "boat"])
        .expect_code(2)
        .says("no table of the archive matches \"boat\"");
}

#[test]
fn definitions_are_shown_by_name() {
    let database = shop("export_show");
    let (pgkeep, archive) = backed_up(&database);
    let archive = archive.to_str().unwrap();
    let show = |name: &str| pgkeep.ok(&["show", archive, "--schema", name]).stdout;
    let trips = show("trips");
    for part in [
        "CREATE TABLE public.trips (",
        "COMMENT ON TABLE public.trips",
        "trips_boat",
        "FOREIGN KEY",
        "OWNER TO",
    ] {
        assert!(trips.contains(part), "{part} in:\n{trips}");
    }
    assert!(!trips.contains("boats (\n") && trips.ends_with(";\n") && !trips.contains('\x1b'), "{trips}");
    assert_eq!(pgkeep.ok(&["show", archive, "trips", "--schema"]).stdout, trips);
    assert!(show("boats").contains("GRANT SELECT"));
    assert_eq!(show("area").matches("RETURNS integer").count(), 2);
    assert_eq!(show("area(text)").matches("RETURNS integer").count(), 1);
    assert!(show("staff.*").contains("staff.people"));
    assert!(pgkeep.ok(&["show", archive, "--schema"]).stdout.contains("CREATE SCHEMA staff"));
    let none = pgkeep.run(&["show", archive, "--schema", "boat"]).expect_code(2);
    none.says("no object of the archive is called \"boat\"").says("--schema prints all");
    let colours = pgkeep.ok(&["show", archive, "--schema", "afloat", "--color", "always"]).stdout;
    assert!(colours.contains("\x1b[1;34mCREATE\x1b[0m \x1b[1;34mVIEW\x1b[0m public.afloat"), "{colours}");
    let json = pgkeep.ok(&["show", archive, "--schema", "boats", "--json"]).json();
    let identities: Vec<&str> =
        json["objects"].as_array().unwrap().iter().map(|o| o["identity"].as_str().unwrap()).collect();
    assert!(identities.contains(&"TABLE public.boats"), "{identities:?}");
}

#[test]
fn what_is_shown_can_be_run() {
    let (database, copy) = (shop("export_shown"), shared(None).database("export_shown_copy"));
    let (pgkeep, archive) = backed_up(&database);
    let all = pgkeep.ok(&["show", archive.to_str().unwrap(), "--schema"]).stdout;
    let all = all.replace("CREATE SCHEMA public;", "");
    judge(shared(None).postgres.major).run_script(&copy.url, &all).unwrap();
    assert_eq!(copy.value("SELECT area(6, 7)"), "42");
}

#[test]
fn differences_of_definitions_are_listed() {
    let database = shop("export_diff");
    let (pgkeep, archive) = backed_up(&database);
    let archive = archive.to_str().unwrap();
    let diff = |more: &[&str]| pgkeep.run(&[&["diff", archive], more, &["--schema"]].concat());
    let none = diff(&["--exit-code"]).expect_code(0).stdout;
    assert!(none.contains("0 objects changed, 0 added, 0 removed"), "{none}");
    database.execute(
        "CREATE TABLE extra (i int);
         DROP FUNCTION area(text);
         CREATE OR REPLACE FUNCTION area(a int, b int) RETURNS int LANGUAGE sql AS $$ SELECT b * a $$;
         COMMENT ON TABLE trips IS 'out';
         REVOKE SELECT ON boats FROM PUBLIC",
    );
    let lines = diff(&[]).expect_code(0).stdout;
    for line in [
        "+ TABLE public.extra",
        "- FUNCTION public.area(text)",
        "~ FUNCTION public.area(integer, integer) (definition)",
        "~ TABLE public.trips (comments)",
        "~ TABLE public.boats (privileges)",
        "3 objects changed, 1 added, 1 removed",
    ] {
        assert!(lines.contains(line), "{line} in:\n{lines}");
    }
    assert_eq!(lines.lines().filter(|l| l.starts_with(['+', '-', '~'])).count(), 5, "{lines}");
    let full = diff(&["live", "--full"]).expect_code(0).stdout;
    assert!(
        full.contains(
            "    -AS $function$ SELECT a * b $function$;\n    +AS $function$ SELECT b * a $function$;"
        ),
        "{full}"
    );
    diff(&["--exit-code"]).expect_code(7);
    let json = diff(&["--json"]).expect_code(0).json();
    assert_eq!(json["added"][0]["identity"], "TABLE public.extra");
    assert_eq!(json["removed"][0]["kind"], "function");
    assert_eq!(json["changed"].as_array().unwrap().len(), 3);
    // Two archives; and one of chosen tables, which is compared by these alone.
    pgkeep.ok(&["backup", "--out", "later.json.gz"]);
    let two = pgkeep.ok(&["diff", archive, "later.json.gz", "--schema"]).stdout;
    assert!(two.contains("+ TABLE public.extra"), "{two}");
    pgkeep.ok(&["backup", "--table", "boats", "--out", "boats.json.gz"]);
    let part = pgkeep.ok(&["diff", "boats.json.gz", "--schema"]).stdout;
    assert!(part.contains("0 objects changed, 0 added, 0 removed"), "{part}");
    Pgkeep::new().run(&["diff", "nothing", "--schema"]).expect_code(2).says("there is no archive");
}
