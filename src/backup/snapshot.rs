//! One consistent snapshot, with every table in it held against DROP, TRUNCATE and ALTER.
//!
//! LOCK TABLE takes no snapshot of its own, so the tables are locked first and the snapshot is taken after: a rewrite
//! or TRUNCATE that committed in between cannot make a table look empty (manual, 13.6). Which tables there are is
//! read beforehand; if that has changed by the time of the snapshot, the whole is done again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio_postgres::{Client, Error};

use super::plan::{Plan, Taken, foreign};
use super::readable::{check_readable, kept_as_objects};
use super::{BackupOptions, Choice, Content};
use super::{chosen, large_objects, plannable};
use crate::closure::Tree;
use crate::failure::Failure;
use crate::host::Profile;
use crate::postgres::catalog::{Catalog, Relation, RelationKind, SequenceInfo};
use crate::postgres::error as pg;
use crate::postgres::{ddl, quote, settings};
use crate::progress::Events;
use crate::schema::Schema;
use crate::selection::TableFilter;

/// How often a changing set of tables is followed before the last resort of locking what is new after the snapshot.
const ATTEMPTS: u32 = 5;
/// How long a lock is waited for without a word.
const WAIT_UNSAID: Duration = Duration::from_secs(5);
/// Tables in one LOCK statement.
const LOCK_BATCH: usize = 500;

/// A held snapshot: the transaction on the leading connection stays open until the caller ends it.
pub struct Snapshot {
    /// The catalog under the snapshot, with the states of the planned tables' sequences.
    pub catalog: Catalog,
    /// What to dump.
    pub plan: Plan,
    /// What `SET TRANSACTION SNAPSHOT` takes.
    pub id: String,
    /// The objects of the database, where they are wanted.
    pub schema: Option<Schema>,
    /// Where rows were chosen by foreign keys: the tables that they are of, and what was found.
    pub chosen: Option<(TableFilter, Tree)>,
}

fn begin(version: u32) -> String {
    let (fixed, reading) = (settings::statements(version), settings::READING);
    format!("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; {fixed} {reading}")
}

/// Which tables there are, for [`take`] to lock.
pub async fn look(client: &Client, version: u32) -> Result<Catalog, Failure> {
    client.batch_execute(&begin(version)).await?;
    let tables = Catalog::read_tables(client).await?;
    client.batch_execute("ROLLBACK").await?;
    Ok(tables)
}

/// Opens a read-only transaction on `client`, locks what `options` want and takes the snapshot.
///
/// `tables` are those that [`look`] has just found; a `second` connection helps to read the definitions. On failure the transactions are
/// left for the caller to end.
pub async fn take(
    client: &Client,
    second: Option<&Client>,
    tables: Catalog,
    host: &Profile,
    options: &BackupOptions,
    events: &Events,
) -> Result<Snapshot, Failure> {
    let content = options.content;
    let version = tables.server.version_num;
    let mut first = Some(tables);
    for attempt in 1..=ATTEMPTS {
        let last = attempt == ATTEMPTS;
        let tables = match first.take() {
            Some(tables) => tables,
            None => look(client, version).await.map_err(|e| e.while_doing("listing the tables"))?,
        };
        let tried = match (content, &options.choice) {
            (Content::Schema, _) => schema_alone(client, second, tables, options, events).await,
            (_, Choice::WithReferences | Choice::Entity { .. }) => {
                try_to_choose((client, second), version, host, options, events, last).await
            }
            (_, Choice::All) => try_to_take((client, second), tables, host, options, events, last).await,
        };
        match tried {
            Ok(Some(snapshot)) => return Ok(snapshot),
            Ok(None) => {}
            Err(Trouble::Server(error)) if is_gone(&error) && !last => {}
            // character_not_in_repertoire
            Err(Trouble::Server(error))
                if pg::sqlstate(&error) == Some("22021") && content != Content::Data =>
            {
                return Err(Failure::from_server(&error)
                    .while_doing("reading the definitions (a function, a comment), which are not all UTF-8")
                    .state("nothing was written")
                    .next("back up the rows, which may be of any encoding: pgkeep backup --data-only"));
            }
            Err(Trouble::Server(error)) => {
                return Err(Failure::from_server(&error).while_doing("listing and locking the tables"));
            }
            Err(Trouble::Other(failure)) => return Err(failure),
        }
        events.detail(format!("tables came or went while they were being locked; trying again ({attempt})"));
        client.batch_execute("ROLLBACK").await?;
        if let Some(second) = second {
            second.batch_execute("ROLLBACK").await?;
        }
    }
    Err(Failure::failed("tables are being created and dropped faster than they can be locked")
        .state("nothing was written")
        .next("run the backup again at a quieter time, or leave the changing tables out with --exclude"))
}

enum Trouble {
    Server(Error),
    Other(Failure),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Server(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Other(failure)
    }
}

/// Whether the server missed something that was there a moment ago.
fn is_gone(error: &Error) -> bool {
    // undefined_table, invalid_schema_name, undefined_object; internal_error is what the catalog's own functions say
    // ("cache lookup failed").
    matches!(pg::sqlstate(error), Some("42P01" | "3F000" | "42704" | "XX000"))
}

/// One attempt; none when the set of tables changed meanwhile and it is not the last one.
async fn try_to_take(
    (client, second): (&Client, Option<&Client>),
    mut catalog: Catalog,
    host: &Profile,
    options: &BackupOptions,
    events: &Events,
    last: bool,
) -> Result<Option<Snapshot>, Trouble> {
    let (filter, content) = (&options.filter, options.content);
    let version = catalog.server.version_num;
    if content == Content::Data {
        check_filter(&catalog, filter, None)?;
    }
    host.leave_out(&mut catalog, content != Content::Data);
    let plan = Plan::new(&catalog, filter, options.way());
    let kept = kept_as_objects(&catalog, filter);
    check_readable(&catalog, &plan, &wanted_sequences(&catalog, &plan, filter), &kept)?;

    client.batch_execute(&begin(version)).await?;
    let relations: Vec<&Relation> = plan.parts.iter().filter_map(|p| catalog.relation(p.relation)).collect();
    lock(client, &relations, events).await?;
    let id: String = client.query_typed("SELECT pg_catalog.pg_export_snapshot()", &[]).await?[0].get(0);
    let (mut now, schema) = read_held((client, second), &id, version, options).await?;
    host.leave_out(&mut now, content != Content::Data);
    let locked = covered(&catalog, &plan);
    now.read_sizes(client, |relation| locked.contains(&relation.oid)).await?;
    let mut plan_now = Plan::new(&now, filter, options.way());
    let late: Vec<&Relation> = plan_now
        .units
        .iter()
        .map(|u| u.relation)
        .chain(plan_now.parts.iter().map(|p| p.relation))
        .filter(|oid| !locked.contains(oid))
        .filter_map(|oid| now.relation(oid))
        .collect();
    if !late.is_empty() && !last {
        return Ok(None);
    }
    let sequences = wanted_sequences(&now, &plan_now, filter);
    check_readable(&now, &plan_now, &sequences, &kept_as_objects(&now, filter))?;
    if !late.is_empty() {
        lock(client, &late, events).await?;
        check_not_rewritten(client, &now, &late).await?;
    }
    if !options.rows.is_all() {
        chosen::check(&now, &plan_now, options)?;
        let rows = chosen::meeting(client, &now, options).await?;
        chosen::check_met(&now, &chosen::conditional(&now, options), &rows)?;
        let taken = Taken { rows: Some(&rows), choice: Some(&options.rows) };
        plan_now = Plan::narrowed(&now, filter, options.way(), taken);
    }
    plannable::give_up_unplannable(client, &now, &mut plan_now).await?;
    add_large_objects(client, &now, filter, &mut plan_now).await?;
    now.read_sequences(client, |s| sequences.contains(&s.oid)).await?;
    let schema = match (content, schema) {
        (Content::Data, _) => None,
        (_, Some(schema)) => Some(schema),
        (_, None) => Some(ddl::read_with(client, version, options.secrets).await?),
    };
    check_filter(&now, filter, schema.as_ref())?;
    Ok(Some(Snapshot { catalog: now, plan: plan_now, id, schema, chosen: None }))
}

/// The same for rows that foreign keys tie together: all tables in which they may be are held while they are looked for.
async fn try_to_choose(
    (client, second): (&Client, Option<&Client>),
    version: u32,
    host: &Profile,
    options: &BackupOptions,
    events: &Events,
    last: bool,
) -> Result<Option<Snapshot>, Trouble> {
    let with_objects = options.content != Content::Data;
    client.batch_execute(&begin(version)).await?;
    let mut before = Catalog::read(client).await?;
    client.batch_execute("ROLLBACK").await?;
    host.leave_out(&mut before, with_objects);
    let reached = chosen::reach(&before, options)?;
    let read = |reached: &BTreeSet<u32>| reached.iter().copied().collect::<Vec<u32>>();
    check_readable(&before, &Plan::default(), &HashSet::new(), &read(&reached))?;

    client.batch_execute(&begin(version)).await?;
    lock(client, &chosen::lockable(&before, &reached), events).await?;
    let id: String = client.query_typed("SELECT pg_catalog.pg_export_snapshot()", &[]).await?[0].get(0);
    let (mut now, schema) = read_held((client, second), &id, version, options).await?;
    host.leave_out(&mut now, with_objects);
    let reached_now = chosen::reach(&now, options)?;
    if !reached_now.is_subset(&reached) {
        let changing = "foreign keys are being made faster than the tables can be locked";
        return if last { Err(Failure::failed(changing).into()) } else { Ok(None) };
    }
    check_readable(&now, &Plan::default(), &HashSet::new(), &read(&reached_now))?;
    check_filter(&now, &options.filter, schema.as_ref())?;
    let (rows, tree) = chosen::find(client, &now, options).await?;
    let asked = match options.choice {
        Choice::WithReferences => Some(&options.filter),
        _ => None,
    };
    now.read_sizes(client, |relation| asked.is_some() && reached_now.contains(&relation.oid)).await?;
    let conditional = chosen::conditional(&now, options);
    chosen::check_met(&now, &conditional, &rows)?;
    let mut plan = Plan::with_chosen(&now, asked, &conditional, &rows, &options.rows, options.way());
    chosen::check(&now, &plan, options)?;
    plannable::give_up_unplannable(client, &now, &mut plan).await?;
    let filter = plan.filter(options);
    let sequences = wanted_sequences(&now, &plan, &filter);
    let mut kept = Vec::new();
    if let Some(asked) = asked {
        plan.foreign = foreign(&now, asked);
        kept = kept_as_objects(&now, asked);
        add_large_objects(client, &now, asked, &mut plan).await?;
    }
    check_readable(&now, &plan, &sequences, &kept)?;
    now.read_sequences(client, |s| sequences.contains(&s.oid)).await?;
    let schema = match (with_objects, schema) {
        (false, _) => None,
        (true, Some(schema)) => Some(schema),
        (true, None) => Some(ddl::read_with(client, version, options.secrets).await?),
    };
    Ok(Some(Snapshot { catalog: now, plan, id, schema, chosen: Some((filter, tree)) }))
}

/// Adds large objects to the plan where they are wanted.
async fn add_large_objects(
    client: &Client,
    catalog: &Catalog,
    filter: &TableFilter,
    plan: &mut Plan,
) -> Result<(), Trouble> {
    if catalog.server.has_large_objects && large_objects::wanted(filter) {
        large_objects::check_readable(client, &catalog.server).await?;
        large_objects::add(client, catalog, plan).await?;
    }
    Ok(())
}

/// The catalog under the snapshot, and the objects where they are wanted and another connection helps to read them.
async fn read_held(
    (client, second): (&Client, Option<&Client>),
    id: &str,
    version: u32,
    options: &BackupOptions,
) -> Result<(Catalog, Option<Schema>), Trouble> {
    let Some(second) = second.filter(|_| options.content != Content::Data) else {
        return Ok((Catalog::read(client).await?, None));
    };
    together(client, second, id, version).await?;
    let (now, schema) =
        tokio::join!(Catalog::read(client), ddl::read_over(second, client, version, options.secrets));
    Ok(match alone_again(client, second, ddl::both(now, schema)).await? {
        Some((now, schema)) => (now, Some(schema)),
        None => (Catalog::read(client).await?, Some(ddl::read_with(client, version, options.secrets).await?)),
    })
}

/// To describe a view or an index the server locks what it reads, also what is not backed up. Behind a queued ACCESS
/// EXCLUSIVE request one connection would wait for one that waits for the other, which waits for the first: no server sees
/// that. So neither waits for long.
const NO_LONG_WAIT: &str = "SET LOCAL lock_timeout = '2s'";

/// Brings another connection under the snapshot, to describe objects beside `client`.
async fn together(client: &Client, second: &Client, id: &str, version: u32) -> Result<(), Error> {
    let id = quote::literal(id);
    let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    let fixed = settings::statements(version);
    second.batch_execute(&format!("{begin}; SET TRANSACTION SNAPSHOT {id}; {fixed} {NO_LONG_WAIT}")).await?;
    client.batch_execute(&format!("SAVEPOINT pgkeep_together; {NO_LONG_WAIT}")).await
}

/// What came of that. None where one of them has waited: then `client` has to do it alone, and may wait.
async fn alone_again<T>(
    client: &Client,
    second: &Client,
    read: Result<T, Error>,
) -> Result<Option<T>, Error> {
    let end = "ROLLBACK TO SAVEPOINT pgkeep_together; RELEASE SAVEPOINT pgkeep_together";
    match read {
        Err(error) if pg::is_lock_timeout(&error) => {
            second.batch_execute("ROLLBACK").await?;
            client.batch_execute(end).await?;
            Ok(None)
        }
        Err(error) => Err(error),
        Ok(read) => {
            client.batch_execute(end).await?;
            Ok(Some(read))
        }
    }
}

/// The same for objects without rows: the tables are held, so that none goes while it is described.
async fn schema_alone(
    client: &Client,
    second: Option<&Client>,
    catalog: Catalog,
    options: &BackupOptions,
    events: &Events,
) -> Result<Option<Snapshot>, Trouble> {
    let filter = &options.filter;
    let version = catalog.server.version_num;
    client.batch_execute(&begin(version)).await?;
    // Foreign tables cannot be locked before version 18; what the role may not read it may still describe.
    let tables: Vec<&Relation> = catalog
        .relations
        .iter()
        .filter(|r| r.kind != RelationKind::Foreign && filter.wants(&r.schema, &r.name))
        .filter(|r| r.lacks(&["USAGE", "SELECT"]).is_empty())
        .collect();
    lock(client, &tables, events).await?;
    let schema = match second {
        None => ddl::read_with(client, version, options.secrets).await?,
        Some(second) => {
            let id: String =
                client.query_typed("SELECT pg_catalog.pg_export_snapshot()", &[]).await?[0].get(0);
            together(client, second, &id, version).await?;
            let schema = ddl::read_over(client, second, version, options.secrets).await;
            match alone_again(client, second, schema).await? {
                Some(schema) => schema,
                None => ddl::read_with(client, version, options.secrets).await?,
            }
        }
    };
    check_filter(&catalog, filter, Some(&schema))?;
    let catalog = Catalog { server: catalog.server, ..Catalog::default() };
    let (plan, id) = (Plan::default(), String::new());
    Ok(Some(Snapshot { catalog, plan, id, schema: Some(schema), chosen: None }))
}

/// The sequences that belong to the planned tables: all of them, when nothing was left out.
pub(super) fn wanted_sequences(catalog: &Catalog, plan: &Plan, filter: &TableFilter) -> HashSet<u32> {
    let covered = covered(catalog, plan);
    let used = |tables: &[u32]| tables.iter().any(|t| covered.contains(t));
    let with_all = |s: &SequenceInfo| filter.is_all() && !s.left;
    catalog.sequences.iter().filter(|s| with_all(s) || used(&s.used_by)).map(|s| s.oid).collect()
}

/// The planned tables with all partitions below them.
fn covered(catalog: &Catalog, plan: &Plan) -> HashSet<u32> {
    let mut below: HashMap<u32, Vec<u32>> = HashMap::new();
    for relation in &catalog.relations {
        if let Some(above) = relation.partition_of {
            below.entry(above).or_default().push(relation.oid);
        }
    }
    let mut covered = HashSet::new();
    let mut next: Vec<u32> = plan.parts.iter().map(|p| p.relation).collect();
    while let Some(oid) = next.pop() {
        covered.insert(oid);
        next.extend(below.remove(&oid).unwrap_or_default());
    }
    covered
}

/// Refuses patterns that mean nothing: a typing error must not make an empty backup.
///
/// Where definitions are taken, views and the like count, too.
pub fn check_filter(catalog: &Catalog, filter: &TableFilter, schema: Option<&Schema>) -> Result<(), Failure> {
    // A configuration may leave large objects out of a database that has none.
    let large_objects = std::iter::once((large_objects::SCHEMA, large_objects::NAME));
    let tables = catalog.relations.iter().map(|r| (r.schema.as_str(), r.name.as_str()));
    let relations = schema.into_iter().flat_map(|s| &s.objects).filter(|o| o.kind.is_relation());
    let relations = relations.map(|o| (o.schema.as_deref().unwrap_or_default(), o.name.as_str()));
    let unmatched = filter.unmatched(tables.chain(relations).chain(large_objects));
    if unmatched.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "no table of database {} matches {}",
        catalog.server.database,
        unmatched.iter().map(|p| format!("{p:?}")).collect::<Vec<_>>().join(", ")
    ))
    .state("nothing was written")
    .next("a bare name means schema public; write schema.table for others, and mind capitals"))
}

async fn lock(client: &Client, relations: &[&Relation], events: &Events) -> Result<(), Error> {
    for batch in relations.chunks(LOCK_BATCH) {
        let names: Vec<String> = batch.iter().map(|r| r.from_item()).collect();
        let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
        let mut locking = std::pin::pin!(client.batch_execute(&sql));
        loop {
            match tokio::time::timeout(WAIT_UNSAID, locking.as_mut()).await {
                Ok(locked) => break locked?,
                Err(_) => events.warn(
                    "waiting for a table that somebody holds ACCESS EXCLUSIVE; who it is: SELECT * FROM pg_stat_activity \
                     WHERE pid IN (SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity WHERE application_name = 'pgkeep'); \
                     if that shows nobody, it is a prepared transaction: SELECT * FROM pg_prepared_xacts",
                ),
            }
        }
    }
    Ok(())
}

/// Fails if a table that could only be locked after the snapshot has other storage than the snapshot knows.
async fn check_not_rewritten(client: &Client, seen: &Catalog, late: &[&Relation]) -> Result<(), Failure> {
    let now = Catalog::read(client).await?;
    for relation in late {
        let current = now.relation(relation.oid).and_then(|r| r.current_filenode);
        let known = seen.relation(relation.oid).map(|r| r.filenode);
        if relation.filenode != 0 && current != known {
            return Err(Failure::failed(format!(
                "table {} was rewritten while it was being locked",
                relation.shown()
            ))
            .state("nothing was written")
            .next("run the backup again"));
        }
    }
    Ok(())
}
