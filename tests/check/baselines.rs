//! What was so before a deployment, and is so after it.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::{check, configure, reservations, with_checks};

fn differences(report: &Value) -> Vec<(String, String)> {
    let list = report["compared"]["differences"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.iter().map(|d| (text(&d["what"]), format!("{}{}", text(&d["name"]), text(&d["column"])))).collect()
}

#[test]
fn a_baseline_holds_counts_sums_and_outcomes_and_tells_what_an_update_changed() {
    let (database, pgkeep) = reservations("baseline");
    let report = pgkeep.ok(&["check", "--save", "before.json", "--json"]).json();
    assert_eq!(report["saved"], "before.json");
    let path = pgkeep.dir().join("before.json");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let saved: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let bookings = &saved["tables"]["bookings"];
    assert_eq!(bookings["rows"], 53);
    let sum = database.query("SELECT sum(total)::text FROM bookings")[0][0].clone().unwrap();
    assert_eq!(bookings["sums"]["total"], sum);
    assert_eq!(saved["tables"]["events"]["rows"], 240, "a partitioned table is one");
    assert!(saved["tables"].get("events_other").is_none());
    // Floats have no sum that one could rely on; generated columns have one.
    assert!(saved["tables"]["packages"]["sums"].get("discount").is_none());
    assert!(saved["tables"]["tours"]["sums"]["gross_price"].is_string());
    assert_eq!(
        saved["tables"]["boats"]["sums"],
        serde_json::json!({"seats": "58"}),
        "{}",
        saved["tables"]["boats"]
    );
    assert_eq!(saved["checks"]["commissions add up"]["value"], "0.6875");
    assert_eq!((&saved["database"], &saved["format"]), (&"baseline".into(), &"pgkeep-baseline".into()));
    assert!(!std::fs::read_to_string(&path).unwrap().contains("sesame"), "no password is in it");

    let report = pgkeep.ok(&["check", "--compare", "before.json", "--json"]).json();
    assert_eq!(differences(&report), []);
    assert!(pgkeep.ok(&["check", "--compare", "before.json"]).stdout.ends_with("nothing differs\n"));

    database.execute(
        "UPDATE bookings SET total = total + 1 WHERE reference = 'BK-0613';
         DELETE FROM import_lines WHERE payload = 'sent twice';
         CREATE TABLE extra (id int); INSERT INTO extra VALUES (7); DROP TABLE boats",
    );
    let report = pgkeep.run(&["check", "--compare", "before.json", "--json"]).expect_code(7).json();
    let named = |what: &str, name: &str| (what.to_owned(), name.to_owned());
    let mut found = differences(&report);
    found.retain(|(_, name)| !name.starts_with("audit."));
    let expected = [
        named("table", "boats"),
        named("sum", "bookingstotal"),
        named("table", "extra"),
        named("rows", "import_lines"),
    ];
    assert_eq!(found, expected);
    let run = pgkeep.run(&["check", "--compare", "before.json"]).expect_code(7);
    for line in [
        "  table boats is gone, it had 3 rows\n",
        "  table extra came, with 1 row\n",
        "  import_lines: 63 rows then, 60 now\n",
    ] {
        assert!(run.stdout.contains(line), "{line:?} in {}", run.stdout);
    }
    assert!(run.stdout.contains(&format!("  bookings: sum of total {sum} then, ")), "{}", run.stdout);
    // Patterns narrow what is compared, and nothing that they leave out is gone.
    pgkeep.ok(&["check", "--compare", "before.json", "--table", "users,tours"]);
    pgkeep.ok(&[
        "check",
        "--compare",
        "before.json",
        "--exclude",
        "bookings,import_lines,boats,extra,audit.*",
    ]);
}

#[test]
fn a_check_that_fails_ends_with_1_whatever_differs() {
    let (database, pgkeep) = reservations("baseline_checks");
    pgkeep.ok(&["check", "--save", "before.json", "--table", "operators"]);
    database.execute("UPDATE operators SET commission = commission + 0.01 WHERE id = 1");
    let run = pgkeep.run(&["check", "--compare", "before.json"]).expect_code(1);
    assert!(
        run.stdout.contains("  check commissions add up: passes with 0.6875 then, fails with 0.6975 now\n"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("  operators: sum of commission 0.6875 then, 0.6975 now\n"),
        "{}",
        run.stdout
    );
    // One that fails already is in the baseline, too, and is no difference while it fails in the same way.
    pgkeep.run(&["check", "--save", "later.json", "--table", "operators"]).expect_code(1);
    let report = pgkeep.run(&["check", "--compare", "later.json", "--json"]).expect_code(1).json();
    assert_eq!(differences(&report), []);
    // A check that came or went says nothing of the data.
    configure(&pgkeep, &check("new", "SELECT 1 WHERE false", ""));
    pgkeep.ok(&["check", "--compare", "later.json"]);
}

#[test]
fn timings_are_told_and_are_no_difference() {
    let toml = check("slow", "SELECT s FROM pause WHERE pg_sleep(s) IS NULL", "");
    let (database, pgkeep) = with_checks("baseline_timings", &toml);
    database.execute("CREATE TABLE pause (s float8); INSERT INTO pause VALUES (0.1)");
    pgkeep.ok(&["check", "--save", "before.json"]);
    database.execute("UPDATE pause SET s = 0.6");
    let run = pgkeep.ok(&["check", "--compare", "before.json"]);
    assert!(
        run.stdout.contains("  check slow took 0.1") && run.stdout.contains(" times that\n"),
        "{}",
        run.stdout
    );
    let report = pgkeep.ok(&["check", "--compare", "before.json", "--json"]).json();
    let timing = &report["compared"]["timings"][0];
    assert!(timing["name"] == "slow" && timing["ratio"].as_f64().unwrap() > 2.0, "{timing}");
}

#[test]
fn all_of_a_baseline_is_of_one_moment() {
    // The first check waits; what is committed meanwhile is in none of what follows.
    let toml = check("wait", "SELECT 1 WHERE pg_sleep(2) IS NULL", "")
        + &check("rows", "SELECT count(*) FROM t", "1");
    let (database, pgkeep) = with_checks("baseline_moment", &toml);
    database.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let running = pgkeep.spawn(&["check", "--save", "b.json"]);
    let at_work = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = 'baseline_moment' AND query ~ 'pgkeep_check' AND wait_event = 'PgSleep'";
    crate::support::wait_until("the check sleeps", 30, || {
        database.query(at_work)[0][0].as_deref() != Some("0")
    });
    database.execute("INSERT INTO t VALUES (2)");
    running.wait().expect_code(0);
    let saved: Value = serde_json::from_slice(&std::fs::read(pgkeep.dir().join("b.json")).unwrap()).unwrap();
    assert_eq!((&saved["tables"]["t"]["rows"], &saved["checks"]["rows"]["value"]), (&1.into(), &"1".into()));
}

#[test]
fn a_baseline_overwrites_nothing_and_is_read_with_suspicion() {
    let (_database, pgkeep) = with_checks("baseline_files", "");
    let write = |text: &str| std::fs::write(pgkeep.dir().join("b.json"), text).unwrap();
    write("precious");
    pgkeep.run(&["check", "--save", "b.json"]).expect_code(2).says("b.json exists already");
    assert_eq!(std::fs::read_to_string(pgkeep.dir().join("b.json")).unwrap(), "precious");
    for (text, why) in [
        ("precious", "expected value at line 1"),
        ("{}", "it does not say so"),
        ("{\"format\": \"pgkeep-baseline\", \"version\": 2}", "its version is 2, and 1 is known"),
        ("{\"format\": \"pgkeep-baseline\", \"version\": 1}", "missing field"),
    ] {
        write(text);
        let run = pgkeep.run(&["check", "--compare", "b.json"]).expect_code(2);
        run.says("b.json is no baseline of pgkeep: ").says(why);
    }
    pgkeep.run(&["check", "--compare", "none.json"]).expect_code(2).says("reading none.json");
    pgkeep.run(&["check", "--save", "a.json", "--compare", "b.json"]).expect_code(2);
    pgkeep.run(&["check", "--save", "a.json", "--table", "usres"]).expect_code(2).says("matches \"usres\"");
    assert!(!pgkeep.dir().join("a.json").exists());
}
