//! `pgkeep doctor`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Ending;
use super::args::{default_jobs, duration};
use super::backup::jobs;
use super::context::{Context, printable, printable_lines};
use crate::doctor::{Check, DoctorOptions, Purpose, Report, Status};
use crate::failure::Failure;
use crate::restore::RestoreOptions;

/// Flags of `doctor`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep doctor -d postgres://app@db.example/shop
  pgkeep doctor --for restore --file shop_backup_20251128_074723

PASS: it is well. WARN: it works, and something is to be minded. FAIL: it would fail; the exit code is 1.")]
pub struct DoctorArgs {
    /// What the server is looked over for [default: restore with --file, else backup]
    #[arg(long = "for", value_name = "WORK", env = "PGKEEP_FOR")]
    pub purpose: Option<PurposeArg>,
    /// Archive that is to be restored: a path, or a file name in backups/ or safety_backups/
    #[arg(short, long, value_name = "FILE", env = "PGKEEP_FILE")]
    pub file: Option<String>,
    /// Connections that the work would use [default: one for each core, at most 8]
    #[arg(short, long, value_name = "N", env = "PGKEEP_JOBS", value_parser = jobs)]
    pub jobs: Option<usize>,
    /// How long to wait for a lock on a table, such as 10s, 500ms or 5min
    #[arg(long, value_name = "TIME", env = "PGKEEP_LOCK_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub lock_timeout: Duration,
    /// Transactions of others to be told of: those that have been open for longer than this
    #[arg(long, value_name = "TIME", env = "PGKEEP_OLDER_THAN", default_value = "10min", value_parser = duration)]
    pub older_than: Duration,
}

/// What a server is looked over for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PurposeArg {
    /// To be backed up
    Backup,
    /// To have an archive restored into it
    Restore,
}

/// Runs the command.
pub async fn run(context: &Context, args: &DoctorArgs) -> Result<Ending, Failure> {
    let jobs = args.jobs.unwrap_or_else(default_jobs);
    let purpose = match (args.purpose, &args.file) {
        (Some(PurposeArg::Backup), Some(_)) => {
            return Err(Failure::usage("--file is an archive to restore, and --for backup restores nothing")
                .next("leave one of them out"));
        }
        (Some(PurposeArg::Backup) | None, None) => Purpose::Backup,
        (_, None) => Purpose::Restore(None),
        (_, Some(file)) => Purpose::Restore(Some(Box::new(restoring(context, args, file, jobs)?))),
    };
    let options = DoctorOptions { purpose, jobs, older_than: args.older_than };
    let connector = context.connector()?;
    let (events, cancel) = (&context.events, &context.cancel);
    let report = crate::doctor::run(&connector, &context.folders, &options, events, cancel).await?;
    let object = serde_json::json!({
        "target": report.target, "host": report.host, "host_title": report.host_title, "file": report.file,
        "passed": report.count(Status::Pass), "warned": report.count(Status::Warn), "failed": report.count(Status::Fail),
        "checks": report.checks,
    });
    context.result(&object, &describe(&report, context.colors_output()))?;
    Ok(if report.count(Status::Fail) > 0 { Ending::Unfit } else { Ending::Done })
}

/// A restore of everything in the archive, as `pgkeep restore` would do it without more flags.
fn restoring(
    context: &Context,
    args: &DoctorArgs,
    file: &str,
    jobs: usize,
) -> Result<RestoreOptions, Failure> {
    let all = RestoreOptions::new(context.find_archive(file)?);
    Ok(RestoreOptions { lock_timeout: args.lock_timeout, jobs, ..all })
}

/// The report as people read it: a line for each check, and what to do below it.
fn describe(report: &Report, color: bool) -> String {
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let lines = report.checks.iter().map(|check| line(check, width, color));
    let (warned, failed) = (report.count(Status::Warn), report.count(Status::Fail));
    let ending = match (warned, failed) {
        (0, 0) => "all is well".to_owned(),
        (warned, 0) => format!("it would work; to be minded: {warned}"),
        (_, failed) => format!("it would fail: {failed} to put right first"),
    };
    let head = format!("{}\n\n", printable(&report.target));
    head + &lines.collect::<String>() + "\n" + &ending
}

fn line(check: &Check, width: usize, color: bool) -> String {
    let (word, paint) = match check.status {
        Status::Pass => ("PASS", "\x1b[32m"),
        Status::Warn => ("WARN", "\x1b[33m"),
        Status::Fail => ("FAIL", "\x1b[31;1m"),
    };
    let (paint, plain) = if color { (paint, "\x1b[0m") } else { ("", "") };
    let mut text =
        format!("{paint}{word}{plain}  {:width$}  {}\n", check.name, printable_lines(&check.found));
    if !check.advice.is_empty() {
        text += &format!("{:indent$}next: {}\n", "", printable_lines(&check.advice), indent = width + 8);
    }
    text
}
