//! Why a connection could not be made: one sentence a host, and whether trying again can help.

use std::fmt;
use std::io;

use tokio_postgres::Error;

use super::conninfo::{ConnInfo, Host, Place};
use super::error::{describe_io, io_error, sqlstate};
use super::tls_verify;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// Nobody listens there, or the network cut the connection while it was made.
    Unreachable,
    /// The host's name cannot be looked up.
    UnknownHost,
    /// No answer in time.
    Timeout,
    /// The server is starting up or shutting down.
    NotReady,
    /// The server has no free connection.
    TooManyConnections,
    /// The server does not speak TLS.
    NoTls,
    /// TLS could not be agreed on, or the certificate is not trusted.
    Tls,
    /// Wrong or missing password, unknown role, or no `pg_hba.conf` entry.
    Authentication,
    /// The database does not exist.
    NoSuchDatabase,
    /// The role may not connect to the database.
    NotPermitted,
    /// The server is not of the kind that `target_session_attrs` asks for.
    WrongTarget,
    /// What answers is no Postgres server.
    NotPostgres,
    /// The settings contradict each other or name files that are not there.
    Settings,
    /// The server refused for another reason.
    Refused,
}

/// Why one host would not do.
#[derive(Debug)]
pub struct HostError {
    /// What went wrong.
    pub kind: ConnectErrorKind,
    /// One sentence that names host, port and what else matters.
    pub message: String,
    /// Whether it may pass by itself.
    pub transient: bool,
    /// The SQLSTATE, if the server spoke.
    pub sqlstate: Option<String>,
    /// What the driver said.
    pub cause: Option<Error>,
}

impl HostError {
    /// Whether the server itself refused, so that no other host need be tried (as in libpq).
    pub(crate) fn is_final(&self) -> bool {
        self.sqlstate.is_some() && !self.transient || self.kind == ConnectErrorKind::Settings
    }

    pub(crate) fn new(kind: ConnectErrorKind, message: String) -> Self {
        let transient = matches!(
            kind,
            ConnectErrorKind::Unreachable
                | ConnectErrorKind::Timeout
                | ConnectErrorKind::NotReady
                | ConnectErrorKind::TooManyConnections
        );
        HostError { kind, message, transient, sqlstate: None, cause: None }
    }

    pub(crate) fn timeout(info: &ConnInfo, host: &Host) -> Self {
        let seconds = info.connect_timeout.map_or(0, |timeout| timeout.as_secs());
        let place = host.display_with_port();
        HostError::new(
            ConnectErrorKind::Timeout,
            format!("cannot connect to {place}: no answer within {seconds} s (connect_timeout)"),
        )
    }

    pub(crate) fn lookup(host: &Host, error: &io::Error) -> Self {
        let text = error.to_string();
        // getaddrinfo's code is lost in the I/O error; these are glibc's and musl's words for EAI_AGAIN.
        let temporary = text.contains("emporary failure") || text.contains("Try again");
        let reason = match text.split_once(": ") {
            Some((_, reason)) => reason.to_lowercase(),
            None => text,
        };
        let message = format!("cannot look up host {:?}: {reason}", host.display());
        HostError { transient: temporary, ..HostError::new(ConnectErrorKind::UnknownHost, message) }
    }

    /// Classifies a failure of the socket.
    pub(crate) fn socket(host: &Host, error: &io::Error) -> Self {
        let hint = match (error.kind(), &host.place) {
            (io::ErrorKind::NotFound, Place::Unix(_)) => {
                "there is no such socket (is the server running, with this port and socket folder?)"
                    .to_owned()
            }
            (io::ErrorKind::ConnectionRefused, _) => {
                "connection refused (is the server running there?)".to_owned()
            }
            _ => describe_io(error),
        };
        let message = format!("cannot connect to {}: {hint}", host.display_with_port());
        let transient = error.kind() != io::ErrorKind::PermissionDenied;
        HostError { transient, ..HostError::new(ConnectErrorKind::Unreachable, message) }
    }

    /// Classifies an error of the driver.
    pub(crate) fn from_driver(info: &ConnInfo, host: &Host, cause: Error) -> Self {
        let mut error = if let Some(code) = sqlstate(&cause) {
            let text = cause.as_db_error().map_or("", |db| db.message());
            let mut error = from_server(info, host, code, text);
            error.sqlstate = Some(code.to_owned());
            error
        } else if let Some(tls) = tls_verify::find(&cause) {
            let text = tls_verify::explain(tls, &info.tls, &host.display());
            let message = format!("cannot connect to {}: {text}", host.display_with_port());
            HostError::new(ConnectErrorKind::Tls, message)
        } else {
            from_transport(info, host, &cause)
        };
        error.cause = Some(cause);
        error
    }
}

/// What a server's SQLSTATE means before a session exists
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn from_server(info: &ConnInfo, host: &Host, code: &str, text: &str) -> HostError {
    use ConnectErrorKind as Kind;
    let (place, user, database) = (host.display_with_port(), &info.user, &info.dbname);
    let (kind, message) = match code {
        "28P01" => {
            (Kind::Authentication, format!("password authentication failed for user \"{user}\" at {place}"))
        }
        "28000" => (Kind::Authentication, format!("{place} refuses user \"{user}\": {text}")),
        "3D000" => (Kind::NoSuchDatabase, format!("database \"{database}\" does not exist at {place}")),
        "42501" => (
            Kind::NotPermitted,
            format!("user \"{user}\" may not connect to database \"{database}\" at {place}: {text}"),
        ),
        // 57P03 cannot_connect_now, 57P01 and 57P02 shutdowns; class 08 is a pooler's view of the server behind it,
        // of which 08P01 (protocol violation) and 08004 (rejected) do not pass.
        "57P01" | "57P02" | "57P03" | "08000" | "08001" | "08003" | "08006" => {
            (Kind::NotReady, format!("the server at {place} is not ready: {text}"))
        }
        "53300" => {
            (Kind::TooManyConnections, format!("the server at {place} has no free connection: {text}"))
        }
        _ => (Kind::Refused, format!("the server at {place} refused the connection: {text}")),
    };
    let mut error = HostError::new(kind, message);
    // The rest of class 53 is a server that lacks memory or disk at the moment.
    error.transient |= code.starts_with("53");
    error
}

/// Failures below SQL: sockets, TLS negotiation, authentication methods. tokio-postgres does not make the kinds of
/// its errors public, so its words decide; tests hold them in place.
fn from_transport(info: &ConnInfo, host: &Host, cause: &Error) -> HostError {
    use ConnectErrorKind as Kind;
    let (place, user) = (host.display_with_port(), &info.user);
    let inner = std::error::Error::source(cause).map(ToString::to_string).unwrap_or_default();
    let strange = |what: &dyn fmt::Display| {
        let message = format!("what answers at {place} does not speak like a Postgres server ({what})");
        HostError::new(Kind::NotPostgres, message)
    };
    if let Some(io) = io_error(cause) {
        // The codec's complaints come as I/O errors that no system call made.
        if io.raw_os_error().is_none()
            && matches!(
                io.kind(),
                io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
            )
        {
            return strange(io);
        }
        return HostError::socket(host, io);
    }
    if cause.is_closed() {
        let message = format!("cannot connect to {place}: the server closed the connection");
        return HostError::new(Kind::Unreachable, message);
    }
    match (cause.to_string().as_str(), inner.as_str()) {
        ("invalid configuration", "password missing") => HostError::new(
            Kind::Authentication,
            format!("{place} asks for a password for user \"{user}\", and none was given"),
        ),
        ("authentication error", "server did not use channel binding") => HostError::new(
            Kind::Authentication,
            format!("{place} offers no channel binding, which channel_binding=require insists on"),
        ),
        ("authentication error", reason) => HostError::new(
            Kind::Authentication,
            format!("cannot authenticate user \"{user}\" at {place}: {reason}"),
        ),
        ("error performing TLS handshake", SERVER_WITHOUT_TLS) => HostError::new(
            Kind::NoTls,
            format!("cannot connect to {place}: the server does not support TLS, which sslmode insists on"),
        ),
        ("error performing TLS handshake", reason) => {
            HostError::new(Kind::Tls, format!("cannot connect to {place}: TLS failed: {reason}"))
        }
        (what, reason) => strange(&format_args!("{what}: {reason}")),
    }
}

const SERVER_WITHOUT_TLS: &str = "server does not support TLS";

/// Why no connection could be made: each host's reason, from the last attempt.
#[derive(Debug)]
pub struct ConnectError {
    /// At least one.
    pub hosts: Vec<HostError>,
    /// How often all of them were tried.
    pub attempts: u32,
}

impl ConnectError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        self.hosts.iter().any(|host| host.transient) && !self.hosts.iter().any(HostError::is_final)
    }

    /// What went wrong at the host that was tried last.
    pub fn kind(&self) -> ConnectErrorKind {
        self.hosts.last().map_or(ConnectErrorKind::Settings, |host| host.kind)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hosts.len() > 1 {
            write!(f, "none of {} hosts will do: ", self.hosts.len())?;
        }
        for (index, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{}", if index > 0 { "; " } else { "" }, host.message)?;
        }
        if self.attempts > 1 {
            write!(f, " (tried {} times)", self.attempts)?;
        }
        Ok(())
    }
}

// No source: the driver's error is already told in the message, and a chain would print it twice.
impl std::error::Error for ConnectError {}
