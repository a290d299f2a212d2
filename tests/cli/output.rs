//! What stands on which stream, and with which exit code.

use std::process::Command;

use crate::support::{Pgkeep, Run};
use crate::{backed_up, library};

/// Asserts that standard output is one JSON object, and standard error holds none.
#[track_caller]
fn one_object(run: Run) -> serde_json::Value {
    let object = run.expect_code(0);
    let value = object.json();
    assert!(value.is_object() && object.stdout.ends_with("}\n"), "{}", object.stdout);
    assert!(!object.stderr.contains('{'), "{}", object.stderr);
    value
}

#[test]
fn with_json_every_command_prints_one_object_and_nothing_else() {
    let database = library("cli_json");
    let pgkeep = Pgkeep::on(&database.url);
    let backup = one_object(pgkeep.run(&["backup", "--json"]));
    for key in ["file", "tables", "rows", "bytes", "seconds"] {
        assert!(!backup[key].is_null(), "{key}");
    }
    let archive = backup["file"].as_str().unwrap();
    database.execute("DELETE FROM loans");
    let dry = one_object(pgkeep.run(&["restore", "--json", "--dry-run", "--file", archive]));
    assert_eq!((dry["operation"].as_str(), dry["total_inserted"].as_u64()), (Some("dry-run"), Some(7)));
    for command in [&["restore", "--safe", "--file", archive][..], &["rollback", "latest"]] {
        let log = one_object(pgkeep.run(&[command, &["--json"]].concat()));
        assert_eq!(log, pgkeep.restore_log(), "the object is the log");
    }
    let validate = one_object(pgkeep.run(&["validate", archive, "--json"]));
    assert_eq!((validate["valid"].as_bool(), validate["rows"].as_u64()), (Some(true), Some(1207)));
    for (command, archives) in [("list", 1), ("list-safety", 2)] {
        let list = one_object(pgkeep.run(&[command, "--json"]));
        let list = list["archives"].as_array().unwrap();
        assert_eq!(list.len(), archives, "{command}");
        for key in ["file", "created_at", "database", "tables", "rows", "bytes", "verified", "guards"] {
            assert!(list[0].as_object().unwrap().contains_key(key), "{command}: {key}");
        }
    }
    let show = one_object(pgkeep.run(&["show", archive, "--json"]));
    assert_eq!(show["tables"][0]["table"], "books");
    // Rows are objects already, one a line.
    let rows = pgkeep.ok(&["show", archive, "loans", "--json"]).stdout;
    assert_eq!(rows.lines().count(), 7);
    assert_eq!(rows.lines().next(), Some(r#"{"book":1,"reader":"Reader 1"}"#));
    // And an empty list is a list.
    assert_eq!(one_object(Pgkeep::new().run(&["list", "--json"]))["archives"], serde_json::json!([]));
}

#[test]
fn quiet_leaves_the_result_and_errors_alone() {
    let database = library("cli_quiet");
    let (pgkeep, archive) = backed_up(&database);
    for command in [
        &["backup"][..],
        &["restore", "--safe", "--file", &archive],
        &["rollback", "latest"],
        &["validate", &archive],
        &["list"],
        &["show", &archive],
    ] {
        let run = pgkeep.ok(&[command, &["-q"]].concat());
        assert!(!run.stdout.is_empty() && run.stderr.is_empty(), "{command:?}: {}", run.stderr);
    }
    let run = pgkeep.run(&["validate", "nothing", "-q"]).expect_code(2);
    assert!(run.stdout.is_empty() && run.stderr.starts_with("error: "), "{}", run.stderr);
    // Without it, there is more to be seen, and it is on standard error.
    let run = pgkeep.ok(&["rollback", "latest"]);
    run.says("rolling back to");
    assert!(run.stdout.contains("rolled back and verified"), "{}", run.stdout);
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let pgkeep = Pgkeep::new();
    let failing = ["show", "nothing"];
    let colourless = |run: &Run| !run.stdout.contains('\u{1b}') && !run.stderr.contains('\u{1b}');
    assert!(colourless(&pgkeep.run(&failing)));
    assert!(!colourless(&pgkeep.run(&[&failing[..], &["--color", "always"]].concat())));
    // clap's own messages follow the same rules.
    for usage in [&["--help"][..], &["backup", "--help"], &["backup", "--nonsense"], &[]] {
        assert!(colourless(&pgkeep.run(usage)), "{usage:?}");
    }
    // On a terminal NO_COLOR decides, if no flag does.
    let on_terminal = |variables: &[(&str, &str)], more: &str| {
        let program = env!("CARGO_BIN_EXE_pgkeep");
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{program} show nothing {more}"), "/dev/null"]);
        command.env_remove("NO_COLOR").env("SHELL", "/bin/sh").env("TERM", "xterm");
        let output = command.envs(variables.iter().copied()).current_dir(pgkeep.dir()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(on_terminal(&[], "").contains('\u{1b}'));
    assert!(!on_terminal(&[("NO_COLOR", "1")], "").contains('\u{1b}'));
    assert!(on_terminal(&[("NO_COLOR", "1")], "--color always").contains('\u{1b}'));
    assert!(!on_terminal(&[], "--color never").contains('\u{1b}'));
}

#[test]
fn wrong_usage_ends_with_2_and_says_where_to_look() {
    let pgkeep = Pgkeep::new();
    std::fs::write(pgkeep.dir().join("bad.toml"), "colour = 'red'").unwrap();
    let commands: [&[&str]; 14] = [
        &["frobnicate"],
        &["backup", "extra"],
        &["backup", "--jobs", "many"],
        &["backup", "--compress", "rar"],
        &["backup", "--table", "a.b.c", "-d", "postgres://h/d"],
        &["backup", "-d", "mysql://h/d"],
        &["restore", "--file"],
        &["restore", "--file", "nothing"],
        &["restore", "--mode", "merge", "--file", "x"],
        &["rollback"],
        &["rollback", "latest", "-d", "postgres://h/d"],
        &["validate", "nothing"],
        &["completions", "tcsh"],
        &["list", "--config", "bad.toml"],
    ];
    for command in commands {
        let run = pgkeep.run(command).expect_code(2);
        let helps = run.stderr.contains("try '--help'") || run.stderr.contains("\nnext:  ");
        assert!(run.stdout.is_empty() && run.stderr.starts_with("error: ") && helps, "{command:?}: {run:?}");
    }
    // Nothing at all is a question: what is there?
    let run = pgkeep.run::<&str>(&[]).expect_code(2);
    assert!(run.stderr.contains("Usage: pgkeep") && run.stderr.contains("rollback"), "{}", run.stderr);
    assert!(
        std::fs::read_dir(pgkeep.dir())
            .unwrap()
            .all(|e| ["bad.toml", "logs"].contains(&e.unwrap().file_name().to_str().unwrap()))
    );
}

#[test]
fn completions_come_for_every_shell_and_the_one_for_bash_is_bash() {
    let pgkeep = Pgkeep::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = pgkeep.ok(&["completions", shell]).stdout;
        for word in ["list-safety", "lock-timeout", "rollback"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        if shell == "bash" {
            let file = pgkeep.dir().join("completion");
            std::fs::write(&file, script).unwrap();
            // It parses, and offers what it should.
            let ask = "source ./completion; COMP_WORDS=(pgkeep list); COMP_CWORD=1; _pgkeep pgkeep list pgkeep; echo \"${COMPREPLY[*]}\"";
            let output = Command::new("bash").args(["-c", ask]).current_dir(pgkeep.dir()).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!((text.trim(), output.stderr.len()), ("list-safety list", 0));
        }
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let pgkeep = Pgkeep::new();
    pgkeep.ok(&["man", "--out-dir", "pages"]);
    let pages: Vec<String> =
        pgkeep.files("pages").iter().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let mut expected: Vec<String> =
        pgkeep::cli::command().get_subcommands().map(|c| format!("pgkeep-{}.1", c.get_name())).collect();
    expected.push("pgkeep.1".to_owned());
    expected.sort();
    assert_eq!(pages, expected);
    let page = pgkeep.ok(&["man"]).stdout;
    assert_eq!(page, std::fs::read_to_string(pgkeep.dir().join("pages/pgkeep.1")).unwrap());
    assert!(page.starts_with(".ie") || page.starts_with(".TH"), "{page}");
    for code in [
        "0 done",
        "1 failed",
        "2 wrong usage",
        "3 partial",
        "4 archive",
        "5 cannot connect",
        "6 failed",
        "130 interrupted",
    ] {
        assert!(page.contains(code), "{code}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_whose_name_is_not_utf8_is_as_good_as_another() {
    use std::os::unix::ffi::OsStrExt;
    let database = library("cli_not_utf8");
    let pgkeep = Pgkeep::on(&database.url);
    let mut command = pgkeep.command();
    command.args(["backup", "--json", "--dir"]).arg(std::ffi::OsStr::from_bytes(b"f\xfclder"));
    let backup = one_object(crate::support::Running::spawn(command).wait());
    let file = backup["file"].as_str().unwrap();
    assert!(file.starts_with("f\u{fffd}lder/backups/"), "{file}");
}
