//! Views.

use tokio_postgres::{Error, Row};

use super::draft::{Body, Draft, Part, Reader, at, class};
use super::present::Group;
use crate::schema::{Kind, Object};

/// SQL for the storage parameters in `array` as a list of `name=value`, each name behind `prefix`; NULL where there are
/// none. A value is quoted unless it could be a name, as any string may be a value. `without` leaves one out.
pub(super) fn options(array: &str, prefix: &str, without: &str) -> String {
    format!(
        "(SELECT pg_catalog.string_agg('{prefix}' || pg_catalog.quote_ident(o.name) || '='
                   || CASE WHEN pg_catalog.quote_ident(o.value) = o.value THEN o.value
                           ELSE pg_catalog.quote_literal(o.value) END, ', ' ORDER BY o.n)
            FROM (SELECT pg_catalog.split_part(x.o, '=', 1) AS name,
                         pg_catalog.substr(x.o, pg_catalog.strpos(x.o, '=') + 1) AS value, x.n
                    FROM pg_catalog.unnest({array}) WITH ORDINALITY x (o, n)) o
           WHERE o.name <> '{without}')"
    )
}

fn query() -> String {
    format!(
        r"
SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text,
       pg_catalog.pg_get_viewdef(c.oid), {options},
       CASE WHEN 'check_option=local' = ANY (c.reloptions) THEN 'LOCAL'
            WHEN 'check_option=cascaded' = ANY (c.reloptions) THEN 'CASCADED' END,
       (SELECT pg_catalog.string_agg(E'\n    NULL::' || pg_catalog.format_type(a.atttypid, a.atttypmod)
                 || COALESCE(' COLLATE ' || pg_catalog.quote_ident(cn.nspname) || '.'
                             || pg_catalog.quote_ident(co.collname), '')
                 || ' AS ' || pg_catalog.quote_ident(a.attname), ',' ORDER BY a.attnum)
          FROM pg_catalog.pg_attribute a
          JOIN pg_catalog.pg_type ty ON ty.oid = a.atttypid
          LEFT JOIN pg_catalog.pg_collation co
            ON co.oid = a.attcollation AND a.attcollation <> ty.typcollation
          LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       c.reltype, t.typarray, w.oid
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_type t ON t.oid = c.reltype
  LEFT JOIN pg_catalog.pg_rewrite w ON w.ev_class = c.oid AND w.rulename = '_RETURN'
 WHERE c.relkind = 'v' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 ORDER BY 2, 3",
        options = options("c.reloptions", "", "check_option")
    )
}

/// All views. Defaults of their columns are read with those of tables.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    Ok(reader.rows_of(Group::Views, &query()).await?.iter().filter_map(view).collect())
}

/// The definition without its semicolon; none where the view was dropped meanwhile.
pub(super) fn definition(text: Option<&str>) -> Option<&str> {
    text.map(|t| t.trim_end().trim_end_matches(';')).filter(|t| !t.is_empty())
}

fn view(row: &Row) -> Option<Draft> {
    let body = definition(row.get(5))?;
    let sql: &str = row.get(3);
    let with = row.get::<_, Option<&str>>(6).map(|o| format!(" WITH ({o})")).unwrap_or_default();
    let check =
        row.get::<_, Option<&str>>(7).map(|c| format!("\n  WITH {c} CHECK OPTION")).unwrap_or_default();
    let columns = row.get::<_, Option<&str>>(8).unwrap_or_default();

    let mut object = Object::new(Kind::View, format!("VIEW {sql}"), Some(row.get(1)), row.get::<_, &str>(2));
    object.owner = row.get(4);
    object.create = vec![format!("CREATE VIEW {sql}{with} AS\n{body}{check}")];
    object.drop = vec![format!("DROP VIEW {sql}")];
    let mut draft = Draft::new(at(class::CLASS, row.get(0)), object);
    draft.body = Body::WithShell {
        declare: vec![format!("CREATE VIEW {sql} AS\n SELECT{columns}")],
        complete: vec![format!("CREATE OR REPLACE VIEW {sql}{with} AS\n{body}{check}")],
    };
    draft.parts = relation_parts(sql, row.get(9), row.get(10), row.get(11));
    Some(draft)
}

/// The types of a view's rows and of arrays of them, and the rule that makes it a view.
pub(super) fn relation_parts(
    sql: &str,
    row_type: u32,
    array_type: Option<u32>,
    rule: Option<u32>,
) -> Vec<Part> {
    let mut parts = Vec::new();
    for oid in [Some(row_type), array_type].into_iter().flatten().filter(|oid| *oid != 0) {
        parts.push(Part { at: at(class::TYPE, oid), identity: None });
    }
    if let Some(oid) = rule {
        let identity = Some(format!("RULE \"_RETURN\" ON {sql}"));
        parts.push(Part { at: at(class::REWRITE, oid), identity });
    }
    parts
}
