//! What a unit's COPY says: in which format, and how each column is asked for.
//!
//! In binary, where the server is spared the printing of what pgkeep can print itself, columns of other types are sent as
//! text by a call of their output function. That makes it a query, which costs more and which the server may not be able
//! to plan (see [`super::plannable`]): a small table with such a column is read in text, as is one whose output functions the
//! role may not call, and every database of encoding `SQL_ASCII`, whose texts are to come as they are.

use super::plan;
use crate::archive::model;
use crate::postgres::catalog::{Catalog, Relation};
use crate::postgres::copy::binary::{TupleEncoder, Wire};
use crate::postgres::{quote, settings};
use crate::row::CellForm;

/// The format of a COPY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyFormat {
    /// Every value as its output function prints it.
    Text,
    /// Values as the server holds them, where pgkeep can print them.
    #[default]
    Binary,
}

/// How the columns of a table part are asked for in binary.
#[derive(Clone, Debug)]
pub struct BinaryColumns {
    /// How each comes, and the output function that makes it so where it has to be called.
    columns: Vec<(Wire, Option<String>)>,
    version: u32,
}

impl BinaryColumns {
    /// Those of `relation` that are in its rows; none where the table can only be read in text.
    pub fn new(catalog: &Catalog, relation: &Relation) -> Option<BinaryColumns> {
        if catalog.server.encoding == "SQL_ASCII" {
            return None;
        }
        let columns = relation.columns.iter().filter(|c| !c.generated).map(|column| {
            match Wire::of_column(column.base_type, column.output) {
                Some(wire) => Some((wire, None)),
                None => Some((Wire::Text, Some(catalog.output_call(column)?.to_owned()))),
            }
        });
        Some(BinaryColumns { columns: columns.collect::<Option<_>>()?, version: catalog.server.version_num })
    }

    /// Columns that all come so.
    pub fn of(wires: &[Wire], version: u32) -> BinaryColumns {
        BinaryColumns { columns: wires.iter().map(|wire| (*wire, None)).collect(), version }
    }

    /// Leaves out those that are not flagged.
    pub(super) fn keep(&mut self, kept: &[bool]) {
        plan::keep(&mut self.columns, kept);
    }

    /// What translates their rows.
    pub fn encoder(&self, forms: &[CellForm]) -> TupleEncoder {
        let wires = self.columns.iter().map(|(wire, _)| *wire);
        TupleEncoder::new(wires.zip(forms.iter().copied()).collect(), self.version)
    }

    fn list(&self, columns: &[model::Column]) -> String {
        let list = columns.iter().zip(&self.columns).map(|(column, (_, call))| {
            let name = quote::ident(&column.name);
            call.as_ref().map_or(name.clone(), |call| format!("{call}({name})"))
        });
        list.collect::<Vec<_>>().join(", ")
    }

    /// Whether output functions are called for some.
    pub fn calls(&self) -> bool {
        self.columns.iter().any(|(_, call)| call.is_some())
    }
}

/// The COPY of `leaf` and its format. The condition follows the table's name; with tids, each row begins with its `ctid`.
/// Where neither is wanted, and no output function called, it is no query.
pub fn statement(
    columns: &[model::Column],
    binary: Option<&BinaryColumns>,
    leaf: &Relation,
    (condition, has_tids): (&str, bool),
    encoding: &str,
) -> (String, CopyFormat) {
    let plain = quote::ident_list(columns.iter().map(|c| c.name.as_str()));
    let table = leaf.quoted();
    let (format, options) = match binary {
        Some(_) => (CopyFormat::Binary, " (FORMAT binary)"),
        None => (CopyFormat::Text, settings::copy_options(encoding)),
    };
    let is_query = !condition.is_empty() || has_tids || binary.is_some_and(BinaryColumns::calls);
    let source = if is_query {
        let list = binary.map_or(plain, |binary| binary.list(columns));
        let tid = match (has_tids, columns.is_empty()) {
            (true, true) => "ctid",
            (true, false) => "ctid, ",
            (false, _) => "",
        };
        format!("(SELECT {tid}{list} FROM ONLY {table}{condition})")
    } else if columns.is_empty() {
        table
    } else {
        format!("{table} ({plain})")
    };
    (format!("COPY {source} TO STDOUT{options}"), format)
}
