//! Writes the differences of all tables, and says of a table that the server refuses which row is to blame.

use std::sync::Arc;
use std::time::Instant;

use super::Mode;
use super::attempt::{Attempt, Staged};
use super::merge;
use crate::failure::Failure;
use crate::postgres::error as pg;
use crate::progress::{Event, Phase};

impl Attempt<'_> {
    /// Writes every table's differences. Returns the table that has to be left out, with the reason.
    ///
    /// A check may read tables that come later, which no foreign key tells: what a function of the user's refuses is
    /// tried again for as long as others succeed.
    pub(super) async fn apply_all(
        &self,
        staged: &mut [Staged],
    ) -> Result<Option<(String, Failure)>, Failure> {
        let client = &self.session.client;
        let mut todo: Vec<&mut Staged> = staged.iter_mut().filter(|s| !s.difference.is_none()).collect();
        let mut can_wait = todo.len() > 1;
        while !todo.is_empty() {
            let before = todo.len();
            let mut later = Vec::new();
            for at in todo {
                let started = Instant::now();
                client.batch_execute("SAVEPOINT pgkeep_table").await?;
                match merge::apply(client, &at.table, &at.difference).await {
                    Ok(()) => {}
                    Err(error) if can_wait && may_depend_on_others(&error) => {
                        client
                            .batch_execute(
                                "ROLLBACK TO SAVEPOINT pgkeep_table; RELEASE SAVEPOINT pgkeep_table",
                            )
                            .await?;
                        later.push(at);
                        continue;
                    }
                    Err(error) => {
                        return Ok(Some((at.table.shown.clone(), self.explain(at, error).await?)));
                    }
                }
                client.batch_execute("RELEASE SAVEPOINT pgkeep_table").await?;
                at.seconds += started.elapsed().as_secs_f64();
                self.events.emit(Event::Advanced {
                    phase: Phase::Merge,
                    table: Arc::from(at.table.shown.as_str()),
                    rows: at.difference.archived_only + at.difference.different + at.difference.live_only,
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
            failure = failure.next(if meets_another && self.options.mode == Mode::Upsert {
                "a row of the target stands in the way: use --mode exact to replace what is there, remove that row, or use --keep-going to restore the other tables"
            } else {
                "the target no longer takes such a row: change what refuses it there, or use --keep-going to restore the other tables"
            });
        }
        Ok(failure)
    }
}

/// Whether the refusal came from a check or from a function that may have looked at other tables.
fn may_depend_on_others(error: &tokio_postgres::Error) -> bool {
    pg::sqlstate(error).is_some_and(|code| code == "23514" || code.starts_with("P0"))
}
