//! Row-level security: whether it is on, and its policies.

use futures_util::future::try_join;
use tokio_postgres::{Error, Row};

use super::draft::{Draft, Reader, at, class, of_table, post_data};
use super::present::Group;
use crate::schema::Kind;

const TABLES: &str = "
SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       c.relrowsecurity, c.relforcerowsecurity
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE (c.relrowsecurity OR c.relforcerowsecurity)
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 ORDER BY 2, 3";

const POLICIES: &str = "
SELECT p.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, p.polname::pg_catalog.text,
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       pg_catalog.quote_ident(p.polname), p.polpermissive,
       CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                     WHEN 'd' THEN 'DELETE' END,
       (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(r.rolname), ', ' ORDER BY x.n)
          FROM pg_catalog.unnest(p.polroles) WITH ORDINALITY x (oid, n)
          JOIN pg_catalog.pg_roles r ON r.oid = x.oid),
       pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)
  FROM pg_catalog.pg_policy p
  JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 ORDER BY 2, 3, 4";

/// All policies, and the switches of all tables that have one on.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let (tables, policies) =
        try_join(reader.rows_of(Group::RowSecurity, TABLES), reader.rows_of(Group::Policies, POLICIES))
            .await?;
    Ok(tables.iter().map(switches).chain(policies.iter().map(policy)).collect())
}

fn switches(row: &Row) -> Draft {
    let (oid, schema, name, sql): (u32, &str, &str, &str) = (row.get(0), row.get(1), row.get(2), row.get(3));
    let mut object =
        post_data(of_table(Kind::RowSecurity, format!("ROW SECURITY {sql}"), name, (schema, name)));
    for (is_on, on, off) in [(row.get(4), "ENABLE", "DISABLE"), (row.get(5), "FORCE", "NO FORCE")] {
        if is_on {
            object.create.push(format!("ALTER TABLE ONLY {sql} {on} ROW LEVEL SECURITY"));
            object.drop.push(format!("ALTER TABLE ONLY {sql} {off} ROW LEVEL SECURITY"));
        }
    }
    let mut draft = Draft::new(at(class::ROW_SECURITY, oid), object);
    draft.needs.push(at(class::CLASS, oid));
    draft
}

fn policy(row: &Row) -> Draft {
    let (sql, name): (&str, &str) = (row.get(4), row.get(5));
    let mut create = format!("CREATE POLICY {name} ON {sql}");
    if !row.get::<_, bool>(6) {
        create.push_str(" AS RESTRICTIVE");
    }
    for (word, text) in [(" FOR ", row.get::<_, Option<&str>>(7)), (" TO ", row.get(8))] {
        if let Some(text) = text {
            create.push_str(word);
            create.push_str(text);
        }
    }
    for (word, expression) in [("USING", row.get::<_, Option<&str>>(9)), ("WITH CHECK", row.get(10))] {
        if let Some(expression) = expression {
            create.push_str(&format!(" {word} ({expression})"));
        }
    }
    let mut object = post_data(of_table(
        Kind::Policy,
        format!("POLICY {name} ON {sql}"),
        row.get::<_, &str>(3),
        (row.get(1), row.get(2)),
    ));
    object.create = vec![create];
    object.drop = vec![format!("DROP POLICY {name} ON {sql}")];
    Draft::new(at(class::POLICY, row.get(0)), object)
}
