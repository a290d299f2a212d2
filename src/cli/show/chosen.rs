//! Rows and columns of a table that are chosen by `--where` and `--columns`.

use std::ops::ControlFlow;
use std::path::Path;

use crate::archive::decompression::Decompressor;
use crate::archive::in_order::in_order;
use crate::archive::model::{Chunk, Column, Table};
use crate::archive::reader::Archive;
use crate::cli::args::default_jobs;
use crate::cli::context::{Context, invalid};
use crate::condition::{BadRow, Condition};
use crate::failure::{Failure, FailureKind};
use crate::postgres::quote;
use crate::selection::RowChoice;

/// What is chosen of a table.
pub struct Chosen {
    /// The rows that meet it; none: all.
    pub condition: Option<Condition>,
    /// The columns by their places, in the order in which they were named; none: all.
    pub places: Option<Vec<usize>>,
}

/// Refuses what means no table.
pub fn check_matches(unmatched: Vec<String>) -> Result<(), Failure> {
    if unmatched.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = unmatched.iter().map(|p| format!("{p:?}")).collect();
    Err(Failure::usage(format!("no table of the archive that is shown matches {}", list.join(", ")))
        .next("see what is inside with: pgkeep show FILE"))
}

impl Chosen {
    /// What a choice means for `table`. Its condition may name any column.
    pub fn new(archive: &Archive, table: &Table, choice: &RowChoice) -> Result<Chosen, Failure> {
        let condition = choice.condition(&table.schema, &table.name);
        let condition = condition.map(|text| Condition::new(&text, archive.header(), table, |_| true));
        let names = choice.columns(&table.schema, &table.name);
        Ok(Chosen {
            condition: condition.transpose().map_err(|f| f.state("nothing was printed"))?,
            places: names.map(|names| places(table, &names)).transpose()?,
        })
    }

    /// The columns that are shown.
    pub fn columns<'a>(&self, table: &'a Table) -> Vec<&'a Column> {
        match &self.places {
            None => table.columns.iter().collect(),
            Some(places) => places.iter().filter_map(|place| table.columns.get(*place)).collect(),
        }
    }

    /// Rows that meet the condition, where there is one; all of the table are read, on all cores.
    pub fn count(
        &self,
        context: &Context,
        path: &Path,
        archive: &Archive,
        index: u32,
    ) -> Result<Option<u64>, Failure> {
        let Some(condition) = &self.condition else { return Ok(None) };
        let state = || archive.decompressor().map_err(|e| invalid(path, &e));
        let work = |own: &mut Decompressor, chunk: &Chunk| {
            if context.cancel.is_cancelled() {
                return Err(Failure::interrupted());
            }
            let rows = archive.read_rows_with(chunk, own).map_err(|e| invalid(path, &e))?;
            let mut met = 0;
            for line in rows.rows() {
                met += u64::from(condition.holds(line).map_err(|e| bad_row(path, chunk, &e))?);
            }
            Ok(met)
        };
        let mut count = 0;
        in_order(&archive.table_chunks(index), default_jobs(), state, work, |met| {
            count += met;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Some(count))
    }
}

fn bad_row(path: &Path, chunk: &Chunk, error: &BadRow) -> Failure {
    let what = format!("{}: chunk at byte {}: {error}", path.display(), chunk.offset);
    Failure::new(FailureKind::Archive, what)
}

/// Where columns are, each once.
fn places(table: &Table, names: &[String]) -> Result<Vec<usize>, Failure> {
    let mut places = Vec::with_capacity(names.len());
    let mut unknown = Vec::new();
    for name in names {
        match table.columns.iter().position(|column| column.name == *name) {
            Some(place) if places.contains(&place) => {}
            Some(place) => places.push(place),
            None => unknown.push(quote::ident(name)),
        }
    }
    if unknown.is_empty() {
        return Ok(places);
    }
    let (list, columns) = (unknown.join(", "), table.columns.iter().map(|column| column.name.as_str()));
    let columns = columns.collect::<Vec<_>>().join(", ");
    Err(Failure::usage(format!("--columns names {list}, which the archive does not have"))
        .state(format!("nothing was printed; {} has the columns {columns}", table.described()))
        .next("write --columns 'TABLE: COLUMN, COLUMN'; put a name that holds a comma in double quotes"))
}
