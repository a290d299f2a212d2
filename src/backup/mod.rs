//! A backup: snapshot → plan → workers → archive file or pipe.
//!
//! Nothing is visible under the archive's name before it is whole: the file is written under a temporary name and
//! appears in one step. A failure or an interruption leaves nothing behind.

mod chosen;
pub mod copy;
pub mod destination;
pub mod dump;
mod fill;
pub mod large_objects;
pub mod pace;
pub mod plan;
pub mod plannable;
pub mod readable;
pub mod run;
pub mod snapshot;
mod unfinished;
mod units;
mod work;

use std::collections::HashMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::archive::compression::Compression;
use crate::archive::model::{self, FORMAT, Guards, Header, Kind, VERSION};
use crate::check::Check;
use crate::closure::{Scope, Tree};
use crate::postgres::catalog::Catalog;
use crate::postgres::connect::Session;
use crate::postgres::ddl::Secrets;
use crate::schema::Schema;
use crate::selection::{RowChoice, TableFilter};
use copy::CopyFormat;
use pace::Pace;
use plan::{Plan, Way};

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
    /// Which rows, by what belongs together.
    pub choice: Choice,
    /// Which rows of these, by conditions, and which columns.
    pub rows: RowChoice,
    /// Connections to use at most, at least 1.
    pub jobs: usize,
    /// How chunks are compressed.
    pub compression: Compression,
    /// In which format the server sends rows. The archive is the same.
    pub format: CopyFormat,
    /// How hard the server is worked.
    pub pace: Pace,
    /// What is taken.
    pub content: Content,
    /// What is in a vault, too.
    pub secrets: Secrets,
    /// Roles of the cluster, too.
    pub roles: Option<Roles>,
    /// What has to hold of the snapshot, or there is no backup.
    pub checks: Vec<Check>,
}

impl BackupOptions {
    /// How tables are read.
    fn way(&self) -> Way {
        Way { format: self.format, jobs: self.jobs, small: self.pace.nice, tids: false }
    }

    /// What the header says of the rows and columns that were chosen.
    fn note(&self, selection: &mut model::Selection) {
        selection.conditions = self.rows.conditions.texts();
        selection.columns = self.rows.columns.texts();
        selection.entity = self.choice.entity();
        match &self.choice {
            Choice::All => {}
            Choice::WithReferences => selection.with_references = true,
            Choice::Entity { data_types, .. } => selection.data_types = data_types.clone(),
        }
    }
}

/// Which rows a backup takes.
#[derive(Clone, Debug, Default)]
pub enum Choice {
    /// All of the tables that the filter wants.
    #[default]
    All,
    /// These, and of other tables the rows that they need so that no foreign key breaks.
    WithReferences,
    /// Those that belong to an entity, of whatever tables.
    Entity {
        /// What it is.
        scope: Scope,
        /// The groups of tables that it was narrowed to, by their names.
        data_types: Vec<String>,
    },
}

impl Choice {
    /// The rows by which an entity was named, as they were given.
    fn entity(&self) -> Vec<String> {
        match self {
            Choice::Entity { scope, .. } => scope.roots.iter().map(|root| root.as_str().to_owned()).collect(),
            _ => Vec::new(),
        }
    }
}

/// What a backup takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The objects of the database, and its rows.
    All,
    /// Objects alone.
    Schema,
    /// Rows, sequences' states and large objects alone.
    Data,
}

/// What is taken of the cluster's roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// Their definitions.
    WithoutPasswords,
    /// Their definitions with what the server keeps of their passwords.
    WithPasswords,
}

/// What a backup did.
#[derive(Clone, Debug, Serialize)]
pub struct BackupResult {
    /// Path of the archive, as reached from the current folder; none for a pipe.
    #[serde(serialize_with = "shown")]
    pub file: Option<PathBuf>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Database name.
    pub database: String,
    /// Server version.
    pub server_version: String,
    /// Tables in it.
    pub tables: u64,
    /// Whether it has large objects; their pieces are among the rows.
    pub large_objects: bool,
    /// Sequences in it.
    pub sequences: u64,
    /// Objects in it, tables and sequences counted, too.
    pub objects: u64,
    /// Rows in it.
    pub rows: u64,
    /// Size of the archive in bytes.
    pub bytes: u64,
    /// Size of its JSON in bytes.
    pub json_bytes: u64,
    /// Seconds from start to the durable file.
    pub seconds: f64,
    /// Seconds for which the snapshot was held.
    pub snapshot_seconds: f64,
    /// Connections that worked.
    pub jobs: usize,
    /// SHA-256 of the archive's index, which covers every byte of it.
    pub index_sha256: String,
    /// Foreign tables, whose rows were left out.
    pub foreign_tables: Vec<String>,
    /// Where rows were chosen by foreign keys: how many of which tables, and how they hang together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<Tree>,
}

/// A path as it is shown: JSON has no place for names that are not UTF-8, and no backup fails for one.
fn shown<S: serde::Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|p| p.display().to_string()).serialize(serializer)
}

/// The header of an archive of `plan`.
pub fn header(
    catalog: &Catalog,
    plan: &Plan,
    session: &Session,
    filter: &TableFilter,
    created_at: DateTime<Utc>,
    guards: Option<Guards>,
    schema: Option<Schema>,
) -> Header {
    let server = &catalog.server;
    let (tables, exclude) = filter.patterns();
    let parts: HashMap<u32, u32> =
        plan.parts.iter().enumerate().map(|(at, part)| (part.relation, at as u32)).collect();
    let part_of = |oid: u32| parts.get(&oid).copied();
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
        selection: model::Selection { tables, exclude, ..model::Selection::default() },
        guards,
        refused: None,
        tables: plan.parts.iter().map(|p| p.table.clone()).collect(),
        sequences: catalog
            .sequences
            .iter()
            .map(|s| model::Sequence {
                schema: s.schema.clone(),
                name: s.name.clone(),
                extension: s.extension.clone(),
                last_value: s.last_value.to_string(),
                is_called: s.is_called,
                increment: s.increment.to_string(),
                used_by: s.used_by.iter().filter_map(|t| part_of(*t)).collect(),
            })
            .collect(),
        schema,
    }
}
