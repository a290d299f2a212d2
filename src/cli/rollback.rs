//! `pgkeep rollback`.

use clap::Args;

use super::Ending;
use super::args::default_jobs;
use super::context::Context;
use super::restore::{SharedArgs, restore};
use crate::failure::{Failure, FailureKind};
use crate::listing;
use crate::postgres::catalog::Catalog;
use crate::restore::log::{RestoreLog, Status};
use crate::restore::{Mode, RestoreOptions};

/// Flags of `rollback`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep rollback latest
  pgkeep rollback safety_backup_20251128_074820

A safety backup is taken first, so a rollback can be rolled back in turn: pgkeep rollback latest again.")]
pub struct RollbackArgs {
    /// Safety backup: a path, a file name in safety_backups/, or `latest` for the last one taken of this database
    #[arg(value_name = "FILE|latest")]
    pub file: String,
    /// Flags that restore has, too.
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// Runs the command.
pub async fn run(context: &Context, args: &RollbackArgs) -> Result<Ending, Failure> {
    let archive = match args.file.as_str() {
        "latest" => latest(context).await?,
        name => context.find_archive(name)?,
    };
    let options = RestoreOptions {
        mode: Mode::Exact,
        safe: true,
        rollback: true,
        lock_timeout: args.shared.lock_timeout,
        jobs: args.shared.jobs.unwrap_or_else(default_jobs),
        checks: args.shared.checks(context),
        ..RestoreOptions::new(archive)
    };
    restore(context, options, &args.shared).await
}

/// The last safety backup that was taken of the target: a folder may hold those of several databases.
async fn latest(context: &Context) -> Result<std::path::PathBuf, Failure> {
    let folder = context.folders.safety_backups();
    let entries = listing::list(&context.folders, &folder)
        .map_err(|e| Failure::from_io(format!("reading folder {}", folder.display()), &e))?;
    let nothing = |what: String| {
        Failure::usage(what)
            .state("the target is untouched")
            .next("see what there is with pgkeep list-safety; --dir says where to look")
    };
    if entries.is_empty() {
        return Err(nothing(format!("there is no safety backup in {}", folder.display())));
    }
    let connector = context.connector()?;
    let session = crate::connection::lead(&connector, &context.events, &context.cancel).await?;
    let server = tokio::select! {
        biased;
        () = context.cancel.cancelled() => return Err(Failure::interrupted()),
        server = Catalog::read_server(&session.client) => server?,
    };
    // A broken one may be the latest: going on to an older one in silence would undo too much.
    if let Some(entry) = entries.iter().find(|e| e.error.is_some()) {
        return Err(Failure::new(
            FailureKind::Archive,
            format!(
                "{} cannot be opened, so nobody can tell which safety backup is the latest: {}",
                entry.path.display(),
                entry.error.as_deref().unwrap_or_default()
            ),
        )
        .state("the target is untouched")
        .next("name the safety backup: pgkeep rollback FILE (pgkeep list-safety shows them); or move the broken file away"));
    }
    let same = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
    let found = entries.iter().rev().find(|entry| {
        entry.guard.is_some()
            && entry.database.as_ref() == Some(&server.database)
            && same(&entry.system_identifier, &server.system_identifier)
    });
    let Some(entry) = found else {
        let what = format!(
            "none of the safety backups in {} is of {}",
            folder.display(),
            connector.info().redacted()
        );
        return Err(nothing(what));
    };
    context.events.info(format!("rolling back to {}", entry.file));
    if let Some(log) = entry.guards.as_ref().and_then(|name| read_log(context, name))
        && log.status == Status::RolledBack
    {
        let what = format!(
            "the restore that {} guards was undone by itself: this only undoes what others have written since",
            entry.file
        );
        context
            .events
            .warn(format!("{what}. To undo an earlier restore, name its safety backup: pgkeep list-safety"));
    }
    Ok(entry.path.clone())
}

/// None where there is no such log any more.
fn read_log(context: &Context, name: &str) -> Option<RestoreLog> {
    serde_json::from_slice(&std::fs::read(context.folders.summaries().join(name)).ok()?).ok()
}
