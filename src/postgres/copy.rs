//! COPY rows ⇄ JSON row lines, byte for byte and without loss.
//!
//! The COPY text format is that of the manual's COPY page, section "Text Format", with tab as delimiter and `\N`
//! as NULL. Encoding and then decoding a row that `COPY … TO` printed gives the same bytes back: this is what
//! the archive's promise of losing nothing rests on. Neither direction knows a server, keeps state between rows
//! or allocates for ordinary cells; both are pure.

pub mod binary;
mod decode;
mod encode;
pub mod pack;

use thiserror::Error;

use crate::row::{CellForm, RowError};

pub use decode::RowDecoder;
pub use encode::RowEncoder;

impl CellForm {
    /// The form of a column whose type, or whose domain's base type, has this OID. OIDs of built-in types are the
    /// same on every server (`pg_type.dat`).
    pub fn of_type(base_type_oid: u32) -> CellForm {
        match base_type_oid {
            // bool
            16 => CellForm::Boolean,
            // int8, int2, int4, oid, float4, float8
            20 | 21 | 23 | 26 | 700 | 701 => CellForm::Number,
            // jsonb; not json, whose own white space and order of keys must come back
            3802 => CellForm::Json,
            _ => CellForm::Text,
        }
    }
}

/// Why a row cannot be translated. Holds no value of the row.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CopyError {
    /// The row line is not what it must be.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The COPY row, or the value of a cell, is not what Postgres can have printed.
    #[error("column {column}, byte {position}: {problem}")]
    Cell {
        /// The column, counted from 1.
        column: usize,
        /// The byte in the row, counted from 0.
        position: usize,
        /// What is wrong there.
        problem: CopyProblem,
    },
}

/// What can be wrong with a COPY row or with the value of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CopyProblem {
    /// A NUL character, which Postgres cannot hold in a text.
    #[error("a NUL character")]
    Nul,
    /// Nothing follows a backslash.
    #[error("the row ends in a backslash")]
    Backslash,
    /// The row ends before this column.
    #[error("the row ends before this column")]
    Missing,
    /// The row goes on after the last column.
    #[error("the row goes on after the last column")]
    Extra,
    /// A binary value that its type does not have.
    #[error("not the binary form of the column's type")]
    Malformed,
    /// An array or object for a column that is not `jsonb`.
    #[error("an array or object where a text must stand")]
    Nested,
}

/// Whether the cell ends at `at`.
#[inline]
fn ends(row: &[u8], at: usize) -> bool {
    matches!(row.get(at), None | Some(b'\t'))
}
