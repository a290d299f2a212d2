//! Rows that the target refuses, left out one by one while the rest of their table is restored.
//!
//! A row can be refused when it is staged, when it is written, and when foreign keys are checked before the commit. What is
//! refused is set aside: taken off the list of differences, so that the live row that it would have replaced stays as it
//! is, and kept in a list of its own, so that the proof before the commit knows of it.

pub mod file;
pub mod halves;
pub mod references;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio_postgres::Client;

use super::compare::{self, Difference, difference_name, same_row};
use super::plan::TablePlan;
use super::stage::{self, create_as, stage_name};
use crate::archive::compression::Compression;
use crate::archive::model::Chunk;
use crate::archive::reader::Archive;
use crate::closure::archive::{ChosenRows, TableRows};
use crate::failure::Failure;
use crate::postgres::quote;
use crate::progress::Events;
use crate::row::CellForm;

/// Places of differences that one statement names.
const NAMED: usize = 10_000;

/// What becomes of refused rows.
#[derive(Clone, Debug)]
pub struct Rejects {
    /// The archive of them that is written; it must not exist.
    pub file: PathBuf,
    /// How that is compressed.
    pub compression: Compression,
    /// With more of them the whole restore is undone; none: any number is left out.
    pub most: Option<u64>,
}

/// How rows of a staged table are told apart that the target may refuse.
#[derive(Clone, Debug)]
pub struct Refusing {
    /// The column of the staging table that holds each row's number in the archived table, counted from 1.
    pub number: String,
    /// More of them need not be found.
    pub most: u64,
}

/// A row that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its number in the archived table, counted from 1; none: a live row that was to be removed.
    pub number: Option<u64>,
    /// Its place in the list of differences; none: it could not be staged.
    pub place: Option<u64>,
    /// Why, without a value of it.
    pub error: String,
}

impl Refusing {
    /// For a table with these columns; none where its rows are not left out one by one.
    pub fn new(rejects: Option<&Rejects>, columns: &[String]) -> Option<Refusing> {
        let rejects = rejects?;
        let mut number = "pgkeep_row".to_owned();
        while columns.contains(&number) {
            number.push('_');
        }
        Some(Refusing { number, most: rejects.most.unwrap_or(u64::MAX) })
    }
}

/// Where the differences are that were set aside, and the live rows that stay for want of a staged one: `staged`,
/// `live_table` and `live` as in the list of differences.
pub fn aside_name(table: &TablePlan) -> String {
    format!("{}.pgkeep_aside_{}", table.staged_in, table.index)
}

/// Makes that list, empty.
pub fn aside_statement(table: &TablePlan) -> String {
    format!(
        "{} SELECT d.staged, d.live_table, d.live FROM {} AS d WHERE false",
        create_as(table, &aside_name(table)),
        difference_name(table)
    )
}

/// The condition that a difference `a` was not set aside.
pub fn is_not_aside(table: &TablePlan) -> String {
    if table.refusing.is_none() {
        return String::new();
    }
    let aside = aside_name(table);
    format!(
        " AND NOT EXISTS (SELECT 1 FROM {aside} AS x WHERE x.staged OPERATOR(pg_catalog.=) a.staged)
          AND NOT EXISTS (SELECT 1 FROM {aside} AS x WHERE a.staged IS NULL AND x.live OPERATOR(pg_catalog.=) a.live
                                                       AND x.live_table OPERATOR(pg_catalog.=) a.live_table)"
    )
}

/// `{1,2}` as an array of `bigint`.
fn array<'n>(numbers: impl IntoIterator<Item = &'n u64>) -> String {
    let list: Vec<String> = numbers.into_iter().map(u64::to_string).collect();
    format!("'{{{}}}'::pg_catalog.int8[]", list.join(","))
}

/// Differences that are refused, by their places, as rows with their numbers. They must still be listed.
pub async fn numbered(
    client: &Client,
    table: &TablePlan,
    found: Vec<(u64, String)>,
) -> Result<Vec<Refused>, Failure> {
    let Some(refusing) = &table.refusing else { return Ok(Vec::new()) };
    let mut errors: BTreeMap<u64, String> = found.into_iter().collect();
    let places: Vec<u64> = errors.keys().copied().collect();
    let mut refused = Vec::with_capacity(places.len());
    for places in places.chunks(NAMED) {
        let sql = format!(
            "SELECT d.place, s.{} FROM {} AS d LEFT JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged
              WHERE d.place OPERATOR(pg_catalog.=) ANY ({}) ORDER BY d.place",
            quote::ident(&refusing.number),
            difference_name(table),
            stage_name(table),
            array(places)
        );
        for row in client.query_typed(&sql, &[]).await? {
            let place = row.get::<_, i64>(0) as u64;
            let number = row.get::<_, Option<i64>>(1).map(|number| number as u64);
            let error = errors.remove(&place).unwrap_or_default();
            refused.push(Refused { number, place: Some(place), error });
        }
    }
    Ok(refused)
}

/// Takes refused rows off the list of differences. Returns what is left of it. Rows that were set aside before are passed
/// over.
pub async fn set_aside(
    client: &Client,
    table: &TablePlan,
    refused: &[Refused],
) -> Result<Difference, Failure> {
    let places: Vec<u64> = refused.iter().filter_map(|r| r.place).collect();
    for places in places.chunks(NAMED) {
        let sql = format!(
            "WITH gone AS (DELETE FROM {} AS d WHERE d.place OPERATOR(pg_catalog.=) ANY ({})
                           RETURNING d.staged, d.live_table, d.live)
             INSERT INTO {} SELECT g.staged, g.live_table, g.live FROM gone AS g",
            difference_name(table),
            array(places),
            aside_name(table)
        );
        client.batch_execute(&sql).await?;
    }
    Ok(compare::listed(client, table).await?)
}

/// In mode `exact` a live row whose archived version could not be staged is not too much: it is found by the key, if that
/// can be staged, and set aside. Returns what is left of the list of differences.
pub async fn keep_counterparts(
    client: &Client,
    archive: &Arc<Archive>,
    table: &TablePlan,
    refused: &[Refused],
) -> Result<Difference, Failure> {
    if let Some(key) = &table.key {
        let numbers: Vec<u64> = refused.iter().filter_map(|r| r.number).collect();
        let is_key = |name: &String| key.columns.iter().any(|c| c.name == *name);
        let keys = format!("{}.pgkeep_refused_{}", table.staged_in, table.index);
        let columns: Vec<String> = table.columns.iter().filter(|c| is_key(c)).cloned().collect();
        let of_key = TablePlan {
            left_out: outside(table, is_key),
            casts: table
                .casts
                .iter()
                .zip(&table.columns)
                .filter(|(_, c)| is_key(c))
                .map(|(c, _)| c.clone())
                .collect(),
            places: Some(Arc::new(chosen(archive, table, &numbers))),
            columns,
            ..table.clone()
        };
        stage::create(client, &of_key, &keys).await?;
        let chunks: Vec<Chunk> = archive.table_chunks(table.index).into_iter().cloned().collect();
        stage::copy_but_refused(client, archive, &of_key, chunks, &keys, &Events::silent()).await?;
        let sql = format!(
            "WITH kept AS (DELETE FROM {} AS d USING {} AS t, {keys} AS s
                            WHERE d.staged IS NULL AND t.ctid OPERATOR(pg_catalog.=) d.live
                              AND t.tableoid OPERATOR(pg_catalog.=) d.live_table AND {}
                           RETURNING d.live_table, d.live)
             INSERT INTO {} SELECT NULL, k.live_table, k.live FROM kept AS k",
            difference_name(table),
            table.from_item,
            same_row(table),
            aside_name(table)
        );
        client.batch_execute(&sql).await?;
    }
    Ok(compare::listed(client, table).await?)
}

/// Which archived columns are left out where only some of those that are restored are taken.
fn outside(table: &TablePlan, is_taken: impl Fn(&String) -> bool) -> Vec<bool> {
    let mut restored = table.columns.iter();
    let is_out = |(at, _): (usize, &CellForm)| {
        let is_left_out = table.left_out.get(at).copied().unwrap_or(false);
        is_left_out || !restored.next().is_some_and(&is_taken)
    };
    table.forms.iter().enumerate().map(is_out).collect()
}

/// Rows of a table by their numbers, as rows of an archive that are chosen.
fn chosen(archive: &Archive, table: &TablePlan, numbers: &[u64]) -> ChosenRows {
    let numbers: HashSet<u64> = numbers.iter().copied().collect();
    let mut rows: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let mut before = 0;
    for chunk in archive.table_chunks(table.index) {
        let own = (0..chunk.rows).filter(|row| numbers.contains(&(before + row + 1)));
        let own: Vec<u32> = own.filter_map(|row| u32::try_from(row).ok()).collect();
        if !own.is_empty() {
            rows.insert(chunk.offset, own);
        }
        before += chunk.rows;
    }
    let mut chosen = ChosenRows::none(archive.header().tables.len());
    chosen.set(table.index, TableRows::Some(rows));
    chosen
}
