//! A backup: snapshot → plan → workers → archive file or pipe.
//!
//! Nothing is visible under the archive's name before it is whole: the file is written under a temporary name and
//! appears in one step. A failure or an interruption leaves nothing behind.

pub mod dump;
pub mod plan;
pub mod snapshot;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::archive::compression::Compression;
use crate::archive::error::ArchiveError;
use crate::archive::file::{self, AtomicFile};
use crate::archive::model::{self, FORMAT, Guards, Header, Kind, VERSION};
use crate::archive::writer::{ArchiveWriter, Summary};
use crate::connection::{Connector, lead, stop};
use crate::failure::Failure;
use crate::folders::{self, Folders};
use crate::postgres::catalog::Catalog;
use crate::postgres::connect::Session;
use crate::progress::{Events, Phase};
use crate::selection::TableFilter;
use plan::Plan;

/// Name and version of this program, as headers give it.
pub const TOOL: &str = concat!("pgkeep ", env!("CARGO_PKG_VERSION"));

/// Where an archive goes.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A new file in `backups/`, named after database and time.
    Folder,
    /// This file, which must not exist.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// What a backup is asked for.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// Where the archive goes.
    pub destination: Destination,
    /// Which tables.
    pub filter: TableFilter,
    /// Connections to use at most, at least 1.
    pub jobs: usize,
    /// How chunks are compressed.
    pub compression: Compression,
}

/// What a backup did.
#[derive(Clone, Debug, Serialize)]
pub struct BackupResult {
    /// Path of the archive, as reached from the current folder; none for a pipe.
    pub file: Option<PathBuf>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Database name.
    pub database: String,
    /// Server version.
    pub server_version: String,
    /// Tables in it.
    pub tables: u64,
    /// Sequences in it.
    pub sequences: u64,
    /// Rows in it.
    pub rows: u64,
    /// Size of the archive in bytes.
    pub bytes: u64,
    /// Size of its JSON in bytes.
    pub json_bytes: u64,
    /// Seconds from start to the durable file.
    pub seconds: f64,
    /// Connections that worked.
    pub jobs: usize,
    /// SHA-256 of the archive's index, which covers every byte of it.
    pub index_sha256: String,
    /// Foreign tables, whose rows were left out.
    pub foreign_tables: Vec<String>,
}

/// Runs a backup.
pub async fn run(
    connector: &Connector,
    folders: &Folders,
    options: &BackupOptions,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<BackupResult, Failure> {
    let started = Instant::now();
    let started_at = Utc::now();
    if let Destination::File(path) = &options.destination
        && path.exists()
    {
        return Err(Failure::usage(format!("{} exists already; pgkeep overwrites nothing", path.display()))
            .state("the existing file is untouched")
            .next("choose another name with --out, or move the file away"));
    }
    let session = lead(connector, events, cancel).await?;
    let result = within(&session, cancel, async {
        let snapshot = snapshot::take(&session.client, session.server_version_num, &options.filter, events).await?;
        let Snapshotted { header, plan, .. } = &describe(&session, snapshot, options, started_at);
        for name in &plan.foreign {
            events.warn(format!("foreign table {name} is left out: its rows live on another server"));
        }
        let workers = connector.workers(options.jobs.min(plan.units.len()).saturating_sub(1), events).await;
        let jobs = workers.len() + 1;
        let dump = dump::Dump {
            plan,
            catalog: &header.1,
            snapshot: &header.2,
            compression: options.compression,
            phase: Phase::Backup,
            events,
            cancel,
        };
        let (file, summary) = match &options.destination {
            Destination::Stdout => {
                let writer = ArchiveWriter::create(std::io::stdout(), options.compression, &header.0)
                    .map_err(|e| Failure::from_archive(&e))?;
                let (mut stdout, summary) = dump.run(&session.client, workers, writer).await?;
                stdout.flush().map_err(|e| Failure::from_io("writing the archive to standard output", &e))?;
                (None, summary)
            }
            Destination::File(path) => {
                let (file, summary) = to_file(dump, &session, workers, &header.0, path.clone()).await?;
                file.commit().map_err(|e| Failure::from_archive(&e))?;
                (Some(path.clone()), summary)
            }
            Destination::Folder => {
                let folder = folders.backups();
                let prefix = if header.0.source.supabase {
                    "supabase".to_owned()
                } else {
                    folders::file_part(&header.0.source.database)
                };
                let stem = format!("{prefix}_backup_{}", folders::stamp(started_at));
                let (path, summary) = to_folder(dump, &session, workers, &header.0, &folder, &stem).await?;
                (Some(path), summary)
            }
        };
        let source = &header.0.source;
        Ok(BackupResult {
            file,
            started_at,
            database: source.database.clone(),
            server_version: source.server_version.clone(),
            tables: summary.totals.tables,
            sequences: header.0.sequences.len() as u64,
            rows: summary.totals.rows,
            bytes: summary.file_bytes,
            json_bytes: summary.totals.bytes,
            seconds: started.elapsed().as_secs_f64(),
            jobs,
            index_sha256: summary.index_sha256,
            foreign_tables: plan.foreign.clone(),
        })
    })
    .await;
    // A read-only transaction leaves nothing; ending it politely only keeps the server's log clean.
    let _ = session.client.batch_execute("ROLLBACK").await;
    result.map_err(|f: Failure| f.state("no archive was left behind; the database was only read"))
}

struct Snapshotted {
    header: (Header, Catalog, String),
    plan: Plan,
}

fn describe(
    session: &Session,
    snapshot: snapshot::Snapshot,
    options: &BackupOptions,
    created_at: DateTime<Utc>,
) -> Snapshotted {
    let snapshot::Snapshot { catalog, plan, id } = snapshot;
    let header = header(&catalog, &plan, session, &options.filter, created_at, None);
    Snapshotted { header: (header, catalog, id), plan }
}

/// Runs `work`, ending it when `cancel` is set; the session's running query is then cancelled, too.
async fn within<T>(
    session: &Session,
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let result = tokio::select! {
        biased;
        result = work => result,
        () = interrupted(cancel) => Err(Failure::interrupted()),
    };
    if result.is_err() {
        stop(session).await;
    }
    result
}

/// Resolves some time after `cancel` was set: engines that watch the token themselves end sooner, and cleanly.
async fn interrupted(cancel: &CancellationToken) {
    cancel.cancelled().await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
}

/// The header of an archive of `plan`.
pub fn header(
    catalog: &Catalog,
    plan: &Plan,
    session: &Session,
    filter: &TableFilter,
    created_at: DateTime<Utc>,
    guards: Option<Guards>,
) -> Header {
    let server = &catalog.server;
    let part_of = |oid: u32| plan.parts.iter().position(|p| p.relation == oid).map(|i| i as u32);
    Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        kind: if guards.is_some() { Kind::Safety } else { Kind::Backup },
        tool: TOOL.to_owned(),
        created_at,
        source: model::Source {
            host: session.host.display(),
            port: session.host.port,
            database: server.database.clone(),
            server_version: server.version.clone(),
            server_version_num: server.version_num,
            system_identifier: server.system_identifier.clone(),
            encoding: server.encoding.clone(),
            lsn: server.lsn.clone(),
            supabase: server.supabase,
        },
        selection: filter.to_selection(),
        guards,
        tables: plan.parts.iter().map(|p| p.table.clone()).collect(),
        sequences: catalog
            .sequences
            .iter()
            .map(|s| model::Sequence {
                schema: s.schema.clone(),
                name: s.name.clone(),
                last_value: s.last_value.to_string(),
                is_called: s.is_called,
                increment: s.increment.to_string(),
                used_by: s.used_by.iter().filter_map(|t| part_of(*t)).collect(),
            })
            .collect(),
    }
}

/// Dumps into a temporary file beside `path`; the caller commits it.
async fn to_file(
    dump: dump::Dump<'_>,
    session: &Session,
    workers: Vec<Session>,
    header: &Header,
    path: PathBuf,
) -> Result<(AtomicFile, Summary), Failure> {
    let creating = |e: ArchiveError| Failure::from_archive(&e);
    let file = AtomicFile::create(&path).map_err(creating)?;
    let writer = ArchiveWriter::create(file, dump.compression, header).map_err(creating)?;
    dump.run(&session.client, workers, writer).await
}

/// Dumps into a new file in `folder`, under the first free name that begins with `stem`.
pub async fn to_folder(
    dump: dump::Dump<'_>,
    session: &Session,
    workers: Vec<Session>,
    header: &Header,
    folder: &std::path::Path,
    stem: &str,
) -> Result<(PathBuf, Summary), Failure> {
    folders::create_private_folder(folder)
        .map_err(|e| Failure::from_io(format!("creating folder {}", folder.display()), &e))?;
    // What a killed run left behind; a failure to tidy is no reason not to back up.
    let _ = file::remove_stale_temps(folder);
    let ending = dump.compression.extension();
    let first = folders::candidates(folder, stem, ending).find(|path| !path.exists());
    let first = first.unwrap_or_else(|| folder.join(format!("{stem}.{ending}")));
    let (mut file, summary) = to_file(dump, session, workers, header, first).await?;
    for path in folders::candidates(folder, stem, ending) {
        match file.commit_as(&path) {
            Ok(()) => return Ok((path, summary)),
            Err(error) if error.io_kind() == Some(std::io::ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(Failure::from_archive(&error)),
        }
    }
    Err(Failure::failed(format!("no free name like {stem}.{ending} in {}", folder.display())))
}
