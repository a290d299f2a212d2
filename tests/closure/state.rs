//! The rows of a world in memory: which of them belong together, by brute force, and what people do to them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::world::{KeyKind, MOST_ROWS, World};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub table: usize,
    /// Rows of a table with a key have different ones.
    pub number: usize,
    /// For each foreign key of its table the number of the row that it refers to.
    pub targets: Vec<Option<usize>>,
    pub version: u8,
    /// Whether its key is spelled in another way that is equal to the first.
    pub respelled: bool,
}

/// All rows, in any order.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub rows: Vec<Row>,
}

/// What is done to a database. Numbers stand for one of what there is.
#[derive(Clone, Debug)]
pub struct Edit {
    what: What,
    row: u8,
    reference: u8,
    target: u8,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Insert,
    /// The same row once more, where there is no key.
    Again,
    /// What refers to it refers to nothing then.
    Delete,
    /// With all that refers to it.
    DeleteAll,
    Refer,
    Version,
    Respell,
}

pub fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let what = prop_oneof![
        3 => Just(What::Insert),
        1 => Just(What::Again),
        2 => Just(What::Delete),
        1 => Just(What::DeleteAll),
        6 => Just(What::Refer),
        3 => Just(What::Version),
        1 => Just(What::Respell),
    ];
    let edit = (what, any::<u8>(), any::<u8>(), any::<u8>());
    let edit = edit.prop_map(|(what, row, reference, target)| Edit { what, row, reference, target });
    prop::collection::vec(edit, 0..40)
}

impl State {
    /// What puts these rows into empty tables.
    pub fn sql(&self, world: &World, schema: &str) -> String {
        let insert =
            |row: &Row| format!("INSERT INTO {schema}.t{} VALUES ({});", row.table, world.values(row));
        self.rows.iter().map(insert).collect()
    }

    /// What puts these rows in place of all others.
    pub fn instead(&self, world: &World, schema: &str) -> String {
        let empty: String =
            (0..world.tables.len()).map(|table| format!("DELETE FROM {schema}.t{table};")).collect();
        format!("SET session_replication_role = replica; {empty} {}", self.sql(world, schema))
    }

    /// The places of those rows of which this is true.
    pub fn places(&self, is_one: impl Fn(&Row) -> bool) -> BTreeSet<usize> {
        (0..self.rows.len()).filter(|place| is_one(&self.rows[*place])).collect()
    }

    /// The rows of the world's entity that are here: every foreign key of every row, until nothing new comes.
    pub fn belonging(&self, world: &World) -> BTreeSet<usize> {
        let mut rows = self.places(|row| world.roots.contains(&(row.table, row.number)));
        self.until_nothing_changes(world, &mut rows, |child, parent| {
            let may = !world.narrow || world.within[self.rows[child].table];
            (parent, may.then_some(child))
        });
        rows
    }

    /// These rows, and those that they need.
    pub fn needed(&self, world: &World, mut rows: BTreeSet<usize>) -> BTreeSet<usize> {
        self.until_nothing_changes(world, &mut rows, |child, parent| (child, Some(parent)));
        rows
    }

    /// Adds the second row of each pair of which the first is known.
    fn until_nothing_changes(
        &self,
        world: &World,
        rows: &mut BTreeSet<usize>,
        pair: impl Fn(usize, usize) -> (usize, Option<usize>),
    ) {
        loop {
            let before = rows.len();
            for child in 0..self.rows.len() {
                for (table, number) in self.referred(world, child) {
                    for parent in self.places(|row| (row.table, row.number) == (table, number)) {
                        let (known, new) = pair(child, parent);
                        if rows.contains(&known) {
                            rows.extend(new);
                        }
                    }
                }
            }
            if rows.len() == before {
                return;
            }
        }
    }

    /// The tables and numbers of the rows that the one at this place refers to.
    fn referred<'a>(&'a self, world: &'a World, place: usize) -> impl Iterator<Item = (usize, usize)> + 'a {
        let row = &self.rows[place];
        let keys = world.references_of(row.table).zip(&row.targets);
        keys.filter_map(|((_, reference), target)| Some((reference.parent, (*target)?)))
    }

    fn has(&self, table: usize, number: usize) -> bool {
        self.rows.iter().any(|row| (row.table, row.number) == (table, number))
    }

    /// Whether each row that is referred to is there.
    pub fn is_whole(&self, world: &World) -> bool {
        (0..self.rows.len())
            .all(|place| self.referred(world, place).all(|(table, number)| self.has(table, number)))
    }

    /// The same after all that; each row that is referred to is still there.
    pub fn after(mut self, world: &World, edits: &[Edit]) -> State {
        edits.iter().for_each(|edit| self.edit(world, edit));
        self
    }

    fn edit(&mut self, world: &World, edit: &Edit) {
        let number = usize::from(edit.target) % (2 * MOST_ROWS);
        if let What::Insert = edit.what {
            return self.insert(world, edit, number);
        }
        if self.rows.is_empty() {
            return;
        }
        let place = usize::from(edit.row) % self.rows.len();
        let row = self.rows[place].clone();
        let has_key = world.tables[row.table].kind != KeyKind::None;
        match edit.what {
            What::Insert => {}
            What::Again => self.rows.extend((!has_key).then_some(row)),
            What::Delete => {
                self.rows.remove(place);
                if has_key {
                    self.refer_no_more(world, row.table, row.number);
                }
            }
            What::DeleteAll => {
                let mut all = BTreeSet::from([place]);
                self.until_nothing_changes(world, &mut all, |child, parent| (parent, Some(child)));
                let mut at = 0..;
                self.rows.retain(|_| at.next().is_none_or(|place| !all.contains(&place)));
            }
            What::Refer if row.targets.is_empty() => {}
            What::Refer => {
                let key = usize::from(edit.reference) % row.targets.len();
                let target = self.target(world, row.table, key, number);
                self.rows[place].targets[key] = target;
            }
            What::Version => self.rows[place].version = edit.target % 4,
            What::Respell if world.tables[row.table].kind == KeyKind::Numeric => {
                self.rows[place].respelled = !row.respelled;
            }
            What::Respell => {}
        }
    }

    fn insert(&mut self, world: &World, edit: &Edit, number: usize) {
        let table = usize::from(edit.row) % world.tables.len();
        if world.tables[table].kind != KeyKind::None && self.has(table, number) {
            return;
        }
        let row = Row { table, number, targets: Vec::new(), version: edit.target % 4, respelled: false };
        self.rows.push(row);
        // It may refer to itself.
        let target =
            |key| self.target(world, table, key, (usize::from(edit.reference) + key) % (2 * MOST_ROWS));
        let targets = (0..world.references_of(table).count()).map(target).collect();
        if let Some(row) = self.rows.last_mut() {
            row.targets = targets;
        }
    }

    /// That number as a target of the table's foreign key, where there is such a row.
    fn target(&self, world: &World, table: usize, key: usize, number: usize) -> Option<usize> {
        let parent = world.references_of(table).nth(key).map(|(_, reference)| reference.parent);
        parent.filter(|parent| self.has(*parent, number)).map(|_| number)
    }

    fn refer_no_more(&mut self, world: &World, table: usize, number: usize) {
        for row in &mut self.rows {
            for ((_, reference), target) in world.references_of(row.table).zip(&mut row.targets) {
                if reference.parent == table && *target == Some(number) {
                    *target = None;
                }
            }
        }
    }
}
