//! Writes around foreign keys that stay on, because the role may not take them off: in such an order that none is broken
//! at any time, or deferred to the end where they may be.
//!
//! Rows go before those that they refer to and come after them, and a row that others may refer to is changed where it is.
//! What a key refuses is tried again when others have been written. No referential action (CASCADE, SET NULL) ever acts,
//! for it would change rows that nobody has compared: what would make one act waits as if it were refused.

use std::fmt::Write as _;

use tokio_postgres::Client;

use super::compare::difference_name;
use super::foreign_keys::{self, Way};
use super::merge::Step;
use super::plan::{RestorePlan, TablePlan};
use super::stage::{self, stage_name};
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, ConstraintInfo, ForeignKey, Relation};
use crate::postgres::quote;
use crate::schema::script::ident;

/// The foreign keys that stay on.
#[derive(Debug, Default)]
pub struct LeftOn<'a> {
    deferred: bool,
    in_order: Vec<(&'a ConstraintInfo, &'a ForeignKey)>,
}

impl<'a> LeftOn<'a> {
    /// Those that touch the tables to be written, in a session that may not set the replica role.
    pub fn new(catalog: &'a Catalog, written: &RestorePlan) -> LeftOn<'a> {
        let keys = written.foreign_keys(catalog).into_iter();
        let (deferred, in_order): (Vec<_>, Vec<_>) = keys
            .filter(|(constraint, key)| foreign_keys::way(catalog, constraint, key) != Way::TakenOff)
            .partition(|(constraint, key)| foreign_keys::way(catalog, constraint, key) == Way::Deferred);
        LeftOn { deferred: !deferred.is_empty(), in_order }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        !self.deferred && self.in_order.is_empty()
    }

    /// Puts off to the end what may be.
    pub async fn defer(&self, client: &Client) -> Result<(), Failure> {
        if self.deferred {
            client.batch_execute("SET CONSTRAINTS ALL DEFERRED").await?;
        }
        Ok(())
    }

    /// What is to be done to tables that stand parents first, by their positions.
    pub fn steps(&self, catalog: &Catalog, tables: &[&TablePlan]) -> Vec<(usize, Step)> {
        if self.in_order.is_empty() {
            return (0..tables.len()).map(|at| (at, Step::Replace)).collect();
        }
        let stays: Vec<bool> =
            tables.iter().map(|table| self.referring(catalog, table).next().is_some()).collect();
        let gone = (0..tables.len()).rev().map(|at| (at, Step::Remove { differing: !stays[at] }));
        let come = (0..tables.len()).flat_map(|at| match stays[at] {
            true => vec![(at, Step::Change), (at, Step::Add { differing: false })],
            false => vec![(at, Step::Add { differing: true })],
        });
        gone.chain(come).collect()
    }

    /// The keys that refer to rows of a table.
    fn referring(
        &self,
        catalog: &'a Catalog,
        table: &TablePlan,
    ) -> impl Iterator<Item = (&'a ConstraintInfo, &'a ForeignKey)> {
        let oid = table.relation;
        self.in_order.iter().copied().filter(move |(_, key)| {
            let to = key.references;
            to == oid || catalog.ancestors(oid).any(|a| a == to) || catalog.ancestors(to).any(|a| a == oid)
        })
    }

    /// The key whose action a step would set off.
    pub async fn would_act(
        &self,
        client: &Client,
        catalog: &'a Catalog,
        table: &TablePlan,
        step: Step,
    ) -> Result<Option<&'a ConstraintInfo>, Failure> {
        for (constraint, key) in self.referring(catalog, table) {
            let (acts, changed) = match step {
                Step::Remove { .. } => (key.delete_acts, "d.staged IS NULL".to_owned()),
                Step::Change => (key.update_acts, changes(table, key)),
                Step::Replace | Step::Add { .. } => continue,
            };
            let Some(child) = catalog.relation(constraint.table).filter(|_| acts) else { continue };
            let sql = format!(
                "SELECT EXISTS (SELECT 1 FROM {} AS d
                   JOIN {} AS p ON p.ctid OPERATOR(pg_catalog.=) d.live AND p.tableoid OPERATOR(pg_catalog.=) d.live_table
                   JOIN {} AS c ON {}
                   LEFT JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged
                  WHERE {changed})",
                difference_name(table),
                table.from_item,
                child.from_item(),
                foreign_keys::joined(key),
                stage_name(table),
            );
            client.batch_execute(stage::BUILT_IN_FIRST_PATH).await?;
            let acts: bool = client.query_typed(&sql, &[]).await?[0].get(0);
            client.batch_execute("SET LOCAL search_path = ''").await?;
            if acts {
                return Ok(Some(constraint));
            }
        }
        Ok(None)
    }

    /// Why one of the keys refuses rows for good, where it is one of them that does.
    pub fn refused(
        &self,
        catalog: &Catalog,
        table: &TablePlan,
        error: &tokio_postgres::Error,
    ) -> Option<Failure> {
        let server = error.as_db_error()?;
        // The server names the referring table, whichever of the two was written to.
        let child = catalog.find(server.schema()?, server.table()?)?;
        let name = server.constraint()?;
        let (constraint, _) = self.in_order.iter().find(|(c, _)| c.name == name && c.table == child.oid)?;
        let failure = Failure::from_server(error).while_doing(format!("table {}", table.shown));
        Some(failure.next(advice(catalog, constraint)))
    }
}

/// Whether a row that is changed gets another value in a column that is referred to.
fn changes(table: &TablePlan, key: &ForeignKey) -> String {
    let image = |alias: &str| {
        let columns: Vec<String> = key
            .columns
            .iter()
            .map(|k| {
                let cast = table.columns.iter().position(|c| *c == k.parent).map(|at| &table.casts[at]);
                format!("{alias}.{}{}", quote::ident(&k.parent), cast.map_or("", String::as_str))
            })
            .collect();
        format!("ROW({})", columns.join(", "))
    };
    format!("d.staged IS NOT NULL AND pg_catalog.record_image_ne({}, {})", image("p"), image("s"))
}

/// Why an action would act that nothing can hold.
pub fn acting(catalog: &Catalog, table: &TablePlan, constraint: &ConstraintInfo) -> Failure {
    let child = catalog.relation(constraint.table).map(Relation::shown).unwrap_or_default();
    Failure::failed(format!(
        "table {}: rows of table {child} still refer to rows that go or change, and foreign key {} would change those, too",
        table.shown, constraint.name
    ))
    .next(advice(catalog, constraint))
}

/// What would help where a key refuses rows for good.
pub fn advice(catalog: &Catalog, constraint: &ConstraintInfo) -> String {
    let Some(child) = catalog.relation(constraint.table) else { return String::new() };
    let (role, owner) = (&catalog.server.role, &child.owner);
    let mut text = format!(
        "restore both tables of the foreign key; or, because role {role} cannot take off foreign key {} of table {} (owner {owner}), connect as {owner}",
        constraint.name,
        child.shown(),
    );
    if catalog.server.version_num >= 150_000 {
        let _ = write!(text, ", or GRANT SET ON PARAMETER session_replication_role TO {}", ident(role));
    }
    text
}
