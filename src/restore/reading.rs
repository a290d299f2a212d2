//! The live tables as they were read: as the safety backup holds them, or checksums alone.
//!
//! Rows that nobody has written to give the same lines whoever reads them, in the same chunks, so that checksums tell
//! whether the target still holds what the archive does.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use chrono::Utc;
use tokio_util::sync::CancellationToken;

use super::plan::RestorePlan;
use crate::archive::compression::Compression;
use crate::archive::model::{Chunk, Table};
use crate::archive::reader::Archive;
use crate::archive::writer::ArchiveWriter;
use crate::backup::copy::CopyFormat;
use crate::backup::dump::{Dump, Starts};
use crate::backup::pace::Pace;
use crate::backup::plan::{Plan, Rows, Unit, Way};
use crate::backup::{header, plannable};
use crate::connection::Connector;
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, RelationKind};
use crate::postgres::connect::Session;
use crate::postgres::tid::{Tid, TidRange};
use crate::progress::{Events, Phase};
use crate::selection::TableFilter;

/// A part of a live table: that of a chunk of it where it is known where chunks begin, else that of a unit.
#[derive(Clone, Debug)]
pub struct LiveRange {
    /// Order within its table.
    pub number: u32,
    /// Order of its unit within its table.
    unit: u32,
    /// `oid` of the table or partition.
    pub relation: u32,
    /// Which of its rows.
    pub tids: TidRange,
    /// Its lines; none where it has no row.
    pub chunks: Vec<Chunk>,
}

/// Live tables as they were when they were read.
pub struct Reading {
    plan: Plan,
    /// Positions of the parts in the plan, by `oid` of their tables.
    parts: HashMap<u32, usize>,
    /// The ranges of each part, in order.
    ranges: Vec<Vec<LiveRange>>,
    /// Where the lines can be read once more. Without it the chunks' checksums are those of the lines themselves.
    pub archive: Option<Arc<Archive>>,
}

/// Who reads.
pub struct Reader<'a> {
    /// Has a transaction open in which to read.
    pub session: &'a Session,
    /// The catalog as that transaction sees it.
    pub catalog: &'a Catalog,
    /// Listener.
    pub events: &'a Events,
    /// Stops the work.
    pub cancel: &'a CancellationToken,
}

/// How live tables are read.
pub fn way(jobs: usize) -> Way {
    Way { format: CopyFormat::default(), jobs, small: false, tids: true }
}

impl Reading {
    fn new(plan: Plan, chunks: &[Chunk], starts: &Starts, archive: Option<Arc<Archive>>) -> Reading {
        let parts = plan.parts.iter().enumerate().map(|(n, part)| (part.relation, n)).collect();
        let mut of_units: HashMap<(u32, u32), Vec<Chunk>> = HashMap::new();
        for chunk in chunks {
            if let Some(table) = chunk.table {
                of_units.entry((table, chunk.range)).or_default().push(chunk.clone());
            }
        }
        let starts = starts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut units: Vec<&Unit> = plan.units.iter().collect();
        units.sort_by_key(|unit| (unit.table, unit.range));
        let mut ranges: Vec<Vec<LiveRange>> = vec![Vec::new(); plan.parts.len()];
        for unit in units {
            let mut chunks = of_units.remove(&(unit.table, unit.range)).unwrap_or_default();
            chunks.sort_by_key(|chunk| chunk.piece);
            let of_part = &mut ranges[unit.table as usize];
            for (tids, chunks) in by_chunk(unit, chunks, &starts) {
                let number = of_part.len() as u32;
                of_part.push(LiveRange { number, unit: unit.range, relation: unit.relation, tids, chunks });
            }
        }
        drop(starts);
        Reading { plan, parts, ranges, archive }
    }

    /// What a safety backup has read.
    pub fn of_backup(plan: Plan, starts: &Starts, archive: Arc<Archive>) -> Reading {
        Reading::new(plan, archive.chunks(), starts, Some(archive.clone()))
    }

    /// Rows of a table when it was read; none where it was not.
    pub fn rows(&self, relation: u32) -> Option<u64> {
        Some(self.ranges(relation)?.iter().flat_map(|r| &r.chunks).map(|c| c.rows).sum())
    }

    /// A table as a header describes it; none where it was not read.
    pub fn table(&self, relation: u32) -> Option<&Table> {
        self.parts.get(&relation).map(|n| &self.plan.parts[*n].table)
    }

    /// The ranges of a table, in order; none where it was not read.
    pub fn ranges(&self, relation: u32) -> Option<&[LiveRange]> {
        self.parts.get(&relation).map(|n| self.ranges[*n].as_slice())
    }

    /// Reads these ranges of a table once more, for their checksums.
    pub async fn again(
        &self,
        relation: u32,
        numbers: &HashSet<u32>,
        by: &Reader<'_>,
    ) -> Result<Reading, Failure> {
        let mut stretches: Vec<LiveRange> = Vec::new();
        for range in self.ranges(relation).unwrap_or_default().iter().filter(|r| numbers.contains(&r.number))
        {
            match stretches.last_mut() {
                // Behind the limit of a unit the chunks begin anew.
                Some(last) if last.number + 1 == range.number && last.unit == range.unit => {
                    (last.number, last.tids.end) = (range.number, range.tids.end);
                    last.chunks.extend(range.chunks.iter().cloned());
                }
                _ => stretches.push(range.clone()),
            }
        }
        let encoding = &by.catalog.server.encoding;
        let table = self.parts.get(&relation).map_or(0, |n| *n as u32);
        let units = (0..).zip(&stretches).filter_map(|(range, stretch)| {
            let leaf = by.catalog.relation(stretch.relation)?;
            let of = |u: &&Unit| u.table == table && u.range == stretch.unit;
            let unit = self.plan.units.iter().find(of)?;
            if unit.tids == stretch.tids {
                return Some(Unit { range, ..unit.clone() });
            }
            let bytes = stretch.chunks.iter().map(|c| c.bytes).sum();
            let part = &self.plan.parts[table as usize];
            Some(part.unit((table, range), leaf, stretch.tids, unit.has_tids, bytes, encoding))
        });
        let plan = Plan { parts: self.plan.parts.clone(), units: units.collect(), ..Plan::default() };
        checksums(plan, by, "", Vec::new()).await
    }
}

/// What a unit has read, chunk by chunk where it is known where each begins. All places of the unit are in one of them:
/// new rows may come to any.
fn by_chunk(
    unit: &Unit,
    chunks: Vec<Chunk>,
    starts: &HashMap<(u32, u32, u32), Tid>,
) -> Vec<(TidRange, Vec<Chunk>)> {
    let start = |chunk: &Chunk| starts.get(&(unit.table, unit.range, chunk.piece)).copied();
    let later: Option<Vec<Tid>> = chunks.iter().skip(1).map(start).collect();
    let Some(later) = later.filter(|_| unit.has_tids && !chunks.is_empty()) else {
        return vec![(unit.tids, chunks)];
    };
    let firsts = std::iter::once(unit.tids.first).chain(later.iter().copied());
    let ends = later.iter().copied().map(Some).chain(std::iter::once(unit.tids.end));
    let ranges = firsts.zip(ends).map(|(first, end)| TidRange { first, end });
    ranges.zip(chunks).map(|(tids, chunk)| (tids, vec![chunk])).collect()
}

/// Reads the tables that a restore compares, for their checksums, where no safety backup does: those of which the target
/// and the archive both hold rows.
pub async fn take(
    by: &Reader<'_>,
    connector: &Connector,
    restore: &RestorePlan,
    archive: &Archive,
    jobs: usize,
) -> Result<Reading, Failure> {
    let client = &by.session.client;
    let is_archived = |oid: u32| {
        let mut tables = restore.tables.iter();
        tables.any(|t| t.relation == oid && !archive.table_chunks(t.index).is_empty())
    };
    let roots = restore.roots(by.catalog).into_iter();
    let roots: Vec<u32> =
        roots.filter(|r| r.kind != RelationKind::Foreign && is_archived(r.oid)).map(|r| r.oid).collect();
    let mut catalog = by.catalog.clone();
    let scope = restore.closure(&catalog);
    catalog.read_sizes(client, |relation| scope.contains(&relation.oid)).await?;
    let roots = roots.into_iter().filter_map(|oid| catalog.relation(oid));
    let has_pages = |oid: u32| catalog.relation(oid).is_some_and(|r| r.heap_pages > 0 || !r.heap);
    let roots = roots.filter(|r| catalog.leaves(r).iter().any(|leaf| has_pages(leaf.oid)));
    let mut plan = Plan::of(&catalog, roots.collect(), Rows::All, way(jobs));
    if plan.units.is_empty() {
        return Ok(Reading::new(plan, &[], &Starts::default(), None));
    }
    let snapshot: String = client.query_typed("SELECT pg_catalog.pg_export_snapshot()", &[]).await?[0].get(0);
    plannable::give_up_unplannable(client, &catalog, &mut plan).await?;
    let workers = connector.workers(jobs.min(plan.units.len()).saturating_sub(1), by.events).await;
    checksums(plan, &Reader { catalog: &catalog, ..*by }, &snapshot, workers).await
}

/// Reads the units of `plan` and keeps nothing of them but checksums.
async fn checksums(
    plan: Plan,
    by: &Reader<'_>,
    snapshot: &str,
    workers: Vec<Session>,
) -> Result<Reading, Failure> {
    // What is not compressed is hashed as it is.
    let compression = Compression::None;
    let header = header(by.catalog, &plan, by.session, &TableFilter::default(), Utc::now(), None, None);
    let writer = ArchiveWriter::create(io::sink(), compression, &header);
    let writer = writer.map_err(|e| Failure::from_archive(&e))?;
    let starts = Starts::default();
    let dump = Dump {
        plan: &plan,
        catalog: by.catalog,
        snapshot,
        compression,
        phase: Phase::Compare,
        pace: Pace::default(),
        taken_at: Instant::now(),
        starts: starts.clone(),
        events: by.events,
        cancel: by.cancel,
    };
    let (_, summary) = dump.run(by.session, workers, writer).await?;
    Ok(Reading::new(plan, &summary.index, &starts, None))
}
