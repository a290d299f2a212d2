//! Text search: parsers, templates, dictionaries, configurations.

use tokio::try_join;
use tokio_postgres::Error;

use super::draft::{Draft, Reader, class};
use super::present::Group;
use super::rows::{OURS, drafts};
use crate::schema::Kind;

/// Reads all of text search.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let (parsers, templates, dictionaries, configurations) =
        try_join!(parsers(reader), templates(reader), dictionaries(reader), configurations(reader))?;
    Ok([parsers, templates, dictionaries, configurations].into_iter().flatten().collect())
}

/// The namespace and the qualified name `q.name` of the catalog rows `x`, whose columns start with `prefix`.
fn named(prefix: &str) -> String {
    format!(
        "JOIN pg_catalog.pg_namespace n ON n.oid = x.{prefix}namespace
              CROSS JOIN LATERAL (SELECT pg_catalog.quote_ident(n.nspname) || '.'
                                         || pg_catalog.quote_ident(x.{prefix}name)) AS q (name)"
    )
}

async fn parsers(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let rows = reader
        .rows_of(Group::TextSearchParsers, &format!(
            "SELECT x.oid, n.nspname::text AS schema, x.prsname::text AS name, NULL::text AS owner,
                    'TEXT SEARCH PARSER ' || q.name AS identity,
                    ARRAY[concat('CREATE TEXT SEARCH PARSER ', q.name,
                        ' (\n    START = ', x.prsstart, ',\n    GETTOKEN = ', x.prstoken, ',\n    END = ', x.prsend,
                        ',\n    HEADLINE = ' || nullif(x.prsheadline::text, '-'),
                        ',\n    LEXTYPES = ', x.prslextype, '\n)')] AS ddl
               FROM pg_catalog.pg_ts_parser x {}
              WHERE {OURS}
              ORDER BY n.nspname, x.prsname",
            named("prs")
        ))
        .await?;
    drafts(&rows, Kind::TextSearchParser, class::TS_PARSER)
}

async fn templates(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let rows = reader
        .rows_of(
            Group::TextSearchTemplates,
            &format!(
                "SELECT x.oid, n.nspname::text AS schema, x.tmplname::text AS name, NULL::text AS owner,
                    'TEXT SEARCH TEMPLATE ' || q.name AS identity,
                    ARRAY[concat('CREATE TEXT SEARCH TEMPLATE ', q.name,
                        ' (', '\n    INIT = ' || nullif(x.tmplinit::text, '-') || ',',
                        '\n    LEXIZE = ', x.tmpllexize, '\n)')] AS ddl
               FROM pg_catalog.pg_ts_template x {}
              WHERE {OURS}
              ORDER BY n.nspname, x.tmplname",
                named("tmpl")
            ),
        )
        .await?;
    drafts(&rows, Kind::TextSearchTemplate, class::TS_TEMPLATE)
}

async fn dictionaries(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    // The options are SQL text as the server keeps it.
    let rows = reader
        .rows_of(
            Group::TextSearchDictionaries,
            &format!(
                "SELECT x.oid, n.nspname::text AS schema, x.dictname::text AS name,
                    pg_catalog.pg_get_userbyid(x.dictowner)::text AS owner,
                    'TEXT SEARCH DICTIONARY ' || q.name AS identity,
                    ARRAY[concat('CREATE TEXT SEARCH DICTIONARY ', q.name, ' (\n    TEMPLATE = ',
                        pg_catalog.quote_ident(tn.nspname), '.', pg_catalog.quote_ident(t.tmplname),
                        ',\n    ' || nullif(x.dictinitoption, ''), '\n)')] AS ddl
               FROM pg_catalog.pg_ts_dict x {}
               JOIN pg_catalog.pg_ts_template t ON t.oid = x.dicttemplate
               JOIN pg_catalog.pg_namespace tn ON tn.oid = t.tmplnamespace
              WHERE {OURS}
              ORDER BY n.nspname, x.dictname",
                named("dict")
            ),
        )
        .await?;
    drafts(&rows, Kind::TextSearchDictionary, class::TS_DICT)
}

async fn configurations(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    // Token types have names only where their parser is asked.
    let rows = reader
        .rows_of(Group::TextSearchConfigurations, &format!(
            "SELECT x.oid, n.nspname::text AS schema, x.cfgname::text AS name,
                    pg_catalog.pg_get_userbyid(x.cfgowner)::text AS owner,
                    'TEXT SEARCH CONFIGURATION ' || q.name AS identity,
                    ARRAY[concat('CREATE TEXT SEARCH CONFIGURATION ', q.name, ' (\n    PARSER = ',
                        pg_catalog.quote_ident(parser_schema.nspname), '.', pg_catalog.quote_ident(p.prsname), '\n)')]
                    || m.statements AS ddl
               FROM pg_catalog.pg_ts_config x {}
               JOIN pg_catalog.pg_ts_parser p ON p.oid = x.cfgparser
               JOIN pg_catalog.pg_namespace parser_schema ON parser_schema.oid = p.prsnamespace
              CROSS JOIN LATERAL (
                    SELECT pg_catalog.array_agg(
                               concat('ALTER TEXT SEARCH CONFIGURATION ', q.name, '\n    ADD MAPPING FOR ',
                                      pg_catalog.quote_ident(k.alias), ' WITH ', d.list) ORDER BY k.tokid)
                      FROM pg_catalog.ts_token_type(x.cfgparser) k
                      JOIN (SELECT w.maptokentype, pg_catalog.string_agg(
                                       w.mapdict::pg_catalog.regdictionary::text, ', ' ORDER BY w.mapseqno)
                              FROM pg_catalog.pg_ts_config_map w
                             WHERE w.mapcfg = x.oid
                             GROUP BY w.maptokentype) AS d (token, list) ON d.token = k.tokid) AS m (statements)
              WHERE {OURS}
              ORDER BY n.nspname, x.cfgname",
            named("cfg")
        ))
        .await?;
    drafts(&rows, Kind::TextSearchConfiguration, class::TS_CONFIG)
}
