//! The database itself: what makes one like it.

use futures_util::future::try_join3;
use tokio_postgres::Error;

use super::acl::{self, On};
use super::configuration;
use super::draft::Reader;
use crate::postgres::quote;
use crate::schema::Database;

/// Encoding, provider of locale, collation, character types, and the provider's own locale and rules; then the rest.
fn query(reader: Reader<'_>) -> String {
    format!(
        "
SELECT pg_catalog.pg_encoding_to_char(d.encoding)::pg_catalog.text, {provider}::pg_catalog.text,
       d.datcollate::pg_catalog.text, d.datctype::pg_catalog.text, {locale}, {rules},
       pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text, d.datconnlimit,
       NULLIF(t.spcname, 'pg_default')::pg_catalog.text,
       pg_catalog.shobj_description(d.oid, 'pg_database'),
       COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))::pg_catalog.text[],
       pg_catalog.acldefault('d', d.datdba)::pg_catalog.text[], d.datistemplate
  FROM pg_catalog.pg_database d
  JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
 WHERE d.datname = pg_catalog.current_database()",
        provider = reader.pick(15, "d.datlocprovider", "NULL"),
        locale = reader.pick(17, "d.datlocale", reader.pick(15, "d.daticulocale", "NULL::pg_catalog.text")),
        rules = reader.pick(16, "d.daticurules", "NULL::pg_catalog.text"),
    )
}

const SETTINGS: &str = "
SELECT r.rolname::pg_catalog.text, x.entry
  FROM pg_catalog.pg_db_role_setting s
  JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
 CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY x (entry, n)
 WHERE d.datname = pg_catalog.current_database() AND (s.setrole = 0 OR r.oid IS NOT NULL)
 ORDER BY s.ctid, x.n";

const LABELS: &str = "
SELECT l.provider, l.label
  FROM pg_catalog.pg_shseclabel l
  JOIN pg_catalog.pg_database d ON l.classoid = 1262 AND l.objoid = d.oid
 WHERE d.datname = pg_catalog.current_database()
 ORDER BY 1";

/// The database that the session is in.
pub async fn read(reader: Reader<'_>) -> Result<Database, Error> {
    let query = query(reader);
    let (rows, settings, labels) =
        try_join3(reader.rows(&query), reader.rows(SETTINGS), reader.rows(LABELS)).await?;
    // Not there: it was renamed a moment ago.
    let Some(row) = rows.first() else { return Ok(Database::default()) };

    let mut options = format!("ENCODING = {}", quote::literal(row.get(0)));
    let provider: Option<&str> = row.get(1);
    if let Some(provider) = provider {
        options.push_str(match provider {
            "i" => " LOCALE_PROVIDER = icu",
            "b" => " LOCALE_PROVIDER = builtin",
            _ => " LOCALE_PROVIDER = libc",
        });
    }
    let (collate, ctype): (&str, &str) = (row.get(2), row.get(3));
    let own_locale = if provider == Some("b") { "BUILTIN_LOCALE" } else { "ICU_LOCALE" };
    let mut clauses = vec![("LC_COLLATE", Some(collate)), ("LC_CTYPE", Some(ctype))];
    if collate == ctype {
        clauses = vec![("LOCALE", Some(collate))];
    }
    clauses.extend([(own_locale, row.get(4)), ("ICU_RULES", row.get(5))]);
    for (word, value) in clauses {
        if let Some(value) = value {
            options.push_str(&format!(" {word} = {}", quote::literal(value)));
        }
    }

    let owner: String = row.get(6);
    let on = On { prefix: "", word: "DATABASE", name: "{}", column: None, owner: &owner };
    let (acl, base): (Vec<String>, Vec<String>) = (row.get(10), row.get(11));
    let mut database = Database {
        options,
        comment: row.get(9),
        labels: labels.iter().map(|l| (l.get(0), l.get(1))).collect(),
        privileges: acl::between(&on, &base, &acl, reader.version),
        tablespace: row.get(8),
        owner: owner.clone(),
        ..Database::default()
    };
    let limit: i32 = row.get(7);
    if limit >= 0 {
        database.alter.push(format!("CONNECTION LIMIT = {limit}"));
    }
    if row.get(12) {
        database.alter.push("IS_TEMPLATE = true".to_owned());
    }
    for row in &settings {
        let Some(set) = configuration::set(row.get(1)) else { continue };
        match row.get::<_, Option<String>>(0) {
            Some(role) => database.role_settings.push((role, set)),
            None => database.alter.push(set),
        }
    }
    Ok(database)
}
