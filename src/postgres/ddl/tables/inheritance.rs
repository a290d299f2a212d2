//! What a child says itself of its columns, and what comes from its parents.
//!
//! A partition is made as a table of its own and attached later, so it says everything. A child made with `INHERITS`
//! must not say what it only inherits (it would then be its own), and must say where it differs.

use std::collections::HashMap;

use super::catalog::{Column, Constraint, Table};

/// What is to be said of one column.
pub struct Say {
    /// Its name and type: that it is there at all.
    pub column: bool,
    /// `NOT NULL`, with the quoted name of the constraint unless that is what the server would choose.
    pub not_null: Option<NotNull>,
    /// That it may hold nulls, for its parents' may not (before 18).
    pub null: bool,
    /// Whether its not-null constraint is found by its name when the table is made, said or inherited.
    pub not_null_by_name: bool,
    /// The default or generation expression, if it has one.
    pub default: bool,
    /// That it has no default, for its parents have one.
    pub default_null: bool,
    /// Its storage and its compression even where they are those of its type, for its parents have others.
    pub storage: bool,
    pub compression: bool,
}

/// How `NOT NULL` is said.
pub struct NotNull {
    pub name: Option<String>,
    pub no_inherit: bool,
}

/// A child's constraint that comes with one that a parent only gets after the rows, because it is not valid there.
pub struct Later<'a> {
    pub constraint: &'a Constraint,
    /// `oid` of the constraint whose statement makes it.
    pub of: u32,
}

/// Those of `table`.
pub fn later<'a>(table: &'a Table, tables: &[Table], position: &HashMap<u32, usize>) -> Vec<Later<'a>> {
    let not_nulls = &table.unproven_not_nulls;
    // A partition is made with its own valid checks.
    let checks = table.checks.iter().filter(|c| !(c.is_valid && table.is_partition));
    let inherited = checks.chain(not_nulls).filter(|c| !c.is_local);
    inherited
        .filter_map(|constraint| {
            Some(Later { constraint, of: made_above(table, constraint, tables, position)? })
        })
        .collect()
}

/// The `oid` of the constraint above that this one comes from, if that is not valid and so has a statement of its own.
fn made_above(
    table: &Table,
    constraint: &Constraint,
    tables: &[Table],
    position: &HashMap<u32, usize>,
) -> Option<u32> {
    table.parents.iter().filter_map(|p| position.get(p).map(|&at| &tables[at])).find_map(|parent| {
        let all = parent.checks.iter().chain(&parent.unproven_not_nulls);
        let above = all.into_iter().find(|c| c.name == constraint.name && !c.is_valid)?;
        if above.is_local { Some(above.oid) } else { made_above(parent, above, tables, position) }
    })
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

/// Tables, by schema and name of the not-null constraints whose names are left for the server to choose.
pub type UsualNames<'a> = HashMap<(&'a str, &'a str), u32>;

/// Of all tables.
pub fn usual_names<'a>(tables: &'a [Table], decided: &[Vec<Say>]) -> UsualNames<'a> {
    let said = tables.iter().zip(decided).flat_map(|(table, say)| {
        table.columns.iter().zip(say).map(move |(column, say)| (table, column, say))
    });
    let usual = said.filter(|(_, _, say)| say.not_null.as_ref().is_some_and(|n| n.name.is_none()));
    usual
        .filter_map(|(table, column, _)| {
            Some(((table.schema.as_str(), column.not_null.as_ref()?.name.as_str()), table.oid))
        })
        .collect()
}

/// Other tables whose not-null constraints would be called otherwise if this one were there first, for one of its
/// constraints has the name that the server would choose: after `orders` was renamed and another took its place.
pub fn named_as<'a>(
    table: &'a Table,
    say: &'a [Say],
    names: &'a UsualNames<'_>,
) -> impl Iterator<Item = u32> + 'a {
    let columns = table.columns.iter().zip(say);
    let not_nulls =
        columns.filter(|(_, say)| say.not_null.is_some()).filter_map(|(c, _)| c.not_null.as_ref());
    not_nulls
        .chain(&table.checks)
        .filter_map(|c| names.get(&(table.schema.as_str(), c.name.as_str())).copied())
        .filter(|oid| *oid != table.oid)
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
    let not_null = not_null(table, column, &above, since_18);
    let is_child = !table.is_partition;
    let own_name = column.not_null.as_ref().map(|c| &c.name);
    Say {
        column: column.is_local || table.is_partition,
        not_null_by_name: not_null.is_some()
            || above.iter().any(|c| c.not_null.as_ref().map(|n| &n.name) == own_name),
        null: !since_18 && is_child && !column.marked_not_null && above.iter().any(|c| c.marked_not_null),
        not_null,
        default: column.default.is_some() && !inherits_expression,
        default_null: column.default.is_none() && default_above,
        storage: is_child && above.iter().any(|c| c.storage != column.storage),
        compression: is_child
            && table.kind != 'f'
            && above.iter().any(|c| c.compression != column.compression),
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
