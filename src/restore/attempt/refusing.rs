//! What a try does about rows that the target refuses, where they are left out one by one: which ones those are, what of them
//! is said, and the file that they go to.

use std::collections::{BTreeMap, HashSet};

use super::{Attempt, Refusal, Staged};
use crate::archive::file::AtomicFile;
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, ForeignKey, Relation};
use crate::postgres::error as pg;
use crate::restore::log::{LogFile, RestoreLog, RowsRefused};
use crate::restore::merge::{self, Step};
use crate::restore::refused::file::{self, OfTable};
use crate::restore::refused::{self, Refused, references};
use crate::restore::stage::BUILT_IN_FIRST_PATH;
use crate::restore::verify::Violation;

/// Reasons of a table that are said; the log has all.
const SAID: usize = 10;

/// Rows that stay and would refer to none if the rest were restored: those to which they refer cannot go.
pub(in crate::restore) struct Orphans {
    violation: Violation,
    /// By table and place.
    rows: Vec<(u32, String)>,
}

impl Attempt<'_> {
    /// Finds the rows that the target refuses in a step and sets them aside. Returns whether there were any.
    pub(in crate::restore) async fn isolate(
        &self,
        at: &mut Staged,
        step: Step,
        fixed: &[&str],
    ) -> Result<bool, Failure> {
        let client = &self.session.client;
        let most = self.most_refused().saturating_add(1);
        let found = merge::find_refused(client, &at.table, &at.difference, step, fixed, most).await?;
        let found = found.into_iter().map(|(place, error)| (place, pg::describe(&error))).collect();
        let found = refused::numbered(client, &at.table, found).await?;
        at.difference = refused::set_aside(client, &at.table, &found).await?;
        let is_any = !found.is_empty();
        at.refused.extend(found);
        self.check_number(std::slice::from_ref(at))?;
        Ok(is_any)
    }

    /// How many rows may be refused.
    fn most_refused(&self) -> u64 {
        self.options.rejects.as_ref().and_then(|rejects| rejects.most).unwrap_or(u64::MAX)
    }

    /// Gives the whole restore up where more rows are refused than may be.
    pub(super) fn check_number(&self, staged: &[Staged]) -> Result<(), Failure> {
        let most = self.most_refused();
        let number: usize = staged.iter().map(|s| s.refused.len()).sum();
        if number as u64 <= most {
            return Ok(());
        }
        let worst = staged.iter().max_by_key(|s| s.refused.len());
        let example =
            worst.and_then(|s| Some(format!(", such as of {}: {}", s.table.shown, s.refused.first()?.error)));
        let example = example.unwrap_or_default();
        Err(Failure::failed(format!("more rows are refused than --max-errors {most} allows{example}"))
            .next("remove the cause, or let more rows be left out with a larger --max-errors"))
    }

    /// Takes refused rows off the lists once more, after a pass that did so has been undone.
    pub(super) async fn set_aside_again(&self, staged: &mut [Staged]) -> Result<(), Failure> {
        self.check_number(staged)?;
        for at in staged.iter_mut().filter(|s| s.refused.iter().any(|r| r.place.is_some())) {
            at.difference = refused::set_aside(&self.session.client, &at.table, &at.refused).await?;
        }
        Ok(())
    }

    /// Finds the rows that break foreign keys; none where none is found, or rows are not left out one by one.
    pub(super) async fn refuse_rows(
        &self,
        catalog: &Catalog,
        staged: &mut [Staged],
        violations: &[Violation],
    ) -> Result<Option<Refusal>, Failure> {
        if self.options.rejects.is_none() || violations.is_empty() {
            return Ok(None);
        }
        let client = &self.session.client;
        client.batch_execute(BUILT_IN_FIRST_PATH).await?;
        let mut is_any = false;
        let mut orphans = Vec::new();
        for violation in violations {
            let Some((child, parent, key)) = key_of(catalog, violation) else { continue };
            let mut is_restored = false;
            let of_child = staged.iter_mut().filter(|s| {
                !s.difference.is_none() && references::is_related(catalog, s.table.relation, child.oid)
            });
            for at in of_child {
                let places = references::restored(client, &at.table, (child, parent), key).await?;
                let error = format!(
                    "no such row in table {} (foreign key {})",
                    parent.shown(),
                    violation.foreign_key.as_deref().unwrap_or_default()
                );
                is_restored |= add(self, at, places, &error).await?;
            }
            is_any |= is_restored;
            if !is_restored {
                let rows = references::orphans(client, child, parent, key).await?;
                orphans.push(Orphans { violation: violation.clone(), rows });
            }
        }
        client.batch_execute("SET LOCAL search_path = ''").await?;
        Ok((is_any || !orphans.is_empty()).then_some(Refusal::Rows(orphans)))
    }

    /// Before anything is written: keeps the live rows to which those refer that stay. Returns the table that has to be left
    /// out where that is not what breaks a foreign key.
    pub(super) async fn keep_referred(
        &self,
        catalog: &Catalog,
        staged: &mut [Staged],
        orphans: Vec<Orphans>,
    ) -> Result<Option<(String, Failure)>, Failure> {
        let client = &self.session.client;
        // What was found while rows were written may have made a difference.
        self.set_aside_again(staged).await?;
        client.batch_execute(BUILT_IN_FIRST_PATH).await?;
        let mut left_out = None;
        for Orphans { violation, rows } in orphans {
            let Some((child, parent, key)) = key_of(catalog, &violation) else { continue };
            let mut is_any = false;
            let of_parent = staged.iter_mut().filter(|s| {
                !s.difference.is_none() && references::is_related(catalog, s.table.relation, parent.oid)
            });
            for at in of_parent {
                let places = references::referred_to(client, &at.table, child, key, &rows).await?;
                let error = format!(
                    "rows of table {} still refer to the live row (foreign key {})",
                    child.shown(),
                    violation.foreign_key.as_deref().unwrap_or_default()
                );
                is_any |= add(self, at, places, &error).await?;
            }
            if !is_any && let Refusal::Table(table, failure) = self.violated(catalog, staged, &violation) {
                left_out = Some((table, failure));
            }
        }
        client.batch_execute("SET LOCAL search_path = ''").await?;
        Ok(left_out)
    }

    /// Says which rows were refused, and writes them to their file, which gets its name after the commit. None where none
    /// was refused.
    pub(super) async fn write_refused(
        &self,
        staged: &[Staged],
        log: &mut RestoreLog,
    ) -> Result<Option<AtomicFile>, Failure> {
        let Some(rejects) = &self.options.rejects else { return Ok(None) };
        log.rows_refused.clear();
        let mut tables: BTreeMap<u32, OfTable> = BTreeMap::new();
        for at in staged {
            let shown = &at.table.shown;
            let (refused, kept): (Vec<&Refused>, Vec<&Refused>) =
                at.refused.iter().partition(|r| r.number.is_some());
            let reasons = by_reason(&refused);
            let further = reasons.len().saturating_sub(SAID);
            for (number, (error, rows)) in reasons.into_iter().enumerate() {
                if number < SAID {
                    self.events
                        .warn(format!("table {shown}: {rows} archived {}: {error}", are(rows, "refused")));
                }
                log.rows_refused.push(RowsRefused { table: shown.clone(), rows, error });
            }
            if further > 0 {
                self.events
                    .warn(format!("table {shown}: {further} more reasons to refuse rows, see the log"));
            }
            for (error, rows) in by_reason(&kept) {
                let warning = format!("table {shown}: {rows} live {}: {error}", are(rows, "not removed"));
                self.events.warn(warning.clone());
                log.warnings.push(warning);
            }
            let rows: OfTable =
                refused.into_iter().filter_map(|r| Some((r.number?, r.error.clone()))).collect();
            if !rows.is_empty() {
                tables.insert(at.table.index, rows);
            }
        }
        if tables.is_empty() {
            return Ok(None);
        }
        let (archive, rejects) = (self.archive.clone(), rejects.clone());
        let restore_log = self.file.map(LogFile::name).unwrap_or_default();
        let backup_file = log.backup_file.clone();
        let written = tokio::task::spawn_blocking(move || {
            file::write(&archive, &rejects, &tables, restore_log, backup_file)
        });
        let written = written.await;
        written
            .unwrap_or_else(|e| Err(Failure::failed(format!("writing refused rows ended abnormally: {e}"))))
            .map(Some)
    }
}

/// Notes that listed differences are refused, by their places. Returns whether there are any that were not noted.
async fn add(attempt: &Attempt<'_>, at: &mut Staged, places: Vec<u64>, error: &str) -> Result<bool, Failure> {
    let known: HashSet<u64> = at.refused.iter().filter_map(|r| r.place).collect();
    let new = places.into_iter().filter(|place| !known.contains(place));
    let new: Vec<(u64, String)> = new.map(|place| (place, error.to_owned())).collect();
    if new.is_empty() {
        return Ok(false);
    }
    at.refused.extend(refused::numbered(&attempt.session.client, &at.table, new).await?);
    Ok(true)
}

/// The two tables of a violated foreign key.
fn key_of<'a>(
    catalog: &'a Catalog,
    violation: &Violation,
) -> Option<(&'a Relation, &'a Relation, &'a ForeignKey)> {
    let name = violation.foreign_key.as_ref()?;
    let constraint = catalog.constraints_of(violation.table).find(|c| c.name == *name)?;
    let key = constraint.foreign_key.as_ref()?;
    Some((catalog.relation(violation.table)?, catalog.relation(key.references)?, key))
}

/// How many for each reason.
fn by_reason(refused: &[&Refused]) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    for one in refused {
        *reasons.entry(one.error.clone()).or_default() += 1;
    }
    reasons
}

/// `row is refused`, `rows are refused`
fn are(rows: u64, what: &str) -> String {
    if rows == 1 { format!("row is {what}") } else { format!("rows are {what}") }
}
