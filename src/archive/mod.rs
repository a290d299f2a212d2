//! Everything that knows the archive file, and nothing that knows Postgres, a network or a clock.
//!
//! The format is described byte by byte in `docs/format.md`. An archive is written front to back by a
//! [`writer::ArchiveWriter`] into a [`file::AtomicFile`] or a pipe, opened by [`reader::Archive`], and proven by
//! [`validate::validate`].

pub mod checksum;
pub mod compression;
pub mod decompression;
pub mod error;
pub mod file;
mod foreign;
pub mod in_order;
mod index;
pub mod lookup;
pub mod model;
pub mod reader;
pub mod source;
pub mod spans;
pub mod spelling;
mod structure;
mod trailer;
pub mod validate;
mod walk;
pub mod writer;

pub use error::{ArchiveError, Damage, Part};
pub use reader::Archive;
pub use structure::{MOST_CHUNK_BYTES, MOST_HEADER_BYTES, MOST_ROW_BYTES};
