//! The archive: proven whole, and of the kind that this restore needs.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::archive::error::ArchiveError;
use crate::archive::model::Kind;
use crate::archive::reader::Archive;
use crate::archive::validate::{ValidateOptions, validate};
use crate::failure::{Failure, FailureKind};
use crate::folders::Folders;
use crate::listing;
use crate::postgres::catalog::Catalog;
use crate::progress::{Event, Events, Phase};
use crate::restore::RestoreOptions;

/// Opens the archive and proves every byte of it.
pub async fn prove(
    folders: &Folders,
    options: &RestoreOptions,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Archive, Failure> {
    let (path, critical) = (options.archive.clone(), options.critical.clone());
    let (events, cancel, folders) = (events.clone(), cancel.clone(), folders.clone());
    let proof = tokio::task::spawn_blocking(move || -> Result<Archive, Failure> {
        let archive = Archive::open(&path).map_err(invalid)?;
        events.emit(Event::Started { phase: Phase::Validate, total_bytes: archive.totals().bytes });
        let table: Arc<str> = Arc::from("");
        let progress = |bytes| {
            events.emit(Event::Advanced { phase: Phase::Validate, table: table.clone(), rows: 0, bytes });
        };
        let options = ValidateOptions { critical, ..ValidateOptions::default() };
        let report = validate(&archive, &options, &progress, &|| cancel.is_cancelled());
        events.emit(Event::Finished { phase: Phase::Validate });
        if cancel.is_cancelled() {
            return Err(Failure::interrupted());
        }
        let report = report.map_err(invalid)?;
        // Only a convenience for `list`; a read-only folder does not stop a restore.
        let whole = report.damaged_chunks == 0;
        let _ = listing::mark_verified(&folders, &path, archive.index_sha256(), whole);
        if !report.is_valid() {
            return Err(Failure::from_report(&report));
        }
        Ok(archive)
    });
    let proof =
        proof.await.unwrap_or_else(|e| Err(Failure::failed(format!("validation ended abnormally: {e}"))));
    proof.map_err(|f| {
        let f = match f.kind {
            FailureKind::Archive => f.while_doing(options.archive.display()),
            _ => f,
        };
        let f = f.state("the target is untouched");
        if f.kind == FailureKind::Interrupted {
            return f;
        }
        f.next("choose another archive (pgkeep list, pgkeep list-safety); the guide's section \"The archive is corrupt\" says what can still be read")
    })
}

fn invalid(error: ArchiveError) -> Failure {
    Failure::from_archive(&error)
}

/// Refuses an archive that is not of the kind that is needed.
pub(super) fn check_kind(archive: &Archive, options: &RestoreOptions) -> Result<(), Failure> {
    if options.rollback && archive.header().kind != Kind::Safety {
        return Err(Failure::usage(format!("{} is not a safety backup", options.archive.display()))
            .state("the target is untouched")
            .next("see the safety backups with pgkeep list-safety; to restore a backup use: pgkeep restore --safe --file FILE"));
    }
    check_has_objects(archive, options)?;
    check_has_all_rows(archive, options)
}

/// Refuses to do nothing: an archive of rows alone has no definitions to restore.
fn check_has_objects(archive: &Archive, options: &RestoreOptions) -> Result<(), Failure> {
    let wanted = options.objects.create || options.objects.clean || !options.objects.data;
    if archive.header().schema.is_some() || !wanted {
        return Ok(());
    }
    Err(Failure::usage(format!("{} holds rows alone, no definitions", options.archive.display()))
        .state("the target is untouched")
        .next("restore its rows into tables that are there: pgkeep restore --safe --file FILE; backups without --data-only hold definitions, too"))
}

/// Refuses to take rows for too many that the archive was never to hold.
fn check_has_all_rows(archive: &Archive, options: &RestoreOptions) -> Result<(), Failure> {
    let header = archive.header();
    // Who compares alone deletes nothing.
    if !header.is_of_rows() || !options.deletes() || options.compares {
        return Ok(());
    }
    let selection = &header.selection;
    let holds = match selection.entity.as_slice() {
        [] if header.refused.is_some() => "only rows that a restore has left out".to_owned(),
        [] if !selection.conditions.is_empty() => {
            format!("only rows that meet a condition, {}", selection.conditions.join("; "))
        }
        [] => "some tables only those rows that others refer to".to_owned(),
        entity => format!("one entity, {}", entity.join(" ")),
    };
    Err(Failure::usage(format!(
        "{} holds {holds}: to --mode exact all other rows of its tables would be too many, and it would delete them",
        options.archive.display()
    ))
    .state("the target is untouched")
    .next("restore it in mode upsert, which leaves other rows alone: pgkeep restore --safe --file FILE"))
}

/// A safety backup may only be rolled back into the database that it was taken from.
pub(super) fn check_same_target(archive: &Archive, catalog: &Catalog) -> Result<(), Failure> {
    let (source, server) = (&archive.header().source, &catalog.server);
    let same_server = match (&source.system_identifier, &server.system_identifier) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    if same_server && source.database == server.database {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "this safety backup is of database {} on another server or of another name, not of this target",
        source.database
    ))
    .state("the target is untouched")
    .next("connect to the database that it was taken from; to load it elsewhere use: pgkeep restore --safe --mode exact --file FILE"))
}
