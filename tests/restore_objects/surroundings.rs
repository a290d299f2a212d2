//! What an application lives in has its say in definitions and rows, too: the path of its role or database, time-outs,
//! publications.

use crate::support::difference;
use crate::world::{World, explained, same, state};

/// Functions that find their own way only by the application's path, where the server has to look into them to plan
/// any query of the table: in an index, its predicate, statistics. One table is large enough for several page ranges.
const UNQUALIFIED: &str = "
    CREATE FUNCTION fold(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN lower($1); END';
    CREATE FUNCTION plain(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT fold($1)';
    CREATE TABLE people (id int PRIMARY KEY, name text); CREATE INDEX ON people (plain(name));
    CREATE TABLE large (id int PRIMARY KEY, person int REFERENCES people, name text, more text);
    ALTER TABLE large ALTER more SET STORAGE PLAIN;
    CREATE INDEX ON large (id) WHERE plain(name) > 'x'; CREATE STATISTICS of_both ON plain(name), id FROM large;
    CREATE TABLE bare (name text); CREATE INDEX ON bare (plain(name));
    INSERT INTO people SELECT n, 'Ann ' || n FROM generate_series(1, 50) n;
    INSERT INTO bare VALUES ('one'), ('one'), (NULL);
    INSERT INTO large SELECT n, n % 50 + 1, 'Ann', repeat('x', 900) FROM generate_series(1, 20000) n;";

#[test]
fn functions_that_need_the_applications_path_are_in_nobodys_way() {
    let Some(world) = World::new("path", UNQUALIFIED) else { return };
    let should = world.state();
    let copy = world.database.cluster.database("path, rebuilt");
    world.keeper.ok(&["restore", "-d", &copy.url, "--file", &world.archive]);
    same("rebuilt", &should, &state(&world.client, &copy.url));
    world.database.execute(
        "UPDATE people SET name = 'Bob' WHERE id < 9; DELETE FROM large WHERE id % 3 = 0; INSERT INTO bare VALUES ('two')",
    );
    let before = world.state();
    world.restore(&["--safe", "--mode", "exact"]);
    world.is_as("after the restore", &should);
    world.undo_and_redo(&before, &should);
}

#[test]
fn the_path_of_the_archived_database_is_known_before_the_new_one_has_it() {
    let sql = "
        DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = app, public', current_database()); END $$;
        CREATE SCHEMA app; SET search_path = app, public; CREATE TABLE conf (k text PRIMARY KEY, v int);
        INSERT INTO conf VALUES ('min', 1);
        CREATE FUNCTION is_enough(int) RETURNS bool LANGUAGE plpgsql STABLE AS
          'BEGIN RETURN $1 >= (SELECT v FROM conf WHERE k = ''min''); END';
        CREATE TABLE people (id int PRIMARY KEY, age int CHECK (is_enough(age))); INSERT INTO people VALUES (1, 2);";
    let Some(world) = World::new("own path", sql) else { return };
    let cluster = world.database.cluster;
    let made = cluster.database("own path, made");
    world.keeper.ok(&["restore", "-d", &made.url, "--file", &world.archive]);
    same("in a database that was there", &world.state(), &state(&world.client, &made.url));
    let url = cluster.url("own path, created");
    world.keeper.ok(&["restore", "--create", "-d", &url, "--file", &world.archive]);
    same("in one of its own", &world.state(), &state(&world.client, &url));
    // Whoever says another path is heard.
    let other = cluster.database("own path, other");
    let url = format!("{}?options=-c%20search_path%3Dpublic", other.url);
    let run = world.keeper.run(&["restore", "-d", &url, "--file", &world.archive]);
    explained(run, 1).says("conf");
}

#[test]
fn connections_that_wait_for_one_at_work_are_not_ended_by_the_server() {
    // Tables of some size are not indexed together: the largest goes to the leading connection, which is done at once and
    // waits for the other, and has views to make then.
    let sql = "
        CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); RETURN $1; END';
        CREATE TABLE a (n int, x text); INSERT INTO a VALUES (1, repeat('x', 9000000)); CREATE INDEX ON a (n);
        CREATE TABLE b (n int, x text); INSERT INTO b VALUES (1, repeat('x', 6000000)); CREATE INDEX ON b (slow(n));
        CREATE VIEW late AS SELECT n FROM a; CREATE RULE r AS ON INSERT TO late DO INSTEAD NOTHING;";
    let Some(world) = World::new("idle", sql) else { return };
    if world.database.cluster.postgres.major < 14 {
        return;
    }
    let copy = world.database.cluster.database("idle, rebuilt");
    copy.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET idle_session_timeout = 300', current_database()); END $$",
    );
    world.keeper.ok(&["restore", "-d", &copy.url, "--jobs", "3", "--file", &world.archive]);
    assert_eq!(copy.value("SELECT count(*) FROM late"), "1");
}

#[test]
fn what_a_publication_forbids_is_not_done_without_need() {
    let sql = "CREATE TABLE log (at int, msg text); INSERT INTO log VALUES (1, 'a'), (2, 'b'); CREATE PUBLICATION p FOR ALL TABLES;";
    let Some(world) = World::new("published", sql) else { return };
    let should = world.state();
    world.database.execute("DROP PUBLICATION p; TRUNCATE log; CREATE PUBLICATION p FOR ALL TABLES");
    world.restore(&["--safe"]);
    world.is_as("after the restore", &should);
    // Here rows must go, which the server does not let anybody do.
    let run = explained(world.keeper.run(&["rollback", "latest"]), 1);
    run.says("replica identity").says("REPLICA IDENTITY");
    world.is_as("after the rollback that could not be", &should);
}

#[test]
fn what_a_role_may_not_give_a_database_is_said_before_it_is_filled() {
    let sql = "
        DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_min_duration_statement = 1000', current_database()); END $$;
        CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1);";
    let Some(world) = World::new("properties", sql) else { return };
    let cluster = world.database.cluster;
    cluster.execute("postgres", "CREATE ROLE restore_objects_maker LOGIN CREATEDB PASSWORD 'maker'");
    let url = cluster.url_as("restore_objects_maker", "maker", "properties 2");
    let run = world.refused(&["--create", "-d", &url, "--no-owner"], 5);
    run.says("log_min_duration_statement").says("without --create").says("was removed again");
    assert!(!run.stderr.contains("loading"), "{}", run.stderr);
    let count = "SELECT count(*)::text FROM pg_database WHERE datname = 'properties 2'";
    assert_eq!(cluster.query("postgres", count)[0][0].as_deref(), Some("0"));
}

#[test]
fn settings_of_roles_in_the_database_stay_where_owners_are_not_wanted() {
    let sql = "
        DO $$ BEGIN
          IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'restore_objects_gone') THEN
            CREATE ROLE restore_objects_gone; END IF;
          EXECUTE format('ALTER ROLE object_reader IN DATABASE %I SET work_mem = ''9MB''', current_database());
          EXECUTE format('ALTER ROLE restore_objects_gone IN DATABASE %I SET work_mem = ''8MB''', current_database());
        END $$; CREATE TABLE t (a int)";
    let Some(world) = World::new("settings", sql) else { return };
    let cluster = world.database.cluster;
    cluster.execute("settings", "DROP ROLE restore_objects_gone");
    let url = cluster.url("settings 2");
    let run = world.keeper.ok(&["restore", "--create", "--no-owner", "-d", &url, "--file", &world.archive]);
    run.says("settings that role restore_objects_gone has");
    let of = |name: &str| {
        let sql = "SELECT array_to_string(setconfig, ',') FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
                    WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())";
        cluster.query(name, sql)
    };
    assert_eq!(of("settings 2"), of("settings"));
    assert_eq!(of("settings 2")[0][0].as_deref(), Some("work_mem=9MB"));
}

#[test]
fn tables_that_count_by_each_others_sequences_give_way_to_themselves() {
    let sql = "
        CREATE TABLE a (id int); CREATE TABLE b (id int); INSERT INTO a VALUES (1);
        CREATE SEQUENCE qa OWNED BY a.id; CREATE SEQUENCE qb OWNED BY b.id;
        ALTER TABLE a ALTER id SET DEFAULT nextval('qb'); ALTER TABLE b ALTER id SET DEFAULT nextval('qa');";
    let Some(world) = World::new("crossing", sql) else { return };
    let should = world.state();
    world.restore(&["--clean", "--safe"]);
    world.is_as("after the restore", &should);
    world.undo_and_redo(&should, &should);
    assert_eq!(difference(&should, &world.state()), None);
}

#[test]
fn a_constraint_that_the_archived_rows_break_is_named_and_there_is_a_way_around_it() {
    let sql = "
        CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int REFERENCES p, n int); CREATE INDEX ON c (n);
        ALTER TABLE c DISABLE TRIGGER ALL; INSERT INTO c VALUES (1, 1); ALTER TABLE c ENABLE TRIGGER ALL;
        CREATE VIEW v AS SELECT n FROM c;";
    let Some(world) = World::new("broken", sql) else { return };
    let copy = world.database.cluster.database("broken, restored");
    let run = world.refused(&["-d", &copy.url], 1);
    run.says("CONSTRAINT c_id_fkey ON public.c").says("what had been made was removed again");
    run.says("--section pre-data,data").says("export FILE --section post-data | psql");
    world.keeper.ok(&["restore", "-d", &copy.url, "--section", "pre-data,data", "--file", &world.archive]);
    let rest = world.keeper.ok(&["export", &world.archive, "--section", "post-data"]).stdout;
    assert!(world.client.run_script(&copy.url, &rest).is_err());
    let count = "SELECT count(*) FROM c JOIN v USING (n)";
    assert_eq!(copy.value(count), "1");
}
