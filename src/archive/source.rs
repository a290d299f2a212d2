//! Where the bytes of an archive are read from: a file, or memory. Any thread may read at any offset.

use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::ArchiveError;

/// The bytes of a file, readable at any offset by any thread.
#[derive(Debug)]
pub struct Source {
    bytes: Bytes,
    size: u64,
}

#[derive(Debug)]
enum Bytes {
    File(File),
    Memory(Vec<u8>),
}

impl Source {
    /// Opens a file; what is not a regular file, such as a pipe, is refused, for an archive is read at offsets.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let io = |source| ArchiveError::Io { action: "open", path: path.to_owned(), source };
        // Asked before opening: to open a pipe without a writer would wait for ever.
        if !fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
        }
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        Ok(Source { bytes: Bytes::File(file), size })
    }

    /// Bytes that are in memory already.
    pub fn memory(bytes: Vec<u8>) -> Self {
        Source { size: bytes.len() as u64, bytes: Bytes::Memory(bytes) }
    }

    /// How many bytes there are; of a file, how many there were when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads `length` bytes at `offset`. A range that goes beyond the end is an error.
    pub fn read_at(&self, offset: u64, length: u64) -> Result<Vec<u8>, ArchiveError> {
        let error = |source| ArchiveError::Read { offset, source };
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        if end.is_none() {
            return Err(error(io::ErrorKind::UnexpectedEof.into()));
        }
        let length = usize::try_from(length).map_err(|_| error(io::ErrorKind::OutOfMemory.into()))?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(length).map_err(|_| error(io::ErrorKind::OutOfMemory.into()))?;
        buffer.resize(length, 0);
        match &self.bytes {
            Bytes::File(file) => file.read_exact_at(&mut buffer, offset).map_err(error)?,
            Bytes::Memory(bytes) => {
                let start =
                    usize::try_from(offset).map_err(|_| error(io::ErrorKind::UnexpectedEof.into()))?;
                buffer.copy_from_slice(&bytes[start..start + length]);
            }
        }
        Ok(buffer)
    }

    /// A reader of the bytes from `offset` on.
    pub(crate) fn reader(&self, offset: u64) -> SourceReader<'_> {
        SourceReader { source: self, buffer: Vec::new(), buffer_offset: offset, used: 0 }
    }
}

/// Reads a [`Source`] front to back and knows where it stands.
pub(crate) struct SourceReader<'a> {
    source: &'a Source,
    buffer: Vec<u8>,
    buffer_offset: u64,
    used: usize,
}

impl SourceReader<'_> {
    /// The offset of the next byte that has not been consumed.
    pub(crate) fn position(&self) -> u64 {
        self.buffer_offset + self.used as u64
    }
}

impl BufRead for SourceReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        const STEP: u64 = 256 << 10;
        if self.used == self.buffer.len() {
            let position = self.position();
            let length = STEP.min(self.source.size.saturating_sub(position));
            self.buffer = self.source.read_at(position, length).map_err(|error| match error {
                ArchiveError::Read { source, .. } => source,
                other => io::Error::other(other),
            })?;
            self.buffer_offset = position;
            self.used = 0;
        }
        Ok(&self.buffer[self.used..])
    }

    fn consume(&mut self, amount: usize) {
        self.used = (self.used + amount).min(self.buffer.len());
    }
}

impl Read for SourceReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(out.len());
        out[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_range_beyond_the_end_is_an_error() {
        let source = Source::memory(b"0123456789".to_vec());
        assert_eq!(source.read_at(8, 2).unwrap(), b"89");
        assert_eq!(source.read_at(10, 0).unwrap(), b"");
        for (offset, length) in [(8, 3), (11, 0), (u64::MAX, 2), (0, u64::MAX)] {
            source.read_at(offset, length).unwrap_err();
        }
    }

    #[test]
    fn a_reader_knows_where_it_stands() {
        let source = Source::memory(b"0123456789".to_vec());
        let mut reader = source.reader(4);
        let mut two = [0; 2];
        reader.read_exact(&mut two).unwrap();
        assert_eq!((&two, reader.position()), (b"45", 6));
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!((rest.as_str(), reader.position()), ("6789", 10));
    }

    #[test]
    fn a_folder_is_not_an_archive() {
        let error = Source::open(Path::new("/")).unwrap_err();
        assert_eq!(error.to_string(), "cannot open /: it is not a regular file");
    }
}
