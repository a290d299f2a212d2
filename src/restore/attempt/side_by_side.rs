//! Tables that are staged and compared side by side: each by one connection, the largest first.
//!
//! The restoring transaction holds its locks and has written nothing yet, so that other sessions see the live rows as it
//! does. Each worker stages a table in a transaction of its own, which it commits where the table differs, and undoes where
//! it does not. The leader takes part, with temporary tables.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::archive::reader::Archive;
use crate::connection;
use crate::failure::{Failure, FailureKind};
use crate::postgres::catalog::STAGING_SCHEMA;
use crate::postgres::connect::Session;
use crate::progress::Events;
use crate::restore::compare::{self, Compared};
use crate::restore::equal::{Ranges, Rest};
use crate::restore::plan::TablePlan;
use crate::restore::refused;
use crate::restore::stage;

/// A smaller table is no work to share, in bytes of its lines.
const SMALL: u64 = 256 << 10;
/// The work of the others must be worth their connections, in bytes of the lines of all tables but the largest.
const WORTHWHILE: u64 = 4 << 20;
/// Removing the schema locks everything in it, for which the server has so much room at least.
const MOST: usize = 200;

/// A table that is to be staged.
pub(super) struct Todo {
    /// Its place among the tables of the plan.
    pub place: usize,
    /// The table.
    pub table: TablePlan,
    /// What of it need not be compared.
    pub ranges: Option<Ranges>,
    /// What is.
    pub rest: Rest,
}

/// A table that was.
pub(super) struct Done {
    /// Its place among the tables of the plan.
    pub place: usize,
    /// The table.
    pub table: TablePlan,
    /// What differs, and what was not compared.
    pub compared: Result<(Compared, Option<Ranges>), Failure>,
    pub seconds: f64,
}

/// Tables that nobody has taken yet, the largest first.
#[derive(Default)]
struct Queue {
    tables: VecDeque<Todo>,
    /// How many of them workers may still take.
    for_workers: usize,
}

/// What all connections share.
pub(super) struct Shared {
    todo: Mutex<Queue>,
    /// Tables that a worker could not stage.
    for_leader: Mutex<Vec<Todo>>,
    done: Mutex<Vec<Done>>,
    archive: Arc<Archive>,
    keep_going: bool,
    events: Events,
    stop: CancellationToken,
    /// What begins a worker's transaction.
    begin: String,
}

impl Todo {
    fn bytes(&self) -> u64 {
        self.rest.chunks.iter().map(|c| c.bytes).sum()
    }
}

impl Queue {
    fn next_for_worker(&mut self) -> Option<Todo> {
        if self.for_workers == 0 || self.tables.front()?.bytes() < SMALL {
            return None;
        }
        self.for_workers -= 1;
        self.tables.pop_front()
    }
}

/// How many connections these tables are work for.
pub(super) fn connections(todo: &[Todo]) -> usize {
    let large: Vec<u64> = todo.iter().map(Todo::bytes).filter(|bytes| *bytes >= SMALL).collect();
    let beside = large.iter().sum::<u64>() - large.iter().max().copied().unwrap_or_default();
    if beside < WORTHWHILE { 1 } else { large.len() }
}

impl Shared {
    /// `begin`: what begins a worker's transaction.
    pub fn new(
        mut todo: Vec<Todo>,
        archive: &Arc<Archive>,
        keep_going: bool,
        begin: String,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Shared {
        todo.sort_by_key(|table| std::cmp::Reverse(table.bytes()));
        Shared {
            todo: Mutex::new(Queue { tables: todo.into(), for_workers: MOST }),
            for_leader: Mutex::default(),
            done: Mutex::default(),
            archive: archive.clone(),
            keep_going,
            events: events.clone(),
            // A child: a worker's failure stops the others without telling the caller's other work to stop.
            stop: cancel.child_token(),
            begin,
        }
    }

    /// Stages and compares all tables, through `leader`, in its transaction, and `workers`. The first failure that is not to
    /// be left behind stops all.
    pub async fn run(self, leader: &Session, workers: Vec<Session>) -> Result<Vec<Done>, Failure> {
        let shared = Arc::new(self);
        let alone = workers.is_empty();
        let mut tasks = Vec::new();
        for worker in workers {
            let shared = shared.clone();
            tasks.push(tokio::spawn(async move {
                let result = tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => Err(Failure::interrupted()),
                    result = work(&worker.client, &shared) => result,
                };
                if result.is_err() {
                    shared.stop.cancel();
                    connection::stop(&worker).await;
                }
                result
            }));
        }
        let led = tokio::select! {
            biased;
            // Whoever gives up the whole restore drops this.
            () = shared.stop.cancelled(), if !alone => Err(Failure::interrupted()),
            result = lead(&leader.client, &shared) => result,
        };
        if led.is_err() {
            shared.stop.cancel();
        }
        let is_midway = matches!(&led, Err(failure) if failure.kind == FailureKind::Interrupted);
        let mut results = vec![led];
        for task in tasks {
            let ended = task.await;
            results.push(
                ended.unwrap_or_else(|e| Err(Failure::failed(format!("a worker ended abnormally: {e}")))),
            );
        }
        if results.iter().all(Result::is_ok) {
            let rest = std::mem::take(&mut *lock(&shared.for_leader));
            lock(&shared.todo).tables.extend(rest);
            results.push(lead(&leader.client, &shared).await);
        }
        if let Some(mut failure) = Failure::first_cause(results) {
            // The leader is in the midst of a statement, which has to be stopped.
            failure.transient &= !is_midway;
            return Err(failure);
        }
        let mut done = std::mem::take(&mut *lock(&shared.done));
        done.sort_by_key(|table| table.place);
        Ok(done)
    }

    /// Whether a table's failure may be left behind.
    fn goes_on_after(&self, failure: &Failure, client: &Client) -> bool {
        self.keep_going
            && matches!(failure.kind, FailureKind::Failed | FailureKind::Access)
            && !client.is_closed()
            && !self.stop.is_cancelled()
    }

    /// Stages the rest of a table and compares it, in the transaction that `client` has open.
    async fn stage(
        &self,
        client: &Client,
        table: &TablePlan,
        mut ranges: Option<Ranges>,
        rest: Rest,
    ) -> Result<(Compared, Option<Ranges>), Failure> {
        if rest.chunks.is_empty() && !(rest.has_live && table.counts_live_only) {
            return Ok((Compared::default(), ranges));
        }
        client.batch_execute("SAVEPOINT pgkeep_stage").await?;
        let mut refused = stage::fill(client, &self.archive, table, rest.chunks, &self.events).await?;
        if table.chosen.is_some() {
            table.check_condition(client, &stage::stage_name(table)).await?;
            client.batch_execute(stage::BUILT_IN_FIRST_PATH).await?;
        }
        let mut compared = compare::compare(client, table, &rest.live).await?;
        if rest.is_part
            && compared.difference.archived_only > 0
            && compare::meets_others(client, table).await?
        {
            // What becomes of it shows when all of it is there.
            self.events.detail(format!("table {}: the archive has a key twice; all is staged", table.shown));
            client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_stage").await?;
            let whole = Rest::whole(&self.archive, table);
            refused = stage::fill(client, &self.archive, table, whole.chunks, &self.events).await?;
            compared = compare::compare(client, table, &whole.live).await?;
            ranges = None;
        }
        if table.counts_live_only && !refused.is_empty() {
            let (archive, refused) = (&self.archive, &refused);
            compared.difference = refused::keep_counterparts(client, archive, table, refused).await?;
        }
        compared.refused = refused;
        // What is equal needs its staged rows no more: their disk space and locks are given back.
        let back = if compared.is_none() { "ROLLBACK TO SAVEPOINT pgkeep_stage; " } else { "" };
        client.batch_execute(&format!("{back}RELEASE SAVEPOINT pgkeep_stage")).await?;
        Ok((compared, ranges))
    }
}

/// Stages tables in the restoring transaction until none is left.
async fn lead(client: &Client, shared: &Shared) -> Result<(), Failure> {
    loop {
        let Some(Todo { place, table, ranges, rest }) = lock(&shared.todo).tables.pop_front() else {
            return Ok(());
        };
        let started = Instant::now();
        let compared = shared.stage(client, &table, ranges, rest).await;
        if let Err(failure) = &compared {
            if !shared.goes_on_after(failure, client) {
                return compared.map(|_| ());
            }
            client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_stage").await?;
        }
        let seconds = started.elapsed().as_secs_f64();
        lock(&shared.done).push(Done { place, table, compared, seconds });
    }
}

/// Stages large tables in transactions of their own until none is left.
async fn work(client: &Client, shared: &Shared) -> Result<(), Failure> {
    loop {
        let next = lock(&shared.todo).next_for_worker();
        let Some(Todo { place, mut table, ranges, rest }) = next else { return Ok(()) };
        let started = Instant::now();
        table.staged_in = STAGING_SCHEMA;
        // Behind a queued ACCESS EXCLUSIVE request it would wait for the restore that waits for it.
        let begin = format!("{} LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT", shared.begin, table.from_item);
        let compared = async {
            client.batch_execute(&begin).await?;
            let compared = shared.stage(client, &table, ranges.clone(), rest.clone()).await?;
            let end = if compared.0.is_none() { "ROLLBACK" } else { "COMMIT" };
            client.batch_execute(end).await?;
            Ok::<_, Failure>(compared)
        };
        let compared = match compared.await {
            Ok(compared) => compared,
            Err(failure) => {
                // A lost connection is the end of it, and so is an archive that cannot be read.
                let is_undone = client.batch_execute("ROLLBACK").await.is_ok();
                if !is_undone || !matches!(failure.kind, FailureKind::Failed | FailureKind::Access) {
                    return Err(failure);
                }
                // Another may hold the table, or the server refuse what it grants to temporary tables.
                shared.events.detail(format!("{}; it is tried once more", failure.what));
                table.staged_in = stage::TEMPORARY;
                lock(&shared.for_leader).push(Todo { place, table, ranges, rest });
                continue;
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        lock(&shared.done).push(Done { place, table, compared: Ok(compared), seconds });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // No invariant spans a lock here, so a panicked holder leaves nothing half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
