//! The schema in which several connections stage rows side by side. What they commit there the restoring transaction sees,
//! and no end of that transaction removes it, so that the server is told beforehand to do so.
//!
//! The restoring transaction holds an advisory lock. Before the schema is made, a session of its own asks for that lock,
//! with the statement that removes the schema behind it. However the transaction ends, by a commit, an error, a lost
//! connection or the death of this process, the server then goes on with that statement by itself. Only where the server
//! itself is stopped is the schema left, and the next restore removes it first.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::Error;

use super::lock::{MAKING_LOCK, STAGING_LOCK};
use super::triggers;
use crate::connection::Connector;
use crate::failure::{Failure, FailureKind};
use crate::postgres::catalog::{STAGING_COMMENT, STAGING_SCHEMA};
use crate::postgres::connect::Session;
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
/// Removes what [`STAGING_SCHEMA`] names.
const REMOVE: &str = "DROP SCHEMA IF EXISTS pgkeep_staging CASCADE";

/// A schema that is there until the restoring transaction ends.
pub struct StagingSchema {
    removal: JoinHandle<Result<(), Error>>,
}

/// Why rows cannot be staged in a schema, for the transaction of `leader`; none where they can. Takes the lock then.
///
/// `replica_role`: whether the sessions may set `session_replication_role`, so that most event triggers do not act.
pub async fn obstacle(leader: &Session, replica_role: bool) -> Result<Option<&'static str>, Failure> {
    let acting = if replica_role { "'R', 'A'" } else { "'O', 'A'" };
    let sql = format!(
        "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
                NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger e WHERE e.evtenabled IN ({acting})),
                NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = '{STAGING_SCHEMA}'
                               AND pg_catalog.obj_description(n.oid, 'pg_namespace') IS DISTINCT FROM '{STAGING_COMMENT}'),
                pg_catalog.current_setting('temp_tablespaces') = '',
                pg_catalog.pg_try_advisory_xact_lock({STAGING_LOCK})"
    );
    let answers = leader.client.query_typed(&sql, &[]).await?;
    let obstacles = [
        "the role may not create schemas (CREATE on the database)",
        "an event trigger may act on tables that are made",
        "the schema pgkeep_staging is not pgkeep's",
        "temp_tablespaces is set, and is for temporary tables alone",
        "the schema of another restore is being removed",
    ];
    Ok(obstacles.into_iter().enumerate().find(|(n, _)| !answers[0].get::<_, bool>(*n)).map(|(_, why)| why))
}

/// Makes the schema, which `maker` owns, or says why there is none. Where there may be one, `slot` is filled, also when this
/// is dropped half-way.
pub async fn make(
    maker: &Session,
    connector: &Connector,
    replica_role: bool,
    slot: &mut Option<StagingSchema>,
) -> Result<(), String> {
    let remover = connector.spare().await?;
    let (pid, cancel) = (remover.backend_pid, remover.cancel_handle());
    let removal = removal(remover.server_version_num, replica_role);
    let removal = tokio::spawn(async move {
        // All of the session, whose end would else close the connection.
        let remover = remover;
        remover.client.batch_execute(&removal).await
    });
    let schema = slot.insert(StagingSchema { removal });
    let made = create(maker, replica_role, pid).await;
    if made.is_err() && !maker.client.is_closed() {
        // It was undone for sure, and there is nothing to remove.
        let _ = cancel.cancel().await;
        let _ = tokio::time::timeout(PATIENCE, &mut schema.removal).await;
        *slot = None;
    }
    made
}

/// Creates the schema, in which nobody but its owner may look, whatever default privileges say: archived rows are for
/// those alone who may read the tables that they come from.
async fn create(maker: &Session, replica_role: bool, remover: i32) -> Result<(), String> {
    let client = &maker.client;
    // As long as this is not decided, the remover does not look whether there is a schema.
    let begin = format!(
        "BEGIN; {} {LOCK_TIMEOUT} {} SET LOCAL client_min_messages = error;
         SELECT pg_catalog.pg_advisory_xact_lock_shared({MAKING_LOCK})",
        settings::statements(maker.server_version_num),
        triggers::replica_role(replica_role),
    );
    let make = format!(
        "{REMOVE};
         CREATE SCHEMA {STAGING_SCHEMA};
         COMMENT ON SCHEMA {STAGING_SCHEMA} IS '{STAGING_COMMENT}';"
    );
    let grantees = format!(
        "SELECT DISTINCT CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END::pg_catalog.text
           FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
          WHERE n.nspname = '{STAGING_SCHEMA}' AND a.grantee <> n.nspowner"
    );
    let made = async {
        client.batch_execute(&begin).await?;
        if !is_waiting(maker, remover).await? {
            return Ok(false);
        }
        client.batch_execute(&make).await?;
        let mut end = String::new();
        for row in client.query_typed(&grantees, &[]).await? {
            let grantee: Option<String> = row.get(0);
            let grantee = grantee.map_or("PUBLIC".to_owned(), |name| quote::ident(&name));
            end.push_str(&format!("REVOKE ALL ON SCHEMA {STAGING_SCHEMA} FROM {grantee} CASCADE; "));
        }
        client.batch_execute(&format!("{end} COMMIT")).await.map(|()| true)
    };
    let reason = match made.await {
        Ok(true) => return Ok(()),
        Ok(false) => "the session that would remove the schema does not wait".to_owned(),
        Err(error) => pg::describe(&error),
    };
    let _ = client.batch_execute("ROLLBACK").await;
    Err(reason)
}

/// Whether the session of this process waits for the lock.
async fn is_waiting(asker: &Session, pid: i32) -> Result<bool, Error> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks l
                         WHERE l.pid = {pid} AND l.locktype = 'advisory' AND NOT l.granted)"
    );
    for _ in 0..QUESTIONS {
        if asker.client.query_typed(&sql, &[]).await?[0].get(0) {
            return Ok(true);
        }
        tokio::time::sleep(BETWEEN_QUESTIONS).await;
    }
    Ok(false)
}

/// What removes the schema as soon as the restoring transaction has ended.
///
/// In one message, since nobody may be there to send the second half of it; and without a word of what it does, which the
/// server could not send to nobody and would give up over.
fn removal(version: u32, replica_role: bool) -> String {
    // It would else look in vain for whoever has asked it.
    let interval = if version >= 140_000 { "SET LOCAL client_connection_check_interval = 0;" } else { "" };
    format!(
        "BEGIN; {} {interval} {} SET LOCAL client_min_messages = error;
         SELECT pg_catalog.pg_advisory_xact_lock({STAGING_LOCK});
         SELECT pg_catalog.pg_advisory_xact_lock({MAKING_LOCK});
         {REMOVE};
         COMMIT",
        settings::statements(version),
        triggers::replica_role(replica_role),
    )
}

impl StagingSchema {
    /// Waits, when the restoring transaction has ended, until the schema is gone, and removes it where the session that
    /// was to do it cannot. Where that session only waits longer, the server needs nobody for what is left to do.
    pub async fn removed(self, connector: &Connector, events: &Events) -> Result<(), Failure> {
        let still_used = || {
            events.warn(format!(
                "the schema {STAGING_SCHEMA}, in which rows were staged, is still in use; the server removes it when it no longer is"
            ));
            Ok(())
        };
        let reason = match tokio::time::timeout(PATIENCE, self.removal).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => pg::describe(&error),
            Ok(Err(error)) => error.to_string(),
            Err(_) => return still_used(),
        };
        let again = async {
            let session = connector.connect(&Events::silent()).await.map_err(|e| e.to_string())?;
            remove(&session).await
        };
        match tokio::time::timeout(2 * PATIENCE, again).await {
            Ok(Ok(Removal::Done)) => Ok(()),
            // The session is there, and only the connection to it is lost.
            Ok(Ok(Removal::UnderWay)) => still_used(),
            _ => Err(Failure::new(
                FailureKind::NotPutBack,
                format!("the schema {STAGING_SCHEMA}, in which rows were staged, could not be removed: {reason}"),
            )
            .next(format!(
                "see whether it is there (psql: \\dn), and if so remove it: DROP SCHEMA {STAGING_SCHEMA} CASCADE;"
            ))),
        }
    }
}

/// What became of a removal.
enum Removal {
    Done,
    /// Another session has it in hand, or a restore is at work.
    UnderWay,
}

/// Removes the schema where no restore needs it.
async fn remove(session: &Session) -> Result<Removal, String> {
    let client = &session.client;
    let removed = async {
        let begin = format!(
            "BEGIN; {} {LOCK_TIMEOUT} SET LOCAL client_min_messages = error;",
            settings::statements(session.server_version_num)
        );
        client.batch_execute(&begin).await.map_err(|e| pg::describe(&e))?;
        triggers::set_replica_role(client).await.map_err(|failure| failure.what)?;
        let sql = format!("SELECT pg_catalog.pg_try_advisory_xact_lock({STAGING_LOCK})");
        let locked = client.query_typed(&sql, &[]).await.map_err(|e| pg::describe(&e))?;
        if !locked[0].get::<_, bool>(0) {
            client.batch_execute("ROLLBACK").await.map_err(|e| pg::describe(&e))?;
            return Ok(Removal::UnderWay);
        }
        client.batch_execute(&format!("{REMOVE}; COMMIT")).await.map_err(|e| pg::describe(&e))?;
        Ok(Removal::Done)
    };
    let removed = removed.await;
    if removed.is_err() {
        let _ = client.batch_execute("ROLLBACK").await;
    }
    removed
}

/// Removes the schema of an earlier restore, which is left when the server was stopped meanwhile. To be called before the
/// restoring transaction.
pub async fn remove_left(session: &Session, events: &Events) -> Result<(), Failure> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = '{STAGING_SCHEMA}'
                           AND pg_catalog.obj_description(n.oid, 'pg_namespace') = '{STAGING_COMMENT}')"
    );
    if session.client.query_typed(&sql, &[]).await?[0].get(0)
        && let Err(reason) = remove(session).await
    {
        events.warn(format!(
            "the schema {STAGING_SCHEMA}, which an earlier restore has left, could not be removed: {reason}"
        ));
    }
    Ok(())
}
