//! Archived rows in staging tables, beside the live ones: in temporary tables of the restoring transaction, which vanish
//! with it, or in the schema where several connections stage (see `staging_schema`).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::plan::TablePlan;
use super::refused::Refused;
use super::refused::halves::Halves;
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

/// Creates the staging table and fills it with archived rows. Returns those that cannot be staged, where these are left out.
pub async fn fill(
    client: &Client,
    archive: &Arc<Archive>,
    table: &TablePlan,
    chunks: Vec<Chunk>,
    events: &Events,
) -> Result<Vec<Refused>, Failure> {
    create(client, table, &stage_name(table)).await?;
    add(client, archive, table, chunks, events).await
}

/// Creates a table that takes archived rows as they are staged.
pub async fn create(client: &Client, table: &TablePlan, name: &str) -> Result<(), Failure> {
    // Types and collations of the target, none of its constraints, defaults and triggers.
    let typed = table.columns.iter().zip(&table.casts).map(|(c, cast)| {
        let name = quote::ident(c);
        format!("t.{name}{cast} AS {name}")
    });
    let number =
        table.refusing.iter().map(|r| format!("NULL::pg_catalog.int8 AS {}", quote::ident(&r.number)));
    let columns: Vec<String> = number.chain(typed).collect();
    let create = format!(
        "{} SELECT {} FROM {} AS t WITH NO DATA;{}",
        create_as(table, name),
        columns.join(", "),
        table.from_item,
        hide(table, name)
    );
    let created = client.batch_execute(&create).await;
    created.map_err(|e| Failure::from_server(&e).while_doing(format!("loading table {}", table.shown)))
}

/// Adds archived rows to the staging table. Returns those that cannot be staged, where these are left out.
pub async fn add(
    client: &Client,
    archive: &Arc<Archive>,
    table: &TablePlan,
    chunks: Vec<Chunk>,
    events: &Events,
) -> Result<Vec<Refused>, Failure> {
    let stage = stage_name(table);
    let archived: u64 = chunks.iter().map(|chunk| chosen_rows(table, chunk)).sum();
    let refused = match table.refusing {
        None => copy_chunks(client, archive, table, chunks, &stage, events).await.map(|_| Vec::new())?,
        Some(_) => copy_but_refused(client, archive, table, chunks, &stage, events).await?,
    };
    // Without statistics a large join would be planned for a small table.
    if archived > 1000 {
        let analyzed = client.batch_execute(&format!("ANALYZE {stage}")).await;
        analyzed
            .map_err(|e| Failure::from_server(&e).while_doing(format!("loading table {}", table.shown)))?;
    }
    Ok(refused)
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
    let source = Source::new(archive, table, chunks);
    let copied = copy(client, &source, 0..source.rows, target, events).await;
    copied.map_err(|stopped| stopped.failure.while_doing(format!("loading table {}", table.shown)))
}

/// The same but for rows that the server refuses, which it returns. They are found by where it stopped and by halving, as long
/// as they are not more than there may be.
pub async fn copy_but_refused(
    client: &Client,
    archive: &Arc<Archive>,
    table: &TablePlan,
    chunks: Vec<Chunk>,
    target: &str,
    events: &Events,
) -> Result<Vec<Refused>, Failure> {
    let source = Source::new(archive, table, chunks);
    let most = table.refusing.as_ref().map_or(0, |refusing| refusing.most);
    let loading = |stopped: Stopped| stopped.failure.while_doing(format!("loading table {}", table.shown));
    let mut refused = Vec::new();
    client.batch_execute("SAVEPOINT pgkeep_rows").await?;
    let named = match copy(client, &source, 0..source.rows, target, events).await {
        Ok(_) => return Ok(client.batch_execute("RELEASE SAVEPOINT pgkeep_rows").await.map(|()| refused)?),
        Err(Stopped { reason: Some(_), row, .. }) => {
            client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_rows").await?;
            row
        }
        Err(stopped) => return Err(loading(stopped)),
    };
    let mut halves = Halves::of(0..source.rows, named);
    while let Some(rows) = halves.to_try() {
        client.batch_execute("SAVEPOINT pgkeep_half").await?;
        // What has been sent is counted.
        match copy(client, &source, rows, target, &Events::silent()).await {
            Ok(_) => {
                client.batch_execute("RELEASE SAVEPOINT pgkeep_half").await?;
                halves.taken();
            }
            Err(Stopped { reason: Some(error), row: named, .. }) => {
                client
                    .batch_execute("ROLLBACK TO SAVEPOINT pgkeep_half; RELEASE SAVEPOINT pgkeep_half")
                    .await?;
                if let Some(row) = halves.refused(named) {
                    let number = archived_row(&source.places, row + 1);
                    refused.push(Refused { number: Some(number), place: None, error });
                }
                if refused.len() as u64 > most {
                    break;
                }
            }
            Err(stopped) => return Err(loading(stopped)),
        }
    }
    client.batch_execute("RELEASE SAVEPOINT pgkeep_rows").await?;
    Ok(refused)
}

/// Archived rows that are sent.
#[derive(Clone)]
struct Source {
    archive: Arc<Archive>,
    table: TablePlan,
    /// Each with the number that its first row has in the archived table, counted from 1.
    chunks: Arc<[(Chunk, u64)]>,
    /// See [`places`].
    places: Arc<[(u64, u64)]>,
    /// How many.
    rows: u64,
}

impl Source {
    fn new(archive: &Arc<Archive>, table: &TablePlan, chunks: Vec<Chunk>) -> Source {
        let places = places(archive, table, &chunks).into();
        let mut first = HashMap::new();
        let mut before = 0;
        for chunk in archive.table_chunks(table.index) {
            first.insert(chunk.offset, before + 1);
            before += chunk.rows;
        }
        let rows = chunks.iter().map(|chunk| chosen_rows(table, chunk)).sum();
        let chunks = chunks.into_iter().map(|c| (first.get(&c.offset).copied().unwrap_or(1), c));
        let chunks = chunks.map(|(first, chunk)| (chunk, first)).collect();
        Source { archive: archive.clone(), table: table.clone(), chunks, places, rows }
    }
}

/// Why a COPY was not taken.
struct Stopped {
    failure: Failure,
    /// Where a row is to blame: why, without its number.
    reason: Option<String>,
    /// Which one it is, as far as the server says so, counted from 0.
    row: Option<u64>,
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Stopped {
        Stopped { failure, reason: None, row: None }
    }
}

/// Copies those rows of the source, counted from 0, into `target`. Returns how many.
async fn copy(
    client: &Client,
    source: &Source,
    part: Range<u64>,
    target: &str,
    events: &Events,
) -> Result<u64, Stopped> {
    let table = &source.table;
    let expected = part.end.saturating_sub(part.start);
    if expected == 0 {
        return Ok(0);
    }
    let before = part.start;
    let refused = |error: &tokio_postgres::Error| Stopped {
        row: line(error).and_then(|line| Some(before + line.checked_sub(1)?)),
        reason: pg::is_about_a_row(error).then(|| reason(table, error).what),
        failure: describe_refusal(table, error, |line| {
            archived_row(&source.places, line.saturating_add(before))
        }),
    };
    let number = table.refusing.iter().map(|refusing| refusing.number.as_str());
    let columns = quote::ident_list(number.chain(table.columns.iter().map(String::as_str)));
    let list = if columns.is_empty() { String::new() } else { format!(" ({columns})") };
    let sink = client
        .copy_in::<_, Bytes>(&format!("COPY {target}{list} FROM STDIN{}", table.copy_options))
        .await
        .map_err(Failure::from)?;
    let mut sink = std::pin::pin!(sink);
    let mut messages = decode(source.clone(), part, events.clone());
    while let Some(message) = messages.recv().await {
        // A message that never comes leaves the COPY unfinished, and dropping it makes the server refuse it.
        if let Err(error) = sink.send(message?).await {
            // The server's reason for not taking any more comes with the end of the COPY.
            let error = sink.finish().await.err().unwrap_or(error);
            return Err(refused(&error));
        }
    }
    let rows = sink.finish().await.map_err(|e| refused(&e))?;
    if rows != expected {
        return Err(
            Failure::failed(format!("the archive has {expected} rows, the server took {rows}")).into()
        );
    }
    Ok(rows)
}

/// Reads, proves and decodes rows of the table on another thread, some messages ahead of the server.
fn decode(source: Source, part: Range<u64>, events: Events) -> mpsc::Receiver<Result<Bytes, Failure>> {
    let (sender, receiver) = mpsc::channel(8);
    tokio::task::spawn_blocking(move || {
        let Source { archive, table, chunks, .. } = source;
        let name: Arc<str> = Arc::from(table.shown.as_str());
        let decoder = RowDecoder::new(table.forms.clone()).without(table.left_out.clone());
        let mut buffer = Vec::with_capacity(2 * MESSAGE_BYTES);
        let mut work = || -> Result<(), Failure> {
            let mut at = 0;
            for (chunk, first) in chunks.iter() {
                let before = at;
                at += chosen_rows(&table, chunk);
                if at <= part.start || before >= part.end {
                    continue;
                }
                let rows = archive.read_rows(chunk).map_err(|e| Failure::from_archive(&e))?;
                let chosen = table.places.as_ref().map(|places| places.in_chunk(chunk));
                let lines = (0..).zip(rows.rows());
                let lines = lines.filter(|(number, _)| chosen.is_none_or(|chosen| chosen.has(*number)));
                for (_, (number, line)) in
                    (before..part.end).zip(lines).skip_while(|(at, _)| *at < part.start)
                {
                    if table.refusing.is_some() {
                        buffer.extend_from_slice(
                            itoa::Buffer::new().format(first + u64::from(number)).as_bytes(),
                        );
                        if !table.columns.is_empty() {
                            buffer.push(b'\t');
                        }
                    }
                    decoder.decode(line, &mut buffer).map_err(|e| {
                        let what = format!("table {}, chunk at byte {}: {e}", table.shown, chunk.offset);
                        Failure::new(FailureKind::Archive, what)
                    })?;
                    if buffer.len() >= MESSAGE_BYTES && !send(&sender, &mut buffer) {
                        return Ok(());
                    }
                }
                events.emit(Event::Advanced {
                    phase: Phase::Load,
                    table: name.clone(),
                    rows: chunk.rows,
                    bytes: chunk.bytes,
                });
            }
            send(&sender, &mut buffer);
            Ok(())
        };
        if let Err(failure) = work() {
            let _ = sender.blocking_send(Err(failure));
        }
    });
    receiver
}

/// Hands over what there is. Returns whether anybody takes it.
fn send(sender: &mpsc::Sender<Result<Bytes, Failure>>, buffer: &mut Vec<u8>) -> bool {
    let mut message = BytesMut::from(buffer.as_slice());
    buffer.clear();
    // A single huge row: the server takes it in any pieces.
    while !message.is_empty() {
        let piece = message.split_to(message.len().min(16 * MESSAGE_BYTES)).freeze();
        if sender.blocking_send(Ok(piece)).is_err() {
            return false;
        }
    }
    true
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

/// What the server refused, and in which archived row, which `row_of` finds by the line of the COPY.
pub fn describe_refusal(
    table: &TablePlan,
    error: &tokio_postgres::Error,
    row_of: impl Fn(u64) -> u64,
) -> Failure {
    let mut failure = reason(table, error);
    if let Some(line) = line(error).map(row_of) {
        let separator = if column(table, error).is_some() { ',' } else { ':' };
        failure.what = format!("archived row {line}{separator} {}", failure.what);
    }
    failure
}

/// What the server refused, and in which column. The context's text holds the value, and is left out.
fn reason(table: &TablePlan, error: &tokio_postgres::Error) -> Failure {
    let mut failure = Failure::from_server(error);
    // Messages of class 22 (data exception) end in the value.
    if pg::sqlstate(error).is_some_and(|code| code.starts_with("22"))
        && let Some(end) = failure.what.find(": \"")
    {
        failure.what.truncate(end);
    }
    if pg::is_about_a_row(error) {
        failure = failure.next("bring the target's types to the archive's, leave the table out with --exclude, or use --keep-going to restore the other tables, with --reject-file the other rows, too");
    }
    match column(table, error) {
        Some(column) => failure.while_doing(format!("column {column}")),
        None => failure,
    }
}

/// The line of the COPY that is refused, counted from 1.
fn line(error: &tokio_postgres::Error) -> Option<u64> {
    context(error, ", line ")?.parse().ok()
}

/// The column whose value is refused.
fn column(table: &TablePlan, error: &tokio_postgres::Error) -> Option<String> {
    context(error, ", column ").filter(|c| table.columns.contains(c))
}

/// What follows `word` in the context of a COPY's error.
fn context(error: &tokio_postgres::Error, word: &str) -> Option<String> {
    let context = error.as_db_error()?.where_()?;
    let rest = &context[context.find(word)? + word.len()..];
    let end = rest.find([',', ':', '\n']).unwrap_or(rest.len());
    Some(rest[..end].to_owned())
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
