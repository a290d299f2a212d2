//! Into how many units a table is cut.
//!
//! The server reads a whole table by plain COPY with a seventh to a fifth less work than by page ranges (it executes no
//! query), and through a small ring of buffers, so that others keep theirs (`src/backend/storage/buffer/README`, "Buffer
//! Ring Replacement Strategy"). So a table is cut only where one connection would else read it when the others have
//! nothing left to do.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::postgres::catalog::Relation;

/// Tables up to this size are never cut, and no unit is made smaller: small enough that the last unit does not leave other
/// connections idle for long, large enough that the round trips of a COPY do not count.
pub const SMALL_BYTES: u64 = 16 << 20;

/// Units of a cut table that each connection finds, on the average: one that is slower leaves some of its own to others.
const UNITS_EACH: u64 = 16;

/// How much more than its share a connection may have, as one part in so many.
const TOLERANCE: u64 = 16;

/// Fewest pages of a unit, where rows are so large that a few pages are much.
const FEWEST_PAGES: u64 = 8;

/// Pages of each unit, by the `oid` of the table, for those tables that are to be cut.
///
/// The largest is given to the connection that has least to do, and so on, as it will come when they work. Where this
/// would make one do much more than its share, the table is cut. With `small`, no unit is to be long, whatever that costs.
pub fn pages_of_units(leaves: &[&Relation], jobs: usize, small: bool, version: u32) -> HashMap<u32, u64> {
    let mut cut = HashMap::new();
    // Before version 14 a range of ctid reads the whole table. Other access methods may not know pages.
    if version < 140_000 {
        return cut;
    }
    let jobs = jobs.max(1);
    let total: u64 = leaves.iter().map(|leaf| leaf.bytes).sum();
    let share = total / jobs as u64;
    let most = share + share / TOLERANCE;
    let unit = if small { SMALL_BYTES } else { (share / UNITS_EACH).max(SMALL_BYTES) };
    let mut loads = vec![0; jobs];
    let mut largest: Vec<&&Relation> = leaves.iter().collect();
    largest.sort_by_key(|leaf| (Reverse(leaf.bytes), leaf.oid));
    for leaf in largest {
        let Some(least) = loads.iter_mut().min() else { break };
        let is_large = leaf.bytes > SMALL_BYTES && leaf.heap;
        if is_large && (small || *least + leaf.bytes > most) {
            // A power of two, so that a table that grows keeps its limits for long.
            let pages = u128::from(leaf.heap_pages) * u128::from(unit) / u128::from(leaf.bytes);
            let pages = u64::try_from(pages).unwrap_or(u64::MAX).max(FEWEST_PAGES);
            let pages = 1 << pages.ilog2();
            if pages < leaf.heap_pages {
                cut.insert(leaf.oid, pages);
                spread(&mut loads, leaf.bytes, unit);
                continue;
            }
        }
        *least += leaf.bytes;
    }
    cut
}

/// Gives each unit to the connection that has least to do.
fn spread(loads: &mut [u64], bytes: u64, unit: u64) {
    // A terabyte has thousands of units: steps suffice that are small beside a share.
    let step = unit.max(bytes / 1024).max(1);
    let mut rest = bytes;
    while rest > 0
        && let Some(least) = loads.iter_mut().min()
    {
        *least += rest.min(step);
        rest = rest.saturating_sub(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::catalog::tests::heap;

    const PAGES_OF_MIB: u64 = 128;

    /// The units of tables of so many MiB, in their order; 1 for those that are read whole.
    fn units(sizes: &[u64], jobs: usize, small: bool) -> Vec<u64> {
        let tables: Vec<Relation> =
            (1..).zip(sizes).map(|(oid, mib)| heap(oid, mib * PAGES_OF_MIB)).collect();
        let pages = pages_of_units(&tables.iter().collect::<Vec<_>>(), jobs, small, 150_000);
        tables.iter().map(|t| pages.get(&t.oid).map_or(1, |pages| t.heap_pages.div_ceil(*pages))).collect()
    }

    #[test]
    fn tables_are_cut_where_one_connection_would_have_too_much() {
        assert_eq!(units(&[468, 261, 202, 164, 116, 92, 40, 39], 1, false), [1; 8]);
        assert_eq!(units(&[468, 261, 202, 164, 116, 92, 40, 39], 2, false), [1; 8]);
        assert_eq!(units(&[100, 100], 2, false), [1, 1]);
        assert_eq!(units(&[100, 100, 100], 2, false), [1, 1, 7]);
        assert_eq!(units(&[10_240], 1, false), [1]);
        // Alone, in a power of two of pages that is at most a sixteenth of a share.
        assert_eq!(units(&[10_240], 2, false), [40]);
        assert_eq!(units(&[15], 2, false), [1]);
        assert_eq!(units(&[], 2, false), [] as [u64; 0]);
        assert_eq!(units(&[0, 0], 2, false), [1, 1]);
    }

    #[test]
    fn where_connections_are_to_pause_no_unit_is_long() {
        assert_eq!(units(&[10_240, 160, 16], 1, true), [640, 10, 1]);
    }

    #[test]
    fn where_much_of_a_table_is_elsewhere_its_units_have_fewer_pages() {
        let table = Relation { bytes: 64 * (8192 * 1024), ..heap(1, 1024) };
        assert_eq!(pages_of_units(&[&table], 2, false, 150_000)[&1], 32);
        let huge = Relation { bytes: 1 << 40, ..heap(1, 100) };
        assert_eq!(pages_of_units(&[&huge], 64, false, 150_000)[&1], FEWEST_PAGES);
    }

    #[test]
    fn what_has_no_pages_is_never_cut() {
        let other = Relation { heap: false, ..heap(1, 1 << 20) };
        assert!(pages_of_units(&[&other], 2, true, 150_000).is_empty());
        assert!(pages_of_units(&[&heap(1, 1 << 20)], 2, true, 130_000).is_empty());
    }
}
