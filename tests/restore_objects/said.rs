//! What a restore of definitions says, before and after: what it would do, what it did not do, and who is in its way.

use crate::support::{Client, Cluster, Options, Pgkeep, while_held};
use crate::world::{World, explained, same, state};

#[test]
fn privileges_alone_come_back_to_whatever_is_there() {
    let archived = "CREATE TABLE t (a int, b int); GRANT SELECT ON t TO object_reader; GRANT UPDATE (a) ON t TO object_writer;
        CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION f() FROM PUBLIC;
        CREATE TABLE gone (a int); GRANT SELECT ON gone TO object_reader; CREATE VIEW v AS SELECT a FROM t; GRANT ALL ON v TO object_owner";
    let changed = "REVOKE ALL ON t FROM object_reader, object_writer; GRANT DELETE ON t TO object_owner; DROP TABLE gone;
        GRANT EXECUTE ON FUNCTION f() TO PUBLIC; ALTER TABLE t ADD c int; COMMENT ON TABLE t IS 't'; REVOKE ALL ON v FROM object_owner;
        CREATE OR REPLACE VIEW v AS SELECT a + 1 AS a FROM t; CREATE TABLE mine (a int); GRANT SELECT ON mine TO object_reader";
    let Some(world) = World::new("said privileges", archived) else { return };
    let should = world.made_by(
        "said privileges should",
        "CREATE TABLE t (a int, b int, c int); GRANT SELECT ON t TO object_reader; GRANT UPDATE (a) ON t TO object_writer;
         CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION f() FROM PUBLIC;
         COMMENT ON TABLE t IS 't'; CREATE VIEW v AS SELECT a + 1 AS a FROM t; GRANT ALL ON v TO object_owner;
         CREATE TABLE mine (a int); GRANT SELECT ON mine TO object_reader",
    );
    world.database.execute(changed);
    let before = world.state();
    for more in [&[][..], &["--clean"]] {
        let run = world.restore(&[&["--only", "privileges"], more].concat());
        assert!(
            run.stdout.contains("3 objects replaced: FUNCTION public.f(), TABLE public.t, VIEW public.v"),
            "{}",
            run.stdout
        );
        world.is_as("after the restore", &should);
        world.undo_and_redo(&before, &should);
        world.keeper.ok(&["rollback", "latest"]);
    }
    // Nothing is made where nothing is.
    world.database.execute("DROP TABLE t, mine CASCADE; DROP FUNCTION f");
    let empty = world.state();
    world.restore(&["--only", "privileges"]);
    world.is_as("an empty one", &empty);
}

#[test]
fn constraints_and_defaults_that_stand_in_a_tables_definition_are_named() {
    let Some(world) = World::new(
        "said inline",
        "CREATE TABLE t (a int PRIMARY KEY, b int DEFAULT 5 CHECK (b > 0)); CREATE TABLE u (a int CHECK (a > 0))",
    ) else {
        return;
    };
    world
        .database
        .execute("ALTER TABLE t ALTER b SET DEFAULT 6, DROP CONSTRAINT t_b_check, DROP CONSTRAINT t_pkey");
    for kinds in ["constraints", "defaults"] {
        let run = world.restore(&["--only", kinds]);
        assert!(run.stdout.contains("1 object left as the target has it"), "{}", run.stdout);
        assert!(run.stdout.contains("TABLE public.t (definition, of which"), "{}", run.stdout);
    }
    assert!(world.state().contains("ADD CONSTRAINT t_pkey PRIMARY KEY"));
}

#[test]
fn a_dry_run_tries_what_it_says() {
    let Some(world) = World::new(
        "said dry",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE t (a int, b int); CREATE VIEW v AS SELECT a FROM t",
    ) else {
        return;
    };
    world
        .database
        .execute("DROP VIEW v; CREATE VIEW v AS SELECT a, b FROM t; CREATE VIEW mine AS SELECT a FROM v");
    let before = world.state();
    let dry = || world.restore(&["--dry-run", "--json", "--if-exists", "replace"]).json();
    assert_eq!(dry()["objects_replaced"], serde_json::json!(["VIEW public.v", "VIEW public.mine"]));
    // Who reads the view is not disturbed, and does not disturb.
    while_held(&world.database.url, "SELECT a FROM v", |_| {
        let log = dry();
        let warning = log["warnings"][0].as_str().unwrap();
        assert!(warning.contains("not tried") && warning.contains("VIEW public.v"), "{log:#}");
    });
    world.is_as("after the dry runs", &before);
    let log = world.restore(&["--safe", "--json", "--if-exists", "replace"]).json();
    assert_eq!(log["objects_replaced"], serde_json::json!(["VIEW public.v", "VIEW public.mine"]));
    world.database.execute(
        "DROP FUNCTION f; CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'; CREATE TABLE mine_too (a int DEFAULT f())",
    );
    for how in ["--dry-run", "--safe"] {
        let run = world.refused(&[how, "--if-exists", "replace"], 1);
        run.says("TABLE public.mine_too needs FUNCTION public.f()");
    }
}

#[test]
fn roles_that_are_made_are_named_and_said_to_stay() {
    let cluster = Cluster::start(Options::default());
    let Some(client) = Client::for_server(cluster.postgres.major) else { return };
    cluster.create_database("app");
    cluster.execute("app", "CREATE ROLE worker; CREATE TABLE t (a int); ALTER TABLE t OWNER TO worker");
    let keeper = Pgkeep::on(&cluster.url("app"));
    keeper.ok(&["backup", "--with-roles", "--out", "a.json.gz"]);
    cluster.execute("app", "DROP TABLE t; DROP ROLE worker; CREATE TABLE mine (a int)");
    let before = state(&client, &cluster.url("app"));
    for how in ["--dry-run", "--safe"] {
        let run = keeper.ok(&["restore", how, "--with-roles", "--file", "a.json.gz"]);
        let said = "1 role made, of the whole cluster, so that a rollback leaves them: worker";
        assert!(run.stdout.contains(said), "{how}: {}", run.stdout);
        if how == "--dry-run" {
            assert!(cluster.query("app", "SELECT 1 FROM pg_roles WHERE rolname = 'worker'").is_empty());
        }
    }
    keeper.ok(&["rollback", "latest"]);
    same("after the rollback", &before, &state(&client, &cluster.url("app")));
}

#[test]
fn a_subscription_is_left_as_it_is_and_named() {
    let Some(world) = World::new(
        "said subscription",
        "CREATE SUBSCRIPTION said_s CONNECTION 'host=/nowhere dbname=x' PUBLICATION p WITH (connect = false, slot_name = 'said_s')",
    ) else {
        return;
    };
    world.database.execute("ALTER SUBSCRIPTION said_s SET PUBLICATION p, p2 WITH (refresh = false)");
    let oid = || {
        world
            .database
            .value("SELECT concat(oid, subpublications) FROM pg_subscription WHERE subname = 'said_s'")
    };
    let before = oid();
    for how in [&["--if-exists", "replace"][..], &["--clean"]] {
        let run = world.restore(&[&["--safe"], how].concat());
        assert!(
            run.stdout.contains("SUBSCRIPTION said_s (definition: see ALTER SUBSCRIPTION)"),
            "{}",
            run.stdout
        );
        assert_eq!(oid(), before);
    }
}

#[test]
fn who_is_in_the_way_of_a_definition_is_named() {
    let Some(world) = World::new("said locked", "CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t")
    else {
        return;
    };
    world.database.execute("CREATE OR REPLACE VIEW v AS SELECT a + 1 AS a FROM t");
    let before = world.state();
    while_held(&world.database.url, "SELECT a FROM v", |pid| {
        let run = world.refused(&["--only", "views", "--lock-timeout", "200ms"], 1);
        run.says("replacing VIEW public.v").says(&format!("is locked by PID {pid} (user postgres"));
    });
    world.is_as("after the failure", &before);
    // What is in nobody's list stands in the way by name, too.
    world.database.execute("DROP VIEW v; CREATE VIEW v AS SELECT a, 1 AS b FROM t");
    let url = &world.database.url;
    while_held(url, "CREATE TEMPORARY VIEW theirs AS SELECT a FROM public.v; COMMIT; BEGIN", |_| {
        let run = explained(world.keeper.run(&["restore", "--only", "views", "--file", &world.archive]), 1);
        run.says("removing VIEW public.v: cannot drop view").says("theirs depends on view");
        assert!(!run.stderr.contains("CASCADE"), "{}", run.stderr);
    });
}
