//! Connecting: every host in turn, with and without TLS as `sslmode` has it, again and again while the failure may
//! pass by itself.
//!
//! tokio-postgres gets one address at a time and never its own connection string: it rejects or misreads many of
//! libpq's parameters.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::{Config, NoTls, SimpleQueryMessage, config};
use tokio_postgres_rustls::MakeRustlsConnect;

pub use super::connect_error::{ConnectError, ConnectErrorKind, HostError};
use super::conninfo::{ChannelBinding, ConnInfo, Host, Place, SslMode, TargetSession};
pub use super::session::{CancelError, CancelHandle, NoticeListener, ServerNotice, Session};
use super::session::{Driven, tls_for};
use super::socket::Address;
use super::tap::{Tap, TapConnect, Wanted};
use super::tls;

/// How often, and after what pauses, a failure that may pass is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, at least one.
    pub attempts: u32,
    /// Pause after the first; each further one is twice as long.
    pub first_delay: Duration,
    /// The longest pause.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempts: 5,
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(8),
        }
    }
}

impl RetryPolicy {
    /// One attempt only.
    pub fn once() -> Self {
        RetryPolicy { attempts: 1, ..Self::default() }
    }

    /// The pause after failed attempt number `attempt` (from 1).
    pub fn delay_after(&self, attempt: u32) -> Duration {
        let factor = 2_u32.saturating_pow(attempt.saturating_sub(1));
        self.first_delay.saturating_mul(factor).min(self.max_delay)
    }
}

/// An attempt failed, and another follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryNotice {
    /// The attempt that failed, from 1.
    pub attempt: u32,
    /// Attempts in all.
    pub of: u32,
    /// The pause before the next.
    pub delay: Duration,
    /// Why it failed.
    pub reason: String,
}

/// Connects. Failures that may pass (nobody listens yet, the server starts up, it has no free connection) are
/// tried again as `retry` says, with a word to `notify` before each pause; others are returned at once.
///
/// Nothing but `application_name` and the UTF8 encoding is set on the session.
pub async fn connect(
    info: &ConnInfo,
    retry: &RetryPolicy,
    notify: &(dyn Fn(RetryNotice) + Send + Sync),
) -> Result<Session, ConnectError> {
    let connector = match info.tls.mode {
        SslMode::Disable => None,
        _ if info.hosts.iter().all(|host| matches!(host.place, Place::Unix(_))) => None,
        _ => match tls::connector(&info.tls) {
            Ok(connector) => Some(connector),
            Err(error) => {
                let error = HostError::new(ConnectErrorKind::Settings, error.to_string());
                return Err(ConnectError { hosts: vec![error], attempts: 1 });
            }
        },
    };
    let attempts = retry.attempts.max(1);
    let mut attempt = 1;
    loop {
        let hosts = match try_hosts(info, connector.as_ref()).await {
            Ok(session) => return Ok(session),
            Err(hosts) => hosts,
        };
        let mut error = ConnectError { hosts, attempts: 1 };
        if attempt >= attempts || !error.is_transient() {
            error.attempts = attempt;
            return Err(error);
        }
        let delay = retry.delay_after(attempt);
        notify(RetryNotice { attempt, of: attempts, delay, reason: error.to_string() });
        tokio::time::sleep(delay).await;
        attempt += 1;
    }
}

/// Tries every host once.
async fn try_hosts(
    info: &ConnInfo,
    connector: Option<&MakeRustlsConnect>,
) -> Result<Session, Vec<HostError>> {
    let mut hosts: Vec<&Host> = info.hosts.iter().collect();
    if info.shuffle {
        // RandomState is seeded by the system; load balancing needs no better randomness.
        let order = RandomState::new();
        hosts.sort_by_cached_key(|host| order.hash_one((host.display(), host.port)));
    }
    let wishes: &[TargetSession] = match info.target {
        TargetSession::PreferStandby => &[TargetSession::Standby, TargetSession::Any],
        _ => std::slice::from_ref(&info.target),
    };
    let mut errors = Vec::new();
    for wish in wishes {
        errors.clear();
        for host in &hosts {
            match try_host(info, host, *wish, connector).await {
                Ok(session) => return Ok(session),
                Err(error) if error.is_final() => {
                    errors.push(error);
                    return Err(errors);
                }
                Err(error) => errors.push(error),
            }
        }
    }
    Err(errors)
}

/// Tries every address of a host.
async fn try_host(
    info: &ConnInfo,
    host: &Host,
    wish: TargetSession,
    connector: Option<&MakeRustlsConnect>,
) -> Result<Session, HostError> {
    let addresses = match &host.place {
        Place::Unix(_) => vec![None],
        Place::Tcp { address: Some(address), .. } => vec![Some(*address)],
        Place::Tcp { name, .. } => {
            let lookup = tokio::net::lookup_host((name.as_str(), host.port));
            let found = within(info, host, lookup).await?.map_err(|error| HostError::lookup(host, &error))?;
            let mut addresses: Vec<_> = found.map(|address| Some(address.ip())).collect();
            addresses.dedup();
            addresses
        }
    };
    let mut last = None;
    for address in addresses {
        match within(info, host, try_address(info, host, address, wish, connector)).await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) if error.is_final() => return Err(error),
            Ok(Err(error)) | Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        let message = format!("cannot look up host {:?}: it has no address", host.display());
        HostError::new(ConnectErrorKind::UnknownHost, message)
    }))
}

async fn within<T>(info: &ConnInfo, host: &Host, work: impl Future<Output = T>) -> Result<T, HostError> {
    match info.connect_timeout {
        None => Ok(work.await),
        Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| HostError::timeout(info, host)),
    }
}

/// Tries one address, with and without TLS in the order that `sslmode` asks for.
async fn try_address(
    info: &ConnInfo,
    host: &Host,
    address: Option<IpAddr>,
    wish: TargetSession,
    connector: Option<&MakeRustlsConnect>,
) -> Result<Session, HostError> {
    let connector = match host.place {
        Place::Unix(_) => None,
        Place::Tcp { .. } => connector,
    };
    let (first, second) = match (connector, info.tls.mode) {
        (None, _) | (_, SslMode::Disable) => (None, None),
        (Some(tls), SslMode::Allow) => (None, Some(Some(tls))),
        (Some(tls), SslMode::Prefer) => (Some(tls), Some(None)),
        (Some(tls), _) => (Some(tls), None),
    };
    let error = match open(info, host, address, wish, first).await {
        Ok(session) => return Ok(session),
        Err(error) => error,
    };
    // As in libpq, but narrower: only where the other way may make a difference. A wrong password is not sent
    // again without encryption.
    let refused_by_rule = error.sqlstate.as_deref() == Some("28000");
    let other_way_may_do =
        refused_by_rule || matches!(error.kind, ConnectErrorKind::Tls | ConnectErrorKind::NoTls);
    match second {
        Some(second) if other_way_may_do => {
            let mut again = match open(info, host, address, wish, second).await {
                Ok(session) => return Ok(session),
                Err(again) => again,
            };
            if error.kind != ConnectErrorKind::NoTls && again.message != error.message {
                let (this, that) = if second.is_some() { ("with", "without") } else { ("without", "with") };
                again.message = format!("{this} TLS: {}; {that} TLS: {}", again.message, error.message);
            }
            Err(again)
        }
        _ => Err(error),
    }
}

/// Opens a connection and asks the server who it is.
async fn open(
    info: &ConnInfo,
    host: &Host,
    address: Option<IpAddr>,
    wish: TargetSession,
    tls: Option<&MakeRustlsConnect>,
) -> Result<Session, HostError> {
    let config = driver_config(info, host, tls.is_some());
    let failed = |error| HostError::from_driver(info, host, error);
    let address = Address::new(info, host, address);
    let wanted = Wanted::default();
    let socket = address.open().await.map_err(|error| HostError::socket(host, &error))?;
    let driven = match tls {
        Some(tls) => {
            let connect = TapConnect { connect: tls_for(tls, &address), wanted: wanted.clone() };
            let (client, connection) = config.connect_raw(socket, connect).await.map_err(failed)?;
            Driven::spawn(client, connection, wanted)
        }
        None => {
            let tap = Tap::new(socket, wanted.clone());
            let (client, connection) = config.connect_raw(tap, NoTls).await.map_err(failed)?;
            Driven::spawn(client, connection, wanted)
        }
    };
    let messages = driven.client.simple_query(WHO_ARE_YOU).await.map_err(failed)?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let column = |index| row.and_then(|row| row.try_get(index).ok().flatten());
    let number = |index| column(index).and_then(|text| text.parse::<i32>().ok());
    let (Some(pid), Some(version)) = (number(0), number(1).and_then(|v| u32::try_from(v).ok())) else {
        let place = host.display_with_port();
        let message = format!("what answers at {place} does not say which Postgres version it is");
        return Err(HostError::new(ConnectErrorKind::NotPostgres, message));
    };
    check_target(host, wish, column(2) == Some("t"), column(3) == Some("on"))?;
    Ok(driven.into_session(host.clone(), info.redacted_for(host), address, tls.cloned(), version, pid))
}

const WHO_ARE_YOU: &str = "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('server_version_num'), \
     pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')";

fn check_target(host: &Host, wish: TargetSession, standby: bool, read_only: bool) -> Result<(), HostError> {
    let complaint = match wish {
        TargetSession::ReadWrite if read_only => "does not allow writes",
        TargetSession::ReadOnly if !read_only => "allows writes",
        TargetSession::Primary if standby => "is a standby",
        TargetSession::Standby if !standby => "is not a standby",
        _ => return Ok(()),
    };
    let message = format!("the server at {} {complaint} (target_session_attrs)", host.display_with_port());
    Err(HostError::new(ConnectErrorKind::WrongTarget, message))
}

/// What the driver says to the server; sockets, time-outs, targets and further hosts are ours.
fn driver_config(info: &ConnInfo, host: &Host, encrypted: bool) -> Config {
    let mut config = Config::new();
    config
        .user(&info.user)
        .dbname(&info.dbname)
        .application_name(&info.application_name)
        .ssl_mode(if encrypted { config::SslMode::Require } else { config::SslMode::Disable })
        .channel_binding(match info.channel_binding {
            ChannelBinding::Disable => config::ChannelBinding::Disable,
            ChannelBinding::Prefer => config::ChannelBinding::Prefer,
            ChannelBinding::Require => config::ChannelBinding::Require,
        });
    if info.tls.direct && encrypted {
        config.ssl_negotiation(config::SslNegotiation::Direct);
    }
    if let Some(password) = info.password_for(host) {
        config.password(password.expose());
    }
    if let Some(options) = &info.options {
        config.options(options);
    }
    config
}
