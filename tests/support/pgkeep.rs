//! Runs the program under test in a folder and an environment of its own.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::cluster::percent_encoded;

/// No command of a test takes this long; a hang must end as a failure.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A working folder for pgkeep, removed when dropped, and the settings its runs have in common.
#[derive(Debug)]
pub struct Pgkeep {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

impl Pgkeep {
    /// With no database: pass `--database-url`, or set the environment.
    pub fn new() -> Pgkeep {
        let folder = tempfile::Builder::new().prefix("pgkeep-run-").tempdir().unwrap();
        Pgkeep { folder, environment: Vec::new() }
    }

    /// With `PGKEEP_DATABASE_URL` set, which keeps the password off the command line.
    pub fn on(url: &str) -> Pgkeep {
        Pgkeep::new().env("PGKEEP_DATABASE_URL", url)
    }

    /// Sets a variable for every run; a later value wins.
    pub fn env(mut self, name: &str, value: &str) -> Pgkeep {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The current folder of the runs, where `backups/` and the others appear.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Runs to the end, with no standard input.
    pub fn run<S: AsRef<str>>(&self, arguments: &[S]) -> Run {
        self.spawn(arguments).wait()
    }

    /// Runs and asserts exit code 0.
    pub fn ok<S: AsRef<str>>(&self, arguments: &[S]) -> Run {
        self.run(arguments).expect_code(0)
    }

    /// Starts a run that the test will signal, kill or wait for.
    pub fn spawn<S: AsRef<str>>(&self, arguments: &[S]) -> Running {
        let mut command = self.command();
        command.args(arguments.iter().map(AsRef::as_ref));
        Running::spawn(command)
    }

    /// The bare command, for what the other methods do not do.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgkeep"));
        command
            .current_dir(self.dir())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir())
            .env("LANG", "C.UTF-8")
            .env("RUST_BACKTRACE", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// The files of a sub-folder such as `backups`, by name.
    pub fn files(&self, sub_folder: &str) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.dir().join(sub_folder)) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// The one file of a sub-folder.
    pub fn only_file(&self, sub_folder: &str) -> PathBuf {
        let files = self.files(sub_folder);
        assert_eq!(files.len(), 1, "{sub_folder} holds one file: {files:?}");
        files[0].clone()
    }

    /// The newest restore log (their names sort by time).
    pub fn restore_log(&self) -> serde_json::Value {
        let mut logs = self.files("summaries").into_iter();
        let is_log = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("restore_log_");
        let newest = logs.rfind(is_log).expect("there is a restore log");
        serde_json::from_slice(&std::fs::read(newest).unwrap()).unwrap()
    }

    /// Asserts that a secret is in no file below the folder, nor in what the run printed, in any spelling.
    pub fn assert_secret_nowhere(&self, secret: &str, runs: &[&Run]) {
        let spellings = [secret.to_owned(), percent_encoded(secret)];
        let check = |place: &str, content: &[u8]| {
            for spelling in &spellings {
                let found = content.windows(spelling.len()).any(|window| window == spelling.as_bytes());
                assert!(!found, "the secret is in {place}");
            }
        };
        for run in runs {
            check("standard output", run.stdout.as_bytes());
            check("standard error", run.stderr.as_bytes());
        }
        for path in files_below(self.dir()) {
            check(&path.display().to_string(), path.as_os_str().as_encoded_bytes());
            check(&path.display().to_string(), &unpacked(&path));
        }
    }
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct Run {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Asserts the exit code, and shows what was printed when it is another.
    pub fn expect_code(self, code: i32) -> Run {
        assert_eq!(self.code, Some(code), "exit code; stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as one JSON value (`--json`).
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}; stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr))
    }

    /// Asserts that standard error has this text.
    pub fn says(&self, text: &str) -> &Run {
        assert!(self.stderr.contains(text), "no {text:?} in:\n{}", self.stderr);
        self
    }
}

/// A run that has not been waited for; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts any command in this way, with its output collected.
    pub fn spawn(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Running { child, stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn kill_9(&self) {
        self.signal(Signal::KILL);
    }

    /// As Ctrl-Z on a terminal; returns when it stands still.
    pub fn pause(&self) {
        self.signal(Signal::TSTP);
        let stat = format!("/proc/{}/stat", self.pid());
        super::wait_until("the process stands still", 60, || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        });
    }

    /// As `fg`.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        let _ = kill_process(pid, signal);
    }

    /// Waits for the end; a run that hangs is killed and fails the test.
    pub fn wait(self) -> Run {
        self.wait_for(TIMEOUT)
    }

    pub fn wait_for(mut self, limit: Duration) -> Run {
        let end = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > end {
                self.kill_9();
                let _ = self.child.wait();
                break None;
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        let [stdout, stderr] = [self.stdout.take(), self.stderr.take()].map(|output| {
            String::from_utf8_lossy(&output.map(|thread| thread.join().unwrap()).unwrap_or_default())
                .into_owned()
        });
        let Some(status) = status else {
            panic!("still running after {limit:?}; stdout:\n{stdout}\nstderr:\n{stderr}");
        };
        Run { code: status.code(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut output: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = output.read_to_end(&mut bytes);
        bytes
    })
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
}

/// What a file holds, decompressed as far as it can be.
fn unpacked(path: &Path) -> Vec<u8> {
    let packed = std::fs::read(path).unwrap_or_default();
    let mut plain = Vec::new();
    if packed.starts_with(&[0x1f, 0x8b]) {
        let _ = flate2::read::MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut plain);
        return plain;
    }
    if packed.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        if let Ok(mut decoder) = zstd::stream::read::Decoder::new(packed.as_slice()) {
            let _ = decoder.read_to_end(&mut plain);
        }
        return plain;
    }
    packed
}
