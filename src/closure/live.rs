//! Rows of a database that belong together, found by queries in a transaction that is open.
//!
//! Rows are named by where they stand (`ctid`), which does not change under the snapshot of a REPEATABLE READ transaction,
//! or while the tables are locked against writers. The server follows a foreign key itself: rows that are known are joined
//! with the other table by the key's own operators and collations, so that no value leaves it, and equal is what is equal to
//! it. A query starts from a few thousand rows, so that the server finds the others by an index where there is one.
//!
//! No table is made: a standby can be asked, and a transaction that only reads.

mod keys;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, Error};

use self::keys::LiveKeys;
use super::scope::{Root, Scope};
use super::tree::{Counts, Tree};
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, Relation};
use crate::postgres::error as pg;
use crate::postgres::tid::Tid;
use crate::postgres::{quote, settings};

/// Rows that one query starts from: as many as the server still finds one by one where that is the fastest.
const TOGETHER: usize = 4000;

/// Whatever the role's settings make the planner believe: rows by their place, and others by an index.
const PLANNING: &str =
    "SET LOCAL enable_tidscan = on; SET LOCAL enable_indexscan = on; SET LOCAL enable_nestloop = on";

/// Chosen rows, by the `oid` of the table that holds them, each table's in the order of their places.
pub type LiveRows = HashMap<u32, Vec<Tid>>;

/// Rows that others are needed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// `oid` of the table, which may be a partitioned one.
    pub relation: u32,
    /// What the rows meet, an SQL condition; none: all rows.
    pub condition: Option<String>,
}

/// The rows within `scope`. The transaction stays as it is.
///
/// Fails where a row that it begins with is not there, or the role may not read a table on the way.
pub async fn entity(client: &Client, catalog: &Catalog, scope: &Scope) -> Result<(LiveRows, Tree), Failure> {
    within_savepoint(client, async {
        let mut search = Search::new(client, catalog);
        for root in &scope.roots {
            search.begin(root).await?;
        }
        search.down(scope).await?;
        search.up().await?;
        Ok(search.finish())
    })
    .await
}

/// The rows that belong to those of `scope` by referring to them, and these themselves, as far as they are there. What they
/// need is not among them.
pub async fn belonging(client: &Client, catalog: &Catalog, scope: &Scope) -> Result<LiveRows, Failure> {
    within_savepoint(client, async {
        let mut search = Search { may_lack: true, ..Search::new(client, catalog) };
        for root in &scope.roots {
            search.begin(root).await?;
        }
        search.down(scope).await?;
        Ok(search.finish().0)
    })
    .await
}

/// The `oid`s of the tables in which [`belonging`] may find rows.
pub fn reach_down(catalog: &Catalog, scope: &Scope) -> Result<BTreeSet<u32>, Failure> {
    let keys = LiveKeys::of(catalog);
    let mut begins = Vec::new();
    for root in &scope.roots {
        begins.push(keys.root(root, catalog)?);
    }
    Ok(keys.reach_down(begins, scope))
}

/// The rows that meet the conditions of `starts`. Tables without a condition have none among them.
pub async fn meeting(client: &Client, catalog: &Catalog, starts: &[Start]) -> Result<LiveRows, Failure> {
    within_savepoint(client, async {
        let mut search = Search::new(client, catalog);
        for start in starts {
            search.given(start).await?;
        }
        Ok(search.finish().0)
    })
    .await
}

/// The rows that those of `starts` need so that no foreign key breaks. Those of a start with a condition are among them, those
/// of whole tables are not.
pub async fn references(
    client: &Client,
    catalog: &Catalog,
    starts: &[Start],
) -> Result<(LiveRows, Tree), Failure> {
    within_savepoint(client, async {
        let mut search = Search::new(client, catalog);
        for start in starts {
            search.given(start).await?;
        }
        search.up().await?;
        Ok(search.finish())
    })
    .await
}

/// The `oid`s of all tables that [`entity`] may have to read, those above and below them in their trees included.
pub fn reach(catalog: &Catalog, scope: &Scope) -> Result<BTreeSet<u32>, Failure> {
    let keys = LiveKeys::of(catalog);
    let mut begins = Vec::new();
    for root in &scope.roots {
        begins.push(keys.root(root, catalog)?);
    }
    Ok(keys.reach(catalog, begins, Some(scope)))
}

/// The same for [`references`].
pub fn reach_up(catalog: &Catalog, starts: &[Start]) -> BTreeSet<u32> {
    let keys = LiveKeys::of(catalog);
    let begins = starts.iter().filter_map(|start| keys.node(start.relation)).collect();
    keys.reach(catalog, begins, None)
}

/// Runs `work` so that neither its settings nor its locks on indexes outlive it: were these kept, REINDEX would wait for
/// this connection, and others that work with it perhaps for REINDEX.
async fn within_savepoint<T>(
    client: &Client,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let begin = format!("SAVEPOINT pgkeep_closure; {}; {PLANNING}", settings::BUILT_IN_FIRST_PATH);
    client.batch_execute(&begin).await?;
    let done = work.await;
    let ended =
        client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_closure; RELEASE SAVEPOINT pgkeep_closure").await;
    let done = done?;
    ended?;
    Ok(done)
}

struct Search<'a> {
    client: &'a Client,
    catalog: &'a Catalog,
    keys: LiveKeys,
    chosen: HashMap<u32, HashSet<Tid>>,
    /// Tables of which all rows are given.
    whole: HashSet<u32>,
    /// Whether rows that it begins with need not be there.
    may_lack: bool,
    counts: Counts,
}

/// New rows, by the table that holds them.
type Frontier = HashMap<u32, Vec<Tid>>;

impl<'a> Search<'a> {
    fn new(client: &'a Client, catalog: &'a Catalog) -> Search<'a> {
        let keys = LiveKeys::of(catalog);
        let counts = Counts::of(&keys.graph);
        Search {
            client,
            catalog,
            keys,
            chosen: HashMap::new(),
            whole: HashSet::new(),
            may_lack: false,
            counts,
        }
    }

    /// Chooses the rows that `root` names.
    async fn begin(&mut self, root: &Root) -> Result<(), Failure> {
        let place = format!("database {}", self.catalog.server.database);
        let node = self.keys.root(root, self.catalog)?;
        let top = self.keys.tops[node];
        let key = self.catalog.key(top, |_| true).ok_or_else(|| root.keyless())?;
        let names: Vec<String> = key.columns.iter().map(|column| column.name.clone()).collect();
        self.counts.begins[node] = true;
        for (at, id) in root.ids(&names)?.iter().enumerate() {
            let equal = key.columns.iter().zip(id).map(|(column, value)| {
                let name = quote::ident(&column.name);
                format!("t.{name}{} {} {}", column.collate, column.equals, quote::literal(value))
            });
            let condition = equal.collect::<Vec<_>>().join(" AND ");
            let mut is_there = false;
            for source in self.keys.sources(self.catalog, top) {
                let sql = format!("SELECT t.tableoid, t.ctid FROM {source} AS t WHERE {condition}");
                let rows = self.rows(&sql).await.map_err(|error| match pg::sqlstate(&error) {
                    // Class 22, data exception: no value of the column's type. The server's words would quote it.
                    Some(state) if state.starts_with("22") => root.missing(at, &place),
                    _ => Failure::from_server(&error).while_doing(format!("looking for {}", root.as_str())),
                })?;
                for (table, tid) in rows {
                    is_there = true;
                    if self.chosen.entry(table).or_default().insert(tid) {
                        self.counts.down[node] += 1;
                    }
                }
            }
            if !is_there && !self.may_lack {
                return Err(root.missing(at, &place));
            }
        }
        Ok(())
    }

    /// Begins with rows that are wanted in any case.
    async fn given(&mut self, start: &Start) -> Result<(), Failure> {
        let (Some(node), Some(relation)) =
            (self.keys.node(start.relation), self.catalog.relation(start.relation))
        else {
            return Ok(());
        };
        self.counts.begins[node] = true;
        match &start.condition {
            None => {
                self.counts.whole[node] = true;
                self.whole.extend(self.catalog.leaves(relation).iter().map(|leaf| leaf.oid));
            }
            Some(condition) => {
                let name = quote::ident(&relation.name);
                for source in self.keys.sources(self.catalog, relation.oid) {
                    let sql = format!("SELECT tableoid, ctid FROM {source} AS {name} WHERE ({condition}\n)");
                    for (table, tid) in self.rows(&sql).await.map_err(|e| refused(relation, &e))? {
                        if self.chosen.entry(table).or_default().insert(tid) {
                            self.counts.down[node] += 1;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds the rows that refer to chosen ones.
    async fn down(&mut self, scope: &Scope) -> Result<(), Failure> {
        let mut frontier = self.all_chosen();
        while !frontier.is_empty() {
            let mut next = Frontier::new();
            for (leaf, tids) in in_order(frontier) {
                let Some(node) = self.keys.node(leaf) else { continue };
                for way in self.keys.graph.down(node).to_vec() {
                    let child = self.keys.graph.ways[way].child;
                    let of_child = &self.keys.graph.nodes[child];
                    if !scope.takes(&of_child.schema, &of_child.name) {
                        continue;
                    }
                    for source in self.keys.sources(self.catalog, self.keys.tops[child]) {
                        let found = self.joined(way, ("c", &source), ("p", leaf), &tids).await?;
                        for (table, tid) in found {
                            self.counts.used[way] = true;
                            if self.chosen.entry(table).or_default().insert(tid) {
                                self.counts.down[child] += 1;
                                next.entry(table).or_default().push(tid);
                            }
                        }
                    }
                }
            }
            frontier = next;
        }
        Ok(())
    }

    /// Adds the rows that chosen and given ones refer to.
    async fn up(&mut self) -> Result<(), Failure> {
        let mut frontier = self.all_chosen();
        let mut whole: Vec<u32> = self.whole.iter().copied().collect();
        whole.sort_unstable();
        for leaf in whole {
            let Some(node) = self.keys.node(leaf) else { continue };
            for way in self.keys.graph.up(node).to_vec() {
                for source in self.sources_above(way) {
                    let (Some(child), condition) = (self.catalog.relation(leaf), &self.keys.conditions[way])
                    else {
                        continue;
                    };
                    let sql = format!(
                        "SELECT p.tableoid, p.ctid FROM {source} AS p WHERE EXISTS (SELECT FROM {} AS c WHERE {condition})",
                        child.from_item()
                    );
                    let found = self.rows(&sql).await.map_err(|e| reading(child, &e))?;
                    self.need(way, found, &mut frontier);
                }
            }
        }
        while !frontier.is_empty() {
            let mut next = Frontier::new();
            for (leaf, tids) in in_order(frontier) {
                let Some(node) = self.keys.node(leaf) else { continue };
                for way in self.keys.graph.up(node).to_vec() {
                    for source in self.sources_above(way) {
                        let found = self.joined(way, ("p", &source), ("c", leaf), &tids).await?;
                        self.need(way, found, &mut next);
                    }
                }
            }
            frontier = next;
        }
        Ok(())
    }

    /// What stands behind FROM to mean the rows that a way leads up to; nothing where all of them are given.
    fn sources_above(&self, way: usize) -> Vec<String> {
        let top = self.keys.tops[self.keys.graph.ways[way].parent];
        let Some(relation) = self.catalog.relation(top) else { return Vec::new() };
        if self.catalog.leaves(relation).iter().all(|leaf| self.whole.contains(&leaf.oid)) {
            return Vec::new();
        }
        self.keys.sources(self.catalog, top)
    }

    fn need(&mut self, way: usize, found: Vec<(u32, Tid)>, next: &mut Frontier) {
        let parent = self.keys.graph.ways[way].parent;
        for (table, tid) in found {
            if !self.whole.contains(&table) && self.chosen.entry(table).or_default().insert(tid) {
                self.counts.needed[parent] += 1;
                next.entry(table).or_default().push(tid);
            }
        }
    }

    /// The rows of `wanted` that a way ties to rows of `known`: the parent's side is called `p` and the child's `c`.
    async fn joined(
        &self,
        way: usize,
        (wanted, source): (&str, &str),
        (known, leaf): (&str, u32),
        tids: &[Tid],
    ) -> Result<Vec<(u32, Tid)>, Failure> {
        let Some(relation) = self.catalog.relation(leaf) else { return Ok(Vec::new()) };
        let condition = &self.keys.conditions[way];
        let mut found = Vec::new();
        for batch in tids.chunks(TOGETHER) {
            let sql = format!(
                "SELECT {wanted}.tableoid, {wanted}.ctid FROM ONLY {} AS {known} JOIN {source} AS {wanted} ON {condition} WHERE {}",
                relation.quoted(),
                Tid::among(batch, &format!("{known}.ctid"))
            );
            found.extend(self.rows(&sql).await.map_err(|e| {
                let way = &self.keys.graph.ways[way];
                let child = &self.keys.graph.nodes[way.child].shown;
                Failure::from_server(&e).while_doing(format!("following foreign key {} of {child}", way.key))
            })?);
        }
        Ok(found)
    }

    /// The tables and places that a query gives.
    async fn rows(&self, sql: &str) -> Result<Vec<(u32, Tid)>, Error> {
        let none: [(&str, Type); 0] = [];
        let mut rows = pin!(self.client.query_typed_raw(sql, none).await?);
        let mut found = Vec::new();
        while let Some(row) = rows.try_next().await? {
            found.push((row.try_get(0)?, row.try_get::<_, Place>(1)?.0));
        }
        Ok(found)
    }

    fn all_chosen(&self) -> Frontier {
        self.chosen.iter().map(|(table, tids)| (*table, tids.iter().copied().collect())).collect()
    }

    fn finish(self) -> (LiveRows, Tree) {
        let tree = Tree::new(&self.keys.graph, &self.counts);
        (in_order(self.all_chosen()).into_iter().collect(), tree)
    }
}

/// Tables in the order of their numbers, rows in that of their places.
fn in_order(rows: Frontier) -> Vec<(u32, Vec<Tid>)> {
    let mut tables: Vec<(u32, Vec<Tid>)> = rows.into_iter().filter(|(_, tids)| !tids.is_empty()).collect();
    tables.sort_unstable_by_key(|(table, _)| *table);
    for (_, tids) in &mut tables {
        tids.sort_unstable();
    }
    tables
}

fn reading(relation: &Relation, error: &Error) -> Failure {
    Failure::from_server(error).while_doing(format!("reading table {}", relation.shown()))
}

/// What the server says of a condition.
fn refused(relation: &Relation, error: &Error) -> Failure {
    match pg::sqlstate(error) {
        // insufficient_privilege
        Some("42501") => reading(relation, error),
        // Class 42, syntax error or access rule violation, and class 22, data exception.
        Some(state) if state.starts_with("42") || state.starts_with("22") => {
            let what = Failure::from_server(error).what;
            Failure::usage(format!("the condition on rows of {} cannot be used: {what}", relation.shown()))
                .next("write --where 'TABLE: CONDITION', the condition as it would stand behind WHERE; quote it from the shell")
        }
        _ => reading(relation, error),
    }
}

/// A `ctid` as the server sends it.
struct Place(Tid);

impl<'a> FromSql<'a> for Place {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Place(Tid::from_binary(raw.try_into()?)))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TID
    }
}
