//! Schemas and extensions, and which objects go with an extension without being its members.

use std::collections::HashMap;

use tokio::try_join;
use tokio_postgres::Error;

use super::draft::{Address, Body, Draft, Reader, at, class};
use super::rows::{FIRST_OID, OURS, SIGNATURE, draft, drafts};
use crate::schema::Kind;

/// Reads schemas and extensions.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let (mut schemas, extensions) = try_join!(schemas(reader), extensions(reader))?;
    schemas.extend(extensions);
    Ok(schemas)
}

async fn schemas(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    // `public` is in every new database. Its owner is worth a statement only where it is not the one that new databases
    // give it since 15, the predefined role pg_database_owner (oid 6171).
    let rows = reader
        .rows(&format!(
            "SELECT n.oid, NULL::text AS schema, n.nspname::text AS name,
                    CASE WHEN n.nspname <> 'public' OR n.nspowner <> 6171
                         THEN pg_catalog.pg_get_userbyid(n.nspowner)::text END AS owner,
                    'SCHEMA ' || pg_catalog.quote_ident(n.nspname) AS identity,
                    ARRAY['CREATE SCHEMA ' || pg_catalog.quote_ident(n.nspname)] AS ddl,
                    n.nspname = 'public' AND pg_catalog.obj_description(n.oid, 'pg_namespace') IS NULL AS bare
               FROM pg_catalog.pg_namespace n
              WHERE {OURS}
              ORDER BY n.nspname"
        ))
        .await?;
    let mut drafts = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(mut draft) = draft(row, Kind::Schema, class::NAMESPACE)? else { continue };
        if row.try_get("bare")? {
            // A new database's has one.
            draft.object.comments.push("COMMENT ON SCHEMA public IS NULL".to_owned());
        }
        drafts.push(draft);
    }
    Ok(drafts)
}

async fn extensions(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    // Without its version: the target's default one is the one that the target's library belongs to. There is no
    // ALTER EXTENSION … OWNER TO.
    let rows = reader
        .rows(&format!(
            "SELECT e.oid, NULL::text AS schema, e.extname::text AS name, NULL::text AS owner,
                    'EXTENSION ' || pg_catalog.quote_ident(e.extname) AS identity,
                    ARRAY['CREATE EXTENSION ' || pg_catalog.quote_ident(e.extname)
                          || ' WITH SCHEMA ' || pg_catalog.quote_ident(n.nspname)] AS ddl
               FROM pg_catalog.pg_extension e
               JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
              WHERE e.oid >= {FIRST_OID}
              ORDER BY e.extname"
        ))
        .await?;
    drafts(&rows, Kind::Extension, class::EXTENSION)
}

/// By address, the `ALTER … DEPENDS ON EXTENSION` statements of functions, triggers, materialized views and indexes
/// that are to be dropped with an extension, although they are not its members.
pub async fn dependents(reader: Reader<'_>) -> Result<HashMap<Address, Vec<String>>, Error> {
    let rows = reader
        .rows(&format!(
            "SELECT d.classid, d.objid, concat(
                        CASE WHEN p.oid IS NOT NULL THEN concat(
                             CASE p.prokind WHEN 'p' THEN 'ALTER PROCEDURE ' WHEN 'a' THEN 'ALTER ROUTINE '
                                            ELSE 'ALTER FUNCTION ' END,
                             p.pronamespace::pg_catalog.regnamespace, '.', pg_catalog.quote_ident(p.proname),
                             '(', {SIGNATURE}, ')')
                             WHEN t.oid IS NOT NULL THEN concat('ALTER TRIGGER ', pg_catalog.quote_ident(t.tgname),
                             ' ON ', t.tgrelid::pg_catalog.regclass)
                             ELSE concat(CASE c.relkind WHEN 'm' THEN 'ALTER MATERIALIZED VIEW ' ELSE 'ALTER INDEX ' END,
                             c.oid::pg_catalog.regclass) END,
                        ' DEPENDS ON EXTENSION ', pg_catalog.quote_ident(e.extname)) AS statement
               FROM pg_catalog.pg_depend d
               JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
               LEFT JOIN pg_catalog.pg_proc p
                      ON p.oid = d.objid AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
               LEFT JOIN pg_catalog.pg_trigger t
                      ON t.oid = d.objid AND d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass
               LEFT JOIN pg_catalog.pg_class c
                      ON c.oid = d.objid AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
              WHERE d.deptype = 'x' AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
                AND coalesce(p.oid, t.oid, c.oid) IS NOT NULL
              ORDER BY e.extname"
        ))
        .await?;
    let mut statements: HashMap<Address, Vec<String>> = HashMap::new();
    for row in &rows {
        let address = at(row.try_get("classid")?, row.try_get("objid")?);
        statements.entry(address).or_default().push(row.try_get("statement")?);
    }
    Ok(statements)
}

/// Adds to each draft its statements of [`dependents`], and those of its parts: the index of a constraint.
pub fn mark(drafts: &mut [Draft], mut dependents: HashMap<Address, Vec<String>>) {
    if dependents.is_empty() {
        return;
    }
    for draft in drafts {
        let addresses = std::iter::once(draft.at).chain(draft.parts.iter().map(|part| part.at));
        for statement in addresses.filter_map(|at| dependents.remove(&at)).flatten() {
            if let Body::WithShell { complete, .. } = &mut draft.body {
                complete.push(statement.clone());
            }
            draft.object.create.push(statement);
        }
    }
}
