//! Which rows have to be left out so that a foreign key holds that is found broken before the commit: those that came and
//! refer to none; or, where rows that stay refer to what is to go, what is to go.

use tokio_postgres::Client;

use super::super::compare::{difference_name, same_row};
use super::super::foreign_keys;
use super::super::plan::TablePlan;
use super::super::stage::stage_name;
use super::super::verify;
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, ForeignKey, Relation};

/// The places of those listed rows of `table` that are in the live table now and break the key. `child` is the referring
/// table, of which `table` is a part, or which is a part of it.
pub async fn restored(
    client: &Client,
    table: &TablePlan,
    (child, parent): (&Relation, &Relation),
    key: &ForeignKey,
) -> Result<Vec<u64>, Failure> {
    let sql = format!(
        "SELECT DISTINCT d.place FROM {} AS d JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged
           JOIN {} AS t ON ({})
          WHERE (t.tableoid, t.ctid) IN (SELECT c.tableoid, c.ctid FROM {})",
        difference_name(table),
        stage_name(table),
        table.from_item,
        same_row(table),
        verify::violating(child, parent, key)
    );
    let rows = client.query_typed(&sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get::<_, i64>(0) as u64).collect())
}

/// Live rows that break the key, by table and place.
pub async fn orphans(
    client: &Client,
    child: &Relation,
    parent: &Relation,
    key: &ForeignKey,
) -> Result<Vec<(u32, String)>, Failure> {
    let sql =
        format!("SELECT c.tableoid, c.ctid::pg_catalog.text FROM {}", verify::violating(child, parent, key));
    let rows = client.query_typed(&sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The places of those listed differences of `table` that would take away what these rows of `child` refer to. Nothing is
/// written yet.
pub async fn referred_to(
    client: &Client,
    table: &TablePlan,
    child: &Relation,
    key: &ForeignKey,
    orphans: &[(u32, String)],
) -> Result<Vec<u64>, Failure> {
    let mut oids: Vec<u32> = orphans.iter().map(|(oid, _)| *oid).collect();
    oids.sort_unstable();
    oids.dedup();
    let among = oids.iter().map(|oid| {
        let tids = orphans.iter().filter(|(of, _)| of == oid).map(|(_, tid)| format!("\"{tid}\""));
        let tids = tids.collect::<Vec<_>>().join(",");
        format!("(c.tableoid = {oid} AND c.ctid = ANY ('{{{tids}}}'::pg_catalog.tid[]))")
    });
    let among = among.collect::<Vec<_>>().join(" OR ");
    let sql = format!(
        "SELECT DISTINCT d.place FROM {} AS d
           JOIN {} AS p ON p.ctid OPERATOR(pg_catalog.=) d.live AND p.tableoid OPERATOR(pg_catalog.=) d.live_table
           JOIN {} AS c ON {} WHERE {among}",
        difference_name(table),
        table.from_item,
        child.from_item(),
        foreign_keys::joined(key)
    );
    let rows = client.query_typed(&sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get::<_, i64>(0) as u64).collect())
}

/// Whether one of two tables is the other or a part of it.
pub fn is_related(catalog: &Catalog, one: u32, other: u32) -> bool {
    one == other || catalog.ancestors(one).any(|a| a == other) || catalog.ancestors(other).any(|a| a == one)
}
