//! What the header and the index of an archive say. Unknown keys are ignored on reading, so that later versions
//! may add some; what may not change is listed in `docs/format.md`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::spans::{self, Span};
use crate::row::CellForm;
use crate::schema::Schema;
use crate::selection::shown_name;

/// The value of `format` in every header.
pub const FORMAT: &str = "pgkeep";
/// The major version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The first line of an archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Always [`FORMAT`].
    pub format: String,
    /// The major version; a reader refuses one that is newer than it knows.
    pub version: u32,
    /// Why the archive was made.
    pub kind: Kind,
    /// Name and version of the program that wrote it.
    pub tool: String,
    /// When the snapshot was taken, UTC, by the clock of the machine that ran pgkeep.
    pub created_at: DateTime<Utc>,
    /// Where the rows come from.
    pub source: Source,
    /// What was asked for.
    #[serde(default)]
    pub selection: Selection,
    /// For a safety backup: the restore that it guards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guards: Option<Guards>,
    /// For an archive of rows that a restore left out because the target refused them: which restore, and why each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedRows>,
    /// The tables, in the order of their numbers: a chunk names its table by the position here.
    pub tables: Vec<Table>,
    /// The sequences, with their state.
    #[serde(default)]
    pub sequences: Vec<Sequence>,
    /// The objects of the database, as SQL; none where only rows were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Schema>,
}

impl Header {
    /// Whether a table of the archive need not have all the rows that its table had.
    pub fn is_of_rows(&self) -> bool {
        self.selection.is_of_rows() || self.refused.is_some()
    }

    /// A copy without definitions, which may be many.
    pub(super) fn without_schema(&self) -> Header {
        Header {
            format: self.format.clone(),
            version: self.version,
            kind: self.kind,
            tool: self.tool.clone(),
            created_at: self.created_at,
            source: self.source.clone(),
            selection: self.selection.clone(),
            guards: self.guards.clone(),
            refused: self.refused.clone(),
            tables: self.tables.clone(),
            sequences: self.sequences.clone(),
            schema: None,
        }
    }
}

/// Why an archive was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `pgkeep backup`.
    Backup,
    /// Taken by a restore of its own target.
    Safety,
}

/// The database that an archive was taken from. Holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Host name, address or socket folder.
    pub host: String,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
    /// Database name.
    pub database: String,
    /// `server_version` as the server prints it.
    pub server_version: String,
    /// `server_version_num`, such as 150018.
    pub server_version_num: u32,
    /// `pg_control_system().system_identifier`; none where the role may not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// The database's encoding, such as `UTF8`. Rows stand in UTF-8 unless this is `SQL_ASCII`.
    pub encoding: String,
    /// The WAL position at which the snapshot was taken, such as `0/16B3748`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
    /// Whether the server is a Supabase project.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub supabase: bool,
}

/// What was asked for: the patterns of `--table` and `--exclude`, and which of the rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Patterns of tables to take; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// Patterns of tables to leave out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Conditions on rows, such as `bookings: created_at >= '2025-11-01'`: of those tables only the rows that meet them were
    /// taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
    /// Columns to take, such as `users: email, phone`; each table says which were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The rows that were named, such as `weddings=7`: only what belongs to these was taken. `tables` are then those in
    /// which there was any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entity: Vec<String>,
    /// The groups of tables to which that was narrowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_types: Vec<String>,
    /// Whether of tables beside the chosen ones those rows were taken that the others refer to. `tables` name them, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_references: bool,
}

impl Selection {
    /// Whether not all rows of its tables were asked for.
    pub fn is_of_rows(&self) -> bool {
        !self.entity.is_empty() || !self.conditions.is_empty() || self.with_references
    }
}

/// Which restore a safety backup guards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guards {
    /// File name of the restore's log in `summaries/`.
    pub restore_log: String,
    /// File name of the archive that was being restored.
    pub backup_file: String,
    /// Counts up by one with each safety backup in a folder, so that "latest" does not depend on the clock.
    pub ordinal: u64,
    /// The identities of the objects that the restore was about to make, replace or remove: undoing it makes these, and
    /// no others, as the archive has them, and removes those that it does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
}

/// Rows that a restore left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedRows {
    /// File name of the restore's log in `summaries/`.
    pub restore_log: String,
    /// File name of the archive that was being restored.
    pub backup_file: String,
    /// Why, for each row of this archive.
    pub reasons: Vec<Reason>,
}

/// Why rows of a table were refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Position of the table in `tables`.
    pub table: u32,
    /// What the target said, without values of rows.
    pub error: String,
    /// Numbers of the rows among those of the table in this archive, counted from 1.
    pub rows: Vec<u64>,
}

/// One table: an ordinary table without its inheritance children, or a partitioned table with all its partitions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Schema name, as in `pg_namespace.nspname`.
    pub schema: String,
    /// Table name, as in `pg_class.relname`.
    pub name: String,
    /// Whether the table is partitioned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partitioned: bool,
    /// The columns of a row line, in its order.
    pub columns: Vec<Column>,
    /// Columns that were left out of the backup (`--columns`): a restore leaves them as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Generated columns: not in the rows, the server computes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generated: Vec<String>,
    /// The columns by which rows are told apart: the primary key, else a unique not-null index; empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// Constraints as the server defines them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    /// The extension that brings the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// For a configuration table of an extension: the condition that tells the user's rows, which alone are taken
    /// (`pg_extension_config_dump`), beginning with `WHERE`, or empty where all are. The others come with the extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Whether this is no table but the database's large objects, in pieces: columns `loid`, `position` and `data`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub large_objects: bool,
}

/// One column of a row line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Column name.
    pub name: String,
    /// The type as `format_type` prints it with an empty search path, such as `numeric(10,2)`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// How values of this column are written.
    #[serde(default, skip_serializing_if = "CellForm::is_text")]
    pub form: CellForm,
    /// Whether the column is NOT NULL.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_null: bool,
}

/// A constraint, as the server's own definition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Constraint {
    /// Constraint name.
    pub name: String,
    /// `pg_get_constraintdef`.
    pub definition: String,
    /// For a foreign key: schema and name of the table referred to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<(String, String)>,
}

/// A sequence and its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Schema name.
    pub schema: String,
    /// Sequence name.
    pub name: String,
    /// The extension that brings the sequence, or the table that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// `last_value`, as text: JSON readers lose integers beyond 2^53.
    pub last_value: String,
    /// `is_called`: whether `last_value` has been handed out.
    pub is_called: bool,
    /// `increment`, as text: its sign says which way is forward.
    pub increment: String,
    /// Positions in `tables` of the tables that own the sequence or take defaults from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<u32>,
}

/// One independently compressed piece of an archive: a gzip member, a zstd frame, or plain lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// What the chunk holds.
    pub kind: ChunkKind,
    /// Position of the table in the header; only for [`ChunkKind::Rows`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// Order within a table: which part of it was read in one go, counted from 0.
    #[serde(default)]
    pub range: u32,
    /// Order within that part, counted from 0.
    #[serde(default)]
    pub piece: u32,
    /// Where the chunk begins in the file, in bytes.
    pub offset: u64,
    /// Its stored (compressed) length in bytes.
    pub length: u64,
    /// Its length in bytes when decompressed, with its first line.
    pub bytes: u64,
    /// Rows in it.
    #[serde(default)]
    pub rows: u64,
    /// SHA-256 of the stored bytes, hexadecimal.
    pub sha256: String,
    /// Between which values its rows are: an entry for each of the first columns of the table's key. Empty, as in
    /// archives of early versions, or none for a column: nothing is known of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "spans::read")]
    pub spans: Vec<Option<Span>>,
}

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChunkKind {
    /// The header line.
    Header,
    /// A line that names the table and its columns, then rows of that table.
    Rows,
}

/// What an archive holds in sum; the last line of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Tables in the header.
    pub tables: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Decompressed bytes of all chunks.
    pub bytes: u64,
    /// Rows of each table, in the header's order.
    pub table_rows: Vec<u64>,
}

impl Table {
    /// The name by which logs and people call the table: bare in schema `public`, else `schema.table`.
    pub fn shown(&self) -> String {
        shown_name(&self.schema, &self.name)
    }

    /// What lists and messages about the archive call it: its name, or `large objects`.
    pub fn described(&self) -> String {
        if self.large_objects { "large objects".to_owned() } else { self.shown() }
    }
}

impl Sequence {
    /// The name by which logs and people call the sequence.
    pub fn shown(&self) -> String {
        shown_name(&self.schema, &self.name)
    }
}
