//! Which rows of an archive are chosen, by where they stand in it: so that rows of tables without a key can be, too.

use std::collections::BTreeMap;

use crate::archive::model::Chunk;
use crate::archive::reader::Archive;

/// Chosen rows of an archive, for each table by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChosenRows {
    tables: Vec<TableRows>,
}

/// Chosen rows of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableRows {
    /// All there are.
    All,
    /// Those of each chunk, by its offset: numbers of rows within the chunk, counted from 0 and ascending. A chunk without
    /// any is not in it.
    Some(BTreeMap<u64, Vec<u32>>),
}

/// Chosen rows of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InChunk<'a> {
    /// All of them.
    All,
    /// Those with these numbers, which ascend.
    Some(&'a [u32]),
}

impl ChosenRows {
    /// None, of so many tables.
    pub fn none(tables: usize) -> ChosenRows {
        ChosenRows { tables: vec![TableRows::Some(BTreeMap::new()); tables] }
    }

    /// Chooses these of a table, and no others.
    pub fn set(&mut self, table: u32, rows: TableRows) {
        if let Some(place) = self.tables.get_mut(table as usize) {
            *place = rows;
        }
    }

    /// The same rows of an archive that has these tables alone, by their numbers here.
    pub fn of_tables(&self, tables: &[u32]) -> ChosenRows {
        let nothing = || TableRows::Some(BTreeMap::new());
        let of = |table: &u32| self.table(*table).cloned().unwrap_or_else(nothing);
        ChosenRows { tables: tables.iter().map(of).collect() }
    }

    /// Those of a table; none where the archive has no such table.
    pub fn table(&self, table: u32) -> Option<&TableRows> {
        self.tables.get(table as usize)
    }

    /// Whether all of a table are.
    pub fn is_all(&self, table: u32) -> bool {
        self.table(table) == Some(&TableRows::All)
    }

    /// Whether none of a table is.
    pub fn is_none(&self, table: u32) -> bool {
        self.table(table).is_none_or(|rows| matches!(rows, TableRows::Some(rows) if rows.is_empty()))
    }

    /// Those of one chunk of rows.
    pub fn in_chunk(&self, chunk: &Chunk) -> InChunk<'_> {
        match chunk.table.and_then(|table| self.table(table)) {
            None => InChunk::Some(&[]),
            Some(TableRows::All) => InChunk::All,
            Some(TableRows::Some(rows)) => InChunk::Some(rows.get(&chunk.offset).map_or(&[], Vec::as_slice)),
        }
    }

    /// How many rows of a table are chosen.
    pub fn count(&self, archive: &Archive, table: u32) -> u64 {
        match self.table(table) {
            None => 0,
            Some(TableRows::All) => {
                archive.totals().table_rows.get(table as usize).copied().unwrap_or_default()
            }
            Some(TableRows::Some(rows)) => rows.values().map(|rows| rows.len() as u64).sum(),
        }
    }

    /// Adds a row; whether it was not among them.
    pub(super) fn add(&mut self, table: usize, chunk: u64, row: u32) -> bool {
        let Some(TableRows::Some(rows)) = self.tables.get_mut(table) else { return false };
        let rows = rows.entry(chunk).or_default();
        match rows.binary_search(&row) {
            Ok(_) => false,
            Err(place) => {
                rows.insert(place, row);
                true
            }
        }
    }
}

impl InChunk<'_> {
    /// Whether the row with that number is one of them.
    pub fn has(self, row: u32) -> bool {
        match self {
            InChunk::All => true,
            InChunk::Some(rows) => rows.binary_search(&row).is_ok(),
        }
    }

    /// Whether there is none.
    pub fn is_none(self) -> bool {
        self == InChunk::Some(&[])
    }
}
