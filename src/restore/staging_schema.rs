//! The schema in which several connections stage rows side by side. What they commit there the restoring transaction sees,
//! and no end of that transaction removes it, so that the server is told beforehand to do so.
//!
//! The restoring transaction holds an advisory lock. Before the schema is made, a session of its own asks for that lock,
//! with the statement that removes the schema behind it. However the transaction ends, by a commit, an error, a lost
//! connection or the death of this process, the server then goes on with that statement by itself. Only where the server
//! itself ends is the schema left, with empty tables, and the next restore that needs it removes it first.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::Error;

use super::lock::STAGING_LOCK;
use super::triggers;
use crate::connection::Connector;
use crate::failure::{Failure, FailureKind};
use crate::postgres::catalog::{STAGING_COMMENT, STAGING_SCHEMA};
use crate::postgres::connect::{RetryPolicy, Session};
use crate::postgres::error as pg;
use crate::postgres::{quote, settings};
use crate::progress::Events;

/// How long the end of the schema is waited for, once nothing needs it any more.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked whether the removing session waits, and how long between.
const QUESTIONS: u32 = 200;
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(10);
/// How long the removal of a schema that is left from before waits for its tables.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s';";

/// A schema that is there until the restoring transaction ends.
pub struct StagingSchema {
    removal: JoinHandle<Result<(), Error>>,
    replica_role: bool,
}

/// Makes the schema, which `maker` owns, for the transaction of `leader`; with the reason where there can be none.
///
/// `replica_role`: whether the sessions may set `session_replication_role`, so that most event triggers do not act.
pub async fn make(
    leader: &Session,
    maker: &Session,
    connector: &Connector,
    replica_role: bool,
) -> Result<Result<StagingSchema, String>, Failure> {
    let acting = if replica_role { "'R', 'A'" } else { "'O', 'A'" };
    let sql = format!(
        "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
                NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger e WHERE e.evtenabled IN ({acting})),
                NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = '{STAGING_SCHEMA}'
                               AND pg_catalog.obj_description(n.oid, 'pg_namespace') IS DISTINCT FROM '{STAGING_COMMENT}'),
                pg_catalog.pg_try_advisory_xact_lock({STAGING_LOCK})"
    );
    let answers = leader.client.query_typed(&sql, &[]).await?;
    let reasons = [
        "the role may not create schemas (CREATE on the database)",
        "an event trigger may act on tables that are made",
        "the schema pgkeep_staging is not pgkeep's",
        "the schema of another restore is being removed",
    ];
    for (n, reason) in reasons.into_iter().enumerate() {
        if !answers[0].get::<_, bool>(n) {
            return Ok(Err(reason.to_owned()));
        }
    }
    let once = RetryPolicy { attempts: 1, ..connector.retry };
    let remover = match (Connector { retry: once, ..connector.clone() }).connect(&Events::silent()).await {
        Ok(remover) => remover,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let (pid, cancel) = (remover.backend_pid, remover.cancel_handle());
    let removal = removal(remover.server_version_num, replica_role, "");
    let removal = tokio::spawn(async move { remover.client.batch_execute(&removal).await });
    let schema = StagingSchema { removal, replica_role };
    let made = match is_waiting(maker, pid).await {
        Ok(true) => create(maker, replica_role).await.map_err(|error| pg::describe(&error)),
        Ok(false) => Err("the session that would remove the schema does not wait".to_owned()),
        Err(error) => Err(pg::describe(&error)),
    };
    if let Err(reason) = made {
        let _ = cancel.cancel().await;
        schema.removal.abort();
        return Ok(Err(reason));
    }
    Ok(Ok(schema))
}

/// Whether the session of this process waits for the lock.
async fn is_waiting(maker: &Session, pid: i32) -> Result<bool, Error> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks l
                         WHERE l.pid = {pid} AND l.locktype = 'advisory' AND NOT l.granted)"
    );
    for _ in 0..QUESTIONS {
        if maker.client.query_typed(&sql, &[]).await?[0].get(0) {
            return Ok(true);
        }
        tokio::time::sleep(BETWEEN_QUESTIONS).await;
    }
    Ok(false)
}

/// Creates the schema, in which nobody but its owner may look: whatever default privileges say, archived rows are for
/// those alone who may read the tables that they come from.
async fn create(maker: &Session, replica_role: bool) -> Result<(), Error> {
    let client = &maker.client;
    let begin = format!(
        "BEGIN; {} {LOCK_TIMEOUT} {}
         DROP SCHEMA IF EXISTS {STAGING_SCHEMA} CASCADE;
         CREATE SCHEMA {STAGING_SCHEMA};
         COMMENT ON SCHEMA {STAGING_SCHEMA} IS '{STAGING_COMMENT}';",
        settings::statements(maker.server_version_num),
        triggers::replica_role(replica_role),
    );
    let made = async {
        client.batch_execute(&begin).await?;
        let sql = format!(
            "SELECT DISTINCT CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END::pg_catalog.text
               FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
              WHERE n.nspname = '{STAGING_SCHEMA}' AND a.grantee <> n.nspowner"
        );
        let mut end = String::new();
        for row in client.query_typed(&sql, &[]).await? {
            let grantee: Option<String> = row.get(0);
            let grantee = grantee.map_or("PUBLIC".to_owned(), |name| quote::ident(&name));
            end.push_str(&format!("REVOKE ALL ON SCHEMA {STAGING_SCHEMA} FROM {grantee} CASCADE; "));
        }
        client.batch_execute(&format!("{end} COMMIT")).await
    };
    let made = made.await;
    if made.is_err() {
        let _ = client.batch_execute("ROLLBACK").await;
    }
    made
}

/// What removes the schema as soon as the restoring transaction has ended.
///
/// In one message: nobody needs to be there to send the second half of it.
fn removal(version: u32, replica_role: bool, lock_timeout: &str) -> String {
    // It would else look in vain for whoever has asked it.
    let interval = if version >= 140_000 { "SET LOCAL client_connection_check_interval = 0;" } else { "" };
    format!(
        "BEGIN; {} {interval} {lock_timeout} {}
         SELECT pg_catalog.pg_advisory_xact_lock({STAGING_LOCK});
         DROP SCHEMA IF EXISTS {STAGING_SCHEMA} CASCADE;
         COMMIT",
        settings::statements(version),
        triggers::replica_role(replica_role),
    )
}

impl StagingSchema {
    /// Waits, when the restoring transaction has ended, until the schema is gone, and removes it where the session that
    /// was to do it cannot.
    pub async fn removed(self, connector: &Connector) -> Result<(), Failure> {
        let reason = match tokio::time::timeout(PATIENCE, self.removal).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => pg::describe(&error),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the server has not done so yet".to_owned(),
        };
        let again = async {
            let session = connector.connect(&Events::silent()).await.ok()?;
            let removal = removal(session.server_version_num, self.replica_role, LOCK_TIMEOUT);
            session.client.batch_execute(&removal).await.ok()
        };
        if let Ok(Some(())) = tokio::time::timeout(PATIENCE, again).await {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::NotPutBack,
            format!("the schema {STAGING_SCHEMA}, in which rows were staged, could not be removed: {reason}"),
        )
        .next(format!(
            "see whether it is there (psql: \\dn), and if so remove it: DROP SCHEMA {STAGING_SCHEMA} CASCADE;"
        )))
    }
}
