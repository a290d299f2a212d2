//! Writes the differences of all tables, and says of a table that the server refuses which row is to blame.

use std::sync::Arc;
use std::time::Instant;

use super::Mode;
use super::attempt::{Attempt, Staged};
use super::left_on::{self, LeftOn};
use super::merge;
use super::plan::TablePlan;
use crate::failure::Failure;
use crate::postgres::catalog::Catalog;
use crate::postgres::error as pg;
use crate::progress::{Event, Phase};

impl Attempt<'_> {
    /// Writes every table's differences. Returns the table that has to be left out, with the reason.
    ///
    /// A check may read tables that come later, which no foreign key tells: what a function of the user's refuses is
    /// tried again for as long as others succeed. So is what foreign keys refuse that stay on.
    pub(super) async fn apply_all(
        &self,
        staged: &mut [Staged],
        catalog: &Catalog,
        left_on: &LeftOn<'_>,
    ) -> Result<Option<(String, Failure)>, Failure> {
        let client = &self.session.client;
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
                if let Some(constraint) = left_on.would_act(client, catalog, &at.table, step).await? {
                    if can_wait {
                        later.push((place, step));
                        continue;
                    }
                    let failure = left_on::acting(catalog, &at.table, constraint);
                    return Ok(Some((at.table.shown.clone(), failure)));
                }
                client.batch_execute("SAVEPOINT pgkeep_table").await?;
                let relation = catalog.relation(at.table.relation);
                let columns = relation.iter().flat_map(|r| &r.columns);
                let fixed: Vec<&str> =
                    columns.filter(|c| c.always_identity).map(|c| c.name.as_str()).collect();
                match merge::apply(client, &at.table, &at.difference, step, &fixed).await {
                    Ok(()) => {}
                    Err(error) if can_wait && may_depend_on_others(&error, left_on) => {
                        client
                            .batch_execute(
                                "ROLLBACK TO SAVEPOINT pgkeep_table; RELEASE SAVEPOINT pgkeep_table",
                            )
                            .await?;
                        later.push((place, step));
                        continue;
                    }
                    Err(error) => {
                        let failure = match left_on.refused(catalog, &at.table, &error) {
                            Some(failure) => failure,
                            None => self.explain(at, error).await?,
                        };
                        return Ok(Some((at.table.shown.clone(), failure)));
                    }
                }
                client.batch_execute("RELEASE SAVEPOINT pgkeep_table").await?;
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

    /// Says which row the server refused and why.
    async fn explain(&self, staged: &Staged, error: tokio_postgres::Error) -> Result<Failure, Failure> {
        let table = &staged.table;
        let mut failure = Failure::from_server(&error);
        let constraint = error.as_db_error().and_then(|e| e.constraint()).map(str::to_owned);
        let mut row = None;
        // Class 23: an integrity constraint; 22: a value that an expression refuses; P0: raised by a function.
        let about_a_row = pg::sqlstate(&error)
            .is_some_and(|code| ["23", "22", "P0"].iter().any(|class| code.starts_with(class)));
        if about_a_row && !self.session.client.is_closed() {
            self.session.client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_table").await?;
            row = merge::find_refused(&self.session.client, table, &staged.difference).await?;
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
            failure = failure.next(if meets_another && self.options.mode != Mode::Exact {
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
