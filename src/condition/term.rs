//! What is compared in a condition: of each row a value, or NULL.

use std::borrow::Cow;

use super::kind::{Kind, Sense};
use super::value::{self, Value};
use super::{BadRow, Node};
use crate::row::{CellForm, text_of};

/// A column of the row.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Its place in the row.
    pub place: usize,
    /// How its values are written.
    pub form: CellForm,
}

/// One side of a comparison.
#[derive(Clone, Debug)]
pub enum Term {
    /// None: NULL.
    Constant(Option<Value<'static>>),
    Column(Cell, Kind, Sense),
    /// Whether something is true.
    Truth(Box<Node>),
}

impl Cell {
    /// As Postgres printed it; none: NULL.
    pub fn text<'a>(&self, cells: &[&'a [u8]]) -> Option<Cow<'a, [u8]>> {
        text_of(self.form, cells.get(self.place).copied().unwrap_or(b"null"))
    }

    pub fn bad(&self) -> BadRow {
        BadRow::Value(self.place + 1)
    }
}

impl Term {
    /// The value in a row; none: NULL.
    pub fn of<'a>(&'a self, cells: &[&'a [u8]]) -> Result<Option<Value<'a>>, BadRow> {
        match self {
            Term::Constant(value) => Ok(value.clone()),
            Term::Column(cell, kind, sense) => match cell.text(cells) {
                None => Ok(None),
                Some(text) => value::archived(kind, *sense, text).map(Some).ok_or_else(|| cell.bad()),
            },
            Term::Truth(node) => Ok(node.of(cells)?.map(Value::Boolean)),
        }
    }
}
