//! `pgkeep validate`.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};

use super::Ending;
use super::args::default_jobs;
use super::context::{Context, count_tables, invalid};
use crate::archive::reader::Archive;
use crate::archive::validate::{ValidateOptions, validate};
use crate::failure::Failure;
use crate::listing;
use crate::progress::{Event, Phase};

/// Flags of `validate`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep validate shop_backup_20251128_074723
  pgkeep validate --quick F
  pgkeep validate --critical users,bookings F")]
pub struct ValidateArgs {
    /// Archive: a path, or a file name in backups/ or safety_backups/
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Prove header, index and structure alone, without reading the rows
    #[arg(long, env = "PGKEEP_QUICK")]
    pub quick: bool,
    /// Tables that must be there, and not empty (critical_tables in pgkeep.toml)
    #[arg(long, value_name = "TABLE", env = "PGKEEP_CRITICAL", value_delimiter = ',')]
    pub critical: Vec<String>,
}

/// Runs the command.
pub async fn run(context: &Context, args: &ValidateArgs) -> Result<Ending, Failure> {
    let started = Instant::now();
    let path = context.find_archive(&args.file)?;
    let (events, cancel, opened) = (context.events.clone(), context.cancel.clone(), path.clone());
    let options =
        ValidateOptions { quick: args.quick, threads: default_jobs(), critical: args.critical.clone() };
    let work = tokio::task::spawn_blocking(move || {
        let archive = Archive::open(&opened)?;
        events.emit(Event::Started { phase: Phase::Validate, total_bytes: archive.totals().bytes });
        let table: Arc<str> = Arc::from("");
        let progress = |bytes| {
            events.emit(Event::Advanced { phase: Phase::Validate, table: table.clone(), rows: 0, bytes });
        };
        let report = validate(&archive, &options, &progress, &|| cancel.is_cancelled());
        events.emit(Event::Finished { phase: Phase::Validate });
        report.map(|report| (archive, report))
    });
    let result = work.await.map_err(|e| Failure::failed(format!("validation ended abnormally: {e}")))?;
    if context.cancel.is_cancelled() {
        return Err(Failure::interrupted().state("nothing was changed"));
    }
    let shown = path.display();
    let seconds = started.elapsed().as_secs_f64();
    let (archive, report) = match result {
        Ok(found) => found,
        Err(error) => {
            if context.global.json {
                context.json(&serde_json::json!({
                    "file": path, "valid": false, "quick": args.quick, "error": error.to_string(), "seconds": seconds,
                }))?;
            }
            return Err(invalid(&path, &error));
        }
    };
    let (index, whole) = (archive.index_sha256(), report.damaged_chunks == 0);
    if !args.quick && listing::mark_verified(&context.folders, &path, index, whole).is_err() {
        context.events.detail("the proof could not be noted for pgkeep list");
    }
    let totals = archive.totals();
    let mut object = serde_json::json!({
        "file": path, "valid": report.is_valid(), "quick": args.quick, "tables": totals.tables, "rows": totals.rows,
        "bytes": archive.file_bytes(), "json_bytes": totals.bytes, "seconds": seconds,
    });
    if !report.is_valid() {
        let failure = Failure::from_report(&report);
        object["error"] = failure.what.clone().into();
        if context.global.json {
            context.json(&object)?;
        }
        return Err(failure
            .while_doing(shown)
            .state("nothing was changed")
            .next("choose another archive (pgkeep list, pgkeep list-safety)"));
    }
    let proven = if args.quick {
        "header, index and structure are whole; the rows were not read"
    } else {
        "whole: every byte, row and count is proven"
    };
    let text = format!(
        "{shown}: {proven}\n  {}, {} rows, {} ({} of JSON), {seconds:.2} s",
        count_tables(&archive.header().tables),
        HumanCount(totals.rows),
        HumanBytes(archive.file_bytes()),
        HumanBytes(totals.bytes)
    );
    context.result(&object, &text)?;
    Ok(Ending::Done)
}
