//! Wrong usage: said before anything is read or written.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::support::{Pgkeep, Run, Running};
use crate::{backed_up, explained, no_archive, shop};

/// Runs pgkeep on a terminal of its own and types `answer`.
fn on_terminal(pgkeep: &Pgkeep, arguments: &str, answer: &str) -> Run {
    let plain = pgkeep.command();
    let mut command = Command::new("script");
    command.args(["-qec", &format!("{} {arguments}", plain.get_program().to_str().unwrap()), "/dev/null"]);
    command
        .current_dir(pgkeep.dir())
        .env_clear()
        .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .env("SHELL", "/bin/sh")
        .env("NO_COLOR", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::piped());
    let mut child = command.spawn().expect("script (of util-linux) runs");
    let mut keyboard = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
    let mut asked = false;
    while let Ok(length @ 1..) = screen.read(&mut piece) {
        shown.extend_from_slice(&piece[..length]);
        if !asked && String::from_utf8_lossy(&shown).contains("Type yes to go on: ") {
            asked = true;
            keyboard.write_all(answer.as_bytes()).unwrap();
        }
    }
    drop(keyboard);
    let code = child.wait().unwrap().code();
    // A terminal has but one stream, and ends lines its own way; the echo of what was typed stands before an answer, and
    // a bar before what is written when it has been wiped away.
    let shown = String::from_utf8_lossy(&shown)
        .replace('\r', "")
        .replace("\u{1b}[2K", "\n")
        .replace("Type yes to go on: ", "Type yes to go on\n");
    Run { code, stdout: String::new(), stderr: shown }
}

#[test]
fn a_restore_that_cannot_be_undone_needs_a_yes_when_nobody_can_be_asked() {
    let database = shop("no_terminal");
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute("UPDATE orders SET note = 'damaged'");
    let before = database.digest();
    let run = explained(pgkeep.run(&["restore", "--file", &archive]), 2);
    run.says("cannot be undone")
        .says("customers, orders")
        .says("/no_terminal")
        .says("--yes")
        .says("--safe")
        .says("untouched");
    assert_eq!(database.digest(), before);
    assert!(pgkeep.files("summaries").iter().all(|file| !file.to_string_lossy().contains("restore_log")));
    // An answer in a pipe is not one of a person.
    let mut command = pgkeep.command();
    command
        .args(["restore", "--file", &archive])
        .stdin(Stdio::from(std::fs::File::open("/dev/zero").unwrap()));
    explained(Running::spawn(command).wait(), 2);
    assert_eq!(database.digest(), before);
    pgkeep.ok(&["restore", "--yes", "--file", &archive]).says("cannot be undone");
    assert_ne!(database.digest(), before);
    no_archive(&pgkeep, "safety_backups");
}

#[test]
fn at_a_terminal_only_a_plain_yes_lets_it_go_on() {
    let database = shop("terminal");
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute("UPDATE orders SET note = 'damaged'");
    let before = database.digest();
    for answer in ["no\n", "\n", "y\n", "yes please\n"] {
        let run =
            explained(on_terminal(&pgkeep, &format!("restore --mode exact --file {archive}"), answer), 2);
        run.says("Type yes to go on")
            .says("cannot be undone")
            .says("deleted")
            .says("not confirmed")
            .says("untouched");
        assert_eq!(database.digest(), before);
    }
    // Ctrl-C ends the question, too.
    let run = explained(on_terminal(&pgkeep, &format!("restore --file {archive}"), "\u{3}"), 130);
    run.says("interrupted").says("untouched");
    assert_eq!(database.digest(), before);
    let run = on_terminal(&pgkeep, &format!("restore --file {archive}"), "yes\n").expect_code(0);
    run.says("Type yes to go on").says("restored and verified");
    assert_ne!(database.digest(), before);
}

#[test]
fn at_a_terminal_no_progress_is_drawn_over_a_failure() {
    let database = shop("terminal_failure");
    let (pgkeep, archive) = backed_up(&database.url);
    let pgkeep = pgkeep.env("TERM", "xterm");
    database.execute("ALTER TABLE orders ADD CHECK (note <> 'note 1') NOT VALID; DELETE FROM orders");
    let run = explained(on_terminal(&pgkeep, &format!("restore --safe --file {archive}"), ""), 1);
    run.says("violates");
    let (drawn, said) = run.stderr.split_once("error: ").unwrap();
    assert!(drawn.contains("safety backup ["), "there was progress: {drawn:?}");
    // No escape sequence moves up, or takes a line away again.
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn into_empty_tables_nobody_is_asked() {
    let database = shop("empty_target");
    let (pgkeep, archive) = backed_up(&database.url);
    let original = database.digest();
    database.execute("TRUNCATE customers, orders");
    pgkeep.ok(&["restore", "--file", &archive]);
    assert_eq!(database.digest(), original);
}

#[test]
fn a_bad_configuration_is_named_with_its_key() {
    let database = shop("bad_config");
    let pgkeep = Pgkeep::on(&database.url);
    let file = pgkeep.dir().join("pgkeep.toml");
    for (text, words) in [
        ("jbos = 3", vec!["pgkeep.toml", "\"jbos\""]),
        ("[restore]\nsave = true", vec!["pgkeep.toml", "\"restore.save\""]),
        ("[restor]\nsafe = true", vec!["pgkeep.toml", "\"restor\""]),
        ("jobs = ", vec!["pgkeep.toml", "not valid TOML"]),
        ("jobs = { a = 1 }", vec!["pgkeep.toml", "\"jobs\""]),
        ("jobs = [[1]]", vec!["pgkeep.toml", "\"jobs\""]),
    ] {
        std::fs::write(&file, text).unwrap();
        let run = explained(pgkeep.run(&["backup"]), 2);
        for word in words {
            run.says(word);
        }
    }
    // What clap refuses it says in its own way.
    for text in ["jobs = 0", "jobs = 'many'", "compress = 'rar'", "[backup]\njobs = 1000"] {
        std::fs::write(&file, text).unwrap();
        pgkeep.run(&["backup"]).expect_code(2).says("error:");
    }
    std::fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    explained(pgkeep.run(&["backup"]), 2).says("pgkeep.toml");
    explained(pgkeep.run(&["backup", "--config", "no/such.toml"]), 2).says("no/such.toml");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    explained(pgkeep.run(&["backup"]), 2).says("pgkeep.toml");
    no_archive(&pgkeep, "backups");
}

#[test]
fn bad_flags_and_settings_end_with_2() {
    let database = shop("bad_flags");
    let pgkeep = Pgkeep::on(&database.url);
    let commands: [&[&str]; 9] = [
        &[],
        &["restor"],
        &["restore"],
        &["backup", "--jobs", "0"],
        &["backup", "--compress", "gzip:99"],
        &["restore", "--file", "x", "--mode", "replace"],
        &["restore", "--file", "x", "--lock-timeout", "0"],
        &["restore", "--file", "x", "--lock-timeout", "soon"],
        &["backup", "-q", "-v"],
    ];
    for command in commands {
        let run = pgkeep.run(command).expect_code(2);
        assert!(!run.stderr.is_empty());
    }
    explained(pgkeep.run(&["backup", "--json", "--out", "-"]), 2).says("standard output");
    explained(Pgkeep::on("postgres://h:notaport/d").run(&["backup"]), 2).says("port must be a number");
    no_archive(&pgkeep, "backups");
}

#[test]
fn with_json_a_failure_is_one_object_too() {
    let database = shop("json_failures");
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute("ALTER TABLE orders DROP note");
    let bad = pgkeep.dir().join("bad.json.gz");
    std::fs::write(&bad, "not an archive").unwrap();
    let commands: [(&[&str], i32); 8] = [
        (&["restore", "--json", "--safe", "--file", &archive], 1),
        (&["restore", "--json", "--safe", "--file", "bad.json.gz"], 4),
        (&["restore", "--json", "--safe", "--file", "missing"], 2),
        (&["restore", "--json", "--file", &archive, "--table", "customers"], 2),
        (&["rollback", "--json", "latest"], 2),
        (&["backup", "--json", "--table", "nothing"], 2),
        (&["show", "--json", "bad.json.gz"], 4),
        (&["validate", "--json", "bad.json.gz"], 4),
    ];
    for (command, code) in commands {
        let run = explained(pgkeep.run(command), code);
        let object = run.json();
        assert!(object["error"].as_str().is_some_and(|e| !e.is_empty()), "{command:?}: {object:#}");
        if command[0] == "restore" || command[0] == "rollback" {
            assert_eq!(
                (object["status"].as_str(), object["rolled_back"].as_bool()),
                (Some("failed"), Some(false)),
                "{object:#}"
            );
            assert!(object["tables_failed"].is_array() && object["started_at"].is_string(), "{object:#}");
        }
    }
    let run = explained(
        pgkeep.run(&[
            "backup",
            "--json",
            "-d",
            "postgres://postgres:x@127.0.0.1:1/d",
            "--connect-attempts",
            "1",
        ]),
        5,
    );
    assert!(run.json()["error"].is_string());
}
