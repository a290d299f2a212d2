//! `pgkeep show`.

use std::io::{BufWriter, Write};
use std::path::Path;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};

use super::Ending;
use super::context::{Context, count, invalid, printable};
use super::table::layout;
use crate::archive::model::Kind;
use crate::archive::reader::Archive;
use crate::failure::{Failure, FailureKind};
use crate::row;
use crate::selection::Pattern;

/// Flags of `show`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep show shop_backup_20251128_074723
  pgkeep show shop_backup_20251128_074723 bookings | jq .status")]
pub struct ShowArgs {
    /// Archive: a path, or a file name in backups/ or safety_backups/
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Table whose rows to print as JSON objects, one a line
    #[arg(value_name = "TABLE")]
    pub table: Option<String>,
}

/// Runs the command.
pub fn run(context: &Context, args: &ShowArgs) -> Result<Ending, Failure> {
    let path = context.find_archive(&args.file)?;
    let archive = Archive::open(&path).map_err(|e| invalid(&path, &e))?;
    match &args.table {
        Some(table) => rows(context, &path, &archive, table)?,
        None => {
            let object = overview(&path, &archive);
            context.result(&object, &describe(&path.display().to_string(), &archive))?;
        }
    }
    Ok(Ending::Done)
}

fn overview(path: &Path, archive: &Archive) -> serde_json::Value {
    let header = archive.header();
    let tables: Vec<serde_json::Value> = header
        .tables
        .iter()
        .zip(&archive.totals().table_rows)
        .map(|(table, rows)| {
            serde_json::json!({
                "table": table.shown(), "schema": table.schema, "name": table.name, "rows": rows,
                "columns": table.columns, "generated": table.generated, "key": table.key,
                "constraints": table.constraints, "partitioned": table.partitioned,
                "large_objects": table.large_objects, "extension": table.extension, "condition": table.condition,
            })
        })
        .collect();
    serde_json::json!({
        "file": path, "kind": header.kind, "version": header.version, "tool": header.tool,
        "created_at": header.created_at, "source": header.source, "selection": header.selection,
        "guards": header.guards, "rows": archive.totals().rows, "bytes": archive.file_bytes(),
        "json_bytes": archive.totals().bytes, "chunks": archive.chunks().len(), "tables": tables,
        "sequences": header.sequences,
    })
}

fn describe(shown: &str, archive: &Archive) -> String {
    let header = archive.header();
    let source = &header.source;
    let mut text = format!(
        "{shown}\n  {} of database {} on {}:{} (Postgres {}), taken {} by {}\n",
        match header.kind {
            Kind::Backup => "backup",
            Kind::Safety => "safety backup",
        },
        printable(&source.database),
        printable(&source.host),
        source.port,
        printable(&source.server_version),
        header.created_at.format("%Y-%m-%d %H:%M:%S UTC"),
        printable(&header.tool)
    );
    if let Some(guards) = &header.guards {
        text += &format!(
            "  guards the restore of {} ({})\n",
            printable(&guards.backup_file),
            printable(&guards.restore_log)
        );
    }
    text += &format!(
        "  {} rows in {}, {} ({} of JSON), {}\n\n",
        HumanCount(archive.totals().rows),
        count(archive.totals().tables, "table"),
        HumanBytes(archive.file_bytes()),
        HumanBytes(archive.totals().bytes),
        count(header.sequences.len() as u64, "sequence")
    );
    let rows = header.tables.iter().zip(&archive.totals().table_rows).map(|(part, rows)| {
        let key = if part.key.is_empty() { "(whole row)".to_owned() } else { part.key.join(", ") };
        vec![
            printable(&part.described()),
            HumanCount(*rows).to_string(),
            part.columns.len().to_string(),
            printable(&key),
        ]
    });
    text + &layout(&["TABLE", "ROWS", "COLUMNS", "KEY"], &[1, 2], rows)
}

fn rows(context: &Context, path: &Path, archive: &Archive, table: &str) -> Result<(), Failure> {
    let pattern = Pattern::parse(table).map_err(|e| Failure::usage(e.to_string()))?;
    let tables = &archive.header().tables;
    let found: Vec<usize> =
        (0..tables.len()).filter(|i| pattern.matches(&tables[*i].schema, &tables[*i].name)).collect();
    let [index] = found.as_slice() else {
        return Err(Failure::usage(format!("{} tables of the archive are called {table:?}", found.len()))
            .next("see the tables with pgkeep show FILE; a bare name means schema public"));
    };
    context.claim_output();
    let names: Vec<&str> = tables[*index].columns.iter().map(|c| c.name.as_str()).collect();
    let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let mut object = Vec::new();
    for chunk in archive.table_chunks(*index as u32) {
        let rows = archive.read_rows(chunk).map_err(|e| invalid(path, &e))?;
        for line in rows.rows() {
            object.clear();
            row::object(&names, line, &mut object).map_err(|e| {
                let what = format!("{}: table {table}, chunk at byte {}: {e}", path.display(), chunk.offset);
                Failure::new(FailureKind::Archive, what)
            })?;
            object.push(b'\n');
            if let Err(error) = out.write_all(&object) {
                return gone_or(error);
            }
        }
    }
    out.flush().or_else(gone_or)
}

/// A reader that has gone away (`| head`) is no failure.
fn gone_or(error: std::io::Error) -> Result<(), Failure> {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(Failure::from_io("writing to standard output", &error))
}
