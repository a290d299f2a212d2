//! The catalog as plain structs, read in a constant number of queries: tables with their columns and leaves, keys,
//! constraints and sequences. `catalog_query` holds the SQL.

use std::collections::HashMap;

use tokio_postgres::{Client, Error};

use super::catalog_query as query;
use super::quote;
use crate::archive::model::shown_name;

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
    /// Privileges of the role in force, as names: `USAGE` (of the schema), `SELECT`, `INSERT`, `UPDATE`, `DELETE`.
    pub privileges: Vec<&'static str>,
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
    /// For a domain: the type that it is over, at the bottom, as `type_name` would give it.
    pub domain_over: Option<String>,
    /// Whether NOT NULL.
    pub not_null: bool,
    /// Whether generated (stored or virtual): the server computes it.
    pub generated: bool,
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
    /// Tables that own it or take defaults from it.
    pub used_by: Vec<u32>,
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
    /// Sequences in (schema, name) order; states are filled by [`Catalog::read_sequences`].
    pub sequences: Vec<SequenceInfo>,
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
    /// Reads what the server is.
    ///
    /// Run it before any transaction, or inside one: a refused `pg_control_system` is asked about first, so that it
    /// cannot abort the transaction.
    pub async fn read_server(client: &Client) -> Result<ServerFacts, Error> {
        let row = client.query_typed(query::SERVER, &[]).await?;
        let row = &row[0];
        let mut facts = ServerFacts {
            version: row.get(0),
            version_num: row.get::<_, i32>(1) as u32,
            database: row.get(2),
            encoding: row.get(3),
            role: row.get(4),
            superuser: row.get(5),
            supabase: row.get(6),
            may_create_temporary: row.get(9),
            system_identifier: None,
            lsn: None,
        };
        if row.get::<_, bool>(7) {
            facts.system_identifier = client.query_typed(query::SYSTEM_IDENTIFIER, &[]).await?[0].get(0);
        }
        if row.get::<_, bool>(8) {
            facts.lsn = client.query_typed(query::LSN, &[]).await?[0].get(0);
        }
        Ok(facts)
    }

    /// Reads the catalog under the transaction's snapshot, sequence states excepted.
    pub async fn read(client: &Client) -> Result<Catalog, Error> {
        let server = Catalog::read_server(client).await?;
        let mut relations = read_relations(client).await?;
        let domains: HashMap<u32, (u32, String)> = client
            .query_typed(query::DOMAINS, &[])
            .await?
            .iter()
            .map(|r| (r.get(0), (r.get(1), r.get(2))))
            .collect();
        let position: HashMap<u32, usize> = relations.iter().enumerate().map(|(i, r)| (r.oid, i)).collect();
        for row in client.query_typed(query::COLUMNS, &[]).await? {
            let Some(&at) = position.get(&row.get::<_, u32>(0)) else { continue };
            let mut base_type: u32 = row.get(3);
            let mut domain_over = None;
            while let Some((under, name)) = domains.get(&base_type) {
                base_type = *under;
                domain_over = Some(name.clone());
            }
            relations[at].columns.push(ColumnInfo {
                name: row.get(1),
                type_name: row.get(2),
                base_type,
                domain_over,
                not_null: row.get(4),
                generated: row.get(5),
            });
        }
        Ok(Catalog {
            server,
            relations,
            keys: read_keys(client).await?,
            constraints: read_constraints(client).await?,
            sequences: read_sequence_list(client).await?,
        })
    }

    /// Reads `last_value` and `is_called` of the sequences that `wanted` picks; others are removed.
    ///
    /// A sequence is outside of any snapshot: its state is the one at the time of this call, never behind a value
    /// that the snapshot shows.
    pub async fn read_sequences(
        &mut self,
        client: &Client,
        wanted: impl Fn(&SequenceInfo) -> bool,
    ) -> Result<(), Error> {
        self.sequences.retain(|s| wanted(s));
        // One statement for several hundred: the parser's own limits are far above that.
        for batch in self.sequences.chunks_mut(500) {
            let sql: Vec<String> = batch
                .iter()
                .enumerate()
                .map(|(i, s)| format!("SELECT {i}::int4, last_value, is_called FROM {}", s.quoted()))
                .collect();
            for row in client.query_typed(&sql.join(" UNION ALL "), &[]).await? {
                let sequence = &mut batch[row.get::<_, i32>(0) as usize];
                sequence.last_value = row.get(1);
                sequence.is_called = row.get(2);
            }
        }
        Ok(())
    }

    /// Reads the sizes of the relations that `wanted` picks; others keep theirs.
    ///
    /// Waits for whoever holds one of them ACCESS EXCLUSIVE: to be called when they are locked.
    pub async fn read_sizes(
        &mut self,
        client: &Client,
        wanted: impl Fn(&Relation) -> bool,
    ) -> Result<(), Error> {
        let oids: Vec<String> =
            self.relations.iter().filter(|r| wanted(r)).map(|r| r.oid.to_string()).collect();
        if oids.is_empty() {
            return Ok(());
        }
        let rows = client.query_typed(&query::SIZES.replace("{}", &oids.join(", ")), &[]).await?;
        let sizes: HashMap<u32, (i64, i64)> =
            rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        for relation in &mut self.relations {
            if let Some((pages, bytes)) = sizes.get(&relation.oid) {
                relation.heap_pages = (*pages).max(0) as u64;
                relation.bytes = (*bytes).max(0) as u64;
            }
        }
        Ok(())
    }

    /// The relation of this name.
    pub fn find(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|r| r.schema == schema && r.name == name)
    }

    /// The relation of this `oid`.
    pub fn relation(&self, oid: u32) -> Option<&Relation> {
        self.relations.iter().find(|r| r.oid == oid)
    }

    /// The partitions right below a table.
    pub fn partitions(&self, oid: u32) -> impl Iterator<Item = &Relation> {
        self.relations.iter().filter(move |r| r.partition_of == Some(oid))
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

    /// The best key of a table that has only columns out of `usable`.
    pub fn key(&self, table: u32, usable: impl Fn(&str) -> bool) -> Option<&Key> {
        self.keys.iter().find(|k| k.table == table && k.columns.iter().all(|c| usable(&c.name)))
    }
}

async fn read_relations(client: &Client) -> Result<Vec<Relation>, Error> {
    const PRIVILEGES: [&str; 5] = ["USAGE", "SELECT", "INSERT", "UPDATE", "DELETE"];
    let rows = client.query_typed(query::RELATIONS, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| Relation {
            oid: row.get(0),
            schema: row.get(1),
            name: row.get(2),
            kind: match row.get::<_, &str>(3) {
                "p" => RelationKind::Partitioned,
                "f" => RelationKind::Foreign,
                _ => RelationKind::Table,
            },
            partition_of: row.get(4),
            filenode: row.get(5),
            current_filenode: row.get(6),
            heap_pages: 0,
            bytes: 0,
            heap: row.get(7),
            row_security_active: row.get(8),
            row_security_forced: row.get(9),
            owner: row.get(10),
            is_owner: row.get(11),
            privileges: PRIVILEGES
                .iter()
                .zip(12..)
                .filter(|(_, at)| row.get::<_, Option<bool>>(*at) != Some(false))
                .map(|(name, _)| *name)
                .collect(),
            columns: Vec::new(),
        })
        .collect())
}

async fn read_keys(client: &Client) -> Result<Vec<Key>, Error> {
    let mut keys: Vec<Key> = Vec::new();
    let mut widths: Vec<i32> = Vec::new();
    let mut last_index = 0u32;
    for row in client.query_typed(query::KEYS, &[]).await? {
        let index: u32 = row.get(1);
        if index != last_index || keys.is_empty() {
            keys.push(Key { table: row.get(0), primary: row.get(2), columns: Vec::new() });
            widths.push(row.get(9));
            last_index = index;
        }
        let collate = match (row.get::<_, Option<&str>>(6), row.get::<_, Option<&str>>(7)) {
            (Some(schema), Some(name)) => format!(" COLLATE {}", quote::qualified(schema, name)),
            _ => String::new(),
        };
        if let Some(key) = keys.last_mut() {
            key.columns.push(KeyColumn {
                name: row.get(3),
                equals: quote::operator(row.get(4), row.get(5)),
                collate,
                joinable: row.get(8),
            });
        }
    }
    // A column whose equality is unknown is not among the rows, and the others alone do not tell rows apart.
    let mut widths = widths.into_iter();
    keys.retain(|k| widths.next() == i32::try_from(k.columns.len()).ok());
    keys.sort_by_key(|k| (k.table, !k.primary, k.columns.len()));
    Ok(keys)
}

async fn read_constraints(client: &Client) -> Result<Vec<ConstraintInfo>, Error> {
    let rows = client.query_typed(query::CONSTRAINTS, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let columns: Vec<String> = row.get(8);
            let referred: Vec<String> = row.get(9);
            let schemas: Vec<String> = row.get(10);
            let symbols: Vec<String> = row.get(11);
            let operators = schemas.iter().zip(&symbols).map(|(s, o)| quote::operator(s, o));
            let collations: Vec<String> = row.get(13);
            ConstraintInfo {
                table: row.get(0),
                name: row.get(1),
                definition: row.get(2),
                comment: row.get(12),
                foreign_key: (row.get::<_, &str>(3) == "f").then(|| ForeignKey {
                    references: row.get(4),
                    inherited: row.get(5),
                    validated: row.get(6),
                    match_full: row.get(7),
                    columns: columns
                        .into_iter()
                        .zip(referred)
                        .zip(operators)
                        .zip(collations)
                        .map(|(((child, parent), equals), collation)| ForeignKeyColumn {
                            child,
                            parent,
                            equals,
                            collate: if collation.is_empty() {
                                collation
                            } else {
                                format!(" COLLATE {collation}")
                            },
                        })
                        .collect(),
                }),
            }
        })
        .collect())
}

async fn read_sequence_list(client: &Client) -> Result<Vec<SequenceInfo>, Error> {
    let rows = client.query_typed(query::SEQUENCES, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| SequenceInfo {
            oid: row.get(0),
            schema: row.get(1),
            name: row.get(2),
            increment: row.get(3),
            used_by: row.get(4),
            may_select: row.get(5),
            may_update: row.get(6),
            is_owner: row.get(7),
            last_value: 0,
            is_called: false,
        })
        .collect())
}
