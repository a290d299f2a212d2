//! `--if-exists replace`: what differs becomes what the archive has, what stands in the way of that comes back, and the
//! rest is left alone.

use crate::world::{World, each_case};

/// What is archived, what becomes of it then, and what of that is still there when the archive's objects are back.
struct Case {
    name: &'static str,
    archived: &'static str,
    changed: &'static str,
    stays: &'static str,
}

const fn case(
    name: &'static str,
    archived: &'static str,
    changed: &'static str,
    stays: &'static str,
) -> Case {
    Case { name, archived, changed, stays }
}

const F: &str = "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'";
const F_BIGINT: &str = "CREATE FUNCTION f(a int) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 7::bigint'";
const TF: &str = "CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'";
const T: &str = "CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t SELECT n, 'b' || n FROM generate_series(1, 9) n";

/// `$f`, `$g`, `$tf` and `$t` stand for the definitions above.
#[rustfmt::skip]
const CASES: &[Case] = &[
    case("function body",
        "$f",
        "CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 2'",
        ""),
    case("function result", "$f; COMMENT ON FUNCTION f IS 'f'", "DROP FUNCTION f; $g", ""),
    case("function argument names",
        "$f",
        "DROP FUNCTION f; CREATE FUNCTION f(z int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ""),
    case("function without argument names",
        "$f",
        "DROP FUNCTION f; CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 3'",
        ""),
    case("arguments of all ways",
        "CREATE PROCEDURE p(a int, INOUT b int) LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION v(VARIADIC a int[], OUT b int) LANGUAGE sql AS 'SELECT 1'; CREATE PROCEDURE o(IN a int, OUT b int) LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE OR REPLACE PROCEDURE p(a int, INOUT b int) LANGUAGE sql AS 'SELECT 2'; CREATE OR REPLACE FUNCTION v(VARIADIC a int[], OUT b int) LANGUAGE sql AS 'SELECT 2'; DROP PROCEDURE o; CREATE PROCEDURE o(IN z int, OUT b int) LANGUAGE plpgsql AS 'BEGIN END'",
        ""),
    case("function of views",
        "$f; CREATE VIEW v AS SELECT f(1) AS x; GRANT SELECT ON v TO object_reader; CREATE VIEW w AS SELECT x FROM v",
        "DROP FUNCTION f CASCADE; $g; CREATE VIEW v AS SELECT f(1) AS x; CREATE VIEW w AS SELECT x FROM v; CREATE VIEW mine AS SELECT f(2) AS y; COMMENT ON VIEW mine IS 'm'; GRANT SELECT ON mine TO object_writer",
        "CREATE VIEW mine AS SELECT f(2) AS y; COMMENT ON VIEW mine IS 'm'; GRANT SELECT ON mine TO object_writer"),
    case("function of a trigger",
        "$t; $f; $tf; CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW WHEN (f(new.a) > 1) EXECUTE FUNCTION tf()",
        "DROP FUNCTION f CASCADE; $g; CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW WHEN (f(new.a) > 1) EXECUTE FUNCTION tf()",
        ""),
    case("function of an index",
        "$t; $f; CREATE INDEX i ON t (f(a)); CLUSTER t USING i",
        "DROP FUNCTION f CASCADE; $g; CREATE INDEX i ON t (f(a)); CREATE INDEX mine ON t (b) WHERE f(a) > 2; DELETE FROM t WHERE a > 4",
        "CREATE INDEX mine ON t (b) WHERE f(a) > 2"),
    case("function of a policy",
        "$t; $f; ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO object_reader USING (f(a) > 1)",
        "DROP FUNCTION f CASCADE; $g; CREATE POLICY p ON t TO object_reader USING (f(a) > 1)",
        ""),
    case("function of a rule",
        "$t; $f; CREATE RULE r AS ON DELETE TO t WHERE f(old.a) > 5 DO INSTEAD NOTHING",
        "DROP FUNCTION f CASCADE; $g; CREATE RULE r AS ON DELETE TO t WHERE f(old.a) > 5 DO INSTEAD NOTHING",
        ""),
    case("procedure, aggregate",
        "$f; CREATE PROCEDURE p(x int) LANGUAGE sql AS 'SELECT 1'; CREATE AGGREGATE ag(int) (SFUNC = int4pl, STYPE = int)",
        "CREATE OR REPLACE PROCEDURE p(x int) LANGUAGE sql AS 'SELECT 2'; CREATE OR REPLACE AGGREGATE ag(int) (SFUNC = int4pl, STYPE = int, INITCOND = '5')",
        ""),
    case("aggregate of another kind",
        "CREATE AGGREGATE ag(int) (SFUNC = int4pl, STYPE = int); CREATE VIEW v AS SELECT ag(1) AS x",
        "DROP AGGREGATE ag(int) CASCADE; CREATE AGGREGATE ag(int) (SFUNC = int4mul, STYPE = int, FINALFUNC = int4up, INITCOND = '1'); CREATE VIEW v AS SELECT ag(1) AS x",
        ""),
    case("view with the same columns",
        "$t; CREATE VIEW v WITH (security_barrier) AS SELECT a, b FROM t; ALTER VIEW v ALTER a SET DEFAULT 5",
        "CREATE OR REPLACE VIEW v AS SELECT a, b FROM t WHERE a > 5; ALTER VIEW v ALTER a DROP DEFAULT",
        ""),
    case("view with other columns",
        "$t; CREATE VIEW v AS SELECT a, b FROM t; CREATE VIEW w AS SELECT b FROM v; COMMENT ON COLUMN w.b IS 'b'",
        "DROP VIEW v CASCADE; CREATE VIEW v AS SELECT b, a, 1 AS c FROM t; CREATE VIEW w AS SELECT b FROM v; COMMENT ON COLUMN w.b IS 'b'; CREATE VIEW mine AS SELECT a FROM v; ALTER VIEW mine OWNER TO object_owner; CREATE FUNCTION tv() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'; CREATE TRIGGER g INSTEAD OF INSERT ON mine FOR EACH ROW EXECUTE FUNCTION tv()",
        "CREATE VIEW mine AS SELECT a FROM v; ALTER VIEW mine OWNER TO object_owner; CREATE FUNCTION tv() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'; CREATE TRIGGER g INSTEAD OF INSERT ON mine FOR EACH ROW EXECUTE FUNCTION tv()"),
    case("new views of a view that regains a column",
        "$t; CREATE VIEW v AS SELECT a, b FROM t; CREATE VIEW w AS SELECT b FROM v; CREATE FUNCTION r(v) RETURNS text LANGUAGE sql AS 'SELECT ($1).b'; CREATE VIEW x AS SELECT r(v) AS r FROM v",
        "DROP VIEW x; DROP FUNCTION r; DROP VIEW w; DROP VIEW v; CREATE VIEW v AS SELECT a FROM t; CREATE VIEW mine AS SELECT a FROM v",
        "CREATE VIEW mine AS SELECT a FROM v"),
    case("a new view of a function that regains a default",
        "CREATE FUNCTION d(a int, b int DEFAULT 5) RETURNS int LANGUAGE sql AS 'SELECT a + b'; CREATE VIEW v AS SELECT d(1) AS x",
        "DROP VIEW v; DROP FUNCTION d; CREATE FUNCTION d(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a + b'; CREATE VIEW mine AS SELECT d(1, 2) AS x",
        "CREATE VIEW mine AS SELECT d(1, 2) AS x"),
    case("a view with other columns of a function that is gone",
        "$t; $f; CREATE VIEW v AS SELECT a, f(a) AS g FROM t; CREATE VIEW w AS SELECT g FROM v",
        "DROP VIEW w; DROP VIEW v; DROP FUNCTION f; CREATE VIEW v AS SELECT b, a FROM t; CREATE VIEW mine AS SELECT a FROM v",
        "CREATE VIEW mine AS SELECT a FROM v"),
    case("a function whose result type is gone",
        "CREATE TYPE ty AS ENUM ('x'); CREATE FUNCTION r() RETURNS ty LANGUAGE sql AS 'SELECT NULL::ty'; CREATE VIEW v AS SELECT r() IS NULL AS n",
        "DROP FUNCTION r CASCADE; DROP TYPE ty; CREATE FUNCTION r() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW v AS SELECT r() IS NULL AS n",
        ""),
    case("a view by its table's key that regains a column",
        "$t; CREATE VIEW v AS SELECT a, b, count(*) AS n FROM t GROUP BY a; CREATE VIEW w AS SELECT b FROM v",
        "DROP VIEW v CASCADE; CREATE VIEW v AS SELECT a, b FROM t; CREATE VIEW w AS SELECT b FROM v; ALTER TABLE t DROP CONSTRAINT t_pkey",
        ""),
    case("comments on names that hold words of SQL",
        "CREATE TABLE \"x IS y\" (\"a IS b\" int, \"\"\" IS \" int); COMMENT ON COLUMN \"x IS y\".\"a IS b\" IS 'a IS b'",
        "COMMENT ON TABLE \"x IS y\" IS 'x IS y'; COMMENT ON COLUMN \"x IS y\".\"a IS b\" IS 'IS'; COMMENT ON COLUMN \"x IS y\".\"\"\" IS \" IS 'it''s'",
        ""),
    case("views that read each other",
        "CREATE VIEW a AS SELECT 1 AS x; CREATE VIEW b AS SELECT x FROM a; CREATE OR REPLACE VIEW a AS SELECT x FROM (SELECT 1 AS x) q WHERE EXISTS (SELECT FROM pg_class) ",
        "CREATE OR REPLACE VIEW b AS SELECT x + 1 AS x FROM a; CREATE OR REPLACE VIEW a AS SELECT 3 AS x",
        ""),
    case("materialized view",
        "$t; CREATE MATERIALIZED VIEW m AS SELECT a, b FROM t; CREATE UNIQUE INDEX mi ON m (a); CREATE VIEW v AS SELECT b FROM m; GRANT SELECT ON m TO object_reader",
        "DROP MATERIALIZED VIEW m CASCADE; CREATE MATERIALIZED VIEW m AS SELECT a FROM t WHERE a > 3; CREATE INDEX extra ON m (a); CREATE MATERIALIZED VIEW mine AS SELECT a FROM m; CREATE INDEX mine_i ON mine (a)",
        "CREATE INDEX extra ON m (a); CREATE MATERIALIZED VIEW mine AS SELECT a FROM m; CREATE INDEX mine_i ON mine (a)"),
    case("trigger",
        "$t; $tf; CREATE TRIGGER g BEFORE UPDATE OF b ON t FOR EACH ROW EXECUTE FUNCTION tf(); CREATE TRIGGER h AFTER DELETE ON t EXECUTE FUNCTION tf()",
        "DROP TRIGGER g ON t; CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf(); ALTER TABLE t DISABLE TRIGGER h; CREATE TRIGGER mine BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION tf()",
        "CREATE TRIGGER mine BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION tf()"),
    case("policy and row security",
        "$t; ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t FOR SELECT TO object_reader USING (a > 1)",
        "ALTER TABLE t DISABLE ROW LEVEL SECURITY; DROP POLICY p ON t; CREATE POLICY p ON t AS RESTRICTIVE FOR UPDATE USING (true) WITH CHECK (b <> ''); ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY mine ON t USING (true)",
        "CREATE POLICY mine ON t USING (true)"),
    case("rule",
        "$t; CREATE RULE r AS ON INSERT TO t DO ALSO NOTIFY x; CREATE RULE s AS ON DELETE TO t DO INSTEAD NOTHING",
        "CREATE OR REPLACE RULE r AS ON INSERT TO t DO ALSO NOTIFY y; ALTER TABLE t DISABLE RULE s",
        ""),
    case("index",
        "$t; CREATE INDEX i ON t (b) WHERE a > 1; CREATE UNIQUE INDEX u ON t (a, b); ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey; CLUSTER t USING t_pkey",
        "DROP INDEX i; CREATE INDEX i ON t USING hash (b); DROP INDEX u; CREATE INDEX u ON t (b, a); ALTER TABLE t REPLICA IDENTITY FULL; ALTER TABLE t SET WITHOUT CLUSTER; ALTER INDEX u SET (fillfactor = 50)",
        ""),
    case("statistics",
        "$t; CREATE STATISTICS s (ndistinct) ON a, b FROM t",
        "DROP STATISTICS s; CREATE STATISTICS s (mcv) ON a, b FROM t; ALTER STATISTICS s SET STATISTICS 7",
        ""),
    case("check",
        "$t; ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
        "ALTER TABLE t DROP CONSTRAINT c; ALTER TABLE t ADD CONSTRAINT c CHECK (a > -1) NOT VALID",
        ""),
    case("unique with a foreign key on it",
        "CREATE TABLE p (id int, code text, CONSTRAINT u UNIQUE (code)); CREATE TABLE c (code text CONSTRAINT k REFERENCES p (code)); INSERT INTO p VALUES (1, 'a'); INSERT INTO c VALUES ('a')",
        "ALTER TABLE p DROP CONSTRAINT u CASCADE; ALTER TABLE p ADD CONSTRAINT u UNIQUE (code) INCLUDE (id); ALTER TABLE c ADD CONSTRAINT k FOREIGN KEY (code) REFERENCES p (code) ON DELETE CASCADE; CREATE TABLE mine (code text REFERENCES p (code)); INSERT INTO mine VALUES ('a')",
        "CREATE TABLE mine (code text REFERENCES p (code)); INSERT INTO mine VALUES ('a')"),
    case("foreign key",
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int CONSTRAINT k REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
        "ALTER TABLE c DROP CONSTRAINT k; ALTER TABLE c ADD CONSTRAINT k FOREIGN KEY (id) REFERENCES p ON UPDATE SET NULL NOT VALID",
        ""),
    case("primary key",
        "CREATE TABLE p (id int, v int, CONSTRAINT pk PRIMARY KEY (id)); INSERT INTO p VALUES (1, 1), (2, 2)",
        "ALTER TABLE p DROP CONSTRAINT pk; ALTER TABLE p ALTER v SET NOT NULL; ALTER TABLE p ADD CONSTRAINT pk PRIMARY KEY (id, v)",
        ""),
    case("comments",
        "$t; $f; CREATE INDEX i ON t (b); CREATE SCHEMA s; CREATE TYPE e AS ENUM ('x'); COMMENT ON TABLE t IS 't'; COMMENT ON COLUMN t.b IS 'b'; COMMENT ON FUNCTION f IS 'f'; COMMENT ON INDEX i IS 'i'; COMMENT ON CONSTRAINT t_pkey ON t IS 'pk'; COMMENT ON SCHEMA s IS 's'; COMMENT ON TYPE e IS 'e'",
        "COMMENT ON TABLE t IS 'T'; COMMENT ON COLUMN t.b IS NULL; COMMENT ON COLUMN t.a IS 'a IS b'; COMMENT ON FUNCTION f IS NULL; COMMENT ON INDEX i IS ''' IS '; COMMENT ON CONSTRAINT t_pkey ON t IS NULL; COMMENT ON SCHEMA s IS NULL; COMMENT ON TYPE e IS 'é'",
        ""),
    case("owners",
        "$t; ALTER TABLE t ADD n serial; $f; CREATE SCHEMA s; CREATE SEQUENCE q; CREATE VIEW v AS SELECT 1 AS x; CREATE TYPE e AS ENUM ('x'); CREATE STATISTICS st ON a, b FROM t; ALTER TABLE t OWNER TO object_owner; ALTER FUNCTION f OWNER TO object_owner; ALTER SCHEMA s OWNER TO object_owner; GRANT SELECT ON t TO object_reader",
        "ALTER TABLE t OWNER TO object_writer; ALTER FUNCTION f OWNER TO postgres; ALTER SCHEMA s OWNER TO object_writer; ALTER SEQUENCE q OWNER TO object_owner; ALTER VIEW v OWNER TO object_owner; ALTER TYPE e OWNER TO object_owner; ALTER STATISTICS st OWNER TO object_owner",
        ""),
    case("privileges",
        "$t; $f; CREATE SCHEMA s; CREATE SEQUENCE q; GRANT SELECT, INSERT ON t TO object_reader; GRANT UPDATE (b) ON t TO object_writer WITH GRANT OPTION; REVOKE ALL ON FUNCTION f FROM PUBLIC; GRANT USAGE ON SCHEMA s TO object_reader; GRANT USAGE ON SEQUENCE q TO object_reader WITH GRANT OPTION",
        "REVOKE INSERT ON t FROM object_reader; GRANT DELETE ON t TO object_reader WITH GRANT OPTION; REVOKE ALL (b) ON t FROM object_writer; GRANT SELECT (a), INSERT (b) ON t TO PUBLIC; GRANT EXECUTE ON FUNCTION f TO PUBLIC; REVOKE ALL ON SCHEMA s FROM object_reader; GRANT CREATE ON SCHEMA s TO PUBLIC; REVOKE GRANT OPTION FOR USAGE ON SEQUENCE q FROM object_reader; GRANT ALL ON SEQUENCE q TO object_writer; REVOKE SELECT ON t FROM postgres",
        ""),
    case("privileges that others granted",
        "$t; ALTER TABLE t OWNER TO object_owner; GRANT SELECT ON t TO object_writer WITH GRANT OPTION; SET ROLE object_writer; GRANT SELECT ON t TO object_reader; RESET ROLE",
        "REVOKE SELECT ON t FROM object_writer CASCADE; GRANT SELECT ON t TO object_reader",
        ""),
    case("privileges of a schema, and its owner",
        "$t; CREATE SCHEMA s; ALTER SCHEMA s OWNER TO object_owner; GRANT USAGE ON SCHEMA s TO object_reader; REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "GRANT CREATE ON SCHEMA public TO PUBLIC; GRANT ALL ON SCHEMA s TO object_writer; ALTER SCHEMA s OWNER TO object_writer; GRANT USAGE ON SCHEMA public TO object_reader",
        ""),
    case("default privileges",
        "ALTER DEFAULT PRIVILEGES FOR ROLE object_owner GRANT SELECT ON TABLES TO object_reader; ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; $f",
        "ALTER DEFAULT PRIVILEGES FOR ROLE object_owner REVOKE ALL ON TABLES FROM object_reader; ALTER DEFAULT PRIVILEGES FOR ROLE object_owner GRANT INSERT ON TABLES TO object_writer; ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
        ""),
    case("types nobody uses",
        "CREATE TYPE e AS ENUM ('a', 'b'); CREATE TYPE c AS (x int); CREATE DOMAIN d AS int CHECK (value > 0); CREATE TYPE r AS RANGE (subtype = int)",
        "ALTER TYPE e ADD VALUE 'c'; ALTER TYPE c ADD ATTRIBUTE y text; ALTER DOMAIN d SET DEFAULT 5; DROP TYPE r; CREATE TYPE r AS RANGE (subtype = bigint)",
        ""),
    case("a sequence",
        "CREATE SEQUENCE q INCREMENT 5; SELECT setval('q', 50); CREATE TABLE t (a int DEFAULT nextval('q'), s serial)",
        "ALTER SEQUENCE t_s_seq AS smallint CACHE 5; ALTER SEQUENCE q INCREMENT 7 CYCLE MAXVALUE 1000; SELECT setval('q', 70)",
        ""),
    case("a table's columns",
        "$t; ALTER TABLE t ADD n serial; CREATE INDEX i ON t (b); COMMENT ON COLUMN t.b IS 'b'; CREATE TABLE c (t int CONSTRAINT k REFERENCES t); INSERT INTO c SELECT a FROM t; CREATE VIEW v AS SELECT a, b FROM t",
        "DROP VIEW v; ALTER TABLE t ALTER b TYPE int USING 5, ADD later int DEFAULT 5, DROP n; CREATE INDEX mine_i ON t (later); CREATE VIEW v AS SELECT a, b FROM t; $tf; CREATE TRIGGER mine BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION tf(); CREATE TABLE mine (t int REFERENCES t); INSERT INTO mine VALUES (1); CREATE VIEW mine_v AS SELECT a FROM t; DELETE FROM t WHERE a = 9 AND false",
        "$tf; CREATE TABLE mine (t int REFERENCES t); INSERT INTO mine VALUES (1); CREATE VIEW mine_v AS SELECT a FROM t"),
    case("sequences of columns that only the target has",
        "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)",
        "ALTER TABLE t ADD c serial; CREATE SEQUENCE sq OWNED BY t.a; SELECT setval('sq', 77); CREATE INDEX i ON t (c)",
        ""),
    case("a table with an identity",
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, v text); INSERT INTO t (v) VALUES ('a'), ('b')",
        "ALTER TABLE t DROP v, ADD w int; INSERT INTO t (w) VALUES (1); ALTER TABLE t ALTER id SET GENERATED BY DEFAULT SET INCREMENT 4",
        ""),
    case("an identity's sequence",
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, v text); INSERT INTO t (v) VALUES ('a'), ('b')",
        "ALTER TABLE t ALTER id SET GENERATED BY DEFAULT SET INCREMENT 4; INSERT INTO t (v) VALUES ('c')",
        ""),
    case("a partition tree",
        "CREATE TABLE p (k int, v text, PRIMARY KEY (k)) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2); CREATE INDEX i ON p (v); INSERT INTO p VALUES (1, 'a'), (2, 'b'); CREATE TABLE c (k int REFERENCES p)",
        "ALTER TABLE p ADD w int; ALTER TABLE p DETACH PARTITION p2; CREATE INDEX mine ON p (w)",
        ""),
    case("partitions with other bounds",
        "CREATE TABLE p (k int) PARTITION BY RANGE (k); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (10); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); INSERT INTO p VALUES (1), (15)",
        "DROP TABLE p2; CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (30); INSERT INTO p VALUES (12); ALTER TABLE p1 SET (fillfactor = 50)",
        ""),
    case("a partition that was taken off",
        "CREATE TABLE p (k int, v int) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2); INSERT INTO p VALUES (1, 1), (2, 2)",
        "ALTER TABLE p DETACH PARTITION p2; ALTER TABLE ONLY p ALTER v SET DEFAULT 5; INSERT INTO p2 VALUES (2, 3)",
        ""),
    case("a partition off an old tree",
        "CREATE TABLE p (k int, v int) PARTITION BY LIST (k); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2); INSERT INTO p VALUES (2, 2)",
        "ALTER TABLE p DETACH PARTITION p2; DELETE FROM p2; INSERT INTO p2 VALUES (2, 3)",
        ""),
    case("inheritance",
        "CREATE TABLE p (k int, v text); CREATE TABLE c (w int) INHERITS (p); INSERT INTO p VALUES (1, 'a'); INSERT INTO c VALUES (2, 'b', 3)",
        "ALTER TABLE p ALTER v TYPE varchar(5); INSERT INTO c VALUES (5, 'c', 6)",
        ""),
    case("publication",
        "$t; CREATE PUBLICATION pub FOR TABLE t",
        "ALTER PUBLICATION pub SET (publish = 'insert'); ALTER PUBLICATION pub DROP TABLE t",
        ""),
    case("publication of all tables",
        "$t; CREATE PUBLICATION pub FOR ALL TABLES",
        "DROP PUBLICATION pub; CREATE PUBLICATION pub FOR TABLE t",
        ""),
    case("publication of some tables",
        "$t; CREATE PUBLICATION pub FOR TABLE t",
        "DROP PUBLICATION pub; CREATE PUBLICATION pub FOR ALL TABLES",
        ""),
    case("a table in the target's own publications",
        "$t; CREATE PUBLICATION pub",
        "ALTER TABLE t ADD c int; ALTER PUBLICATION pub ADD TABLE t; CREATE PUBLICATION mine FOR TABLE t",
        "ALTER PUBLICATION pub ADD TABLE t; CREATE PUBLICATION mine FOR TABLE t"),
    case("event trigger",
        "CREATE FUNCTION et() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER restore_objects_et ON ddl_command_start EXECUTE FUNCTION et()",
        "ALTER EVENT TRIGGER restore_objects_et DISABLE",
        ""),
    case("text search",
        "CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple); CREATE TEXT SEARCH CONFIGURATION c (PARSER = default); ALTER TEXT SEARCH CONFIGURATION c ADD MAPPING FOR word WITH d",
        "ALTER TEXT SEARCH DICTIONARY d (Accept = false); ALTER TEXT SEARCH CONFIGURATION c ALTER MAPPING FOR word WITH simple",
        ""),
    case("operator",
        "$f; CREATE FUNCTION o(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT true'; CREATE OPERATOR === (FUNCTION = o, LEFTARG = int, RIGHTARG = int); CREATE VIEW v AS SELECT 1 === 2 AS x",
        "ALTER OPERATOR === (int, int) SET (RESTRICT = eqsel); ALTER FUNCTION o(int, int) IMMUTABLE",
        ""),
    case("default that stands alone",
        "CREATE TABLE t (a int, b int); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT max(a) FROM t'; INSERT INTO t VALUES (1, 2)",
        "ALTER TABLE t ALTER b SET DEFAULT 5",
        ""),
];

fn sql(text: &str) -> String {
    text.replace("$tf", TF).replace("$t", T).replace("$f", F).replace("$g", F_BIGINT)
}

#[test]
fn what_differs_is_replaced_and_what_stood_in_the_way_comes_back() {
    each_case(CASES, |case| case.name, replaced);
}

fn replaced(case: &Case) {
    let archived = sql(case.archived);
    let Some(world) = World::new(&format!("replaced {}", case.name), &archived) else { return };
    let name = format!("replaced {} should", case.name);
    let should = world.made_by(&name, &format!("{archived}; {}", sql(case.stays)));
    world.database.execute(&sql(case.changed));
    let before = world.state();
    world.restore(&["--safe", "--if-exists", "replace", "--mode", "exact"]);
    let after = world.state();
    world.is_as("after the restore", &should);
    world.undo_and_redo(&before, &after);
    // The same again finds nothing to do.
    world.restore(&["--safe", "--if-exists", "replace", "--mode", "exact"]);
    world.is_as("after another restore", &after);
    let log = world.keeper.restore_log();
    assert_eq!(
        (&log["objects_replaced"], &log["objects_created"]),
        (&serde_json::json!([]), &serde_json::json!(0))
    );
}

#[test]
fn what_tables_are_made_of_is_not_replaced_below_them() {
    let Some(world) = World::new(
        "replaced refused",
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN age AS int CHECK (value > 0); CREATE TYPE place AS (x int);
         CREATE TABLE people (mood mood, age age, place place); INSERT INTO people VALUES ('sad', 5, '(1)')",
    ) else {
        return;
    };
    world.database.execute(
        "ALTER TYPE mood ADD VALUE 'bored'; ALTER DOMAIN age SET DEFAULT 7; CREATE VIEW v AS SELECT age FROM people;
         CREATE TYPE nothing AS (x int)",
    );
    let before = world.state();
    for more in [&["--safe"][..], &["--safe", "--schema-only"]] {
        let run = world.refused(&[more, &["--if-exists", "replace"]].concat(), 1);
        run.says("TABLE public.people needs TYPE public.mood")
            .says("TABLE public.people needs DOMAIN public.age");
        world.is_as("after the refusal", &before);
    }
    assert!(world.keeper.files("safety_backups").is_empty());
    // What does not differ is in nobody's way.
    world.restore(&["--safe"]);
}

#[test]
fn tables_that_only_the_target_has_are_not_removed_with_those_that_they_belong_to() {
    let Some(world) = World::new(
        "replaced heirs",
        "CREATE TABLE p (k int) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE h (k int)",
    ) else {
        return;
    };
    world.database.execute(
        "ALTER TABLE p ADD v int; CREATE TABLE p3 PARTITION OF p FOR VALUES IN (3); INSERT INTO p VALUES (1, 1), (3, 3);
         ALTER TABLE h ADD v int; CREATE TABLE mine () INHERITS (h)",
    );
    let before = world.state();
    let run = world.refused(&["--safe", "--if-exists", "replace"], 1);
    run.says("TABLE public.p3 needs TABLE public.p").says("TABLE public.mine needs TABLE public.h");
    world.is_as("after the refusal", &before);
}

#[test]
fn what_somebody_reads_is_waited_for_once() {
    let Some(world) = World::new("replaced waiting", "CREATE VIEW v AS SELECT 1 AS a, 2 AS b") else {
        return;
    };
    world.database.execute("DROP VIEW v; CREATE VIEW v AS SELECT 1 AS a");
    let before = world.state();
    crate::support::while_held(&world.database.url, "LOCK TABLE v IN ACCESS SHARE MODE", |_| {
        let started = std::time::Instant::now();
        let run = world.refused(&["--only", "views", "--lock-timeout", "2s"], 1);
        run.says("VIEW public.v").says("lock timeout");
        let seconds = started.elapsed().as_secs_f64();
        assert!((2.0..3.9).contains(&seconds), "{seconds} s");
    });
    world.is_as("after the refusal", &before);
}

#[test]
fn a_tablespace_that_is_left_out_is_no_difference() {
    let Some(world) =
        World::new("replaced space", "CREATE TABLE t (a int PRIMARY KEY); CREATE INDEX i ON t (a)")
    else {
        return;
    };
    if world.database.cluster.postgres.major < 15 {
        return;
    }
    crate::fixture::prepare(world.database.cluster);
    world
        .database
        .execute("ALTER TABLE t SET TABLESPACE object_space; ALTER INDEX i SET TABLESPACE object_space");
    let before = world.state();
    for more in [&["--if-exists", "replace"][..], &["--if-exists", "fail"]] {
        world.restore(&[&["--safe", "--no-tablespaces"], more].concat());
        world.is_as("after the restore", &before);
        assert_eq!(world.keeper.restore_log()["objects_replaced"], serde_json::json!([]));
    }
}
