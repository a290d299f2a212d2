//! The reader meets some thousand archives that a seeded generator spoiled: no panic, and nothing that is spoiled is
//! taken for whole. The fuzz target `archive_reader` goes on where this ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archives;

use std::io::Read;

use archives::{ALL, Parts, check, sample};
use pgkeep::archive::compression::Compression;

const SEED: u64 = 0x7067_6b65_6570;

/// xorshift64*: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Spoils `bytes` in one of the ways that disks, networks and people know.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let length = self.below(40).min(bytes.len() - at);
        match self.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at..at + length].fill(0),
            2 => drop(bytes.drain(at..at + length)),
            3 => bytes.truncate(at),
            4 => {
                let copy = bytes[at..at + length].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            5 => {
                const TOKENS: [&[u8]; 12] = [
                    b"-1",
                    b"18446744073709551616",
                    b"null",
                    b"{",
                    b"]",
                    b"\"",
                    b"\\u0000",
                    b"\n",
                    b"9",
                    b"1e999",
                    b"\xff",
                    b",",
                ];
                bytes.splice(at..at, TOKENS[self.below(TOKENS.len())].to_vec());
            }
            _ => {
                // A number becomes another one.
                let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    bytes[digits[self.below(digits.len())]] = b'0' + self.below(10) as u8;
                }
            }
        }
    }
}

#[test]
fn spoiled_bytes_are_never_taken_for_whole() {
    let mut random = Random(SEED);
    for compression in ALL {
        let whole = sample(compression);
        for round in 0..2000 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(3) {
                random.spoil(&mut bytes);
            }
            let valid = check(&bytes).is_ok_and(|report| report.is_valid());
            assert!(!valid || bytes == whole, "{compression}, round {round}");
        }
    }
}

#[test]
fn spoiled_contents_with_right_checksums_never_panic() {
    let mut random = Random(SEED);
    let (mut valid, mut invalid) = (0, 0);
    for compression in ALL {
        let whole = Parts::of(&sample(compression));
        for round in 0..1500 {
            let mut parts = whole.clone();
            let number = random.below(parts.chunks.len());
            let bytes = if round % 3 == 0 {
                let mut index = parts.index();
                random.spoil(&mut index);
                parts.assemble_with(&archives::Compress::compress(compression, &index), index.len() as u64)
            } else {
                let mut raw = decompress(compression, &parts.chunks[number].1);
                random.spoil(&mut raw);
                parts.set_raw(number, &raw);
                parts.describe();
                parts.assemble()
            };
            if check(&bytes).is_ok_and(|report| report.is_valid()) { valid += 1 } else { invalid += 1 }
        }
    }
    // Both happen: a digit of a cell may well be another one, a bracket not.
    assert!(valid > 100 && invalid > 1000, "{valid} valid, {invalid} invalid");
}

fn decompress(compression: Compression, stored: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    match compression {
        Compression::Gzip(_) => flate2::read::GzDecoder::new(stored).read_to_end(&mut raw).unwrap(),
        Compression::Zstd(_) => {
            zstd::stream::read::Decoder::new(stored).unwrap().read_to_end(&mut raw).unwrap()
        }
        Compression::None => return stored.to_vec(),
    };
    raw
}
