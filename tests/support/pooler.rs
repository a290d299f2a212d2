//! A PgBouncer before a test's server.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::cluster::{Cluster, free_port};
use super::postgres::{ServerUser, owned_by_server};

/// A running PgBouncer. It ends when it is dropped.
#[derive(Debug)]
pub struct Pooler {
    pub port: u16,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Pooler {
    /// Before `cluster`, with `mode` (`session`, `transaction`) and so many server connections; `users` with their
    /// passwords may connect, and nobody asks them for one.
    pub fn start(cluster: &Cluster, mode: &str, size: usize, users: &[(&str, &str)]) -> Pooler {
        Pooler::with(cluster, mode, size, users, "max_client_conn = 50")
    }

    /// The same with more settings.
    pub fn with(cluster: &Cluster, mode: &str, size: usize, users: &[(&str, &str)], more: &str) -> Pooler {
        let folder = tempfile::Builder::new().prefix("pgkeep-pooler-").tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let quoted = |text: &str| text.replace('"', "\"\"");
        let list: String = users
            .iter()
            .map(|(user, password)| format!("\"{}\" \"{}\"\n", quoted(user), quoted(password)))
            .collect();
        std::fs::write(file("users"), list).unwrap();
        let port = free_port();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n\
             auth_file = {}\npool_mode = {mode}\ndefault_pool_size = {size}\n\
             query_wait_timeout = 20\n{more}\nlogfile = {}\npidfile = {}\n",
            cluster.port,
            file("users"),
            file("log"),
            file("pid"),
        );
        std::fs::write(file("settings"), settings).unwrap();
        owned_by_server(folder.path());
        let child = command()
            .arg(file("settings"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("PgBouncer runs");
        let pooler = Pooler { port, child, _folder: folder };
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "PgBouncer did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        pooler
    }

    /// A user's URL of a database.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// PgBouncer as a user that it accepts: it refuses to run as root.
fn command() -> Command {
    let program = program();
    match ServerUser::needed() {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args([
                &format!("--reuid={}", user.uid),
                &format!("--regid={}", user.gid),
                "--clear-groups",
            ]);
            command.arg(program);
            command
        }
    }
}

fn program() -> PathBuf {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pgbouncer/pgbouncer");
    let places = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join("pgbouncer"))
        .chain([PathBuf::from("/usr/sbin/pgbouncer"), fetched])
        .collect::<Vec<_>>();
    let found = places.into_iter().find(|path| path.is_file());
    found.expect("PgBouncer is not there: run scripts/pgbouncer, which fetches it")
}
