//! Rows straight into their tables, several tables at once. One table is one connection's work, so that its rows come to
//! lie in the archive's order.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use super::Rebuild;
use super::pool::{self, Job};
use crate::failure::Failure;
use crate::postgres::connect::Session;
use crate::progress::{Event, Phase};
use crate::restore::plan::{RestorePlan, TablePlan};
use crate::restore::stage;

/// Small tables are loaded together in one transaction: up to so many, and so many bytes of JSON.
const TOGETHER: (usize, u64) = (200, 16 << 20);

/// Loads all tables of the plan. Returns for each its name, rows and seconds.
pub async fn all(
    rebuild: &Rebuild<'_>,
    sessions: &[&Session],
    plan: &RestorePlan,
) -> Result<Vec<(String, u64, f64)>, Failure> {
    let bytes = |t: &TablePlan| rebuild.archive.table_chunks(t.index).iter().map(|c| c.bytes).sum::<u64>();
    let total = plan.tables.iter().map(bytes).sum();
    rebuild.events.emit(Event::Started { phase: Phase::Load, total_bytes: total });
    let loaded = Mutex::new(Vec::with_capacity(plan.tables.len()));
    let jobs = plan
        .tables
        .iter()
        .filter(|t| {
            let empty = rebuild.archive.table_chunks(t.index).is_empty();
            if empty {
                loaded.lock().unwrap_or_else(PoisonError::into_inner).push((t.shown.clone(), 0, 0.0));
            }
            !empty
        })
        .map(|table| Job { work: table, tables: HashSet::new(), weight: bytes(table) })
        .collect();
    pool::run(sessions, jobs, TOGETHER, |number, tables: Vec<&TablePlan>| {
        let loaded = &loaded;
        async move {
            let client = &sessions[number].client;
            client.batch_execute(&rebuild.begin()).await?;
            for table in tables {
                let started = Instant::now();
                let rows = one(rebuild, sessions[number], table).await?;
                let seconds = started.elapsed().as_secs_f64();
                let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                loaded.push((table.shown.clone(), rows, seconds));
            }
            Ok(client.batch_execute("COMMIT").await?)
        }
    })
    .await?;
    rebuild.events.emit(Event::Finished { phase: Phase::Load });
    Ok(loaded.into_inner().unwrap_or_else(PoisonError::into_inner))
}

async fn one(rebuild: &Rebuild<'_>, session: &Session, table: &TablePlan) -> Result<u64, Failure> {
    let client = &session.client;
    // Types' and domains' functions find what they find in the application, and nothing stands in for a built-in.
    client.batch_execute(stage::BUILT_IN_FIRST_PATH).await?;
    let rows = stage::copy_in(client, rebuild.archive, table, &table.quoted, rebuild.events).await?;
    client.batch_execute("SET LOCAL search_path = ''").await?;
    Ok(rows)
}
