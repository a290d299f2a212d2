//! Into an empty database, where there is nothing to lose: objects, then rows straight into their tables over several
//! connections, then indexes, constraints and all else.
//!
//! This is no single transaction: connections do not see each other's uncommitted tables, and one transaction cannot
//! hold the locks of thousands of them. A failure removes what was made.

mod after;
mod dismantle;
mod extensions;
mod foreign_keys;
pub mod ledger;
mod load;
mod pool;
mod resources;
mod rows;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use self::ledger::{Done, Ledger, Step};
use super::RestoreOptions;
use super::checks;
use super::create;
use super::log::{LogFile, RestoreLog, Status, TableOutcome};
use super::objects::apply::{self, What};
use super::objects::change;
use super::objects::plan::ObjectPlan;
use super::plan::{RestorePlan, TablePlan};
use super::run::ROLLBACK_TIMEOUT;
use super::safety::Safety;
use super::sequences::{self, Applied};
use crate::archive::reader::Archive;
use crate::connection::{self, Connector, stop};
use crate::failure::{Failure, FailureKind};
use crate::folders::Folders;
use crate::postgres::catalog::Catalog;
use crate::postgres::connect::Session;
use crate::postgres::{ddl, settings};
use crate::progress::{Event, Events, Phase};
use crate::schema::{Database, Kind, Object, Schema, Section};

/// Objects that are made in one transaction: few enough for the server's table of locks.
const BATCH: usize = 500;

/// What is to be built in a target.
#[derive(Debug, Default)]
pub struct Building {
    /// The objects to make, in order.
    pub objects: Vec<Object>,
    /// Those that are there already, by identity.
    pub there: HashMap<String, Object>,
    /// How far an earlier run has come with it.
    pub resumed: Option<Done>,
    /// Whether the database itself is made first.
    pub makes_database: bool,
}

impl Building {
    /// Of these objects in a database that holds `live`, of which an earlier run may have made some.
    pub fn new(objects: Vec<Object>, live: Schema, resumed: Option<Done>) -> Building {
        let is_older = |o: &Object| resumed.as_ref().is_none_or(|done| done.there.contains(&o.identity));
        let there = live.objects.into_iter().filter(is_older).map(|o| (o.identity.clone(), o)).collect();
        Building { objects, there, resumed, makes_database: false }
    }
}

/// What a rebuild works with.
pub struct Rebuild<'a> {
    /// The restore's connection.
    pub session: &'a Session,
    /// For more connections.
    pub connector: &'a Connector,
    /// The archive, proven whole.
    pub archive: &'a Arc<Archive>,
    /// What is asked for.
    pub options: &'a RestoreOptions,
    /// The objects to make, in order.
    pub objects: &'a [Object],
    /// Those that are there already, by identity: they only get owner, comments and privileges.
    pub there: &'a HashMap<String, Object>,
    /// Listener.
    pub events: &'a Events,
    /// Stops the work.
    pub cancel: &'a CancellationToken,
    /// The log's file.
    pub file: Option<&'a LogFile>,
    /// How far an earlier run has come, and this one comes.
    pub ledger: &'a Ledger,
}

impl Rebuild<'_> {
    /// Rebuilds the database. On failure what was made is removed again, and the failure says so; where the restore is to be
    /// resumed, it stays.
    pub async fn run(&self, log: &mut RestoreLog) -> Result<(), Failure> {
        let mut workers = Vec::new();
        let made = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Failure::interrupted()),
            made = self.fill(&mut workers, log) => made,
        };
        let Err(failure) = made else { return Ok(()) };
        let altered = extensions::altered(self, log);
        log.undo();
        // What they are in the middle of would hold its locks against its removal.
        for session in std::iter::once(self.session).chain(&workers) {
            stop(session).await;
            let _ = tokio::time::timeout(ROLLBACK_TIMEOUT, session.client.batch_execute("ROLLBACK")).await;
        }
        drop(workers);
        if self.options.resume && self.ledger.is_kept() {
            log.status = Status::Failed;
            return Err(ledger::left(self, failure).await);
        }
        let failure = dismantle::after_failure(self, failure, log).await;
        Err(extensions::say_altered(failure, &altered, log))
    }

    /// Takes the safety backup of a database in which there is next to nothing: undoing the restore removes what it
    /// made.
    pub async fn save_state(&self, folders: &Folders, log: &mut RestoreLog) -> Result<(), Failure> {
        let client = &self.session.client;
        client.batch_execute(&self.begin()).await?;
        let live = ddl::read(client, self.session.server_version_num).await?;
        let catalog = Catalog::read(client).await?;
        // No tables are there but those of extensions.
        let plan = RestorePlan::new(self.archive, &catalog, self.options, &ObjectPlan::default())?;
        let plan = RestorePlan { large_objects: None, misfits: Vec::new(), ..plan };
        let (path, _) = Safety {
            session: self.session,
            connector: self.connector,
            folders,
            catalog,
            plan: &plan,
            schema: Some(live),
            touched: self.objects.iter().map(|o| o.identity.clone()).collect(),
            objects: &[],
            filter: &self.options.filter,
            mode: super::Mode::Exact,
            restore_log: self.file.map(LogFile::name).unwrap_or_default(),
            backup_file: log.backup_file.clone(),
            jobs: 1,
            events: self.events,
            cancel: self.cancel,
        }
        .take()
        .await
        .map_err(|f| f.while_doing("taking the safety backup").state("the target is untouched"))?;
        client.batch_execute("ROLLBACK").await?;
        log.safety_backup_file = path.file_name().map(|n| n.to_string_lossy().into_owned());
        self.file.map_or(Ok(()), |file| file.write(log))
    }

    /// Makes the database first, and gives it its properties in the end. On failure it is removed again.
    pub async fn run_in_new(&self, like: Option<&Database>, log: &mut RestoreLog) -> Result<(), Failure> {
        let name = &self.connector.info().dbname;
        let style = &self.options.objects.style;
        create::make(&self.session.client, self.session.server_version_num, name, like, style).await?;
        let filled = async {
            if let Some(like) = like {
                // Rather now than behind hours of loading.
                for role in create::try_out(&self.session.client, name, like, style).await? {
                    let warning = format!(
                        "the settings that role {role} has in the database are left out: there is no such role"
                    );
                    self.events.warn(warning.clone());
                    log.warnings.push(warning);
                }
            }
            let session = connection::lead(self.connector, self.events, self.cancel).await?;
            self.connector.refuse_sharing(&session).await?;
            session.client.batch_execute(&self.begin()).await?;
            let live = ddl::read(&session.client, session.server_version_num).await?;
            session.client.batch_execute("ROLLBACK").await?;
            let there = live.objects.into_iter().map(|o| (o.identity.clone(), o)).collect();
            Rebuild { session: &session, there: &there, ..*self }.fill(&mut Vec::new(), log).await?;
            match like {
                Some(like) => create::finish(&session.client, name, like, style).await.map(drop),
                None => Ok(()),
            }
        };
        let filled = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Failure::interrupted()),
            filled = filled => filled,
        };
        let Err(failure) = filled else { return Ok(()) };
        log.undo();
        if self.options.resume && self.ledger.is_kept() {
            log.status = Status::Failed;
            return Err(ledger::left(self, failure).await);
        }
        match create::unmake(self.connector, self.events, name).await {
            Ok(()) => {
                log.status = Status::RolledBack;
                log.rolled_back = true;
                Err(failure.state(format!("database {name}, which had been made, was removed again")))
            }
            Err(error) => {
                log.status = Status::Failed;
                let state =
                    format!("database {name} had been made, is not whole, and could not be removed: {error}");
                let next = format!(
                    "when the server can be reached, remove it (dropdb {name}), then run the same command again"
                );
                Err(Failure { kind: FailureKind::NotPutBack, state, next, ..failure })
            }
        }
    }

    /// Makes the objects and brings the rows in. `workers` get the connections that help; a failure leaves what was made.
    pub async fn fill(&self, workers: &mut Vec<Session>, log: &mut RestoreLog) -> Result<(), Failure> {
        let client = &self.session.client;
        *workers = self.connector.workers(self.options.jobs.saturating_sub(1), self.events).await;
        let sessions: Vec<&Session> = std::iter::once(self.session).chain(workers.iter()).collect();
        let memory = resources::memory(client, sessions.len()).await?;
        for session in &sessions {
            let stay = settings::stay_while_idle(session.server_version_num);
            session.client.batch_execute(&format!("SET synchronous_commit = off; {memory} {stay}")).await?;
            self.take_archived_path(session).await?;
        }
        let after = after::After::new(self);
        self.ledger.open(self, log).await?;
        self.events.holds("nothing that others wait for, but other restores of this database");

        self.define(|o| o.section == Section::PreData).await?;
        if self.options.objects.data {
            client.batch_execute(&self.begin()).await?;
            let catalog = Catalog::read(client).await?;
            client.batch_execute("ROLLBACK").await?;
            // No tables were there but those of extensions.
            let made = catalog.relations.iter().filter(|r| r.extension.is_none());
            let made = made.map(|r| (r.schema.clone(), r.name.clone()));
            let mut objects = ObjectPlan::default();
            objects.made = made.collect();
            let mut plan = RestorePlan::new(self.archive, &catalog, self.options, &objects)?;
            extensions::name_missing(self, &mut plan, log);
            if !plan.misfits.is_empty() {
                return Err(plan.misfit_failure());
            }
            for note in std::mem::take(&mut plan.notes) {
                self.events.warn(note.clone());
                log.warnings.push(note);
            }
            // What an extension has brought is not too much, and what it has otherwise is to be as archived.
            for table in &mut plan.tables {
                (table.mode, table.counts_live_only) = (super::Mode::Upsert, false);
            }
            let (brought, own) = plan.tables.into_iter().partition(|t: &TablePlan| t.extension.is_some());
            plan.tables = own;
            extensions::merge(self, &catalog, brought, log).await?;
            for table in plan.tables.iter().chain(&plan.large_objects) {
                log.before_counts.insert(table.shown.clone(), 0);
            }
            let loaded = load::all(self, &sessions, &plan, &catalog, &after).await?;
            for (table, rows, seconds) in loaded {
                log.after_counts.insert(table.clone(), rows);
                let outcome = TableOutcome { inserted: rows, seconds, ..TableOutcome::default() };
                log.tables_restored.insert(table, outcome);
            }
            client.batch_execute(&self.begin()).await?;
            let mut applied = Applied::default();
            sequences::apply(client, &plan.sequences, super::Mode::Exact, &mut applied).await?;
            client.batch_execute("COMMIT").await?;
            log.sequences_set = applied.set.into_iter().collect();
        } else {
            self.events.emit(Event::Started { phase: Phase::Finish, total_bytes: 0 });
        }
        after.rest(self, &sessions).await?;
        // With everything in place: what reads tables under other roles' privileges, and what would act upon the rest.
        let left = self.options.objects.style.left.clone();
        if let Some(left) = left.clone() {
            self.session.on_notice(Arc::new(move |notice| left.hear(&notice.sqlstate)));
        }
        self.privileges(log).await?;
        self.define(|o| o.kind.is_last() && o.kind != Kind::EventTrigger).await?;
        self.complete(log).await?;
        if let Some(left) = left {
            log.statements_left = left.take();
        }
        client
            .batch_execute(
                "RESET synchronous_commit; RESET maintenance_work_mem; SELECT pg_catalog.set_config('pgkeep.search_path', '', false)",
            )
            .await?;
        // The transactions before it were not waited for; this one is, and with it all before it.
        client.batch_execute("BEGIN; SELECT pg_catalog.pg_current_xact_id(); COMMIT").await?;
        let new = || self.objects.iter().filter(|o| !self.is_there(o));
        log.objects_created = new().count() as u64 - apply::unmade(new(), &log.statements_left);
        log.verified = true;
        log.sum();
        Ok(())
    }

    /// Makes what would act upon all that was made before it, asks the user's own checks, and no longer says how far this has
    /// come: all in one transaction, so that until then the restore can be resumed.
    async fn complete(&self, log: &mut RestoreLog) -> Result<(), Failure> {
        let client = &self.session.client;
        let watching: Vec<&Object> = self.objects.iter().filter(|o| o.kind == Kind::EventTrigger).collect();
        client.batch_execute(&self.begin()).await?;
        self.ledger.remove(client).await?;
        self.make_batch(client, &watching).await?;
        client.batch_execute("SET LOCAL ROLE NONE").await?;
        checks::run(self.session, self.options, self.events, log).await?;
        Ok(client.batch_execute("COMMIT").await?)
    }

    /// Where nothing else says what the application's path is, what its archived database said: functions that checks
    /// and indexes call may need it, and the database itself gets it last.
    async fn take_archived_path(&self, session: &Session) -> Result<(), Failure> {
        let database = self.archive.header().schema.as_ref().and_then(|s| s.database.as_ref());
        let path = database.and_then(|d| d.alter.iter().find(|what| what.starts_with("SET search_path TO ")));
        let Some(path) = path else { return Ok(()) };
        let client = &session.client;
        let own = "SELECT s.source IN ('default', 'configuration file')
                     FROM pg_catalog.pg_settings s WHERE s.name = 'search_path'";
        if !client.query_typed(own, &[]).await?[0].get::<_, bool>(0) {
            return Ok(());
        }
        let path = path.replacen("SET ", "SET LOCAL ", 1);
        let keep = "SELECT pg_catalog.set_config('pgkeep.search_path', pg_catalog.current_setting('search_path'), false)";
        Ok(client.batch_execute(&format!("BEGIN; {path}; {keep}; COMMIT")).await?)
    }

    fn is_there(&self, object: &Object) -> bool {
        self.there.contains_key(&object.identity)
    }

    /// Begins a transaction with the settings under which objects are made.
    fn begin(&self) -> String {
        let role = match &self.options.objects.style.role {
            Some(role) => format!("SET LOCAL ROLE {};", crate::schema::script::ident(role)),
            None => String::new(),
        };
        format!(
            "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; {} {} {role}",
            settings::statements(self.session.server_version_num),
            apply::SETTINGS
        )
    }

    /// Makes those objects that `which` chooses, in order, over the leading connection.
    async fn define(&self, which: impl Fn(&Object) -> bool) -> Result<(), Failure> {
        let client = &self.session.client;
        let is_due = |o: &&Object| which(o) && !self.ledger.has(Step::Made, o);
        let chosen: Vec<&Object> = self.objects.iter().filter(is_due).collect();
        let phase = Phase::Define;
        self.events.emit(Event::Started { phase, total_bytes: 0 });
        for batch in chosen.chunks(BATCH) {
            client.batch_execute(&self.begin()).await?;
            self.make_batch(client, batch).await?;
            self.ledger.note(client, Step::Made, batch).await?;
            client.batch_execute("COMMIT").await?;
        }
        self.events.emit(Event::Finished { phase });
        Ok(())
    }

    /// Makes objects in the transaction that is open; of those that are there already only what is about them.
    async fn make_batch(&self, client: &Client, batch: &[&Object]) -> Result<(), Failure> {
        let style = &self.options.objects.style;
        for object in batch {
            if let Some(live) = self.there.get(&object.identity) {
                change::adjust(client, object, live, style).await?;
            }
        }
        let new: Vec<&Object> = batch.iter().copied().filter(|o| !self.is_there(o)).collect();
        apply::run(client, &new, What::Definition, style).await
    }

    /// Takes one step with these objects, in the transaction that is open, but for those with which it was taken before.
    async fn take_step(&self, client: &Client, objects: &[&Object], step: Step) -> Result<(), Failure> {
        let due: Vec<&Object> = objects.iter().copied().filter(|o| !self.ledger.has(step, o)).collect();
        apply::run(client, &due, step.what(), &self.options.objects.style).await?;
        self.ledger.note(client, step, &due).await
    }

    async fn privileges(&self, log: &mut RestoreLog) -> Result<(), Failure> {
        let client = &self.session.client;
        let is_due =
            |o: &&Object| !o.privileges.is_empty() && !self.is_there(o) && !self.ledger.has(Step::Granted, o);
        let chosen: Vec<&Object> = self.objects.iter().filter(is_due).collect();
        for batch in chosen.chunks(BATCH) {
            client.batch_execute(&self.begin()).await?;
            for warning in apply::grant(client, batch, &self.options.objects.style).await? {
                self.events.warn(warning.clone());
                log.warnings.push(warning);
            }
            self.ledger.note(client, Step::Granted, batch).await?;
            client.batch_execute("COMMIT").await?;
        }
        Ok(())
    }
}

/// The tables that an object's statements lock, as positions of their objects; partitions count as the table that they
/// belong to.
fn tables_of(objects: &[Object], roots: &[usize], at: usize) -> HashSet<usize> {
    let object = &objects[at];
    let mut tables = HashSet::new();
    let mut add = |n: usize| {
        if matches!(objects[n].kind, Kind::Table | Kind::ForeignTable | Kind::MaterializedView) {
            tables.insert(roots[n]);
        }
    };
    for need in &object.needs {
        let need = *need as usize;
        add(need);
        if matches!(objects[need].kind, Kind::Constraint | Kind::Index) {
            objects[need].needs.iter().for_each(|n| add(*n as usize));
        }
    }
    tables
}
