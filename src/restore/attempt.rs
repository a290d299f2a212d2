//! One try at the restoring transaction, from BEGIN to the moment before COMMIT.

mod definitions;
mod foresee;
mod going;
mod refusing;
mod repairing;
mod side_by_side;
mod staging;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::refusing::Orphans;
use super::compare::{Compared, Difference};
use super::equal::Ranges;
use super::left_on::LeftOn;
use super::log::{LogFile, RestoreLog, TableFailure, TableOutcome};
use super::objects::plan::ObjectPlan;
use super::plan::{RestorePlan, TablePlan};
use super::reading::Reading;
use super::rebuild::ledger;
use super::refused::Refused;
use super::staging_schema::StagingSchema;
use super::triggers::{self, Held};
use super::{Mode, RestoreOptions, entity, large_objects, lock, safety, sequences, stage, verify};
use crate::archive::file::AtomicFile;
use crate::archive::reader::Archive;
use crate::connection::Connector;
use crate::failure::{Failure, FailureKind};
use crate::folders::Folders;
use crate::postgres::catalog::Catalog;
use crate::postgres::connect::Session;
use crate::postgres::error as pg;
use crate::postgres::settings;
use crate::progress::{Event, Events, Phase};
use crate::schema::Schema;

/// The server's defaults are made for many small queries; a restore joins whole tables in a few large ones.
const MEMORY: &str = "SET LOCAL work_mem = '64MB';";

/// What a try works with.
pub struct Attempt<'a> {
    /// The restore's connection.
    pub session: &'a Session,
    /// For more connections.
    pub connector: &'a Connector,
    /// Where the safety backup goes.
    pub folders: &'a Folders,
    /// The archive, proven whole.
    pub archive: &'a Arc<Archive>,
    /// What is asked for.
    pub options: &'a RestoreOptions,
    /// Listener.
    pub events: &'a Events,
    /// Stops the work.
    pub cancel: &'a CancellationToken,
    /// The log's file; none in a dry run.
    pub file: Option<&'a LogFile>,
}

/// What a try found when it held its locks.
struct Locked {
    catalog: Catalog,
    plan: RestorePlan,
    objects: ObjectPlan,
    /// The objects of the target, where they had to be read.
    live: Option<Schema>,
}

/// What a try knows when rows are merged.
#[derive(Clone, Copy)]
struct Known<'a> {
    catalog: &'a Catalog,
    plan: &'a RestorePlan,
    /// The live tables as they were before anything was written.
    reading: &'a Reading,
    replica_role: bool,
}

/// A table whose archived rows are staged and compared.
pub(super) struct Staged {
    pub(super) table: TablePlan,
    pub(super) difference: Difference,
    /// All that comparing it has found.
    pub(super) compared: Compared,
    /// Where not all of it was compared: what was not.
    ranges: Option<Ranges>,
    /// Archived rows.
    rows: u64,
    /// Rows of the live table.
    before: u64,
    pub(super) seconds: f64,
    /// What of it the target refuses, where that is left out row by row.
    pub(super) refused: Vec<Refused>,
}

/// What a pass over the tables could not restore.
pub(super) enum Refusal {
    /// This table, and why.
    Table(String, Failure),
    /// Rows, which their tables name by now; and rows that stay although what they refer to was to go.
    Rows(Vec<Orphans>),
}

impl Refusal {
    /// What a restore fails with that leaves nothing out.
    fn into_failure(self) -> Failure {
        match self {
            Refusal::Table(_, failure) => failure,
            Refusal::Rows(_) => Failure::failed("rows are refused"),
        }
    }
}

impl Attempt<'_> {
    /// Does everything but the commit. What was done stands in `log`; what must be put back by hand if the commit
    /// fails, in `applied`; what goes when the transaction has ended, in `staging`; the file of refused rows, which gets its
    /// name when it is committed, in `rejects`.
    pub async fn run(
        &self,
        log: &mut RestoreLog,
        applied: &mut sequences::Applied,
        staging: &mut Option<StagingSchema>,
        rejects: &mut Option<AtomicFile>,
    ) -> Result<(), Failure> {
        let client = &self.session.client;
        client.batch_execute(&self.begin()).await.map_err(|error| match pg::sqlstate(&error) {
            // feature_not_supported: a standby takes no READ WRITE
            Some("0A000") => standby(),
            _ => error.into(),
        })?;
        let replica_role = triggers::set_replica_role(client).await?;

        let Locked { catalog, mut plan, objects, live } = self.lock().await?;
        self.events.holds(format!(
            "one transaction with locks on its tables ({}): others read them, and whoever writes to them waits; other restores wait, too",
            plan.tables.len()
        ));
        self.check(&catalog, &plan, log)?;
        entity::limit(client, &catalog, self.archive, self.options, &mut plan).await?;
        log.objects_differing = objects.differing.clone();
        let going = self.count_going(&catalog, &plan).await?;
        let large = self.stage_large_objects(&catalog, &plan, log).await?;

        let reading = if self.options.safe {
            let (path, reading) = safety::Safety {
                session: self.session,
                connector: self.connector,
                folders: self.folders,
                catalog: catalog.clone(),
                plan: &plan,
                schema: (!objects.is_none()).then_some(live).flatten(),
                touched: objects.touched(),
                objects: &objects.remove,
                filter: &self.options.filter,
                restore_log: self.file.map(LogFile::name).unwrap_or_default(),
                backup_file: log.backup_file.clone(),
                mode: self.options.mode,
                jobs: self.options.jobs,
                events: self.events,
                cancel: self.cancel,
            }
            .take()
            .await
            .map_err(|f| f.while_doing("taking the safety backup"))?;
            log.safety_backup_file = path.file_name().map(|n| n.to_string_lossy().into_owned());
            self.save(log)?;
            Arc::new(reading)
        } else {
            self.read_live(&catalog, &plan).await?
        };
        log.before_counts = self.count_before(&plan, &reading).await?;
        log.before_counts.extend(going::before(&going));
        if let Some(table) = &plan.large_objects {
            log.before_counts.insert(table.shown.clone(), large_objects::count(client).await?);
        }
        self.save(log)?;
        if ledger::remove_left(client).await? {
            self.events.info("a restore was interrupted here: without --resume this one does not go on with it, and takes what it made for the target's own");
        }

        let (catalog, plan, counts) = self.make_before(catalog, plan, &objects, log).await?;
        self.say_notes(&plan, log);
        if !self.options.objects.data {
            return self.make_after(&objects, &going, log).await;
        }
        let equal = self.find_equal(&catalog, &plan, &objects, &reading).await?;
        let todo = self.to_stage(&catalog, &plan, equal);
        let workers = self.stagers(&todo, &objects, replica_role, staging).await?;
        let mut staged = self.stage_all(todo, workers, replica_role, &counts, log).await?;
        self.write_conflicts(&staged, log).await?;
        self.warn_undecided(&staged, log);
        self.tell_repairs(&mut staged, log).await?;
        self.events.emit(Event::Started { phase: Phase::Merge, total_bytes: 0 });
        let known = Known { catalog: &catalog, plan: &plan, reading: &reading, replica_role };
        let merged = self.merge_all(known, &mut staged, large, log).await;
        self.events.emit(Event::Finished { phase: Phase::Merge });
        merged?;
        log.after_counts.retain(|table, _| !going.contains_key(table));
        self.load_fresh(&plan, log).await?;
        let done: Vec<_> =
            plan.sequences.iter().filter(|s| !self.only_failed_use(s, &plan, log)).cloned().collect();
        sequences::apply(client, &done, self.options.mode, applied).await?;
        log.sequences_set = applied.set.iter().cloned().collect();
        self.make_after(&objects, &going, log).await?;
        *rejects = self.write_refused(&staged, log).await?;
        Ok(())
    }

    /// Says in which tables nothing decides, so that rows were kept.
    fn warn_undecided(&self, staged: &[Staged], log: &mut RestoreLog) {
        let lost =
            |s: &&Staged| s.table.mode == Mode::Newer && s.table.rules.is_empty() && s.compared.kept() > 0;
        let tables: Vec<&str> = staged.iter().filter(lost).map(|s| s.table.shown.as_str()).collect();
        if !tables.is_empty() {
            let warning = format!(
                "nothing says which row is newer in {}, which has none of the columns that decide, or they are not among --columns: rows that differ were kept; name a column in [merge.TABLE] of pgkeep.toml",
                tables.join(", ")
            );
            self.events.warn(warning.clone());
            log.warnings.push(warning);
        }
    }

    /// Says what is to be said of the tables, once.
    fn say_notes(&self, plan: &RestorePlan, log: &mut RestoreLog) {
        for note in &plan.notes {
            if !log.warnings.contains(note) {
                self.events.warn(note.clone());
                log.warnings.push(note.clone());
            }
        }
    }

    /// What begins the restoring transaction.
    fn begin(&self) -> String {
        let version = self.session.server_version_num;
        // Its statements take long, and hold locks: the server is to give them up soon when nobody waits for them any more.
        let watch = if version >= 140_000 {
            "SELECT pg_catalog.set_config('client_connection_check_interval', '5s', true)
              WHERE pg_catalog.version() ~ 'linux|darwin|bsd';"
        } else {
            ""
        };
        format!(
            "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; {}
             SET LOCAL lock_timeout = '{}ms'; {MEMORY} {watch}",
            settings::statements(version),
            self.options.lock_timeout.as_millis()
        )
    }

    /// Takes the locks. What was read before them may have changed while they were waited for, so the catalog is read
    /// until it asks for no lock that is not held.
    async fn lock(&self) -> Result<Locked, Failure> {
        let client = &self.session.client;
        let mut held = lock::Held::default();
        loop {
            let catalog = Catalog::read(client).await?;
            let (objects, live) = self.plan_objects().await?;
            let plan = self.plan_rows(&catalog, &objects)?;
            if !lock::take(client, self.connector, &catalog, &plan, self.events, &mut held).await? {
                return Ok(Locked { catalog, plan, objects, live });
            }
        }
    }

    /// Whether tables of the archive use the sequence and none of them is restored: then the sequence stays, too.
    fn only_failed_use(
        &self,
        sequence: &super::plan::SequencePlan,
        plan: &RestorePlan,
        log: &RestoreLog,
    ) -> bool {
        let restored = |index: &u32| {
            let table = plan.tables.iter().find(|t| t.index == *index);
            table.is_some_and(|t| log.tables_failed.iter().all(|f| f.table != t.shown))
        };
        let users = &sequence.archived.used_by;
        !users.is_empty() && !users.iter().any(restored)
    }

    fn check(&self, catalog: &Catalog, plan: &RestorePlan, log: &mut RestoreLog) -> Result<(), Failure> {
        self.check_permitted(catalog, plan)?;
        log.tables_failed.clear();
        if !plan.misfits.is_empty() {
            if !self.options.keep_going {
                return Err(plan.misfit_failure());
            }
            for (table, error) in &plan.misfits {
                log.tables_failed.push(TableFailure { table: table.clone(), error: error.clone() });
            }
        }
        Ok(())
    }

    /// Refuses what the role may not do.
    fn check_permitted(&self, catalog: &Catalog, plan: &RestorePlan) -> Result<(), Failure> {
        plan.check_permitted(catalog, !self.options.compares)
    }

    /// Whether a table's failure may be left behind: not a lost connection, not an interruption.
    pub(super) fn goes_on_after(&self, failure: &Failure) -> bool {
        self.options.keep_going
            && matches!(failure.kind, FailureKind::Failed | FailureKind::Access)
            && !self.session.client.is_closed()
            && !self.cancel.is_cancelled()
    }

    pub(super) fn fail_table(&self, log: &mut RestoreLog, table: &str, error: &str) {
        // It stands behind the table's name.
        let error = error.strip_prefix(&format!("table {table}: ")).unwrap_or(error);
        self.events.warn(format!("table {table} is left as it was: {error}"));
        log.tables_failed.push(TableFailure { table: table.to_owned(), error: error.to_owned() });
    }

    /// Merges and verifies, leaving out one failing table after the other where that is wanted.
    async fn merge_all(
        &self,
        known: Known<'_>,
        staged: &mut Vec<Staged>,
        mut large: Option<large_objects::Staged>,
        log: &mut RestoreLog,
    ) -> Result<(), Failure> {
        let client = &self.session.client;
        loop {
            client.batch_execute("SAVEPOINT pgkeep_merge").await?;
            let Some(refusal) = self.merge_once(known, staged, &mut large, log).await? else {
                client.batch_execute("RELEASE SAVEPOINT pgkeep_merge").await?;
                return self.check_number(staged);
            };
            if let Refusal::Table(_, failure) = &refusal
                && !self.goes_on_after(failure)
            {
                return Err(refusal.into_failure());
            }
            client
                .batch_execute("ROLLBACK TO SAVEPOINT pgkeep_merge; RELEASE SAVEPOINT pgkeep_merge")
                .await?;
            let left_out = match refusal {
                Refusal::Table(table, failure) => Some((table, failure)),
                Refusal::Rows(orphans) => self.keep_referred(known.catalog, staged, orphans).await?,
            };
            if let Some((table, failure)) = left_out {
                self.fail_table(log, &table, &failure.what);
                staged.retain(|s| s.table.shown != table);
                large = large.filter(|l| l.table.shown != table);
            }
            self.set_aside_again(staged).await?;
        }
    }

    /// One pass over the tables. Returns what has to be left out.
    async fn merge_once(
        &self,
        known: Known<'_>,
        staged: &mut [Staged],
        large: &mut Option<large_objects::Staged>,
        log: &mut RestoreLog,
    ) -> Result<Option<Refusal>, Failure> {
        let Known { catalog, plan, reading, replica_role } = known;
        let client = &self.session.client;
        let written = RestorePlan {
            tables: staged.iter().filter(|s| !s.difference.is_none()).map(|s| s.table.clone()).collect(),
            ..RestorePlan::default()
        };
        let mut held: Option<Held> = None;
        if !written.tables.is_empty() {
            held = match triggers::hold(client, catalog, &written, replica_role).await {
                Err(failure) if failure.lock_timeout => {
                    let (session, connector) = (self.session, self.connector);
                    return Err(lock::not_alone(session, connector, self.events, catalog, &written).await);
                }
                held => Some(held?),
            };
        }
        log.triggers_held_by = held.as_ref().map(|h| h.way.describe().to_owned());
        let ways = held.iter().flat_map(|h| &h.keys);
        log.foreign_keys_held = ways.map(|(key, way)| (key.clone(), way.describe().to_owned())).collect();
        let left_on = if replica_role { LeftOn::default() } else { LeftOn::new(catalog, &written) };
        left_on.defer(client).await?;
        if let Some(refused) = self.apply_all(staged, catalog, &left_on).await? {
            return Ok(Some(refused));
        }
        self.events.emit(Event::Started { phase: Phase::Verify, total_bytes: 0 });
        let mut after = log.before_counts.clone();
        if written.tables.is_empty() {
            after.extend(staged.iter().map(|s| (s.table.shown.clone(), s.before)));
        } else {
            let tables: Vec<TablePlan> = staged.iter().map(|s| s.table.clone()).collect();
            after.extend(verify::counts(client, &tables).await?);
        }
        if let Some(large) = large
            && let Err(failure) = self.write_large_objects(large, log, &mut after).await
        {
            return Ok(Some(Refusal::Table(large.table.shown.clone(), failure)));
        }
        client.batch_execute(stage::BUILT_IN_FIRST_PATH).await?;
        // As with temporary tables: the server would share out memory that it may not have.
        client.batch_execute("SET LOCAL max_parallel_workers_per_gather = 0").await?;
        for at in staged.iter() {
            let shown = &at.table.shown;
            let now = count(&after, shown);
            self.prove(catalog, reading, at, now).await?;
        }
        client.batch_execute("SET LOCAL max_parallel_workers_per_gather TO DEFAULT").await?;
        let violations = verify::constraints(client, catalog, &written, replica_role).await?;
        client.batch_execute("SET LOCAL search_path = ''").await?;
        if let Some(refused) = self.refuse_rows(catalog, staged, &violations).await? {
            return Ok(Some(refused));
        }
        for violation in &violations {
            // What a safety backup holds was so before; putting it back exactly is the promise of a rollback.
            let scope = plan.closure(catalog);
            let was_so =
                self.options.rollback && scope.contains(&violation.table) && scope.contains(&violation.other);
            if was_so || self.was_told(catalog, violation, log).await? {
                self.events.warn(violation.what.clone());
                log.warnings.push(violation.what.clone());
                continue;
            }
            return Ok(Some(self.violated(catalog, staged, violation)));
        }
        if let Some(held) = held {
            held.release(client, catalog).await?;
        }
        self.events.emit(Event::Finished { phase: Phase::Verify });
        log.after_counts = after;
        log.tables_restored = staged.iter().map(|s| (s.table.shown.clone(), outcome(s))).collect();
        log.tables_restored.extend(large.iter().map(|l| (l.table.shown.clone(), l.outcome())));
        Ok(None)
    }

    /// What has to be left out for a violation.
    fn violated(&self, catalog: &Catalog, staged: &[Staged], violation: &verify::Violation) -> Refusal {
        let failure = Failure::failed(violation.what.clone()).next(match self.options.repair {
            Some(_) => "repair the tables that the rows refer to as well, or leave these out with --exclude",
            None => "restore the tables that the rows refer to as well, or leave these out; --keep-going restores the rest",
        });
        Refusal::Table(self.culprit(catalog, staged, violation), failure)
    }

    /// The table to leave out for a violation: the referring one where it is being restored, else the other.
    fn culprit(&self, catalog: &Catalog, staged: &[Staged], violation: &verify::Violation) -> String {
        let of = |oid: u32| {
            staged.iter().filter(|s| !s.difference.is_none()).find(|s| {
                let mut at = Some(oid);
                while let Some(current) = at {
                    if current == s.table.relation {
                        return true;
                    }
                    at = catalog.relation(current).and_then(|r| r.partition_of);
                }
                false
            })
        };
        of(violation.table)
            .or_else(|| of(violation.other))
            .or(staged.iter().find(|s| !s.difference.is_none()))
            .map(|s| s.table.shown.clone())
            .unwrap_or_default()
    }

    fn save(&self, log: &RestoreLog) -> Result<(), Failure> {
        self.file.map_or(Ok(()), |file| file.write(log))
    }
}

fn standby() -> Failure {
    Failure::new(FailureKind::Access, "the server is a standby, which is read-only")
        .state("the target is untouched")
        .next("connect to the primary; with several hosts, add target_session_attrs=read-write")
}

fn count(counts: &BTreeMap<String, u64>, table: &str) -> u64 {
    counts.get(table).copied().unwrap_or(0)
}

fn outcome(staged: &Staged) -> TableOutcome {
    let Difference { archived_only, different, live_only } = staged.difference;
    let kept = staged.compared.kept();
    let refused = staged.refused.iter().filter(|r| r.number.is_some()).count() as u64;
    TableOutcome {
        inserted: archived_only,
        updated: different,
        unchanged: staged.rows.saturating_sub(archived_only + different + kept + refused),
        deleted: live_only,
        kept,
        conflicts: staged.compared.conflicts(&staged.table),
        errors: staged.refused.len() as u64,
        seconds: (staged.seconds * 1000.0).round() / 1000.0,
    }
}
