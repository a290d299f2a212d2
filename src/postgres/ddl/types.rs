//! Types other than domains: enum, composite, range with its multirange, base, and shells that stand alone.

use tokio::try_join;
use tokio_postgres::{Error, Row};

use super::draft::{Body, Draft, Reader, at, class};
use super::present::Group;
use super::rows::{OURS, draft, named_part, parts};
use crate::postgres::quote::literal;
use crate::schema::Kind;

/// What every query of types starts with.
const HEAD: &str = "t.oid, n.nspname::text AS schema, t.typname::text AS name,
                    pg_catalog.pg_get_userbyid(t.typowner)::text AS owner, 'TYPE ' || q.name AS identity, t.typarray";

/// Where it looks; `q.name` is the qualified name.
const FROM: &str = "pg_catalog.pg_type t
               JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
              CROSS JOIN LATERAL (SELECT pg_catalog.quote_ident(n.nspname) || '.'
                                         || pg_catalog.quote_ident(t.typname)) AS q (name)";

/// Reads all types but domains, row types and array types.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let (enums, composites, ranges, bases, shells) =
        try_join!(enums(reader), composites(reader), ranges(reader), bases(reader), shells(reader))?;
    Ok([enums, composites, ranges, bases, shells].into_iter().flatten().collect())
}

/// A type with its array type.
fn with_array(row: &Row, kind: Kind) -> Result<Option<Draft>, Error> {
    let Some(mut draft) = draft(row, kind, class::TYPE)? else { return Ok(None) };
    draft.parts.extend(parts(class::TYPE, &[row.try_get("typarray")?]));
    Ok(Some(draft))
}

/// A type whose functions need it before it is complete.
fn with_shell(draft: &mut Draft) {
    let identity = &draft.object.identity;
    let declare = vec![format!("CREATE {identity}")];
    let complete = std::mem::take(&mut draft.object.create);
    draft.object.create = declare.iter().chain(&complete).cloned().collect();
    // The type and its functions need each other, so that only CASCADE removes it, and them with it (they have no DROP
    // of their own, see `functions`). It must take nothing else along.
    let name = identity.trim_start_matches("TYPE ");
    let guard = format!(
        "WITH RECURSIVE own (classid, objid) AS (
             SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid,
                    pg_catalog.to_regtype({})::pg_catalog.oid
             UNION
             SELECT d.classid, d.objid
               FROM own
               JOIN pg_catalog.pg_depend d ON d.refclassid = own.classid AND d.refobjid = own.objid
              WHERE d.deptype = 'i' OR EXISTS (
                    SELECT FROM pg_catalog.pg_depend b
                     WHERE b.classid = d.refclassid AND b.objid = d.refobjid
                       AND b.refclassid = d.classid AND b.refobjid = d.objid))
         SELECT FROM own
           JOIN pg_catalog.pg_depend d ON d.refclassid = own.classid AND d.refobjid = own.objid
          WHERE (d.classid, d.objid) NOT IN (TABLE own)",
        literal(name)
    );
    let refuse = format!(
        "DO LANGUAGE plpgsql {}",
        literal(&format!(
            "BEGIN IF EXISTS ({guard}) THEN
    RAISE dependent_objects_still_exist USING MESSAGE = {};
END IF; END",
            literal(&format!("cannot drop type {name} because other objects depend on it"))
        ))
    );
    draft.object.drop = vec![refuse, format!("DROP {identity} CASCADE")];
    draft.body = Body::WithShell { declare, complete };
}

async fn enums(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    // Each type's labels by their index: of a catalog that was never analyzed, the planner expects a handful of types,
    // and would join them one by one with a list of all labels.
    let rows = reader
        .rows_of(Group::Enums, &format!(
            "SELECT {HEAD}, ARRAY[concat('CREATE TYPE ', q.name, ' AS ENUM (',
                        (SELECT pg_catalog.string_agg(
                                    '\n    ' || pg_catalog.quote_literal(e.enumlabel), ',' ORDER BY e.enumsortorder)
                           FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid), '\n)')] AS ddl
               FROM {FROM}
              WHERE t.typtype = 'e' AND {OURS}
              ORDER BY n.nspname, t.typname"
        ))
        .await?;
    rows.iter().filter_map(|row| with_array(row, Kind::Type).transpose()).collect()
}

async fn composites(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let rows = reader
        .rows_of(Group::Composites, &format!(
            "SELECT {HEAD}, c.oid AS relation, ARRAY[concat('CREATE TYPE ', q.name, ' AS (',
                        (SELECT pg_catalog.string_agg(concat(
                                    '\n    ', pg_catalog.quote_ident(a.attname), ' ',
                                    pg_catalog.format_type(a.atttypid, a.atttypmod),
                                    CASE WHEN a.attcollation <> u.typcollation THEN concat(' COLLATE ',
                                         pg_catalog.quote_ident(m.nspname), '.', pg_catalog.quote_ident(l.collname))
                                    END), ',' ORDER BY a.attnum)
                           FROM pg_catalog.pg_attribute a
                           JOIN pg_catalog.pg_type u ON u.oid = a.atttypid
                           LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
                           LEFT JOIN pg_catalog.pg_namespace m ON m.oid = l.collnamespace
                          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '\n)')] AS ddl
               FROM {FROM}
               JOIN pg_catalog.pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
              WHERE t.typtype = 'c' AND {OURS}
              ORDER BY n.nspname, t.typname"
        ))
        .await?;
    let mut drafts = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(mut draft) = with_array(row, Kind::Type)? else { continue };
        // Its columns have their comments and dependencies here.
        let identity = draft.object.identity.clone();
        draft.parts.push(named_part(at(class::CLASS, row.try_get("relation")?), Some(identity)));
        drafts.push(draft);
    }
    Ok(drafts)
}

async fn ranges(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    // A multirange type, its array type, the functions that construct both and the cast between them come with the
    // range type.
    let multirange = reader.pick(
        14,
        "pg_catalog.format_type(r.rngmultitypid, NULL) AS multirange,
         ARRAY[r.rngmultitypid, (SELECT m.typarray FROM pg_catalog.pg_type m WHERE m.oid = r.rngmultitypid)] AS others,
         ARRAY(SELECT k.oid FROM pg_catalog.pg_cast k
                WHERE k.castsource = r.rngtypid AND k.casttarget = r.rngmultitypid) AS casts",
        "NULL::text AS multirange, '{}'::pg_catalog.oid[] AS others, '{}'::pg_catalog.oid[] AS casts",
    );
    let rows = reader
        .rows_of(Group::Ranges, &format!(
            "SELECT {HEAD}, v.multirange, v.others, v.casts, r.rngcanonical::oid <> 0 AS canonical,
                    ARRAY(SELECT d.objid FROM pg_catalog.pg_depend d
                           WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype = 'i'
                             AND d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass
                             AND d.refobjid = ANY (t.oid || v.others)) AS constructors,
                    ARRAY[concat('CREATE TYPE ', q.name, ' AS RANGE (\n    subtype = ',
                        pg_catalog.format_type(r.rngsubtype, NULL),
                        ',\n    multirange_type_name = ' || v.multirange,
                        ',\n    subtype_opclass = ' || CASE WHEN NOT o.opcdefault THEN
                            concat(pg_catalog.quote_ident(w.nspname), '.', pg_catalog.quote_ident(o.opcname)) END,
                        ',\n    canonical = ' || nullif(r.rngcanonical::text, '-'),
                        ',\n    subtype_diff = ' || nullif(r.rngsubdiff::text, '-'),
                        ',\n    collation = ' || CASE WHEN r.rngcollation <> s.typcollation THEN
                            concat(pg_catalog.quote_ident(m.nspname), '.', pg_catalog.quote_ident(l.collname)) END,
                        '\n)')] AS ddl
               FROM {FROM}
               JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
               JOIN pg_catalog.pg_type s ON s.oid = r.rngsubtype
               JOIN pg_catalog.pg_opclass o ON o.oid = r.rngsubopc
               JOIN pg_catalog.pg_namespace w ON w.oid = o.opcnamespace
               LEFT JOIN pg_catalog.pg_collation l ON l.oid = r.rngcollation
               LEFT JOIN pg_catalog.pg_namespace m ON m.oid = l.collnamespace
              CROSS JOIN LATERAL (SELECT {multirange}) v
              WHERE t.typtype = 'r' AND {OURS}
              ORDER BY n.nspname, t.typname"
        ))
        .await?;
    let mut drafts = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(mut draft) = with_array(row, Kind::Type)? else { continue };
        if let (Some(name), [multirange, array]) = (
            row.try_get::<_, Option<String>>("multirange")?,
            row.try_get::<_, Vec<u32>>("others")?.as_slice(),
        ) {
            draft.parts.push(named_part(at(class::TYPE, *multirange), Some(format!("TYPE {name}"))));
            draft.parts.extend(parts(class::TYPE, &[*array]));
        }
        draft.parts.extend(parts(class::PROC, &row.try_get::<_, Vec<u32>>("constructors")?));
        draft.parts.extend(parts(class::CAST, &row.try_get::<_, Vec<u32>>("casts")?));
        if row.try_get("canonical")? {
            with_shell(&mut draft);
        }
        drafts.push(draft);
    }
    Ok(drafts)
}

async fn bases(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let subscript = reader.pick(14, "nullif(t.typsubscript::text, '-')", "NULL::text");
    let rows = reader
        .rows_of(Group::BaseTypes, &format!(
            "SELECT {HEAD}, ARRAY[concat('CREATE TYPE ', q.name,
                        ' (\n    INTERNALLENGTH = ', CASE t.typlen WHEN -1 THEN 'variable' ELSE t.typlen::text END,
                        ',\n    INPUT = ', t.typinput,
                        ',\n    OUTPUT = ', t.typoutput,
                        ',\n    RECEIVE = ' || nullif(t.typreceive::text, '-'),
                        ',\n    SEND = ' || nullif(t.typsend::text, '-'),
                        ',\n    TYPMOD_IN = ' || nullif(t.typmodin::text, '-'),
                        ',\n    TYPMOD_OUT = ' || nullif(t.typmodout::text, '-'),
                        ',\n    ANALYZE = ' || nullif(t.typanalyze::text, '-'),
                        CASE WHEN t.typcollation <> 0 THEN ',\n    COLLATABLE = true' END,
                        ',\n    DEFAULT = ' || coalesce(pg_catalog.pg_get_expr(t.typdefaultbin, 0),
                                                       pg_catalog.quote_literal(t.typdefault)),
                        ',\n    SUBSCRIPT = ' || {subscript},
                        CASE WHEN t.typelem <> 0 THEN
                             ',\n    ELEMENT = ' || pg_catalog.format_type(t.typelem, NULL) END,
                        ',\n    CATEGORY = ' || pg_catalog.quote_literal(nullif(t.typcategory::text, 'U')),
                        CASE WHEN t.typispreferred THEN ',\n    PREFERRED = true' END,
                        ',\n    DELIMITER = ' || pg_catalog.quote_literal(nullif(t.typdelim::text, ',')),
                        ',\n    ALIGNMENT = ', CASE t.typalign WHEN 'c' THEN 'char' WHEN 's' THEN 'int2'
                                                             WHEN 'i' THEN 'int4' WHEN 'd' THEN 'double' END,
                        ',\n    STORAGE = ', CASE t.typstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external'
                                                             WHEN 'x' THEN 'extended' WHEN 'm' THEN 'main' END,
                        CASE WHEN t.typbyval THEN ',\n    PASSEDBYVALUE' END, '\n)')] AS ddl
               FROM {FROM}
              WHERE t.typtype = 'b' AND {OURS}
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)
              ORDER BY n.nspname, t.typname"
        ))
        .await?;
    let mut drafts = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(mut draft) = with_array(row, Kind::Type)? else { continue };
        with_shell(&mut draft);
        drafts.push(draft);
    }
    Ok(drafts)
}

async fn shells(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let rows = reader
        .rows_of(
            Group::ShellTypes,
            &format!(
                "SELECT {HEAD}, ARRAY['CREATE TYPE ' || q.name] AS ddl
               FROM {FROM}
              WHERE t.typtype = 'p' AND NOT t.typisdefined AND {OURS}
              ORDER BY n.nspname, t.typname"
            ),
        )
        .await?;
    rows.iter().filter_map(|row| with_array(row, Kind::ShellType).transpose()).collect()
}
