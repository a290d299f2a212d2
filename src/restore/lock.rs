//! The locks of a restore: one restore at a time in a database, and no writer in the tables in scope.

use std::collections::HashSet;
use std::fmt;

use tokio_postgres::Client;

use super::plan::RestorePlan;
use crate::connection::Connector;
use crate::failure::{Failure, FailureKind};
use crate::postgres::catalog::{Catalog, Relation, RelationKind};
use crate::postgres::connect::Session;
use crate::postgres::error as pg;
use crate::postgres::quote;
use crate::progress::Events;

/// The advisory lock that every restore takes: the ASCII of `pgkeep` as a number.
const RESTORE_LOCK: i64 = 0x7067_6b65_6570;

/// The advisory lock of a restore that stages rows in a schema of their own: who gets it after may remove that schema.
pub const STAGING_LOCK: i64 = RESTORE_LOCK + 1;

/// The advisory lock of whoever makes that schema: before it is known whether there is one, nobody removes it.
pub const MAKING_LOCK: i64 = RESTORE_LOCK + 2;

/// Locks that are held already.
#[derive(Debug, Default)]
pub struct Held {
    begun: bool,
    tables: HashSet<(u32, &'static str)>,
}

/// Takes the locks in a fixed order, so that two restores cannot deadlock: first the one that keeps other restores
/// out, then EXCLUSIVE on the tables in scope (readers go on, writers and row lockers wait), then SHARE on tables
/// that a foreign key ties to them (nobody may take away a row that a restored row refers to).
///
/// To be called in a transaction whose `lock_timeout` is set. Returns whether a lock was taken that was not in `held`:
/// then what the catalog said may have changed while it was waited for.
pub async fn take(
    client: &Client,
    connector: &Connector,
    catalog: &Catalog,
    plan: &RestorePlan,
    events: &Events,
    held: &mut Held,
) -> Result<bool, Failure> {
    let mut taken = !std::mem::replace(&mut held.begun, true);
    let advisory = format!("SELECT pg_catalog.pg_advisory_xact_lock({RESTORE_LOCK})");
    if let Err(error) = client.batch_execute(&advisory).await {
        if pg::is_lock_timeout(&error) {
            let holder = holders(connector, events, Wanted::Advisory, None).await;
            return Err(Failure::failed(format!(
                "another pgkeep restore is at work in this database{holder}"
            ))
            .state("the target is untouched")
            .next("wait for it to end, or let this one wait longer with --lock-timeout 5min"));
        }
        return Err(error.into());
    }
    let mut tables: Vec<(&Relation, &'static str)> = plan
        .roots(catalog)
        .into_iter()
        .filter(|r| r.kind != RelationKind::Foreign)
        .map(|r| (r, "EXCLUSIVE"))
        .collect();
    tables.extend(plan.neighbours(catalog).into_iter().map(|r| (r, "SHARE")));
    tables.sort_by(|(a, _), (b, _)| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    for (relation, mode) in tables {
        if !held.tables.insert((relation.oid, mode)) {
            continue;
        }
        taken = true;
        let sql = format!("LOCK TABLE {} IN {mode} MODE", relation.from_item());
        if let Err(error) = client.batch_execute(&sql).await {
            if pg::is_lock_timeout(&error) {
                let wanted = Wanted::Table { oid: relation.oid, against: "l.mode <> 'AccessShareLock'" };
                let holder = holders(connector, events, wanted, None).await;
                return Err(locked(&relation.shown(), &holder).state("the target is untouched"));
            }
            let failure =
                Failure::from_server(&error).while_doing(format!("locking table {}", relation.shown()));
            return Err(match failure.kind {
                // SELECT is not enough to lock a table against writers (manual, LOCK).
                FailureKind::Access => failure.state("the target is untouched").next(format!(
                    "GRANT UPDATE ON {} TO {};",
                    relation.quoted(),
                    quote::ident(&catalog.server.role)
                )),
                _ => failure,
            });
        }
    }
    Ok(taken)
}

/// Keeps other restores out for as long as the connection lasts: for a restore that is more than one transaction.
pub async fn keep_others_out(client: &Client, connector: &Connector, events: &Events) -> Result<(), Failure> {
    let sql = format!("SELECT pg_catalog.pg_try_advisory_lock({RESTORE_LOCK})");
    if client.query_typed(&sql, &[]).await?[0].get(0) {
        return Ok(());
    }
    let holder = holders(connector, events, Wanted::Advisory, None).await;
    Err(Failure::failed(format!("another pgkeep restore is at work in this database{holder}"))
        .state("the target is untouched")
        .next("wait for it to end, then run the same command again"))
}

/// Why a table could not even be read in time: one of these is held by somebody who lets nobody in.
pub async fn unreadable(connector: &Connector, events: &Events, tables: &[&Relation]) -> Failure {
    let tables: Vec<(u32, String)> = tables.iter().map(|t| (t.oid, t.shown())).collect();
    first_held(connector, events, &tables, "l.mode = 'AccessExclusiveLock'", None).await
}

/// Why one of these tables could not be had alone in time: somebody reads it.
pub async fn not_alone(
    session: &Session,
    connector: &Connector,
    events: &Events,
    catalog: &Catalog,
    tables: &RestorePlan,
) -> Failure {
    let mut oids = tables.closure(catalog);
    oids.extend(tables.foreign_keys(catalog).iter().flat_map(|(c, f)| [c.table, f.references]));
    let mut relations: Vec<(u32, String)> =
        oids.iter().filter_map(|oid| catalog.relation(*oid)).map(|r| (r.oid, r.shown())).collect();
    relations.sort_by(|(_, a), (_, b)| a.cmp(b));
    first_held(connector, events, &relations, "true", Some(session.backend_pid)).await
}

/// Adds who holds any of these relations, given as SQL, to a failure to change them that came of waiting for a lock.
pub async fn with_holders(
    session: &Session,
    connector: &Connector,
    events: &Events,
    relations: &[String],
    mut failure: Failure,
) -> Failure {
    if failure.lock_timeout && !relations.is_empty() {
        let wanted = Wanted::AnyOf { relations };
        let holders = holders(connector, events, wanted, Some(session.backend_pid)).await;
        if !holders.named.is_empty() {
            failure.what = format!("{}: what is to be changed is locked{holders}", failure.what);
        }
    }
    failure
}

/// The failure that names the first of the tables that somebody but `own` holds.
async fn first_held(
    connector: &Connector,
    events: &Events,
    tables: &[(u32, String)],
    against: &'static str,
    own: Option<i32>,
) -> Failure {
    for (oid, shown) in tables {
        let holder = holders(connector, events, Wanted::Table { oid: *oid, against }, own).await;
        if !holder.named.is_empty() {
            return locked(shown, &holder);
        }
    }
    let names: Vec<&str> = tables.iter().map(|(_, shown)| shown.as_str()).collect();
    locked(&names.join(" or "), &Holders::default())
}

fn locked(table: &str, holders: &Holders) -> Failure {
    let end = match holders.prepared {
        false => "end that session (SELECT pg_terminate_backend(PID)), wait for it,",
        true => {
            "end that transaction, which has no session (COMMIT PREPARED or ROLLBACK PREPARED and its name),"
        }
    };
    Failure::failed(format!("table {table} is locked{holders}"))
        .next(format!("{end} or let pgkeep wait longer with --lock-timeout 5min"))
}

/// Who holds a lock.
#[derive(Default)]
struct Holders {
    /// Sessions and prepared transactions, those first that have been at it longest.
    named: Vec<String>,
    /// Whether one of them is a prepared transaction.
    prepared: bool,
}

/// ` by PID 17 (…)`; nothing where it cannot be found out.
impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.named.is_empty() { Ok(()) } else { write!(f, " by {}", self.named.join(" and ")) }
    }
}

enum Wanted<'a> {
    Advisory,
    /// A table, and the condition on locks that stand in the way.
    Table {
        oid: u32,
        against: &'static str,
    },
    /// Relations, by their names as SQL.
    AnyOf {
        relations: &'a [String],
    },
}

/// Who holds the lock beside the session with the PID `own`.
async fn holders(connector: &Connector, events: &Events, wanted: Wanted<'_>, own: Option<i32>) -> Holders {
    let condition = match wanted {
        Wanted::Advisory => format!(
            "l.locktype = 'advisory' AND ((l.classid::pg_catalog.int8 << 32) | l.objid::pg_catalog.int8) = {RESTORE_LOCK} AND l.objsubid = 1"
        ),
        // Partitions are locked with their table.
        Wanted::Table { oid, against } => format!(
            "l.locktype = 'relation' AND {against} AND (l.relation = {oid}
             OR l.relation IN (SELECT t.relid FROM pg_catalog.pg_partition_tree({oid}) t))"
        ),
        Wanted::AnyOf { relations } => {
            let names: Vec<String> = relations.iter().map(|name| quote::literal(name)).collect();
            format!(
                "l.locktype = 'relation' AND l.relation IN (
                   SELECT pg_catalog.to_regclass(x.name) FROM pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[]) x (name))",
                names.join(", ")
            )
        }
    };
    // A prepared transaction holds its locks without a session; the lock on its own number tells which one it is.
    let sql = format!(
        "SELECT a.pid, COALESCE(a.usename, x.owner)::pg_catalog.text, a.application_name, a.state, x.gid,
                COALESCE(EXTRACT(epoch FROM pg_catalog.now() - COALESCE(a.xact_start, x.prepared))::pg_catalog.int8, 0)
           FROM pg_catalog.pg_locks l
           LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
           LEFT JOIN pg_catalog.pg_locks i
                  ON l.pid IS NULL AND i.pid IS NULL AND i.locktype = 'transactionid'
                 AND i.virtualtransaction = l.virtualtransaction
           LEFT JOIN pg_catalog.pg_prepared_xacts x ON x.transaction = i.transactionid
          WHERE l.granted AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                             WHERE d.datname = pg_catalog.current_database())
            AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() AND l.pid IS DISTINCT FROM {} AND ({condition})
            AND (a.pid IS NOT NULL OR x.gid IS NOT NULL)
          GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 6 DESC LIMIT 5",
        own.unwrap_or_default()
    );
    // The failed transaction cannot ask; another connection can.
    let Ok(session) = connector.connect(events).await else { return Holders::default() };
    let Ok(rows) = session.client.query_typed(&sql, &[]).await else { return Holders::default() };
    let named = rows.iter().map(|row| {
        let (user, age): (Option<&str>, i64) = (row.get(1), row.get(5));
        let user = user.unwrap_or_default();
        match (row.get::<_, Option<i32>>(0), row.get::<_, Option<&str>>(4)) {
            (_, Some(name)) => format!("prepared transaction '{name}' (user {user}, prepared {age} s ago)"),
            (pid, None) => {
                let (application, state): (Option<&str>, Option<&str>) = (row.get(2), row.get(3));
                let application =
                    application.filter(|a| !a.is_empty()).map(|a| format!(", {a}")).unwrap_or_default();
                let (pid, state) = (pid.unwrap_or_default(), state.unwrap_or_default());
                format!("PID {pid} (user {user}{application}, {state}, transaction open for {age} s)")
            }
        }
    });
    let prepared = rows.iter().any(|row| row.get::<_, Option<&str>>(4).is_some());
    Holders { named: named.collect(), prepared }
}
