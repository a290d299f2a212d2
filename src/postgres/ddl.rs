//! Catalog → DDL: every object of a database that is not the server's own, with the SQL that makes it.
//!
//! A constant number of queries, one file for each group of kinds: each gives [`draft::Draft`]s. What a database has none
//! of is not asked for (`present`). [`read()`] joins them:
//! what belongs to an extension is left to it, comments and privileges find their objects, and `order` puts each behind
//! all that it needs.
//!
//! Everything is read under the caller's transaction with an empty search path (see `settings`), so that the server's
//! own functions (`pg_get_viewdef` and the like) name everything by its schema.

mod acl;
mod attach;
mod circles;
mod collations;
mod comments;
mod configuration;
mod database;
mod domains;
pub mod draft;
mod foreign;
mod foreign_keys;
mod functions;
mod indexes;
mod kept;
mod large_objects;
mod materialized;
mod operators;
mod order;
mod policies;
pub mod present;
mod privileges;
mod replication;
mod roles;
mod rows;
mod schemaless;
mod schemas;
mod sequences;
mod statistics;
mod tables;
mod text_search;
mod triggers;
mod types;
mod views;

use std::collections::HashMap;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio_postgres::{Client, Error};

use super::error;
use crate::schema::{Role, Schema};
use draft::{Address, Draft, Reader, at, class};
use order::Edge;
use present::Absent;

/// What depends on what. Left out: extensions' members, and that an owned sequence goes with its column, which is an
/// object of its own here (`SequenceOwner`): a column's default needs the sequence first.
const EDGES: &str = "
SELECT d.classid, d.objid, d.refclassid, d.refobjid
  FROM pg_catalog.pg_depend d
 WHERE d.deptype NOT IN ('e', 'p') AND d.objid >= 16384
   AND (d.classid <> d.refclassid OR d.objid <> d.refobjid)
   AND NOT (d.deptype = 'a' AND d.classid = 1259 AND d.refclassid = 1259
            AND EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = d.objid AND c.relkind = 'S'))";

/// Extensions' members.
const MEMBERS: &str = "
SELECT d.classid, d.objid, d.refobjid FROM pg_catalog.pg_depend d WHERE d.deptype = 'e' AND d.refclassid = 3079";

/// The roles that policies are for and that user mappings are of.
const ROLES: &str = "
SELECT d.classid, d.objid, r.rolname::pg_catalog.text
  FROM pg_catalog.pg_shdepend d
  JOIN pg_catalog.pg_roles r ON r.oid = d.refobjid
 WHERE d.dbid = (SELECT b.oid FROM pg_catalog.pg_database b WHERE b.datname = pg_catalog.current_database())
   AND d.refclassid = 1260 AND (d.deptype = 'r' OR d.classid = 1418)
 ORDER BY 1, 2, 3";

/// The schema of the database that `client` is connected to, under its transaction.
pub async fn read(client: &Client, version: u32) -> Result<Schema, Error> {
    read_over(client, client, version, Secrets::Left).await
}

/// The same, with what is in the vault where that is asked for.
pub async fn read_with(client: &Client, version: u32, secrets: Secrets) -> Result<Schema, Error> {
    read_over(client, client, version, secrets).await
}

/// Whether what is in a vault is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    /// It stays there.
    #[default]
    Left,
    /// It is read, in the clear.
    Taken,
}

/// The same over two connections in transactions that share a snapshot. Of most queries, to plan them takes longest; where
/// there are thousands of tables, the queries of indexes, tables and dependencies do. The second gets less: a backup has
/// that one read the catalog before.
pub async fn read_over(
    client: &Client,
    second: &Client,
    version: u32,
    secrets: Secrets,
) -> Result<Schema, Error> {
    let reader = Reader { client, version, absent: Absent::default() };
    let second = Reader { client: second, ..reader };
    let results = tokio::join!(
        async {
            let absent = present::absent(client).await?;
            let (reader, second) = (Reader { absent, ..reader }, Reader { absent, ..second });
            let (drafts, comments) = tokio::join!(drafts(reader, second), comments::read(second));
            both(drafts, comments)
        },
        edges(reader),
        members(reader),
        schemas::dependents(reader),
        roles_named(reader),
        privileges::read(reader),
        database::read(reader),
        kept::read(reader, secrets == Secrets::Taken),
    );
    let (a, b, c, d, e, f, g, h) = results;
    let (((mut drafts, comments), (edges, members)), (dependents, (named, (privileges, (database, kept))))) =
        both(both(a, both(b, c)), both(d, both(e, both(f, both(g, h)))))?;
    let (mut alias, brought) = attach::leave_to_extensions(&mut drafts, members, &kept.of_queues);
    alias.extend(kept.of_queues);
    drafts.extend(kept.drafts);
    schemas::mark(&mut drafts, dependents);
    attach::roles(&mut drafts, named);
    attach::comments(&mut drafts, comments);
    attach::leave_out_empty(&mut drafts);
    attach::privileges(&mut drafts, privileges);
    attach::leave_out_staging(&mut drafts);
    let objects = order::order(drafts, &edges, &alias);
    Ok(Schema { database: Some(database), objects, roles: Vec::new(), brought })
}

/// The roles of the cluster; with what the server keeps of their passwords, where that is asked for and permitted.
pub async fn roles(client: &Client, version: u32, passwords: bool) -> Result<Vec<Role>, Error> {
    roles::read(Reader { client, version, absent: Absent::default() }, passwords).await
}

async fn edges(reader: Reader<'_>) -> Result<Vec<Edge>, Error> {
    let rows = reader.rows(EDGES).await?;
    Ok(rows.iter().map(|r| Edge { from: at(r.get(0), r.get(1)), to: at(r.get(2), r.get(3)) }).collect())
}

async fn roles_named(reader: Reader<'_>) -> Result<Vec<(Address, String)>, Error> {
    let rows = reader.rows(ROLES).await?;
    Ok(rows.iter().map(|r| (at(r.get(0), r.get(1)), r.get(2))).collect())
}

/// The members of extensions, and whose they are.
async fn members(reader: Reader<'_>) -> Result<HashMap<Address, Address>, Error> {
    let rows = reader.rows(MEMBERS).await?;
    Ok(rows.iter().map(|r| (at(r.get(0), r.get(1)), at(class::EXTENSION, r.get(2)))).collect())
}

/// Both, or why not: of queries that go over a connection together, those behind the one that fails only say that the
/// transaction is aborted (in_failed_sql_transaction).
pub fn both<A, B>(a: Result<A, Error>, b: Result<B, Error>) -> Result<(A, B), Error> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) => Err(if error::sqlstate(&a) == Some("25P02") { b } else { a }),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// What all readers give, in no particular order. Their queries go over the connection one behind the other, none
/// waiting for another's answer.
async fn drafts(reader: Reader<'_>, second: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let all = join_all([
        indexes::read(second).boxed(),
        foreign_keys::read(second).boxed(),
        schemas::read(reader).boxed(),
        schemaless::read(reader).boxed(),
        collations::read(reader).boxed(),
        types::read(reader).boxed(),
        domains::read(reader).boxed(),
        functions::read(reader).boxed(),
        operators::read(second).boxed(),
        text_search::read(second).boxed(),
        tables::read(reader).boxed(),
        sequences::read(reader).boxed(),
        statistics::read(reader).boxed(),
        views::read(reader).boxed(),
        materialized::read(reader).boxed(),
        policies::read(reader).boxed(),
        triggers::read(reader).boxed(),
        foreign::read(second).boxed(),
        replication::read(second).boxed(),
        large_objects::read(second).boxed(),
        privileges::defaults(second).boxed(),
    ])
    .await;
    let mut drafts = Ok(Vec::new());
    for more in all {
        drafts = both(drafts, more).map(|(mut drafts, more)| {
            drafts.extend(more);
            drafts
        });
    }
    drafts
}
