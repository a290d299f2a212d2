//! What migrations leave: yesterday's archive meets a schema that has moved on, and a rollback brings all of that back.

use crate::world::{World, explained, same, state};

#[test]
fn tables_that_were_made_anew_with_their_types_come_back_with_their_rows() {
    let cases = [
        ("enum", "CREATE TYPE e AS ENUM ('a', 'b')", "ALTER TYPE e ADD VALUE 'c'"),
        ("domain", "CREATE DOMAIN e AS text", "ALTER DOMAIN e ADD CHECK (length(VALUE) < 9)"),
    ];
    for (name, made, changed) in cases {
        let sql = format!(
            "{made}; CREATE TABLE t (id int PRIMARY KEY, v e) PARTITION BY RANGE (id);
             CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10); CREATE TABLE u (v e); INSERT INTO t VALUES (1, 'a')"
        );
        let Some(world) = World::new(&format!("migrated {name}"), &sql) else { return };
        world.database.execute(changed);
        world.database.execute("INSERT INTO t VALUES (2, 'c'); INSERT INTO u VALUES ('c'), ('c')");
        let before = world.state();
        world.restore(&["--safe", "--clean"]);
        let after = world.state();
        world.undo_and_redo(&before, &after);
    }
}

#[test]
fn views_are_filled_by_what_their_owners_may_read() {
    let sql = "
        CREATE TABLE t (id int PRIMARY KEY, who text); INSERT INTO t VALUES (1, 'a'), (2, 'object_reader');
        ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO object_reader USING (who = current_user);
        GRANT SELECT ON t TO object_reader; GRANT CREATE ON SCHEMA public TO object_reader;
        SET ROLE object_reader; CREATE MATERIALIZED VIEW m AS SELECT * FROM t; RESET ROLE;";
    let Some(world) = World::new("filled", sql) else { return };
    let should = world.state();
    let copy = world.database.cluster.database("filled, rebuilt");
    world.keeper.ok(&["restore", "-d", &copy.url, "--file", &world.archive]);
    same("rebuilt", &should, &state(&world.client, &copy.url));
    assert_eq!(copy.value("SELECT string_agg(id::text, ',') FROM m"), "2");
    let script = world.database.cluster.database("filled, by psql");
    world.client.run_script(&script.url, &world.keeper.ok(&["export", &world.archive]).stdout).unwrap();
    same("by psql", &should, &state(&world.client, &script.url));
    world.database.execute("DROP MATERIALIZED VIEW m");
    let before = world.state();
    world.restore(&["--safe"]);
    world.is_as("after the restore", &should);
    world.undo_and_redo(&before, &should);
}

#[test]
fn foreign_keys_to_tables_that_were_not_chosen_stay_where_their_table_is_made_anew() {
    let sql = "
        CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY REFERENCES a ON DELETE CASCADE);
        INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);";
    let Some(world) = World::new("keys", sql) else { return };
    let should = world.state();
    let part = world.backup(&["--table", "b"]);
    let replace = ["--if-exists", "replace", "--mode", "exact"];
    for more in [&["--table", "b", "--clean"][..], &["--exclude", "a", "--clean"]] {
        world.restore(&[&["--safe"], more].concat());
        world.is_as("after the restore", &should);
    }
    world.keeper.ok(&["restore", "--safe", "--clean", "--file", &part]);
    world.is_as("an archive without the other table", &should);
    world.database.execute("ALTER TABLE b ADD x int");
    let before = world.state();
    let run = world.restore(&[&["--safe", "--table", "b"], &replace[..]].concat());
    assert!(!run.stdout.contains("removed"), "{}", run.stdout);
    world.is_as("after the restore", &should);
    world.undo_and_redo(&before, &should);
}

#[test]
fn a_dry_run_says_what_the_restore_does() {
    let sql = "
        CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY REFERENCES a, site int);
        INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); CREATE VIEW v AS SELECT site FROM b;
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
        CREATE TRIGGER tr BEFORE INSERT ON b FOR EACH ROW EXECUTE FUNCTION f();";
    let Some(world) = World::new("dry", sql) else { return };
    // A table that is made anew has its old rows in a dry run.
    world.database.execute("INSERT INTO a VALUES (2); INSERT INTO b VALUES (2); ALTER TABLE b ADD x int");
    let before = world.state();
    let replace = ["--if-exists", "replace", "--mode", "exact"];
    world.restore(&[&["--dry-run"], &replace[..]].concat());
    world.is_as("after the dry run", &before);
    world.restore(&[&["--safe"], &replace[..]].concat());
    world.keeper.ok(&["rollback", "latest"]);
    // What fails, fails in a dry run, too.
    world.database.execute("DROP VIEW v; ALTER TABLE b RENAME site TO place");
    let before = world.state();
    for more in [&["--dry-run"][..], &[]] {
        let run = world.refused(&[&["--only", "views"], more].concat(), 1);
        run.says("VIEW public.v").says("site");
        world.is_as("untouched", &before);
    }
    // What has no table any more is named, and the others come back.
    world.database.execute("ALTER TABLE b RENAME TO c; DROP TRIGGER tr ON c; DROP FUNCTION f()");
    let before = world.state();
    for more in [&["--dry-run"][..], &[]] {
        let run = world.restore(&[&["--only", "functions,triggers"], more].concat());
        let said = "TRIGGER tr ON public.b (needs b, which the target does not have)";
        assert!(run.stdout.contains(said) && run.stdout.contains("1 object made"), "{}", run.stdout);
    }
    world.keeper.ok(&["rollback", "latest"]);
    world.is_as("after the rollback", &before);
}

#[test]
fn privileges_on_what_the_targets_version_of_an_extension_lacks_are_left_out_and_named() {
    let sql = "
        CREATE EXTENSION pg_trgm; GRANT EXECUTE ON FUNCTION show_limit() TO object_reader;
        REVOKE EXECUTE ON FUNCTION set_limit(real) FROM PUBLIC; CREATE TABLE t (id int);";
    let Some(world) = World::new("lacking", sql) else { return };
    let copy = world.database.cluster.database("lacking, rebuilt");
    copy.execute("CREATE EXTENSION pg_trgm; ALTER EXTENSION pg_trgm DROP FUNCTION show_limit(); DROP FUNCTION show_limit()");
    let run = world.keeper.ok(&["restore", "-d", &copy.url, "--file", &world.archive]);
    run.says("PRIVILEGES ON FUNCTION public.show_limit() are left out").says("does not exist");
    assert_eq!(
        copy.value("SELECT has_function_privilege('object_reader', 'set_limit(real)', 'EXECUTE')"),
        "f"
    );
    copy.execute("DROP TABLE t; CREATE TABLE mine (id int)");
    let run = world.keeper.ok(&["restore", "-d", &copy.url, "--safe", "--file", &world.archive]);
    run.says("PRIVILEGES ON FUNCTION public.show_limit() are left out");
    assert_eq!(copy.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_partition_that_only_the_target_has_is_named_with_what_can_be_done() {
    let sql = "CREATE TABLE e (at int) PARTITION BY RANGE (at); CREATE TABLE e1 PARTITION OF e FOR VALUES FROM (0) TO (10)";
    let Some(world) = World::new("rotated", sql) else { return };
    world
        .database
        .execute("CREATE TABLE e2 PARTITION OF e FOR VALUES FROM (10) TO (20); INSERT INTO e VALUES (11)");
    let before = world.state();
    let run = world.refused(&["--safe", "--clean"], 1);
    run.says("TABLE public.e2 needs TABLE public.e").says("DETACH PARTITION");
    assert!(!run.stderr.contains("--clean"), "{}", run.stderr);
    world.is_as("untouched", &before);
}

#[test]
fn a_view_that_cannot_be_filled_is_named_and_there_are_ways_around_it() {
    let sql = "
        CREATE TABLE t (d int); INSERT INTO t VALUES (1); CREATE MATERIALIZED VIEW m AS SELECT 10 / d AS x FROM t;
        CREATE VIEW v AS SELECT * FROM m; UPDATE t SET d = 0;";
    let Some(world) = World::new("not filled", sql) else { return };
    let cluster = world.database.cluster;
    let copy = cluster.database("not filled, rebuilt");
    let run = world.refused(&["-d", &copy.url], 1);
    run.says("REFRESH public.m: division by zero")
        .says("export FILE --section post-data | psql")
        .says("--exclude VIEW");
    world.keeper.ok(&["restore", "-d", &copy.url, "--exclude", "m", "--file", &world.archive]);
    assert_eq!(copy.value("SELECT relispopulated FROM pg_class WHERE relname = 'm'"), "f");
    // Views and the like can be chosen for a backup, too.
    let part = world.backup(&["--table", "v"]);
    let url = cluster.url("not filled, a view");
    world.keeper.ok(&["restore", "--create", "-d", &url, "--file", &part]);
    let views =
        cluster.query("not filled, a view", "SELECT viewname FROM pg_views WHERE schemaname = 'public'");
    assert_eq!(views[0][0].as_deref(), Some("v"));
    let run = world.keeper.run(&["backup", "--table", "w", "--out", "w.json.gz"]);
    explained(run, 2).says("no table of database").says("\"w\"");
}
