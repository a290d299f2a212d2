//! Kinds that are in no schema: procedural languages, access methods, casts, transforms.

use tokio::try_join;
use tokio_postgres::Error;

use super::draft::{Draft, Reader, class};
use super::present::Group;
use super::rows::{FIRST_OID, drafts};
use crate::schema::Kind;

/// Reads languages, access methods, casts and transforms.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let (languages, methods, casts, transforms) =
        try_join!(languages(reader), access_methods(reader), casts(reader), transforms(reader))?;
    Ok([languages, methods, casts, transforms].into_iter().flatten().collect())
}

async fn languages(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let rows = reader
        .rows_of(Group::Languages, &format!(
            "SELECT l.oid, NULL::text AS schema, l.lanname::text AS name,
                    pg_catalog.pg_get_userbyid(l.lanowner)::text AS owner,
                    'LANGUAGE ' || pg_catalog.quote_ident(l.lanname) AS identity,
                    ARRAY[concat('CREATE ', CASE WHEN l.lanpltrusted THEN 'TRUSTED ' END,
                                 'LANGUAGE ', pg_catalog.quote_ident(l.lanname),
                                 ' HANDLER ', l.lanplcallfoid::pg_catalog.regproc,
                                 ' INLINE ' || nullif(l.laninline::pg_catalog.regproc::text, '-'),
                                 ' VALIDATOR ' || nullif(l.lanvalidator::pg_catalog.regproc::text, '-'))] AS ddl
               FROM pg_catalog.pg_language l
              WHERE l.lanispl AND l.oid >= {FIRST_OID}
              ORDER BY l.lanname"
        ))
        .await?;
    drafts(&rows, Kind::Language, class::LANGUAGE)
}

async fn access_methods(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let rows = reader
        .rows_of(
            Group::AccessMethods,
            &format!(
                "SELECT a.oid, NULL::text AS schema, a.amname::text AS name, NULL::text AS owner,
                    'ACCESS METHOD ' || pg_catalog.quote_ident(a.amname) AS identity,
                    ARRAY[concat('CREATE ACCESS METHOD ', pg_catalog.quote_ident(a.amname), ' TYPE ',
                                 CASE a.amtype WHEN 'i' THEN 'INDEX' WHEN 't' THEN 'TABLE' END,
                                 ' HANDLER ', a.amhandler)] AS ddl
               FROM pg_catalog.pg_am a
              WHERE a.oid >= {FIRST_OID}
              ORDER BY a.amname"
            ),
        )
        .await?;
    drafts(&rows, Kind::AccessMethod, class::ACCESS_METHOD)
}

async fn casts(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    // That of a range type to its multirange type comes with the range type.
    let made_by_range = reader.pick(
        14,
        "EXISTS (SELECT FROM pg_catalog.pg_range r
                  WHERE r.rngtypid = c.castsource AND r.rngmultitypid = c.casttarget)",
        "false",
    );
    let rows = reader
        .rows_of(Group::Casts, &format!(
            "SELECT c.oid, NULL::text AS schema, types AS name, NULL::text AS owner,
                    'CAST (' || types || ')' AS identity,
                    ARRAY[concat('CREATE CAST (', types, ') ',
                                 CASE c.castmethod WHEN 'b' THEN 'WITHOUT FUNCTION' WHEN 'i' THEN 'WITH INOUT'
                                      ELSE concat('WITH FUNCTION ', c.castfunc::pg_catalog.regprocedure) END,
                                 CASE c.castcontext WHEN 'a' THEN ' AS ASSIGNMENT' WHEN 'i' THEN ' AS IMPLICIT' END
                          )] AS ddl
               FROM pg_catalog.pg_cast c
              CROSS JOIN LATERAL (SELECT concat(pg_catalog.format_type(c.castsource, NULL), ' AS ',
                                                pg_catalog.format_type(c.casttarget, NULL))) AS pair (types)
              WHERE c.oid >= {FIRST_OID} AND NOT {made_by_range}
              ORDER BY types"
        ))
        .await?;
    drafts(&rows, Kind::Cast, class::CAST)
}

async fn transforms(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let rows = reader
        .rows_of(Group::Transforms, &format!(
            "SELECT t.oid, NULL::text AS schema, what AS name, NULL::text AS owner, 'TRANSFORM ' || what AS identity,
                    ARRAY[concat('CREATE TRANSFORM ', what, ' (', pg_catalog.concat_ws(', ',
                        'FROM SQL WITH FUNCTION ' || nullif(t.trffromsql::pg_catalog.regprocedure::text, '-'),
                        'TO SQL WITH FUNCTION ' || nullif(t.trftosql::pg_catalog.regprocedure::text, '-')), ')')] AS ddl
               FROM pg_catalog.pg_transform t
               JOIN pg_catalog.pg_language l ON l.oid = t.trflang
              CROSS JOIN LATERAL (SELECT concat('FOR ', pg_catalog.format_type(t.trftype, NULL),
                                                ' LANGUAGE ', pg_catalog.quote_ident(l.lanname))) AS names (what)
              WHERE t.oid >= {FIRST_OID}
              ORDER BY what"
        ))
        .await?;
    drafts(&rows, Kind::Transform, class::TRANSFORM)
}
