//! Removes what a failed rebuild has made.

use std::collections::HashSet;

use tokio_postgres::Client;

use super::Rebuild;
use crate::failure::{Failure, FailureKind};
use crate::postgres::error as pg;
use crate::postgres::{ddl, settings};
use crate::restore::log::{RestoreLog, Status};
use crate::restore::objects::apply::{self, What};
use crate::schema::script::Style;
use crate::schema::{Kind, Object};

/// Objects that are removed in one transaction.
const BATCH: usize = 200;

/// Removes what was made; the failure then says what state that leaves.
pub async fn after_failure(rebuild: &Rebuild<'_>, failure: Failure, log: &mut RestoreLog) -> Failure {
    let again = "when the server can be reached, drop the database and make it anew (dropdb, createdb), or restore with --clean; then run the same command again";
    match remove(rebuild).await {
        Ok(left) if left.is_empty() => {
            log.status = Status::RolledBack;
            log.rolled_back = true;
            failure.state("the target is as it was: what had been made was removed again")
        }
        Ok(left) => {
            log.status = Status::Failed;
            let left = left.join(", ");
            let state = format!("not everything that had been made could be removed: {left}");
            Failure { kind: FailureKind::NotPutBack, state, next: again.to_owned(), ..failure }
        }
        Err(error) => {
            log.status = Status::Failed;
            let state = format!("what had been made could not be removed: {error}");
            Failure { kind: FailureKind::NotPutBack, state, next: again.to_owned(), ..failure }
        }
    }
}

/// Removes the objects over a new connection; the old one may be lost, or still at work. Returns those that are left.
async fn remove(rebuild: &Rebuild<'_>) -> Result<Vec<String>, Failure> {
    let session = rebuild.connector.connect(rebuild.events).await;
    let session = session.map_err(|e| Failure::new(FailureKind::Access, e.to_string()))?;
    let client = &session.client;
    let made: Vec<&Object> =
        rebuild.objects.iter().filter(|o| !rebuild.there.contains(&o.identity)).collect();
    objects(client, session.server_version_num, &made).await
}

/// Removes objects, the last first, as far as they are there. Returns the identities of those that are left.
pub async fn objects(client: &Client, version: u32, made: &[&Object]) -> Result<Vec<String>, Failure> {
    let relations: HashSet<(Option<&str>, &str)> = made
        .iter()
        .filter(|o| matches!(o.kind, Kind::Table | Kind::ForeignTable | Kind::View | Kind::MaterializedView))
        .map(|o| (o.schema.as_deref(), o.name.as_str()))
        .collect();
    // What belongs to a table goes with it.
    let goes_along = |o: &Object| {
        let table = o.table.as_ref();
        o.kind != Kind::Table
            && table.is_some_and(|t| relations.contains(&(Some(t.0.as_str()), t.1.as_str())))
    };
    let mut waiting: Vec<&Object> =
        made.iter().rev().copied().filter(|o| !o.drop.is_empty() && !goes_along(o)).collect();
    // What is in another's way may be gone in the next round.
    loop {
        let mut left = Vec::new();
        for batch in waiting.chunks(BATCH) {
            client
                .batch_execute(&format!(
                    "BEGIN; {} SET LOCAL client_min_messages = warning;",
                    settings::statements(version)
                ))
                .await?;
            if apply::run(client, batch, What::Removal, &Style::default()).await.is_err() {
                client.batch_execute("ROLLBACK").await?;
                for object in batch {
                    client.batch_execute(&format!("BEGIN; {}", settings::statements(version))).await?;
                    let removed = async {
                        for sql in object.removal() {
                            client.batch_execute(&sql).await?;
                        }
                        client.batch_execute("COMMIT").await
                    };
                    if let Err(error) = removed.await {
                        if client.is_closed() {
                            return Err(error.into());
                        }
                        client.batch_execute("ROLLBACK").await?;
                        // What is not there needs no removing.
                        if !matches!(pg::sqlstate(&error), Some("42704" | "42P01" | "42883" | "3F000")) {
                            left.push(*object);
                        }
                    }
                }
            } else {
                client.batch_execute("COMMIT").await?;
            }
        }
        let stuck = left.len() == waiting.len();
        waiting = left;
        if waiting.is_empty() || stuck {
            break;
        }
    }
    let made: HashSet<&str> = made.iter().map(|o| o.identity.as_str()).collect();
    client.batch_execute(&format!("BEGIN; {}", settings::statements(version))).await?;
    let now = ddl::read(client, version).await?;
    client.batch_execute("ROLLBACK").await?;
    Ok(now.objects.into_iter().map(|o| o.identity).filter(|i| made.contains(i.as_str())).collect())
}
