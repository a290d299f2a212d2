//! Views, materialized views, and what fills these.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::future::try_join4;
use tokio_postgres::{Error, Row};

use super::draft::{Body, Draft, Part, Reader, at, class, of_table, post_data};
use crate::schema::{Kind, Object};

/// Views and materialized views. An option's value is quoted unless it could be a name, as any string may be a value.
fn views(reader: Reader<'_>) -> String {
    let compression = reader.pick(14, "NULLIF(a.attcompression::pg_catalog.text, '')", "NULL");
    let _ = compression;
    r"
SELECT c.oid, c.relkind::pg_catalog.text, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text,
       pg_catalog.pg_get_viewdef(c.oid),
       c.reltype, t.typarray, w.oid,
       (SELECT pg_catalog.string_agg(o.word || pg_catalog.quote_ident(o.key) || '='
                 || CASE WHEN pg_catalog.quote_ident(o.value) = o.value THEN o.value
                         ELSE pg_catalog.quote_literal(o.value) END, ', ' ORDER BY o.word, o.n)
          FROM (SELECT '' AS word, x.n, pg_catalog.split_part(x.o, '=', 1) AS key,
                       pg_catalog.substr(x.o, pg_catalog.strpos(x.o, '=') + 1) AS value
                  FROM pg_catalog.unnest(c.reloptions) WITH ORDINALITY x (o, n)
                UNION ALL
                SELECT 'toast.', x.n, pg_catalog.split_part(x.o, '=', 1),
                       pg_catalog.substr(x.o, pg_catalog.strpos(x.o, '=') + 1)
                  FROM pg_catalog.pg_class tc, pg_catalog.unnest(tc.reloptions) WITH ORDINALITY x (o, n)
                 WHERE tc.oid = c.reltoastrelid) o
         WHERE o.key <> 'check_option'),
       CASE WHEN 'check_option=local' = ANY (c.reloptions) THEN 'LOCAL'
            WHEN 'check_option=cascaded' = ANY (c.reloptions) THEN 'CASCADED' END,
       CASE c.relkind WHEN 'v' THEN
         (SELECT pg_catalog.string_agg(E'\n    NULL::' || pg_catalog.format_type(a.atttypid, a.atttypmod)
                   || COALESCE(' COLLATE ' || pg_catalog.quote_ident(cn.nspname) || '.'
                               || pg_catalog.quote_ident(co.collname), '')
                   || ' AS ' || pg_catalog.quote_ident(a.attname), ',' ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a
            JOIN pg_catalog.pg_type ty ON ty.oid = a.atttypid
            LEFT JOIN pg_catalog.pg_collation co
              ON co.oid = a.attcollation AND a.attcollation <> ty.typcollation
            LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) END,
       s.spcname::pg_catalog.text, NULLIF(am.amname, 'heap')::pg_catalog.text,
       c.relreplident::pg_catalog.text, c.relispopulated
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_type t ON t.oid = c.reltype
  LEFT JOIN pg_catalog.pg_rewrite w ON w.ev_class = c.oid AND w.rulename = '_RETURN'
  LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace
  LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
 WHERE c.relkind IN ('v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 ORDER BY 3, 4"
        .to_owned()
}
