//! From the server's answers to the catalog's structs. Every function is one round trip, or one for each batch.

use std::collections::{BTreeSet, HashMap};

use tokio_postgres::{Client, Error, Row};

use super::{
    Catalog, ColumnInfo, ConstraintInfo, ForeignKey, ForeignKeyColumn, Key, KeyColumn, OutputFunction,
    Relation, RelationKind, SequenceInfo, ServerFacts, query,
};
use crate::postgres::copy::binary::Wire;
use crate::postgres::{error as pg, quote};

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
            has_large_objects: row.get(10),
            standby: row.get(11),
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

    /// Reads which tables and sequences there are, and nothing of what they are made of.
    pub async fn read_tables(client: &Client) -> Result<Catalog, Error> {
        let (server, relations, sequences) =
            tokio::join!(Catalog::read_server(client), read_relations(client), read_sequence_list(client));
        let mut answers = Answers::default();
        let (server, relations) = (answers.take(server)?, answers.take(relations)?);
        let sequences = answers.take(sequences)?;
        answers.end()?;
        Ok(Catalog {
            server: server.unwrap_or_default(),
            relations: relations.unwrap_or_default(),
            sequences: sequences.unwrap_or_default(),
            ..Catalog::default()
        })
    }

    /// Reads the catalog under the transaction's snapshot, sequence states excepted.
    pub async fn read(client: &Client) -> Result<Catalog, Error> {
        // One behind the other over the connection, without waiting for an answer before the next question.
        let (server, relations, domains, columns, keys, constraints, sequences) = tokio::join!(
            Catalog::read_server(client),
            read_relations(client),
            client.query_typed(query::DOMAINS, &[]),
            client.query_typed(query::COLUMNS, &[]),
            read_keys(client),
            read_constraints(client),
            read_sequence_list(client),
        );
        let mut answers = Answers::default();
        let server = answers.take(server)?;
        let relations = answers.take(relations)?;
        let domains = answers.take(domains)?;
        let columns = answers.take(columns)?;
        let keys = answers.take(keys)?;
        let constraints = answers.take(constraints)?;
        let sequences = answers.take(sequences)?;
        answers.end()?;
        let (mut relations, keys) = (relations.unwrap_or_default(), keys.unwrap_or_default());
        let (server, constraints) = (server.unwrap_or_default(), constraints.unwrap_or_default());
        let domains = domains.unwrap_or_default();
        let sequences = sequences.unwrap_or_default();
        let domains: HashMap<u32, (u32, String)> =
            domains.iter().map(|r| (r.get(0), (r.get(1), r.get(2)))).collect();
        let position: HashMap<u32, usize> = relations.iter().enumerate().map(|(i, r)| (r.oid, i)).collect();
        for row in columns.unwrap_or_default() {
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
                output: row.get(6),
                always_identity: row.get(7),
            });
        }
        Ok(Catalog {
            outputs: read_outputs(client, &relations).await?,
            server,
            relations,
            keys,
            constraints,
            sequences,
            ..Catalog::default()
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
}

/// Answers to several questions in one transaction: after one that failed all others only say that the transaction is
/// aborted, and the one that failed is the one to be told.
#[derive(Default)]
struct Answers(Option<Error>);

impl Answers {
    /// The answer; none where the question was not answered because of another one.
    fn take<T>(&mut self, answer: Result<T, Error>) -> Result<Option<T>, Error> {
        match answer {
            // in_failed_sql_transaction
            Err(error) if pg::sqlstate(&error) == Some("25P02") => {
                self.0.get_or_insert(error);
                Ok(None)
            }
            answer => answer.map(Some),
        }
    }

    /// After all: the transaction had been aborted before.
    fn end(self) -> Result<(), Error> {
        self.0.map_or(Ok(()), Err)
    }
}

async fn read_relations(client: &Client) -> Result<Vec<Relation>, Error> {
    const PRIVILEGES: [&str; 6] = ["USAGE", "SELECT", "INSERT", "UPDATE", "DELETE", "REFERENCES"];
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
            extension: row.get(18),
            condition: row.get(19),
            left: false,
            unlogged: row.get(20),
            columns: Vec::new(),
        })
        .collect())
}

/// The output functions of those columns whose values come as text.
async fn read_outputs(
    client: &Client,
    relations: &[Relation],
) -> Result<HashMap<u32, OutputFunction>, Error> {
    let columns = relations.iter().flat_map(|r| &r.columns);
    let unknown = columns.filter(|c| Wire::of_column(c.base_type, c.output).is_none());
    let wanted: BTreeSet<u32> = unknown.map(|c| c.output).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let list = wanted.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let rows = client.query_typed(&query::OUTPUTS.replace("{}", &list), &[]).await?;
    let function = |row: &Row| {
        let takes = Some(row.get(3)).filter(|oid| *oid != 0);
        (row.get(0), OutputFunction { call: quote::qualified(row.get(1), row.get(2)), takes })
    };
    Ok(rows.iter().map(function).collect())
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
                    deferrable: row.get(14),
                    delete_acts: row.get(15),
                    update_acts: row.get(16),
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
            left: false,
            may_select: row.get(5),
            may_update: row.get(6),
            is_owner: row.get(7),
            extension: row.get(8),
            last_value: 0,
            is_called: false,
        })
        .collect())
}
