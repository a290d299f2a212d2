//! Opens an archive and reads its chunks, from any thread and in any order.
//!
//! Opening proves everything but the rows: the end record proves itself, it proves the index, the index proves the
//! header, and what each says must agree with the others. A chunk of rows is proven when it is read. Nothing of an archive is handed out before it is proven.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::checksum::sha256_hex;
use super::compression::Compression;
use super::decompression::{DecompressionError, Decompressor, stream};
use super::error::{ArchiveError, Damage, Part, Truncation};
use super::model::{Chunk, ChunkKind, FORMAT, Header, Totals, VERSION};
use super::source::Source;
use super::structure::{self, is_plausible_length};
use super::trailer::Trailer;
use super::writer::table_line;
use super::{foreign, index, walk};

/// Every archive of every version begins with these bytes, then the version as a decimal number.
pub(super) const HEADER_START: &[u8] = b"{\"format\":\"pgkeep\",\"version\":";

/// A broken archive up to this size is read from the front to say what became of it, when it is opened; a larger
/// one only when it is validated, for it takes a second for each 200 MB.
const MOST_DIAGNOSED_BYTES: u64 = 64 << 20;

/// An archive of which everything is proven but the rows.
#[derive(Debug)]
pub struct Archive {
    source: Arc<Source>,
    compression: Compression,
    header: Header,
    chunks: Vec<Chunk>,
    totals: Totals,
    /// For each table, the positions of its chunks in `chunks`, by range and piece.
    by_table: Vec<Vec<u32>>,
    /// For each table, the first line of its chunks.
    table_lines: Vec<Vec<u8>>,
    index_sha256: String,
}

impl Archive {
    /// Opens the archive in a file.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        Self::from_source(Source::open(path)?)
    }

    /// Opens an archive that is in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, ArchiveError> {
        Self::from_source(Source::memory(bytes))
    }

    /// Opens the archive in `source`.
    pub fn from_source(source: Source) -> Result<Self, ArchiveError> {
        Self::open_diagnosing(source, MOST_DIAGNOSED_BYTES, &|| false)
    }

    /// Opens an archive; one that is broken and has at most `most_diagnosed` bytes is read from the front, unless
    /// `cancelled`.
    pub(super) fn open_diagnosing(
        source: Source,
        most_diagnosed: u64,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, ArchiveError> {
        if source.size() == 0 {
            return Err(ArchiveError::Empty);
        }
        let (compression, trailer) = find_ends(&source)?;
        let Some(trailer) = trailer else {
            if Trailer::is_damaged(&source, compression)? {
                let offset = source.size() - Trailer::stored_length(compression);
                return Err(ArchiveError::damaged(Part::Trailer, offset, "it is not as it was written"));
            }
            if source.size() > most_diagnosed {
                return Err(ArchiveError::Truncated(Truncation { ends_at: source.size(), whole: None }));
            }
            return Err(walk::diagnose(&source, compression, cancelled));
        };
        let mut decompressor =
            Decompressor::new(compression).map_err(|source| ArchiveError::Read { offset: 0, source })?;
        let (chunks, totals) = read_index(&source, compression, &trailer, &mut decompressor)?;
        let header = read_header(&source, &chunks, &mut decompressor)?;
        let by_table = structure::check_chunks(&header, &chunks, &totals, trailer.index_offset)
            .map_err(ArchiveError::Damaged)?;
        let table_lines = header.tables.iter().map(table_line).collect();
        let index_sha256 = trailer.index_sha256;
        let source = Arc::new(source);
        Ok(Archive { source, compression, header, chunks, totals, by_table, table_lines, index_sha256 })
    }

    /// The same file as if it held these tables alone, and as if its header said this: table `n` of `header` is what is
    /// table `tables[n]`. It has the same columns. Rows are proven by what the file says of them.
    pub fn view(&self, header: Header, tables: &[u32]) -> Archive {
        let numbers: HashMap<u32, u32> = tables.iter().copied().zip(0..).collect();
        let number = |chunk: &Chunk| match chunk.table {
            None => Some(None),
            Some(table) => numbers.get(&table).copied().map(Some),
        };
        let chunks: Vec<Chunk> = self
            .chunks
            .iter()
            .filter_map(|chunk| Some(Chunk { table: number(chunk)?, ..chunk.clone() }))
            .collect();
        let mut by_table: Vec<Vec<u32>> = vec![Vec::new(); tables.len()];
        let place = |chunk: &Chunk| (chunk.range, chunk.piece);
        for (at, chunk) in (0..).zip(&chunks) {
            if let Some(own) = chunk.table.and_then(|table| by_table.get_mut(table as usize)) {
                own.push(at);
            }
        }
        by_table.iter_mut().for_each(|own| own.sort_by_key(|at| place(&chunks[*at as usize])));
        let of = |table: &u32| self.totals.table_rows.get(*table as usize).copied().unwrap_or_default();
        let table_rows: Vec<u64> = tables.iter().map(of).collect();
        let totals = Totals {
            tables: tables.len() as u64,
            rows: table_rows.iter().sum(),
            bytes: chunks.iter().map(|chunk| chunk.bytes).sum(),
            table_rows,
        };
        let lines = tables.iter().filter_map(|table| self.table_lines.get(*table as usize).cloned());
        Archive {
            source: self.source.clone(),
            compression: self.compression,
            header,
            table_lines: lines.collect(),
            chunks,
            totals,
            by_table,
            index_sha256: self.index_sha256.clone(),
        }
    }

    /// What the archive says about itself, its tables and its sequences.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All chunks, in the order of the file; the first one is the header.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Tables, rows and decompressed bytes.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Length of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.source.size()
    }

    /// How the chunks are compressed; of the level nothing is known.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// SHA-256 of the stored index, which stands for the whole archive.
    pub fn index_sha256(&self) -> &str {
        &self.index_sha256
    }

    /// The chunks of the table with that number, by range and piece; none for a table without rows.
    pub fn table_chunks(&self, table: u32) -> Vec<&Chunk> {
        let positions = self.by_table.get(table as usize).map_or(&[][..], Vec::as_slice);
        positions.iter().filter_map(|position| self.chunks.get(*position as usize)).collect()
    }

    /// The part of the archive that a chunk is, for messages.
    pub fn part(&self, chunk: &Chunk) -> Part {
        structure::part_of(&self.header, chunk)
    }

    /// A decompressor for [`read_rows_with`](Self::read_rows_with).
    pub fn decompressor(&self) -> Result<Decompressor, ArchiveError> {
        Decompressor::new(self.compression).map_err(|source| ArchiveError::Read { offset: 0, source })
    }

    /// Reads a chunk of rows: checks its checksum, its size, its first line and its number of rows. What stands in
    /// the rows is not looked at: [`row`](crate::row) does that.
    pub fn read_rows(&self, chunk: &Chunk) -> Result<RowsChunk, ArchiveError> {
        self.read_rows_with(chunk, &mut self.decompressor()?)
    }

    /// [`read_rows`](Self::read_rows) with a decompressor that the caller keeps for the next chunk.
    pub fn read_rows_with(
        &self,
        chunk: &Chunk,
        decompressor: &mut Decompressor,
    ) -> Result<RowsChunk, ArchiveError> {
        let part = self.part(chunk);
        let damaged = |what: String| ArchiveError::damaged(part.clone(), chunk.offset, what);
        let line = match (chunk.kind, chunk.table.and_then(|table| self.table_lines.get(table as usize))) {
            (ChunkKind::Rows, Some(line)) => line,
            _ => return Err(damaged("it is not a chunk of rows".into())),
        };
        let raw = read_chunk(&self.source, chunk, decompressor, &part)?;
        if !raw.starts_with(line) {
            return Err(damaged(
                "its first line does not name the table and columns that the header names".into(),
            ));
        }
        if !raw.ends_with(b"\n") {
            return Err(damaged("its last line has no end".into()));
        }
        let rows = memchr::memchr_iter(b'\n', &raw[line.len()..]).count() as u64;
        if rows != chunk.rows {
            return Err(damaged(format!(
                "it holds {rows} rows and not the {} that the index names",
                chunk.rows
            )));
        }
        Ok(RowsChunk { raw, first_row: line.len(), rows })
    }
}

/// The rows of one chunk, proven to be what was written.
#[derive(Clone, PartialEq, Eq)]
pub struct RowsChunk {
    raw: Vec<u8>,
    /// Where the first row begins, behind the line that names the table.
    first_row: usize,
    rows: u64,
}

impl std::fmt::Debug for RowsChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Rows do not belong into logs.
        f.debug_struct("RowsChunk").field("rows", &self.rows).field("bytes", &self.raw.len()).finish()
    }
}

impl RowsChunk {
    /// The rows, each a JSON array without the end of its line.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let lines = &self.raw[self.first_row..];
        let mut start = 0;
        memchr::memchr_iter(b'\n', lines).map(move |end| {
            let row = &lines[start..end];
            start = end + 1;
            row
        })
    }

    /// How many rows there are.
    pub fn row_count(&self) -> u64 {
        self.rows
    }

    /// All of it, with the line that names the table.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// All rows, each with the end of its line.
    pub fn lines(&self) -> &[u8] {
        &self.raw[self.first_row..]
    }
}

/// Finds the compression and the end record. An end record that proves itself outweighs a beginning that is not
/// understood: then the beginning is damaged, and the error says so rather than "not an archive".
fn find_ends(source: &Source) -> Result<(Compression, Option<Trailer>), ArchiveError> {
    const ENOUGH_FOR_A_HINT: u64 = 512;
    let first = source.read_at(0, source.size().min(ENOUGH_FOR_A_HINT))?;
    let Some(compression) = Compression::detect(&first) else {
        for compression in [Compression::Gzip(0), Compression::Zstd(0), Compression::None] {
            if Trailer::read(source, compression)?.is_some() {
                let what = "its first bytes are not those of a compressed or plain header";
                return Err(ArchiveError::damaged(Part::Header, 0, what));
            }
        }
        return Err(ArchiveError::NotAnArchive { hint: foreign::hint(&first) });
    };
    let trailer = Trailer::read(source, compression)?;
    if trailer.is_none() {
        check_beginning(source, compression)?;
    }
    Ok((compression, trailer))
}

/// Looks at the beginning of a file that has no valid end record: whether it ever was an archive, and of which
/// version. Fine when it was one that this program can go on looking at.
fn check_beginning(source: &Source, compression: Compression) -> Result<(), ArchiveError> {
    const ENOUGH_FOR_A_HINT: u64 = 512;
    let mut start = Vec::new();
    let read = stream(compression, source.reader(0))
        .and_then(|decoder| decoder.take(ENOUGH_FOR_A_HINT).read_to_end(&mut start));
    match version_of(&start) {
        Start::Version(version) if version > u64::from(VERSION) => {
            Err(ArchiveError::NewerVersion { version })
        }
        Start::Version(_) => Ok(()),
        Start::Foreign => Err(ArchiveError::NotAnArchive { hint: foreign::hint(&start) }),
        Start::Short => match read {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                Err(ArchiveError::damaged(Part::Header, 0, "it cannot be decompressed"))
            }
            _ => Ok(()),
        },
    }
}

enum Start {
    /// The beginning of an archive of that version.
    Version(u64),
    /// As far as it goes, it could be the beginning of an archive.
    Short,
    Foreign,
}

fn version_of(start: &[u8]) -> Start {
    let Some(rest) = start.strip_prefix(HEADER_START) else {
        return if HEADER_START.starts_with(start) { Start::Short } else { Start::Foreign };
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == rest.len() {
        return Start::Short;
    }
    let version = std::str::from_utf8(&rest[..digits]).ok().and_then(|digits| digits.parse().ok());
    version.map_or(Start::Foreign, Start::Version)
}

fn read_index(
    source: &Source,
    compression: Compression,
    trailer: &Trailer,
    decompressor: &mut Decompressor,
) -> Result<(Vec<Chunk>, Totals), ArchiveError> {
    let trailer_offset = source.size() - Trailer::stored_length(compression);
    let Trailer { index_offset, index_length, index_bytes, .. } = *trailer;
    if index_offset.checked_add(index_length) != Some(trailer_offset) {
        let what = format!(
            "the index would be {index_length} bytes at byte {index_offset}, which does not fit: bytes are missing \
             or were added"
        );
        return Err(ArchiveError::damaged(Part::Trailer, trailer_offset, what));
    }
    let damaged = |what: String| ArchiveError::damaged(Part::Index, index_offset, what);
    if index_bytes > index::bound(index_offset) || !is_plausible_length(index_length, index_bytes) {
        return Err(damaged("it is larger than an index of such a file can be".into()));
    }
    let stored = source.read_at(index_offset, index_length)?;
    if sha256_hex(&stored) != trailer.index_sha256 {
        return Err(damaged("its checksum does not match".into()));
    }
    let lines = decompressor.decompress(stored, index_bytes).map_err(|error| damaged(error.to_string()))?;
    index::decode(&lines).map_err(damaged)
}

fn read_header(
    source: &Source,
    chunks: &[Chunk],
    decompressor: &mut Decompressor,
) -> Result<Header, ArchiveError> {
    let damaged = |what: String| ArchiveError::damaged(Part::Header, 0, what);
    let chunk = chunks.first().ok_or_else(|| damaged("the index does not name it".into()))?;
    let fits = chunk.offset == 0 && chunk.length <= source.size();
    if chunk.kind != ChunkKind::Header || !fits || chunk.bytes > structure::MOST_HEADER_BYTES {
        return Err(damaged("the index does not begin with it".into()));
    }
    let line = read_chunk(source, chunk, decompressor, &Part::Header)?;
    match version_of(&line) {
        Start::Version(version) if version == u64::from(VERSION) => {}
        Start::Version(version) if version > u64::from(VERSION) => {
            return Err(ArchiveError::NewerVersion { version });
        }
        _ => return Err(damaged("it does not begin with the format and a version that there is".into())),
    }
    if memchr::memchr(b'\n', &line) != line.len().checked_sub(1) {
        return Err(damaged("it is not one line".into()));
    }
    let header: Header =
        serde_json::from_slice(&line).map_err(|error| damaged(format!("it is not understood: {error}")))?;
    if header.format != FORMAT || header.version != VERSION {
        return Err(damaged("it names two formats or versions".into()));
    }
    structure::check_header(&header).map_err(damaged)?;
    Ok(header)
}

/// The decompressed bytes of a chunk whose stored bytes have the checksum of the index.
fn read_chunk(
    source: &Source,
    chunk: &Chunk,
    decompressor: &mut Decompressor,
    part: &Part,
) -> Result<Vec<u8>, ArchiveError> {
    let damaged =
        |what: String| ArchiveError::Damaged(Damage { part: part.clone(), offset: chunk.offset, what });
    let stored = source.read_at(chunk.offset, chunk.length)?;
    if sha256_hex(&stored) != chunk.sha256 {
        return Err(damaged("its checksum does not match".into()));
    }
    decompressor.decompress(stored, chunk.bytes).map_err(|error| match error {
        DecompressionError::Memory(_) => {
            ArchiveError::Read { offset: chunk.offset, source: io::Error::other(error) }
        }
        error => damaged(error.to_string()),
    })
}
