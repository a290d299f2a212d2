//! Workers under one snapshot: units of COPY → rows → chunks → archive.
//!
//! The leading connection works too, so that one job needs one connection. What one connection does is told in `work`,
//! what becomes of the rows in `fill`.
//!
//! Memory: a worker holds one chunk that fills, up to two that are being compressed, and what its connection has read;
//! the queue to the file holds two sealed chunks a worker.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::fill::Source;
use super::pace::{self, Pace, Throttle, Yielding};
use super::plan::{Plan, Unit};
use super::work::{self, Role};
use crate::archive::compression::Compression;
use crate::archive::error::ArchiveError;
use crate::archive::writer::{ArchiveWriter, SealedChunk, Summary};
use crate::connection;
use crate::failure::Failure;
use crate::postgres::catalog::Catalog;
use crate::postgres::connect::Session;
use crate::postgres::tid::Tid;
use crate::postgres::{quote, settings};
use crate::progress::{Event, Events, Phase};

/// Where the first rows of chunks stand, by table, range and piece.
pub type Starts = Arc<Mutex<HashMap<(u32, u32, u32), Tid>>>;

/// What one dump works on.
pub struct Dump<'a> {
    /// The plan under the snapshot.
    pub plan: &'a Plan,
    /// The catalog under the snapshot.
    pub catalog: &'a Catalog,
    /// The exported snapshot.
    pub snapshot: &'a str,
    /// How chunks are compressed.
    pub compression: Compression,
    /// How hard the server is worked.
    pub pace: Pace,
    /// When the snapshot was taken.
    pub taken_at: Instant,
    /// Where the chunks begin of units whose rows have tids.
    pub starts: Starts,
    /// Which phase the progress belongs to.
    pub phase: Phase,
    /// Listener.
    pub events: &'a Events,
    /// Stops the work.
    pub cancel: &'a CancellationToken,
}

/// What all workers share.
pub(super) struct Shared {
    /// The table parts, by their numbers.
    pub sources: Vec<Source>,
    /// What stands in LOCK TABLE for each relation. Large objects are no table of the plan's, and need no lock.
    pub lock_names: HashMap<u32, String>,
    /// Units that nobody has taken yet, the largest first.
    pub units: Mutex<VecDeque<Unit>>,
    /// Units that a worker could not lock at once.
    pub for_leader: Mutex<Vec<Unit>>,
    /// How chunks are compressed.
    pub compression: Compression,
    /// Holds connections back to the rate that is wanted.
    pub throttle: Throttle,
    /// Lets connections pause for others; none where they need not.
    pub yielding: Option<Yielding>,
    /// Where the chunks begin of units whose rows have tids.
    pub starts: Starts,
    /// Which phase the progress belongs to.
    pub phase: Phase,
    /// Listener.
    pub events: Events,
    /// Stops the work.
    pub cancel: CancellationToken,
}

impl Dump<'_> {
    /// Dumps every unit of the plan through `leader` and `workers` into `writer`, and finishes it.
    ///
    /// The leader's transaction stays open; the workers' connections are closed. The first failure stops all.
    pub async fn run<W: Write + Send + 'static>(
        self,
        leader: &Session,
        workers: Vec<Session>,
        writer: ArchiveWriter<W>,
    ) -> Result<(W, Summary), Failure> {
        let jobs = workers.len() + 1;
        // A child: a worker's failure stops the others without telling the caller's other work to stop.
        let stop = self.cancel.child_token();
        let read: HashSet<u32> = self.plan.units.iter().map(|u| u.relation).collect();
        let relations = self.catalog.relations.iter().filter(|r| read.contains(&r.oid));
        let backends: Vec<i32> =
            std::iter::once(leader).chain(&workers).map(|session| session.backend_pid).collect();
        let shared = Arc::new(Shared {
            sources: self.plan.parts.iter().map(Source::new).collect(),
            lock_names: relations.map(|r| (r.oid, format!("ONLY {}", r.quoted()))).collect(),
            units: Mutex::new(self.plan.units.iter().cloned().collect()),
            for_leader: Mutex::new(Vec::new()),
            compression: self.compression,
            throttle: Throttle::new(self.pace.max_rate),
            yielding: self.pace.nice.then(|| Yielding::new(&backends)),
            starts: self.starts.clone(),
            phase: self.phase,
            events: self.events.clone(),
            cancel: stop.clone(),
        });
        self.events.emit(Event::Started { phase: self.phase, total_bytes: self.plan.total_bytes() });
        let (sender, receiver) = mpsc::channel::<SealedChunk>(2 * jobs);
        let (complete, is_complete) = oneshot::channel();
        let file = tokio::task::spawn_blocking(move || write_chunks(writer, receiver, is_complete));

        let watch = tokio::spawn(pace::say_age(self.events.clone(), self.taken_at));
        let mut tasks = Vec::new();
        for (number, worker) in (1..).zip(workers) {
            let (shared, sender) = (shared.clone(), sender.clone());
            let setup = format!(
                "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}; {} {}",
                quote::literal(self.snapshot),
                settings::statements(self.catalog.server.version_num),
                settings::READING
            );
            tasks.push(tokio::spawn(async move {
                let result = tokio::select! {
                    biased;
                    () = shared.cancel.cancelled() => Err(Failure::interrupted()),
                    result = work::drain(&worker, &shared, &sender, Role::Worker { number, setup: &setup }) => result,
                };
                if result.is_err() {
                    shared.cancel.cancel();
                    connection::stop(&worker).await;
                }
                result
            }));
        }
        let led = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Failure::interrupted()),
            result = work::drain(leader, &shared, &sender, Role::Leader) => result,
        };
        if led.is_err() {
            stop.cancel();
        }
        let mut results = vec![led];
        for task in tasks {
            results.push(
                task.await
                    .unwrap_or_else(|e| Err(Failure::failed(format!("a worker ended abnormally: {e}")))),
            );
        }
        let rest: Vec<Unit> = std::mem::take(&mut *lock(&shared.for_leader));
        if results.iter().all(Result::is_ok) && !rest.is_empty() {
            lock(&shared.units).extend(rest);
            results.push(tokio::select! {
                biased;
                () = stop.cancelled() => Err(Failure::interrupted()),
                result = work::drain(leader, &shared, &sender, Role::Leader) => result,
            });
        }
        if results.iter().all(Result::is_ok) && !self.cancel.is_cancelled() {
            // A writer that has failed says so itself.
            let _ = complete.send(());
        } else {
            drop(complete);
        }
        drop(sender);
        // The file is always waited for: its error (a full disk) is why the workers' sends failed.
        let written =
            file.await.unwrap_or_else(|e| Err(Failure::failed(format!("the writer ended abnormally: {e}"))));
        watch.abort();
        self.events.emit(Event::Finished { phase: self.phase });
        if self.cancel.is_cancelled() {
            return Err(Failure::interrupted());
        }
        let written = written?;
        match Failure::first_cause(results) {
            Some(failure) => Err(failure),
            None => written.ok_or_else(Failure::interrupted),
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // No invariant spans a lock here, so a panicked holder leaves nothing half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes what comes and, when all of it has come, the archive's end. None where some is missing: whoever reads a pipe
/// can tell by nothing else that the archive is not whole.
fn write_chunks<W: Write>(
    mut writer: ArchiveWriter<W>,
    mut receiver: mpsc::Receiver<SealedChunk>,
    is_complete: oneshot::Receiver<()>,
) -> Result<Option<(W, Summary)>, Failure> {
    while let Some(chunk) = receiver.blocking_recv() {
        writer.append(chunk).map_err(writing)?;
    }
    match is_complete.blocking_recv() {
        Ok(()) => writer.finish().map(Some).map_err(writing),
        Err(_) => Ok(None),
    }
}

fn writing(error: ArchiveError) -> Failure {
    Failure::from_archive(&error)
}
