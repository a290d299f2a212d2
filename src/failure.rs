//! How an engine says that it failed: what happened, what state things are in, what to do next, and which of the
//! exit codes of the contract that is.

use std::fmt;
use std::io::ErrorKind;

use crate::archive::error::ArchiveError;
use crate::archive::validate::Report;
use crate::postgres::error as pg;

/// The classes of failure that a caller, a script or a person must tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The work failed; the target is unchanged or was put back.
    Failed,
    /// Wrong usage or configuration.
    Usage,
    /// An archive is invalid or corrupt.
    Archive,
    /// No connection, or not permitted.
    Access,
    /// The work failed, and the target could not be put back, or nobody knows whether it was.
    NotPutBack,
    /// Interrupted by Ctrl-C or SIGTERM, and undone.
    Interrupted,
}

impl FailureKind {
    /// The process exit code of the contract.
    pub fn exit_code(self) -> u8 {
        match self {
            FailureKind::Failed => 1,
            FailureKind::Usage => 2,
            FailureKind::Archive => 4,
            FailureKind::Access => 5,
            FailureKind::NotPutBack => 6,
            FailureKind::Interrupted => 130,
        }
    }
}

/// A failure as a person needs it. Holds no row value and no secret.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The class.
    pub kind: FailureKind,
    /// What happened, a sentence.
    pub what: String,
    /// What state the database and the files are in; empty: nothing to say.
    pub state: String,
    /// What to do next; empty: nothing to say.
    pub next: String,
    /// Whether the server asks to try the whole transaction again (serialization failure, deadlock).
    pub transient: bool,
    /// Whether a lock was not granted in time.
    pub lock_timeout: bool,
}

impl Failure {
    /// A failure of this class.
    pub fn new(kind: FailureKind, what: impl Into<String>) -> Failure {
        Failure {
            kind,
            what: what.into(),
            state: String::new(),
            next: String::new(),
            transient: false,
            lock_timeout: false,
        }
    }

    /// Wrong usage.
    pub fn usage(what: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Usage, what)
    }

    /// Plain failure.
    pub fn failed(what: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Failed, what)
    }

    /// Interrupted by a signal.
    pub fn interrupted() -> Failure {
        Failure::new(FailureKind::Interrupted, "interrupted")
    }

    /// Of several that worked together, the failure that made the others stop: not the interruption that it caused.
    pub fn first_cause(results: Vec<Result<(), Failure>>) -> Option<Failure> {
        let mut failures: Vec<Failure> = results.into_iter().filter_map(Result::err).collect();
        let real = failures.iter().position(|f| f.kind != FailureKind::Interrupted).unwrap_or(0);
        (!failures.is_empty()).then(|| failures.swap_remove(real))
    }

    /// Adds what state things are in, where nothing deeper has said so.
    pub fn state(mut self, text: impl Into<String>) -> Failure {
        if self.state.is_empty() {
            self.state = text.into();
        }
        self
    }

    /// Adds what to do next, where nothing deeper has said so.
    pub fn next(mut self, text: impl Into<String>) -> Failure {
        if self.next.is_empty() {
            self.next = text.into();
        }
        self
    }

    /// Puts `what was being done` before what happened.
    pub fn while_doing(mut self, doing: impl fmt::Display) -> Failure {
        self.what = format!("{doing}: {}", self.what);
        self
    }

    /// A server's error, classed by its SQLSTATE.
    pub fn from_server(error: &tokio_postgres::Error) -> Failure {
        // 42501 insufficient_privilege (manual, appendix A).
        let kind = match pg::sqlstate(error) {
            Some("42501") => FailureKind::Access,
            _ => FailureKind::Failed,
        };
        let mut failure = Failure::new(kind, pg::describe(error));
        failure.transient = pg::is_serialization_failure(error);
        failure.lock_timeout = pg::is_lock_timeout(error);
        if failure.lock_timeout {
            return failure.next("end the session that holds the lock, wait for it, or let pgkeep wait longer with --lock-timeout 5min");
        }
        if pg::is_disk_full(error) {
            return failure.next("free disk space on the database server, then run the same command again");
        }
        if pg::is_lock_table_full(error) {
            return failure.next(
                "raise max_locks_per_transaction on the server (it takes a restart), or do a part of the tables at a time with --table",
            );
        }
        if pg::is_connection_loss(error) {
            return failure
                .next("see that the server is up and the network holds, then run the same command again");
        }
        failure
    }

    /// An archive that cannot be read or written.
    pub fn from_archive(error: &ArchiveError) -> Failure {
        match error {
            ArchiveError::Cancelled => Failure::interrupted(),
            error if error.is_invalid() => Failure::new(FailureKind::Archive, error.to_string()),
            error => {
                let mut failure = Failure::failed(error.to_string());
                failure.next = io_hint(error.io_kind()).to_owned();
                failure
            }
        }
    }

    /// Says the most general truth where nothing deeper has said what state things are in, or what to do next. The
    /// engines say themselves what they leave behind; what remains has changed nothing.
    pub fn complete(self) -> Failure {
        let (state, next) = match self.kind {
            FailureKind::Usage => (
                "nothing was read or written",
                "see what there is with pgkeep --help and pgkeep COMMAND --help",
            ),
            FailureKind::Archive => {
                ("nothing was changed", "choose another archive (pgkeep list, pgkeep list-safety)")
            }
            FailureKind::Access => ("nothing was changed", "connect as a role that may do this"),
            FailureKind::Interrupted => {
                ("nothing was changed", "run the same command again when you are ready")
            }
            FailureKind::NotPutBack => {
                ("the target may have been changed", "look into the restore log in summaries/")
            }
            FailureKind::Failed => (
                "nothing was changed",
                "remove the cause, then run the same command again; -v and logs/ have the details",
            ),
        };
        self.state(state).next(next)
    }

    /// What validation found wrong.
    pub fn from_report(report: &Report) -> Failure {
        const LISTED: usize = 10;
        let mut lines: Vec<String> = report.critical_failures.iter().map(ToString::to_string).collect();
        lines.extend(report.damage.iter().take(LISTED).map(ToString::to_string));
        if report.damaged_chunks > LISTED as u64 {
            lines.push(format!("and {} damaged chunks more", report.damaged_chunks - LISTED as u64));
        }
        Failure::new(FailureKind::Archive, lines.join("\n    "))
    }

    /// An operating-system error about a path.
    pub fn from_io(doing: impl fmt::Display, error: &std::io::Error) -> Failure {
        Failure::failed(format!("{doing}: {}", system_words(error))).next(io_hint(Some(error.kind())))
    }
}

/// The system's reason without the "(os error 28)" that tells an operator nothing.
fn system_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn io_hint(kind: Option<ErrorKind>) -> &'static str {
    match kind {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) => {
            "free disk space on this machine or choose another folder with --dir or --out, then run the same command again"
        }
        Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            "choose a folder that you may write to with --dir or --out"
        }
        Some(ErrorKind::NotADirectory | ErrorKind::NotFound) => {
            "check the path; choose a folder that is there with --dir or --out"
        }
        _ => "",
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::from_server(&error)
    }
}
