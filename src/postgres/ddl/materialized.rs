//! Materialized views, made empty, and what fills them when the rows are in.

use std::collections::{HashMap, HashSet};

use futures_util::future::try_join3;
use tokio_postgres::{Error, Row};

use super::draft::{Draft, Reader, at, class, of_table, post_data};
use super::present::Group;
use super::views::{definition, options, relation_parts};
use crate::schema::{Kind, Object};

fn query() -> String {
    format!(
        "
SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text,
       pg_catalog.pg_get_viewdef(c.oid), pg_catalog.concat_ws(', ', {options}, {toast}),
       c.reltype, t.typarray, w.oid, s.spcname::pg_catalog.text,
       NULLIF(am.amname, 'heap')::pg_catalog.text, c.relreplident::pg_catalog.text, c.relispopulated
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_class tc ON tc.oid = c.reltoastrelid
  LEFT JOIN pg_catalog.pg_type t ON t.oid = c.reltype
  LEFT JOIN pg_catalog.pg_rewrite w ON w.ev_class = c.oid AND w.rulename = '_RETURN'
  LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace
  LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
 WHERE c.relkind = 'm' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 ORDER BY 2, 3",
        options = options("c.reloptions", "", ""),
        toast = options("tc.reloptions", "toast.", "")
    )
}

/// Columns that are not as the view's definition alone would make them.
fn columns(reader: Reader<'_>) -> String {
    format!(
        "
SELECT a.attrelid, pg_catalog.quote_ident(a.attname),
       CASE WHEN a.attstattarget >= 0 THEN a.attstattarget::pg_catalog.int4 END,
       CASE WHEN a.attstorage <> t.typstorage THEN
         CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN'
                           WHEN 'x' THEN 'EXTENDED' END END,
       {compression}, {options}
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
 WHERE c.relkind = 'm' AND a.attnum > 0 AND NOT a.attisdropped
   AND (a.attstattarget >= 0 OR a.attstorage <> t.typstorage OR a.attoptions IS NOT NULL
        OR {compression} IS NOT NULL)
 ORDER BY a.attrelid, a.attnum",
        compression = reader.pick(
            14,
            "CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END",
            "NULL::pg_catalog.text"
        ),
        options = options("a.attoptions", "", "")
    )
}

/// Which materialized views each reads from, through views, operators, and functions whose bodies the server
/// understands.
const READS: &str = "
WITH RECURSIVE reads (root, class, oid) AS (
  SELECT c.oid, 1259::pg_catalog.oid, c.oid FROM pg_catalog.pg_class c
   WHERE c.relkind = 'm'
  UNION
  SELECT r.root, d.refclassid, d.refobjid
    FROM reads r
    JOIN LATERAL (
      SELECT x.refclassid, x.refobjid
        FROM pg_catalog.pg_rewrite w
        JOIN pg_catalog.pg_depend x ON x.classid = 2618 AND x.objid = w.oid
       WHERE r.class = 1259 AND w.ev_class = r.oid
      UNION ALL
      SELECT x.refclassid, x.refobjid FROM pg_catalog.pg_depend x
       WHERE r.class <> 1259 AND x.classid = r.class AND x.objid = r.oid) d ON true
    LEFT JOIN pg_catalog.pg_class c ON d.refclassid = 1259 AND c.oid = d.refobjid
   WHERE c.relkind IN ('v', 'm') OR d.refclassid IN (1255, 2617) AND d.refobjid >= 16384)
SELECT r.root, r.oid
  FROM reads r JOIN pg_catalog.pg_class c ON r.class = 1259 AND c.oid = r.oid
 WHERE c.relkind = 'm' AND r.oid <> r.root
 ORDER BY 1, 2";

/// All materialized views, and the filling of those that are filled.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let (query, columns) = (query(), columns(reader));
    let group = Group::MaterializedViews;
    let (views, columns, reads) = try_join3(
        reader.rows_of(group, &query),
        reader.rows_of(group, &columns),
        reader.rows_of(group, READS),
    )
    .await?;
    let mut settings: HashMap<u32, Vec<&Row>> = HashMap::new();
    for column in &columns {
        settings.entry(column.get(0)).or_default().push(column);
    }
    let mut sources: HashMap<u32, Vec<u32>> = HashMap::new();
    for row in &reads {
        sources.entry(row.get(0)).or_default().push(row.get(1));
    }
    let filled: HashSet<u32> = views.iter().filter(|v| v.get(13)).map(|v| v.get(0)).collect();

    let mut drafts = Vec::new();
    for row in &views {
        let oid: u32 = row.get(0);
        let settings = settings.get(&oid).map(Vec::as_slice).unwrap_or_default();
        let Some(draft) = view(row, settings) else { continue };
        drafts.push(draft);
        // Nothing can be read from one that is empty since it was filled itself.
        let sources = sources.get(&oid).map(Vec::as_slice).unwrap_or_default();
        if filled.contains(&oid) && sources.iter().all(|s| filled.contains(s)) {
            drafts.push(refresh(row, sources));
        }
    }
    Ok(drafts)
}

fn view(row: &Row, columns: &[&Row]) -> Option<Draft> {
    let body = definition(row.get(5))?;
    let sql: &str = row.get(3);
    let with = match row.get::<_, &str>(6) {
        "" => String::new(),
        options => format!(" WITH ({options})"),
    };
    let mut object = Object::new(
        Kind::MaterializedView,
        format!("MATERIALIZED VIEW {sql}"),
        Some(row.get(1)),
        row.get::<_, &str>(2),
    );
    object.owner = row.get(4);
    object.tablespace = row.get(10);
    object.access_method = row.get(11);
    object.create.push(format!("CREATE MATERIALIZED VIEW {sql}{with} AS\n{body}\n  WITH NO DATA"));
    for column in columns {
        let name: &str = column.get(1);
        let target: Option<i32> = column.get(2);
        let clauses = [
            target.map(|n| format!("STATISTICS {n}")),
            column.get::<_, Option<&str>>(3).map(|s| format!("STORAGE {s}")),
            column.get::<_, Option<&str>>(4).map(|c| format!("COMPRESSION {c}")),
            column.get::<_, Option<&str>>(5).map(|o| format!("({o})")),
        ];
        for clause in clauses.iter().flatten() {
            object.create.push(format!("ALTER MATERIALIZED VIEW {sql} ALTER COLUMN {name} SET {clause}"));
        }
    }
    match row.get(12) {
        "n" => object.create.push(format!("ALTER TABLE ONLY {sql} REPLICA IDENTITY NOTHING")),
        "f" => object.create.push(format!("ALTER TABLE ONLY {sql} REPLICA IDENTITY FULL")),
        // By an index: when there is one.
        _ => {}
    }
    object.drop = vec![format!("DROP MATERIALIZED VIEW {sql}")];
    let mut draft = Draft::new(at(class::CLASS, row.get(0)), object);
    draft.parts = relation_parts(sql, row.get(7), row.get(8), row.get(9));
    Some(draft)
}

fn refresh(row: &Row, sources: &[u32]) -> Draft {
    let (oid, schema, name, sql): (u32, &str, &str, &str) = (row.get(0), row.get(1), row.get(2), row.get(3));
    let mut object = post_data(of_table(Kind::Refresh, format!("REFRESH {sql}"), name, (schema, name)));
    object.create = vec![format!("REFRESH MATERIALIZED VIEW {sql}")];
    object.drop = vec![format!("REFRESH MATERIALIZED VIEW {sql} WITH NO DATA")];
    let mut draft = Draft::new(at(class::REFRESH, oid), object);
    draft.needs.push(at(class::CLASS, oid));
    draft.needs.extend(sources.iter().map(|source| at(class::REFRESH, *source)));
    draft
}
