//! The live tables, read page range by page range: as the safety backup holds them, or checksums alone.
//!
//! A page range that nobody has written to gives the same lines whoever reads it, so that its checksums tell whether the
//! target still holds what the archive does.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use tokio_util::sync::CancellationToken;

use super::plan::RestorePlan;
use crate::archive::compression::Compression;
use crate::archive::model::{Chunk, Table};
use crate::archive::reader::Archive;
use crate::archive::writer::ArchiveWriter;
use crate::backup::copy::CopyFormat;
use crate::backup::dump::Dump;
use crate::backup::pace::Pace;
use crate::backup::plan::{Pages, Plan, Rows, Unit};
use crate::backup::{header, ranges};
use crate::connection::Connector;
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, RelationKind};
use crate::postgres::connect::Session;
use crate::progress::{Events, Phase};
use crate::selection::TableFilter;

/// What a page range of a live table holds.
#[derive(Clone, Debug)]
pub struct LiveRange {
    /// Order within its table.
    pub number: u32,
    /// `oid` of the table or partition.
    pub relation: u32,
    /// Its pages.
    pub pages: Pages,
    /// Its lines, in pieces; none where it has no row.
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

impl Reading {
    fn new(plan: Plan, chunks: &[Chunk], archive: Option<Arc<Archive>>) -> Reading {
        let parts = plan.parts.iter().enumerate().map(|(n, part)| (part.relation, n)).collect();
        let mut ranges = vec![Vec::new(); plan.parts.len()];
        for unit in &plan.units {
            let (number, relation, pages) = (unit.range, unit.relation, unit.pages);
            ranges[unit.table as usize].push(LiveRange { number, relation, pages, chunks: Vec::new() });
        }
        ranges.iter_mut().for_each(|of_part| of_part.sort_by_key(|r| r.number));
        let rows = chunks.iter().filter_map(|chunk| Some((chunk.table? as usize, chunk)));
        for (table, chunk) in rows {
            // A chunk is of one of the units, so that all have their place.
            if let Some(of_part) = ranges.get_mut(table)
                && let Ok(at) = of_part.binary_search_by_key(&chunk.range, |r| r.number)
            {
                of_part[at].chunks.push(chunk.clone());
            }
        }
        ranges.iter_mut().flatten().for_each(|range| range.chunks.sort_by_key(|c| c.piece));
        Reading { plan, parts, ranges, archive }
    }

    /// What a safety backup has read.
    pub fn of_backup(plan: Plan, archive: Arc<Archive>) -> Reading {
        Reading::new(plan, archive.chunks(), Some(archive.clone()))
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
        let part = self.parts.get(&relation).copied();
        let is_wanted = |u: &&Unit| Some(u.table as usize) == part && numbers.contains(&u.range);
        let units = self.plan.units.iter().filter(is_wanted).cloned().collect();
        let plan = Plan { parts: self.plan.parts.clone(), units, ..Plan::default() };
        checksums(plan, by, "", Vec::new()).await
    }
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
    let mut plan = Plan::of(&catalog, roots.collect(), Rows::All, CopyFormat::default());
    if plan.units.is_empty() {
        return Ok(Reading::new(plan, &[], None));
    }
    let snapshot: String = client.query_typed("SELECT pg_catalog.pg_export_snapshot()", &[]).await?[0].get(0);
    ranges::give_up_unplannable(client, &catalog, &mut plan).await?;
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
    let dump = Dump {
        plan: &plan,
        catalog: by.catalog,
        snapshot,
        compression,
        phase: Phase::Compare,
        pace: Pace::default(),
        taken_at: Instant::now(),
        events: by.events,
        cancel: by.cancel,
    };
    let (_, summary) = dump.run(by.session, workers, writer).await?;
    Ok(Reading::new(plan, &summary.index, None))
}
