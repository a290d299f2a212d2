//! Writes the differences of all tables, and says of a table that the server refuses which row is to blame.

use std::sync::Arc;
use std::time::Instant;

use super::Mode;
use super::attempt::Refusal;
use super::attempt::{Attempt, Staged};
use super::left_on::{self, LeftOn};
use super::merge::{self, Step};
use super::plan::TablePlan;
use crate::failure::Failure;
use crate::postgres::catalog::Catalog;
use crate::postgres::error as pg;
use crate::progress::{Event, Phase};

/// What became of a step.
enum Written {
    Done,
    /// It may do when others are.
    Later,
    Not(Refusal),
}

impl Attempt<'_> {
    /// Writes every table's differences. Returns what has to be left out, with the reason.
    ///
    /// A check may read tables that come later, which no foreign key tells: what a function of the user's refuses is
    /// tried again for as long as others succeed. So is what foreign keys refuse that stay on.
    pub(super) async fn apply_all(
        &self,
        staged: &mut [Staged],
        catalog: &Catalog,
        left_on: &LeftOn<'_>,
    ) -> Result<Option<Refusal>, Failure> {
        let mut written: Vec<&mut Staged> = staged.iter_mut().filter(|s| !s.difference.is_none()).collect();
        let tables: Vec<&TablePlan> = written.iter().map(|s| &s.table).collect();
        let mut todo = left_on.steps(catalog, &tables);
        let mut can_wait = todo.len() > 1;
        while !todo.is_empty() {
            let before = todo.len();
            let mut later = Vec::new();
            for (place, step) in todo {
                let at = &mut *written[place];
                let started = Instant::now();
                match self.take_step(at, step, catalog, left_on, can_wait).await? {
                    Written::Done => {}
                    Written::Later => {
                        later.push((place, step));
                        continue;
                    }
                    Written::Not(refusal) => return Ok(Some(refusal)),
                }
                at.seconds += started.elapsed().as_secs_f64();
                self.events.emit(Event::Advanced {
                    phase: Phase::Merge,
                    table: Arc::from(at.table.shown.as_str()),
                    rows: step.rows(&at.difference),
                    bytes: 0,
                });
            }
            can_wait = later.len() < before;
            todo = later;
        }
        Ok(None)
    }

    /// Takes a step, without rows that are refused where these are left out one by one.
    async fn take_step(
        &self,
        at: &mut Staged,
        step: Step,
        catalog: &Catalog,
        left_on: &LeftOn<'_>,
        can_wait: bool,
    ) -> Result<Written, Failure> {
        const BACK: &str = "ROLLBACK TO SAVEPOINT pgkeep_table; RELEASE SAVEPOINT pgkeep_table";
        let client = &self.session.client;
        if let Some(constraint) = left_on.would_act(client, catalog, &at.table, step).await? {
            if can_wait {
                return Ok(Written::Later);
            }
            let failure = left_on::acting(catalog, &at.table, constraint);
            return Ok(Written::Not(Refusal::Table(at.table.shown.clone(), failure)));
        }
        let columns = catalog.relation(at.table.relation).into_iter().flat_map(|r| &r.columns);
        let fixed: Vec<&str> = columns.filter(|c| c.always_identity).map(|c| c.name.as_str()).collect();
        loop {
            client.batch_execute("SAVEPOINT pgkeep_table").await?;
            let Err(error) = merge::apply(client, &at.table, &at.difference, step, &fixed).await else {
                client.batch_execute("RELEASE SAVEPOINT pgkeep_table").await?;
                return Ok(Written::Done);
            };
            if can_wait && may_depend_on_others(&error, left_on) {
                client.batch_execute(BACK).await?;
                return Ok(Written::Later);
            }
            if self.options.rejects.is_some() && pg::is_about_a_row(&error) {
                client.batch_execute(BACK).await?;
                if self.isolate(at, step, &fixed).await? {
                    // What else was done of a row in other steps has to be undone.
                    match step {
                        Step::Replace => continue,
                        _ => return Ok(Written::Not(Refusal::Rows(Vec::new()))),
                    }
                }
                client.batch_execute("SAVEPOINT pgkeep_table").await?;
            }
            let failure = match left_on.refused(catalog, &at.table, &error) {
                Some(failure) => failure,
                None => self.explain(at, step, &fixed, error).await?,
            };
            return Ok(Written::Not(Refusal::Table(at.table.shown.clone(), failure)));
        }
    }

    /// Says which row the server refused and why.
    async fn explain(
        &self,
        staged: &Staged,
        step: Step,
        fixed: &[&str],
        error: tokio_postgres::Error,
    ) -> Result<Failure, Failure> {
        let (client, table) = (&self.session.client, &staged.table);
        let mut failure = Failure::from_server(&error);
        let constraint = error.as_db_error().and_then(|e| e.constraint()).map(str::to_owned);
        let mut row = None;
        let about_a_row = pg::is_about_a_row(&error);
        if about_a_row && !client.is_closed() {
            client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_table").await?;
            let found = merge::find_refused(client, table, &staged.difference, step, fixed, 1).await?;
            if let Some((place, _)) = found.first() {
                row = merge::key_of(client, table, *place).await?;
            }
        }
        let row =
            row.map(|r| format!("the archived row ({r}) ")).unwrap_or_else(|| "an archived row ".to_owned());
        failure.what = match (about_a_row, constraint) {
            (true, Some(name)) => {
                format!("table {}: {row}violates constraint {name}: {}", table.shown, failure.what)
            }
            (true, None) => format!("table {}: {row}is refused: {}", table.shown, failure.what),
            (false, _) => format!("table {}: {}", table.shown, failure.what),
        };
        if about_a_row {
            // unique_violation and exclusion_violation
            let meets_another = matches!(pg::sqlstate(&error), Some("23505" | "23P01"));
            failure = failure.next(if self.options.repair.is_some() {
                "change or remove the row of the target that stands in the way, or leave the table out with --exclude, then run pgkeep repair again"
            } else if meets_another && self.options.mode != Mode::Exact {
                "a row of the target stands in the way: use --mode exact to replace what is there, remove that row, or use --keep-going to restore the other tables"
            } else {
                "the target no longer takes such a row: change what refuses it there, or use --keep-going to restore the other tables"
            });
        }
        Ok(failure)
    }
}

/// Whether the refusal came from a check or from a function that may have looked at other tables; or from a constraint that
/// may hold when the rest of the steps are done.
fn may_depend_on_others(error: &tokio_postgres::Error, left_on: &LeftOn<'_>) -> bool {
    pg::sqlstate(error).is_some_and(|code| {
        code == "23514"
            || code.starts_with("P0")
            // foreign_key_violation, unique_violation and exclusion_violation
            || (!left_on.is_empty() && ["23503", "23505", "23P01"].contains(&code))
    })
}
