//! The file of refused rows.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::{Database, Pgkeep};
use crate::{FILE, archived, counts, restore, rows, servers};

const ODD: &str = "
CREATE TABLE odd (id int PRIMARY KEY, t text, b bytea, j json, jb jsonb, n numeric, f float8, a text[], ts timestamptz, r int4range, flag bool);
INSERT INTO odd VALUES
  (1, E'tab\\t line\\n back\\\\ \"quote\" \\u0001 ünï 日本 😀', '\\x00ff0a5c', '{\"a\" :  \"\\u0000\"}', '{\"b\": [1.0, 2]}', 'NaN', 'Infinity', '{NULL,\"a,b\",\"\"}', '0044-03-15 BC', 'empty', true),
  (2, '', '', '[]', 'null', 1.50, '-0', '{}', 'infinity', '[1,)', NULL),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false),
  (4, '\\N', '\\xdeadbeef', '\"x\"', '\"x\"', 12345678901234567890.000, 0.1, '{{1,2},{3,4}}', '2026-11-22', NULL, NULL);
CREATE TABLE fine (id int PRIMARY KEY); INSERT INTO fine SELECT generate_series(1, 10);
";

/// Everything in `odd` is refused by now.
fn refused(major: u32, name: &str) -> (Database<'static>, Pgkeep, String) {
    let (database, pgkeep, archive) = archived(major, name, ODD);
    database.execute("TRUNCATE odd, fine; ALTER TABLE odd ADD CONSTRAINT none CHECK (id < 0)");
    (database, pgkeep, archive)
}

#[test]
fn odd_values_come_back_to_the_byte() {
    for major in servers() {
        let (database, pgkeep, archive) = refused(major, "bad_odd");
        for file in ["rejects.json.gz", "r.json.zst", "r.json"] {
            let flags = ["restore", "--safe", "--keep-going", "--reject-file", file, "--file", &archive];
            pgkeep.run(&flags).expect_code(3);
            assert_eq!(rows(&pgkeep, file, "odd"), rows(&pgkeep, &archive, "odd"), "{major}");
            pgkeep.ok(&["validate", file]);
            let mode = std::fs::metadata(pgkeep.dir().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        // A person reads it as it is.
        let text = std::fs::read_to_string(pgkeep.dir().join("r.json")).unwrap();
        let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let refused = &header["refused"];
        assert_eq!(refused["backup_file"], archive);
        assert!(refused["restore_log"].as_str().unwrap().starts_with("restore_log_"));
        assert_eq!(
            (&refused["reasons"][0]["table"], &refused["reasons"][0]["rows"]),
            (&0.into(), &serde_json::json!([1, 2, 3, 4]))
        );
        assert!(
            refused["reasons"][0]["error"].as_str().unwrap().contains("constraint \"none\""),
            "{refused}"
        );
        assert_eq!(header["tables"].as_array().unwrap().len(), 1);
        let shown = pgkeep.ok(&["show", FILE]).stdout;
        assert!(shown.contains("left out by the restore of archive.json.gz (restore_log_"), "{shown}");
        assert!(
            shown.contains("odd, 4 rows: new row for relation \"odd\" violates check constraint \"none\""),
            "{shown}"
        );
        assert_eq!(pgkeep.ok(&["show", "r.json", "--json"]).json()["refused"], *refused);
        // It is no picture of its tables.
        pgkeep
            .run(&["restore", "--safe", "--mode", "exact", "--file", FILE])
            .expect_code(2)
            .says("only rows that a restore has left out");
        database.execute("ALTER TABLE odd DROP CONSTRAINT none");
        pgkeep.ok(&["restore", "--safe", "--file", FILE]);
        pgkeep.ok(&["diff", &archive, "live", "--exit-code"]);
        pgkeep.ok(&["backup", "--table", "odd", "--out", "again.json.gz"]);
        assert_eq!(rows(&pgkeep, "again.json.gz", "odd"), rows(&pgkeep, &archive, "odd"), "{major}");
    }
}

#[test]
fn more_rows_than_may_be_refused_undo_all() {
    for major in servers() {
        let (database, pgkeep, archive) = refused(major, "bad_too_many");
        let before = database.digest();
        for most in ["0", "3"] {
            let run = restore(&pgkeep, &archive, &["--max-errors", most]).expect_code(1);
            run.says(&format!("more rows are refused than --max-errors {most} allows, such as of odd: "))
                .says("the target is as it was: everything was rolled back");
            assert_eq!(database.digest(), before);
            assert!(!pgkeep.dir().join(FILE).exists());
            let log = pgkeep.restore_log();
            assert_eq!((&log["status"], &log["total_errors"]), (&"rolled_back".into(), &0.into()));
            assert!(log.get("reject_file").is_none() && log.get("rows_refused").is_none(), "{log:#}");
        }
        restore(&pgkeep, &archive, &["--max-errors", "4"]).expect_code(3);
        assert_eq!(counts(&pgkeep.restore_log(), "odd"), [0, 0, 0, 0, 4]);
        // Two tables together, one of which cannot even be staged.
        database.execute("TRUNCATE fine; ALTER TABLE fine ADD CHECK (id <> 3)");
        restore(&pgkeep, &archive, &["--max-errors", "4"]).expect_code(1).says("--max-errors 4");
        restore(&pgkeep, &archive, &["--max-errors", "5"]).expect_code(3);
        let hidden = |p: &std::fs::DirEntry| p.file_name().to_string_lossy().contains("pgkeep-tmp");
        let left = std::fs::read_dir(pgkeep.dir()).unwrap().filter(|p| hidden(p.as_ref().unwrap())).count();
        assert_eq!(left, 0, "no temporary file is left");
    }
}

#[test]
fn a_restore_that_is_undone_later_leaves_no_file() {
    for major in servers() {
        let (database, pgkeep, archive) = refused(major, "bad_undone");
        let check = "[[check]]\nname = 'all are there'\nsql = 'SELECT count(*) FROM odd'\nexpect = '4'\n";
        std::fs::write(pgkeep.dir().join("pgkeep.toml"), check).unwrap();
        let before = database.digest();
        restore(&pgkeep, &archive, &[]).expect_code(1).says("a check fails: all are there");
        assert_eq!(database.digest(), before);
        assert!(!pgkeep.dir().join(FILE).exists());
        assert_eq!(pgkeep.restore_log()["total_errors"], 0);
        restore(&pgkeep, &archive, &["--no-checks"]).expect_code(3);
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_read() {
    let (database, pgkeep, archive) = refused(servers()[0], "bad_usage");
    let before = database.digest();
    let file = ["restore", "--safe", "--file", &archive, "--reject-file", FILE];
    for (more, says) in [
        (&[][..], "--reject-file leaves rows out, which takes --keep-going"),
        (&["--keep-going", "--dry-run"], "a dry run asks the target of no row whether it takes it"),
        (&["--keep-going", "--create"], "--create makes all or nothing"),
        (&["--keep-going", "--schema-only"], "no rows are restored"),
    ] {
        pgkeep.run(&[&file[..], more].concat()).expect_code(2).says(says);
    }
    let without = ["restore", "--safe", "--file", &archive, "--keep-going", "--max-errors", "3"];
    pgkeep.run(&without).expect_code(2).says("none is without --reject-file");
    std::fs::write(pgkeep.dir().join(FILE), "mine").unwrap();
    let run = pgkeep.run(&[&file[..], &["--keep-going"]].concat()).expect_code(2);
    run.says("exists already; pgkeep overwrites nothing").says("choose another name with --reject-file");
    let nowhere =
        ["restore", "--safe", "--file", &archive, "--keep-going", "--reject-file", "no/such/folder.json"];
    pgkeep.run(&nowhere).expect_code(1).says("the file of refused rows: ").says("the target is untouched");
    assert_eq!(std::fs::read_to_string(pgkeep.dir().join(FILE)).unwrap(), "mine");
    assert_eq!(database.digest(), before);
    // As a key of the configuration.
    std::fs::remove_file(pgkeep.dir().join(FILE)).unwrap();
    let toml = format!("keep_going = true\nreject_file = '{FILE}'\nmax_errors = 4\n");
    std::fs::write(pgkeep.dir().join("pgkeep.toml"), toml).unwrap();
    let run = pgkeep.run(&["restore", "--safe", "--json", "--file", &archive]).expect_code(3);
    assert_eq!((&run.json()["reject_file"], &run.json()["total_errors"]), (&FILE.into(), &4.into()));
}
