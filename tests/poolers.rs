//! Through PgBouncer: session mode does everything, transaction mode what one connection can, and nothing stays behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{Cluster, Database, Options, PASSWORD, Pgkeep, Pooler, fixture, query, shared, while_held};

const USERS: [(&str, &str); 1] = [("postgres", PASSWORD)];

fn shop(name: &str) -> Database<'static> {
    let database = shared(None).database(name);
    database.execute(&fixture("reservations.sql"));
    database
}

#[test]
fn session_mode_backs_up_restores_and_rolls_back_over_several_connections() {
    let database = shop("pooled_sessions");
    let pooler = Pooler::start(shared(None), "session", 20, &USERS);
    let pgkeep = Pgkeep::on(&pooler.url("postgres", &database.name));
    let original = database.digest();
    pgkeep.ok(&["backup", "--jobs", "3"]);
    database.execute("DELETE FROM booking_items; UPDATE bookings SET total = 0");
    let damaged = database.digest();
    let archive = pgkeep.only_file("backups").display().to_string();
    pgkeep.ok(&["restore", "--safe", "--jobs", "3", "--mode", "exact", "--file", &archive]);
    assert_eq!(database.digest(), original);
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(database.digest(), damaged);
    let report = pgkeep.ok(&["doctor", "--json"]).json();
    let check = check(&report, "connection");
    assert_eq!(check["status"], "pass");
    assert!(
        check["found"].as_str().unwrap().contains("each session a server connection of its own"),
        "{check}"
    );
}

#[test]
fn transaction_mode_is_backed_up_over_one_connection_and_nothing_is_left_on_it() {
    let database = shop("pooled_transactions");
    // One server connection for all: work that wanted two would wait for itself.
    for size in [1, 4] {
        let pooler = Pooler::start(shared(None), "transaction", size, &USERS);
        let url = pooler.url("postgres", &database.name);
        let pgkeep = Pgkeep::on(&url);
        // What a client calls itself the pooler hands on.
        let settings = "SELECT name, setting FROM pg_settings
                         WHERE source = 'session' AND name <> 'application_name' ORDER BY 1";
        let before = query(&url, settings);
        let run = pgkeep.ok(&["backup", "--jobs", "4", "--json"]);
        run.says("shares server connections between transactions, or may: going on over one");
        assert_eq!(run.json()["jobs"], 1);
        assert_eq!(query(&url, settings), before);
        let copy = shared(None).database(&format!("pooled_copy_{size}"));
        let archive = pgkeep.only_file("backups").display().to_string();
        Pgkeep::on(&copy.url).ok(&["restore", "--file", &archive]);
        assert_eq!(copy.digest(), database.digest());
        let diff = pgkeep.ok(&["diff", &archive, "live", "--schema"]).stdout;
        assert!(diff.contains("0 added, 0 removed"), "{diff}");
    }
}

#[test]
fn a_restore_through_transaction_mode_is_refused_and_says_where_to_connect() {
    let database = shop("pooled_refusal");
    let pooler = Pooler::start(shared(None), "transaction", 4, &USERS);
    let pgkeep = Pgkeep::on(&pooler.url("postgres", &database.name));
    pgkeep.ok(&["backup"]);
    let original = database.digest();
    let archive = pgkeep.only_file("backups").display().to_string();
    for command in [
        &["restore", "--safe", "--file", &archive][..],
        &["restore", "--create", "--file", &archive, "-d", &pooler.url("postgres", "pooled_new")],
    ] {
        let run = pgkeep.run(command).expect_code(2);
        run.says("shares server connections between transactions, and a restore needs its own");
        run.says("the target is untouched")
            .says("connect to the server itself, or to a pooler in session mode");
    }
    assert_eq!(database.digest(), original);
    let report = pgkeep.ok(&["doctor", "--json"]).json();
    assert_eq!(check(&report, "connection")["status"], "warn");
    let report = pgkeep.run(&["doctor", "--for", "restore", "--json"]).expect_code(1).json();
    assert_eq!(check(&report, "connection")["status"], "fail");
}

#[test]
fn a_pool_that_goes_round_and_one_that_grants_too_little_are_not_taken_for_sessions() {
    let database = shop("pooled_rounds");
    let direct = Pgkeep::on(&database.url);
    let archive = direct.ok(&["backup", "--json"]).json()["file"].as_str().unwrap().to_owned();
    let archive = direct.dir().join(archive).display().to_string();
    database.execute("UPDATE bookings SET total = 0");
    let damaged = database.digest();
    let rounds = "max_client_conn = 50\nserver_round_robin = 1";
    for (more, said) in [
        (rounds, "shares server connections between transactions, and a restore needs its own"),
        ("max_client_conn = 2", "grants no second connection"),
    ] {
        let pooler = Pooler::with(shared(None), "transaction", 2, &USERS, more);
        let url = pooler.url("postgres", &database.name);
        // Two at once, so that the pool has two.
        while_held(&url, "SELECT 1", |_| query(&url, "SELECT 1"));
        let pgkeep = Pgkeep::on(&url);
        let run = pgkeep.run(&["restore", "--safe", "--mode", "exact", "--file", &archive]).expect_code(2);
        run.says(said).says("connect to the server itself");
        let report = pgkeep.run(&["doctor", "--file", &archive, "--json"]).expect_code(1).json();
        assert_eq!(check(&report, "connection")["status"], "fail", "{report}");
        let left = "SELECT count(*) FROM pg_settings WHERE source = 'session' AND name <> 'application_name'";
        for _ in 0..2 {
            assert_eq!(query(&url, left)[0][0].as_deref(), Some("0"), "{more}");
        }
        // A backup does with one.
        assert_eq!(pgkeep.ok(&["backup", "--jobs", "2", "--json"]).json()["jobs"], 1);
    }
    assert_eq!(database.digest(), damaged);
}

#[test]
fn the_advice_is_that_of_the_host() {
    let cluster = Cluster::start(Options::default());
    cluster.execute("postgres", "CREATE ROLE supabase_admin; CREATE ROLE authenticator");
    let database = cluster.database("shop");
    database.execute("CREATE SCHEMA auth; CREATE TABLE t (a int)");
    let pooler = Pooler::start(&cluster, "transaction", 4, &USERS);
    let pgkeep = Pgkeep::on(&pooler.url("postgres", "shop"));
    let archive = pgkeep.ok(&["backup", "--json"]).json()["file"].as_str().unwrap().to_owned();
    let run = pgkeep.run(&["restore", "--safe", "--file", &archive]).expect_code(2);
    run.says("port 5432 in place of 6543");
    let run = pgkeep.run(&["restore", "--safe", "--host-profile", "neon", "--file", &archive]).expect_code(2);
    run.says("without -pooler");
    pgkeep.run(&["backup", "--host-profile", "nosuch"]).expect_code(2).says("there is no host profile");
}

fn check<'a>(report: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}
