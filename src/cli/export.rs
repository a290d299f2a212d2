//! `pgkeep export`.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, HumanCount};
use tokio_util::sync::CancellationToken;

use super::Ending;
use super::context::{Context, count, invalid};
use super::objects::SectionArg;
use crate::archive::file::AtomicFile;
use crate::archive::reader::Archive;
use crate::export::script::ScriptOptions;
use crate::export::{ExportError, Exported, csv, script};
use crate::failure::{Failure, FailureKind};
use crate::progress::Events;
use crate::schema::script::Style;
use crate::selection::TableFilter;

/// How long after an interruption the writer may take to end in its own way: whoever reads may have stalled.
const GRACE: Duration = Duration::from_secs(3);

/// Flags of `export`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep export shop_backup_20251128_074723 --out shop.sql
  pgkeep export F | psql -v ON_ERROR_STOP=1 -d postgres://app@db.example/shop
  pgkeep export F --schema-only --no-owner --no-privileges
  pgkeep export F --format csv --table bookings --out bookings.csv

The script needs psql of 2025-08 or later (13.22, 14.19, 15.14, 16.10, 17.6, 18), like those of pg_dump.")]
pub struct ExportArgs {
    /// Archive: a path, or a file name in backups/ or safety_backups/
    #[arg(value_name = "FILE")]
    pub file: String,
    /// What to write
    #[arg(long, value_name = "FORMAT", env = "PGKEEP_FORMAT", default_value = "sql")]
    pub format: Format,
    /// File to write, or - for standard output [default: standard output]
    #[arg(short, long, value_name = "FILE", env = "PGKEEP_OUT")]
    pub out: Option<PathBuf>,
    /// Tables to export with all that belongs to them, all others left out; a list, or given several times
    #[arg(short, long, value_name = "PATTERN", env = "PGKEEP_TABLE")]
    pub table: Vec<String>,
    /// Tables to leave out; a list, or given several times
    #[arg(long, value_name = "PATTERN", env = "PGKEEP_EXCLUDE")]
    pub exclude: Vec<String>,
    /// Definitions alone, no rows
    #[arg(long, env = "PGKEEP_SCHEMA_ONLY")]
    pub schema_only: bool,
    /// Rows, sequences and large objects alone: the tables must be there
    #[arg(long, env = "PGKEEP_DATA_ONLY", conflicts_with = "schema_only")]
    pub data_only: bool,
    /// Only what comes before the rows, the rows, or what comes after them; a list, or given several times
    #[arg(long, value_name = "SECTION", env = "PGKEEP_SECTION", value_delimiter = ',', conflicts_with_all = ["schema_only", "data_only"])]
    pub section: Vec<SectionArg>,
    /// Remove first what is there of the archive's objects
    #[arg(long, env = "PGKEEP_CLEAN", conflicts_with = "data_only")]
    pub clean: bool,
    /// Leave out owners: everything belongs to the role that runs the script
    #[arg(short = 'O', long, env = "PGKEEP_NO_OWNER")]
    pub no_owner: bool,
    /// Leave out GRANT and REVOKE
    #[arg(short = 'x', long, env = "PGKEEP_NO_PRIVILEGES")]
    pub no_privileges: bool,
    /// Leave out tablespaces: everything goes to the database's own
    #[arg(long, env = "PGKEEP_NO_TABLESPACES")]
    pub no_tablespaces: bool,
}

/// What an export writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A script for psql.
    Sql,
    /// The rows of one table, with a line of column names.
    Csv,
}

/// What is to be written.
enum What {
    Script(ScriptOptions),
    Csv(TableFilter),
}

/// Runs the command.
pub async fn run(context: &Context, args: &ExportArgs) -> Result<Ending, Failure> {
    let started = Instant::now();
    let what = what(args)?;
    let target = args.out.as_ref().filter(|path| path.as_os_str() != "-").cloned();
    if target.is_none() && context.global.json {
        return Err(Failure::usage("--json and an export to standard output both want it")
            .next("name a file with --out, or leave out --json"));
    }
    let path = context.find_archive(&args.file)?;
    let (events, cancel) = (context.events.clone(), context.cancel.clone());
    if target.is_none() {
        context.claim_output();
    }
    let (read, written) = (path.clone(), target.clone());
    let mut work =
        tokio::task::spawn_blocking(move || export(&read, written.as_deref(), &what, &events, &cancel));
    let result = tokio::select! {
        biased;
        result = &mut work => result.map_err(|e| Failure::failed(format!("the export ended abnormally: {e}")))?,
        () = interrupted(context) => Err(Failure::interrupted()),
    };
    let done = result.map_err(|failure| {
        failure.state(match &target {
            Some(file) => format!("no {} was left behind; nothing else was changed", file.display()),
            None => "what went to standard output is not whole".to_owned(),
        })
    })?;
    let Some((exported, bytes)) = done else { return Ok(Ending::Done) };
    let seconds = started.elapsed().as_secs_f64();
    let objects = match exported.objects {
        0 => String::new(),
        number => format!("{} and ", count(number, "object")),
    };
    let text = format!(
        "exported {objects}{} rows of {} to {} ({}, {seconds:.2} s)",
        HumanCount(exported.rows),
        count(exported.tables, "table"),
        target.as_ref().map_or("standard output".to_owned(), |p| p.display().to_string()),
        HumanBytes(bytes),
    );
    match &target {
        None => context.events.info(text),
        Some(file) => {
            let object = serde_json::json!({
                "file": file.display().to_string(), "archive": path.display().to_string(), "objects": exported.objects,
                "tables": exported.tables, "rows": exported.rows, "bytes": bytes, "seconds": seconds,
            });
            context.result(&object, &text)?;
        }
    }
    Ok(Ending::Done)
}

async fn interrupted(context: &Context) {
    context.cancel.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn what(args: &ExportArgs) -> Result<What, Failure> {
    let filter = TableFilter::parse(&args.table, &args.exclude).map_err(|e| Failure::usage(e.to_string()))?;
    if args.format == Format::Csv {
        let flags = [
            (args.schema_only, "--schema-only"),
            (args.clean, "--clean"),
            (!args.section.is_empty(), "--section"),
        ];
        if let Some((_, flag)) = flags.iter().find(|(given, _)| *given) {
            return Err(Failure::usage(format!("{flag} means nothing for CSV, which has rows alone")));
        }
        return Ok(What::Csv(filter));
    }
    let section = |section, only: bool| match args.section.as_slice() {
        [] => only || !(args.schema_only || args.data_only),
        sections => sections.contains(&section),
    };
    Ok(What::Script(ScriptOptions {
        filter,
        pre_data: section(SectionArg::PreData, args.schema_only),
        data: section(SectionArg::Data, args.data_only),
        post_data: section(SectionArg::PostData, args.schema_only),
        clean: args.clean,
        style: Style {
            no_owner: args.no_owner,
            no_privileges: args.no_privileges,
            no_tablespaces: args.no_tablespaces,
            role: None,
            left: None,
        },
    }))
}

/// Exports to a file, which appears when it is whole, or to standard output; returns what was written in how many bytes,
/// or none when nobody reads standard output any more.
fn export(
    path: &Path,
    target: Option<&Path>,
    what: &What,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Option<(Exported, u64)>, Failure> {
    let archive = Archive::open(path).map_err(|e| invalid(path, &e))?;
    let write = |out: &mut dyn Write| -> Result<(Exported, u64), ExportError> {
        let mut out = Counted { inner: BufWriter::with_capacity(1 << 17, out), bytes: 0 };
        let exported = match what {
            What::Script(options) => script::write(&archive, options, events, cancel, &mut out),
            What::Csv(filter) => {
                csv::write(&archive, only_table(&archive, filter)?, events, cancel, &mut out)
            }
        };
        match exported {
            Ok(exported) => out.flush().map(|()| (exported, out.bytes)).map_err(ExportError::Write),
            Err(error) => Err(error),
        }
    };
    let failed = |error: std::io::Error, shown: &dyn std::fmt::Display| {
        Failure::from_io(format!("writing to {shown}"), &error)
    };
    let failure = |failure: Failure| match failure.kind {
        FailureKind::Archive => failure.while_doing(path.display()),
        _ => failure,
    };
    let Some(target) = target else {
        return match write(&mut std::io::stdout().lock()) {
            Ok(done) => Ok(Some(done)),
            Err(ExportError::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(None),
            Err(ExportError::Write(error)) => Err(failed(error, &"standard output")),
            Err(ExportError::Failure(f)) => Err(failure(f)),
        };
    };
    if target.symlink_metadata().is_ok() {
        return Err(Failure::usage(format!(
            "{} exists already; pgkeep overwrites nothing",
            target.display()
        ))
        .state("the existing file is untouched")
        .next("choose another name with --out, or move the file away"));
    }
    let mut file = AtomicFile::create(target).map_err(|e| Failure::from_archive(&e))?;
    let done = write(&mut file).map_err(|error| match error {
        ExportError::Write(error) => failed(error, &target.display()),
        ExportError::Failure(f) => failure(f),
    })?;
    file.commit().map_err(|e| Failure::from_archive(&e))?;
    Ok(Some(done))
}

/// The number of the one table that the patterns choose.
fn only_table(archive: &Archive, filter: &TableFilter) -> Result<u32, Failure> {
    let tables = &archive.header().tables;
    let wanted = |n: &usize| filter.wants(&tables[*n].schema, &tables[*n].name) && !tables[*n].large_objects;
    let found: Vec<usize> = (0..tables.len()).filter(wanted).collect();
    match found.as_slice() {
        [index] => Ok(*index as u32),
        _ => Err(Failure::usage(format!(
            "CSV holds one table, and {} of the archive are chosen",
            count(found.len() as u64, "table")
        ))
        .state("nothing was written")
        .next("name one with --table schema.name; pgkeep show FILE lists them")),
    }
}

/// Counts what goes through.
struct Counted<W: Write> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
