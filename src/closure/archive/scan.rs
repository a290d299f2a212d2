//! One table is read: which of its rows are meant, and by which values they refer and are referred to.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use super::keys::{Key, KeyCell, texts, write_key};
use super::{Search, bad_row};
use crate::archive::decompression::Decompressor;
use crate::archive::in_order::in_order;
use crate::archive::model::Chunk;
use crate::archive::spans::Span;
use crate::failure::Failure;
use crate::row::Cells;

/// Which rows are meant.
pub(super) enum Seek {
    /// Those with one of these keys in these cells.
    Roots(Vec<KeyCell>, HashSet<Key>),
    /// Those that refer to chosen rows.
    Children,
    /// Those that chosen rows refer to, in these ways by these keys, each of which one row at most has.
    Parents(HashSet<(usize, Key)>),
    /// Those that are chosen.
    Given,
}

/// A row that is meant.
pub(super) struct Found {
    /// Its number in its chunk.
    pub number: u32,
    /// The ways in which it was come to.
    pub by: Vec<usize>,
    /// For each way to its table, the value by which it can be referred to.
    pub have: Vec<(usize, Key)>,
    /// For each way from its table, the value by which it refers.
    pub wanted: Vec<(usize, Key)>,
}

/// What one chunk has given.
struct Read {
    offset: u64,
    found: Vec<Found>,
    /// The keys of [`Seek::Roots`] that its rows have.
    roots: Vec<Key>,
}

/// As many rows are looked at before others may add to what is known.
const ROWS_AT_ONCE: u32 = 256;

/// Which values are sought, so that chunks that cannot hold them are not read. Without any, all chunks are.
#[derive(Default)]
pub(super) struct Sought {
    ways: Vec<Vec<Values>>,
}

/// The values of one column, in order: those that are whole numbers, and all as text.
struct Values {
    span: usize,
    numbers: Vec<i64>,
    texts: Vec<Box<[u8]>>,
}

impl Sought {
    /// Any of `keys` in `cells`, or what was added before.
    pub fn add(&mut self, cells: Vec<KeyCell>, keys: Vec<Key>) {
        let mut columns: Vec<Option<Values>> = cells
            .iter()
            .map(|cell| Some(Values { span: cell.span?, numbers: Vec::new(), texts: Vec::new() }))
            .collect();
        for key in &keys {
            for (values, text) in columns.iter_mut().zip(texts(key)) {
                let Some(values) = values else { continue };
                let number: Option<i64> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
                values.numbers.extend(number);
                values.texts.push(text.into());
            }
        }
        let mut columns: Vec<Values> = columns.into_iter().flatten().collect();
        for values in &mut columns {
            values.numbers.sort_unstable();
            values.texts.sort_unstable();
            values.texts.dedup();
        }
        self.ways.push(columns);
    }

    /// Whether a row with one of them can be in a chunk, by what the index says of it.
    fn can_be_in(&self, chunk: &Chunk) -> bool {
        let can = |values: &Values| match chunk.spans.get(values.span).and_then(Option::as_ref) {
            None => true,
            Some(Span::Integers(lowest, highest)) => {
                let at = values.numbers.partition_point(|number| number < lowest);
                values.numbers.get(at).is_some_and(|number| number <= highest)
            }
            Some(Span::Texts(lowest, highest)) => {
                let at = values.texts.partition_point(|text| **text < *lowest.as_bytes());
                values.texts.get(at).is_some_and(|text| **text <= *highest.as_bytes())
            }
        };
        self.ways.is_empty() || self.ways.iter().any(|columns| columns.iter().all(can))
    }
}

/// What is looked at in the rows of one table.
struct Look<'s> {
    /// Ways to the table, with the cells by which its rows are referred to.
    down: Vec<(usize, &'s [KeyCell])>,
    /// Ways from the table, with the cells by which its rows refer.
    up: Vec<(usize, &'s [KeyCell])>,
    /// How many cells have to be read to tell whether a row is meant, and to know all its values.
    first: usize,
    all: usize,
}

impl Search<'_> {
    /// Reads a table for what is sought. Returns the keys of [`Seek::Roots`] that were found.
    pub(super) fn scan(&self, table: usize, seek: &Seek, sought: Sought) -> Result<HashSet<Key>, Failure> {
        let look = self.look(table, seek);
        let chunks = self.archive.table_chunks(table as u32);
        let chunks: Vec<&Chunk> = match seek {
            Seek::Given => {
                let state = self.read();
                chunks.into_iter().filter(|chunk| !state.chosen.in_chunk(chunk).is_none()).collect()
            }
            _ => chunks.into_iter().filter(|chunk| sought.can_be_in(chunk)).collect(),
        };
        let mut left: HashSet<(usize, Key)> = match seek {
            Seek::Parents(keys) => keys.clone(),
            _ => HashSet::new(),
        };
        let mut roots = HashSet::new();
        let state = || self.archive.decompressor().map_err(|error| Failure::from_archive(&error));
        let work = |own: &mut Decompressor, chunk: &Chunk| self.read_chunk(own, chunk, table, seek, &look);
        in_order(&chunks, self.threads, state, work, |read: Read| {
            roots.extend(read.roots);
            self.take(table, seek, read.offset, read.found, &mut left);
            let is_done = matches!(seek, Seek::Parents(_)) && left.is_empty();
            Ok(if is_done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(roots)
    }

    fn look(&self, table: usize, seek: &Seek) -> Look<'_> {
        // A way that cannot be followed is an error only where somebody would have to go it.
        let side = |way: &usize, of_child: bool| {
            let sides = self.sides[*way].as_ref().ok()?;
            Some((*way, if of_child { sides.0.as_slice() } else { sides.1.as_slice() }))
        };
        let state = self.read();
        // Of a table of which all rows are chosen none will be looked for.
        let is_all = |table: usize| state.chosen.is_all(table as u32);
        let down = self.graph.down(table).iter().filter(|_| !is_all(table));
        let down: Vec<_> = down.filter_map(|way| side(way, false)).collect();
        let up = self.graph.up(table).iter().filter(|way| !is_all(self.graph.ways[**way].parent));
        let up: Vec<_> = up.filter_map(|way| side(way, true)).collect();
        let last = |cells: &[KeyCell]| cells.iter().map(|cell| cell.position + 1).max().unwrap_or(0);
        let most =
            |ways: &[(usize, &[KeyCell])]| ways.iter().map(|(_, cells)| last(cells)).max().unwrap_or(0);
        let first = match seek {
            Seek::Roots(cells, _) => last(cells),
            Seek::Children => most(&up),
            Seek::Parents(_) => most(&down),
            Seek::Given => 0,
        };
        Look { first, all: most(&up).max(most(&down)), down, up }
    }

    /// The rows of a chunk that are meant.
    fn read_chunk(
        &self,
        own: &mut Decompressor,
        chunk: &Chunk,
        table: usize,
        seek: &Seek,
        look: &Look<'_>,
    ) -> Result<Read, Failure> {
        if self.cancel.is_cancelled() {
            return Err(Failure::interrupted());
        }
        let rows = self.archive.read_rows_with(chunk, own).map_err(|error| Failure::from_archive(&error))?;
        let bad = |error| bad_row(&self.graph.nodes[table].shown, chunk.offset, &error);
        let mut read = Read { offset: chunk.offset, found: Vec::new(), roots: Vec::new() };
        // By the ways of the table to itself, the values of rows of this chunk: parents mostly come first.
        let mut own_values: HashMap<usize, HashSet<Key>> = HashMap::new();
        let (mut cells, mut key): (Vec<&[u8]>, Vec<u8>) = (Vec::new(), Vec::new());
        let mut state = self.read();
        for (number, line) in (0_u32..).zip(rows.rows()) {
            if number % ROWS_AT_ONCE == 0 {
                drop(state);
                state = self.read();
            }
            cells.clear();
            let mut reading = Cells::new(line);
            for cell in reading.by_ref().take(look.first) {
                cells.push(cell.map_err(bad)?);
            }
            let mut by = Vec::new();
            let is_meant = match seek {
                Seek::Given => state.chosen.in_chunk(chunk).has(number),
                Seek::Roots(of, keys) => {
                    let root = write_key(of, &cells, &mut key).then(|| keys.get(key.as_slice())).flatten();
                    read.roots.extend(root.cloned());
                    root.is_some()
                }
                Seek::Children => {
                    for (way, of) in &look.up {
                        let is_here = |key: &[u8]| own_values.get(way).is_some_and(|keys| keys.contains(key));
                        if write_key(of, &cells, &mut key)
                            && (state.have[*way].contains(key.as_slice()) || is_here(&key))
                        {
                            by.push(*way);
                        }
                    }
                    !by.is_empty()
                }
                Seek::Parents(_) => look.down.iter().any(|(way, of)| {
                    write_key(of, &cells, &mut key)
                        && state.wanted[*way].contains(key.as_slice())
                        && !state.have[*way].contains(key.as_slice())
                }),
            };
            if !is_meant {
                continue;
            }
            for cell in reading.take(look.all.saturating_sub(look.first)) {
                cells.push(cell.map_err(bad)?);
            }
            let mut values = |ways: &[(usize, &[KeyCell])]| {
                let mut values: Vec<(usize, Key)> = Vec::with_capacity(ways.len());
                for (way, of) in ways {
                    if write_key(of, &cells, &mut key) {
                        values.push((*way, key.as_slice().into()));
                    }
                }
                values
            };
            let (have, wanted) = (values(&look.down), values(&look.up));
            for (way, value) in have.iter().filter(|(way, _)| self.graph.ways[*way].child == table) {
                own_values.entry(*way).or_default().insert(value.clone());
            }
            read.found.push(Found { number, by, have, wanted });
        }
        Ok(read)
    }
}
