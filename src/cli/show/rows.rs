//! The rows of one table as JSON objects: all, the first ones, those of a key, those that meet a condition. Chunks that cannot hold any of them are
//! not read, and the others on all cores.

use std::fmt::Display;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use super::chosen::Chosen;
use crate::archive::decompression::Decompressor;
use crate::archive::in_order::in_order;
use crate::archive::lookup::Lookup;
use crate::archive::model::{Chunk, Table};
use crate::archive::reader::Archive;
use crate::cli::args::default_jobs;
use crate::cli::context::{Context, invalid};
use crate::failure::{Failure, FailureKind};
use crate::restore::entity::check_met;
use crate::row::{self, Cells, RowError};

/// Which rows of a table are printed.
pub struct Rows<'a> {
    /// Where the archive is.
    pub path: &'a Path,
    /// The archive.
    pub archive: &'a Archive,
    /// Position of the table in its header.
    pub index: usize,
    /// The table.
    pub table: &'a Table,
    /// Those that it finds; none: all.
    pub lookup: Option<Lookup>,
    /// Which of these, and which columns of them.
    pub chosen: Chosen,
    /// At most so many.
    pub limit: Option<u64>,
}

impl Rows<'_> {
    /// Prints them. Says so on standard error if a look-up finds none, which is no failure; a condition that no row meets is one.
    pub fn print(&self, context: &Context) -> Result<(), Failure> {
        context.claim_output();
        let names: Vec<&str> = self.chosen.columns(self.table).iter().map(|c| c.name.as_str()).collect();
        let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
        let (mut left, mut found) = (self.most(), false);
        let state = || self.archive.decompressor().map_err(|e| invalid(self.path, &e));
        let work = |own: &mut Decompressor, chunk: &Chunk| self.read(own, chunk, &names);
        let printed = in_order(&self.chunks(), default_jobs(), state, work, |text: Vec<u8>| {
            let text = first_lines(&text, &mut left);
            found |= !text.is_empty();
            if let Err(error) = out.write_all(text) {
                return gone_or(error).map(|()| ControlFlow::Break(()));
            }
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        // What was read before a damaged chunk is good.
        let flushed = out.flush().or_else(gone_or);
        printed.and(flushed)?;
        if !found && self.limit != Some(0) {
            match (&self.lookup, &self.chosen.condition) {
                (Some(_), None) => {
                    context.events.info(format!("no row of {} has that key", self.table.described()))
                }
                (Some(_), Some(_)) => {
                    context.events.info(format!("no row of {} meets the condition", self.table.described()))
                }
                (None, Some(_)) => return check_met(&[(self.table.shown(), false)]),
                _ => {}
            }
        }
        Ok(())
    }

    /// Of how many rows there is to be an end.
    fn most(&self) -> u64 {
        let unique = self.lookup.as_ref().is_some_and(Lookup::is_unique);
        self.limit.unwrap_or(u64::MAX).min(if unique { 1 } else { u64::MAX })
    }

    /// The chunks that can hold them, in order.
    fn chunks(&self) -> Vec<&Chunk> {
        let chunks = self.archive.table_chunks(self.index as u32).into_iter();
        match &self.lookup {
            Some(lookup) if self.most() > 0 => chunks.filter(|chunk| lookup.can_be_in(chunk)).collect(),
            // Nobody knows which of them have any.
            _ if self.chosen.condition.is_some() && self.most() > 0 => chunks.collect(),
            _ => {
                let mut before = 0_u64;
                let is_wanted = |chunk: &&Chunk| {
                    let wanted = before < self.most();
                    before = before.saturating_add(chunk.rows);
                    wanted
                };
                chunks.take_while(is_wanted).collect()
            }
        }
    }

    /// The wanted rows of one chunk as they are printed.
    fn read(&self, own: &mut Decompressor, chunk: &Chunk, names: &[&str]) -> Result<Vec<u8>, Failure> {
        let rows = self.archive.read_rows_with(chunk, own).map_err(|e| invalid(self.path, &e))?;
        let (mut text, mut left) = (Vec::new(), self.most());
        for line in rows.rows() {
            if left == 0 {
                break;
            }
            let is_found = self.lookup.as_ref().map_or(Ok(true), |lookup| lookup.is_row(line));
            let is_chosen = |line| self.chosen.condition.as_ref().map_or(Ok(true), |c| c.holds(line));
            if is_found.map_err(|e| self.bad_row(chunk, e))?
                && is_chosen(line).map_err(|e| self.bad_row(chunk, e))?
            {
                self.write(names, line, &mut text).map_err(|e| self.bad_row(chunk, e))?;
                text.push(b'\n');
                left -= 1;
            }
        }
        Ok(text)
    }

    /// A row's chosen columns as an object.
    fn write(&self, names: &[&str], line: &[u8], text: &mut Vec<u8>) -> Result<(), RowError> {
        let Some(places) = &self.chosen.places else { return row::object(names, line, text) };
        let cells: Vec<&[u8]> = Cells::new(line).collect::<Result<_, _>>()?;
        let chosen: Vec<&[u8]> = places.iter().filter_map(|place| cells.get(*place).copied()).collect();
        row::object(names, &[&b"["[..], &chosen.join(&b","[..]), b"]"].concat(), text)
    }

    fn bad_row(&self, chunk: &Chunk, error: impl Display) -> Failure {
        let (path, table) = (self.path.display(), self.table.described());
        let what = format!("{path}: table {table}, chunk at byte {}: {error}", chunk.offset);
        Failure::new(FailureKind::Archive, what)
    }
}

/// As many lines of `text` as are left to be printed; fewer are then.
fn first_lines<'a>(text: &'a [u8], left: &mut u64) -> &'a [u8] {
    if *left == u64::MAX {
        return text;
    }
    let mut end = 0;
    for line_end in memchr::memchr_iter(b'\n', text) {
        if *left == 0 {
            break;
        }
        *left -= 1;
        end = line_end + 1;
    }
    &text[..end]
}

/// A reader that has gone away (`| head`) is no failure.
fn gone_or(error: std::io::Error) -> Result<(), Failure> {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(Failure::from_io("writing to standard output", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_where_no_more_are_wanted() {
        for (most, expected, still) in [(0, "", 0), (1, "a\n", 0), (2, "a\nb\n", 0), (5, "a\nb\n", 3)] {
            let mut left = most;
            assert_eq!(first_lines(b"a\nb\n", &mut left), expected.as_bytes());
            assert_eq!(left, still);
        }
    }
}
