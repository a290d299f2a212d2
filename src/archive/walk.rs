//! Reads an archive whose end is not as it should be from the front, to say what became of it: cut off, damaged, or
//! followed by something that does not belong to it.
//!
//! Nothing that is found here is used as data, for nothing is proven without the index.

use std::io::{self, BufRead};

use serde::Deserialize;

use super::compression::Compression;
use super::decompression::stream;
use super::error::{ArchiveError, Damage, Part, Truncation, WholePart};
use super::source::{Source, SourceReader};
use super::trailer::Trailer;
use crate::selection::shown_name;

/// Of a first line, this much is looked at: enough for 1600 columns with names of 63 characters.
const MOST_LINE: usize = 512 << 10;

/// Says what is wrong with `source`, which begins like an archive and does not end like one. Reads all of it,
/// unless `cancelled`.
pub(super) fn diagnose(
    source: &Source,
    compression: Compression,
    cancelled: &dyn Fn() -> bool,
) -> ArchiveError {
    match walk(source, compression, cancelled) {
        Ok(error) | Err(error) => error,
    }
}

/// What a walk has seen so far.
struct Seen {
    whole: Option<WholePart>,
    /// In a plain file a chunk has no end of its own: this one ends where the next begins.
    open: Option<First>,
}

/// What the first line of a member says.
enum First {
    Header,
    Rows(String),
    Index,
    Trailer,
}

fn walk(
    source: &Source,
    compression: Compression,
    cancelled: &dyn Fn() -> bool,
) -> Result<ArchiveError, ArchiveError> {
    let size = source.size();
    let mut seen = Seen { whole: None, open: None };
    let mut reader = source.reader(0);
    while reader.position() < size {
        if cancelled() {
            return Err(ArchiveError::Cancelled);
        }
        let offset = reader.position();
        let (first, end) = if compression == Compression::None {
            plain_line(&mut reader)
        } else {
            member(&mut reader, compression)
        };
        let first = read_first(&first);
        match (end, first) {
            (End::Cut, _) => return Ok(seen.truncated(size)),
            (End::Corrupt, first) => return Ok(corrupt(&first, offset)),
            (End::Whole, Some(First::Trailer)) => {
                let length = Trailer::stored_length(compression).min(size - offset);
                let proven = Trailer::decode(&source.read_at(offset, length)?, compression).is_some();
                let after = reader.position();
                if proven && after < size {
                    let what = format!("{} bytes follow the end of the archive", size - after);
                    return Ok(ArchiveError::damaged(Part::Unknown, after, what));
                }
                return Ok(ArchiveError::damaged(Part::Trailer, offset, "it is not as it was written"));
            }
            (End::Whole, first) => seen.add(first, offset, reader.position(), compression),
        }
    }
    Ok(seen.truncated(size))
}

impl Seen {
    fn add(&mut self, first: Option<First>, offset: u64, end: u64, compression: Compression) {
        if compression != Compression::None {
            self.whole(first, end);
        } else if first.is_some() {
            let previous = std::mem::replace(&mut self.open, first);
            self.whole(previous, offset);
        }
    }

    fn whole(&mut self, first: Option<First>, end: u64) {
        let chunks = self.whole.as_ref().map_or(0, |whole| whole.chunks);
        match first {
            Some(First::Header) => self.whole = Some(WholePart { ends_at: end, chunks, table: None }),
            Some(First::Rows(table)) => {
                self.whole = Some(WholePart { ends_at: end, chunks: chunks + 1, table: Some(table) });
            }
            _ => {}
        }
    }

    fn truncated(self, size: u64) -> ArchiveError {
        ArchiveError::Truncated(Truncation { ends_at: size, whole: self.whole })
    }
}

fn corrupt(first: &Option<First>, offset: u64) -> ArchiveError {
    const WHAT: &str = "it cannot be decompressed, and the end record is missing or damaged";
    match first {
        Some(First::Header) => ArchiveError::damaged(Part::Header, offset, WHAT),
        Some(First::Rows(table)) => {
            let what = format!("a chunk of table {table}: {WHAT}");
            ArchiveError::Damaged(Damage { part: Part::Unknown, offset, what })
        }
        Some(First::Index) => ArchiveError::damaged(Part::Index, offset, WHAT),
        _ => ArchiveError::damaged(Part::Unknown, offset, WHAT),
    }
}

enum End {
    Whole,
    /// The file ends first.
    Cut,
    Corrupt,
}

/// Reads one gzip member or zstd frame; returns the beginning of what it holds.
fn member(reader: &mut SourceReader<'_>, compression: Compression) -> (Vec<u8>, End) {
    let mut first = Vec::new();
    let mut block = vec![0; 64 << 10];
    let Ok(mut decoder) = stream(compression, reader) else { return (first, End::Corrupt) };
    loop {
        match decoder.read(&mut block) {
            Ok(0) => return (first, End::Whole),
            Ok(length) => {
                let room = MOST_LINE - first.len();
                first.extend_from_slice(&block[..length.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return (first, End::Cut),
            Err(_) => return (first, End::Corrupt),
        }
    }
}

/// Reads one line of a plain file; returns its beginning.
fn plain_line(reader: &mut SourceReader<'_>) -> (Vec<u8>, End) {
    let mut first = Vec::new();
    loop {
        let Ok(available) = reader.fill_buf() else { return (first, End::Corrupt) };
        if available.is_empty() {
            return (first, End::Cut);
        }
        let end = memchr::memchr(b'\n', available).map(|at| at + 1);
        let length = end.unwrap_or(available.len());
        let room = MOST_LINE - first.len();
        first.extend_from_slice(&available[..length.min(room)]);
        reader.consume(length);
        if end.is_some() {
            return (first, End::Whole);
        }
    }
}

/// Understands the first line of a member, or any line of a plain file; none when no chunk begins with it.
fn read_first(bytes: &[u8]) -> Option<First> {
    #[derive(Deserialize)]
    struct TableLine {
        schema: String,
        table: String,
    }
    if bytes.starts_with(super::reader::HEADER_START) {
        return Some(First::Header);
    }
    if bytes.starts_with(b"{\"chunk\":") {
        return Some(First::Index);
    }
    if bytes.starts_with(b"{\"end\":") {
        return Some(First::Trailer);
    }
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    // To serde an array of two strings would do as well, and rows look like that.
    if !line.starts_with(b"{") {
        return None;
    }
    let line: TableLine = serde_json::from_slice(line).ok()?;
    Some(First::Rows(shown_name(&line.schema, &line.table)))
}
