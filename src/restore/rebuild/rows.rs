//! The rows of one table, as binary COPY where that is certain to give the same values, and frozen where that is
//! allowed.
//!
//! A row that is not certain ends the binary COPY, and another one in text goes on from there in the same transaction:
//! rows lie in the archive's order all the same.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::archive::model::Chunk;
use crate::archive::reader::Archive;
use crate::failure::{Failure, FailureKind};
use crate::postgres::copy::RowDecoder;
use crate::postgres::copy::pack::{self, RowPacker};
use crate::postgres::error as pg;
use crate::postgres::quote;
use crate::progress::{Event, Events, Phase};
use crate::restore::plan::TablePlan;
use crate::restore::stage::{self, BUILT_IN_FIRST_PATH};

/// Bytes of JSON from which on rows are frozen as they come in. The table is truncated for that, which costs two files:
/// in thousands of small tables more than it is worth.
pub const FREEZE_FROM: u64 = 256 << 10;

/// A COPY message's size: far below the server's limit for one, large enough to cost nothing.
const MESSAGE_BYTES: usize = 256 << 10;

/// Room for the row that makes a message full.
const SLACK: usize = 16 << 10;

/// How the rows of a table go in.
#[derive(Clone, Debug, Default)]
pub struct Way {
    /// Packs its rows; none: they go as text.
    pub packer: Option<RowPacker>,
    /// Whether to freeze them: the restore has made the table, and it is an ordinary one.
    pub freeze: bool,
}

/// Chunks of a table, one behind the other.
#[derive(Debug)]
pub struct Part {
    /// The chunks.
    pub chunks: Vec<Chunk>,
    /// How many rows the table's chunks before them have.
    pub rows_before: u64,
}

/// Loads these chunks of the table, in a transaction that the caller has begun. Returns how many rows.
pub async fn load(
    client: &Client,
    archive: &Arc<Archive>,
    table: &TablePlan,
    part: Part,
    way: &Way,
    events: &Events,
) -> Result<u64, Failure> {
    let loading = |f: Failure| f.while_doing(format!("loading table {}", table.shown));
    let freeze = way.freeze && may_freeze(client, table).await.map_err(loading)?;
    // Types' and domains' functions find what they find in the application, and nothing stands in for a built-in.
    client.batch_execute(BUILT_IN_FIRST_PATH).await?;
    let rows = copy(client, archive, table, part, way.packer.clone(), freeze, events).await?;
    client.batch_execute("SET LOCAL search_path = ''").await?;
    Ok(rows)
}

/// Makes sure that the rows of this table may be frozen (manual, COPY): it is truncated in this transaction. Nobody
/// else has put a row in, nobody is reading it; where that is not so, it is left alone.
async fn may_freeze(client: &Client, table: &TablePlan) -> Result<bool, Failure> {
    let name = &table.quoted;
    let look = format!(
        "SAVEPOINT pgkeep_freeze; LOCK TABLE ONLY {name} IN ACCESS EXCLUSIVE MODE NOWAIT;
         SELECT NOT EXISTS (SELECT FROM ONLY {name})"
    );
    let done = async {
        let messages = client.simple_query(&look).await?;
        let empty =
            messages.iter().any(|m| matches!(m, SimpleQueryMessage::Row(row) if row.get(0) == Some("t")));
        if empty {
            let truncate = format!("TRUNCATE TABLE ONLY {name}; RELEASE SAVEPOINT pgkeep_freeze");
            client.batch_execute(&truncate).await?;
        }
        Ok::<bool, tokio_postgres::Error>(empty)
    };
    match done.await {
        Ok(true) => return Ok(true),
        Ok(false) => {}
        // lock_not_available, insufficient_privilege, feature_not_supported
        Err(error) if matches!(pg::sqlstate(&error), Some("55P03" | "42501" | "0A000")) => {}
        Err(error) => return Err(error.into()),
    }
    client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_freeze; RELEASE SAVEPOINT pgkeep_freeze").await?;
    Ok(false)
}

/// What the thread that reads the archive hands over.
enum Piece {
    /// The next bytes of the COPY.
    Bytes(Bytes),
    /// The binary COPY is whole; what follows is text.
    Text,
}

async fn copy(
    client: &Client,
    archive: &Arc<Archive>,
    table: &TablePlan,
    part: Part,
    packer: Option<RowPacker>,
    freeze: bool,
    events: &Events,
) -> Result<u64, Failure> {
    let loading = |f: Failure| f.while_doing(format!("loading table {}", table.shown));
    let Part { chunks, rows_before } = part;
    let archived: u64 = chunks.iter().map(|c| c.rows).sum();
    let binary = packer.is_some();
    let mut sql = statement(table, binary, freeze);
    let mut pieces = read(archive.clone(), table.clone(), packer, chunks, events.clone());
    let mut rows = 0;
    let mut packed = None;
    loop {
        let sink = client.copy_in::<_, Bytes>(&sql).await.map_err(|e| loading(e.into()))?;
        let mut sink = std::pin::pin!(sink);
        let mut is_last = true;
        while let Some(piece) = pieces.recv().await {
            // A piece that never comes leaves the COPY unfinished, and dropping it makes the server refuse it.
            let Piece::Bytes(bytes) = piece? else {
                is_last = false;
                break;
            };
            if let Err(error) = sink.send(bytes).await {
                // The server's reason for not taking any more comes with the end of the COPY.
                let error = sink.finish().await.err().unwrap_or(error);
                return Err(loading(stage::describe_refusal(table, &error, |line| {
                    line.saturating_add(rows_before + rows)
                })));
            }
        }
        rows += sink.finish().await.map_err(|e| {
            loading(stage::describe_refusal(table, &e, |line| line.saturating_add(rows_before + rows)))
        })?;
        if is_last {
            break;
        }
        packed = Some(rows);
        sql = statement(table, false, freeze);
    }
    let how = match packed {
        Some(packed) => format!("binary, the last {} as text", rows - packed),
        None if binary => "binary".to_owned(),
        None => "text".to_owned(),
    };
    let frozen = if freeze { ", frozen" } else { "" };
    events.detail(format!("table {}: rows went in as {how}{frozen}", table.shown));
    if rows != archived {
        return Err(Failure::failed(format!(
            "table {}: the archive has {archived} rows, the server took {rows}",
            table.shown
        )));
    }
    Ok(rows)
}

/// The COPY statement.
fn statement(table: &TablePlan, binary: bool, freeze: bool) -> String {
    let columns = quote::ident_list(table.columns.iter().map(String::as_str));
    let list = if columns.is_empty() { String::new() } else { format!(" ({columns})") };
    let given = table.copy_options.trim().strip_prefix("WITH (").and_then(|o| o.strip_suffix(')'));
    let options =
        given.into_iter().chain(binary.then_some("FORMAT binary")).chain(freeze.then_some("FREEZE"));
    let options: Vec<&str> = options.collect();
    let options = if options.is_empty() { String::new() } else { format!(" WITH ({})", options.join(", ")) };
    format!("COPY {}{list} FROM STDIN{options}", table.quoted)
}

/// Reads, proves and translates chunks of the table on another thread, some messages ahead of the server.
fn read(
    archive: Arc<Archive>,
    table: TablePlan,
    packer: Option<RowPacker>,
    chunks: Vec<Chunk>,
    events: Events,
) -> mpsc::Receiver<Result<Piece, Failure>> {
    let (sender, receiver) = mpsc::channel(8);
    tokio::task::spawn_blocking(move || {
        let out = Out { sender, buffer: Vec::with_capacity(MESSAGE_BYTES + SLACK), gone: false };
        if let Err((sender, failure)) = translate(&archive, &table, packer, &chunks, &events, out) {
            let _ = sender.blocking_send(Err(failure));
        }
    });
    receiver
}

type Sender = mpsc::Sender<Result<Piece, Failure>>;

fn translate(
    archive: &Archive,
    table: &TablePlan,
    mut packer: Option<RowPacker>,
    chunks: &[Chunk],
    events: &Events,
    mut out: Out,
) -> Result<(), (Sender, Failure)> {
    let name: Arc<str> = Arc::from(table.shown.as_str());
    let decoder = RowDecoder::new(table.forms.clone()).without(table.left_out.clone());
    if packer.is_some() {
        out.buffer.extend_from_slice(pack::HEADER);
    }
    for chunk in chunks {
        let rows = match archive.read_rows(chunk) {
            Ok(rows) => rows,
            Err(error) => return Err((out.sender, Failure::from_archive(&error))),
        };
        for line in rows.rows() {
            let packed = packer.as_ref().is_some_and(|p| p.pack(line, &mut out.buffer).is_ok());
            if !packed {
                if packer.take().is_some() {
                    out.buffer.extend_from_slice(pack::TRAILER);
                    out.flush();
                    out.send(Piece::Text);
                }
                if let Err(error) = decoder.decode(line, &mut out.buffer) {
                    let what = format!("table {}, chunk at byte {}: {error}", table.shown, chunk.offset);
                    return Err((out.sender, Failure::new(FailureKind::Archive, what)));
                }
            }
            if out.buffer.len() >= MESSAGE_BYTES {
                out.flush();
            }
        }
        if out.gone {
            return Ok(());
        }
        events.emit(Event::Advanced {
            phase: Phase::Load,
            table: name.clone(),
            rows: chunk.rows,
            bytes: chunk.bytes,
        });
    }
    if packer.is_some() {
        out.buffer.extend_from_slice(pack::TRAILER);
    }
    out.flush();
    Ok(())
}

/// Where the translated rows go.
struct Out {
    sender: Sender,
    buffer: Vec<u8>,
    /// Whether nobody takes them any more.
    gone: bool,
}

impl Out {
    /// Hands over what there is.
    fn flush(&mut self) {
        let next = Vec::with_capacity(MESSAGE_BYTES + SLACK);
        let mut message = Bytes::from(std::mem::replace(&mut self.buffer, next));
        // A single huge row: the server takes it in any pieces.
        while !message.is_empty() {
            let piece = message.split_to(message.len().min(16 * MESSAGE_BYTES));
            self.send(Piece::Bytes(piece));
        }
    }

    fn send(&mut self, piece: Piece) {
        self.gone = self.gone || self.sender.blocking_send(Ok(piece)).is_err();
    }
}
