//! A baseline: how many rows each table has, what its numbers add up to, what the checks say and how long that takes; all
//! of one snapshot, kept in a file, to be compared with what is so later.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::Outcome;
use crate::failure::{Failure, FailureKind};
use crate::folders;
use crate::host::Profile;
use crate::postgres::catalog::{Catalog, Relation, RelationKind};
use crate::postgres::quote::ident;
use crate::selection::TableFilter;

/// What the file says it is.
const FORMAT: &str = "pgkeep-baseline";
const VERSION: u32 = 1;

/// Types whose sums are exact: smallint, integer, bigint, numeric. That of floats depends on the order of the rows, and
/// money prints as the locale wants it.
const SUMMED: [u32; 4] = [21, 23, 20, 1700];

/// A baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    format: String,
    version: u32,
    /// When it was read, UTC.
    pub taken_at: DateTime<Utc>,
    /// The database without its password.
    pub target: String,
    /// The database's name.
    pub database: String,
    /// The server's version.
    pub server_version: String,
    /// Patterns of the tables that were counted; none means all.
    pub tables_wanted: Vec<String>,
    /// Patterns of those that were not.
    pub tables_excluded: Vec<String>,
    /// The tables, by the names that they are shown under.
    pub tables: BTreeMap<String, TableFacts>,
    /// The checks by name.
    pub checks: BTreeMap<String, CheckFacts>,
}

/// What is known of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableFacts {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// The sum of each column of exact numbers, as the server prints it; none where there is no value.
    pub sums: BTreeMap<String, Option<String>>,
    /// Seconds that counting took.
    pub seconds: f64,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckFacts {
    /// Whether it passed.
    pub passed: bool,
    /// Rows that should not be.
    pub offending_rows: u64,
    /// The value, of a check that expects one.
    pub value: Option<String>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Something that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What differs: `table`, `rows`, `sum` or `check`.
    pub what: &'static str,
    /// The table or the check.
    pub name: String,
    /// The column, of a sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// How it was; none: it was not there, or had no value.
    pub before: Option<String>,
    /// How it is.
    pub now: Option<String>,
}

/// How long something took, then and now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// `table` or `check`.
    pub what: &'static str,
    /// The table or the check.
    pub name: String,
    /// Seconds.
    pub before: f64,
    /// Seconds.
    pub now: f64,
    /// How many times as long it takes now; none where it took no time that could be measured.
    pub ratio: Option<f64>,
}

/// A table's rows may be looked at under the application's search path, which functions in its indexes may need; no
/// object of the user's stands in for a built-in one.
const PATH: &str = "SELECT pg_catalog.set_config('search_path',
    pg_catalog.concat_ws(', ', 'pg_catalog', NULLIF(s.reset_val, '')), true)
  FROM pg_catalog.pg_settings s WHERE s.name = 'search_path'";

impl Baseline {
    /// Reads it in the transaction that `client` is in, which [`super::begin`] has begun; `outcomes` are of that
    /// transaction, too. Tables that the host keeps for himself are not counted, and no foreign ones.
    pub async fn take(
        client: &Client,
        target: String,
        host: &Profile,
        filter: &TableFilter,
        earlier: Option<&Baseline>,
        outcomes: &[Outcome],
        timeout: Option<Duration>,
    ) -> Result<Baseline, Failure> {
        let taken_at = Utc::now().trunc_subsecs(0);
        let mut catalog = Catalog::read(client).await?;
        host.leave_out(&mut catalog, true);
        let then = earlier.map(Baseline::filter).transpose()?.unwrap_or_default();
        let wanted = chosen(&catalog, |schema, name| filter.wants(schema, name) && then.wants(schema, name));
        if earlier.is_none() {
            check_matched(&catalog, filter)?;
        }
        check_readable(&catalog, &wanted)?;
        if let Some(timeout) = timeout {
            let sql = format!("SET LOCAL statement_timeout = '{}ms'", timeout.as_millis());
            client.batch_execute(&sql).await?;
        }
        client.batch_execute(PATH).await?;
        let mut tables = BTreeMap::new();
        for relation in wanted {
            let facts = count(client, relation).await;
            let shown = relation.shown();
            let doing = |e| Failure::from_server(&e).while_doing(format!("counting table {shown}"));
            tables.insert(shown.clone(), facts.map_err(doing)?);
        }
        let (tables_wanted, tables_excluded) = filter.patterns();
        Ok(Baseline {
            format: FORMAT.to_owned(),
            version: VERSION,
            taken_at,
            target,
            database: catalog.server.database,
            server_version: catalog.server.version,
            tables_wanted,
            tables_excluded,
            tables,
            checks: outcomes.iter().map(|o| (o.name.clone(), CheckFacts::of(o))).collect(),
        })
    }

    /// Writes it to a new file that its owner alone may read. Nothing is overwritten.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|e| Failure::failed(format!("the baseline cannot be written as JSON: {e}")))?;
        text.push(b'\n');
        let mut file = folders::create_private_file(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => exists(path),
            _ => Failure::from_io(format!("creating {}", path.display()), &error),
        })?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(|error| {
            // Half of it would be taken for all.
            let _ = std::fs::remove_file(path);
            Failure::from_io(format!("writing {}", path.display()), &error)
        })
    }

    /// Reads it from its file.
    pub fn read(path: &Path) -> Result<Baseline, Failure> {
        let text = std::fs::read(path).map_err(|error| {
            let failure = Failure::from_io(format!("reading {}", path.display()), &error);
            Failure { kind: FailureKind::Usage, ..failure }
        })?;
        let wrong = |why: String| {
            Failure::usage(format!("{} is no baseline of pgkeep: {why}", path.display()))
                .next("name a file that pgkeep check --save has written")
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        if value["format"] != FORMAT {
            return Err(wrong("it does not say so".to_owned()));
        }
        if value["version"] != VERSION {
            return Err(wrong(format!("its version is {}, and {VERSION} is known", value["version"])));
        }
        serde_json::from_value(value).map_err(|e| wrong(e.to_string()))
    }

    fn filter(&self) -> Result<TableFilter, Failure> {
        TableFilter::parse(&self.tables_wanted, &self.tables_excluded)
            .map_err(|e| Failure::usage(format!("the baseline's {e}")))
    }

    /// What is not as it was in `self`, of what `filter` and both baselines are about. A check that came or went is no
    /// difference: it says nothing of the data.
    pub fn differences(&self, now: &Baseline, filter: &TableFilter) -> Vec<Difference> {
        let mut found = Vec::new();
        let names: BTreeSet<&String> = self.tables.keys().chain(now.tables.keys()).collect();
        for name in names {
            match (self.tables.get(name), now.tables.get(name)) {
                (Some(before), Some(now)) => before.compare(now, name, &mut found),
                (before, now) => {
                    let one = before.or(now);
                    if one.is_some_and(|t| filter.wants(&t.schema, &t.name)) {
                        let rows = |t: &TableFacts| t.rows.to_string();
                        found.push(difference("table", name, None, before.map(rows), now.map(rows)));
                    }
                }
            }
        }
        for (name, before) in &self.checks {
            if let Some(now) = now.checks.get(name)
                && before.says() != now.says()
            {
                found.push(difference("check", name, None, Some(before.says()), Some(now.says())));
            }
        }
        found
    }

    /// How long things that are in both took.
    pub fn timings(&self, now: &Baseline) -> Vec<Timing> {
        let tables = self.tables.iter().filter_map(|(name, before)| {
            Some(timing("table", name, before.seconds, now.tables.get(name)?.seconds))
        });
        let checks = self.checks.iter().filter_map(|(name, before)| {
            Some(timing("check", name, before.seconds, now.checks.get(name)?.seconds))
        });
        checks.chain(tables).collect()
    }
}

/// The failure for a file that is there already.
pub fn exists(path: &Path) -> Failure {
    Failure::usage(format!("{} exists already; pgkeep overwrites nothing", path.display()))
        .state("the existing file is untouched")
        .next("choose another name with --save, or move the file away")
}

impl TableFacts {
    fn compare(&self, now: &TableFacts, name: &str, found: &mut Vec<Difference>) {
        if self.rows != now.rows {
            let (before, now) = (self.rows.to_string(), now.rows.to_string());
            found.push(difference("rows", name, None, Some(before), Some(now)));
        }
        let columns: BTreeSet<&String> = self.sums.keys().chain(now.sums.keys()).collect();
        for column in columns {
            let (before, now) = (self.sums.get(column), now.sums.get(column));
            if before != now {
                let text = |sum: Option<&Option<String>>| sum.cloned().flatten();
                found.push(difference("sum", name, Some(column.clone()), text(before), text(now)));
            }
        }
    }
}

impl CheckFacts {
    fn of(outcome: &Outcome) -> CheckFacts {
        CheckFacts {
            passed: outcome.passed,
            offending_rows: outcome.offending_rows,
            value: outcome.value.clone(),
            seconds: outcome.seconds,
        }
    }

    /// What it came to, in words that are the same as long as that is.
    fn says(&self) -> String {
        let word = if self.passed { "passes" } else { "fails" };
        match (&self.value, self.offending_rows) {
            (Some(value), _) => format!("{word} with {value}"),
            (None, 0) => word.to_owned(),
            (None, 1) => format!("{word} with 1 row"),
            (None, rows) => format!("{word} with {rows} rows"),
        }
    }
}

fn difference(
    what: &'static str,
    name: &str,
    column: Option<String>,
    before: Option<String>,
    now: Option<String>,
) -> Difference {
    Difference { what, name: name.to_owned(), column, before, now }
}

fn timing(what: &'static str, name: &str, before: f64, now: f64) -> Timing {
    let ratio = (before > 0.0).then(|| (now / before * 100.0).round() / 100.0);
    Timing { what, name: name.to_owned(), before, now, ratio }
}

/// The tables that are counted, each partitioned one as a whole; but those with rows on another server are counted
/// partition by partition, without these.
fn chosen(catalog: &Catalog, wants: impl Fn(&str, &str) -> bool) -> Vec<&Relation> {
    let is_foreign = |r: &&Relation| r.kind == RelationKind::Foreign;
    let roots = catalog.relations.iter().filter(|r| r.partition_of.is_none() && !r.left);
    roots
        .filter(|r| wants(&r.schema, &r.name))
        .flat_map(|root| {
            let leaves = catalog.leaves(root);
            if leaves.iter().any(is_foreign) {
                leaves.into_iter().filter(|r| !is_foreign(r)).collect()
            } else {
                vec![root]
            }
        })
        .collect()
}

/// A pattern that means nothing is a typing error.
fn check_matched(catalog: &Catalog, filter: &TableFilter) -> Result<(), Failure> {
    let names = catalog.relations.iter().map(|r| (r.schema.as_str(), r.name.as_str()));
    let unmatched = filter.unmatched(names);
    if unmatched.is_empty() {
        return Ok(());
    }
    let patterns: Vec<String> = unmatched.iter().map(|p| format!("{p:?}")).collect();
    let what = format!("no table of database {} matches {}", catalog.server.database, patterns.join(", "));
    Err(Failure::usage(what).next("mend --table and --exclude; a bare name means schema public"))
}

/// Names all tables at once that the role may not read, or would not read whole.
fn check_readable(catalog: &Catalog, wanted: &[&Relation]) -> Result<(), Failure> {
    let lacks = |r: &&&Relation| !r.lacks(&["USAGE", "SELECT"]).is_empty() || r.row_security_active;
    let names: Vec<String> = wanted.iter().filter(lacks).map(|r| r.shown()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let what = format!("role {} may not count all rows of {}", catalog.server.role, names.join(", "));
    Err(Failure::new(FailureKind::Access, what)
        .next("see what is missing with pgkeep doctor; or leave the tables out with --exclude"))
}

async fn count(client: &Client, relation: &Relation) -> Result<TableFacts, tokio_postgres::Error> {
    let started = Instant::now();
    let numbers = relation.columns.iter().filter(|c| SUMMED.contains(&c.base_type));
    let names: Vec<&str> = numbers.map(|c| c.name.as_str()).collect();
    let sums: String =
        names.iter().map(|name| format!(", pg_catalog.sum({})::pg_catalog.text", ident(name))).collect();
    let sql = format!("SELECT pg_catalog.count(*){sums} FROM {}", relation.from_item());
    let rows = client.query_typed(&sql, &[]).await?;
    let row = &rows[0];
    Ok(TableFacts {
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        rows: row.get::<_, i64>(0) as u64,
        sums: names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), row.get(at + 1))).collect(),
        seconds: super::seconds(started),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, rows: u64, sum: Option<&str>) -> (String, TableFacts) {
        let sums = BTreeMap::from([("total".to_owned(), sum.map(str::to_owned))]);
        let facts =
            TableFacts { schema: "public".into(), name: name.into(), rows, sums, seconds: rows as f64 };
        (name.to_owned(), facts)
    }

    fn baseline(tables: Vec<(String, TableFacts)>) -> Baseline {
        Baseline {
            format: FORMAT.to_owned(),
            version: VERSION,
            taken_at: Utc::now(),
            target: String::new(),
            database: String::new(),
            server_version: String::new(),
            tables_wanted: Vec::new(),
            tables_excluded: Vec::new(),
            tables: tables.into_iter().collect(),
            checks: BTreeMap::new(),
        }
    }

    #[test]
    fn what_came_went_and_changed_is_told_and_what_is_not_asked_for_is_not() {
        let before =
            baseline(vec![table("a", 1, Some("5")), table("b", 2, None), table("gone", 3, Some("1"))]);
        let now = baseline(vec![table("a", 1, Some("6")), table("b", 4, None), table("new", 0, None)]);
        let told: Vec<_> = before
            .differences(&now, &TableFilter::default())
            .into_iter()
            .map(|d| (d.what, d.name, d.before, d.now))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        let expected = [
            ("sum", "a".to_owned(), some("5"), some("6")),
            ("rows", "b".to_owned(), some("2"), some("4")),
            ("table", "gone".to_owned(), some("3"), None),
            ("table", "new".to_owned(), None, some("0")),
        ];
        assert_eq!(told, expected);
        assert_eq!(before.timings(&now).iter().map(|t| t.ratio).collect::<Vec<_>>(), [Some(1.0), Some(2.0)]);
    }
}
