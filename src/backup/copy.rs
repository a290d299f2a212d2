//! What a unit's COPY says: in which format, and how each column is asked for.
//!
//! In binary, where the server is spared the printing of what pgkeep can print itself, columns of other types are sent as
//! text by a call of their output function. That makes it a query, and a whole table is no query (see
//! [`super::ranges`]): such a table with such a column is read in text, as is one whose output functions the role may not
//! call, and every database of encoding `SQL_ASCII`, whose texts are to come as they are.

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

    fn calls(&self) -> bool {
        self.columns.iter().any(|(_, call)| call.is_some())
    }
}

/// The COPY of `leaf` and its format. `condition` follows the table's name; without one it is no query.
pub fn statement(
    columns: &[model::Column],
    binary: Option<&BinaryColumns>,
    leaf: &Relation,
    condition: &str,
    encoding: &str,
) -> (String, CopyFormat) {
    let plain = quote::ident_list(columns.iter().map(|c| c.name.as_str()));
    let table = leaf.quoted();
    if condition.is_empty() {
        let list = if columns.is_empty() { String::new() } else { format!(" ({plain})") };
        return match binary.filter(|binary| !binary.calls()) {
            Some(_) => (format!("COPY {table}{list} TO STDOUT (FORMAT binary)"), CopyFormat::Binary),
            None => {
                let options = settings::copy_options(encoding);
                (format!("COPY {table}{list} TO STDOUT{options}"), CopyFormat::Text)
            }
        };
    }
    match binary {
        Some(binary) => {
            let list = binary.list(columns);
            let query = format!("SELECT {list} FROM ONLY {table}{condition}");
            (format!("COPY ({query}) TO STDOUT (FORMAT binary)"), CopyFormat::Binary)
        }
        None => {
            let options = settings::copy_options(encoding);
            let query = format!("SELECT {plain} FROM ONLY {table}{condition}");
            (format!("COPY ({query}) TO STDOUT{options}"), CopyFormat::Text)
        }
    }
}
