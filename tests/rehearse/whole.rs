//! Rehearsals that pass.

use crate::support::{fixture, majors, query, shared, try_query};
use crate::{World, named, scratch};

#[test]
fn an_archive_restores_and_nothing_else_is_touched() {
    for major in majors() {
        let world = World::on(Some(major), "rehearse_whole", &fixture("reservations.sql"));
        std::fs::write(world.pgkeep.dir().join("pgkeep.toml"), fixture("checks.toml")).unwrap();
        let before = world.state();
        let sessions = "SELECT sessions FROM pg_stat_database WHERE datname = 'rehearse_whole'";
        let run = world.pgkeep.ok(&["rehearse", &world.archive]);
        assert_eq!(world.state(), before, "{major}");
        let name = named(&run.stdout);
        assert!(!scratch(world.database.cluster).contains(&name), "{major}: {name}");
        for text in [
            "PASS  availability is consistent\n",
            ".json.gz restores: 16 tables, 740 rows, 120 objects; 4 checks passed; ",
            "; the scratch database was removed\n",
        ] {
            assert!(run.stdout.contains(text), "{major}: no {text:?} in\n{}", run.stdout);
        }
        // Its own database was not even connected to.
        if major >= 14 {
            let count = || query(&world.database.cluster.url("postgres"), sessions)[0][0].clone();
            let connected = count();
            let report = world.pgkeep.ok(&["rehearse", &world.archive, "--json", "--no-checks"]).json();
            assert_eq!(count(), connected, "{major}");
            assert_eq!(report["passed"], true);
            assert_eq!(
                (&report["tables"], &report["rows"], &report["objects"]),
                (&16.into(), &740.into(), &120.into())
            );
            assert!(report["database_bytes"].as_u64().unwrap() > 5_000_000, "{report:#}");
            assert!(report["checks"].as_array().unwrap().is_empty());
            assert!(report["steps"].as_array().unwrap().len() >= 8, "{report:#}");
            let kept = world.pgkeep.files("summaries");
            let kept = kept.iter().rfind(|f| f.to_str().unwrap().contains("rehearsal_")).unwrap();
            let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
            assert_eq!(kept, report);
        }
        assert!(!world.pgkeep.files("summaries").iter().any(|f| f.to_str().unwrap().contains("restore_log")));
    }
}

#[test]
fn odd_objects_rows_and_sequences_come_out_as_archived() {
    let fixtures = ["awkward_types.sql", "many_values.sql", "objects/data.sql", "objects/names.sql"];
    for (at, name) in fixtures.into_iter().enumerate() {
        let large = "SELECT lo_from_bytea(0, '\\x00ff10'); SELECT lo_from_bytea(0, decode(repeat('0123456789abcdef', 100000), 'hex'));";
        let world = World::new(&format!("rehearse_odd_{at}"), &format!("{};{large}", fixture(name)));
        let before = world.state();
        let report = world.pgkeep.ok(&["rehearse", &world.archive, "--json"]).json();
        assert_eq!(report["passed"], true, "{name}: {report:#}");
        assert_eq!(world.state(), before, "{name}");
    }
}

#[test]
fn tables_can_be_chosen_and_owners_left_out() {
    let sql =
        "CREATE ROLE rehearse_owner; CREATE TABLE a (x int PRIMARY KEY); CREATE TABLE b (x int REFERENCES a);
               ALTER TABLE a OWNER TO rehearse_owner; GRANT SELECT ON a TO PUBLIC;
               ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO rehearse_owner;
               INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)";
    let world = World::new("rehearse_chosen", sql);
    let report = world.pgkeep.ok(&["rehearse", &world.archive, "--table", "b", "--json"]).json();
    assert_eq!((&report["tables"], &report["rows"]), (&1.into(), &1.into()), "{report:#}");
    let report =
        world.pgkeep.ok(&["rehearse", &world.archive, "--exclude", "b", "--json", "-O", "-x"]).json();
    assert_eq!((&report["tables"], &report["passed"]), (&1.into(), &true.into()), "{report:#}");
}

#[test]
fn it_can_be_made_on_another_server() {
    let all = majors();
    let (from, to) = (*all.iter().min().unwrap(), *all.iter().max().unwrap());
    let world = World::on(Some(from), "rehearse_from", &fixture("reservations.sql"));
    let (before, other) = (world.state(), shared(Some(to)));
    // The database that the URL names need not be there.
    let url = other.url("none of that name");
    let pgkeep = crate::support::Pgkeep::new().env("PGKEEP_AT", &url);
    let run = pgkeep.ok(&["rehearse", &world.archive]);
    assert!(
        run.stdout.starts_with(&format!("postgres://postgres@127.0.0.1:{}/pgkeep_rehearsal_", other.port))
    );
    assert!(run.stdout.contains(" restores: 16 tables, 740 rows"), "{}", run.stdout);
    assert!(!scratch(other).contains(&named(&run.stdout)));
    assert_eq!(world.state(), before);
    pgkeep.assert_secret_nowhere(crate::support::PASSWORD, &[&run]);
}

#[test]
fn one_that_is_kept_is_closed_to_others_and_named_by_the_next() {
    let sql =
        "CREATE TABLE t (a int); INSERT INTO t VALUES (7); CREATE ROLE rehearse_other LOGIN PASSWORD 'other'";
    let world = World::new("rehearse_kept", sql);
    let cluster = world.database.cluster;
    let run = world.pgkeep.ok(&["rehearse", &world.archive, "--keep"]);
    let name = named(&run.stdout);
    assert!(run.stdout.contains("; the scratch database is there\n"), "{}", run.stdout);
    let command =
        format!("dropdb --maintenance-db 'postgres://postgres@127.0.0.1:{}/postgres' {name}", cluster.port);
    assert!(
        run.stdout.ends_with(&format!("\n  kept: {name}\n  remove it with: {command}\n")),
        "{}",
        run.stdout
    );
    assert_eq!(query(&cluster.url(&name), "SELECT a FROM t"), [[Some("7".to_owned())]]);
    let refused = try_query(&cluster.url_as("rehearse_other", "other", &name), "SELECT 1").unwrap_err();
    assert!(refused.contains("permission denied for database"), "{refused}");
    crate::support::wait_until("nobody is connected", 10, || {
        let sql = format!("SELECT 1 FROM pg_stat_activity WHERE datname = '{name}'");
        cluster.query("postgres", &sql).is_empty()
    });
    world.pgkeep.ok(&["rehearse", &world.archive]).says(&format!(
        "warning: database {name} is left of an earlier rehearsal, and nobody is connected to it; remove it with: {command}"
    ));
    cluster.execute("postgres", &format!("DROP DATABASE {name}"));
}
