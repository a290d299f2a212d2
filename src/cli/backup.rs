//! `pgkeep backup`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, HumanCount};

use super::Ending;
use super::args::{default_jobs, rate};
use super::checks;
use super::choice::ChoiceArgs;
use super::context::{Context, count};
use crate::archive::compression::Compression;
use crate::backup::copy::CopyFormat;
use crate::backup::pace::Pace;
use crate::backup::run::run as run_backup;
use crate::backup::{BackupOptions, BackupResult, Choice, Content, Destination, Roles};
use crate::closure::{Root, RootError, Scope};
use crate::failure::Failure;
use crate::folders;
use crate::postgres::ddl::Secrets;
use crate::selection::TableFilter;

/// Flags of `backup`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep backup -d postgres://app@db.example/shop
  pgkeep backup --exclude 'audit_*' --compress zstd
  pgkeep backup --jobs 1 --max-rate 20M --nice
  pgkeep backup --entity weddings=7 --data-types guests
  pgkeep backup --table bookings --with-references
  pgkeep backup --where 'bookings: created_at >= $since' --param since=2025-11-01 --with-references
  pgkeep backup --columns 'users: full_name, created_at'
  pgkeep backup --out - | ssh archive.example 'cat > shop.json.gz'

A pattern is schema.table or table (which means schema public); * and ? match as in a shell.")]
pub struct BackupArgs {
    /// File to write, or - for standard output [default: a new file in backups/]
    #[arg(short, long, value_name = "FILE", env = "PGKEEP_OUT")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Only what belongs to these rows, which are named by their key: what refers to them by foreign keys, transitively, and the rows that those refer to; such as weddings=7 or seats=7/12,7/13; may be given several times
    #[arg(long, value_name = "TABLE=ID", env = "PGKEEP_ENTITY", conflicts_with_all = ["table", "schema_name", "condition", "with_references", "schema_only"])]
    pub entity: Vec<String>,
    /// Groups of tables out of [data_types] in pgkeep.toml to which an --entity is narrowed; a list, or given several times
    #[arg(long, value_name = "GROUP", env = "PGKEEP_DATA_TYPES", value_delimiter = ',', requires = "entity")]
    pub data_types: Vec<String>,
    /// Of other tables the rows, too, that those of --table and --where refer to, so that no foreign key breaks
    #[arg(long, env = "PGKEEP_WITH_REFERENCES", conflicts_with = "schema_only")]
    pub with_references: bool,
    /// Rows, sequences and large objects alone, not the definitions of tables, functions and all else
    #[arg(long, env = "PGKEEP_DATA_ONLY")]
    pub data_only: bool,
    /// Definitions alone, no rows
    #[arg(long, env = "PGKEEP_SCHEMA_ONLY", conflicts_with_all = ["data_only", "condition", "columns"])]
    pub schema_only: bool,
    /// The roles of the cluster, too, without their passwords
    #[arg(long, env = "PGKEEP_WITH_ROLES", conflicts_with = "data_only")]
    pub with_roles: bool,
    /// The roles with what the server keeps of their passwords, which only a superuser may read
    #[arg(long, env = "PGKEEP_WITH_ROLE_PASSWORDS", conflicts_with = "data_only")]
    pub with_role_passwords: bool,
    /// The secrets in the vault of a Supabase project, in the clear
    #[arg(long, env = "PGKEEP_WITH_SECRETS", conflicts_with = "data_only")]
    pub with_secrets: bool,
    /// Run the checks of pgkeep.toml first, and make no backup if one fails
    #[arg(long, env = "PGKEEP_RUN_CHECKS")]
    pub run_checks: bool,
    /// Connections that read side by side [default: one for each core, at most 8]
    #[arg(short, long, value_name = "N", env = "PGKEEP_JOBS", value_parser = jobs)]
    pub jobs: Option<usize>,
    /// Bytes a second that the server sends at most, such as 500k, 20M or 1G (powers of 1024)
    #[arg(long, value_name = "RATE", env = "PGKEEP_MAX_RATE", value_parser = rate)]
    pub max_rate: Option<u64>,
    /// Use fewer connections while other sessions are at work: one fewer for each of them, at least one
    #[arg(long, env = "PGKEEP_NICE")]
    pub nice: bool,
    /// In which form the server sends rows: binary, which costs it less, or text; the archive is the same
    #[arg(long, value_name = "FORMAT", env = "PGKEEP_COPY_FORMAT", value_enum, default_value = "binary")]
    pub copy_format: Format,
    /// How to compress: gzip, zstd or none, with an optional level such as gzip:6
    #[arg(long, value_name = "METHOD[:LEVEL]", env = "PGKEEP_COMPRESS")]
    pub compress: Option<Compression>,
}

/// What `--copy-format` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// Values as the server holds them.
    Binary,
    /// Values as the server prints them.
    Text,
}

/// Parses `--jobs`.
pub fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=64) => Ok(jobs),
        _ => Err("must be a number from 1 to 64".to_owned()),
    }
}

/// Runs the command.
pub async fn run(context: &Context, args: &BackupArgs) -> Result<Ending, Failure> {
    let destination = match &args.out {
        None => Destination::Folder,
        Some(path) if path.as_os_str() == "-" => Destination::Stdout,
        Some(path) => Destination::File(path.clone()),
    };
    if matches!(destination, Destination::Stdout) && context.global.json {
        return Err(Failure::usage("--json and --out - both want standard output"));
    }
    if args.run_checks && context.settings.checks.is_empty() {
        return Err(checks::none());
    }
    let named = args.out.as_ref().and_then(|p| p.to_str()).unwrap_or_default();
    let compression = args.compress.unwrap_or_else(|| by_name(named));
    let (filter, choice) = chosen(context, args)?;
    let options = BackupOptions {
        destination,
        filter,
        choice,
        rows: args.choice.rows()?,
        jobs: args.jobs.unwrap_or_else(default_jobs),
        compression,
        format: match args.copy_format {
            Format::Binary => CopyFormat::Binary,
            Format::Text => CopyFormat::Text,
        },
        pace: Pace { max_rate: args.max_rate, nice: args.nice },
        content: match (args.data_only, args.schema_only) {
            (true, _) => Content::Data,
            (_, true) => Content::Schema,
            _ => Content::All,
        },
        secrets: if args.with_secrets { Secrets::Taken } else { Secrets::Left },
        roles: match (args.with_role_passwords, args.with_roles) {
            (true, _) => Some(Roles::WithPasswords),
            (_, true) => Some(Roles::WithoutPasswords),
            _ => None,
        },
        checks: if args.run_checks { context.settings.checks.clone() } else { Vec::new() },
    };
    let mut connector = context.connector()?;
    connector.leave_free = args.jobs.is_none();
    context.note("INFO", &format!("backup of {} begins", connector.info().redacted()));
    let result = run_backup(&connector, &context.folders, &options, &context.events, &context.cancel).await?;
    context.note("INFO", &format!("backup ended: {} rows in {:.3} s", result.rows, result.seconds));
    write_summary(context, &result);
    if matches!(options.destination, Destination::Stdout) {
        context.events.info(describe(&result));
    } else {
        context.result(&result, &describe(&result)).map_err(|failure| unsaid(failure, &result))?;
    }
    Ok(Ending::Done)
}

/// Which tables, and which of their rows.
fn chosen(context: &Context, args: &BackupArgs) -> Result<(TableFilter, Choice), Failure> {
    if args.entity.is_empty() {
        let filter = args.choice.filter()?;
        return Ok((filter, if args.with_references { Choice::WithReferences } else { Choice::All }));
    }
    let roots: Result<Vec<Root>, RootError> = args.entity.iter().map(|text| Root::parse(text)).collect();
    let roots = roots.map_err(|e| Failure::usage(e.to_string()))?;
    let scope = Scope { roots, within: context.tables_of(&args.data_types, &args.choice.exclude)? };
    let data_types = args.data_types.clone();
    Ok((TableFilter::default(), Choice::Entity { scope, data_types }))
}

/// The compression that a file name asks for.
pub fn by_name(name: &str) -> Compression {
    let by_ending = [(".zst", "zstd"), (".gz", "gzip"), (".json", "none")];
    by_ending
        .iter()
        .find(|(ending, _)| name.ends_with(ending))
        .and_then(|(_, method)| method.parse().ok())
        .unwrap_or_default()
}

fn describe(result: &BackupResult) -> String {
    let rate = result.json_bytes as f64 / result.seconds.max(0.001);
    format!(
        "backed up {} rows of {} to {} ({}, {:.2} s, {}/s of JSON)",
        HumanCount(result.rows),
        count(result.tables, "table") + if result.large_objects { " and large objects" } else { "" },
        result.file.as_ref().map_or("standard output".to_owned(), |p| p.display().to_string()),
        HumanBytes(result.bytes),
        result.seconds,
        HumanBytes(rate as u64),
    )
}

/// The archive stays, though nobody could be told of it.
fn unsaid(failure: Failure, result: &BackupResult) -> Failure {
    let file = result.file.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
    Failure {
        state: format!("the backup is whole: {file}; only its result could not be printed"),
        next: "nothing has to be done again; see that there is room where standard output goes".to_owned(),
        ..failure
    }
}

/// Keeps the result in `summaries/`. The archive is whole without it, so a failure is only said.
fn write_summary(context: &Context, result: &BackupResult) {
    let folder = context.folders.summaries();
    let stem = format!("backup_{}", folders::stamp(result.started_at));
    // It tells what the archive tells, too: it is not waited for until it is on the disk.
    let written = serde_json::to_vec_pretty(result).map_err(std::io::Error::other).and_then(|mut text| {
        text.push(b'\n');
        let (path, mut file) = folders::create_unique(&folder, &stem, "json")?;
        file.write_all(&text).inspect_err(|_| {
            // Half of it would only mislead.
            let _ = std::fs::remove_file(&path);
        })
    });
    if let Err(error) = written {
        context.events.warn(format!("the backup is whole, but its summary could not be written: {error}"));
    }
}
