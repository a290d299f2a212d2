//! A database, its archive, and what a database is: what pg_dump says of it, and its rows.

use std::sync::{Mutex, PoisonError};

use crate::support::{
    Client, Cluster, Database, PASSWORD, Pgkeep, Run, database_digest, difference, fixture, shared,
};

/// A database and the folder of its backups.
pub struct World {
    pub database: Database<'static>,
    pub keeper: Pgkeep,
    pub client: Client,
    /// The archive of the database as it was at first.
    pub archive: String,
}

impl World {
    /// A new database of the usual server, made by `sql` and backed up.
    pub fn new(name: &str, sql: &str) -> Option<World> {
        World::on(None, name, sql)
    }

    /// The same on a server of this major. None where nothing can judge it.
    pub fn on(major: Option<u32>, name: &str, sql: &str) -> Option<World> {
        let database = shared(major).database(name);
        let client = Client::for_server(database.cluster.postgres.major)?;
        make_roles(database.cluster);
        database.execute(sql);
        let keeper = Pgkeep::on(&database.url);
        let mut world = World { database, keeper, client, archive: String::new() };
        world.archive = world.backup(&[]);
        Some(world)
    }

    /// Backs up the database as it is now; the archive's path.
    pub fn backup(&self, more: &[&str]) -> String {
        let path = self.keeper.dir().join(format!("{}.json.gz", self.keeper.files("archives").len()));
        std::fs::create_dir_all(self.keeper.dir().join("archives")).unwrap();
        let path = self.keeper.dir().join("archives").join(path.file_name().unwrap());
        let path = path.to_str().unwrap().to_owned();
        self.keeper.ok(&[&["backup", "--out", &path], more].concat());
        path
    }

    /// What the database is.
    pub fn state(&self) -> String {
        state(&self.client, &self.database.url)
    }

    /// What a new database is that is made by `sql`.
    pub fn made_by(&self, name: &str, sql: &str) -> String {
        let other = self.database.cluster.database(name);
        other.execute(sql);
        state(&self.client, &other.url)
    }

    /// A restore of the archive that must do.
    pub fn restore(&self, more: &[&str]) -> Run {
        self.keeper.ok(&[&["restore", "--file", &self.archive], more].concat())
    }

    /// A restore of the archive that must end with this exit code, and with the three lines that say why.
    pub fn refused(&self, more: &[&str], code: i32) -> Run {
        explained(self.keeper.run(&[&["restore", "--file", &self.archive], more].concat()), code)
    }

    /// Undoes the restore, and then that, and compares with what was there before and behind it.
    #[track_caller]
    pub fn undo_and_redo(&self, before: &str, after: &str) {
        self.keeper.ok(&["rollback", "latest"]);
        same("after the rollback", before, &self.state());
        self.keeper.ok(&["rollback", "latest"]);
        same("after the rollback of the rollback", after, &self.state());
    }

    pub fn is_as(&self, what: &str, should: &str) {
        same(what, should, &self.state());
    }
}

/// Runs each case in a thread of its name, so that one that fails does not keep the others from being tried;
/// `PGKEEP_TEST_CASE` chooses by a part of the name.
pub fn each_case<C: Sync>(cases: &'static [C], name: fn(&C) -> &'static str, run: fn(&'static C)) {
    let only = std::env::var("PGKEEP_TEST_CASE").ok();
    let mut failures = Vec::new();
    for case in cases {
        let name = name(case);
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let thread = std::thread::Builder::new().name(name.to_owned());
        if thread.spawn(move || run(case)).unwrap().join().is_err() {
            failures.push(name);
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

/// What a database is: its schema as pg_dump says it, and fingerprints of rows and sequences.
pub fn state(client: &Client, url: &str) -> String {
    let schema = client.dump(url, &["--schema-only"]).unwrap();
    let mut text = in_one_order(&schema);
    for (table, digest) in database_digest(url) {
        text += &format!("-- {table}: {digest}\n");
    }
    text
}

/// GRANTs of one object stand in the order in which they were given; that order means nothing.
fn in_one_order(schema: &str) -> String {
    let mut all: Vec<&str> = schema.split_inclusive('\n').collect();
    let is_grant = |line: &&str| line.starts_with("GRANT ") || line.starts_with("REVOKE ");
    for run in all.chunk_by_mut(|a, b| is_grant(a) && is_grant(b)) {
        if is_grant(&run[0]) {
            run.sort_unstable();
        }
    }
    all.concat()
}

#[track_caller]
pub fn same(what: &str, should: &str, is: &str) {
    if let Some(shown) = difference(should, is) {
        panic!("{what}:\n{shown}");
    }
}

/// Asserts the exit code, and that the three lines are there that an operator needs.
#[track_caller]
pub fn explained(run: Run, code: i32) -> Run {
    let run = run.expect_code(code);
    for start in ["error: ", "state: ", "next:  "] {
        let line = run.stderr.lines().find(|line| line.starts_with(start));
        assert!(line.is_some_and(|line| line.len() > start.len()), "no {start:?} in:\n{}", run.stderr);
    }
    assert!(!run.stderr.contains(PASSWORD) && !run.stderr.contains("panicked"), "{}", run.stderr);
    run
}

/// The roles that the tests name.
fn make_roles(cluster: &Cluster) {
    // Tests of one process share the cluster.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    cluster.execute("postgres", &fixture("roles.sql"));
}
