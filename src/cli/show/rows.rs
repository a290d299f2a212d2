//! The rows of one table as JSON objects: all, the first ones, or those of a key. Chunks that cannot hold any of them are
//! not read, and the others on all cores.

use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use crate::archive::decompression::Decompressor;
use crate::archive::in_order::in_order;
use crate::archive::lookup::Lookup;
use crate::archive::model::{Chunk, Table};
use crate::archive::reader::Archive;
use crate::cli::args::default_jobs;
use crate::cli::context::{Context, invalid};
use crate::failure::{Failure, FailureKind};
use crate::row::{self, RowError};

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
    /// At most so many.
    pub limit: Option<u64>,
}

impl Rows<'_> {
    /// Prints them. Says so on standard error if a look-up finds none, which is no failure.
    pub fn print(&self, context: &Context) -> Result<(), Failure> {
        context.claim_output();
        let names: Vec<&str> = self.table.columns.iter().map(|c| c.name.as_str()).collect();
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
        if self.lookup.is_some() && !found && self.limit != Some(0) {
            context.events.info(format!("no row of {} has that key", self.table.described()));
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
            let wanted = self.lookup.as_ref().map_or(Ok(true), |lookup| lookup.is_row(line));
            if wanted.map_err(|e| self.bad_row(chunk, e))? {
                row::object(names, line, &mut text).map_err(|e| self.bad_row(chunk, e))?;
                text.push(b'\n');
                left -= 1;
            }
        }
        Ok(text)
    }

    fn bad_row(&self, chunk: &Chunk, error: RowError) -> Failure {
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
