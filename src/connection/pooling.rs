//! Whether a pooler stands between this program and the server, and how it shares its connections to it.

use std::time::Duration;

use tokio_postgres::{Client, Error};

use super::Connector;
use crate::postgres::connect::{self, RetryPolicy, Session};

/// How often two connections are compared.
const ROUNDS: usize = 5;

/// How long a connection is waited for that another one may hold.
const PATIENCE: Duration = Duration::from_secs(3);

/// How a session reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Straight, or by something that hands everything on.
    Direct,
    /// By a pooler or proxy that gives each session a server connection of its own.
    Session,
    /// By a pooler that gives each transaction whichever server connection is free. What a session sets outside of a
    /// transaction is there for whoever gets that connection next.
    Transaction,
    /// By something that grants no second connection, so that nobody can tell.
    Unknown,
}

impl Pooling {
    /// Whether a session certainly has a server connection of its own.
    pub fn is_own(self) -> bool {
        matches!(self, Pooling::Direct | Pooling::Session)
    }
}

/// How `session` reaches the server. Asks nothing where the server itself is at the other end.
///
/// Two sessions never have the same process of the server's, and a session never changes its own: where that is not so,
/// they share. Nothing is set that could stay behind.
pub async fn find_out(connector: &Connector, session: &Session) -> Pooling {
    if session.announced_pid == Some(session.backend_pid) {
        return Pooling::Direct;
    }
    let once = RetryPolicy { attempts: 1, ..connector.retry };
    let more = async || connect::connect(connector.info(), &once, &|_| {}).await;
    let compared = async {
        let (Ok(one), Ok(other)) = (more().await, more().await) else { return Pooling::Unknown };
        match are_shared(&one.client, &other.client).await {
            Ok(true) => Pooling::Transaction,
            Ok(false) => Pooling::Session,
            Err(_) => Pooling::Unknown,
        }
    };
    tokio::time::timeout(PATIENCE * 4, compared).await.unwrap_or(Pooling::Unknown)
}

async fn are_shared(one: &Client, other: &Client) -> Result<bool, Error> {
    let own = process(one).await?;
    for _ in 0..ROUNDS {
        // Twice in a row: a pool that goes round gives one and then the next.
        if process(one).await? != own || process(one).await? != own {
            return Ok(true);
        }
        other.batch_execute("BEGIN").await?;
        let others = process(other).await?;
        // Where the pooler has but one, it is held by the other's transaction.
        let while_held = tokio::time::timeout(PATIENCE, process(one)).await;
        other.batch_execute("ROLLBACK").await?;
        let Ok(while_held) = while_held else { return Ok(true) };
        if while_held? != own || others == own {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn process(client: &Client) -> Result<i32, Error> {
    Ok(client.query_typed("SELECT pg_catalog.pg_backend_pid()", &[]).await?[0].get(0))
}
