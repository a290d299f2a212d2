//! How to reach a database: plain data, made by [`ConnInfo::resolve`] and read by `connect`.
//!
//! It says nothing that a person may not see: passwords are [`Secret`]s, and [`ConnInfo::redacted`] leaves them out.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::secret::{self, Secret, SecretError};

/// Whether and how TLS is used; libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only when the server insists.
    Allow,
    /// When the server can.
    Prefer,
    /// Always; the certificate is checked only when a root certificate is at hand.
    Require,
    /// Always, with a certificate from a trusted authority.
    VerifyCa,
    /// Always, with a certificate from a trusted authority that names the host.
    VerifyFull,
}

/// What signs the certificates that are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootCert {
    /// The certificates of a PEM file.
    File(PathBuf),
    /// The authorities that the operating system trusts.
    System,
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    /// PEM file of the certificate and what follows it in its chain.
    pub cert: PathBuf,
    /// PEM file of the key, unencrypted.
    pub key: PathBuf,
}

/// The oldest or newest TLS version that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2, the oldest that pgkeep speaks.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// Everything about TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Whether and how.
    pub mode: SslMode,
    /// What is trusted; `None`: no root certificate was given and `~/.postgresql/root.crt` does not exist.
    pub root: Option<RootCert>,
    /// What the client shows when it is asked who it is.
    pub client: Option<ClientCert>,
    /// Whether the TLS handshake starts at once (`sslnegotiation=direct`), without asking the server first.
    pub direct: bool,
    /// Whether the host's name is sent in the handshake.
    pub sni: bool,
    /// Oldest version accepted.
    pub oldest: TlsVersion,
    /// Newest version accepted.
    pub newest: TlsVersion,
}

/// What kind of server will do; libpq's `target_session_attrs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSession {
    /// Any.
    Any,
    /// One whose sessions may write.
    ReadWrite,
    /// One whose sessions may not write.
    ReadOnly,
    /// One that is not a standby.
    Primary,
    /// A standby.
    Standby,
    /// A standby, or else any.
    PreferStandby,
}

/// Whether a password is bound to the TLS channel; libpq's `channel_binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// When both sides can.
    Prefer,
    /// Always.
    Require,
}

/// TCP keepalives. The defaults notice a dead network within about a minute, where the system's take hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalives {
    /// Whether they are sent.
    pub enabled: bool,
    /// Silence before the first.
    pub idle: Duration,
    /// Pause between two.
    pub interval: Duration,
    /// How many go unanswered before the connection counts as lost.
    pub count: u32,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A host by name (or an address written as one), perhaps with the address that spares looking it up.
    Tcp {
        /// The name, which the server's certificate is checked against.
        name: String,
        /// The address to connect to instead of looking the name up.
        address: Option<IpAddr>,
    },
    /// The folder of a Unix socket.
    Unix(PathBuf),
}

/// One server that may be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where.
    pub place: Place,
    /// Port, or the number in the socket's file name.
    pub port: u16,
    /// The password that the password file has for this host.
    pub password: Option<Secret>,
}

impl Host {
    /// The host for people: a name, an address, or a socket folder.
    pub fn display(&self) -> String {
        match &self.place {
            Place::Tcp { name, .. } => name.clone(),
            Place::Unix(folder) => folder.display().to_string(),
        }
    }

    /// Host and port for people; IPv6 addresses stand in brackets, a socket is its file.
    pub fn display_with_port(&self) -> String {
        match &self.place {
            Place::Tcp { name, .. } => format!("{}:{}", bracketed(name), self.port),
            Place::Unix(folder) => folder.join(format!(".s.PGSQL.{}", self.port)).display().to_string(),
        }
    }
}

/// How to reach a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnInfo {
    /// Servers in the order that they are tried; never empty.
    pub hosts: Vec<Host>,
    /// User.
    pub user: String,
    /// The password for every host; `None`: each host's own, if it has one.
    pub password: Option<Secret>,
    /// Database.
    pub dbname: String,
    /// TLS.
    pub tls: TlsOptions,
    /// Time for one attempt at one address; `None`: no limit.
    pub connect_timeout: Option<Duration>,
    /// What the server's administrator sees in `pg_stat_activity`.
    pub application_name: String,
    /// Command-line options for the server, such as `-c search_path=x`.
    pub options: Option<String>,
    /// TCP keepalives.
    pub keepalives: Keepalives,
    /// How long sent data may go unacknowledged.
    pub tcp_user_timeout: Option<Duration>,
    /// What kind of server will do.
    pub target: TargetSession,
    /// Channel binding.
    pub channel_binding: ChannelBinding,
    /// Whether the hosts are tried in random order.
    pub shuffle: bool,
    /// Whether the URL says that a pooler stands before the server (`pgbouncer=true`).
    pub pooler: bool,
    /// What the operator should know about the connection's settings.
    pub warnings: Vec<String>,
}

impl ConnInfo {
    /// The same with the password that a file holds.
    pub fn with_password_file(self, path: &Path) -> Result<ConnInfo, SecretError> {
        Ok(ConnInfo { password: Some(secret::from_file(path)?), ..self })
    }

    /// The same with the password that a shell command prints. Waits for the command.
    pub fn with_password_command(self, command: &str) -> Result<ConnInfo, SecretError> {
        Ok(ConnInfo { password: Some(secret::from_command(command)?), ..self })
    }

    /// The password to offer to `host`.
    pub fn password_for<'a>(&'a self, host: &'a Host) -> Option<&'a Secret> {
        self.password.as_ref().or(host.password.as_ref())
    }

    /// The connection as a URL without a password: `postgres://app@db.example:5432/shop`.
    pub fn redacted(&self) -> String {
        let hosts: Vec<&Host> = self.hosts.iter().collect();
        self.url_of(&hosts)
    }

    /// [`redacted`](Self::redacted) with one host only: the one that was connected.
    pub fn redacted_for(&self, host: &Host) -> String {
        self.url_of(&[host])
    }

    fn url_of(&self, hosts: &[&Host]) -> String {
        let mut url = format!("postgres://{}@", encoded(&self.user, ""));
        let mut query = String::new();
        if let [Host { place: Place::Unix(folder), port, .. }] = hosts {
            let _ = write!(query, "?host={}", encoded(&folder.display().to_string(), "/"));
            if *port != super::resolve::DEFAULT_PORT {
                let _ = write!(query, "&port={port}");
            }
        } else {
            for (index, host) in hosts.iter().enumerate() {
                let name = match &host.place {
                    Place::Tcp { name, .. } if name.contains(':') => bracketed(name),
                    _ => encoded(&host.display(), ""),
                };
                let _ = write!(url, "{}{name}:{}", if index > 0 { "," } else { "" }, host.port);
            }
        }
        let _ = write!(url, "/{}{query}", encoded(&self.dbname, ""));
        url
    }

    /// The hosts for people, without ports.
    pub fn display_host(&self) -> String {
        self.hosts.iter().map(Host::display).collect::<Vec<_>>().join(",")
    }
}

fn bracketed(name: &str) -> String {
    if name.contains(':') { format!("[{name}]") } else { name.to_owned() }
}

/// Percent-encodes what RFC 3986 reserves, except the characters of `kept`.
fn encoded(text: &str, kept: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || kept.contains(c) {
            out.push(c);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
#[path = "conninfo_tests.rs"]
mod tests;
