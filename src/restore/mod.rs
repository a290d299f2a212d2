//! A restore, in the order that makes it safe: validate → lock → safety backup → count → load → merge → verify →
//! checks → commit → log. Everything up to the commit is one transaction, so any failure leaves the target as it was.
//!
//! A rollback is a restore in mode `exact` of a safety backup, with a safety backup of its own.

pub mod attempt;
mod checks;
pub mod compare;
mod conflicts;
pub mod create;
pub mod entity;
pub mod equal;
pub mod fate;
pub mod fit;
pub mod foreign_keys;
pub mod large_objects;
pub mod left_on;
pub mod lock;
pub mod log;
pub mod merge;
pub mod objects;
mod permitted;
pub mod plan;
pub mod preference;
pub mod prepare;
pub mod reading;
pub mod rebuild;
pub mod refused;
pub mod rename;
pub mod repair;
pub mod report;
pub mod requirements;
pub mod roles;
pub mod run;
pub mod safety;
pub mod sequences;
pub mod stage;
pub mod staging_schema;
pub mod triggers;
pub mod verify;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::archive::model::Header;
use crate::check::Check;
use crate::closure::archive::ChosenRows;
use crate::host::Profile;
use crate::schema::script::Left;
use crate::selection::mapping::Mapping;
use crate::selection::{RowChoice, TableFilter};
use entity::Chosen;
use objects::ObjectOptions;
use preference::Preferences;
use refused::Rejects;
use repair::Repair;

/// How archived rows meet live rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Missing rows are inserted, different ones updated, others kept.
    #[default]
    Upsert,
    /// As `upsert`, and rows that the archive does not have are deleted.
    Exact,
    /// Missing rows are inserted, all others kept.
    Missing,
    /// Missing rows are inserted, different ones updated where the archived one is newer, others kept.
    Newer,
}

/// What a restore is asked for.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The archive.
    pub archive: PathBuf,
    /// Which of its tables.
    pub filter: TableFilter,
    /// Under which other names.
    pub mapping: Mapping,
    /// Which rows of them, and which of their columns.
    pub rows: RowChoice,
    /// Whether only rows are restored that are missing or broken, and what is broken.
    pub repair: Option<Repair>,
    /// Which rows by what belongs together.
    pub chosen: Chosen,
    /// What that comes to, found in the archive when it has been proven.
    pub places: Option<Arc<ChosenRows>>,
    /// How rows meet.
    pub mode: Mode,
    /// What decides in mode `newer`, and tables that have a mode of their own.
    pub preferences: Preferences,
    /// Whether to take a safety backup first.
    pub safe: bool,
    /// Whether this is the undoing of a restore: the archive must be a safety backup of this very target.
    pub rollback: bool,
    /// Whether to commit what could be restored when some tables could not.
    pub keep_going: bool,
    /// Whether to go on with what an interrupted restore into an empty database has committed, and to leave there what
    /// this one has, should it be interrupted.
    pub resume: bool,
    /// Where rows go that the target refuses while the rest of their table is restored; none: a table is restored wholly or
    /// not at all. It takes `keep_going`.
    pub rejects: Option<Rejects>,
    /// Whether to say what would be done, and do nothing.
    pub dry_run: bool,
    /// Of a dry run: of how many rows of each kind, in each table, it is to say what they are.
    pub samples: u32,
    /// Of a dry run: whether to compare rows alone, as one who may do nothing but read.
    pub compares: bool,
    /// How long to wait for each lock.
    pub lock_timeout: Duration,
    /// Connections to use at most, at least 1.
    pub jobs: usize,
    /// Tables that the archive must hold, and not empty.
    pub critical: Vec<String>,
    /// What of the schema is restored, and how.
    pub objects: ObjectOptions,
    /// What has to hold before the commit.
    pub checks: Vec<Check>,
    /// Whose server the target is on; found out when it is looked at.
    pub host: Arc<Profile>,
}

impl RestoreOptions {
    /// A restore of all that an archive holds, in mode `upsert`, without a safety backup, over one connection.
    pub fn new(archive: PathBuf) -> RestoreOptions {
        RestoreOptions {
            archive,
            filter: TableFilter::default(),
            mapping: Mapping::default(),
            rows: RowChoice::default(),
            repair: None,
            chosen: Chosen::All,
            places: None,
            mode: Mode::default(),
            preferences: Preferences::default(),
            safe: false,
            rollback: false,
            keep_going: false,
            resume: false,
            rejects: None,
            dry_run: false,
            samples: 0,
            compares: false,
            lock_timeout: Duration::from_secs(10),
            jobs: 1,
            critical: Vec::new(),
            objects: ObjectOptions::everything(),
            checks: Vec::new(),
            host: Arc::default(),
        }
    }

    /// The same for a target on a server of this host. Where much of it is the host's, nobody who restores may do everything:
    /// what others have to do is collected.
    pub fn on(mut self, host: Arc<Profile>) -> RestoreOptions {
        self.objects.style.left = (!host.schemas.is_empty()).then(Left::default);
        RestoreOptions { host, ..self }
    }

    /// How rows of a table meet.
    pub fn mode_of(&self, schema: &str, name: &str) -> Mode {
        self.preferences.of(schema, name).mode.unwrap_or(self.mode)
    }

    /// Whether rows that the archive does not have may be deleted.
    pub fn deletes(&self) -> bool {
        self.mode == Mode::Exact || self.preferences.has_mode(Mode::Exact)
    }

    /// Whether rows that only the target has are looked for, be it to delete them or to tell of them.
    pub fn looks_for_live_only(&self) -> bool {
        let tells = self.compares && (self.mode == Mode::Newer || self.preferences.has_mode(Mode::Newer));
        self.deletes() || tells
    }

    /// Whether this undoes a restore that touched objects.
    pub fn undoes_objects(&self, header: &Header) -> bool {
        self.rollback && header.guards.as_ref().is_some_and(|g| !g.objects.is_empty())
    }
}
