//! Rows of an archive that are chosen by where they stand: those of an entity, or those that chosen tables need.
//!
//! In mode `exact` an entity loses the live rows that belong to it, by referring to it, and that it does not have in the
//! archive. Rows that it only needs are somebody else's, too, and never go; nor does a row whose key the archive has
//! elsewhere: it has come to this entity from another one, which would lose it. Where there is no key, rows that are equal
//! are the same, as many as there are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::RestoreOptions;
use super::plan::{RestorePlan, TablePlan};
use super::report;
use crate::archive::decompression::Decompressor;
use crate::archive::error::ArchiveError;
use crate::archive::in_order::in_order;
use crate::archive::model::{Chunk, Table};
use crate::archive::reader::Archive;
use crate::closure::archive::{ChosenRows, TableRows};
use crate::closure::{self, Scope, Tree};
use crate::condition::Condition;
use crate::failure::{Failure, FailureKind};
use crate::postgres::catalog::Catalog;
use crate::postgres::quote;
use crate::postgres::tid::Tid;
use crate::row::order::Values;
use crate::row::{CellForm, Cells, text_of};
use crate::selection::{ByTable, RowChoice, TableFilter};

/// Which rows are chosen by where they stand.
#[derive(Clone, Debug, Default)]
pub enum Chosen {
    /// No more than tables and conditions say.
    #[default]
    All,
    /// What belongs to some rows, and what that needs.
    Entity(Scope),
    /// The rows of chosen tables, all or those that meet a condition, and of others those that these need.
    WithReferences,
}

impl Chosen {
    /// Refuses what cannot be chosen so in this mode; `rows` may have conditions.
    pub fn check(&self, rows: &RowChoice, deletes: bool) -> Result<(), Failure> {
        if !matches!(self, Chosen::WithReferences) || rows.conditions.is_empty() || !deletes {
            return Ok(());
        }
        Err(Failure::usage("--mode exact with --where leaves no place for the rows of --with-references: nobody can tell which others are too many")
            .state("nothing was changed")
            .next("restore in mode upsert, or leave --with-references out"))
    }

    /// The conditions and columns that are still to be looked at when the rows have been found.
    pub fn rest(&self, rows: &RowChoice) -> RowChoice {
        match self {
            Chosen::WithReferences => RowChoice { conditions: ByTable::default(), ..rows.clone() },
            _ => rows.clone(),
        }
    }
}

/// The rows that the options choose, and how they were found; none where all are.
pub async fn choose(
    archive: &Arc<Archive>,
    options: &RestoreOptions,
    cancel: &CancellationToken,
) -> Result<Option<(ChosenRows, Tree)>, Failure> {
    options.chosen.check(&options.rows, options.deletes() && !options.compares)?;
    let (archive, chosen, threads) = (archive.clone(), options.chosen.clone(), options.jobs);
    let (filter, rows, cancel) = (options.filter.clone(), options.rows.clone(), cancel.clone());
    let found =
        tokio::task::spawn_blocking(move || find(&archive, &chosen, (&filter, &rows), threads, &cancel))
            .await;
    let found =
        found.unwrap_or_else(|e| Err(Failure::failed(format!("looking for the rows ended abnormally: {e}"))));
    found.map_err(|f| f.state("the target is untouched"))
}

/// The same at once. `filter` and `rows` say whose references are wanted. Blocks.
pub fn find(
    archive: &Arc<Archive>,
    chosen: &Chosen,
    (filter, rows): (&TableFilter, &RowChoice),
    threads: usize,
    cancel: &CancellationToken,
) -> Result<Option<(ChosenRows, Tree)>, Failure> {
    match chosen {
        Chosen::All => Ok(None),
        Chosen::Entity(scope) => closure::archive::entity(archive, scope, threads, cancel).map(Some),
        Chosen::WithReferences => {
            let begins = given(archive, (filter, rows), threads, cancel)?;
            closure::archive::references(archive, begins, threads, cancel).map(Some)
        }
    }
}

/// The rows of `other` that would be too many if it were the target; none: all are. Blocks.
pub fn too_many(
    other: &Arc<Archive>,
    chosen: &Chosen,
    (filter, rows): (&TableFilter, &RowChoice),
    threads: usize,
    cancel: &CancellationToken,
) -> Result<Option<ChosenRows>, Failure> {
    match chosen {
        Chosen::All => Ok(None),
        Chosen::Entity(scope) => closure::archive::belonging(other, scope, threads, cancel).map(Some),
        // Of what is only needed nothing is.
        Chosen::WithReferences => {
            let mut whole = ChosenRows::none(other.header().tables.len());
            let is_whole =
                |t: &Table| filter.wants(&t.schema, &t.name) && rows.condition(&t.schema, &t.name).is_none();
            for (number, _) in (0..).zip(&other.header().tables).filter(|(_, t)| is_whole(t)) {
                whole.set(number, TableRows::All);
            }
            Ok(Some(whole))
        }
    }
}

/// The rows of the tables that are wanted: all, or those that meet a condition.
fn given(
    archive: &Arc<Archive>,
    (filter, rows): (&TableFilter, &RowChoice),
    threads: usize,
    cancel: &CancellationToken,
) -> Result<ChosenRows, Failure> {
    let tables = || (0_u32..).zip(&archive.header().tables).filter(|(_, t)| filter.wants(&t.schema, &t.name));
    let unmatched = rows.conditions.unmatched(tables().map(|(_, t)| (t.schema.as_str(), t.name.as_str())));
    if !unmatched.is_empty() {
        let list: Vec<String> = unmatched.iter().map(|p| format!("{p:?}")).collect();
        return Err(Failure::usage(format!("no table that is chosen matches {}", list.join(", ")))
            .next("with --with-references, --where is about tables of --table; see what is inside with: pgkeep show FILE"));
    }
    let mut given = ChosenRows::none(archive.header().tables.len());
    let mut met = Vec::new();
    for (number, table) in tables() {
        match rows.condition(&table.schema, &table.name) {
            None => given.set(number, TableRows::All),
            Some(text) => {
                let condition = Condition::new(&text, archive.header(), table, |_| true)?;
                let found = meeting(archive, number, &condition, threads, cancel)?;
                met.push((table.shown(), !found.is_empty()));
                given.set(number, TableRows::Some(found));
            }
        }
    }
    check_met(&met)?;
    Ok(given)
}

/// The rows of a table that meet a condition: numbers within their chunks, by these chunks' offsets.
fn meeting(
    archive: &Arc<Archive>,
    table: u32,
    condition: &Condition,
    threads: usize,
    cancel: &CancellationToken,
) -> Result<BTreeMap<u64, Vec<u32>>, Failure> {
    let state = || archive.decompressor().map_err(|e| Failure::from_archive(&e));
    let work = |own: &mut Decompressor, chunk: &Chunk| {
        if cancel.is_cancelled() {
            return Err(Failure::interrupted());
        }
        let rows = archive.read_rows_with(chunk, own).map_err(|e| Failure::from_archive(&e))?;
        let mut met = Vec::new();
        for (number, line) in (0..).zip(rows.rows()) {
            let holds = condition.holds(line).map_err(|error| {
                let what = format!("chunk at byte {}: {error}", chunk.offset);
                Failure::new(FailureKind::Archive, what)
            })?;
            if holds {
                met.push(number);
            }
        }
        Ok((chunk.offset, met))
    };
    let mut rows = BTreeMap::new();
    in_order(&archive.table_chunks(table), threads, state, work, |(offset, met)| {
        if !met.is_empty() {
            rows.insert(offset, met);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(rows)
}

/// Refuses conditions that no row meets: a typing error must not look like a result. Of each table with a condition its name,
/// and whether there is such a row.
pub fn check_met(tables: &[(String, bool)]) -> Result<(), Failure> {
    if tables.is_empty() || tables.iter().any(|(_, is_met)| *is_met) {
        return Ok(());
    }
    let names: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
    Err(Failure::usage(format!("no row of {} meets its condition", names.join(", ")))
        .state("nothing was changed")
        .next("the condition of --where is about the archived rows: see them with pgkeep show FILE TABLE"))
}

/// The tables of the target in which rows may be that belong to the entity and are too many.
pub fn reach(catalog: &Catalog, options: &RestoreOptions) -> Result<HashSet<u32>, Failure> {
    match &options.chosen {
        Chosen::Entity(scope) if options.looks_for_live_only() => {
            Ok(closure::live::reach_down(catalog, scope)?.into_iter().collect())
        }
        _ => Ok(HashSet::new()),
    }
}

/// Says of each table which live rows may go, once nobody else can write them.
pub async fn limit(
    client: &Client,
    catalog: &Catalog,
    archive: &Arc<Archive>,
    options: &RestoreOptions,
    plan: &mut RestorePlan,
) -> Result<(), Failure> {
    let live = match &options.chosen {
        Chosen::Entity(scope) if options.looks_for_live_only() => {
            closure::live::belonging(client, catalog, scope).await?
        }
        _ => return Ok(()),
    };
    for table in &mut plan.tables {
        let leaves = catalog.relation(table.relation).map(|r| catalog.leaves(r)).unwrap_or_default();
        let own: Vec<(u32, &Vec<Tid>)> =
            leaves.iter().filter_map(|leaf| Some((leaf.oid, live.get(&leaf.oid)?))).collect();
        let too_many = not_archived(client, archive, table, &own, options.jobs).await?;
        table.removable.retain(|condition| condition != NONE);
        table.removable.push(format!("WHERE {}", among(&too_many)));
    }
    Ok(())
}

/// Of a table of which some rows are chosen no live row goes, unless it is known to belong to them.
pub const NONE: &str = "WHERE false";

/// The condition that a row is one of these, by tables and places.
fn among<'t>(rows: impl IntoIterator<Item = (&'t u32, &'t Vec<String>)>) -> String {
    let of_leaf = rows.into_iter().filter(|(_, tids)| !tids.is_empty()).map(|(oid, tids)| {
        let list = tids.iter().map(|tid| format!("\"{tid}\"")).collect::<Vec<_>>().join(",");
        format!("(tableoid = {oid} AND ctid = ANY ('{{{list}}}'::pg_catalog.tid[]))")
    });
    let any: Vec<String> = of_leaf.collect();
    if any.is_empty() { "false".to_owned() } else { any.join(" OR ") }
}

/// Live rows by what tells them apart: table and place, as text.
type ByKey = HashMap<Vec<u8>, Vec<(String, String)>>;

/// Those of these live rows that are not among the archived rows of others, told by their keys, by table and place.
async fn not_archived(
    client: &Client,
    archive: &Arc<Archive>,
    table: &TablePlan,
    live: &[(u32, &Vec<Tid>)],
    threads: usize,
) -> Result<BTreeMap<u32, Vec<String>>, Failure> {
    let all: BTreeMap<u32, Vec<String>> =
        live.iter().map(|(oid, tids)| (*oid, tids.iter().map(ToString::to_string).collect())).collect();
    let archived = archive.header().tables.get(table.index as usize);
    // Where all archived rows are chosen, there are none of others.
    let (Some(places), Some(archived)) = (table.places.clone(), archived) else { return Ok(all) };
    if all.values().all(Vec::is_empty) {
        return Ok(all);
    }
    let telling: Vec<&String> = match &table.key {
        Some(key) => key.columns.iter().map(|column| &column.name).collect(),
        None => table.columns.iter().collect(),
    };
    let columns = telling.into_iter().map(|name| {
        let place = table.columns.iter().position(|c| c == name)?;
        // The archive may have columns that are left out, and others by an older name.
        let taken = (0..archived.columns.len()).filter(|n| !table.left_out.get(*n).copied().unwrap_or(false));
        let n = taken.collect::<Vec<_>>().get(place).copied()?;
        let of = &archived.columns[n];
        // Of whole rows every digit counts.
        let values = if table.key.is_some() { Values::of_type(&of.type_name) } else { Values::Unknown };
        Some((n, of.form, values, format!("x.{}", quote::ident(name))))
    });
    let Some(columns) = columns.collect::<Option<Vec<_>>>() else { return Ok(BTreeMap::new()) };
    let names: Vec<&str> = columns.iter().map(|(.., name)| name.as_str()).collect();
    let select = format!(
        "SELECT x.tableoid, x.ctid, {} FROM (SELECT tableoid, ctid, * FROM {} WHERE {}) AS x",
        names.join(", "),
        table.from_item,
        among(&all)
    );
    let forms = [CellForm::Text; 2].into_iter().chain(columns.iter().map(|(_, form, ..)| *form)).collect();
    let mut keys = ByKey::new();
    report::copied(client, &select, table.copy_options, forms, |cells| {
        let text = |cell: &[u8]| {
            let text = text_of(CellForm::Text, cell).unwrap_or_default();
            String::from_utf8_lossy(&text).into_owned()
        };
        let mut key = Vec::new();
        for ((_, form, values, _), cell) in columns.iter().zip(&cells[2..]) {
            push(&mut key, *form, *values, cell);
        }
        keys.entry(key).or_default().push((text(cells[0]), text(cells[1])));
        Ok(())
    })
    .await?;
    let (archive, index) = (archive.clone(), table.index);
    let work = move || -> Result<ByKey, Failure> {
        let invalid = |e: ArchiveError| Failure::from_archive(&e);
        let wanted = &keys;
        let read = |own: &mut Decompressor, chunk: &Chunk| {
            let rows = archive.read_rows_with(chunk, own).map_err(invalid)?;
            let chosen = places.in_chunk(chunk);
            let (mut found, mut key) = (Vec::new(), Vec::new());
            for (_, line) in (0..).zip(rows.rows()).filter(|(number, _)| !chosen.has(*number)) {
                key.clear();
                let cells: Result<Vec<&[u8]>, _> = Cells::new(line).collect();
                let cells = cells.map_err(|e| Failure::new(FailureKind::Archive, e.to_string()))?;
                for (place, form, values, _) in &columns {
                    push(&mut key, *form, *values, cells.get(*place).copied().unwrap_or(b"null"));
                }
                if wanted.contains_key(&key) {
                    found.push(key.clone());
                }
            }
            Ok(found)
        };
        let mut of_others = Vec::new();
        let state = || archive.decompressor().map_err(invalid);
        in_order(&archive.table_chunks(index), threads, state, read, |found| {
            of_others.extend(found);
            Ok::<_, Failure>(ControlFlow::Continue(()))
        })?;
        // Of rows that are equal one is as good as the other.
        for key in of_others {
            keys.get_mut(&key).and_then(Vec::pop);
        }
        Ok(keys)
    };
    let found = tokio::task::spawn_blocking(work).await;
    let found =
        found.unwrap_or_else(|e| Err(Failure::failed(format!("looking for keys ended abnormally: {e}"))))?;
    let mut too_many: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (oid, tid) in found.into_values().flatten() {
        too_many.entry(oid.parse().unwrap_or_default()).or_default().push(tid);
    }
    Ok(too_many)
}

fn push(key: &mut Vec<u8>, form: CellForm, values: Values, cell: &[u8]) {
    match text_of(form, cell) {
        None => key.push(0),
        Some(text) => {
            let text = values.canonical(&text);
            key.push(1);
            key.extend_from_slice(&(text.len() as u64).to_le_bytes());
            key.extend_from_slice(&text);
        }
    }
}
