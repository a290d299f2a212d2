//! Large objects travel with their bytes, and restores of them can be undone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{Database, Pgkeep, majors, shared, try_query, wait_until, while_held};

const ENTRY: &str = "pg_catalog.pg_largeobject";

/// Of every size that is at the limit of something, one with holes, one of somebody else's, shared and commented.
const OBJECTS: &str = "
    DO $$ BEGIN CREATE ROLE archivist LOGIN PASSWORD 'x'; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
    CREATE FUNCTION noise(bytes int) RETURNS bytea LANGUAGE sql AS $$
      SELECT substring(coalesce(string_agg(decode(md5(bytes || ' ' || i), 'hex'), ''), '') FOR bytes)
        FROM generate_series(1, bytes / 16 + 1) i $$;
    SELECT lo_from_bytea(1000 + n, noise(size))
      FROM unnest(ARRAY[0, 1, 2047, 2048, 2049, 262143, 262144, 262145, 524288, 3000000]) WITH ORDINALITY AS s (size, n);
    SELECT lo_create(2000); SELECT lo_put(2000, 1000000, 'far'); SELECT lo_put(2000, 300000, 'near');
    SELECT lo_from_bytea(3000, 'hers'); ALTER LARGE OBJECT 3000 OWNER TO archivist;
    GRANT SELECT ON LARGE OBJECT 3000 TO PUBLIC; COMMENT ON LARGE OBJECT 3000 IS 'a scan';";

fn database(major: Option<u32>, name: &str) -> Database<'static> {
    let database = shared(major).database(name);
    database.execute(OBJECTS);
    database
}

/// Contents, owners, privileges and comments.
fn state(database: &Database<'_>) -> String {
    database.value(
        "SELECT string_agg(concat_ws(' ', oid, length(lo_get(oid)), md5(lo_get(oid)), lomowner::regrole, lomacl,
                                     obj_description(oid, 'pg_largeobject')), E'\n' ORDER BY oid)
           FROM pg_largeobject_metadata",
    )
}

/// Contents alone.
fn contents(database: &Database<'_>) -> String {
    database.value(
        "SELECT coalesce(string_agg(concat_ws(' ', oid, md5(lo_get(oid))), E'\n' ORDER BY oid), '') FROM pg_largeobject_metadata",
    )
}

fn counts(log: &serde_json::Value) -> [u64; 4] {
    let entry = &log["tables_restored"][ENTRY];
    ["inserted", "updated", "deleted", "unchanged"]
        .map(|key| entry[key].as_u64().unwrap_or_else(|| panic!("{log:#}")))
}

fn backup(pgkeep: &Pgkeep) -> String {
    pgkeep.ok(&["backup"]);
    pgkeep.only_file("backups").to_str().unwrap().to_owned()
}

const DAMAGE: &str = "
    SELECT lo_unlink(1001); SELECT lo_unlink(3000); SELECT lo_put(1010, 2999999, 'longer than before');
    SELECT lo_put(1008, 262144, 'x'); SELECT lo_truncate(lo_open(1007, 131072), 100); SELECT lo_put(1002, 0, '!');
    SELECT lo_from_bytea(4000, 'new'); ALTER LARGE OBJECT 1002 OWNER TO archivist;";

#[test]
fn on_every_major_large_objects_are_restored_exactly_and_the_restore_undone() {
    for major in majors() {
        let database = database(Some(major), &format!("large_cycle_{major}"));
        let original = state(&database);
        let pgkeep = Pgkeep::on(&database.url);
        let archive = backup(&pgkeep);
        pgkeep.ok(&["validate", &archive]);
        database.execute(DAMAGE);
        let damaged = state(&database);

        pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--file", &archive]);
        let log = pgkeep.restore_log();
        assert_eq!(counts(&log), [2, 4, 1, 6], "major {major}");
        assert_eq!((&log["before_counts"][ENTRY], &log["after_counts"][ENTRY]), (&11.into(), &12.into()));
        // What is there keeps its owner.
        database.execute("ALTER LARGE OBJECT 1002 OWNER TO CURRENT_USER");
        assert_eq!(state(&database), original, "major {major}");
        database.execute("ALTER LARGE OBJECT 1002 OWNER TO archivist");

        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(state(&database), damaged, "major {major}");
        pgkeep.ok(&["rollback", "latest"]);
        database.execute("ALTER LARGE OBJECT 1002 OWNER TO CURRENT_USER");
        assert_eq!(state(&database), original, "major {major}: what a rollback removed comes back as it was");
    }
}

#[test]
fn upsert_keeps_what_the_archive_does_not_have_and_writes_nothing_that_is_equal() {
    let database = database(None, "large_upsert");
    let pgkeep = Pgkeep::on(&database.url);
    let archive = backup(&pgkeep);
    database.execute(DAMAGE);
    let damaged = state(&database);
    let log = pgkeep.ok(&["restore", "--safe", "--json", "--file", &archive]).json();
    assert_eq!(counts(&log), [2, 4, 0, 6]);
    assert_eq!(database.value("SELECT lo_get(4000) = 'new' AND lo_get(1001) = ''"), "t");
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(state(&database), damaged, "what the restore made is gone again");

    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
    let written =
        "SELECT pg_current_wal_insert_lsn() > '0/0'::pg_lsn, sum(xmin::text::int8) FROM pg_largeobject";
    let before = database.query(written);
    let log = pgkeep.ok(&["restore", "--safe", "--json", "--file", &archive]).json();
    assert_eq!(counts(&log), [0, 0, 0, 12]);
    assert_eq!(database.query(written), before);
}

#[test]
fn an_empty_database_is_rebuilt_with_its_large_objects_and_without_objects_they_are_made() {
    for major in [Some(13), None, Some(18)] {
        if major.is_some_and(|m| !majors().contains(&m)) {
            continue;
        }
        let original = database(major, "large_original");
        original.execute("CREATE TABLE t (id int PRIMARY KEY, picture oid); INSERT INTO t VALUES (1, 1001)");
        let pgkeep = Pgkeep::on(&original.url);
        let archive = backup(&pgkeep);
        let empty = original.cluster.database("large_rebuilt");
        let log = Pgkeep::on(&empty.url).ok(&["restore", "--json", "--file", &archive]).json();
        assert_eq!(state(&empty), state(&original));
        assert_eq!((counts(&log), &log["after_counts"][ENTRY]), ([12, 0, 0, 0], &12.into()));

        let data = Pgkeep::on(&original.url);
        data.ok(&["backup", "--data-only"]);
        let archive = data.only_file("backups");
        let tables = original.cluster.database("large_data_only");
        tables.execute("CREATE TABLE t (id int PRIMARY KEY, picture oid)");
        Pgkeep::on(&tables.url).ok(&["restore", "--safe", "--file", archive.to_str().unwrap()]);
        assert_eq!(contents(&tables), contents(&original));
    }
}

#[test]
fn a_backup_of_definitions_alone_has_none() {
    let original = database(None, "large_schema_only");
    original.execute("CREATE TABLE t (id int PRIMARY KEY)");
    let pgkeep = Pgkeep::on(&original.url);
    pgkeep.ok(&["backup", "--schema-only"]);
    let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
    pgkeep.ok(&["diff", &archive, "live", "--schema", "--exit-code"]);
    let empty = original.cluster.database("large_schema_only_rebuilt");
    Pgkeep::on(&empty.url).ok(&["restore", "--file", &archive]);
    assert_eq!(contents(&empty), "");
    assert_eq!(empty.value("SELECT count(*) FROM t"), "0");
}

#[test]
fn they_are_left_out_where_tables_are_chosen_or_they_are_excluded() {
    let database = database(None, "large_chosen");
    database.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY);");
    let entry = |arguments: &[&str]| {
        let pgkeep = Pgkeep::on(&database.url);
        pgkeep.ok(&[&["backup"], arguments].concat());
        let archive = pgkeep.only_file("backups");
        let shown = pgkeep.ok(&["show", archive.to_str().unwrap()]).stdout;
        let json = pgkeep.ok(&["show", archive.to_str().unwrap(), "--json"]).json();
        let has = json["tables"].as_array().unwrap().iter().any(|t| t["large_objects"] == true);
        assert_eq!(shown.contains("large objects"), has, "{shown}");
        has
    };
    assert!(entry(&[]));
    assert!(entry(&["--exclude", "u"]));
    assert!(entry(&["--table", ENTRY]));
    assert!(!entry(&["--table", "t"]));
    assert!(!entry(&["--exclude", ENTRY]));

    // A restore of some tables leaves them alone, too.
    let pgkeep = Pgkeep::on(&database.url);
    let archive = backup(&pgkeep);
    database.execute(DAMAGE);
    let damaged = state(&database);
    pgkeep.ok(&["restore", "--safe", "--table", "t", "--mode", "exact", "--file", &archive]);
    assert_eq!(state(&database), damaged);
    pgkeep.ok(&["restore", "--safe", "--exclude", ENTRY, "--mode", "exact", "--file", &archive]);
    assert_eq!(state(&database), damaged);
    let none = shared(None).database("large_none");
    none.execute("CREATE TABLE t (id int)");
    Pgkeep::on(&none.url).ok(&["backup", "--exclude", ENTRY]);
}

#[test]
fn a_role_that_may_read_them_backs_them_up_and_one_that_may_not_is_told() {
    for major in majors() {
        let database = database(Some(major), &format!("large_role_{major}"));
        let archivist = Pgkeep::on(&database.url_as("archivist", "x"));
        archivist
            .run(&["backup"])
            .expect_code(5)
            .says("archivist may not read large objects 1001, 1002")
            .says("GRANT");
        assert!(archivist.files("backups").is_empty());
        database.execute(
            "DO $$ DECLARE n oid; BEGIN FOR n IN SELECT oid FROM pg_largeobject_metadata LOOP
               EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO archivist', n); END LOOP; END $$",
        );
        let archive = backup(&archivist);
        let original = contents(&database);
        database.execute("SELECT lo_put(1003, 5, 'changed')");
        let changed = contents(&database);
        archivist
            .run(&["restore", "--safe", "--file", &archive])
            .expect_code(5)
            .says("lacks privileges on large objects 1003 (UPDATE)");
        assert_eq!(contents(&database), changed);
        database.execute("GRANT UPDATE ON LARGE OBJECT 1003 TO archivist");
        archivist.ok(&["restore", "--safe", "--file", &archive]);
        assert_eq!(contents(&database), original, "major {major}");
        archivist.ok(&["rollback", "latest"]);
        assert_eq!(contents(&database), changed, "major {major}");
    }
}

#[test]
fn what_others_write_while_a_restore_works_is_in_the_safety_backup() {
    let database = database(None, "large_meanwhile");
    database.execute(
        "CREATE FUNCTION gate() RETURNS boolean LANGUAGE plpgsql AS
           $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN true; END $$;
         CREATE TABLE slow (id int PRIMARY KEY CHECK (gate())); INSERT INTO slow VALUES (1)",
    );
    let pgkeep = Pgkeep::on(&database.url);
    let archive = backup(&pgkeep);
    let original = state(&database);
    database.execute(DAMAGE);
    database.execute("DELETE FROM slow");
    // Between the comparison and the writes.
    let running = while_held(&database.url, "SELECT pg_advisory_xact_lock(42)", |_| {
        let running = pgkeep.spawn(&[
            "restore",
            "--safe",
            "--mode",
            "exact",
            "--lock-timeout",
            "1min",
            "--file",
            &archive,
        ]);
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgkeep' AND wait_event = 'advisory'";
        wait_until("the restore waits", 60, || database.value(waiting) == "1");
        database.execute("SELECT lo_put(1002, 0, 'meanwhile'), lo_from_bytea(4001, 'meanwhile, too')");
        running
    });
    assert_eq!(running.wait().code, Some(0));
    database.execute("ALTER LARGE OBJECT 1002 OWNER TO CURRENT_USER");
    assert_eq!(state(&database), original);
    assert_eq!(pgkeep.files("safety_backups").len(), 2, "it was tried again");
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(
        database.value("SELECT lo_get(1002) || lo_get(4001)"),
        database.value("SELECT 'meanwhilemeanwhile, too'::bytea")
    );
}

#[test]
fn an_interrupted_restore_and_one_that_fails_leave_them_as_they_were() {
    let database = database(None, "large_interrupted");
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE); INSERT INTO t VALUES (1, 'a')");
    let pgkeep = Pgkeep::on(&database.url);
    let archive = backup(&pgkeep);
    database.execute(DAMAGE);
    let damaged = state(&database);
    // Whoever writes one that is to be written holds the restore up; others do not.
    while_held(&database.url, "SELECT lo_put(1002, 0, 'held')", |_| {
        pgkeep
            .run(&["restore", "--safe", "--lock-timeout", "300ms", "--file", &archive])
            .expect_code(1)
            .says("writing large objects");
        let running = pgkeep.spawn(&["restore", "--safe", "--lock-timeout", "1min", "--file", &archive]);
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgkeep' AND wait_event_type = 'Lock'";
        wait_until("the restore waits", 30, || database.value(waiting) == "1");
        running.interrupt();
        assert_eq!(running.wait().code, Some(130));
    });
    assert_eq!(state(&database), damaged);
    // A row that cannot go in undoes them, too.
    database.execute("UPDATE t SET id = 2");
    pgkeep.run(&["restore", "--safe", "--file", &archive]).expect_code(1).says("t_v_key");
    assert_eq!(state(&database), damaged);
    pgkeep.run(&["restore", "--safe", "--keep-going", "--file", &archive]).expect_code(3);
    assert_eq!(database.value("SELECT lo_get(1002) = noise(1)"), "t");
    // A dry run says what would be done.
    database.execute("SELECT lo_unlink(1005)");
    let log = pgkeep.ok(&["restore", "--dry-run", "--table", ENTRY, "--json", "--file", &archive]).json();
    assert_eq!(counts(&log), [1, 0, 0, 11]);
    assert!(try_query(&database.url, "SELECT lo_get(1005)").is_err());
}
