//! What `pgkeep check` runs, shows and ends with.

use std::time::Instant;

use crate::support::{Pgkeep, fixture, majors, shared};
use crate::{check, configure, error, outcome, reservations, with_checks};

#[test]
fn on_every_major_the_checks_of_the_business_pass_and_one_that_does_not_shows_its_rows() {
    for major in majors() {
        let database = shared(Some(major)).database(&format!("check_{major}"));
        database.execute(&fixture("reservations.sql"));
        let pgkeep = Pgkeep::on(&database.url);
        configure(&pgkeep, &fixture("checks.toml"));
        let run = pgkeep.ok(&["check"]);
        for name in [
            "availability is consistent",
            "booking references are unique",
            "commissions add up",
            "seats are kept",
        ] {
            assert!(run.stdout.contains(&format!("PASS  {name}\n")), "{major}: {}", run.stdout);
        }
        assert!(run.stdout.ends_with("all 4 checks pass\n"), "{}", run.stdout);
        database.execute(
            "UPDATE schedules SET seats_left = seats_left - 1 WHERE id IN (3, 40);
             UPDATE operators SET commission = commission + 0.01 WHERE id = 2",
        );
        let run = pgkeep.run(&["check"]).expect_code(1);
        assert!(run.stdout.contains("FAIL  availability is consistent: 2 rows that should not be\n"));
        assert!(run.stdout.contains("        id  seats  seats_left  taken\n        3 "), "{}", run.stdout);
        assert!(
            run.stdout
                .contains("FAIL  commissions add up: the value is not 0.6875\n        sum\n        0.6975\n")
        );
        assert!(run.stdout.contains("PASS  booking references are unique\n"));
        assert!(run.stdout.ends_with("2 of 4 checks failed\n"), "{}", run.stdout);
        assert!(run.stderr.is_empty(), "{}", run.stderr);
    }
}

#[test]
fn with_json_the_report_is_one_object_with_columns_and_rows() {
    let (database, pgkeep) = reservations("check_json");
    database.execute("UPDATE schedules SET seats_left = seats_left - 1 WHERE id IN (3, 40)");
    let run = pgkeep.run(&["check", "--json"]).expect_code(1);
    let report = run.json();
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    assert_eq!((&report["passed"], &report["failed"]), (&3.into(), &1.into()));
    let failing = outcome(&report, "availability is consistent");
    assert_eq!((&failing["passed"], &failing["offending_rows"]), (&false.into(), &2.into()));
    assert_eq!(failing["columns"], serde_json::json!(["id", "seats", "seats_left", "taken"]));
    assert_eq!((&failing["rows"][0][0], &failing["rows"][1][0]), (&"3".into(), &"40".into()));
    let passing = outcome(&report, "commissions add up");
    assert_eq!((&passing["value"], passing.get("rows")), (&"0.6875".into(), None));
    assert!(passing["seconds"].as_f64().is_some());
    let run = pgkeep.run(&["check", "--json", "no such check"]).expect_code(2);
    assert_eq!(run.json()["exit_code"], 2);
}

#[test]
fn names_choose_checks_and_one_that_is_not_there_is_wrong_usage() {
    let (database, pgkeep) = reservations("check_names");
    database.execute("UPDATE schedules SET seats_left = seats_left - 1 WHERE id = 3");
    let report = pgkeep.ok(&["check", "commissions add up", "seats are kept", "--json"]).json();
    assert_eq!(report["checks"].as_array().unwrap().len(), 2);
    pgkeep.run(&["check", "availability is consistent"]).expect_code(1);
    pgkeep
        .run(&["check", "availability"])
        .expect_code(2)
        .says("there is no check called \"availability\"")
        .says("choose of availability is consistent, booking references are unique");
    configure(&pgkeep, "");
    for command in [&["check"][..], &["backup", "--run-checks"]] {
        pgkeep
            .run(command)
            .expect_code(2)
            .says("no check is configured, and none is asked for")
            .says("[[check]] name = ");
    }
    pgkeep.run(&["check", "x"]).expect_code(2).says("[[check]] name = ");
}

#[test]
fn a_value_is_compared_as_its_kind_and_has_to_be_one() {
    let checks = [
        check("number", "SELECT 3.00", "3"),
        check("fraction", "SELECT 0.1::float8 * 3", "0.30000000000000004"),
        check("long", "SELECT 12345678901234567890.5", "'12345678901234567890.5'"),
        check("text", "SELECT '3.00'", "'3'"),
        check("truth", "SELECT 1 = 1", "true"),
        check("untruth", "SELECT 1 = 1", "false"),
        check("date", "SELECT timestamptz '2025-06-01 02:00+02'", "'2025-06-01 00:00:00+00'"),
        check("null", "SELECT NULL::int", "0"),
        check("none", "SELECT 1 WHERE false", "1"),
        check("two", "SELECT generate_series(1, 2)", "1"),
        check("wide", "SELECT 1, 2", "1"),
        check("nothing", "SELECT", "1"),
        check("no rows", "SELECT 1 WHERE false;  -- a comment", "'no rows'"),
    ];
    let (_database, pgkeep) = with_checks("check_values", &checks.concat());
    let report = pgkeep.run(&["check", "--json"]).expect_code(1).json();
    for name in ["number", "fraction", "long", "truth", "date", "no rows"] {
        assert_eq!(outcome(&report, name)["passed"], true, "{}", outcome(&report, name));
    }
    for (name, why) in [
        ("text", "the value is not \"3\""),
        ("untruth", "the value is not false"),
        ("null", "the value is not 0"),
        ("none", "the query gives no row, and 1 is expected"),
        ("two", "the query gives 2 rows, and one is compared"),
        ("wide", "the query gives 2 columns, and one is compared"),
        ("nothing", "the query gives 0 columns, and one is compared"),
    ] {
        assert_eq!(error(&report, name), why);
        assert_eq!(outcome(&report, name)["passed"], false, "{name}");
    }
    assert_eq!(outcome(&report, "null")["rows"], serde_json::json!([[null]]));
}

#[test]
fn of_millions_of_rows_a_few_are_fetched_and_the_others_counted() {
    let sql = "SELECT n, md5(n::text) || md5(n::text) AS digest FROM generate_series(1, 3000000) n";
    let (_database, pgkeep) = with_checks("check_millions", &check("many", sql, ""));
    let mut running = pgkeep.spawn(&["check", "--rows", "3"]);
    let status = format!("/proc/{}/status", running.pid());
    let mut peak = 0;
    while running.is_running() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
        peak = peak.max(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let run = running.wait().expect_code(1);
    assert!(run.stdout.contains("FAIL  many: 3000000 rows that should not be\n"), "{}", run.stdout);
    assert!(run.stdout.contains("        and 2999997 more\n"), "{}", run.stdout);
    assert_eq!(run.stdout.lines().filter(|line| line.starts_with("        ")).count(), 5, "{}", run.stdout);
    // The rows are a fifth of a gigabyte.
    assert!((1_000..60_000).contains(&peak), "{peak} kB");
    let run = pgkeep.run(&["check", "--rows", "0"]).expect_code(1);
    assert!(run.stdout.contains("3000000 rows") && !run.stdout.contains("digest"), "{}", run.stdout);
}

#[test]
fn what_takes_too_long_fails_and_the_others_are_run() {
    let toml = check("slow", "SELECT pg_sleep(60)", "") + &check("quick", "SELECT 1 WHERE false", "");
    let (_database, pgkeep) = with_checks("check_timeout", &toml);
    let started = Instant::now();
    let report = pgkeep.run(&["check", "--timeout", "200ms", "--json"]).expect_code(1).json();
    assert!(started.elapsed().as_secs() < 30);
    assert!(error(&report, "slow").contains("statement timeout"), "{report}");
    assert_eq!(outcome(&report, "quick")["passed"], true);
    // Ctrl-C ends it, too.
    let running = pgkeep.spawn(&["check", "slow"]);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    running.interrupt();
    running.wait().expect_code(130);
}

#[test]
fn names_are_found_as_the_application_finds_them() {
    let toml = check("sales", "SELECT * FROM sales", "");
    let (database, pgkeep) = with_checks("check_path", &toml);
    database.execute("CREATE SCHEMA app; CREATE TABLE app.sales (id int)");
    let report = pgkeep.run(&["check", "--json"]).expect_code(1).json();
    assert!(error(&report, "sales").contains("relation \"sales\" does not exist"));
    database.execute("ALTER DATABASE check_path SET search_path = app, public");
    pgkeep.ok(&["check"]);
}

#[test]
fn values_on_the_screen_are_one_line_each() {
    let sql = "SELECT E'a\\nb\\x1b[31m' AS \"odd\tname\", repeat('x', 5000) AS long, NULL AS none";
    let (_database, pgkeep) = with_checks("check_screen", &check("odd", sql, ""));
    let run = pgkeep.run(&["check"]).expect_code(1);
    assert!(run.stdout.contains("a\\nb\\u{1b}[31m") && run.stdout.contains("odd\\tname"), "{}", run.stdout);
    assert!(run.stdout.contains(&format!("{}…  NULL\n", "x".repeat(100))), "{}", run.stdout);
    let report = pgkeep.run(&["check", "--json"]).expect_code(1).json();
    assert_eq!(outcome(&report, "odd")["rows"][0][1].as_str().unwrap().len(), 5000);
}
