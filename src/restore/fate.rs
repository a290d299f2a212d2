//! What became of a commit to which no answer came: the server knows, and a new connection can ask it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::connection::Connector;
use crate::postgres::connect::RetryPolicy;
use crate::progress::Events;

/// How often the server is asked, once a second, as long as it says that the transaction is in progress.
const QUESTIONS: u32 = 30;
/// After so many of them, the session that sent the commit is ended.
const PATIENT_QUESTIONS: u32 = 2;
/// How long a question may take.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after an interruption a commit, and then the question what became of it, is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// Asks whether the transaction was committed (true) or not (false); None when nobody can tell.
pub async fn ask(connector: &Connector, transaction: Option<&str>, events: &Events) -> Option<bool> {
    let transaction: u64 = transaction?.parse().ok()?;
    // Much hangs on the answer, and a server that broke the connection may be starting again: with more patience than
    // for the first connection.
    let attempts = connector.retry.attempts.saturating_mul(2);
    let connector = Connector { retry: RetryPolicy { attempts, ..connector.retry }, ..connector.clone() };
    for number in 0..QUESTIONS {
        let session = connector.connect(events).await.ok()?;
        let question = async {
            let sql = format!("SELECT pg_catalog.pg_xact_status('{transaction}'::pg_catalog.xid8)");
            let answer = session.client.query_typed(&sql, &[]).await?;
            let fate = answer.first().and_then(|row| row.get::<_, Option<String>>(0));
            if fate.as_deref() == Some("in progress") && number >= PATIENT_QUESTIONS {
                // The server has yet to notice that the network is gone, which may take it hours, under locks.
                let sql = format!(
                    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
                      WHERE backend_xid = '{transaction}'::pg_catalog.xid8::pg_catalog.xid"
                );
                session.client.query_typed(&sql, &[]).await?;
            }
            Ok::<_, tokio_postgres::Error>(fate)
        };
        match tokio::time::timeout(QUESTION_TIMEOUT, question).await {
            Ok(Ok(Some(fate))) if fate == "committed" => return Some(true),
            Ok(Ok(Some(fate))) if fate == "aborted" => return Some(false),
            // In progress, or this connection broke, too.
            _ => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
    None
}

/// Resolves some time after `cancel` was set.
pub async fn interrupted(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(GRACE).await;
}
