//! The foreign keys of a database, as conditions of a join.

use std::collections::{BTreeSet, HashMap};

use crate::closure::definition::Definition;
use crate::closure::graph::{Graph, Node, Way};
use crate::closure::scope::{Root, Scope};
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, ForeignKey, Relation, RelationKind};
use crate::postgres::quote;

pub(super) struct LiveKeys {
    pub graph: Graph,
    /// For each table of the graph, its `oid`.
    pub tops: Vec<u32>,
    /// For each way, what holds between a row `p` that is referred to and a row `c` that refers to it.
    pub conditions: Vec<String>,
    /// For each table and partition, its table in the graph.
    nodes: HashMap<u32, usize>,
}

impl LiveKeys {
    pub fn of(catalog: &Catalog) -> LiveKeys {
        // Foreign tables, and what is left to others, are not carried; a standby has no rows of unlogged tables.
        let is_here =
            |r: &Relation| r.kind != RelationKind::Foreign && !(r.unlogged && catalog.server.standby);
        let is_carried = |r: &&Relation| r.partition_of.is_none() && is_here(r) && !r.left;
        let tables: Vec<&Relation> = catalog.relations.iter().filter(is_carried).collect();
        let node = |r: &&Relation| Node { schema: r.schema.clone(), name: r.name.clone(), shown: r.shown() };
        let mut nodes: HashMap<u32, usize> = tables.iter().enumerate().map(|(at, r)| (r.oid, at)).collect();
        for partition in catalog.relations.iter().filter(|r| r.partition_of.is_some()) {
            let top = catalog.ancestors(partition.oid).last().and_then(|top| nodes.get(&top).copied());
            nodes.extend(top.map(|top| (partition.oid, top)));
        }
        let mut keys = LiveKeys {
            graph: Graph::new(tables.iter().map(node).collect()),
            tops: tables.iter().map(|r| r.oid).collect(),
            conditions: Vec::new(),
            nodes,
        };
        for constraint in &catalog.constraints {
            if let Some(key) = &constraint.foreign_key {
                keys.add(catalog, constraint.table, &constraint.name, &constraint.definition, key);
            }
        }
        keys
    }

    fn add(&mut self, catalog: &Catalog, table: u32, name: &str, definition: &str, key: &ForeignKey) {
        let shown =
            |oid: u32| catalog.relation(oid).map_or_else(|| "another table".to_owned(), Relation::shown);
        let (child, parent) = match (self.node(table), self.node(key.references)) {
            (Some(child), Some(parent)) => (child, parent),
            (Some(child), None) => {
                let why =
                    format!("{name} of {}: rows of {} are not carried", shown(table), shown(key.references));
                return self.graph.leave(vec![child], why);
            }
            (None, Some(parent)) => {
                let why = format!("{name} of {}: its rows are not carried", shown(table));
                return self.graph.leave(vec![parent], why);
            }
            (None, None) => return,
        };
        if Definition::parse(definition).is_some_and(|definition| definition.temporal) {
            let why = format!(
                "{name} of {}: it has a PERIOD, whose values are compared as spans of time",
                shown(table)
            );
            return self.graph.leave(vec![child, parent], why);
        }
        let way = Way {
            child,
            parent,
            key: name.to_owned(),
            columns: key.columns.iter().map(|pair| pair.child.clone()).collect(),
            referred: key.columns.iter().map(|pair| pair.parent.clone()).collect(),
        };
        if self.graph.add(way).is_some() {
            let equal = key.columns.iter().map(|pair| {
                let (parent, child) = (quote::ident(&pair.parent), quote::ident(&pair.child));
                format!("p.{parent}{} {} c.{child}", pair.collate, pair.equals)
            });
            self.conditions.push(equal.collect::<Vec<_>>().join(" AND "));
        }
    }

    /// The table of the graph that a table or partition belongs to.
    pub fn node(&self, oid: u32) -> Option<usize> {
        self.nodes.get(&oid).copied()
    }

    /// The table of which `root` names rows.
    pub fn root(&self, root: &Root, catalog: &Catalog) -> Result<usize, Failure> {
        let names = self.graph.nodes.iter().enumerate();
        let names = names.map(|(at, node)| (at, node.schema.as_str(), node.name.as_str()));
        root.table(names, &format!("database {}", catalog.server.database))
    }

    /// What stands behind FROM to mean the rows of a table or tree: one name, but for a tree with foreign tables in it.
    pub fn sources(&self, catalog: &Catalog, oid: u32) -> Vec<String> {
        let Some(relation) = catalog.relation(oid) else { return Vec::new() };
        let leaves = catalog.leaves(relation);
        if leaves.iter().all(|leaf| leaf.kind != RelationKind::Foreign) {
            return vec![relation.from_item()];
        }
        leaves.iter().filter(|leaf| leaf.kind != RelationKind::Foreign).map(|leaf| leaf.from_item()).collect()
    }

    /// The `oid`s of all tables, with their partitions, that can be come to from these going down within `scope`.
    pub fn reach_down(&self, begins: Vec<usize>, scope: &Scope) -> BTreeSet<u32> {
        let reached = self.down_from(begins, scope);
        self.nodes.iter().filter(|(_, node)| reached.contains(node)).map(|(oid, _)| *oid).collect()
    }

    fn down_from(&self, begins: Vec<usize>, scope: &Scope) -> BTreeSet<usize> {
        let mut reached: BTreeSet<usize> = begins.iter().copied().collect();
        let mut open = begins;
        while let Some(table) = open.pop() {
            for way in self.graph.down(table) {
                let child = self.graph.ways[*way].child;
                let node = &self.graph.nodes[child];
                if scope.takes(&node.schema, &node.name) && reached.insert(child) {
                    open.push(child);
                }
            }
        }
        reached
    }

    /// The `oid`s of all tables, with their partitions, that can be come to from these: down within `scope`, then up.
    pub fn reach(&self, catalog: &Catalog, begins: Vec<usize>, scope: Option<&Scope>) -> BTreeSet<u32> {
        let mut reached = match scope {
            Some(scope) => self.down_from(begins, scope),
            None => begins.into_iter().collect(),
        };
        let mut open: Vec<usize> = reached.iter().copied().collect();
        while let Some(table) = open.pop() {
            for way in self.graph.up(table) {
                let parent = self.graph.ways[*way].parent;
                if reached.insert(parent) {
                    open.push(parent);
                }
            }
        }
        let of_tree = |oid: &u32| catalog.relation(*oid).is_some_and(|r| r.kind != RelationKind::Foreign);
        let members = self.nodes.iter().filter(|(oid, node)| reached.contains(node) && of_tree(oid));
        members.map(|(oid, _)| *oid).collect()
    }
}
