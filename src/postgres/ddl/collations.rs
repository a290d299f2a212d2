//! Collations and conversions.

use tokio::try_join;
use tokio_postgres::Error;

use super::draft::{Draft, Reader, class};
use super::present::Group;
use super::rows::{OURS, drafts};
use crate::schema::Kind;

/// Reads collations and conversions.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let (mut collations, conversions) = try_join!(collations(reader), conversions(reader))?;
    collations.extend(conversions);
    Ok(collations)
}

async fn collations(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    // The column for locales of other providers than libc came with 15 and got a new name with 17.
    let locale = reader.pick(17, "c.colllocale", reader.pick(15, "c.colliculocale", "c.collcollate"));
    let rules = reader.pick(16, "c.collicurules", "NULL::text");
    // Without the version: it is that of the target's library.
    let rows = reader
        .rows_of(Group::Collations, &format!(
            "SELECT c.oid, n.nspname::text AS schema, c.collname::text AS name,
                    pg_catalog.pg_get_userbyid(c.collowner)::text AS owner, 'COLLATION ' || q.name AS identity,
                    ARRAY[concat('CREATE COLLATION ', q.name, ' (provider = ',
                        CASE c.collprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' END,
                        CASE WHEN NOT c.collisdeterministic THEN ', deterministic = false' END,
                        CASE WHEN c.collprovider <> 'c' THEN ', locale = ' || pg_catalog.quote_literal({locale})
                             WHEN c.collcollate = c.collctype THEN
                                  ', locale = ' || pg_catalog.quote_literal(c.collcollate)
                             ELSE concat(', lc_collate = ', pg_catalog.quote_literal(c.collcollate),
                                         ', lc_ctype = ', pg_catalog.quote_literal(c.collctype)) END,
                        ', rules = ' || pg_catalog.quote_literal({rules}), ')')] AS ddl
               FROM pg_catalog.pg_collation c
               JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
              CROSS JOIN LATERAL (SELECT pg_catalog.quote_ident(n.nspname) || '.'
                                         || pg_catalog.quote_ident(c.collname)) AS q (name)
              WHERE {OURS} AND c.collprovider <> 'd'
              ORDER BY n.nspname, c.collname"
        ))
        .await?;
    drafts(&rows, Kind::Collation, class::COLLATION)
}

async fn conversions(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let rows = reader
        .rows_of(Group::Conversions, &format!(
            "SELECT c.oid, n.nspname::text AS schema, c.conname::text AS name,
                    pg_catalog.pg_get_userbyid(c.conowner)::text AS owner, 'CONVERSION ' || q.name AS identity,
                    ARRAY[concat('CREATE ', CASE WHEN c.condefault THEN 'DEFAULT ' END, 'CONVERSION ', q.name,
                        ' FOR ', pg_catalog.quote_literal(pg_catalog.pg_encoding_to_char(c.conforencoding)),
                        ' TO ', pg_catalog.quote_literal(pg_catalog.pg_encoding_to_char(c.contoencoding)),
                        ' FROM ', c.conproc)] AS ddl
               FROM pg_catalog.pg_conversion c
               JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace
              CROSS JOIN LATERAL (SELECT pg_catalog.quote_ident(n.nspname) || '.'
                                         || pg_catalog.quote_ident(c.conname)) AS q (name)
              WHERE {OURS}
              ORDER BY n.nspname, c.conname"
        ))
        .await?;
    drafts(&rows, Kind::Conversion, class::CONVERSION)
}
