//! What the target cannot take is named with its object, the restore is undone, and the exit code says so.

use crate::support::{Cluster, Options, majors, try_query};
use crate::world::{World, explained, same, state};

/// What is archived, what makes the target unfit, and what the error names.
struct Case {
    name: &'static str,
    archived: &'static str,
    spoiled: &'static str,
    said: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "language",
        archived: "CREATE FUNCTION early() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION gone() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
        spoiled: "DROP EXTENSION plpgsql CASCADE",
        said: &["making FUNCTION public.gone(): language \"plpgsql\" does not exist"],
    },
    Case {
        name: "library",
        archived: "CREATE FUNCTION early() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION gone() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler'; UPDATE pg_proc SET probin = '$libdir/not_there' WHERE proname = 'gone'",
        spoiled: "",
        said: &["making FUNCTION public.gone(): could not access file", "not_there"],
    },
    Case {
        name: "extension",
        archived: "CREATE TABLE t (a int); INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion) VALUES (99999, 'not there', 10, 2200, true, '1')",
        spoiled: "",
        said: &["extension not there is not installed on the server"],
    },
    Case {
        name: "operator",
        archived: "CREATE SCHEMA s; CREATE TABLE t (a int); CREATE VIEW s.early AS SELECT a FROM t; CREATE MATERIALIZED VIEW s.late AS SELECT a, 1 / (current_database() NOT LIKE '% target')::int AS x FROM t; INSERT INTO t VALUES (1)",
        spoiled: "",
        said: &["making REFRESH s.late: division by zero"],
    },
];

#[test]
fn each_thing_that_the_target_lacks_is_named_with_its_object_and_nothing_is_left_of_the_restore() {
    for case in CASES {
        let name = format!("bad {}", case.name);
        let Some(world) = World::new(&name, case.archived) else { return };
        for (fill, more) in
            [("", &[][..]), ("", &["--safe"]), ("CREATE TABLE mine AS SELECT 7 AS x", &["--safe"])]
        {
            let target =
                world.database.cluster.database(&format!("{name} {}{} target", fill.len(), more.len()));
            target.execute(&format!("{}; {fill}", case.spoiled));
            let before = state(&world.client, &target.url);
            let args = [&["restore", "-d", &target.url, "--file", &world.archive], more].concat();
            let run = explained(world.keeper.run(&args), 1);
            for said in case.said {
                run.says(said);
            }
            assert!(run.stderr.contains("the target is"), "{}", run.stderr);
            same(case.name, &before, &state(&world.client, &target.url));
        }
    }
}

#[test]
fn owners_that_do_not_exist_are_all_named_before_anything_is_touched() {
    let Some(world) = World::new(
        "bad owner",
        "CREATE ROLE restore_objects_gone; CREATE ROLE \"Gone too\"; CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t;
         CREATE TABLE u (a int); ALTER TABLE u ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON u TO \"Gone too\" USING (true);
         ALTER TABLE t OWNER TO restore_objects_gone; GRANT SELECT ON v TO \"Gone too\"",
    ) else {
        return;
    };
    world.database.execute("DROP TABLE t, u CASCADE; DROP ROLE restore_objects_gone; DROP ROLE \"Gone too\"");
    for fill in ["", "CREATE TABLE mine AS SELECT 1 AS x"] {
        world.database.execute(fill);
        let before = world.state();
        let run = world.refused(&["--safe"], 1);
        run.says("role Gone too (first needed for")
            .says("role restore_objects_gone (first needed for TABLE public.t)");
        run.says("CREATE ROLE \"Gone too\"; CREATE ROLE restore_objects_gone;")
            .says("--no-owner --no-privileges");
        world.is_as("after the refusal", &before);
        assert!(world.keeper.files("safety_backups").is_empty());
    }
    // A policy names its roles whatever is left out.
    let run = world.refused(&["--no-owner", "--no-privileges"], 1);
    assert!(
        run.stderr.contains("Gone too") && !run.stderr.contains("restore_objects_gone"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_view_that_a_newer_server_does_not_take_is_named_and_nothing_is_left_of_the_restore() {
    if ![13, 18].iter().all(|major| majors().contains(major)) {
        return;
    }
    let sql = "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE VIEW fine AS SELECT a FROM t;
               CREATE VIEW gone AS SELECT buffers_backend FROM pg_stat_bgwriter";
    let Some(world) = World::on(Some(13), "bad view", sql) else { return };
    let newer = crate::support::shared(Some(18));
    for (fill, name) in [("", "bad view empty"), ("CREATE TABLE mine AS SELECT 7 AS x", "bad view filled")] {
        let target = newer.database(name);
        target.execute(fill);
        let Some(client) = crate::support::Client::for_server(18) else { return };
        let before = state(&client, &target.url);
        let run = explained(
            world.keeper.run(&["restore", "--safe", "-d", &target.url, "--file", &world.archive]),
            1,
        );
        run.says("making VIEW public.gone: column").says("buffers_backend");
        same("after the refusal", &before, &state(&client, &target.url));
        // It can be left out.
        world.keeper.ok(&["restore", "-d", &target.url, "--file", &world.archive, "--table", "t,fine"]);
        assert_eq!(target.value("SELECT count(*) FROM fine"), "1");
    }
}

#[test]
fn a_role_that_may_not_make_objects_is_told_so() {
    let Some(world) = World::new("bad role", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)") else {
        return;
    };
    let cluster = world.database.cluster;
    cluster.execute("postgres", "CREATE ROLE restore_objects_small LOGIN PASSWORD 'small'");
    for fill in ["", "CREATE TABLE mine AS SELECT 1 AS x"] {
        let target = cluster.database(&format!("bad role target {}", fill.len()));
        target.execute(fill);
        let before = state(&world.client, &target.url);
        let url = target.url_as("restore_objects_small", "small");
        for more in [&[][..], &["--safe"], &["--no-owner", "--no-privileges"]] {
            let run = explained(
                world.keeper.run(&[&["restore", "-d", &url, "--file", &world.archive], more].concat()),
                5,
            );
            run.says("may not make objects in schema public (no CREATE)").says("the target is untouched");
            same("after the refusal", &before, &state(&world.client, &target.url));
        }
    }
}

#[test]
fn the_owner_of_a_database_restores_into_it_without_owners_and_privileges() {
    let Some(world) = World::new(
        "owner",
        "CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO object_owner; CREATE TABLE s.t (a serial PRIMARY KEY, b text); INSERT INTO s.t (b) VALUES ('x'), ('y');
         CREATE FUNCTION s.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'; CREATE VIEW s.v AS SELECT b FROM s.t;
         CREATE TRIGGER g BEFORE UPDATE ON s.t FOR EACH ROW EXECUTE FUNCTION s.f(); COMMENT ON TABLE s.t IS 't';
         ALTER TABLE s.t OWNER TO object_owner; GRANT SELECT ON s.v TO object_reader; CREATE TABLE s.u (t int REFERENCES s.t); INSERT INTO s.u VALUES (2)",
    ) else {
        return;
    };
    let cluster = world.database.cluster;
    cluster.execute("postgres", "CREATE ROLE restore_objects_owner LOGIN PASSWORD 'owner'");
    for name in ["owner target", "owner filled"] {
        let create = format!("CREATE DATABASE \"{name}\" TEMPLATE template0 OWNER restore_objects_owner");
        cluster.execute("postgres", &create);
        let url = cluster.url_as("restore_objects_owner", "owner", name);
        if name == "owner filled" {
            try_query(&url, "CREATE SCHEMA mine; CREATE TABLE mine.t AS SELECT 1 AS x").unwrap();
        }
        let before = state(&world.client, &cluster.url(name));
        explained(world.keeper.run(&["restore", "--safe", "-d", &url, "--file", &world.archive]), 5);
        same("after the refusal", &before, &state(&world.client, &cluster.url(name)));
        world.keeper.ok(&[
            "restore",
            "--safe",
            "-d",
            &url,
            "--file",
            &world.archive,
            "--no-owner",
            "--no-privileges",
        ]);
        let after = state(&world.client, &cluster.url(name));
        assert!(after.contains("ALTER TABLE s.t OWNER TO restore_objects_owner"), "{after}");
        assert!(!after.contains("object_owner;") && !after.contains("GRANT SELECT ON TABLE s.v"), "{after}");
        assert_eq!(
            cluster.query(name, "SELECT count(*) FROM s.t JOIN s.u ON t = a")[0][0].as_deref(),
            Some("1")
        );
        world.keeper.ok(&["rollback", "latest", "-d", &url]);
        same("after the rollback", &before, &state(&world.client, &cluster.url(name)));
        // Of another role's making, where one may.
        world.keeper.ok(&[
            "restore",
            "--safe",
            "-d",
            &cluster.url(name),
            "--file",
            &world.archive,
            "--no-owner",
            "--no-privileges",
            "--role",
            "restore_objects_owner",
        ]);
        let owned = state(&world.client, &cluster.url(name));
        assert!(owned.contains("ALTER SCHEMA s OWNER TO restore_objects_owner"), "{owned}");
    }
}

#[test]
fn a_lost_server_leaves_what_a_rollback_removes() {
    let cluster = Cluster::start(Options::default());
    let [source, target] = ["source", "target"].map(|name| {
        cluster.create_database(name);
        cluster.url(name)
    });
    let Some(client) = crate::support::Client::for_server(cluster.postgres.major) else { return };
    crate::support::query(&source, crate::killed::SLOW);
    let keeper = crate::support::Pgkeep::on(&target);
    keeper.ok(&["backup", "-d", &source, "--out", "a.json.gz"]);
    let before = state(&client, &target);
    let running = keeper.spawn(&["restore", "--safe", "--file", "a.json.gz"]);
    crate::killed::wait_for_the_end(&target);
    cluster.kill_9();
    let run = explained(running.wait(), 6);
    run.says("could not be removed");
    cluster.restart();
    keeper.ok(&["rollback", "latest"]);
    same("after the rollback", &before, &state(&client, &target));
}

#[test]
fn with_keep_going_a_table_that_is_made_stays_empty_where_its_rows_are_refused_and_the_others_get_theirs() {
    // What a domain allows depends on a setting of the database, which the target does not have.
    let name = "refused in a new table";
    let sql = "ALTER DATABASE \"refused in a new table\" SET test.most = '100';
         SET test.most = '100';
         CREATE DOMAIN few AS int CHECK (value <= coalesce(current_setting('test.most', true), '5')::int);
         CREATE TABLE before (id int PRIMARY KEY); INSERT INTO before VALUES (1);
         CREATE TABLE refused (id int PRIMARY KEY, n few); INSERT INTO refused SELECT i, i FROM generate_series(1, 9) i;
         CREATE TABLE zz_behind (id int PRIMARY KEY, v text); INSERT INTO zz_behind VALUES (1, 'x'), (2, 'y');";
    let Some(world) = World::on(Some(15), name, sql) else { return };
    let target = world.database.cluster.database("refused in a new table, restored");
    let restore = ["restore", "--yes", "-d", &target.url, "--file", &world.archive];
    let run = explained(world.keeper.run(&restore), 1);
    run.says("refused").says("--keep-going");
    assert_eq!(target.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    let run = world.keeper.run(&[&restore[..], &["--keep-going", "--json"]].concat()).expect_code(3);
    let log = run.json();
    assert_eq!(log["tables_failed"][0]["table"], "refused", "{log:#}");
    assert_eq!((&log["after_counts"]["refused"], &log["after_counts"]["zz_behind"]), (&0.into(), &2.into()));
    assert_eq!(log["tables_restored"]["before"]["inserted"], 1);
    assert!(log["tables_restored"]["refused"].is_null());
    let counts = "SELECT (SELECT count(*) FROM before) || ' ' || (SELECT count(*) FROM refused) || ' ' || (SELECT count(*) FROM zz_behind)";
    assert_eq!(target.value(counts), "1 0 2");
}
