//! Fingerprints of what a database holds, so that "exactly as before" can be asserted.

use std::collections::BTreeMap;

use super::sql::{Rows, query};

/// One entry per table and sequence, so that a failed comparison names what differs.
pub type Digest = BTreeMap<String, String>;

/// What the server prints depends on these; a role under row-level security gets an error instead of fewer rows.
const SESSION: &str = "SET row_security = off; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; \
     SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; SET extra_float_digits = 3; SET search_path = pg_catalog, public;";

/// The rows of one table (`schema.table`, quoted where needed) as a multiset: their number and an md5.
pub fn table_digest(url: &str, table: &str) -> String {
    let rows = query(url, &format!("{SESSION} {}", table_query(table, "")));
    text(&rows, 0, 1)
}

/// Every table that stores rows (partitions, not their parents) and every sequence of the user's schemas.
pub fn database_digest(url: &str) -> Digest {
    let relations = query(
        url,
        "SELECT c.relkind, quote_ident(n.nspname) || '.' || quote_ident(c.relname) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
           AND n.nspname NOT LIKE 'pg\\_t%' ORDER BY 2",
    );
    let mut sql = String::from(SESSION);
    for row in &relations {
        let name = row[1].as_deref().unwrap();
        sql += &match row[0].as_deref() {
            Some("S") => sequence_query(name),
            _ => table_query(name, name),
        };
    }
    let rows = query(url, &sql);
    (0..rows.len()).map(|index| (text(&rows, index, 0), text(&rows, index, 1))).collect()
}

fn table_query(table: &str, label: &str) -> String {
    let label = label.replace('\'', "''");
    format!(
        "SELECT '{label}', count(*) || ' rows, md5 ' || \
         coalesce(md5(string_agg(d, '' ORDER BY d COLLATE \"C\")), '-') \
         FROM (SELECT md5(digested::text) AS d FROM ONLY {table} AS digested) AS digests;"
    )
}

fn sequence_query(sequence: &str) -> String {
    let label = sequence.replace('\'', "''");
    format!(
        "SELECT 'sequence {label}', 'last value ' || last_value || ', called ' || is_called FROM {sequence};"
    )
}

fn text(rows: &Rows, row: usize, column: usize) -> String {
    rows[row][column].clone().unwrap()
}
