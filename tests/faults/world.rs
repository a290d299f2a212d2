//! The database that the tests hurt, the two states that it is moved between, and what must hold after every fault.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::{
    Cluster, Database, Digest, Pgkeep, Proxy, Run, Running, fixture, query, try_query, wait_until,
};

/// The role that pgkeep runs as: it owns everything but is no superuser, so triggers and foreign keys are really
/// disabled and taken off, not merely silenced by a setting of the session.
const OWNER: &str = "app";
const PASSWORD: &str = "app";

/// What turns state A into state B: every kind of change, under the triggers.
const DAMAGE: &str = "
    DELETE FROM booking_items WHERE booking_id IN (SELECT id FROM bookings ORDER BY reference LIMIT 200);
    DELETE FROM bookings WHERE id IN (SELECT id FROM bookings ORDER BY reference LIMIT 7)
       AND NOT EXISTS (SELECT FROM booking_items i WHERE i.booking_id = bookings.id);
    UPDATE users SET full_name = 'damaged' WHERE left(id::text, 1) = '3';
    UPDATE bookings SET note = 'damaged' WHERE left(id::text, 1) = '5';
    INSERT INTO import_lines SELECT * FROM import_lines LIMIT 100;
    DELETE FROM events WHERE id % 3 = 0;
    SELECT setval('invoice_numbers', 99999999);
";

/// A database in one of two states, pgkeep's folder with an archive of each, and a proxy on the way.
pub struct World<'a> {
    pub database: Database<'a>,
    pub pgkeep: Pgkeep,
    pub proxy: Proxy,
    pub states: [State; 2],
    /// How the schema looks: no restore may change it.
    schema: String,
    proven: Mutex<HashSet<PathBuf>>,
}

/// One of the two states.
pub struct State {
    pub digest: Digest,
    /// A backup of it.
    pub archive: String,
    /// A safety backup of it.
    pub safety: String,
}

impl<'a> World<'a> {
    /// Builds the world in a new database; it is in state 0.
    pub fn new(cluster: &'a Cluster, name: &str) -> World<'a> {
        static ROLES: Mutex<()> = Mutex::new(());
        let roles = ROLES.lock().unwrap();
        if cluster.query("postgres", "SELECT 1 FROM pg_roles WHERE rolname = 'app'").is_empty() {
            cluster.execute(
                "postgres",
                "CREATE ROLE app LOGIN BYPASSRLS PASSWORD 'app'; CREATE ROLE loader LOGIN SUPERUSER PASSWORD 'app'",
            );
        }
        drop(roles);
        let database = cluster.database(name);
        // What the server itself owns cannot be given away in one go, but what another superuser has made can.
        let loader = database.url_as("loader", PASSWORD);
        for batch in [
            &fixture("reservations.sql"),
            &fixture("reservations_scale.sql"),
            "SELECT generate_reservations(1)",
        ] {
            query(&loader, batch);
        }
        database.execute(&format!("REASSIGN OWNED BY loader TO app; ALTER DATABASE {name} OWNER TO app"));
        let proxy = Proxy::to(cluster.port);
        let url = proxy.url(&database.url_as(OWNER, PASSWORD), cluster.port);
        let pgkeep = Pgkeep::on(&url).env("PGKEEP_NO_PROGRESS", "true").env("PGKEEP_JOBS", "2");
        let state = |archive: &str, safety: &str| State {
            digest: database.digest(),
            archive: archive.to_owned(),
            safety: safety.to_owned(),
        };
        pgkeep.ok(&["backup", "--out", "a.json.gz"]);
        let mut a = state("a.json.gz", "");
        database.execute(DAMAGE);
        pgkeep.ok(&["backup", "--out", "b.json.gz"]);
        let mut b = state("b.json.gz", "");
        assert_ne!(a.digest, b.digest);
        // Each restore's safety backup is of the state that it left.
        let safety_of = |archive: &str| {
            let run = pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--json", "--file", archive]);
            run.json()["safety_backup_file"].as_str().unwrap().to_owned()
        };
        b.safety = safety_of(&a.archive);
        assert_eq!(database.digest(), a.digest);
        a.safety = safety_of(&b.archive);
        pgkeep.ok(&["rollback", &a.safety]);
        assert_eq!(database.digest(), a.digest);
        let world = World {
            schema: String::new(),
            database,
            pgkeep,
            proxy,
            states: [a, b],
            proven: Mutex::default(),
        };
        // A sequence that has been drawn from comes back from a crash up to 32 ahead (manual, CREATE SEQUENCE), unless a
        // checkpoint has come between.
        world.database.execute("CHECKPOINT");
        World { schema: world.schema(), ..world }
    }

    /// Which of the two states the database is in; anything else is what these tests look for.
    #[track_caller]
    pub fn state(&self, context: &str) -> usize {
        let now = self.database.digest();
        let found = self.states.iter().position(|state| state.digest == now);
        found.unwrap_or_else(|| {
            let differs = |state: &State| -> Vec<String> {
                let wrong = now.iter().filter(|(name, digest)| state.digest.get(*name) != Some(*digest));
                wrong.map(|(name, _)| name.clone()).collect()
            };
            panic!(
                "{context}: the target is in neither state; other than in A: {:?}; other than in B: {:?}",
                differs(&self.states[0]),
                differs(&self.states[1])
            )
        })
    }

    /// The command that moves the database from this state to the other.
    pub fn command(&self, operation: Operation, from: usize) -> Vec<&str> {
        let to = &self.states[1 - from];
        match operation {
            Operation::Backup => vec!["backup"],
            Operation::Restore => vec!["restore", "--safe", "--mode", "exact", "--file", &to.archive],
            Operation::Rollback => vec!["rollback", &to.safety],
        }
    }

    /// Waits until the server has noticed what happened, and checks what must hold whatever that was.
    #[track_caller]
    pub fn check(&self, context: &str) -> usize {
        let sessions = "SELECT count(*) FROM pg_stat_activity \
                        WHERE datname = current_database() AND application_name LIKE 'pgkeep%'";
        wait_until(&format!("{context}: pgkeep's sessions are gone"), 30, || {
            self.database.value(sessions) == "0"
        });
        let state = self.state(context);
        assert_eq!(
            self.schema(),
            self.schema,
            "{context}: triggers, constraints and tables are as they were"
        );
        let debris = "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE 'pgkeep%' OR relpersistence = 't') \
                           + (SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                              WHERE datname = current_database() AND pid <> pg_backend_pid()) \
                           + (SELECT count(*) FROM pg_prepared_xacts)";
        // An autovacuum worker holds locks too, for a moment.
        wait_until(&format!("{context}: no lock and no table of pgkeep is left"), 20, || {
            self.database.value(debris) == "0"
        });
        self.check_archives(context);
        state
    }

    /// Whatever is listed is whole.
    #[track_caller]
    fn check_archives(&self, context: &str) {
        for (list, folder) in [("list", "backups"), ("list-safety", "safety_backups")] {
            let answer = self.pgkeep.ok(&[list, "--json"]).json();
            let mut listed: Vec<PathBuf> = Vec::new();
            for entry in answer["archives"].as_array().unwrap() {
                assert!(entry["error"].is_null(), "{context}: {entry:#}");
                listed.push(self.pgkeep.dir().join(folder).join(entry["file"].as_str().unwrap()));
            }
            let visible = |path: &PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with('.');
            let mut present: Vec<PathBuf> = self.pgkeep.files(folder).into_iter().filter(visible).collect();
            listed.sort();
            present.sort();
            assert_eq!(listed, present, "{context}: what looks like an archive is listed");
            for path in listed {
                if self.proven.lock().unwrap().insert(path.clone()) {
                    let run = self.pgkeep.run(&["validate", path.to_str().unwrap()]);
                    assert_eq!(run.code, Some(0), "{context}: {}\n{}", path.display(), run.stderr);
                }
            }
        }
    }

    /// How many restore logs there are.
    pub fn logs(&self) -> usize {
        let is_log = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("restore_log_");
        self.pgkeep.files("summaries").iter().filter(|path| is_log(path)).count()
    }

    /// Checks what the log says of a run that has moved the database, or not. There were `before` logs then; without a
    /// new one the run had not begun.
    #[track_caller]
    pub fn check_log(&self, before: usize, moved: bool, context: &str) -> Option<serde_json::Value> {
        if self.logs() == before {
            assert!(!moved, "{context}: restored without a log");
            return None;
        }
        let log = self.pgkeep.restore_log();
        match log["status"].as_str().unwrap() {
            "completed" => assert!(moved && log["verified"] == true, "{context}: {log:#}"),
            "rolled_back" => assert!(!moved && log["rolled_back"] == true, "{context}: {log:#}"),
            "failed" if log["next_step"].as_str().is_some_and(|next| next.contains("rollback")) => {}
            "failed" => assert!(!moved, "{context}: {log:#}"),
            status => assert_eq!(status, "running", "{context}: {log:#}"),
        }
        if moved {
            let safety = log["safety_backup_file"].as_str().expect("a log names its safety backup");
            let path = self.pgkeep.dir().join("safety_backups").join(safety);
            assert!(path.exists(), "{context}: {log:#}");
        }
        // A log that ends abruptly leads to the truth.
        if let Some(id) = log["transaction_id"].as_str() {
            let fate = match try_query(&self.database.url, &format!("SELECT pg_xact_status('{id}'::xid8)")) {
                Ok(rows) => rows[0][0].clone().expect("recent"),
                // Killed before it could make the server keep the id.
                Err(error) if error.contains("is in the future") => "forgotten".to_owned(),
                Err(error) => panic!("{context}: {error}"),
            };
            assert_eq!(fate == "committed", moved, "{context}: transaction {id} is {fate}; {log:#}");
        } else {
            assert!(!moved, "{context}: committed without a word about it; {log:#}");
        }
        Some(log)
    }

    /// Runs the same command again, undisturbed: leftovers must not be in its way.
    #[track_caller]
    pub fn again(&self, operation: Operation, from: usize, context: &str) -> usize {
        let logs = self.logs();
        let run = self.pgkeep.run(&self.command(operation, from));
        assert_eq!(run.code, Some(0), "{context}, run again: {}", run.stderr);
        let to = self.check(&format!("{context}, run again"));
        if operation != Operation::Backup {
            assert_eq!(to, 1 - from, "{context}, run again");
            let log = self.check_log(logs, true, context).expect("a finished restore has a log");
            assert_eq!(log["status"], "completed", "{context}: {log:#}");
        }
        let folder = if operation == Operation::Backup { "backups" } else { "safety_backups" };
        let left: Vec<PathBuf> = self.pgkeep.files(folder);
        let hidden = left.iter().any(|path| path.file_name().unwrap().to_string_lossy().starts_with('.'));
        assert!(!hidden, "{context}, run again: a temporary file is left: {left:?}");
        to
    }

    fn schema(&self) -> String {
        self.database.value(
            "SELECT string_agg(line, E'\\n' ORDER BY line) FROM ( \
               SELECT concat_ws(' ', 'trigger', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal \
               UNION ALL SELECT concat_ws(' ', 'inner triggers', tgrelid::regclass, tgenabled, count(*)) \
                 FROM pg_trigger WHERE tgisinternal GROUP BY tgrelid, tgenabled \
               UNION ALL SELECT concat_ws(' ', 'rule', ev_class::regclass, rulename, ev_enabled) FROM pg_rewrite \
               UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid)) FROM pg_constraint \
               UNION ALL SELECT concat_ws(' ', 'class', oid::regclass, relkind, relrowsecurity, relforcerowsecurity) \
                 FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace \
               UNION ALL SELECT concat_ws(' ', 'schema', nspname) FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_t%' \
               UNION ALL SELECT concat_ws(' ', 'function', oid::regprocedure) FROM pg_proc WHERE oid > 16384) AS lines (line)",
        )
    }
}

/// What is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Backup,
    Restore,
    Rollback,
}

/// What an undisturbed run takes: the moments are drawn from it.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub time: Duration,
    pub bytes: u64,
}

impl World<'_> {
    /// Measures an undisturbed run from each of the two states.
    pub fn measure(&self, operation: Operation) -> [Extent; 2] {
        let mut extents = [Extent { time: Duration::ZERO, bytes: 0 }; 2];
        let mut from = self.state("undisturbed");
        for _ in 0..2 {
            let (begin, bytes) = (Instant::now(), self.proxy.forwarded());
            self.pgkeep.ok(&self.command(operation, from));
            extents[from] = Extent { time: begin.elapsed(), bytes: self.proxy.forwarded() - bytes };
            match operation {
                Operation::Backup => extents[1 - from] = extents[from],
                _ => from = 1 - from,
            }
        }
        extents
    }

    /// Starts the command and waits for the moment, or the end.
    pub fn run_until(&self, moment: Moment, operation: Operation, from: usize) -> Running {
        let start = self.proxy.forwarded();
        if let Moment::Bytes(bytes) = moment {
            self.proxy.stall_after(bytes);
        }
        let mut running = self.pgkeep.spawn(&self.command(operation, from));
        let begin = Instant::now();
        let has_come = || match moment {
            Moment::Time(time) => begin.elapsed() >= time,
            Moment::Bytes(bytes) => self.proxy.forwarded() >= start + bytes,
        };
        while !has_come() && running.is_running() {
            std::thread::sleep(Duration::from_micros(200));
        }
        running
    }
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy)]
pub enum Moment {
    /// So long after the start.
    Time(Duration),
    /// When so many bytes have passed, with the network held at exactly this byte.
    Bytes(u64),
}

/// A small generator (SplitMix64).
pub struct Random {
    pub seed: u64,
    state: u64,
}

impl Random {
    /// Seeded by the environment or the clock, and by the test's name.
    pub fn new(test: &str) -> Random {
        let given = std::env::var("PGKEEP_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::from(now.subsec_micros())
        });
        let state = test.bytes().fold(seed, |state, byte| state.wrapping_mul(31) + u64::from(byte));
        Random { seed, state }
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }

    /// In turn: any time, any byte, and a byte near the end, where the commit is.
    pub fn moment(&mut self, turn: usize, extent: Extent) -> Moment {
        match turn % 3 {
            0 => Moment::Time(Duration::from_micros(self.below(extent.time.as_micros() as u64 * 11 / 10))),
            1 => Moment::Bytes(self.below(extent.bytes)),
            _ => {
                // The nearer to the end, the more often.
                let span = 16 << self.below(8);
                Moment::Bytes(extent.bytes.saturating_sub(self.below(span)))
            }
        }
    }
}

/// The exit code, and with it what pgkeep knows, against what is so.
#[track_caller]
pub fn check_exit(run: &Run, log: &serde_json::Value, moved: bool, context: &str) {
    let status = log["status"].as_str().unwrap();
    let expected: &[&str] = match run.code {
        Some(0) => &["completed"],
        Some(1 | 130) => &["rolled_back", "failed"],
        Some(6) => &["failed"],
        code => panic!("{context}: exit code {code:?}\n{}", run.stderr),
    };
    assert!(
        expected.contains(&status),
        "{context}: exit code {:?}, status {status}\n{}",
        run.code,
        run.stderr
    );
    match run.code {
        Some(0) => assert!(moved, "{context}: exit code 0, but nothing was restored"),
        Some(6) => {
            let safety = log["safety_backup_file"].as_str().unwrap();
            assert!(run.stderr.contains(&format!("pgkeep rollback {safety}")), "{context}: {}", run.stderr);
            assert!(log["next_step"].as_str().unwrap().contains(safety), "{context}: {log:#}");
        }
        _ => assert!(!moved, "{context}: exit code {:?}, but it was restored\n{}", run.code, run.stderr),
    }
}
