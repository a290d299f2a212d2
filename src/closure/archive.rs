//! Rows of an archive that belong together, found without a server.
//!
//! What is known of the chosen rows is their keys: for each foreign key, the values by which others may refer to them and
//! those by which they refer to others. Memory is so in proportion to what is chosen, and not to the archive. Going down,
//! tables are read parents first, each once, but for those that refer to each other in a circle, which are read again as long
//! as there are keys that they have not been asked for. Going up, children first, and a table is read only where a row of it
//! is needed that is not chosen yet, and no further than to the last of those. Chunks in whose spans no wanted value can
//! be are not read.

mod form;
mod keys;
mod rows;
mod scan;

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio_util::sync::CancellationToken;

pub use self::rows::{ChosenRows, InChunk, TableRows};

use self::keys::{ArchiveKeys, Key, KeyCell, Sides, key_of};
use self::scan::{Found, Seek, Sought};
use super::graph::Graph;
use super::scope::{Root, Scope};
use super::tree::{Counts, Tree};
use crate::archive::reader::Archive;
use crate::archive::spelling;
use crate::failure::{Failure, FailureKind};

/// The rows of an archive that are within `scope`, on so many threads.
///
/// Fails where a row that it begins with is not there, a foreign key on the way is one that only a server can follow, or a
/// chunk is damaged.
pub fn entity(
    archive: &Arc<Archive>,
    scope: &Scope,
    threads: usize,
    cancel: &CancellationToken,
) -> Result<(ChosenRows, Tree), Failure> {
    let mut search = Search::new(archive, threads, cancel);
    for root in &scope.roots {
        search.begin(root)?;
    }
    search.down(scope)?;
    search.up()?;
    Ok(search.finish())
}

/// The rows that belong to those of `scope` by referring to them, and these themselves, as far as they are there. What they
/// need is not among them.
pub fn belonging(
    archive: &Arc<Archive>,
    scope: &Scope,
    threads: usize,
    cancel: &CancellationToken,
) -> Result<ChosenRows, Failure> {
    let mut search = Search { may_lack: true, ..Search::new(archive, threads, cancel) };
    for root in &scope.roots {
        search.begin(root)?;
    }
    search.down(scope)?;
    Ok(search.finish().0)
}

/// The chosen rows, and those that they need so that no foreign key breaks.
pub fn references(
    archive: &Arc<Archive>,
    chosen: ChosenRows,
    threads: usize,
    cancel: &CancellationToken,
) -> Result<(ChosenRows, Tree), Failure> {
    let mut search = Search::new(archive, threads, cancel);
    search.given(chosen)?;
    search.up()?;
    Ok(search.finish())
}

/// What is known so far, by way and by table.
struct State {
    chosen: ChosenRows,
    /// For each way, the values by which chosen rows of the parent can be referred to.
    have: Vec<HashSet<Key>>,
    /// For each way, the values by which chosen rows of the child refer to the parent.
    wanted: Vec<HashSet<Key>>,
    /// Those of `have` that no child has been asked for.
    unasked: Vec<Vec<Key>>,
    /// Those of `wanted` that no parent has been asked for.
    needed: Vec<Vec<Key>>,
    counts: Counts,
}

struct Search<'a> {
    archive: &'a Archive,
    threads: usize,
    cancel: &'a CancellationToken,
    graph: Graph,
    sides: Vec<Result<Sides, String>>,
    /// Whether rows that it begins with need not be there.
    may_lack: bool,
    state: RwLock<State>,
}

impl<'a> Search<'a> {
    fn new(archive: &'a Archive, threads: usize, cancel: &'a CancellationToken) -> Search<'a> {
        let ArchiveKeys { graph, sides } = ArchiveKeys::of(archive.header());
        let ways = graph.ways.len();
        let state = RwLock::new(State {
            chosen: ChosenRows::none(graph.nodes.len()),
            have: vec![HashSet::new(); ways],
            wanted: vec![HashSet::new(); ways],
            unasked: vec![Vec::new(); ways],
            needed: vec![Vec::new(); ways],
            counts: Counts::of(&graph),
        });
        Search { archive, threads, cancel, graph, sides, may_lack: false, state }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cells of a way's two sides, which must be ones that can be compared.
    fn sides(&self, way: usize) -> Result<&Sides, Failure> {
        self.sides[way].as_ref().map_err(|why| {
            let (key, child) =
                (&self.graph.ways[way].key, &self.graph.nodes[self.graph.ways[way].child].shown);
            Failure::failed(format!("foreign key {key} of {child} cannot be followed in an archive: {why}"))
                .next("restore the archive into an empty database, and work with that one")
        })
    }

    /// Chooses the rows that `root` names.
    fn begin(&mut self, root: &Root) -> Result<(), Failure> {
        let names = self.graph.nodes.iter().enumerate();
        let names = names.filter(|(at, _)| !self.archive.header().tables[*at].large_objects);
        let number = root
            .table(names.map(|(at, node)| (at, node.schema.as_str(), node.name.as_str())), "the archive")?;
        let table = &self.archive.header().tables[number];
        if table.key.is_empty() {
            return Err(root.keyless());
        }
        let cells = KeyCell::of_key(self.archive.header(), number).map_err(|kind| {
            Failure::usage(format!(
                "rows of {} cannot be named: when two values of {kind} are equal, only a server can tell",
                table.shown()
            ))
        })?;
        let cells = cells.ok_or_else(|| root.keyless())?;
        let mut sought = Vec::new();
        for (at, mut id) in root.ids(&table.key)?.into_iter().enumerate() {
            for (cell, value) in cells.iter().zip(&mut id) {
                *value = spelling::printed(&table.columns[cell.position], value)
                    .ok_or_else(|| root.missing(at, "the archive"))?;
            }
            sought.push(key_of(&cells, &id));
        }
        self.write().counts.begins[number] = true;
        let mut can_be = Sought::default();
        can_be.add(cells.clone(), sought.clone());
        let found = self.scan(number, &Seek::Roots(cells, sought.iter().cloned().collect()), can_be)?;
        match sought.iter().position(|key| !found.contains(key)) {
            Some(missing) if !self.may_lack => Err(root.missing(missing, "the archive")),
            _ => Ok(()),
        }
    }

    /// Begins with rows that are chosen already.
    fn given(&mut self, chosen: ChosenRows) -> Result<(), Failure> {
        for table in 0..self.graph.nodes.len() {
            let count = chosen.count(self.archive, table as u32);
            if count > 0 {
                let mut state = self.write();
                state.counts.begins[table] = true;
                state.counts.down[table] = count;
            }
        }
        self.write().chosen = chosen;
        for table in 0..self.graph.nodes.len() {
            if !self.read().chosen.is_none(table as u32) {
                self.scan(table, &Seek::Given, Sought::default())?;
            }
        }
        Ok(())
    }

    /// Adds the rows that refer to chosen ones.
    fn down(&mut self, scope: &Scope) -> Result<(), Failure> {
        let takes = |table: &usize| {
            let node = &self.graph.nodes[*table];
            scope.takes(&node.schema, &node.name)
        };
        for part in self.graph.parents_first() {
            let part: Vec<usize> = part.into_iter().filter(takes).collect();
            loop {
                let asked = part.iter().find_map(|table| {
                    let ways = self.graph.up(*table).iter().copied();
                    let ways: Vec<usize> = ways.filter(|way| !self.read().unasked[*way].is_empty()).collect();
                    (!ways.is_empty()).then_some((*table, ways))
                });
                let Some((table, ways)) = asked else { break };
                let mut sought = Sought::default();
                for way in ways {
                    let keys = std::mem::take(&mut self.write().unasked[way]);
                    sought.add(self.sides(way)?.0.clone(), keys);
                }
                self.scan(table, &Seek::Children, sought)?;
            }
        }
        let state = self.read();
        self.check_followed(|way| {
            let way = &self.graph.ways[way];
            state.counts.down[way.parent] > 0 && takes(&way.child) && self.has_rows(way.child)
        })
    }

    /// Adds the rows that chosen ones refer to.
    fn up(&mut self) -> Result<(), Failure> {
        for part in self.graph.parents_first().into_iter().rev() {
            loop {
                let asked = part.iter().find_map(|table| {
                    let mut state = self.write();
                    let State { chosen, have, needed, .. } = &mut *state;
                    let mut ways = Vec::new();
                    for way in self.graph.down(*table) {
                        let mut keys = std::mem::take(&mut needed[*way]);
                        keys.retain(|key| !have[*way].contains(key));
                        if !keys.is_empty() && !chosen.is_all(*table as u32) {
                            ways.push((*way, keys));
                        }
                    }
                    (!ways.is_empty()).then_some((*table, ways))
                });
                let Some((table, ways)) = asked else { break };
                let mut sought = Sought::default();
                let mut missing = HashSet::new();
                for (way, keys) in ways {
                    missing.extend(keys.iter().map(|key| (way, key.clone())));
                    sought.add(self.sides(way)?.1.clone(), keys);
                }
                self.scan(table, &Seek::Parents(missing), sought)?;
            }
        }
        let state = self.read();
        self.check_followed(|way| {
            let way = &self.graph.ways[way];
            let chosen = state.counts.down[way.child] + state.counts.needed[way.child];
            chosen > 0 && !state.chosen.is_all(way.parent as u32) && self.has_rows(way.parent)
        })
    }

    fn has_rows(&self, table: usize) -> bool {
        self.archive.totals().table_rows.get(table).is_some_and(|rows| *rows > 0)
    }

    /// Fails if one of the ways that had to be gone is one that cannot be.
    fn check_followed(&self, had_to_be: impl Fn(usize) -> bool) -> Result<(), Failure> {
        let way = (0..self.sides.len()).find(|way| self.sides[*way].is_err() && had_to_be(*way));
        way.map_or(Ok(()), |way| self.sides(way).map(drop))
    }

    /// Takes what one chunk has given; `left` are the keys that the scan is still looking for, where it ends with the last.
    fn take(
        &self,
        table: usize,
        seek: &Seek,
        chunk: u64,
        found: Vec<Found>,
        left: &mut HashSet<(usize, Key)>,
    ) {
        let mut state = self.write();
        let State { chosen, have, wanted, unasked, needed, counts } = &mut *state;
        for row in found {
            let is_new = match seek {
                Seek::Given => true,
                _ => chosen.add(table, chunk, row.number),
            };
            for way in row.by {
                counts.used[way] = true;
            }
            if !is_new {
                continue;
            }
            match seek {
                Seek::Given => {}
                Seek::Parents(_) => counts.needed[table] += 1,
                _ => counts.down[table] += 1,
            }
            for (way, key) in row.have {
                left.remove(&(way, key.clone()));
                if have[way].insert(key.clone()) {
                    unasked[way].push(key);
                }
            }
            for (way, key) in row.wanted {
                if wanted[way].insert(key.clone()) {
                    needed[way].push(key);
                }
            }
        }
    }

    fn finish(self) -> (ChosenRows, Tree) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let tree = Tree::new(&self.graph, &state.counts);
        (state.chosen, tree)
    }
}

/// A row that is not what the index says.
fn bad_row(shown: &str, offset: u64, error: &crate::row::RowError) -> Failure {
    Failure::new(FailureKind::Archive, format!("table {shown}, chunk at byte {offset}: {error}"))
}
