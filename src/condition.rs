//! Conditions on rows, as they stand behind WHERE, evaluated on archived rows without a server.
//!
//! A condition is either evaluated exactly as Postgres would under pgkeep's settings (ISO dates, UTC), or refused before any
//! row is read, with what is not understood in it: there is no third way. So whatever depends on a collation, on functions or
//! operators of the database's, or on a type that is not known here is refused. Types are known by the names that
//! `format_type` gives them; enums and domains by the definitions in the archive.
//!
//! The collation of a column is not in an archive. Texts are equal if their bytes are, as they are to every deterministic
//! collation; where the archive defines one that is not, texts are compared under COLLATE "C" alone.

mod build;
mod kind;
mod like;
mod moment;
mod syntax;
mod term;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;

use self::kind::Types;
use self::like::Pattern;
use self::term::{Cell, Term};
use self::value::Value;
use crate::archive::model::{Header, Table};
use crate::failure::Failure;
use crate::row::{Cells, RowError};

/// A condition on the rows of one archived table.
#[derive(Clone, Debug)]
pub struct Condition {
    root: Node,
}

/// Why a condition cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    /// No server would take it, or not for this table.
    Wrong(String),
    /// A server may evaluate it; here it is not understood.
    Beyond(String),
}

/// Why a row cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRow {
    /// It is no row.
    Row(RowError),
    /// The cell of a column, counted from 1, is no value of the column's type.
    Value(usize),
}

/// A piece of a condition: true, false or unknown of each row.
#[derive(Clone, Debug)]
enum Node {
    /// The same of all rows.
    Known(Option<bool>),
    /// A boolean column.
    Column(Cell),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    IsNull(Cell),
    /// IS TRUE, IS FALSE, IS UNKNOWN.
    Is(Box<Node>, Option<bool>),
    Compare(Term, Relation, Term),
    /// IS DISTINCT FROM.
    Distinct(Term, Term),
    /// Whether it is one of these, in ascending order; and whether NULL was among them.
    Among(Term, Vec<Value<'static>>, bool),
    Like(Cell, Pattern),
}

/// How two values are to be related.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Condition {
    /// Reads a condition on the rows of `table`, an archived one, in which those columns may be named that `is_taken` says.
    pub fn new(
        text: &str,
        header: &Header,
        table: &Table,
        is_taken: impl Fn(&str) -> bool,
    ) -> Result<Condition, Failure> {
        let refused = |refusal: Refusal| refusal.failure(table);
        let expression = syntax::parse(text).map_err(refused)?;
        let types = Types::of(header);
        let builder = build::Builder { table, types, is_taken: &is_taken };
        Ok(Condition { root: builder.condition(&expression).map_err(refused)? })
    }

    /// Whether a row line meets it: unknown is no.
    pub fn holds(&self, line: &[u8]) -> Result<bool, BadRow> {
        let cells: Vec<&[u8]> = Cells::new(line).collect::<Result<_, _>>().map_err(BadRow::Row)?;
        Ok(self.root.of(&cells)? == Some(true))
    }
}

impl Refusal {
    fn failure(self, table: &Table) -> Failure {
        let of = format!("the condition on rows of {} cannot be used", table.shown());
        match self {
            Refusal::Wrong(what) => Failure::usage(format!("{of}: {what}"))
                .next("write --where 'TABLE: CONDITION', the condition as it would stand behind WHERE; quote it from the shell"),
            Refusal::Beyond(what) => Failure::usage(format!("{of} without a server: {what}")).next(
                "compare with a database, which evaluates any condition: pgkeep diff FILE live --where …; or restore into a schema of its own, \
                 --into-schema look --where …, and query that",
            ),
        }
    }
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadRow::Row(error) => error.fmt(f),
            BadRow::Value(column) => write!(f, "column {column}: not a value of its type"),
        }
    }
}

impl Node {
    /// None: unknown.
    fn of(&self, cells: &[&[u8]]) -> Result<Option<bool>, BadRow> {
        Ok(match self {
            Node::Known(known) => *known,
            Node::Column(cell) => match cell.text(cells) {
                None => None,
                Some(text) => Some(value::boolean(&text).ok_or_else(|| cell.bad())?),
            },
            Node::Not(inner) => inner.of(cells)?.map(|truth| !truth),
            Node::All(nodes) => first(nodes, cells, false)?,
            Node::Any(nodes) => first(nodes, cells, true)?,
            Node::IsNull(cell) => Some(cell.text(cells).is_none()),
            Node::Is(inner, wanted) => Some(inner.of(cells)? == *wanted),
            Node::Compare(one, relation, other) => match (one.of(cells)?, other.of(cells)?) {
                (Some(one), Some(other)) => Some(relation.holds(one.cmp(&other))),
                _ => None,
            },
            Node::Distinct(one, other) => Some(one.of(cells)? != other.of(cells)?),
            Node::Among(term, list, has_null) => match term.of(cells)? {
                None => None,
                Some(value) if list.binary_search(&value).is_ok() => Some(true),
                Some(_) if *has_null => None,
                Some(_) => Some(false),
            },
            Node::Like(cell, pattern) => cell.text(cells).map(|text| pattern.matches(&text)),
        })
    }
}

/// What decides about several: the first that is `decisive`; else unknown if one of them is.
fn first(nodes: &[Node], cells: &[&[u8]], decisive: bool) -> Result<Option<bool>, BadRow> {
    let mut rest = Some(!decisive);
    for node in nodes {
        match node.of(cells)? {
            Some(truth) if truth == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => rest = None,
        }
    }
    Ok(rest)
}

impl Relation {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Relation::Equal => order.is_eq(),
            Relation::Unequal => order.is_ne(),
            Relation::Less => order.is_lt(),
            Relation::LessOrEqual => order.is_le(),
            Relation::Greater => order.is_gt(),
            Relation::GreaterOrEqual => order.is_ge(),
        }
    }

    /// Whether it asks for no more than whether they are the same.
    fn is_of_equality(self) -> bool {
        matches!(self, Relation::Equal | Relation::Unequal)
    }
}
