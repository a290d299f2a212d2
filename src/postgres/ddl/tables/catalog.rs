//! Tables, their columns, defaults and inline constraints as the catalogs have them.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use tokio_postgres::{Error, Row};

use crate::postgres::ddl::draft::Reader;
use crate::postgres::ddl::present::Group;

/// A table, partitioned table or foreign table.
pub struct Table {
    pub oid: u32,
    /// `relkind`.
    pub kind: char,
    pub schema: String,
    pub name: String,
    /// Schema and name, quoted.
    pub qualified: String,
    pub owner: String,
    pub unlogged: bool,
    pub is_partition: bool,
    /// Row type, its array type and the toast table; 0 for what there is not.
    pub comes_with: [u32; 3],
    /// `relreplident`.
    pub replica_identity: char,
    pub of_type: Option<String>,
    pub tablespace: Option<String>,
    pub access_method: Option<String>,
    /// `name=value, …`, and those of the toast table.
    pub options: Option<String>,
    pub toast_options: Option<String>,
    pub partition_key: Option<String>,
    pub partition_bound: Option<String>,
    /// Of a foreign table, quoted.
    pub server: Option<String>,
    pub server_options: Option<String>,
    /// `oid`s, in order.
    pub parents: Vec<u32>,
    /// In order, without dropped ones.
    pub columns: Vec<Column>,
    /// In order of their names.
    pub checks: Vec<Constraint>,
    /// Not-null constraints that are not valid, which no column tells of.
    pub unproven_not_nulls: Vec<Constraint>,
}

/// A column.
pub struct Column {
    pub number: i16,
    pub name: String,
    pub quoted: String,
    pub type_name: String,
    /// `attnotnull` before 18.
    pub marked_not_null: bool,
    pub is_local: bool,
    /// `attgenerated`; a blank for none.
    pub generated: char,
    /// Where it is not its type's.
    pub collation: Option<String>,
    pub statistics: i32,
    /// `attstorage`.
    pub storage: char,
    /// `typstorage` of its type.
    pub type_storage: char,
    /// `attcompression`; a blank for none.
    pub compression: char,
    pub options: Option<String>,
    pub server_options: Option<String>,
    pub default: Option<Default>,
    /// The constraint, since 18: valid or not.
    pub not_null: Option<Constraint>,
}

/// A default or the expression of a generated column.
pub struct Default {
    pub oid: u32,
    pub expression: String,
}

/// A check or not-null constraint.
#[derive(Clone)]
pub struct Constraint {
    pub oid: u32,
    pub name: String,
    pub quoted: String,
    pub is_local: bool,
    pub is_valid: bool,
    pub no_inherit: bool,
    /// What follows its name; there is none for a valid not-null constraint.
    pub definition: Option<String>,
}

/// A default of a view's column.
pub struct ViewDefault {
    pub schema: String,
    pub view: String,
    pub qualified: String,
    pub column: String,
    pub quoted: String,
    pub default: Default,
}

/// Which schemas are not the server's own.
const OURS: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// Reloptions in `column`, as `WITH (…)` takes them.
pub fn options(column: &str, prefix: &str) -> String {
    format!(
        "CASE WHEN {column} IS NOT NULL THEN (
            SELECT pg_catalog.string_agg('{prefix}' || pg_catalog.quote_ident(o.option_name) || '='
                || CASE WHEN pg_catalog.quote_ident(o.option_value) = o.option_value THEN o.option_value
                   ELSE pg_catalog.quote_literal(o.option_value) END, ', ' ORDER BY o.ordinality)
            FROM pg_catalog.pg_options_to_table({column}) WITH ORDINALITY AS o(option_name, option_value, ordinality)
        ) END"
    )
}

/// Options for a foreign-data wrapper, as `OPTIONS (…)` takes them.
fn server_options(column: &str) -> String {
    format!(
        "CASE WHEN {column} IS NOT NULL THEN (
            SELECT pg_catalog.string_agg(pg_catalog.quote_ident(o.option_name) || ' '
                || pg_catalog.quote_literal(o.option_value), E',\\n    ' ORDER BY o.option_name)
            FROM pg_catalog.pg_options_to_table({column}) o
        ) END"
    )
}

/// One letter, of a column of type `"char"`; a blank where it is none.
pub fn letter(row: &Row, at: usize) -> char {
    match row.get::<_, Option<i8>>(at) {
        Some(byte) if byte != 0 => char::from(byte as u8),
        _ => ' ',
    }
}

/// All tables, and the defaults of views, in five queries.
pub async fn read(reader: Reader<'_>) -> Result<(Vec<Table>, Vec<ViewDefault>), Error> {
    let queries = [
        (None, tables_query()),
        (Some(Group::Children), parents_query()),
        (None, columns_query(reader)),
        (Some(Group::Checks), constraints_query(reader)),
        (Some(Group::Views), view_defaults_query()),
    ];
    let asked = queries.iter().map(|(group, sql)| async move {
        match group {
            Some(group) => reader.rows_of(*group, sql).await,
            None => reader.rows(sql).await,
        }
    });
    let mut answers = try_join_all(asked).await?.into_iter();
    let mut next = || answers.next().unwrap_or_default();
    let mut tables: Vec<Table> = next().iter().filter_map(table).collect();
    let position: HashMap<u32, usize> = tables.iter().enumerate().map(|(i, t)| (t.oid, i)).collect();
    for row in next() {
        if let Some(&at) = position.get(&row.get::<_, u32>(0)) {
            tables[at].parents.push(row.get(1));
        }
    }
    for row in next() {
        if let Some(&at) = position.get(&row.get::<_, u32>(0)) {
            tables[at].columns.push(column(&row));
        }
    }
    for row in next() {
        if let Some(&at) = position.get(&row.get::<_, u32>(0)) {
            add_constraint(&mut tables[at], &row);
        }
    }
    // In here rather than there: the server would sort wide rows of all tables.
    for table in &mut tables {
        table.columns.sort_unstable_by_key(|c| c.number);
        table.checks.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        table.unproven_not_nulls.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    }
    let view_defaults = next().iter().filter_map(view_default).collect();
    Ok((tables, view_defaults))
}

fn tables_query() -> String {
    format!(
        "SELECT c.oid, c.relkind, n.nspname, c.relname,
            pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
            pg_catalog.pg_get_userbyid(c.relowner)::text, c.relpersistence, c.relispartition,
            c.reltype, COALESCE(y.typarray, 0), c.reltoastrelid, c.relreplident,
            CASE WHEN c.reloftype <> 0 THEN pg_catalog.format_type(c.reloftype, NULL) END,
            ts.spcname, am.amname, {}, {},
            CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END,
            CASE WHEN c.relispartition THEN pg_catalog.pg_get_expr(c.relpartbound, c.oid) END,
            pg_catalog.quote_ident(fs.srvname), {}
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_type y ON y.oid = c.reltype
        LEFT JOIN pg_catalog.pg_class toast ON toast.oid = c.reltoastrelid AND toast.reloptions IS NOT NULL
        LEFT JOIN pg_catalog.pg_tablespace ts ON ts.oid = c.reltablespace
        LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
        LEFT JOIN pg_catalog.pg_foreign_table ft ON ft.ftrelid = c.oid
        LEFT JOIN pg_catalog.pg_foreign_server fs ON fs.oid = ft.ftserver
        WHERE c.relkind IN ('r', 'p', 'f') AND {OURS}",
        options("c.reloptions", ""),
        options("toast.reloptions", "toast."),
        server_options("ft.ftoptions"),
    )
}

fn table(row: &Row) -> Option<Table> {
    let table = Table {
        oid: row.get(0),
        kind: letter(row, 1),
        schema: row.get(2),
        name: row.get(3),
        qualified: row.get(4),
        owner: row.get(5),
        unlogged: letter(row, 6) == 'u',
        is_partition: row.get(7),
        comes_with: [row.get(8), row.get(9), row.get(10)],
        replica_identity: letter(row, 11),
        of_type: row.get(12),
        tablespace: row.get(13),
        access_method: row.get(14),
        options: row.get(15),
        toast_options: row.get(16),
        partition_key: row.get(17),
        partition_bound: row.get(18),
        server: row.get(19),
        server_options: row.get(20),
        parents: Vec::new(),
        columns: Vec::new(),
        checks: Vec::new(),
        unproven_not_nulls: Vec::new(),
    };
    // A partitioned table without a key was dropped since the snapshot was taken.
    (table.kind != 'p' || table.partition_key.is_some()).then_some(table)
}

fn parents_query() -> String {
    format!(
        "SELECT i.inhrelid, i.inhparent
        FROM pg_catalog.pg_inherits i
        JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'f') AND {OURS}
        ORDER BY i.inhrelid, i.inhseqno"
    )
}

/// A default names no column, so that the server need not look at the table to print it, which takes longest of all.
fn columns_query(reader: Reader<'_>) -> String {
    format!(
        "SELECT a.attrelid, a.attnum, a.attname, pg_catalog.quote_ident(a.attname),
            pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attislocal, a.attgenerated,
            pg_catalog.quote_ident(con.nspname) || '.' || pg_catalog.quote_ident(co.collname),
            COALESCE(a.attstattarget, -1)::int4,
            a.attstorage, {},
            pg_catalog.array_to_string(a.attoptions, ', '), {}, d.oid,
            CASE WHEN d.oid IS NULL THEN NULL
                WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, 0)
                ELSE pg_catalog.pg_get_expr(d.adbin, d.adrelid) END, y.typstorage
        FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
        LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation AND a.attcollation <> y.typcollation
        LEFT JOIN pg_catalog.pg_namespace con ON con.oid = co.collnamespace
        LEFT JOIN pg_catalog.pg_attrdef d ON a.atthasdef AND d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f') AND {OURS}",
        reader.pick(14, "a.attcompression", "NULL::\"char\""),
        server_options("a.attfdwoptions"),
    )
}

fn column(row: &Row) -> Column {
    Column {
        number: row.get(1),
        name: row.get(2),
        quoted: row.get(3),
        type_name: row.get(4),
        marked_not_null: row.get(5),
        is_local: row.get(6),
        generated: letter(row, 7),
        collation: row.get(8),
        statistics: row.get(9),
        storage: letter(row, 10),
        type_storage: letter(row, 16),
        compression: letter(row, 11),
        options: row.get(12),
        server_options: row.get(13),
        default: default(row, 14),
        not_null: None,
    }
}

/// `oid` and text of a default. There is no text where it went away since the snapshot was taken.
fn default(row: &Row, at: usize) -> Option<Default> {
    Some(Default { oid: row.get::<_, Option<u32>>(at)?, expression: row.get::<_, Option<String>>(at + 1)? })
}

fn view_defaults_query() -> String {
    format!(
        "SELECT d.oid, pg_catalog.pg_get_expr(d.adbin, 0), n.nspname, c.relname,
            pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
            a.attname, pg_catalog.quote_ident(a.attname)
        FROM pg_catalog.pg_attrdef d
        JOIN pg_catalog.pg_class c ON c.oid = d.adrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        WHERE c.relkind = 'v' AND {OURS}"
    )
}

fn view_default(row: &Row) -> Option<ViewDefault> {
    Some(ViewDefault {
        default: default(row, 0)?,
        schema: row.get(2),
        view: row.get(3),
        qualified: row.get(4),
        column: row.get(5),
        quoted: row.get(6),
    })
}

fn constraints_query(reader: Reader<'_>) -> String {
    // Before 18 no table had rows for its not-null constraints.
    let kinds = reader.pick(18, "('c', 'n')", "('c')");
    format!(
        "SELECT r.conrelid, r.oid, r.conname, pg_catalog.quote_ident(r.conname), r.contype, r.conislocal,
            r.convalidated, r.connoinherit, r.conkey[1],
            CASE WHEN r.contype = 'c' OR NOT r.convalidated THEN pg_catalog.pg_get_constraintdef(r.oid) END
        FROM pg_catalog.pg_constraint r
        JOIN pg_catalog.pg_class c ON c.oid = r.conrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE r.contype IN {kinds} AND {OURS}"
    )
}

fn add_constraint(table: &mut Table, row: &Row) {
    let constraint = Constraint {
        oid: row.get(1),
        name: row.get(2),
        quoted: row.get(3),
        is_local: row.get(5),
        is_valid: row.get(6),
        no_inherit: row.get(7),
        definition: row.get(9),
    };
    if letter(row, 4) == 'c' {
        if constraint.definition.is_some() {
            table.checks.push(constraint);
        }
        return;
    }
    if !constraint.is_valid && constraint.definition.is_some() {
        table.unproven_not_nulls.push(constraint.clone());
    }
    let number: Option<i16> = row.get(8);
    if let Some(column) = table.columns.iter_mut().find(|c| Some(c.number) == number) {
        column.not_null = Some(constraint);
    }
}
