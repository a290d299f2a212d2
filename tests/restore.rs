//! What a restore promises, on real servers: rows come back as archived, nothing else is touched, and every restore
//! can be undone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{Database, Pgkeep, fixture, majors, shared};

/// A database with the booking business, on the usual server.
fn reservations(name: &str) -> Database<'static> {
    let database = shared(None).database(name);
    database.execute(&fixture("reservations.sql"));
    database
}

fn table(log: &serde_json::Value, name: &str) -> [u64; 4] {
    let table = &log["tables_restored"][name];
    ["inserted", "updated", "deleted", "unchanged"]
        .map(|key| table[key].as_u64().unwrap_or_else(|| panic!("{log:#}")))
}

#[test]
fn on_every_major_a_damaged_database_is_restored_exactly_and_the_restore_undone() {
    for major in majors() {
        let database = shared(Some(major)).database(&format!("cycle_{major}"));
        database.execute(&fixture("reservations.sql"));
        let original = database.digest();
        let pgkeep = Pgkeep::on(&database.url);
        pgkeep.ok(&["backup"]);
        let archive = pgkeep.only_file("backups");
        let archive = archive.to_str().unwrap();
        pgkeep.ok(&["validate", archive]);
        database.execute(
            "DELETE FROM bookings WHERE reference IN (SELECT reference FROM bookings ORDER BY reference LIMIT 7);
             UPDATE users SET full_name = 'damaged' WHERE email IN (SELECT email FROM users ORDER BY email LIMIT 5);
             INSERT INTO import_lines SELECT * FROM import_lines;
             DELETE FROM events WHERE id % 3 = 0;
             SELECT setval('invoice_numbers', 99999999);",
        );
        let damaged = database.digest();
        assert_ne!(original, damaged);

        pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--file", archive]);
        assert_eq!(database.digest(), original, "major {major}");
        let log = pgkeep.restore_log();
        assert_eq!((log["status"].as_str(), log["verified"].as_bool()), (Some("completed"), Some(true)));

        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(database.digest(), damaged, "major {major}");
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(database.digest(), original, "major {major}: a rollback can be rolled back");
    }
}

#[test]
fn awkward_values_come_back_byte_for_byte_on_every_major() {
    for major in majors() {
        let database = shared(Some(major)).database(&format!("awkward_{major}"));
        database.execute(&fixture("awkward_types.sql"));
        let original = database.digest();
        for compress in ["gzip", "zstd", "none"] {
            let pgkeep = Pgkeep::on(&database.url);
            pgkeep.ok(&["backup", "--compress", compress]);
            let archive = pgkeep.only_file("backups");
            let tables = database.query(
                "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.relkind = 'r' AND NOT c.relispartition AND n.nspname !~ '^(pg_|information_schema)'",
            );
            let list: Vec<String> = tables.iter().map(|r| r[0].clone().unwrap()).collect();
            database.execute(&format!("TRUNCATE {} CASCADE", list.join(", ")));
            pgkeep.ok(&["restore", "--safe", "--file", archive.to_str().unwrap()]);
            assert_eq!(database.digest(), original, "major {major}, {compress}");
        }
    }
}

#[test]
fn a_transaction_that_the_server_asks_to_start_over_is_tried_again() {
    let database = shared(None).database("started_over");
    database.execute(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION refuse_first() RETURNS boolean LANGUAGE plpgsql AS $$
           BEGIN
             IF nextval('tries') % 2 = 1 THEN
               RAISE EXCEPTION 'not now' USING ERRCODE = 'serialization_failure';
             END IF;
             RETURN true;
           END $$;
         CREATE TABLE t (id int PRIMARY KEY);
         INSERT INTO t VALUES (1);",
    );
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--table", "t"]);
    let archive = pgkeep.only_file("backups");
    database.execute("ALTER TABLE t ADD CHECK (refuse_first()) NOT VALID");
    for _ in 0..5 {
        database.execute("DELETE FROM t");
        let run = pgkeep.ok(&["restore", "--yes", "--file", archive.to_str().unwrap()]);
        run.says("trying the whole restore again (2 of 3)");
        assert_eq!(pgkeep.restore_log()["total_inserted"], 1);
    }
}

#[test]
fn restoring_what_is_already_there_writes_no_row() {
    let database = reservations("no_change");
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup"]);
    let rows = "SELECT string_agg(ctid::text || xmin::text, ',' ORDER BY id) FROM bookings";
    let before = (database.digest(), database.value(rows));
    let archive = pgkeep.only_file("backups");
    let run =
        pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--json", "--file", archive.to_str().unwrap()]);
    let log = run.json();
    assert_eq!((log["total_inserted"].as_u64(), log["total_updated"].as_u64()), (Some(0), Some(0)));
    assert_eq!(log["before_counts"], log["after_counts"]);
    assert_eq!((database.digest(), database.value(rows)), before);
}

#[test]
fn upsert_keeps_what_is_only_in_the_target_and_exact_removes_it() {
    let database = shared(None).database("modes");
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three');",
    );
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup"]);
    let archive = pgkeep.only_file("backups");
    let archive = archive.to_str().unwrap();
    database.execute("DELETE FROM t WHERE id = 1; UPDATE t SET v = 'changed' WHERE id = 2; INSERT INTO t VALUES (4, 'four');");
    let all = "SELECT string_agg(id || v, ' ' ORDER BY id) FROM t";
    let log = pgkeep.ok(&["restore", "--safe", "--json", "--file", archive]).json();
    assert_eq!(table(&log, "t"), [1, 1, 0, 1]);
    assert_eq!(database.value(all), "1one 2two 3three 4four");
    let log = pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--json", "--file", archive]).json();
    assert_eq!(table(&log, "t"), [0, 0, 1, 3]);
    assert_eq!(database.value(all), "1one 2two 3three");
}

#[test]
fn exact_works_where_unique_values_were_swapped_and_rows_moved_between_partitions() {
    let database = shared(None).database("swapped");
    database.execute(
        "CREATE TABLE seats (id int PRIMARY KEY, place text UNIQUE, EXCLUDE USING btree (place WITH =));
         INSERT INTO seats VALUES (1, 'A'), (2, 'B'), (3, 'C');
         CREATE TABLE p (id int, d int, v text) PARTITION BY LIST (d);
         CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
         INSERT INTO p VALUES (1, 1, 'x'), (2, 2, 'y'), (2, 2, 'y');",
    );
    let original = database.digest();
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup"]);
    database.execute(
        "UPDATE seats SET place = 'tmp' WHERE id = 1; UPDATE seats SET place = 'A' WHERE id = 2;
         UPDATE seats SET place = 'B' WHERE id = 1; UPDATE p SET d = 3 - d;",
    );
    let archive = pgkeep.only_file("backups");
    pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--file", archive.to_str().unwrap()]);
    assert_eq!(database.digest(), original);
}

#[test]
fn a_table_without_a_key_neither_doubles_nor_loses_rows() {
    let database = shared(None).database("keyless");
    database.execute(
        "CREATE TABLE k (a int, b json); INSERT INTO k VALUES (1, '{}'), (1, '{}'), (2, NULL), (NULL, NULL), (NULL, NULL);
         CREATE TABLE none (); INSERT INTO none DEFAULT VALUES; INSERT INTO none DEFAULT VALUES;",
    );
    let original = database.digest();
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup"]);
    let archive = pgkeep.only_file("backups");
    let archive = archive.to_str().unwrap();
    pgkeep.ok(&["restore", "--safe", "--file", archive]);
    assert_eq!(database.digest(), original);
    database.execute("DELETE FROM k WHERE ctid = '(0,1)'; INSERT INTO k VALUES (NULL, NULL); DELETE FROM none WHERE ctid = '(0,1)'");
    let log = pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--json", "--file", archive]).json();
    assert_eq!(table(&log, "k"), [1, 0, 1, 4]);
    assert_eq!(database.digest(), original);
}

#[test]
fn triggers_do_not_fire_and_are_enabled_afterwards_as_before_whoever_restores() {
    for superuser in [true, false] {
        let database = shared(None).database(&format!("triggers_{superuser}"));
        database.execute(
            "DO $$ BEGIN CREATE ROLE shopkeeper LOGIN PASSWORD 'x'; EXCEPTION WHEN duplicate_object THEN END $$;
             CREATE TABLE parent (id int PRIMARY KEY);
             CREATE TABLE t (id int PRIMARY KEY, v text, p int REFERENCES parent ON DELETE CASCADE);
             CREATE TABLE fired (who text);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO fired VALUES (TG_NAME); RETURN NULL; END $$;
             CREATE TRIGGER plain AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();
             CREATE TRIGGER always AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();
             CREATE TRIGGER replica AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();
             CREATE TRIGGER off AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note();
             ALTER TABLE t ENABLE ALWAYS TRIGGER always, ENABLE REPLICA TRIGGER replica, DISABLE TRIGGER off;
             CREATE RULE swallow AS ON INSERT TO t DO ALSO INSERT INTO fired VALUES ('rule');
             COMMENT ON CONSTRAINT t_p_fkey ON t IS 'kept';
             INSERT INTO parent VALUES (1), (2); INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2); DELETE FROM fired;
             GRANT ALL ON SCHEMA public TO shopkeeper;
             ALTER TABLE parent OWNER TO shopkeeper; ALTER TABLE t OWNER TO shopkeeper; ALTER TABLE fired OWNER TO shopkeeper;",
        );
        let state = "SELECT (SELECT string_agg(tgname::text || tgenabled::text, ' ' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal)
            || (SELECT string_agg(rulename::text || ev_enabled::text, ' ') FROM pg_rewrite WHERE ev_class = 't'::regclass)
            || (SELECT string_agg(conname::text || pg_get_constraintdef(oid) || coalesce(obj_description(oid, 'pg_constraint'), ''), ' ' ORDER BY conname) FROM pg_constraint WHERE conrelid = 't'::regclass)";
        let (original, enabled) = (database.digest(), database.value(state));
        let url = if superuser { database.url.clone() } else { database.url_as("shopkeeper", "x") };
        let pgkeep = Pgkeep::on(&url);
        pgkeep.ok(&["backup"]);
        database.execute(
            "SET session_replication_role = replica; ALTER TABLE t DISABLE TRIGGER USER, DISABLE RULE swallow;
             DELETE FROM parent WHERE id = 1; UPDATE t SET v = 'damaged' WHERE id = 2; DELETE FROM t WHERE id = 1;
             ALTER TABLE t ENABLE TRIGGER plain, ENABLE ALWAYS TRIGGER always, ENABLE REPLICA TRIGGER replica, ENABLE RULE swallow;",
        );
        let archive = pgkeep.only_file("backups");
        let log = pgkeep
            .ok(&["restore", "--safe", "--mode", "exact", "--json", "--file", archive.to_str().unwrap()])
            .json();
        assert_eq!(database.digest(), original, "superuser {superuser}");
        assert_eq!(database.value(state), enabled, "superuser {superuser}");
        let way = log["triggers_held_by"].as_str().unwrap();
        assert_eq!(way == "session_replication_role", superuser, "{way}");
    }
}

#[test]
fn a_foreign_key_that_would_break_undoes_the_restore_and_names_the_rows() {
    let database = shared(None).database("broken_key");
    database.execute(
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent);
         INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (10, 1), (20, 2);",
    );
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup"]);
    database.execute("DELETE FROM child; DELETE FROM parent WHERE id = 2;");
    let damaged = database.digest();
    let archive = pgkeep.only_file("backups");
    let archive = archive.to_str().unwrap();
    let run = pgkeep.run(&["restore", "--safe", "--table", "child", "--file", archive]).expect_code(1);
    run.says("child_p_fkey").says("(id = 20)").says("rolled back");
    assert_eq!(database.digest(), damaged);
    let log = pgkeep.restore_log();
    assert_eq!((log["status"].as_str(), log["rolled_back"].as_bool()), (Some("rolled_back"), Some(true)));
    pgkeep.ok(&["restore", "--safe", "--file", archive]);
    assert_eq!(database.value("SELECT count(*) FROM child"), "2");
}

#[test]
fn with_keep_going_tables_that_fit_are_restored_and_the_exit_code_is_3() {
    let database = shared(None).database("keep_going");
    database.execute(
        "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text UNIQUE);
         CREATE TABLE c (id int PRIMARY KEY, b int REFERENCES b); CREATE TABLE gone (id int);
         INSERT INTO a VALUES (1, 'x'); INSERT INTO b VALUES (1, 'x'); INSERT INTO c VALUES (1, 1); INSERT INTO gone VALUES (1);",
    );
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup"]);
    database.execute("TRUNCATE a, b, c; INSERT INTO b VALUES (2, 'x'); DROP TABLE gone;");
    let archive = pgkeep.only_file("backups");
    let archive = archive.to_str().unwrap();
    let run = pgkeep.run(&["restore", "--safe", "--data-only", "--file", archive]).expect_code(1);
    run.says("gone: the target has no such table");
    let run = pgkeep
        .run(&["restore", "--safe", "--data-only", "--exclude", "gone", "--file", archive])
        .expect_code(1);
    run.says("table b").says("id = 1").says("b_v_key").says("rolled back");
    assert_eq!(database.value("SELECT count(*) FROM a"), "0");
    pgkeep.run(&["restore", "--safe", "--data-only", "--keep-going", "--file", archive]).expect_code(3);
    assert_eq!(database.value("SELECT count(*) FROM a"), "1");
    assert_eq!(database.value("SELECT string_agg(id::text, '') FROM b"), "2");
    let log = pgkeep.restore_log();
    assert_eq!(log["status"], "partial");
    let failed: Vec<&str> =
        log["tables_failed"].as_array().unwrap().iter().map(|f| f["table"].as_str().unwrap()).collect();
    assert_eq!(failed, ["gone", "b", "c"]);
}

#[test]
fn sequences_are_never_moved_back_by_upsert_and_set_exactly_by_rollback() {
    let database = shared(None).database("sequences");
    database.execute(
        "CREATE TABLE t (id serial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY); INSERT INTO t DEFAULT VALUES;
         CREATE SEQUENCE down INCREMENT -1; SELECT nextval('down'); SELECT nextval('down');",
    );
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup"]);
    let original = database.digest();
    database.execute("INSERT INTO t DEFAULT VALUES; SELECT setval('down', -1, true);");
    let later = database.digest();
    let archive = pgkeep.only_file("backups");
    let archive = archive.to_str().unwrap();
    pgkeep.ok(&["restore", "--safe", "--file", archive]);
    let value = |name: &str| database.value(&format!("SELECT last_value || is_called::text FROM {name}"));
    assert_eq!(
        (value("t_id_seq"), value("t_n_seq"), value("down")),
        ("2true".into(), "2true".into(), "-2true".into())
    );
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(database.digest(), later);
    pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--file", archive]);
    assert_eq!(database.digest(), original);
}

#[test]
fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let database = reservations("dry_run");
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup"]);
    database.execute("UPDATE users SET full_name = 'x'");
    let damaged = database.digest();
    let archive = pgkeep.only_file("backups");
    let log = pgkeep.ok(&["restore", "--dry-run", "--json", "--file", archive.to_str().unwrap()]).json();
    let users: u64 = database.value("SELECT count(*) FROM users").parse().unwrap();
    assert_eq!(table(&log, "users"), [0, users, 0, 0]);
    assert_eq!(
        (&log["status"], &log["verified"]),
        (&"completed".into(), &false.into()),
        "nothing was proven"
    );
    assert_eq!(database.digest(), damaged);
    assert!(
        pgkeep.files("safety_backups").is_empty()
            && pgkeep.files("summaries").iter().all(|f| !f.to_string_lossy().contains("restore_log"))
    );
}
