//! The safety backup: the tables in scope as they are under the restore's own locks. Between this snapshot and the
//! restore nobody else can have written.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use tokio_util::sync::CancellationToken;

use super::Mode;
use super::plan::RestorePlan;
use super::reading::{self, Reading};
use crate::archive::compression::Compression;
use crate::archive::error::ArchiveError;
use crate::archive::model::Guards;
use crate::archive::reader::Archive;
use crate::archive::validate::{ValidateOptions, validate};
use crate::backup::destination::to_folder;
use crate::backup::dump::{Dump, Starts};
use crate::backup::pace::Pace;
use crate::backup::plan::{Plan, Rows};
use crate::backup::{header, large_objects, plannable, readable};
use crate::connection::Connector;
use crate::failure::Failure;
use crate::folders::{self, Folders};
use crate::listing;
use crate::postgres::catalog::{Catalog, RelationKind, SequenceInfo};
use crate::postgres::connect::Session;
use crate::progress::{Events, Phase};
use crate::schema::{Kind, Object, Schema};
use crate::selection::TableFilter;

/// What a safety backup is taken for.
pub struct Safety<'a> {
    /// The restore's connection, whose transaction holds the locks.
    pub session: &'a Session,
    /// For more connections.
    pub connector: &'a Connector,
    /// Where it goes.
    pub folders: &'a Folders,
    /// The catalog, read under the locks; its sequence states are read here.
    pub catalog: Catalog,
    /// What will be restored.
    pub plan: &'a RestorePlan,
    /// The objects of the target, where some of them are about to be made, changed or removed; else none.
    pub schema: Option<Schema>,
    /// The identities of those.
    pub touched: Vec<String>,
    /// Those that are about to be removed.
    pub objects: &'a [Object],
    /// What the user chose, for the header.
    pub filter: &'a TableFilter,
    /// File name of the restore's log.
    pub restore_log: String,
    /// File name of the archive to be restored.
    pub backup_file: String,
    /// How rows will meet.
    pub mode: Mode,
    /// Connections to use at most.
    pub jobs: usize,
    /// Listener.
    pub events: &'a Events,
    /// Stops the work.
    pub cancel: &'a CancellationToken,
}

impl Safety<'_> {
    /// Takes the safety backup and proves it whole by reading it back. Returns its path, and what it holds.
    pub async fn take(mut self) -> Result<(PathBuf, Reading), Failure> {
        let client = &self.session.client;
        let scope = self.plan.closure(&self.catalog);
        self.catalog.read_sizes(client, |relation| scope.contains(&relation.oid)).await?;
        let roots = self.plan.roots(&self.catalog).into_iter().filter(|r| r.kind != RelationKind::Foreign);
        let mut plan = Plan::of(&self.catalog, roots.collect(), Rows::All, reading::way(self.jobs));
        // Those of tables that are removed go with them.
        let of_removed = |s: &SequenceInfo| s.used_by.iter().any(|t| self.plan.going.contains(t));
        let of_extension = |s: &SequenceInfo| {
            let name = s.extension.as_deref();
            name.is_some_and(|name| self.objects.iter().any(|o| o.kind == Kind::Extension && o.name == name))
        };
        let removed = self.catalog.sequences.iter().filter(|s| {
            of_removed(s)
                || of_extension(s)
                || self.objects.iter().any(|o| o.kind == Kind::Sequence && o.is_named(&s.schema, &s.name))
        });
        let sequences: HashSet<u32> =
            self.plan.sequences.iter().map(|s| s.target.oid).chain(removed.map(|s| s.oid)).collect();
        readable::check_readable(&self.catalog, &plan, &sequences, &[])?;
        self.catalog.read_sequences(client, |s| sequences.contains(&s.oid)).await?;
        let id: String = client.query_typed("SELECT pg_catalog.pg_export_snapshot()", &[]).await?[0].get(0);
        plannable::give_up_unplannable(client, &self.catalog, &mut plan).await?;
        let mut schema = self.schema;
        if self.plan.large_objects.is_some() {
            large_objects::check_readable(client, &self.catalog.server).await?;
            large_objects::add(client, &self.catalog, &mut plan).await?;
            // Only this mode removes some, and what was removed comes back with its owner.
            if schema.is_none() && self.mode == Mode::Exact && self.catalog.server.has_large_objects {
                schema = Some(large_objects::definitions(client, self.session.server_version_num).await?);
            }
        }
        let created_at = Utc::now();
        let folder = self.folders.safety_backups();
        let guards = Guards {
            restore_log: self.restore_log,
            backup_file: self.backup_file,
            ordinal: listing::next_ordinal(&folder)
                .map_err(|e| Failure::from_io(format!("reading folder {}", folder.display()), &e))?,
            objects: self.touched,
        };
        let header =
            header(&self.catalog, &plan, self.session, self.filter, created_at, Some(guards), schema);
        let more = self.jobs.min(plan.units.len()).saturating_sub(1);
        let workers = self.connector.workers(more, self.events).await;
        let starts = Starts::default();
        let dump = Dump {
            plan: &plan,
            catalog: &self.catalog,
            snapshot: &id,
            compression: Compression::default(),
            pace: Pace::default(),
            taken_at: Instant::now(),
            starts: starts.clone(),
            phase: Phase::SafetyBackup,
            events: self.events,
            cancel: self.cancel,
        };
        let stem = format!("safety_backup_{}", folders::stamp(created_at));
        let (path, summary) = to_folder(dump, self.session, workers, &header, &folder, &stem).await?;
        let archive = prove(&path, &summary.index_sha256, self.folders).await?;
        Ok((path, Reading::of_backup(plan, &starts, archive)))
    }
}

/// Reads a new safety backup back: an undo that cannot be read is none.
async fn prove(
    path: &std::path::Path,
    index_sha256: &str,
    folders: &Folders,
) -> Result<Arc<Archive>, Failure> {
    let shown = path.display().to_string();
    let reading = path.to_path_buf();
    let proven = tokio::task::spawn_blocking(move || -> Result<Option<Arc<Archive>>, Failure> {
        let invalid = |e: ArchiveError| Failure::from_archive(&e);
        let archive = Arc::new(Archive::open(&reading).map_err(invalid)?);
        let options = ValidateOptions::default();
        let report = validate(&archive, &options, &|_| {}, &|| false).map_err(invalid)?;
        Ok(report.is_valid().then_some(archive))
    })
    .await
    .unwrap_or_else(|e| {
        Err(Failure::failed(format!("reading the safety backup back ended abnormally: {e}")))
    })?;
    let Some(archive) = proven.filter(|archive| archive.index_sha256() == index_sha256) else {
        return Err(Failure::failed(format!(
            "the safety backup {shown} does not read back as it was written"
        ))
        .next("check this machine's disk and memory, then run the same command again"));
    };
    listing::mark_verified(folders, path, index_sha256, true)
        .map_err(|e| Failure::from_io("noting that the safety backup is whole", &e))?;
    Ok(archive)
}
