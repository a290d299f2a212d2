//! Rows that are missing or broken, and what makes them so: conditions that the server evaluates on staged rows and on live
//! ones. A repair is a restore in mode `upsert` of the rows that these choose.
//!
//! Broken is a row that lacks a required value, that a check of the user's finds, or that refers to a row which is gone.
//! The last is repaired by the return of that row; where that is not archived and the archive has the row with another
//! reference, by that.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use super::compare::{chosen_name, difference_name};
use super::plan::TablePlan;
use super::stage::{BUILT_IN_FIRST_PATH, create_as, stage_name};
use super::{foreign_keys, verify};
use crate::archive::model;
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, ColumnInfo, ForeignKey, Key, Relation};
use crate::postgres::quote;
use crate::selection::Pattern;

/// What a repair looks for beside rows that are missing, that lack a value which the archive's definition requires, or that
/// refer to none.
#[derive(Clone, Debug, Default)]
pub struct Repair {
    /// Columns that must have a value and no empty text, by tables' names.
    pub required: Vec<(Pattern, Vec<String>)>,
    /// Queries for rows that should not be.
    pub checks: Vec<CheckedRows>,
}

/// A query that gives the keys of rows that should not be as they are.
#[derive(Clone, Debug)]
pub struct CheckedRows {
    /// The check's name.
    pub name: String,
    /// The table.
    pub table: Pattern,
    /// The query. It has the columns of the table's key among its own.
    pub sql: String,
}

/// Why a row is repaired.
#[derive(Clone, Debug)]
pub struct Reason {
    /// As people read it.
    pub name: String,
    /// Whether a check of the user's says so.
    is_check: bool,
    /// The condition on an archived row `s`.
    chosen: String,
    /// The condition on a live row `t`; none where it cannot be left.
    broken: Option<String>,
    /// The condition on an archived row `s` that comes, and is broken for the same reason; none where that cannot be.
    no_better: Option<String>,
    /// Where the row that it refers to is gone: the table referred to, and which of its rows `p` that is.
    parent: Option<(u32, String)>,
}

/// Why a row comes back that the target does not have.
pub const MISSING: &str = "missing";

/// How many rows of a table there are for each reason.
pub type ByReason = BTreeMap<String, u64>;

impl Repair {
    /// Refuses names of tables that mean none of `names`, and columns that tables do not have.
    pub fn check(&self, header: &model::Header) -> Result<(), Failure> {
        let wrong = |what: String| {
            Failure::usage(what)
                .state("the target is untouched")
                .next("correct pgkeep.toml; pgkeep show FILE lists the tables, with --json their columns")
        };
        for (pattern, columns) in &self.required {
            let meant: Vec<&model::Table> =
                header.tables.iter().filter(|t| pattern.matches(&t.schema, &t.name)).collect();
            if meant.is_empty() {
                let what = format!(
                    "[repair.…] of the configuration names {:?}, which no table of the archive is called",
                    pattern.as_str()
                );
                return Err(wrong(what));
            }
            for table in meant {
                let has = |name: &&String| table.columns.iter().any(|c| c.name == **name);
                if let Some(unknown) = columns.iter().find(|name| !has(name)) {
                    let what = format!(
                        "[repair.…] of the configuration: table {} requires column {unknown}, which it does not have",
                        table.shown()
                    );
                    return Err(wrong(what));
                }
            }
        }
        Ok(())
    }
}

/// What makes rows of a table missing or broken. `key` tells them apart; `taken` are the columns that are restored.
///
/// Without a key, no archived row is the better version of one that is there: what is broken is told, and nothing more.
pub fn reasons(
    repair: &Repair,
    catalog: &Catalog,
    archived: &model::Table,
    relation: &Relation,
    key: Option<&Key>,
    taken: &[&ColumnInfo],
) -> Vec<Reason> {
    let (live, same) = (relation.from_item(), key.map_or("false".to_owned(), super::compare::same_key));
    let exists = |more: &str| format!("EXISTS (SELECT 1 FROM {live} AS t WHERE {same}{more})");
    let mut reasons = vec![Reason {
        name: MISSING.to_owned(),
        is_check: false,
        chosen: format!("NOT {}", exists("")),
        broken: None,
        no_better: None,
        parent: None,
    }];
    let is_of_key = |name: &String| key.is_some_and(|key| key.columns.iter().any(|k| k.name == *name));
    let meant = repair.required.iter().filter(|(p, _)| p.matches(&archived.schema, &archived.name));
    let named: Vec<&String> = meant.flat_map(|(_, columns)| columns).collect();
    for column in taken.iter().filter(|c| !is_of_key(&c.name)) {
        let is_named = named.iter().any(|name| **name == column.name);
        let is_archived = archived.columns.iter().any(|c| c.name == column.name && c.not_null);
        // What the server itself requires cannot be missing.
        if !is_named && (!is_archived || column.not_null) {
            continue;
        }
        let name = quote::ident(&column.name);
        // IS NULL would take a composite value of NULLs for none.
        let empty = |alias: &str| {
            let text = format!("{alias}.{name}::pg_catalog.text OPERATOR(pg_catalog.=) ''");
            let null = format!("{alias}.{name} IS NOT DISTINCT FROM NULL");
            if is_named { format!("({null} OR {text})") } else { null }
        };
        reasons.push(Reason {
            name: format!("{} is empty", column.name),
            is_check: false,
            chosen: format!("{} AND ({}) IS NOT TRUE", exists(&format!(" AND {}", empty("t"))), empty("s")),
            broken: Some(empty("t")),
            no_better: Some(empty("s")),
            parent: None,
        });
    }
    let checks = repair.checks.iter().filter(|_| key.is_some());
    for check in checks.filter(|c| c.table.matches(&archived.schema, &archived.name)) {
        let sql = check.sql.trim().trim_end_matches(';');
        let among = |alias: &str| format!("EXISTS (SELECT 1 FROM ({sql}\n) AS {alias} WHERE {same})");
        reasons.push(Reason {
            name: format!("check {}", check.name),
            is_check: true,
            chosen: among("t"),
            broken: Some(among("s")),
            no_better: None,
            parent: None,
        });
    }
    for constraint in catalog.constraints_of(relation.oid) {
        let Some(foreign) = &constraint.foreign_key else { continue };
        let Some(parent) = catalog.relation(foreign.references) else { continue };
        // Those with PERIOD compare ranges.
        let is_taken = |name: &String| taken.iter().any(|c| c.name == *name);
        if constraint.definition.contains(" PERIOD ") || !foreign.columns.iter().all(|k| is_taken(&k.child)) {
            continue;
        }
        let gone = refers_to_none(foreign, parent);
        let [s, t] = ["s", "t"].map(|alias| {
            let columns = foreign.columns.iter().map(|k| format!("{alias}.{}", quote::ident(&k.child)));
            format!("ROW({})", columns.collect::<Vec<_>>().join(", "))
        });
        let otherwise = format!(" AND {gone} AND pg_catalog.record_image_ne({s}, {t})");
        reasons.push(Reason {
            name: refers_to_none_name(&constraint.name, parent),
            is_check: false,
            chosen: exists(&otherwise),
            broken: Some(gone),
            no_better: None,
            parent: Some((parent.oid, joined_to_live(foreign))),
        });
    }
    reasons
}

/// The reason to repair a row that refers, by this foreign key, to one that is gone.
pub fn refers_to_none_name(key: &str, parent: &Relation) -> String {
    format!("{key} refers to no row of {}", parent.shown())
}

/// Whether a live row `t` refers to a row, and there is none.
fn refers_to_none(key: &ForeignKey, parent: &Relation) -> String {
    format!(
        "(({}) AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {}))",
        verify::refers(key, "t"),
        parent.from_item(),
        joined_to_live(key)
    )
}

fn joined_to_live(key: &ForeignKey) -> String {
    foreign_keys::joined_with(key, "t")
}

/// Where it is noted why a staged row is chosen.
fn reason_name(table: &TablePlan) -> String {
    format!("{}.pgkeep_reason_{}", table.staged_in, table.index)
}

/// Statements that choose the rows of a staged table, one for each reason, so that the server can join each by itself; and
/// note in `chosen` the places of those that any chooses.
pub fn choose(table: &TablePlan, chosen: &str) -> String {
    let (stage, list) = (stage_name(table), reason_name(table));
    let each = table.reasons.iter().enumerate().map(|(n, reason)| {
        format!(
            "SELECT s.ctid AS place, {n}::pg_catalog.int2 AS reason FROM {stage} AS s WHERE {}",
            reason.chosen
        )
    });
    format!(
        "{} {}; {} SELECT DISTINCT r.place FROM {list} AS r",
        create_as(table, &list),
        each.collect::<Vec<_>>().join(" UNION ALL "),
        create_as(table, chosen)
    )
}

/// Leaves alone what was chosen only because it refers to a row that is gone, where that one comes back: it need not be as
/// archived. Returns how many rows that are; the differences of the table are to be counted anew then. `compared` are the
/// tables whose differences are listed.
pub async fn spare(
    client: &Client,
    table: &TablePlan,
    compared: &[&TablePlan],
) -> Result<u64, tokio_postgres::Error> {
    let (reasons, list, chosen) = (reason_name(table), difference_name(table), chosen_name(table));
    let mut excused = String::new();
    for (n, reason) in table.reasons.iter().enumerate() {
        let Some(coming) = comes_back(reason, compared) else { continue };
        excused += &format!(
            "DELETE FROM {reasons} AS r USING {list} AS d, {} AS t
              WHERE r.reason OPERATOR(pg_catalog.=) {n}::pg_catalog.int2 AND d.staged OPERATOR(pg_catalog.=) r.place
                AND t.ctid OPERATOR(pg_catalog.=) d.live AND t.tableoid OPERATOR(pg_catalog.=) d.live_table AND {coming};",
            table.from_item
        );
    }
    if excused.is_empty() {
        return Ok(0);
    }
    client.batch_execute(&excused).await?;
    let unchosen = |place: &str| {
        format!("NOT EXISTS (SELECT 1 FROM {reasons} AS r WHERE r.place OPERATOR(pg_catalog.=) {place})")
    };
    client.batch_execute(&format!("DELETE FROM {list} AS d WHERE {}", unchosen("d.staged"))).await?;
    let sql = format!(
        "WITH spared AS (DELETE FROM {chosen} AS c WHERE {} RETURNING 1) SELECT pg_catalog.count(*) FROM spared",
        unchosen("c.place")
    );
    Ok(client.query_typed(&sql, &[]).await?[0].get::<_, i64>(0) as u64)
}

/// Whether the row that a live row `t` refers to comes back, as SQL; none where the reason is another one or its table is
/// not compared.
fn comes_back(reason: &Reason, compared: &[&TablePlan]) -> Option<String> {
    let (oid, is_it) = reason.parent.as_ref()?;
    let parent = compared.iter().find(|other| other.relation == *oid)?;
    Some(format!(
        "EXISTS (SELECT 1 FROM {} AS e JOIN {} AS p ON p.ctid OPERATOR(pg_catalog.=) e.staged
                  WHERE e.live IS NULL AND {is_it})",
        difference_name(parent),
        stage_name(parent)
    ))
}

/// Whether rows of this table were staged and compared: not where the target is known to hold all of them as they are archived.
pub async fn is_compared(client: &Client, table: &TablePlan) -> Result<bool, tokio_postgres::Error> {
    let sql =
        format!("SELECT pg_catalog.to_regclass({}) IS NOT NULL", quote::literal(&difference_name(table)));
    Ok(client.query_typed(&sql, &[]).await?[0].get(0))
}

/// How many rows of a table whose differences are listed are repaired, for each reason. A row may have several.
pub async fn found(client: &Client, table: &TablePlan) -> Result<ByReason, tokio_postgres::Error> {
    let sql = format!(
        "SELECT r.reason, pg_catalog.count(*) FROM {} AS r JOIN {} AS d ON d.staged OPERATOR(pg_catalog.=) r.place
          GROUP BY r.reason",
        reason_name(table),
        difference_name(table)
    );
    let rows = client.query_typed(&sql, &[]).await?;
    let named = |row: &tokio_postgres::Row| {
        let reason = table.reasons.get(row.get::<_, i16>(0) as usize)?;
        Some((reason.name.clone(), row.get::<_, i64>(1) as u64))
    };
    Ok(rows.iter().filter_map(named).collect())
}

/// How many rows will be broken, for each reason: the archive does not have them, or has them no better. (Whether a check
/// finds those that come, it says itself.) `compared` are the tables whose differences are listed: rows that come back, and parents that do.
pub async fn left(
    client: &Client,
    table: &TablePlan,
    compared: &[&TablePlan],
) -> Result<ByReason, tokio_postgres::Error> {
    let mut left = ByReason::new();
    for reason in &table.reasons {
        let Some(broken) = &reason.broken else { continue };
        let coming = comes_back(reason, compared).map(|comes_back| format!(" AND NOT {comes_back}"));
        let repaired = compared.iter().filter(|other| other.index == table.index).map(|table| {
            format!(
                " AND NOT EXISTS (SELECT 1 FROM {} AS d WHERE d.live OPERATOR(pg_catalog.=) t.ctid
                                     AND d.live_table OPERATOR(pg_catalog.=) t.tableoid)",
                difference_name(table)
            )
        });
        let excused: String = coming.into_iter().chain(repaired).collect();
        let sql = format!("SELECT pg_catalog.count(*) FROM {} AS t WHERE {broken}{excused}", table.from_item);
        let mut number = client.query_typed(&sql, &[]).await?[0].get::<_, i64>(0) as u64;
        let is_compared = compared.iter().any(|other| other.index == table.index);
        if let Some(no_better) = reason.no_better.as_ref().filter(|_| is_compared) {
            let sql = format!(
                "SELECT pg_catalog.count(*) FROM {} AS d JOIN {} AS s ON s.ctid OPERATOR(pg_catalog.=) d.staged
                  WHERE {no_better}",
                difference_name(table),
                stage_name(table)
            );
            number += client.query_typed(&sql, &[]).await?[0].get::<_, i64>(0) as u64;
        }
        if number > 0 {
            left.insert(reason.name.clone(), number);
        }
    }
    Ok(left)
}

/// Refuses checks that the server does not take as a question for rows of this table.
pub async fn check(client: &Client, table: &TablePlan) -> Result<(), Failure> {
    if table.reasons.iter().all(|r| !r.is_check) {
        return Ok(());
    }
    client.batch_execute(BUILT_IN_FIRST_PATH).await?;
    for reason in table.reasons.iter().filter(|r| r.is_check) {
        let sql = format!("SELECT 1 FROM {} AS s WHERE {} LIMIT 0", table.from_item, reason.chosen);
        client.query_typed(&sql, &[]).await.map_err(|error| {
            let what = Failure::from_server(&error).what;
            Failure::usage(format!("{} cannot say which rows of {} are broken: {what}", reason.name, table.shown))
                .state("the target is untouched")
                .next("let its query give the columns of the table's key, by their names; or take table out of its [[check]]")
        })?;
    }
    Ok(client.batch_execute("SET LOCAL search_path = ''").await?)
}
