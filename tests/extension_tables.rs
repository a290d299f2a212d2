//! Rows of tables that extensions bring: the user's travel, the extension's own are left to it, and none is lost unsaid.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::PathBuf;
use std::sync::OnceLock;

use support::{Cluster, Database, Pgkeep, Postgres, majors, shared};

const CONTROL: &str = "default_version = '1.0'\nrelocatable = false\n";

/// A configuration table with rows of its own, one without, a table that is none, a sequence, and a function that makes
/// tables for its users, as message queues do.
const SCRIPT: &str = "
CREATE TABLE shop_settings (id int PRIMARY KEY, value text UNIQUE, builtin boolean NOT NULL DEFAULT false);
INSERT INTO shop_settings VALUES (1, 'built in', true), (2, 'built in, and carried', true);
SELECT pg_catalog.pg_extension_config_dump('shop_settings', 'WHERE NOT builtin OR id = 2');
CREATE TABLE shop_notes (id int PRIMARY KEY, note text);
SELECT pg_catalog.pg_extension_config_dump('shop_notes', '');
CREATE TABLE shop_state (id int PRIMARY KEY, v text);
INSERT INTO shop_state VALUES (1, 'fresh');
CREATE SEQUENCE shop_numbers;
SELECT pg_catalog.pg_extension_config_dump('shop_numbers', '');
CREATE FUNCTION shop_queue(name text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  EXECUTE format('CREATE TABLE %I (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, body text)', name);
  EXECUTE format('ALTER EXTENSION pgkeep_test_shop ADD TABLE %I', name);
END $$;
";

/// A server into whose folder the extension could be put.
fn cluster() -> &'static Cluster {
    static MAJOR: OnceLock<u32> = OnceLock::new();
    let major = *MAJOR.get_or_init(|| {
        let found = majors().into_iter().rev().find(|major| {
            let bin_dir = Postgres::find(Some(*major)).unwrap().bin_dir;
            let install = |folder: PathBuf| {
                let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).is_ok();
                folder.is_dir()
                    && write("pgkeep_test_shop.control", CONTROL)
                    && write("pgkeep_test_shop--1.0.sql", SCRIPT)
            };
            ["share/postgresql/extension", "share/extension"]
                .iter()
                .any(|place| install(bin_dir.parent().unwrap().join(place)))
        });
        found.expect("no server takes extensions of ours: run scripts/postgres-majors, whose servers do")
    });
    shared(Some(major))
}

fn database(name: &str) -> Database<'static> {
    let database = cluster().database(name);
    database.execute(
        "CREATE EXTENSION pgkeep_test_shop; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
         INSERT INTO shop_settings VALUES (10, 'mine'), (11, 'mine, too');
         UPDATE shop_settings SET value = 'carried and changed' WHERE id = 2;
         INSERT INTO shop_notes VALUES (1, 'a note'); UPDATE shop_state SET v = 'used';
         SELECT setval('shop_numbers', 77);",
    );
    database
}

const ROWS: &str = "SELECT concat_ws(' | ',
    (SELECT string_agg(concat_ws(' ', id, value, builtin), ', ' ORDER BY id) FROM shop_settings),
    (SELECT string_agg(concat_ws(' ', id, note), ', ' ORDER BY id) FROM shop_notes),
    (SELECT string_agg(concat_ws(' ', id, v), ', ' ORDER BY id) FROM shop_state),
    (SELECT last_value FROM shop_numbers))";

fn backup(pgkeep: &Pgkeep) -> String {
    pgkeep.ok(&["backup"]);
    pgkeep.only_file("backups").to_str().unwrap().to_owned()
}

#[test]
fn an_archive_has_the_users_rows_alone_and_they_are_merged_into_what_the_extension_brings() {
    let database = database("shop");
    let pgkeep = Pgkeep::on(&database.url);
    let archive = backup(&pgkeep);
    let rows = pgkeep.ok(&["show", &archive, "shop_settings"]).stdout;
    assert_eq!(rows.lines().count(), 3, "{rows}");
    assert!(!rows.contains("\"built in\""), "{rows}");
    let shown = pgkeep.ok(&["show", &archive, "--json"]).json();
    let of = |name: &str, key: &str| {
        let table = shown["tables"].as_array().unwrap().iter().find(|t| t["name"] == name).unwrap();
        table[key].as_str().map(str::to_owned)
    };
    assert_eq!(of("shop_settings", "extension").as_deref(), Some("pgkeep_test_shop"));
    assert_eq!(of("shop_settings", "condition").as_deref(), Some("WHERE NOT builtin OR id = 2"));
    assert_eq!(of("shop_notes", "condition").as_deref(), Some(""));
    assert_eq!((of("shop_state", "condition"), of("t", "extension")), (None, None));

    let empty = database.cluster.database("shop_rebuilt");
    let log = Pgkeep::on(&empty.url).ok(&["restore", "--json", "--file", &archive]).json();
    assert_eq!(empty.value(ROWS), database.value(ROWS));
    let settings = &log["tables_restored"]["shop_settings"];
    assert_eq!((&settings["inserted"], &settings["updated"]), (&2.into(), &1.into()));
    assert_eq!((&log["before_counts"]["shop_settings"], &log["status"]), (&2.into(), &"completed".into()));
}

#[test]
fn exact_leaves_the_extensions_own_rows_alone_and_a_rollback_puts_all_back() {
    let database = database("shop_exact");
    let pgkeep = Pgkeep::on(&database.url);
    let archive = backup(&pgkeep);
    let original = database.value(ROWS);
    // A newer version's built-in row; the user's are changed, doubled and lost.
    database.execute(
        "INSERT INTO shop_settings VALUES (3, 'built in later', true), (12, 'of today', false);
         UPDATE shop_settings SET value = 'changed', builtin = true WHERE id = 10; DELETE FROM shop_settings WHERE id = 11;",
    );
    let damaged = database.value(ROWS);
    let log = pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--json", "--file", &archive]).json();
    let settings = &log["tables_restored"]["shop_settings"];
    let counts = ["inserted", "updated", "deleted", "unchanged"].map(|key| settings[key].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 1, 1], "{log:#}");
    assert_eq!(database.value("SELECT value FROM shop_settings WHERE id = 3"), "built in later");
    database.execute("DELETE FROM shop_settings WHERE id = 3");
    assert_eq!(database.value(ROWS), original);
    database.execute("INSERT INTO shop_settings VALUES (4, 'even later', true)");
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(database.value(ROWS), damaged, "a safety backup has all rows");
}

#[test]
fn a_table_that_the_extension_made_for_its_user_is_named_and_the_rest_restored() {
    let database = database("shop_queue");
    database.execute("SELECT shop_queue('orders'); INSERT INTO orders (body) VALUES ('x'), ('y')");
    let pgkeep = Pgkeep::on(&database.url);
    let archive = backup(&pgkeep);
    let empty = database.cluster.database("shop_queue_rebuilt");
    let restoring = Pgkeep::on(&empty.url);
    let run = restoring.run(&["restore", "--file", &archive]).expect_code(3);
    run.says("warning: orders is not restored").says("orders_id_seq is not restored");
    assert_eq!(empty.value(ROWS), database.value(ROWS));
    assert_eq!(empty.value("SELECT count(*) FROM t"), "1");
    let log = restoring.restore_log();
    assert_eq!((&log["status"], &log["tables_failed"][0]["table"]), (&"partial".into(), &"orders".into()));
    // Where the extension has made it, the rows come.
    empty.execute("SELECT shop_queue('orders')");
    restoring.ok(&["restore", "--safe", "--file", &archive]);
    assert_eq!(empty.value("SELECT string_agg(body, '' ORDER BY id) FROM orders"), "xy");
}

#[test]
fn an_extension_that_was_there_keeps_no_rows_of_a_restore_that_is_undone() {
    let database = database("shop_before");
    let pgkeep = Pgkeep::on(&database.url);
    let archive = backup(&pgkeep);
    let target = database.cluster.database("shop_before_target");
    target.execute("CREATE EXTENSION pgkeep_test_shop; INSERT INTO shop_notes VALUES (5, 'was there')");
    let before = target.value(ROWS);
    let restoring = Pgkeep::on(&target.url);
    restoring.ok(&["restore", "--safe", "--file", &archive]);
    assert_eq!(
        target.value("SELECT concat((SELECT count(*) FROM t), (SELECT max(id) FROM shop_notes))"),
        "15"
    );
    restoring.ok(&["rollback", "latest"]);
    assert_eq!(target.value(ROWS), before);
    assert_eq!(target.value("SELECT to_regclass('t') IS NULL"), "t");
}
