//! Rows of tables that extensions bring. Such a table is there when its extension is, and may hold rows already: the
//! archived ones are merged into them.
//!
//! What an extension makes for its users later on (a queue's table) does not come with it. Nobody but the extension
//! knows how to make it, so that its rows cannot be restored: it is named, and the restore is one in part.

use std::collections::HashSet;
use std::time::Instant;

use super::Rebuild;
use crate::archive::model::Header;
use crate::failure::{Failure, FailureKind};
use crate::postgres::catalog::Catalog;
use crate::restore::compare::{self, Difference};
use crate::restore::equal::Rest;
use crate::restore::log::{RestoreLog, TableFailure, TableOutcome};
use crate::restore::merge::{self, Step};
use crate::restore::plan::{RestorePlan, TablePlan};
use crate::restore::{foreign_keys, stage, triggers, verify};
use crate::schema::script::ident;

/// Tells what of extensions the target does not have as the archive has it, and takes it out of the plan's misfits.
pub fn name_missing(rebuild: &Rebuild<'_>, plan: &mut RestorePlan, log: &mut RestoreLog) {
    let brought = brought(rebuild.archive.header());
    let (missing, others) =
        std::mem::take(&mut plan.misfits).into_iter().partition(|(name, _)| brought.contains(name));
    plan.misfits = others;
    for (name, reason) in missing {
        let error = format!("{reason}; its extension brings it, or has to be asked to make it");
        let warning = format!("{name} is not restored: {error}");
        rebuild.events.warn(warning.clone());
        log.warnings.push(warning);
        log.tables_failed.push(TableFailure { table: name, error });
    }
}

/// Names of the archive's tables and sequences that extensions bring.
fn brought(header: &Header) -> HashSet<String> {
    let tables = header.tables.iter().filter(|t| t.extension.is_some()).map(|t| t.shown());
    let sequences = header.sequences.iter().filter(|s| s.extension.is_some()).map(|s| s.shown());
    tables.chain(sequences).collect()
}

/// Merges the archived rows of `tables` into what is there, all in one transaction.
pub async fn merge(
    rebuild: &Rebuild<'_>,
    catalog: &Catalog,
    tables: Vec<TablePlan>,
    log: &mut RestoreLog,
) -> Result<(), Failure> {
    if tables.is_empty() {
        return Ok(());
    }
    let client = &rebuild.session.client;
    client.batch_execute(&rebuild.begin()).await?;
    let replica_role = triggers::set_replica_role(client).await?;
    let before = verify::counts(client, &tables).await?;
    client.batch_execute(stage::BUILT_IN_FIRST_PATH).await?;
    let mut staged = Vec::new();
    for table in &tables {
        let started = Instant::now();
        let rest = Rest::whole(rebuild.archive, table);
        let rows = rest.chunks.iter().map(|c| c.rows).sum::<u64>();
        stage::fill(client, rebuild.archive, table, rest.chunks, rebuild.events).await?;
        let difference = compare::compare(client, table, &rest.live).await?.difference;
        staged.push((table, rows, difference, started.elapsed().as_secs_f64()));
    }
    client.batch_execute("SET LOCAL search_path = ''").await?;
    let written = || staged.iter().filter(|(_, _, d, _)| !d.is_none());
    let tables_written: Vec<TablePlan> = written().map(|(t, ..)| (*t).clone()).collect();
    let plan = RestorePlan { tables: tables_written, ..RestorePlan::default() };
    let held = triggers::hold(client, catalog, &plan, replica_role).await?;
    log.triggers_held_by = Some(held.way.describe().to_owned());
    // Nobody has seen an extension whose tables form a chain and belong to somebody else: no order is made here.
    if let Some((key, _)) = held.keys.iter().find(|(_, way)| **way != foreign_keys::Way::TakenOff) {
        let role = &catalog.server.role;
        let what =
            format!("role {role} can neither set session_replication_role nor take off foreign key {key}");
        return Err(
            Failure::new(FailureKind::Access, what).next("connect as the table's owner or a superuser")
        );
    }
    for (table, _, difference, _) in written() {
        merge::apply(client, table, difference, Step::Replace, &[])
            .await
            .map_err(|e| Failure::from_server(&e).while_doing(format!("table {}", table.shown)))?;
    }
    let after = verify::counts(client, &tables).await?;
    for (table, rows, difference, seconds) in staged {
        let at = |counts: &std::collections::BTreeMap<String, u64>| counts.get(&table.shown).copied();
        let (was, is) = (at(&before).unwrap_or_default(), at(&after).unwrap_or_default());
        verify::table(client, table, &table.from_item, was, is, difference).await?;
        log.before_counts.insert(table.shown.clone(), was);
        log.after_counts.insert(table.shown.clone(), is);
        log.tables_restored.insert(table.shown.clone(), outcome(rows, difference, seconds));
    }
    if let Some(violation) = verify::constraints(client, catalog, &plan, replica_role).await?.pop() {
        return Err(Failure::failed(violation.what));
    }
    held.release(client, catalog).await?;
    Ok(client.batch_execute("COMMIT").await?)
}

fn outcome(rows: u64, difference: Difference, seconds: f64) -> TableOutcome {
    let Difference { archived_only, different, .. } = difference;
    TableOutcome {
        inserted: archived_only,
        updated: different,
        unchanged: rows.saturating_sub(archived_only + different),
        seconds,
        ..TableOutcome::default()
    }
}

/// Tables of extensions that were there before, into which rows have been merged: removing what was made does not undo
/// that.
pub fn altered(rebuild: &Rebuild<'_>, log: &RestoreLog) -> Vec<String> {
    let was_there =
        |extension: &String| rebuild.there.contains_key(&format!("EXTENSION {}", ident(extension)));
    let tables = rebuild.archive.header().tables.iter();
    let of_those = tables.filter(|t| t.extension.as_ref().is_some_and(was_there));
    let written = |name: &String| log.tables_restored.get(name).is_some_and(|t| t.inserted + t.updated > 0);
    of_those.map(|t| t.shown()).filter(written).collect()
}

/// Says that rows were left in those tables.
pub fn say_altered(failure: Failure, altered: &[String], log: &RestoreLog) -> Failure {
    if altered.is_empty() {
        return failure;
    }
    let state = format!(
        "{}; but extensions that were there keep the rows that were merged into their tables: {}",
        failure.state,
        altered.join(", ")
    );
    let next = match &log.safety_backup_file {
        Some(file) => format!("put them back with: pgkeep rollback {file}"),
        None => failure.next.clone(),
    };
    Failure { kind: FailureKind::NotPutBack, state, next, ..failure }
}
