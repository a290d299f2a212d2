//! The rows of one table in two archives, paired by their keys.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::rules::Deciding;
use super::{CompareOptions, MEMORY, Side};
use crate::archive::decompression::Decompressor;
use crate::archive::in_order::in_order;
use crate::archive::model::{Chunk, Column, Table};
use crate::closure::archive::InChunk;
use crate::condition::Condition;
use crate::difference::{RowObject, Samples, TableDifference, Update};
use crate::failure::{Failure, FailureKind};
use crate::progress::{Event, Events, Phase};
use crate::restore::preference::ONLY_MISSING;
use crate::restore::{Mode, fit};
use crate::row::order::Values;
use crate::row::{self, CellForm, Cells, RowError, text_of};
use crate::selection::RowChoice;

/// Two tables that can be compared.
pub struct Pairs<'a> {
    sides: [Side<'a>; 2],
    /// The columns that are compared, in the order of the first table.
    columns: Vec<&'a Column>,
    /// Where each table has them.
    places: [Vec<usize>; 2],
    /// Which of them are the key's; none: the whole row tells rows apart.
    key: Vec<(usize, Values)>,
    deciding: Option<Deciding>,
    mode: Mode,
    /// Whether rows that only the second has are counted.
    counts_deleted: bool,
    samples: usize,
    threads: usize,
}

/// A row of the first archive that waits for its partner.
struct Waiting {
    /// Its place among all that were read.
    number: u64,
    line: Box<[u8]>,
    counts: bool,
}

/// Those rows, by their keys.
#[derive(Default)]
struct AllWaiting {
    first: HashMap<Box<[u8]>, Waiting>,
    /// Of tables without a key: the same row several times. Else there is none.
    more: HashMap<Box<[u8]>, Vec<Waiting>>,
}

impl AllWaiting {
    fn push(&mut self, key: &[u8], row: Waiting) {
        if self.first.contains_key(key) {
            self.more.entry(key.into()).or_default().push(row);
        } else {
            self.first.insert(key.into(), row);
        }
    }

    fn take(&mut self, key: &[u8]) -> Option<Waiting> {
        self.more.get_mut(key).and_then(Vec::pop).or_else(|| self.first.remove(key))
    }

    fn left(self) -> impl Iterator<Item = Waiting> {
        self.first.into_values().chain(self.more.into_values().flatten())
    }
}

/// Rows of a chunk that are of the pass: keys and lines, one behind the other, where they end, and whether they count.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<(usize, usize, bool)>,
    rows: u64,
    chunk_bytes: u64,
}

/// What has been found.
#[derive(Default)]
struct Found {
    difference: TableDifference,
    inserted: Vec<(u64, RowObject)>,
}

impl<'a> Pairs<'a> {
    /// Says why two tables cannot be compared.
    pub fn new(sides: [Side<'a>; 2], options: &CompareOptions) -> Result<Pairs<'a>, String> {
        let [one, other] = sides.each_ref().map(|side| side.table);
        let chosen = options.rows.columns(&one.schema, &one.name).filter(|_| !one.large_objects);
        let (columns, places) = columns(one, other, fit::taken(one, chosen.as_deref())?)?;
        let has_key = !one.key.is_empty() && !other.key.is_empty();
        if !has_key && (chosen.is_some() || !one.left_out.is_empty()) {
            return Err(NO_KEY.to_owned());
        }
        if has_key && !one.key.iter().all(|name| other.key.contains(name)) {
            return Err(format!(
                "its key is {} in the one, {} in the other",
                one.key.join(", "),
                other.key.join(", ")
            ));
        }
        let place = |name: &String| {
            let place = columns.iter().position(|c| c.name == *name)?;
            Some((place, Values::of_type(&columns[place].type_name)))
        };
        let key = if has_key { one.key.iter().filter_map(place).collect() } else { Vec::new() };
        let preference = options.preferences.of(&one.schema, &one.name);
        let mode = preference.mode.unwrap_or(options.mode);
        let counts_deleted = matches!(mode, Mode::Exact | Mode::Newer);
        let deciding = Deciding::new(options.mode, &preference, &columns).filter(|_| has_key);
        Ok(Pairs {
            sides,
            columns,
            places,
            key,
            deciding,
            mode,
            counts_deleted,
            samples: options.samples,
            threads: options.threads,
        })
    }

    /// The same of those rows that meet the conditions, which may name columns that are compared.
    pub fn choosing(mut self, rows: &RowChoice) -> Result<Pairs<'a>, Failure> {
        let table = self.sides[0].table;
        let Some(text) = rows.condition(&table.schema, &table.name).filter(|_| !table.large_objects) else {
            return Ok(self);
        };
        let is_taken = |name: &str| self.columns.iter().any(|column| column.name == name);
        for side in &mut self.sides {
            side.condition = Some(Condition::new(&text, side.archive.header(), side.table, is_taken)?);
        }
        Ok(self)
    }

    /// Whether a condition says which rows are compared.
    pub fn is_conditional(&self) -> bool {
        self.sides[0].condition.is_some()
    }

    /// Compares them.
    pub fn compare(&self, events: &Events, cancel: &CancellationToken) -> Result<TableDifference, Failure> {
        let (rest, equal) = self.unequal();
        let mut found = Found::default();
        found.difference.unchanged = equal;
        let bytes = |chunks: &[&Chunk]| chunks.iter().map(|c| c.bytes).sum::<u64>();
        let skipped =
            self.sides.iter().map(|s| bytes(&s.chunks())).sum::<u64>() - bytes(&rest[0]) - bytes(&rest[1]);
        let told = |rows: u64, bytes: u64| {
            let table: Arc<str> = Arc::from(self.sides[0].table.shown().as_str());
            events.emit(Event::Advanced { phase: Phase::Compare, table, rows, bytes });
        };
        told(equal, skipped);
        let passes = bytes(&rest[0]).min(bytes(&rest[1])).div_ceil(MEMORY).max(1);
        // The smaller side waits, the larger one goes by.
        let waits = usize::from(bytes(&rest[1]) < bytes(&rest[0]));
        for pass in 0..passes {
            let mut waiting = AllWaiting::default();
            let mut number = 0;
            self.read(waits, &rest[waits], (pass, passes), cancel, |batch| {
                batch.each(|key, line, counts| {
                    waiting.push(key, Waiting { number, line: line.into(), counts });
                    number += 1;
                    Ok(())
                })?;
                told(batch.rows / passes, batch.chunk_bytes / passes);
                Ok(())
            })?;
            let mut passing = 0;
            self.read(1 - waits, &rest[1 - waits], (pass, passes), cancel, |batch| {
                batch.each(|key, line, counts| {
                    passing += 1;
                    // Of a pair, that of the first archive says whether it counts.
                    match waiting.take(key) {
                        None if counts => self.single(1 - waits, passing, line, &mut found),
                        Some(partner) if waits == 0 && partner.counts => {
                            self.pair(&partner.line, line, &mut found)
                        }
                        Some(partner) if waits == 1 && counts => self.pair(line, &partner.line, &mut found),
                        _ => Ok(()),
                    }
                })?;
                told(0, batch.chunk_bytes / passes);
                Ok(())
            })?;
            for row in waiting.left().filter(|row| row.counts) {
                self.single(waits, row.number, &row.line, &mut found)?;
            }
        }
        Ok(self.finish(found))
    }

    /// The chunks of both sides of which the other has none that is equal, and how many rows of the first count in those that
    /// are.
    fn unequal(&self) -> ([Vec<&'a Chunk>; 2], u64) {
        let [one, other] = self.sides.each_ref().map(Side::chunks);
        let [a, b] = &self.sides;
        // The first line of a chunk names the columns.
        let alike = a.table.columns == b.table.columns && a.archive.compression() == b.archive.compression();
        // Of rows that meet a condition, each has to be looked at.
        if !alike || a.condition.is_some() || b.condition.is_some() {
            return ([one, other], 0);
        }
        let mut known: HashMap<(&str, u64, u64), Vec<usize>> = HashMap::new();
        for (n, chunk) in other.iter().enumerate() {
            known.entry((&chunk.sha256, chunk.bytes, chunk.rows)).or_default().push(n);
        }
        let (mut rest, mut taken, mut equal) = (Vec::new(), vec![false; other.len()], 0);
        for chunk in one {
            match known.get_mut(&(chunk.sha256.as_str(), chunk.bytes, chunk.rows)).and_then(Vec::pop) {
                Some(n) => {
                    taken[n] = true;
                    equal += match a.counting(chunk) {
                        InChunk::All => chunk.rows,
                        InChunk::Some(rows) => rows.len() as u64,
                    };
                }
                None => rest.push(chunk),
            }
        }
        let others = other.into_iter().zip(taken).filter(|(_, taken)| !taken).map(|(chunk, _)| chunk);
        ([rest, others.collect()], equal)
    }

    /// Gives the rows of the pass to `take`, in the order of the chunks.
    fn read(
        &self,
        side: usize,
        chunks: &[&Chunk],
        pass: (u64, u64),
        cancel: &CancellationToken,
        mut take: impl FnMut(&Batch) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let archive = self.sides[side].archive;
        let state = || archive.decompressor().map_err(|e| Failure::from_archive(&e));
        let work = |own: &mut Decompressor, chunk: &Chunk| {
            if cancel.is_cancelled() {
                return Err(Failure::interrupted());
            }
            let rows = archive.read_rows_with(chunk, own).map_err(|e| Failure::from_archive(&e))?;
            let mut batch = Batch { rows: chunk.rows, chunk_bytes: chunk.bytes, ..Batch::default() };
            let mut key = Vec::new();
            let (condition, has_key) = (&self.sides[side].condition, !self.key.is_empty());
            let counting = self.sides[side].counting(chunk);
            for (number, line) in (0..).zip(rows.rows()) {
                key.clear();
                self.key_of(side, line, &mut key).map_err(|e| bad_row(chunk, &e))?;
                if pass.1 > 1 {
                    let mut hasher = DefaultHasher::new();
                    key.hash(&mut hasher);
                    if hasher.finish() % pass.1 != pass.0 {
                        continue;
                    }
                }
                let is_met = condition.as_ref().map_or(Ok(true), |condition| condition.holds(line));
                let is_met = is_met.map_err(|e| bad_row(chunk, &e))?;
                let counts = is_met && counting.has(number);
                // Rows without a key are the same if all in them is, also whether they meet a condition. Of those of the first
                // archive that do not count it only matters that it has them.
                if counts || (side == 1 && has_key) || (is_met && !has_key) {
                    batch.push(&key, line, counts);
                } else if has_key {
                    batch.push(&key, b"", counts);
                }
            }
            Ok(batch)
        };
        in_order(chunks, self.threads, state, work, |batch| take(&batch).map(|()| ControlFlow::Continue(())))
    }

    /// What tells a row from others.
    fn key_of(&self, side: usize, line: &[u8], key: &mut Vec<u8>) -> Result<(), RowError> {
        let cells: Vec<&[u8]> = Cells::new(line).collect::<Result<_, _>>()?;
        let mut add = |n: usize, values: Values| {
            let cell = cells.get(self.places[side][n]).copied().unwrap_or(b"null");
            match text_of(self.columns[n].form, cell) {
                None => key.push(0),
                Some(text) => {
                    let text = values.canonical(&text);
                    key.push(1);
                    key.extend_from_slice(&(text.len() as u64).to_le_bytes());
                    key.extend_from_slice(&text);
                }
            }
        };
        match self.key.as_slice() {
            // Of whole rows every digit counts.
            [] => (0..self.columns.len()).for_each(|n| add(n, Values::Unknown)),
            columns => columns.iter().for_each(|(n, values)| add(*n, *values)),
        }
        Ok(())
    }

    /// The cells of a row that are compared, in the first table's order.
    fn cells<'r>(&self, side: usize, line: &'r [u8]) -> Result<Vec<&'r [u8]>, Failure> {
        let cells: Vec<&[u8]> = Cells::new(line).collect::<Result<_, _>>().map_err(|e| unreadable(&e))?;
        let of = |place: &usize| cells.get(*place).copied().unwrap_or(b"null");
        Ok(self.places[side].iter().map(of).collect())
    }

    /// A row that the other side does not have.
    fn single(&self, side: usize, number: u64, line: &[u8], found: &mut Found) -> Result<(), Failure> {
        let (count, samples) = match side {
            0 => (&mut found.difference.inserted, None),
            _ if !self.counts_deleted => return Ok(()),
            _ => (&mut found.difference.deleted, Some(&mut found.difference.samples.deleted)),
        };
        *count += 1;
        let kept = match &samples {
            Some(samples) => samples.len(),
            None => found.inserted.len(),
        };
        if kept >= self.samples {
            return Ok(());
        }
        let row = self.object(&self.cells(side, line)?, |_| true)?;
        match samples {
            Some(samples) => samples.push(row),
            None => found.inserted.push((number, row)),
        }
        Ok(())
    }

    /// A row that both sides have.
    fn pair(&self, new: &[u8], old: &[u8], found: &mut Found) -> Result<(), Failure> {
        let difference = &mut found.difference;
        let (new, old) = (self.cells(0, new)?, self.cells(1, old)?);
        let columns = &self.columns;
        let differs = |n: usize| !is_same(columns[n].form, new[n], old[n]);
        let differing: Vec<bool> = (0..columns.len()).map(differs).collect();
        if !differing.contains(&true) {
            difference.unchanged += 1;
            return Ok(());
        }
        let decision = match (&self.deciding, self.mode) {
            (Some(deciding), _) => Some(deciding.decide(&new, &old)),
            (None, Mode::Missing) => Some(0),
            (None, _) => None,
        };
        if let Some(decision) = decision {
            let name = self.deciding.as_ref().map_or(ONLY_MISSING.to_owned(), |d| d.name(decision));
            let resolved = difference.conflicts.entry(name).or_default();
            *(if decision > 0 { &mut resolved.archive } else { &mut resolved.target }) += 1;
        }
        let samples = match decision {
            Some(decision) if decision <= 0 => {
                difference.kept += 1;
                &mut difference.samples.kept
            }
            _ => {
                difference.updated += 1;
                for (column, _) in columns.iter().zip(&differing).filter(|(_, differs)| **differs) {
                    *difference.columns.entry(column.name.clone()).or_default() += 1;
                }
                &mut difference.samples.updated
            }
        };
        if samples.len() < self.samples {
            let is_key = |n: usize| self.key.iter().any(|(place, _)| *place == n);
            samples.push(Update {
                key: self.object(&new, is_key)?,
                old: self.object(&old, |n| differing[n])?,
                new: self.object(&new, |n| differing[n])?,
            });
        }
        Ok(())
    }

    /// Some columns of a row as an object.
    fn object(&self, cells: &[&[u8]], wanted: impl Fn(usize) -> bool) -> Result<RowObject, Failure> {
        let columns = &self.columns;
        let chosen = (0..columns.len()).filter(|n| wanted(*n));
        let (names, cells): (Vec<&str>, Vec<&[u8]>) =
            chosen.map(|n| (columns[n].name.as_str(), cells[n])).unzip();
        let line = [&b"["[..], &cells.join(&b","[..]), b"]"].concat();
        let mut object = Vec::new();
        row::object(&names, &line, &mut object).map_err(|e| unreadable(&e))?;
        Ok(String::from_utf8(object).ok().and_then(RowObject::new).unwrap_or_default())
    }

    fn finish(&self, mut found: Found) -> TableDifference {
        found.inserted.sort_by_key(|(number, _)| *number);
        let Samples { inserted, .. } = &mut found.difference.samples;
        *inserted = found.inserted.into_iter().map(|(_, row)| row).collect();
        found.difference
    }
}

impl Batch {
    fn push(&mut self, key: &[u8], line: &[u8], counts: bool) {
        self.bytes.extend_from_slice(key);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(line);
        self.ends.push((middle, self.bytes.len(), counts));
    }

    fn each(&self, mut each: impl FnMut(&[u8], &[u8], bool) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut start = 0;
        for (middle, end, counts) in &self.ends {
            each(&self.bytes[start..*middle], &self.bytes[*middle..*end], *counts)?;
            start = *end;
        }
        Ok(())
    }
}

/// Why some columns of a table cannot be compared.
const NO_KEY: &str =
    "one of the two has no key by which rows could be found of which only some columns are compared";

/// The columns that are compared and where both tables have them, or why rows of the one cannot be compared with those of the
/// other.
fn columns<'a>(
    one: &'a Table,
    other: &Table,
    is_taken: impl Fn(&str) -> bool,
) -> Result<(Vec<&'a Column>, [Vec<usize>; 2]), String> {
    let mut differences = Vec::new();
    let (mut columns, mut here, mut there) = (Vec::new(), Vec::new(), Vec::new());
    for (n, column) in one.columns.iter().enumerate().filter(|(_, column)| is_taken(&column.name)) {
        match other.columns.iter().position(|c| c.name == column.name) {
            None => differences.push(format!("column {:?} is missing in the other", column.name)),
            Some(m) => {
                let kind = &other.columns[m].type_name;
                if *kind != column.type_name {
                    differences.push(format!(
                        "column {:?} is {} in the one, {kind} in the other",
                        column.name, column.type_name
                    ));
                }
                columns.push(column);
                here.push(n);
                there.push(m);
            }
        }
    }
    let is_added = |c: &&Column| is_taken(&c.name) && one.columns.iter().all(|known| known.name != c.name);
    let added = other.columns.iter().filter(is_added);
    differences.extend(added.map(|c| format!("column {:?} is in the other alone", c.name)));
    if differences.is_empty() { Ok((columns, [here, there])) } else { Err(differences.join("; ")) }
}

/// Whether two cells are the same value to the last digit.
fn is_same(form: CellForm, one: &[u8], other: &[u8]) -> bool {
    one == other || text_of(form, one) == text_of(form, other)
}

fn bad_row(chunk: &Chunk, error: &impl Display) -> Failure {
    Failure::new(FailureKind::Archive, format!("chunk at byte {}: {error}", chunk.offset))
}

fn unreadable(error: &RowError) -> Failure {
    Failure::new(FailureKind::Archive, format!("a row cannot be read: {error}"))
}
