//! How far a rebuild has come, written down in the target itself: each transaction that commits something says so in a
//! table, so that whatever ends the restore, what is in and what is not is known for sure. With `--resume` the next run
//! goes on from there.
//!
//! The primary keys of these tables are what makes it exactly once: what a session of the earlier run commits after it
//! was asked how far it came, this run cannot commit again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use super::Rebuild;
use crate::archive::model::Chunk;
use crate::archive::reader::Archive;
use crate::failure::{Failure, FailureKind};
use crate::postgres::error as pg;
use crate::postgres::quote::literal;
use crate::restore::RestoreOptions;
use crate::restore::log::{LogFile, RestoreLog};
use crate::restore::objects::apply::What;
use crate::restore::plan::TablePlan;
use crate::schema::{Kind, Object};

/// Where it is written, in the target.
pub const SCHEMA: &str = "pgkeep_restoring";
/// Tells that the schema is ours.
const COMMENT: &str = "of pgkeep: how far a restore has come; pgkeep restore --resume goes on with it";

/// Bytes of JSON that go in between two commits where the restore is to be resumed: what has to be sent once more, at
/// most, for each connection. (Else a table is one transaction, so that its rows are frozen and need no second write.)
const COMMITTED_EVERY: u64 = 16 << 20;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// It is made.
    Made,
    /// A foreign key is added, and its rows are not checked yet.
    Added,
    /// They are.
    Checked,
    /// Its privileges are granted.
    Granted,
    /// Large objects from this chunk on are in.
    LargeObjects,
}

impl Step {
    const ALL: [Step; 5] = [Step::Made, Step::Added, Step::Checked, Step::Granted, Step::LargeObjects];

    fn name(self) -> &'static str {
        match self {
            Step::Made => "made",
            Step::Added => "added",
            Step::Checked => "checked",
            Step::Granted => "granted",
            Step::LargeObjects => "large objects",
        }
    }

    /// The statements that do it.
    pub fn what(self) -> What {
        match self {
            Step::Checked => What::Change,
            Step::Granted => What::Privileges,
            Step::Made | Step::Added | Step::LargeObjects => What::Definition,
        }
    }
}

/// How far an earlier run has come.
#[derive(Clone, Debug, Default)]
pub struct Done {
    archive_file: String,
    fingerprint: String,
    /// Its safety backup.
    pub safety_backup_file: Option<String>,
    /// The logs of the runs up to now.
    pub logs: Vec<String>,
    /// Objects that were there before the first of them, by identity.
    pub there: HashSet<String>,
    steps: HashSet<(Step, i64)>,
    /// For each table of the archive, by its number: how many of its chunks are in, from the first on.
    chunks: HashMap<u32, usize>,
}

impl Done {
    /// Reads how far a restore has come that was not ended. In a transaction that is open; waits for what sessions of that run are
    /// just committing.
    pub async fn read(client: &Client) -> Result<Option<Done>, Failure> {
        if !is_there(client).await? {
            return Ok(None);
        }
        client.batch_execute(&format!("LOCK TABLE {SCHEMA}.done, {SCHEMA}.rows IN SHARE MODE")).await?;
        let rows = client
            .query_typed(
                &format!("SELECT archive_file, fingerprint, safety_backup_file FROM {SCHEMA}.restore"),
                &[],
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut done = Done {
            archive_file: row.get(0),
            fingerprint: row.get(1),
            safety_backup_file: row.get(2),
            ..Done::default()
        };
        let rows =
            client.query_typed(&format!("SELECT log FROM {SCHEMA}.run ORDER BY begun_at"), &[]).await?;
        done.logs = rows.iter().map(|row| row.get(0)).collect();
        let rows = client.query_typed(&format!("SELECT identity FROM {SCHEMA}.there"), &[]).await?;
        done.there = rows.iter().map(|row| row.get(0)).collect();
        for row in client.query_typed(&format!("SELECT step, item FROM {SCHEMA}.done"), &[]).await? {
            let name: &str = row.get(0);
            let step = Step::ALL.into_iter().find(|step| step.name() == name);
            done.steps.extend(step.map(|step| (step, row.get(1))));
        }
        let sql = format!("SELECT table_number, max(past) FROM {SCHEMA}.rows GROUP BY table_number");
        for row in client.query_typed(&sql.replace("max(", "pg_catalog.max("), &[]).await? {
            let (table, past): (i64, i64) = (row.get(0), row.get(1));
            done.chunks.insert(table as u32, past as usize);
        }
        Ok(Some(done))
    }

    /// Refuses to go on with what was begun from another archive, or with other flags.
    pub fn check(
        &self,
        archive: &Archive,
        options: &RestoreOptions,
        objects: &[Object],
    ) -> Result<(), Failure> {
        if self.fingerprint == fingerprint(archive, options, objects) {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "the restore that was interrupted here is of {}, and was begun with another archive or other flags than these",
            self.archive_file
        ))
        .state("the target is untouched")
        .next("give the archive and the flags of the first run, with --resume; or begin anew: remove the database (dropdb, createdb), or restore with --clean"))
    }
}

/// How far the restore has come that is to be resumed; none where it can begin. For a look at the target, in its transaction:
/// `alone` says whether rows and objects are such as can be built into a new database, `is_as_new` whether the target is one.
pub async fn find(
    client: &Client,
    archive: &Archive,
    options: &RestoreOptions,
    objects: &[Object],
    (alone, is_as_new): (bool, bool),
) -> Result<Option<Done>, Failure> {
    if !alone {
        return Err(Failure::usage(
            "--resume is for whole rows into an empty database, not for a choice of rows, columns or kinds of objects",
        )
        .next("restore without --resume; that is one transaction, of which nothing is left when it is interrupted"));
    }
    let done = Done::read(client).await?;
    match &done {
        Some(done) => done.check(archive, options, objects)?,
        None if is_as_new => {}
        None => {
            return Err(Failure::usage(
                "--resume: there is no interrupted restore here to go on with, and the target is not empty",
            )
            .next("restore without --resume: archived rows then meet those that are there"));
        }
    }
    Ok(done)
}

/// Whether the target has a ledger of ours.
async fn is_there(client: &Client) -> Result<bool, Failure> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = '{SCHEMA}'
                           AND pg_catalog.obj_description(n.oid, 'pg_namespace') = '{COMMENT}')"
    );
    Ok(client.query_typed(&sql, &[]).await?[0].get(0))
}

/// Removes, in the transaction that is open, what a restore has left that nobody goes on with. Returns whether there was one.
pub async fn remove_left(client: &Client) -> Result<bool, Failure> {
    let own = format!(
        "SELECT pg_catalog.pg_has_role(n.nspowner, 'USAGE') FROM pg_catalog.pg_namespace n WHERE n.nspname = '{SCHEMA}'"
    );
    let removes = is_there(client).await? && client.query_typed(&own, &[]).await?[0].get(0);
    if removes {
        client.batch_execute(&format!("DROP SCHEMA {SCHEMA} CASCADE")).await?;
    }
    Ok(removes)
}

/// What has to be the same when a restore goes on: the archive, the flags that say what is made, and the objects that
/// this comes to on this server.
fn fingerprint(archive: &Archive, options: &RestoreOptions, objects: &[Object]) -> String {
    let mut asked = options.objects.clone();
    asked.style.left = None;
    let mut hash = Sha256::new();
    let (file, names) = (archive.index_sha256(), (&options.filter, &options.mapping));
    let asked = format!("{file} {names:?} {} {asked:?}", options.safe);
    hash.update(asked);
    for object in objects {
        hash.update(object.identity.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What this run writes down, and what it need not do any more.
#[derive(Debug)]
pub struct Ledger {
    done: Done,
    /// Places of the objects among those of the restore.
    places: HashMap<(Kind, String), i64>,
    kept: AtomicBool,
    may_stop: bool,
}

impl Ledger {
    /// Of a restore of these objects, that goes on from `done` or begins.
    pub fn new(objects: &[Object], options: &RestoreOptions, done: Option<&Done>) -> Ledger {
        let places = (0_i64..).zip(objects).map(|(n, o)| ((o.kind, o.identity.clone()), n)).collect();
        Ledger {
            places,
            done: done.cloned().unwrap_or_default(),
            kept: AtomicBool::new(done.is_some()),
            may_stop: options.resume,
        }
    }

    /// Whether the target says how far this has come.
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// Whether an earlier run has come some way.
    pub fn goes_on(&self) -> bool {
        !self.done.fingerprint.is_empty()
    }

    /// Begins to write down, or goes on. Where the role may make no schema, nothing is written, which is a failure where the
    /// restore was asked to be one that can be resumed.
    pub async fn open(&self, rebuild: &Rebuild<'_>, log: &mut RestoreLog) -> Result<(), Failure> {
        let client = &rebuild.session.client;
        let name = rebuild.file.map(LogFile::name).unwrap_or_default();
        let run = format!("INSERT INTO {SCHEMA}.run (log) VALUES ({})", literal(&name));
        client.batch_execute(&rebuild.begin()).await?;
        if self.is_kept() {
            log.resumes = self.done.logs.clone();
            return Ok(client.batch_execute(&format!("{run}; COMMIT")).await?);
        }
        let there: Vec<String> =
            rebuild.there.keys().map(|identity| format!("({})", literal(identity))).collect();
        let there = match there.is_empty() {
            true => String::new(),
            false => format!("INSERT INTO {SCHEMA}.there VALUES {};", there.join(", ")),
        };
        let safety = log.safety_backup_file.as_deref().map_or("NULL".to_owned(), literal);
        let sql = format!(
            "CREATE SCHEMA {SCHEMA};
             COMMENT ON SCHEMA {SCHEMA} IS '{COMMENT}';
             CREATE TABLE {SCHEMA}.restore (archive_file text, fingerprint text, safety_backup_file text);
             CREATE TABLE {SCHEMA}.run (log text, begun_at timestamptz DEFAULT pg_catalog.clock_timestamp());
             CREATE TABLE {SCHEMA}.there (identity text);
             CREATE TABLE {SCHEMA}.done (step text, item int8, PRIMARY KEY (step, item));
             CREATE TABLE {SCHEMA}.rows (table_number int8, first int8, past int8, PRIMARY KEY (table_number, first));
             INSERT INTO {SCHEMA}.restore VALUES ({}, {}, {safety}); {there} {run}; COMMIT",
            literal(&log.backup_file),
            literal(&fingerprint(rebuild.archive, rebuild.options, rebuild.objects)),
        );
        let Err(error) = client.batch_execute(&sql).await else {
            self.kept.store(true, Ordering::Relaxed);
            return Ok(());
        };
        let is_refused = matches!(pg::sqlstate(&error), Some("42501" | "42P06"));
        if !is_refused {
            return Err(Failure::from_server(&error).while_doing(format!("making schema {SCHEMA}")));
        }
        client.batch_execute("ROLLBACK").await?;
        let reason = pg::describe(&error);
        if self.may_stop {
            return Err(Failure::new(
                FailureKind::Access,
                format!(
                    "to be resumed, a restore writes down how far it has come, in a schema pgkeep_restoring: {reason}"
                ),
            )
            .next(
                "GRANT CREATE ON DATABASE … TO the role; or restore without --resume, from beginning to end",
            ));
        }
        rebuild.events.detail(format!("this restore cannot be resumed: {reason}"));
        Ok(())
    }

    fn place(&self, object: &Object) -> Option<i64> {
        self.places.get(&(object.kind, object.identity.clone())).copied()
    }

    /// Whether an earlier run has done this.
    pub fn has(&self, step: Step, object: &Object) -> bool {
        !self.done.steps.is_empty()
            && self.place(object).is_some_and(|place| self.done.steps.contains(&(step, place)))
    }

    /// Writes down, in the transaction that is open, that this is done.
    pub async fn note(&self, client: &Client, step: Step, objects: &[&Object]) -> Result<(), Failure> {
        let places: Vec<i64> = objects.iter().filter_map(|o| self.place(o)).collect();
        self.write(client, step, &places).await
    }

    async fn write(&self, client: &Client, step: Step, items: &[i64]) -> Result<(), Failure> {
        if !self.is_kept() || items.is_empty() {
            return Ok(());
        }
        let values: Vec<String> = items.iter().map(|item| format!("('{}', {item})", step.name())).collect();
        let sql = format!("INSERT INTO {SCHEMA}.done VALUES {}", values.join(", "));
        client.batch_execute(&sql).await.map_err(|error| twice(error, "an object"))
    }

    /// How many of the table's chunks an earlier run has committed, from the first on.
    pub fn chunks_in(&self, table: &TablePlan) -> usize {
        self.done.chunks.get(&table.index).copied().unwrap_or_default()
    }

    /// The table's chunks that are to come in, as ranges of their places: each is committed by itself.
    pub fn ranges(&self, table: &TablePlan, chunks: &[&Chunk]) -> Vec<std::ops::Range<usize>> {
        let from = self.chunks_in(table).min(chunks.len());
        if !self.may_stop {
            let rest = from..chunks.len();
            return Some(rest).filter(|rest| !rest.is_empty()).into_iter().collect();
        }
        let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
        let mut bytes = COMMITTED_EVERY;
        for (at, chunk) in chunks.iter().enumerate().skip(from) {
            match ranges.last_mut() {
                Some(last) if bytes < COMMITTED_EVERY => last.end = at + 1,
                _ => {
                    ranges.push(at..at + 1);
                    bytes = 0;
                }
            }
            bytes += chunk.bytes;
        }
        ranges
    }

    /// Writes down, in the transaction that is open, that these chunks of the table are in.
    pub async fn note_rows(
        &self,
        client: &Client,
        table: &TablePlan,
        range: &std::ops::Range<usize>,
    ) -> Result<(), Failure> {
        if !self.is_kept() {
            return Ok(());
        }
        let sql =
            format!("INSERT INTO {SCHEMA}.rows VALUES ({}, {}, {})", table.index, range.start, range.end);
        client.batch_execute(&sql).await.map_err(|error| twice(error, &format!("table {}", table.shown)))
    }

    /// Whether an earlier run has made the large objects of which this is the first chunk.
    pub fn has_large_objects(&self, first: &Chunk) -> bool {
        self.done.steps.contains(&(Step::LargeObjects, first.offset as i64))
    }

    /// Writes down that the large objects of which this is the first chunk are in.
    pub async fn note_large_objects(&self, client: &Client, first: &Chunk) -> Result<(), Failure> {
        self.write(client, Step::LargeObjects, &[first.offset as i64]).await
    }

    /// Takes it away, in the transaction that makes the restore whole.
    pub async fn remove(&self, client: &Client) -> Result<(), Failure> {
        if self.is_kept() {
            client.batch_execute(&format!("DROP SCHEMA {SCHEMA} CASCADE")).await?;
        }
        Ok(())
    }
}

fn twice(error: tokio_postgres::Error, what: &str) -> Failure {
    let failure = Failure::from_server(&error);
    match pg::sqlstate(&error) {
        // unique_violation
        Some("23505") => {
            Failure { what: format!("another session has just done the same to {what}"), ..failure }.next(
                "see that no other restore is at work here, then run the same command again with --resume",
            )
        }
        _ => failure,
    }
}

/// What a restore that is to be resumed leaves when it ends early: all that it has committed.
pub async fn left(rebuild: &Rebuild<'_>, failure: Failure) -> Failure {
    let all_rows = rebuild.archive.totals().rows;
    let all_objects = rebuild.objects.iter().filter(|o| !rebuild.there.contains_key(&o.identity)).count();
    let said = async {
        let session = rebuild.connector.connect(rebuild.events).await.ok()?;
        session.client.batch_execute("BEGIN READ ONLY").await.ok()?;
        let done = Done::read(&session.client).await.ok()??;
        let rows: u64 = rebuild
            .archive
            .header()
            .tables
            .iter()
            .enumerate()
            .map(|(n, _)| {
                let chunks = rebuild.archive.table_chunks(n as u32);
                let past = done.chunks.get(&(n as u32)).copied().unwrap_or_default();
                chunks.iter().take(past).map(|c| c.rows).sum::<u64>()
            })
            .sum();
        let is_made = |(step, _): &&(Step, i64)| *step == Step::Made;
        let made = done.steps.iter().filter(is_made).count().min(all_objects);
        Some(format!("{rows} of {all_rows} rows and {made} of {all_objects} objects"))
    };
    let said = tokio::time::timeout(std::time::Duration::from_secs(15), said).await.ok().flatten();
    let what = said.unwrap_or_else(|| "what was committed".to_owned());
    let kind = match failure.kind {
        FailureKind::Interrupted => FailureKind::Interrupted,
        _ => FailureKind::NotPutBack,
    };
    Failure {
        kind,
        state: format!("the target is restored in part, and that stays: {what}"),
        next: "go on with the same command (pgkeep restore --resume …): what is in is not sent again"
            .to_owned(),
        ..failure
    }
}
