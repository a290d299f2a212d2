//! `--only`: definitions of some kinds, as they were, and nothing else.

use crate::world::World;

const APP: &str = r#"
    CREATE TABLE notes (id int PRIMARY KEY, owner text, note text); INSERT INTO notes VALUES (1, 'ann', 'a'), (2, 'bob', 'b');
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON notes USING (owner = current_user);
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.note := new.note || '!'; RETURN new; END $$;
    CREATE TRIGGER stamped BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION stamp();
    CREATE FUNCTION total() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM public.notes';
    CREATE VIEW mine AS SELECT id, note FROM notes WHERE owner = current_user;
    COMMENT ON FUNCTION total IS 'how many'; GRANT SELECT ON mine TO object_reader; CREATE INDEX notes_owner ON notes (owner);"#;

/// A bad deployment.
const DEPLOYED: &str = r#"
    CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
    DROP FUNCTION total; CREATE FUNCTION total() RETURNS text LANGUAGE sql AS $$ SELECT 'many' $$;
    CREATE VIEW dash AS SELECT total() AS n; DROP TRIGGER stamped ON notes;
    CREATE TRIGGER later AFTER INSERT ON notes FOR EACH ROW EXECUTE FUNCTION stamp();
    DROP POLICY own ON notes; CREATE POLICY own ON notes USING (true); ALTER TABLE notes DISABLE ROW LEVEL SECURITY;
    DROP VIEW mine; CREATE VIEW mine AS SELECT note FROM notes; DROP INDEX notes_owner;
    INSERT INTO notes VALUES (3, 'cid', 'c'); UPDATE notes SET note = 'changed' WHERE id = 1; COMMENT ON TABLE notes IS 'new';"#;

#[test]
fn functions_triggers_policies_and_views_come_back_and_nothing_else_is_touched() {
    let Some(world) = World::new("only", APP) else { return };
    world.database.execute(DEPLOYED);
    let (before, rows) = (world.state(), world.database.digest());
    let run = world.restore(&["--only", "functions,triggers,policies,views"]);
    assert!(run.stdout.contains("undo: pgkeep rollback"), "{}", run.stdout);
    assert_eq!(world.keeper.files("safety_backups").len(), 1);
    let should = world.made_by(
        "only should",
        &format!(
            "{APP} CREATE VIEW dash AS SELECT total() AS n; DROP INDEX notes_owner; COMMENT ON TABLE notes IS 'new';
             CREATE TRIGGER later AFTER INSERT ON notes FOR EACH ROW EXECUTE FUNCTION stamp();
             ALTER TABLE notes DISABLE TRIGGER USER; INSERT INTO notes VALUES (3, 'cid', 'c');
             UPDATE notes SET note = 'changed' WHERE id = 1; ALTER TABLE notes ENABLE TRIGGER USER"
        ),
    );
    world.is_as("after the restore", &should);
    assert_eq!(world.database.digest(), rows);
    world.undo_and_redo(&before, &should);
}

#[test]
fn one_kind_alone_comes_back() {
    let Some(world) = World::new("only one", APP) else { return };
    world.database.execute(DEPLOYED);
    let before = world.state();
    for (kind, there, not) in [
        ("view", "WHERE (notes.owner = CURRENT_USER)", "INDEX"),
        ("indexes", "CREATE INDEX notes_owner", "RETURNS bigint"),
        ("triggers", "TRIGGER stamped", "RETURNS bigint"),
        ("policies", "ENABLE ROW LEVEL SECURITY", "RETURNS bigint"),
    ] {
        world.restore(&["--only", kind]);
        let after = world.state();
        assert!(after.contains(there) && !after.contains(not), "{kind}: {after}");
        world.undo_and_redo(&before, &after);
        world.keeper.ok(&["rollback", "latest"]);
        world.is_as(kind, &before);
    }
}

#[test]
fn a_definition_that_fails_undoes_all() {
    let Some(world) = World::new("only failing", APP) else { return };
    world.database.execute(&format!("{DEPLOYED} ALTER TABLE notes RENAME owner TO who"));
    let before = world.state();
    let run = world.refused(&["--only", "functions,views"], 1);
    run.says("VIEW public.mine").says("owner");
    world.is_as("after the failure", &before);
}

#[test]
fn words_that_are_no_kind_are_answered_with_the_choice() {
    let Some(world) = World::new("only wrong", APP) else { return };
    for word in ["dreams", "tables", "schemas"] {
        let run = world.refused(&["--only", word], 2);
        run.says(word).says("functions").says("triggers").says("policies").says("views");
    }
    let run = world.keeper.run(&["restore", "--file", &world.archive, "--only", "views", "--data-only"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
}

#[test]
fn definitions_come_back_into_a_database_that_is_in_use() {
    let Some(world) = World::new("only busy", APP) else { return };
    world.database.execute(
        "CREATE OR REPLACE FUNCTION total() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT 0::bigint'; DELETE FROM notes",
    );
    let before = world.database.digest();
    // Somebody writes to the table all the while: functions are none of its business.
    crate::support::while_held(&world.database.url, "LOCK TABLE notes IN ROW EXCLUSIVE MODE", |_| {
        world.restore(&["--only", "functions"]);
    });
    assert_eq!(
        world.database.value("SELECT prosrc FROM pg_proc WHERE proname = 'total'"),
        "SELECT count(*) FROM public.notes"
    );
    assert_eq!(world.database.digest(), before);
}
