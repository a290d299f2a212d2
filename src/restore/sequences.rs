//! Sequences: mode `exact` sets them as archived, the other modes never move one back.
//!
//! `setval` outlives a rollback; `ALTER SEQUENCE … RESTART` does not: it gives the sequence a new file, which goes
//! away with the transaction, and with it whatever `setval` wrote there after. So the owner restarts first and sets
//! then. A role that may only UPDATE a sequence sets it right before commit, and sets it back if the commit fails.

use tokio_postgres::Client;

use super::Mode;
use super::plan::SequencePlan;
use crate::failure::Failure;
use crate::postgres::error as pg;
use crate::postgres::quote;
use crate::schema::Object;

/// Sequences that are read or set in one message.
const BATCH: usize = 100;

/// A sequence that was set outside of the transaction's protection, with its state before.
#[derive(Clone, Debug)]
pub struct Unprotected {
    quoted: String,
    increment: i64,
    before: (i64, bool),
    set_to: (i64, bool),
}

/// What was set.
#[derive(Debug, Default)]
pub struct Applied {
    /// Shown name and the value.
    pub set: Vec<(String, String)>,
    /// What [`put_back`] must undo if the commit fails.
    pub unprotected: Vec<Unprotected>,
}

/// Sets what must be set. On failure, what is listed in `applied` so far must be put back.
pub async fn apply(
    client: &Client,
    sequences: &[SequencePlan],
    mode: Mode,
    applied: &mut Applied,
) -> Result<(), Failure> {
    // Those that cannot be undone by the transaction come last.
    let (owned, others): (Vec<_>, Vec<_>) = sequences.iter().partition(|s| s.target.is_owner);
    for sequence in owned.into_iter().chain(others) {
        let shown = sequence.target.shown();
        let quoted = sequence.target.quoted();
        let doing = |e: tokio_postgres::Error| {
            Failure::from_server(&e).while_doing(format!("setting sequence {shown}"))
        };
        let last: i64 = sequence.archived.last_value.parse().map_err(|_| {
            Failure::new(
                crate::failure::FailureKind::Archive,
                format!("the archive's last value of sequence {shown} is no integer"),
            )
        })?;
        let wanted = (last, sequence.archived.is_called);
        if !moves(mode, sequence.target.increment, wanted, state(client, &quoted).await.map_err(doing)?) {
            continue;
        }
        if sequence.target.is_owner {
            // A no-op that takes the lock under which nextval waits; only then is the state final.
            let hold = format!("ALTER SEQUENCE {quoted} INCREMENT BY {}", sequence.target.increment);
            client.batch_execute(&hold).await.map_err(doing)?;
            if !moves(mode, sequence.target.increment, wanted, state(client, &quoted).await.map_err(doing)?) {
                continue;
            }
            client.batch_execute(&format!("ALTER SEQUENCE {quoted} RESTART")).await.map_err(doing)?;
        } else {
            applied.unprotected.push(Unprotected {
                quoted: quoted.clone(),
                increment: sequence.target.increment,
                before: state(client, &quoted).await.map_err(doing)?,
                set_to: wanted,
            });
        }
        client.batch_execute(&setval(&quoted, wanted.0, wanted.1)).await.map_err(doing)?;
        applied.set.push((shown, last.to_string()));
    }
    Ok(())
}

/// Names of the sequences that do not stand where the archive has them.
pub async fn differing(client: &Client, sequences: &[SequencePlan]) -> Result<Vec<String>, Failure> {
    let mut differing = Vec::new();
    for sequence in sequences {
        let (last_value, is_called) = state(client, &sequence.target.quoted()).await?;
        let archived = &sequence.archived;
        if archived.last_value != last_value.to_string() || archived.is_called != is_called {
            differing.push(sequence.target.shown());
        }
    }
    Ok(differing)
}

/// Puts back what a failed transaction could not. A sequence from which others have drawn since is only ever moved
/// forward, so that no value is handed out twice.
pub async fn put_back(client: &Client, unprotected: &[Unprotected]) -> Result<(), Failure> {
    // Whatever the role's default is.
    client.batch_execute("BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE").await?;
    for Unprotected { quoted, increment, before, set_to } in unprotected {
        let now = state(client, quoted).await?;
        if now == *set_to || moves(Mode::Upsert, *increment, *before, now) {
            client.batch_execute(&setval(quoted, before.0, before.1)).await?;
        }
    }
    Ok(client.batch_execute("COMMIT").await?)
}

/// Where sequences stand that are about to be made anew.
pub async fn states<'o>(
    client: &Client,
    objects: &[&'o Object],
) -> Result<Vec<(&'o Object, (i64, bool))>, Failure> {
    let mut states = Vec::with_capacity(objects.len());
    for batch in objects.chunks(BATCH) {
        let sql: Vec<String> = batch
            .iter()
            .enumerate()
            .map(|(n, o)| format!("SELECT {n}::pg_catalog.int4, last_value, is_called FROM {}", name(o)))
            .collect();
        for row in client.query_typed(&sql.join(" UNION ALL "), &[]).await? {
            states.push((batch[row.get::<_, i32>(0) as usize], (row.get(1), row.get(2))));
        }
    }
    Ok(states)
}

/// Lets sequences that were made anew go on where they were. Returns the identities of those that cannot, because that
/// is out of their range. They were made in this transaction, so that it can undo `setval`, too.
pub async fn go_on(client: &Client, states: &[(&Object, (i64, bool))]) -> Result<Vec<String>, Failure> {
    let mut lost = Vec::new();
    for batch in states.chunks(BATCH) {
        if set(client, batch).await.is_ok() {
            continue;
        }
        // One by one: which of them was it?
        for one in batch {
            match set(client, std::slice::from_ref(one)).await {
                // numeric_value_out_of_range
                Err(error) if pg::sqlstate(&error) == Some("22003") => lost.push(one.0.identity.clone()),
                set => {
                    let doing = format!("setting {}", one.0.identity);
                    set.map_err(|e| Failure::from_server(&e).while_doing(doing))?;
                }
            }
        }
    }
    Ok(lost)
}

/// Sets all of these or none.
async fn set(client: &Client, states: &[(&Object, (i64, bool))]) -> Result<(), tokio_postgres::Error> {
    let sql: Vec<String> = states
        .iter()
        .map(|(object, (last_value, is_called))| setval(name(object), *last_value, *is_called))
        .collect();
    client.batch_execute("SAVEPOINT pgkeep_sequence").await?;
    let set = client.batch_execute(&sql.join("; ")).await;
    let back = if set.is_err() { "ROLLBACK TO SAVEPOINT pgkeep_sequence; " } else { "" };
    let ended = client.batch_execute(&format!("{back}RELEASE SAVEPOINT pgkeep_sequence")).await;
    set.and(ended)
}

/// The sequence's name as SQL.
fn name(object: &Object) -> &str {
    object.identity.strip_prefix("SEQUENCE ").unwrap_or(&object.identity)
}

fn setval(quoted: &str, last_value: i64, is_called: bool) -> String {
    format!(
        "SELECT pg_catalog.setval({}::pg_catalog.regclass, {last_value}, {is_called})",
        quote::literal(quoted)
    )
}

async fn state(client: &Client, quoted: &str) -> Result<(i64, bool), tokio_postgres::Error> {
    let rows = client.query_typed(&format!("SELECT last_value, is_called FROM {quoted}"), &[]).await?;
    Ok((rows[0].get(0), rows[0].get(1)))
}

/// Whether a sequence at `now` has to be set to `wanted`. Forward is where its increment points.
fn moves(mode: Mode, increment: i64, wanted: (i64, bool), now: (i64, bool)) -> bool {
    if mode == Mode::Exact {
        return wanted != now;
    }
    let ahead = if increment >= 0 { wanted.0 > now.0 } else { wanted.0 < now.0 };
    ahead || (wanted.0 == now.0 && wanted.1 && !now.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upsert_never_moves_a_sequence_back_and_exact_sets_it() {
        assert!(moves(Mode::Upsert, 1, (9, true), (5, true)));
        assert!(!moves(Mode::Upsert, 1, (5, true), (9, true)));
        assert!(moves(Mode::Exact, 1, (5, true), (9, true)));
        assert!(moves(Mode::Upsert, -1, (-9, true), (-5, true)));
        assert!(!moves(Mode::Upsert, -1, (-5, true), (-9, true)));
        assert!(moves(Mode::Upsert, 1, (5, true), (5, false)));
        assert!(!moves(Mode::Upsert, 1, (5, false), (5, true)));
        assert!(moves(Mode::Exact, 1, (5, false), (5, true)));
        assert!(!moves(Mode::Exact, 1, (5, true), (5, true)));
    }
}
