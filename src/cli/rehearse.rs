//! `pgkeep rehearse`.

use std::io::Write;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};

use super::Ending;
use super::args::default_jobs;
use super::backup::jobs;
use super::check::line;
use super::choice::filter;
use super::context::{Context, count, printable};
use crate::check::Limits;
use crate::difference::TableDifference;
use crate::failure::Failure;
use crate::folders;
use crate::rehearse::{Rehearsal, RehearseOptions};
use crate::schema::script::Style;

/// Rows that are shown of a failing check.
const ROWS: usize = 10;

/// Things of one kind that are listed on the screen; `--json` has all.
const LISTED: usize = 50;

/// Flags of `rehearse`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep rehearse shop_backup_20251128_074723
  pgkeep rehearse shop_backup_20251128_074723 --at postgres://tester@spare.example
  pgkeep rehearse shop_backup_20251128_074723 --keep

The archive is restored into a database of its own, pgkeep_rehearsal_…, on the server of the connection or at --at. Every row, definition and sequence is compared with the archive, the checks of pgkeep.toml are run, and the database is removed, whatever happens. No other database is read or written, and no role is made. The exit code is 1 where anything differs or a check fails.")]
pub struct RehearseArgs {
    /// Archive: a path, or a file name in backups/ or safety_backups/
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Another server to make the scratch database on, by its URL [default: the server of the connection]
    #[arg(long, value_name = "URL", env = "PGKEEP_AT", hide_env_values = true, hide_default_value = true)]
    pub at: Option<String>,
    /// Leave the scratch database there, to look into it
    #[arg(long, env = "PGKEEP_KEEP")]
    pub keep: bool,
    /// Do not run the checks of pgkeep.toml
    #[arg(long, env = "PGKEEP_NO_CHECKS")]
    pub no_checks: bool,
    /// Connections that work side by side [default: one for each core, at most 8]
    #[arg(short, long, value_name = "N", env = "PGKEEP_JOBS", value_parser = jobs)]
    pub jobs: Option<usize>,
    /// Tables to restore with all that belongs to them, all others left out; a list, or given several times
    #[arg(short, long, value_name = "PATTERN", env = "PGKEEP_TABLE")]
    pub table: Vec<String>,
    /// Tables to leave out; a list, or given several times
    #[arg(long, value_name = "PATTERN", env = "PGKEEP_EXCLUDE")]
    pub exclude: Vec<String>,
    /// Do not set owners: what is made belongs to the role that rehearses
    #[arg(short = 'O', long, env = "PGKEEP_NO_OWNER")]
    pub no_owner: bool,
    /// Do not grant or revoke privileges
    #[arg(short = 'x', long, env = "PGKEEP_NO_PRIVILEGES")]
    pub no_privileges: bool,
    /// Put everything into the server's default tablespace
    #[arg(long, env = "PGKEEP_NO_TABLESPACES")]
    pub no_tablespaces: bool,
}

/// Runs the command.
pub async fn run(context: &Context, args: &RehearseArgs) -> Result<Ending, Failure> {
    let options = RehearseOptions {
        archive: context.find_archive(&args.file)?,
        filter: filter(&args.table, &args.exclude, &[])?,
        style: Style {
            no_owner: args.no_owner,
            no_privileges: args.no_privileges,
            no_tablespaces: args.no_tablespaces,
            ..Style::default()
        },
        jobs: args.jobs.unwrap_or_else(default_jobs),
        checks: if args.no_checks { Vec::new() } else { context.settings.checks.clone() },
        limits: Limits { rows: ROWS, ..Limits::default() },
        keep: args.keep,
    };
    let mut connector = match &args.at {
        Some(url) => context.connector_at(url)?,
        None => context.connector()?,
    };
    connector.leave_free = args.jobs.is_none();
    context.note("INFO", &format!("rehearsal of {} begins", options.archive.display()));
    let (events, cancel) = (&context.events, &context.cancel);
    let mut report = crate::rehearse::run(&connector, &context.folders, &options, events, cancel).await?;
    let ended = if report.passed { "the archive restores" } else { "something is not as it should be" };
    context.note("INFO", &format!("rehearsal ended: {ended}"));
    write_summary(context, &report);
    context.result(&report, &describe(&report, context.colors_output()))?;
    if let Some(failure) = report.left.take() {
        return Err(failure);
    }
    Ok(if report.passed { Ending::Done } else { Ending::Unfit })
}

/// Keeps the result in `summaries/`. The rehearsal is over, so a failure is only said.
fn write_summary(context: &Context, report: &Rehearsal) {
    let folder = context.folders.summaries();
    let stem = format!("rehearsal_{}", folders::stamp(report.started_at));
    let written = serde_json::to_vec_pretty(report).map_err(std::io::Error::other).and_then(|mut text| {
        text.push(b'\n');
        let (path, mut file) = folders::create_unique(&folder, &stem, "json")?;
        file.write_all(&text).inspect_err(|_| {
            // Half of it would only mislead.
            let _ = std::fs::remove_file(&path);
        })
    });
    if let Err(error) = written {
        context.events.warn(format!("the summary of the rehearsal could not be written: {error}"));
    }
}

fn describe(report: &Rehearsal, color: bool) -> String {
    let mut text = format!("{}\n\n", printable(&report.target));
    for step in &report.steps {
        text += &format!("{:9.3} s  {}\n", step.seconds, step.name);
    }
    text.push('\n');
    for (all, what) in [
        (&report.tried, "made and taken back at once, for it would act"),
        (&report.left_out, "not made, for only one database of a server can have it"),
    ] {
        text += &listed(all, |name| format!("{name}: {what}"));
    }
    for outcome in &report.checks {
        text += &line(outcome, color);
    }
    text += &differences(report);
    if !text.ends_with("\n\n") {
        text.push('\n');
    }
    text += &verdict(report);
    match (&report.removal, &report.left) {
        (Some(removal), None) => {
            text + &format!("\n  kept: {}\n  remove it with: {removal}", report.database)
        }
        _ => text,
    }
}

/// A line for each of the first of them, and how many more there are.
fn listed(all: &[String], line: impl Fn(String) -> String) -> String {
    let mut text: String = all.iter().take(LISTED).map(|one| line(printable(one)) + "\n").collect();
    if all.len() > LISTED {
        text += &format!("and {} more, see --json\n", all.len() - LISTED);
    }
    text
}

/// A line for each thing that did not come out as archived.
fn differences(report: &Rehearsal) -> String {
    let found = &report.differences;
    let rows = |(table, rows): (&String, &TableDifference)| {
        format!(
            "{table}: {} in the archive alone, {} not the same, {} in the database alone",
            HumanCount(rows.inserted),
            HumanCount(rows.updated),
            HumanCount(rows.deleted)
        )
    };
    let kinds: [(&str, Vec<String>); 4] = [
        ("DIFFERS  rows of", found.tables.iter().map(rows).collect()),
        (
            "DIFFERS  rows of",
            found.failed.iter().map(|(table, reason)| format!("{table}: {reason}")).collect(),
        ),
        (
            "DIFFERS  sequence",
            found.sequences.iter().map(|name| format!("{name}: it stands elsewhere")).collect(),
        ),
        (
            "DIFFERS  definition of",
            found.objects.iter().map(|o| format!("{}: {}", o.identity, o.what)).collect(),
        ),
    ];
    kinds.iter().map(|(what, all)| listed(all, |one| format!("{what} {one}"))).collect()
}

/// The last line: what was proven, or that it was not.
fn verdict(report: &Rehearsal) -> String {
    let differing = report.differences.count();
    let failing = report.checks.iter().filter(|check| !check.passed).count();
    let (tables, objects) = (count(report.tables, "table"), count(report.objects, "object"));
    let rows = format!("{} row{}", HumanCount(report.rows), if report.rows == 1 { "" } else { "s" });
    let what = match (differing, failing) {
        (0, 0) => format!("{} restores: {tables}, {rows}, {objects}", printable(&report.file)),
        _ => format!(
            "{} does not pass: {}, {}; as archived: {tables}, {rows}, {objects}",
            printable(&report.file),
            count(differing as u64, "difference"),
            count(failing as u64, "failing check")
        ),
    };
    let checks = match report.checks.len() - failing {
        0 => String::new(),
        passing => format!("{} passed; ", count(passing as u64, "check")),
    };
    let database =
        if report.removed { "the scratch database was removed" } else { "the scratch database is there" };
    format!(
        "{what}; {checks}{:.1} s; {} in the archive, {} on the server; {database}",
        report.seconds,
        HumanBytes(report.archive_bytes),
        HumanBytes(report.database_bytes)
    )
}
