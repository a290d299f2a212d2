//! What a restore of an entity makes of a database, in memory: too small to be wrong.

use std::collections::{BTreeMap, BTreeSet};

use crate::state::{Row, State};
use crate::world::{KeyKind, World};

pub const MODES: [&str; 4] = ["upsert", "exact", "missing", "newer"];

/// inserted, updated, deleted, unchanged, kept
pub type Counts = [u64; 5];

pub struct Restored {
    pub state: State,
    /// By table.
    pub counts: BTreeMap<usize, Counts>,
}

/// What tells a row from others: where there is no key, all of it.
fn identity(world: &World, row: &Row) -> Row {
    match world.tables[row.table].kind {
        KeyKind::None => row.clone(),
        _ => Row { targets: Vec::new(), version: 0, respelled: false, ..row.clone() },
    }
}

/// Rows by what tells them apart.
fn by_identity<'r>(world: &World, rows: impl Iterator<Item = &'r Row>) -> BTreeMap<Row, Vec<&'r Row>> {
    let mut found: BTreeMap<Row, Vec<&Row>> = BTreeMap::new();
    rows.for_each(|row| found.entry(identity(world, row)).or_default().push(row));
    found
}

/// What a restore of the world's entity must make of `live`; none where the archive does not have the rows that it begins
/// with.
pub fn restored(world: &World, archived: &State, live: &State, mode: &str) -> Option<Restored> {
    let has = |(table, number): &(usize, usize)| {
        archived.rows.iter().any(|row| (row.table, row.number) == (*table, *number))
    };
    if !world.roots.iter().all(has) {
        return None;
    }
    let of = |state: &'_ State, places: BTreeSet<usize>| -> Vec<Row> {
        places.into_iter().map(|place| state.rows[place].clone()).collect()
    };
    let chosen = of(archived, archived.needed(world, archived.belonging(world)));
    let own = of(live, live.belonging(world));
    let all = by_identity(world, archived.rows.iter());
    let (chosen, there) = (by_identity(world, chosen.iter()), by_identity(world, live.rows.iter()));
    let mut result = Restored { state: State::default(), counts: BTreeMap::new() };
    let identities: BTreeSet<&Row> = chosen.keys().chain(there.keys()).collect();
    for id in identities {
        let (come, stay) =
            (chosen.get(id).map_or(&[][..], Vec::as_slice), there.get(id).map_or(&[][..], Vec::as_slice));
        let counts = result.counts.entry(id.table).or_default();
        // Each archived row meets one that is there.
        for (new, old) in come.iter().zip(stay) {
            let wins = match mode {
                "missing" => false,
                "newer" => new.version > old.version,
                _ => true,
            };
            counts[if new == old {
                3
            } else if wins {
                1
            } else {
                4
            }] += 1;
            result.state.rows.push(if wins { (*new).clone() } else { (*old).clone() });
        }
        for new in come.iter().skip(stay.len()) {
            counts[0] += 1;
            result.state.rows.push((*new).clone());
        }
        // Those that the archive has as somebody else's stay, and others that belong to nobody else go.
        let archived = all.get(id).map_or(0, Vec::len);
        for (at, old) in stay.iter().enumerate().skip(come.len()) {
            if mode == "exact" && own.contains(old) && at >= archived {
                counts[2] += 1;
            } else {
                result.state.rows.push((*old).clone());
            }
        }
    }
    Some(result)
}
