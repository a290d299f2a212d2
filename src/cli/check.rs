//! `pgkeep check`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::args::duration;
use super::context::{Context, count, printable};
use super::{Ending, checks, table};
use crate::check::baseline::{self, Baseline, Difference, Timing};
use crate::check::{self, Check, Limits, Outcome};
use crate::connection::{lead, stop};
use crate::failure::Failure;
use crate::host::Profile;
use crate::postgres::connect::Session;
use crate::selection::TableFilter;

/// Flags of `check`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep check
  pgkeep check \"booking references are unique\" --rows 100
  pgkeep check --exists table:users --exists column:users.email --exists function:place_booking
  pgkeep check --save before.json; deploy; pgkeep check --compare before.json

Checks stand in pgkeep.toml, each with a name and a query that gives the rows that should not be:
  [[check]]
  name = \"booking references are unique\"
  sql = \"SELECT reference, count(*) FROM bookings GROUP BY reference HAVING count(*) > 1\"

With expect = 3 (or a text, true, false) the query gives that one value; with exists = \"column users.email\" in place of sql something is to be there. A check can change nothing. Every restore runs them before it commits.

PASS: all is as it should be. FAIL: it is not; the exit code is 1. With --compare it is 7 where all pass and something differs.")]
pub struct CheckArgs {
    /// Checks to run, by name [default: all of pgkeep.toml]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Something that should be there, KIND being table, column, function, trigger, view, index, policy, type, sequence, extension or schema; a list, or given several times
    #[arg(long, value_name = "KIND:NAME", env = "PGKEEP_EXISTS")]
    pub exists: Vec<String>,
    /// Rows to show of a failing check
    #[arg(long, value_name = "N", env = "PGKEEP_ROWS", default_value = "10", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub rows: u32,
    /// How long a check may take, such as 10s, 500ms or 5min [default: as long as it takes]
    #[arg(long, value_name = "TIME", env = "PGKEEP_TIMEOUT", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Keep how many rows each table has, what its numbers add up to, and what the checks say, in a new file
    #[arg(long, value_name = "FILE", env = "PGKEEP_SAVE", conflicts_with = "compare")]
    pub save: Option<PathBuf>,
    /// Say what differs from what such a file holds
    #[arg(long, value_name = "FILE", env = "PGKEEP_COMPARE")]
    pub compare: Option<PathBuf>,
    /// Tables to count for --save and --compare, all others left out; a list, or given several times
    #[arg(short, long, value_name = "PATTERN", env = "PGKEEP_TABLE")]
    pub table: Vec<String>,
    /// Tables to leave out of them; a list, or given several times
    #[arg(long, value_name = "PATTERN", env = "PGKEEP_EXCLUDE")]
    pub exclude: Vec<String>,
}

/// What is asked for.
struct Asked {
    checks: Vec<Check>,
    limits: Limits,
    filter: TableFilter,
    /// Whether tables are to be counted.
    counts: bool,
    earlier: Option<Baseline>,
}

/// What was found.
struct Found {
    outcomes: Vec<Outcome>,
    now: Option<Baseline>,
}

#[derive(Serialize)]
struct Answer<'a> {
    target: String,
    passed: usize,
    failed: usize,
    checks: &'a [Outcome],
    #[serde(skip_serializing_if = "Option::is_none")]
    saved: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Compared>,
}

#[derive(Serialize)]
struct Compared {
    file: String,
    database: String,
    taken_at: chrono::DateTime<chrono::Utc>,
    differences: Vec<Difference>,
    timings: Vec<Timing>,
}

/// Runs the command.
pub async fn run(context: &Context, args: &CheckArgs) -> Result<Ending, Failure> {
    let asked = Asked {
        checks: checks::chosen(context, &args.names, &args.exists)?,
        limits: Limits { rows: args.rows as usize, timeout: args.timeout, lock_timeout: None },
        filter: TableFilter::parse(&args.table, &args.exclude).map_err(|e| Failure::usage(e.to_string()))?,
        counts: args.save.is_some() || args.compare.is_some(),
        earlier: args.compare.as_deref().map(Baseline::read).transpose()?,
    };
    if asked.checks.is_empty() && !asked.counts {
        return Err(checks::none());
    }
    if let Some(path) = args.save.as_ref().filter(|path| path.symlink_metadata().is_ok()) {
        return Err(baseline::exists(path));
    }
    let connector = context.connector()?;
    let session = lead(&connector, &context.events, &context.cancel).await?;
    let target = connector.info().redacted();
    let found = tokio::select! {
        biased;
        () = context.cancel.cancelled() => Err(Failure::interrupted()),
        found = async { look(&session, connector.host(&session.client).await?, &target, &asked).await } => found,
    };
    if found.is_err() {
        stop(&session).await;
    }
    let Found { outcomes, now } = found.map_err(|f| f.state("the database was only read"))?;
    if let (Some(path), Some(now)) = (&args.save, &now) {
        now.write(path).map_err(|f| f.state("the database was only read"))?;
    }
    let compared = asked.earlier.as_ref().zip(now.as_ref()).map(|(earlier, now)| Compared {
        file: args.compare.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        database: earlier.database.clone(),
        taken_at: earlier.taken_at,
        differences: earlier.differences(now, &asked.filter),
        timings: earlier.timings(now),
    });
    let failed = outcomes.iter().filter(|o| !o.passed).count();
    let answer = Answer {
        target,
        passed: outcomes.len() - failed,
        failed,
        checks: &outcomes,
        saved: args.save.as_ref().map(|path| path.display().to_string()),
        compared,
    };
    context.result(&answer, &describe(&answer, now.as_ref(), context.colors_output()))?;
    let differs = answer.compared.as_ref().is_some_and(|c| !c.differences.is_empty());
    Ok(match (failed, differs) {
        (0, false) => Ending::Done,
        (0, true) => Ending::Different,
        _ => Ending::Unfit,
    })
}

async fn look(session: &Session, host: &Profile, target: &str, asked: &Asked) -> Result<Found, Failure> {
    let (client, version) = (&session.client, session.server_version_num);
    client.batch_execute(&check::begin(version)).await?;
    let outcomes = check::run(client, version, &asked.checks, asked.limits).await?;
    let now = if asked.counts {
        let (earlier, timeout) = (asked.earlier.as_ref(), asked.limits.timeout);
        let target = target.to_owned();
        Some(Baseline::take(client, target, host, &asked.filter, earlier, &outcomes, timeout).await?)
    } else {
        None
    };
    client.batch_execute("ROLLBACK").await?;
    Ok(Found { outcomes, now })
}

/// The report as people read it: a line for each check, and its rows below it.
fn describe(answer: &Answer<'_>, now: Option<&Baseline>, color: bool) -> String {
    let mut text = format!("{}\n\n", printable(&answer.target));
    for outcome in answer.checks {
        text += &line(outcome, color);
    }
    let all = answer.passed + answer.failed;
    if all > 0 {
        text += &match (answer.failed, all) {
            (0, 1) => "\nthe check passes\n".to_owned(),
            (0, all) => format!("\nall {all} checks pass\n"),
            (_, 1) => "\nthe check fails\n".to_owned(),
            (failed, all) => format!("\n{failed} of {} failed\n", count(all as u64, "check")),
        };
    }
    if let Some(compared) = &answer.compared {
        text += &differences(compared);
    }
    if let (Some(file), Some(now)) = (&answer.saved, now) {
        let rows = now.tables.values().map(|t| t.rows).sum();
        let (rows, tables) = (count(rows, "row"), count(now.tables.len() as u64, "table"));
        let file = printable(file);
        text += &format!("\nsaved {rows} of {tables} to {file}\n  compare: pgkeep check --compare {file}\n");
    }
    text
}

/// What came of a check, with the rows that it found.
pub fn line(outcome: &Outcome, color: bool) -> String {
    let (word, paint) = if outcome.passed { ("PASS", "\x1b[32m") } else { ("FAIL", "\x1b[31;1m") };
    let (paint, plain) = if color { (paint, "\x1b[0m") } else { ("", "") };
    let mut text = format!("{paint}{word}{plain}  {}", printable(&outcome.name));
    if outcome.passed {
        return text + "\n";
    }
    text += &format!(": {}\n", printable(&outcome.reason()));
    if outcome.rows.is_empty() {
        return text;
    }
    let head: Vec<String> = outcome.columns.iter().map(|name| printable(name)).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let rows = outcome.rows.iter().map(|row| row.iter().map(|value| shown(value.as_deref())).collect());
    for line in table::layout(&head, &[], rows).lines() {
        text += &format!("        {line}\n");
    }
    let more = outcome.offending_rows.saturating_sub(outcome.rows.len() as u64);
    if more > 0 {
        text += &format!("        and {more} more\n");
    }
    text
}

/// A value on the screen: `--json` has all of it.
fn shown(value: Option<&str>) -> String {
    const LONGEST: usize = 100;
    let Some(value) = value else { return "NULL".to_owned() };
    let mut text: String = value.chars().take(LONGEST).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    printable(&text)
}

fn differences(compared: &Compared) -> String {
    let mut text = format!(
        "\ncompared with {} ({}, taken {} UTC)\n",
        printable(&compared.file),
        printable(&compared.database),
        compared.taken_at.format("%Y-%m-%d %H:%M:%S")
    );
    for difference in &compared.differences {
        text += &format!("  {}\n", printable(&told(difference)));
    }
    for timing in &compared.timings {
        text += &slower(timing);
    }
    match compared.differences.len() {
        0 => text + "nothing differs\n",
        differing => text + &format!("{}\n", count(differing as u64, "difference")),
    }
}

fn told(difference: &Difference) -> String {
    let Difference { what, name, column, before, now } = difference;
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    match (*what, column, before, now) {
        ("table", _, None, Some(rows)) => format!("table {name} came, with {}", rows_of(rows)),
        ("table", _, Some(rows), _) => format!("table {name} is gone, it had {}", rows_of(rows)),
        ("rows", _, Some(before), Some(now)) => format!("{name}: {} then, {now} now", rows_of(before)),
        ("sum", Some(column), before, now) => {
            format!("{name}: sum of {column} {} then, {} now", or_none(before), or_none(now))
        }
        (what, _, before, now) => format!("{what} {name}: {} then, {} now", or_none(before), or_none(now)),
    }
}

fn rows_of(number: &str) -> String {
    if number == "1" { "1 row".to_owned() } else { format!("{number} rows") }
}

/// A word about what takes at least half as long again, or as short. What takes milliseconds tells nothing.
fn slower(timing: &Timing) -> String {
    const MEASURABLE: f64 = 0.05;
    let Some(ratio) = timing.ratio.filter(|ratio| *ratio >= 1.5 || *ratio <= 0.67) else {
        return String::new();
    };
    if timing.before.max(timing.now) < MEASURABLE {
        return String::new();
    }
    format!(
        "  {} {} took {:.3} s then, {:.3} s now: {ratio:.1} times that\n",
        timing.what,
        printable(&timing.name),
        timing.before,
        timing.now
    )
}
