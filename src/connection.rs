//! Connections as the engines ask for them: one that leads, and as many workers as the server grants.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, FailureKind};
use crate::postgres::connect::{self, ConnectError, ConnectErrorKind, RetryPolicy, Session};
use crate::postgres::conninfo::ConnInfo;
use crate::progress::Events;

/// How to reach one database.
#[derive(Clone, Debug)]
pub struct Connector {
    /// The database.
    pub info: ConnInfo,
    /// How often a transient failure is tried again.
    pub retry: RetryPolicy,
    /// Whether workers leave some of the server's connections to others.
    pub leave_free: bool,
}

impl Connector {
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
        connect::connect(&self.info, &self.retry, &notify).await
    }

    /// Up to `count` more connections; fewer, with a word about it, where the server grants no more.
    pub async fn workers(&self, count: usize, events: &Events) -> Vec<Session> {
        let once = RetryPolicy { attempts: 1, ..self.retry };
        let mut workers = Vec::new();
        for _ in 0..count {
            match connect::connect(&self.info, &once, &|_| {}).await {
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
        let once = RetryPolicy { attempts: 1, ..self.retry };
        let connected =
            tokio::time::timeout(SPARE_TIMEOUT, connect::connect(&self.info, &once, &|_| {})).await;
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
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        session = connector.connect(events) => session.map_err(|error| {
            let failure = Failure::new(FailureKind::Access, error.to_string());
            failure.state("nothing was read or written").next(next_step(error.kind()))
        }),
    }
}

/// Asks the server to stop what the session is doing. Where it cannot be asked in time, it notices by itself that the
/// connection is gone.
pub async fn stop(session: &Session) {
    let _ = tokio::time::timeout(Duration::from_secs(5), session.cancel()).await;
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
