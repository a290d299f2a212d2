//! Rows straight into their tables, several tables at once. One table is one connection's work, so that its rows come to
//! lie in the archive's order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use super::Rebuild;
use super::pool::{self, Job};
use crate::archive::model::Chunk;
use crate::failure::Failure;
use crate::postgres::connect::Session;
use crate::progress::{Event, Phase};
use crate::restore::plan::{RestorePlan, TablePlan};
use crate::restore::{large_objects, stage};

/// Small tables are loaded together in one transaction: up to so many, and so many bytes of JSON.
const TOGETHER: (usize, u64) = (200, 16 << 20);

/// Loads all tables of the plan. Returns for each its name, rows and seconds.
pub async fn all(
    rebuild: &Rebuild<'_>,
    sessions: &[&Session],
    plan: &RestorePlan,
) -> Result<Vec<(String, u64, f64)>, Failure> {
    let bytes = |t: &TablePlan| rebuild.archive.table_chunks(t.index).iter().map(|c| c.bytes).sum::<u64>();
    let all = || plan.tables.iter().chain(&plan.large_objects);
    let total = all().map(bytes).sum();
    rebuild.events.emit(Event::Started { phase: Phase::Load, total_bytes: total });
    let loaded: BTreeMap<String, (u64, f64)> = all().map(|t| (t.shown.clone(), (0, 0.0))).collect();
    let loaded = Mutex::new(loaded);
    let tables = plan.tables.iter().filter(|t| !rebuild.archive.table_chunks(t.index).is_empty());
    let work = tables.map(|table| (bytes(table), Work::Table(table)));
    let large = plan.large_objects.iter().flat_map(|table| ranges(rebuild, table));
    let jobs = work.chain(large).map(|(weight, work)| Job { work, tables: HashSet::new(), weight }).collect();
    pool::run(sessions, jobs, TOGETHER, |number, batch: Vec<Work<'_>>| {
        let loaded = &loaded;
        async move {
            let client = &sessions[number].client;
            client.batch_execute(&rebuild.begin()).await?;
            for work in batch {
                let started = Instant::now();
                let (table, rows) = match work {
                    Work::Table(table) => (table, one(rebuild, sessions[number], table).await?),
                    Work::LargeObjects(table, chunks) => {
                        let (archive, events) = (rebuild.archive, rebuild.events);
                        (table, large_objects::load(client, archive, table, &chunks, events).await?)
                    }
                };
                let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                let sum = loaded.entry(table.shown.clone()).or_default();
                *sum = (sum.0 + rows, sum.1 + started.elapsed().as_secs_f64());
            }
            Ok(client.batch_execute("COMMIT").await?)
        }
    })
    .await?;
    rebuild.events.emit(Event::Finished { phase: Phase::Load });
    let loaded = loaded.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(loaded.into_iter().map(|(table, (rows, seconds))| (table, rows, seconds)).collect())
}

/// A piece of work for one connection.
enum Work<'a> {
    Table(&'a TablePlan),
    /// Some of them: all chunks of a range, so that no two connections make the same one.
    LargeObjects(&'a TablePlan, Vec<Chunk>),
}

fn ranges<'a>(rebuild: &Rebuild<'_>, table: &'a TablePlan) -> Vec<(u64, Work<'a>)> {
    let chunks = rebuild.archive.table_chunks(table.index);
    let ranges = chunks.chunk_by(|a, b| a.range == b.range);
    let work = |range: &[&Chunk]| {
        let chunks: Vec<Chunk> = range.iter().map(|c| (*c).clone()).collect();
        (chunks.iter().map(|c| c.bytes).sum(), Work::LargeObjects(table, chunks))
    };
    ranges.map(work).collect()
}

async fn one(rebuild: &Rebuild<'_>, session: &Session, table: &TablePlan) -> Result<u64, Failure> {
    let client = &session.client;
    // Types' and domains' functions find what they find in the application, and nothing stands in for a built-in.
    client.batch_execute(stage::BUILT_IN_FIRST_PATH).await?;
    let rows = stage::copy_in(client, rebuild.archive, table, &table.quoted, rebuild.events).await?;
    client.batch_execute("SET LOCAL search_path = ''").await?;
    Ok(rows)
}
