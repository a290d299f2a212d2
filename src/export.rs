//! Archives in forms that other programs read: a script for psql, and CSV. Nobody is locked in.
//!
//! Each chunk is proven as it is read, so that what comes out is what was written into the archive, or an error. Memory
//! is bounded by a few chunks, whatever the size of the archive.

pub mod csv;
mod large_objects;
mod rows;
pub mod script;

use std::io;

use crate::failure::Failure;

/// Why an export ended before its end.
#[derive(Debug)]
pub enum ExportError {
    /// What it is written to takes no more.
    Write(io::Error),
    /// Anything else.
    Failure(Failure),
}

impl From<io::Error> for ExportError {
    fn from(error: io::Error) -> ExportError {
        ExportError::Write(error)
    }
}

impl From<Failure> for ExportError {
    fn from(failure: Failure) -> ExportError {
        ExportError::Failure(failure)
    }
}

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Objects of the schema.
    pub objects: u64,
    /// Tables of which there were rows.
    pub tables: u64,
    /// Rows.
    pub rows: u64,
}
