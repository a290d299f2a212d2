//! What a try says of a repair: why rows are restored, and what stays broken.

use super::{Attempt, Staged};
use crate::failure::Failure;
use crate::postgres::catalog::Catalog;
use crate::restore::log::{Repaired, RestoreLog};
use crate::restore::plan::TablePlan;
use crate::restore::repair::ByReason;
use crate::restore::verify::{self, Violation};
use crate::restore::{compare, repair, report, stage};

impl Attempt<'_> {
    /// Counts, when all tables are compared and nothing is written yet, what is repaired for which reason, and what cannot be; and
    /// describes the rows, as many as are to be shown.
    pub(super) async fn tell_repairs(
        &self,
        staged: &mut [Staged],
        log: &mut RestoreLog,
    ) -> Result<(), Failure> {
        if self.options.repair.is_none() {
            return Ok(());
        }
        let client = &self.session.client;
        client.batch_execute(stage::BUILT_IN_FIRST_PATH).await?;
        let mut compared: Vec<TablePlan> = Vec::new();
        for table in staged.iter().map(|s| &s.table) {
            if repair::is_compared(client, table).await? {
                compared.push(table.clone());
            }
        }
        let compared: Vec<&TablePlan> = compared.iter().collect();
        log.repairs.clear();
        for at in staged.iter_mut() {
            self.spare(at, &compared).await?;
        }
        for at in staged.iter() {
            let table = &at.table;
            let told = async {
                let found = match at.difference.archived_only {
                    _ if at.difference.is_none() => ByReason::new(),
                    // Without a key there is no other reason.
                    missing if !table.chooses() => [(repair::MISSING.to_owned(), missing)].into(),
                    _ => repair::found(client, table).await?,
                };
                Ok(Repaired { found, left: repair::left(client, table, &compared).await? })
            };
            let told: Result<Repaired, tokio_postgres::Error> = told.await;
            let told = told.map_err(|e| {
                Failure::from_server(&e)
                    .while_doing(format!("looking for broken rows of table {}", table.shown))
            })?;
            if !told.found.is_empty() || !told.left.is_empty() {
                log.repairs.insert(table.shown.clone(), told);
            }
        }
        client.batch_execute("SET LOCAL search_path = ''").await?;
        // A dry run describes all tables later.
        if !self.options.dry_run && self.options.samples > 0 {
            for at in staged.iter().filter(|s| !s.difference.is_none()) {
                let outcome = super::outcome(at);
                let described =
                    report::describe(client, &at.table, &at.compared, &outcome, self.options.samples).await?;
                log.tables.insert(at.table.shown.clone(), described);
            }
        }
        Ok(())
    }

    /// Leaves alone rows that refer to such as come back.
    async fn spare(&self, at: &mut Staged, compared: &[&TablePlan]) -> Result<(), Failure> {
        let client = &self.session.client;
        if at.difference.different == 0 {
            return Ok(());
        }
        let spared = repair::spare(client, &at.table, compared).await?;
        if spared > 0 {
            at.difference = compare::listed(client, &at.table).await?;
            at.compared.difference = at.difference;
            at.rows = at.rows.saturating_sub(spared);
        }
        Ok(())
    }

    /// Whether rows that refer to none were so before and could not be repaired, as was told: then a repair leaves them so.
    pub(super) async fn was_told(
        &self,
        catalog: &Catalog,
        violation: &Violation,
        log: &RestoreLog,
    ) -> Result<bool, Failure> {
        let Some(name) = violation.foreign_key.as_ref().filter(|_| self.options.repair.is_some()) else {
            return Ok(false);
        };
        let constraint = catalog.constraints_of(violation.table).find(|c| c.name == *name);
        let key = constraint.and_then(|c| c.foreign_key.as_ref());
        let (Some(child), Some(parent)) =
            (catalog.relation(violation.table), catalog.relation(violation.other))
        else {
            return Ok(false);
        };
        let Some(key) = key else { return Ok(false) };
        let told = log.repairs.get(&child.shown());
        let told = told.and_then(|r| r.left.get(&repair::refers_to_none_name(name, parent))).copied();
        let sql = format!("SELECT pg_catalog.count(*) FROM {}", verify::violating(child, parent, key));
        let now = self.session.client.query_typed(&sql, &[]).await?[0].get::<_, i64>(0) as u64;
        Ok(now <= told.unwrap_or_default())
    }
}
