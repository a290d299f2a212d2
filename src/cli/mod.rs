//! The command line: one file a subcommand, and the only room that prints, prompts, exits and reads the environment.

mod args;
mod backup;
mod check;
mod checks;
mod choice;
mod completions;
mod conceal;
mod config;
mod context;
mod ddl;
mod diff;
mod differences;
mod doctor;
mod export;
mod lines;
mod list;
mod objects;
mod outcome;
mod rehearse;
mod repair;
mod restore;
mod rollback;
mod screen;
mod show;
mod table;
mod validate;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use args::{Cli, Command};
use config::Settings;
use context::{Context, explain};

use crate::failure::{Failure, FailureKind};

/// How a subcommand ended when it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// All done.
    Done,
    /// `--keep-going`: some tables failed.
    Partial,
    /// `diff --exit-code`, `check --compare`: there are differences.
    Different,
    /// `doctor`: something would fail; `check`, `rehearse`: something is not as it should be.
    Unfit,
}

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    if let Err(failure) = conceal::conceal() {
        explain(&failure, false);
        return failure.kind.exit_code().into();
    }
    let (cli, settings) = match parse() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let logged = matches!(
        cli.command,
        Command::Backup(_)
            | Command::Restore(_)
            | Command::Rollback(_)
            | Command::Rehearse(_)
            | Command::Repair(_)
    );
    let context = Arc::new(Context::new(cli.global, settings, logged));
    let begun = restore::Begun::of(&cli.command);
    match run(&context, cli.command) {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Partial) => ExitCode::from(3),
        Ok(Ending::Different) => ExitCode::from(7),
        Ok(Ending::Unfit) => ExitCode::FAILURE,
        Err(failure) => {
            if context.is_owed_json() {
                // It is a failure already; that its report cannot be written either changes nothing.
                let _ = match begun {
                    Some(begun) => context.json(&begun.failed(context.target(), &failure)),
                    None => context.json(&failed(&failure)),
                };
            }
            context.explain(&failure);
            failure.kind.exit_code().into()
        }
    }
}

/// A failure as `--json` gives it, where a command has no form of its own for one.
fn failed(failure: &Failure) -> serde_json::Value {
    let failure = failure.clone().complete();
    serde_json::json!({
        "error": failure.what, "state": failure.state, "next_step": failure.next, "exit_code": failure.kind.exit_code(),
    })
}

/// The command line as clap has it, before a configuration file is read: for completions, manuals and tests.
pub fn command() -> clap::Command {
    config::relax(Cli::command())
}

/// The command line with the defaults of the configuration file, and what of that is no flag.
fn parse() -> Result<(Cli, Settings), ExitCode> {
    let usage = |text: String| {
        explain(&Failure::usage(text).next("correct the configuration file (--config, pgkeep.toml)"), false);
        ExitCode::from(FailureKind::Usage.exit_code())
    };
    let mut command = command();
    // The configuration file is looked for before anything else is understood; what is wrong otherwise is said below.
    let early = command.clone().ignore_errors(true).try_get_matches();
    let named =
        early.ok().and_then(|m| m.try_get_one::<std::path::PathBuf>("config").ok().flatten().cloned());
    let file = config::read(named.as_deref()).map_err(|e| usage(format!("{e:#}")))?;
    let mut settings = Settings::default();
    if let Some((path, mut table)) = file {
        settings = Settings::take(&path, &mut table).map_err(|e| usage(format!("{e:#}")))?;
        command = config::apply(command, &path, &table).map_err(|e| usage(format!("{e:#}")))?;
    }
    // clap ends with 0 for --help and --version, 2 for wrong usage: the contract's codes.
    let parsed = command.try_get_matches().and_then(|matches| {
        let mut cli = Cli::from_arg_matches(&matches)?;
        config::settle(&matches, &mut cli.global).map(|()| cli)
    });
    parsed.map(|cli| (cli, settings)).map_err(|error| {
        let _ = error.print();
        ExitCode::from(error.exit_code() as u8)
    })
}

fn run(context: &Arc<Context>, command: Command) -> Result<Ending, Failure> {
    match command {
        Command::List(args) => list::run(context, &args, list::Which::Backups),
        Command::ListSafety(args) => list::run(context, &args, list::Which::SafetyBackups),
        Command::Show(args) => show::run(context, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => completions::man(&args),
        Command::Validate(args) => {
            on_runtime(context, move |context| async move { validate::run(&context, &args).await })
        }
        Command::Backup(args) => {
            on_runtime(context, move |context| async move { backup::run(&context, &args).await })
        }
        Command::Restore(args) => {
            on_runtime(context, move |context| async move { restore::run(&context, &args).await })
        }
        Command::Export(args) => {
            on_runtime(context, move |context| async move { export::run(&context, &args).await })
        }
        Command::Diff(args) => {
            on_runtime(context, move |context| async move { diff::run(&context, &args).await })
        }
        Command::Doctor(args) => {
            on_runtime(context, move |context| async move { doctor::run(&context, &args).await })
        }
        Command::Repair(args) => {
            on_runtime(context, move |context| async move { repair::run(&context, &args).await })
        }
        Command::Rehearse(args) => {
            on_runtime(context, move |context| async move { rehearse::run(&context, &args).await })
        }
        Command::Check(args) => {
            on_runtime(context, move |context| async move { check::run(&context, &args).await })
        }
        Command::Rollback(args) => {
            on_runtime(context, move |context| async move { rollback::run(&context, &args).await })
        }
    }
}

/// Runs an engine with Ctrl-C and SIGTERM turned into a polite request to stop.
fn on_runtime<F: Future<Output = Result<Ending, Failure>> + Send + 'static>(
    context: &Arc<Context>,
    work: impl FnOnce(Arc<Context>) -> F,
) -> Result<Ending, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::from_io("starting threads", &e))?;
    let result = runtime.block_on(async {
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signals = signal(kind).map_err(|e| Failure::from_io("listening for signals", &e))?;
            let (cancel, events) = (context.cancel.clone(), context.events.clone());
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    events.info("interrupted: undoing what was begun; please wait");
                    cancel.cancel();
                }
            });
        }
        // Ctrl-Z: what stays held on the server is said before the process stops.
        let mut stops = signal(SignalKind::from_raw(Signal::TSTP.as_raw()))
            .map_err(|e| Failure::from_io("listening for signals", &e))?;
        let pausing = context.clone();
        tokio::spawn(async move {
            while stops.recv().await.is_some() {
                pausing.pause();
            }
        });
        // Whoever limits the size of files (`ulimit -f`) is told so by the write that fails, not by a sudden death that
        // leaves half an archive and a log that says `running`.
        let _file_size = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))
            .map_err(|e| Failure::from_io("listening for signals", &e))?;
        // On one of the runtime's own threads: there, a connection and what reads from it follow one another without a
        // switch between threads.
        tokio::spawn(work(context.clone())).await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(Failure::failed(format!("the work ended abnormally: {error}"))),
        })
    });
    // Threads that still read or compress have nothing left to do that anybody waits for.
    runtime.shutdown_background();
    result
}
