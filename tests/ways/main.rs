//! Restores by roles that are no superusers, each with just the rights that its way of keeping triggers and foreign
//! keys from acting needs: to and fro, in both modes, with nothing else changed and the way told in the log.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod keys_left_on;
mod keys_taken_off;
mod refused;
mod replica_role;
#[path = "../support/mod.rs"]
mod support;
mod triggers_disabled;

use serde_json::Value;
use support::{Database, Digest, Pgkeep, majors, shared, try_query};

/// Triggers, rules and constraints, as far as a restore could leave them otherwise than it found them. The triggers of
/// foreign keys go without their names, which the server makes up.
const MARKS: &str = "
SELECT COALESCE(string_agg(x, E'\\n' ORDER BY x COLLATE \"C\"), '') FROM (
  SELECT format('trigger %s of %s: %s', CASE contype WHEN 'f' THEN tgfoid::regproc::text ELSE tgname END, tgrelid::regclass, tgenabled)
    FROM pg_trigger LEFT JOIN pg_constraint k ON k.oid = tgconstraint
  UNION ALL
  SELECT format('rule %s of %s: %s', rulename, ev_class::regclass, ev_enabled)
    FROM pg_rewrite JOIN pg_class c ON c.oid = ev_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
  UNION ALL
  SELECT format('constraint %s of %s: %s, valid %s, deferrable %s %s, on delete %s, comment %s', conname, conrelid::regclass,
                pg_get_constraintdef(oid), convalidated, condeferrable, condeferred, confdeltype, obj_description(oid, 'pg_constraint'))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace) AS s(x)";

/// The oldest, the first that knows GRANT SET ON PARAMETER, and the newest.
pub fn servers() -> Vec<u32> {
    majors().into_iter().filter(|major| [13, 15, 18].contains(major)).collect()
}

/// The rights on rows, and none of an owner's.
pub const ROWS_ONLY: &str = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :role;";

/// A database of the superuser's, a role of the same name, and an archive that this role has made.
pub struct Ground {
    pub database: Database<'static>,
    pub keeper: Pgkeep,
    /// The role's URL.
    pub url: String,
    pub archive: String,
}

impl Ground {
    /// Runs `sql` as the superuser, with the role's name for `:role`.
    pub fn new(major: u32, name: &str, sql: &str) -> Ground {
        let database = shared(Some(major)).database(name);
        database.execute(&format!("CREATE ROLE {name} LOGIN PASSWORD 'x'; {}", sql.replace(":role", name)));
        let url = database.url_as(name, "x");
        assert_eq!(
            database.value(&format!(
                "SELECT rolsuper OR rolbypassrls OR EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid) FROM pg_roles r WHERE rolname = '{name}'"
            )),
            "f"
        );
        let keeper = Pgkeep::on(&url);
        let without: &[&str] = if sql.contains("TABLE audit") { &["--exclude", "audit"] } else { &[] };
        keeper.ok(&[&["backup"], without].concat());
        let archive = keeper.only_file("backups").to_str().unwrap().to_owned();
        Ground { database, keeper, url, archive }
    }

    /// What the role owns, and whether it may set the replica role.
    #[track_caller]
    pub fn has_just(&self, owned: &str, replica_role: bool) {
        let sql = "SELECT COALESCE(string_agg(relname, ' ' ORDER BY relname), '') FROM pg_class WHERE relkind = 'r' AND pg_has_role(CURRENT_USER, relowner, 'USAGE')";
        assert_eq!(support::query(&self.url, sql)[0][0].as_deref(), Some(owned));
        let set = try_query(&self.url, "SET session_replication_role = replica");
        assert_eq!(set.is_ok(), replica_role, "{set:?}");
    }

    /// Changes rows without anything else that happens.
    pub fn quietly(&self, sql: &str) {
        self.database.execute(&format!("SET session_replication_role = replica; {sql}"));
    }

    pub fn marks(&self) -> String {
        self.database.value(MARKS)
    }

    pub fn restore(&self, mode: &str) -> Vec<String> {
        ["restore", "--safe", "--mode", mode, "--lock-timeout", "60s", "--file", &self.archive]
            .map(str::to_owned)
            .to_vec()
    }

    /// Adds rows, does damage to others, restores in either mode and undoes that; `told` is given every log.
    #[track_caller]
    pub fn there_and_back(&self, added: &str, damage: &str, told: impl Fn(&Value)) {
        let original = self.database.digest();
        self.quietly(added);
        let merged = self.database.digest();
        self.quietly(damage);
        let (damaged, marks) = (self.database.digest(), self.marks());
        assert!(original != merged && merged != damaged);
        for (mode, wanted) in [("upsert", &merged), ("exact", &original)] {
            self.keeper.ok(&self.restore(mode));
            self.is(mode, wanted, &marks, &told);
            self.keeper.ok(&["rollback", "latest"]);
            self.is("rollback", &damaged, &marks, &told);
        }
    }

    #[track_caller]
    fn is(&self, what: &str, rows: &Digest, marks: &str, told: &impl Fn(&Value)) {
        assert_eq!(&self.database.digest(), rows, "{what}");
        assert_eq!(self.marks(), marks, "{what}");
        let log = self.keeper.restore_log();
        assert_eq!((&log["status"], &log["verified"]), (&"completed".into(), &true.into()), "{log:#}");
        told(&log);
    }

    /// Asserts that a refusal has left everything as it was: rows, marks, no table of pgkeep's.
    #[track_caller]
    pub fn is_untouched(&self, rows: &Digest, marks: &str) {
        assert_eq!(&self.database.digest(), rows);
        assert_eq!(self.marks(), marks);
        assert_eq!(self.database.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'pgkeep%'"), "0");
        assert_eq!(
            self.database.value("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgkeep%'"),
            "0"
        );
    }
}

/// What the log says of triggers, and of foreign keys.
#[track_caller]
pub fn says(log: &Value, triggers: &str, keys: &[(&str, &str)]) {
    assert_eq!(log["triggers_held_by"], triggers, "{log:#}");
    let wanted: serde_json::Map<String, Value> =
        keys.iter().map(|(key, way)| ((*key).to_owned(), (*way).into())).collect();
    assert_eq!(log["foreign_keys_held"], Value::Object(wanted), "{log:#}");
}
