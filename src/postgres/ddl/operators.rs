//! Operators, operator families and operator classes.

use tokio::try_join;
use tokio_postgres::{Error, Row};

use super::draft::{Draft, Reader, class};
use super::present::Group;
use super::rows::{OURS, draft, parts};
use crate::schema::Kind;

/// Reads operators and what tells indexes about them.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let (operators, families, classes) = try_join!(operators(reader), families(reader), classes(reader))?;
    Ok([operators, families, classes].into_iter().flatten().collect())
}

async fn operators(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    // An operator without a function is only named by another one's COMMUTATOR or NEGATOR, which makes it, and whose
    // DROP leaves it behind.
    let rows = reader
        .rows_of(Group::Operators, &format!(
            "SELECT o.oid, n.nspname::text AS schema, o.oprname::text AS name,
                    pg_catalog.pg_get_userbyid(o.oprowner)::text AS owner,
                    concat('OPERATOR ', q.name, '(',
                        CASE o.oprleft WHEN 0 THEN 'NONE' ELSE pg_catalog.format_type(o.oprleft, NULL) END, ', ',
                        CASE o.oprright WHEN 0 THEN 'NONE' ELSE pg_catalog.format_type(o.oprright, NULL) END, ')'
                    ) AS identity,
                    ARRAY[concat('CREATE OPERATOR ', q.name, ' (\n    FUNCTION = ', o.oprcode::pg_catalog.regproc,
                        CASE WHEN o.oprleft <> 0 THEN
                             ',\n    LEFTARG = ' || pg_catalog.format_type(o.oprleft, NULL) END,
                        CASE WHEN o.oprright <> 0 THEN
                             ',\n    RIGHTARG = ' || pg_catalog.format_type(o.oprright, NULL) END,
                        ',\n    COMMUTATOR = OPERATOR(' || pg_catalog.quote_ident(cn.nspname) || '.' || c.oprname || ')',
                        ',\n    NEGATOR = OPERATOR(' || pg_catalog.quote_ident(gn.nspname) || '.' || g.oprname || ')',
                        CASE WHEN o.oprcanmerge THEN ',\n    MERGES' END,
                        CASE WHEN o.oprcanhash THEN ',\n    HASHES' END,
                        ',\n    RESTRICT = ' || nullif(o.oprrest::text, '-'),
                        ',\n    JOIN = ' || nullif(o.oprjoin::text, '-'), '\n)')] AS ddl,
                    ARRAY(SELECT concat('DROP OPERATOR ', pg_catalog.quote_ident(sn.nspname), '.', s.oprname, '(',
                                        CASE s.oprleft WHEN 0 THEN 'NONE' ELSE pg_catalog.format_type(s.oprleft, NULL) END, ', ',
                                        pg_catalog.format_type(s.oprright, NULL), ')')
                            FROM pg_catalog.pg_operator s
                            JOIN pg_catalog.pg_namespace sn ON sn.oid = s.oprnamespace
                           WHERE s.oid IN (o.oprcom, o.oprnegate) AND s.oprcode = 0::pg_catalog.oid
                             AND o.oid IN (s.oprcom, s.oprnegate)
                           ORDER BY 1) AS shells
               FROM pg_catalog.pg_operator o
               JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
              CROSS JOIN LATERAL (SELECT pg_catalog.quote_ident(n.nspname) || '.' || o.oprname) AS q (name)
               LEFT JOIN pg_catalog.pg_operator c ON c.oid = o.oprcom
               LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = c.oprnamespace
               LEFT JOIN pg_catalog.pg_operator g ON g.oid = o.oprnegate
               LEFT JOIN pg_catalog.pg_namespace gn ON gn.oid = g.oprnamespace
              WHERE o.oprcode <> 0::pg_catalog.oid AND {OURS}
              ORDER BY n.nspname, o.oprname, identity"
        ))
        .await?;
    let mut drafts = Vec::with_capacity(rows.len());
    for row in &rows {
        let Some(mut draft) = draft(row, Kind::Operator, class::OPERATOR)? else { continue };
        draft.object.drop.extend(row.try_get::<_, Vec<String>>("shells")?);
        drafts.push(draft);
    }
    Ok(drafts)
}

/// Two common table expressions, `operators` and `functions`: the members of families (`pg_opfamily`) or classes
/// (`pg_opclass`), by what `pg_depend` ties each member to. One that belongs to no class is tied to its family.
fn members(of: &str) -> String {
    format!(
        "WITH operators (of, oids, list) AS (
             SELECT d.refobjid, pg_catalog.array_agg(m.oid), pg_catalog.string_agg(
                        concat('\n    OPERATOR ', m.amopstrategy, ' ', m.amopopr::pg_catalog.regoperator,
                               ' FOR ORDER BY ' || pg_catalog.quote_ident(s.nspname)
                                                || '.' || pg_catalog.quote_ident(f.opfname)),
                        ',' ORDER BY m.amopstrategy, m.amopopr::pg_catalog.regoperator::text COLLATE pg_catalog.\"C\")
               FROM pg_catalog.pg_depend d
               JOIN pg_catalog.pg_amop m ON m.oid = d.objid
               LEFT JOIN pg_catalog.pg_opfamily f ON f.oid = m.amopsortfamily
               LEFT JOIN pg_catalog.pg_namespace s ON s.oid = f.opfnamespace
              WHERE d.classid = 'pg_catalog.pg_amop'::pg_catalog.regclass
                AND d.refclassid = 'pg_catalog.{of}'::pg_catalog.regclass
              GROUP BY d.refobjid),
         functions (of, oids, list) AS (
             SELECT d.refobjid, pg_catalog.array_agg(m.oid), pg_catalog.string_agg(
                        concat('\n    FUNCTION ', m.amprocnum, ' (', pg_catalog.format_type(m.amproclefttype, NULL),
                               ', ', pg_catalog.format_type(m.amprocrighttype, NULL), ') ',
                               m.amproc::pg_catalog.regprocedure),
                        ',' ORDER BY m.amprocnum, m.amproclefttype::pg_catalog.regtype::text COLLATE pg_catalog.\"C\",
                                     m.amprocrighttype::pg_catalog.regtype::text COLLATE pg_catalog.\"C\")
               FROM pg_catalog.pg_depend d
               JOIN pg_catalog.pg_amproc m ON m.oid = d.objid
              WHERE d.classid = 'pg_catalog.pg_amproc'::pg_catalog.regclass
                AND d.refclassid = 'pg_catalog.{of}'::pg_catalog.regclass
              GROUP BY d.refobjid)"
    )
}

/// The draft of a family or class, with its members as parts: their dependencies are its own.
fn with_members(row: &Row, kind: Kind, class: u32) -> Result<Option<Draft>, Error> {
    let Some(mut draft) = draft(row, kind, class)? else { return Ok(None) };
    let operators: Option<Vec<u32>> = row.try_get("operators")?;
    let functions: Option<Vec<u32>> = row.try_get("functions")?;
    draft.parts.extend(parts(class::AMOP, &operators.unwrap_or_default()));
    draft.parts.extend(parts(class::AMPROC, &functions.unwrap_or_default()));
    Ok(Some(draft))
}

async fn families(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let rows = reader
        .rows_of(Group::OperatorFamilies, &format!(
            "{} SELECT f.oid, n.nspname::text AS schema, f.opfname::text AS name,
                    pg_catalog.pg_get_userbyid(f.opfowner)::text AS owner, q.identity,
                    ARRAY['CREATE ' || q.identity]
                    || CASE WHEN o.list IS NOT NULL OR p.list IS NOT NULL THEN
                            ARRAY[concat('ALTER ', q.identity, ' ADD', pg_catalog.concat_ws(',', o.list, p.list))]
                       END AS ddl, o.oids AS operators, p.oids AS functions
               FROM pg_catalog.pg_opfamily f
               JOIN pg_catalog.pg_namespace n ON n.oid = f.opfnamespace
               JOIN pg_catalog.pg_am a ON a.oid = f.opfmethod
              CROSS JOIN LATERAL (SELECT concat('OPERATOR FAMILY ', pg_catalog.quote_ident(n.nspname), '.',
                                                pg_catalog.quote_ident(f.opfname), ' USING ',
                                                pg_catalog.quote_ident(a.amname))) AS q (identity)
               LEFT JOIN operators o ON o.of = f.oid
               LEFT JOIN functions p ON p.of = f.oid
              WHERE {OURS}
              ORDER BY n.nspname, f.opfname, a.amname",
            members("pg_opfamily")
        ))
        .await?;
    rows.iter()
        .filter_map(|row| with_members(row, Kind::OperatorFamily, class::OPFAMILY).transpose())
        .collect()
}

async fn classes(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    // SQL wants something behind AS; to store the very type that is indexed is what happens anyway.
    let rows = reader
        .rows_of(Group::OperatorClasses, &format!(
            "{} SELECT c.oid, n.nspname::text AS schema, c.opcname::text AS name,
                    pg_catalog.pg_get_userbyid(c.opcowner)::text AS owner,
                    concat('OPERATOR CLASS ', q.name, ' USING ', pg_catalog.quote_ident(a.amname)) AS identity,
                    ARRAY[concat('CREATE OPERATOR CLASS ', q.name, '\n    ', CASE WHEN c.opcdefault THEN 'DEFAULT ' END,
                        'FOR TYPE ', pg_catalog.format_type(c.opcintype, NULL),
                        ' USING ', pg_catalog.quote_ident(a.amname),
                        ' FAMILY ', pg_catalog.quote_ident(fn.nspname), '.', pg_catalog.quote_ident(f.opfname), ' AS',
                        pg_catalog.concat_ws(',',
                            CASE WHEN c.opckeytype <> 0 OR (o.list IS NULL AND p.list IS NULL) THEN
                                 '\n    STORAGE ' || pg_catalog.format_type(
                                     CASE c.opckeytype WHEN 0 THEN c.opcintype ELSE c.opckeytype END, NULL) END,
                            o.list, p.list))] AS ddl, o.oids AS operators, p.oids AS functions
               FROM pg_catalog.pg_opclass c
               JOIN pg_catalog.pg_namespace n ON n.oid = c.opcnamespace
               JOIN pg_catalog.pg_am a ON a.oid = c.opcmethod
               JOIN pg_catalog.pg_opfamily f ON f.oid = c.opcfamily
               JOIN pg_catalog.pg_namespace fn ON fn.oid = f.opfnamespace
              CROSS JOIN LATERAL (SELECT pg_catalog.quote_ident(n.nspname) || '.'
                                         || pg_catalog.quote_ident(c.opcname)) AS q (name)
               LEFT JOIN operators o ON o.of = c.oid
               LEFT JOIN functions p ON p.of = c.oid
              WHERE {OURS}
              ORDER BY n.nspname, c.opcname, a.amname",
            members("pg_opclass")
        ))
        .await?;
    rows.iter().filter_map(|row| with_members(row, Kind::OperatorClass, class::OPCLASS).transpose()).collect()
}
