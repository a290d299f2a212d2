//! What became of a commit to which no answer came: the server knows, and a new connection can ask it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::connection::Connector;
use crate::postgres::connect::RetryPolicy;
use crate::postgres::conninfo::TargetSession;
use crate::postgres::error as pg;
use crate::postgres::quote;
use crate::progress::Events;

/// How often the server is asked, once a second, as long as it says that the transaction is in progress.
const QUESTIONS: u32 = 30;
/// After so many of them, the session that sent the commit is ended.
const PATIENT_QUESTIONS: u32 = 2;
/// How long a question may take.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after an interruption a commit is waited for.
pub const COMMIT_GRACE: Duration = Duration::from_secs(5);
/// How long the question what became of it is: three seconds go by before the session that sent it is ended, and a server
/// under load takes its time for each connection.
pub const QUESTION_GRACE: Duration = Duration::from_secs(15);

/// A transaction's id, by which the server can be asked later.
#[derive(Clone, Debug)]
pub struct Transaction {
    id: String,
    /// Whether a crash of the server would leave it this id.
    durable: bool,
}

impl Transaction {
    /// Makes the server keep the id of a transaction in progress, as far as it grants a second connection.
    ///
    /// After a crash the server counts on from the last id that it finds in its WAL, so one that was not flushed yet
    /// goes to somebody else, who may commit. What flushes WAL is a commit; this is one that writes nothing but a
    /// message to logical decoding, which nobody reads.
    pub async fn keep(id: &str, connector: &Connector) -> Transaction {
        let once = RetryPolicy { attempts: 1, ..connector.retry };
        let mut connector = connector.clone();
        connector.retry = once;
        let flush = async {
            let session = connector.connect(&Events::silent()).await.ok()?;
            let sql = "SET synchronous_commit = local; SELECT pg_catalog.pg_logical_emit_message(true, 'pgkeep', '')";
            session.client.batch_execute(sql).await.ok()
        };
        let durable = matches!(tokio::time::timeout(QUESTION_TIMEOUT, flush).await, Ok(Some(())));
        Transaction { id: id.to_owned(), durable }
    }
}

/// Asks whether the transaction was committed (true) or not (false); None when nobody can tell. One without an id has
/// written nothing, so that its end makes no difference.
pub async fn ask(connector: &Connector, transaction: Option<&Transaction>, events: &Events) -> Option<bool> {
    let Some(Transaction { id, durable }) = transaction else { return Some(true) };
    let transaction = quote::literal(id);
    // Much hangs on the answer, and a server that broke the connection may be starting again: with more patience than
    // for the first connection.
    let attempts = connector.retry.attempts.saturating_mul(2);
    // A standby among several hosts may lag behind, and would know nothing of what was committed.
    let mut connector = connector.changed(|info| info.target = TargetSession::Primary);
    connector.retry.attempts = attempts;
    for number in 0..QUESTIONS {
        let session = connector.connect(events).await.ok()?;
        let question = async {
            let sql = format!("SELECT pg_catalog.pg_xact_status({transaction}::pg_catalog.xid8)");
            let answer = session.client.query_typed(&sql, &[]).await?;
            let fate = answer.first().and_then(|row| row.get::<_, Option<String>>(0));
            if fate.as_deref() == Some("in progress") && number >= PATIENT_QUESTIONS {
                // The server has yet to notice that the network is gone, which may take it hours, under locks.
                let sql = format!(
                    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
                      WHERE backend_xid = {transaction}::pg_catalog.xid8::pg_catalog.xid"
                );
                session.client.query_typed(&sql, &[]).await?;
            }
            Ok::<_, tokio_postgres::Error>(fate)
        };
        match tokio::time::timeout(QUESTION_TIMEOUT, question).await {
            // An id that was not kept may be another's by now.
            Ok(Ok(Some(fate))) if fate == "committed" => return durable.then_some(true),
            Ok(Ok(Some(fate))) if fate == "aborted" => return Some(false),
            // invalid_parameter_value: no transaction of this id has begun, as far as the server knows after a crash.
            Ok(Err(error)) if pg::sqlstate(&error) == Some("22023") => return Some(false),
            // In progress, or this connection broke, too.
            _ => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
    None
}

/// Resolves `grace` after `cancel` was set.
pub async fn interrupted(cancel: &CancellationToken, grace: Duration) {
    cancel.cancelled().await;
    tokio::time::sleep(grace).await;
}
