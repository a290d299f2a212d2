//! Rehearsals that find something.

use crate::support::fixture;
use crate::{World, named, scratch};

#[test]
fn rows_and_objects_that_come_out_otherwise_are_named() {
    // A check that writes: only where rows come in, and only in a copy.
    let sql = "CREATE TABLE seen (a int PRIMARY KEY, b text); INSERT INTO seen VALUES (1, 'one'), (2, 'two'), (3, 'three');
        CREATE SEQUENCE s; SELECT setval('s', 40);
        CREATE FUNCTION noticed(a int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
          IF current_database() LIKE 'pgkeep%' THEN
            EXECUTE 'CREATE TABLE IF NOT EXISTS public.junk ()';
            INSERT INTO public.seen VALUES (a + 100, 'more');
          END IF; RETURN true; END $$;
        CREATE TABLE t (a int CHECK (public.noticed(a))); INSERT INTO t VALUES (1), (2);";
    let world = World::new("rehearse_differing", sql);
    let before = world.state();
    let run = world.pgkeep.run(&["rehearse", &world.archive]).expect_code(1);
    for text in [
        "DIFFERS  rows of seen: 0 in the archive alone, 0 not the same, 2 in the database alone\n",
        "DIFFERS  definition of TABLE public.junk: not in the archive\n",
        " does not pass: 2 differences, 0 failing checks; as archived: 2 tables, 5 rows, ",
        "; the scratch database was removed\n",
    ] {
        assert!(run.stdout.contains(text), "no {text:?} in\n{}", run.stdout);
    }
    let report = world.pgkeep.run(&["rehearse", &world.archive, "--json"]).expect_code(1).json();
    assert_eq!(report["passed"], false);
    assert_eq!(report["differences"]["tables"]["seen"]["deleted"], 2);
    assert_eq!(world.state(), before);
    let there = scratch(world.database.cluster);
    for name in [named(&run.stdout), report["database"].as_str().unwrap().to_owned()] {
        assert!(!there.contains(&name), "{name}");
    }
}

#[test]
fn a_sequence_that_comes_out_elsewhere_is_named() {
    // The view is filled when sequences have been set.
    let sql = "CREATE SEQUENCE s; SELECT setval('s', 40); CREATE TABLE t (a int);
        CREATE FUNCTION next() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
          RETURN CASE WHEN current_database() LIKE 'pgkeep%' THEN nextval('public.s') ELSE 1 END; END $$;
        CREATE MATERIALIZED VIEW late AS SELECT public.next() AS x;";
    let world = World::new("rehearse_sequence", sql);
    let run = world.pgkeep.run(&["rehearse", &world.archive]).expect_code(1);
    assert!(run.stdout.contains("DIFFERS  sequence s: it stands elsewhere\n"), "{}", run.stdout);
}

#[test]
fn a_failing_check_is_shown_with_its_rows() {
    let world = World::new("rehearse_check", &fixture("reservations.sql"));
    let toml = "[[check]]\nname = 'all is well'\nsql = 'SELECT 1 WHERE false'\n
        [[check]]\nname = 'no admin'\nsql = \"SELECT email FROM users ORDER BY email LIMIT 2\"\n
        [[check]]\nname = 'settings'\nsql = \"SELECT current_setting('shop.mode')\"\nexpect = 'live'\n";
    std::fs::write(world.pgkeep.dir().join("pgkeep.toml"), toml).unwrap();
    let before = world.state();
    let run = world.pgkeep.run(&["rehearse", &world.archive]).expect_code(1);
    for text in [
        "PASS  all is well\n",
        "FAIL  no admin: 2 rows that should not be\n        email\n",
        "FAIL  settings: ",
        " does not pass: 0 differences, 2 failing checks; ",
    ] {
        assert!(run.stdout.contains(text), "no {text:?} in\n{}", run.stdout);
    }
    assert_eq!(world.state(), before);
    world.pgkeep.ok(&["rehearse", &world.archive, "--no-checks"]);
    // Checks see the database as the application does, with its settings.
    world.database.execute("ALTER DATABASE rehearse_check SET shop.mode = 'live'");
    world.pgkeep.ok(&["backup", "--out", "later.json.gz"]);
    let run = world.pgkeep.run(&["rehearse", "later.json.gz"]).expect_code(1);
    assert!(run.stdout.contains("PASS  settings\n"), "{}", run.stdout);
    assert!(!scratch(world.database.cluster).contains(&named(&run.stdout)));
}
