//! A table's rows as CSV, byte for byte as `COPY … TO … (FORMAT csv, HEADER)` prints them.

use std::io::Write;

use tokio_util::sync::CancellationToken;

use super::rows::{Rows, fields, lines, value};
use super::{ExportError, Exported};
use crate::archive::reader::Archive;
use crate::progress::{Event, Events, Phase};

/// Writes the rows of the table with that number.
pub fn write(
    archive: &Archive,
    index: u32,
    events: &Events,
    cancel: &CancellationToken,
    out: &mut dyn Write,
) -> Result<Exported, ExportError> {
    let Some(table) = archive.header().tables.get(index as usize) else { return Ok(Exported::default()) };
    let total_bytes = archive.table_chunks(index).iter().map(|c| c.bytes).sum();
    events.emit(Event::Started { phase: Phase::Export, total_bytes });
    let alone = table.columns.len() == 1;
    let mut text = Vec::new();
    for (i, column) in table.columns.iter().enumerate() {
        if i > 0 {
            text.push(b',');
        }
        put(column.name.as_bytes(), alone, &mut text);
    }
    text.push(b'\n');
    out.write_all(&text)?;
    let mut held = Vec::new();
    let rows = Rows { archive, events, cancel }.each(index, |rows| {
        text.clear();
        for row in lines(rows) {
            for (i, field) in fields(row).enumerate() {
                if i > 0 {
                    text.push(b',');
                }
                held.clear();
                // NULL is nothing at all. A row without columns has one field to the eye, and it is empty.
                if !table.columns.is_empty() && value(field, &mut held) {
                    put(&held, alone, &mut text);
                }
            }
            text.push(b'\n');
        }
        Ok(out.write_all(&text)?)
    })?;
    events.emit(Event::Finished { phase: Phase::Export });
    Ok(Exported { objects: 0, tables: 1, rows })
}

/// Appends a value, quoted if it must be: where it would be taken for NULL, for the end of the data, or for more than
/// one value.
fn put(held: &[u8], alone: bool, out: &mut Vec<u8>) {
    let quoted = held.is_empty()
        || (alone && held == b"\\.")
        || held.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
    if !quoted {
        return out.extend_from_slice(held);
    }
    out.push(b'"');
    for byte in held {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_quoted_where_they_must_be() {
        let shown = |text: &str, alone| {
            let mut out = Vec::new();
            put(text.as_bytes(), alone, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown("plain text", false), "plain text");
        assert_eq!(shown("", false), "\"\"");
        assert_eq!(shown("say \"a,b\"", false), "\"say \"\"a,b\"\"\"");
        assert_eq!(shown("a\nb", false), "\"a\nb\"");
        assert_eq!((shown("\\.", true), shown("\\.", false)), ("\"\\.\"".to_owned(), "\\.".to_owned()));
    }
}
