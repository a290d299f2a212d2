//! Large objects within one try at the restoring transaction.

use std::collections::BTreeMap;

use super::Staged;
use crate::failure::Failure;
use crate::postgres::catalog::Catalog;
use crate::progress::{Event, Phase};
use crate::restore::attempt::Attempt;
use crate::restore::log::RestoreLog;
use crate::restore::objects;
use crate::restore::plan::RestorePlan;
use crate::schema::{Kind, Object};

impl Attempt<'_> {
    /// Stages large objects. No lock keeps others from writing them, so this comes before the safety backup: what
    /// changes from here on is noticed.
    pub(in crate::restore) async fn stage_large_objects(
        &self,
        catalog: &Catalog,
        plan: &RestorePlan,
        log: &mut RestoreLog,
    ) -> Result<Option<Staged>, Failure> {
        let Some(table) = &plan.large_objects else { return Ok(None) };
        let client = &self.session.client;
        let total = self.archive.table_chunks(table.index).iter().map(|c| c.bytes).sum();
        self.events.emit(Event::Started { phase: Phase::Load, total_bytes: total });
        client.batch_execute("SAVEPOINT pgkeep_stage").await?;
        let (archive, writes, server) = (self.archive, !self.options.compares, &catalog.server);
        let staged = Staged::new(client, archive, table, writes, server, self.events).await;
        self.events.emit(Event::Finished { phase: Phase::Load });
        match staged {
            Ok(staged) => {
                client.batch_execute("RELEASE SAVEPOINT pgkeep_stage").await?;
                Ok(Some(staged))
            }
            Err(failure) if self.goes_on_after(&failure) => {
                client
                    .batch_execute("ROLLBACK TO SAVEPOINT pgkeep_stage; RELEASE SAVEPOINT pgkeep_stage")
                    .await?;
                self.fail_table(log, &table.shown, &failure.what);
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Writes large objects; the reason where they have to be left out.
    pub(in crate::restore) async fn write_large_objects(
        &self,
        large: &mut Staged,
        log: &RestoreLog,
        after: &mut BTreeMap<String, u64>,
    ) -> Result<(), Failure> {
        let objects = match large.difference.archived_only {
            0 => Vec::new(),
            _ => objects::chosen(self.archive.header(), self.options, self.session.server_version_num),
        };
        let definitions: Vec<Object> = objects.into_iter().filter(|o| o.kind == Kind::LargeObject).collect();
        let style = &self.options.objects.style;
        let now = large.write(&self.session.client, &definitions, style).await?;
        let before = log.before_counts.get(&large.table.shown).copied().unwrap_or_default();
        large.check_counts(before, now)?;
        after.insert(large.table.shown.clone(), now);
        Ok(())
    }
}
