//! Writes an archive front to back, in one pass, into anything that takes bytes.
//!
//! Workers make [`SealedChunk`]s, each with a [`ChunkEncoder`] of its own; one [`ArchiveWriter`] puts them into the
//! file in whatever order they come. Memory is that of the chunks on their way plus some 300 bytes for each chunk
//! written. What [`ArchiveWriter::finish`] accepts, [`Archive::open`](super::reader::Archive::open) accepts.

use std::fmt;
use std::io::Write;

use serde::Serialize;

use super::checksum::sha256_hex;
use super::compression::{Compression, Compressor};
use super::error::ArchiveError;
use super::index;
use super::model::{Chunk, ChunkKind, FORMAT, Header, Table, Totals, VERSION};
use super::spans::KeyColumns;
use super::structure;
use super::trailer::Trailer;
use super::{MOST_CHUNK_BYTES, MOST_HEADER_BYTES, MOST_ROW_BYTES};

/// The first line of each chunk of rows, with its end: it says to a person with `zcat` whose rows follow.
pub fn table_line(table: &Table) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<'a> {
        schema: &'a str,
        table: &'a str,
        columns: Vec<&'a str>,
    }
    let columns = table.columns.iter().map(|column| column.name.as_str()).collect();
    // Strings and lists of strings always serialise; an empty line would be refused when the chunk is read.
    let mut line =
        serde_json::to_vec(&Line { schema: &table.schema, table: &table.name, columns }).unwrap_or_default();
    line.push(b'\n');
    line
}

/// A chunk that is compressed and hashed, and has no place in a file yet.
pub struct SealedChunk {
    /// Its offset is 0 until it is appended.
    chunk: Chunk,
    stored: Vec<u8>,
}

impl SealedChunk {
    /// Its stored (compressed) length in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.chunk.length
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        self.chunk.rows
    }

    /// Its length in bytes before compression, with its first line.
    pub fn raw_bytes(&self) -> u64 {
        self.chunk.bytes
    }

    /// SHA-256 of the stored bytes, hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.chunk.sha256
    }
}

impl fmt::Debug for SealedChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The stored bytes are rows.
        f.debug_tuple("SealedChunk").field(&self.chunk).finish()
    }
}

/// Compresses and hashes chunks; each worker has its own.
#[derive(Debug)]
pub struct ChunkEncoder(Compressor);

impl ChunkEncoder {
    /// An encoder for an archive of that compression.
    pub fn new(compression: Compression) -> Result<Self, ArchiveError> {
        Ok(ChunkEncoder(Compressor::new(compression).map_err(ArchiveError::Write)?))
    }

    /// Seals a chunk of `rows` rows of one table: `raw` is [`table_line`] and then a line for each row. `range` is the
    /// number of the part of the table that was read in one go, `piece` counts its chunks from 0, `key` are the key
    /// columns of the table, whose spans the index will give. The same `raw` gives the same stored bytes.
    ///
    /// Refuses a chunk without a row, one of several rows beyond [`MOST_CHUNK_BYTES`], and
    /// one of a single row beyond [`MOST_ROW_BYTES`]; aim at 1 to 4 MiB.
    pub fn seal_rows(
        &mut self,
        table: u32,
        range: u32,
        piece: u32,
        raw: &[u8],
        rows: u64,
        key: &KeyColumns,
    ) -> Result<SealedChunk, ArchiveError> {
        let bytes = raw.len() as u64;
        let most = if rows == 1 { MOST_ROW_BYTES } else { MOST_CHUNK_BYTES };
        if rows == 0 || bytes > most {
            let what = format!("a chunk of {rows} rows in {bytes} bytes");
            return Err(ArchiveError::Refused(what));
        }
        let mut sealed = self.seal(ChunkKind::Rows, Some(table), (range, piece), raw, rows)?;
        let first_row = memchr::memchr(b'\n', raw).map_or(raw.len(), |end| end + 1);
        sealed.chunk.spans = key.spans(&raw[first_row..]);
        Ok(sealed)
    }

    fn seal_header(&mut self, raw: &[u8]) -> Result<SealedChunk, ArchiveError> {
        if raw.len() as u64 > MOST_HEADER_BYTES {
            return Err(ArchiveError::Refused(format!("a header of {} bytes", raw.len())));
        }
        self.seal(ChunkKind::Header, None, (0, 0), raw, 0)
    }

    fn seal(
        &mut self,
        kind: ChunkKind,
        table: Option<u32>,
        (range, piece): (u32, u32),
        raw: &[u8],
        rows: u64,
    ) -> Result<SealedChunk, ArchiveError> {
        let stored = self.0.compress(raw).map_err(ArchiveError::Write)?;
        let chunk = Chunk {
            kind,
            table,
            range,
            piece,
            offset: 0,
            length: stored.len() as u64,
            bytes: raw.len() as u64,
            rows,
            sha256: sha256_hex(&stored),
            spans: Vec::new(),
        };
        Ok(SealedChunk { chunk, stored })
    }
}

/// Writes one archive. Dropped without [`finish`](Self::finish), it leaves a stretch of bytes that no reader takes
/// for an archive.
pub struct ArchiveWriter<W: Write> {
    out: W,
    compression: Compression,
    encoder: ChunkEncoder,
    header: Header,
    chunks: Vec<Chunk>,
    offset: u64,
    /// After a failed write nobody knows how much of it arrived.
    broken: bool,
}

impl<W: Write> fmt::Debug for ArchiveWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveWriter").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Tables, rows and decompressed bytes.
    pub totals: Totals,
    /// Length of the whole archive in bytes.
    pub file_bytes: u64,
    /// Chunks, with the header.
    pub chunks: u64,
    /// SHA-256 of the stored index, which proves everything before it: it stands for the whole archive.
    pub index_sha256: String,
    /// What the index says of each chunk, in the order of the file.
    pub index: Vec<Chunk>,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive in `out` by writing its header. Refuses a header that no reader would accept.
    pub fn create(out: W, compression: Compression, header: &Header) -> Result<Self, ArchiveError> {
        if header.format != FORMAT || header.version != VERSION {
            return Err(ArchiveError::Refused("a header of another format or version".into()));
        }
        structure::check_header(header)
            .map_err(|what| ArchiveError::Refused(format!("a header of which {what}")))?;
        let mut line = serde_json::to_vec(header)
            .map_err(|error| ArchiveError::Refused(format!("the header: {error}")))?;
        line.push(b'\n');
        let mut encoder = ChunkEncoder::new(compression)?;
        let sealed = encoder.seal_header(&line)?;
        // Definitions are written and done with, and may be many.
        let header = header.without_schema();
        let mut writer =
            ArchiveWriter { out, compression, encoder, header, chunks: Vec::new(), offset: 0, broken: false };
        writer.push(sealed)?;
        Ok(writer)
    }

    /// Writes a chunk behind those that are there. Chunks may come in any order of tables, ranges and pieces.
    pub fn append(&mut self, sealed: SealedChunk) -> Result<(), ArchiveError> {
        if sealed.chunk.table.is_none_or(|table| table as usize >= self.header.tables.len()) {
            return Err(ArchiveError::Refused("a chunk of a table that the header does not name".into()));
        }
        self.push(sealed)
    }

    /// Bytes written up to now.
    pub fn bytes_written(&self) -> u64 {
        self.offset
    }

    /// Writes index and end record, flushes, and gives `out` back. Nothing is synced to disk here:
    /// [`AtomicFile::commit`](super::file::AtomicFile::commit) does that.
    ///
    /// Refuses chunks of which a reader would say that one is missing or repeated.
    pub fn finish(mut self) -> Result<(W, Summary), ArchiveError> {
        let totals = self.totals();
        structure::check_chunks(&self.header, &self.chunks, &totals, self.offset)
            .map_err(|damage| ArchiveError::Refused(damage.to_string()))?;
        let raw = index::encode(&self.chunks, &totals)
            .map_err(|error| ArchiveError::Refused(format!("the index: {error}")))?;
        if raw.len() as u64 > index::bound(self.offset) {
            return Err(ArchiveError::Refused(format!("an index of {} bytes", raw.len())));
        }
        let stored = self.encoder.0.compress(&raw).map_err(ArchiveError::Write)?;
        let trailer = Trailer {
            index_offset: self.offset,
            index_length: stored.len() as u64,
            index_bytes: raw.len() as u64,
            index_sha256: sha256_hex(&stored),
        };
        self.write(&stored)?;
        self.write(&trailer.encode(self.compression))?;
        self.out.flush().map_err(ArchiveError::Write)?;
        let summary = Summary {
            totals,
            file_bytes: self.offset,
            chunks: self.chunks.len() as u64,
            index_sha256: trailer.index_sha256,
            index: self.chunks,
        };
        Ok((self.out, summary))
    }

    fn push(&mut self, sealed: SealedChunk) -> Result<(), ArchiveError> {
        let SealedChunk { mut chunk, stored } = sealed;
        chunk.offset = self.offset;
        self.write(&stored)?;
        self.chunks.push(chunk);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        if self.broken {
            return Err(ArchiveError::Refused("an earlier write failed".into()));
        }
        self.broken = true;
        self.out.write_all(bytes).map_err(ArchiveError::Write)?;
        self.broken = false;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn totals(&self) -> Totals {
        let tables = self.header.tables.len();
        let mut totals = Totals { tables: tables as u64, table_rows: vec![0; tables], ..Totals::default() };
        for chunk in &self.chunks {
            totals.rows += chunk.rows;
            totals.bytes += chunk.bytes;
            if let Some(rows) = chunk.table.and_then(|table| totals.table_rows.get_mut(table as usize)) {
                *rows += chunk.rows;
            }
        }
        totals
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::io;

    use super::*;
    use crate::archive::Archive;
    use crate::archive::model::Column;

    /// A header with one-column tables of these names in schema `public`.
    pub(crate) fn header(tables: &[&str]) -> Header {
        let json = r#"{"format":"pgkeep","version":1,"kind":"backup","tool":"test","created_at":"2025-11-28T07:47:23Z",
            "source":{"host":"h","port":5432,"database":"d","server_version":"15.0","server_version_num":150000,
            "encoding":"UTF8"},"tables":[]}"#;
        let mut header: Header = serde_json::from_str(json).unwrap();
        let table = |name: &&str| Table {
            schema: "public".into(),
            name: (*name).into(),
            columns: vec![Column { name: "id".into(), type_name: "integer".into(), ..Column::default() }],
            ..Table::default()
        };
        header.tables = tables.iter().map(table).collect();
        header
    }

    /// A sealed chunk of `rows` rows.
    pub(crate) fn seal(header: &Header, (table, range, piece): (u32, u32, u32), rows: u64) -> SealedChunk {
        let mut raw = table_line(&header.tables[table as usize]);
        raw.extend((0..rows).flat_map(|row| format!("[{row}]\n").into_bytes()));
        let key = KeyColumns::of(&header.tables[table as usize]);
        let mut encoder = ChunkEncoder::new(Compression::default()).unwrap();
        encoder.seal_rows(table, range, piece, &raw, rows, &key).unwrap()
    }

    fn create(header: &Header) -> ArchiveWriter<Vec<u8>> {
        ArchiveWriter::create(Vec::new(), Compression::default(), header).unwrap()
    }

    #[test]
    fn chunks_come_in_any_order_and_are_read_in_theirs() {
        let header = header(&["a", "b"]);
        let mut writer = create(&header);
        for (key, rows) in [((1, 0, 0), 1), ((0, 9, 0), 2), ((0, 2, 1), 3), ((0, 2, 0), 4)] {
            writer.append(seal(&header, key, rows)).unwrap();
        }
        let before = writer.bytes_written();
        let (bytes, summary) = writer.finish().unwrap();
        assert!(before < summary.file_bytes);
        assert_eq!((summary.file_bytes, summary.chunks), (bytes.len() as u64, 5));
        assert_eq!((summary.totals.rows, &summary.totals.table_rows), (10, &vec![9, 1]));
        let archive = Archive::from_bytes(bytes).unwrap();
        assert_eq!(archive.totals(), &summary.totals);
        assert_eq!(archive.index_sha256(), summary.index_sha256);
        let rows: Vec<u64> = archive.table_chunks(0).iter().map(|chunk| chunk.rows).collect();
        assert_eq!(rows, [4, 3, 2]);
        let chunk = archive.read_rows(archive.table_chunks(0)[1]).unwrap();
        assert_eq!(chunk.rows().collect::<Vec<_>>(), [b"[0]", b"[1]", b"[2]"]);
        assert_eq!((chunk.row_count(), chunk.lines()), (3, &b"[0]\n[1]\n[2]\n"[..]));
        assert!(archive.table_chunks(7).is_empty());
    }

    #[test]
    fn chunks_that_no_reader_would_accept_are_refused() {
        let header = header(&["a"]);
        let mut encoder = ChunkEncoder::new(Compression::None).unwrap();
        let key = KeyColumns::default();
        assert!(matches!(encoder.seal_rows(0, 0, 0, b"", 0, &key), Err(ArchiveError::Refused(_))));
        let large = vec![b' '; (MOST_CHUNK_BYTES + 1) as usize];
        assert!(matches!(encoder.seal_rows(0, 0, 0, &large, 2, &key), Err(ArchiveError::Refused(_))));
        assert!(encoder.seal_rows(0, 0, 0, &large, 1, &key).is_ok());
        let foreign = seal(&super::tests::header(&["a", "b"]), (1, 0, 0), 1);
        assert!(matches!(create(&header).append(foreign), Err(ArchiveError::Refused(_))));
        for keys in [[(0, 0, 0), (0, 0, 0)], [(0, 0, 0), (0, 0, 2)], [(0, 0, 1), (0, 1, 0)]] {
            let mut writer = create(&header);
            for key in keys {
                writer.append(seal(&header, key, 1)).unwrap();
            }
            let error = writer.finish().unwrap_err();
            assert!(error.to_string().contains("missing or repeated"), "{error}");
        }
    }

    #[test]
    fn headers_that_no_reader_would_accept_are_refused() {
        for spoil in [
            |header: &mut Header| header.version = 2,
            |header: &mut Header| header.format = "other".into(),
            |header: &mut Header| header.tables.push(header.tables[0].clone()),
        ] {
            let mut header = header(&["a"]);
            spoil(&mut header);
            let error = ArchiveWriter::create(Vec::new(), Compression::None, &header).unwrap_err();
            assert!(matches!(error, ArchiveError::Refused(_)));
        }
    }

    #[test]
    fn an_archive_without_tables_is_an_archive() {
        let (bytes, summary) = create(&header(&[])).finish().unwrap();
        assert_eq!(summary.totals.rows, 0);
        assert!(Archive::from_bytes(bytes).unwrap().header().tables.is_empty());
    }

    /// A disk with room for so many bytes.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let length = bytes.len().min(self.0);
            self.0 -= length;
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_told_and_nothing_is_written_behind_the_gap() {
        let header = header(&["a"]);
        let mut writer = ArchiveWriter::create(Disk(1000), Compression::None, &header).unwrap();
        let full = (0..).find_map(|range| writer.append(seal(&header, (0, range, 0), 9)).err()).unwrap();
        assert_eq!(full.io_kind(), Some(io::ErrorKind::StorageFull));
        writer.out.0 = 1000;
        assert!(matches!(writer.append(seal(&header, (0, 0, 0), 1)), Err(ArchiveError::Refused(_))));
        assert!(matches!(writer.finish(), Err(ArchiveError::Refused(_))));
        assert!(ArchiveWriter::create(Disk(3), Compression::None, &header).is_err());
    }
}
