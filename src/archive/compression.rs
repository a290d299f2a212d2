//! How chunks are compressed: the choice, its spelling on a command line, and the compressor that a worker keeps.
//!
//! Every chunk is compressed by itself, and the same bytes give the same chunk: no time stamp, no name, no state
//! carried from one chunk to the next.

use std::fmt;
use std::io;
use std::str::FromStr;

/// Level for `gzip` without one, of libdeflate's 1 to 12.
pub const DEFAULT_GZIP_LEVEL: u32 = 2;
/// Level for `zstd` without one: on row data, levels 2 and 3 are slower and give larger files than 1.
pub const DEFAULT_ZSTD_LEVEL: i32 = 1;

const GZIP_LEVELS: std::ops::RangeInclusive<u32> = 1..=12;
/// Negative levels exist, but save no time here and lose much space.
const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = 1..=22;

/// How the chunks of an archive are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Gzip members at a libdeflate level, 1 to 12. Every machine can read them.
    Gzip(u32),
    /// Zstandard frames at a level, 1 to 22.
    Zstd(i32),
    /// Plain lines.
    None,
}

impl Default for Compression {
    fn default() -> Self {
        Compression::Gzip(DEFAULT_GZIP_LEVEL)
    }
}

impl Compression {
    /// The ending of a file name, without the first dot.
    pub fn extension(self) -> &'static str {
        match self {
            Compression::Gzip(_) => "json.gz",
            Compression::Zstd(_) => "json.zst",
            Compression::None => "json",
        }
    }

    /// The compression of a file that begins with `first` (four bytes are enough); the level is the default one,
    /// for a file does not tell it.
    pub fn detect(first: &[u8]) -> Option<Self> {
        match first {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip(DEFAULT_GZIP_LEVEL)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd(DEFAULT_ZSTD_LEVEL)),
            [b'{', ..] => Some(Compression::None),
            _ => None,
        }
    }

    /// The name without the level: `gzip`, `zstd` or `none`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::Gzip(_) => "gzip",
            Compression::Zstd(_) => "zstd",
            Compression::None => "none",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::Gzip(level) => write!(f, "gzip:{level}"),
            Compression::Zstd(level) => write!(f, "zstd:{level}"),
            Compression::None => f.write_str("none"),
        }
    }
}

/// A spelling of [`Compression`] that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// No such method.
    #[error("unknown compression {0:?}: use gzip, zstd or none, or one with a level such as gzip:6")]
    Unknown(String),
    /// No such level.
    #[error("{method} has no level {level:?}: use {lowest} to {highest}")]
    Level {
        /// `gzip` or `zstd`.
        method: &'static str,
        /// What was given.
        level: String,
        /// The first level there is.
        lowest: i32,
        /// The last level there is.
        highest: i32,
    },
    /// `none` takes no level.
    #[error("compression none has no levels")]
    NoLevels,
}

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (method, level) = match text.split_once(':') {
            Some((method, level)) => (method, Some(level)),
            None => (text, None),
        };
        match (method, level) {
            ("gzip", None) => Ok(Compression::Gzip(DEFAULT_GZIP_LEVEL)),
            ("zstd", None) => Ok(Compression::Zstd(DEFAULT_ZSTD_LEVEL)),
            ("none", None) => Ok(Compression::None),
            ("none", Some(_)) => Err(CompressionError::NoLevels),
            ("gzip", Some(level)) => {
                let known = level.parse().ok().filter(|level| GZIP_LEVELS.contains(level));
                known.map(Compression::Gzip).ok_or_else(|| CompressionError::Level {
                    method: "gzip",
                    level: level.to_owned(),
                    lowest: *GZIP_LEVELS.start() as i32,
                    highest: *GZIP_LEVELS.end() as i32,
                })
            }
            ("zstd", Some(level)) => {
                let known = level.parse().ok().filter(|level| ZSTD_LEVELS.contains(level));
                known.map(Compression::Zstd).ok_or_else(|| CompressionError::Level {
                    method: "zstd",
                    level: level.to_owned(),
                    lowest: *ZSTD_LEVELS.start(),
                    highest: *ZSTD_LEVELS.end(),
                })
            }
            _ => Err(CompressionError::Unknown(text.to_owned())),
        }
    }
}

/// Compresses whole chunks, one after the other; a worker keeps one, for making one costs more than a small chunk.
pub struct Compressor {
    method: Method,
    /// Grows to the bound of the largest chunk, and is used again.
    scratch: Vec<u8>,
}

enum Method {
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
    None,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    /// A compressor for `compression`; fails for a level that does not exist.
    pub fn new(compression: Compression) -> io::Result<Self> {
        let method = match compression {
            Compression::Gzip(level) => {
                let known =
                    i32::try_from(level).ok().and_then(|level| libdeflater::CompressionLvl::new(level).ok());
                let level = known.ok_or_else(|| io::Error::other(format!("gzip has no level {level}")))?;
                Method::Gzip(libdeflater::Compressor::new(level))
            }
            Compression::Zstd(level) => {
                let mut compressor = zstd::bulk::Compressor::new(level)?;
                // The index proves chunks by itself; this one is for `zstd -t` on a machine without pgkeep.
                compressor.include_checksum(true)?;
                Method::Zstd(compressor)
            }
            Compression::None => Method::None,
        };
        Ok(Compressor { method, scratch: Vec::new() })
    }

    /// One gzip member, zstd frame or plain copy that holds `raw`.
    pub fn compress(&mut self, raw: &[u8]) -> io::Result<Vec<u8>> {
        let bound = match &mut self.method {
            Method::None => return Ok(raw.to_vec()),
            Method::Gzip(compressor) => compressor.gzip_compress_bound(raw.len()),
            Method::Zstd(_) => zstd::zstd_safe::compress_bound(raw.len()),
        };
        if self.scratch.len() < bound {
            self.scratch.resize(bound, 0);
        }
        let length = match &mut self.method {
            Method::None => 0,
            Method::Gzip(compressor) => compressor
                .gzip_compress(raw, &mut self.scratch[..bound])
                .map_err(|error| io::Error::other(error.to_string()))?,
            Method::Zstd(compressor) => compressor.compress_to_buffer(raw, &mut self.scratch[..bound])?,
        };
        let stored = self.scratch[..length].to_vec();
        if self.scratch.len() > MOST_SCRATCH {
            self.scratch = Vec::new();
        }
        Ok(stored)
    }
}

/// Beyond this the scratch buffer is given back: it was for one huge row.
const MOST_SCRATCH: usize = 32 << 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn spellings_are_read() {
        assert_eq!("gzip".parse(), Ok(Compression::Gzip(DEFAULT_GZIP_LEVEL)));
        assert_eq!("gzip:9".parse(), Ok(Compression::Gzip(9)));
        assert_eq!("zstd".parse(), Ok(Compression::Zstd(1)));
        assert_eq!("zstd:19".parse(), Ok(Compression::Zstd(19)));
        assert_eq!("none".parse(), Ok(Compression::None));
        assert_eq!(Compression::Gzip(9).to_string(), "gzip:9");
    }

    #[test]
    fn a_wrong_spelling_says_what_is_right() {
        let error = |text: &str| text.parse::<Compression>().unwrap_err().to_string();
        assert_eq!(
            error("lz4"),
            "unknown compression \"lz4\": use gzip, zstd or none, or one with a level such as gzip:6"
        );
        assert_eq!(error("gzip:0"), "gzip has no level \"0\": use 1 to 12");
        assert_eq!(error("gzip:"), "gzip has no level \"\": use 1 to 12");
        assert_eq!(error("zstd:-1"), "zstd has no level \"-1\": use 1 to 22");
        assert_eq!(error("none:1"), "compression none has no levels");
        assert!(error("").starts_with("unknown compression"));
    }

    #[test]
    fn the_same_bytes_give_the_same_chunk_whatever_came_before() {
        let raw = b"[1,\"one\"]\n[2,\"two\"]\n".repeat(100);
        for compression in [Compression::Gzip(2), Compression::Zstd(1), Compression::None] {
            let mut fresh = Compressor::new(compression).unwrap();
            let mut used = Compressor::new(compression).unwrap();
            used.compress(b"something else altogether").unwrap();
            assert_eq!(fresh.compress(&raw).unwrap(), used.compress(&raw).unwrap());
        }
    }

    #[test]
    fn a_gzip_member_holds_no_time_and_no_name() {
        let stored = Compressor::new(Compression::default()).unwrap().compress(b"[]\n").unwrap();
        assert_eq!(stored[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_first_bytes_tell_the_compression() {
        for compression in [Compression::Gzip(2), Compression::Zstd(1), Compression::None] {
            let stored =
                Compressor::new(compression).unwrap().compress(b"{\"format\":\"pgkeep\"}\n").unwrap();
            assert_eq!(Compression::detect(&stored).map(Compression::name), Some(compression.name()));
        }
        assert_eq!(Compression::detect(b"PGDMP"), None);
        assert_eq!(Compression::detect(b""), None);
    }
}
