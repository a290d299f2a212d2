//! What can be wrong with an archive, so that callers can tell the cases apart and people know where to look.
//!
//! Messages name the table, the chunk and the byte offset; they never hold a row value. Names come from a file that
//! may be hostile, so control characters in them are escaped before they reach a terminal.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::model::VERSION;

/// Why an archive could not be written, opened, read or proven.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The operating system refused something about a file that has a name.
    #[error("cannot {action} {}: {source}", printable(&path.to_string_lossy()))]
    Io {
        /// What was tried, such as `open`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The archive's bytes could not be written on.
    #[error("cannot write the archive: {0}")]
    Write(#[source] io::Error),
    /// The archive's bytes could not be read at an offset.
    #[error("cannot read the archive at byte {offset}: {source}")]
    Read {
        /// Where in the file.
        offset: u64,
        /// The system's reason.
        source: io::Error,
    },
    /// The file has no byte.
    #[error("the file is empty")]
    Empty,
    /// The file is whole or not, but never was an archive of pgkeep.
    #[error("not an archive of pgkeep{}", hint.map(|hint| format!(": {hint}")).unwrap_or_default())]
    NotAnArchive {
        /// What it seems to be and what to do with it.
        hint: Option<&'static str>,
    },
    /// A later pgkeep wrote it.
    #[error(
        "the archive has format version {version}, and this pgkeep reads up to version {VERSION}: \
         upgrade pgkeep to read it"
    )]
    NewerVersion {
        /// The version that the header names.
        version: u64,
    },
    /// The end of the archive is missing.
    #[error("the archive is truncated: {0}")]
    Truncated(Truncation),
    /// Bytes are not what they were when the archive was written, or never made sense.
    #[error("the archive is damaged: {0}")]
    Damaged(Damage),
    /// What was to be written would not make a readable archive; nothing of it was written.
    #[error("refused to write to the archive: {}", printable(.0))]
    Refused(String),
    /// The caller asked to stop.
    #[error("interrupted")]
    Cancelled,
}

impl ArchiveError {
    /// The kind of the operating system's error beneath, such as [`io::ErrorKind::StorageFull`].
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            ArchiveError::Io { source, .. }
            | ArchiveError::Read { source, .. }
            | ArchiveError::Write(source) => Some(source.kind()),
            _ => None,
        }
    }

    /// Whether the archive itself is at fault, rather than the system or the caller.
    pub fn is_invalid(&self) -> bool {
        matches!(
            self,
            ArchiveError::Empty
                | ArchiveError::NotAnArchive { .. }
                | ArchiveError::NewerVersion { .. }
                | ArchiveError::Truncated(_)
                | ArchiveError::Damaged(_)
        )
    }

    pub(crate) fn damaged(part: Part, offset: u64, what: impl Into<String>) -> Self {
        ArchiveError::Damaged(Damage { part, offset, what: what.into() })
    }
}

/// One place in an archive that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which part of the archive.
    pub part: Part,
    /// Where that part begins in the file, in bytes.
    pub offset: u64,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.part, self.offset, printable(&self.what))
    }
}

/// A part of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first chunk.
    Header,
    /// A chunk of rows.
    Rows {
        /// The table, as shown to people.
        table: String,
        /// The part of the table.
        range: u32,
        /// The piece of that part.
        piece: u32,
    },
    /// The list of chunks.
    Index,
    /// The fixed-length record at the very end.
    Trailer,
    /// A stretch of the file whose part is not known.
    Unknown,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Header => f.write_str("header"),
            Part::Rows { table, range, piece } if table == "pg_catalog.pg_largeobject" => {
                write!(f, "large objects, chunk {range}.{piece}")
            }
            Part::Rows { table, range, piece } => {
                write!(f, "table {}, chunk {range}.{piece}", printable(table))
            }
            Part::Index => f.write_str("index"),
            Part::Trailer => f.write_str("end record"),
            Part::Unknown => f.write_str("file"),
        }
    }
}

/// Where a truncated archive ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// The length of the file, in bytes.
    pub ends_at: u64,
    /// What was still found whole when the file was read from the front; none when it was not read so, or when not
    /// even the header is whole.
    pub whole: Option<WholePart>,
}

/// The stretch of a truncated archive that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholePart {
    /// Where the last whole chunk ends, in bytes.
    pub ends_at: u64,
    /// Whole chunks of rows.
    pub chunks: u64,
    /// The table of the last whole chunk, as shown to people; none: only the header is whole.
    pub table: Option<String>,
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it ends at byte {} without the end record", self.ends_at)?;
        match &self.whole {
            None => Ok(()),
            Some(WholePart { ends_at, table: None, .. }) => {
                write!(f, "; only the header is whole, up to byte {ends_at}")
            }
            Some(WholePart { ends_at, chunks, table: Some(table) }) => write!(
                f,
                "; up to byte {ends_at} it may be whole: {chunks} chunks of rows, the last one of table {}",
                printable(table)
            ),
        }
    }
}

/// `text` with control characters escaped and cut to a length that fits an error message.
pub(crate) fn printable(text: &str) -> String {
    /// Two names of 63 characters and a sentence fit; a hostile novel does not.
    const MOST: usize = 300;
    let mut shown = String::with_capacity(text.len().min(MOST));
    for (at, c) in text.chars().enumerate() {
        if at == MOST {
            shown.push('…');
            break;
        }
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_table_chunk_and_offset_and_escapes_control_characters() {
        let part = Part::Rows { table: "evil\u{1b}[2J\nname".into(), range: 3, piece: 1 };
        let error = ArchiveError::damaged(part, 4096, "the checksum does not match");
        assert_eq!(
            error.to_string(),
            "the archive is damaged: table evil\\u{1b}[2J\\nname, chunk 3.1 at byte 4096: \
             the checksum does not match"
        );
    }

    #[test]
    fn a_full_disk_is_recognisable() {
        let error = ArchiveError::Write(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull));
        assert!(!error.is_invalid());
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(printable(&"x".repeat(1000)).chars().count(), 301);
    }
}
