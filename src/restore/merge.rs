//! Archived rows meet live rows: first a list of the differences, then the fewest writes that remove them.
//!
//! Two rows are the same row if their keys are equal by the key's own index; they are equal if their binary images
//! or their texts are (`1.0` and `1.00` are not: the archive promises the text). What differs is deleted first and
//! inserted after, in two statements: so unique values may be swapped between rows and rows may move between
//! partitions. Equal rows are not written at all.

use tokio_postgres::Client;

use super::Mode;
use super::plan::TablePlan;
use super::stage::{create_as, stage_name};
use crate::failure::Failure;
use crate::postgres::catalog::Key;
use crate::postgres::quote;

/// How many rows differ, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rows that are only in the archive.
    pub archived_only: u64,
    /// Rows that are in both and differ.
    pub different: u64,
    /// Rows that are only in the target; counted in mode `exact` alone.
    pub live_only: u64,
}

impl Difference {
    /// Whether there is nothing to write.
    pub fn is_none(&self) -> bool {
        *self == Difference::default()
    }
}

/// Where the differences of a table are listed.
pub fn difference_name(table: &TablePlan) -> String {
    format!("{}.pgkeep_difference_{}", table.staged_in, table.index)
}

/// `ROW(s."a", s."b")`, domains as what they are over.
fn image(table: &TablePlan, alias: &str) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .zip(&table.casts)
        .map(|(c, cast)| format!("{alias}.{}{cast}", quote::ident(c)))
        .collect();
    format!("ROW({})", columns.join(", "))
}

/// `s.key = t.key AND …` by the key's own index.
fn same_key(key: &Key) -> String {
    let on: Vec<String> = key
        .columns
        .iter()
        .map(|c| {
            let name = quote::ident(&c.name);
            format!("s.{name}{} {} t.{name}{}", c.collate, c.equals, c.collate)
        })
        .collect();
    on.join(" AND ")
}

/// A query with a row for every difference between what is staged and `live`: the places of the staged and of the live
/// row, NULL where there is none.
fn differences(table: &TablePlan, live: &str, mode: Mode) -> String {
    let stage = stage_name(table);
    // Rows that are only in the target matter to `exact` alone.
    let mut join = if mode == Mode::Exact { "FULL JOIN" } else { "LEFT JOIN" };
    const SELECTED: &str = "SELECT s.ctid AS staged, t.tableoid AS live_table, t.ctid AS live";
    match &table.key {
        Some(key) => {
            let on = same_key(key);
            let (s, t) = (image(table, "s"), image(table, "t"));
            let mut live_only = String::new();
            let removable = removable(table);
            // The server cannot FULL JOIN by such an operator: the other half is asked for by itself.
            if mode == Mode::Exact && !key.columns.iter().all(|c| c.joinable) {
                join = "LEFT JOIN";
                live_only = format!(
                    " UNION ALL SELECT NULL, t.tableoid, t.ctid FROM {live} AS t
                       WHERE NOT EXISTS (SELECT 1 FROM {stage} AS s WHERE {on}){removable}"
                );
            }
            format!(
                "{SELECTED} FROM {stage} AS s {join} {live} AS t ON ({on})
                 WHERE s.ctid IS NULL{removable} OR t.ctid IS NULL
                    OR (s.ctid IS NOT NULL AND pg_catalog.record_image_ne({s}, {t})
                        AND {s}::pg_catalog.text OPERATOR(pg_catalog.<>) {t}::pg_catalog.text){live_only}"
            )
        }
        None => {
            // The n-th of several equal rows in the archive meets the n-th of those in the target.
            let numbered = |from: &str, oid: &str| {
                let row = image(table, "r");
                format!(
                    "(SELECT {oid} AS tableoid, r.ctid AS ctid, {row}::pg_catalog.text COLLATE pg_catalog.\"C\" AS line,
                             pg_catalog.row_number() OVER (PARTITION BY {row}::pg_catalog.text COLLATE pg_catalog.\"C\") AS place
                        FROM {from} AS r)"
                )
            };
            format!(
                "{SELECTED} FROM {} AS s {join} {} AS t
                   ON (s.line OPERATOR(pg_catalog.=) t.line AND s.place OPERATOR(pg_catalog.=) t.place)
                 WHERE s.ctid IS NULL{} OR t.ctid IS NULL",
                numbered(&stage, "0::pg_catalog.oid"),
                numbered(live, "r.tableoid"),
                removable(table)
            )
        }
    }
}

/// What a live row `t` that the archive does not have must meet beside, to be too much.
fn removable(table: &TablePlan) -> String {
    let Some(condition) = &table.removable else { return String::new() };
    format!(
        " AND (t.tableoid, t.ctid) IN (SELECT u.tableoid, u.ctid FROM (SELECT tableoid, ctid FROM {} {condition}) AS u)",
        table.from_item
    )
}

/// Lists the differences between staged rows and `live` ones in a table beside the staged rows, and counts them.
pub async fn compare(
    client: &Client,
    table: &TablePlan,
    live: &str,
    mode: Mode,
) -> Result<Difference, Failure> {
    let list = difference_name(table);
    let sql = format!(
        "{} SELECT d.staged, d.live_table, d.live, pg_catalog.row_number() OVER () AS place FROM ({}) AS d",
        create_as(table, &list),
        differences(table, live, mode)
    );
    let doing = |e: tokio_postgres::Error| {
        Failure::from_server(&e).while_doing(format!("comparing table {}", table.shown))
    };
    client.batch_execute(&sql).await.map_err(doing)?;
    count(client, &list).await.map_err(doing)
}

/// Whether an archived row that met none of the rows that it was compared with has the key of another live row: then that
/// one is archived, too, and the archive has a key twice.
pub async fn meets_others(client: &Client, table: &TablePlan) -> Result<bool, Failure> {
    let Some(key) = &table.key else { return Ok(false) };
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM {} AS d JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged
                          JOIN {} AS t ON ({}) WHERE d.live IS NULL)",
        difference_name(table),
        stage_name(table),
        table.from_item,
        same_key(key)
    );
    let rows = client.query_typed(&sql, &[]).await;
    let rows =
        rows.map_err(|e| Failure::from_server(&e).while_doing(format!("comparing table {}", table.shown)))?;
    Ok(rows[0].get(0))
}

/// Counts the differences between staged rows and `live` ones anew, without listing them: none may be left after
/// [`apply`].
pub async fn recount(
    client: &Client,
    table: &TablePlan,
    live: &str,
    mode: Mode,
) -> Result<Difference, Failure> {
    let doing = |e: tokio_postgres::Error| {
        Failure::from_server(&e).while_doing(format!("verifying table {}", table.shown))
    };
    count(client, &format!("({})", differences(table, live, mode))).await.map_err(doing)
}

async fn count(client: &Client, differences: &str) -> Result<Difference, tokio_postgres::Error> {
    let sql = format!(
        "SELECT pg_catalog.count(*) FILTER (WHERE d.live IS NULL),
                pg_catalog.count(*) FILTER (WHERE d.staged IS NOT NULL AND d.live IS NOT NULL),
                pg_catalog.count(*) FILTER (WHERE d.staged IS NULL) FROM {differences} AS d"
    );
    let rows = client.query_typed(&sql, &[]).await?;
    let at = |i: usize| rows[0].get::<_, i64>(i) as u64;
    Ok(Difference { archived_only: at(0), different: at(1), live_only: at(2) })
}

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
    let kept = kept_name(table);
    format!(
        "{} SELECT d.staged, {} FROM {} AS t JOIN {} AS d
            ON t.ctid OPERATOR(pg_catalog.=) d.live AND t.tableoid OPERATOR(pg_catalog.=) d.live_table
         WHERE d.staged IS NOT NULL",
        create_as(table, &kept),
        of_alias("t", &table.kept),
        table.from_item,
        difference_name(table)
    )
}

/// The replaced rows, with that.
fn insert_with_kept(table: &TablePlan) -> String {
    let columns: Vec<String> = table.columns.iter().chain(&table.kept).map(|c| quote::ident(c)).collect();
    format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE
         SELECT {}, {} FROM {} AS k JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) k.staged",
        table.quoted,
        columns.join(", "),
        of_alias("s", &table.columns),
        of_alias("k", &table.kept),
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
