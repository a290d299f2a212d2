//! Where the tables, keys and constraints of a catalog are: a database may have tens of thousands of each.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::Catalog;

/// Made at the first look-up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index(OnceLock<Places>);

/// Positions in the catalog's lists, each list in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    relations: HashMap<u32, usize>,
    names: HashMap<String, HashMap<String, usize>>,
    partitions: HashMap<u32, Vec<usize>>,
    keys: HashMap<u32, Vec<usize>>,
    constraints: HashMap<u32, Vec<usize>>,
}

impl Catalog {
    pub(super) fn places(&self) -> &Places {
        self.index.0.get_or_init(|| {
            let mut places = Places::default();
            for (at, relation) in self.relations.iter().enumerate() {
                places.relations.insert(relation.oid, at);
                places.names.entry(relation.schema.clone()).or_default().insert(relation.name.clone(), at);
                if let Some(above) = relation.partition_of {
                    places.partitions.entry(above).or_default().push(at);
                }
            }
            for (at, key) in self.keys.iter().enumerate() {
                places.keys.entry(key.table).or_default().push(at);
            }
            for (at, constraint) in self.constraints.iter().enumerate() {
                places.constraints.entry(constraint.table).or_default().push(at);
            }
            places
        })
    }
}

impl Places {
    pub(super) fn relation(&self, oid: u32) -> Option<usize> {
        self.relations.get(&oid).copied()
    }

    pub(super) fn named(&self, schema: &str, name: &str) -> Option<usize> {
        self.names.get(schema)?.get(name).copied()
    }

    pub(super) fn partitions(&self, oid: u32) -> &[usize] {
        self.partitions.get(&oid).map_or(&[], Vec::as_slice)
    }

    pub(super) fn keys(&self, table: u32) -> &[usize] {
        self.keys.get(&table).map_or(&[], Vec::as_slice)
    }

    pub(super) fn constraints(&self, table: u32) -> &[usize] {
        self.constraints.get(&table).map_or(&[], Vec::as_slice)
    }
}
