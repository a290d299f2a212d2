//! What becomes of foreign keys where the replica role may not be set; takes those off that the role may, and puts them on
//! again as they were.
//!
//! A key of a partitioned table comes back on every partition, but under names that the server makes up: those that
//! it had, and their comments, are put back as well.

use tokio_postgres::Client;

use crate::failure::{Failure, FailureKind};
use crate::postgres::catalog::{Catalog, ConstraintInfo, ForeignKey, Relation};
use crate::postgres::quote;
use crate::selection::shown_name;

/// What becomes of a foreign key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Taken off and put on again.
    TakenOff,
    /// Left on, and checked at the end.
    Deferred,
    /// Left on, and written by in an order that does not break it.
    InOrder,
}

impl Way {
    /// As the log says it.
    pub fn describe(self) -> &'static str {
        match self {
            Way::TakenOff => "taken off and put on again",
            Way::Deferred => "left on, deferred to the end",
            Way::InOrder => "left on, tables written in its order",
        }
    }
}

/// What becomes of this one. To take it off is for its table's owner; to put it on again takes the right to refer, too.
pub fn way(catalog: &Catalog, constraint: &ConstraintInfo, key: &ForeignKey) -> Way {
    let own = catalog.relation(constraint.table).is_some_and(|r| r.is_owner);
    let may_refer = |r: &Relation| r.lacks(&["USAGE", "REFERENCES"]).is_empty();
    if own && catalog.relation(key.references).is_some_and(may_refer) {
        Way::TakenOff
    } else if key.deferrable && !key.delete_acts && !key.update_acts {
        // An action is never deferred (manual, CREATE TABLE).
        Way::Deferred
    } else {
        Way::InOrder
    }
}

/// `p.column = c.column AND …` as the server compares the table referred to with the referring one.
pub fn joined(key: &ForeignKey) -> String {
    joined_with(key, "c")
}

/// The same with the referring row by another name.
pub fn joined_with(key: &ForeignKey, child: &str) -> String {
    let on = key.columns.iter().map(|k| {
        format!("p.{}{} {} {child}.{}", quote::ident(&k.parent), k.collate, k.equals, quote::ident(&k.child))
    });
    on.collect::<Vec<_>>().join(" AND ")
}

/// `x of table y`.
pub fn shown(catalog: &Catalog, constraint: &ConstraintInfo) -> String {
    let table = catalog.relation(constraint.table).map(Relation::shown).unwrap_or_default();
    format!("{} of table {table}", constraint.name)
}

/// A foreign key that was taken off.
#[derive(Debug)]
pub struct Dropped {
    /// `foreign key x of table y`.
    shown: String,
    /// `"schema"."table"`.
    table: String,
    oid: u32,
    name: String,
    add: String,
    derived: Vec<Derived>,
}

/// What the server derives from a foreign key of, or to, a partitioned table. The two tables tell it apart.
#[derive(Debug)]
struct Derived {
    tables: (u32, u32),
    name: String,
    comment: Option<String>,
}

/// Refuses foreign keys on these tables, or to them, whose triggers are not enabled in the plain way: taken off and put on
/// again they would be, and only a superuser can mark them otherwise.
pub async fn refuse_switched_off(client: &Client, role: &str, tables: &[u32]) -> Result<(), Failure> {
    let list = tables.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT DISTINCT k.conname::pg_catalog.text, c.relname::pg_catalog.text, n.nspname::pg_catalog.text
           FROM pg_catalog.pg_trigger t
           JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint
           JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE k.contype = 'f' AND t.tgenabled <> 'O' AND (k.conrelid IN ({list}) OR k.confrelid IN ({list}))
          ORDER BY 3, 2, 1"
    );
    let rows = client.query_typed(&sql, &[]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = rows
        .iter()
        .map(|row| format!("{} of table {}", row.get::<_, &str>(0), shown_name(row.get(2), row.get(1))))
        .collect();
    Err(Failure::new(
        FailureKind::Access,
        format!(
            "foreign keys are switched off (DISABLE TRIGGER ALL) and role {role} could not leave them so: {}",
            names.join(", ")
        ),
    )
    .next("connect as a superuser, or let one switch them on: ALTER TABLE … ENABLE TRIGGER ALL"))
}

/// Takes a foreign key off its table; none where the table is gone from the catalog.
pub async fn take_off(
    client: &Client,
    catalog: &Catalog,
    constraint: &ConstraintInfo,
) -> Result<Option<Dropped>, Failure> {
    let Some(relation) = catalog.relation(constraint.table) else { return Ok(None) };
    let (table, name) = (relation.quoted(), quote::ident(&constraint.name));
    let derived = derived(client, constraint.table, &constraint.name).await?;
    let mut add = format!("ALTER TABLE {table} ADD CONSTRAINT {name} {};", constraint.definition);
    if let Some(comment) = &constraint.comment {
        add += &comment_on(&constraint.name, &table, comment);
    }
    client.batch_execute(&format!("ALTER TABLE {table} DROP CONSTRAINT {name}")).await?;
    Ok(Some(Dropped {
        shown: format!("foreign key {}", shown(catalog, constraint)),
        table,
        oid: constraint.table,
        name: constraint.name.clone(),
        add,
        derived,
    }))
}

impl Dropped {
    /// Puts the foreign key back, whereby the server checks it.
    pub async fn put_back(&self, client: &Client, catalog: &Catalog) -> Result<(), Failure> {
        let doing = |e: tokio_postgres::Error| Failure::from_server(&e).while_doing(&self.shown);
        client.batch_execute(&self.add).await.map_err(doing)?;
        if self.derived.is_empty() {
            return Ok(());
        }
        let mut away = String::new();
        let mut home = String::new();
        for (number, now) in derived(client, self.oid, &self.name).await?.iter().enumerate() {
            let Some(before) = self.derived.iter().find(|d| d.tables == now.tables) else { continue };
            let table = catalog.relation(now.tables.0).map_or_else(|| self.table.clone(), |r| r.quoted());
            if before.name != now.name {
                // By way of a third name: two may have changed places.
                let third = quote::ident(&format!("pgkeep_renamed_{number}"));
                let rename =
                    |from: &str, to: &str| format!("ALTER TABLE {table} RENAME CONSTRAINT {from} TO {to};");
                away += &rename(&quote::ident(&now.name), &third);
                home += &rename(&third, &quote::ident(&before.name));
            }
            if let Some(comment) = &before.comment {
                home += &comment_on(&before.name, &table, comment);
            }
        }
        client.batch_execute(&(away + &home)).await.map_err(doing)
    }
}

fn comment_on(name: &str, table: &str, comment: &str) -> String {
    format!("COMMENT ON CONSTRAINT {} ON {table} IS {};", quote::ident(name), quote::literal(comment))
}

async fn derived(client: &Client, table: u32, name: &str) -> Result<Vec<Derived>, Failure> {
    let sql = format!(
        "WITH RECURSIVE below AS (
           SELECT k.oid, false AS derived FROM pg_catalog.pg_constraint k
            WHERE k.conrelid = {table} AND k.conname = {} AND k.contype = 'f'
            UNION ALL
           SELECT k.oid, true FROM pg_catalog.pg_constraint k JOIN below b ON k.conparentid = b.oid)
         SELECT k.conrelid, k.confrelid, k.conname::pg_catalog.text,
                pg_catalog.obj_description(k.oid, 'pg_constraint')
           FROM below b JOIN pg_catalog.pg_constraint k ON k.oid = b.oid
          WHERE b.derived ORDER BY k.oid",
        quote::literal(name)
    );
    let rows = client.query_typed(&sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| Derived { tables: (row.get(0), row.get(1)), name: row.get(2), comment: row.get(3) })
        .collect())
}
