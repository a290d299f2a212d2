//! What differs between two archives, row by row, without a server.
//!
//! Chunks that both hold are skipped by their checksums. Of the others rows are paired by their keys, in memory: as many
//! passes over them as it takes to hold no more than 128 MiB of one side at a time. Rows are the same if their keys
//! are equal as values, and equal if the texts of all columns are: as in a restore.
//!
//! Where some rows are chosen, all are paired all the same: a chosen row meets the one of its key wherever that belongs.
//!
//! A condition chooses rows of the first archive. Of those that only the second has it tells which are too many: a row that the
//! first has in a state that does not meet it is none of them, and not compared either.

pub mod live;
mod pairs;
mod rules;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::archive::model::{Chunk, Table};
use crate::archive::reader::Archive;
use crate::closure::archive::{ChosenRows, InChunk};
use crate::condition::Condition;
use crate::difference::TableDifference;
use crate::failure::Failure;
use crate::progress::{Event, Events, Phase};
use crate::restore::Mode;
use crate::restore::entity::{self, Chosen};
use crate::restore::preference::Preferences;
use crate::selection::{RowChoice, TableFilter};
use pairs::Pairs;
use tokio_util::sync::CancellationToken;

/// Bytes of the lines of one archive that are held at a time.
const MEMORY: u64 = 128 << 20;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CompareOptions {
    /// Which tables.
    pub filter: TableFilter,
    /// Which rows of them, by conditions, and which columns.
    pub rows: RowChoice,
    /// Which rows of them, by what belongs together.
    pub chosen: Chosen,
    /// How rows would meet: mode `newer` says of each row that both have which is the newer one.
    pub mode: Mode,
    /// What decides that.
    pub preferences: Preferences,
    /// Of how many rows of each kind, in each table, it is said what they are.
    pub samples: usize,
    /// Threads that read.
    pub threads: usize,
}

/// What differs between an archive and another, or a database.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Tables that both have, by name.
    pub tables: BTreeMap<String, TableDifference>,
    /// Tables that cannot be compared, with the reason.
    pub failed: BTreeMap<String, String>,
    /// Tables that only the first has.
    pub only_here: Vec<String>,
    /// Tables that only the second has.
    pub only_there: Vec<String>,
}

/// Compares the rows of `one` with those of `other`: what a restore of `one` would do to a database that is as `other`.
/// Blocks.
pub fn compare(
    one: &Arc<Archive>,
    other: &Arc<Archive>,
    options: &CompareOptions,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Comparison, Failure> {
    let all = |archive: &Archive| -> Vec<(String, String)> {
        archive.header().tables.iter().map(|t| (t.schema.clone(), t.name.clone())).collect()
    };
    let names = [all(one), all(other)].concat();
    let names = || names.iter().map(|(schema, name)| (schema.as_str(), name.as_str()));
    let unmatched = options.filter.unmatched(names());
    if !unmatched.is_empty() {
        let list: Vec<String> = unmatched.iter().map(|p| format!("{p:?}")).collect();
        return Err(Failure::usage(format!("no table of either archive matches {}", list.join(", ")))
            .next("see what is inside with: pgkeep show FILE"));
    }
    check_matches(one, &options.rows)?;
    options.preferences.check(options.mode, names())?;
    let (chosen, asked, threads) = (&options.chosen, (&options.filter, &options.rows), options.threads);
    let one_places = entity::find(one, chosen, asked, threads, cancel)?.map(|(places, _)| places);
    let other_places = entity::too_many(other, chosen, asked, threads, cancel)?;
    let rows = &chosen.rest(&options.rows);
    let (one_places, other_places) = (one_places.as_ref(), other_places.as_ref());
    let there: HashMap<(&str, &str), usize> = (other.header().tables.iter().enumerate())
        .map(|(n, t)| ((t.schema.as_str(), t.name.as_str()), n))
        .collect();
    let named = |t: &&Table| options.filter.wants(&t.schema, &t.name);
    // Of an entity, tables of which neither has a row that counts are left out.
    let reached = |places: Option<&ChosenRows>, number: Option<usize>| {
        places.zip(number).is_none_or(|(places, number)| !places.is_none(number as u32))
    };
    let mut comparison = Comparison::default();
    let mut pairs = Vec::new();
    for (n, table) in one.header().tables.iter().enumerate() {
        let shown = table.shown();
        let m = there.get(&(table.schema.as_str(), table.name.as_str())).copied();
        let is_wanted = match one_places {
            None => named(&table),
            Some(_) => reached(one_places, Some(n)) || (m.is_some() && reached(other_places, m)),
        };
        if !is_wanted {
            continue;
        }
        let Some(m) = m else {
            comparison.only_here.push(shown);
            continue;
        };
        let sides = [Side::new(one, n, one_places), Side::new(other, m, other_places)];
        match Pairs::new(sides, options) {
            Err(reason) => {
                comparison.failed.insert(shown, reason);
            }
            // A condition that cannot be used is found before any row is read.
            Ok(fitting) => pairs.push((shown, fitting.choosing(rows)?)),
        }
    }
    let total = one.totals().bytes + other.totals().bytes;
    events.emit(Event::Started { phase: Phase::Compare, total_bytes: total });
    let mut met = Vec::new();
    for (shown, pairs) in pairs {
        let found = pairs.compare(events, cancel).map_err(|f| f.while_doing(format!("table {shown}")))?;
        if pairs.is_conditional() {
            let archived = found.inserted + found.updated + found.unchanged + found.kept;
            met.push((shown.clone(), archived + found.deleted > 0));
        }
        comparison.tables.insert(shown, found);
    }
    entity::check_met(&met)?;
    let here: HashMap<(&str, &str), ()> =
        one.header().tables.iter().map(|t| ((t.schema.as_str(), t.name.as_str()), ())).collect();
    let others = other.header().tables.iter().enumerate();
    let only = others.filter(|(m, t)| match other_places {
        None => named(t),
        Some(_) => reached(other_places, Some(*m)),
    });
    let only =
        only.map(|(_, table)| table).filter(|t| !here.contains_key(&(t.schema.as_str(), t.name.as_str())));
    comparison.only_there = only.map(Table::shown).collect();
    events.emit(Event::Finished { phase: Phase::Compare });
    Ok(comparison)
}

/// Refuses conditions and columns of tables that the first archive does not have, as a restore of it does.
fn check_matches(one: &Archive, rows: &RowChoice) -> Result<(), Failure> {
    let tables = one.header().tables.iter().map(|t| (t.schema.as_str(), t.name.as_str()));
    let unmatched = rows.unmatched(tables);
    if unmatched.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = unmatched.iter().map(|p| format!("{p:?}")).collect();
    Err(Failure::usage(format!("no table of the archive matches {}", list.join(", ")))
        .next("see what is inside with: pgkeep show FILE"))
}

/// A table of one of the archives.
struct Side<'a> {
    archive: &'a Arc<Archive>,
    number: usize,
    table: &'a Table,
    /// The rows that count, where not all do: of the first those that are chosen, of the other those that would be too many.
    places: Option<&'a ChosenRows>,
    /// The condition on its rows, where there is one.
    condition: Option<Condition>,
}

impl<'a> Side<'a> {
    fn new(archive: &'a Arc<Archive>, number: usize, places: Option<&'a ChosenRows>) -> Side<'a> {
        let places = places.filter(|places| !places.is_all(number as u32));
        Side { archive, number, table: &archive.header().tables[number], places, condition: None }
    }

    /// The chunks of its rows.
    fn chunks(&self) -> Vec<&'a Chunk> {
        self.archive.table_chunks(self.number as u32)
    }

    /// Which rows of a chunk count.
    fn counting(&self, chunk: &Chunk) -> InChunk<'a> {
        self.places.map_or(InChunk::All, |places| places.in_chunk(chunk))
    }
}
