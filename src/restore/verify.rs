//! The proof before commit: counts, every archived row present and equal, and every constraint that is not watched
//! while the replica role is set.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::compare::{self, Difference};
use super::foreign_keys;
use super::plan::{RestorePlan, TablePlan};
use super::stage::BUILT_IN_FIRST_PATH;
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, ConstraintInfo, ForeignKey, Relation};
use crate::postgres::quote;

/// How many violating rows are named.
const NAMED_ROWS: usize = 5;

/// The table is locked against everybody else, so what wrote to it did so in this very transaction.
const WRITTEN_MEANWHILE: &str = "a function of the database's own may have written to it, such as that of an event trigger: leave the table out with --exclude, or connect as a superuser";

/// A constraint that the restored rows would break.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The table with the violating rows.
    pub table: u32,
    /// The other table of a foreign key; else the same.
    pub other: u32,
    /// A sentence with the rows' keys.
    pub what: String,
    /// For a foreign key whose rows can be told by a query: its name.
    pub foreign_key: Option<String>,
}

/// Rows of each table.
pub async fn counts(client: &Client, tables: &[TablePlan]) -> Result<BTreeMap<String, u64>, Failure> {
    let tables: Vec<_> = tables.iter().map(|t| (t.shown.clone(), t.from_item.clone())).collect();
    count(client, &tables).await
}

/// Rows by name, of what stands behind FROM; those of one name are added up.
pub async fn count(client: &Client, tables: &[(String, String)]) -> Result<BTreeMap<String, u64>, Failure> {
    let mut counts = BTreeMap::new();
    client.batch_execute(BUILT_IN_FIRST_PATH).await?;
    for batch in tables.chunks(200) {
        let sql: Vec<String> = batch
            .iter()
            .enumerate()
            .map(|(i, (_, item))| format!("SELECT {i}::pg_catalog.int4, pg_catalog.count(*) FROM {item}"))
            .collect();
        for row in client.query_typed(&sql.join(" UNION ALL "), &[]).await? {
            let (name, _) = &batch[row.get::<_, i32>(0) as usize];
            *counts.entry(name.clone()).or_default() += row.get::<_, i64>(1) as u64;
        }
    }
    client.batch_execute("SET LOCAL search_path = ''").await?;
    Ok(counts)
}

/// Proves that a table now holds what it should: no difference to `live` rows is left, and the count is the expected one.
pub async fn table(
    client: &Client,
    table: &TablePlan,
    live: &str,
    before: u64,
    after: u64,
    done: Difference,
) -> Result<(), Failure> {
    // Where nothing was written, the comparison has just proven equality, under the same lock.
    if !done.is_none() {
        let left = compare::recount(client, table, live).await?;
        if !left.is_none() {
            return Err(Failure::failed(format!(
                "table {} does not equal the archive after the merge: {} rows are missing, {} differ, {} are too many",
                table.shown, left.archived_only, left.different, left.live_only
            ))
            .next(WRITTEN_MEANWHILE));
        }
    }
    let expected = (before + done.archived_only).checked_sub(done.live_only);
    if expected != Some(after) {
        return Err(Failure::failed(format!(
            "table {} has {after} rows after the merge, expected were {before} + {} - {}",
            table.shown, done.archived_only, done.live_only
        ))
        .next(WRITTEN_MEANWHILE));
    }
    Ok(())
}

/// Checks the constraints that no trigger watched: foreign keys that touch the written tables, and deferrable keys.
///
/// `NOT VALID` and `NOT ENFORCED` foreign keys promise nothing about existing rows and are passed over.
pub async fn constraints(
    client: &Client,
    catalog: &Catalog,
    written: &RestorePlan,
    replica_role: bool,
) -> Result<Vec<Violation>, Failure> {
    let mut violations = Vec::new();
    for (constraint, key) in written.foreign_keys(catalog) {
        if !key.validated {
            continue;
        }
        if let Some(violation) = foreign_key(client, catalog, constraint, key, replica_role).await? {
            violations.push(violation);
        }
    }
    if replica_role {
        violations.extend(deferrable_keys(client, catalog, written).await?);
    } else {
        violations.extend(deferred_keys(client, catalog).await?);
    }
    Ok(violations)
}

async fn foreign_key(
    client: &Client,
    catalog: &Catalog,
    constraint: &ConstraintInfo,
    key: &ForeignKey,
    replica_role: bool,
) -> Result<Option<Violation>, Failure> {
    let (Some(child), Some(parent)) = (catalog.relation(constraint.table), catalog.relation(key.references))
    else {
        return Ok(None);
    };
    let violation = |what: String| Violation { table: child.oid, other: parent.oid, what, foreign_key: None };
    if constraint.definition.contains(" PERIOD ") {
        // One that stays on the server has watched.
        if !replica_role && foreign_keys::way(catalog, constraint, key) != foreign_keys::Way::TakenOff {
            return Ok(None);
        }
        let violated = period_foreign_key(client, child.quoted(), constraint, !replica_role).await?;
        return Ok(violated.map(violation));
    }
    let shown = catalog.key(child.oid, |_| true);
    let columns: Vec<&str> = match shown {
        Some(key) => key.columns.iter().map(|c| c.name.as_str()).collect(),
        None => key.columns.iter().map(|k| k.child.as_str()).collect(),
    };
    let selected: Vec<String> =
        columns.iter().map(|c| format!("c.{}::pg_catalog.text", quote::ident(c))).collect();
    let sql = format!(
        "SELECT {} FROM {} LIMIT {}",
        selected.join(", "),
        violating(child, parent, key),
        NAMED_ROWS + 1
    );
    let rows = client.query_typed(&sql, &[]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let named: Vec<String> = rows
        .iter()
        .take(NAMED_ROWS)
        .map(|row| {
            let pairs: Vec<String> = columns
                .iter()
                .enumerate()
                .map(|(i, c)| format!("{c} = {}", row.get::<_, Option<&str>>(i).unwrap_or("NULL")))
                .collect();
            format!("({})", pairs.join(", "))
        })
        .collect();
    let more = if rows.len() > NAMED_ROWS { " and more" } else { "" };
    let violation = Violation { foreign_key: Some(constraint.name.clone()), ..violation(String::new()) };
    Ok(Some(Violation {
        what: format!(
            "rows of table {} would refer to rows that table {} does not have (foreign key {}): {}{more}",
            child.shown(),
            parent.shown(),
            constraint.name,
            named.join(", ")
        ),
        ..violation
    }))
}

/// Whether a row of this name refers to any.
pub fn refers(key: &ForeignKey, child: &str) -> String {
    // IS NOT NULL would take a composite value with a NULL in it for NULL.
    let given: Vec<String> = key
        .columns
        .iter()
        .map(|k| format!("{child}.{} IS DISTINCT FROM NULL", quote::ident(&k.child)))
        .collect();
    // MATCH SIMPLE: a NULL in any column excuses the row. MATCH FULL: only NULL in all (manual, CREATE TABLE).
    given.join(if key.match_full { " OR " } else { " AND " })
}

/// What stands behind FROM to mean the rows `c` of `child` that refer to no row of `parent`.
pub fn violating(child: &Relation, parent: &Relation, key: &ForeignKey) -> String {
    let given = refers(key, "c");
    format!(
        "{} AS c LEFT JOIN {} AS p ON {} WHERE ({given}) AND p.tableoid IS NULL",
        child.from_item(),
        parent.from_item(),
        foreign_keys::joined(key)
    )
}

/// Temporal foreign keys (18) compare ranges, not values: the server itself checks them, by enforcing them anew or,
/// where they are taken off, by putting them on for a moment.
async fn period_foreign_key(
    client: &Client,
    table: String,
    constraint: &ConstraintInfo,
    taken_off: bool,
) -> Result<Option<String>, Failure> {
    let name = quote::ident(&constraint.name);
    client.batch_execute("SAVEPOINT pgkeep_period").await?;
    let sql = if taken_off {
        let definition = &constraint.definition;
        format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}; ROLLBACK TO SAVEPOINT pgkeep_period")
    } else {
        let alter = format!("ALTER TABLE {table} ALTER CONSTRAINT {name}");
        format!("{alter} NOT ENFORCED; {alter} ENFORCED")
    };
    match client.batch_execute(&sql).await {
        Ok(()) => {
            client.batch_execute("RELEASE SAVEPOINT pgkeep_period").await?;
            Ok(None)
        }
        Err(error) if crate::postgres::error::sqlstate(&error) == Some("23503") => {
            client
                .batch_execute("ROLLBACK TO SAVEPOINT pgkeep_period; RELEASE SAVEPOINT pgkeep_period")
                .await?;
            Ok(Some(crate::postgres::error::describe(&error)))
        }
        Err(error) => Err(error.into()),
    }
}

/// What the server has put off to the end of the transaction it checks now: a failing commit could name no table, and
/// nothing may be pending when foreign keys are put back.
async fn deferred_keys(client: &Client, catalog: &Catalog) -> Result<Option<Violation>, Failure> {
    client.batch_execute("SAVEPOINT pgkeep_deferred").await?;
    let Err(error) = client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await else {
        client.batch_execute("RELEASE SAVEPOINT pgkeep_deferred").await?;
        return Ok(None);
    };
    let table = error
        .as_db_error()
        .and_then(|e| e.schema().zip(e.table()))
        .and_then(|(schema, table)| catalog.find(schema, table));
    // Class 23: an integrity constraint.
    let (Some(table), Some("23")) =
        (table, crate::postgres::error::sqlstate(&error).and_then(|c| c.get(..2)))
    else {
        return Err(error.into());
    };
    client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_deferred; RELEASE SAVEPOINT pgkeep_deferred").await?;
    let what = format!("rows of table {}: {}", table.shown(), crate::postgres::error::describe(&error));
    Ok(Some(Violation { table: table.oid, other: table.oid, what, foreign_key: None }))
}

/// A deferrable key is rechecked by a trigger, which the replica role holds back: look for doubles by query.
async fn deferrable_keys(
    client: &Client,
    catalog: &Catalog,
    written: &RestorePlan,
) -> Result<Vec<Violation>, Failure> {
    let scope = written.closure(catalog);
    if scope.is_empty() {
        return Ok(Vec::new());
    }
    let list = scope.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT k.conrelid, k.conname::pg_catalog.text, x.indisexclusion,
                ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)),
                pg_catalog.pg_get_constraintdef(k.oid) ~ 'NULLS NOT DISTINCT', i.relname::pg_catalog.text, n.nspname::pg_catalog.text
           FROM pg_catalog.pg_constraint k
           JOIN pg_catalog.pg_class i ON i.oid = k.conindid
           JOIN pg_catalog.pg_index x ON x.indexrelid = k.conindid
           JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
          WHERE k.conrelid IN ({list}) AND k.condeferrable AND k.contype IN ('p', 'u', 'x') AND i.relkind = 'i'
          ORDER BY k.conname"
    );
    let mut violations = Vec::new();
    for row in client.query_typed(&sql, &[]).await? {
        let Some(relation) = catalog.relation(row.get(0)) else { continue };
        let (name, exclusion, columns, nulls_equal): (String, bool, Vec<String>, bool) =
            (row.get(1), row.get(2), row.get(3), row.get(4));
        let violated = if exclusion {
            // Building the index checks an exclusion constraint, whatever it consists of.
            let index = quote::qualified(row.get(6), row.get(5));
            client.batch_execute("SAVEPOINT pgkeep_exclusion; SET LOCAL search_path TO DEFAULT").await?;
            let built = client.batch_execute(&format!("REINDEX INDEX {index}")).await;
            match built {
                Ok(()) => {
                    let done = "SET LOCAL search_path = ''; RELEASE SAVEPOINT pgkeep_exclusion";
                    client.batch_execute(done).await.map(|()| false)?
                }
                Err(error) if crate::postgres::error::sqlstate(&error) == Some("23P01") => {
                    let undo = "ROLLBACK TO SAVEPOINT pgkeep_exclusion; RELEASE SAVEPOINT pgkeep_exclusion";
                    client.batch_execute(undo).await.map(|()| true)?
                }
                Err(error) => return Err(error.into()),
            }
        } else {
            let list = quote::ident_list(columns.iter().map(String::as_str));
            let given: Vec<String> =
                columns.iter().map(|c| format!("{} IS DISTINCT FROM NULL", quote::ident(c))).collect();
            let condition =
                if nulls_equal { String::new() } else { format!("WHERE {}", given.join(" AND ")) };
            let sql = format!(
                "SELECT EXISTS (SELECT 1 FROM ONLY {} {condition} GROUP BY {list} HAVING pg_catalog.count(*) > 1)",
                relation.quoted()
            );
            client.query_typed(&sql, &[]).await?[0].get(0)
        };
        if violated {
            violations.push(Violation {
                table: relation.oid,
                other: relation.oid,
                foreign_key: None,
                what: format!(
                    "rows of table {} would violate its constraint {name} on ({})",
                    relation.shown(),
                    columns.join(", ")
                ),
            });
        }
    }
    Ok(violations)
}
