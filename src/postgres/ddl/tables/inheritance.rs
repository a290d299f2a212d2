//! What a child says itself of its columns, and what comes from its parents.
//!
//! A partition is made as a table of its own and attached later, so it says everything. A child made with `INHERITS`
//! must not say what it only inherits (it would then be its own), and must say where it differs.

use std::collections::HashMap;

use super::catalog::{Column, Table};

/// What is to be said of one column.
pub struct Say {
    /// Its name and type: that it is there at all.
    pub column: bool,
    /// `NOT NULL`, with the quoted name of the constraint unless that is what the server would choose.
    pub not_null: Option<NotNull>,
    /// The default or generation expression, if it has one.
    pub default: bool,
    /// That it has no default, for its parents have one.
    pub default_null: bool,
}

/// How `NOT NULL` is said.
pub struct NotNull {
    pub name: Option<String>,
    pub no_inherit: bool,
}

/// What all tables' columns are to say, in the tables' and columns' order.
pub fn decide(tables: &[Table], since_18: bool) -> Vec<Vec<Say>> {
    let position: HashMap<u32, usize> = tables.iter().enumerate().map(|(i, t)| (t.oid, i)).collect();
    tables
        .iter()
        .map(|table| {
            let parents: Vec<&Table> =
                table.parents.iter().filter_map(|p| position.get(p).map(|&at| &tables[at])).collect();
            table.columns.iter().map(|column| say(table, column, &parents, since_18)).collect()
        })
        .collect()
}

fn say(table: &Table, column: &Column, parents: &[&Table], since_18: bool) -> Say {
    let above: Vec<&Column> =
        parents.iter().filter_map(|p| p.columns.iter().find(|c| c.name == column.name)).collect();
    let expression = column.default.as_ref().map(|d| d.expression.as_str());
    let generated_alike =
        |c: &&Column| expression.is_some() && c.default.as_ref().map(|d| d.expression.as_str()) == expression;
    let mut generated_above = above.iter().filter(|c| c.generated != ' ').peekable();
    let inherits_expression =
        !table.is_partition && generated_above.peek().is_some() && generated_above.all(generated_alike);
    // A partition is attached when its columns stand, and keeps what it has.
    let default_above = !table.is_partition
        && above
            .iter()
            .any(|c| c.generated == ' ' && c.default.as_ref().is_some_and(|d| d.expression != "NULL"));
    Say {
        column: column.is_local || table.is_partition,
        not_null: not_null(table, column, &above, since_18),
        default: column.default.is_some() && !inherits_expression,
        default_null: column.default.is_none() && default_above,
    }
}

fn not_null(table: &Table, column: &Column, above: &[&Column], since_18: bool) -> Option<NotNull> {
    if !since_18 {
        let inherited = above.iter().any(|c| c.marked_not_null) && !table.is_partition;
        return (column.marked_not_null && !inherited).then_some(NotNull { name: None, no_inherit: false });
    }
    let constraint = column.not_null.as_ref().filter(|c| c.is_valid)?;
    // What is valid here and not yet above does not come from there.
    let valid_above = above.iter().any(|c| c.not_null.as_ref().is_some_and(|n| n.is_valid));
    if !(constraint.is_local || table.is_partition || !valid_above) {
        return None;
    }
    let usual = constraint.name == format!("{}_{}_not_null", table.name, column.name);
    Some(NotNull { name: (!usual).then(|| constraint.quoted.clone()), no_inherit: constraint.no_inherit })
}
