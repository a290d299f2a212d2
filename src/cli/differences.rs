//! What differs in rows, on the screen.

use std::collections::BTreeMap;

use indicatif::HumanCount;

use super::context::{count, printable};
use crate::difference::{TableDifference, Update};

/// Tables that are listed on the screen.
const LISTED: usize = 50;

/// A line for each table in which something differs, with its samples below, and how many tables that are; `more` says where
/// those are that are not listed.
pub fn describe(tables: &BTreeMap<String, TableDifference>, more: &str) -> (String, usize) {
    let mut text = String::new();
    let differing: Vec<_> = tables.iter().filter(|(_, t)| !t.is_none() || t.kept > 0).collect();
    for (table, difference) in differing.iter().take(LISTED) {
        text += &format!("  {}: {}\n", printable(table), counts(difference));
        text += &samples(difference);
    }
    if differing.len() > LISTED {
        text += &format!("  and {}, {more}\n", count((differing.len() - LISTED) as u64, "more table"));
    }
    (text, differing.len())
}

/// `1 inserted, 2 updated (email 2), 0 deleted, 40 unchanged`
pub fn counts(difference: &TableDifference) -> String {
    let columns: Vec<String> = (difference.columns.iter())
        .map(|(column, rows)| format!("{} {}", printable(column), HumanCount(*rows)))
        .collect();
    let columns = if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
    let mut text = format!(
        "{} inserted, {} updated{columns}, {} deleted, {} unchanged",
        HumanCount(difference.inserted),
        HumanCount(difference.updated),
        HumanCount(difference.deleted),
        HumanCount(difference.unchanged)
    );
    if difference.kept > 0 {
        text += &format!(", {} kept", HumanCount(difference.kept));
    }
    for (rule, resolved) in &difference.conflicts {
        text += &format!(
            "\n    {}: {} for the archive, {} for what is there",
            printable(rule),
            HumanCount(resolved.archive),
            HumanCount(resolved.target)
        );
    }
    text
}

fn samples(difference: &TableDifference) -> String {
    let samples = &difference.samples;
    let update = |mark: char, update: &Update| {
        let [key, old, new] =
            [&update.key, &update.old, &update.new].map(|object| printable(object.as_str()));
        format!("    {mark} {key}: {old} -> {new}\n")
    };
    let mut text = String::new();
    text.extend(samples.inserted.iter().map(|row| format!("    + {}\n", printable(row.as_str()))));
    text.extend(samples.updated.iter().map(|row| update('~', row)));
    text.extend(samples.deleted.iter().map(|row| format!("    - {}\n", printable(row.as_str()))));
    text.extend(samples.kept.iter().map(|row| update('=', row)));
    text
}
