//! From the archive's proof to the log's last line: prepare, ask, try, commit or undo.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{SubsecRound, Utc};
use tokio_util::sync::CancellationToken;

use super::attempt::Attempt;
use super::log::{LogFile, RestoreLog, Status};
use super::plan::RestorePlan;
use super::{Mode, RestoreOptions, fate, lock, sequences};
use crate::archive::error::ArchiveError;
use crate::archive::model::Kind;
use crate::archive::reader::Archive;
use crate::archive::validate::{ValidateOptions, validate};
use crate::connection::{Connector, lead, stop};
use crate::failure::{Failure, FailureKind};
use crate::folders::Folders;
use crate::listing;
use crate::postgres::catalog::Catalog;
use crate::postgres::connect::Session;
use crate::postgres::error as pg;
use crate::postgres::settings;
use crate::progress::{Event, Events, Phase};

/// How often the transaction is tried when the server asks for it (serialization failure, deadlock).
const ATTEMPTS: u32 = 3;
/// How long the answer to ROLLBACK is waited for: over a network that lets nothing pass, none comes.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// A restore that is ready to go: archive proven, target looked at, nothing touched.
pub struct Prepared {
    options: RestoreOptions,
    connector: Connector,
    folders: Folders,
    archive: Arc<Archive>,
    session: Session,
    /// The target without its password.
    pub target: String,
    /// Tables in scope, as shown.
    pub tables: Vec<String>,
    /// Those that hold rows.
    pub tables_with_rows: Vec<String>,
}

/// How a restore ended.
#[derive(Debug)]
pub struct Outcome {
    /// The log as it was last written.
    pub log: RestoreLog,
    /// Where it was written; none for a dry run.
    pub log_path: Option<PathBuf>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// Proves the archive whole and looks at the target. Nothing is written.
pub async fn prepare(
    connector: &Connector,
    folders: &Folders,
    options: RestoreOptions,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Prepared, Failure> {
    let archive = prove(folders, &options, events, cancel).await?;
    if options.rollback && archive.header().kind != Kind::Safety {
        return Err(Failure::usage(format!("{} is not a safety backup", options.archive.display()))
            .state("the target is untouched")
            .next("see the safety backups with pgkeep list-safety; to restore a backup use: pgkeep restore --safe --file FILE"));
    }
    let session = lead(connector, events, cancel).await?;
    let looked = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        looked = look(&session, connector, &archive, &options, events) => looked,
    };
    let (tables, tables_with_rows) = match looked {
        Ok(looked) => looked,
        Err(failure) => {
            stop(&session).await;
            return Err(failure.state("the target is untouched"));
        }
    };
    Ok(Prepared {
        target: connector.info.redacted(),
        tables,
        tables_with_rows,
        options,
        connector: connector.clone(),
        folders: folders.clone(),
        archive: Arc::new(archive),
        session,
    })
}

/// Whether the archive fits the target and the role may restore it. Returns the tables in scope, and those of them
/// that hold rows.
async fn look(
    session: &Session,
    connector: &Connector,
    archive: &Archive,
    options: &RestoreOptions,
    events: &Events,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let client = &session.client;
    client
        .batch_execute(&format!(
            "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY; {} SET LOCAL lock_timeout = '{}ms';",
            settings::statements(session.server_version_num),
            options.lock_timeout.as_millis()
        ))
        .await?;
    let catalog = Catalog::read(client).await?;
    if options.rollback {
        check_same_target(archive, &catalog)?;
    }
    let plan = RestorePlan::new(archive.header(), &catalog, &options.filter)?;
    if !plan.misfits.is_empty() && !options.keep_going {
        return Err(plan.misfit_failure());
    }
    plan.check_permitted(&catalog)?;
    // Archived rows are staged in temporary tables.
    let temporary = "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY')";
    if !client.query_typed(temporary, &[]).await?[0].get::<_, bool>(0) {
        let (role, database) = (&catalog.server.role, &catalog.server.database);
        return Err(Failure::new(
            FailureKind::Access,
            format!("role {role} may not create temporary tables in database {database}"),
        )
        .next(format!("GRANT TEMPORARY ON DATABASE {database} TO {role}")));
    }
    let mut tables_with_rows = Vec::new();
    for batch in plan.tables.chunks(200) {
        let sql: Vec<String> = batch
            .iter()
            .enumerate()
            .map(|(i, t)| format!("SELECT {i}::pg_catalog.int4, EXISTS (SELECT 1 FROM {})", t.from_item))
            .collect();
        let rows = match client.query_typed(&sql.join(" UNION ALL "), &[]).await {
            Err(error) if pg::is_lock_timeout(&error) => {
                return Err(lock::unreadable(connector, events, batch).await);
            }
            rows => rows?,
        };
        for row in rows {
            if row.get(1) {
                tables_with_rows.push(batch[row.get::<_, i32>(0) as usize].shown.clone());
            }
        }
    }
    client.batch_execute("ROLLBACK").await?;
    tables_with_rows.sort();
    Ok((plan.tables.iter().map(|t| t.shown.clone()).collect(), tables_with_rows))
}

/// Opens the archive and proves every byte of it.
async fn prove(
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
        f.state("the target is untouched")
            .next("choose another archive (pgkeep list, pgkeep list-safety); the guide's section \"The archive is corrupt\" says what can still be read")
    })
}

fn invalid(error: ArchiveError) -> Failure {
    Failure::from_archive(&error)
}

/// A safety backup may only be rolled back into the database that it was taken from.
fn check_same_target(archive: &Archive, catalog: &Catalog) -> Result<(), Failure> {
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

impl Prepared {
    /// Whether this restore destroys what it cannot bring back, so that a person has to agree.
    pub fn needs_confirmation(&self) -> bool {
        !self.options.safe && !self.options.dry_run && !self.tables_with_rows.is_empty()
    }

    /// Restores. A failure is in the outcome, beside the log that tells of it.
    pub async fn execute(self, events: &Events, cancel: &CancellationToken) -> Result<Outcome, Failure> {
        let backup_file =
            self.options.archive.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let operation = match (self.options.dry_run, self.options.rollback) {
            (true, _) => "dry-run",
            (false, true) => "rollback",
            (false, false) => "restore",
        };
        let mut log = RestoreLog::new(operation, self.options.mode, self.target.clone(), backup_file);
        let file = if self.options.dry_run {
            None
        } else {
            Some(LogFile::create(&self.folders, &log).map_err(|f| f.state("the target is untouched"))?)
        };
        let result = self.try_and_commit(&mut log, file.as_ref(), events, cancel).await;
        log.finished_at = Some(Utc::now().trunc_subsecs(0));
        let mut failure = result.err();
        log.error = failure.as_ref().map(|f| f.what.clone());
        log.next_step = failure.as_ref().map(|f| f.next.clone()).filter(|n| !n.is_empty());
        if let Some(file) = &file
            && let Err(unlogged) = file.write(&log)
        {
            match &failure {
                Some(_) => events.warn(unlogged.what),
                None => {
                    failure = Some(
                        Failure::new(FailureKind::NotPutBack, unlogged.what)
                            .state(
                                "the restore was verified and committed; only its log could not be completed",
                            )
                            .next("free disk space; the data needs nothing more"),
                    );
                }
            }
        }
        Ok(Outcome { log, log_path: file.map(|f| f.path().to_path_buf()), failure })
    }

    async fn try_and_commit(
        &self,
        log: &mut RestoreLog,
        file: Option<&LogFile>,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        for number in 1..=ATTEMPTS {
            let mut applied = sequences::Applied::default();
            let attempt = Attempt {
                session: &self.session,
                connector: &self.connector,
                folders: &self.folders,
                archive: &self.archive,
                options: &self.options,
                events,
                cancel,
                file,
            };
            let result = tokio::select! {
                biased;
                result = attempt.run(log, &mut applied) => result,
                () = cancel.cancelled() => Err(Failure::interrupted()),
            };
            let Err(failure) = result else {
                if self.options.dry_run {
                    self.session.client.batch_execute("ROLLBACK").await?;
                    log.status = Status::Completed;
                    return Ok(());
                }
                if log.tables_restored.is_empty() && !log.tables_failed.is_empty() {
                    let failure = {
                        let reasons: Vec<String> =
                            log.tables_failed.iter().map(|f| format!("{}: {}", f.table, f.error)).collect();
                        Failure::failed(format!(
                            "no table could be restored:\n    {}",
                            reasons.join("\n    ")
                        ))
                        .next("bring the target to what the archive needs, then run the same command again")
                    };
                    return Err(self.undo(failure, log, &applied).await);
                }
                return self.commit(log, file, &applied, events, cancel).await;
            };
            let again = failure.transient && number < ATTEMPTS && !cancel.is_cancelled();
            let failure = self.undo(failure, log, &applied).await;
            if !again || self.session.client.is_closed() {
                return Err(failure);
            }
            events.info(format!("{failure}; trying the whole restore again ({} of {ATTEMPTS})", number + 1));
            log.status = Status::Running;
            log.rolled_back = false;
        }
        Err(Failure::failed("the server asked again and again to start over")
            .state("the target is untouched"))
    }

    /// Rolls the transaction back and says in the log and in the failure what state that leaves.
    async fn undo(&self, failure: Failure, log: &mut RestoreLog, applied: &sequences::Applied) -> Failure {
        stop(&self.session).await;
        let rollback = self.session.client.batch_execute("ROLLBACK");
        let rolled_back = matches!(tokio::time::timeout(ROLLBACK_TIMEOUT, rollback).await, Ok(Ok(())));
        self.undone(failure, log, applied, rolled_back).await
    }

    /// Says in the log and in the failure what state a transaction leaves that was rolled back, or that will be as soon
    /// as the server notices that nobody is there any more; puts back what that does not.
    async fn undone(
        &self,
        failure: Failure,
        log: &mut RestoreLog,
        applied: &sequences::Applied,
        rolled_back: bool,
    ) -> Failure {
        let begun = !log.before_counts.is_empty() || !log.tables_restored.is_empty();
        log.undo();
        log.rolled_back = begun;
        log.status = if begun { Status::RolledBack } else { Status::Failed };
        if !applied.unprotected.is_empty()
            && let Err(error) = self.put_sequences_back(applied).await
        {
            log.status = Status::Failed;
            return self.not_put_back(
                failure,
                log,
                &format!("the rows are as they were, but sequences are not: {error}"),
            );
        }
        if rolled_back {
            return failure.state("the target is as it was: everything was rolled back");
        }
        // The server rolls back by itself when the connection is gone (manual, 55.2.7).
        failure
            .state("the target is as it was: nothing was committed, and the server rolls back when a connection ends")
            .next("see that the server is up, then run the same command again")
    }

    async fn put_sequences_back(&self, applied: &sequences::Applied) -> Result<(), Failure> {
        if !self.session.client.is_closed() {
            return sequences::put_back(&self.session.client, &applied.unprotected).await;
        }
        let session =
            self.connector.connect(&Events::silent()).await.map_err(|e| Failure::failed(e.to_string()))?;
        sequences::put_back(&session.client, &applied.unprotected).await
    }

    fn not_put_back(&self, failure: Failure, log: &mut RestoreLog, state: &str) -> Failure {
        let next = match &log.safety_backup_file {
            Some(file) => format!("when the server can be reached, run: pgkeep rollback {file}"),
            None => "when the server can be reached, compare the tables in the log with the archive; there is no safety backup".to_owned(),
        };
        log.rolled_back = false;
        Failure { kind: FailureKind::NotPutBack, state: state.to_owned(), next, ..failure }
    }

    async fn commit(
        &self,
        log: &mut RestoreLog,
        file: Option<&LogFile>,
        applied: &sequences::Applied,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let client = &self.session.client;
        // With its number, the transaction's fate can be asked for even after a crash.
        let id = "SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text";
        let prepared = async {
            log.transaction_id = client.query_typed(id, &[]).await?[0].get(0);
            file.map_or(Ok(()), |f| f.write(log))
        };
        if let Err(failure) = prepared.await {
            return Err(self.undo(failure, log, applied).await);
        }
        let partial = !log.tables_failed.is_empty();
        let committed = |log: &mut RestoreLog| {
            log.status = if partial { Status::Partial } else { Status::Completed };
        };
        // It cannot be taken back, but nobody has to wait for a network that holds back the answer.
        let answer = tokio::select! {
            biased;
            answer = client.batch_execute("COMMIT") => answer.map_err(|error| {
                (pg::is_connection_loss(&error), Failure::from_server(&error).while_doing("committing"))
            }),
            () = fate::interrupted(cancel) => Err((true, Failure::interrupted().while_doing("committing"))),
        };
        let Err((lost, failure)) = answer else {
            committed(log);
            return Ok(());
        };
        if !lost {
            return Err(self.undo(failure, log, applied).await);
        }
        let fate = tokio::select! {
            biased;
            fate = fate::ask(&self.connector, log.transaction_id.as_deref(), events) => fate,
            () = fate::interrupted(cancel) => None,
        };
        match fate {
            Some(true) => {
                events.warn("no answer to the commit came; the server confirms that it was committed");
                committed(log);
                Ok(())
            }
            Some(false) => Err(self.undone(failure, log, applied, true).await),
            None => {
                log.status = Status::Failed;
                let state = "nobody knows whether the restore was committed: no answer to the commit came, and the server cannot be asked";
                Err(self.not_put_back(failure, log, state))
            }
        }
    }
}

impl Prepared {
    /// How rows meet.
    pub fn mode(&self) -> Mode {
        self.options.mode
    }
}
