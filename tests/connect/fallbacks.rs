//! Several addresses of one database: the first that leads there is taken, and for everything.

use std::net::TcpListener;

use crate::support::{Pgkeep, percent_encoded};
use crate::{PASSWORD, world};

fn dead_url(database: &str) -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("postgres://app@127.0.0.1:{port}/{database}")
}

fn live_url(database: &str) -> String {
    world().cluster.url_as("app", PASSWORD, database)
}

#[test]
fn the_next_address_is_taken_where_one_does_not_lead_there_and_each_error_is_shown() {
    let wrong = world().cluster.url_as("app", "wrong", "shop");
    for (first, said) in [
        (dead_url("shop"), "connection refused"),
        ("postgres://app@no-such-host.invalid/shop".to_owned(), "cannot look up host"),
        (wrong, "password authentication failed"),
    ] {
        let pgkeep = Pgkeep::on(&first).env("PGKEEP_FALLBACK_URL", &live_url("shop"));
        let run = pgkeep.ok(&["backup", "--jobs", "2"]);
        run.says(said).says("going on by the fallback postgres://app@127.0.0.1");
        let archive = pgkeep.only_file("backups").display().to_string();
        // The workers, the safety backup and the log go by it, too.
        let run = pgkeep.ok(&["restore", "--safe", "--file", &archive, "--json"]);
        let target = run.json()["target"].as_str().unwrap().to_owned();
        assert!(target.contains(&world().cluster.port.to_string()), "{target}");
        pgkeep.assert_secret_nowhere(PASSWORD, &[&run]);
    }
}

#[test]
fn a_database_that_is_made_is_filled_where_it_was_made() {
    let superuser = |database: &str| world().cluster.url(database);
    let pgkeep = Pgkeep::on(&superuser("shop"));
    let archive = pgkeep.ok(&["backup", "--json"]).json()["file"].as_str().unwrap().to_owned();
    let first = dead_url("made").replace("app@", "postgres@");
    let making = pgkeep.env("PGKEEP_FALLBACK_URL", &superuser("made"));
    let run = making.ok(&["restore", "--create", "--json", "--file", &archive, "-d", &first]);
    let target = run.json()["target"].as_str().unwrap().to_owned();
    assert!(target.contains(&format!(":{}/made", world().cluster.port)), "{target}");
    assert_eq!(run.stderr.matches("going on by the fallback").count(), 1, "{}", run.stderr);
}

#[test]
fn where_none_leads_there_all_say_why_and_a_file_may_name_several() {
    let pgkeep = Pgkeep::on(&dead_url("shop")).env("PGKEEP_CONNECT_ATTEMPTS", "2");
    let (second, third) = (dead_url("shop"), world().cluster.url_as("app", "wrong", "shop"));
    std::fs::write(pgkeep.dir().join("pgkeep.toml"), format!("fallback_urls = ['{second}', '{third}']"))
        .unwrap();
    let run = pgkeep.run(&["backup"]).expect_code(5);
    assert_eq!(run.stderr.matches("connection refused").count() % 2, 0, "{}", run.stderr);
    run.says("none of 3 hosts will do").says("password authentication failed").says("tried 2 times");
    assert!(!run.stderr.contains(":wrong"), "{}", run.stderr);
}

#[test]
fn an_address_of_another_database_and_a_password_on_the_command_line_are_refused() {
    let pgkeep = Pgkeep::on(&live_url("shop"));
    let run = pgkeep.run(&["backup", "--fallback-url", "postgres://app@127.0.0.1/other"]).expect_code(2);
    run.says("leads to database other, not to shop");
    let secret = percent_encoded(PASSWORD);
    let run = pgkeep.run(&["backup", "--fallback-url", &live_url("shop")]).expect_code(2);
    run.says("--fallback-url holds a password, which the process list shows");
    let run = pgkeep
        .run(&["backup", &format!("--fallback-url=host=127.0.0.1 dbname=shop password='{PASSWORD}'")])
        .expect_code(2);
    run.says("--fallback-url holds a password");
    pgkeep.assert_secret_nowhere(&secret, &[&run]);
}

#[test]
fn a_project_whose_own_host_cannot_be_reached_hears_of_its_pooler() {
    let pgkeep =
        Pgkeep::on("postgres://postgres@db.abcdefghijklmnop.supabase.co:1/postgres?hostaddr=127.0.0.1")
            .env("PGKEEP_CONNECT_ATTEMPTS", "1");
    pgkeep.run(&["doctor"]).expect_code(5).says("use the session pooler");
}
