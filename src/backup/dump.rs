//! Workers under one snapshot: units of COPY → rows → chunks → archive.
//!
//! The leading connection works too, so that one job needs one connection. A worker takes its own lock on each table,
//! and does not wait for it: behind a queued ACCESS EXCLUSIVE request it would wait for a transaction that waits for
//! the leader, a deadlock that no server can see. Such a unit is left to the leader, whose lock is held already.
//!
//! Memory: a worker holds one chunk that fills and one that is being compressed; the queue to the file holds two
//! sealed chunks a worker.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::plan::{Part, Plan, Unit};
use crate::archive::compression::Compression;
use crate::archive::error::ArchiveError;
use crate::archive::spans::KeyColumns;
use crate::archive::writer::{ArchiveWriter, ChunkEncoder, SealedChunk, Summary, table_line};
use crate::connection;
use crate::failure::Failure;
use crate::postgres::catalog::Catalog;
use crate::postgres::connect::Session;
use crate::postgres::copy::RowEncoder;
use crate::postgres::error as pg;
use crate::postgres::{quote, settings};
use crate::progress::{Event, Events, Phase};

/// Decompressed bytes at which a chunk is sealed. Larger chunks compress no better; smaller ones make one row dearer
/// to find and the index longer.
const CHUNK_BYTES: usize = 2 << 20;

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
    /// Which phase the progress belongs to.
    pub phase: Phase,
    /// Listener.
    pub events: &'a Events,
    /// Stops the work.
    pub cancel: &'a CancellationToken,
}

/// What all workers share.
struct Shared {
    parts: Vec<Part>,
    encoders: Vec<RowEncoder>,
    names: Vec<Arc<str>>,
    units: Mutex<VecDeque<Unit>>,
    /// Units that a worker could not lock at once.
    for_leader: Mutex<Vec<Unit>>,
    compression: Compression,
    phase: Phase,
    events: Events,
    cancel: CancellationToken,
}

impl Dump<'_> {
    /// Dumps every unit of the plan through `leader` and `workers` into `writer`, and finishes it.
    ///
    /// The leader's transaction stays open; the workers' connections are closed. The first failure stops all.
    pub async fn run<W: Write + Send + 'static>(
        self,
        leader: &Client,
        workers: Vec<Session>,
        writer: ArchiveWriter<W>,
    ) -> Result<(W, Summary), Failure> {
        let jobs = workers.len() + 1;
        // A child: a worker's failure stops the others without telling the caller's other work to stop.
        let stop = self.cancel.child_token();
        let shared = Arc::new(Shared {
            parts: self.plan.parts.clone(),
            encoders: self.plan.parts.iter().map(|p| RowEncoder::new(p.forms.clone())).collect(),
            names: self.plan.parts.iter().map(|p| Arc::from(p.table.shown())).collect(),
            units: Mutex::new(self.plan.units.iter().cloned().collect()),
            for_leader: Mutex::new(Vec::new()),
            compression: self.compression,
            phase: self.phase,
            events: self.events.clone(),
            cancel: stop.clone(),
        });
        self.events.emit(Event::Started { phase: self.phase, total_bytes: self.plan.total_bytes() });
        let (sender, receiver) = mpsc::channel::<SealedChunk>(2 * jobs);
        let (complete, is_complete) = oneshot::channel();
        let file = tokio::task::spawn_blocking(move || write_chunks(writer, receiver, is_complete));

        let mut tasks = Vec::new();
        for worker in workers {
            let (shared, sender) = (shared.clone(), sender.clone());
            let setup = format!(
                "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}; {}",
                quote::literal(self.snapshot),
                settings::statements(self.catalog.server.version_num)
            );
            let names: HashMap<u32, String> =
                self.catalog.relations.iter().map(|r| (r.oid, format!("ONLY {}", r.quoted()))).collect();
            tasks.push(tokio::spawn(async move {
                let result = tokio::select! {
                    biased;
                    () = shared.cancel.cancelled() => Err(Failure::interrupted()),
                    result = work_as_worker(&worker.client, &shared, &sender, &setup, &names) => result,
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
            result = drain(leader, &shared, &sender) => result,
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
                result = drain(leader, &shared, &sender) => result,
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
        self.events.emit(Event::Finished { phase: self.phase });
        if self.cancel.is_cancelled() {
            return Err(Failure::interrupted());
        }
        let written = written?;
        match first_cause(results) {
            Some(failure) => Err(failure),
            None => written.ok_or_else(Failure::interrupted),
        }
    }
}

/// The failure that made the others stop: not the interruption that it caused.
fn first_cause(results: Vec<Result<(), Failure>>) -> Option<Failure> {
    let mut failures: Vec<Failure> = results.into_iter().filter_map(Result::err).collect();
    let real = failures.iter().position(|f| f.kind != crate::failure::FailureKind::Interrupted).unwrap_or(0);
    (!failures.is_empty()).then(|| failures.swap_remove(real))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
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

/// Reading a table locks its indexes, too, until the transaction ends or goes back behind the lock. With thousands of
/// tables the server has no room for so many locks, so each unit gives its own back.
const MARK: &str = "SAVEPOINT pgkeep_unit";
const GIVE_BACK: &str = "ROLLBACK TO SAVEPOINT pgkeep_unit;";

/// Takes units until none is left.
async fn drain(client: &Client, shared: &Shared, sender: &mpsc::Sender<SealedChunk>) -> Result<(), Failure> {
    client.batch_execute(MARK).await?;
    let mut encoder = None;
    loop {
        let Some(unit) = lock(&shared.units).pop_front() else { break };
        copy_unit(client, shared, &unit, &mut encoder, sender).await?;
        client.batch_execute(GIVE_BACK).await.map_err(|error| {
            let table = &shared.names[unit.table as usize];
            Failure::from_server(&error).while_doing(format!("reading table {table}"))
        })?;
    }
    client.batch_execute("RELEASE SAVEPOINT pgkeep_unit").await?;
    Ok(())
}

async fn work_as_worker(
    client: &Client,
    shared: &Shared,
    sender: &mpsc::Sender<SealedChunk>,
    setup: &str,
    names: &HashMap<u32, String>,
) -> Result<(), Failure> {
    client.batch_execute(&format!("{setup} {MARK}")).await?;
    let mut encoder = None;
    loop {
        let Some(unit) = lock(&shared.units).pop_front() else { return Ok(()) };
        // Large objects are no table of the plan's, and need no lock.
        let name = names.get(&unit.relation).map(String::as_str).unwrap_or_default();
        let sql = match name {
            "" => GIVE_BACK.to_owned(),
            name => format!("{GIVE_BACK} LOCK TABLE {name} IN ACCESS SHARE MODE NOWAIT"),
        };
        match client.batch_execute(&sql).await {
            Ok(()) => copy_unit(client, shared, &unit, &mut encoder, sender).await?,
            Err(error) if pg::is_lock_timeout(&error) => lock(&shared.for_leader).push(unit),
            Err(error) => {
                let table = &shared.names[unit.table as usize];
                return Err(Failure::from_server(&error).while_doing(format!("locking table {table}")));
            }
        }
    }
}

/// A chunk being filled, and the one before it being compressed on another thread.
struct Chunks<'a> {
    shared: &'a Shared,
    unit: &'a Unit,
    sender: &'a mpsc::Sender<SealedChunk>,
    /// The line that begins each chunk.
    head: Vec<u8>,
    filling: Vec<u8>,
    rows: u64,
    piece: u32,
    /// Away while a chunk is being compressed.
    encoder: &'a mut Option<ChunkEncoder>,
    sealing: Option<tokio::task::JoinHandle<(ChunkEncoder, Result<SealedChunk, ArchiveError>)>>,
    reported_bytes: u64,
}

impl Chunks<'_> {
    /// Takes one row as COPY printed it, without its newline.
    async fn push(&mut self, row: &[u8]) -> Result<(), Failure> {
        let before = self.filling.len();
        let encoder = &self.shared.encoders[self.unit.table as usize];
        encoder.encode(row, &mut self.filling).map_err(|e| {
            Failure::failed(format!(
                "the server sent a row that cannot be read: {e} (table {})",
                self.shared.names[self.unit.table as usize]
            ))
        })?;
        self.filling.push(b'\n');
        if self.filling.len() > CHUNK_BYTES && self.rows > 0 {
            // The row that is too much begins the next chunk, so that only a lone row can make a chunk large.
            let mut next = self.head.clone();
            next.extend_from_slice(&self.filling[before..]);
            self.filling.truncate(before);
            self.seal(next).await?;
        }
        self.rows += 1;
        if self.filling.len() > CHUNK_BYTES {
            let next = self.head.clone();
            self.seal(next).await?;
        }
        Ok(())
    }

    /// Hands the filled chunk to a compressing thread and goes on with `next`.
    async fn seal(&mut self, next: Vec<u8>) -> Result<(), Failure> {
        self.wait().await?;
        let raw = std::mem::replace(&mut self.filling, next);
        let (rows, piece) = (std::mem::take(&mut self.rows), self.piece);
        self.piece += 1;
        let (table, range) = (self.unit.table, self.unit.range);
        // A unit's bytes are counted as its chunks go by, and made exact at its end.
        let advance = (raw.len() as u64).min(self.unit.bytes - self.reported_bytes);
        self.reported_bytes += advance;
        self.shared.events.emit(Event::Advanced {
            phase: self.shared.phase,
            table: self.shared.names[table as usize].clone(),
            rows,
            bytes: advance,
        });
        let mut encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => ChunkEncoder::new(self.shared.compression).map_err(|e| Failure::from_archive(&e))?,
        };
        let key = KeyColumns::of(&self.shared.parts[table as usize].table);
        self.sealing = Some(tokio::task::spawn_blocking(move || {
            let sealed = encoder.seal_rows(table, range, piece, &raw, rows, &key);
            (encoder, sealed)
        }));
        Ok(())
    }

    /// Waits for the chunk that is being compressed and sends it to the file.
    async fn wait(&mut self) -> Result<(), Failure> {
        let Some(sealing) = self.sealing.take() else { return Ok(()) };
        let (encoder, sealed) =
            sealing.await.map_err(|e| Failure::failed(format!("compression ended abnormally: {e}")))?;
        *self.encoder = Some(encoder);
        let sealed = sealed.map_err(|e| Failure::from_archive(&e))?;
        // The writer's own failure is reported by the writer.
        self.sender.send(sealed).await.map_err(|_| Failure::interrupted())
    }

    async fn finish(mut self) -> Result<(), Failure> {
        if self.rows > 0 {
            self.seal(Vec::new()).await?;
        }
        self.wait().await?;
        self.shared.events.emit(Event::Advanced {
            phase: self.shared.phase,
            table: self.shared.names[self.unit.table as usize].clone(),
            rows: 0,
            bytes: self.unit.bytes - self.reported_bytes,
        });
        Ok(())
    }
}

async fn copy_unit(
    client: &Client,
    shared: &Shared,
    unit: &Unit,
    encoder: &mut Option<ChunkEncoder>,
    sender: &mpsc::Sender<SealedChunk>,
) -> Result<(), Failure> {
    let part = &shared.parts[unit.table as usize];
    let name = &shared.names[unit.table as usize];
    let reading =
        |e: tokio_postgres::Error| Failure::from_server(&e).while_doing(format!("reading table {name}"));
    let stream = client.copy_out(&unit.copy).await.map_err(reading)?;
    let mut stream = std::pin::pin!(stream);
    let head = table_line(&part.table);
    let mut chunks = Chunks {
        shared,
        unit,
        sender,
        filling: head.clone(),
        head,
        rows: 0,
        piece: 0,
        encoder,
        sealing: None,
        reported_bytes: 0,
    };
    // Servers send a row a message (manual, 55.2.6), yet a proxy may cut elsewhere.
    let mut partial: Vec<u8> = Vec::new();
    while let Some(message) = stream.next().await {
        let message = message.map_err(reading)?;
        let mut rest: &[u8] = &message;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if partial.is_empty() {
                chunks.push(&rest[..end]).await?;
            } else {
                partial.extend_from_slice(&rest[..end]);
                let row = std::mem::take(&mut partial);
                chunks.push(&row).await?;
            }
            rest = &rest[end + 1..];
        }
        partial.extend_from_slice(rest);
    }
    if !partial.is_empty() {
        return Err(Failure::failed(format!("the server ended table {name} in the middle of a row")));
    }
    chunks.finish().await
}
