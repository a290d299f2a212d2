//! Archived rows meet live rows: a list of the differences.
//!
//! Two rows are the same row if their keys are equal by the key's own index; they are equal if their binary images
//! or their texts are (`1.0` and `1.00` are not: the archive promises the text).

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::Mode;
use super::plan::TablePlan;
use super::refused::{Refused, aside_statement, is_not_aside};
use super::repair;
use super::stage::{create_as, stage_name};
use crate::difference::Conflicts;
use crate::failure::Failure;
use crate::postgres::catalog::Key;
use crate::postgres::quote;

/// How many rows are to be written, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Rows that are only in the archive.
    pub archived_only: u64,
    /// Rows that are in both and differ, and of which the archived version is to be had.
    pub different: u64,
    /// Rows that are only in the target, where these are counted.
    pub live_only: u64,
}

impl Difference {
    /// Whether there is nothing to write.
    pub fn is_none(&self) -> bool {
        *self == Difference::default()
    }
}

/// What comparing a table has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// What is to be written.
    pub difference: Difference,
    /// In modes that may keep a live row that differs: how many rows each decision is about.
    pub decisions: BTreeMap<i16, u64>,
    /// Archived rows that were staged and not chosen by the table's condition.
    pub unchosen: u64,
    /// Archived rows that could not be staged.
    pub refused: Vec<Refused>,
}

impl Compared {
    /// Whether nothing is to be written or told of rows that are staged.
    pub fn is_none(&self) -> bool {
        self.difference.is_none() && self.decisions.is_empty()
    }

    /// Rows that differ and stay as they are.
    pub fn kept(&self) -> u64 {
        self.decisions.iter().filter(|(decision, _)| **decision <= 0).map(|(_, rows)| rows).sum()
    }

    /// The decisions by the names of their rules.
    pub fn conflicts(&self, table: &TablePlan) -> Conflicts {
        let mut conflicts = Conflicts::new();
        for (decision, rows) in &self.decisions {
            let resolved = conflicts.entry(table.rule(*decision)).or_default();
            let side = if *decision > 0 { &mut resolved.archive } else { &mut resolved.target };
            *side += rows;
        }
        conflicts
    }
}

/// Where the differences of a table are listed: `staged`, `live_table` and `live` are the places of the two rows, NULL
/// where there is none.
pub fn difference_name(table: &TablePlan) -> String {
    format!("{}.pgkeep_difference_{}", table.staged_in, table.index)
}

/// Where the rows are listed that differ and of which one had to be preferred, with the `decision`.
pub fn conflicts_name(table: &TablePlan) -> String {
    format!("{}.pgkeep_conflict_{}", table.staged_in, table.index)
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

/// Whether two versions of a row, as `image` gives them, differ.
fn is_other(one: &str, other: &str) -> String {
    format!(
        "(pg_catalog.record_image_ne({one}, {other})
          AND {one}::pg_catalog.text OPERATOR(pg_catalog.<>) {other}::pg_catalog.text)"
    )
}

/// Whether a column of `s` and `t` differs, as SQL.
pub fn column_differs(column: &str, cast: &str) -> String {
    let [s, t] = ["s", "t"].map(|alias| format!("ROW({alias}.{}{cast})", quote::ident(column)));
    is_other(&s, &t)
}

/// `s.key = t.key AND …` by the key's own index.
pub fn same_key(key: &Key) -> String {
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

/// Whether a staged row `s` and a live one `t` are the same row; without a key, whether they are equal.
pub fn same_row(table: &TablePlan) -> String {
    match &table.key {
        Some(key) => same_key(key),
        None => {
            let [s, t] = ["s", "t"]
                .map(|alias| format!("{}::pg_catalog.text COLLATE pg_catalog.\"C\"", image(table, alias)));
            format!("{s} OPERATOR(pg_catalog.=) {t}")
        }
    }
}

/// Where the places of those staged rows are that the table's condition chooses: it is asked once, so that nothing that is
/// written meanwhile, and no chance, gives another answer.
pub fn chosen_name(table: &TablePlan) -> String {
    format!("{}.pgkeep_chosen_{}", table.staged_in, table.index)
}

/// A query with a row for every difference between what is staged and `live`: the places of the staged and of the live
/// row, NULL where there is none; and, where both are there and one has to be preferred, the decision.
fn differences(table: &TablePlan, live: &str) -> String {
    let stage = stage_name(table);
    let is_exact = table.counts_live_only;
    // Others need not be joined.
    let mut join = if is_exact { "FULL JOIN" } else { "LEFT JOIN" };
    let (staged, chosen) = match table.chooses() {
        false => (format!("{stage} AS s"), ""),
        true => (
            format!(
                "({stage} AS s LEFT JOIN {} AS c ON c.place OPERATOR(pg_catalog.=) s.ctid)",
                chosen_name(table)
            ),
            " AND c.place IS NOT NULL",
        ),
    };
    let removable = removable(table);
    const SELECTED: &str = "SELECT s.ctid AS staged, t.tableoid AS live_table, t.ctid AS live";
    match &table.key {
        Some(key) => {
            let on = same_key(key);
            let (s, t) = (image(table, "s"), image(table, "t"));
            let mut live_only = String::new();
            // The server cannot FULL JOIN by such an operator: the other half is asked for by itself.
            if is_exact && !key.columns.iter().all(|c| c.joinable) {
                join = "LEFT JOIN";
                live_only = format!(
                    " UNION ALL SELECT NULL, t.tableoid, t.ctid, NULL FROM {live} AS t
                       WHERE NOT EXISTS (SELECT 1 FROM {stage} AS s WHERE {on}){removable}"
                );
            }
            const BOTH: &str = "s.ctid IS NOT NULL AND t.ctid IS NOT NULL";
            let decision = match table.mode {
                Mode::Upsert | Mode::Exact => "NULL::pg_catalog.int2".to_owned(),
                Mode::Missing => format!("CASE WHEN {BOTH} THEN 0::pg_catalog.int2 END"),
                Mode::Newer => format!("CASE WHEN {BOTH} THEN {} END", table.rules.decision()),
            };
            let differs = is_other(&s, &t);
            format!(
                "{SELECTED}, {decision} AS decision FROM {staged} {join} {live} AS t ON ({on})
                 WHERE s.ctid IS NULL{removable} OR (s.ctid IS NOT NULL AND t.ctid IS NULL{chosen})
                    OR (s.ctid IS NOT NULL AND t.ctid IS NOT NULL{chosen} AND {differs}){live_only}"
            )
        }
        None => {
            // The n-th of several equal rows in the archive meets the n-th of those in the target.
            let numbered = |from: String, oid: &str| {
                let row = image(table, "r");
                format!(
                    "(SELECT {oid} AS tableoid, r.ctid AS ctid, {row}::pg_catalog.text COLLATE pg_catalog.\"C\" AS line,
                             pg_catalog.row_number() OVER (PARTITION BY {row}::pg_catalog.text COLLATE pg_catalog.\"C\") AS place
                        FROM {from})"
                )
            };
            let chosen = match table.chooses() {
                false => format!("{stage} AS r"),
                true => {
                    let chosen = chosen_name(table);
                    format!("{stage} AS r JOIN {chosen} AS c ON c.place OPERATOR(pg_catalog.=) r.ctid")
                }
            };
            format!(
                "{SELECTED}, NULL::pg_catalog.int2 AS decision FROM {} AS s {join} {} AS t
                   ON (s.line OPERATOR(pg_catalog.=) t.line AND s.place OPERATOR(pg_catalog.=) t.place)
                 WHERE s.ctid IS NULL{removable} OR t.ctid IS NULL",
                numbered(chosen, "0::pg_catalog.oid"),
                numbered(format!("{live} AS r"), "r.tableoid"),
            )
        }
    }
}

/// What a live row `t` that the archive does not have must meet beside, to be too much.
fn removable(table: &TablePlan) -> String {
    let of_table = |condition: &String| {
        format!(
            " AND (t.tableoid, t.ctid) IN (SELECT u.tableoid, u.ctid FROM (SELECT tableoid, ctid FROM {} {condition}) AS u)",
            table.from_item
        )
    };
    table.removable.iter().map(of_table).collect()
}

/// Lists the differences between staged rows and `live` ones in a table beside the staged rows, and counts them.
pub async fn compare(client: &Client, table: &TablePlan, live: &str) -> Result<Compared, Failure> {
    let doing = |e: tokio_postgres::Error| {
        Failure::from_server(&e).while_doing(format!("comparing table {}", table.shown))
    };
    list(client, table, live).await.map_err(doing)
}

async fn list(client: &Client, table: &TablePlan, live: &str) -> Result<Compared, tokio_postgres::Error> {
    let list = difference_name(table);
    let mut unchosen = 0;
    if table.chooses() {
        let (stage, name, chosen) = (stage_name(table), quote::ident(&table.name), chosen_name(table));
        let choose = match &table.chosen {
            // Under the table's own name, so that the condition finds its columns.
            Some(condition) => format!(
                "{} SELECT {name}.ctid AS place FROM {stage} AS {name} WHERE ({condition}) IS TRUE",
                create_as(table, &chosen)
            ),
            None => repair::choose(table, &chosen),
        };
        client.batch_execute(&format!("{choose}; ANALYZE {chosen}")).await?;
        let sql = format!(
            "SELECT (SELECT pg_catalog.count(*) FROM {stage}) OPERATOR(pg_catalog.-) (SELECT pg_catalog.count(*) FROM {chosen})"
        );
        unchosen = client.query_typed(&sql, &[]).await?[0].get::<_, i64>(0) as u64;
    }
    // Of two rows that exclude each other the one is refused that the archive has later.
    let order = if table.refusing.is_some() { "ORDER BY d.staged" } else { "" };
    let sql = format!(
        "{} SELECT d.staged, d.live_table, d.live, d.decision, pg_catalog.row_number() OVER ({order}) AS place FROM ({}) AS d",
        create_as(table, &list),
        differences(table, live)
    );
    client.batch_execute(&sql).await?;
    if table.refusing.is_some() {
        client.batch_execute(&aside_statement(table)).await?;
    }
    let mut compared = Compared { unchosen, ..Compared::default() };
    if matches!(table.mode, Mode::Missing | Mode::Newer) {
        let sql = format!(
            "SELECT d.decision, pg_catalog.count(*) FROM {list} AS d WHERE d.decision IS NOT NULL GROUP BY d.decision"
        );
        for row in client.query_typed(&sql, &[]).await? {
            compared.decisions.insert(row.get(0), row.get::<_, i64>(1) as u64);
        }
        if !compared.decisions.is_empty() {
            let sql = format!(
                "{} SELECT d.staged, d.live_table, d.live, d.decision FROM {list} AS d WHERE d.decision IS NOT NULL;
                 DELETE FROM {list} AS d WHERE d.decision OPERATOR(pg_catalog.<=) 0",
                create_as(table, &conflicts_name(table))
            );
            client.batch_execute(&sql).await?;
        }
    }
    compared.difference = count(client, &list).await?;
    Ok(compared)
}

/// Counts the differences that are listed by now.
pub async fn listed(client: &Client, table: &TablePlan) -> Result<Difference, tokio_postgres::Error> {
    count(client, &difference_name(table)).await
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
/// [`apply`](super::merge::apply), but for what was set aside.
pub async fn recount(client: &Client, table: &TablePlan, live: &str) -> Result<Difference, Failure> {
    let doing = |e: tokio_postgres::Error| {
        Failure::from_server(&e).while_doing(format!("verifying table {}", table.shown))
    };
    let wanted = format!(
        "(SELECT * FROM ({}) AS a WHERE (a.decision IS NULL OR a.decision OPERATOR(pg_catalog.>) 0){})",
        differences(table, live),
        is_not_aside(table)
    );
    count(client, &wanted).await.map_err(doing)
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
