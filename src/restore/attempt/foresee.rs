//! What a restore would do: everything is compared, and nothing is written but temporary tables.
//!
//! All is read under one snapshot, with the tables held against DROP, TRUNCATE and ALTER alone. Whether the target takes
//! each row, and whether foreign keys and checks hold afterwards, shows in a restore.

use std::collections::HashSet;

use super::{Attempt, Locked, Staged, going, outcome};
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, Relation, RelationKind};
use crate::postgres::error as pg;
use crate::postgres::settings;
use crate::progress::{Event, Phase};
use crate::restore::log::RestoreLog;
use crate::restore::plan::RestorePlan;
use crate::restore::{entity, large_objects, lock, report, triggers};

/// How often a changing set of tables is followed.
const ATTEMPTS: u32 = 5;

impl Attempt<'_> {
    /// Says in `log` what a restore would do. The transaction is left for the caller to end.
    pub async fn foresee(&self, log: &mut RestoreLog) -> Result<(), Failure> {
        let client = &self.session.client;
        let Locked { catalog, mut plan, objects, .. } = self.look_under_one_snapshot().await?;
        self.check(&catalog, &plan, log)?;
        entity::limit(client, &catalog, self.archive, self.options, &mut plan).await?;
        log.objects_differing = objects.differing.clone();
        let going = self.count_going(&catalog, &plan).await?;
        let large = self.stage_large_objects(&catalog, &plan, log).await?;
        let reading = self.read_live(&catalog, &plan).await?;
        log.before_counts = self.count_before(&plan, &reading).await?;
        log.before_counts.extend(going::before(&going));
        if let Some(table) = &plan.large_objects {
            log.before_counts.insert(table.shown.clone(), large_objects::count(client).await?);
        }
        let (catalog, plan, counts) = self.make_before(catalog, plan, &objects, log).await?;
        self.say_notes(&plan, log);
        if !self.options.objects.data {
            return self.make_after(&objects, &going, log).await;
        }
        let equal = self.find_equal(&catalog, &plan, &objects, &reading).await?;
        let todo = self.to_stage(&catalog, &plan, equal);
        let mut staged = self.stage_all(todo, Vec::new(), false, &counts, log).await?;
        if !self.options.compares {
            self.foresee_refusals(&catalog, &staged).await?;
        }
        self.warn_undecided(&staged, log);
        self.tell_repairs(&mut staged, log).await?;
        self.events.emit(Event::Started { phase: Phase::Merge, total_bytes: 0 });
        log.after_counts = log.before_counts.clone();
        let large = large.iter().map(|l| (&l.table, l.difference, l.outcome()));
        let tables = staged.iter().map(|s| (&s.table, s.difference, outcome(s))).chain(large);
        for (table, difference, outcome) in tables {
            let before = log.before_counts.get(&table.shown).copied().unwrap_or_default();
            let after = (before + difference.archived_only).saturating_sub(difference.live_only);
            log.after_counts.insert(table.shown.clone(), after);
            log.tables.insert(table.shown.clone(), report::of_outcome(&outcome));
            log.tables_restored.insert(table.shown.clone(), outcome);
        }
        for at in &staged {
            let shown = &at.table.shown;
            let Some(outcome) = log.tables_restored.get(shown) else { continue };
            let samples = self.options.samples;
            let described = report::describe(client, &at.table, &at.compared, outcome, samples).await?;
            log.tables.insert(shown.clone(), described);
        }
        self.events.emit(Event::Finished { phase: Phase::Merge });
        log.after_counts.retain(|table, _| !going.contains_key(table));
        self.make_after(&objects, &going, log).await?;
        // Rows of tables that are made, or that go.
        for (shown, outcome) in &log.tables_restored {
            let described = log.tables.entry(shown.clone()).or_default();
            (described.inserted, described.deleted) = (outcome.inserted, outcome.deleted);
        }
        Ok(())
    }

    /// Fails as a restore would that has something to write and may not: as far as that can be told without writing.
    async fn foresee_refusals(&self, catalog: &Catalog, staged: &[Staged]) -> Result<(), Failure> {
        let client = &self.session.client;
        let written = || staged.iter().filter(|s| !s.difference.is_none());
        let plan =
            RestorePlan { tables: written().map(|s| s.table.clone()).collect(), ..RestorePlan::default() };
        if plan.tables.is_empty() {
            return Ok(());
        }
        let replica_role = triggers::set_replica_role(client).await?;
        if let Some(failure) = triggers::would_fail(client, catalog, &plan, replica_role).await? {
            return Err(failure);
        }
        for at in written().filter(|s| s.difference.different + s.difference.live_only > 0) {
            // The server looks at the table, and fires no trigger: a published one without replica identity takes none.
            let sql = format!("EXPLAIN DELETE FROM {}", at.table.from_item);
            client.query_typed(&sql, &[]).await.map_err(|error| {
                let failure = Failure::from_server(&error);
                Failure { what: format!("table {}: {}", at.table.shown, failure.what), ..failure }
            })?;
        }
        Ok(())
    }

    /// Reads what there is under one snapshot, with the tables in question held. LOCK TABLE takes no snapshot of its own, so
    /// they are locked first: a TRUNCATE that commits meanwhile cannot make one look empty. Which ones these are is known
    /// only afterwards, so that the whole is done again until it locks what it needs.
    async fn look_under_one_snapshot(&self) -> Result<Locked, Failure> {
        let client = &self.session.client;
        let mut wanted: Vec<(u32, String)> = Vec::new();
        for _ in 0..ATTEMPTS {
            client.batch_execute(&self.begin_snapshot()).await.map_err(|e| match pg::sqlstate(&e) {
                // feature_not_supported: a standby takes no READ WRITE
                Some("0A000") => super::standby(),
                _ => e.into(),
            })?;
            match self.hold(&wanted).await {
                Ok(()) => {}
                // undefined_table, invalid_schema_name
                Err(error) if matches!(pg::sqlstate(&error), Some("42P01" | "3F000")) => {
                    client.batch_execute("ROLLBACK").await?;
                    wanted.clear();
                    continue;
                }
                Err(error) if pg::is_lock_timeout(&error) => {
                    client.batch_execute("ROLLBACK").await?;
                    let names: Vec<String> = wanted.into_iter().map(|(_, name)| name).collect();
                    return Err(lock::with_holders(
                        self.session,
                        self.connector,
                        self.events,
                        &names,
                        Failure::from_server(&error).state("the target is untouched"),
                    )
                    .await);
                }
                Err(error) => return Err(error.into()),
            }
            let catalog = Catalog::read(client).await?;
            let (objects, live) = self.plan_objects().await?;
            let plan = self.plan_rows(&catalog, &objects)?;
            let held: HashSet<u32> = wanted.iter().map(|(oid, _)| *oid).collect();
            let is_own = |r: &&Relation| r.kind != RelationKind::Foreign;
            wanted =
                plan.roots(&catalog).into_iter().filter(is_own).map(|r| (r.oid, r.from_item())).collect();
            if wanted.iter().all(|(oid, _)| held.contains(oid)) {
                return Ok(Locked { catalog, plan, objects, live });
            }
            // What it lacks is said before a lock is refused.
            self.check_permitted(&catalog, &plan)?;
            client.batch_execute("ROLLBACK").await?;
        }
        Err(Failure::failed("tables are being created and dropped faster than they can be looked at")
            .state("the target is untouched")
            .next("run it again at a quieter time, or leave the changing tables out with --exclude"))
    }

    /// Holds tables as a reader does.
    async fn hold(&self, tables: &[(u32, String)]) -> Result<(), tokio_postgres::Error> {
        for some in tables.chunks(500) {
            let names: Vec<&str> = some.iter().map(|(_, name)| name.as_str()).collect();
            let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
            self.session.client.batch_execute(&sql).await?;
        }
        self.events.holds(format!(
            "a snapshot, because of which VACUUM removes no row that has died since, and ACCESS SHARE locks on its tables ({}), for which only DROP, TRUNCATE and ALTER wait",
            tables.len()
        ));
        Ok(())
    }

    /// What begins the transaction. None of it takes the snapshot.
    fn begin_snapshot(&self) -> String {
        format!(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE; {}
             SET LOCAL lock_timeout = '{}ms'; {}",
            settings::statements(self.session.server_version_num),
            self.options.lock_timeout.as_millis(),
            super::MEMORY
        )
    }
}
