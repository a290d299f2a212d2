//! Tables and sequences that are made anew: no row goes without a word, and none that a restore promises to keep.

use serde_json::json;

use crate::world::World;

const T: &str = "CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 1)";
const CHANGED: &str = "ALTER TABLE t ADD c int; INSERT INTO t VALUES (2, 2, 2), (3, 3, 3)";

#[test]
fn definitions_alone_cost_no_rows() {
    let Some(world) = World::new("anew definitions", T) else { return };
    let should = world.made_by("anew definitions should", &format!("{T}; TRUNCATE t"));
    world.database.execute(CHANGED);
    let before = world.state();
    let schema_alone = world.backup(&["--schema-only"]);
    for more in [
        &["--schema-only", "--if-exists", "replace"][..],
        &["--section", "pre-data", "--if-exists", "replace"],
        &["--schema-only", "--clean"],
        &["--clean", "--file", &schema_alone],
    ] {
        for how in ["--safe", "--dry-run"] {
            let args = match more.contains(&"--file") {
                true => [&["restore", how], more].concat(),
                false => [&["restore", how, "--file", &world.archive], more].concat(),
            };
            let run = crate::world::explained(world.keeper.run(&args), 1);
            run.says("TABLE t holds 3 rows").says("the target is untouched").says("TRUNCATE");
            world.is_as("after the refusal", &before);
        }
    }
    assert!(world.keeper.files("safety_backups").is_empty());
    // Where there are none, none can go.
    world.database.execute("TRUNCATE t");
    let before = world.state();
    world.restore(&["--safe", "--schema-only", "--if-exists", "replace"]);
    world.is_as("after the restore", &should);
    world.undo_and_redo(&before, &should);
}

#[test]
fn a_table_that_a_view_brings_along_does_not_lose_its_rows() {
    let Some(world) = World::new("anew brought along", &format!("{T}; CREATE VIEW v AS SELECT a FROM t"))
    else {
        return;
    };
    let before = world.state();
    world.refused(&["--safe", "--clean", "--table", "v"], 1).says("TABLE t holds 1 row");
    world.is_as("after the refusal", &before);
}

#[test]
fn rows_that_only_the_target_has_are_kept_or_counted() {
    let Some(world) = World::new("anew rows", T) else { return };
    let should = world.state();
    world.database.execute(CHANGED);
    let before = world.state();
    for how in ["--safe", "--dry-run"] {
        let run = world.refused(&[how, "--if-exists", "replace"], 1);
        run.says("TABLE t holds 3 rows").says("--mode exact").says("--clean");
        world.is_as("after the refusal", &before);
    }
    for more in [&["--if-exists", "replace", "--mode", "exact"][..], &["--clean"]] {
        let run = world.keeper.run(&[&["restore", "--file", &world.archive], more].concat());
        let run = crate::world::explained(run, 2);
        run.says("Rows of 1 table may be overwritten or deleted: t");
        for how in ["--dry-run", "--safe"] {
            let log = world.restore(&[&[how, "--json"], more].concat()).json();
            let table = &log["tables_restored"]["t"];
            assert_eq!((&table["inserted"], &table["deleted"]), (&json!(1), &json!(3)), "{how}: {log:#}");
            assert_eq!((&log["total_inserted"], &log["total_deleted"]), (&json!(1), &json!(3)), "{how}");
            assert_eq!(log["before_counts"]["t"], 3, "{how}: {log:#}");
            if how == "--safe" {
                assert_eq!(log["after_counts"]["t"], 1, "{log:#}");
            }
        }
        world.is_as("after the restore", &should);
        world.undo_and_redo(&before, &should);
        world.keeper.ok(&["rollback", "latest"]);
    }
}

#[test]
fn rows_of_a_partition_that_is_made_anew_count_too() {
    let Some(world) = World::new(
        "anew partition",
        "CREATE TABLE p (k int) PARTITION BY RANGE (k); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (10);
         CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); INSERT INTO p VALUES (1), (15)",
    ) else {
        return;
    };
    world.database.execute("ALTER TABLE p2 ALTER k SET DEFAULT 12; INSERT INTO p VALUES (12)");
    world
        .refused(&["--safe", "--if-exists", "replace"], 1)
        .says("TABLE p2 holds 2 rows")
        .says("--mode exact");
    let log = world.restore(&["--safe", "--json", "--if-exists", "replace", "--mode", "exact"]).json();
    assert_eq!(log["total_deleted"], 2, "{log:#}");
    assert_eq!(log["total_inserted"], 1, "{log:#}");
}

#[test]
fn sequences_that_are_made_anew_without_rows_go_on_where_they_were() {
    let Some(world) = World::new(
        "anew sequence",
        "CREATE SEQUENCE q; SELECT setval('q', 20); CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY)",
    ) else {
        return;
    };
    world.database.execute("SELECT setval('q', 500); SELECT setval('t_id_seq', 70, false)");
    let before = world.state();
    let kept = || {
        let value = |q: &str| world.database.value(&format!("SELECT concat(last_value, is_called) FROM {q}"));
        (value("q"), value("t_id_seq"))
    };
    world.restore(&["--safe", "--schema-only", "--clean"]);
    assert_eq!(kept(), ("500t".to_owned(), "70f".to_owned()));
    world.undo_and_redo(&before, &before);
    // With their rows they are as archived.
    world.restore(&["--safe", "--clean"]);
    assert_eq!(kept(), ("20t".to_owned(), "1f".to_owned()));
    world.undo_and_redo(&before, &world.state());
    // A value that does not fit any more is not forced.
    world.keeper.ok(&["rollback", "latest"]);
    let limited = world.backup(&["--schema-only"]);
    world.database.execute("ALTER TABLE t ALTER id TYPE bigint; SELECT setval('t_id_seq', 5000000000)");
    let run = world.keeper.ok(&["restore", "--safe", "--clean", "--file", &limited]);
    run.says("t_id_seq").says("starts anew");
}
