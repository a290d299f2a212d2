//! The user's own checks, of what a restore is about to commit.

use super::RestoreOptions;
use super::log::{CheckResult, RestoreLog};
use crate::check::{self, Limits};
use crate::failure::Failure;
use crate::postgres::connect::Session;
use crate::progress::Events;

/// Runs them in the transaction that is open; one that fails is the restore's failure, with `--keep-going`, too: a check
/// is about the whole, and no table can be left out to make it hold.
pub async fn run(
    session: &Session,
    options: &RestoreOptions,
    events: &Events,
    log: &mut RestoreLog,
) -> Result<(), Failure> {
    if options.checks.is_empty() {
        return Ok(());
    }
    if options.dry_run {
        let warning = "the checks are not run: a dry run leaves nothing that they could look at".to_owned();
        events.warn(warning.clone());
        log.warnings.push(warning);
        return Ok(());
    }
    events.detail(format!("running the checks: {}", options.checks.len()));
    // They wait for others no longer than anything else does: the restore's own locks are held meanwhile.
    let limits = Limits { lock_timeout: Some(options.lock_timeout), ..Limits::default() };
    let outcomes = check::run(&session.client, session.server_version_num, &options.checks, limits).await?;
    log.checks = outcomes
        .iter()
        .map(|o| CheckResult {
            name: o.name.clone(),
            passed: o.passed,
            offending_rows: o.offending_rows,
            error: o.error.clone(),
        })
        .collect();
    let Some(failure) = check::failure(&outcomes) else { return Ok(()) };
    if options.rollback {
        // A rollback puts back what was, and that may never have met the checks: to refuse would leave people with a
        // database that they want to be rid of.
        let warning = format!("{}: the rollback puts it back as it was", failure.what);
        events.warn(warning.clone());
        log.warnings.push(warning);
        return Ok(());
    }
    if options.repair.is_some() {
        // What it could repair is better than nothing; what is left is told.
        let warning = format!("{}, after the repair, too", failure.what);
        events.warn(warning.clone());
        log.warnings.push(warning);
        return Ok(());
    }
    Err(failure.next("restore other tables along, or another archive; or see the rows: restore with --safe --no-checks, run pgkeep check, and roll back"))
}
