//! Rows straight into their tables, several tables at once, and indexes behind them. One table is one connection's
//! work, so that its rows come to lie in the archive's order. As soon as the rows of a table are in, what stands on
//! them is made, while other tables are still loaded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tokio_postgres::Client;

use super::Rebuild;
use super::after::{self, After};
use super::ledger::Step as Ledgered;
use super::pool::{self, Job, Step};
use super::rows::{self, Part, Way};
use crate::archive::model::{Chunk, Table};
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, Relation, RelationKind};
use crate::postgres::connect::Session;
use crate::postgres::copy::pack::{Packing, RowPacker};
use crate::progress::{Event, Phase};
use crate::restore::plan::{RestorePlan, TablePlan};
use crate::restore::{large_objects, verify};
use crate::schema::Object;

/// Small tables are loaded together in one transaction: up to so many, and so many bytes of JSON.
const TOGETHER: (usize, u64) = (200, 8 << 20);

/// Loads all tables of the plan and makes what can be made right behind them; [`Phase::Finish`] has begun then. Returns for
/// each table its name, rows and seconds.
pub async fn all(
    rebuild: &Rebuild<'_>,
    sessions: &[&Session],
    plan: &RestorePlan,
    catalog: &Catalog,
    after: &After<'_>,
) -> Result<Vec<(String, u64, f64)>, Failure> {
    let bytes = |t: &TablePlan| rebuild.archive.table_chunks(t.index).iter().map(|c| c.bytes).sum::<u64>();
    let all = || plan.tables.iter().chain(&plan.large_objects);
    let total = all().map(bytes).sum();
    rebuild.events.emit(Event::Started { phase: Phase::Load, total_bytes: total });
    let loaded: BTreeMap<String, (u64, f64)> =
        all().map(|t| (t.shown.clone(), (rows_in(rebuild, t), 0.0))).collect();
    let loaded = Mutex::new(loaded);
    let mut jobs = Vec::new();
    let behind = after.behind_rows();
    let ways: HashMap<usize, u64> =
        behind.iter().flat_map(|j| j.tables.iter().map(|t| (*t, j.way))).collect();
    let with_rows = plan.tables.iter().filter(|t| {
        let chunks = rebuild.archive.table_chunks(t.index);
        chunks.len() > rebuild.ledger.chunks_in(t)
    });
    let with_rows: Vec<&TablePlan> = with_rows.collect();
    let kinds = Kinds::read(rebuild, catalog, &with_rows).await?;
    // What a check calls may read other tables, and holds them until its own table's rows are in: whoever waits for one of
    // them meanwhile must hold none itself.
    let is_calling = with_rows.iter().filter_map(|t| kinds.object(rebuild, t)).any(|n| after.calls(n));
    for table in with_rows {
        let weight = bytes(table);
        let object = kinds.object(rebuild, table);
        let tables: Vec<usize> = object.map(|n| after.root(n)).into_iter().collect();
        let behind = tables.iter().filter_map(|t| ways.get(t)).max().copied().unwrap_or_default();
        // While rows are frozen nobody reads the table. A function that does (a check's) waits; so that none waits for
        // another, no table of which functions are called is frozen, and a frozen one has a transaction to itself.
        let own = |n: usize| !rebuild.is_there(&rebuild.objects[n]) && !after.calls(n);
        let way = kinds.way(table, object.is_some_and(own) && weight >= rows::FREEZE_FROM);
        let alone = if way.freeze { TOGETHER.1 } else { 0 };
        let (way_left, weight) = (weight + behind, weight.max(alone));
        let work = Work::Table(table, Box::new(way));
        jobs.push(Job { work, tables, shared: false, step: Step::Load, weight, way: way_left });
    }
    for (weight, work) in plan.large_objects.iter().flat_map(|table| ranges(rebuild, table)) {
        jobs.push(Job { work, tables: Vec::new(), shared: false, step: Step::Load, weight, way: weight });
    }
    let loads = AtomicUsize::new(jobs.len());
    jobs.extend(behind.into_iter().map(|job| {
        let Job { work, tables, shared, step, weight, way } = job;
        let weight = if is_calling { weight.max(TOGETHER.1) } else { weight };
        Job { work: Work::Make(work), tables, shared, step, weight, way }
    }));
    let finished = || {
        rebuild.events.emit(Event::Finished { phase: Phase::Load });
        rebuild.events.emit(Event::Started { phase: Phase::Finish, total_bytes: 0 });
    };
    if loads.load(Ordering::Relaxed) == 0 {
        finished();
    }
    pool::run(sessions, jobs, TOGETHER, |turn, batch: Vec<Work<'_>>| {
        let (loaded, loads, finished) = (&loaded, &loads, &finished);
        async move {
            let client = &sessions[turn.session].client;
            let mut made = Vec::new();
            client.batch_execute(&rebuild.begin()).await?;
            for work in batch {
                let started = Instant::now();
                let (table, rows) = match work {
                    Work::Table(table, way) => (table, fill(rebuild, client, table, &way).await?),
                    Work::LargeObjects(table, chunks) => {
                        let (archive, events) = (rebuild.archive, rebuild.events);
                        let rows = large_objects::load(client, archive, table, &chunks, events).await?;
                        if let Some(first) = chunks.first() {
                            rebuild.ledger.note_large_objects(client, first).await?;
                        }
                        (table, rows)
                    }
                    Work::Make(objects) => {
                        made.extend(objects);
                        continue;
                    }
                };
                let mut sums = loaded.lock().unwrap_or_else(PoisonError::into_inner);
                let sum = sums.entry(table.shown.clone()).or_default();
                *sum = (sum.0 + rows, sum.1 + started.elapsed().as_secs_f64());
                drop(sums);
                // The last of them: from here on there are only indexes to wait for.
                if loads.fetch_sub(1, Ordering::Relaxed) == 1 {
                    finished();
                }
            }
            after::make(rebuild, client, &made, Ledgered::Made, turn.spare).await?;
            Ok(client.batch_execute("COMMIT").await?)
        }
    })
    .await?;
    prove_earlier(rebuild, plan).await?;
    let loaded = loaded.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(loaded.into_iter().map(|(table, (rows, seconds))| (table, rows, seconds)).collect())
}

/// Fills a table, in the transaction that is open; where the restore is to be resumed, that is committed now and then, and
/// another one is open in the end. Returns how many rows came in.
async fn fill(rebuild: &Rebuild<'_>, client: &Client, table: &TablePlan, way: &Way) -> Result<u64, Failure> {
    let chunks = rebuild.archive.table_chunks(table.index);
    let mut rows = 0;
    for (n, range) in rebuild.ledger.ranges(table, &chunks).into_iter().enumerate() {
        if n > 0 {
            client.batch_execute(&format!("COMMIT; {}", rebuild.begin())).await?;
        }
        let part = Part {
            chunks: chunks[range.clone()].iter().map(|c| (*c).clone()).collect(),
            rows_before: chunks[..range.start].iter().map(|c| c.rows).sum(),
        };
        rows += rows::load(client, rebuild.archive, table, part, way, rebuild.events).await?;
        rebuild.ledger.note_rows(client, table, &range).await?;
    }
    Ok(rows)
}

/// Rows of the table that an earlier run has committed.
fn rows_in(rebuild: &Rebuild<'_>, table: &TablePlan) -> u64 {
    let chunks = rebuild.archive.table_chunks(table.index);
    chunks.iter().take(rebuild.ledger.chunks_in(table)).map(|c| c.rows).sum()
}

/// Makes sure that nobody has changed, between two runs, how many rows there are in tables that the earlier one had made or begun
/// to fill.
async fn prove_earlier(rebuild: &Rebuild<'_>, plan: &RestorePlan) -> Result<(), Failure> {
    if !rebuild.ledger.goes_on() {
        return Ok(());
    }
    let is_made =
        |o: &&Object| o.kind == crate::schema::Kind::Table && !rebuild.there.contains_key(&o.identity);
    let made = rebuild.objects.iter().filter(is_made);
    let made: HashSet<(&str, &str)> =
        made.filter_map(|o| Some((o.schema.as_deref()?, o.name.as_str()))).collect();
    let archived = &rebuild.archive.header().tables;
    let is_ours = |t: &&TablePlan| {
        let is_made = |a: &Table| made.contains(&(a.schema.as_str(), a.name.as_str()));
        rebuild.ledger.chunks_in(t) > 0 || archived.get(t.index as usize).is_some_and(is_made)
    };
    let tables: Vec<TablePlan> = plan.tables.iter().filter(is_ours).cloned().collect();
    let client = &rebuild.session.client;
    client.batch_execute(&rebuild.begin()).await?;
    let counts = verify::counts(client, &tables).await?;
    client.batch_execute("ROLLBACK").await?;
    for table in &tables {
        let archived: u64 = rebuild.archive.table_chunks(table.index).iter().map(|c| c.rows).sum();
        let now = counts.get(&table.shown).copied().unwrap_or_default();
        if now != archived {
            return Err(Failure::failed(format!(
                "table {}: the archive has {archived} rows and the table {now}: somebody has written to it since the first run",
                table.shown
            ))
            .next("begin anew: remove the database (dropdb, createdb), or restore with --clean"));
        }
    }
    Ok(())
}

/// A piece of work for one connection.
enum Work<'a> {
    Table(&'a TablePlan, Box<Way>),
    /// Some of them: all chunks of a range, so that no two connections make the same one.
    LargeObjects(&'a TablePlan, Vec<Chunk>),
    /// Indexes and constraints of tables whose rows are in.
    Make(Vec<&'a Object>),
}

fn ranges<'a>(rebuild: &Rebuild<'_>, table: &'a TablePlan) -> Vec<(u64, Work<'a>)> {
    let chunks = rebuild.archive.table_chunks(table.index);
    let ranges = chunks.chunk_by(|a, b| a.range == b.range);
    let ranges = ranges.filter(|range| !rebuild.ledger.has_large_objects(range[0]));
    let work = |range: &[&Chunk]| {
        let chunks: Vec<Chunk> = range.iter().map(|c| (*c).clone()).collect();
        (chunks.iter().map(|c| c.bytes).sum(), Work::LargeObjects(table, chunks))
    };
    ranges.map(work).collect()
}

/// What tables and their columns are.
struct Kinds<'a> {
    relations: HashMap<u32, &'a Relation>,
    enums: HashSet<u32>,
    /// Positions of the tables' objects.
    objects: HashMap<(&'a str, &'a str), usize>,
}

/// The first OID that is not the server's own (`FirstNormalObjectId`).
const FIRST_OF_USERS: u32 = 16384;

impl<'a> Kinds<'a> {
    async fn read(
        rebuild: &Rebuild<'a>,
        catalog: &'a Catalog,
        tables: &[&TablePlan],
    ) -> Result<Kinds<'a>, Failure> {
        let relations: HashMap<u32, &Relation> = catalog.relations.iter().map(|r| (r.oid, r)).collect();
        let columns = tables.iter().filter_map(|t| relations.get(&t.relation)).flat_map(|r| &r.columns);
        let mut enums = HashSet::new();
        if columns.into_iter().any(|c| c.base_type >= FIRST_OF_USERS) {
            let sql = "SELECT t.oid FROM pg_catalog.pg_type t WHERE t.typtype = 'e'";
            let rows = rebuild.session.client.query_typed(sql, &[]).await?;
            enums = rows.iter().map(|row| row.get(0)).collect();
        }
        let objects =
            rebuild.objects.iter().enumerate().filter(|(_, o)| o.kind == crate::schema::Kind::Table);
        let objects =
            objects.filter_map(|(n, o)| Some(((o.schema.as_deref()?, o.name.as_str()), n))).collect();
        Ok(Kinds { relations, enums, objects })
    }

    /// The position of the table's object.
    fn object(&self, rebuild: &Rebuild<'_>, table: &TablePlan) -> Option<usize> {
        let archived = rebuild.archive.header().tables.get(table.index as usize)?;
        self.objects.get(&(archived.schema.as_str(), archived.name.as_str())).copied()
    }

    /// How the rows of a table go in.
    fn way(&self, table: &TablePlan, may_freeze: bool) -> Way {
        let Some(relation) = self.relations.get(&table.relation) else { return Way::default() };
        let packing = |name: &String| {
            let column = relation.columns.iter().find(|c| c.name == *name)?;
            if self.enums.contains(&column.base_type) {
                return Some(Packing::Text);
            }
            Packing::of_type(column.base_type)
        };
        let packer = match table.copy_options {
            "" if table.left_out.is_empty() => {
                table.columns.iter().map(packing).collect::<Option<Vec<_>>>().and_then(RowPacker::new)
            }
            // The server is asked to take bytes that are of no encoding; or not all cells of a row are for it.
            _ => None,
        };
        let plain = relation.kind == RelationKind::Table && relation.heap;
        Way { packer, freeze: may_freeze && plain }
    }
}
