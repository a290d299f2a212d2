//! The fewest writes that remove what differs: what differs is deleted first and inserted after, in two statements: so
//! unique values may be swapped between rows and rows may move between partitions. Equal rows are not written at all.

use tokio_postgres::Client;

use super::compare::{Difference, difference_name};
use super::plan::TablePlan;
use super::stage::{create_as, stage_name};
use crate::postgres::quote;

/// For the writes alone: the user's functions in checks, indexes and generated columns find what they find in the
/// application. Everything else runs under an empty path, where nothing can stand in for a built-in operator.
const USERS_PATH: &str = "SET LOCAL search_path TO DEFAULT";

/// What is done to a table at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All: what differs or is too much is deleted, what differs or is missing inserted.
    Replace,
    /// Rows that are too much are deleted, and those that differ where [`Step::Add`] brings them.
    Remove {
        /// Whether those that differ are.
        differing: bool,
    },
    /// Rows that differ are changed where they are.
    Change,
    /// Rows that are missing are inserted.
    Add {
        /// Whether those that differ are.
        differing: bool,
    },
}

impl Step {
    /// The rows that it brings to where they should be.
    pub fn rows(self, difference: &Difference) -> u64 {
        let Difference { archived_only, different, live_only } = *difference;
        match self {
            Step::Replace => archived_only + different + live_only,
            Step::Remove { .. } => live_only,
            Step::Change => different,
            Step::Add { differing: true } => archived_only + different,
            Step::Add { differing: false } => archived_only,
        }
    }
}

/// Removes the listed differences from the live table, as far as the step goes. `fixed` are columns that cannot be changed.
pub async fn apply(
    client: &Client,
    table: &TablePlan,
    difference: &Difference,
    step: Step,
    fixed: &[&str],
) -> Result<(), tokio_postgres::Error> {
    let keeps = !table.kept.is_empty() && difference.different > 0;
    if keeps && matches!(step, Step::Replace | Step::Remove { differing: true }) {
        client.batch_execute(&keep_statement(table)).await?;
    }
    client.batch_execute(USERS_PATH).await?;
    let come = difference.archived_only + difference.different;
    match step {
        Step::Replace => {
            delete(client, table, difference, true).await?;
            insert(client, table, come, keeps).await?;
        }
        Step::Remove { differing } => delete(client, table, difference, differing).await?,
        Step::Change if difference.different > 0 => {
            client.batch_execute(&update_statement(table, fixed)).await?;
        }
        Step::Add { differing: true } => insert(client, table, come, keeps).await?,
        Step::Add { differing: false } if difference.archived_only > 0 => {
            client.batch_execute(&insert_statement(table, NEW)).await?;
        }
        Step::Change | Step::Add { .. } => {}
    }
    client.batch_execute("SET LOCAL search_path = ''").await
}

/// Of the listed differences: archived rows that meet no live one.
const NEW: &str = " WHERE d.live IS NULL";

/// Inserts what was removed to be replaced, and what is new.
async fn insert(
    client: &Client,
    table: &TablePlan,
    rows: u64,
    keeps: bool,
) -> Result<(), tokio_postgres::Error> {
    if rows == 0 {
        return Ok(());
    }
    if keeps {
        client.batch_execute(&insert_with_kept(table)).await?;
    }
    client.batch_execute(&insert_statement(table, if keeps { NEW } else { "" })).await
}

fn kept_name(table: &TablePlan) -> String {
    format!("{}.pgkeep_kept_{}", table.staged_in, table.index)
}

/// Sets aside what live rows that are about to be replaced have in columns of which the archive does not know.
fn keep_statement(table: &TablePlan) -> String {
    // Numbers for names: a column may be called as one of ours.
    let kept = table.kept.iter().enumerate();
    let kept: Vec<String> = kept.map(|(n, c)| format!("t.{} AS kept_{n}", quote::ident(c))).collect();
    format!(
        "{} SELECT d.staged AS staged, {} FROM {} AS t JOIN {} AS d
            ON t.ctid OPERATOR(pg_catalog.=) d.live AND t.tableoid OPERATOR(pg_catalog.=) d.live_table
         WHERE d.staged IS NOT NULL",
        create_as(table, &kept_name(table)),
        kept.join(", "),
        table.from_item,
        difference_name(table)
    )
}

/// The replaced rows, with that.
fn insert_with_kept(table: &TablePlan) -> String {
    let columns: Vec<String> = table.columns.iter().chain(&table.kept).map(|c| quote::ident(c)).collect();
    let numbered: Vec<String> = (0..table.kept.len()).map(|n| format!("k.kept_{n}")).collect();
    format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE
         SELECT {}, {} FROM {} AS k JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) k.staged",
        table.quoted,
        columns.join(", "),
        of_alias("s", &table.columns),
        numbered.join(", "),
        kept_name(table),
        stage_name(table)
    )
}

/// `s."a", s."b"`
fn of_alias(alias: &str, columns: &[String]) -> String {
    columns.iter().map(|c| format!("{alias}.{}", quote::ident(c))).collect::<Vec<_>>().join(", ")
}

/// A published table without replica identity refuses even a DELETE of no row, so that there is none without need.
async fn delete(
    client: &Client,
    table: &TablePlan,
    difference: &Difference,
    differing: bool,
) -> Result<(), tokio_postgres::Error> {
    let (rows, condition) = match differing {
        true => (difference.different + difference.live_only, ""),
        false => (difference.live_only, " AND d.staged IS NULL"),
    };
    if rows == 0 {
        return Ok(());
    }
    let sql = format!(
        "DELETE FROM {} AS t USING {} AS d
          WHERE t.ctid OPERATOR(pg_catalog.=) d.live AND t.tableoid OPERATOR(pg_catalog.=) d.live_table{condition}",
        table.from_item,
        difference_name(table)
    );
    client.batch_execute(&sql).await
}

fn update_statement(table: &TablePlan, fixed: &[&str]) -> String {
    let columns = table.columns.iter().filter(|c| !fixed.contains(&c.as_str()));
    let set: Vec<String> = columns.map(|c| format!("{0} = s.{0}", quote::ident(c))).collect();
    format!(
        "UPDATE {} AS t SET {} FROM {} AS d JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged
          WHERE t.ctid OPERATOR(pg_catalog.=) d.live AND t.tableoid OPERATOR(pg_catalog.=) d.live_table",
        table.from_item,
        set.join(", "),
        difference_name(table),
        stage_name(table)
    )
}

fn insert_statement(table: &TablePlan, condition: &str) -> String {
    let columns: Vec<String> = table.columns.iter().map(|c| quote::ident(c)).collect();
    let list = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
    let values: Vec<String> = columns.iter().map(|c| format!("s.{c}")).collect();
    format!(
        "INSERT INTO {}{list} OVERRIDING SYSTEM VALUE
         SELECT {} FROM {} AS d JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged{condition}",
        table.quoted,
        values.join(", "),
        difference_name(table),
        stage_name(table)
    )
}

/// Finds by halving the first archived row that the target refuses. Returns how it is told apart from others, by its
/// key, and leaves the transaction as it found it.
///
/// Takes at most log₂(rows) + 1 statements that together insert each row once.
pub async fn find_refused(
    client: &Client,
    table: &TablePlan,
    difference: &Difference,
) -> Result<Option<String>, tokio_postgres::Error> {
    // Going back to the savepoint brings the empty path back, too.
    client.batch_execute(&format!("SAVEPOINT pgkeep_search; {USERS_PATH}")).await?;
    delete(client, table, difference, true).await?;
    let sql = format!("SELECT COALESCE(pg_catalog.max(d.place), 0) FROM {} AS d", difference_name(table));
    let (mut low, mut high) = (1i64, client.query_typed(&sql, &[]).await?[0].get::<_, i64>(0));
    let mut refused = false;
    while low <= high {
        let middle = if refused || low == high { low + (high - low) / 2 } else { high };
        let sql = insert_statement(
            table,
            &format!(
                " WHERE d.place OPERATOR(pg_catalog.>=) {low} AND d.place OPERATOR(pg_catalog.<=) {middle}"
            ),
        );
        client.batch_execute("SAVEPOINT pgkeep_half").await?;
        match client.batch_execute(&sql).await {
            Ok(()) => {
                client.batch_execute("RELEASE SAVEPOINT pgkeep_half").await?;
                low = middle + 1;
            }
            Err(error) if error.as_db_error().is_some() => {
                client
                    .batch_execute("ROLLBACK TO SAVEPOINT pgkeep_half; RELEASE SAVEPOINT pgkeep_half")
                    .await?;
                refused = true;
                if low == middle {
                    break;
                }
                high = middle;
            }
            Err(error) => return Err(error),
        }
    }
    client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_search; RELEASE SAVEPOINT pgkeep_search").await?;
    if !refused || low > high {
        return Ok(None);
    }
    let Some(key) = &table.key else { return Ok(None) };
    let columns: Vec<String> =
        key.columns.iter().map(|c| format!("s.{}::pg_catalog.text", quote::ident(&c.name))).collect();
    let sql = format!(
        "SELECT {} FROM {} AS d JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged WHERE d.place = {low}",
        columns.join(", "),
        difference_name(table),
        stage_name(table)
    );
    let rows = client.query_typed(&sql, &[]).await?;
    Ok(rows.first().map(|row| {
        let pairs: Vec<String> = key
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| format!("{} = {}", c.name, row.get::<_, Option<&str>>(i).unwrap_or("NULL")))
            .collect();
        pairs.join(", ")
    }))
}
