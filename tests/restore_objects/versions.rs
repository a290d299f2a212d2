//! Archives cross versions: to a newer server with nothing lost, to an older one as far as it can take them, and what it
//! cannot take is named with its object.

use crate::support::{Client, Database, majors, shared};
use crate::world::{World, explained, same, state};

/// A world on one major and an empty database on another, if both are there, and what can judge the latter.
fn between(from: u32, to: u32, name: &str, sql: &str) -> Option<(World, Database<'static>, Client)> {
    if ![from, to].iter().all(|major| majors().contains(major)) {
        return None;
    }
    let world = World::on(Some(from), name, sql)?;
    Some((world, shared(Some(to)).database(&format!("{name} on {to}")), Client::for_server(to)?))
}

#[test]
fn what_an_older_server_does_not_know_is_named_with_its_object() {
    let cases = [
        (
            18,
            15,
            "CREATE TABLE gone (a int, b int GENERATED ALWAYS AS (a * 2))",
            "TABLE public.gone: syntax error",
        ),
        (
            18,
            17,
            "CREATE TABLE gone (a int, CHECK (a > 0) NOT ENFORCED)",
            "making CONSTRAINT gone_a_check ON public.gone",
        ),
        (
            15,
            13,
            "CREATE TABLE gone (a int); ALTER TABLE gone ADD CONSTRAINT one UNIQUE NULLS NOT DISTINCT (a)",
            "making CONSTRAINT one ON public.gone: syntax error",
        ),
        (
            15,
            13,
            "CREATE TABLE t (a int); CREATE VIEW gone WITH (security_invoker) AS SELECT a FROM t",
            "making VIEW public.gone: unrecognized parameter \"security_invoker\"",
        ),
        (
            18,
            15,
            "CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler; CREATE TABLE gone (a int) PARTITION BY LIST (a) USING other",
            "making TABLE public.gone",
        ),
    ];
    for (n, (from, to, sql, said)) in cases.into_iter().enumerate() {
        let sql = format!("CREATE TABLE fine (a int); {sql}");
        let Some((world, target, client)) = between(from, to, &format!("older {n}"), &sql) else { continue };
        for fill in ["", "CREATE TABLE mine AS SELECT 1 AS x"] {
            target.execute(fill);
            let before = state(&client, &target.url);
            let args = ["restore", "--safe", "-d", &target.url, "--file", &world.archive];
            let run = explained(world.keeper.run(&args), 1);
            run.says(said).says("the server may be older");
            assert!(!run.stderr.contains("savepoint"), "{}", run.stderr);
            same(said, &before, &state(&client, &target.url));
        }
    }
}

#[test]
fn what_an_older_server_cannot_replace_by_is_named_with_its_object() {
    let sql = "CREATE FUNCTION gone() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END";
    let Some((world, target, client)) = between(15, 13, "older replaced", sql) else { return };
    target.execute("CREATE FUNCTION gone() RETURNS int LANGUAGE sql AS 'SELECT 2'");
    let before = state(&client, &target.url);
    for more in [&["--only", "functions"][..], &["--if-exists", "replace", "--safe"]] {
        let args = [&["restore", "-d", &target.url, "--file", &world.archive], more].concat();
        let run = explained(world.keeper.run(&args), 1);
        run.says("FUNCTION public.gone()").says("syntax error").says("the server may be older");
        assert!(!run.stderr.contains("savepoint"), "{}", run.stderr);
        same("untouched", &before, &state(&client, &target.url));
    }
}

#[test]
fn an_older_server_takes_what_it_knows() {
    let sql = "CREATE UNLOGGED TABLE u (id int GENERATED ALWAYS AS IDENTITY, s serial); INSERT INTO u DEFAULT VALUES";
    let Some((world, target, client)) = between(15, 13, "older fine", sql) else { return };
    let acl = "SELECT nspacl FROM pg_namespace WHERE nspname = 'public'";
    let owner = "SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'public'";
    let (before, owned_by) = (state(&client, &target.url), target.value(owner));
    world.keeper.ok(&["restore", "--safe", "-d", &target.url, "--file", &world.archive]);
    // Nobody but its owner made objects in there.
    assert!(target.value(acl).contains(",=U/"), "{}", target.value(acl));
    assert_eq!(target.value(owner), owned_by);
    assert_eq!(target.value("SELECT concat(id, s) FROM u"), "11");
    world.keeper.ok(&["rollback", "latest", "-d", &target.url]);
    same("after the rollback", &before, &state(&client, &target.url));
    // Into one that holds something, and into one that is made.
    target.execute("CREATE TABLE mine AS SELECT 1 AS x");
    world.keeper.ok(&["restore", "--safe", "-d", &target.url, "--file", &world.archive]);
    let made = target.cluster.url("older made");
    world.keeper.ok(&["restore", "--create", "-d", &made, "--file", &world.archive]);
}

#[test]
fn after_an_upgrade_nothing_is_said_to_differ() {
    let sql = "CREATE TYPE span AS RANGE (subtype = int); CREATE TYPE \"a range\" AS RANGE (subtype = float8, subtype_diff = float8mi);
        CREATE DOMAIN always AS text DEFAULT 'x' NOT NULL CHECK (VALUE <> ''); CREATE DOMAIN never AS int NOT NULL;
        CREATE UNLOGGED TABLE parted (a int) PARTITION BY LIST (a); CREATE UNLOGGED TABLE part PARTITION OF parted DEFAULT;
        CREATE UNLOGGED TABLE u (id int GENERATED ALWAYS AS IDENTITY); INSERT INTO u DEFAULT VALUES;
        CREATE TABLE t (a int NOT NULL PRIMARY KEY, b always)";
    for (from, to) in [(13, 15), (13, 18), (15, 17), (15, 18)] {
        let Some((world, target, _)) = between(from, to, &format!("newer {from} {to}"), sql) else {
            continue;
        };
        world.keeper.ok(&["restore", "-d", &target.url, "--file", &world.archive]);
        let run = world.keeper.run(&[
            "diff",
            &world.archive,
            "live",
            "-d",
            &target.url,
            "--schema",
            "--full",
            "--exit-code",
        ]);
        run.expect_code(0);
        let run = world.keeper.ok(&["restore", "--yes", "-d", &target.url, "--file", &world.archive]);
        assert!(!format!("{}{}", run.stdout, run.stderr).contains("differ"), "{}{}", run.stdout, run.stderr);
    }
}

#[test]
fn a_child_keeps_its_nulls_where_its_parent_has_none_and_where_the_server_knows_such_children() {
    let sql = "CREATE TABLE parent (a int NOT NULL, b int); CREATE TABLE child () INHERITS (parent);
        ALTER TABLE child ALTER a DROP NOT NULL; INSERT INTO child VALUES (NULL, 1)";
    let count = "SELECT count(*) FROM child WHERE a IS NULL";
    for to in [13, 17] {
        let Some((world, target, _)) = between(13, to, &format!("nulls {to}"), sql) else { continue };
        let other = if to == 13 { world.database.cluster.database("nulls, other") } else { target };
        world.keeper.ok(&["restore", "-d", &other.url, "--file", &world.archive]);
        assert_eq!(other.value(count), "1");
    }
    let Some((world, target, client)) = between(13, 18, "nulls", sql) else { return };
    let before = state(&client, &target.url);
    let run = explained(world.keeper.run(&["restore", "-d", &target.url, "--file", &world.archive]), 1);
    run.says("child").says("not-null constraint");
    same("after the refusal", &before, &state(&client, &target.url));
    world.database.execute("DELETE FROM child");
    let archive = world.backup(&[]);
    world.keeper.ok(&["restore", "-d", &target.url, "--file", &archive]);
}
