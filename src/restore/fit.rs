//! How the columns of an archived table meet those of the target's table of that name.
//!
//! Everywhere they have to be the same. Of a host's table they need not: its structure is the host's, and may be of another
//! version there. Then rows come without the columns that the target does not have, what it has more gets its default,
//! and each such column is told of.

use crate::archive::model;
use crate::host::Profile;
use crate::postgres::catalog::{Catalog, ColumnInfo, Relation, RelationKind};
use crate::postgres::{extensions, quote};

/// Why no table takes the rows of one that is not there.
pub const NO_TABLE: &str = "the target has no such table";

/// A table of the target that takes archived rows.
#[derive(Debug)]
pub struct Fit<'a> {
    /// The table.
    pub relation: &'a Relation,
    /// For each archived column the target's that takes it; none: it is left out.
    pub columns: Vec<Option<&'a ColumnInfo>>,
    /// Columns of the target that the archive does not have.
    pub kept: Vec<String>,
    /// What is to be said of columns that differ.
    pub notes: Vec<String>,
}

/// The target table that takes the rows of `table`, or why none does. Where `columns` are chosen, only they and those of
/// the key are taken, and a row keeps what it has in others.
pub fn fit<'a>(
    catalog: &'a Catalog,
    table: &model::Table,
    host: &Profile,
    columns: Option<&[String]>,
) -> Result<Fit<'a>, String> {
    let relation = catalog
        .find(&table.schema, &table.name)
        .filter(|r| r.kind != RelationKind::Foreign)
        .ok_or(NO_TABLE)?;
    if let Some(foreign) = catalog.leaves(relation).into_iter().find(|r| r.kind == RelationKind::Foreign) {
        return Err(format!(
            "its partition {} is a foreign table, whose rows live on another server",
            foreign.shown()
        ));
    }
    if host.owns(relation) || extensions::grows(table.extension.as_deref()) {
        return match columns {
            None => Ok(fit_of_host(relation, table, host)),
            Some(_) => Err("its columns are the host's: all of them are restored, or none".to_owned()),
        };
    }
    let mut differences = Vec::new();
    let is_wanted = taken(table, columns)?;
    let mut columns = Vec::with_capacity(table.columns.len());
    let mut kept = Vec::new();
    for column in &table.columns {
        if !is_wanted(&column.name) {
            columns.push(None);
            continue;
        }
        let live = relation.columns.iter().find(|c| c.name == column.name);
        columns.push(live);
        match live {
            None => {
                differences.push(format!("column {} is missing in the target", quote::ident(&column.name)))
            }
            Some(live) if live.generated => differences.push(format!(
                "column {} is generated in the target, plain in the archive",
                quote::ident(&column.name)
            )),
            Some(live) if live.type_name != column.type_name => differences.push(format!(
                "column {} is {} in the target, {} in the archive",
                quote::ident(&column.name),
                live.type_name,
                column.type_name
            )),
            Some(_) => {}
        }
    }
    for live in relation.columns.iter().filter(|c| !c.generated) {
        if !is_wanted(&live.name) {
            kept.push(live.name.clone());
        } else if !table.columns.iter().any(|c| c.name == live.name) {
            differences.push(format!("column {} is not in the archive", quote::ident(&live.name)));
        }
    }
    let fitting = Fit { relation, columns, kept, notes: Vec::new() };
    if differences.is_empty() { Ok(fitting) } else { Err(differences.join("; ")) }
}

/// Which columns of an archived table are taken where `columns` are chosen, or why these cannot be.
pub fn taken<'a>(
    table: &'a model::Table,
    columns: Option<&'a [String]>,
) -> Result<impl Fn(&str) -> bool + 'a, String> {
    if let Some(columns) = columns {
        let unknown = columns.iter().filter(|name| table.columns.iter().all(|c| c.name != **name));
        let unknown: Vec<String> = unknown.map(|name| quote::ident(name)).collect();
        if !unknown.is_empty() {
            return Err(format!("--columns names {}, which the archive does not have", unknown.join(", ")));
        }
        if table.key.is_empty() {
            return Err("it has no key by which rows could be found of which only some columns are restored"
                .to_owned());
        }
    }
    // A table of the archive that was made of some columns.
    let is_whole = table.left_out.is_empty();
    Ok(move |name: &str| match columns {
        Some(columns) => columns.iter().any(|c| c == name) || table.key.iter().any(|c| c == name),
        None => is_whole || table.columns.iter().any(|c| c.name == name),
    })
}

fn fit_of_host<'a>(relation: &'a Relation, table: &model::Table, host: &Profile) -> Fit<'a> {
    let shown = relation.shown();
    let find = |name: &str| relation.columns.iter().find(|c| c.name == name && !c.generated);
    let archived = |name: &str| table.columns.iter().any(|c| c.name == name);
    let mut notes = Vec::new();
    let columns: Vec<Option<&ColumnInfo>> = table
        .columns
        .iter()
        .map(|column| {
            let live = match (host.renamed(&shown, &column.name), host.once_called(&shown, &column.name)) {
                // The old name of a column that the archive has by its new one is another column's by now.
                (Some(new), _) if archived(new) => find(new).and_then(|_| find(&column.name)),
                (Some(new), _) => find(new).or_else(|| find(&column.name)),
                (None, Some(old)) => find(&column.name).or_else(|| find(old)),
                (None, None) => find(&column.name),
            };
            let name = quote::ident(&column.name);
            match live {
                None => notes.push(format!(
                    "{shown}: column {name} is left out: the target does not have it, or computes it"
                )),
                Some(live) if live.name != column.name => {
                    notes
                        .push(format!("{shown}: column {name} is called {} there", quote::ident(&live.name)));
                }
                Some(_) => {}
            }
            live
        })
        .collect();
    let taken = |live: &ColumnInfo| columns.iter().flatten().any(|c| c.name == live.name);
    let others: Vec<&ColumnInfo> = relation.columns.iter().filter(|c| !c.generated && !taken(c)).collect();
    let names: Vec<String> = others.iter().map(|c| quote::ident(&c.name)).collect();
    match names.as_slice() {
        [] => {}
        [name] => notes.push(format!(
            "{shown}: column {name} is not in the archive: new rows get its default, others keep what they have"
        )),
        names => notes.push(format!(
            "{shown}: columns {} are not in the archive: new rows get their defaults, others keep what they have",
            names.join(", ")
        )),
    }
    let kept = others.iter().map(|c| c.name.clone()).collect();
    Fit { relation, columns, kept, notes }
}

/// `::type` where the column is of a domain over that type.
pub fn cast(column: &ColumnInfo) -> String {
    column.domain_over.as_ref().map(|name| format!("::{name}")).unwrap_or_default()
}
