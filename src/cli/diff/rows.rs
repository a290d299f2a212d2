//! What differs between the rows of an archive and those of a database or another archive.

use std::collections::BTreeMap;

use indicatif::HumanCount;
use serde::Serialize;

use super::{DiffArgs, archived};
use crate::cli::args::default_jobs;
use crate::cli::context::{Context, count, print, printable};
use crate::cli::restore::preferences;
use crate::cli::{Ending, differences};
use crate::compare::{self, CompareOptions, Comparison};
use crate::difference::TableDifference;
use crate::failure::Failure;
use crate::restore::objects::ObjectOptions;
use crate::restore::preference::Preferences;
use crate::restore::prepare::prepare;
use crate::restore::{Mode, RestoreOptions};

#[derive(Serialize)]
struct Answer<'a> {
    old: &'a str,
    new: &'a str,
    tables: &'a BTreeMap<String, TableDifference>,
    /// Tables that cannot be compared, with the reason.
    failed: &'a BTreeMap<String, String>,
    /// Tables of the archive that the other does not have.
    only_here: &'a [String],
    /// Tables of the other that the archive does not have.
    only_there: &'a [String],
    /// Tables that go by other names here: which of the archive's each is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    mapped: &'a BTreeMap<String, String>,
}

/// Compares them.
pub async fn run(context: &Context, args: &DiffArgs) -> Result<Ending, Failure> {
    let mode = match (args.newer_by.is_empty(), args.mode.into()) {
        (false, _) => Mode::Newer,
        // Of some rows: all others are none too many.
        (true, Mode::Exact) if archived(context, &args.file)?.1.header().is_of_rows() => Mode::Upsert,
        (true, mode) => mode,
    };
    let preferences = preferences(context, &args.newer_by);
    let mut mapped = BTreeMap::new();
    let (name, other, comparison) = match args.other.as_str() {
        "live" => live(context, args, mode, preferences, &mut mapped).await?,
        _ => archives(context, args, mode, preferences).await?,
    };
    if context.global.json {
        context.json(&Answer {
            // What a restore would change, and what it would be changed to.
            old: &other,
            new: &name,
            tables: &comparison.tables,
            failed: &comparison.failed,
            only_here: &comparison.only_here,
            only_there: &comparison.only_there,
            mapped: &mapped,
        })?;
    } else {
        print(&describe(&comparison, &name, &other))?;
    }
    let is_same = comparison.tables.values().all(|t| t.is_none() && t.kept == 0)
        && comparison.only_here.is_empty()
        && comparison.only_there.is_empty();
    Ok(match (args.exit_code && !is_same, comparison.failed.is_empty()) {
        (true, _) => Ending::Different,
        (_, false) => Ending::Partial,
        _ => Ending::Done,
    })
}

/// With another archive: the names of both, and what differs.
async fn archives(
    context: &Context,
    args: &DiffArgs,
    mode: Mode,
    preferences: Preferences,
) -> Result<(String, String, Comparison), Failure> {
    let (name, one) = archived(context, &args.file)?;
    let (other_name, other) = archived(context, &args.other)?;
    let options = CompareOptions {
        filter: args.choice.filter()?,
        rows: args.choice.rows()?,
        chosen: args.entity.chosen(context, &args.choice.exclude)?,
        mode,
        preferences,
        samples: args.sample.unwrap_or_default() as usize,
        threads: args.jobs.unwrap_or_else(default_jobs),
    };
    let (events, cancel) = (context.events.clone(), context.cancel.clone());
    let compared =
        tokio::task::spawn_blocking(move || compare::compare(&one, &other, &options, &events, &cancel));
    let compared =
        compared.await.unwrap_or_else(|e| Err(Failure::failed(format!("comparing ended abnormally: {e}"))));
    let compared = compared.map_err(|f| f.state("nothing was changed"))?;
    Ok((name, other_name, compared))
}

/// With the database: as a dry run compares.
async fn live(
    context: &Context,
    args: &DiffArgs,
    mode: Mode,
    preferences: Preferences,
    mapped: &mut BTreeMap<String, String>,
) -> Result<(String, String, Comparison), Failure> {
    let path = context.find_archive(&args.file)?;
    let name = path.display().to_string();
    let options = RestoreOptions {
        filter: args.choice.filter()?,
        mapping: args.names.mapping()?,
        rows: args.choice.rows()?,
        chosen: args.entity.chosen(context, &args.choice.exclude)?,
        mode,
        preferences,
        keep_going: true,
        dry_run: true,
        compares: true,
        samples: args.sample.unwrap_or_default(),
        jobs: args.jobs.unwrap_or_else(default_jobs),
        objects: ObjectOptions { data: true, ..ObjectOptions::default() },
        ..RestoreOptions::new(path)
    };
    let mut connector = context.connector()?;
    connector.leave_free = args.jobs.is_none();
    let prepared = prepare(&connector, &context.folders, options, &context.events, &context.cancel).await?;
    *mapped = prepared.mapped.clone();
    let (target, comparison) = compare::live::compare(prepared, &context.events, &context.cancel).await?;
    Ok((name, target, comparison))
}

fn describe(comparison: &Comparison, name: &str, other: &str) -> String {
    let (mut text, _) = differences::describe(&comparison.tables, "see --json");
    for (table, reason) in &comparison.failed {
        text += &format!("  {}: NOT COMPARED: {}\n", printable(table), printable(reason));
    }
    for (tables, whose) in [(&comparison.only_here, name), (&comparison.only_there, other)] {
        text.extend(
            tables
                .iter()
                .map(|table| format!("  {}: only {} has this table\n", printable(table), printable(whose))),
        );
    }
    let tables = comparison.tables.values();
    let sum = |of: fn(&TableDifference) -> u64| HumanCount(tables.clone().map(of).sum::<u64>()).to_string();
    let kept: u64 = tables.clone().map(|t| t.kept).sum();
    let kept = if kept > 0 { format!(", {} kept", HumanCount(kept)) } else { String::new() };
    text + &format!(
        "to make {} as {} is: {} to insert, {} to update, {} to delete{kept}, {} the same, in {}\n",
        printable(other),
        printable(name),
        sum(|t| t.inserted),
        sum(|t| t.updated),
        sum(|t| t.deleted),
        sum(|t| t.unchanged),
        count(comparison.tables.len() as u64, "table"),
    )
}
