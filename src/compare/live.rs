//! What differs between the rows of an archive and those of a database, as a dry run compares them.

use tokio_util::sync::CancellationToken;

use super::Comparison;
use crate::failure::Failure;
use crate::progress::Events;
use crate::restore::fit::NO_TABLE;
use crate::restore::prepare::Prepared;

/// Compares: the restore was prepared to be a dry run that does nothing else. Returns the database's URL without its
/// password, too.
pub async fn compare(
    prepared: Prepared,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(String, Comparison), Failure> {
    let only_there = prepared.others.clone();
    let outcome = prepared.execute(events, cancel).await?;
    if let Some(failure) = outcome.failure {
        return Err(failure);
    }
    let log = outcome.log;
    let (missing, failed): (Vec<_>, Vec<_>) =
        log.tables_failed.into_iter().partition(|failed| failed.error == NO_TABLE);
    let comparison = Comparison {
        tables: log.tables,
        failed: failed.into_iter().map(|failed| (failed.table, failed.error)).collect(),
        only_here: missing.into_iter().map(|failed| failed.table).collect(),
        only_there,
    };
    Ok((log.target, comparison))
}
