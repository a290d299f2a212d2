//! `pgkeep show`.

mod chosen;
mod key;
mod rows;

use std::io::IsTerminal;
use std::path::Path;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};

use self::chosen::Chosen;
use self::rows::Rows;
use super::choice::{RowArgs, filter};
use super::context::{Context, count, count_tables, invalid, print, printable};
use super::diff::no_definitions;
use super::table::layout;
use super::{Ending, ddl};
use crate::archive::model::{Column, Kind, Table};
use crate::archive::reader::Archive;
use crate::failure::Failure;
use crate::restore::entity::check_met;
use crate::schema::Object;
use crate::schema::named::named;
use crate::selection::{Pattern, RowChoice};

/// Flags of `show`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep show shop_backup_20251128_074723
  pgkeep show shop_backup_20251128_074723 bookings | jq .status
  pgkeep show shop_backup_20251128_074723 bookings --limit 10
  pgkeep show shop_backup_20251128_074723 users --where-key id=4711
  pgkeep show shop_backup_20251128_074723 booking_items --where-key booking_id=4711,line=2
  pgkeep show shop_backup_20251128_074723 bookings --where 'bookings: total = 0' --columns 'bookings: reference,status'
  pgkeep show shop_backup_20251128_074723 --schema bookings
  pgkeep show shop_backup_20251128_074723 --schema 'area(integer)'

--where-key compares texts: a value is found as it is printed. Of integers and uuids any spelling will do. \
Where keys follow the order of the rows, as serial numbers and times do, a few chunks are read and not the table. \
No such row: nothing is printed on standard output, and the exit code is 0.

--where is evaluated without a server, exactly as one would, or refused: comparisons, IS NULL, IN, BETWEEN, LIKE, AND, OR and NOT \
of columns and literals. Without TABLE, the rows that meet it are counted.")]
#[command(mut_arg("condition", |arg| arg.help("Rows to print or to count, by a condition as it would stand behind WHERE: 'bookings: created_at >= $since'; may be given several times")))]
#[command(mut_arg("columns", |arg| arg.help("Columns to print, in this order: 'users: email,phone'; may be given several times")))]
pub struct ShowArgs {
    /// Archive: a path, or a file name in backups/ or safety_backups/
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Table whose rows to print as JSON objects, one a line
    #[arg(value_name = "TABLE")]
    pub table: Option<String>,
    /// Tables to list, all others left out; a list, or given several times
    #[arg(short = 't', long = "table", id = "tables", value_name = "PATTERN", env = "PGKEEP_TABLE")]
    pub tables: Vec<String>,
    /// Tables to leave out of the list; a list, or given several times
    #[arg(long, value_name = "PATTERN", env = "PGKEEP_EXCLUDE")]
    pub exclude: Vec<String>,
    /// List all tables of these schemas, as --table 'NAME.*'; a list, or given several times
    #[arg(long, value_name = "NAME", env = "PGKEEP_SCHEMA_NAME")]
    pub schema_name: Vec<String>,
    /// Print definitions as SQL: all, or those of NAME: schema.name or name (public), * and ? as in a shell, with all that belongs to it
    #[arg(long, value_name = "NAME", env = "PGKEEP_SCHEMA", num_args = 0..=1, default_missing_value = "")]
    pub schema: Option<String>,
    /// Print at most the first N rows of TABLE
    #[arg(long, value_name = "N", env = "PGKEEP_LIMIT")]
    pub limit: Option<u64>,
    /// Print the rows of TABLE with that key: several columns joined by commas or given one by one; any column if there is no key
    #[arg(long, value_name = "COLUMN=VALUE", env = "PGKEEP_WHERE_KEY")]
    pub where_key: Vec<String>,
    /// Which rows and columns.
    #[command(flatten)]
    pub rows: RowArgs,
}

/// Reasons that are listed.
const LISTED: usize = 50;

/// Runs the command.
pub fn run(context: &Context, args: &ShowArgs) -> Result<Ending, Failure> {
    let path = context.find_archive(&args.file)?;
    let archive = Archive::open(&path).map_err(|e| invalid(&path, &e))?;
    if !args.where_key.is_empty() && (args.table.is_none() || args.schema.is_some()) {
        return Err(Failure::usage("--where-key finds rows of a table, and none is named")
            .next("pgkeep show FILE TABLE --where-key COLUMN=VALUE"));
    }
    let choice = args.rows.choice()?;
    if let Some(name) = &args.schema {
        if !choice.is_all() {
            return Err(Failure::usage(
                "--where and --columns are about rows, and --schema shows definitions",
            )
            .next("leave one or the other out"));
        }
        definitions(context, &path, &archive, name, args.table.as_deref())?;
        return Ok(Ending::Done);
    }
    match &args.table {
        Some(table) => rows(context, &path, &archive, table, args, &choice)?,
        None => {
            let listed = listed(context, &path, &archive, args, &choice)?;
            let object = overview(&path, &archive, &listed);
            context.result(&object, &describe(&path.display().to_string(), &archive, &listed))?;
        }
    }
    Ok(Ending::Done)
}

/// A table as it is listed.
struct Listed<'a> {
    table: &'a Table,
    /// Its rows.
    rows: u64,
    /// Those that meet a condition, where there is one.
    chosen: Option<u64>,
    columns: Vec<&'a Column>,
}

/// The tables that are listed. Rows are read of those of which some are chosen.
fn listed<'a>(
    context: &Context,
    path: &Path,
    archive: &'a Archive,
    args: &ShowArgs,
    choice: &RowChoice,
) -> Result<Vec<Listed<'a>>, Failure> {
    let filter = filter(&args.tables, &args.exclude, &args.schema_name)?;
    let tables = &archive.header().tables;
    let names = || tables.iter().map(|t| (t.schema.as_str(), t.name.as_str()));
    chosen::check_matches([filter.unmatched(names()), choice.unmatched(names())].concat())?;
    let all = (0_u32..).zip(tables).zip(&archive.totals().table_rows);
    let wanted = all.filter(|((_, table), _)| filter.wants(&table.schema, &table.name));
    let described = |((index, table), rows): ((u32, &'a Table), &u64)| {
        let chosen = Chosen::new(archive, table, choice)?;
        Ok((index, Listed { table, rows: *rows, chosen: None, columns: chosen.columns(table) }, chosen))
    };
    // What cannot be used is said before anything is read.
    let described: Vec<(u32, Listed<'a>, Chosen)> = wanted.map(described).collect::<Result<_, Failure>>()?;
    let counted = |(index, listed, chosen): (u32, Listed<'a>, Chosen)| {
        Ok(Listed { chosen: chosen.count(context, path, archive, index)?, ..listed })
    };
    let listed: Vec<Listed<'a>> = described.into_iter().map(counted).collect::<Result<_, Failure>>()?;
    let met = listed.iter().filter_map(|l| Some((l.table.shown(), l.chosen? > 0)));
    check_met(&met.collect::<Vec<_>>())?;
    Ok(listed)
}

fn overview(path: &Path, archive: &Archive, listed: &[Listed<'_>]) -> serde_json::Value {
    let header = archive.header();
    let tables: Vec<serde_json::Value> = listed
        .iter()
        .map(|Listed { table, rows, chosen, columns }| {
            let mut object = serde_json::json!({
                "table": table.shown(), "schema": table.schema, "name": table.name, "rows": rows,
                "columns": columns, "left_out": table.left_out, "generated": table.generated, "key": table.key,
                "constraints": table.constraints, "partitioned": table.partitioned,
                "large_objects": table.large_objects, "extension": table.extension, "condition": table.condition,
            });
            if let Some(chosen) = chosen {
                object["chosen"] = (*chosen).into();
            }
            object
        })
        .collect();
    serde_json::json!({
        "file": path, "kind": header.kind, "version": header.version, "tool": header.tool,
        "created_at": header.created_at, "source": header.source, "selection": header.selection,
        "guards": header.guards, "refused": header.refused, "rows": archive.totals().rows, "bytes": archive.file_bytes(),
        "json_bytes": archive.totals().bytes, "chunks": archive.chunks().len(), "tables": tables,
        "sequences": header.sequences, "objects": header.schema.as_ref().map(|s| s.objects.len()),
    })
}

fn describe(shown: &str, archive: &Archive, listed: &[Listed<'_>]) -> String {
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
    if let Some(refused) = &header.refused {
        text += &format!(
            "  left out by the restore of {} ({}):\n",
            printable(&refused.backup_file),
            printable(&refused.restore_log)
        );
        for reason in refused.reasons.iter().take(LISTED) {
            let table = header.tables.get(reason.table as usize).map(Table::shown).unwrap_or_default();
            let rows = count(reason.rows.len() as u64, "row");
            text += &format!("    {}, {rows}: {}\n", printable(&table), printable(&reason.error));
        }
        if refused.reasons.len() > LISTED {
            text += &format!(
                "    and {} more reasons: pgkeep show FILE --json\n",
                refused.reasons.len() - LISTED
            );
        }
    }
    text += &format!(
        "  {} rows in {}, {} ({} of JSON), {}{}\n\n",
        HumanCount(archive.totals().rows),
        count_tables(&header.tables),
        HumanBytes(archive.file_bytes()),
        HumanBytes(archive.totals().bytes),
        count(header.sequences.len() as u64, "sequence"),
        match &header.schema {
            Some(schema) => format!(", definitions of {}", count(schema.objects.len() as u64, "object")),
            None => String::new(),
        }
    );
    let rows = listed.iter().map(|Listed { table, rows, chosen, columns }| {
        let key = if table.key.is_empty() { "(whole row)".to_owned() } else { table.key.join(", ") };
        let all = HumanCount(*rows).to_string();
        vec![
            printable(&table.described()),
            chosen.map_or(all.clone(), |chosen| format!("{} of {all}", HumanCount(chosen))),
            match (columns.len(), table.columns.len()) {
                (some, all) if some < all => format!("{some} of {all}"),
                (_, all) => all.to_string(),
            },
            printable(&key),
        ]
    });
    text + &layout(&["TABLE", "ROWS", "COLUMNS", "KEY"], &[1, 2], rows)
}

/// Prints the definitions of all objects, or of those that a name means. `show F NAME --schema` is taken for
/// `show F --schema NAME`.
fn definitions(
    context: &Context,
    path: &Path,
    archive: &Archive,
    name: &str,
    table: Option<&str>,
) -> Result<(), Failure> {
    let name = match (name, table) {
        ("", table) => table.unwrap_or_default(),
        (name, None) => name,
        _ => return Err(Failure::usage("either TABLE or --schema NAME, not both")),
    };
    let schema = archive.header().schema.as_ref();
    let schema = schema.ok_or_else(|| no_definitions(&path.display().to_string()))?;
    let objects: Vec<&Object> = match name {
        "" => schema.objects.iter().collect(),
        name => named(&schema.objects, name).map_err(|e| Failure::usage(e.to_string()))?,
    };
    if objects.is_empty() && !name.is_empty() {
        return Err(Failure::usage(format!("no object of the archive is called {name:?}"))
            .next("pgkeep show FILE --schema prints all; a bare name means schema public, '*.name' any schema; quote * and ? from the shell"));
    }
    if context.global.json {
        // Positions mean nothing in a list of some.
        let objects: Vec<Object> =
            objects.into_iter().map(|o| Object { needs: Vec::new(), ..o.concealed() }).collect();
        return context.json(&serde_json::json!({ "file": path, "objects": objects }));
    }
    let texts: Vec<String> = objects.into_iter().map(ddl::text).filter(|text| !text.is_empty()).collect();
    let mut text = texts.join("\n\n");
    if std::io::stdout().is_terminal() {
        text = ddl::for_terminal(&text);
    }
    if context.colors_output() {
        text = ddl::coloured(&text);
    }
    print(&format!("{text}\n"))
}

fn rows(
    context: &Context,
    path: &Path,
    archive: &Archive,
    table: &str,
    args: &ShowArgs,
    choice: &RowChoice,
) -> Result<(), Failure> {
    let pattern = Pattern::parse(table).map_err(|e| Failure::usage(e.to_string()))?;
    let tables = &archive.header().tables;
    let found: Vec<usize> =
        (0..tables.len()).filter(|i| pattern.matches(&tables[*i].schema, &tables[*i].name)).collect();
    let [index] = *found.as_slice() else {
        return Err(Failure::usage(format!("{} tables of the archive are called {table:?}", found.len()))
            .next("see the tables with pgkeep show FILE; a bare name means schema public"));
    };
    let table = &tables[index];
    let lookup = match args.where_key.as_slice() {
        [] => None,
        given => Some(key::lookup(table, given)?),
    };
    chosen::check_matches(choice.unmatched([(table.schema.as_str(), table.name.as_str())].into_iter()))?;
    let chosen = Chosen::new(archive, table, choice)?;
    Rows { path, archive, index, table, lookup, chosen, limit: args.limit }.print(context)
}
