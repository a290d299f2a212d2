//! How rows come into an empty database: as they were to the last bit, frozen, and with indexes behind them.

use std::time::Duration;

use crate::support::{Database, fixture, query, shared, try_query, wait_until};
use crate::world::{World, explained, same, state};

/// Binary images of all rows of all tables, as the server itself sends them: of columns of built-in types, and of domains
/// over them. Others have OIDs in their images (and reg… types are such), which every database gives anew.
fn images(url: &str) -> String {
    let tables = "SELECT format('%I.%I', n.nspname, c.relname), string_agg(
               format('t.%I%s', a.attname, CASE WHEN t.typbasetype <> 0
                      THEN '::' || format_type(t.typbasetype, t.typtypmod) END), ', ' ORDER BY a.attnum)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type t ON t.oid = a.atttypid
        WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND t.typname !~ '^reg' AND (a.atttypid < 16384 OR t.typbasetype BETWEEN 1 AND 16383)
        GROUP BY n.nspname, c.relname ORDER BY 1";
    let mut text = String::new();
    for row in query(url, tables) {
        let (table, columns) = (row[0].clone().unwrap(), row[1].clone().unwrap());
        // Row by row in their own order: where a row lies is to be the same, too.
        let sql = format!(
            "SELECT md5(string_agg(md5(record_send(ROW({columns}))), ',' ORDER BY t.ctid)), count(*) FROM ONLY {table} AS t"
        );
        let of_table = match try_query(url, &sql) {
            Ok(rows) => format!("{:?}", rows[0]),
            // A type without a send function, such as aclitem.
            Err(_) => String::new(),
        };
        text += &format!("{table} {of_table}\n");
    }
    text
}

/// Restores into a new database and returns it with what the run said.
fn restored(world: &World, name: &str, more: &[&str]) -> (Database<'static>, String) {
    let target = world.database.cluster.database(name);
    let run = world.keeper.ok(&[
        &["restore", "-v", "-d", &target.url, "--file", &world.archive, "--jobs", "2"],
        more,
    ]
    .concat());
    (target, run.stderr)
}

fn every_type(major: u32) {
    let name = format!("loaded every type {major}");
    let Some(world) = World::on(Some(major), &name, &fixture("awkward_types.sql")) else { return };
    let (target, said) = restored(&world, &format!("{name} restored"), &[]);
    same("binary images", &images(&world.database.url), &images(&target.url));
    same("state", &world.state(), &state(&world.client, &target.url));
    for table in ["integers", "numerics", "floats"] {
        assert!(said.contains(&format!("table {table}: rows went in as binary")), "{table}: {said}");
    }
}

#[test]
fn values_of_every_type_are_the_same_to_the_last_bit_on_13() {
    every_type(13);
}

#[test]
fn values_of_every_type_are_the_same_to_the_last_bit_on_15() {
    every_type(15);
}

#[test]
fn values_of_every_type_are_the_same_to_the_last_bit_on_18() {
    every_type(18);
}

/// Rows enough that each of these tables is worth freezing.
const MANY: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'so, so', 'happy');
    CREATE DOMAIN small AS numeric(8, 2) CHECK (VALUE > -5);
    CREATE TABLE plain (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, m mood, s small, twice int GENERATED ALWAYS AS (n * 2) STORED,
                        n int, t text, tags text[], at timestamptz DEFAULT now());
    INSERT INTO plain (m, s, n, t, tags, at)
      SELECT (ARRAY['sad', 'so, so', 'happy', NULL])[n % 4 + 1]::mood, n / 7.0, n, repeat(chr(34) || n || chr(9), 5),
             CASE n % 3 WHEN 0 THEN '{}' WHEN 1 THEN ARRAY['a,b', NULL, 'null', '', chr(92), 'x' || n] END,
             '1900-01-01'::timestamptz + n * interval '1000 hours 1.000001 seconds'
      FROM generate_series(1, 8000) n;
    CREATE UNLOGGED TABLE unlogged AS SELECT n AS id, repeat('u', 60) AS t FROM generate_series(1, 8000) n;
    CREATE TABLE child (c text) INHERITS (plain);
    INSERT INTO child (id, n, t, c) OVERRIDING SYSTEM VALUE SELECT n, n, repeat('c', 50), 'c' FROM generate_series(1, 8000) n;
    CREATE TABLE split (id int, t text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE split_1 PARTITION OF split FOR VALUES FROM (0) TO (4000);
    CREATE TABLE split_2 PARTITION OF split FOR VALUES FROM (4000) TO (9000);
    INSERT INTO split SELECT n, repeat('s', 60) FROM generate_series(1, 8000) n;
    CREATE FUNCTION fine(n int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE TABLE checked (id int CHECK (public.fine(id)), t text);
    INSERT INTO checked SELECT n, repeat('k', 60) FROM generate_series(1, 8000) n;
    CREATE TABLE few (id int); INSERT INTO few VALUES (1);
    CREATE FUNCTION acts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'it acted'; END $$;
    CREATE TRIGGER acts BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION acts();
    CREATE TRIGGER empties BEFORE TRUNCATE ON plain EXECUTE FUNCTION acts();
    CREATE RULE nothing AS ON INSERT TO few DO INSTEAD NOTHING;";

fn frozen(major: u32) {
    let name = format!("loaded frozen {major}");
    if !shared(Some(major)).has_extension("pageinspect") {
        return;
    }
    let Some(world) = World::on(Some(major), &name, MANY) else { return };
    let (target, _) = restored(&world, &format!("{name} restored"), &[]);
    same("state", &world.state(), &state(&world.client, &target.url));
    same("binary images", &images(&world.database.url), &images(&target.url));
    target.execute("CREATE EXTENSION pageinspect");
    for (table, should) in [
        ("plain", true),
        ("child", true),
        ("unlogged", true),
        // Of a partitioned table's rows nobody but the server knows where they go; a check may read what is locked; few
        // are not worth it.
        ("split_1", false),
        ("checked", false),
        ("few", false),
    ] {
        // HEAP_XMIN_FROZEN
        let sql = format!(
            "SELECT count(*) FILTER (WHERE i.t_infomask & 768 = 768), count(*)
               FROM generate_series(0, pg_relation_size('{table}') / 8192 - 1) p,
                    LATERAL heap_page_items(get_raw_page('{table}', p::int)) i WHERE i.t_data IS NOT NULL"
        );
        let counts = &target.query(&sql)[0];
        let expected = if should { counts[1].clone() } else { Some("0".to_owned()) };
        assert_eq!(counts[0], expected, "{table}");
    }
}

#[test]
fn rows_of_tables_that_the_restore_makes_are_frozen_on_13() {
    frozen(13);
}

#[test]
fn rows_of_tables_that_the_restore_makes_are_frozen_on_18() {
    frozen(18);
}

#[test]
fn rows_that_cannot_be_packed_go_on_as_text_in_their_order() {
    let sql = "CREATE TABLE grids (id int PRIMARY KEY, g int[]);
        INSERT INTO grids SELECT n, CASE n WHEN 5000 THEN '{{1,2},{3,4}}' WHEN 5001 THEN '[2:3]={7,8}' ELSE ARRAY[n, NULL] END::int[]
          FROM generate_series(1, 20000) n;
        CREATE TABLE first_row AS SELECT 1 AS id, ARRAY[ARRAY[1]] AS g;";
    let Some(world) = World::new("loaded grids", sql) else { return };
    let (target, said) = restored(&world, "loaded grids restored", &[]);
    same("binary images", &images(&world.database.url), &images(&target.url));
    same("state", &world.state(), &state(&world.client, &target.url));
    assert!(said.contains("table grids: rows went in as binary, the last 15001 as text"), "{said}");
    assert_eq!(target.value("SELECT count(*) FROM (SELECT id, row_number() OVER (ORDER BY ctid) AS n FROM grids) g WHERE id <> n"), "0");
}

/// A table that takes three seconds to load wherever it is not made first.
const SLOW: &str = "
    CREATE FUNCTION slow(n int) RETURNS boolean LANGUAGE plpgsql AS $$
      BEGIN IF current_database() NOT LIKE '%source' THEN PERFORM pg_sleep(0.03); END IF; RETURN true; END $$;
    CREATE TABLE slow (n int CHECK (public.slow(n))); INSERT INTO slow SELECT generate_series(1, 100);";
const QUICK: &str =
    "CREATE TABLE quick (n int PRIMARY KEY); INSERT INTO quick SELECT generate_series(1, 10);";
const IS_SLOW: &str = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%slow%' AND state = 'active'";

#[test]
fn indexes_are_made_while_other_tables_are_still_loaded() {
    // Each table's weight is a transaction's, so that they are not loaded together.
    let large =
        "CREATE TABLE large AS SELECT n, repeat(md5(n::text), 30) AS t FROM generate_series(1, 10000) n;
        CREATE INDEX large_n ON large (n);";
    let Some(world) = World::new("loaded early source", &format!("{SLOW} {large}")) else { return };
    let target = world.database.cluster.database("loaded early");
    let running =
        world.keeper.spawn(&["restore", "-d", &target.url, "--file", &world.archive, "--jobs", "2"]);
    wait_until("the index is there", 60, || {
        !query(&target.url, "SELECT 1 FROM pg_class WHERE relname = 'large_n'").is_empty()
    });
    assert!(!query(&target.url, IS_SLOW).is_empty(), "the other table is loaded by now");
    running.wait().expect_code(0);
    same("state", &world.state(), &state(&world.client, &target.url));
}

#[test]
fn an_index_whose_function_reads_another_table_waits_for_its_rows() {
    let reading = "CREATE FUNCTION rank(n int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
          'SELECT count(*) FROM public.slow s WHERE s.n <= rank.n';
        CREATE INDEX quick_rank ON quick (public.rank(n));";
    let Some(world) = World::new("loaded rank source", &format!("{QUICK} {SLOW} {reading}")) else { return };
    let (target, _) = restored(&world, "loaded rank", &[]);
    same("state", &world.state(), &state(&world.client, &target.url));
    let found = "SET enable_seqscan = off; SELECT count(*) FROM quick WHERE public.rank(n) = 7";
    assert_eq!(query(&target.url, found).last().unwrap()[0].as_deref(), Some("1"));
}

#[test]
fn a_worker_whose_connection_is_lost_takes_the_restore_with_it() {
    let Some(world) = World::new("loaded lost source", &format!("{QUICK} {SLOW}")) else { return };
    let target = world.database.cluster.database("loaded lost");
    let before = state(&world.client, &target.url);
    let running =
        world.keeper.spawn(&["restore", "-d", &target.url, "--file", &world.archive, "--jobs", "2"]);
    wait_until("the table is being loaded", 60, || !query(&target.url, IS_SLOW).is_empty());
    query(&target.url, &format!("SELECT pg_terminate_backend(pid) FROM ({IS_SLOW}) s"));
    let run = explained(running.wait_for(Duration::from_secs(60)), 1);
    run.says("removed again");
    same("after the failure", &before, &state(&world.client, &target.url));
}

/// Two large tables that refer to a third, in a circle, to themselves, and to a partitioned one.
const STAR: &str = "
    CREATE TABLE customers (id int PRIMARY KEY, favourite int);
    INSERT INTO customers SELECT n, n FROM generate_series(1, 1000) n;
    CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (500);
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (500) TO (2000);
    INSERT INTO parts SELECT generate_series(1, 1000);
    CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, part int REFERENCES parts,
                         above int REFERENCES orders, t text);
    CREATE TABLE \"In voices\" (id int PRIMARY KEY, customer int, t text,
                         CONSTRAINT \"Of whom\" FOREIGN KEY (customer) REFERENCES customers ON DELETE CASCADE);
    INSERT INTO orders SELECT n, n % 1000 + 1, n % 1000 + 1, n, repeat('o', 400) FROM generate_series(1, 50000) n;
    INSERT INTO \"In voices\" SELECT n, n % 1000 + 1, repeat('i', 400) FROM generate_series(1, 50000) n;
    COMMENT ON CONSTRAINT \"Of whom\" ON \"In voices\" IS 'the one who pays';
    ALTER TABLE customers ADD FOREIGN KEY (favourite) REFERENCES orders DEFERRABLE INITIALLY DEFERRED;
    ALTER TABLE \"In voices\" ADD CONSTRAINT never FOREIGN KEY (id) REFERENCES customers NOT VALID;";

fn star(major: u32) {
    let name = format!("loaded star {major}");
    let Some(world) = World::on(Some(major), &name, STAR) else { return };
    let (target, _) = restored(&world, &format!("{name} restored"), &[]);
    same("state", &world.state(), &state(&world.client, &target.url));
    let valid = "SELECT string_agg(conrelid::regclass || conname || convalidated, ' ' ORDER BY conrelid::regclass::text, conname)
        FROM pg_constraint WHERE contype = 'f'";
    assert_eq!(target.value(valid), world.database.value(valid));
}

#[test]
fn foreign_keys_that_are_checked_side_by_side_are_as_they_were_on_13() {
    star(13);
}

#[test]
fn foreign_keys_that_are_checked_side_by_side_are_as_they_were_on_18() {
    star(18);
}

#[test]
fn a_foreign_key_that_does_not_hold_is_named_and_nothing_is_left_of_the_restore() {
    let broken =
        "SET session_replication_role = replica; UPDATE \"In voices\" SET customer = -1 WHERE id = 7;
        RESET session_replication_role";
    let Some(world) = World::new("loaded broken", &format!("{STAR} {broken}")) else { return };
    let target = world.database.cluster.database("loaded broken target");
    let before = state(&world.client, &target.url);
    let run = world.keeper.run(&["restore", "-d", &target.url, "--file", &world.archive, "--jobs", "2"]);
    let run = explained(run, 1);
    run.says("CONSTRAINT \"Of whom\" ON public.\"In voices\"").says("removed again");
    same("after the failure", &before, &state(&world.client, &target.url));
}

#[test]
fn a_constraint_that_children_get_as_well_waits_for_their_rows() {
    // The child's row breaks it, as it may: the constraint has never been checked.
    let sql = "CREATE TABLE parent (a int, t text); CREATE TABLE child () INHERITS (parent);
        INSERT INTO parent SELECT n, repeat('x', 100) FROM generate_series(1, 10000) n;
        INSERT INTO child VALUES (-1, 'old row');
        ALTER TABLE parent ADD CONSTRAINT pos CHECK (a > 0) NOT VALID;";
    let Some(world) = World::new("loaded inherited source", sql) else { return };
    let target = world.database.cluster.database("loaded inherited");
    world.keeper.ok(&["restore", "-d", &target.url, "--file", &world.archive, "--jobs", "1"]);
    same("state", &world.state(), &state(&world.client, &target.url));
}

#[test]
fn a_check_that_reads_other_tables_while_their_keys_are_made_meets_no_deadlock() {
    // First it reads x for long, and in the end z: keys of both must not be made in one transaction meanwhile.
    let sql = "CREATE TABLE z (id int PRIMARY KEY, t text); CREATE TABLE x (id int PRIMARY KEY, t text);
        CREATE FUNCTION f(k text, i int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
          IF k = 'wait' THEN PERFORM pg_catalog.pg_sleep(3); END IF;
          IF k = 'z' THEN RETURN EXISTS (SELECT FROM public.z WHERE id = i) OR true;
          ELSE RETURN EXISTS (SELECT FROM public.x WHERE id = i) OR true; END IF; END $$;
        INSERT INTO z SELECT n, 'z' FROM generate_series(1, 1000) n;
        INSERT INTO x SELECT n, 'z' FROM generate_series(1, 1000) n;
        CREATE TABLE t (k text, i int, z text);
        INSERT INTO t SELECT 'x', 1, repeat('x', 1000) FROM generate_series(1, 12000) n;
        INSERT INTO t VALUES ('wait', 1, ''), ('z', 1, '');
        ALTER TABLE t ADD CHECK (f(k, i));";
    let Some(world) = World::new("loaded checked source", sql) else { return };
    let (target, _) = restored(&world, "loaded checked", &[]);
    same("state", &world.state(), &state(&world.client, &target.url));
}
