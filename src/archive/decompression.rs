//! Decompresses chunks whose size is known, and the beginnings of files of which nothing is known.
//!
//! Sizes come from a file that may be hostile: memory is never taken for more than [`TRUSTED_BYTES`] on a mere
//! claim; beyond it grows with the data that really arrives, and stops at the claim.

use std::fmt;
use std::io::{self, BufRead, Read};

use super::compression::Compression;

/// A claimed size up to this is allocated at once; larger ones are grown into.
pub const TRUSTED_BYTES: u64 = 16 << 20;

/// Length of the gzip member header that pgkeep writes: no optional field.
const GZIP_HEADER: usize = 10;
/// CRC-32 and length modulo 2^32 at the end of a gzip member.
const GZIP_FOOTER: usize = 8;

/// Why stored bytes do not decompress to what was declared.
#[derive(Debug, thiserror::Error)]
pub enum DecompressionError {
    /// They are not what the compression writes.
    #[error("it cannot be decompressed")]
    Corrupt,
    /// They hold more than was declared.
    #[error("it decompresses to more than the declared {0} bytes")]
    Longer(u64),
    /// They hold less than was declared.
    #[error("it decompresses to {actual} bytes and not to the declared {declared}")]
    Shorter {
        /// Bytes that came out.
        actual: u64,
        /// Bytes that were declared.
        declared: u64,
    },
    /// This machine has not that much memory.
    #[error("there is not enough memory to decompress {0} bytes")]
    Memory(u64),
}

/// Decompresses whole chunks of one compression, one after the other; a worker keeps one.
pub struct Decompressor(Method);

enum Method {
    Gzip(libdeflater::Decompressor),
    Zstd(zstd::bulk::Decompressor<'static>),
    None,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Decompressor {
    /// A decompressor for `compression`, of any level.
    pub fn new(compression: Compression) -> io::Result<Self> {
        Ok(Decompressor(match compression {
            Compression::Gzip(_) => Method::Gzip(libdeflater::Decompressor::new()),
            Compression::Zstd(_) => Method::Zstd(zstd::bulk::Decompressor::new()?),
            Compression::None => Method::None,
        }))
    }

    /// The `bytes` bytes that `stored` holds, or an error when it holds more, fewer or none.
    pub fn decompress(&mut self, stored: Vec<u8>, bytes: u64) -> Result<Vec<u8>, DecompressionError> {
        if let Method::None = self.0 {
            exact(stored.len() as u64, bytes)?;
            return Ok(stored);
        }
        if bytes > TRUSTED_BYTES {
            return self.grow(&stored, bytes);
        }
        let mut out = Vec::new();
        let size = usize::try_from(bytes).map_err(|_| DecompressionError::Memory(bytes))?;
        out.try_reserve_exact(size).map_err(|_| DecompressionError::Memory(bytes))?;
        match &mut self.0 {
            Method::None => {}
            Method::Gzip(decompressor) => {
                let (deflated, crc) = gzip_body(&stored, bytes)?;
                out.resize(size, 0);
                let actual =
                    decompressor.deflate_decompress(deflated, &mut out).map_err(|error| match error {
                        libdeflater::DecompressionError::BadData => DecompressionError::Corrupt,
                        libdeflater::DecompressionError::InsufficientSpace => {
                            DecompressionError::Longer(bytes)
                        }
                    })?;
                exact(actual as u64, bytes)?;
                if libdeflater::crc32(&out) != crc {
                    return Err(DecompressionError::Corrupt);
                }
            }
            Method::Zstd(decompressor) => {
                let actual = decompressor.decompress_to_buffer(&stored, &mut out).map_err(|_| {
                    // The library's reasons are not told apart here, but this one is worth a word of its own.
                    match zstd::zstd_safe::get_frame_content_size(&stored) {
                        Ok(Some(actual)) if actual > bytes => DecompressionError::Longer(bytes),
                        _ => DecompressionError::Corrupt,
                    }
                })?;
                exact(actual as u64, bytes)?;
            }
        }
        Ok(out)
    }

    fn grow(&self, stored: &[u8], bytes: u64) -> Result<Vec<u8>, DecompressionError> {
        let mut rest = stored;
        let mut out = Vec::new();
        let compression = match self.0 {
            Method::Gzip(_) => {
                gzip_body(stored, bytes)?;
                Compression::Gzip(0)
            }
            Method::Zstd(_) => Compression::Zstd(0),
            Method::None => Compression::None,
        };
        let decoded = stream(compression, &mut rest)
            .and_then(|decoder| decoder.take(bytes.saturating_add(1)).read_to_end(&mut out));
        match decoded {
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                Err(DecompressionError::Memory(bytes))
            }
            Err(_) => Err(DecompressionError::Corrupt),
            Ok(_) => {
                exact(out.len() as u64, bytes)?;
                if rest.is_empty() { Ok(out) } else { Err(DecompressionError::Corrupt) }
            }
        }
    }
}

fn exact(actual: u64, declared: u64) -> Result<(), DecompressionError> {
    match actual.cmp(&declared) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(DecompressionError::Longer(declared)),
        std::cmp::Ordering::Less => Err(DecompressionError::Shorter { actual, declared }),
    }
}

/// The deflated data and the CRC-32 of a gzip member (RFC 1952) whose header is as pgkeep writes it and which says
/// that it holds `bytes` bytes.
fn gzip_body(stored: &[u8], bytes: u64) -> Result<(&[u8], u32), DecompressionError> {
    let body_end = stored.len().checked_sub(GZIP_FOOTER).ok_or(DecompressionError::Corrupt)?;
    let (front, footer) = stored.split_at(body_end);
    let deflated = match front {
        [0x1f, 0x8b, 8, 0, ..] => front.get(GZIP_HEADER..).ok_or(DecompressionError::Corrupt)?,
        _ => return Err(DecompressionError::Corrupt),
    };
    let (crc, size) = match *footer {
        [a, b, c, d, e, f, g, h] => (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])),
        _ => return Err(DecompressionError::Corrupt),
    };
    if u64::from(size) != bytes & u64::from(u32::MAX) {
        return Err(DecompressionError::Corrupt);
    }
    Ok((deflated, crc))
}

/// Reads the first member of `reader` decompressed. At its end `reader` stands right behind the member. A plain file
/// is one member.
pub(crate) fn stream<'a, R: BufRead + 'a>(
    compression: Compression,
    reader: R,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Gzip(_) => Box::new(flate2::bufread::GzDecoder::new(reader)),
        Compression::Zstd(_) => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?.single_frame()),
        Compression::None => Box::new(reader),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::archive::compression::Compressor;

    const ALL: [Compression; 3] = [Compression::Gzip(2), Compression::Zstd(1), Compression::None];

    fn decompress(
        compression: Compression,
        stored: &[u8],
        bytes: u64,
    ) -> Result<Vec<u8>, DecompressionError> {
        Decompressor::new(compression).unwrap().decompress(stored.to_vec(), bytes)
    }

    #[test]
    fn what_was_compressed_comes_back_when_its_size_is_right() {
        for compression in ALL {
            for raw in [&b""[..], b"{}\n", &b"[1,2,3]\n".repeat(100_000), &vec![b'x'; (17 << 20) + 1]] {
                let stored = Compressor::new(compression).unwrap().compress(raw).unwrap();
                assert_eq!(decompress(compression, &stored, raw.len() as u64).unwrap(), raw);
            }
        }
    }

    #[test]
    fn a_wrong_size_is_refused() {
        for compression in ALL {
            for length in [1000, (17 << 20) + 1] {
                let raw = vec![b'x'; length];
                let stored = Compressor::new(compression).unwrap().compress(&raw).unwrap();
                for wrong in [0, 1, length - 1, length + 1, 20 << 20, 1 << 40] {
                    decompress(compression, &stored, wrong as u64).unwrap_err();
                }
            }
        }
    }

    #[test]
    fn bytes_behind_a_member_are_refused() {
        for compression in ALL {
            for length in [1000, (17 << 20) + 1] {
                let raw = vec![b'x'; length];
                let mut stored = Compressor::new(compression).unwrap().compress(&raw).unwrap();
                stored.extend_from_slice(b"more");
                decompress(compression, &stored, raw.len() as u64).unwrap_err();
            }
        }
    }

    #[test]
    fn a_claim_of_exabytes_takes_no_memory() {
        for compression in ALL {
            let stored = Compressor::new(compression).unwrap().compress(b"[]\n").unwrap();
            decompress(compression, &stored, u64::MAX).unwrap_err();
        }
    }
}
