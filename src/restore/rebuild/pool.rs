//! Jobs over several connections: the heaviest first, none beside another that locks the same table.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use futures_util::future::try_join_all;
use tokio::sync::Notify;

use crate::failure::Failure;
use crate::postgres::connect::Session;

/// A piece of work.
pub struct Job<T> {
    /// What is to be done.
    pub work: T,
    /// The tables that it locks.
    pub tables: HashSet<usize>,
    /// How long it may take, in any unit.
    pub weight: u64,
}

struct State<T> {
    waiting: Vec<Job<T>>,
    busy: HashSet<usize>,
}

/// Does all `jobs` over `sessions`. `work` gets small jobs together, up to `most` and `most_weight`, to be done in one
/// transaction.
pub async fn run<T, W, F>(
    sessions: &[&Session],
    mut jobs: Vec<Job<T>>,
    (most, most_weight): (usize, u64),
    work: W,
) -> Result<(), Failure>
where
    W: Fn(usize, Vec<T>) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    // Taken from the end.
    jobs.sort_by_key(|j| j.weight);
    let state = Mutex::new(State { waiting: jobs, busy: HashSet::new() });
    let freed = Notify::new();
    let (state, freed, work) = (&state, &freed, &work);
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let workers = sessions.iter().enumerate().map(|(number, _)| async move {
        loop {
            let notified = freed.notified();
            let taken = {
                let mut state = lock();
                if state.waiting.is_empty() {
                    return Ok(());
                }
                take(&mut state, most, most_weight)
            };
            if taken.is_empty() {
                notified.await;
                continue;
            }
            let mut tables = HashSet::new();
            let mut batch = Vec::with_capacity(taken.len());
            for job in taken {
                tables.extend(job.tables);
                batch.push(job.work);
            }
            work(number, batch).await?;
            lock().busy.retain(|t| !tables.contains(t));
            freed.notify_waiters();
        }
    });
    try_join_all(workers).await.map(|_: Vec<()>| ())
}

/// The heaviest job that can be done now, and light ones to go with it.
fn take<T>(state: &mut State<T>, most: usize, most_weight: u64) -> Vec<Job<T>> {
    let mut taken = Vec::new();
    let mut weight = 0;
    let mut own: HashSet<usize> = HashSet::new();
    let mut at = state.waiting.len();
    while at > 0 && taken.len() < most {
        at -= 1;
        let job = &state.waiting[at];
        let free = job.tables.iter().all(|t| own.contains(t) || !state.busy.contains(t));
        if free && (taken.is_empty() || weight + job.weight <= most_weight) {
            let job = state.waiting.remove(at);
            weight += job.weight;
            own.extend(&job.tables);
            taken.push(job);
        }
        if weight >= most_weight {
            break;
        }
    }
    state.busy.extend(own);
    taken
}
