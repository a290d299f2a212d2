//! Archived rows in staging tables, beside the live ones: in temporary tables of the restoring transaction, which vanish
//! with it, or in the schema where several connections stage (see `staging_schema`).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::plan::TablePlan;
use crate::archive::model::Chunk;
use crate::archive::reader::Archive;
use crate::closure::archive::InChunk;
use crate::failure::{Failure, FailureKind};
use crate::postgres::copy::RowDecoder;
use crate::postgres::error as pg;
use crate::postgres::quote;
use crate::progress::{Event, Events, Phase};

/// A COPY message's size: far below the server's limit for one, large enough to cost nothing.
const MESSAGE_BYTES: usize = 256 << 10;

/// Domains inside of arrays and composites check what they are given while rows are staged, and to plan any query of a
/// table the server expands the SQL functions in its indexes: the user's functions are found, and yet no object of the
/// user's stands in for a built-in one. A rebuild may say by `pgkeep.search_path` which path the application has.
pub const BUILT_IN_FIRST_PATH: &str = "SELECT pg_catalog.set_config('search_path',
    pg_catalog.concat_ws(', ', 'pg_catalog',
      NULLIF(COALESCE(NULLIF(pg_catalog.current_setting('pgkeep.search_path', true), ''), s.reset_val), '')), true)
  FROM pg_catalog.pg_settings s WHERE s.name = 'search_path'";

/// The schema of the restoring transaction's own staging tables.
pub const TEMPORARY: &str = "pg_temp";

/// Keeps rows that others could see from all but their owner: whoever may read every table has a right to every schema,
/// and what the server knows of a table's values it shows to all who may read it, schema or not.
fn hide(table: &TablePlan, stage: &str) -> String {
    if table.staged_in == TEMPORARY {
        return String::new();
    }
    format!(" ALTER TABLE {stage} ENABLE ROW LEVEL SECURITY")
}

/// The staging table of an archived table, as it stands in SQL.
pub fn stage_name(table: &TablePlan) -> String {
    format!("{}.pgkeep_stage_{}", table.staged_in, table.index)
}

/// What stands before the query of which `name` is made, a table that serves to stage `table`.
pub fn create_as(table: &TablePlan, name: &str) -> String {
    if table.staged_in == TEMPORARY {
        format!("CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS")
    } else {
        // It is written once and removed soon.
        format!("CREATE UNLOGGED TABLE {name} WITH (autovacuum_enabled = off) AS")
    }
}

/// Creates the staging table and fills it with archived rows.
pub async fn fill(
    client: &Client,
    archive: &Arc<Archive>,
    table: &TablePlan,
    chunks: Vec<Chunk>,
    events: &Events,
) -> Result<(), Failure> {
    let stage = stage_name(table);
    let loading = |f: Failure| f.while_doing(format!("loading table {}", table.shown));
    // Types and collations of the target, none of its constraints, defaults and triggers.
    let typed: Vec<String> = table
        .columns
        .iter()
        .zip(&table.casts)
        .map(|(c, cast)| {
            let name = quote::ident(c);
            format!("t.{name}{cast} AS {name}")
        })
        .collect();
    let create = format!(
        "{} SELECT {} FROM {} AS t WITH NO DATA",
        create_as(table, &stage),
        typed.join(", "),
        table.from_item
    );
    let create = format!("{create};{}", hide(table, &stage));
    client.batch_execute(&create).await.map_err(|e| loading(e.into()))?;
    add(client, archive, table, chunks, events).await
}

/// Adds archived rows to the staging table.
pub async fn add(
    client: &Client,
    archive: &Arc<Archive>,
    table: &TablePlan,
    chunks: Vec<Chunk>,
    events: &Events,
) -> Result<(), Failure> {
    let stage = stage_name(table);
    let rows = copy_chunks(client, archive, table, chunks, &stage, events).await?;
    // Without statistics a large join would be planned for a small table.
    if rows > 1000 {
        let analyzed = client.batch_execute(&format!("ANALYZE {stage}")).await;
        analyzed
            .map_err(|e| Failure::from_server(&e).while_doing(format!("loading table {}", table.shown)))?;
    }
    Ok(())
}

/// Copies the archived rows into `target`, a table as it stands in SQL. Returns how many.
pub async fn copy_in(
    client: &Client,
    archive: &Arc<Archive>,
    table: &TablePlan,
    target: &str,
    events: &Events,
) -> Result<u64, Failure> {
    let chunks: Vec<Chunk> = archive.table_chunks(table.index).into_iter().cloned().collect();
    copy_chunks(client, archive, table, chunks, target, events).await
}

/// Copies the rows of some of the table's chunks into `target`. Returns how many.
pub async fn copy_chunks(
    client: &Client,
    archive: &Arc<Archive>,
    table: &TablePlan,
    chunks: Vec<Chunk>,
    target: &str,
    events: &Events,
) -> Result<u64, Failure> {
    let columns = quote::ident_list(table.columns.iter().map(String::as_str));
    let loading = |f: Failure| f.while_doing(format!("loading table {}", table.shown));
    let archived: u64 = chunks.iter().map(|chunk| chosen_rows(table, chunk)).sum();
    let places = places(archive, table, &chunks);
    let row_of = |line: u64| archived_row(&places, line);
    let mut rows = 0;
    if !chunks.is_empty() {
        let list = if columns.is_empty() { String::new() } else { format!(" ({columns})") };
        let sink = client
            .copy_in::<_, Bytes>(&format!("COPY {target}{list} FROM STDIN{}", table.copy_options))
            .await
            .map_err(|e| loading(e.into()))?;
        let mut sink = std::pin::pin!(sink);
        let mut messages = decode(archive.clone(), table.clone(), chunks, events.clone());
        while let Some(message) = messages.recv().await {
            // A message that never comes leaves the COPY unfinished, and dropping it makes the server refuse it.
            if let Err(error) = sink.send(message?).await {
                // The server's reason for not taking any more comes with the end of the COPY.
                let error = sink.finish().await.err().unwrap_or(error);
                return Err(loading(describe_refusal(table, &error, row_of)));
            }
        }
        rows = sink.finish().await.map_err(|e| loading(describe_refusal(table, &e, row_of)))?;
    }
    if rows != archived {
        return Err(Failure::failed(format!(
            "table {}: the archive has {archived} rows, the server took {rows}",
            table.shown
        )));
    }
    Ok(rows)
}

/// Reads, proves and decodes chunks of the table on another thread, two messages ahead of the server.
fn decode(
    archive: Arc<Archive>,
    table: TablePlan,
    chunks: Vec<Chunk>,
    events: Events,
) -> mpsc::Receiver<Result<Bytes, Failure>> {
    let (sender, receiver) = mpsc::channel(8);
    tokio::task::spawn_blocking(move || {
        let name: Arc<str> = Arc::from(table.shown.as_str());
        let decoder = RowDecoder::new(table.forms.clone()).without(table.left_out.clone());
        let mut buffer = Vec::with_capacity(2 * MESSAGE_BYTES);
        let invalid = |what: String| Failure::new(FailureKind::Archive, what);
        let mut work = || -> Result<(), Failure> {
            for chunk in &chunks {
                let rows = archive.read_rows(chunk).map_err(|e| Failure::from_archive(&e))?;
                let chosen = table.places.as_ref().map(|places| places.in_chunk(chunk));
                for (number, line) in (0..).zip(rows.rows()) {
                    if chosen.is_some_and(|chosen| !chosen.has(number)) {
                        continue;
                    }
                    decoder.decode(line, &mut buffer).map_err(|e| {
                        invalid(format!("table {}, chunk at byte {}: {e}", table.shown, chunk.offset))
                    })?;
                    if buffer.len() >= MESSAGE_BYTES {
                        let mut message = BytesMut::from(buffer.as_slice());
                        buffer.clear();
                        // A single huge row: the server takes it in any pieces.
                        while !message.is_empty() {
                            let piece = message.split_to(message.len().min(16 * MESSAGE_BYTES)).freeze();
                            if sender.blocking_send(Ok(piece)).is_err() {
                                return Ok(());
                            }
                        }
                    }
                }
                events.emit(Event::Advanced {
                    phase: Phase::Load,
                    table: name.clone(),
                    rows: chunk.rows,
                    bytes: chunk.bytes,
                });
            }
            if !buffer.is_empty() {
                let _ = sender.blocking_send(Ok(Bytes::from(std::mem::take(&mut buffer))));
            }
            Ok(())
        };
        if let Err(failure) = work() {
            let _ = sender.blocking_send(Err(failure));
        }
    });
    receiver
}

/// Rows of a chunk that are sent.
fn chosen_rows(table: &TablePlan, chunk: &Chunk) -> u64 {
    match table.places.as_ref().map(|places| places.in_chunk(chunk)) {
        None | Some(InChunk::All) => chunk.rows,
        Some(InChunk::Some(rows)) => rows.len() as u64,
    }
}

/// For each of these chunks, which are in the archive's order: how many rows of them, and how many of the table, are before
/// it.
fn places(archive: &Archive, table: &TablePlan, chunks: &[Chunk]) -> Vec<(u64, u64)> {
    let (mut sent, mut archived) = (0, 0);
    let mut next = chunks.iter().peekable();
    let mut places = Vec::with_capacity(chunks.len());
    for chunk in archive.table_chunks(table.index) {
        if let Some(own) = next.next_if(|c| c.offset == chunk.offset) {
            match table.places.as_ref().map(|places| places.in_chunk(chunk)) {
                None | Some(InChunk::All) => {
                    places.push((sent, archived));
                    sent += own.rows;
                }
                Some(InChunk::Some(rows)) => {
                    for row in rows {
                        places.push((sent, archived + u64::from(*row)));
                        sent += 1;
                    }
                }
            }
        }
        archived += chunk.rows;
    }
    places
}

/// Which row of the archive the one is that was sent as number `line` (from 1).
fn archived_row(places: &[(u64, u64)], line: u64) -> u64 {
    let place = places.iter().rev().find(|(sent, _)| *sent < line);
    place.map_or(line, |(sent, archived)| line - sent + archived)
}

/// What the server refused, and in which archived row, which `row_of` finds by the line of the COPY. The context's text
/// holds the value, and is left out.
pub fn describe_refusal(
    table: &TablePlan,
    error: &tokio_postgres::Error,
    row_of: impl Fn(u64) -> u64,
) -> Failure {
    let mut failure = Failure::from_server(error);
    // Messages of class 22 (data exception) end in the value.
    if pg::sqlstate(error).is_some_and(|code| code.starts_with("22"))
        && let Some(end) = failure.what.find(": \"")
    {
        failure.what.truncate(end);
    }
    let context = error.as_db_error().and_then(|e| e.where_()).unwrap_or_default();
    let after = |word: &str| -> Option<String> {
        let rest = &context[context.find(word)? + word.len()..];
        let end = rest.find([',', ':', '\n']).unwrap_or(rest.len());
        Some(rest[..end].to_owned())
    };
    let about_a_row =
        pg::sqlstate(error).is_some_and(|code| code.starts_with("22") || code.starts_with("23"));
    if about_a_row {
        failure = failure.next("bring the target's types to the archive's, leave the table out with --exclude, or use --keep-going to restore the other tables");
    }
    if let Some(line) = after(", line ").and_then(|l| l.parse::<u64>().ok()).map(row_of) {
        let column = after(", column ").filter(|c| table.columns.contains(c));
        let column = column.map(|c| format!(", column {c}")).unwrap_or_default();
        failure.what = format!("archived row {line}{column}: {}", failure.what);
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::archived_row;

    #[test]
    fn a_row_that_is_sent_is_found_in_the_archive() {
        // Of chunks with 10 rows each the second and the fourth are sent.
        let places = [(0, 10), (10, 30)];
        assert_eq!([1, 10, 11, 20].map(|line| archived_row(&places, line)), [11, 20, 31, 40]);
        assert_eq!(archived_row(&[], 7), 7);
    }
}
