//! Comments and security labels of everything, in two queries. Whoever knows the objects attaches them by address.

use tokio_postgres::Error;

use super::draft::{Address, Reader, at};
use super::present::Group;
use crate::postgres::quote;

/// A comment on an object or a column, or a security label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// The object; for a column, what it is a column of.
    pub at: Address,
    /// The column, quoted.
    pub column: Option<String>,
    /// For a column: what it is a column of, quoted and with its schema.
    pub relation: Option<String>,
    /// The provider of a security label, quoted; none for a comment.
    pub provider: Option<String>,
    /// The comment or label.
    pub text: String,
}

impl Comment {
    /// The statement, where `identity` is what SQL calls the object.
    pub fn sql(&self, identity: &str) -> String {
        let on = match (&self.relation, &self.column) {
            (Some(relation), Some(column)) => format!("COLUMN {relation}.{column}"),
            _ => identity.to_owned(),
        };
        let text = quote::literal(&self.text);
        match &self.provider {
            Some(provider) => format!("SECURITY LABEL FOR {provider} ON {on} IS {text}"),
            None => format!("COMMENT ON {on} IS {text}"),
        }
    }
}

/// In place of `{}`: table, its alias `d` and its columns for provider and text. What initdb made has comments too, of
/// which only that on the schema `public` (2200) may have been changed by others; as initdb wrote it, it needs no statement,
/// which only the schema's owner could run, unless the schema has got another name.
fn query(table: &str, provider: &str, text: &str) -> String {
    format!(
        "SELECT d.classoid, d.objoid, pg_catalog.quote_ident(a.attname),
                pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
                {provider}, {text}
           FROM pg_catalog.{table} d
           LEFT JOIN pg_catalog.pg_attribute a
             ON d.objsubid <> 0 AND d.classoid = 1259 AND a.attrelid = d.objoid AND a.attnum = d.objsubid
           LEFT JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
           LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE (d.objoid >= 16384 OR d.classoid = 2613
                 OR d.classoid = 2615 AND d.objoid = 2200)
            AND NOT (d.classoid = 2615 AND {text} = 'standard public schema' AND EXISTS
                     (SELECT FROM pg_catalog.pg_namespace p WHERE p.oid = d.objoid AND p.nspname = 'public'))
            AND (d.objsubid = 0 OR a.attname IS NOT NULL)
          ORDER BY d.classoid, d.objoid, d.objsubid, 5"
    )
}

/// All comments, then all labels, in a stable order: by object, columns behind their table.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Comment>, Error> {
    let comments = query("pg_description", "NULL::pg_catalog.text", "d.description");
    let labels = query("pg_seclabel", "pg_catalog.quote_ident(d.provider)", "d.label");
    let (mut rows, labels) = futures_util::future::try_join(
        reader.rows(&comments),
        reader.rows_of(Group::SecurityLabels, &labels),
    )
    .await?;
    rows.extend(labels);
    Ok(rows
        .iter()
        .map(|row| Comment {
            at: at(row.get(0), row.get(1)),
            column: row.get(2),
            relation: row.get(3),
            provider: row.get(4),
            text: row.get(5),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_the_object_or_its_column() {
        let mut comment =
            Comment { at: at(1259, 1), column: None, relation: None, provider: None, text: "it's".into() };
        assert_eq!(comment.sql("TABLE public.t"), "COMMENT ON TABLE public.t IS 'it''s'");
        comment.relation = Some("public.t".into());
        comment.column = Some("\"A\"".into());
        comment.provider = Some("dummy".into());
        assert_eq!(
            comment.sql("TABLE public.t"),
            "SECURITY LABEL FOR dummy ON COLUMN public.t.\"A\" IS 'it''s'"
        );
    }
}
