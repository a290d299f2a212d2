//! The tables' owner, who may not set the replica role: disables triggers and rules inside of the transaction.

use crate::support::{query, wait_until, while_held};
use crate::{Ground, says, servers};

/// A trigger of each mark on a table whose check waits for whoever holds the advisory lock 77. The one of the plain mark
/// changes the row, all of them leave a trace.
const TABLES: &str = "
    CREATE FUNCTION waits() RETURNS bool LANGUAGE sql AS 'SELECT pg_advisory_xact_lock_shared(77) IS NOT NULL';
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE notes (id int PRIMARY KEY, v text CHECK (waits()), p int CONSTRAINT up REFERENCES parent ON DELETE CASCADE);
    CREATE TABLE audit (what text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
      INSERT INTO public.audit VALUES (TG_NAME || TG_OP);
      IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
      NEW.v := 'by trigger'; RETURN NEW; END $$;
    CREATE TRIGGER o BEFORE INSERT OR UPDATE OR DELETE ON notes FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON notes FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TRIGGER r BEFORE INSERT OR UPDATE OR DELETE ON notes FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TRIGGER d BEFORE INSERT OR UPDATE OR DELETE ON notes FOR EACH ROW EXECUTE FUNCTION note();
    CREATE RULE o AS ON INSERT TO notes DO ALSO NOTIFY o;
    CREATE RULE a AS ON INSERT TO notes DO INSTEAD NOTHING;
    ALTER TABLE notes DISABLE RULE a;
    INSERT INTO parent VALUES (1), (2); INSERT INTO notes VALUES (1, 'x', 1), (2, 'x', 2), (3, 'x', NULL);
    ALTER TABLE notes DISABLE TRIGGER USER; UPDATE notes SET v = 'archived'; TRUNCATE audit;
    ALTER TABLE notes ENABLE TRIGGER o, ENABLE ALWAYS TRIGGER a, ENABLE REPLICA TRIGGER r, DISABLE TRIGGER d;
    ALTER TABLE parent OWNER TO :role; ALTER TABLE notes OWNER TO :role; GRANT ALL ON SCHEMA public TO :role;";

const ADDED: &str = "ALTER TABLE notes DISABLE TRIGGER USER; INSERT INTO notes VALUES (9, 'new', 1); INSERT INTO parent VALUES (9)";
const DAMAGE: &str = "ALTER TABLE notes DISABLE TRIGGER USER; UPDATE notes SET v = 'other' WHERE id = 1; DELETE FROM notes WHERE id = 2; DELETE FROM parent WHERE id = 2;
    ALTER TABLE notes ENABLE TRIGGER o, ENABLE ALWAYS TRIGGER a, ENABLE REPLICA TRIGGER r, DISABLE TRIGGER d";
const MARKED: &str = "SELECT string_agg(tgname::text || tgenabled::text, '' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 'notes'::regclass AND NOT tgisinternal";

fn owned(major: u32, name: &str) -> Ground {
    let ground = Ground::new(major, name, TABLES);
    ground.has_just("notes parent", false);
    assert_eq!(ground.database.value(MARKED), "aAdDoOrR");
    ground
}

/// That the triggers would act, and do so now.
#[track_caller]
fn acts(ground: &Ground) {
    query(&ground.url, "UPDATE notes SET v = v WHERE id = 3");
    assert_eq!(
        ground.database.value("SELECT string_agg(what, ' ' ORDER BY what) FROM audit"),
        "aUPDATE oUPDATE"
    );
    assert_eq!(ground.database.value("SELECT v FROM notes WHERE id = 3"), "by trigger");
}

#[test]
fn an_owners_triggers_of_every_mark_neither_act_nor_change_their_mark() {
    for major in servers() {
        let ground = owned(major, "way_owner");
        ground.there_and_back(ADDED, DAMAGE, |log| {
            says(
                log,
                "disabled by the tables' owner",
                &[("up of table notes", "taken off and put on again")],
            );
        });
        assert_eq!(ground.database.value(MARKED), "aAdDoOrR");
        assert_eq!(ground.database.value("SELECT count(*) FROM audit"), "0");
        acts(&ground);
    }
}

#[test]
fn a_restore_that_fails_with_triggers_disabled_leaves_them_enabled() {
    for major in servers() {
        let ground = owned(major, "way_failed");
        ground.quietly(DAMAGE);
        ground.database.execute("ALTER TABLE notes ADD CONSTRAINT picky CHECK (v <> 'archived') NOT VALID");
        let (rows, marks) = (ground.database.digest(), ground.marks());
        ground.keeper.run(&ground.restore("exact")).expect_code(1).says("picky");
        ground.is_untouched(&rows, &marks);
        let log = ground.keeper.restore_log();
        says(&log, "disabled by the tables' owner", &[("up of table notes", "taken off and put on again")]);
        assert_eq!(log["status"], "rolled_back", "{log:#}");
        acts(&ground);
    }
}

#[test]
fn a_restore_that_is_interrupted_or_killed_with_triggers_disabled_leaves_them_enabled() {
    for major in servers() {
        for kill in [false, true] {
            let ground = owned(major, &format!("way_stopped_{kill}"));
            ground.quietly(DAMAGE);
            let (rows, marks) = (ground.database.digest(), ground.marks());
            let lock = "SELECT count(*) FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            let code = while_held(&ground.database.url, "SELECT pg_advisory_xact_lock(77)", |_| {
                let running = ground.keeper.spawn(&ground.restore("exact"));
                wait_until("it is in the middle of writing", 60, || {
                    ground.database.value(&format!("{lock} AND objid = 77 AND NOT granted")) == "1"
                });
                // What disabling a trigger and taking off a key leave behind for as long as the transaction lasts.
                let altered = format!(
                    "{lock} AND relation = 'notes'::regclass AND mode = 'AccessExclusiveLock' AND granted"
                );
                assert_eq!(ground.database.value(&altered), "1");
                if kill {
                    running.kill_9();
                } else {
                    running.interrupt();
                }
                running.wait().code
            });
            assert_eq!(code, if kill { None } else { Some(130) });
            wait_until("the server has undone it", 60, || {
                ground.database.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgkeep%'") == "0"
            });
            ground.is_untouched(&rows, &marks);
            acts(&ground);
        }
    }
}
