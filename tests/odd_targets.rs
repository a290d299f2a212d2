//! Databases as applications have really made them: odd keys, triggers that must not fire, constraints that hold only
//! half, structures that changed since the backup. Each file of `odd_targets/` is one such database, set up before the
//! line `-- damage` and damaged after it, and goes the whole way: backup, exact restore, rollback, dry run, upsert.
//!
//! The head of a file, in comment lines:
//! ```text
//! -- servers: 13 18        the major versions to run on
//! -- as: superuser, owner  who runs pgkeep: also reader, who may only SELECT
//! -- needs: hstore         an extension; without it the file is passed over
//! -- encoding: LATIN1      of the database; else UTF8
//! -- options: -c x=y       settings of pgkeep's sessions
//! -- rows: SELECT …        what must come back, where the structure changes; else every row of every table
//! -- restore: 1 words | …  the exit code of a step that must be refused, and what it says;
//!                          steps are backup, restore, rollback, dry run, upsert
//! ```
//! A refused restore must leave the target as it was. Whatever happens, triggers, rules and constraints must be as
//! they were before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use support::{Cluster, Database, Pgkeep, Run, majors, shared, try_query};

const KEYS: &[&str] =
    &["domains", "generated_key", "key_values", "keys", "long_names", "shadowed_operators", "tables", "wide"];
const FIRING: &[&str] = &["event_trigger", "event_trigger_of_another", "partition_triggers", "triggers"];
const CONSTRAINTS: &[&str] = &[
    "check_that_reads_tables",
    "deferrable",
    "foreign_keys",
    "foreign_keys_off",
    "foreign_keys_off_for_owner",
    "new_in_18",
    "temporal",
];
const STRUCTURES: &[&str] = &[
    "changed_since",
    "foreign_partition",
    "generated_since",
    "nothing",
    "partition_since_attached",
    "published",
    "tablespaces",
];
const SESSIONS: &[&str] =
    &["forced_policies", "no_temporary_tables", "only_select", "role_settings", "sequences"];
const ENCODINGS: &[&str] =
    &["euc_jp", "latin1", "no_unicode", "sql_ascii", "sql_ascii_jsonb", "sql_ascii_names"];

#[test]
fn rows_with_odd_keys_and_types_come_back_and_the_restore_is_undone() {
    run_all(KEYS);
}

#[test]
fn triggers_and_rules_of_every_kind_neither_act_nor_stay_disabled() {
    run_all(FIRING);
}

#[test]
fn constraints_that_are_deferred_partitioned_or_half_valid_are_kept_as_they_are() {
    run_all(CONSTRAINTS);
}

#[test]
fn structures_that_are_odd_or_have_changed_are_restored_or_refused_untouched() {
    run_all(STRUCTURES);
}

#[test]
fn what_a_role_may_not_do_is_told_beforehand_and_its_settings_do_not_matter() {
    run_all(SESSIONS);
}

#[test]
fn text_in_any_encoding_of_the_server_comes_back_or_is_refused_unaltered() {
    run_all(ENCODINGS);
}

#[test]
fn an_archive_goes_into_another_encoding_where_every_character_has_a_place_there() {
    let cluster = cluster(15);
    let rows = "SELECT string_agg(v, ' ' ORDER BY id) FROM t";
    let pair = |name: &str, from: &str, to: &str, value: &str| {
        let [source, target] = [("from", from), ("to", to)].map(|(end, encoding)| {
            let name = format!("{name}_{end}");
            let database = create(cluster, &name, Some(encoding));
            database.execute("CREATE TABLE t (id int PRIMARY KEY, v text)");
            database
        });
        source.execute(&format!("INSERT INTO t VALUES (1, 'é'), (2, {value})"));
        target.execute("INSERT INTO t VALUES (1, 'kept')");
        let pgkeep = Pgkeep::on(&source.url);
        pgkeep.ok(&["backup"]);
        let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
        let run =
            pgkeep.env("PGKEEP_DATABASE_URL", &target.url).run(&["restore", "--safe", "--file", &archive]);
        (run, target)
    };
    let (run, target) = pair("narrower", "UTF8", "LATIN1", "'ü'");
    run.expect_code(0);
    assert_eq!(target.value(rows), "é ü");
    let (run, target) = pair("too_narrow", "UTF8", "LATIN1", "'ü €'");
    run.expect_code(1).says("table t").says("archived row 2").says("no equivalent in encoding");
    assert_eq!(target.value(rows), "kept");
    let (run, target) = pair("taken_as_it_is", "UTF8", "SQL_ASCII", "'ü €'");
    run.expect_code(0);
    assert_eq!(target.value(rows), "é ü €");
    let (run, target) = pair("no_text", "SQL_ASCII", "UTF8", "E'\\xe9'");
    run.expect_code(1).says("table t").says("archived row 2").says("invalid byte sequence");
    assert_eq!(target.value(rows), "kept");
}

#[test]
fn every_file_of_the_folder_belongs_to_one_test() {
    let files: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(".sql", ""))
        .collect();
    let listed = [KEYS, FIRING, CONSTRAINTS, STRUCTURES, SESSIONS, ENCODINGS].concat();
    assert_eq!(files.len(), listed.len(), "{files:?}");
    assert_eq!(BTreeSet::from_iter(files), listed.into_iter().map(str::to_owned).collect());
}

/// Triggers, rules and constraints of the whole database and where its tables lie: what is easily lost when something
/// is put back. The triggers of foreign keys go without their names, which the server makes up.
const STATE: &str = "
SELECT COALESCE(string_agg(x, E'\\n' ORDER BY x COLLATE \"C\"), '') FROM (
  SELECT format('trigger %s of %s: %s', CASE contype WHEN 'f' THEN tgfoid::regproc::text ELSE tgname END, tgrelid::regclass,
                tgenabled)
    FROM pg_trigger LEFT JOIN pg_constraint k ON k.oid = tgconstraint WHERE k.oid IS NULL OR contype IN ('t', 'f')
  UNION ALL
  SELECT format('rule %s of %s: %s', rulename, ev_class::regclass, ev_enabled)
    FROM pg_rewrite JOIN pg_class c ON c.oid = ev_class
   WHERE relkind IN ('r', 'p') AND relnamespace NOT IN (11, 'information_schema'::regnamespace)
  UNION ALL
  SELECT format('constraint %s of %s: %s, valid %s, of another %s, local %s, comment %s', conname, conrelid::regclass,
                pg_get_constraintdef(oid), convalidated, conparentid <> 0, conislocal,
                obj_description(oid, 'pg_constraint'))
    FROM pg_constraint
   WHERE conrelid <> 0 AND connamespace NOT IN (11, 'information_schema'::regnamespace)
  UNION ALL
  SELECT format('%s lies in tablespace %s', oid::regclass, reltablespace) FROM pg_class
   WHERE reltablespace <> 0 AND relnamespace NOT IN (11, 'pg_toast'::regnamespace)) AS s(x)";

/// Runs files side by side on every server and as everyone that they name; all failures are told together.
fn run_all(names: &[&str]) {
    let failures: Vec<String> =
        names.iter().map(|name| Scenario::read(name)).flat_map(|s| s.run_everywhere()).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

struct Scenario {
    name: String,
    head: Vec<(String, String)>,
    set_up: String,
    damage: String,
}

impl Scenario {
    fn read(name: &str) -> Scenario {
        let path = folder().join(format!("{name}.sql"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (set_up, damage) =
            text.split_once("\n-- damage\n").unwrap_or_else(|| panic!("{name}: no line \"-- damage\""));
        let comments = set_up.lines().map_while(|line| line.strip_prefix("-- "));
        let head = comments
            .filter_map(|line| line.split_once(": "))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Scenario { name: name.to_owned(), head, set_up: set_up.to_owned(), damage: damage.to_owned() }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.head.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    fn run_everywhere(&self) -> Vec<String> {
        let servers =
            self.get("servers").unwrap_or_else(|| panic!("{}: no line \"-- servers: …\"", self.name));
        let servers: Vec<u32> = servers.split(' ').map(|major| major.parse().unwrap()).collect();
        let people: Vec<&str> = self.get("as").unwrap_or("superuser").split(", ").collect();
        let mut failures = Vec::new();
        for major in servers.into_iter().filter(|major| majors().contains(major)) {
            let cluster = cluster(major);
            if self.get("needs").is_some_and(|extension| !cluster.has_extension(extension)) {
                continue;
            }
            for who in &people {
                if let Err(what) = self.run(cluster, who) {
                    failures.push(format!("== {} on {major} as {who}: {what}", self.name));
                }
            }
        }
        failures
    }

    /// The whole way on one server as one user; the first thing that is not as it should be.
    fn run(&self, cluster: &Cluster, who: &str) -> Result<(), String> {
        let database = create(cluster, &format!("{}_{who}", self.name), self.get("encoding"));
        try_query(&database.url, &self.set_up).map_err(|e| format!("set-up: {e}"))?;
        let pgkeep = Pgkeep::on(&self.url(&database, who));
        if self.refuses(&pgkeep, "backup", &["backup"])? {
            return Ok(());
        }
        let original = self.rows(&database);
        let archive = pgkeep.only_file("backups");
        let archive = archive.to_str().unwrap();
        try_query(&database.url, &self.damage).map_err(|e| format!("damage: {e}"))?;
        if who == "owner" {
            give_away(&database);
        }
        let (damaged, digest, state) = (self.rows(&database), database.digest(), database.value(STATE));
        let same = |what: &str, is: &str, should: &str| match is == should {
            true => Ok(()),
            false => Err(format!("{what}; is\n{is}\nshould be\n{should}")),
        };

        let exact = ["restore", "--safe", "--data-only", "--mode", "exact", "--file", archive];
        if self.refuses(&pgkeep, "restore", &exact)? {
            same("a refused restore has changed rows", &show(&database.digest()), &show(&digest))?;
        } else {
            same("the restore differs from the backup", &self.rows(&database), &original)?;
            same("the restore changed more than rows", &database.value(STATE), &state)?;
            if !self.refuses(&pgkeep, "rollback", &["rollback", "latest"])? {
                same("the rollback differs from before", &self.rows(&database), &damaged)?;
                same("the rollback missed something", &show(&database.digest()), &show(&digest))?;
            }
            same("the rollback changed more than rows", &database.value(STATE), &state)?;
        }
        let before = database.digest();
        self.refuses(
            &pgkeep,
            "dry run",
            &["restore", "--dry-run", "--data-only", "--mode", "exact", "--file", archive],
        )?;
        same("the dry run has changed rows", &show(&database.digest()), &show(&before))?;
        self.refuses(&pgkeep, "upsert", &["restore", "--safe", "--data-only", "--file", archive])?;
        same("the upsert changed more than rows", &database.value(STATE), &state)
    }

    /// Where to connect to as that user, who gets what makes him one.
    fn url(&self, database: &Database, who: &str) -> String {
        let url = match who {
            "owner" => {
                give_away(database);
                database.url_as("shopkeeper", "x")
            }
            "reader" => {
                database.execute(
                    "GRANT USAGE ON SCHEMA public TO visitor; GRANT SELECT ON ALL TABLES IN SCHEMA public TO visitor;
                     GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO visitor;",
                );
                database.url_as("visitor", "x")
            }
            _ => database.url.clone(),
        };
        match self.get("options") {
            Some(options) => format!("{url}?options={}", support::percent_encoded(options)),
            None => url,
        }
    }

    /// What a restore must bring back.
    fn rows(&self, database: &Database) -> String {
        match self.get("rows") {
            Some(sql) => database.value(sql),
            None => show(&database.digest()),
        }
    }

    /// Runs a step; whether it was refused, as the head says that it must be.
    fn refuses(&self, pgkeep: &Pgkeep, step: &str, arguments: &[&str]) -> Result<bool, String> {
        let Run { code, stderr, .. } = pgkeep.run(arguments);
        let (wanted, words) = self.get(step).map_or(("0", ""), |line| line.split_once(' ').unwrap());
        if code.map(|code| code.to_string()).as_deref() != Some(wanted) {
            return Err(format!("{step}: exit code {code:?}, not {wanted}:\n{stderr}"));
        }
        match words.split(" | ").find(|words| !stderr.contains(words)) {
            Some(missing) => Err(format!("{step} does not say {missing:?}:\n{stderr}")),
            None => Ok(wanted != "0"),
        }
    }
}

/// A database in that encoding, else in UTF8.
fn create<'a>(cluster: &'a Cluster, name: &str, encoding: Option<&str>) -> Database<'a> {
    let Some(encoding) = encoding else { return cluster.database(name) };
    let locale = "LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    cluster.execute("postgres", &format!("CREATE DATABASE {name} ENCODING '{encoding}' {locale}"));
    Database { cluster, name: name.to_owned(), url: cluster.url(name) }
}

/// Makes an ordinary role the owner of every table and sequence that the superuser has made.
fn give_away(database: &Database) {
    database.execute(&format!(
        "GRANT ALL ON SCHEMA public TO shopkeeper; GRANT CREATE ON DATABASE \"{}\" TO shopkeeper;
         DO $$ DECLARE r record; BEGIN
           FOR r IN SELECT c.oid::regclass AS name, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                     WHERE relkind IN ('r', 'p', 'S') AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
                       AND relowner <> 'shopkeeper'::regrole
                       AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND deptype IN ('a', 'i', 'e') AND relkind = 'S')
           LOOP EXECUTE format('ALTER %s %s OWNER TO shopkeeper', CASE r.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, r.name);
           END LOOP; END $$;",
        database.name
    ));
}

/// The shared server with two roles that are no superusers and, from 15 on, a tablespace: a set-up may name them.
fn cluster(major: u32) -> &'static Cluster {
    static READY: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    let cluster = shared(Some(major));
    let mut ready = READY.lock().unwrap();
    if ready.insert(major) {
        cluster.execute(
            "postgres",
            "CREATE ROLE shopkeeper LOGIN PASSWORD 'x'; CREATE ROLE visitor LOGIN PASSWORD 'x';",
        );
        if major >= 15 {
            let url = format!("{}?options=-c%20allow_in_place_tablespaces%3Don", cluster.url("postgres"));
            support::query(&url, "CREATE TABLESPACE elsewhere LOCATION ''");
        }
    }
    cluster
}

fn show(digest: &support::Digest) -> String {
    digest.iter().map(|(name, rows)| format!("{name}: {rows}\n")).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/odd_targets")
}
