//! The judge: a `pg_dump` that can read the server in question, and the `psql` that runs its scripts.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::postgres::{Postgres, from_cache_folder, major_of};

/// `pg_dump` and `psql` of one major.
#[derive(Debug, Clone)]
pub struct Client {
    pub major: u32,
    bin_dir: PathBuf,
}

impl Client {
    /// The newest that is there: the one that `scripts/postgres-client` fetches, else an installed one. None, and a word
    /// about it, where it is older than the server: it would refuse.
    pub fn for_server(major: u32) -> Option<Client> {
        let fetched = from_cache_folder("client").into_iter().find_map(Client::in_folder);
        let installed = || {
            let folders = (13..=18).rev().filter_map(|n| Some(Postgres::find(Some(n))?.bin_dir));
            folders.filter_map(Client::in_folder).max_by_key(|client| client.major)
        };
        let client = fetched.or_else(installed);
        if client.as_ref().is_none_or(|client| client.major < major) {
            let _ = writeln!(
                std::io::stderr(),
                "no pg_dump reads a server of major {major}: scripts/postgres-client fetches one"
            );
            return None;
        }
        client
    }

    fn in_folder(bin_dir: PathBuf) -> Option<Client> {
        let output = Command::new(bin_dir.join("pg_dump")).arg("--version").output().ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout))?;
        bin_dir.join("psql").is_file().then_some(Client { major, bin_dir })
    }

    /// Where psql is.
    pub fn psql(&self) -> PathBuf {
        self.bin_dir.join("psql")
    }

    /// The whole database as a script, but for the lines whose text is random.
    pub fn dump(&self, url: &str, options: &[&str]) -> Result<String, String> {
        let output = self.command("pg_dump", url).args(options).output().unwrap();
        let script = checked("pg_dump", output)?;
        let random = |line: &&str| line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ");
        Ok(script.split_inclusive('\n').filter(|line| !random(line)).collect())
    }

    /// Runs a script; the first error ends it.
    pub fn run_script(&self, url: &str, script: &str) -> Result<(), String> {
        let mut command = self.command("psql", url);
        command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // It may end before it has read everything: the error is in its own words then.
        let mut input = child.stdin.take().unwrap();
        let _ = input.write_all(script.as_bytes());
        drop(input);
        checked("psql", child.wait_with_output().unwrap()).map(drop)
    }

    fn command(&self, program: &str, url: &str) -> Command {
        let mut command = Command::new(self.bin_dir.join(program));
        command
            .arg("--dbname")
            .arg(url)
            .env("PGCLIENTENCODING", "UTF8")
            .env_remove("PGOPTIONS")
            .stdin(Stdio::null());
        command
    }
}

fn checked(program: &str, output: Output) -> Result<String, String> {
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// The first 40 lines of what `diff -u` says about two texts; None when they are the same.
pub fn difference(left: &str, right: &str) -> Option<String> {
    if left == right {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("original", left), ("restored", right)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut command = Command::new("diff");
    command.args(["--text", "-u", "original", "restored"]).current_dir(folder.path());
    let shown = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let shown = shown.unwrap_or_else(|error| format!("they differ (and diff does not run: {error})"));
    Some(shown.lines().take(40).map(|line| format!("{line}\n")).collect())
}
