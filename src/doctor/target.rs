//! Whether an archive can be restored into the target.

use std::sync::Arc;

use indicatif::HumanCount;

use super::{Check, Doctor, begin, count, some};
use crate::archive::reader::Archive;
use crate::failure::{Failure, FailureKind};
use crate::host::Profile;
use crate::postgres::catalog::Catalog;
use crate::restore::RestoreOptions;
use crate::restore::objects::plan::ObjectPlan;
use crate::restore::plan::RestorePlan;
use crate::restore::prepare::{Looked, look, prove};
use crate::restore::rebuild::Building;
use crate::restore::triggers::{set_replica_role, would_fail};

/// Proves the archive, and holds it against the target as a restore does before it touches anything.
pub async fn checks(
    doctor: &Doctor<'_>,
    options: &RestoreOptions,
    host: &Profile,
) -> Result<Vec<Check>, Failure> {
    let options = &options.clone().on(Arc::new(host.clone()));
    let archive = match prove(doctor.folders, options, doctor.events, doctor.cancel).await {
        Ok(archive) => archive,
        Err(failure) if failure.kind == FailureKind::Interrupted => return Err(failure),
        Err(failure) => return Ok(vec![Check::failed("archive", failure)]),
    };
    let mut checks = vec![whole(&archive), version(&archive, doctor.session.server_version_num)];
    if !doctor.connector.pooling().is_own() {
        // What is looked at is set for the session, and would stay behind; a restore is refused anyway.
        return Ok(checks);
    }
    let looked = async {
        let holding = triggers(doctor, &archive, options).await?;
        Ok::<_, Failure>((
            holding,
            look(doctor.session, doctor.connector, &archive, options, doctor.events).await?,
        ))
    };
    match looked.await {
        Ok((holding, looked)) => checks.extend(holding.into_iter().chain(restorable(looked))),
        Err(failure) if failure.kind == FailureKind::Interrupted => return Err(failure),
        Err(failure) => {
            checks.push(Check::failed("restore", failure));
            doctor.session.client.batch_execute("ROLLBACK").await?;
        }
    }
    Ok(checks)
}

/// What would keep this archive's rows from being written although they fit.
async fn triggers(
    doctor: &Doctor<'_>,
    archive: &Archive,
    options: &RestoreOptions,
) -> Result<Option<Check>, Failure> {
    let (client, version) = (&doctor.session.client, doctor.session.server_version_num);
    client.batch_execute(&begin(version)).await?;
    let catalog = Catalog::read(client).await?;
    let plan = RestorePlan::new(archive, &catalog, options, &ObjectPlan::default())?;
    let replica_role = set_replica_role(client).await?;
    let failure = would_fail(client, &catalog, &plan, replica_role).await?;
    client.batch_execute("ROLLBACK").await?;
    Ok(failure
        .map(|failure| Check::failed("holding", failure.while_doing("a restore that has a row to write"))))
}

fn whole(archive: &Archive) -> Check {
    let (header, totals) = (archive.header(), archive.totals());
    let tables = usize::try_from(totals.tables).unwrap_or_default();
    let objects = match &header.schema {
        Some(schema) => count(schema.objects.len(), "object"),
        None => "no definitions".to_owned(),
    };
    let found = format!(
        "whole: {}, {} rows, {objects}; of database {}, {}",
        count(tables, "table"),
        HumanCount(totals.rows),
        header.source.database,
        header.created_at.format("%Y-%m-%d %H:%M:%S UTC")
    );
    Check::pass("archive", found)
}

fn version(archive: &Archive, target: u32) -> Check {
    let source = &archive.header().source;
    let (from, to) = (source.server_version_num / 10_000, target / 10_000);
    let found = format!("from Postgres {from} to {to}");
    if from > to {
        let advice = "definitions that the older server does not know are refused, with their names, and all is undone; restore into Postgres of the same major version or a newer one";
        return Check::warn("versions", found, advice);
    }
    Check::pass("versions", found)
}

fn restorable(looked: Looked) -> Vec<Check> {
    if !looked.problems.is_empty() {
        return looked.problems.into_iter().map(|p| Check::failed(p.about, p.failure)).collect();
    }
    if let Some(Building { objects, .. }) = &looked.rebuild {
        let found = format!(
            "can be restored: the target holds nothing yet, and gets {}",
            count(objects.len(), "object")
        );
        return vec![Check::pass("restore", found)];
    }
    let tables = count(looked.tables.len(), "table");
    let mut found = format!("can be restored: {tables}");
    if looked.tables_with_rows.is_empty() && looked.objects_replaced.is_empty() {
        return vec![Check::pass("restore", found + ", none of which holds rows")];
    }
    if !looked.tables_with_rows.is_empty() {
        found += &format!("; rows are there already in {}", some(&looked.tables_with_rows));
    }
    if !looked.objects_replaced.is_empty() {
        found += &format!("; replaced or removed: {}", some(&looked.objects_replaced));
    }
    let advice =
        "restore with --safe, so that it can be undone; with --dry-run it says first what would change";
    vec![Check::warn("restore", found, advice)]
}
