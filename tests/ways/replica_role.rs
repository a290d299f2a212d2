//! GRANT SET ON PARAMETER session_replication_role (15 and later), to a role that owns nothing.

use crate::support::Pgkeep;
use crate::{Ground, ROWS_ONLY, says, servers};

/// A trigger of each kind of harm, a circle that nothing defers, and a key whose action would delete rows.
const TABLES: &str = "
    CREATE TABLE a (id int PRIMARY KEY, v text, b int);
    CREATE TABLE b (id int PRIMARY KEY, v text, a int NOT NULL REFERENCES a ON DELETE CASCADE);
    ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b ON DELETE SET NULL;
    CREATE TABLE audit (what text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
      $$ BEGIN INSERT INTO public.audit VALUES (TG_OP); NEW.v := 'by trigger'; RETURN NEW; END $$;
    CREATE TRIGGER t BEFORE INSERT OR UPDATE ON a FOR EACH ROW EXECUTE FUNCTION note();
    INSERT INTO a VALUES (1, 'one'), (2, 'two'); INSERT INTO b VALUES (1, 'x', 1), (2, 'y', 2);
    SET session_replication_role = replica; UPDATE a SET b = id, v = 'archived'; TRUNCATE audit;";

const ADDED: &str = "INSERT INTO a VALUES (5, 'new', 5); INSERT INTO b VALUES (5, 'new', 5)";
const DAMAGE: &str = "UPDATE a SET v = 'other', b = NULL WHERE id = 1; DELETE FROM a WHERE id = 2; DELETE FROM b WHERE id = 2; UPDATE b SET v = 'other' WHERE id = 1";

#[test]
fn whoever_may_set_the_replica_role_needs_no_ownership() {
    for major in servers().into_iter().filter(|major| *major >= 15) {
        let grant = "GRANT SET ON PARAMETER session_replication_role TO :role;";
        let ground = Ground::new(major, "way_replica", &format!("{TABLES}{ROWS_ONLY}{grant}"));
        ground.has_just("", true);
        ground.there_and_back(ADDED, DAMAGE, |log| says(log, "session_replication_role", &[]));
        assert_eq!(ground.database.value("SELECT count(*) FROM audit"), "0");
        // It would have acted.
        crate::support::query(&ground.url, "UPDATE a SET v = v");
        assert_ne!(ground.database.value("SELECT count(*) FROM audit"), "0");
    }
}

#[test]
fn without_that_grant_the_same_role_is_told_whose_table_it_is_and_what_to_grant() {
    for major in servers() {
        let ground = Ground::new(major, "way_no_replica", &format!("{TABLES}{ROWS_ONLY}"));
        ground.has_just("", false);
        ground.quietly(DAMAGE);
        let (rows, marks) = (ground.database.digest(), ground.marks());
        let run = ground.keeper.run(&ground.restore("exact")).expect_code(5);
        run.says("way_no_replica").says("a (owner postgres)").says("the target is as it was");
        let (_, next) = run.stderr.split_once("next:  ").unwrap();
        let grant = next.lines().next().unwrap().split_once("GRANT SET").map(|(_, grant)| grant.to_owned());
        assert_eq!(grant.is_some(), major >= 15, "{next}");
        ground.is_untouched(&rows, &marks);
        let log = ground.keeper.restore_log();
        assert_eq!(log["triggers_held_by"], serde_json::Value::Null, "{log:#}");
        if let Some(grant) = grant {
            ground.database.execute(&format!("GRANT SET{grant}"));
            ground.keeper.ok(&ground.restore("exact"));
        }
    }
}

#[test]
fn a_trigger_that_acts_in_the_replica_role_too_is_its_owners_business() {
    for major in servers().into_iter().filter(|major| *major >= 15) {
        for mark in ["ALWAYS", "REPLICA"] {
            let name = format!("way_marked_{}", mark.to_lowercase());
            let grant = "GRANT SET ON PARAMETER session_replication_role TO :role;";
            let ground = Ground::new(major, &name, &format!("{TABLES}{ROWS_ONLY}{grant}"));
            ground.database.execute(&format!("ALTER TABLE a ENABLE {mark} TRIGGER t"));
            ground.quietly("ALTER TABLE a DISABLE TRIGGER t; UPDATE a SET v = 'x'");
            ground.database.execute(&format!("ALTER TABLE a ENABLE {mark} TRIGGER t"));
            let (rows, marks) = (ground.database.digest(), ground.marks());
            let run = ground.keeper.run(&ground.restore("exact")).expect_code(5);
            run.says("a (owner postgres)").says("ALWAYS or REPLICA");
            // It has that already, and it is not enough.
            assert!(!run.stderr.contains("GRANT SET"), "{}", run.stderr);
            ground.is_untouched(&rows, &marks);
            // As the superuser.
            let owner = Pgkeep::on(&ground.database.url);
            owner.ok(&ground.restore("exact"));
            assert_eq!(ground.marks(), marks);
            assert_eq!(ground.database.value("SELECT string_agg(DISTINCT v, '') FROM a"), "archived");
        }
    }
}
