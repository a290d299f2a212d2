//! Chunks of the archive that the target still holds, line for line. Their rows meet themselves: neither are they staged
//! nor the live ones joined with anything.
//!
//! Chunks are paired one to one, so that a table without a key, in which the same one may occur several times, is
//! compared as the multiset that it is. What is paired is equal by its lines, and so by key, image and text; the rest of
//! the archive meets the rest of the target.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio_util::sync::CancellationToken;

use super::plan::TablePlan;
use super::reading::{LiveRange, Reading};
use crate::archive::MOST_CHUNK_BYTES;
use crate::archive::checksum::sha256_hex;
use crate::archive::error::ArchiveError;
use crate::archive::model::{Chunk, Table};
use crate::archive::reader::Archive;
use crate::failure::Failure;
use crate::postgres::catalog::Catalog;
use crate::postgres::quote;
use crate::postgres::tid::TidRange;

/// Stretches of live pages that are compared apart from one another. To plan a query of more takes longer than to compare
/// what lies between them.
const MOST_STRETCHES: usize = 100;

/// Chunks of the archive that follow one another.
type Run = Range<usize>;

/// A table's chunks and ranges, and which of them are equal.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// Chunks of the archive, in order.
    archived: Vec<Chunk>,
    /// Ranges of the target, in order.
    live: Vec<LiveRange>,
    /// Which of the one are which of the other.
    pairs: Vec<(Run, usize)>,
    /// Those of the archive that [`rest`](Self::rest) has named.
    named: HashSet<usize>,
}

/// What remains to be compared.
#[derive(Clone, Debug)]
pub struct Rest {
    /// Archived rows that are to be staged.
    pub chunks: Vec<Chunk>,
    /// What stands behind FROM to mean the live rows that they meet.
    pub live: String,
    /// Whether there may be such rows.
    pub has_live: bool,
    /// Whether that is not the whole table.
    pub is_part: bool,
}

impl Rest {
    /// All of a table.
    pub fn whole(archive: &Archive, table: &TablePlan) -> Rest {
        let chunks = archive.table_chunks(table.index).into_iter();
        let has_chosen = |chunk: &&Chunk| table.places.as_ref().is_none_or(|p| !p.in_chunk(chunk).is_none());
        let chunks = chunks.filter(has_chosen).cloned().collect();
        Rest { chunks, live: table.from_item.clone(), has_live: true, is_part: false }
    }
}

/// Finds the equal chunks of those tables that can have some, by their place in the archive.
///
/// Checksums of what is stored tell most; where archive and safety backup are compressed in different ways, what may be
/// equal is decompressed on `threads` threads. Blocks.
pub fn find(
    archive: &Arc<Archive>,
    tables: &[TablePlan],
    reading: &Reading,
    catalog: &Catalog,
    threads: usize,
    cancel: &CancellationToken,
) -> Result<HashMap<u32, Ranges>, Failure> {
    let mut found: Vec<(u32, Ranges)> =
        tables.iter().filter_map(|t| Some((t.index, Ranges::of(archive, t, reading, catalog)?))).collect();
    let mut todo = Vec::new();
    for (_, ranges) in &mut found {
        if reading.archive.is_some() {
            ranges.pair_by(|chunk| Some(chunk.sha256.clone()), |chunk| Some(chunk.sha256.clone()));
        }
        todo.extend(ranges.undecided(archive, reading.archive.as_ref()));
    }
    let checksums = checksums(todo, threads, cancel)?;
    for (_, ranges) in &mut found {
        let of = |archive: &Arc<Archive>, chunk: &Chunk| checksums.get(&place(archive, chunk)).cloned();
        ranges.pair_by(
            |chunk| of(archive, chunk),
            |chunk| match &reading.archive {
                Some(saved) => of(saved, chunk),
                None => Some(chunk.sha256.clone()),
            },
        );
    }
    Ok(found.into_iter().collect())
}

/// What tells a chunk from all others: the archives may be the same.
fn place(archive: &Arc<Archive>, chunk: &Chunk) -> (usize, u64) {
    (Arc::as_ptr(archive) as usize, chunk.offset)
}

/// Rows and length of each piece: where these differ, so do the lines.
fn shape(chunks: &[Chunk]) -> Vec<(u64, u64)> {
    chunks.iter().map(|c| (c.rows, c.bytes)).collect()
}

impl Ranges {
    /// The ranges of a table, none of them paired; none where ranges say nothing.
    fn of(archive: &Archive, table: &TablePlan, reading: &Reading, catalog: &Catalog) -> Option<Ranges> {
        let header = archive.header().tables.get(table.index as usize)?;
        let shape = |t: &Table| -> Vec<_> {
            t.columns.iter().map(|c| (c.name.clone(), c.type_name.clone(), c.form)).collect()
        };
        // Of a table with such a condition the archive has the user's rows alone.
        if table.chosen.is_some()
            || table.places.is_some()
            || !table.removable.is_empty()
            || shape(header) != shape(reading.table(table.relation)?)
        {
            return None;
        }
        let live = reading.ranges(table.relation)?.to_vec();
        // Partitions may have come and gone with objects that were made.
        let leaves: HashSet<u32> =
            catalog.leaves(catalog.relation(table.relation)?).iter().map(|r| r.oid).collect();
        if leaves != live.iter().map(|r| r.relation).collect() {
            return None;
        }
        let archived = archive.table_chunks(table.index).into_iter().cloned().collect();
        Some(Ranges { archived, live, pairs: Vec::new(), named: HashSet::new() })
    }

    /// Chunks of the archive, and ranges of the target, that have no partner yet.
    fn single(&self) -> (Vec<usize>, Vec<usize>) {
        let of_archive: HashSet<usize> = self.pairs.iter().flat_map(|(run, _)| run.clone()).collect();
        let of_target: HashSet<usize> = self.pairs.iter().map(|(_, n)| *n).collect();
        (
            (0..self.archived.len()).filter(|n| !of_archive.contains(n)).collect(),
            (0..self.live.len()).filter(|n| !of_target.contains(n)).collect(),
        )
    }

    /// What may have a partner: each chunk alone; or, for ranges of several chunks, all chunks of a range of the archive.
    fn candidates(&self, are_several: bool) -> (Vec<Run>, Vec<usize>) {
        let (left, mut right) = self.single();
        right.retain(|n| match self.live[*n].chunks.len() {
            0 => false,
            1 => !are_several,
            _ => are_several,
        });
        if !are_several {
            return (left.into_iter().map(|n| n..n + 1).collect(), right);
        }
        let mut runs: Vec<Run> = Vec::new();
        for n in left {
            match runs.last_mut() {
                Some(run) if run.end == n && self.archived[run.start].range == self.archived[n].range => {
                    run.end = n + 1;
                }
                _ => runs.push(n..n + 1),
            }
        }
        runs.retain(|run| run.len() > 1);
        (runs, right)
    }

    /// Pairs those whose lines have the same checksums.
    fn pair_by(
        &mut self,
        archived: impl Fn(&Chunk) -> Option<String>,
        live: impl Fn(&Chunk) -> Option<String>,
    ) {
        let key = |chunks: &[Chunk], of: &dyn Fn(&Chunk) -> Option<String>| {
            let checksums: Option<Vec<String>> = chunks.iter().map(of).collect();
            checksums.map(|checksums| (shape(chunks), checksums))
        };
        for are_several in [true, false] {
            let (left, right) = self.candidates(are_several);
            let left = left.into_iter().map(|run| (run.clone(), key(&self.archived[run], &archived)));
            let right = right.into_iter().map(|n| (n, key(&self.live[n].chunks, &live)));
            let pairs = pair(left, right);
            self.pairs.extend(pairs);
        }
    }

    /// Chunks of which only their lines can tell whether they have a partner.
    fn undecided(&self, archive: &Arc<Archive>, saved: Option<&Arc<Archive>>) -> Vec<(Arc<Archive>, Chunk)> {
        let mut chunks = Vec::new();
        for are_several in [true, false] {
            let (left, right) = self.candidates(are_several);
            let of_archive: HashSet<_> = left.iter().map(|run| shape(&self.archived[run.clone()])).collect();
            let of_target: HashSet<_> = right.iter().map(|n| shape(&self.live[*n].chunks)).collect();
            let may_be = |chunks: &[Chunk], others: &HashSet<Vec<(u64, u64)>>| {
                others.contains(&shape(chunks)) && is_small(chunks)
            };
            let left = left.into_iter().map(|run| &self.archived[run]);
            for found in left.filter(|chunks| may_be(chunks, &of_target)) {
                chunks.extend(found.iter().map(|c| (archive.clone(), c.clone())));
            }
            let Some(saved) = saved else { continue };
            let right = right.into_iter().map(|n| self.live[n].chunks.as_slice());
            for found in right.filter(|chunks| may_be(chunks, &of_archive)) {
                chunks.extend(found.iter().map(|c| (saved.clone(), c.clone())));
            }
        }
        chunks
    }

    /// How many chunks of the archive there are, and how many of them the target holds.
    pub fn counts(&self) -> (usize, usize) {
        (self.archived.len(), self.pairs.iter().map(|(run, _)| run.len()).sum())
    }

    /// The ranges of the target that have a partner, or no row to have one for.
    pub fn equal(&self) -> HashSet<u32> {
        let (_, single) = self.single();
        let single: HashSet<usize> =
            single.into_iter().filter(|n| !self.live[*n].chunks.is_empty()).collect();
        (0..self.live.len()).filter(|n| !single.contains(n)).map(|n| self.live[n].number).collect()
    }

    /// What remains to be compared. Of the archived rows, those are named that no earlier call has named.
    ///
    /// Gives up pairs where the rest of the target would be in too many places.
    pub fn rest(&mut self, table: &TablePlan, catalog: &Catalog) -> Rest {
        // Before version 14 each of them reads the whole table.
        let most = if catalog.server.version_num < 140_000 { 1 } else { MOST_STRETCHES };
        let is_rest = bridged(&self.rest_of_target(), most);
        self.pairs.retain(|(_, n)| !is_rest[*n]);
        let (left, _) = self.single();
        let mut chunks = Vec::new();
        for n in left {
            if self.named.insert(n) {
                chunks.push(self.archived[n].clone());
            }
        }
        let has_live = is_rest.contains(&true);
        if self.pairs.is_empty() {
            return Rest { chunks, live: table.from_item.clone(), has_live, is_part: false };
        }
        let rest = self.live.iter().zip(&is_rest).filter(|(_, is_rest)| **is_rest).map(|(r, _)| r);
        Rest { chunks, live: from_item(table, catalog, rest), has_live, is_part: true }
    }

    fn rest_of_target(&self) -> Vec<bool> {
        let equal = self.equal();
        self.live.iter().map(|r| !equal.contains(&r.number)).collect()
    }

    /// Takes ranges as they were read once more: those that are no longer as they were lose their partner. Blocks.
    pub fn prove(
        &mut self,
        archive: &Arc<Archive>,
        again: &[LiveRange],
        threads: usize,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let now: HashMap<(u32, TidRange), &[Chunk]> =
            again.iter().map(|r| ((r.relation, r.tids), r.chunks.as_slice())).collect();
        let (archived, live) = (&self.archived, &self.live);
        let now = |n: usize| now.get(&(live[n].relation, live[n].tids)).copied();
        let may_be = |(run, n): &(Run, usize)| {
            let archived = &archived[run.clone()];
            now(*n).is_some_and(|now| shape(archived) == shape(now)) && is_small(archived)
        };
        let todo = self.pairs.iter().filter(|pair| may_be(pair)).flat_map(|(run, _)| &archived[run.clone()]);
        let checksums = checksums(todo.map(|c| (archive.clone(), c.clone())).collect(), threads, cancel)?;
        let is_same = |pair: &(Run, usize)| {
            let (archived, now) = (&archived[pair.0.clone()], now(pair.1).unwrap_or_default());
            let mut pieces = archived.iter().zip(now);
            may_be(pair) && pieces.all(|(a, l)| checksums.get(&place(archive, a)) == Some(&l.sha256))
        };
        let same: HashSet<usize> = self.pairs.iter().filter(|pair| is_same(pair)).map(|(_, n)| *n).collect();
        // What had no row, and has some now, is to be compared as well.
        let came_to = |range: &LiveRange| -> Vec<Chunk> {
            let is_in = |r: &&LiveRange| {
                let (first, end) = (r.tids.first, range.tids.end);
                r.relation == range.relation && first >= range.tids.first && end.is_none_or(|end| first < end)
            };
            again.iter().filter(is_in).flat_map(|r| r.chunks.clone()).collect()
        };
        let empty = (0..live.len()).filter(|n| live[*n].chunks.is_empty());
        let came: Vec<(usize, Vec<Chunk>)> = empty.map(|n| (n, came_to(&live[n]))).collect();
        self.pairs.retain(|(_, n)| same.contains(n));
        for (n, chunks) in came {
            self.live[n].chunks = chunks;
        }
        Ok(())
    }
}

/// Whether none of the chunks is a huge row, which each thread would have to hold whole.
fn is_small(chunks: &[Chunk]) -> bool {
    chunks.iter().all(|c| c.bytes <= MOST_CHUNK_BYTES)
}

/// Pairs what has the same key, in order.
fn pair<L, K: Eq + Hash>(
    left: impl Iterator<Item = (L, Option<K>)>,
    right: impl Iterator<Item = (usize, Option<K>)>,
) -> Vec<(L, usize)> {
    let mut waiting: HashMap<K, VecDeque<usize>> = HashMap::new();
    for (n, key) in right {
        if let Some(key) = key {
            waiting.entry(key).or_default().push_back(n);
        }
    }
    left.filter_map(|(n, key)| Some((n, waiting.get_mut(&key?)?.pop_front()?))).collect()
}

/// `chosen` with the shortest gaps filled, so that it has at most `most` stretches.
fn bridged(chosen: &[bool], most: usize) -> Vec<bool> {
    let mut gaps: Vec<(usize, usize)> = Vec::new();
    let mut last = None;
    for at in (0..chosen.len()).filter(|at| chosen[*at]) {
        match last {
            Some(before) if before + 1 < at => gaps.push((before + 1, at)),
            _ => {}
        }
        last = Some(at);
    }
    gaps.sort_by_key(|(from, to)| to - from);
    let mut chosen = chosen.to_vec();
    for (from, to) in gaps.iter().take((gaps.len() + 1).saturating_sub(most)) {
        chosen[*from..*to].fill(true);
    }
    chosen
}

/// What stands behind FROM to mean the rows of some ranges, with their places.
fn from_item<'a>(
    table: &TablePlan,
    catalog: &Catalog,
    ranges: impl Iterator<Item = &'a LiveRange>,
) -> String {
    let columns: Vec<String> = table.columns.iter().map(|c| quote::ident(c)).collect();
    let columns: String = columns.iter().map(|c| format!(", x.{c} AS {c}")).collect();
    let select = format!("SELECT x.tableoid AS tableoid, x.ctid AS ctid{columns} FROM");
    let mut stretches: Vec<(u32, TidRange, u32)> = Vec::new();
    for range in ranges {
        match stretches.last_mut() {
            Some((relation, tids, number)) if *relation == range.relation && *number + 1 == range.number => {
                (tids.end, *number) = (range.tids.end, range.number);
            }
            _ => stretches.push((range.relation, range.tids, range.number)),
        }
    }
    let selects: Vec<String> = stretches
        .iter()
        .filter_map(|(oid, tids, _)| {
            let relation = catalog.relation(*oid)?;
            Some(format!("{select} ONLY {} AS x{}", relation.quoted(), tids.condition()))
        })
        .collect();
    if selects.is_empty() {
        return format!("({select} {} AS x WHERE false)", table.from_item);
    }
    format!("({})", selects.join(" UNION ALL "))
}

/// Checksums of the lines of chunks, by their places.
fn checksums(
    chunks: Vec<(Arc<Archive>, Chunk)>,
    threads: usize,
    cancel: &CancellationToken,
) -> Result<HashMap<(usize, u64), String>, Failure> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(HashMap::with_capacity(chunks.len()));
    let work = || -> Result<(), ArchiveError> {
        let mut decompressors = HashMap::new();
        while let Some((archive, chunk)) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if cancel.is_cancelled() {
                return Err(ArchiveError::Cancelled);
            }
            let place = place(archive, chunk);
            let decompressor = match decompressors.entry(place.0) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(archive.decompressor()?),
            };
            let checksum = sha256_hex(archive.read_rows_with(chunk, decompressor)?.raw());
            found.lock().unwrap_or_else(PoisonError::into_inner).insert(place, checksum);
        }
        Ok(())
    };
    let results: Vec<Result<(), ArchiveError>> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(chunks.len())).map(|_| scope.spawn(work)).collect();
        let mut results = vec![work()];
        results.extend(others.into_iter().map(|other| match other.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }));
        results
    });
    for result in results {
        match result {
            Err(ArchiveError::Cancelled) => return Err(Failure::interrupted()),
            result => result.map_err(|e| Failure::from_archive(&e))?,
        }
    }
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_occurs_twice_on_one_side_is_paired_as_often_as_on_the_other() {
        let side = |keys: &[Option<char>]| keys.iter().copied().enumerate().collect::<Vec<_>>().into_iter();
        let left = side(&[Some('a'), None, Some('b'), Some('a'), Some('a')]);
        let right = side(&[Some('b'), Some('a'), None, Some('a'), Some('c')]);
        assert_eq!(pair(left, right), [(0, 1), (2, 0), (3, 3)]);
    }

    #[test]
    fn the_shortest_gaps_are_filled_where_there_are_too_many_stretches() {
        let chosen = |text: &str| text.bytes().map(|b| b == b'x').collect::<Vec<_>>();
        for (before, most, after) in [
            ("x.x...x..x.", 4, "x.x...x..x."),
            ("x.x...x..x.", 3, "xxx...x..x."),
            ("x.x...x..x.", 2, "xxx...xxxx."),
            ("..x...x..x.", 1, "..xxxxxxxx."),
            ("...", 1, "..."),
        ] {
            assert_eq!(bridged(&chosen(before), most), chosen(after), "{before} {most}");
        }
    }
}
