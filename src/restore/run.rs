//! A prepared restore, to the log's last line: try, commit or undo.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{SubsecRound, Utc};
use tokio_util::sync::CancellationToken;

use super::attempt::Attempt;
use super::fate::{self, Transaction};
use super::log::{LogFile, RestoreLog, Status};
use super::prepare::Prepared;
use super::rebuild::ledger::Ledger;
use super::rebuild::{Building, Rebuild};
use super::staging_schema::{self, StagingSchema};
use super::{create, lock, roles, sequences};
use crate::archive::file::AtomicFile;
use crate::connection::stop;
use crate::failure::{Failure, FailureKind};
use crate::postgres::error as pg;
use crate::progress::Events;

/// How often the transaction is tried when the server asks for it (serialization failure, deadlock).
const ATTEMPTS: u32 = 3;
/// How long the answer to ROLLBACK is waited for: over a network that lets nothing pass, none comes.
pub(super) const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(10);

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

impl Prepared {
    /// Restores. A failure is in the outcome, beside the log that tells of it.
    pub async fn execute(self, events: &Events, cancel: &CancellationToken) -> Result<Outcome, Failure> {
        if !self.options.dry_run && !self.rebuild.as_ref().is_some_and(|b| b.makes_database) {
            let removed = staging_schema::remove_left(&self.session, events).await;
            removed.map_err(|f| f.state("the target is untouched"))?;
        }
        let backup_file =
            self.options.archive.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let operation = match (self.options.dry_run, self.options.rollback) {
            (true, _) => "dry-run",
            (false, true) => "rollback",
            (false, false) if self.options.repair.is_some() => "repair",
            (false, false) => "restore",
        };
        let mut log = RestoreLog::new(operation, self.options.mode, self.target.clone(), backup_file);
        log.mapped = self.mapped.clone();
        log.warnings = self.notes.clone();
        let file = if self.options.dry_run {
            None
        } else {
            Some(LogFile::create(&self.folders, &log).map_err(|f| f.state("the target is untouched"))?)
        };
        let result = match &self.rebuild {
            Some(building) => self.rebuild(building, &mut log, file.as_ref(), events, cancel).await,
            None => self.try_and_commit(&mut log, file.as_ref(), events, cancel).await,
        };
        log.finished_at = Some(Utc::now().trunc_subsecs(0));
        let mut failure = result.err();
        log.error = failure.as_ref().map(|f| f.what.clone());
        log.next_step = failure.as_ref().map(|f| f.clone().complete().next);
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

    /// Rebuilds an empty database.
    async fn rebuild(
        &self,
        building: &Building,
        log: &mut RestoreLog,
        file: Option<&LogFile>,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let Building { objects, there, resumed, makes_database } = building;
        let ledger = Ledger::new(objects, &self.options, resumed.as_ref());
        let rebuild = Rebuild {
            session: &self.session,
            connector: &self.connector,
            archive: &self.archive,
            options: &self.options,
            objects,
            there,
            events,
            cancel,
            file,
            ledger: &ledger,
        };
        let schema = self.archive.header().schema.as_ref();
        let client = &self.session.client;
        let mut made_roles = Vec::new();
        let result = async {
            if let Some(schema) = schema.filter(|_| self.options.objects.with_roles) {
                made_roles = roles::make_at_once(&self.session, &schema.roles, cancel).await?;
            }
            let like = schema.and_then(|s| s.database.as_ref());
            if *makes_database {
                return rebuild.run_in_new(like, log).await;
            }
            lock::keep_others_out(client, &self.connector, events).await?;
            match resumed {
                Some(done) => log.safety_backup_file = done.safety_backup_file.clone(),
                None if self.options.safe => rebuild.save_state(&self.folders, log).await?,
                None => {}
            }
            rebuild.run(log).await?;
            match like.filter(|_| self.options.objects.create) {
                Some(like) => {
                    let (name, style) = (&self.connector.info().dbname, &self.options.objects.style);
                    create::finish(client, name, like, style).await.map(drop)
                }
                None => Ok(()),
            }
        };
        if let Err(failure) = result.await {
            let stays = self.options.resume && ledger.is_kept();
            if !stays
                && !made_roles.is_empty()
                && let Err(error) = roles::remove(&self.connector, &self.options, &made_roles).await
            {
                log.status = Status::Failed;
                log.rolled_back = false;
                return Err(roles::left(failure, &made_roles, &error));
            }
            return Err(failure);
        }
        log.roles_created = made_roles;
        log.status = log.how_far();
        Ok(())
    }

    async fn try_and_commit(
        &self,
        log: &mut RestoreLog,
        file: Option<&LogFile>,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        for number in 1..=ATTEMPTS {
            let mut staging = None;
            let tried = self.try_once(log, file, events, cancel, &mut staging).await;
            let removed = match staging {
                Some(schema) => schema.removed(&self.connector, events).await,
                None => Ok(()),
            };
            let failure = match (tried, removed) {
                (Ok(()), Ok(())) => return Ok(()),
                (Ok(()), Err(left)) => {
                    return Err(left.state(
                        "the restore was verified and committed; only the schema in which rows were staged is left",
                    ));
                }
                (Err(failure), Ok(())) => failure,
                (Err(failure), Err(left)) => {
                    events.warn(format!("{}; {}", left.what, left.next));
                    failure
                }
            };
            // What could not be put back has to be put back first.
            let again = failure.transient
                && failure.kind != FailureKind::NotPutBack
                && number < ATTEMPTS
                && !cancel.is_cancelled();
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

    /// One try, to its commit or the rollback.
    async fn try_once(
        &self,
        log: &mut RestoreLog,
        file: Option<&LogFile>,
        events: &Events,
        cancel: &CancellationToken,
        staging: &mut Option<StagingSchema>,
    ) -> Result<(), Failure> {
        let mut applied = sequences::Applied::default();
        let mut rejects = None;
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
        let work = async {
            match self.options.dry_run {
                true => attempt.foresee(log).await,
                false => attempt.run(log, &mut applied, staging, &mut rejects).await,
            }
        };
        let result = tokio::select! {
            biased;
            result = work => result,
            () = cancel.cancelled() => Err(Failure::interrupted()),
        };
        if let Err(failure) = result {
            return Err(self.undo(failure, log, &applied).await);
        }
        if self.options.dry_run {
            self.session.client.batch_execute("ROLLBACK").await?;
            log.status = log.how_far();
            return Ok(());
        }
        if log.tables_restored.is_empty() && !log.tables_failed.is_empty() {
            let failure = {
                let reasons: Vec<String> =
                    log.tables_failed.iter().map(|f| format!("{}: {}", f.table, f.error)).collect();
                Failure::failed(format!("no table could be restored:\n    {}", reasons.join("\n    ")))
                    .next("bring the target to what the archive needs, then run the same command again")
            };
            return Err(self.undo(failure, log, &applied).await);
        }
        self.commit(log, file, &applied, events, cancel).await?;
        rejects.map_or(Ok(()), |rejects| self.publish(rejects, log))
    }

    /// Gives the file of refused rows its name, now that the others are committed.
    fn publish(&self, rejects: AtomicFile, log: &mut RestoreLog) -> Result<(), Failure> {
        match rejects.commit() {
            Ok(path) => {
                log.reject_file = Some(path.display().to_string());
                Ok(())
            }
            Err(error) => Err(Failure::new(FailureKind::NotPutBack, error.to_string())
                .state("the restore was verified and committed without the rows that were refused; only the file of these is missing")
                .next("run the same command again with another --reject-file: what was restored is equal by now, and the same rows are refused again")),
        }
    }

    /// Rolls the transaction back and says in the log and in the failure what state that leaves.
    async fn undo(&self, failure: Failure, log: &mut RestoreLog, applied: &sequences::Applied) -> Failure {
        // Where the server asks to start over, nothing is under way, and a request to stop it might come late: upon
        // the next try.
        if !failure.transient {
            stop(&self.session).await;
        }
        let client = &self.session.client;
        let rollback = async {
            match client.batch_execute("ROLLBACK").await {
                // query_canceled: the request to stop came late.
                Err(error) if pg::sqlstate(&error) == Some("57014") => client.batch_execute("ROLLBACK").await,
                rolled_back => rolled_back,
            }
        };
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
        let begun = !log.before_counts.is_empty()
            || !log.tables_restored.is_empty()
            || log.objects_created > 0
            || !log.objects_replaced.is_empty();
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

    /// Over a new connection where one can be had: the old one may be lost, or be hit by a late request to stop.
    async fn put_sequences_back(&self, applied: &sequences::Applied) -> Result<(), Failure> {
        match self.connector.connect(&Events::silent()).await {
            Ok(session) => sequences::put_back(&session.client, &applied.unprotected).await,
            Err(error) if self.session.client.is_closed() => Err(Failure::failed(error.to_string())),
            Err(_) => sequences::put_back(&self.session.client, &applied.unprotected).await,
        }
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
            let transaction = match &log.transaction_id {
                Some(id) => Some(Transaction::keep(id, &self.connector).await),
                None => None,
            };
            if let Some(file) = file {
                file.write(log)?;
            }
            Ok(transaction)
        };
        let prepared = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Failure::interrupted()),
            prepared = prepared => prepared,
        };
        let transaction = match prepared {
            Ok(transaction) => transaction,
            Err(failure) => return Err(self.undo(failure, log, applied).await),
        };
        let how_far = log.how_far();
        let committed = |log: &mut RestoreLog| {
            log.status = how_far;
        };
        // It cannot be taken back, but nobody has to wait for a network that holds back the answer.
        let answer = tokio::select! {
            biased;
            answer = client.batch_execute("COMMIT") => answer.map_err(|error| {
                (pg::is_connection_loss(&error), Failure::from_server(&error).while_doing("committing"))
            }),
            () = fate::interrupted(cancel, fate::COMMIT_GRACE) => Err((true, Failure::interrupted().while_doing("committing"))),
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
            fate = fate::ask(&self.connector, transaction.as_ref(), events) => fate,
            () = fate::interrupted(cancel, fate::QUESTION_GRACE) => None,
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
