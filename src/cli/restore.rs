//! `pgkeep restore`, and what it shares with `pgkeep rollback`.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Ending;
use super::args::{Command, default_jobs, duration};
use super::backup::{by_name, jobs};
use super::choice::{ChoiceArgs, EntityArgs, MappingArgs};
use super::context::{Context, count, printable_lines};
use super::objects::ObjectArgs;
use super::outcome::{abridged, describe};
use crate::check::Check;
use crate::failure::{Failure, FailureKind};
use crate::restore::entity::Chosen;
use crate::restore::log::{RestoreLog, Status};
use crate::restore::objects::ObjectOptions;
use crate::restore::preference::Preferences;
use crate::restore::prepare::{Prepared, prepare};
use crate::restore::refused::Rejects;
use crate::restore::run::Outcome;
use crate::restore::{Mode, RestoreOptions};
use crate::selection::TableFilter;

/// Flags of `restore`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep restore --safe --file shop_backup_20251128_074723
  pgkeep restore --safe --mode exact --table bookings --file F
  pgkeep restore --dry-run --file F
  pgkeep restore --safe --into-schema restored_2026 --table bookings,users --file F

With --safe a safety backup is taken first, from the very state that the restore locks: pgkeep rollback latest puts the target back. Without it, a restore over existing rows cannot be undone and asks first.")]
pub struct RestoreArgs {
    /// Archive to restore: a path, or a file name in backups/ or safety_backups/
    #[arg(short, long, value_name = "FILE", env = "PGKEEP_FILE")]
    pub file: String,
    /// Take a safety backup first, so that the restore can be undone
    #[arg(long, env = "PGKEEP_SAFE")]
    pub safe: bool,
    /// How archived rows meet live rows
    #[arg(long, value_name = "MODE", env = "PGKEEP_MODE", default_value = "upsert")]
    pub mode: ModeArg,
    /// Columns by which a row is newer in mode newer, the first that differs: a time, a version; a list, or given several times
    #[arg(long, value_name = "COLUMN", env = "PGKEEP_NEWER_BY", value_delimiter = ',')]
    pub newer_by: Vec<String>,
    /// Compare everything and write nothing: say what would be inserted, updated, deleted and kept
    #[arg(long, env = "PGKEEP_DRY_RUN")]
    pub dry_run: bool,
    /// With --dry-run: show so many rows of each kind, old -> new
    #[arg(long, value_name = "N", env = "PGKEEP_SAMPLE")]
    pub sample: Option<u32>,
    /// Commit the tables that can be restored, leave the others as they were, and end with exit code 3
    #[arg(long, env = "PGKEEP_KEEP_GOING")]
    pub keep_going: bool,
    /// Go on with a restore into an empty database that was interrupted; one that is begun so is not undone when it is
    #[arg(long, env = "PGKEEP_RESUME", conflicts_with_all = ["dry_run", "keep_going"])]
    pub resume: bool,
    /// With --keep-going: leave out single rows that the target refuses, restore the rest of their table, and write them with the reasons to this archive, which can be restored later
    #[arg(long, value_name = "FILE", env = "PGKEEP_REJECT_FILE")]
    pub reject_file: Option<PathBuf>,
    /// With --reject-file: undo the whole restore where more than N rows are refused [default: any number is left out]
    #[arg(long, value_name = "N", env = "PGKEEP_MAX_ERRORS")]
    pub max_errors: Option<u64>,
    /// Tables that the archive must hold, and not empty
    #[arg(long, value_name = "TABLE", env = "PGKEEP_CRITICAL", value_delimiter = ',')]
    pub critical: Vec<String>,
    /// Which tables and rows.
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Which rows by what belongs together.
    #[command(flatten)]
    pub entity: EntityArgs,
    /// Under which names.
    #[command(flatten)]
    pub names: MappingArgs,
    /// Flags about objects.
    #[command(flatten)]
    pub objects: ObjectArgs,
    /// Flags that rollback has, too.
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// Flags of `restore` and `rollback`.
#[derive(Args, Debug)]
#[command(next_help_heading = "How")]
pub struct SharedArgs {
    /// How long to wait for each lock, such as 10s, 500ms or 5min
    #[arg(long, value_name = "TIME", env = "PGKEEP_LOCK_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub lock_timeout: Duration,
    /// Connections that work side by side [default: one for each core, at most 8]
    #[arg(short, long, value_name = "N", env = "PGKEEP_JOBS", value_parser = jobs)]
    pub jobs: Option<usize>,
    /// Do not ask
    #[arg(short, long, env = "PGKEEP_YES")]
    pub yes: bool,
    /// Do not run the checks of pgkeep.toml before the commit
    #[arg(long, env = "PGKEEP_NO_CHECKS")]
    pub no_checks: bool,
}

impl SharedArgs {
    /// The checks to run before the commit.
    pub fn checks(&self, context: &Context) -> Vec<Check> {
        if self.no_checks { Vec::new() } else { context.settings.checks.clone() }
    }
}

/// How archived rows meet live rows.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ModeArg {
    /// Insert missing rows, update different ones, keep others
    Upsert,
    /// As upsert, and delete rows that the archive does not have
    Exact,
    /// Insert missing rows, keep all others
    Missing,
    /// Insert missing rows, update those of which the archived one is newer (--newer-by), keep others
    Newer,
}

/// What a restore or rollback was asked for, for the log-shaped answer to one that ended before it had a log.
pub struct Begun {
    operation: &'static str,
    mode: Mode,
    file: String,
}

impl Begun {
    /// None for other commands.
    pub fn of(command: &Command) -> Option<Begun> {
        match command {
            Command::Restore(args) => Some(Begun {
                operation: if args.dry_run { "dry-run" } else { "restore" },
                mode: args.mode.into(),
                file: args.file.clone(),
            }),
            Command::Repair(args) => Some(Begun {
                operation: if args.dry_run { "dry-run" } else { "repair" },
                mode: Mode::Upsert,
                file: args.file.clone(),
            }),
            Command::Rollback(args) => {
                Some(Begun { operation: "rollback", mode: Mode::Exact, file: args.file.clone() })
            }
            _ => None,
        }
    }

    /// The log of a restore that failed before anything was begun.
    pub fn failed(self, target: String, failure: &Failure) -> RestoreLog {
        let failure = failure.clone().complete();
        let mut log = RestoreLog::new(self.operation, self.mode, target, self.file);
        log.status = Status::Failed;
        log.finished_at = Some(log.started_at);
        log.error = Some(failure.what);
        log.next_step = Some(failure.next);
        log
    }
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Mode {
        match mode {
            ModeArg::Upsert => Mode::Upsert,
            ModeArg::Exact => Mode::Exact,
            ModeArg::Missing => Mode::Missing,
            ModeArg::Newer => Mode::Newer,
        }
    }
}

impl RestoreArgs {
    /// What decides between two versions of a row.
    fn preferences(&self, context: &Context) -> Preferences {
        preferences(context, &self.newer_by)
    }

    /// What becomes of rows that the target refuses.
    fn rejects(&self, objects: &ObjectOptions) -> Result<Option<Rejects>, Failure> {
        let Some(file) = &self.reject_file else {
            return match self.max_errors {
                Some(_) => Err(Failure::usage(
                    "--max-errors says how many rows may be left out, and none is without --reject-file",
                )
                .next("add --keep-going --reject-file FILE")),
                None => Ok(None),
            };
        };
        let refused =
            |what: &str, next: &str| Err(Failure::usage(what).state("the target is untouched").next(next));
        if !self.keep_going {
            return refused("--reject-file leaves rows out, which takes --keep-going", "add --keep-going");
        }
        if self.dry_run {
            return refused(
                "a dry run asks the target of no row whether it takes it, so that there is nothing for --reject-file",
                "leave one of the two out",
            );
        }
        if objects.create {
            return refused(
                "--create makes all or nothing, and leaves no row out for --reject-file",
                "make the database first (createdb), then run the command without --create",
            );
        }
        if !objects.data {
            return refused(
                "no rows are restored, so that there is nothing for --reject-file",
                "leave it out",
            );
        }
        let compression = by_name(file.to_str().unwrap_or_default());
        Ok(Some(Rejects { file: file.clone(), compression, most: self.max_errors }))
    }
}

/// What decides between two versions of a row: the configuration file, and columns for all tables that it says nothing of.
pub fn preferences(context: &Context, newer_by: &[String]) -> Preferences {
    let mut preferences = context.settings.preferences.clone();
    preferences.default.newer_by = newer_by.to_vec();
    preferences
}

/// Runs the command.
pub async fn run(context: &Context, args: &RestoreArgs) -> Result<Ending, Failure> {
    let mut objects = args.objects.options()?;
    let chosen = args.entity.chosen(context, &args.choice.exclude)?;
    let mapping = args.names.mapping()?;
    let filter = match chosen {
        // Rows alone: what else there is belongs to everybody. Not so a copy.
        Chosen::Entity(_) => {
            if mapping.is_none() {
                objects = ObjectOptions { data: true, ..ObjectOptions::default() };
            }
            TableFilter::default()
        }
        _ => args.choice.filter()?,
    };
    let options = RestoreOptions {
        filter,
        mapping,
        chosen,
        rows: args.choice.rows()?,
        mode: args.mode.into(),
        preferences: args.preferences(context),
        // Definitions are small, and who brings some back is in the middle of repairing something.
        safe: args.safe || !objects.only.is_empty(),
        keep_going: args.keep_going,
        resume: args.resume,
        rejects: args.rejects(&objects)?,
        dry_run: args.dry_run,
        samples: args.sample.unwrap_or_default(),
        lock_timeout: args.shared.lock_timeout,
        jobs: args.shared.jobs.unwrap_or_else(default_jobs),
        critical: args.critical.clone(),
        objects,
        checks: args.shared.checks(context),
        ..RestoreOptions::new(context.find_archive(&args.file)?)
    };
    restore(context, options, &args.shared).await
}

/// Restores, asking first where a restore cannot be undone.
pub async fn restore(
    context: &Context,
    options: RestoreOptions,
    shared: &SharedArgs,
) -> Result<Ending, Failure> {
    let mut connector = context.connector()?;
    connector.leave_free = shared.jobs.is_none();
    context.note(
        "INFO",
        &format!("restore of {} into {} begins", options.archive.display(), connector.info().redacted()),
    );
    let prepared = prepare(&connector, &context.folders, options, &context.events, &context.cancel).await?;
    if prepared.needs_confirmation() {
        confirm(context, &prepared, shared.yes).await?;
    }
    let outcome = prepared.execute(&context.events, &context.cancel).await?;
    context.note("INFO", &format!("restore ended: {:?}", outcome.log.status));
    report(context, outcome)
}

async fn confirm(context: &Context, prepared: &Prepared, yes: bool) -> Result<(), Failure> {
    let mut lost = Vec::new();
    if !prepared.tables_with_rows.is_empty() {
        lost.push(format!(
            "Rows of {} may be overwritten{}: {}",
            count(prepared.tables_with_rows.len() as u64, "table"),
            if prepared.deletes_rows { " or deleted" } else { "" },
            abridged(&prepared.tables_with_rows),
        ));
    }
    if !prepared.objects_replaced.is_empty() {
        let objects = &prepared.objects_replaced;
        lost.push(format!(
            "{} will be replaced or removed: {}",
            count(objects.len() as u64, "object"),
            abridged(objects)
        ));
    }
    let target = &prepared.target;
    context
        .events
        .warn(format!("no --safe: this restore into {target} cannot be undone. {}", lost.join(". ")));
    if yes {
        return Ok(());
    }
    let refused = |what: &str| {
        Failure::usage(what)
            .state("the target is untouched")
            .next("add --safe (then it can be undone), or --yes")
    };
    if !std::io::stdin().is_terminal() {
        return Err(refused(
            "a restore that cannot be undone needs --yes when there is no terminal to ask on",
        ));
    }
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "Type yes to go on: ").and_then(|()| stderr.flush());
    // On a thread of its own: Ctrl-C is to end the question, too.
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    let answer = tokio::select! {
        biased;
        () = context.cancel.cancelled() => {
            return Err(Failure::interrupted().state("the target is untouched"));
        }
        answer = read => answer.map_err(std::io::Error::other).and_then(|answer| answer),
    };
    let answer =
        answer.map_err(|e| Failure::from_io("reading the answer", &e).state("the target is untouched"))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(refused("not confirmed")) }
}

fn report(context: &Context, outcome: Outcome) -> Result<Ending, Failure> {
    let Outcome { log, log_path, failure } = outcome;
    let file = log_path.map(|p| p.display().to_string());
    let printed = if context.global.json {
        context.json(&log)
    } else if failure.is_none() {
        super::context::print(&printable_lines(&describe(&log, file.as_deref())))
    } else {
        Ok(())
    };
    // Why a restore failed matters more than that its report could not be printed.
    if let Some(failure) = failure {
        return Err(match file {
            Some(file) => Failure { what: format!("{}\n  log:  {file}", failure.what), ..failure },
            None => failure,
        });
    }
    printed.map_err(|failure| unsaid(failure, file.as_deref()))?;
    Ok(if log.status == Status::Partial { Ending::Partial } else { Ending::Done })
}

/// What was committed stays so, though nobody could be told of it; `file` is the log of what was committed.
fn unsaid(failure: Failure, file: Option<&str>) -> Failure {
    let Some(file) = file else { return failure };
    Failure {
        kind: FailureKind::NotPutBack,
        state: "the restore was verified and committed; only its result could not be printed".to_owned(),
        next: format!("the data needs nothing more; {file} has the result"),
        ..failure
    }
}
