//! Removes what a failed rebuild has made.

use std::collections::{BTreeSet, HashSet};

use tokio_postgres::Client;

use super::{Rebuild, ledger};
use crate::failure::{Failure, FailureKind};
use crate::postgres::error as pg;
use crate::postgres::{ddl, settings};
use crate::restore::log::{RestoreLog, Status};
use crate::restore::objects::apply::{self, What};
use crate::restore::objects::{change, removal};
use crate::schema::Object;
use crate::schema::compare::differences;
use crate::schema::script::Style;

/// Objects that are removed in one transaction.
const BATCH: usize = 200;
/// How long a lock is waited for: a connection of ours that was broken off may still hold it.
const LOCK_TIMEOUT: &str = "10s";

/// Removes what was made; the failure then says what state that leaves.
pub async fn after_failure(rebuild: &Rebuild<'_>, failure: Failure, log: &mut RestoreLog) -> Failure {
    let again = match rebuild.ledger.is_kept() {
        true => {
            "when the server can be reached, go on: run the same command with --resume; or drop the database and make it anew (dropdb, createdb)"
        }
        false => {
            "when the server can be reached, drop the database and make it anew (dropdb, createdb), or restore with --clean; then run the same command again"
        }
    };
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
    let (client, version) = (&session.client, session.server_version_num);
    let objects = rebuild.objects;
    client.batch_execute(&begin(version)).await?;
    ledger::remove_left(client).await?;
    client.batch_execute("COMMIT").await?;
    let made: BTreeSet<usize> =
        (0..objects.len()).filter(|n| !rebuild.there.contains_key(&objects[*n].identity)).collect();
    put_back(rebuild, client, version).await?;
    let (statements, _) = removal::split(objects, &made);
    one_by_one(client, version, statements.into_iter().map(|n| &objects[n]).collect()).await?;
    let made: Vec<&Object> = made.iter().rev().map(|n| &objects[*n]).collect();
    let (now, left) = left(client, version, &made).await?;
    if left.is_empty() {
        return Ok(Vec::new());
    }
    together(client, version, &made, &now, left).await
}

fn begin(version: u32) -> String {
    format!(
        "BEGIN; {} SET LOCAL client_min_messages = warning; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';",
        settings::statements(version)
    )
}

/// Gives what was there its own owner, comments and privileges again.
async fn put_back(rebuild: &Rebuild<'_>, client: &Client, version: u32) -> Result<(), Failure> {
    client.batch_execute(&begin(version)).await?;
    for now in ddl::read(client, version).await?.objects {
        if let Some(before) = rebuild.there.get(&now.identity)
            && !differences(before, &now).is_empty()
        {
            change::adjust(client, before, &now, &Style::default()).await?;
        }
    }
    Ok(client.batch_execute("COMMIT").await?)
}

/// Removes objects in this order as far as they are there and as far as nothing needs them.
async fn one_by_one(client: &Client, version: u32, mut waiting: Vec<&Object>) -> Result<(), Failure> {
    // What is in another's way may be gone in the next round.
    loop {
        let mut left = Vec::new();
        for batch in waiting.chunks(BATCH) {
            client.batch_execute(&begin(version)).await?;
            if apply::run(client, batch, What::Removal, &Style::default()).await.is_ok() {
                client.batch_execute("COMMIT").await?;
                continue;
            }
            client.batch_execute("ROLLBACK").await?;
            for object in batch {
                client.batch_execute(&begin(version)).await?;
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
        }
        let stuck = left.len() == waiting.len();
        waiting = left;
        if waiting.is_empty() || stuck {
            return Ok(());
        }
    }
}

/// What there is now, and the identities of those of `made` among it.
async fn left(
    client: &Client,
    version: u32,
    made: &[&Object],
) -> Result<(Vec<Object>, Vec<String>), Failure> {
    client.batch_execute(&begin(version)).await?;
    let now = ddl::read(client, version).await?.objects;
    client.batch_execute("ROLLBACK").await?;
    let made: HashSet<&str> = made.iter().map(|o| o.identity.as_str()).collect();
    let left = now.iter().map(|o| &o.identity).filter(|i| made.contains(i.as_str())).cloned().collect();
    Ok((now, left))
}

/// Removes what only goes together: a type whose making was broken off, with its functions. CASCADE might take along
/// what is not ours; so it is looked at what it took, and taken back where that is too much.
async fn together(
    client: &Client,
    version: u32,
    made: &[&Object],
    now: &[Object],
    left: Vec<String>,
) -> Result<Vec<String>, Failure> {
    client.batch_execute(&begin(version)).await?;
    for object in made.iter().filter(|o| left.contains(&o.identity)) {
        let sql = match object.removal().pop() {
            Some(sql) if sql.ends_with(" CASCADE") => sql,
            Some(sql) if sql.starts_with("DROP ") => format!("{sql} CASCADE"),
            None => format!("DROP {} CASCADE", object.identity),
            Some(_) => continue,
        };
        client.batch_execute("SAVEPOINT pgkeep_together").await?;
        if client.batch_execute(&sql).await.is_err() {
            client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_together").await?;
        }
    }
    let after = ddl::read(client, version).await?.objects;
    let ours: HashSet<&str> = made.iter().map(|o| o.identity.as_str()).collect();
    let others = |all: &[Object]| -> Vec<Object> {
        let all = all.iter().filter(|o| !ours.contains(o.identity.as_str()));
        all.map(|o| Object { needs: Vec::new(), ..o.clone() }).collect()
    };
    if others(now) != others(&after) {
        client.batch_execute("ROLLBACK").await?;
        return Ok(left);
    }
    client.batch_execute("COMMIT").await?;
    Ok(after.into_iter().map(|o| o.identity).filter(|i| ours.contains(i.as_str())).collect())
}
