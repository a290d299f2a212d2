//! A rehearsal: an archive is restored into a scratch database, what came of it is compared with the archive, the
//! user's checks are run, and the database is removed again. Proof that the archive restores; no other database is read
//! or written.
//!
//! The scratch database is removed in every way out, also when the work is interrupted. Roles and tablespaces, which
//! belong to the whole server, are never made. What would act by itself, or upon other servers, is not made to stay: see
//! `parts`.

mod parts;
mod proof;
mod scratch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, SubsecRound, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::archive::reader::Archive;
use crate::check::{Check, Limits, Outcome};
use crate::connection::Connector;
use crate::difference::TableDifference;
use crate::failure::{Failure, FailureKind};
use crate::folders::Folders;
use crate::progress::{Event, Events, Listener, Phase};
use crate::restore::RestoreOptions;
use crate::restore::objects::{self, ObjectOptions};
use crate::restore::prepare::prove;
use crate::restore::requirements;
use crate::schema::script::Style;
use crate::selection::TableFilter;
use parts::Parts;
use proof::Proof;
use scratch::Scratch;

/// What a rehearsal is asked for.
#[derive(Clone, Debug)]
pub struct RehearseOptions {
    /// The archive.
    pub archive: PathBuf,
    /// Which of its tables.
    pub filter: TableFilter,
    /// What of owners, privileges and tablespaces is left out.
    pub style: Style,
    /// Connections to use at most, at least 1.
    pub jobs: usize,
    /// What has to hold in the restored database.
    pub checks: Vec<Check>,
    /// How far each of them may go.
    pub limits: Limits,
    /// Whether the database stays, once it has been filled.
    pub keep: bool,
}

impl RehearseOptions {
    /// The restore that is rehearsed.
    fn restore(&self) -> RestoreOptions {
        RestoreOptions {
            filter: self.filter.clone(),
            jobs: self.jobs,
            objects: ObjectOptions { style: self.style.clone(), ..ObjectOptions::everything() },
            ..RestoreOptions::new(self.archive.clone())
        }
    }
}

/// What came of a rehearsal.
#[derive(Debug, Default, Serialize)]
pub struct Rehearsal {
    /// The archive.
    pub file: String,
    /// Its size in bytes.
    pub archive_bytes: u64,
    /// The server with the scratch database, as a URL without a password.
    pub target: String,
    /// The scratch database.
    pub database: String,
    /// What it took on the server when it had been restored, in bytes.
    pub database_bytes: u64,
    /// When the rehearsal began, UTC.
    pub started_at: DateTime<Utc>,
    /// How long it took in all.
    pub seconds: f64,
    /// How long each step took, in their order.
    pub steps: Vec<Step>,
    /// Whether all came out as archived, and every check holds.
    pub passed: bool,
    /// Tables that were compared.
    pub tables: u64,
    /// Rows that came out as archived.
    pub rows: u64,
    /// Objects that came out as archived.
    pub objects: u64,
    /// What did not.
    pub differences: Differences,
    /// What came of the checks.
    pub checks: Vec<Outcome>,
    /// Objects that were made and taken back at once, by identity: they would have acted.
    pub tried: Vec<String>,
    /// Objects that only one database of a server can have, and what needs them, by identity: they were not made.
    pub left_out: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// Whether the scratch database is gone again.
    pub removed: bool,
    /// Removes the scratch database, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removal: Option<String>,
    /// Why it could not be removed.
    #[serde(skip)]
    pub left: Option<Failure>,
}

/// A step of a rehearsal.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub seconds: f64,
}

/// What did not come out as archived.
#[derive(Debug, Default, Serialize)]
pub struct Differences {
    /// Rows, by table; `inserted` are those that only the archive has, `deleted` those that only the database has.
    pub tables: BTreeMap<String, TableDifference>,
    /// Tables that could not be restored or compared, with the reason.
    pub failed: BTreeMap<String, String>,
    /// Sequences that stand elsewhere.
    pub sequences: Vec<String>,
    /// Definitions.
    pub objects: Vec<ObjectDifference>,
}

/// An object that did not come out as archived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectDifference {
    /// What names it.
    pub identity: String,
    /// `missing`, `not in the archive`, or the parts that differ.
    pub what: String,
}

impl Differences {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.count() == 0
    }

    /// How many tables, sequences and objects differ.
    pub fn count(&self) -> usize {
        self.tables.len() + self.failed.len() + self.sequences.len() + self.objects.len()
    }
}

impl Rehearsal {
    /// Ends a step that has begun at `since`; returns the time.
    fn step(&mut self, name: &'static str, since: Instant) -> Instant {
        let now = Instant::now();
        self.steps.push(Step { name, seconds: rounded((now - since).as_secs_f64()) });
        now
    }

    fn warn(&mut self, events: &Events, text: String) {
        events.warn(text.clone());
        self.warnings.push(text);
    }
}

/// Seconds to the millisecond.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// Rehearses. `connector` leads to the server on which the scratch database is made; the database that it names is not
/// touched and need not be there. An error says what is left, which is nothing unless it is [`FailureKind::NotPutBack`].
pub async fn run(
    connector: &Connector,
    folders: &Folders,
    options: &RehearseOptions,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Rehearsal, Failure> {
    let started = Instant::now();
    let mut report = Rehearsal {
        file: options.archive.display().to_string(),
        started_at: Utc::now().trunc_subsecs(0),
        ..Rehearsal::default()
    };
    let nothing = |failure: Failure| match failure.kind {
        FailureKind::NotPutBack => failure,
        _ => Failure { state: "nothing was made".to_owned(), ..failure },
    };
    let archive = prove(folders, &options.restore(), events, cancel).await.map_err(nothing)?;
    let archive = Arc::new(archive);
    report.archive_bytes = archive.file_bytes();
    report.step("archive proven whole", started);
    let (scratch, parts) =
        make(connector, &archive, options, events, cancel, &mut report).await.map_err(nothing)?;

    let restore = options.restore();
    let proof = Proof { scratch: &scratch, folders, archive: &archive, options, restore, events, cancel };
    let proven = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        proven = proof.prove(&parts, &mut report) => proven,
    };
    (report.tried, report.left_out) = parts.names();
    if proven.is_ok() && options.keep {
        report.removal = Some(scratch.removal());
    } else {
        let since = Instant::now();
        match scratch.remove(events).await {
            Ok(()) => report.removed = true,
            Err(error) => return left(scratch, proven, error, report),
        }
        report.step("scratch database removed", since);
    }
    if let Err(failure) = proven {
        let state = format!("scratch database {} was removed, nothing else was touched", scratch.name);
        return Err(Failure { state, ..failure });
    }
    report.passed = report.differences.is_none() && report.checks.iter().all(|check| check.passed);
    report.seconds = rounded(started.elapsed().as_secs_f64());
    Ok(report)
}

/// Looks at the server and makes the scratch database.
async fn make(
    connector: &Connector,
    archive: &Archive,
    options: &RehearseOptions,
    events: &Events,
    cancel: &CancellationToken,
    report: &mut Rehearsal,
) -> Result<(Scratch, Parts), Failure> {
    let header = archive.header();
    let Some(schema) = &header.schema else {
        return Err(Failure::usage(format!(
            "{} holds rows alone, no definitions: an empty database has no tables for them",
            options.archive.display()
        ))
        .next("rehearse a backup that was taken without --data-only"));
    };
    let since = Instant::now();
    let session = scratch::connect(connector, events, cancel).await?;
    let look = async {
        for name in scratch::left_over(&session.client).await? {
            let warning = format!(
                "database {name} is left of an earlier rehearsal, and nobody is connected to it; remove it with: {}",
                scratch::removal(connector, &name)
            );
            report.warn(events, warning);
        }
        let chosen = objects::chosen(header, &options.restore(), session.server_version_num);
        let parts = Parts::new(chosen);
        let all: Vec<_> = parts.made.iter().chain(&parts.tried).cloned().collect();
        // Without the archive's roles: a rehearsal makes none.
        requirements::check(&session.client, &all, None, &options.restore().objects).await?;
        Ok::<_, Failure>(parts)
    };
    let parts = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        parts = look => parts,
    };
    let parts = parts?;
    let style = &options.style;
    let scratch = Scratch::make(&session, connector, schema.database.as_ref(), style, events, report).await?;
    report.target = scratch.connector.info().redacted();
    report.database.clone_from(&scratch.name);
    report.step("scratch database made", since);
    Ok((scratch, parts))
}

/// The scratch database could not be removed: of a rehearsal that went well that is the failure, of another it is said
/// beside its own.
fn left(
    scratch: Scratch,
    proven: Result<(), Failure>,
    error: Failure,
    report: Rehearsal,
) -> Result<Rehearsal, Failure> {
    let state = format!("database {}, a copy of what the archive holds, is left on the server", scratch.name);
    let next = format!("when the server can be reached, remove it: {}", scratch.removal());
    let unremoved = format!("the scratch database could not be removed: {}", error.what);
    let what = match &proven {
        Ok(()) => unremoved,
        Err(failure) => format!("{}; and {unremoved}", failure.what),
    };
    let failure = Failure::new(FailureKind::NotPutBack, what).state(state).next(next);
    match proven {
        Ok(()) => {
            let passed = report.differences.is_none() && report.checks.iter().all(|check| check.passed);
            Ok(Rehearsal { passed, removal: Some(scratch.removal()), left: Some(failure), ..report })
        }
        Err(_) => Err(failure),
    }
}

/// Hands events on and notes when rows began to come in, and when they were in.
#[derive(Clone)]
struct Marks {
    to: Events,
    seen: Arc<Mutex<BTreeMap<&'static str, Instant>>>,
}

impl Marks {
    fn new(to: &Events) -> Marks {
        Marks { to: to.clone(), seen: Arc::default() }
    }

    /// When a phase has begun for the first time.
    fn of(&self, phase: Phase) -> Option<Instant> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(phase.title()).copied()
    }
}

impl Listener for Marks {
    fn event(&self, event: &Event) {
        if let Event::Started { phase, .. } = event {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.entry(phase.title()).or_insert_with(Instant::now);
        }
        self.to.emit(event.clone());
    }
}
