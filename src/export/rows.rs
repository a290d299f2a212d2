//! The rows of an archived table as COPY text, in whole rows.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use tokio_util::sync::CancellationToken;

use super::ExportError;
use crate::archive::model::Table;
use crate::archive::reader::Archive;
use crate::failure::{Failure, FailureKind};
use crate::postgres::copy::RowDecoder;
use crate::progress::{Event, Events, Phase};

/// Chunks that are read and decoded ahead of the writer.
const AHEAD: usize = 1;

/// Where rows come from, and who is told.
pub struct Rows<'a> {
    /// The archive.
    pub archive: &'a Archive,
    /// Listener.
    pub events: &'a Events,
    /// Stops the work.
    pub cancel: &'a CancellationToken,
}

impl Rows<'_> {
    /// Gives the rows of the table with that number to `take`, as COPY text: some whole rows at a time, in the
    /// archive's order. Returns how many rows there were.
    ///
    /// A next chunk is read and proven while `take` works on the last one.
    pub fn each(
        &self,
        index: u32,
        mut take: impl FnMut(&[u8]) -> Result<(), ExportError>,
    ) -> Result<u64, ExportError> {
        let Some(table) = self.archive.header().tables.get(index as usize) else { return Ok(0) };
        let shown: Arc<str> = Arc::from(table.shown());
        let mut rows = 0;
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(AHEAD);
            let shown = &shown;
            scope.spawn(move || {
                for chunk in self.archive.table_chunks(index) {
                    let decoded = self.decode(table, shown, chunk);
                    let failed = decoded.is_err();
                    let advance = (chunk.rows, chunk.bytes);
                    // Whoever receives no more has failed, and says so.
                    if sender.send(decoded.map(|text| (text, advance))).is_err() || failed {
                        return;
                    }
                }
            });
            for decoded in receiver {
                let (text, (chunk_rows, bytes)) = decoded?;
                if self.cancel.is_cancelled() {
                    return Err(Failure::interrupted().into());
                }
                take(&text)?;
                rows += chunk_rows;
                let table = shown.clone();
                self.events.emit(Event::Advanced { phase: Phase::Export, table, rows: chunk_rows, bytes });
            }
            Ok(rows)
        })
    }

    fn decode(
        &self,
        table: &Table,
        shown: &str,
        chunk: &crate::archive::model::Chunk,
    ) -> Result<Vec<u8>, Failure> {
        let decoder = RowDecoder::new(table.columns.iter().map(|c| c.form).collect());
        let rows = self.archive.read_rows(chunk).map_err(|e| Failure::from_archive(&e))?;
        let mut text = Vec::with_capacity(rows.lines().len());
        for line in rows.rows() {
            decoder.decode(line, &mut text).map_err(|e| {
                let what = format!("table {shown}, chunk at byte {}: {e}", chunk.offset);
                Failure::new(FailureKind::Archive, what)
            })?;
        }
        Ok(text)
    }
}

/// The fields of a COPY text row without its line break, each as it stands there.
pub fn fields(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    row.split(|byte| *byte == b'\t')
}

/// The rows of some COPY text, without their line breaks: a raw line break is never part of a value.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.strip_suffix(b"\n").into_iter().flat_map(|text| text.split(|byte| *byte == b'\n'))
}

/// Appends what a field of COPY text holds; false, and nothing, for NULL.
pub fn value(field: &[u8], out: &mut Vec<u8>) -> bool {
    if field == b"\\N" {
        return false;
    }
    let mut rest = field;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        // The decoder writes these escapes and no others.
        let meant = match rest.get(at + 1) {
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 0x0b,
            Some(other) => *other,
            None => b'\\',
        };
        out.push(meant);
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_where_they_end_and_rows_without_columns_are_counted() {
        assert_eq!(lines(b"").count(), 0);
        assert_eq!(lines(b"\n\n").collect::<Vec<_>>(), [b"", b""]);
        assert_eq!(lines(b"1\ta\n2\tb\n").collect::<Vec<_>>(), [b"1\ta", b"2\tb"]);
    }

    #[test]
    fn escapes_become_what_they_mean() {
        let mut out = Vec::new();
        assert!(value(br"a\tb\\n\nc\\", &mut out));
        assert_eq!(out, b"a\tb\\n\nc\\");
        assert!(!value(br"\N", &mut out));
        out.clear();
        assert!(value(br"\\N", &mut out) && value(b"", &mut out));
        assert_eq!(out, b"\\N");
    }
}
