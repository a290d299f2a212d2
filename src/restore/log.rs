//! The restore log: written when a restore starts and rewritten in one step as it goes, so that a crash leaves a log
//! that says `running` and names the safety backup. Its keys are a contract; more may be added.

use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};

use super::Mode;
use super::repair::ByReason;
use crate::difference::{Conflicts, TableDifference};
use crate::failure::Failure;
use crate::folders::{self, Folders};
use crate::schema::script::LeftStatement;

/// How far a restore has come, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Under way, or ended without a word.
    Running,
    /// All restored, verified and committed.
    Completed,
    /// Committed without the tables in `tables_failed`.
    Partial,
    /// Ended before anything was written, or in a way that `error` explains.
    Failed,
    /// Undone: the target is as it was.
    RolledBack,
}

/// What became of one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableOutcome {
    /// Rows that were only in the archive.
    pub inserted: u64,
    /// Rows that were in both and differed.
    pub updated: u64,
    /// Rows that were equal; nothing was written for them.
    pub unchanged: u64,
    /// Rows that were only in the target, removed by mode `exact`; all rows of a table that was removed, to be made
    /// anew or not.
    pub deleted: u64,
    /// Rows that are in both and differ, and were kept as the target had them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept: u64,
    /// How many rows that are in both were decided by each rule, and for which side.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub conflicts: Conflicts,
    /// Rows that the target refused, and live rows that it did not let go.
    pub errors: u64,
    /// Time spent on the table.
    pub seconds: f64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a repair has found in a table: how many rows for each reason. A row may have several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// Rows that are restored.
    pub found: ByReason,
    /// Live rows that are broken and stay so: the archive does not have them, or has them no better.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left: ByReason,
}

/// A table that was left as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFailure {
    /// The table.
    pub table: String,
    /// Why.
    pub error: String,
}

/// Rows that the target refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsRefused {
    /// The table.
    pub table: String,
    /// How many.
    pub rows: u64,
    /// Why, without values of rows.
    pub error: String,
}

/// What a check came to. The rows that it found are in no log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The check's name.
    pub name: String,
    /// Whether all is as it should be.
    pub passed: bool,
    /// Rows that should not be.
    pub offending_rows: u64,
    /// Why it failed, where that is not its rows alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The log's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestoreLog {
    /// When the restore began, UTC.
    pub started_at: DateTime<Utc>,
    /// When it ended; none while it runs.
    pub finished_at: Option<DateTime<Utc>>,
    /// How it ended.
    pub status: Status,
    /// Whether this is a `restore`, a `rollback` or a dry run.
    pub operation: String,
    /// How archived rows met live rows.
    pub mode: Mode,
    /// The target without its password.
    pub target: String,
    /// File name of the archive.
    pub backup_file: String,
    /// File name of the safety backup; none without `--safe`.
    pub safety_backup_file: Option<String>,
    /// Rows of each table when its lock was held.
    pub before_counts: BTreeMap<String, u64>,
    /// Rows of each table before commit.
    pub after_counts: BTreeMap<String, u64>,
    /// What became of each table.
    pub tables_restored: BTreeMap<String, TableOutcome>,
    /// Of a dry run: what would become of each table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, TableDifference>,
    /// Where tables go by other names than in the archive: which of its tables each is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mapped: BTreeMap<String, String>,
    /// Of a repair: what was found.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repairs: BTreeMap<String, Repaired>,
    /// Tables that were left as they were.
    pub tables_failed: Vec<TableFailure>,
    /// Archived rows that the target refused, so that they were left out: how many for which reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows_refused: Vec<RowsRefused>,
    /// The archive of these rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject_file: Option<String>,
    /// Sequences that were set, with the value that they were set to.
    pub sequences_set: BTreeMap<String, String>,
    /// The user's own checks of what was about to be committed; none where it did not come to that.
    #[serde(default)]
    pub checks: Vec<CheckResult>,
    /// Whether changes had been made and were undone.
    pub rolled_back: bool,
    /// Whether the result was proven equal to the archive before commit.
    pub verified: bool,
    /// Sum over tables.
    pub total_inserted: u64,
    /// Sum over tables.
    pub total_updated: u64,
    /// Sum over tables.
    pub total_deleted: u64,
    /// File beside the log with every row that differed and of which one version had to be preferred, a JSON object a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflicts_file: Option<String>,
    /// Sum over tables, and one for each failed table.
    pub total_errors: u64,
    /// Roles that were made; they belong to no database, and a rollback leaves them.
    pub roles_created: Vec<String>,
    /// Objects that were made, tables and sequences counted, too.
    pub objects_created: u64,
    /// Objects that were replaced, and objects that were put back because they need one of those.
    pub objects_replaced: Vec<String>,
    /// Objects that were removed.
    pub objects_removed: Vec<String>,
    /// Objects that the target has otherwise than the archive, and that were left as they are: what differs.
    pub objects_differing: BTreeMap<String, String>,
    /// Statements that the role may not run, for somebody who may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements_left: Vec<LeftStatement>,
    /// How triggers and rules were kept from acting, and foreign keys where the replica role did it.
    pub triggers_held_by: Option<String>,
    /// Elsewhere: what became of each foreign key while rows were written.
    pub foreign_keys_held: BTreeMap<String, String>,
    /// The transaction's id on the server, once it has one: tells after a crash whether it was committed.
    pub transaction_id: Option<String>,
    /// Of a restore that was resumed: the logs of the runs before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumes: Vec<String>,
    /// Things the operator should know.
    pub warnings: Vec<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// What to do next, when something went wrong.
    pub next_step: Option<String>,
}

impl RestoreLog {
    /// Whether a restore that is committed has done all that it was asked for.
    pub fn how_far(&self) -> Status {
        let all = self.tables_failed.is_empty()
            && self.statements_left.is_empty()
            && self.tables_restored.values().all(|t| t.errors == 0)
            && self.repairs.values().all(|r| r.left.is_empty())
            && (self.operation != "repair" || self.checks.iter().all(|check| check.passed));
        if all { Status::Completed } else { Status::Partial }
    }

    /// A log that has just begun.
    pub fn new(operation: &str, mode: Mode, target: String, backup_file: String) -> RestoreLog {
        RestoreLog {
            started_at: Utc::now().trunc_subsecs(0),
            finished_at: None,
            status: Status::Running,
            operation: operation.to_owned(),
            mode,
            target,
            backup_file,
            safety_backup_file: None,
            before_counts: BTreeMap::new(),
            after_counts: BTreeMap::new(),
            tables_restored: BTreeMap::new(),
            tables: BTreeMap::new(),
            repairs: BTreeMap::new(),
            mapped: BTreeMap::new(),
            conflicts_file: None,
            tables_failed: Vec::new(),
            rows_refused: Vec::new(),
            reject_file: None,
            sequences_set: BTreeMap::new(),
            checks: Vec::new(),
            rolled_back: false,
            verified: false,
            total_inserted: 0,
            total_updated: 0,
            total_deleted: 0,
            total_errors: 0,
            roles_created: Vec::new(),
            objects_created: 0,
            objects_replaced: Vec::new(),
            objects_removed: Vec::new(),
            objects_differing: BTreeMap::new(),
            statements_left: Vec::new(),
            triggers_held_by: None,
            foreign_keys_held: BTreeMap::new(),
            transaction_id: None,
            resumes: Vec::new(),
            warnings: Vec::new(),
            error: None,
            next_step: None,
        }
    }

    /// Recomputes the sums.
    pub fn sum(&mut self) {
        let sum = |f: fn(&TableOutcome) -> u64| self.tables_restored.values().map(f).sum::<u64>();
        self.total_inserted = sum(|t| t.inserted);
        self.total_updated = sum(|t| t.updated);
        self.total_deleted = sum(|t| t.deleted);
        self.total_errors = sum(|t| t.errors) + self.tables_failed.len() as u64;
    }

    /// Forgets what was done, because it was undone.
    pub fn undo(&mut self) {
        self.tables_restored.clear();
        self.tables.clear();
        self.rows_refused.clear();
        self.reject_file = None;
        self.sequences_set.clear();
        self.objects_created = 0;
        self.objects_replaced.clear();
        self.objects_removed.clear();
        self.roles_created.clear();
        self.after_counts = self.before_counts.clone();
        self.verified = false;
        self.sum();
    }
}

/// The file that a log is kept in.
#[derive(Clone, Debug)]
pub struct LogFile {
    path: PathBuf,
}

impl LogFile {
    /// Creates the log's file under a name of its own and writes `log` to it.
    pub fn create(folders: &Folders, log: &RestoreLog) -> Result<LogFile, Failure> {
        let folder = folders.summaries();
        let stem = format!("restore_log_{}", folders::stamp(log.started_at));
        let (path, _) = folders::create_unique(&folder, &stem, "json")
            .map_err(|e| Failure::from_io(format!("creating the restore log in {}", folder.display()), &e))?;
        let file = LogFile { path };
        file.write(log)?;
        Ok(file)
    }

    /// Replaces the file's content in one step.
    pub fn write(&self, log: &RestoreLog) -> Result<(), Failure> {
        let mut text = serde_json::to_vec_pretty(log)
            .map_err(|e| Failure::failed(format!("the restore log cannot be written as JSON: {e}")))?;
        text.push(b'\n');
        folders::replace_file(&self.path, &text)
            .map_err(|e| Failure::from_io(format!("writing the restore log {}", self.path.display()), &e))
    }

    /// A new private file beside the log, of its name with another ending. One that an earlier try has left is emptied.
    pub fn beside(&self, ending: &str) -> std::io::Result<(PathBuf, std::fs::File)> {
        let path = self.path.with_extension(ending);
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok((path, file))
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log's file name.
    pub fn name(&self) -> String {
        self.path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }
}
