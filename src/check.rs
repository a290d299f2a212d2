//! The user's own checks: queries that say whether the data are as they should be, and objects that should be there.
//!
//! A check can change nothing: it runs in a savepoint that is read-only and is rolled back. It is one query, because it
//! goes by the extended protocol, which takes no second statement. What it gives is read through a cursor: the rows that
//! were asked for, and of all others their number alone, so that no check fills the memory.
//!
//! The transaction is the caller's: a snapshot to be looked at, or a restore that is about to be committed.

pub mod baseline;
pub mod exists;
mod number;

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use crate::failure::Failure;
use crate::postgres::error as pg;
use crate::postgres::settings;
use crate::selection::Pattern;
use exists::Thing;

/// A check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, no other's.
    pub name: String,
    /// What is asked.
    pub test: Test,
    /// For a query that expects no rows: the table whose rows it gives, by the columns of their key.
    pub table: Option<Pattern>,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// One query, and what it should give.
    Query {
        /// The query.
        sql: String,
        /// What it should give.
        expect: Expect,
    },
    /// Whether something is there.
    Exists(Thing),
}

/// What a query should give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No row: each that comes offends.
    NoRows,
    /// One row of one column, with this text as the server prints it.
    Text(String),
    /// The same with this number, however it is written: 3 is 3.00.
    Number(String),
    /// The same with `true` or `false`.
    Truth(bool),
}

/// How far a check may go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Rows that are kept of a failing check.
    pub rows: usize,
    /// How long a statement may take; none: as long as it takes.
    pub timeout: Option<Duration>,
    /// How long a lock is waited for; none: as long as it takes.
    pub lock_timeout: Option<Duration>,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The check's name.
    pub name: String,
    /// Whether all is as it should be.
    pub passed: bool,
    /// Rows that should not be.
    pub offending_rows: u64,
    /// Why it failed, where that is not its rows alone. Holds no row value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// For one that expects a value: the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Names of the columns of `rows`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The first of the offending rows, as the server prints their values; none for NULL.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Vec<Option<String>>>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Outcome {
    /// Why it failed, in a few words without row values.
    pub fn reason(&self) -> String {
        match (&self.error, self.offending_rows) {
            (Some(error), _) => error.clone(),
            (None, 1) => "1 row that should not be".to_owned(),
            (None, rows) => format!("{rows} rows that should not be"),
        }
    }
}

/// The failure that names all checks that fail; none where none does.
pub fn failure(outcomes: &[Outcome]) -> Option<Failure> {
    let failing: Vec<String> =
        outcomes.iter().filter(|o| !o.passed).map(|o| format!("{} ({})", o.name, o.reason())).collect();
    match failing.as_slice() {
        [] => None,
        [one] => Some(Failure::failed(format!("a check fails: {one}"))),
        all => Some(Failure::failed(format!("{} checks fail: {}", all.len(), all.join(", ")))),
    }
}

/// Begins a transaction to look in: one snapshot for all that is asked. `version` is `server_version_num`.
pub fn begin(version: u32) -> String {
    let fixed = settings::statements(version);
    format!("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; {fixed}")
}

/// Runs checks one after the other in the transaction that `client` is in. That one fails is an outcome; that the server
/// is gone, or asks to start over, a failure.
pub async fn run(
    client: &Client,
    version: u32,
    checks: &[Check],
    limits: Limits,
) -> Result<Vec<Outcome>, Failure> {
    let mut outcomes = Vec::with_capacity(checks.len());
    for check in checks {
        let doing = |e: Error| Failure::from_server(&e).while_doing(format!("running check {}", check.name));
        outcomes.push(run_one(client, version, check, limits).await.map_err(doing)?);
    }
    Ok(outcomes)
}

async fn run_one(client: &Client, version: u32, check: &Check, limits: Limits) -> Result<Outcome, Error> {
    let started = Instant::now();
    client.batch_execute(&set_up(version, check, limits)).await?;
    let answer = ask(client, check, limits.rows).await;
    let mut outcome = Outcome {
        name: check.name.clone(),
        passed: false,
        offending_rows: 0,
        error: None,
        value: None,
        columns: Vec::new(),
        rows: Vec::new(),
        seconds: seconds(started),
    };
    match answer {
        Ok(answer) => judge(check, answer, limits.rows, &mut outcome),
        Err(error) if is_gone(&error) || pg::is_serialization_failure(&error) => return Err(error),
        Err(error) => outcome.error = Some(pg::describe(&error)),
    }
    client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_check; RELEASE SAVEPOINT pgkeep_check").await?;
    Ok(outcome)
}

/// Whether the connection is; not so where a query has parameters, which nobody gives (08P01, protocol_violation).
fn is_gone(error: &Error) -> bool {
    pg::is_connection_loss(error) && pg::sqlstate(error) != Some("08P01")
}

/// Seconds since then, to the millisecond.
fn seconds(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}

/// What precedes a check. The settings are made anew, whatever the transaction has changed of them.
fn set_up(version: u32, check: &Check, limits: Limits) -> String {
    let path = match check.test {
        // As the application has it; a rebuild says by `pgkeep.search_path` which that will be.
        Test::Query { .. } => {
            "SELECT pg_catalog.set_config('search_path',
               COALESCE(NULLIF(pg_catalog.current_setting('pgkeep.search_path', true), ''), s.reset_val), true)
               FROM pg_catalog.pg_settings s WHERE s.name = 'search_path';"
        }
        // Names of types in a function's arguments may be bare, as all names may that are in schema public.
        Test::Exists(_) => "SET LOCAL search_path = pg_catalog, public;",
    };
    let limit = |name: &str, limit: Option<Duration>| match limit {
        Some(limit) => format!("SET LOCAL {name} = '{}ms';", limit.as_millis()),
        None => String::new(),
    };
    format!(
        "SAVEPOINT pgkeep_check; {} {path} {} {}
         SET LOCAL cursor_tuple_fraction = 1; SET LOCAL enable_indexonlyscan TO DEFAULT; SET LOCAL transaction_read_only = on",
        settings::statements(version),
        limit("statement_timeout", limits.timeout),
        limit("lock_timeout", limits.lock_timeout)
    )
}

/// What a query gave: how many rows, and the first of them.
struct Answer {
    count: u64,
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

async fn ask(client: &Client, check: &Check, rows: usize) -> Result<Answer, Error> {
    let sql = match &check.test {
        Test::Query { sql, .. } => sql.clone(),
        Test::Exists(thing) => thing.missing(),
    };
    // A comment may stand at its end.
    client.query_typed(&format!("DECLARE pgkeep_check NO SCROLL CURSOR FOR\n{sql}\n"), &[]).await?;
    // A value is needed to be compared, whatever is to be shown.
    let wanted = rows.max(1);
    let mut answer = Answer { count: 0, columns: Vec::new(), rows: Vec::new() };
    // Simple queries have all values as the server prints them.
    for message in client.simple_query(&format!("FETCH FORWARD {wanted} FROM pgkeep_check")).await? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                answer.columns = columns.iter().map(|column| column.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                // A database of encoding SQL_ASCII may hold what is no UTF-8.
                let value = |at: usize| match row.try_get(at) {
                    Ok(value) => value.map(str::to_owned),
                    Err(_) => Some("\u{fffd}".to_owned()),
                };
                answer.rows.push((0..row.len()).map(value).collect());
            }
            _ => {}
        }
    }
    answer.count = answer.rows.len() as u64;
    if answer.rows.len() == wanted {
        // The server counts what it does not send.
        for message in client.simple_query("MOVE FORWARD ALL IN pgkeep_check").await? {
            if let SimpleQueryMessage::CommandComplete(more) = message {
                answer.count += more;
            }
        }
    }
    Ok(answer)
}

fn judge(check: &Check, answer: Answer, rows: usize, outcome: &mut Outcome) {
    let count = answer.count;
    outcome.offending_rows = count;
    match &check.test {
        Test::Exists(thing) => {
            outcome.passed = count == 0;
            outcome.offending_rows = 0;
            outcome.error = (count > 0).then(|| format!("there is no {thing}"));
            return;
        }
        Test::Query { expect: Expect::NoRows, .. } => outcome.passed = count == 0,
        Test::Query { expect, .. } => {
            let expected = expect.shown();
            let value = || answer.rows[0][0].clone();
            outcome.error = match (count, answer.columns.len()) {
                (0, _) => Some(format!("the query gives no row, and {expected} is expected")),
                (1, 1) => {
                    outcome.value = value();
                    let as_expected = outcome.value.as_deref().is_some_and(|value| expect.meets(value));
                    (!as_expected).then(|| format!("the value is not {expected}"))
                }
                (1, columns) => Some(format!("the query gives {columns} columns, and one is compared")),
                (rows, _) => Some(format!("the query gives {rows} rows, and one is compared")),
            };
            outcome.passed = outcome.error.is_none();
        }
    }
    if outcome.passed {
        outcome.offending_rows = 0;
        return;
    }
    outcome.rows = answer.rows;
    outcome.rows.truncate(rows);
    if !outcome.rows.is_empty() {
        outcome.columns = answer.columns;
    }
}

impl Expect {
    /// Whether a value is the one that is expected.
    fn meets(&self, value: &str) -> bool {
        match self {
            Expect::NoRows => false,
            Expect::Text(text) => text == value,
            Expect::Number(number) => number::are_equal(number, value),
            Expect::Truth(truth) => ["f", "t"][usize::from(*truth)] == value || truth.to_string() == value,
        }
    }

    fn shown(&self) -> String {
        match self {
            Expect::NoRows => "no row".to_owned(),
            Expect::Text(text) => format!("{text:?}"),
            Expect::Number(number) => number.clone(),
            Expect::Truth(truth) => truth.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_compared_by_the_kind_that_is_expected() {
        assert!(Expect::Number("3".into()).meets("3.00") && !Expect::Number("3".into()).meets("3.01"));
        assert!(Expect::Text("3".into()).meets("3") && !Expect::Text("3".into()).meets("3.00"));
        assert!(Expect::Truth(true).meets("t") && Expect::Truth(false).meets("false"));
        assert!(!Expect::Truth(true).meets("f") && !Expect::Truth(false).meets("0"));
    }
}
