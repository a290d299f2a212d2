//! What a restore of definitions says, before and after: what it would do, what it did not do, and who is in its way.

use crate::support::{Client, Cluster, Options, Pgkeep, while_held};
use crate::world::{World, explained, same, state};

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
fn who_is_in_the_way_of_a_definition_is_named() {
    let Some(world) = World::new("said locked", "CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t")
    else {
        return;
    };
    world.database.execute("CREATE OR REPLACE VIEW v AS SELECT a + 1 AS a FROM t");
    let before = world.state();
    while_held(&world.database.url, "SELECT a FROM v", |pid| {
        let run = world.refused(&["--only", "views", "--lock-timeout", "200ms"], 1);
        run.says("making VIEW public.v").says(&format!("is locked by PID {pid} (user postgres"));
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
