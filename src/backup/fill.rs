//! Rows of one connection become chunks: translated as they come, compressed and hashed on other threads.
//!
//! A row is written once: from the connection's read buffer, as JSON, into the chunk that fills. Every chunk belongs to
//! one unit.
//!
//! Where a chunk ends depends on nothing but its own rows: it is cut behind a row whose checksum says so. So rows that are
//! as they were come in the same chunks whoever reads them and in whatever pieces, but for the one or two chunks at either
//! side of a change or of a unit's limit; later work finds chunks that it has by their checksums, and a restore what the
//! target holds already.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::copy::CopyFormat;
use super::dump::{Shared, lock};
use super::plan::{Part, Unit};
use crate::archive::error::ArchiveError;
use crate::archive::spans::KeyColumns;
use crate::archive::writer::{ChunkEncoder, SealedChunk, table_line};
use crate::failure::Failure;
use crate::postgres::copy::binary::{self, LastDay, Tuple, TupleEncoder};
use crate::postgres::copy::{CopyError, RowEncoder};
use crate::postgres::tid::Tid;
use crate::progress::Event;

/// Decompressed bytes that a chunk has at least, unless its unit ends.
const FEWEST_BYTES: usize = 1 << 20;

/// How many more it has on the average. Larger chunks compress no better; smaller ones make the index longer, and by them
/// the same limits would be found later behind a change.
const FURTHER_BYTES: u64 = 768 << 10;

/// Decompressed bytes beyond which no row is added: what bounds memory, and what one row costs to be found.
const CHUNK_BYTES: usize = 3 << 20;

/// Chunks of one worker that are compressed side by side: with two, a connection that sends faster than one core
/// compresses need not wait.
const SEALING: usize = 2;

/// A buffer beyond this held one huge row, and is given back.
const MOST_KEPT_BYTES: usize = 2 * CHUNK_BYTES;

/// Whether a chunk that has enough rows ends behind this one. The more bytes a row has, the more likely.
fn is_last(row: &[u8]) -> bool {
    u64::from(libdeflater::crc32(row)) * FURTHER_BYTES < (row.len() as u64) << 32
}

/// A table part as those who fill chunks need it.
pub(super) struct Source {
    /// The name by which people call it.
    pub name: Arc<str>,
    /// The line that begins each chunk.
    head: Vec<u8>,
    /// The columns whose spans go into the index.
    key: KeyColumns,
    text: RowEncoder,
    binary: Option<TupleEncoder>,
    /// For rows that begin with their `ctid`.
    binary_after_tid: Option<TupleEncoder>,
}

impl Source {
    pub(super) fn new(part: &Part) -> Source {
        let binary = part.binary.as_ref().map(|binary| binary.encoder(&part.forms));
        Source {
            name: Arc::from(part.table.shown()),
            head: table_line(&part.table),
            key: KeyColumns::of(&part.table),
            text: RowEncoder::new(part.forms.clone()),
            binary_after_tid: binary.as_ref().map(TupleEncoder::after_tid),
            binary,
        }
    }
}

/// What a compressing thread gives back.
struct Sealed {
    encoder: ChunkEncoder,
    chunk: Result<SealedChunk, ArchiveError>,
    raw: Vec<u8>,
}

/// Rows of a chunk that is full.
struct Full {
    raw: Vec<u8>,
    rows: u64,
    piece: u32,
}

/// The chunks of one worker.
pub(super) struct Filler<'a> {
    shared: &'a Shared,
    sender: &'a mpsc::Sender<SealedChunk>,
    sealing: VecDeque<JoinHandle<Sealed>>,
    encoders: Vec<ChunkEncoder>,
    buffers: Vec<Vec<u8>>,
}

impl<'a> Filler<'a> {
    pub(super) fn new(shared: &'a Shared, sender: &'a mpsc::Sender<SealedChunk>) -> Self {
        Filler { shared, sender, sealing: VecDeque::new(), encoders: Vec::new(), buffers: Vec::new() }
    }

    /// Begins the rows of a unit.
    pub(super) fn begin<'f>(&'f mut self, unit: &'f Unit) -> UnitFiller<'f, 'a> {
        let source = &self.shared.sources[unit.table as usize];
        let mut filling = self.buffers.pop().unwrap_or_default();
        filling.extend_from_slice(&source.head);
        UnitFiller {
            filler: self,
            unit,
            source,
            filling,
            first: None,
            rows: 0,
            all_rows: 0,
            piece: 0,
            full: Vec::new(),
            partial: Vec::new(),
            begun: false,
            ended: false,
            last_day: LastDay::default(),
            reported_bytes: 0,
        }
    }

    /// Hands a full chunk to a compressing thread.
    async fn seal(&mut self, unit: &Unit, full: Full) -> Result<(), Failure> {
        if self.sealing.len() >= SEALING {
            self.send_oldest().await?;
        }
        let mut encoder = match self.encoders.pop() {
            Some(encoder) => encoder,
            None => ChunkEncoder::new(self.shared.compression).map_err(|e| Failure::from_archive(&e))?,
        };
        let (table, range) = (unit.table, unit.range);
        let key = self.shared.sources[table as usize].key.clone();
        self.sealing.push_back(tokio::task::spawn_blocking(move || {
            let chunk = encoder.seal_rows(table, range, full.piece, &full.raw, full.rows, &key);
            Sealed { encoder, chunk, raw: full.raw }
        }));
        Ok(())
    }

    /// Waits for the oldest of the chunks that are being compressed and sends it to the file.
    async fn send_oldest(&mut self) -> Result<(), Failure> {
        let Some(sealing) = self.sealing.pop_front() else { return Ok(()) };
        let mut sealed =
            sealing.await.map_err(|e| Failure::failed(format!("compression ended abnormally: {e}")))?;
        self.encoders.push(sealed.encoder);
        if sealed.raw.capacity() <= MOST_KEPT_BYTES {
            sealed.raw.clear();
            self.buffers.push(sealed.raw);
        }
        let chunk = sealed.chunk.map_err(|e| Failure::from_archive(&e))?;
        // The writer's own failure is reported by the writer.
        self.sender.send(chunk).await.map_err(|_| Failure::interrupted())
    }

    /// Sends all that is still being compressed.
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        while !self.sealing.is_empty() {
            self.send_oldest().await?;
        }
        Ok(())
    }
}

/// The chunks of one unit.
pub(super) struct UnitFiller<'f, 'a> {
    filler: &'f mut Filler<'a>,
    unit: &'f Unit,
    source: &'f Source,
    filling: Vec<u8>,
    /// Where the first row of the chunk that fills stands.
    first: Option<Tid>,
    rows: u64,
    all_rows: u64,
    piece: u32,
    full: Vec<Full>,
    /// Less than a row: servers send a row a message (manual, 55.2.6), yet a proxy may cut elsewhere.
    partial: Vec<u8>,
    /// Whether the header of the binary format has been read, and its end.
    begun: bool,
    ended: bool,
    last_day: LastDay,
    reported_bytes: u64,
}

impl UnitFiller<'_, '_> {
    /// Takes what one message holds.
    pub(super) async fn message(&mut self, payload: &[u8]) -> Result<(), Failure> {
        if self.partial.is_empty() {
            let used = self.rows(payload)?;
            self.partial.extend_from_slice(&payload[used..]);
        } else {
            let mut bytes = std::mem::take(&mut self.partial);
            bytes.extend_from_slice(payload);
            let used = self.rows(&bytes)?;
            bytes.drain(..used);
            self.partial = bytes;
        }
        if !self.full.is_empty() {
            self.seal_full().await?;
        }
        Ok(())
    }

    /// Translates all whole rows in `bytes`. Returns how many bytes they take.
    fn rows(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let source = self.source;
        let binary = if self.unit.has_tids { &source.binary_after_tid } else { &source.binary };
        match (self.unit.format, binary) {
            (CopyFormat::Binary, Some(encoder)) => self.tuples(encoder, bytes),
            _ => self.lines(bytes),
        }
    }

    fn lines(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        let mut at = 0;
        while let Some(length) = memchr::memchr(b'\n', &bytes[at..]) {
            let before = self.filling.len();
            let mut row = &bytes[at..at + length];
            let mut tid = None;
            if self.unit.has_tids {
                let end = memchr::memchr(b'\t', row).unwrap_or(row.len());
                tid = Tid::from_text(&row[..end]);
                row = row.get(end + 1..).unwrap_or_default();
            }
            self.source.text.encode(row, &mut self.filling).map_err(|e| self.unreadable(&e))?;
            self.row_written(before, || tid);
            at += length + 1;
        }
        Ok(at)
    }

    fn tuples(&mut self, encoder: &TupleEncoder, bytes: &[u8]) -> Result<usize, Failure> {
        let mut at = 0;
        if !self.begun {
            match binary::header_length(bytes).map_err(|e| self.unreadable(&e))? {
                Some(length) => at = length,
                None => return Ok(0),
            }
            self.begun = true;
        }
        let has_tids = self.unit.has_tids;
        while !self.ended {
            let before = self.filling.len();
            match encoder
                .encode(&bytes[at..], &mut self.last_day, &mut self.filling)
                .map_err(|e| self.unreadable(&e))?
            {
                Tuple::Row(length) => {
                    let tuple = &bytes[at..at + length];
                    self.row_written(before, || if has_tids { binary::leading_tid(tuple) } else { None });
                    at += length;
                }
                Tuple::End(length) => {
                    self.ended = true;
                    at += length;
                }
                Tuple::Incomplete => break,
            }
        }
        Ok(at)
    }

    fn unreadable(&self, error: &CopyError) -> Failure {
        let name = &self.source.name;
        Failure::failed(format!("the server sent a row that cannot be read: {error} (table {name})"))
    }

    /// A row has been appended behind `before`. A chunk that is full by it is put aside. `tid` tells where the row stands.
    #[inline]
    fn row_written(&mut self, before: usize, tid: impl FnOnce() -> Option<Tid>) {
        self.filling.push(b'\n');
        let mut start = before;
        if self.filling.len() > CHUNK_BYTES && self.rows > 0 {
            // The row that is too much begins the next chunk, so that only a lone row can make a chunk large.
            let mut next = self.next_buffer();
            start = next.len();
            next.extend_from_slice(&self.filling[before..]);
            self.filling.truncate(before);
            self.put_aside(next);
        }
        if self.rows == 0 {
            self.first = tid();
        }
        self.rows += 1;
        self.all_rows += 1;
        if self.filling.len() > FEWEST_BYTES
            && (self.filling.len() > CHUNK_BYTES || is_last(&self.filling[start..]))
        {
            let next = self.next_buffer();
            self.put_aside(next);
        }
    }

    fn next_buffer(&mut self) -> Vec<u8> {
        let mut next = self.filler.buffers.pop().unwrap_or_else(|| Vec::with_capacity(2 * FEWEST_BYTES));
        next.extend_from_slice(&self.source.head);
        next
    }

    fn put_aside(&mut self, next: Vec<u8>) {
        if let Some(first) = self.first.take() {
            let place = (self.unit.table, self.unit.range, self.piece);
            lock(&self.filler.shared.starts).insert(place, first);
        }
        let raw = std::mem::replace(&mut self.filling, next);
        self.full.push(Full { raw, rows: std::mem::take(&mut self.rows), piece: self.piece });
        self.piece += 1;
    }

    async fn seal_full(&mut self) -> Result<(), Failure> {
        for full in std::mem::take(&mut self.full) {
            // A unit's bytes are counted as its chunks go by, and made exact at its end.
            let advance = (full.raw.len() as u64).min(self.unit.bytes - self.reported_bytes);
            self.reported_bytes += advance;
            self.report(full.rows, advance);
            self.filler.seal(self.unit, full).await?;
        }
        Ok(())
    }

    fn report(&self, rows: u64, bytes: u64) {
        let (phase, table) = (self.filler.shared.phase, self.source.name.clone());
        self.filler.shared.events.emit(Event::Advanced { phase, table, rows, bytes });
    }

    /// Seals the last chunk. Returns how many rows there were.
    pub(super) async fn finish(mut self) -> Result<u64, Failure> {
        let is_binary = self.unit.format == CopyFormat::Binary && self.source.binary.is_some();
        if !self.partial.is_empty() || (is_binary && !self.ended) {
            let name = &self.source.name;
            return Err(Failure::failed(format!("the server ended table {name} in the middle of a row")));
        }
        if self.rows > 0 {
            self.put_aside(Vec::new());
            self.seal_full().await?;
        } else {
            let mut unused = std::mem::take(&mut self.filling);
            unused.clear();
            self.filler.buffers.push(unused);
        }
        self.report(0, self.unit.bytes - self.reported_bytes);
        Ok(self.all_rows)
    }
}
