//! Archived rows of several large tables are staged over several connections, in a schema that is gone when the restore
//! is, however it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::{Duration, Instant};

use support::{
    Cluster, Database, Options, Pgkeep, Proxy, Running, majors, percent_encoded, query, shared, try_query,
    wait_until, while_held,
};

/// Three tables of 6 MB, one without a key; one refers to another, so that an owner has to take a foreign key off.
const TABLES: &str = "
    CREATE TABLE a (id int PRIMARY KEY, v text);
    CREATE TABLE b (id int PRIMARY KEY REFERENCES a, v text);
    CREATE TABLE c (id int, v text);
    CREATE TABLE small (id int PRIMARY KEY, v text);
    INSERT INTO a SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 6000) i;
    INSERT INTO b SELECT * FROM a;
    INSERT INTO c SELECT * FROM a;
    INSERT INTO small SELECT i, i FROM generate_series(1, 10) i;";

const DAMAGE: &str = "
    UPDATE a SET v = v || 'x'; DELETE FROM b WHERE id % 2 = 0; UPDATE b SET v = v || 'x'; UPDATE c SET v = v || 'x';
    INSERT INTO c SELECT * FROM c; UPDATE small SET v = '';";

/// Locks that are waited for in this database.
const HERE: &str =
    "NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

const SIDE_BY_SIDE: &str = "tables are staged over 3 connections";
const ONE_AFTER_THE_OTHER: &str = "tables are staged one after the other";

/// What lies in the schema; empty: there is none.
fn staging(url: &str) -> String {
    let sql = "SELECT COALESCE(string_agg(c.relname, ' ' ORDER BY c.relname), 'empty')
                 FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind = 'r'
                WHERE n.nspname = 'pgkeep_staging' GROUP BY n.oid";
    query(url, sql).first().map(|row| row[0].clone().unwrap()).unwrap_or_default()
}

fn sessions(url: &str) -> String {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgkeep%'";
    query(url, sql)[0][0].clone().unwrap()
}

#[track_caller]
fn nothing_is_left(database: &Database<'_>, context: &str) {
    wait_until(&format!("{context}: sessions end"), 30, || sessions(&database.url) == "0");
    assert_eq!(staging(&database.url), "", "{context}");
}

/// Backs up, damages, and returns the archive with what the tables held before and after.
fn damaged(database: &Database<'_>, url: &str) -> (Pgkeep, String) {
    let pgkeep = Pgkeep::on(url).env("PGKEEP_JOBS", "3");
    pgkeep.ok(&["backup"]);
    database.execute(DAMAGE);
    let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
    (pgkeep, archive)
}

fn owned<'a>(name: &str, more: &str) -> (Database<'a>, String) {
    let database = shared(None).database(name);
    database.execute(&format!(
        "CREATE ROLE {name} LOGIN PASSWORD 'x'; ALTER SCHEMA public OWNER TO {name}; {more}; SET ROLE {name}; {TABLES}"
    ));
    let url = database.url_as(name, "x");
    (database, url)
}

#[test]
fn large_tables_are_staged_side_by_side() {
    for major in majors() {
        let database = shared(Some(major)).database(&format!("side_by_side_{major}"));
        database.execute(TABLES);
        let original = database.digest();
        let (pgkeep, archive) = damaged(&database, &database.url);
        let ruined = database.digest();
        let run =
            pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--verbose", "--json", "--file", &archive]);
        run.says(SIDE_BY_SIDE);
        let log = run.json();
        let outcome = |table: &str, what: &str| log["tables_restored"][table][what].as_i64().unwrap();
        assert_eq!(
            [outcome("a", "updated"), outcome("b", "updated"), outcome("b", "inserted")],
            [6000, 3000, 3000]
        );
        assert_eq!(
            [outcome("c", "inserted"), outcome("c", "deleted"), outcome("small", "updated")],
            [6000, 12000, 10]
        );
        assert!(database.digest() == original, "{major}");
        nothing_is_left(&database, "restored");
        pgkeep.ok(&["rollback", "latest", "--verbose"]).says(SIDE_BY_SIDE);
        assert!(database.digest() == ruined, "{major}");
        nothing_is_left(&database, "rolled back");
        // In mode upsert what is too much stays.
        pgkeep.ok(&["restore", "--safe", "--verbose", "--file", &archive]).says(SIDE_BY_SIDE);
        let counts = "SELECT (SELECT count(*) FROM a) || ' ' || (SELECT count(*) FROM b) || ' ' || (SELECT count(*) FROM c)";
        assert_eq!(database.value(counts), "6000 6000 18000");
        nothing_is_left(&database, "merged");
    }
}

#[test]
fn no_schema_is_made_for_a_dry_run_or_one_connection_or_one_large_table() {
    let database = shared(None).database("staged_alone");
    database.execute(TABLES);
    let (pgkeep, archive) = damaged(&database, &database.url);
    // Whoever makes a schema is told of here.
    database.execute(
        "CREATE TABLE made (tag text);
         CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a schema'; END $$;
         CREATE EVENT TRIGGER note ON ddl_command_start WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION note();",
    );
    let restore = ["restore", "--safe", "--mode", "exact", "--verbose", "--file", &archive];
    for more in
        [&["--dry-run"][..], &["--jobs", "1"], &["--table", "a"], &["--table", "a", "--table", "small"]]
    {
        let run = pgkeep.ok(&[&restore, more].concat());
        assert!(!run.stderr.contains("tables are staged"), "{}", run.stderr);
        database.execute(DAMAGE);
    }
}

#[test]
fn who_may_not_make_a_schema_stages_one_table_after_the_other() {
    let (database, url) = owned("no_schemas", "");
    let original = database.digest();
    let (pgkeep, archive) = damaged(&database, &url);
    let run = pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--verbose", "--file", &archive]);
    run.says(ONE_AFTER_THE_OTHER).says("CREATE on the database");
    assert!(database.digest() == original);
    nothing_is_left(&database, "restored");
}

#[test]
fn where_temporary_tables_have_a_place_of_their_own_rows_are_staged_there() {
    let database = shared(None).database("staged_apart");
    database.execute(TABLES);
    let (pgkeep, archive) = damaged(&database, &database.url);
    database.execute("ALTER DATABASE staged_apart SET temp_tablespaces = 'pg_default'");
    let run = pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--verbose", "--file", &archive]);
    run.says(ONE_AFTER_THE_OTHER).says("temp_tablespaces");
}

#[test]
fn event_triggers_that_would_act_on_staging_tables_are_given_none() {
    let database = shared(None).database("staged_by_event");
    database.execute(&format!(
        "{TABLES} CREATE TABLE seen (tag text);
         CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (tg_tag); END $$;
         CREATE EVENT TRIGGER see ON ddl_command_end EXECUTE FUNCTION see();"
    ));
    let original = database.digest();
    let (pgkeep, archive) = damaged(&database, &database.url);
    let restore =
        ["restore", "--safe", "--mode", "exact", "--verbose", "--exclude", "seen", "--file", &archive];
    pgkeep.ok(&restore).says(SIDE_BY_SIDE);
    assert!(database.digest() == original);
    database.execute(DAMAGE);
    database.execute("ALTER EVENT TRIGGER see ENABLE REPLICA");
    pgkeep.ok(&restore).says(ONE_AFTER_THE_OTHER);
    database.execute("ALTER EVENT TRIGGER see DISABLE; TRUNCATE seen");
    assert!(database.digest() == original);
    nothing_is_left(&database, "restored");
}

#[test]
fn a_schema_that_is_left_is_removed_and_no_part_of_a_backup_and_one_of_somebody_else_s_stays() {
    let database = shared(None).database("left_schema");
    database.execute(TABLES);
    let original = database.digest();
    let bare = Pgkeep::on(&database.url);
    bare.ok(&["backup", "--out", "bare.json", "--compress", "none"]);
    database.execute(
        "CREATE SCHEMA pgkeep_staging; CREATE UNLOGGED TABLE pgkeep_staging.pgkeep_stage_0 AS TABLE a;
         GRANT USAGE ON SCHEMA pgkeep_staging TO PUBLIC;
         COMMENT ON SCHEMA pgkeep_staging IS 'pgkeep: rows of a restore, removed when it ends'",
    );
    bare.ok(&["backup", "--out", "with.json", "--compress", "none"]);
    for file in ["bare.json", "with.json"] {
        let text = std::fs::read_to_string(bare.dir().join(file)).unwrap();
        assert!(!text.contains("pgkeep_staging"), "{file}");
    }
    let (pgkeep, archive) = damaged(&database, &database.url);
    let restore = ["restore", "--safe", "--mode", "exact", "--verbose", "--file", &archive];
    pgkeep.ok(&restore).says(SIDE_BY_SIDE);
    nothing_is_left(&database, "restored");
    assert!(database.digest() == original);

    // Of the same name, and not ours.
    database.execute("CREATE SCHEMA pgkeep_staging; CREATE TABLE pgkeep_staging.precious AS SELECT 1 AS id");
    bare.ok(&["backup", "--out", "precious.json", "--compress", "none"]);
    assert!(std::fs::read_to_string(bare.dir().join("precious.json")).unwrap().contains("precious"));
    database.execute(DAMAGE);
    pgkeep.ok(&restore).says(ONE_AFTER_THE_OTHER).says("not pgkeep's");
    assert_eq!(database.value("SELECT id FROM pgkeep_staging.precious"), "1");
}

/// Starts a restore by an owner that has staged all and waits for `a` and `b`, which it needs alone; `work` is told
/// the process.
fn while_staged<T>(
    database: &Database<'_>,
    pgkeep: &Pgkeep,
    archive: &str,
    work: impl FnOnce(Running) -> T,
) -> T {
    while_held(&database.url, "SELECT FROM a", |_| {
        let restore =
            ["restore", "--safe", "--mode", "exact", "--verbose", "--lock-timeout", "60s", "--file", archive];
        let mut running = pgkeep.spawn(&restore);
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation' AND mode = 'AccessExclusiveLock'
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        wait_until("all is staged", 60, || {
            assert!(running.is_running());
            database.value(waits) == "1"
        });
        work(running)
    })
}

#[test]
fn nobody_else_may_look_into_the_schema() {
    let (database, url) = owned(
        "staged_privately",
        "GRANT CREATE ON DATABASE staged_privately TO staged_privately; CREATE ROLE onlooker LOGIN PASSWORD 'x';
         CREATE ROLE reads_all LOGIN PASSWORD 'x' IN ROLE pg_read_all_data; ALTER DEFAULT PRIVILEGES FOR ROLE staged_privately GRANT ALL ON SCHEMAS TO onlooker, PUBLIC;
         ALTER DEFAULT PRIVILEGES FOR ROLE staged_privately GRANT ALL ON TABLES TO onlooker, PUBLIC",
    );
    let original = database.digest();
    let (pgkeep, archive) = damaged(&database, &url);
    let (onlooker, reader) = (database.url_as("onlooker", "x"), database.url_as("reads_all", "x"));
    let run = while_staged(&database, &pgkeep, &archive, |running| {
        let tables = staging(&database.url);
        assert!(tables.contains("pgkeep_stage_0") || tables.contains("pgkeep_stage_1"), "{tables}");
        let persistence = "SELECT string_agg(DISTINCT relpersistence, '') FROM pg_class WHERE relnamespace = 'pgkeep_staging'::regnamespace AND relkind = 'r'";
        assert_eq!(database.value(persistence), "u");
        for table in tables.split(' ') {
            let count = format!("SELECT count(*) FROM pgkeep_staging.{table}");
            let refused = try_query(&onlooker, &count).unwrap_err();
            assert!(refused.contains("permission denied for schema"), "{refused}");
            // Who may read everything sees no row that a policy of the original might hide; of differences there are places alone.
            let seen = query(&reader, &count)[0][0].clone().unwrap();
            assert_eq!(seen == "0", table.contains("stage"), "{table}");
        }
        for who in [&onlooker, &reader] {
            let known = "SELECT count(*) FROM pg_stats WHERE schemaname = 'pgkeep_staging' AND tablename LIKE '%stage%'";
            assert_eq!(query(who, known)[0][0].as_deref(), Some("0"));
        }
        running
    });
    run.wait_for(Duration::from_secs(60)).expect_code(0).says(SIDE_BY_SIDE);
    assert!(database.digest() == original);
    nothing_is_left(&database, "restored");
}

#[test]
fn the_server_removes_the_schema_whatever_becomes_of_the_restore() {
    let (database, url) =
        owned("staged_and_killed", "GRANT CREATE ON DATABASE staged_and_killed TO staged_and_killed");
    let (pgkeep, archive) = damaged(&database, &url);
    let ruined = database.digest();
    let session = |state: &str| {
        format!("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = {state} AND {HERE}")
    };
    // A socket of this machine tells at once that nobody is there any more, and a word to nobody fails.
    let host = percent_encoded(database.cluster.socket_dir().to_str().unwrap());
    let socket = url.replace("127.0.0.1", &host);
    assert_ne!(socket, url);
    let by_socket = Pgkeep::on(&socket).env("PGKEEP_JOBS", "3");
    for way in ["kill -9", "kill -9 by socket", "interrupt", "the session ends", "the lock times out"] {
        let pgkeep = if way.ends_with("socket") { &by_socket } else { &pgkeep };
        let running = while_staged(&database, pgkeep, &archive, |running| {
            assert_ne!(staging(&database.url), "");
            match way {
                "kill -9" | "kill -9 by socket" => running.kill_9(),
                "interrupt" => running.interrupt(),
                "the session ends" => drop(query(&database.url, &session("'relation'"))),
                _ => {
                    database.query(&format!(
                        "SELECT pg_cancel_backend(pid) FROM pg_locks WHERE locktype = 'relation' AND {HERE}"
                    ));
                }
            }
            // Its reader holds the tables until here.
            if !way.starts_with("kill") { Some(running.wait_for(Duration::from_secs(60))) } else { None }
        });
        match running {
            None => wait_until("the server removes it", 60, || staging(&database.url).is_empty()),
            Some(run) => {
                assert_eq!(run.code, Some(if way == "interrupt" { 130 } else { 1 }), "{way}: {}", run.stderr);
                assert_eq!(staging(&database.url), "", "{way}");
            }
        }
        nothing_is_left(&database, way);
        assert!(database.digest() == ruined, "{way}");
    }
    // The session that was to remove it is ended: pgkeep does so itself.
    let run = while_staged(&database, &pgkeep, &archive, |running| {
        query(&database.url, &session("'advisory'"));
        running
    });
    run.wait_for(Duration::from_secs(60)).expect_code(0).says(SIDE_BY_SIDE);
    nothing_is_left(&database, "its remover ended");
}

#[test]
fn the_session_that_removes_the_schema_stays_connected() {
    let (database, url) = owned("staged_long", "GRANT CREATE ON DATABASE staged_long TO staged_long");
    let original = database.digest();
    let proxy = Proxy::to(database.cluster.port);
    let (pgkeep, archive) = damaged(&database, &proxy.url(&url, database.cluster.port));
    let running = while_staged(&database, &pgkeep, &archive, |running| {
        // Longer than a session that is given up takes to say goodbye; then no other can be had.
        std::thread::sleep(Duration::from_secs(3));
        proxy.refuse(true);
        running
    });
    let run = running.wait_for(Duration::from_secs(60)).expect_code(0);
    assert!(!run.stderr.contains("pgkeep_staging"), "{}", run.stderr);
    nothing_is_left(&database, "restored");
    assert!(database.digest() == original);
}

#[test]
fn somebody_who_reads_what_is_staged_does_not_fail_the_restore() {
    let (database, url) =
        owned("staged_and_read", "GRANT CREATE ON DATABASE staged_and_read TO staged_and_read");
    let original = database.digest();
    let (pgkeep, archive) = damaged(&database, &url);
    let (told, hears) = std::sync::mpsc::channel();
    let (running, reader) = while_staged(&database, &pgkeep, &archive, |running| {
        let table = staging(&database.url).split(' ').next().unwrap().to_owned();
        let (url, (holds, is_held)) = (database.url.clone(), std::sync::mpsc::channel());
        let reader = std::thread::spawn(move || {
            while_held(&url, &format!("SELECT FROM pgkeep_staging.{table}"), |_| {
                holds.send(()).unwrap();
                hears.recv().unwrap();
            });
        });
        is_held.recv().unwrap();
        (running, reader)
    });
    running.wait_for(Duration::from_secs(60)).expect_code(0).says("pgkeep_staging").says("still in use");
    assert_ne!(staging(&database.url), "");
    told.send(()).unwrap();
    reader.join().unwrap();
    wait_until("the server removes it", 30, || staging(&database.url).is_empty());
    nothing_is_left(&database, "read");
    assert!(database.digest() == original);
}

#[test]
fn killed_at_any_moment_a_restore_leaves_no_schema() {
    let database = shared(None).database("staging_killed");
    database.execute(TABLES);
    let (pgkeep, archive) = damaged(&database, &database.url);
    let ruined = database.digest();
    let restore = ["restore", "--yes", "--mode", "exact", "--file", &archive];
    // How long it takes, by a run that is undone again.
    let begin = Instant::now();
    pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--file", &archive]);
    let whole = begin.elapsed();
    pgkeep.ok(&["rollback", "latest"]);
    let restored = |n: u32| {
        let mut running = pgkeep.spawn(&restore);
        let begin = Instant::now();
        while begin.elapsed() < whole * n / 12 && running.is_running() {
            std::thread::sleep(Duration::from_millis(1));
        }
        running.kill_9();
        drop(running.wait_for(Duration::from_secs(20)));
        wait_until("its sessions are gone", 60, || sessions(&database.url) == "0");
        assert_eq!(staging(&database.url), "", "killed at {n} twelfths of {whole:?}");
    };
    let mut undone = 0;
    for n in 0..12 {
        restored(n);
        if database.digest() == ruined {
            undone += 1;
        } else {
            database.execute(DAMAGE);
            break;
        }
    }
    assert!(undone >= 4, "{undone}");
}

#[test]
fn somebody_who_waits_for_a_table_holds_no_worker_up() {
    let database = shared(None).database("staged_queue");
    database.execute(TABLES);
    let original = database.digest();
    let (pgkeep, archive) = damaged(&database, &database.url);
    let running = pgkeep.spawn(&[
        "restore",
        "--safe",
        "--mode",
        "exact",
        "--verbose",
        "--lock-timeout",
        "10min",
        "--file",
        &archive,
    ]);
    let locked =
        "SELECT count(*) FROM pg_locks WHERE relation = 'c'::regclass AND mode = 'ExclusiveLock' AND granted";
    wait_until("the tables are locked", 30, || database.value(locked) == "1");
    let url = database.url.clone();
    let waiting = std::thread::spawn(move || {
        query(&url, "BEGIN; LOCK TABLE c IN ACCESS EXCLUSIVE MODE; SELECT count(*) FROM c; COMMIT")
    });
    // A worker that waited would give up only when its lock timed out.
    let run = running.wait_for(Duration::from_secs(120)).expect_code(0);
    run.says(SIDE_BY_SIDE);
    waiting.join().unwrap();
    assert!(database.digest() == original);
    nothing_is_left(&database, "restored");
}

#[test]
fn a_table_that_a_worker_cannot_load_stays_and_the_others_are_restored() {
    let database = shared(None).database("staged_refusal");
    database.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'glad');
         CREATE TABLE moods (id int PRIMARY KEY, mood mood[], v text);
         INSERT INTO moods SELECT i, '{glad}', repeat(md5(i::text), 30) FROM generate_series(1, 6000) i;",
    );
    database.execute(TABLES);
    let original = database.digest();
    let (pgkeep, archive) = damaged(&database, &database.url);
    database.execute(
        "UPDATE moods SET mood = '{sad}', v = ''; ALTER TYPE mood RENAME VALUE 'glad' TO 'cheerful'",
    );
    let ruined = database.digest();
    let restore = ["restore", "--data-only", "--safe", "--mode", "exact", "--verbose", "--file", &archive];
    let run = pgkeep.run(&restore).expect_code(1);
    run.says("table moods").says("column mood");
    assert!(database.digest() == ruined);
    nothing_is_left(&database, "refused");
    let run = pgkeep.run(&[&restore[..], &["--keep-going"]].concat()).expect_code(3);
    run.says(SIDE_BY_SIDE).says("moods");
    let now = database.digest();
    for table in ["a", "b", "c", "small"] {
        let of = |digest: &support::Digest| {
            digest.iter().find(|(name, _)| **name == format!("public.{table}")).map(|(_, d)| d.clone())
        };
        assert_eq!(of(&now), of(&original), "{table}");
    }
    nothing_is_left(&database, "restored but for one");
}

#[test]
fn after_a_stop_of_the_server_the_next_restore_removes_the_schema() {
    let cluster = Cluster::start(Options::default());
    let database = cluster.database("staged_crash");
    database.execute(&format!("CREATE ROLE app LOGIN PASSWORD 'x'; ALTER DATABASE staged_crash OWNER TO app; ALTER SCHEMA public OWNER TO app; SET ROLE app; {TABLES}"));
    let original = database.digest();
    let (pgkeep, archive) = damaged(&database, &database.url_as("app", "x"));
    let ruined = database.digest();
    let restore =
        ["restore", "--safe", "--mode", "exact", "--lock-timeout", "60s", "--verbose", "--file", &archive];
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'";
    for stop in [Cluster::kill_9, Cluster::stop] {
        let blocker = database.url.clone();
        // Whoever reads keeps the restore where it is; the stop ends both.
        let reader = std::thread::spawn(move || {
            try_query(&blocker, "BEGIN; SELECT FROM a; SELECT pg_sleep(60)").is_err()
        });
        wait_until("somebody reads", 10, || {
            database.value("SELECT count(*) FROM pg_locks WHERE relation = 'a'::regclass") != "0"
        });
        let running = pgkeep.spawn(&restore);
        wait_until("all is staged", 60, || database.value(waits) == "1");
        stop(&cluster);
        assert!(reader.join().unwrap());
        running.wait_for(Duration::from_secs(120));
        cluster.restart();
        // The schema's tables are among what there is.
        assert!(
            database.digest().into_iter().filter(|(name, _)| name.starts_with("public.")).eq(ruined.clone())
        );
        assert_ne!(staging(&database.url), "");
        // Also one that stages nothing there.
        let run = pgkeep.ok(&[&restore[..], &["--jobs", "1"]].concat());
        assert!(!run.stderr.contains("pgkeep_staging"), "{}", run.stderr);
        assert!(database.digest() == original);
        nothing_is_left(&database, "restored");
        pgkeep.ok(&["rollback", "latest"]);
    }
}
