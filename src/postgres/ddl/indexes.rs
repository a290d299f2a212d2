//! Indexes, and the unique, primary and exclusion constraints that have one; the attachment of a partition's index to
//! that of the table above; marks that a table bears of an index (clustered on it, identified by it).

use std::collections::HashMap;

use futures_util::future::try_join;
use tokio_postgres::{Error, Row};

use super::draft::{Address, Draft, Part, Reader, at, class, of_table, post_data};
use super::tables::catalog::letter;
use crate::postgres::quote::literal;
use crate::schema::{Kind, Object};

/// An invalid index is the remains of a failed `CREATE INDEX CONCURRENTLY`, but on a partitioned table it is one that
/// not all partitions have yet.
///
/// `pg_get_indexdef` opens each index's table, and there may be tens of thousands: it is asked only about indexes with
/// more to them than columns under their types' own operator classes, collations and order.
fn indexes_query(reader: Reader<'_>) -> String {
    format!(
        "SELECT i.indexrelid, n.nspname, c.relname,
            pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
            pg_catalog.quote_ident(c.relname), t.oid, t.relname,
            pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.relname),
            ts.spcname, i.indisclustered, i.indisreplident,
            CASE WHEN r.oid IS NOT NULL THEN NULL
                WHEN s.is_plain AND m.amname = 'btree' AND i.indpred IS NULL AND c.reloptions IS NULL THEN
                    pg_catalog.concat('CREATE ', CASE WHEN i.indisunique THEN 'UNIQUE ' END, 'INDEX ',
                        pg_catalog.quote_ident(c.relname), ' ON ', CASE WHEN c.relkind = 'I' THEN 'ONLY ' END,
                        pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(t.relname),
                        ' USING btree (', s.keys, ')', ' INCLUDE (' || s.included || ')',
                        CASE WHEN {nulls_not_distinct} THEN ' NULLS NOT DISTINCT' END)
                ELSE pg_catalog.pg_get_indexdef(i.indexrelid) END,
            r.oid, r.conname, pg_catalog.quote_ident(r.conname),
            CASE WHEN r.contype = 'x' THEN pg_catalog.pg_get_constraintdef(r.oid)
                WHEN r.oid IS NOT NULL THEN
                    pg_catalog.concat(CASE WHEN r.contype = 'p' THEN 'PRIMARY KEY '
                            WHEN {nulls_not_distinct} THEN 'UNIQUE NULLS NOT DISTINCT ' ELSE 'UNIQUE ' END,
                        '(', s.keys, CASE WHEN {without_overlaps} THEN ' WITHOUT OVERLAPS' END, ')',
                        ' INCLUDE (' || s.included || ')', ' WITH (' || {options} || ')',
                        CASE WHEN r.condeferrable THEN ' DEFERRABLE' END,
                        CASE WHEN r.condeferred THEN ' INITIALLY DEFERRED' END) END,
            t.relkind, h.inhparent,
            pg_catalog.quote_ident(parent_schema.nspname) || '.' || pg_catalog.quote_ident(p.relname),
            CASE WHEN c.relkind = 'I' AND i.indisreplident THEN
                ARRAY(SELECT b.relid::oid FROM pg_catalog.pg_partition_tree(c.oid) b WHERE b.relid <> c.oid)
            END,
            COALESCE(r.contype = 'x' OR {without_overlaps}, false)
        FROM pg_catalog.pg_index i
        JOIN ({COLUMNS}) s ON s.indexrelid = i.indexrelid
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        JOIN pg_catalog.pg_am m ON m.oid = c.relam
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
        LEFT JOIN pg_catalog.pg_tablespace ts ON ts.oid = c.reltablespace
        LEFT JOIN pg_catalog.pg_constraint r ON r.conindid = i.indexrelid AND r.conrelid = i.indrelid
            AND r.contype IN ('p', 'u', 'x')
        LEFT JOIN pg_catalog.pg_inherits h ON h.inhrelid = i.indexrelid
        LEFT JOIN pg_catalog.pg_class p ON p.oid = h.inhparent
        LEFT JOIN pg_catalog.pg_namespace parent_schema ON parent_schema.oid = p.relnamespace
        WHERE (i.indisvalid OR t.relkind = 'p') AND i.indisready
            AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'",
        nulls_not_distinct = reader.pick(15, "i.indnullsnotdistinct", "false"),
        without_overlaps = reader.pick(18, "r.conperiod", "false"),
        options = super::tables::catalog::options("c.reloptions", ""),
    )
}

/// Columns of indexes, and whether nothing needs to be said of them but their names. Included ones have no class. A
/// `varchar` column has the class of `text` (types 1043 and 25), unless somebody made one for it. Classes of the server's
/// own have no options for B-trees.
const COLUMNS: &str = "SELECT x.indexrelid,
        pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY k.position)
            FILTER (WHERE k.class IS NOT NULL) AS keys,
        pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY k.position)
            FILTER (WHERE k.class IS NULL) AS included,
        pg_catalog.bool_and(k.class IS NULL OR COALESCE(
            o.opcdefault AND o.oid < 16384
                AND (o.opcintype = a.atttypid OR o.opcintype = 25 AND a.atttypid = 1043
                    AND NOT EXISTS (SELECT FROM pg_catalog.pg_opclass v WHERE v.opcintype = 1043 AND v.opcdefault))
                AND k.under = a.attcollation AND k.option = 0,
            false)) AS is_plain
    FROM pg_catalog.pg_index x
    CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(x.indkey::int2[]), pg_catalog.unnest(x.indclass::oid[]),
        pg_catalog.unnest(x.indcollation::oid[]), pg_catalog.unnest(x.indoption::int2[]))
        WITH ORDINALITY k(attnum, class, under, option, position)
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum AND a.attnum > 0
    LEFT JOIN pg_catalog.pg_opclass o ON o.oid = k.class
    WHERE x.indexrelid >= 16384
    GROUP BY x.indexrelid";

/// Statistics targets of expressions.
const STATISTICS: &str = "SELECT a.attrelid, a.attnum, a.attstattarget::int4
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    WHERE c.relkind IN ('i', 'I') AND a.attnum > 0 AND a.attstattarget >= 0
    ORDER BY a.attrelid, a.attnum";

/// An index as the catalogs have it.
struct Index {
    oid: u32,
    schema: String,
    name: String,
    qualified: String,
    quoted: String,
    table_oid: u32,
    table: String,
    qualified_table: String,
    of_partitioned_table: bool,
    tablespace: Option<String>,
    is_clustered: bool,
    is_replica_identity: bool,
    /// The parent's `oid` and name.
    above: Option<(u32, String)>,
    /// Indexes of partitions at all depths, where a mark has to wait for them.
    below: Vec<u32>,
    /// Whether it is that of an exclusion constraint or of a key `WITHOUT OVERLAPS`. No server attaches such an index to
    /// another: those of partitions can only come with that of the table above.
    excludes: bool,
}

/// Reads them.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let indexes = indexes_query(reader);
    let (indexes, statistics) = try_join(reader.rows(&indexes), reader.rows(STATISTICS)).await?;
    let mut further: HashMap<u32, Vec<String>> = HashMap::new();
    for row in statistics {
        let (column, target): (i16, i32) = (row.get(1), row.get(2));
        further.entry(row.get(0)).or_default().push(format!("ALTER COLUMN {column} SET STATISTICS {target}"));
    }
    let mut drafts = Vec::with_capacity(indexes.len());
    for row in indexes {
        let index = index(&row);
        let made = match row.get::<_, Option<u32>>(12) {
            Some(oid) => constraint(&index, oid, &row),
            None => plain(&index, &row),
        };
        let Some(mut draft) = made else { continue };
        draft.object.tablespace = index.tablespace.clone();
        let further = further.remove(&index.oid).unwrap_or_default();
        draft.object.create.extend(further.iter().map(|f| format!("ALTER INDEX {} {f}", index.qualified)));
        drafts.push(draft);
        drafts.extend(attachment(&index));
        drafts.extend(mark(&index));
    }
    Ok(drafts)
}

fn index(row: &Row) -> Index {
    let above: Option<u32> = row.get(17);
    Index {
        oid: row.get(0),
        schema: row.get(1),
        name: row.get(2),
        qualified: row.get(3),
        quoted: row.get(4),
        table_oid: row.get(5),
        table: row.get(6),
        qualified_table: row.get(7),
        of_partitioned_table: letter(row, 16) == 'p',
        tablespace: row.get(8),
        is_clustered: row.get(9),
        is_replica_identity: row.get(10),
        above: above.and_then(|oid| Some((oid, row.get::<_, Option<String>>(18)?))),
        below: row.get::<_, Option<Vec<u32>>>(19).unwrap_or_default(),
        excludes: row.get(20),
    }
}

impl Index {
    fn of_it(&self, kind: Kind, identity: String, name: &str) -> Object {
        post_data(of_table(kind, identity, name, (&self.schema, &self.table)))
    }

    /// What is attached to another index goes with that one, and cannot go before it.
    fn drop(&self, statement: String) -> Vec<String> {
        if self.above.is_some() { Vec::new() } else { vec![statement] }
    }
}

fn plain(index: &Index, row: &Row) -> Option<Draft> {
    let definition: Option<String> = row.get(11);
    let identity = format!("INDEX {}", index.qualified);
    let mut object = index.of_it(Kind::Index, identity.clone(), &index.name);
    object.create = vec![definition?];
    object.drop = index.drop(format!("DROP {identity}"));
    Some(Draft::new(at(class::CLASS, index.oid), object))
}

fn constraint(index: &Index, oid: u32, row: &Row) -> Option<Draft> {
    let (name, quoted): (String, String) = (row.get(13), row.get(14));
    let definition = row.get::<_, Option<String>>(15)?;
    let table = &index.qualified_table;
    let identity = format!("CONSTRAINT {quoted} ON {table}");
    let mut object = index.of_it(Kind::Constraint, identity, &name);
    let mut needs = Vec::new();
    object.create = match &index.above {
        Some((above, above_name)) if index.excludes => {
            needs = vec![at(class::CLASS, *above), at(class::ATTACHMENT, index.table_oid)];
            vec![renaming(index, above_name)]
        }
        _ => {
            let only = if index.excludes && index.of_partitioned_table { "" } else { "ONLY " };
            vec![format!("ALTER TABLE {only}{table}\n    ADD CONSTRAINT {quoted} {definition}")]
        }
    };
    let only = if index.of_partitioned_table { "" } else { "ONLY " };
    object.drop = index.drop(format!("ALTER TABLE {only}{table} DROP CONSTRAINT {quoted}"));
    let mut draft = Draft::new(at(class::CONSTRAINT, oid), object);
    draft.needs = needs;
    draft
        .parts
        .push(Part { at: at(class::CLASS, index.oid), identity: Some(format!("INDEX {}", index.qualified)) });
    Some(draft)
}

/// Gives a partition's constraint, which came with that of the table above and got a name of the server's choice, its own.
fn renaming(index: &Index, above: &str) -> String {
    let [above, table, name] = [above, &index.qualified_table, &index.name].map(literal);
    let body = format!(
        "
DECLARE made pg_catalog.text;
BEGIN
    FOR made IN SELECT h.inhrelid::pg_catalog.regclass::pg_catalog.text
        FROM pg_catalog.pg_inherits h
        JOIN pg_catalog.pg_index i ON i.indexrelid = h.inhrelid
        JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid
        WHERE h.inhparent = {above}::pg_catalog.regclass AND i.indrelid = {table}::pg_catalog.regclass
            AND c.relname <> {name}
    LOOP
        EXECUTE pg_catalog.format('ALTER INDEX %s RENAME TO %I', made, {name});
    END LOOP;
END
"
    );
    format!("DO {}", literal(&body))
}

fn attachment(index: &Index) -> Option<Draft> {
    let (above, name) = index.above.as_ref().filter(|_| !index.excludes)?;
    let identity = format!("ATTACHMENT {}", index.qualified);
    let mut object = index.of_it(Kind::Attachment, identity, &index.name);
    object.create = vec![format!("ALTER INDEX {name} ATTACH PARTITION {}", index.qualified)];
    let mut draft = Draft::new(at(class::ATTACHMENT, index.oid), object);
    draft.needs =
        vec![at(class::CLASS, *above), at(class::CLASS, index.oid), at(class::ATTACHMENT, index.table_oid)];
    Some(draft)
}

fn mark(index: &Index) -> Option<Draft> {
    let table = &index.qualified_table;
    let identity = format!("INDEX MARK {}", index.qualified);
    let mut object = index.of_it(Kind::IndexMark, identity, &index.name);
    if index.is_clustered {
        object.create.push(format!("ALTER TABLE {table} CLUSTER ON {}", index.quoted));
        object.drop.push(format!("ALTER TABLE {table} SET WITHOUT CLUSTER"));
    }
    if index.is_replica_identity {
        let change = format!("ALTER TABLE ONLY {table} REPLICA IDENTITY");
        object.create.push(format!("{change} USING INDEX {}", index.quoted));
        object.drop.push(format!("{change} DEFAULT"));
    }
    if object.create.is_empty() {
        return None;
    }
    let mut draft = Draft::new(at(class::INDEX_MARK, index.oid), object);
    draft.needs = vec![at(class::CLASS, index.oid), at(class::CLASS, index.table_oid)];
    draft.needs.extend(attachments(&index.below));
    Some(draft)
}

/// The attachments of these indexes: the index above is whole only behind them.
pub fn attachments(indexes: &[u32]) -> impl Iterator<Item = Address> + '_ {
    indexes.iter().map(|oid| at(class::ATTACHMENT, *oid))
}
