//! Throwaway Postgres servers: a folder, a port and a watchdog each.
//!
//! Statics are not dropped and a test may be killed, so cleaning up cannot be left to `Drop`: a watchdog shell
//! waits for its standard input to end, which happens when the test process lets go of it or dies, and then
//! kills the server and removes the folder. `Drop` goes the same way.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::postgres::{Postgres, ServerUser};
use super::sql::{Rows, query};
use super::wait_until;

/// The superuser's password: hard on URL parsers, and easy to search for where it must not appear.
pub const PASSWORD: &str = "open:sesame/@100%";

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Speed over durability, except that a commit survives `kill_9`; and nothing outside of the folder (no files in /dev/shm), so that nothing can leak.
const BASE_CONFIG: &str = "\
fsync = off
full_page_writes = off
shared_buffers = 32MB
dynamic_shared_memory_type = mmap
max_connections = 60
max_prepared_transactions = 5
listen_addresses = '127.0.0.1'
log_line_prefix = '%m [%p] %u@%d '
";

const BASE_HBA: &str = "\
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
";

/// How to make a cluster; the default is a UTF-8 one of the system's own version.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub major: Option<u32>,
    /// More lines of postgresql.conf; later ones win.
    pub config: Vec<String>,
    /// The whole of pg_hba.conf in place of "password over TCP and socket".
    pub hba: Option<String>,
    /// Such as `SQL_ASCII` or `LATIN1`; these get the locale C.
    pub encoding: Option<String>,
    /// The superuser's name in place of `postgres`.
    pub superuser: Option<String>,
    /// Files put into the data folder, readable by the server alone: certificates and keys.
    pub files: Vec<(String, Vec<u8>)>,
}

/// A running server. Dropping it kills the server and removes its folder.
#[derive(Debug)]
pub struct Cluster {
    pub postgres: Postgres,
    pub port: u16,
    folder: PathBuf,
    superuser: String,
    server: Mutex<Option<Child>>,
    watchdog: Child,
}

impl Cluster {
    pub fn start(options: Options) -> Cluster {
        let postgres = Postgres::find(options.major).unwrap_or_else(|| match options.major {
            Some(major) => panic!("Postgres {major} is not installed: see scripts/postgres-majors"),
            None => panic!("no Postgres server is installed: run scripts/test, which installs one"),
        });
        let folder = make_folder();
        let watchdog = spawn_watchdog(&folder);
        let superuser = options.superuser.clone().unwrap_or_else(|| "postgres".to_owned());
        let mut cluster =
            Cluster { postgres, port: 0, folder, superuser, server: Mutex::new(None), watchdog };
        cluster.init_data(&options);
        cluster.configure(&options);
        // The port is free when it is chosen, and may be taken by another process before the server binds it.
        let mut attempts = 0;
        loop {
            cluster.port = free_port();
            attempts += 1;
            match cluster.launch() {
                Ok(()) => return cluster,
                Err(log) if attempts < 5 && log.contains("could not bind") => continue,
                Err(log) => panic!("the server did not start:\n{log}"),
            }
        }
    }

    /// The superuser's URL of a database.
    pub fn url(&self, database: &str) -> String {
        self.url_as(&self.superuser, PASSWORD, database)
    }

    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        let [user, password, database] = [user, password, database].map(percent_encoded);
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Where the server's Unix socket is.
    pub fn socket_dir(&self) -> &Path {
        &self.folder
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Runs a batch of statements (superuser).
    pub fn execute(&self, database: &str, sql: &str) {
        query(&self.url(database), sql);
    }

    /// Runs a batch and returns its rows (superuser).
    pub fn query(&self, database: &str, sql: &str) -> Rows {
        query(&self.url(database), sql)
    }

    pub fn create_database(&self, name: &str) {
        // template0 has nobody connected, so that tests can do this at the same time.
        self.execute(
            "postgres",
            &format!("CREATE DATABASE \"{}\" TEMPLATE template0", name.replace('"', "\"\"")),
        );
    }

    /// A new, empty database. The name must be the test's own: a second one of that name is an error.
    pub fn database(&self, name: &str) -> Database<'_> {
        self.create_database(name);
        Database { cluster: self, name: name.to_owned(), url: self.url(name) }
    }

    /// The postmaster's process id.
    pub fn pid(&self) -> u32 {
        self.server().as_ref().expect("the server runs").id()
    }

    /// Kills every process of the server at once, as a power cut would.
    pub fn kill_9(&self) {
        if let Some(mut server) = self.server().take() {
            let postmaster = server.id();
            // Frozen first: else it would notice a child's death and begin a tidy recovery.
            signal(postmaster, Signal::STOP);
            let in_state =
                |pid, states: &[&str]| stat(pid).is_none_or(|(state, _)| states.contains(&state.as_str()));
            wait_until("the postmaster is frozen", 10, || in_state(postmaster, &["T", "Z"]));
            let children = children_of(postmaster);
            for &child in &children {
                signal(child, Signal::KILL);
            }
            signal(postmaster, Signal::KILL);
            let _ = server.wait();
            // A new server refuses to start while one of them still has the shared memory.
            let gone = || children.iter().all(|&child| in_state(child, &["Z", "X"]));
            wait_until("the server's processes are gone", 10, gone);
        }
    }

    /// A fast shutdown: sessions are ended, the data is left clean.
    pub fn stop(&self) {
        if let Some(mut server) = self.server().take() {
            signal(server.id(), Signal::INT);
            let _ = server.wait();
        }
    }

    /// Stops the server if it runs, and starts it on the same data and port; also after `kill_9`.
    pub fn restart(&self) {
        self.stop();
        if let Err(log) = self.launch() {
            panic!("the server did not start again:\n{log}");
        }
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path())
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Puts the extensions of a folder of `fixtures/` where the server looks, if this is a server of ours and not the
    /// system's; whether it is.
    pub fn install_extensions(&self, fixtures: &str) -> bool {
        let folder = self.postgres.bin_dir.join("../share/postgresql/extension");
        if !self.postgres.is_fetched() || !folder.is_dir() {
            return false;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixtures);
        for entry in std::fs::read_dir(source).unwrap() {
            let entry = entry.unwrap();
            // Another process may be at it, or reading.
            let mut file = tempfile::NamedTempFile::new_in(&folder).unwrap();
            file.write_all(&std::fs::read(entry.path()).unwrap()).unwrap();
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).unwrap();
            file.persist(folder.join(entry.file_name())).unwrap();
        }
        true
    }

    /// Whether `CREATE EXTENSION` would find it.
    pub fn has_extension(&self, name: &str) -> bool {
        let sql = format!("SELECT 1 FROM pg_available_extensions WHERE name = '{name}'");
        !self.query("postgres", &sql).is_empty()
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn init_data(&self, options: &Options) {
        let password_file = self.folder.join("password");
        self.write_private(&password_file, PASSWORD.as_bytes());
        let encoding = options.encoding.as_deref().unwrap_or("UTF8");
        let locales: &[&str] = if encoding == "UTF8" { &["C.UTF-8", "C"] } else { &["C"] };
        let mut complaint = String::new();
        for locale in locales {
            let output = self
                .postgres
                .command("initdb")
                .args(["--auth=scram-sha-256", "--no-sync"])
                .arg(format!("--username={}", self.superuser))
                .arg(format!("--pwfile={}", password_file.display()))
                .arg(format!("--locale={locale}"))
                .arg(format!("--encoding={encoding}"))
                .arg("--pgdata")
                .arg(self.data_dir())
                .current_dir(&self.folder)
                .env_remove("PGDATA")
                .output()
                .expect("initdb runs");
            if output.status.success() {
                return;
            }
            complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        }
        panic!("initdb failed:\n{complaint}");
    }

    fn configure(&self, options: &Options) {
        let mut config = format!("{BASE_CONFIG}unix_socket_directories = '{}'\n", self.folder.display());
        for line in &options.config {
            config += line;
            config.push('\n');
        }
        let data = self.data_dir();
        // Included by name from here: the file that initdb wrote stays as the server's own defaults.
        self.write_private(&data.join("test.conf"), config.as_bytes());
        let main = data.join("postgresql.conf");
        let defaults = std::fs::read_to_string(&main).expect("initdb wrote postgresql.conf");
        self.write_private(&main, format!("{defaults}\ninclude = 'test.conf'\n").as_bytes());
        let hba = options.hba.as_deref().unwrap_or(BASE_HBA);
        self.write_private(&data.join("pg_hba.conf"), hba.as_bytes());
        for (name, content) in &options.files {
            self.write_private(&data.join(name), content);
        }
    }

    /// Writes a file that the server's user owns and nobody else may read.
    fn write_private(&self, path: &Path, content: &[u8]) {
        std::fs::write(path, content).expect("the cluster's folder is writable");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if let Some(user) = ServerUser::needed() {
            chown(path, Some(user.uid), Some(user.gid)).unwrap();
        }
    }

    /// Starts the server and waits until it takes connections; the log when it does not.
    fn launch(&self) -> Result<(), String> {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut server = self
            .postgres
            .command("postgres")
            .arg("-D")
            .arg(self.data_dir())
            .arg("-p")
            .arg(self.port.to_string())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // Ctrl-C at the terminal is for the tests; the watchdog then ends the server.
            .process_group(0)
            .spawn()
            .expect("postgres runs");
        let end = Instant::now() + START_TIMEOUT;
        while !self.is_ready(server.id()) {
            if server.try_wait().unwrap().is_some() || Instant::now() > end {
                let _ = server.kill();
                let _ = server.wait();
                return Err(self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        *self.server() = Some(server);
        Ok(())
    }

    /// The postmaster writes its state into the eighth line of postmaster.pid.
    fn is_ready(&self, pid: u32) -> bool {
        let file = std::fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap_or_default();
        let mut lines = file.lines();
        lines.next() == Some(pid.to_string().as_str()) && lines.nth(6).map(str::trim) == Some("ready")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        if let Some(mut server) = self.server().take() {
            let _ = server.wait();
        }
        let _ = self.watchdog.wait();
    }
}

/// One database of a cluster.
#[derive(Debug)]
pub struct Database<'a> {
    pub cluster: &'a Cluster,
    pub name: String,
    /// The superuser's URL.
    pub url: String,
}

impl Database<'_> {
    pub fn execute(&self, sql: &str) {
        query(&self.url, sql);
    }

    pub fn query(&self, sql: &str) -> Rows {
        query(&self.url, sql)
    }

    /// The first value of the first row.
    pub fn value(&self, sql: &str) -> String {
        let rows = self.query(sql);
        rows.first().and_then(|row| row.first().cloned().flatten()).expect("the query returns a value")
    }

    pub fn digest(&self) -> super::Digest {
        super::database_digest(&self.url)
    }

    pub fn url_as(&self, user: &str, password: &str) -> String {
        self.cluster.url_as(user, password, &self.name)
    }
}

/// The cluster that all tests of one file use for this major; each takes a database of its own.
pub fn shared(major: Option<u32>) -> &'static Cluster {
    static CLUSTERS: OnceLock<Mutex<HashMap<u32, &'static Cluster>>> = OnceLock::new();
    let major = major.or_else(|| Postgres::find(None).map(|postgres| postgres.major)).unwrap_or_default();
    let mut clusters = CLUSTERS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    clusters.entry(major).or_insert_with(|| {
        Box::leak(Box::new(Cluster::start(Options { major: Some(major), ..Options::default() })))
    })
}

/// `@:/%` and the like as `%XX`, so that any text can be a part of a URL.
pub fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// A folder that the server's user can write to, on a path short enough for a socket (107 bytes).
fn make_folder() -> PathBuf {
    let parent = std::env::temp_dir();
    let parent = if parent.as_os_str().len() > 60 { PathBuf::from("/tmp") } else { parent };
    let folder = tempfile::Builder::new().prefix("pgkeep-test-").tempdir_in(parent).unwrap().keep();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    if let Some(user) = ServerUser::needed() {
        chown(&folder, Some(user.uid), Some(user.gid)).unwrap();
    }
    folder
}

fn spawn_watchdog(folder: &Path) -> Child {
    // `read` returns at the end of the pipe. The pid counts only while it is this folder's postmaster: a dead
    // one that nobody has waited for has an empty command line.
    const SCRIPT: &str = r#"
        trap '' HUP INT TERM
        read -r _
        ours() { pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && grep -qF "$1/data" "/proc/$pid/cmdline" 2>/dev/null; }
        tries=0
        while ours "$1" && [ "$tries" -lt 500 ]; do
            if [ $((tries % 100)) -eq 0 ]; then kill -QUIT "$pid" 2>/dev/null; fi
            tries=$((tries + 1))
            sleep 0.02
        done
        rm -rf "$1" || { sleep 1; rm -rf "$1"; }
    "#;
    Command::new("sh")
        .args(["-c", SCRIPT, "pgkeep-test-watchdog"])
        .arg(folder)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("sh runs")
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| stat(pid).is_some_and(|(_, its_parent)| its_parent == parent))
        .collect()
}

/// The state and the parent of a process; None when there is none.
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name, in parentheses, may hold anything; after it come the state and the parent.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
