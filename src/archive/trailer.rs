//! The last bytes of an archive: a record of fixed length that says where the index is and proves it.
//!
//! Its form has no freedom: gzip and zstd hold the line uncompressed, in one stored block, with every header field
//! fixed. A reader therefore finds it by counting from the end, makes the same bytes again from the values that it
//! read, and compares all of them. What may still differ unseen are the values, and they are proven by what they lead
//! to: the index must fill the file up to the trailer, and have that checksum and that size.

use super::checksum::is_sha256_hex;
use super::compression::Compression;
use super::error::ArchiveError;
use super::source::Source;

/// What the trailer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Where the index begins in the file.
    pub index_offset: u64,
    /// Its stored length.
    pub index_length: u64,
    /// Its length when decompressed.
    pub index_bytes: u64,
    /// SHA-256 of its stored bytes.
    pub index_sha256: String,
}

/// The literal parts of the line; a number of [`NUMBER`] characters stands between each two of the first four, and
/// the checksum before the last.
const PIECES: [&str; 5] = [
    "{\"end\":\"pgkeep\",\"version\":1,\"index_offset\":",
    ",\"index_length\":",
    ",\"index_bytes\":",
    ",\"index_sha256\":\"",
    "\"}\n",
];
/// Wide enough for any u64; shorter numbers have spaces before them, which JSON allows.
const NUMBER: usize = 20;
const LINE: usize = PIECES[0].len()
    + PIECES[1].len()
    + PIECES[2].len()
    + PIECES[3].len()
    + PIECES[4].len()
    + 3 * NUMBER
    + super::checksum::HEX_LENGTH;
// The zstd frame header below gives the length in one byte.
const _: () = assert!(LINE < 256);

impl Trailer {
    /// Length of the stored trailer in bytes.
    pub(super) fn stored_length(compression: Compression) -> u64 {
        let (front, back) = frame(compression, &[]);
        (front.len() + LINE + back.len()) as u64
    }

    /// The stored bytes.
    pub(super) fn encode(&self, compression: Compression) -> Vec<u8> {
        let [head, length, bytes, sha256, end] = PIECES;
        let line = format!(
            "{head}{:>NUMBER$}{length}{:>NUMBER$}{bytes}{:>NUMBER$}{sha256}{}{end}",
            self.index_offset, self.index_length, self.index_bytes, self.index_sha256
        );
        let (front, back) = frame(compression, line.as_bytes());
        [&front, line.as_bytes(), &back].concat()
    }

    /// Reads stored bytes; none unless [`encode`](Self::encode) would write exactly these.
    pub(super) fn decode(stored: &[u8], compression: Compression) -> Option<Self> {
        let front = frame(compression, &[]).0.len();
        let mut line = stored.get(front..front + LINE)?;
        let mut numbers = [0; 3];
        for (piece, number) in PIECES.iter().zip(&mut numbers) {
            line = line.strip_prefix(piece.as_bytes())?;
            let (digits, rest) = line.split_at_checked(NUMBER)?;
            *number = std::str::from_utf8(digits).ok()?.trim_start_matches(' ').parse().ok()?;
            line = rest;
        }
        let sha256 = line.strip_prefix(PIECES[3].as_bytes())?.strip_suffix(PIECES[4].as_bytes())?;
        let index_sha256 = std::str::from_utf8(sha256).ok().filter(|hex| is_sha256_hex(hex))?.to_owned();
        let [index_offset, index_length, index_bytes] = numbers;
        let trailer = Trailer { index_offset, index_length, index_bytes, index_sha256 };
        (trailer.encode(compression) == stored).then_some(trailer)
    }

    /// Whether the last bytes of `source` are a trailer of which less than half is damaged.
    pub(super) fn is_damaged(source: &Source, compression: Compression) -> Result<bool, ArchiveError> {
        let length = Self::stored_length(compression);
        let Some(offset) = source.size().checked_sub(length) else { return Ok(false) };
        let stored = source.read_at(offset, length)?;
        let mut at = frame(compression, &[]).0.len();
        let mut whole = 0;
        for (piece, gap) in PIECES.iter().zip([NUMBER, NUMBER, NUMBER, super::checksum::HEX_LENGTH, 0]) {
            whole += usize::from(stored[at..].starts_with(piece.as_bytes()));
            at += piece.len() + gap;
        }
        Ok(whole > PIECES.len() / 2)
    }

    /// Reads the trailer at the end of `source`; none when there is none.
    pub(super) fn read(source: &Source, compression: Compression) -> Result<Option<Self>, ArchiveError> {
        let length = Self::stored_length(compression);
        let Some(offset) = source.size().checked_sub(length) else { return Ok(None) };
        Ok(Self::decode(&source.read_at(offset, length)?, compression))
    }
}

/// The bytes before and after `line` that make it a gzip member, a zstd frame or a plain line of length [`LINE`].
fn frame(compression: Compression, line: &[u8]) -> (Vec<u8>, Vec<u8>) {
    const SIZE: [u8; 2] = (LINE as u16).to_le_bytes();
    match compression {
        Compression::None => (Vec::new(), Vec::new()),
        Compression::Gzip(_) => {
            // RFC 1952: magic, deflate, no flags, no time, no hint, unknown system. RFC 1951, 3.2.4: last block,
            // stored, length and its complement.
            let front = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1, SIZE[0], SIZE[1], !SIZE[0], !SIZE[1]];
            let back = [libdeflater::crc32(line).to_le_bytes(), (LINE as u32).to_le_bytes()].concat();
            (front.to_vec(), back)
        }
        Compression::Zstd(_) => {
            // RFC 8878: magic, single segment with its size in one byte, then the last block, raw, with its size in
            // the upper 21 of 24 bits.
            let block = ((LINE as u32) << 3 | 1).to_le_bytes();
            let front = [0x28, 0xb5, 0x2f, 0xfd, 0x20, SIZE[0], block[0], block[1], block[2]];
            (front.to_vec(), Vec::new())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::io::Read;

    use super::*;
    use crate::archive::checksum::sha256_hex;
    use crate::archive::decompression::stream;

    const ALL: [Compression; 3] = [Compression::Gzip(2), Compression::Zstd(1), Compression::None];

    fn example() -> Trailer {
        Trailer {
            index_offset: 12345,
            index_length: 678,
            index_bytes: u64::MAX,
            index_sha256: sha256_hex(b""),
        }
    }

    #[test]
    fn a_trailer_reads_back_and_is_json_for_everybody() {
        for compression in ALL {
            let stored = example().encode(compression);
            assert_eq!(stored.len() as u64, Trailer::stored_length(compression));
            assert_eq!(Trailer::decode(&stored, compression), Some(example()));
            let mut line = String::new();
            stream(compression, &stored[..]).unwrap().read_to_string(&mut line).unwrap();
            let json: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(json["index_offset"], 12345);
            assert_eq!(json["index_bytes"], u64::MAX);
        }
    }

    #[test]
    fn a_flipped_bit_is_seen_or_changes_a_value() {
        for compression in ALL {
            let stored = example().encode(compression);
            for bit in 0..stored.len() * 8 {
                let mut flipped = stored.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let read = Trailer::decode(&flipped, compression);
                // Where no CRC covers it a digit may become another digit: then the trailer says something else,
                // and no index is as it says.
                assert!(read.is_none() || !matches!(compression, Compression::Gzip(_)));
                assert_ne!(read, Some(example()));
            }
        }
    }
}
