//! Where an archived object was, the target has something of another kind or name: that stays and is reported, or makes
//! room where nothing is lost by that.

use crate::world::{World, each_case, same, state};

/// What is archived, what becomes of it then, what a restore leaves out by default, and what comes of one that replaces.
struct Case {
    name: &'static str,
    archived: &'static str,
    changed: &'static str,
    left: &'static [&'static str],
    replaced: Replaced,
}

enum Replaced {
    /// All is as archived, with this beside it.
    With(&'static str),
    /// Nothing is touched; this is said.
    Refused(&'static str),
}

use Replaced::{Refused, With};

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case {
        name: "function, procedure",
        archived: "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW v AS SELECT f() AS x; CREATE VIEW w AS SELECT x FROM v; CREATE VIEW other AS SELECT 1 AS x",
        changed: "DROP FUNCTION f CASCADE; CREATE PROCEDURE f() LANGUAGE sql AS 'SELECT 1'; DROP VIEW other",
        left: &[
            "FUNCTION public.f(): in its place the target has PROCEDURE public.f()",
            "VIEW public.v: needs FUNCTION public.f()",
            "VIEW public.w: needs VIEW public.v",
        ],
        replaced: With(""),
    },
    Case {
        name: "function, aggregate",
        archived: "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        changed: "DROP FUNCTION f; CREATE AGGREGATE f(int) (SFUNC = int4pl, STYPE = int)",
        left: &["FUNCTION public.f(integer): in its place the target has AGGREGATE public.f(integer)"],
        replaced: With(""),
    },
    Case {
        name: "view, materialized view",
        archived: "$t; CREATE VIEW v AS SELECT a FROM t; CREATE VIEW w AS SELECT a FROM v; GRANT SELECT ON v TO object_reader",
        changed: "DROP VIEW v CASCADE; CREATE MATERIALIZED VIEW v AS SELECT a FROM t; CREATE UNIQUE INDEX vi ON v (a); CREATE VIEW mine AS SELECT a FROM v",
        left: &[
            "VIEW public.v: in its place the target has MATERIALIZED VIEW public.v",
            "VIEW public.w: needs VIEW public.v",
        ],
        replaced: With("CREATE VIEW mine AS SELECT a FROM v"),
    },
    Case {
        name: "materialized view, view",
        archived: "$t; CREATE MATERIALIZED VIEW v AS SELECT a FROM t; CREATE UNIQUE INDEX vi ON v (a)",
        changed: "DROP MATERIALIZED VIEW v; CREATE VIEW v AS SELECT a FROM t; CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'; CREATE TRIGGER g INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION tf()",
        left: &[
            "INDEX public.vi: needs MATERIALIZED VIEW public.v",
            "MATERIALIZED VIEW public.v: in its place the target has VIEW public.v",
            "REFRESH public.v: needs MATERIALIZED VIEW public.v",
        ],
        replaced: With("CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'"),
    },
    Case {
        name: "view, table",
        archived: "$t; CREATE VIEW v AS SELECT a FROM t",
        changed: "DROP VIEW v; CREATE TABLE v AS SELECT a FROM t",
        left: &["VIEW public.v: in its place the target has TABLE public.v"],
        replaced: Refused("VIEW public.v: TABLE public.v is in its place"),
    },
    Case {
        name: "view by its table's key, table",
        archived: "$t; CREATE VIEW v AS SELECT a, b, count(*) AS n FROM t GROUP BY a; CREATE VIEW w AS SELECT b FROM v",
        changed: "DROP VIEW v CASCADE; CREATE TABLE v AS SELECT a FROM t",
        left: &[
            "VIEW public.v: in its place the target has TABLE public.v",
            "VIEW public.w: needs VIEW public.v",
        ],
        replaced: Refused("VIEW public.v: TABLE public.v is in its place"),
    },
    Case {
        name: "domain, enum",
        archived: "CREATE DOMAIN d AS int; CREATE FUNCTION f(d) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        changed: "DROP DOMAIN d CASCADE; CREATE TYPE d AS ENUM ('x')",
        left: &[
            "DOMAIN public.d: in its place the target has TYPE public.d",
            "FUNCTION public.f(public.d): needs DOMAIN public.d",
        ],
        replaced: With(""),
    },
    Case {
        name: "composite type, view",
        archived: "CREATE TYPE c AS (x int)",
        changed: "DROP TYPE c; CREATE VIEW c AS SELECT 1 AS x",
        left: &["TYPE public.c: in its place the target has VIEW public.c"],
        replaced: With(""),
    },
    Case {
        name: "index, constraint",
        archived: "$t; CREATE UNIQUE INDEX u ON t (b)",
        changed: "ALTER TABLE t ADD CONSTRAINT u UNIQUE USING INDEX u",
        left: &["INDEX public.u: in its place the target has CONSTRAINT u ON public.t"],
        replaced: With(""),
    },
    Case {
        name: "constraint, index",
        archived: "$t; ALTER TABLE t ADD CONSTRAINT u UNIQUE (b)",
        changed: "ALTER TABLE t DROP CONSTRAINT u; CREATE UNIQUE INDEX u ON t (b)",
        left: &["CONSTRAINT u ON public.t: in its place the target has INDEX public.u"],
        replaced: With(""),
    },
    Case {
        name: "primary key of another name",
        archived: "$t; CREATE TABLE c (t int REFERENCES t); INSERT INTO c VALUES (1); CLUSTER t USING t_pkey",
        changed: "ALTER TABLE t RENAME CONSTRAINT t_pkey TO \"The key\"; ALTER TABLE c DROP CONSTRAINT c_t_fkey; ALTER TABLE t SET WITHOUT CLUSTER",
        left: &[
            "CONSTRAINT t_pkey ON public.t: in its place the target has CONSTRAINT \"The key\" ON public.t",
            "INDEX MARK public.t_pkey: needs CONSTRAINT t_pkey ON public.t",
        ],
        replaced: With(""),
    },
    Case {
        name: "serial, identity",
        archived: "CREATE TABLE t (a serial, b int); INSERT INTO t (b) VALUES (1), (2)",
        changed: "ALTER TABLE t ALTER a DROP DEFAULT; DROP SEQUENCE t_a_seq; ALTER TABLE t ALTER a ADD GENERATED BY DEFAULT AS IDENTITY (START 3)",
        left: &["SEQUENCE OWNER public.t_a_seq: in the target that is for SEQUENCE public.t_a_seq to say"],
        replaced: With(""),
    },
    Case {
        name: "identity of another name",
        archived: "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY, b int); INSERT INTO t (b) VALUES (1), (2)",
        changed: "ALTER SEQUENCE t_a_seq RENAME TO other; DELETE FROM t; ALTER SEQUENCE other RESTART",
        left: &["SEQUENCE public.t_a_seq: in its place the target has SEQUENCE public.other"],
        replaced: With(""),
    },
    Case {
        name: "table under another name",
        archived: "$t; CREATE INDEX i ON t (b); CREATE TABLE c (t int REFERENCES t)",
        changed: "DROP TABLE c; ALTER TABLE t RENAME TO t_old",
        left: &[
            "CONSTRAINT c_t_fkey ON public.c: needs CONSTRAINT t_pkey ON public.t",
            "CONSTRAINT t_pkey ON public.t: in its place the target has CONSTRAINT t_pkey ON public.t_old",
        ],
        replaced: Refused("CONSTRAINT t_pkey ON public.t: CONSTRAINT t_pkey ON public.t_old is in its place"),
    },
    Case {
        name: "constraint that was validated",
        archived: "$t; ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
        changed: "ALTER TABLE t VALIDATE CONSTRAINT c",
        left: &["CONSTRAINT c ON public.t: in the target that is for TABLE public.t to say"],
        replaced: With(""),
    },
    Case {
        name: "publication of all tables",
        archived: "$t; CREATE PUBLICATION p FOR TABLE t",
        changed: "DROP PUBLICATION p; CREATE PUBLICATION p FOR ALL TABLES",
        left: &["TABLE public.t IN PUBLICATION p: in the target that is for PUBLICATION p to say"],
        replaced: With(""),
    },
];

const T: &str = "CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t SELECT n, 'b' || n FROM generate_series(1, 9) n";

#[test]
fn what_is_in_the_place_of_an_archived_object_stays_or_makes_room() {
    each_case(CASES, |case| case.name, occupied);
}

fn occupied(case: &Case) {
    let archived = case.archived.replace("$t", T);
    let name = format!("occupied {}", case.name);
    let Some(world) = World::new(&name, &archived) else { return };
    world.database.execute(&case.changed.replace("$t", T));
    let before = world.state();
    let run = world.refused(&["--safe", "--if-exists", "fail"], 1);
    case.left.iter().for_each(|left| {
        run.says(left.split_once(": ").unwrap().0);
    });

    world.restore(&["--safe", "--mode", "exact"]);
    assert_eq!(differing(&world), case.left, "{}", case.name);
    let after = world.state();
    // The same again finds nothing to do.
    let again = world.restore(&["--dry-run", "--json"]).json();
    assert_eq!(
        (&again["objects_replaced"], &again["objects_created"]),
        (&serde_json::json!([]), &serde_json::json!(0))
    );
    world.undo_and_redo(&before, &after);
    world.keeper.ok(&["rollback", "latest"]);

    for more in [&["--if-exists", "replace"][..], &["--clean"]] {
        let args = [&["--safe", "--mode", "exact"], more].concat();
        let before = world.state();
        match case.replaced {
            With(stays) => {
                let name = format!("{name} {} should", more.len());
                let should = world.made_by(&name, &format!("{archived}; {stays}"));
                world.restore(&args);
                world.is_as("after the replacement", &should);
                world.keeper.ok(&["rollback", "latest"]);
                world.is_as("as it was", &before);
            }
            Refused(said) => {
                world.refused(&args, 1).says(said);
                world.is_as("after the refusal", &before);
            }
        }
    }
}

/// What the last restore left, but for what merely differs.
fn differing(world: &World) -> Vec<String> {
    let log = world.keeper.restore_log();
    let all = log["objects_differing"].as_object().unwrap();
    let all = all.iter().map(|(identity, what)| format!("{identity}: {}", what.as_str().unwrap()));
    all.filter(|text| [": in ", ": needs "].iter().any(|mark| text.contains(mark))).collect()
}

#[test]
fn rows_of_a_table_do_not_come_into_a_view_that_is_in_its_place() {
    let archived = format!("{T}; CREATE INDEX i ON t (b); CREATE VIEW v AS SELECT a FROM t");
    let Some(world) = World::new("occupied rows", &archived) else { return };
    let should = world.state();
    world.database.execute("DROP TABLE t CASCADE; CREATE VIEW t AS SELECT 1 AS a, 'x' AS b");
    let before = world.state();
    world.refused(&["--safe"], 1).says("t: in its place the target has VIEW public.t");
    world.is_as("after the refusal", &before);
    world.restore(&["--schema-only"]);
    world.is_as("with nothing to make", &before);
    world.restore(&["--safe", "--if-exists", "replace"]);
    world.is_as("after the replacement", &should);
    world.undo_and_redo(&before, &should);
}

#[test]
fn a_kind_alone_comes_back_in_the_place_of_another() {
    let archived =
        format!("{T}; ALTER TABLE t ADD CONSTRAINT u UNIQUE (b); CREATE VIEW v AS SELECT a FROM t");
    let Some(world) = World::new("occupied kinds", &archived) else { return };
    let should = world.state();
    world.database.execute(
        "ALTER TABLE t DROP CONSTRAINT u; CREATE UNIQUE INDEX u ON t (b);
         DROP VIEW v; CREATE MATERIALIZED VIEW v AS SELECT a FROM t",
    );
    let before = world.state();
    world.restore(&["--only", "constraints,views"]);
    world.is_as("after the restore", &should);
    world.undo_and_redo(&before, &should);
}

#[test]
fn what_an_extension_brings_is_left_to_it() {
    let Some(world) = World::new(
        "occupied extension",
        "CREATE FUNCTION show_limit() RETURNS real LANGUAGE sql AS 'SELECT 1::real';
         CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW v AS SELECT show_limit() AS x",
    ) else {
        return;
    };
    if !world.database.cluster.has_extension("pg_trgm") {
        return;
    }
    let language = "SELECT l.lanname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.proname = 'show_limit'";
    world.database.execute(
        "DROP VIEW v; DROP FUNCTION show_limit; CREATE EXTENSION pg_trgm; ALTER EXTENSION pg_trgm ADD FUNCTION mine()",
    );
    let before = world.state();
    let left = [
        "FUNCTION public.mine(): in the target that belongs to extension pg_trgm",
        "FUNCTION public.show_limit(): in the target that belongs to extension pg_trgm",
    ];
    world.refused(&["--if-exists", "fail"], 1).says("FUNCTION public.mine()");
    for more in [&[][..], &["--if-exists", "replace"], &["--clean"]] {
        world.restore(&[&["--safe"], more].concat());
        assert_eq!(differing(&world), left, "{more:?}");
        assert_eq!(world.database.value(language), "c");
        assert_eq!(world.keeper.restore_log()["objects_created"], 1, "{more:?}");
        let after = world.state();
        world.undo_and_redo(&before, &after);
        world.keeper.ok(&["rollback", "latest"]);
    }
    // A new database whose extension brings it is not as good as empty.
    let target = world.database.cluster.database("occupied extension target");
    target.execute("CREATE EXTENSION pg_trgm");
    let before = state(&world.client, &target.url);
    world.keeper.ok(&["restore", "--safe", "-d", &target.url, "--file", &world.archive]);
    assert_eq!(target.value(language), "c");
    assert_eq!(differing(&world), left[1..]);
    world.keeper.ok(&["rollback", "latest", "-d", &target.url]);
    same("after the rollback", &before, &state(&world.client, &target.url));
}

#[test]
fn an_extension_elsewhere_is_not_said_to_be_replaced() {
    let Some(world) = World::new("occupied elsewhere", "CREATE SCHEMA s; CREATE TABLE t (a int)") else {
        return;
    };
    if !world.database.cluster.has_extension("pg_trgm") {
        return;
    }
    world.database.execute("CREATE EXTENSION pg_trgm SCHEMA s");
    let archive = world.backup(&[]);
    world.database.execute("DROP EXTENSION pg_trgm; CREATE EXTENSION pg_trgm SCHEMA public");
    let before = world.state();
    for more in [&["--if-exists", "replace"][..], &["--clean"]] {
        let run = world.keeper.ok(&[&["restore", "--safe", "--file", &archive], more].concat());
        assert!(run.stdout.contains("EXTENSION pg_trgm (definition)"), "{}", run.stdout);
        let log = world.keeper.restore_log();
        assert!(!log["objects_replaced"].to_string().contains("EXTENSION"), "{log:#}");
        world.is_as("after the restore", &before);
    }
}
