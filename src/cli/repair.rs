//! `pgkeep repair`.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use toml::{Table, Value};

use super::Ending;
use super::args::default_jobs;
use super::choice::ChoiceArgs;
use super::config::strings;
use super::context::Context;
use super::restore::{SharedArgs, restore};
use crate::check::{Expect, Test};
use crate::failure::Failure;
use crate::restore::objects::ObjectOptions;
use crate::restore::repair::{CheckedRows, Repair};
use crate::restore::{Mode, RestoreOptions};
use crate::selection::Pattern;

/// Flags of `repair`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep repair --dry-run --sample 3 --file shop_backup_20251128_074723
  pgkeep repair --table 'guest*' --file F

Restores rows that are missing, or broken: without a value that is required, found by a [[check]] that names their table, or referring to a row that is gone. All others stay as they are. A safety backup is taken first: pgkeep rollback latest puts everything back.")]
pub struct RepairArgs {
    /// Archive to repair from: a path, or a file name in backups/ or safety_backups/
    #[arg(short, long, value_name = "FILE", env = "PGKEEP_FILE")]
    pub file: String,
    /// These tables, all others left out: schema.table or table (which means schema public), * and ? as in a shell; a list, or given several times
    #[arg(short, long, value_name = "PATTERN", env = "PGKEEP_TABLE")]
    pub table: Vec<String>,
    /// Tables to leave out; a list, or given several times
    #[arg(long, value_name = "PATTERN", env = "PGKEEP_EXCLUDE")]
    pub exclude: Vec<String>,
    /// All tables of these schemas, as --table 'NAME.*'; a list, or given several times
    #[arg(long, value_name = "NAME", env = "PGKEEP_SCHEMA_NAME")]
    pub schema_name: Vec<String>,
    /// Show what is missing or broken, and write nothing
    #[arg(long, env = "PGKEEP_DRY_RUN")]
    pub dry_run: bool,
    /// Show so many rows of each kind, old -> new
    #[arg(long, value_name = "N", env = "PGKEEP_SAMPLE")]
    pub sample: Option<u32>,
    /// Flags that restore has, too.
    #[command(flatten)]
    pub shared: SharedArgs,
}

/// Runs the command.
pub async fn run(context: &Context, args: &RepairArgs) -> std::result::Result<Ending, Failure> {
    let RepairArgs { table, exclude, schema_name, .. } = args;
    let choice = ChoiceArgs {
        table: table.clone(),
        exclude: exclude.clone(),
        schema_name: schema_name.clone(),
        ..ChoiceArgs::default()
    };
    let checks = context.settings.checks.iter().filter_map(|check| match (&check.table, &check.test) {
        (Some(table), Test::Query { sql, expect: Expect::NoRows }) => {
            Some(CheckedRows { name: check.name.clone(), table: table.clone(), sql: sql.clone() })
        }
        _ => None,
    });
    let options = RestoreOptions {
        filter: choice.filter()?,
        repair: Some(Repair { required: context.settings.required.clone(), checks: checks.collect() }),
        mode: Mode::Upsert,
        safe: !args.dry_run,
        dry_run: args.dry_run,
        samples: args.sample.unwrap_or_default(),
        lock_timeout: args.shared.lock_timeout,
        jobs: args.shared.jobs.unwrap_or_else(default_jobs),
        objects: ObjectOptions { data: true, ..ObjectOptions::default() },
        checks: args.shared.checks(context),
        ..RestoreOptions::new(context.find_archive(&args.file)?)
    };
    restore(context, options, &args.shared).await
}

/// Takes `[repair.TABLE]` out of the file: which of their columns must have a value. What else stands under `repair` are the
/// command's flags.
pub fn required(table: &mut Table) -> Result<Vec<(Pattern, Vec<String>)>> {
    let Some(Value::Table(section)) = table.get_mut("repair") else { return Ok(Vec::new()) };
    let names: Vec<String> = section.iter().filter(|(_, v)| v.is_table()).map(|(k, _)| k.clone()).collect();
    let mut required = Vec::new();
    for name in names {
        let Some(Value::Table(keys)) = section.remove(&name) else { continue };
        let columns = || {
            if let Some(unknown) = keys.keys().find(|key| *key != "required") {
                bail!("there is no setting {unknown:?} here: there is required");
            }
            let Some(value) = keys.get("required") else { bail!("it names no column: required = [\"…\"]") };
            Ok((Pattern::parse(&name)?, strings("required", value)?))
        };
        required.push(columns().with_context(|| format!("[repair.{name:?}]"))?);
    }
    Ok(required)
}
