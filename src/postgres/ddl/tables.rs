//! Tables: plain, partitioned, partitions, children, typed, foreign; with their columns, defaults and inline
//! constraints.
//!
//! Partitions are made as tables of their own and attached then, so that each keeps its columns in its own order.

pub(super) mod catalog;
mod definition;
mod inheritance;

use std::collections::HashMap;

use tokio_postgres::Error;

use self::catalog::{Table, ViewDefault};
use super::draft::{Draft, Reader, at, class, of_table};
use crate::schema::Kind;

/// Reads them.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let (tables, view_defaults) = catalog::read(reader).await?;
    let decided = inheritance::decide(&tables, reader.since(18));
    let names = inheritance::usual_names(&tables, &decided);
    let position: HashMap<u32, usize> = tables.iter().enumerate().map(|(i, t)| (t.oid, i)).collect();
    let mut drafts = Vec::with_capacity(tables.len());
    for (table, say) in tables.iter().zip(&decided) {
        let parents: Vec<&Table> =
            table.parents.iter().filter_map(|p| position.get(p).map(|&i| &tables[i])).collect();
        let parents_names: Vec<&str> = parents.iter().map(|p| p.qualified.as_str()).collect();
        let later = inheritance::later(table, &tables, &position);
        let own = drafts.len();
        drafts.extend(definition::drafts(table, say, &parents_names, &later));
        drafts[own].behind =
            inheritance::named_as(table, say, &names).map(|oid| at(class::CLASS, oid)).collect();
        if let (true, Some(parent)) = (table.is_partition, parents.first()) {
            drafts.extend(attachment(table, parent));
        }
    }
    drafts.extend(view_defaults.iter().map(view_default));
    Ok(drafts)
}

/// That a table is a partition.
fn attachment(table: &Table, parent: &Table) -> Option<Draft> {
    let bound = table.partition_bound.as_ref()?;
    let identity = format!("ATTACHMENT {}", table.qualified);
    let mut object = of_table(Kind::Attachment, identity, &table.name, (&table.schema, &table.name));
    let (above, name) = (&parent.qualified, &table.qualified);
    object.create = vec![format!("ALTER TABLE ONLY {above} ATTACH PARTITION {name} {bound}")];
    object.drop = vec![format!("ALTER TABLE {above} DETACH PARTITION {name}")];
    let mut draft = Draft::new(at(class::ATTACHMENT, table.oid), object);
    draft.needs = vec![at(class::CLASS, parent.oid), at(class::CLASS, table.oid)];
    // The server wants to find the parent's checks there; they may have had to leave the definition.
    let inherited = table.checks.iter().filter(|c| c.is_valid && !c.is_local);
    draft.needs.extend(inherited.map(|c| at(class::CONSTRAINT, c.oid)));
    Some(draft)
}

/// A default that inserts through a view use. It never stands in the view's definition.
fn view_default(of: &ViewDefault) -> Draft {
    let identity = format!("DEFAULT {}.{}", of.qualified, of.quoted);
    let mut object = of_table(Kind::Default, identity, &of.column, (&of.schema, &of.view));
    let change = format!("ALTER TABLE ONLY {} ALTER COLUMN {}", of.qualified, of.quoted);
    object.create = vec![format!("{change} SET DEFAULT {}", of.default.expression)];
    object.drop = vec![format!("{change} DROP DEFAULT")];
    Draft::new(at(class::ATTRDEF, of.default.oid), object)
}
