//! What was built upon a restore before it is undone, and what else a rollback must see to.

use crate::world::{World, explained};

const MADE: &str = "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT a FROM t;
    CREATE MATERIALIZED VIEW m AS SELECT a FROM t";
const TF: &str = "CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'";

/// A database into which all of `sql` was restored, and what it was before.
fn restored(name: &str, sql: &str, there: &str) -> Option<(World, String)> {
    let world = World::new(name, sql)?;
    world.database.execute(&format!("DROP TABLE t CASCADE; {there}"));
    let before = world.state();
    world.restore(&["--safe"]);
    Some((world, before))
}

#[test]
fn what_belongs_to_a_view_that_a_rollback_removes_goes_with_it_and_comes_back_with_it() {
    for (n, later) in [
        "CREATE INDEX later ON m (a)",
        "CREATE TRIGGER later INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION tf()",
        "CREATE RULE later AS ON DELETE TO v DO INSTEAD NOTHING",
        "CREATE STATISTICS later ON a, (a + 1) FROM t",
    ]
    .into_iter()
    .enumerate()
    {
        let Some((world, before)) = restored(&format!("later {n}"), MADE, TF) else { return };
        world.database.execute(later);
        let after = world.state();
        let run = world.keeper.ok(&["rollback", "latest"]);
        assert!(run.stdout.contains("later"), "{}", run.stdout);
        world.is_as(later, &before);
        world.keeper.ok(&["rollback", "latest"]);
        world.is_as(later, &after);
    }
}

#[test]
fn what_needs_what_a_rollback_removes_is_named_and_nothing_is_touched() {
    let Some((world, before)) = restored("later needs", MADE, "CREATE TABLE mine (a int)") else { return };
    for (later, said) in [
        ("CREATE VIEW later AS SELECT a FROM t", "VIEW public.later needs TABLE public.t, which goes"),
        ("CREATE VIEW later AS SELECT a FROM v", "VIEW public.later needs VIEW public.v, which goes"),
        (
            "CREATE MATERIALIZED VIEW later AS SELECT a FROM m",
            "MATERIALIZED VIEW public.later needs MATERIALIZED VIEW public.m, which goes",
        ),
        ("CREATE TABLE later () INHERITS (t)", "TABLE public.later needs TABLE public.t"),
    ] {
        world.database.execute(later);
        let now = world.state();
        let run = explained(world.keeper.run(&["rollback", "latest"]), 1);
        run.says(said).says("drop").says("the target is untouched");
        assert!(!run.stderr.contains("--"), "a rollback has no such flags: {}", run.stderr);
        world.is_as(later, &now);
        let kind = later.strip_prefix("CREATE ").unwrap().split(" later").next().unwrap();
        world.database.execute(&format!("DROP {kind} later"));
    }
    world.keeper.ok(&["rollback", "latest"]);
    world.is_as("without them", &before);
}

#[test]
fn what_only_the_target_has_and_what_cannot_come_back_is_called_so() {
    let Some(world) = World::new("later column", "CREATE TABLE t (a int)") else { return };
    world.database.execute("ALTER TABLE t ADD later int; CREATE VIEW mine AS SELECT later FROM t");
    let before = world.state();
    let run = world.refused(&["--safe", "--if-exists", "replace", "--mode", "exact"], 1);
    run.says("putting back VIEW public.mine, which only the target has").says("later");
    world.is_as("after the failure", &before);
}

#[test]
fn a_materialized_view_is_as_empty_after_a_rollback_as_it_was() {
    let Some(world) =
        World::new("later refresh", &format!("{MADE}; CREATE MATERIALIZED VIEW n AS SELECT a FROM m"))
    else {
        return;
    };
    let filled = || {
        let sql = "SELECT string_agg(concat(relname, relispopulated), ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'm'";
        world.database.value(sql)
    };
    world
        .database
        .execute("REFRESH MATERIALIZED VIEW n WITH NO DATA; REFRESH MATERIALIZED VIEW m WITH NO DATA");
    for more in [&["--safe"][..], &["--safe", "--section", "post-data"]] {
        world.restore(more);
        assert_eq!(filled(), "mt nt");
        world.keeper.ok(&["rollback", "latest"]);
        assert_eq!(filled(), "mf nf");
        world.keeper.ok(&["rollback", "latest"]);
        assert_eq!(filled(), "mt nt");
        world.keeper.ok(&["rollback", "latest"]);
        assert_eq!(filled(), "mf nf");
    }
}

#[test]
fn a_materialized_view_that_was_filled_later_goes_with_a_rollback() {
    let empty = MADE.replace(
        "MATERIALIZED VIEW m AS SELECT a FROM t",
        "MATERIALIZED VIEW m AS SELECT a FROM t WITH NO DATA",
    );
    let Some((world, before)) = restored("later filled", &empty, "CREATE TABLE mine (a int)") else { return };
    world.database.execute("REFRESH MATERIALIZED VIEW m");
    world.keeper.ok(&["rollback", "latest"]);
    world.is_as("after the rollback", &before);
}

#[test]
fn sections_are_undone_one_after_the_other() {
    let Some(world) = World::new("later sections", MADE) else { return };
    world.database.execute("DROP TABLE t CASCADE; CREATE TABLE mine (a int)");
    let mut states = Vec::new();
    for section in ["pre-data", "data", "post-data"] {
        let before = world.state();
        world.restore(&["--safe", "--section", section]);
        let file = world.keeper.restore_log()["safety_backup_file"].as_str().unwrap().to_owned();
        states.push((before, file));
    }
    for (before, file) in states.iter().rev() {
        world.keeper.ok(&["rollback", file]);
        world.is_as(file, before);
    }
}

/// What a platform grants on whatever is made.
const DEFAULTS: &str = "
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO object_reader;
    ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO object_writer;
    ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO object_reader;
    ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO object_reader;
    ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC;";

#[test]
fn default_privileges_of_the_target_do_not_act_upon_what_is_made_or_put_back() {
    let archived = "CREATE SCHEMA s; CREATE TABLE t (a serial PRIMARY KEY); CREATE VIEW v AS SELECT a FROM t; CREATE TYPE s.mood AS ENUM ('x');
        CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT lo_from_bytea(4711, 'x')";
    let others = "CREATE TABLE mine (a int)";
    let on_v =
        "CREATE VIEW on_v AS SELECT a FROM v; CREATE FUNCTION ff(v) RETURNS int LANGUAGE sql AS 'SELECT 1'";
    for major in [None, Some(18)] {
        let name = format!("later defaults {}", major.unwrap_or_default());
        let Some(world) = World::on(major, &name, archived) else { continue };
        let defaults = match major {
            Some(18) => {
                format!("{DEFAULTS} ALTER DEFAULT PRIVILEGES GRANT SELECT ON LARGE OBJECTS TO object_reader;")
            }
            _ => DEFAULTS.to_owned(),
        };
        let should = world.made_by(&format!("{name} should"), &format!("{archived}; {others}; {defaults}"));
        world.database.execute(&format!(
            "DROP SCHEMA s CASCADE; DROP TABLE t CASCADE; SELECT lo_unlink(4711); {others}; {defaults}"
        ));
        let before = world.state();
        world.restore(&["--safe"]);
        world.is_as(&format!("{name}: after the restore"), &should);
        world.undo_and_redo(&before, &should);
        // What has to make room for a view comes back as it was.
        let should = world.made_by(
            &format!("{name} should put back"),
            &format!("{archived}; {others}; {on_v}; {defaults}"),
        );
        world.database.execute(&format!(
            "DROP VIEW v; CREATE VIEW v AS SELECT a, 1 AS b FROM t; REVOKE ALL ON v FROM object_reader, object_writer;
             {on_v}; REVOKE ALL ON on_v FROM object_reader, object_writer; GRANT EXECUTE ON FUNCTION ff(v) TO PUBLIC"
        ));
        let before = world.state();
        world.restore(&["--safe", "--if-exists", "replace"]);
        world.is_as(&format!("{name}: after replacing"), &should);
        world.undo_and_redo(&before, &should);
        world.restore(&["--safe", "--if-exists", "replace"]);
        assert_eq!(world.keeper.restore_log()["objects_replaced"], serde_json::json!([]));
    }
}
