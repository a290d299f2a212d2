//! Jobs over several connections: those with the longest way to go first, none beside another that locks the same
//! table against it, and none before what it has to wait for.

use std::collections::HashMap;
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
    pub tables: Vec<usize>,
    /// Whether others that say so too may hold the same tables meanwhile.
    pub shared: bool,
    /// Jobs of a later step wait until those of earlier steps on the same tables are done. Jobs of one step alone are
    /// done together.
    pub step: Step,
    /// How long it may take, in any unit.
    pub weight: u64,
    /// How long it may take with all that has to wait for it: the longest way is gone first.
    pub way: u64,
}

/// When a job's turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Rows come in.
    Load,
    /// What stands on rows: indexes, constraints.
    Make,
}

/// What a batch of jobs is done with.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Which of the sessions does it.
    pub session: usize,
    /// How many sessions have nothing to do meanwhile, and will not have.
    pub spare: usize,
}

struct State<T> {
    waiting: Vec<Job<T>>,
    /// For each table how many hold it; `usize::MAX` where one does alone.
    busy: HashMap<usize, usize>,
    /// For each table how many jobs of [`Step::Load`] are not done.
    loading: HashMap<usize, usize>,
    /// Sessions at work.
    working: usize,
}

const ALONE: usize = usize::MAX;

/// Does all `jobs` over `sessions`. `work` gets small jobs together, up to `most` and `most_weight`, to be done in one
/// transaction.
pub async fn run<T, W, F>(
    sessions: &[&Session],
    mut jobs: Vec<Job<T>>,
    (most, most_weight): (usize, u64),
    work: W,
) -> Result<(), Failure>
where
    W: Fn(Turn, Vec<T>) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    // Taken from the end.
    jobs.sort_by_key(|j| j.way);
    let mut loading = HashMap::new();
    for job in jobs.iter().filter(|j| j.step == Step::Load) {
        job.tables.iter().for_each(|t| *loading.entry(*t).or_default() += 1);
    }
    let state = Mutex::new(State { waiting: jobs, busy: HashMap::new(), loading, working: 0 });
    let freed = Notify::new();
    let (state, freed, work) = (&state, &freed, &work);
    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let workers = sessions.iter().enumerate().map(|(session, _)| async move {
        loop {
            let notified = freed.notified();
            let (taken, spare) = {
                let mut state = lock();
                if state.waiting.is_empty() {
                    return Ok(());
                }
                let taken = state.take(most, most_weight);
                if !taken.is_empty() {
                    state.working += 1;
                }
                let spare = if state.waiting.is_empty() { sessions.len() - state.working } else { 0 };
                (taken, spare)
            };
            if taken.is_empty() {
                notified.await;
                continue;
            }
            let mut held = Vec::with_capacity(taken.len());
            let mut batch = Vec::with_capacity(taken.len());
            for job in taken {
                held.push((job.tables, job.step));
                batch.push(job.work);
            }
            work(Turn { session, spare }, batch).await?;
            lock().release(&held);
            freed.notify_waiters();
        }
    });
    try_join_all(workers).await.map(|_: Vec<()>| ())
}

impl<T> State<T> {
    /// The job with the longest way that can be done now, and light ones to go with it.
    fn take(&mut self, most: usize, most_weight: u64) -> Vec<Job<T>> {
        let mut taken: Vec<Job<T>> = Vec::new();
        let mut weight = 0;
        let mut own: HashMap<usize, usize> = HashMap::new();
        let mut at = self.waiting.len();
        while at > 0 && taken.len() < most {
            at -= 1;
            let job = &self.waiting[at];
            let together =
                taken.first().is_none_or(|f| f.step == job.step && weight + job.weight <= most_weight);
            if together && self.is_free(job, &own) {
                let job = self.waiting.remove(at);
                weight += job.weight;
                for table in &job.tables {
                    let holders = own.entry(*table).or_default();
                    *holders = if job.shared { holders.saturating_add(1) } else { ALONE };
                }
                taken.push(job);
            }
            if weight >= most_weight {
                break;
            }
        }
        for (table, holders) in own {
            let all = self.busy.entry(table).or_default();
            *all = if holders == ALONE { ALONE } else { *all + 1 };
        }
        taken
    }

    fn is_free(&self, job: &Job<T>, own: &HashMap<usize, usize>) -> bool {
        job.tables.iter().all(|table| {
            let others = self.busy.get(table).copied().unwrap_or_default();
            let loaded = job.step == Step::Load || self.loading.get(table).is_none_or(|n| *n == 0);
            let beside = others == 0 || job.shared && others != ALONE && own.get(table) != Some(&ALONE);
            loaded && beside
        })
    }

    /// Lets go of what a batch has held.
    fn release(&mut self, held: &[(Vec<usize>, Step)]) {
        self.working -= 1;
        let mut tables: Vec<usize> = held.iter().flat_map(|(tables, _)| tables.iter().copied()).collect();
        tables.sort_unstable();
        tables.dedup();
        for table in tables {
            if let Some(holders) = self.busy.get_mut(&table) {
                *holders = if *holders == ALONE { 0 } else { *holders - 1 };
            }
        }
        for table in held.iter().filter(|(_, step)| *step == Step::Load).flat_map(|(tables, _)| tables) {
            if let Some(left) = self.loading.get_mut(table) {
                *left -= 1;
            }
        }
    }
}
