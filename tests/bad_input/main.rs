//! How bad input ends: a clear sentence, the right exit code, what state things are in, what to do next, and nothing
//! lost. One test for each line of the list; the lines that belong together share a file.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archive;
mod changing;
mod connection;
mod disk;
mod fit;
mod locks;
mod names;
mod privileges;
mod rollback;
mod rows;
mod secrets;
mod signals;
#[path = "../support/mod.rs"]
mod support;
mod usage;

use std::path::{Path, PathBuf};

use support::{Database, PASSWORD, Pgkeep, Run, shared};

/// A small shop, with what most restores need: a key, a foreign key, a sequence.
pub const SHOP: &str = "
    CREATE TABLE customers (id int PRIMARY KEY, email text UNIQUE NOT NULL, age int CHECK (age > 0));
    CREATE TABLE orders (id serial PRIMARY KEY, customer int NOT NULL REFERENCES customers, note text);
    INSERT INTO customers VALUES (1, 'ann@example.org', 30), (2, 'bob@example.org', 40), (3, 'cid@example.org', NULL);
    INSERT INTO orders (customer, note) SELECT 1 + n % 3, 'note ' || n FROM generate_series(1, 20) n;
";

/// A new database with the shop in it.
pub fn shop(name: &str) -> Database<'static> {
    let database = shared(None).database(name);
    database.execute(SHOP);
    database
}

/// A table whose archive takes some megabytes, even compressed.
pub const BULK: &str = "
    CREATE TABLE bulk (id int PRIMARY KEY, payload text);
    INSERT INTO bulk SELECT n, (SELECT string_agg(md5(n::text || m), '') FROM generate_series(1, 30) m)
      FROM generate_series(1, 6000) n;
";

/// A folder in which `url` was backed up, and the path of the archive.
pub fn backed_up(url: &str) -> (Pgkeep, String) {
    let pgkeep = Pgkeep::on(url);
    pgkeep.ok(&["backup"]);
    let archive = path(&pgkeep.only_file("backups"));
    (pgkeep, archive)
}

pub fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Asserts the exit code and the three things that an operator needs at night: what happened, what state things are
/// in, what to do next. And that the password is nowhere.
#[track_caller]
pub fn explained(run: Run, code: i32) -> Run {
    let run = run.expect_code(code);
    for start in ["error: ", "state: ", "next:  "] {
        let line = run.stderr.lines().find(|line| line.starts_with(start));
        assert!(line.is_some_and(|line| line.len() > start.len()), "no {start:?} in:\n{}", run.stderr);
    }
    for output in [&run.stdout, &run.stderr] {
        assert!(!output.contains(PASSWORD) && !output.contains("panicked"), "{output}");
    }
    run
}

/// Asserts that nothing lies about that looks like an archive or is the rest of one.
#[track_caller]
pub fn no_archive(pgkeep: &Pgkeep, folder: &str) {
    let files = pgkeep.files(folder);
    assert!(files.is_empty(), "{folder} is empty: {files:?}");
    no_temporary_file(pgkeep.dir());
}

/// Asserts that no temporary file lies about.
#[track_caller]
pub fn no_temporary_file(folder: &Path) {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry: PathBuf = entry.unwrap().path();
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            assert!(!name.starts_with('.') && !name.contains("tmp"), "{} lies about", entry.display());
            if entry.is_dir() {
                folders.push(entry);
            }
        }
    }
}

/// Asserts that a restore has left no session, no lock and no staging table in the database.
pub fn no_debris(database: &Database) {
    support::wait_until("the sessions of pgkeep are gone", 20, || {
        database.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgkeep%'") == "0"
    });
    assert_eq!(database.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'pgkeep%'"), "0");
}

/// The newest restore log says that nothing was done, and why.
#[track_caller]
pub fn log_says_undone(pgkeep: &Pgkeep) -> serde_json::Value {
    let log = pgkeep.restore_log();
    assert!(["rolled_back", "failed"].contains(&log["status"].as_str().unwrap()), "{log:#}");
    for key in ["error", "next_step"] {
        assert!(log[key].as_str().is_some_and(|e| !e.is_empty()), "{log:#}");
    }
    assert_eq!(
        (log["verified"].as_bool(), &log["tables_restored"]),
        (Some(false), &serde_json::json!({})),
        "{log:#}"
    );
    assert!(log["finished_at"].is_string(), "{log:#}");
    log
}
