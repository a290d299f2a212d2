//! The scripts that a newcomer meets first work: the smoke test on any server, and the demo.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Run, Running, fixture, majors, shared};

#[test]
fn the_smoke_script_passes_on_every_major() {
    for major in majors() {
        let database = shared(Some(major)).database("smoke");
        database.execute(&fixture("reservations.sql"));
        let before = database.digest();
        let run = script("smoke", &[("DATABASE_URL", &database.url)]);
        assert_eq!(run.code, Some(0), "Postgres {major}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.starts_with("PASS: ") && run.stdout.lines().count() == 1, "{}", run.stdout);
        assert_eq!(database.digest(), before, "Postgres {major}");
    }
}

#[test]
fn the_smoke_script_fails_when_there_is_no_server() {
    let run = script("smoke", &[("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")]);
    assert_eq!(run.code, Some(1));
    assert_eq!(run.stdout, "FAIL: pgkeep backup ended with exit code 5\n");
}

#[test]
fn the_demo_restores_and_undoes_and_ends_with_the_restore_log() {
    let run = script("demo", &[]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert_eq!(run.stdout.matches("yes, all").count(), 3, "{}", run.stdout);
    let log = run.stdout.rsplit("restore_log_").next().unwrap();
    let log: serde_json::Value = serde_json::from_str(log.split_once('\n').unwrap().1).unwrap();
    assert_eq!(log["status"], "completed");
}

fn script(name: &str, environment: &[(&str, &str)]) -> Run {
    let mut command = Command::new("bash");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name))
        .env("PGKEEP", env!("CARGO_BIN_EXE_pgkeep"))
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    Running::spawn(command).wait_for(Duration::from_secs(300))
}
