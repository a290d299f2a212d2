//! A schema of random tables with random foreign keys and rows.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::found::Rows;
use crate::state::{Row, State};

/// What the key of a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// There is none: nobody refers to its rows, and one may be there several times.
    None,
    Integer,
    Numeric,
    Text,
    Padded,
    Composite,
}

#[derive(Clone, Debug)]
pub struct Table {
    pub kind: KeyKind,
    /// Only of those whose key is an integer.
    pub partitioned: bool,
    pub rows: usize,
}

#[derive(Clone, Debug)]
pub struct Reference {
    pub child: usize,
    pub parent: usize,
    pub full: bool,
    /// For each row of the child which row of the parent it refers to; more than there are means none.
    pub targets: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct World {
    pub tables: Vec<Table>,
    pub references: Vec<Reference>,
    /// Table and row where it begins.
    pub roots: Vec<(usize, usize)>,
    /// Which tables may belong to it; all where that is false.
    pub narrow: bool,
    pub within: Vec<bool>,
    /// Whether the archive has each partition as a table of its own.
    pub apart: bool,
}

/// A table begins with no more rows than these, and others come to it with numbers from here on.
pub const MOST_ROWS: usize = 12;

pub fn worlds() -> impl Strategy<Value = World> {
    let kind = prop_oneof![
        1 => Just(KeyKind::None),
        3 => Just(KeyKind::Integer),
        1 => Just(KeyKind::Numeric),
        1 => Just(KeyKind::Text),
        1 => Just(KeyKind::Padded),
        2 => Just(KeyKind::Composite),
    ];
    let table = (kind, any::<bool>(), 1..=MOST_ROWS).prop_map(|(kind, partitioned, rows)| Table {
        kind,
        partitioned: partitioned && kind == KeyKind::Integer,
        rows,
    });
    let tables = prop::collection::vec(table, 2..6);
    tables.prop_flat_map(|mut tables| {
        if tables[0].kind == KeyKind::None {
            tables[0].kind = KeyKind::Composite;
        }
        let count = tables.len();
        let targets = prop::collection::vec(0..2 * MOST_ROWS as u8, MOST_ROWS);
        let reference = (0..count, 0..count, any::<bool>(), targets);
        let reference =
            reference.prop_map(|(child, parent, full, targets)| Reference { child, parent, full, targets });
        let roots = prop::collection::vec((0..count, 0..MOST_ROWS), 1..3);
        let within = prop::collection::vec(any::<bool>(), count);
        (
            Just(tables),
            prop::collection::vec(reference, 0..9),
            roots,
            prop::bool::weighted(0.3),
            within,
            any::<bool>(),
        )
            .prop_map(|(tables, mut references, roots, narrow, within, apart)| {
                let with_key = |table: usize| if tables[table].kind == KeyKind::None { 0 } else { table };
                references.iter_mut().for_each(|reference| reference.parent = with_key(reference.parent));
                let roots = roots.into_iter().map(|(table, row)| (with_key(table), row));
                let roots = roots.map(|(table, row)| (table, row % tables[table].rows)).collect();
                World { tables, references, roots, narrow, within, apart }
            })
    })
}

impl Table {
    fn types(&self) -> &'static [&'static str] {
        match self.kind {
            KeyKind::None => &[],
            KeyKind::Integer => &["bigint"],
            KeyKind::Numeric => &["numeric"],
            KeyKind::Text => &["text"],
            KeyKind::Padded => &["character(6)"],
            KeyKind::Composite => &["integer", "text"],
        }
    }

    /// The types of columns that refer to it: not always the same, as the server allows.
    fn referring_types(&self, number: usize) -> &'static [&'static str] {
        match (self.kind, number % 2) {
            (KeyKind::Integer, 0) => &["integer"],
            (KeyKind::Numeric, 0) => &["numeric(10,3)"],
            (KeyKind::Text, 0) => &["varchar(40)"],
            (KeyKind::Padded, 0) => &["character(9)"],
            _ => self.types(),
        }
    }

    /// The key of a row, as literals.
    fn key(&self, row: usize) -> Vec<String> {
        match self.kind {
            KeyKind::None => Vec::new(),
            KeyKind::Integer => vec![row.to_string()],
            KeyKind::Numeric => vec![format!("{row}.50")],
            KeyKind::Text => vec![format!("'a, \"{row}\\'")],
            KeyKind::Padded => vec![format!("'k{row}'")],
            KeyKind::Composite => vec![(row / 3).to_string(), format!("'x/{row}'")],
        }
    }

    /// The key of a row, as somebody types it.
    pub fn id(&self, row: usize) -> String {
        let plain = self.key(row).iter().map(|part| part.trim_matches('\'').to_owned()).collect::<Vec<_>>();
        plain.iter().map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect::<Vec<_>>().join("/")
    }
}

impl World {
    /// The row of the parent that a row of the child refers to.
    fn target(&self, reference: &Reference, row: usize) -> Option<usize> {
        let target = usize::from(reference.targets[row]);
        (target < self.tables[reference.parent].rows).then_some(target)
    }

    pub fn name(number: usize) -> String {
        format!("t{number}")
    }

    /// The partition in which a row is.
    pub fn leaf(&self, table: usize, row: usize) -> String {
        let name = World::name(table);
        if self.tables[table].partitioned { format!("{name}_{}", usize::from(row >= 4)) } else { name }
    }

    /// All tables that hold rows, with the tables that they belong to.
    pub fn leaves(&self) -> BTreeMap<String, String> {
        let rows = [0, MOST_ROWS];
        let leaves = |table| rows.map(|row| (self.leaf(table, row), World::name(table)));
        (0..self.tables.len()).flat_map(leaves).collect()
    }

    /// What makes it.
    pub fn sql(&self, schema: &str) -> String {
        self.tables_sql(schema) + &self.state().sql(self, schema) + &self.keys_sql(schema)
    }

    /// Its tables. Each has a number of its rows, the columns of its key, those that refer to others, and one more.
    fn tables_sql(&self, schema: &str) -> String {
        let mut sql = format!("CREATE SCHEMA {schema};");
        for (number, table) in self.tables.iter().enumerate() {
            let name = format!("{schema}.t{number}");
            let mut columns = vec!["n int".to_owned()];
            columns.extend((0..).zip(table.types()).map(|(at, kind)| format!("k{at} {kind}")));
            for (at, reference) in self.references_of(number) {
                let types = self.tables[reference.parent].referring_types(at);
                columns.extend((0..).zip(types).map(|(c, kind)| format!("\"f{at} {c}\" {kind}")));
            }
            columns.push("version int".to_owned());
            let key: Vec<String> = (0..table.types().len()).map(|at| format!("k{at}")).collect();
            if !key.is_empty() {
                columns.push(format!("PRIMARY KEY ({})", key.join(", ")));
            }
            let partitioning = if table.partitioned { " PARTITION BY RANGE (k0)" } else { "" };
            sql += &format!("CREATE TABLE {name} ({}){partitioning};", columns.join(", "));
            if table.partitioned {
                sql +=
                    &format!("CREATE TABLE {name}_0 PARTITION OF {name} FOR VALUES FROM (MINVALUE) TO (4);");
                sql +=
                    &format!("CREATE TABLE {name}_1 PARTITION OF {name} FOR VALUES FROM (4) TO (MAXVALUE);");
            }
        }
        sql
    }

    /// A row as SQL has it behind VALUES.
    pub fn values(&self, row: &Row) -> String {
        let table = &self.tables[row.table];
        let mut values = vec![row.number.to_string()];
        values.extend(table.key(row.number).into_iter().map(|part| match row.respelled {
            true => part.replace(".50", ".5"),
            false => part,
        }));
        for ((_, reference), target) in self.references_of(row.table).zip(&row.targets) {
            let parent = &self.tables[reference.parent];
            match target {
                Some(target) => values.extend(parent.key(*target)),
                // Half a key refers to nothing, unless it may not be there.
                None => values.extend((0..parent.types().len()).map(|at| {
                    let half = at > 0 && !reference.full;
                    if half { "'half'".to_owned() } else { "NULL".to_owned() }
                })),
            }
        }
        values.push(row.version.to_string());
        values.join(", ")
    }

    /// Its foreign keys.
    fn keys_sql(&self, schema: &str) -> String {
        let mut sql = String::new();
        for (at, reference) in self.references.iter().enumerate() {
            let parent = &self.tables[reference.parent];
            let of_child: Vec<String> = (0..parent.types().len()).map(|c| format!("\"f{at} {c}\"")).collect();
            let of_parent: Vec<String> = (0..parent.types().len()).map(|c| format!("k{c}")).collect();
            let full = if reference.full { " MATCH FULL" } else { "" };
            let (child, parent) = (reference.child, reference.parent);
            sql += &format!(
                "ALTER TABLE {schema}.t{child} ADD FOREIGN KEY ({}) REFERENCES {schema}.t{parent} ({}){full};",
                of_child.join(", "),
                of_parent.join(", ")
            );
        }
        sql
    }

    /// The foreign keys of a table, with their numbers.
    pub fn references_of(&self, table: usize) -> impl Iterator<Item = (usize, &Reference)> {
        self.references.iter().enumerate().filter(move |(_, reference)| reference.child == table)
    }

    /// The rows with which it begins.
    pub fn state(&self) -> State {
        let row = |table: usize, number: usize| {
            let targets = self.references_of(table).map(|(_, reference)| self.target(reference, number));
            Row { table, number, targets: targets.collect(), version: 0, respelled: false }
        };
        let of = |table: usize| (0..self.tables[table].rows).map(move |number| row(table, number));
        State { rows: (0..self.tables.len()).flat_map(of).collect() }
    }

    /// The rows of the entity, and with those that they need.
    pub fn entity(&self) -> Rows {
        let state = self.state();
        named(&state, &state.needed(self, state.belonging(self)))
    }

    /// The rows of these tables, with those that they need.
    pub fn with_references(&self, tables: &[usize]) -> Rows {
        let state = self.state();
        let given = state.places(|row| tables.contains(&row.table));
        named(&state, &state.needed(self, given))
    }
}

fn named(state: &State, places: &BTreeSet<usize>) -> Rows {
    let rows = places.iter().map(|place| &state.rows[*place]);
    rows.map(|row| (World::name(row.table), row.number as u64)).collect()
}
