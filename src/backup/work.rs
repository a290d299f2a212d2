//! What one connection does in a dump: takes units, one large or many small ones at a time, and reads them by one query.
//!
//! A worker takes its own lock on each table, and does not wait for it: behind a queued ACCESS EXCLUSIVE request it would
//! wait for a transaction that waits for the leader, a deadlock that no server can see. Such a unit is left to the leader,
//! whose lock is held already.

use std::time::Duration;

use tokio::sync::mpsc;

use super::dump::{Shared, lock};
use super::fill::{Filler, UnitFiller};
use super::plan::Unit;
use crate::archive::writer::SealedChunk;
use crate::failure::Failure;
use crate::postgres::connect::Session;
use crate::postgres::error as pg;
use crate::postgres::settings;
use crate::postgres::tap::{CopyEvent, CopyMessages};

/// Units that are read by one query: so many, and so many bytes of them. A database of thousands of small tables would
/// else wait for an answer thousands of times.
const TOGETHER: (usize, u64) = (100, 1 << 20);

/// Reading a table locks its indexes, too, until the transaction ends or goes back behind the lock. With thousands of
/// tables the server has no room for so many locks, so each unit gives its own back.
const MARK: &str = "SAVEPOINT pgkeep_unit";
const GIVE_BACK: &str = "ROLLBACK TO SAVEPOINT pgkeep_unit";

/// How long a connection pauses before it asks again whether it may go on.
const PAUSE: Duration = Duration::from_millis(500);

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role<'a> {
    /// The one that holds all locks.
    Leader,
    /// Another one, counted from 1, which `setup` brings under the snapshot.
    Worker { number: usize, setup: &'a str },
}

/// Takes units until none is left.
pub(super) async fn drain(
    session: &Session,
    shared: &Shared,
    sender: &mpsc::Sender<SealedChunk>,
    role: Role<'_>,
) -> Result<(), Failure> {
    let begun = match role {
        Role::Leader => {
            let begin = format!("SAVEPOINT pgkeep_reading; {} {MARK}", settings::READING);
            session.client.batch_execute(&begin).await
        }
        Role::Worker { setup, .. } => session.client.batch_execute(&format!("{setup} {MARK}")).await,
    };
    begun.map_err(|e| Failure::from_server(&e).while_doing("joining the snapshot"))?;
    let mut filler = Filler::new(shared, sender);
    loop {
        if let (Role::Worker { number, .. }, Some(yielding)) = (role, &shared.yielding) {
            while !lock(&shared.units).is_empty()
                && !yielding.may_work(session, number, &shared.events).await?
            {
                tokio::time::sleep(PAUSE).await;
            }
        }
        let units = take(shared);
        if units.is_empty() {
            break;
        }
        read(session, shared, &mut filler, units, role).await?;
    }
    filler.finish().await?;
    if let Role::Leader = role {
        // Its transaction goes on with its own settings.
        let end = "ROLLBACK TO SAVEPOINT pgkeep_reading; RELEASE SAVEPOINT pgkeep_reading";
        session.client.batch_execute(end).await?;
    }
    Ok(())
}

/// The next unit, and the next ones with it where they are small.
fn take(shared: &Shared) -> Vec<Unit> {
    let mut units = lock(&shared.units);
    let mut taken: Vec<Unit> = units.pop_front().into_iter().collect();
    let mut bytes: u64 = taken.iter().map(|u| u.bytes).sum();
    while taken.len() < TOGETHER.0
        && let Some(next) = units.front()
        && bytes + next.bytes <= TOGETHER.1
    {
        bytes += next.bytes;
        taken.extend(units.pop_front());
    }
    taken
}

/// Reads units by one query, in their order.
async fn read(
    session: &Session,
    shared: &Shared,
    filler: &mut Filler<'_>,
    units: Vec<Unit>,
    role: Role<'_>,
) -> Result<(), Failure> {
    let mut statements = Vec::with_capacity(3 * units.len());
    // Which of them are the COPYs.
    let mut places = Vec::with_capacity(units.len());
    for unit in &units {
        if let (Role::Worker { .. }, Some(name)) = (role, shared.lock_names.get(&unit.relation)) {
            statements.push(format!("LOCK TABLE {name} IN ACCESS SHARE MODE NOWAIT"));
        }
        places.push(statements.len());
        statements.push(unit.copy.clone());
        statements.push(GIVE_BACK.to_owned());
    }
    let mut copies = session.copy_out(statements.join("; "));
    let mut rows = Vec::with_capacity(units.len());
    let mut messages = CopyMessages::default();
    let mut current: Option<UnitFiller<'_, '_>> = None;
    let ended = loop {
        match copies.next().await {
            Ok(Some(CopyEvent::Begin)) => {
                let Some(unit) = units.get(rows.len()) else {
                    return Err(Failure::failed("the server answers more than it was asked"));
                };
                current = Some(filler.begin(unit));
            }
            Ok(Some(CopyEvent::Data(block))) => {
                let Some(filling) = &mut current else { continue };
                let mut rest: &[u8] = &block;
                while let Some(payload) = messages.next(&mut rest) {
                    filling.message(&payload).await?;
                }
                shared.throttle.take(block.len()).await;
            }
            Ok(Some(CopyEvent::End)) => {
                if let Some(filling) = current.take() {
                    rows.push(filling.finish().await?);
                }
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    drop(current);
    if let Some(error) = ended {
        drop(copies);
        let done = rows.len();
        if matches!(role, Role::Worker { .. }) && pg::is_lock_timeout(&error) {
            return put_back(session, shared, units, done).await;
        }
        // Behind the last COPY there is still a statement of its unit.
        let unit = units.get(done).or(units.last());
        let name = unit.map(|unit| shared.sources[unit.table as usize].name.clone());
        let doing = format!("reading table {}", name.unwrap_or_default());
        return Err(Failure::from_server(&error).while_doing(doing));
    }
    // The server says how many rows it has sent.
    let counts = copies.counts();
    for ((unit, taken), place) in units.iter().zip(rows).zip(places) {
        let sent = counts.get(place).copied().unwrap_or_default();
        if taken != sent {
            let name = &shared.sources[unit.table as usize].name;
            return Err(Failure::failed(format!(
                "the server says that it sent {sent} rows of table {name}, and {taken} came"
            )));
        }
    }
    Ok(())
}

/// After the unit at `locked` could not be locked: it is the leader's, and the units behind it go back.
async fn put_back(
    session: &Session,
    shared: &Shared,
    mut units: Vec<Unit>,
    locked: usize,
) -> Result<(), Failure> {
    session.client.batch_execute(GIVE_BACK).await?;
    let behind = units.split_off((locked + 1).min(units.len()));
    lock(&shared.for_leader).extend(units.pop());
    let mut queue = lock(&shared.units);
    for unit in behind.into_iter().rev() {
        queue.push_front(unit);
    }
    Ok(())
}
