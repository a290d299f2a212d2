//! Proves an archive whole, on all cores and in bounded memory, and says of everything that is not as it should be.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::decompression::Decompressor;
use super::error::{ArchiveError, Damage};
use super::model::{Chunk, ChunkKind, Totals};
use super::reader::Archive;
use super::source::Source;
use super::spans::{self, GrowingSpans, KeyColumns};
use super::structure::MOST_CHUNK_BYTES;
use crate::row;

/// Of more damage than this only the number is kept.
pub const MOST_DAMAGE_LISTED: usize = 100;

/// What to prove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidateOptions {
    /// Only what opening proves: structure, index, header and end record, but no row.
    pub quick: bool,
    /// Threads to use; 0: as many as there are cores.
    pub threads: usize,
    /// Tables that must be there and hold a row, as shown to people or as `schema.table`.
    pub critical: Vec<String>,
}

/// What was proven and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether no row was looked at.
    pub quick: bool,
    /// What the archive holds by its own word, which [`is_valid`](Self::is_valid) confirms.
    pub totals: Totals,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Chunks of rows that were read and found whole.
    pub proven_chunks: u64,
    /// Rows in them.
    pub proven_rows: u64,
    /// The first damage found, by offset; at most [`MOST_DAMAGE_LISTED`].
    pub damage: Vec<Damage>,
    /// How many chunks are damaged, listed or not.
    pub damaged_chunks: u64,
    /// Critical tables that are not as they must be.
    pub critical_failures: Vec<CriticalFailure>,
}

impl Report {
    /// Whether nothing was found. With [`quick`](Self::quick), that is no proof of the rows.
    pub fn is_valid(&self) -> bool {
        self.damaged_chunks == 0 && self.critical_failures.is_empty()
    }
}

/// A critical table that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("critical table {} {problem}", super::error::printable(table))]
pub struct CriticalFailure {
    /// The table, as it was asked for.
    pub table: String,
    /// What is wrong.
    pub problem: CriticalProblem,
}

/// What can be wrong with a critical table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CriticalProblem {
    /// The archive does not have it.
    #[error("is not in the archive")]
    Missing,
    /// It has no row.
    #[error("is empty")]
    Empty,
}

/// Opens and validates the archive in a file. One that is truncated is read to its end, whatever its size, to say what
/// is left of it.
pub fn validate_path(
    path: &Path,
    options: &ValidateOptions,
    progress: &(dyn Fn(u64) + Sync),
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Report, ArchiveError> {
    let most_diagnosed = if options.quick { 0 } else { u64::MAX };
    let archive = Archive::open_diagnosing(Source::open(path)?, most_diagnosed, cancelled)?;
    validate(&archive, options, progress, cancelled)
}

/// Validates an open archive. Damage is reported and not an error, so that all of it is found; an error is returned
/// only when `cancelled`. `progress` is told the decompressed bytes done since the last time; they add up to
/// [`Totals::bytes`] less the header. Both are called from several threads.
pub fn validate(
    archive: &Archive,
    options: &ValidateOptions,
    progress: &(dyn Fn(u64) + Sync),
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Report, ArchiveError> {
    let mut report = Report {
        quick: options.quick,
        totals: archive.totals().clone(),
        file_bytes: archive.file_bytes(),
        critical_failures: check_critical(archive, &options.critical),
        ..Report::default()
    };
    if options.quick {
        return Ok(report);
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = if options.threads == 0 { cores } else { options.threads };
    let work = Work { archive, next: AtomicUsize::new(0), huge: Mutex::new(()), progress, cancelled };
    let found: Vec<Result<Found, ArchiveError>> = thread::scope(|scope| {
        let workers: Vec<_> =
            (1..threads.min(archive.chunks().len())).map(|_| scope.spawn(|| work.run())).collect();
        let mut found = vec![work.run()];
        found.extend(workers.into_iter().map(|worker| match worker.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        }));
        found
    });
    for found in found {
        let found = found?;
        report.proven_chunks += found.proven_chunks;
        report.proven_rows += found.proven_rows;
        report.damaged_chunks += found.damaged_chunks;
        report.damage.extend(found.damage);
    }
    report.damage.sort_by_key(|damage| damage.offset);
    report.damage.truncate(MOST_DAMAGE_LISTED);
    Ok(report)
}

fn check_critical(archive: &Archive, critical: &[String]) -> Vec<CriticalFailure> {
    let problem = |name: &String| {
        let is_named = |table: &super::model::Table| {
            table.shown() == *name
                || name.split_once('.') == Some((table.schema.as_str(), table.name.as_str()))
        };
        match archive.header().tables.iter().position(is_named) {
            None => Some(CriticalProblem::Missing),
            Some(number) if archive.totals().table_rows.get(number) == Some(&0) => {
                Some(CriticalProblem::Empty)
            }
            Some(_) => None,
        }
    };
    let failure =
        |name: &String| problem(name).map(|problem| CriticalFailure { table: name.clone(), problem });
    critical.iter().filter_map(failure).collect()
}

/// What the threads share.
struct Work<'a> {
    archive: &'a Archive,
    /// Position of the next chunk that nobody has taken.
    next: AtomicUsize,
    /// Held while a chunk of one huge row is in memory, so that there is one at a time.
    huge: Mutex<()>,
    progress: &'a (dyn Fn(u64) + Sync),
    cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// What one thread found.
#[derive(Default)]
struct Found {
    proven_chunks: u64,
    proven_rows: u64,
    damaged_chunks: u64,
    damage: Vec<Damage>,
}

impl Work<'_> {
    fn run(&self) -> Result<Found, ArchiveError> {
        let mut found = Found::default();
        let mut decompressor = self.archive.decompressor()?;
        while let Some(chunk) = self.archive.chunks().get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if (self.cancelled)() {
                return Err(ArchiveError::Cancelled);
            }
            if chunk.kind != ChunkKind::Rows {
                continue;
            }
            let turn = (chunk.bytes > MOST_CHUNK_BYTES)
                .then(|| self.huge.lock().unwrap_or_else(PoisonError::into_inner));
            match prove(self.archive, chunk, &mut decompressor) {
                Ok(()) => {
                    found.proven_chunks += 1;
                    found.proven_rows += chunk.rows;
                }
                Err(damage) => {
                    found.damaged_chunks += 1;
                    // Each thread takes chunks by ascending offset, so the first ones of all are among these.
                    if found.damage.len() < MOST_DAMAGE_LISTED {
                        found.damage.push(damage);
                    }
                }
            }
            drop(turn);
            (self.progress)(chunk.bytes);
        }
        Ok(found)
    }
}

/// Reads a chunk and looks at each row.
fn prove(archive: &Archive, chunk: &Chunk, decompressor: &mut Decompressor) -> Result<(), Damage> {
    let damage = |what: String| Damage { part: archive.part(chunk), offset: chunk.offset, what };
    let rows = match archive.read_rows_with(chunk, decompressor) {
        Ok(rows) => rows,
        Err(ArchiveError::Damaged(damage)) => return Err(damage),
        // A sector that the disk cannot read is damage like any other.
        Err(error) => return Err(damage(error.to_string())),
    };
    let table = chunk.table.and_then(|table| archive.header().tables.get(table as usize));
    let columns = table.map_or(0, |table| table.columns.len());
    let key = table.filter(|_| !chunk.spans.is_empty()).map(KeyColumns::of).unwrap_or_default();
    let mut found = GrowingSpans::new(&key);
    let mut rest = rows.lines();
    // Told of all rows at once in a fraction of the time; of single ones where there is more than ASCII.
    let is_ascii = rest.is_ascii();
    let mut number = 0_u64;
    while !rest.is_empty() {
        number += 1;
        let end = row::check_first(rest, columns, is_ascii, |position, cell| found.add_cell(position, cell))
            .map_err(|error| damage(format!("row {number} of the chunk: {error}")))?;
        rest = rest.get(end..).unwrap_or_default();
    }
    // A span that is not true would hide rows from whoever looks for them.
    if spans::are_true(&chunk.spans, &found.finish()) {
        Ok(())
    } else {
        Err(damage("its rows are not between the keys that the index names".into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::atomic::{AtomicBool, AtomicU64};

    use super::*;
    use crate::archive::compression::Compression;
    use crate::archive::error::Part;
    use crate::archive::writer::ArchiveWriter;
    use crate::archive::writer::tests::{header, seal};

    /// Tables `users` (300 chunks) and `empty`.
    fn sample() -> Vec<u8> {
        let header = header(&["users", "empty"]);
        let mut writer = ArchiveWriter::create(Vec::new(), Compression::default(), &header).unwrap();
        for range in 0..300 {
            writer.append(seal(&header, (0, range, 0), 2)).unwrap();
        }
        writer.finish().unwrap().0
    }

    fn run(archive: &Archive, options: &ValidateOptions) -> Report {
        validate(archive, options, &|_| {}, &|| false).unwrap()
    }

    #[test]
    fn any_number_of_threads_proves_the_same() {
        let archive = Archive::from_bytes(sample()).unwrap();
        for threads in [0, 1, 2, 1000] {
            let done = AtomicU64::new(0);
            let options = ValidateOptions { threads, ..ValidateOptions::default() };
            let progress = |bytes| {
                done.fetch_add(bytes, Ordering::Relaxed);
            };
            let report = validate(&archive, &options, &progress, &|| false).unwrap();
            assert!(report.is_valid() && !report.quick);
            assert_eq!((report.proven_chunks, report.proven_rows), (300, 600));
            assert_eq!(done.into_inner(), archive.totals().bytes - archive.chunks()[0].bytes);
        }
    }

    #[test]
    fn of_much_damage_the_first_is_listed_and_all_is_counted() {
        let mut bytes = sample();
        let chunks = Archive::from_bytes(bytes.clone()).unwrap().chunks().to_vec();
        for chunk in &chunks[1..] {
            bytes[chunk.offset as usize + 20] ^= 1;
        }
        let report = run(&Archive::from_bytes(bytes).unwrap(), &ValidateOptions::default());
        assert!(!report.is_valid());
        assert_eq!((report.damaged_chunks, report.proven_rows), (300, 0));
        let listed: Vec<_> = report.damage.iter().map(|damage| damage.offset).collect();
        let first: Vec<_> = chunks[1..=MOST_DAMAGE_LISTED].iter().map(|chunk| chunk.offset).collect();
        assert_eq!(listed, first);
        assert_eq!(report.damage[4].part, Part::Rows { table: "users".into(), range: 4, piece: 0 });
    }

    #[test]
    fn quick_looks_at_no_row_and_says_so() {
        let mut bytes = sample();
        let last = Archive::from_bytes(bytes.clone()).unwrap().chunks()[300].clone();
        bytes[last.offset as usize + 20] ^= 1;
        let archive = Archive::from_bytes(bytes).unwrap();
        let report = run(&archive, &ValidateOptions { quick: true, ..ValidateOptions::default() });
        assert!(report.is_valid() && report.quick);
        assert_eq!((report.proven_chunks, report.proven_rows), (0, 0));
        assert!(!run(&archive, &ValidateOptions::default()).is_valid());
    }

    #[test]
    fn critical_tables_must_be_there_and_hold_a_row() {
        let archive = Archive::from_bytes(sample()).unwrap();
        let critical = ["users", "public.users", "empty", "public.empty", "other", "app.users"];
        let critical = critical.map(String::from).to_vec();
        let report = run(&archive, &ValidateOptions { quick: true, critical, ..ValidateOptions::default() });
        assert!(!report.is_valid());
        let said: Vec<_> = report.critical_failures.iter().map(CriticalFailure::to_string).collect();
        assert_eq!(
            said,
            [
                "critical table empty is empty",
                "critical table public.empty is empty",
                "critical table other is not in the archive",
                "critical table app.users is not in the archive",
            ]
        );
    }

    #[test]
    fn a_caller_can_stop_it() {
        let archive = Archive::from_bytes(sample()).unwrap();
        let stop = AtomicBool::new(false);
        let error = validate(
            &archive,
            &ValidateOptions::default(),
            &|_| stop.store(true, Ordering::Relaxed),
            &|| stop.load(Ordering::Relaxed),
        );
        assert!(matches!(error, Err(ArchiveError::Cancelled)));
    }

    #[test]
    fn a_file_is_validated_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json.gz");
        std::fs::write(&path, sample()).unwrap();
        assert!(validate_path(&path, &ValidateOptions::default(), &|_| {}, &|| false).unwrap().is_valid());
        let error =
            validate_path(folder.path(), &ValidateOptions::default(), &|_| {}, &|| false).unwrap_err();
        assert!(!error.is_invalid());
    }
}
