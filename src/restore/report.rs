//! What a table that was compared would become, in more than numbers: which columns differ, and some of the rows.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use serde::Serialize;
use tokio_postgres::Client;

use super::compare::{Compared, column_differs, conflicts_name, difference_name};
use super::log::TableOutcome;
use super::plan::TablePlan;
use super::stage::stage_name;
use crate::difference::{RowObject, Samples, TableDifference, Update};
use crate::failure::Failure;
use crate::postgres::copy::RowEncoder;
use crate::postgres::quote;
use crate::row::{self, CellForm, Cells};

/// Describes a table whose differences are listed, with so many rows of each kind.
pub async fn describe(
    client: &Client,
    table: &TablePlan,
    compared: &Compared,
    outcome: &TableOutcome,
    samples: u32,
) -> Result<TableDifference, Failure> {
    let reading = Reading { client, table };
    let described = async {
        let mut described = of_outcome(outcome);
        if compared.difference.different > 0 {
            described.columns = reading.columns().await?;
        }
        if samples > 0 && !compared.is_none() {
            described.samples = reading.samples(compared, samples).await?;
        }
        Ok::<_, Failure>(described)
    };
    described.await.map_err(|f| f.while_doing(format!("describing what differs in table {}", table.shown)))
}

/// A row that both sides have and that differs.
#[derive(Serialize)]
pub struct Conflict<'a> {
    table: &'a str,
    key: RowObject,
    /// What decided.
    rule: String,
    /// Whose version is to be had: `archive` or `target`.
    preferred: &'static str,
    /// What decided, as archived.
    archived: RowObject,
    /// What decided, as it is.
    target: RowObject,
}

/// Gives `each` every row of a table of which one version had to be preferred.
pub async fn conflicts(
    client: &Client,
    table: &TablePlan,
    mut each: impl FnMut(Conflict<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let reading = Reading { client, table };
    let key = reading.key();
    let deciding: Vec<usize> = table.rules.columns().filter_map(|c| reading.place(c)).collect();
    let decisions = format!("SELECT DISTINCT d.decision FROM {} AS d ORDER BY 1", conflicts_name(table));
    let lists = [("s", key.as_slice()), ("s", &deciding), ("t", &deciding)];
    // One decision after the other, so that a row need not say which is its own.
    for row in client.query_typed(&decisions, &[]).await? {
        let decision: i16 = row.get(0);
        let pairs = reading.pairs(&conflicts_name(table));
        let from = format!("{pairs} WHERE d.decision OPERATOR(pg_catalog.=) {decision}::pg_catalog.int2");
        let decided = |cells: &[&[u8]]| {
            let (own, rest) = cells.split_at(key.len());
            let (archived, target) = rest.split_at(deciding.len());
            let object = |places: &[usize], cells: &[&[u8]]| {
                reading.object(places.iter().copied().zip(cells.iter().copied()))
            };
            each(Conflict {
                table: &table.shown,
                key: object(&key, own)?,
                rule: table.rule(decision),
                preferred: if decision > 0 { "archive" } else { "target" },
                archived: object(&deciding, archived)?,
                target: object(&deciding, target)?,
            })
        };
        reading.read(&lists, &[], &from, decided).await?;
    }
    Ok(())
}

/// The numbers alone.
pub fn of_outcome(outcome: &TableOutcome) -> TableDifference {
    TableDifference {
        inserted: outcome.inserted,
        updated: outcome.updated,
        deleted: outcome.deleted,
        unchanged: outcome.unchanged,
        kept: outcome.kept,
        conflicts: outcome.conflicts.clone(),
        ..TableDifference::default()
    }
}

/// Columns that one query compares: it has those of both rows, and the server takes 1,664.
const TOGETHER: usize = 400;

struct Reading<'a> {
    client: &'a Client,
    table: &'a TablePlan,
}

impl Reading<'_> {
    /// What stands behind FROM to mean the listed pairs, `s` and `t`.
    fn pairs(&self, list: &str) -> String {
        format!(
            "{list} AS d JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged
                JOIN {} AS t ON t.ctid OPERATOR(pg_catalog.=) d.live AND t.tableoid OPERATOR(pg_catalog.=) d.live_table",
            stage_name(self.table),
            self.table.from_item
        )
    }

    /// Of the rows that would be updated: how many differ in each column.
    async fn columns(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let mut found = BTreeMap::new();
        let all: Vec<(&String, &String)> = self.table.columns.iter().zip(&self.table.casts).collect();
        for some in all.chunks(TOGETHER) {
            let counts: Vec<String> = some
                .iter()
                .map(|(c, cast)| format!("pg_catalog.count(*) FILTER (WHERE {})", column_differs(c, cast)))
                .collect();
            let pairs = self.pairs(&difference_name(self.table));
            let sql = format!("SELECT {} FROM {pairs}", counts.join(", "));
            let rows = self.client.query_typed(&sql, &[]).await?;
            let count = |n: usize| rows[0].get::<_, i64>(n).max(0) as u64;
            let named = some.iter().enumerate().map(|(n, (name, _))| ((*name).clone(), count(n)));
            found.extend(named.filter(|(_, rows)| *rows > 0));
        }
        Ok(found)
    }

    async fn samples(&self, compared: &Compared, most: u32) -> Result<Samples, Failure> {
        let (list, difference) = (difference_name(self.table), compared.difference);
        let mut samples = Samples::default();
        if difference.archived_only > 0 {
            let stage = stage_name(self.table);
            let from = format!(
                "{list} AS d JOIN {stage} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged WHERE d.live IS NULL"
            );
            samples.inserted = self.rows(&from, most).await?;
        }
        if difference.live_only > 0 {
            let from = format!(
                "{list} AS d JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.live
                    AND s.tableoid OPERATOR(pg_catalog.=) d.live_table WHERE d.staged IS NULL",
                self.table.from_item
            );
            samples.deleted = self.rows(&from, most).await?;
        }
        if difference.different > 0 {
            samples.updated = self.updates(&self.pairs(&list), most).await?;
        }
        if compared.kept() > 0 {
            let from = self.pairs(&conflicts_name(self.table));
            let from = format!("{from} WHERE d.decision OPERATOR(pg_catalog.<=) 0");
            samples.kept = self.updates(&from, most).await?;
        }
        Ok(samples)
    }

    /// Whole rows, of alias `s`.
    async fn rows(&self, from: &str, most: u32) -> Result<Vec<RowObject>, Failure> {
        let all = self.all();
        let mut rows = Vec::new();
        let limited = format!("{from} LIMIT {most}");
        let each = |cells: &[&[u8]]| {
            rows.push(self.object(all.iter().copied().zip(cells.iter().copied()))?);
            Ok(())
        };
        self.read(&[("s", &all)], &[], &limited, each).await?;
        Ok(rows)
    }

    /// Keys and differing columns of pairs.
    async fn updates(&self, from: &str, most: u32) -> Result<Vec<Update>, Failure> {
        let (table, key) = (self.table, self.key());
        // Of a wider table the first ones: a row of more is nothing that anybody reads.
        let all: Vec<usize> = self.all().into_iter().take(TOGETHER).collect();
        let differ: Vec<String> =
            all.iter().map(|n| column_differs(&table.columns[*n], &table.casts[*n])).collect();
        let mut updates = Vec::new();
        let limited = format!("{from} LIMIT {most}");
        let each = |cells: &[&[u8]]| {
            let (own, rest) = cells.split_at(key.len());
            let (old, rest) = rest.split_at(all.len());
            let (new, flags) = rest.split_at(all.len());
            let differing = |cells: &[&[u8]]| {
                let cells = all.iter().copied().zip(cells.iter().copied()).zip(flags);
                let cells: Vec<_> =
                    cells.filter(|(_, flag)| **flag == b"true").map(|(cell, _)| cell).collect();
                self.object(cells.into_iter())
            };
            updates.push(Update {
                key: self.object(key.iter().copied().zip(own.iter().copied()))?,
                old: differing(old)?,
                new: differing(new)?,
            });
            Ok(())
        };
        self.read(&[("s", &key), ("t", &all), ("s", &all)], &differ, &limited, each).await?;
        Ok(updates)
    }

    fn all(&self) -> Vec<usize> {
        (0..self.table.columns.len()).collect()
    }

    /// The places of the key's columns.
    fn key(&self) -> Vec<usize> {
        let columns = self.table.key.iter().flat_map(|key| &key.columns);
        columns.filter_map(|c| self.place(&c.name)).collect()
    }

    fn place(&self, column: &str) -> Option<usize> {
        self.table.columns.iter().position(|c| c == column)
    }

    /// Columns, by their places, with their cells, as one object.
    fn object<'c>(&self, cells: impl Iterator<Item = (usize, &'c [u8])>) -> Result<RowObject, Failure> {
        let (names, cells): (Vec<&str>, Vec<&[u8]>) =
            cells.map(|(place, cell)| (self.table.columns[place].as_str(), cell)).unzip();
        let line = [&b"["[..], &cells.join(&b","[..]), b"]"].concat();
        let mut object = Vec::new();
        row::object(&names, &line, &mut object).map_err(|e| unreadable(&e.to_string()))?;
        let object = String::from_utf8(object).ok().and_then(RowObject::new);
        object.ok_or_else(|| unreadable("it is no JSON"))
    }

    /// Gives `each` the cells of every row of `from`: some columns of some aliases, by their places, then expressions that
    /// are true or false.
    async fn read(
        &self,
        lists: &[(&str, &[usize])],
        flags: &[String],
        from: &str,
        each: impl FnMut(&[&[u8]]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let table = self.table;
        let value =
            |alias: &str, n: usize| format!("{alias}.{}{}", quote::ident(&table.columns[n]), table.casts[n]);
        let places = || lists.iter().flat_map(|(alias, places)| places.iter().map(move |n| (*alias, *n)));
        let values: Vec<String> =
            places().map(|(alias, n)| value(alias, n)).chain(flags.iter().cloned()).collect();
        let forms = self.taken_forms();
        let forms = places().map(|(_, n)| forms[n]).chain(flags.iter().map(|_| CellForm::Boolean));
        let select = format!("SELECT {} FROM {from}", values.join(", "));
        copied(self.client, &select, table.copy_options, forms.collect(), each).await
    }

    /// The forms of the columns that are in the target.
    fn taken_forms(&self) -> Vec<CellForm> {
        let table = self.table;
        let is_left = |n: usize| table.left_out.get(n).copied().unwrap_or(false);
        table.forms.iter().enumerate().filter(|(n, _)| !is_left(*n)).map(|(_, form)| *form).collect()
    }
}

/// Gives `each` the cells of every row of a query, which are of these forms. `copy_options` end the COPY.
pub async fn copied(
    client: &Client,
    select: &str,
    copy_options: &str,
    forms: Vec<CellForm>,
    mut each: impl FnMut(&[&[u8]]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let encoder = RowEncoder::new(forms);
    let mut stream =
        std::pin::pin!(client.copy_out(&format!("COPY ({select}) TO STDOUT{copy_options}")).await?);
    let (mut text, mut encoded) = (Vec::new(), Vec::new());
    while let Some(part) = stream.try_next().await? {
        text.extend_from_slice(&part);
        let mut done = 0;
        while let Some(end) = memchr::memchr(b'\n', &text[done..]) {
            encoded.clear();
            let line = &text[done..done + end];
            encoder.encode(line, &mut encoded).map_err(|e| unreadable(&e.to_string()))?;
            let cells: Result<Vec<&[u8]>, _> = Cells::new(&encoded).collect();
            each(&cells.map_err(|e| unreadable(&e.to_string()))?)?;
            done += end + 1;
        }
        text.drain(..done);
    }
    Ok(())
}

fn unreadable(why: &str) -> Failure {
    Failure::failed(format!("a row that the server sent cannot be shown: {why}"))
}
