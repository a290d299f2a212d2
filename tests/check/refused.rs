//! What is no check, and what a check may not do.

use crate::support::{Pgkeep, shared};
use crate::{check, configure, error, outcome, with_checks};

#[test]
fn a_check_changes_nothing_whatever_it_tries() {
    let toml = [
        check("update", "UPDATE t SET a = 2 RETURNING a", ""),
        check("with", "WITH gone AS (DELETE FROM t RETURNING a) SELECT a FROM gone", ""),
        check("function", "SELECT writes()", ""),
        check("sequence", "SELECT nextval('s')", ""),
        check("lock", "SELECT a FROM t FOR UPDATE", ""),
        check("two", "SELECT 1 WHERE false; DELETE FROM t", ""),
        check("commit", "SELECT 1 WHERE false; COMMIT; BEGIN; DELETE FROM t", ""),
        check("into", "SELECT a INTO u FROM t", ""),
        check("copy", "COPY t TO '/tmp/t'", ""),
        check("way out", "SELECT set_config('transaction_read_only', 'off', true)", ""),
        check("out", "SELECT set_config('transaction_read_only', 'off', true), writes()", ""),
        check("parameter", "SELECT $1::int", ""),
        check("fine", "SELECT a FROM t WHERE a <> 1 ; ", ""),
    ];
    let (database, pgkeep) = with_checks("check_writes", &toml.concat());
    database.execute(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE SEQUENCE s;
         CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'UPDATE t SET a = 3 RETURNING a'",
    );
    let before = database.digest();
    let report = pgkeep.run(&["check", "--json"]).expect_code(1).json();
    for name in
        ["update", "with", "function", "sequence", "lock", "two", "commit", "into", "copy", "way out", "out"]
    {
        assert!(!error(&report, name).is_empty(), "{}", outcome(&report, name));
    }
    for name in ["function", "sequence", "lock"] {
        assert!(error(&report, name).contains("in a read-only transaction"), "{}", error(&report, name));
    }
    for name in ["two", "commit"] {
        assert!(error(&report, name).contains("cannot insert multiple commands"), "{}", error(&report, name));
    }
    assert!(error(&report, "parameter").contains("requires 1"), "{}", outcome(&report, "parameter"));
    assert_eq!(outcome(&report, "fine")["passed"], true, "{}", outcome(&report, "fine"));
    assert_eq!(database.digest(), before);
}

#[test]
fn a_check_that_is_no_query_fails_and_quotes_no_value() {
    let toml = [
        check("syntax", "SELEKT 1", ""),
        check("cast", "SELECT secret::int FROM t", ""),
        check("division", "SELECT a / 0 FROM t", ""),
        check("plain", "SELECT 1 WHERE false", ""),
    ];
    let (database, pgkeep) = with_checks("check_errors", &toml.concat());
    database.execute("CREATE TABLE t (a int, secret text); INSERT INTO t VALUES (1, 'sesame')");
    let run = pgkeep.run(&["check"]).expect_code(1);
    assert!(run.stdout.contains("FAIL  syntax: syntax error at or near \"SELEKT\"\n"), "{}", run.stdout);
    assert!(
        run.stdout.contains("FAIL  cast: invalid input syntax for type integer: \"…\"\n"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("FAIL  division: division by zero\n") && !run.stdout.contains("sesame"));
    assert!(run.stdout.contains("PASS  plain\n") && run.stdout.ends_with("3 of 4 checks failed\n"));
}

#[test]
fn row_level_security_makes_a_check_fail_rather_than_hide_rows_from_it() {
    let database = shared(None).database("check_security");
    database.execute(
        "CREATE ROLE check_reader LOGIN PASSWORD 'p'; CREATE TABLE notes (a int); INSERT INTO notes VALUES (1);
         ALTER TABLE notes ENABLE ROW LEVEL SECURITY; CREATE TABLE private (a int); GRANT SELECT ON notes TO check_reader",
    );
    let pgkeep = Pgkeep::on(&database.url_as("check_reader", "p"));
    configure(
        &pgkeep,
        &(check("notes", "SELECT * FROM notes", "") + &check("private", "SELECT * FROM private", "")),
    );
    let report = pgkeep.run(&["check", "--json"]).expect_code(1).json();
    assert!(error(&report, "notes").contains("row-level security policy for table \"notes\""), "{report}");
    assert!(error(&report, "private").contains("permission denied for table private"), "{report}");
    // A baseline counts all rows, or none.
    configure(&pgkeep, "");
    pgkeep
        .run(&["check", "--save", "b.json"])
        .expect_code(5)
        .says("role check_reader may not count all rows of notes, private");
    assert!(!pgkeep.dir().join("b.json").exists());
    pgkeep.run(&["check", "--save", "b.json", "--exclude", "notes,private"]).expect_code(0);
}

#[test]
fn a_file_with_a_check_that_is_none_is_wrong_usage_for_every_command() {
    let pgkeep = Pgkeep::new();
    for (toml, why) in [
        (check("a", "SELECT 1", "") + "expected = 1", "check \"a\": there is no key \"expected\""),
        ("[[check]]\nname = 'a'".to_owned(), "check \"a\": it has neither \"sql\" nor \"exists\""),
        ("[[check]]\nsql = 'SELECT 1'".to_owned(), "check 1 has no name"),
        (check("a", "SELECT 1", "") + &check("a", "SELECT 2", ""), "check \"a\": another has that name"),
        ("[check]\nname = 'a'\nsql = 'SELECT 1'".to_owned(), "under [[check]], with two brackets"),
        (
            "[[check]]\nname = 'a'\nexists = 'users'".to_owned(),
            "check \"a\": \"users\" names no object: write KIND:NAME",
        ),
    ] {
        configure(&pgkeep, &toml);
        for command in [&["check"][..], &["list"], &["restore", "--file", "x"]] {
            pgkeep
                .run(command)
                .expect_code(2)
                .says("configuration file pgkeep.toml: ")
                .says(why)
                .says("correct the configuration file");
        }
    }
    // The section of the command has its flags, as those of the others.
    configure(&pgkeep, "[check]\nrows = 3\n");
    pgkeep.ok(&["list"]);
}
