//! Foreign-data wrappers, foreign servers and user mappings.

use futures_util::future::try_join3;
use tokio_postgres::{Error, Row};

use super::draft::{Draft, Reader, at, class};
use super::present::Group;
use crate::schema::{Kind, Object};

/// SQL for the options in the array `options` as they stand in parentheses; NULL where there are none.
fn options(options: &str) -> String {
    format!(
        "(SELECT pg_catalog.string_agg(pg_catalog.quote_ident(x.option_name) || ' '
                   || pg_catalog.quote_literal(x.option_value), ', ')
            FROM pg_catalog.pg_options_to_table({options}) x)"
    )
}

/// SQL for the name of function `oid`; NULL where there is none.
fn function(oid: &str) -> String {
    format!(
        "(SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname)
            FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
           WHERE p.oid = {oid})"
    )
}

/// All wrappers, servers and mappings. A mapping's options, passwords among them, are there where the role may see them.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let wrappers = format!(
        "SELECT f.oid, f.fdwname::pg_catalog.text, pg_catalog.quote_ident(f.fdwname),
                pg_catalog.pg_get_userbyid(f.fdwowner)::pg_catalog.text, {}, {}, {}
           FROM pg_catalog.pg_foreign_data_wrapper f WHERE f.oid >= 16384 ORDER BY 2",
        function("f.fdwhandler"),
        function("f.fdwvalidator"),
        options("f.fdwoptions")
    );
    let servers = format!(
        "SELECT s.oid, s.srvname::pg_catalog.text, pg_catalog.quote_ident(s.srvname),
                pg_catalog.pg_get_userbyid(s.srvowner)::pg_catalog.text, pg_catalog.quote_ident(f.fdwname),
                pg_catalog.quote_literal(s.srvtype), pg_catalog.quote_literal(s.srvversion), {}
           FROM pg_catalog.pg_foreign_server s
           JOIN pg_catalog.pg_foreign_data_wrapper f ON f.oid = s.srvfdw
          WHERE s.oid >= 16384 ORDER BY 2",
        options("s.srvoptions")
    );
    let mappings = format!(
        "SELECT m.umid, m.srvname::pg_catalog.text, pg_catalog.quote_ident(m.srvname),
                CASE m.umuser WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(m.usename) END, {}
           FROM pg_catalog.pg_user_mappings m ORDER BY 2, 4",
        options("m.umoptions")
    );
    let (wrappers, servers, mappings) = try_join3(
        reader.rows_of(Group::ForeignDataWrappers, &wrappers),
        reader.rows_of(Group::ForeignServers, &servers),
        reader.rows_of(Group::ForeignServers, &mappings),
    )
    .await?;
    Ok((wrappers.iter().map(wrapper))
        .chain(servers.iter().map(server))
        .chain(mappings.iter().filter_map(mapping))
        .collect())
}

/// ` word value` for those that have a value.
fn clauses(row: &Row, clauses: &[(&str, usize)]) -> String {
    let mut sql = String::new();
    for (word, column) in clauses {
        if let Some(value) = row.get::<_, Option<&str>>(*column) {
            sql.push_str(&format!(" {word} {value}"));
        }
    }
    sql
}

/// The clause of options, if there are any.
fn with(options: Option<&str>) -> String {
    options.map(|o| format!(" OPTIONS ({o})")).unwrap_or_default()
}

fn wrapper(row: &Row) -> Draft {
    let identity = format!("FOREIGN DATA WRAPPER {}", row.get::<_, &str>(2));
    let functions = clauses(row, &[("HANDLER", 4), ("VALIDATOR", 5)]);
    let mut object = Object::new(Kind::ForeignDataWrapper, &identity, None, row.get::<_, &str>(1));
    object.owner = row.get(3);
    object.create = vec![format!("CREATE {identity}{functions}{}", with(row.get(6)))];
    object.drop = vec![format!("DROP {identity}")];
    Draft::new(at(class::FOREIGN_DATA_WRAPPER, row.get(0)), object)
}

fn server(row: &Row) -> Draft {
    let identity = format!("SERVER {}", row.get::<_, &str>(2));
    let what = clauses(row, &[("TYPE", 5), ("VERSION", 6), ("FOREIGN DATA WRAPPER", 4)]);
    let mut object = Object::new(Kind::Server, &identity, None, row.get::<_, &str>(1));
    object.owner = row.get(3);
    object.create = vec![format!("CREATE {identity}{what}{}", with(row.get(7)))];
    object.drop = vec![format!("DROP {identity}")];
    Draft::new(at(class::FOREIGN_SERVER, row.get(0)), object)
}

fn mapping(row: &Row) -> Option<Draft> {
    let user: &str = row.get::<_, Option<&str>>(3)?;
    let identity = format!("USER MAPPING FOR {user} SERVER {}", row.get::<_, &str>(2));
    let mut object = Object::new(Kind::UserMapping, &identity, None, row.get::<_, &str>(1));
    object.create = vec![format!("CREATE {identity}{}", with(row.get(4)))];
    object.drop = vec![format!("DROP {identity}")];
    Some(Draft::new(at(class::USER_MAPPING, row.get(0)), object))
}
