//! Finds the installed Postgres servers of any major version, and runs their programs as a user they accept.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The versions that pgkeep promises to work with.
const SUPPORTED_MAJORS: std::ops::RangeInclusive<u32> = 13..=18;

/// The programs of one installed server. Only `initdb` and `postgres` are counted on.
#[derive(Debug, Clone)]
pub struct Postgres {
    pub major: u32,
    pub bin_dir: PathBuf,
}

impl Postgres {
    /// The server of that major version; without one, the system's own newest, because that has the contrib
    /// extensions and the client programs beside it.
    ///
    /// Looked for in `PGKEEP_TEST_BINDIR_<major>`, in the places where distributions install it, in `PATH`, and
    /// in `target/postgres/<major>`, which `scripts/postgres-majors` fills.
    pub fn find(major: Option<u32>) -> Option<Postgres> {
        let wanted = match major {
            Some(major) => vec![major],
            None => SUPPORTED_MAJORS.rev().collect(),
        };
        let places: [fn(u32) -> Vec<PathBuf>; 4] = [from_environment, from_system, from_path, from_cache];
        places.iter().find_map(|place| {
            wanted.iter().find_map(|&major| {
                place(major).into_iter().find_map(|folder| Postgres::in_folder(&folder, major))
            })
        })
    }

    fn in_folder(folder: &Path, major: u32) -> Option<Postgres> {
        if !folder.join("postgres").is_file() || !folder.join("initdb").is_file() {
            return None;
        }
        // The server looks for its libraries relative to its real place.
        let bin_dir = folder.canonicalize().ok()?;
        let postgres = Postgres { major, bin_dir };
        // Fails too where the user that servers run as may not read the folder.
        let output = postgres.command("postgres").arg("--version").output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success() && major_of(&version) == Some(major)).then_some(postgres)
    }

    /// A command of this server, run as an unprivileged user when the tests run as root.
    pub fn command(&self, program: &str) -> Command {
        let program = self.bin_dir.join(program);
        match ServerUser::needed() {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={}", user.uid))
                    .arg(format!("--regid={}", user.gid))
                    .arg("--clear-groups")
                    .arg(program);
                command
            }
        }
    }

    /// Whether it is one that `scripts/postgres-majors` fetched, so that tests may add files to it.
    pub fn is_fetched(&self) -> bool {
        from_cache(self.major).iter().any(|folder| folder.canonicalize().is_ok_and(|f| f == self.bin_dir))
    }

    /// The path of a client program such as `pg_dump` or `psql`, when this installation has it.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        Some(self.bin_dir.join(name)).filter(|path| path.is_file())
    }
}

/// The majors to test against: those in `PGKEEP_TEST_MAJORS` (such as `13,18`), else all that are found.
pub fn majors() -> Vec<u32> {
    if let Ok(list) = std::env::var("PGKEEP_TEST_MAJORS") {
        let parse = |word: &str| word.parse().expect("PGKEEP_TEST_MAJORS is a list of numbers");
        return list.split([',', ' ']).filter(|word| !word.is_empty()).map(parse).collect();
    }
    let found: Vec<u32> = SUPPORTED_MAJORS.filter(|&major| Postgres::find(Some(major)).is_some()).collect();
    assert!(!found.is_empty(), "no Postgres server is installed: run scripts/test, which installs one");
    found
}

/// The user that servers run as when the tests run as root.
#[derive(Debug, Clone, Copy)]
pub struct ServerUser {
    pub uid: u32,
    pub gid: u32,
}

impl ServerUser {
    /// None when the tests run unprivileged already.
    pub fn needed() -> Option<ServerUser> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
        let user = ["postgres", "nobody"].iter().find_map(|name| {
            let fields: Vec<&str> =
                users.lines().map(|line| line.split(':').collect()).find(|f: &Vec<&str>| f[0] == *name)?;
            Some(ServerUser { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
        });
        Some(user.expect("this machine has a user named postgres or nobody"))
    }
}

/// Gives a folder and the files in it to the user that servers run as.
pub(super) fn owned_by_server(folder: &Path) {
    let Some(user) = ServerUser::needed() else { return };
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in files.chain([folder.to_path_buf()]) {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).unwrap();
    }
}

fn from_environment(major: u32) -> Vec<PathBuf> {
    std::env::var_os(format!("PGKEEP_TEST_BINDIR_{major}")).map(PathBuf::from).into_iter().collect()
}

fn from_system(major: u32) -> Vec<PathBuf> {
    vec![
        format!("/usr/lib/postgresql/{major}/bin").into(),
        format!("/usr/pgsql-{major}/bin").into(),
        format!("/opt/homebrew/opt/postgresql@{major}/bin").into(),
    ]
}

fn from_path(_major: u32) -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

fn from_cache(major: u32) -> Vec<PathBuf> {
    from_cache_folder(&major.to_string())
}

/// Where a script of ours puts programs that it fetched, in `target/postgres/NAME/bin`.
pub fn from_cache_folder(name: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut targets = vec![root.join("target")];
    targets.extend(std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from));
    targets.into_iter().map(|target| target.join("postgres").join(name).join("bin")).collect()
}

/// `postgres (PostgreSQL) 15.14 (Debian …)` → 15, `18beta1` → 18.
pub fn major_of(version: &str) -> Option<u32> {
    let number = version.split(") ").nth(1)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}
