//! The fewest writes that remove what differs: what differs is deleted first and inserted after, in two statements: so
//! unique values may be swapped between rows and rows may move between partitions. Equal rows are not written at all.

use tokio_postgres::Client;

use super::compare::{Difference, difference_name};
use super::plan::TablePlan;
use super::refused::halves::Halves;
use super::stage::{create_as, stage_name};
use crate::postgres::error as pg;
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
    prepare(client, table, difference, step).await?;
    write(client, table, difference, step, fixed, "").await?;
    client.batch_execute("SET LOCAL search_path = ''").await
}

/// What is done of a step before its rows: what they replace is kept and removed.
async fn prepare(
    client: &Client,
    table: &TablePlan,
    difference: &Difference,
    step: Step,
) -> Result<(), tokio_postgres::Error> {
    if keeps(table, difference) && matches!(step, Step::Replace | Step::Remove { differing: true }) {
        client.batch_execute(&keep_statement(table)).await?;
    }
    client.batch_execute(USERS_PATH).await?;
    match step {
        Step::Replace => delete(client, table, difference, true, "").await,
        _ => Ok(()),
    }
}

/// Whether rows that are replaced have columns of which the archive does not know.
fn keeps(table: &TablePlan, difference: &Difference) -> bool {
    !table.kept.is_empty() && difference.different > 0
}

/// What is done of a step row by row: of those rows of `d` that meet the further condition `rows`, which begins with AND.
async fn write(
    client: &Client,
    table: &TablePlan,
    difference: &Difference,
    step: Step,
    fixed: &[&str],
    rows: &str,
) -> Result<(), tokio_postgres::Error> {
    let come = difference.archived_only + difference.different;
    match step {
        Step::Remove { differing } => delete(client, table, difference, differing, rows).await,
        Step::Change if difference.different > 0 => {
            client.batch_execute(&format!("{}{rows}", update_statement(table, fixed))).await
        }
        Step::Replace | Step::Add { differing: true } if come > 0 => {
            let keeps = keeps(table, difference);
            if keeps {
                client.batch_execute(&format!("{}{rows}", insert_with_kept(table))).await?;
            }
            let new = if keeps { NEW } else { "" };
            client.batch_execute(&format!("{}{new}{rows}", insert_statement(table))).await
        }
        Step::Add { differing: false } if difference.archived_only > 0 => {
            client.batch_execute(&format!("{}{NEW}{rows}", insert_statement(table))).await
        }
        Step::Replace | Step::Change | Step::Add { .. } => Ok(()),
    }
}

/// Of the listed differences: archived rows that meet no live one.
const NEW: &str = " AND d.live IS NULL";

fn kept_name(table: &TablePlan) -> String {
    format!("{}.pgkeep_kept_{}", table.staged_in, table.index)
}

/// Sets aside what live rows that are about to be replaced have in columns of which the archive does not know.
fn keep_statement(table: &TablePlan) -> String {
    // Numbers for names: a column may be called as one of ours.
    let kept = table.kept.iter().enumerate();
    let kept: Vec<String> = kept.map(|(n, c)| format!("t.{} AS kept_{n}", quote::ident(c))).collect();
    format!(
        "{} SELECT d.staged AS staged, d.place AS place, {} FROM {} AS t JOIN {} AS d
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
    let numbered: Vec<String> = (0..table.kept.len()).map(|n| format!("d.kept_{n}")).collect();
    format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE
         SELECT {}, {} FROM {} AS d JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged WHERE true",
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
    rows: &str,
) -> Result<(), tokio_postgres::Error> {
    let (number, condition) = match differing {
        true => (difference.different + difference.live_only, ""),
        false => (difference.live_only, " AND d.staged IS NULL"),
    };
    if number == 0 {
        return Ok(());
    }
    let sql = format!(
        "DELETE FROM {} AS t USING {} AS d
          WHERE t.ctid OPERATOR(pg_catalog.=) d.live AND t.tableoid OPERATOR(pg_catalog.=) d.live_table{condition}{rows}",
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

fn insert_statement(table: &TablePlan) -> String {
    let columns: Vec<String> = table.columns.iter().map(|c| quote::ident(c)).collect();
    let list = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
    let values: Vec<String> = columns.iter().map(|c| format!("s.{c}")).collect();
    format!(
        "INSERT INTO {}{list} OVERRIDING SYSTEM VALUE
         SELECT {} FROM {} AS d JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged WHERE true",
        table.quoted,
        values.join(", "),
        difference_name(table),
        stage_name(table)
    )
}

/// Finds by halving the first rows that the target refuses in a step, at most so many, by their places in the list of
/// differences, with what it says. Leaves the transaction as it found it.
///
/// Takes some log₂(rows) statements for each, which together write each row a few times.
pub async fn find_refused(
    client: &Client,
    table: &TablePlan,
    difference: &Difference,
    step: Step,
    fixed: &[&str],
    most: u64,
) -> Result<Vec<(u64, tokio_postgres::Error)>, tokio_postgres::Error> {
    let list = difference_name(table);
    client.batch_execute("SAVEPOINT pgkeep_search").await?;
    if table.refusing.is_some() {
        // Each half is found by its places.
        client.batch_execute(&format!("CREATE INDEX ON {list} (place); ANALYZE {list}")).await?;
    }
    let sql = format!("SELECT COALESCE(pg_catalog.max(d.place), 0) FROM {list} AS d");
    let last = client.query_typed(&sql, &[]).await?[0].get::<_, i64>(0) as u64;
    // Going back to the savepoint brings the empty path back, too.
    prepare(client, table, difference, step).await?;
    let mut found = Vec::new();
    let mut halves = Halves::of(1..last + 1, None);
    while let Some(rows) = halves.to_try() {
        let rows = format!(
            " AND d.place OPERATOR(pg_catalog.>=) {} AND d.place OPERATOR(pg_catalog.<) {}",
            rows.start, rows.end
        );
        client.batch_execute("SAVEPOINT pgkeep_half").await?;
        match write(client, table, difference, step, fixed, &rows).await {
            Ok(()) => {
                client.batch_execute("RELEASE SAVEPOINT pgkeep_half").await?;
                halves.taken();
            }
            Err(error) if pg::is_about_a_row(&error) => {
                client
                    .batch_execute("ROLLBACK TO SAVEPOINT pgkeep_half; RELEASE SAVEPOINT pgkeep_half")
                    .await?;
                if let Some(place) = halves.refused(None) {
                    found.push((place, error));
                }
                if found.len() as u64 >= most {
                    break;
                }
            }
            Err(error) => return Err(error),
        }
    }
    client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_search; RELEASE SAVEPOINT pgkeep_search").await?;
    Ok(found)
}

/// How a row in the list of differences is told apart from others: by its key, as `id = 7`.
pub async fn key_of(
    client: &Client,
    table: &TablePlan,
    place: u64,
) -> Result<Option<String>, tokio_postgres::Error> {
    let Some(key) = &table.key else { return Ok(None) };
    let columns: Vec<String> =
        key.columns.iter().map(|c| format!("s.{}::pg_catalog.text", quote::ident(&c.name))).collect();
    let sql = format!(
        "SELECT {} FROM {} AS d JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged WHERE d.place = {place}",
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
