//! `pgkeep doctor` says before what a backup or a restore would say when it fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::Value;
use support::{Cluster, Database, Options, Pgkeep, fixture, majors, shared, while_held};

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

fn status<'a>(report: &'a Value, name: &str) -> &'a str {
    check(report, name)["status"].as_str().unwrap()
}

fn text<'a>(report: &'a Value, name: &str, key: &str) -> &'a str {
    check(report, name)[key].as_str().unwrap_or_default()
}

/// A database with tables of the superuser's and a role that has nothing yet but the schema.
fn with_role(name: &str, role: &str) -> (Database<'static>, Pgkeep) {
    let database = shared(None).database(name);
    database.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'p'; CREATE SCHEMA \"S 1\";
         CREATE TABLE notes (id serial PRIMARY KEY, text text); CREATE TABLE \"S 1\".plain (a int);
         CREATE TABLE bare (a int); CREATE TABLE secret (a int); ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
         GRANT SELECT, INSERT, UPDATE, DELETE ON notes, secret TO {role}; GRANT USAGE ON SEQUENCE notes_id_seq TO {role}"
    ));
    let pgkeep = Pgkeep::on(&database.url_as(role, "p"));
    (database, pgkeep)
}

#[test]
fn a_superuser_on_a_server_of_any_version_hears_that_all_is_well() {
    for major in majors() {
        let cluster = shared(Some(major));
        let database = cluster.database("doctor_superuser");
        database.execute(&fixture("reservations.sql"));
        let pgkeep = Pgkeep::on(&database.url);
        let report = pgkeep.ok(&["doctor", "--json", "--jobs", "2"]).json();
        for name in [
            "server",
            "host",
            "role",
            "reading",
            "triggers",
            "staging",
            "replication",
            "connection",
            "encryption",
            "WAL level",
            "extensions",
            "long transactions",
            "connections",
            "disk",
            "clock",
        ] {
            assert_eq!(status(&report, name), "pass", "{major}: {}", check(&report, name));
        }
        assert_eq!((&report["host"], &report["failed"]), (&"plain".into(), &0.into()));
        assert!(text(&report, "server", "found").contains(&format!("Postgres {major}")));
        assert!(text(&report, "connection", "found").contains("direct"));
        let run = pgkeep.ok(&["doctor"]);
        assert!(
            run.stdout.contains("PASS  reading") && run.stdout.trim_end().ends_with("all is well"),
            "{}",
            run.stdout
        );
    }
}

#[test]
fn each_missing_privilege_is_named_with_the_statement_that_grants_it_and_that_helps() {
    let (database, pgkeep) = with_role("doctor_reading", "doctor_reader");
    let report = pgkeep.run(&["doctor", "--json"]).expect_code(1).json();
    assert_eq!(status(&report, "reading"), "fail");
    let backup = pgkeep.run(&["backup", "--data-only"]).expect_code(5);
    for missing in [
        "bare (no SELECT)",
        "S 1.plain (no USAGE on its schema, no SELECT)",
        "sequence notes_id_seq (no SELECT",
    ] {
        assert!(text(&report, "reading", "found").contains(missing), "{}", check(&report, "reading"));
        backup.says(missing);
    }
    let advice = text(&report, "reading", "advice");
    backup.says(advice);
    let (grants, _) = advice.split_once(" or leave").unwrap();
    assert!(grants.contains("GRANT USAGE ON SCHEMA \"S 1\" TO doctor_reader;"), "{grants}");
    assert!(!grants.contains("notes\" TO "), "{grants}");
    database.execute(grants);
    // What is left is what no GRANT gives.
    let report = pgkeep.run(&["doctor", "--json"]).expect_code(1).json();
    assert!(text(&report, "reading", "found").contains("row-level security would hide rows"), "{report}");
    database.execute("ALTER ROLE doctor_reader BYPASSRLS");
    let report = pgkeep.ok(&["doctor", "--json"]).json();
    assert_eq!(status(&report, "reading"), "pass");
    assert!(text(&report, "role", "found").contains("no superuser, bypasses row-level security"));
    pgkeep.ok(&["backup", "--data-only"]);
}

#[test]
fn many_missing_privileges_are_granted_schema_by_schema() {
    let (database, pgkeep) = with_role("doctor_many", "doctor_many");
    let tables: String = (0..12).map(|n| format!("CREATE TABLE \"S 1\".t{n} (a serial);")).collect();
    database.execute(&format!("{tables} ALTER ROLE doctor_many BYPASSRLS"));
    let report = pgkeep.run(&["doctor", "--json"]).expect_code(1).json();
    let advice = text(&report, "reading", "advice");
    let (grants, _) = advice.split_once(" or leave").unwrap();
    assert_eq!(grants.matches("GRANT ").count(), 6, "{grants}");
    database.execute(grants);
    assert_eq!(status(&pgkeep.ok(&["doctor", "--json"]).json(), "reading"), "pass");
}

#[test]
fn what_a_role_can_do_about_triggers_is_said_as_a_restore_finds_it() {
    let (database, pgkeep) = with_role("doctor_triggers", "doctor_triggers");
    database.execute(
        "ALTER ROLE doctor_triggers BYPASSRLS; GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO doctor_triggers;
         DROP SCHEMA \"S 1\" CASCADE; DROP TABLE secret, bare;
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER t BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION f()",
    );
    let report = pgkeep.ok(&["doctor", "--json"]).json();
    assert_eq!(status(&report, "triggers"), "warn");
    assert!(text(&report, "triggers", "found").ends_with("tables of others: notes"), "{report}");
    // An archive tells whether it matters, and a restore says the same.
    database.execute(
        "GRANT UPDATE ON SEQUENCE notes_id_seq TO doctor_triggers; INSERT INTO notes (text) VALUES ('a')",
    );
    let archive = pgkeep.ok(&["backup", "--data-only", "--json"]).json()["file"].as_str().unwrap().to_owned();
    database.execute("UPDATE notes SET text = 'b'");
    let report = pgkeep.run(&["doctor", "--file", &archive, "--json"]).expect_code(1).json();
    assert_eq!(status(&report, "holding"), "fail");
    pgkeep
        .run(&["restore", "--safe", "--file", &archive])
        .expect_code(5)
        .says(text(&report, "holding", "found").trim_start_matches("a restore that has a row to write: "));
    if shared(None).postgres.major >= 15 {
        let advice = text(&report, "holding", "advice");
        let (_, grant) = advice.split_once("GRANT SET").unwrap();
        database.execute(&format!("GRANT SET {grant}"));
        let report = pgkeep.ok(&["doctor", "--file", &archive, "--json"]).json();
        assert!(text(&report, "triggers", "found").contains("session_replication_role"));
        database.execute("REVOKE SET ON PARAMETER session_replication_role FROM doctor_triggers");
    }
    database.execute("ALTER TABLE notes OWNER TO doctor_triggers");
    let report = pgkeep.ok(&["doctor", "--file", &archive, "--json"]).json();
    assert!(text(&report, "triggers", "found").contains("as the tables' owner"), "{report}");
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
    // Nothing of it stays: the role could not disable anything in passing.
    assert_eq!(database.value("SELECT tgenabled FROM pg_trigger WHERE tgname = 't'"), "O");
}

#[test]
fn where_rows_would_be_staged_follows_from_what_the_role_may_make() {
    let (database, pgkeep) = with_role("doctor_staging", "doctor_staging");
    database.execute("REVOKE TEMPORARY ON DATABASE doctor_staging FROM PUBLIC");
    for (status_now, granted) in [("warn", "GRANT TEMPORARY"), ("warn", "GRANT CREATE")] {
        let report = pgkeep.run(&["doctor", "--json"]).json();
        assert_eq!(status(&report, "staging"), status_now);
        let (_, grant) = text(&report, "staging", "advice").split_once("GRANT ").unwrap();
        assert!(format!("GRANT {grant}").starts_with(granted), "{report}");
        database.execute(&format!("GRANT {grant}"));
    }
    assert_eq!(status(&pgkeep.run(&["doctor", "--json"]).json(), "staging"), "pass");
}

#[test]
fn hosts_are_told_by_what_they_bring_and_can_be_named_or_described() {
    let cluster = Cluster::start(Options::default());
    let database = cluster.database("shop");
    let pgkeep = Pgkeep::on(&database.url);
    let host = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["doctor", "--json"].iter().chain(arguments).copied().collect();
        pgkeep.ok(&arguments).json()["host"].as_str().unwrap().to_owned()
    };
    assert_eq!(host(&[]), "plain");
    assert_eq!(host(&["--host-profile", "rds"]), "rds");
    pgkeep
        .run(&["doctor", "--host-profile", "nosuch"])
        .expect_code(2)
        .says("there is no host profile")
        .says("supabase, aurora, rds");
    for (sql, expected) in [
        ("CREATE ROLE azure_pg_admin", "azure"),
        ("CREATE ROLE cloudsqlsuperuser", "cloudsql"),
        ("CREATE ROLE rds_superuser", "rds"),
        ("CREATE FUNCTION aurora_version() RETURNS text LANGUAGE sql AS 'SELECT ''15.4'''", "aurora"),
        ("CREATE ROLE supabase_admin; CREATE ROLE authenticator", "aurora"),
        ("CREATE SCHEMA storage", "supabase"),
    ] {
        database.execute(sql);
        assert_eq!(host(&[]), expected, "{sql}");
    }
    let file = pgkeep.dir().join("pgkeep.toml");
    std::fs::write(&file, "[profiles.ours]\ntitle = 'Our own cloud'\nadministrator = 'boss'\ndetect = { schemas = ['storage'] }\n").unwrap();
    let report = pgkeep.ok(&["doctor", "--json"]).json();
    assert_eq!((&report["host"], &report["host_title"]), (&"ours".into(), &"Our own cloud".into()));
    std::fs::write(&file, "[profiles.supabase]\ncolour = 'green'\n").unwrap();
    pgkeep.run(&["doctor"]).expect_code(2).says("pgkeep.toml").says("\"supabase\"").says("colour");
}

#[test]
fn long_transactions_and_few_connections_are_minded() {
    let cluster =
        Cluster::start(Options { config: vec!["max_connections = 9".into()], ..Options::default() });
    let database = cluster.database("shop");
    let pgkeep = Pgkeep::on(&database.url);
    database.execute("CREATE TABLE t (a int)");
    database.execute("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'left'");
    let report = pgkeep.ok(&["doctor", "--json", "--jobs", "2"]).json();
    assert_eq!(status(&report, "long transactions"), "pass");
    let report = pgkeep.ok(&["doctor", "--json", "--older-than", "1ms"]).json();
    assert_eq!(text(&report, "long transactions", "found"), "1 prepared transaction");
    database.execute("ROLLBACK PREPARED 'left'");
    while_held(&database.url, "LOCK TABLE t", |pid| {
        let report = pgkeep.ok(&["doctor", "--json", "--jobs", "9", "--older-than", "1ms"]).json();
        let found = text(&report, "long transactions", "found");
        assert!(found.starts_with(&format!("pid {pid} for ")), "{found}");
        // Whoever may not look into others' sessions is told so.
        cluster.execute("postgres", "CREATE ROLE other LOGIN PASSWORD 'p'");
        let other = Pgkeep::on(&database.url_as("other", "p"))
            .run(&["doctor", "--json", "--older-than", "1ms"])
            .json();
        assert!(text(&other, "long transactions", "found").ends_with("may not be seen"), "{other}");
        assert_eq!(status(&report, "connections"), "warn", "{report}");
        assert!(text(&report, "connections", "advice").contains("max_connections"));
    });
    cluster.execute("postgres", "CREATE ROLE few LOGIN PASSWORD 'p' CONNECTION LIMIT 1");
    let few = Pgkeep::on(&database.url_as("few", "p")).env("PGKEEP_JOBS", "2");
    let report = few.run(&["doctor", "--json"]).json();
    assert!(text(&report, "connections", "advice").contains("the role's CONNECTION LIMIT"), "{report}");
}

#[test]
fn an_archive_is_held_against_the_target_and_everything_in_the_way_is_named() {
    let source = shared(None).database("doctor_source");
    source.execute(
        "CREATE TABLE a (id int PRIMARY KEY, x int); CREATE TABLE b (id int); INSERT INTO a VALUES (1, 2)",
    );
    let pgkeep = Pgkeep::on(&source.url);
    pgkeep.ok(&["backup"]);
    let archive = pgkeep.only_file("backups").display().to_string();
    let doctor = |url: &str, code: i32| {
        let run = Pgkeep::on(url).run(&["doctor", "--file", &archive, "--json"]).expect_code(code);
        run.json()
    };
    let empty = shared(None).database("doctor_empty");
    let report = doctor(&empty.url, 0);
    assert_eq!((status(&report, "archive"), status(&report, "restore")), ("pass", "pass"));
    assert!(text(&report, "restore", "found").contains("holds nothing yet"), "{report}");
    assert_eq!(empty.value("SELECT count(*) FROM pg_class WHERE relname IN ('a', 'b')"), "0");
    // The source itself holds rows.
    let report = doctor(&source.url, 0);
    assert_eq!(status(&report, "restore"), "warn");
    assert!(text(&report, "restore", "found").ends_with("rows are there already in a"), "{report}");
    // A column that is not there, a role that is not the owner's, and an owner that does not exist.
    let other = shared(None).database("doctor_other");
    source.execute("CREATE ROLE doctor_gone; ALTER TABLE b OWNER TO doctor_gone; CREATE ROLE doctor_poor LOGIN PASSWORD 'p'");
    let pgkeep = Pgkeep::on(&source.url);
    pgkeep.ok(&["backup"]);
    let archive = pgkeep.only_file("backups").display().to_string();
    source.execute("ALTER TABLE b OWNER TO postgres; DROP ROLE doctor_gone");
    other.execute(
        "CREATE TABLE a (id int PRIMARY KEY); REVOKE ALL ON a FROM PUBLIC; CREATE TABLE mine (a int)",
    );
    let url = other.url_as("doctor_poor", "p");
    let run = Pgkeep::on(&url).run(&["doctor", "--file", &archive]).expect_code(1);
    for said in ["role doctor_gone", "column \"x\" is missing in the target", "FAIL  needs", "FAIL  tables"] {
        assert!(run.stdout.contains(said), "no {said:?} in {}", run.stdout);
    }
    // Bytes of a broken archive are never held against anything.
    let mut bytes = std::fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    let broken = pgkeep.dir().join("broken.json.gz");
    std::fs::write(&broken, bytes).unwrap();
    let run = Pgkeep::on(&url).run(&["doctor", "--file", broken.to_str().unwrap()]).expect_code(1);
    assert!(
        run.stdout.contains("FAIL  archive") && run.stdout.contains("choose another archive"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_trigger_that_always_acts_is_beyond_the_replica_role_too() {
    let (database, pgkeep) = with_role("doctor_always", "doctor_always");
    if shared(None).postgres.major < 15 {
        return;
    }
    database.execute(
        "GRANT SET ON PARAMETER session_replication_role TO doctor_always; GRANT SELECT, UPDATE ON SEQUENCE notes_id_seq TO doctor_always;
         DROP TABLE secret, bare; CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER t BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION f(); INSERT INTO notes (text) VALUES ('a')",
    );
    let archive = pgkeep.ok(&["backup", "--data-only", "--table", "notes", "--json"]).json();
    let archive = archive["file"].as_str().unwrap();
    database.execute("UPDATE notes SET text = 'b'");
    assert_eq!(status(&pgkeep.ok(&["doctor", "--file", archive, "--json"]).json(), "triggers"), "pass");
    database.execute("ALTER TABLE notes ENABLE ALWAYS TRIGGER t");
    let report = pgkeep.run(&["doctor", "--file", archive, "--json"]).expect_code(1).json();
    assert_eq!((status(&report, "triggers"), status(&report, "holding")), ("warn", "fail"));
    pgkeep.run(&["restore", "--safe", "--file", archive]).expect_code(5);
}

#[test]
fn who_may_not_make_objects_hears_so_before_and_where_a_table_is_locked_the_rest_is_told() {
    let source = shared(None).database("doctor_maker_source");
    source.execute("CREATE ROLE doctor_maker LOGIN PASSWORD 'p'; CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let pgkeep = Pgkeep::on(&source.url);
    let archive = pgkeep.ok(&["backup", "--json"]).json()["file"].as_str().unwrap().to_owned();
    let archive = pgkeep.dir().join(archive).display().to_string();
    let target = shared(None).database("doctor_maker");
    target.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let poor = Pgkeep::on(&target.url_as("doctor_maker", "p"));
    let report = poor.run(&["doctor", "--file", &archive, "--json"]).expect_code(1).json();
    assert_eq!(
        text(&report, "privileges", "found"),
        "role doctor_maker may not make objects in schema public (no CREATE)"
    );
    let restore = ["restore", "--no-owner", "--no-privileges", "--file", &archive];
    poor.run(&restore)
        .expect_code(5)
        .says(text(&report, "privileges", "found"))
        .says("the target is untouched");
    target.execute(text(&report, "privileges", "advice"));
    poor.ok(&restore);
    assert_eq!(target.value("SELECT a FROM t"), "1");
    while_held(&source.url, "LOCK TABLE t", |_| {
        let run =
            pgkeep.run(&["doctor", "--file", &archive, "--lock-timeout", "200ms", "--json"]).expect_code(1);
        let report = run.json();
        assert_eq!((status(&report, "reading"), status(&report, "restore")), ("pass", "fail"), "{report}");
        assert!(text(&report, "restore", "found").contains("locked"), "{report}");
    });
}

#[test]
fn a_server_that_is_not_there_is_no_report() {
    let pgkeep = Pgkeep::on("postgres://app@127.0.0.1:1/shop").env("PGKEEP_CONNECT_ATTEMPTS", "1");
    let run = pgkeep.run(&["doctor", "--json"]).expect_code(5);
    assert!(run.json()["error"].as_str().unwrap().contains("connection refused"));
}
