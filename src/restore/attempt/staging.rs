//! Archived rows of a try are staged beside the live ones and compared with them, unless they are known to be equal; and
//! what came of it is proven before the commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::side_by_side::{self, Done, Shared, Todo};
use super::{Attempt, Staged, count};
use crate::failure::Failure;
use crate::postgres::catalog::Catalog;
use crate::postgres::connect::Session;
use crate::progress::{Event, Phase};
use crate::restore::equal::{self, Ranges, Rest};
use crate::restore::log::RestoreLog;
use crate::restore::objects::plan::ObjectPlan;
use crate::restore::plan::{RestorePlan, TablePlan};
use crate::restore::reading::{self, Reader, Reading};
use crate::restore::staging_schema::{self, StagingSchema};
use crate::restore::{entity, stage, triggers, verify};

/// What a worker's session is set to: connections are what is shared out, whatever the server would do on its own; and
/// tables are what the server's defaults make, wherever the role's own go.
const WORKER: &str = "SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL default_tablespace = '';
    SET LOCAL default_table_access_method = heap; SET LOCAL client_min_messages = warning;";
/// `work_mem` of all workers together; of each, half of it at most.
const WORKERS_MEGABYTES: usize = 128;

impl Attempt<'_> {
    /// Reads the live tables where no safety backup has done so.
    pub(super) async fn read_live(
        &self,
        catalog: &Catalog,
        plan: &RestorePlan,
    ) -> Result<Arc<Reading>, Failure> {
        let (by, jobs) = (self.reader(catalog), self.options.jobs);
        Ok(Arc::new(reading::take(&by, self.connector, plan, self.archive, jobs).await?))
    }

    fn reader<'r>(&'r self, catalog: &'r Catalog) -> Reader<'r> {
        Reader { session: self.session, catalog, events: self.events, cancel: self.cancel }
    }

    /// Rows of each table: nobody can have written since they were read, so that they were counted then.
    pub(super) async fn count_before(
        &self,
        plan: &RestorePlan,
        reading: &Reading,
    ) -> Result<BTreeMap<String, u64>, Failure> {
        let known = |t: &TablePlan| reading.rows(t.relation);
        let (read, unread): (Vec<_>, Vec<_>) = plan.tables.iter().cloned().partition(|t| known(t).is_some());
        let mut counts = verify::counts(&self.session.client, &unread).await?;
        counts.extend(read.iter().filter_map(|t| Some((t.shown.clone(), known(t)?))));
        Ok(counts)
    }

    /// Finds what of the archive the target holds already, chunk by chunk.
    pub(super) async fn find_equal(
        &self,
        catalog: &Catalog,
        plan: &RestorePlan,
        objects: &ObjectPlan,
        reading: &Arc<Reading>,
    ) -> Result<HashMap<u32, Ranges>, Failure> {
        if !self.is_as_read(objects).await? {
            return Ok(HashMap::new());
        }
        let tables: Vec<TablePlan> =
            plan.tables.iter().filter(|t| !plan.fresh.contains(&t.relation)).cloned().collect();
        let (archive, reading, catalog) = (self.archive.clone(), reading.clone(), catalog.clone());
        let (threads, cancel) = (self.options.jobs, self.cancel.clone());
        let found = tokio::task::spawn_blocking(move || {
            equal::find(&archive, &tables, &reading, &catalog, threads, &cancel)
        });
        found.await.unwrap_or_else(|e| Err(Failure::failed(format!("comparing ended abnormally: {e}"))))
    }

    /// Whether the live rows are sure to be as they were read: not where tables or types have been changed since, or
    /// where functions of the database's own have been told of objects that were made.
    async fn is_as_read(&self, objects: &ObjectPlan) -> Result<bool, Failure> {
        // A dry run makes none.
        if objects.is_none() || self.options.dry_run {
            return Ok(true);
        }
        if !(objects.remove.is_empty() && objects.in_place.is_empty() && objects.adjust.is_empty()) {
            return Ok(false);
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_event_trigger)";
        Ok(!self.session.client.query_typed(sql, &[]).await?[0].get::<_, bool>(0))
    }

    /// What is to be staged: of each table what it is not known to hold already.
    pub(super) fn to_stage(
        &self,
        catalog: &Catalog,
        plan: &RestorePlan,
        mut equal: HashMap<u32, Ranges>,
    ) -> Vec<Todo> {
        let tables = plan.tables.iter().filter(|t| !plan.fresh.contains(&t.relation)).enumerate();
        tables
            .map(|(place, table)| {
                let (ranges, rest) = self.rest(catalog, table, equal.remove(&table.index));
                Todo { place, table: table.clone(), ranges, rest }
            })
            .collect()
    }

    /// More connections to stage with, where that is worth it and there may be a schema in which they do.
    pub(super) async fn stagers(
        &self,
        todo: &[Todo],
        objects: &ObjectPlan,
        replica_role: bool,
        schema: &mut Option<StagingSchema>,
    ) -> Result<Vec<Session>, Failure> {
        let connections = self.options.jobs.min(side_by_side::connections(todo));
        // Others do not see what this transaction has made.
        if connections < 2 || !objects.is_none() {
            return Ok(Vec::new());
        }
        let alone = |why: &str| self.events.detail(format!("tables are staged one after the other: {why}"));
        if let Some(why) = staging_schema::obstacle(self.session, replica_role).await? {
            alone(why);
            return Ok(Vec::new());
        }
        let workers = self.connector.workers(connections - 1, self.events).await;
        let Some(first) = workers.first() else { return Ok(workers) };
        if let Err(why) = staging_schema::make(first, self.connector, replica_role, schema).await {
            alone(&why);
            return Ok(Vec::new());
        }
        self.events.detail(format!("tables are staged over {} connections", workers.len() + 1));
        Ok(workers)
    }

    /// Stages and compares.
    pub(super) async fn stage_all(
        &self,
        todo: Vec<Todo>,
        workers: Vec<Session>,
        replica_role: bool,
        counts: &BTreeMap<String, u64>,
        log: &mut RestoreLog,
    ) -> Result<Vec<Staged>, Failure> {
        let client = &self.session.client;
        let total = todo.iter().flat_map(|t| &t.rest.chunks).map(|c| c.bytes).sum();
        self.events.emit(Event::Started { phase: Phase::Load, total_bytes: total });
        client.batch_execute(stage::BUILT_IN_FIRST_PATH).await?;
        let begin = format!(
            "{} {} {WORKER} SET LOCAL work_mem = '{}MB'; {};",
            self.begin(),
            triggers::replica_role(replica_role),
            WORKERS_MEGABYTES / workers.len().max(2),
            stage::BUILT_IN_FIRST_PATH
        );
        let shared =
            Shared::new(todo, self.archive, self.options.keep_going, begin, self.events, self.cancel);
        let mut staged = Vec::new();
        for Done { table, compared, seconds, .. } in shared.run(self.session, workers).await? {
            match compared {
                Ok((mut compared, ranges)) => staged.push(Staged {
                    difference: compared.difference,
                    ranges,
                    rows: self.archived_rows(&table).saturating_sub(compared.unchosen),
                    refused: std::mem::take(&mut compared.refused),
                    compared,
                    before: count(counts, &table.shown),
                    table,
                    seconds,
                }),
                Err(failure) => self.fail_table(log, &table.shown, &failure.what),
            }
        }
        client.batch_execute("SET LOCAL search_path = ''").await?;
        self.events.emit(Event::Finished { phase: Phase::Load });
        self.check_number(&staged)?;
        self.check_meeting(&staged)?;
        Ok(staged)
    }

    /// Refuses conditions that no row meets, neither of the archive nor, where these would go, of the target: a typing error
    /// must not look like a restore.
    fn check_meeting(&self, staged: &[Staged]) -> Result<(), Failure> {
        let chosen = staged.iter().filter(|s| s.table.chosen.is_some() && self.options.repair.is_none());
        let met = chosen.map(|s| (s.table.shown.clone(), s.rows + s.difference.live_only > 0));
        entity::check_met(&met.collect::<Vec<_>>())
    }

    /// Rows of the table in the archive.
    fn archived_rows(&self, table: &TablePlan) -> u64 {
        match &table.places {
            Some(places) => places.count(self.archive, table.index),
            None => self.archive.table_chunks(table.index).iter().map(|c| c.rows).sum(),
        }
    }

    /// What of a table is to be compared, and the ranges that are not.
    fn rest(&self, catalog: &Catalog, table: &TablePlan, ranges: Option<Ranges>) -> (Option<Ranges>, Rest) {
        let Some(mut ranges) = ranges else { return (None, Rest::whole(self.archive, table)) };
        let (archived, equal) = ranges.counts();
        let rest = ranges.rest(table, catalog);
        if archived > 0 {
            let rows: u64 = rest.chunks.iter().map(|c| c.rows).sum();
            self.events.detail(format!(
                "table {}: {equal} of {archived} chunks of the archive are in the target; {rows} rows are staged",
                table.shown
            ));
        }
        if !rest.is_part {
            return (None, Rest::whole(self.archive, table));
        }
        (Some(ranges), rest)
    }

    /// Proves that a table that was merged holds what it should.
    ///
    /// New rows may have come to pages whose rows were equal, so these are read again: where they are not as they were,
    /// they are compared like all others.
    pub(super) async fn prove(
        &self,
        catalog: &Catalog,
        reading: &Reading,
        at: &Staged,
        now: u64,
    ) -> Result<(), Failure> {
        let (client, table) = (&self.session.client, &at.table);
        let mut live = table.from_item.clone();
        if let Some(ranges) = at.ranges.as_ref().filter(|_| !at.difference.is_none()) {
            // A try without another table begins with what was staged.
            let mut ranges = ranges.clone();
            let again = reading.again(table.relation, &ranges.equal(), &self.reader(catalog)).await?;
            let again = again.ranges(table.relation).unwrap_or_default().to_vec();
            let (archive, threads, cancel) = (self.archive.clone(), self.options.jobs, self.cancel.clone());
            let proven = tokio::task::spawn_blocking(move || {
                ranges.prove(&archive, &again, threads, &cancel).map(|()| ranges)
            });
            let proven = proven.await;
            let mut ranges = proven
                .unwrap_or_else(|e| Err(Failure::failed(format!("comparing ended abnormally: {e}"))))?;
            let rest = ranges.rest(table, catalog);
            stage::add(client, self.archive, table, rest.chunks, self.events).await?;
            live = rest.live;
        }
        verify::table(client, table, &live, at.before, now, at.difference).await
    }
}
