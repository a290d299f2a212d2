//! Foreign keys of large tables, side by side. To add one locks both tables against others, so that all that refer to
//! one table (a shop's customers) would be checked one after the other. Added as NOT VALID and validated afterwards
//! they are the same in the end, and what checks the rows locks but the table that refers (manual, ALTER TABLE, notes).

use std::collections::HashSet;

use tokio_postgres::Client;

use crate::failure::Failure;
use crate::postgres::quote;
use crate::schema::Object;

/// Names of the tables that are partitioned. Theirs cannot be added so, or not by every server; and of those that refer
/// to such a table, the server would mark the parts as not valid for ever.
pub async fn partitioned(client: &Client) -> Result<HashSet<(String, String)>, Failure> {
    let sql = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind = 'p'";
    let rows = client.query_typed(sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// A foreign key as two objects: what adds it, and what checks the rows. None where it cannot be parted.
pub fn parted(key: &Object) -> Option<(Object, Object)> {
    let (schema, table) = key.table.as_ref()?;
    let [create] = key.create.as_slice() else { return None };
    let qualified = quote::qualified(schema, table);
    let is_plain = create.starts_with("ALTER TABLE ONLY ") && create.contains(" FOREIGN KEY ");
    // Then nobody asks for a check.
    let unchecked = create.ends_with(" NOT VALID") || create.ends_with(" NOT ENFORCED");
    if !is_plain || unchecked {
        return None;
    }
    let validate = format!("ALTER TABLE ONLY {qualified} VALIDATE CONSTRAINT {}", quote::ident(&key.name));
    let add = Object { create: vec![format!("{create} NOT VALID")], ..key.clone() };
    let check = Object { create: vec![validate], comments: Vec::new(), ..key.clone() };
    Some((add, check))
}
