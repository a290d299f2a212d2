//! Functions, procedures and aggregates.

use tokio::try_join;
use tokio_postgres::Error;

use super::draft::{Draft, Reader, class};
use super::present::Group;
use super::rows::{OURS, SIGNATURE, draft, drafts};
use crate::schema::Kind;

/// Reads functions of all sorts.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let (mut functions, aggregates) = try_join!(functions(reader), aggregates(reader))?;
    functions.extend(aggregates);
    Ok(functions)
}

async fn functions(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    // Functions with an internal dependency come with something else: they construct ranges. Those that need a type that
    // needs them go with it: nothing but its DROP … CASCADE can remove them.
    let rows = reader
        .rows_of(Group::Functions, &format!(
            "SELECT p.oid, n.nspname::text AS schema, p.proname::text AS name,
                    pg_catalog.pg_get_userbyid(p.proowner)::text AS owner, p.prokind = 'p' AS procedure,
                    p.oid IN (SELECT a.refobjid
                                FROM pg_catalog.pg_depend a
                                JOIN pg_catalog.pg_depend b
                                  ON b.classid = a.refclassid AND b.objid = a.refobjid
                                 AND b.refclassid = a.classid AND b.refobjid = a.objid
                               WHERE a.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
                                 AND a.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass) AS of_type,
                    q.identity,
                    ARRAY[pg_catalog.rtrim(pg_catalog.pg_get_functiondef(p.oid), '\n')] AS ddl
               FROM pg_catalog.pg_proc p
               JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
              CROSS JOIN LATERAL (SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE ' ELSE 'FUNCTION ' END
                                         || pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname)
                                         || '(' || {SIGNATURE} || ')') AS q (identity)
              WHERE p.prokind <> 'a' AND {OURS}
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                                 WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                                   AND d.objid = p.oid AND d.deptype = 'i')
              ORDER BY n.nspname, p.proname, identity"
        ))
        .await?;
    let mut drafts = Vec::with_capacity(rows.len());
    for row in &rows {
        let kind = if row.try_get("procedure")? { Kind::Procedure } else { Kind::Function };
        let Some(mut draft) = draft(row, kind, class::PROC)? else { continue };
        if row.try_get("of_type")? {
            draft.object.drop.clear();
        }
        drafts.push(draft);
    }
    Ok(drafts)
}

/// `option = what may be done to the state`, where that is not the default of the aggregate's kind.
fn modify(option: &str, column: &str) -> String {
    format!(
        "CASE WHEN {column} <> CASE a.aggkind WHEN 'n' THEN 'r' ELSE 'w' END THEN
              concat(',\n    {option} = ', CASE {column} WHEN 'r' THEN 'READ_ONLY' WHEN 's' THEN 'SHAREABLE'
                                                         WHEN 'w' THEN 'READ_WRITE' END) END"
    )
}

async fn aggregates(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let final_modify = modify("FINALFUNC_MODIFY", "a.aggfinalmodify");
    let moving_final_modify = modify("MFINALFUNC_MODIFY", "a.aggmfinalmodify");
    let rows = reader
        .rows_of(Group::Aggregates, &format!(
            "SELECT p.oid, n.nspname::text AS schema, p.proname::text AS name,
                    pg_catalog.pg_get_userbyid(p.proowner)::text AS owner,
                    'AGGREGATE ' || q.name || '(' || CASE p.pronargs WHEN 0 THEN '*'
                        ELSE pg_catalog.pg_get_function_identity_arguments(p.oid) END || ')' AS identity,
                    ARRAY['CREATE OR REPLACE AGGREGATE ' || q.name || '(' || CASE p.pronargs WHEN 0 THEN '*'
                        ELSE pg_catalog.pg_get_function_arguments(p.oid) END || ')' || concat(
                        ' (\n    SFUNC = ', a.aggtransfn,
                        ',\n    STYPE = ', pg_catalog.format_type(a.aggtranstype, NULL),
                        ',\n    SSPACE = ' || nullif(a.aggtransspace, 0)::text,
                        ',\n    INITCOND = ' || pg_catalog.quote_literal(a.agginitval),
                        CASE WHEN a.aggfinalfn <> 0::pg_catalog.oid THEN concat(',\n    FINALFUNC = ', a.aggfinalfn,
                            CASE WHEN a.aggfinalextra THEN ',\n    FINALFUNC_EXTRA' END, {final_modify}) END,
                        ',\n    COMBINEFUNC = ' || nullif(a.aggcombinefn::text, '-'),
                        ',\n    SERIALFUNC = ' || nullif(a.aggserialfn::text, '-'),
                        ',\n    DESERIALFUNC = ' || nullif(a.aggdeserialfn::text, '-'),
                        CASE WHEN a.aggmtransfn <> 0::pg_catalog.oid THEN concat(
                            ',\n    MSFUNC = ', a.aggmtransfn, ',\n    MINVFUNC = ', a.aggminvtransfn,
                            ',\n    MSTYPE = ', pg_catalog.format_type(a.aggmtranstype, NULL)) END,
                        ',\n    MSSPACE = ' || nullif(a.aggmtransspace, 0)::text,
                        ',\n    MINITCOND = ' || pg_catalog.quote_literal(a.aggminitval),
                        CASE WHEN a.aggmfinalfn <> 0::pg_catalog.oid THEN concat(',\n    MFINALFUNC = ', a.aggmfinalfn,
                            CASE WHEN a.aggmfinalextra THEN ',\n    MFINALFUNC_EXTRA' END, {moving_final_modify}) END,
                        ',\n    SORTOP = OPERATOR(' || pg_catalog.quote_ident(s.nspname) || '.' || o.oprname || ')',
                        CASE WHEN a.aggkind = 'h' THEN ',\n    HYPOTHETICAL' END,
                        CASE p.proparallel WHEN 's' THEN ',\n    PARALLEL = safe'
                                           WHEN 'r' THEN ',\n    PARALLEL = restricted' END,
                        '\n)')] AS ddl
               FROM pg_catalog.pg_proc p
               JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = p.oid
               JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
              CROSS JOIN LATERAL (SELECT pg_catalog.quote_ident(n.nspname) || '.'
                                         || pg_catalog.quote_ident(p.proname)) AS q (name)
               LEFT JOIN pg_catalog.pg_operator o ON o.oid = a.aggsortop
               LEFT JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
              WHERE {OURS}
              ORDER BY n.nspname, p.proname, identity"
        ))
        .await?;
    drafts(&rows, Kind::Aggregate, class::PROC)
}
