//! Fills the scratch database as a restore does, and holds what came of it against the archive.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::parts::Parts;
use super::scratch::Scratch;
use super::{Marks, ObjectDifference, Rehearsal, RehearseOptions};
use crate::archive::reader::Archive;
use crate::check;
use crate::compare::live;
use crate::connection::lead;
use crate::failure::Failure;
use crate::folders::Folders;
use crate::postgres::catalog::Catalog;
use crate::postgres::connect::Session;
use crate::postgres::{ddl, quote, settings};
use crate::progress::{Events, Phase};
use crate::restore::log::RestoreLog;
use crate::restore::objects::apply::{self, What};
use crate::restore::objects::plan::ObjectPlan;
use crate::restore::objects::{ObjectOptions, secrets};
use crate::restore::plan::RestorePlan;
use crate::restore::preference::{Preference, Preferences};
use crate::restore::prepare::prepare_proven;
use crate::restore::rebuild::Rebuild;
use crate::restore::rebuild::ledger::Ledger;
use crate::restore::{Mode, RestoreOptions, sequences};
use crate::schema::compare::compare;
use crate::schema::script::Style;
use crate::schema::{Kind, Object};

/// What the proof works with.
pub struct Proof<'a> {
    /// The database.
    pub scratch: &'a Scratch,
    /// For the comparison, which writes no file.
    pub folders: &'a Folders,
    /// The archive, proven whole.
    pub archive: &'a Arc<Archive>,
    /// What is asked for.
    pub options: &'a RehearseOptions,
    /// The restore that is rehearsed.
    pub restore: RestoreOptions,
    /// Listener.
    pub events: &'a Events,
    /// Stops the work.
    pub cancel: &'a CancellationToken,
}

impl Proof<'_> {
    /// Restores, compares and runs the checks. What is not as it should be is in the report; an error is a restore that
    /// failed.
    pub async fn prove(&self, parts: &Parts, report: &mut Rehearsal) -> Result<(), Failure> {
        let there = self.fill(parts, report).await?;
        self.compare_rows(report).await?;
        let not_there = parts.not_there(self.archive.header());
        report.differences.failed.retain(|name, _| !not_there.contains(name));
        let session = lead(&self.scratch.connector, self.events, self.cancel).await?;
        self.compare_definitions(&session, parts, &there, report).await?;
        if !parts.tried.is_empty() {
            self.try_out(&session, parts, report).await?;
        }
        if !self.options.checks.is_empty() {
            self.check(&session, report).await?;
        }
        Ok(())
    }

    /// Restores. Returns the identities of what every new database has.
    async fn fill(&self, parts: &Parts, report: &mut Rehearsal) -> Result<HashSet<String>, Failure> {
        let since = Instant::now();
        let session = lead(&self.scratch.connector, self.events, self.cancel).await?;
        let client = &session.client;
        let there = self.definitions(&session).await?;
        let there: HashMap<String, Object> = there.into_iter().map(|o| (o.identity.clone(), o)).collect();
        let marks = Marks::new(self.events);
        let target = self.scratch.connector.info().redacted();
        let mut log = RestoreLog::new("rehearsal", Mode::Upsert, target, report.file.clone());
        Rebuild {
            session: &session,
            connector: &self.scratch.connector,
            archive: self.archive,
            options: &self.restore,
            objects: &parts.made,
            there: &there,
            events: &Events::new(marks.clone()),
            cancel: self.cancel,
            file: None,
            ledger: &Ledger::new(&parts.made, &self.restore, None),
        }
        .fill(&mut Vec::new(), &mut log)
        .await?;
        report.warnings.append(&mut log.warnings);
        let failed = log.tables_failed.into_iter().map(|failed| (failed.table, failed.error));
        report.differences.failed.extend(failed);
        let loading = marks.of(Phase::Load).unwrap_or(since);
        let finishing = marks.of(Phase::Finish).unwrap_or(loading);
        for (name, from, to) in [
            ("definitions made", since, loading),
            ("rows brought in", loading, finishing),
            ("indexes, constraints and the rest made", finishing, Instant::now()),
        ] {
            let seconds = super::rounded((to - from).as_secs_f64());
            report.steps.push(super::Step { name, seconds });
        }
        if let Some(like) = self.archive.header().schema.as_ref().and_then(|s| s.database.as_ref()) {
            for refused in self.scratch.take_settings(client, like).await? {
                report.warn(self.events, refused);
            }
        }
        let size = "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())";
        report.database_bytes = client.query_typed(size, &[]).await?[0].get::<_, i64>(0).max(0) as u64;
        Ok(there.into_keys().collect())
    }

    /// Every row, and every sequence.
    async fn compare_rows(&self, report: &mut Rehearsal) -> Result<(), Failure> {
        let since = Instant::now();
        let options = RestoreOptions {
            mode: Mode::Exact,
            preferences: self.preferences()?,
            keep_going: true,
            dry_run: true,
            compares: true,
            objects: ObjectOptions { data: true, ..ObjectOptions::default() },
            ..self.restore.clone()
        };
        let (connector, archive) = (&self.scratch.connector, self.archive.clone());
        let prepared =
            prepare_proven(connector, self.folders, archive, options, self.events, self.cancel).await?;
        let (_, comparison) = live::compare(prepared, self.events, self.cancel).await?;
        report.tables = comparison.tables.len() as u64;
        report.rows = comparison.tables.values().map(|table| table.unchanged).sum();
        let differing = comparison.tables.into_iter().filter(|(_, table)| !table.is_none());
        report.differences.tables = differing.collect();
        let missing = comparison.only_here.into_iter().map(|table| (table, "it was not made".to_owned()));
        for (table, reason) in comparison.failed.into_iter().chain(missing) {
            // The restore has said why already.
            report.differences.failed.entry(table).or_insert(reason);
        }
        report.step("rows compared with the archive", since);
        Ok(())
    }

    /// Tables of extensions may hold rows of the extension's own, which no archive has.
    fn preferences(&self) -> Result<Preferences, Failure> {
        let mut preferences = Preferences::default();
        let tables = self.archive.header().tables.iter();
        let wanted = |schema: &str, name: &str| self.options.filter.wants(schema, name);
        for table in tables.filter(|t| t.extension.is_some() && wanted(&t.schema, &t.name)) {
            let preference = Preference { mode: Some(Mode::Upsert), ..Preference::default() };
            preferences
                .add(&quote::qualified(&table.schema, &table.name), preference)
                .map_err(|e| Failure::failed(e.to_string()))?;
        }
        Ok(preferences)
    }

    async fn compare_definitions(
        &self,
        session: &Session,
        parts: &Parts,
        there: &HashSet<String>,
        report: &mut Rehearsal,
    ) -> Result<(), Failure> {
        let since = Instant::now();
        let (mut live, mut archived) = (self.definitions(session).await?, parts.made.clone());
        if !is_asked_for("privileges", &self.options.style) {
            // They are nothing else.
            let is_more =
                |object: &Object| !matches!(object.kind, Kind::Privileges | Kind::DefaultPrivileges);
            live.retain(is_more);
            archived.retain(is_more);
        }
        if self.options.style.no_tablespaces {
            archived.iter_mut().for_each(|object| object.tablespace = None);
        }
        let comparison = compare(&archived, &live);
        let differing = &mut report.differences.objects;
        let mut add = |identity: &str, what: String| {
            differing.push(ObjectDifference { identity: identity.to_owned(), what });
        };
        comparison.removed.iter().for_each(|o| add(&o.identity, "missing".to_owned()));
        let new = comparison.added.iter().filter(|o| !there.contains(&o.identity));
        new.for_each(|o| add(&o.identity, "not in the archive".to_owned()));
        let mut same = comparison.same;
        for change in &comparison.changed {
            let what: Vec<&str> =
                change.what.iter().copied().filter(|what| is_asked_for(what, &self.options.style)).collect();
            match what.as_slice() {
                [] => same += 1,
                what => add(&change.new.identity, what.join(", ")),
            }
        }
        report.objects = same as u64;
        self.compare_sequences(session, report).await?;
        report.step("definitions and sequences compared", since);
        Ok(())
    }

    async fn compare_sequences(&self, session: &Session, report: &mut Rehearsal) -> Result<(), Failure> {
        let client = &session.client;
        begin_reading(session).await?;
        let catalog = Catalog::read(client).await?;
        let plan = RestorePlan::new(self.archive, &catalog, &self.restore, &ObjectPlan::default())?;
        report.differences.sequences = sequences::differing(client, &plan.sequences).await?;
        Ok(client.batch_execute("ROLLBACK").await?)
    }

    /// Makes what would act, and takes it back before it can.
    async fn try_out(&self, session: &Session, parts: &Parts, report: &mut Rehearsal) -> Result<(), Failure> {
        let (since, client) = (Instant::now(), &session.client);
        let fixed = settings::statements(session.server_version_num);
        client.batch_execute(&format!("BEGIN READ WRITE; {fixed} {}", apply::SETTINGS)).await?;
        let tried: Vec<&Object> = parts.tried.iter().collect();
        apply::run(client, &tried, What::Definition, &self.options.style).await?;
        client.batch_execute("ROLLBACK").await?;
        report.step("objects that would act made and taken back", since);
        Ok(())
    }

    async fn check(&self, session: &Session, report: &mut Rehearsal) -> Result<(), Failure> {
        let (since, client, version) = (Instant::now(), &session.client, session.server_version_num);
        client.batch_execute(&check::begin(version)).await?;
        report.checks = check::run(client, version, &self.options.checks, self.options.limits).await?;
        client.batch_execute("ROLLBACK").await?;
        report.step("checks run", since);
        Ok(())
    }

    async fn definitions(&self, session: &Session) -> Result<Vec<Object>, Failure> {
        let (client, version) = (&session.client, session.server_version_num);
        begin_reading(session).await?;
        let schema = ddl::read_with(client, version, secrets(self.archive.header())).await?;
        client.batch_execute("ROLLBACK").await?;
        Ok(schema.objects)
    }
}

/// Whether a part of objects is to be as archived. Privileges are said from what an owner has.
fn is_asked_for(what: &str, style: &Style) -> bool {
    match what {
        "owner" => !style.no_owner,
        "privileges" => !style.no_owner && !style.no_privileges,
        _ => true,
    }
}

async fn begin_reading(session: &Session) -> Result<(), Failure> {
    let fixed = settings::statements(session.server_version_num);
    Ok(session
        .client
        .batch_execute(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {fixed}"))
        .await?)
}
