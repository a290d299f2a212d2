//! `pgkeep diff`.

mod definitions;
mod rows;

use std::sync::Arc;

use clap::Args;

pub use self::definitions::no_definitions;

use super::Ending;
use super::backup::jobs;
use super::choice::{ChoiceArgs, EntityArgs, MappingArgs};
use super::context::{Context, invalid};
use super::restore::ModeArg;
use crate::archive::reader::Archive;
use crate::failure::Failure;

/// Flags of `diff`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep diff shop_backup_20251128_074723 -d postgres://app@db.example/shop
  pgkeep diff shop_backup_20251128_074723 --table bookings --sample 5
  pgkeep diff NEWER OLDER --newer-by updated_at
  pgkeep diff shop_backup_20251128_074723 --into-schema restored_2026
  pgkeep diff shop_backup_20251128_074723 --schema
  pgkeep diff OLDER NEWER --schema --full

Rows are counted as a restore of FILE over OTHER would have them: + only FILE has the row (inserted), ~ both have it and it \
differs, old -> new (updated), - only OTHER has it (deleted by --mode exact), = it would be kept. Nothing is changed.

Of definitions: + is in OTHER only, - in FILE only, ~ in both, but not the same.")]
pub struct DiffArgs {
    /// Archive: a path, or a file name in backups/ or safety_backups/
    #[arg(value_name = "FILE")]
    pub file: String,
    /// What to compare it with: another archive, or live, the database
    #[arg(value_name = "OTHER", default_value = "live")]
    pub other: String,
    /// Compare the definitions and not the rows
    #[arg(long, env = "PGKEEP_SCHEMA")]
    pub schema: bool,
    /// Show what differs in the statements of objects that are in both
    #[arg(long, env = "PGKEEP_FULL")]
    pub full: bool,
    /// Show so many rows of each kind, old -> new
    #[arg(long, value_name = "N", env = "PGKEEP_SAMPLE")]
    pub sample: Option<u32>,
    /// How rows would meet
    #[arg(long, value_name = "MODE", env = "PGKEEP_MODE", default_value = "exact")]
    pub mode: ModeArg,
    /// Say which rows are newer here and which there, by these columns (mode newer); a list, or given several times
    #[arg(long, value_name = "COLUMN", env = "PGKEEP_NEWER_BY", value_delimiter = ',')]
    pub newer_by: Vec<String>,
    /// Which tables and rows.
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Which rows by what belongs together.
    #[command(flatten)]
    pub entity: EntityArgs,
    /// Under which names the database has the tables.
    #[command(flatten)]
    pub names: MappingArgs,
    /// Connections and threads that work side by side [default: one for each core, at most 8]
    #[arg(short, long, value_name = "N", env = "PGKEEP_JOBS", value_parser = jobs)]
    pub jobs: Option<usize>,
    /// End with exit code 7 if there is any difference
    #[arg(long, env = "PGKEEP_EXIT_CODE")]
    pub exit_code: bool,
}

/// Runs the command.
pub async fn run(context: &Context, args: &DiffArgs) -> Result<Ending, Failure> {
    if !args.names.mapping()?.is_none() && (args.schema || args.other != "live") {
        return Err(Failure::usage("--map and --into-schema are for the rows of a database")
            .state("nothing was compared")
            .next("compare with live, and without --schema"));
    }
    if args.schema { definitions::run(context, args).await } else { rows::run(context, args).await }
}

fn archived(context: &Context, name: &str) -> Result<(String, Arc<Archive>), Failure> {
    let path = context.find_archive(name)?;
    let archive = Archive::open(&path).map_err(|e| invalid(&path, &e))?;
    Ok((path.display().to_string(), Arc::new(archive)))
}
