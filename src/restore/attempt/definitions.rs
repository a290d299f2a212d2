//! What a try does about objects: plans it, and carries it out around the rows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::Attempt;
use super::going::Going;
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, Relation};
use crate::postgres::ddl;
use crate::restore::log::{RestoreLog, TableOutcome};
use crate::restore::objects::plan::ObjectPlan;
use crate::restore::objects::{self, apply, change, grants};
use crate::restore::plan::RestorePlan;
use crate::restore::{checks, lock, roles, sequences, stage, verify};
use crate::schema::{Object, Schema};

impl Attempt<'_> {
    /// How the archive's objects meet the target's; with the target's, where they had to be read.
    pub(super) async fn plan_objects(&self) -> Result<(ObjectPlan, Option<Schema>), Failure> {
        let header = self.archive.header();
        let archived = objects::chosen(header, self.options, self.session.server_version_num);
        if archived.is_empty() && !self.options.undoes_objects(header) {
            return Ok((ObjectPlan::default(), None));
        }
        let client = &self.session.client;
        let live = ddl::read_with(client, self.session.server_version_num, objects::secrets(header)).await?;
        let plan = |not: &HashSet<String>| objects::plan(header, &archived, &live, self.options, not);
        let mut plan_now = plan(&HashSet::new())?;
        if !plan_now.in_place.is_empty() {
            let tried = match change::not_in_place(client, &plan_now, self.options.dry_run).await {
                Ok(tried) => tried,
                Err(failure) => return Err(self.with_holders(&plan_now, failure).await),
            };
            if !tried.never.is_empty() || !tried.not_yet.is_empty() {
                // Removing it and making it again always does, but where a table needs it.
                let all = &tried.never | &tried.not_yet;
                plan_now = plan(&all).or_else(|_| plan(&tried.never))?;
            }
            plan_now.untried = tried.untried;
        }
        Ok((plan_now, Some(live)))
    }

    fn plan_of(&self, catalog: &Catalog, objects: &ObjectPlan) -> Result<RestorePlan, Failure> {
        RestorePlan::new(self.archive, catalog, self.options, objects)
    }

    pub(super) fn plan_rows(&self, catalog: &Catalog, objects: &ObjectPlan) -> Result<RestorePlan, Failure> {
        let plan = self.plan_of(catalog, objects)?;
        if self.options.objects.data {
            return Ok(plan);
        }
        // Definitions alone: no row is touched but those of tables that are removed.
        Ok(RestorePlan { going: plan.going, ..RestorePlan::default() })
    }

    /// Makes what stands before the rows. Returns the catalog and the plan with the tables that there are now, and how many
    /// rows those hold.
    pub(super) async fn make_before(
        &self,
        catalog: Catalog,
        plan: RestorePlan,
        objects: &ObjectPlan,
        log: &mut RestoreLog,
    ) -> Result<(Catalog, RestorePlan, BTreeMap<String, u64>), Failure> {
        let client = &self.session.client;
        if let Some(left) = self.options.objects.style.left.clone() {
            // Those of an attempt that was undone.
            left.take();
            self.session.on_notice(Arc::new(move |notice| left.hear(&notice.sqlstate)));
        }
        log.objects_replaced = objects.replaced();
        log.objects_created = objects.new_ones().count() as u64;
        log.objects_removed = objects.removed_for_good();
        if self.options.objects.with_roles
            && let Some(schema) = &self.archive.header().schema
        {
            log.roles_created = match self.options.dry_run {
                true => roles::missing(client, &schema.roles).await?.iter().map(|r| r.name.clone()).collect(),
                false => roles::make_missing(client, &schema.roles).await?,
            };
        }
        if self.options.dry_run && !objects.untried.is_empty() {
            let warning = format!(
                "not tried, because others hold it: whether {} can be replaced without what needs it",
                objects.untried.join(", ")
            );
            self.events.warn(warning.clone());
            log.warnings.push(warning);
        }
        if self.options.dry_run && !self.options.objects.data {
            self.try_definitions(objects, log).await?;
        }
        if objects.is_none() || self.options.dry_run {
            return Ok((catalog, plan, log.before_counts.clone()));
        }
        let first = self.options.rejects.is_some();
        let anew = self.sequences_anew(objects);
        let states = sequences::states(client, &anew).await?;
        if let Err(failure) = change::before_rows(client, objects, &self.options.objects.style, first).await {
            return Err(self.with_holders(objects, failure).await);
        }
        for lost in sequences::go_on(client, &states).await? {
            let warning = format!("{lost} starts anew: where it stood is out of its range now");
            self.events.warn(warning.clone());
            log.warnings.push(warning);
        }
        if !self.options.objects.data {
            return Ok((catalog, plan, BTreeMap::new()));
        }
        let catalog = Catalog::read(client).await?;
        let mut plan = self.plan_of(&catalog, &objects.done())?;
        if !plan.misfits.is_empty() && !self.options.keep_going {
            return Err(plan.misfit_failure());
        }
        let coming = objects.coming();
        let is_new = |r: &Relation| coming.contains(&(r.schema.clone(), r.name.clone()));
        // A new tree may have got old partitions, with rows in them.
        // Rows that are chosen by a condition are staged.
        let is_chosen = |r: &Relation| plan.tables.iter().any(|t| t.relation == r.oid && t.chosen.is_some());
        // And so are rows of which some may be refused.
        let is_fresh =
            |r: &&Relation| !first && is_new(r) && !is_chosen(r) && catalog.leaves(r).into_iter().all(is_new);
        plan.fresh = catalog.relations.iter().filter(is_fresh).map(|r| r.oid).collect();
        for (table, error) in std::mem::take(&mut plan.misfits) {
            if log.tables_failed.iter().all(|f| f.table != table) {
                self.fail_table(log, &table, &error);
            }
        }
        // Partitions may have come and gone.
        let counts = verify::counts(client, &plan.tables).await?;
        Ok((catalog, plan, counts))
    }

    fn warn_all(&self, warnings: Vec<String>, log: &mut RestoreLog) {
        for warning in warnings {
            self.events.warn(warning.clone());
            log.warnings.push(warning);
        }
    }

    /// Makes and changes definitions in a dry run of them alone, and takes it back. Nobody is made to wait for it.
    async fn try_definitions(&self, objects: &ObjectPlan, log: &mut RestoreLog) -> Result<(), Failure> {
        let (client, style) = (&self.session.client, &self.options.objects.style);
        client.batch_execute("SAVEPOINT pgkeep_dry_run; SET LOCAL lock_timeout = '100ms'").await?;
        let tried = async {
            change::before_rows(client, objects, style, false).await?;
            change::after_rows(client, objects, style, false).await
        };
        let tried = tried.await;
        const BACK: &str = "ROLLBACK TO SAVEPOINT pgkeep_dry_run; RELEASE SAVEPOINT pgkeep_dry_run";
        match tried {
            Err(failure) if failure.lock_timeout => {
                client.batch_execute(BACK).await?;
                let warning =
                    format!("not tried to the end, because others hold what it needs: {}", failure.what);
                self.events.warn(warning.clone());
                log.warnings.push(warning);
                Ok(())
            }
            tried => {
                self.warn_all(tried?, log);
                Ok(client.batch_execute(BACK).await?)
            }
        }
    }

    /// Sequences that are made anew and go on where they were. Those of which the archive says where they stand are as
    /// archived where they are cleaned; else they are set as the mode says.
    fn sequences_anew<'o>(&self, objects: &'o ObjectPlan) -> Vec<&'o Object> {
        let options = &self.options.objects;
        let archived = self.archive.header().sequences.iter();
        let archived: HashSet<_> = archived.map(|s| (Some(&s.schema), &s.name)).collect();
        let is_set = |o: &Object| archived.contains(&(o.schema.as_ref(), &o.name));
        objects.sequences_anew().filter(|o| !(options.clean && options.data && is_set(o))).collect()
    }

    /// Rows straight into the tables that were just made, in the archive's order.
    pub(super) async fn load_fresh(&self, plan: &RestorePlan, log: &mut RestoreLog) -> Result<(), Failure> {
        let client = &self.session.client;
        for table in plan.tables.iter().filter(|t| plan.fresh.contains(&t.relation)) {
            let started = Instant::now();
            client.batch_execute("SAVEPOINT pgkeep_load").await?;
            client.batch_execute(stage::BUILT_IN_FIRST_PATH).await?;
            let rows = match stage::copy_in(client, self.archive, table, &table.quoted, self.events).await {
                Err(failure) if self.goes_on_after(&failure) => {
                    client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_load").await?;
                    self.fail_table(log, &table.shown, &failure.what);
                    None
                }
                rows => Some(rows?),
            };
            client.batch_execute("SET LOCAL search_path = ''; RELEASE SAVEPOINT pgkeep_load").await?;
            log.after_counts.insert(table.shown.clone(), rows.unwrap_or_default());
            if let Some(inserted) = rows {
                let seconds = started.elapsed().as_secs_f64();
                let outcome = TableOutcome { inserted, seconds, ..TableOutcome::default() };
                log.tables_restored.insert(table.shown.clone(), outcome);
            }
        }
        Ok(())
    }

    /// What a dry run would insert into tables that it would make.
    fn count_coming(&self, objects: &ObjectPlan, log: &mut RestoreLog) {
        let coming = objects.coming();
        let header = self.archive.header();
        for (number, table) in (0..).zip(&header.tables) {
            let rows = match &self.options.places {
                Some(places) => places.count(self.archive, number),
                None => self.archive.totals().table_rows.get(number as usize).copied().unwrap_or_default(),
            };
            let is_coming = coming.contains(&(table.schema.clone(), table.name.clone()));
            if !is_coming || !self.options.filter.wants(&table.schema, &table.name) {
                continue;
            }
            if self.options.rows.condition(&table.schema, &table.name).is_some() {
                let warning = format!(
                    "rows of {} are not counted: the table is to be made, and which of them meet the condition is asked then",
                    table.shown()
                );
                self.events.warn(warning.clone());
                log.warnings.push(warning);
            } else {
                log.after_counts.insert(table.shown(), rows);
                let outcome = TableOutcome { inserted: rows, ..TableOutcome::default() };
                log.tables_restored.insert(table.shown(), outcome);
            }
        }
    }

    async fn with_holders(&self, objects: &ObjectPlan, failure: Failure) -> Failure {
        let relations = objects.relations();
        lock::with_holders(self.session, self.connector, self.events, &relations, failure).await
    }

    /// Makes what stands behind the rows.
    pub(super) async fn make_after(
        &self,
        objects: &ObjectPlan,
        going: &Going,
        log: &mut RestoreLog,
    ) -> Result<(), Failure> {
        let style = &self.options.objects.style;
        if !self.options.dry_run && !objects.is_none() {
            let first = self.options.rejects.is_some();
            match change::after_rows(&self.session.client, objects, style, first).await {
                Ok(warnings) => self.warn_all(warnings, log),
                Err(failure) => return Err(self.with_holders(objects, failure).await),
            }
        }
        if let Some(left) = &style.left {
            if !self.options.dry_run {
                let (client, version) = (&self.session.client, self.session.server_version_num);
                grants::check_revoked(client, version, objects, left).await?;
            }
            log.statements_left = left.take();
            log.objects_created -= apply::unmade(objects.new_ones(), &log.statements_left);
        }
        if self.options.dry_run && self.options.objects.data {
            self.count_coming(objects, log);
        }
        self.note_going(going, log);
        // A dry run holds no locks, so that nothing can be proven of what it did.
        log.verified = !self.options.dry_run;
        log.sum();
        checks::run(self.session, self.options, self.events, log).await
    }
}
