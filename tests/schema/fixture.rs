//! The files of `fixtures/objects/`: one for each kind of object, full of odd cases, with rows where it has tables.
//!
//! A file is SQL with a few comment lines that say where it runs:
//! ```text
//! -- majors: 14-        first line: the whole file, on these majors only
//! -- needs: hstore      an extension; where it is not installed the file is left out
//! -- if >= 15           a block for some majors (also `<`), until
//! -- end
//! -- step               what was before is committed; a new session begins
//! ```
//! Every statement must succeed. Each file keeps to schemas and names of its own, so that all of them fit into one
//! database; the roles that they name are in `fixtures/roles.sql`,
//! and `fixtures/extension/` is an extension that they use.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::support::{Cluster, fixture, query, try_query};

/// One kind of object.
pub struct Fixture {
    pub kind: String,
    text: String,
}

impl Fixture {
    /// All of them, by name.
    pub fn all() -> Vec<Fixture> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/objects");
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.into_iter().map(|name| Fixture::read(&name)).collect()
    }

    fn read(name: &str) -> Fixture {
        let kind = name.strip_suffix(".sql").unwrap_or_else(|| panic!("{name} is no SQL file"));
        Fixture { kind: kind.to_owned(), text: fixture(&format!("objects/{name}")) }
    }

    /// Whether this server has the kind at all.
    pub fn runs_on(&self, cluster: &Cluster) -> bool {
        let first = self.head("majors").map_or(0, |range| number(range.trim_end_matches('-')));
        first <= cluster.postgres.major && self.head("needs").is_none_or(|name| cluster.has_extension(name))
    }

    /// What the lines at the top say.
    fn head(&self, key: &str) -> Option<&str> {
        let comments = self.text.lines().map_while(|line| line.strip_prefix("-- "));
        comments.filter_map(|line| line.split_once(": ")).find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// Runs it in a database of that major.
    pub fn load(&self, url: &str, major: u32) -> Result<(), String> {
        self.load_to_cross(url, major, major)
    }

    /// Runs it, but for what only servers older than `newest` take.
    pub fn load_to_cross(&self, url: &str, major: u32, newest: u32) -> Result<(), String> {
        let sql = for_majors(&self.text, major, newest);
        for step in sql.split("\n-- step\n") {
            try_query(url, step).map_err(|error| format!("the fixture {} itself: {error}", self.kind))?;
        }
        Ok(())
    }
}

/// Makes what fixtures need of a server and cannot make in their database: roles, a tablespace, an extension.
pub fn prepare(cluster: &Cluster) {
    // Tests of one process share the cluster.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let url = cluster.url("postgres");
    query(&url, &fixture("roles.sql"));
    if query(&url, "SELECT 1 FROM pg_tablespace WHERE spcname = 'object_space'").is_empty() {
        let in_place = format!("{url}?options=-c%20allow_in_place_tablespaces%3Don");
        query(&in_place, "CREATE TABLESPACE object_space LOCATION ''");
    }
    cluster.install_extensions("extension");
}

/// Leaves out the blocks for other majors; the lines keep their numbers.
fn for_majors(text: &str, oldest: u32, newest: u32) -> String {
    let mut wanted = true;
    let mut kept = String::new();
    for line in text.lines() {
        if let Some(condition) = line.strip_prefix("-- if ") {
            wanted = match condition.split_once(' ') {
                Some((">=", bound)) => oldest >= number(bound),
                Some(("<", bound)) => newest < number(bound),
                _ => panic!("not understood: {line}"),
            };
        } else if line == "-- end" {
            wanted = true;
        } else if wanted {
            kept += line;
        }
        kept.push('\n');
    }
    kept
}

fn number(word: &str) -> u32 {
    word.parse().unwrap_or_else(|_| panic!("not a major version: {word}"))
}
