//! Connections as the engines ask for them: one that leads, and as many workers as the server grants.

pub mod pooling;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, FailureKind};
use crate::host::{Profile, Profiles};
use crate::postgres::connect::{self, ConnectError, ConnectErrorKind, RetryPolicy, Session};
use crate::postgres::conninfo::{ConnInfo, Host};
use crate::progress::Events;
use pooling::Pooling;

/// How to reach one database: by the first of several addresses that leads there.
#[derive(Clone, Debug)]
pub struct Connector {
    /// The addresses, in the order in which they are tried; never empty.
    addresses: Vec<ConnInfo>,
    /// The one that led to the database. All connections go by it from then on: what they share (a snapshot, a lock) is
    /// known to that server alone.
    led: Arc<OnceLock<usize>>,
    /// How sessions reach the server, once one leads.
    pooling: Arc<OnceLock<Pooling>>,
    /// How often a transient failure is tried again.
    pub retry: RetryPolicy,
    /// Whether workers leave some of the server's connections to others.
    pub leave_free: bool,
    /// What is known of hosts.
    profiles: Arc<Profiles>,
    /// The host's profile, where somebody has named it.
    host: Option<String>,
}

impl Connector {
    /// To the database at `info`.
    pub fn new(info: ConnInfo, retry: RetryPolicy) -> Connector {
        let (led, pooling, profiles) = (Arc::default(), Arc::default(), Arc::default());
        Connector { addresses: vec![info], led, pooling, retry, leave_free: false, profiles, host: None }
    }

    /// The same with what else is known of hosts, and which it is, where somebody says so: the name of one of `profiles`.
    pub fn with_profiles(mut self, profiles: Profiles, host: Option<String>) -> Connector {
        self.profiles = Arc::new(profiles);
        self.host = host;
        self
    }

    /// Whose server it is.
    pub async fn host(&self, client: &Client) -> Result<&Profile, tokio_postgres::Error> {
        match self.host.as_deref().and_then(|name| self.profiles.named(name)) {
            Some(named) => Ok(named),
            None => self.profiles.detect(client).await,
        }
    }

    /// The same with more addresses of that database, to be tried in this order where those before do not lead there.
    pub fn with_fallbacks(mut self, fallbacks: impl IntoIterator<Item = ConnInfo>) -> Connector {
        self.addresses.extend(fallbacks);
        self
    }

    /// The address that led to the database; before any did, the first.
    pub fn info(&self) -> &ConnInfo {
        &self.addresses[self.led.get().copied().unwrap_or_default()]
    }

    /// How sessions reach the server; before one leads, it counts as direct.
    pub fn pooling(&self) -> Pooling {
        self.pooling.get().copied().unwrap_or(Pooling::Direct)
    }

    /// To another database, or in another way, by the same addresses.
    pub fn changed(&self, change: impl Fn(&mut ConnInfo)) -> Connector {
        let mut addresses = self.addresses.clone();
        addresses.iter_mut().for_each(change);
        // Which address leads there holds for all databases of a server; how it is pooled does not.
        Connector { addresses, pooling: Arc::default(), ..self.clone() }
    }

    /// Connects, trying transient failures again.
    pub async fn connect(&self, events: &Events) -> Result<Session, ConnectError> {
        let notify = |notice: connect::RetryNotice| {
            events.info(format!(
                "{}; trying again in {:.1} s ({} of {})",
                notice.reason,
                notice.delay.as_secs_f64(),
                notice.attempt,
                notice.of
            ));
        };
        if self.addresses.len() == 1 || self.led.get().is_some() {
            return connect::connect(self.info(), &self.retry, &notify).await;
        }
        let mut attempt = 1;
        loop {
            let mut error = match self.try_addresses(events).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            if attempt >= self.retry.attempts.max(1) || !error.hosts.iter().any(|host| host.transient) {
                error.attempts = attempt;
                return Err(error);
            }
            let (delay, of) = (self.retry.delay_after(attempt), self.retry.attempts);
            notify(connect::RetryNotice { attempt, of, delay, reason: error.to_string() });
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }

    /// Tries every address once. Whatever is wrong with one, another may do: a pooler has users of its own.
    async fn try_addresses(&self, events: &Events) -> Result<Session, ConnectError> {
        let once = RetryPolicy { attempts: 1, ..self.retry };
        let mut failed = ConnectError { hosts: Vec::new(), attempts: 1 };
        for (at, info) in self.addresses.iter().enumerate() {
            match connect::connect(info, &once, &|_| {}).await {
                Ok(session) => {
                    let _ = self.led.set(at);
                    if at > 0 {
                        events.warn(format!("{failed}; going on by the fallback {}", session.url));
                    }
                    return Ok(session);
                }
                Err(error) => failed.hosts.extend(error.hosts),
            }
        }
        Err(failed)
    }

    /// Up to `count` more connections; fewer, with a word about it, where the server grants no more.
    pub async fn workers(&self, count: usize, events: &Events) -> Vec<Session> {
        if !self.pooling().is_own() {
            if count > 0 {
                events.info(
                    "a pooler shares server connections between transactions, or may: going on over one",
                );
            }
            return Vec::new();
        }
        let once = RetryPolicy { attempts: 1, ..self.retry };
        let mut workers = Vec::new();
        for _ in 0..count {
            match connect::connect(self.info(), &once, &|_| {}).await {
                Ok(session) if self.leave_free && !has_free(&session).await => {
                    events.info(format!(
                        "going on with {} connections: the server has few left",
                        workers.len() + 1
                    ));
                    break;
                }
                Ok(session) => workers.push(session),
                Err(error) => {
                    events.warn(format!("going on with {} connections: {error}", workers.len() + 1));
                    break;
                }
            }
        }
        workers
    }

    /// One more connection for what is no work, or why there is none.
    pub async fn spare(&self) -> Result<Session, String> {
        if !self.pooling().is_own() {
            return Err("a pooler shares server connections between transactions, or may".to_owned());
        }
        let once = RetryPolicy { attempts: 1, ..self.retry };
        let connected =
            tokio::time::timeout(SPARE_TIMEOUT, connect::connect(self.info(), &once, &|_| {})).await;
        match connected {
            Ok(Ok(session)) if self.leave_free && !has_free(&session).await => {
                Err("the server has few connections left".to_owned())
            }
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_) => Err("the server grants no more connections".to_owned()),
        }
    }
}

/// How long a connection is waited for that is not needed.
const SPARE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that are left to others.
const LEFT_FREE: i64 = 3;

/// Whether the server would take more sessions of ordinary roles than are to be left to others. Of sessions that the role
/// may know nothing about it still learns that they are there.
async fn has_free(session: &Session) -> bool {
    let sql = "SELECT pg_catalog.current_setting('max_connections')::pg_catalog.int8
                    - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int8
                    - COALESCE(pg_catalog.current_setting('reserved_connections', true), '0')::pg_catalog.int8
                    - pg_catalog.sum(pg_catalog.pg_stat_get_db_numbackends(d.oid))::pg_catalog.int8
                 FROM pg_catalog.pg_database d";
    match session.client.query_typed(sql, &[]).await {
        Ok(rows) => rows.first().is_none_or(|row| row.get::<_, i64>(0) >= LEFT_FREE),
        // Whatever is wrong with it, its first work will tell.
        Err(_) => true,
    }
}

/// Connects the leading session; the wait ends when `cancel` is set.
pub async fn lead(
    connector: &Connector,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Session, Failure> {
    let connect = async {
        let session = connector.connect(events).await.map_err(|error| {
            let failure = Failure::new(FailureKind::Access, error.to_string());
            failure.state("nothing was read or written").next(connector.next_step(error.kind()))
        })?;
        if connector.pooling.get().is_none() {
            let _ = connector.pooling.set(pooling::find_out(connector, &session).await);
        }
        Ok(session)
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        session = connect => session,
    }
}

impl Connector {
    /// Refuses work that needs server connections of its own where a pooler shares them, or may: its settings would stay
    /// behind for whoever gets the connection next.
    pub async fn refuse_sharing(&self, session: &Session) -> Result<(), Failure> {
        let place = session.host.display_with_port();
        let what = match self.pooling() {
            Pooling::Direct | Pooling::Session => return Ok(()),
            Pooling::Transaction => {
                format!(
                    "the pooler at {place} shares server connections between transactions, and a restore needs its own"
                )
            }
            Pooling::Unknown => format!(
                "there is a pooler at {place} that grants no second connection to find out whether it shares them between transactions, and a restore needs its own"
            ),
        };
        let host = self.host(&session.client).await?;
        Err(Failure::usage(what)
            .state("the target is untouched")
            .next(format!("{}; then run the same command again with that URL", host.other_way())))
    }
}

/// Asks the server to stop what the session is doing. Where it cannot be asked in time, it notices by itself that the
/// connection is gone.
pub async fn stop(session: &Session) {
    let _ = tokio::time::timeout(Duration::from_secs(5), session.cancel()).await;
}

impl Connector {
    /// What to do where no connection could be made.
    fn next_step(&self, kind: ConnectErrorKind) -> String {
        let may_be_the_address = matches!(
            kind,
            ConnectErrorKind::Unreachable | ConnectErrorKind::UnknownHost | ConnectErrorKind::Timeout
        );
        let names = self.addresses.iter().flat_map(|info| &info.hosts).map(Host::display);
        let known = names.map(|name| self.profiles.unreachable(&name).map(str::to_owned));
        match known.flatten().next().filter(|_| may_be_the_address) {
            Some(known) => format!("{}; {known}", next_step(kind)),
            None => next_step(kind).to_owned(),
        }
    }
}

fn next_step(kind: ConnectErrorKind) -> &'static str {
    match kind {
        ConnectErrorKind::Unreachable | ConnectErrorKind::Timeout => {
            "check that the server is up, and host and port; then run the same command again"
        }
        ConnectErrorKind::UnknownHost => "check the host's name in the URL",
        ConnectErrorKind::NotReady => "wait for the server, then run the same command again",
        ConnectErrorKind::TooManyConnections => {
            "wait, end idle sessions, or raise max_connections; then run the same command again"
        }
        ConnectErrorKind::Tls | ConnectErrorKind::NoTls => {
            "name the CA with sslrootcert=FILE, or choose another sslmode (verify-full, verify-ca, require, prefer, disable)"
        }
        ConnectErrorKind::Authentication => {
            "check user and password (~/.pgpass, PGPASSWORD, PGKEEP_PASSWORD_FILE) and the server's pg_hba.conf"
        }
        ConnectErrorKind::NoSuchDatabase => "check the database's name; psql -l lists those that there are",
        ConnectErrorKind::NotPermitted => "GRANT CONNECT ON DATABASE … TO the role, or connect as another",
        ConnectErrorKind::WrongTarget => "name another host, or another target_session_attrs",
        ConnectErrorKind::NotPostgres => "check host and port",
        ConnectErrorKind::Settings | ConnectErrorKind::Refused => "check the connection settings",
    }
}
