//! The table kind × major, printed when the last major is done.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;

/// What became of one kind on one major.
#[derive(Debug, Clone)]
pub enum Outcome {
    Same,
    Failed(String),
    /// This server does not have the kind.
    NotThere,
}

type Column = BTreeMap<String, Outcome>;

/// Takes one major's results, and prints the table when those of all `majors` are there. Panics with what failed.
pub fn report(major: u32, majors: &[u32], column: Column) {
    static DONE: Mutex<BTreeMap<u32, Column>> = Mutex::new(BTreeMap::new());
    let failures: Vec<String> = column
        .iter()
        .filter_map(|(kind, outcome)| match outcome {
            Outcome::Failed(what) => Some(format!("== {kind} on {major}: {what}")),
            _ => None,
        })
        .collect();
    let mut done = DONE.lock().unwrap();
    done.insert(major, column);
    if majors.iter().all(|major| done.contains_key(major)) {
        // Not by println!, which the test harness keeps to itself when tests pass.
        let _ = std::io::stderr().write_all(table(&done).as_bytes());
    }
    drop(done);
    assert!(failures.is_empty(), "{} failed\n{}", failures.len(), failures.join("\n"));
}

fn table(done: &BTreeMap<u32, Column>) -> String {
    let mut text = format!("\n{:<24}", "kind");
    for major in done.keys() {
        let _ = write!(text, "{major:>6}");
    }
    let kinds: Vec<&String> = done.values().next().map(|column| column.keys().collect()).unwrap_or_default();
    for kind in kinds {
        let _ = write!(text, "\n{kind:<24}");
        for column in done.values() {
            let word = match column.get(kind) {
                Some(Outcome::Same) => "ok",
                Some(Outcome::Failed(_)) => "FAIL",
                Some(Outcome::NotThere) | None => "-",
            };
            let _ = write!(text, "{word:>6}");
        }
    }
    text + "\n"
}
