//! The catalog as plain structs: tables with their columns and leaves, keys, constraints and sequences. `read` fills
//! them in a constant number of queries, `query` holds the SQL.

mod index;
mod query;
mod read;

use std::collections::HashMap;

use index::Index;

use super::quote;
use crate::selection::shown_name;

/// The schema in which a restore stages rows over several connections. It is no part of the database.
pub const STAGING_SCHEMA: &str = "pgkeep_staging";
/// Its comment, which tells it from one that somebody else has given this name.
pub const STAGING_COMMENT: &str = "pgkeep: rows of a restore, removed when it ends";

/// What the server is.
#[derive(Clone, Debug, Default)]
pub struct ServerFacts {
    /// `server_version`.
    pub version: String,
    /// `server_version_num`.
    pub version_num: u32,
    /// Database name.
    pub database: String,
    /// Database encoding.
    pub encoding: String,
    /// Role in force.
    pub role: String,
    /// `pg_control_system().system_identifier`, where the role may ask.
    pub system_identifier: Option<String>,
    /// Current WAL position.
    pub lsn: Option<String>,
    /// Whether this is a Supabase project.
    pub supabase: bool,
    /// Whether the role is a superuser.
    pub superuser: bool,
    /// Whether the role may create temporary tables.
    pub may_create_temporary: bool,
    /// Whether the database holds large objects.
    pub has_large_objects: bool,
    /// Whether the server is a standby.
    pub standby: bool,
}

/// How a relation stores rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// An ordinary table.
    Table,
    /// A partitioned table.
    Partitioned,
    /// A foreign table: its rows live on another server and are not carried.
    Foreign,
}

/// A table of a non-system schema.
#[derive(Clone, Debug)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Schema name.
    pub schema: String,
    /// Table name.
    pub name: String,
    /// How it stores rows.
    pub kind: RelationKind,
    /// For a partition: the `oid` of the table that it is attached to.
    pub partition_of: Option<u32>,
    /// `pg_class.relfilenode` under the snapshot; differs from the current one after a rewrite or a TRUNCATE.
    pub filenode: u32,
    /// The current file node.
    pub current_filenode: Option<u32>,
    /// Pages of the heap; 0 until [`Catalog::read_sizes`].
    pub heap_pages: u64,
    /// Bytes of heap and TOAST; 0 until [`Catalog::read_sizes`].
    pub bytes: u64,
    /// Whether the table is an ordinary heap, so that page ranges can be read alone.
    pub heap: bool,
    /// Whether policies would hide rows from the role in force.
    pub row_security_active: bool,
    /// Whether policies apply to the owner, too.
    pub row_security_forced: bool,
    /// The owner's name.
    pub owner: String,
    /// Whether the role in force has the owner's rights.
    pub is_owner: bool,
    /// Privileges of the role in force, as names: `USAGE` (of the schema), `SELECT`, `INSERT`, `UPDATE`, `DELETE`,
    /// `REFERENCES`.
    pub privileges: Vec<&'static str>,
    /// The extension that it is a member of.
    pub extension: Option<String>,
    /// For a configuration table of an extension: the condition that tells the user's rows; empty where all are.
    pub condition: Option<String>,
    /// Whether its rows stay behind: they are the host's, or objects, see `extensions`.
    pub left: bool,
    /// Whether its rows are not in the WAL: a standby has none of them.
    pub unlogged: bool,
    /// Columns in order, dropped ones left out.
    pub columns: Vec<ColumnInfo>,
}

/// A column.
#[derive(Clone, Debug)]
pub struct ColumnInfo {
    /// Name.
    pub name: String,
    /// `format_type` with an empty search path.
    pub type_name: String,
    /// The type's `oid`, domains resolved to what they are over.
    pub base_type: u32,
    /// The type's output function; a domain's is that of what it is over.
    pub output: u32,
    /// For a domain: the type that it is over, at the bottom, as `type_name` would give it.
    pub domain_over: Option<String>,
    /// Whether NOT NULL.
    pub not_null: bool,
    /// Whether generated (stored or virtual): the server computes it.
    pub generated: bool,
    /// Whether GENERATED ALWAYS AS IDENTITY: an UPDATE cannot set it.
    pub always_identity: bool,
}

/// What prints the values of a type.
#[derive(Clone, Debug)]
pub struct OutputFunction {
    /// Its name, quoted and with its schema.
    pub call: String,
    /// The type that it takes; none if it takes any of a kind, such as all arrays.
    pub takes: Option<u32>,
}

/// A set of columns that tells the rows of a table apart.
#[derive(Clone, Debug)]
pub struct Key {
    /// The table.
    pub table: u32,
    /// Whether it is the primary key.
    pub primary: bool,
    /// Its columns.
    pub columns: Vec<KeyColumn>,
}

/// A column of a key.
#[derive(Clone, Debug)]
pub struct KeyColumn {
    /// Name.
    pub name: String,
    /// The index's own equality operator, as `OPERATOR(…)`.
    pub equals: String,
    /// `COLLATE …`, where the index's collation is not the column's.
    pub collate: String,
    /// Whether the operator can be hashed or merged; a FULL JOIN needs that.
    pub joinable: bool,
}

/// A constraint.
#[derive(Clone, Debug)]
pub struct ConstraintInfo {
    /// The table that it is on.
    pub table: u32,
    /// Name.
    pub name: String,
    /// `pg_get_constraintdef`.
    pub definition: String,
    /// Its comment.
    pub comment: Option<String>,
    /// For a foreign key.
    pub foreign_key: Option<ForeignKey>,
}

/// The parts of a foreign key.
#[derive(Clone, Debug)]
pub struct ForeignKey {
    /// The table referred to.
    pub references: u32,
    /// Whether the constraint is inherited from a partitioned table's.
    pub inherited: bool,
    /// Whether existing rows are known to hold (not `NOT VALID`, not `NOT ENFORCED`).
    pub validated: bool,
    /// MATCH FULL.
    pub match_full: bool,
    /// DEFERRABLE.
    pub deferrable: bool,
    /// Whether the removal of a row that is referred to changes others: CASCADE, SET NULL or SET DEFAULT.
    pub delete_acts: bool,
    /// The same of a change of what is referred to.
    pub update_acts: bool,
    /// The columns that refer and those that they refer to.
    pub columns: Vec<ForeignKeyColumn>,
}

/// A referring column and the one that it refers to.
#[derive(Clone, Debug)]
pub struct ForeignKeyColumn {
    /// The referring column.
    pub child: String,
    /// The column referred to.
    pub parent: String,
    /// The operator that compares parent = child, as `OPERATOR(…)`.
    pub equals: String,
    /// `COLLATE …` of the parent's column: the server compares by it, whatever the child's collation.
    pub collate: String,
}

/// A sequence and its state.
#[derive(Clone, Debug)]
pub struct SequenceInfo {
    /// `oid`.
    pub oid: u32,
    /// Schema name.
    pub schema: String,
    /// Name.
    pub name: String,
    /// `increment`.
    pub increment: i64,
    /// `last_value`.
    pub last_value: i64,
    /// `is_called`.
    pub is_called: bool,
    /// The extension that it, or the table that owns it, is a member of.
    pub extension: Option<String>,
    /// Tables that own it or take defaults from it.
    pub used_by: Vec<u32>,
    /// Whether its state stays behind, as rows do that are the host's.
    pub left: bool,
    /// Whether the role in force may read it.
    pub may_select: bool,
    /// Whether the role in force may set it.
    pub may_update: bool,
    /// Whether the role in force has the owner's rights.
    pub is_owner: bool,
}

/// Everything that a data backup or restore needs to know of a database.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The server.
    pub server: ServerFacts,
    /// Tables by `oid`, in (schema, name) order.
    pub relations: Vec<Relation>,
    /// Keys, primary ones first, then those with the fewest columns.
    pub keys: Vec<Key>,
    /// Constraints.
    pub constraints: Vec<ConstraintInfo>,
    /// Output functions that the role in force may call, by `oid`.
    pub outputs: HashMap<u32, OutputFunction>,
    /// Sequences in (schema, name) order; states are filled by [`Catalog::read_sequences`].
    pub sequences: Vec<SequenceInfo>,
    /// Where things are, made at the first look-up: tables, keys and constraints stay where they are from then on.
    pub(crate) index: Index,
}

impl Relation {
    /// The name by which logs and people call it.
    pub fn shown(&self) -> String {
        shown_name(&self.schema, &self.name)
    }

    /// `"schema"."name"`.
    pub fn quoted(&self) -> String {
        quote::qualified(&self.schema, &self.name)
    }

    /// What stands behind FROM to mean the rows that belong to this relation: inheritance children are tables of
    /// their own, partitions are not.
    pub fn from_item(&self) -> String {
        match self.kind {
            RelationKind::Partitioned => self.quoted(),
            _ => format!("ONLY {}", self.quoted()),
        }
    }

    /// Those of `wanted` that the role in force lacks.
    pub fn lacks<'a>(&self, wanted: &[&'a str]) -> Vec<&'a str> {
        wanted.iter().copied().filter(|p| !self.privileges.contains(p)).collect()
    }
}

impl SequenceInfo {
    /// The name by which logs and people call it.
    pub fn shown(&self) -> String {
        shown_name(&self.schema, &self.name)
    }

    /// `"schema"."name"`.
    pub fn quoted(&self) -> String {
        quote::qualified(&self.schema, &self.name)
    }
}

impl Catalog {
    /// The relation of this name.
    pub fn find(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations.get(self.places().named(schema, name)?)
    }

    /// The relation of this `oid`.
    pub fn relation(&self, oid: u32) -> Option<&Relation> {
        self.relations.get(self.places().relation(oid)?)
    }

    /// The partitions right below a table.
    pub fn partitions(&self, oid: u32) -> impl Iterator<Item = &Relation> {
        self.places().partitions(oid).iter().filter_map(|at| self.relations.get(*at))
    }

    /// The constraints on a table.
    pub fn constraints_of(&self, table: u32) -> impl Iterator<Item = &ConstraintInfo> {
        self.places().constraints(table).iter().filter_map(|at| self.constraints.get(*at))
    }

    /// The partitioned tables above a partition, the nearest first.
    pub fn ancestors(&self, oid: u32) -> impl Iterator<Item = u32> {
        let above = |oid: u32| self.relation(oid).and_then(|r| r.partition_of);
        std::iter::successors(above(oid), move |oid| above(*oid))
    }

    /// The tables below (or equal to) `relation` that store rows, in (schema, name) order of each level; foreign ones
    /// included.
    pub fn leaves<'a>(&'a self, relation: &'a Relation) -> Vec<&'a Relation> {
        if relation.kind != RelationKind::Partitioned {
            return vec![relation];
        }
        self.partitions(relation.oid).flat_map(|p| self.leaves(p)).collect()
    }

    /// What SQL calls to print values of a column; none where the role may not call it, or it is another type's and
    /// would take the column only by a cast.
    pub fn output_call(&self, column: &ColumnInfo) -> Option<&str> {
        let function = self.outputs.get(&column.output)?;
        function.takes.is_none_or(|takes| takes == column.base_type).then_some(function.call.as_str())
    }

    /// The best key of a table that has only columns out of `usable`.
    pub fn key(&self, table: u32, usable: impl Fn(&str) -> bool) -> Option<&Key> {
        let keys = self.places().keys(table).iter().filter_map(|at| self.keys.get(*at));
        keys.into_iter().find(|k| k.columns.iter().all(|c| usable(&c.name)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table of so many pages, without columns.
    pub fn heap(oid: u32, pages: u64) -> Relation {
        Relation {
            oid,
            schema: "public".into(),
            name: format!("t{oid}"),
            kind: RelationKind::Table,
            partition_of: None,
            filenode: 0,
            current_filenode: None,
            heap_pages: pages,
            bytes: pages * 8192,
            heap: true,
            row_security_active: false,
            row_security_forced: false,
            owner: "app".into(),
            is_owner: true,
            privileges: vec![],
            extension: None,
            condition: None,
            left: false,
            unlogged: false,
            columns: vec![],
        }
    }
}
