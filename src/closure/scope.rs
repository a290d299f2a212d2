//! What an entity is: rows that are named, and the tables that may belong to them.
//!
//! `weddings=7,8` names two rows by their key. Of a key of several columns the values are joined by `/`: `seats=7/12`.
//! Double quotes keep a comma, a slash or an equals sign from meaning anything, as in patterns of tables; two of them in
//! quotes are one.

use crate::failure::Failure;
use crate::selection::mapping::Name;
use crate::selection::{Pattern, TableFilter};

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The rows that it begins with.
    pub roots: Vec<Root>,
    /// The tables whose rows may belong to it by referring to it; none: all. The rows that it begins with and those that
    /// are needed are not asked.
    pub within: Option<TableFilter>,
}

impl Scope {
    /// The same rows of tables under other names: pairs of an old and a new one.
    pub fn renamed(&self, names: &[(Name, Name)]) -> Scope {
        let root = |root: &Root| {
            let new = names.iter().find(|(old, _)| root.table.matches(&old.0, &old.1));
            let table = new.map_or_else(|| root.table.clone(), |(_, new)| Pattern::exact(&new.0, &new.1));
            Root { table, ..root.clone() }
        };
        let within = self.within.as_ref().map(|within| {
            let own: Vec<_> = names.iter().filter(|(old, _)| within.wants(&old.0, &old.1)).collect();
            let new = TableFilter::of_tables(own.iter().map(|(_, new)| (new.0.as_str(), new.1.as_str())));
            // No pattern would mean all.
            if own.is_empty() { within.clone() } else { new }
        });
        Scope { roots: self.roots.iter().map(root).collect(), within }
    }

    /// Whether rows of a table may belong to it by referring to it.
    pub(super) fn takes(&self, schema: &str, name: &str) -> bool {
        self.within.as_ref().is_none_or(|within| within.wants(schema, name))
    }
}

/// Rows of one table, by their key.
#[derive(Clone, Debug)]
pub struct Root {
    text: String,
    table: Pattern,
    ids: Vec<String>,
}

/// What cannot be read as rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad entity {text:?}: {problem}")]
pub struct RootError {
    text: String,
    problem: String,
}

impl Root {
    /// Parses `TABLE=ID[,ID]`.
    pub fn parse(text: &str) -> Result<Root, RootError> {
        let fail = |problem: String| RootError { text: text.to_owned(), problem };
        let mut parts = split(text, '=');
        let (table, rest) = match (parts.next(), parts.next()) {
            (Some(table), Some(_)) => (table, &text[table.len() + 1..]),
            _ => return Err(fail("write it like weddings=7 or weddings=7,8".to_owned())),
        };
        let table = Pattern::parse(table).map_err(|error| fail(error.to_string()))?;
        let ids: Vec<String> = split(rest, ',').map(str::to_owned).collect();
        if rest.chars().filter(|c| *c == '"').count() % 2 == 1 {
            return Err(fail("a double quote is not closed".to_owned()));
        }
        if ids.iter().any(String::is_empty) {
            return Err(fail("an id is empty; one that is empty text is \"\"".to_owned()));
        }
        Ok(Root { text: text.to_owned(), table, ids })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The one table of `names` that it means.
    pub(super) fn table<'a>(
        &self,
        names: impl Iterator<Item = (usize, &'a str, &'a str)>,
        place: &str,
    ) -> Result<usize, Failure> {
        let meant: Vec<usize> =
            names.filter(|(_, s, n)| self.table.matches(s, n)).map(|(at, ..)| at).collect();
        let shown = self.table.as_str();
        match meant[..] {
            [table] => Ok(table),
            [] => Err(Failure::usage(format!("there is no table {shown:?} in {place}"))
                .next("a bare name means schema public; write schema.table for others, and mind capitals")),
            _ => Err(Failure::usage(format!("{shown:?} means {} tables in {place}", meant.len()))
                .next("an entity begins with the rows of one table: name it in full")),
        }
    }

    /// The ids, each with a value for each of the `key`'s columns.
    pub(super) fn ids(&self, key: &[String]) -> Result<Vec<Vec<String>>, Failure> {
        let values = |id: &String| {
            let values: Vec<String> = match key.len() {
                1 => vec![unquoted(id)],
                _ => split(id, '/').map(unquoted).collect(),
            };
            if values.len() == key.len() {
                return Ok(values);
            }
            let (table, columns) = (self.table.as_str(), key.join("/"));
            Err(Failure::usage(format!("{id} is no key of {table}, which has the columns {columns}")).next(
                format!("write the values in this order with slashes between: --entity {table}=VALUE/VALUE"),
            ))
        };
        self.ids.iter().map(values).collect()
    }

    /// The failure for an id that is nowhere.
    pub(super) fn missing(&self, number: usize, place: &str) -> Failure {
        let (table, id) = (self.table.as_str(), self.ids.get(number).map_or("", String::as_str));
        Failure::usage(format!("no row of {table} in {place} has the key {id}"))
            .next(format!("see the rows there are with psql, or with pgkeep show FILE {table}"))
    }

    /// The failure for a table without a key.
    pub(super) fn keyless(&self) -> Failure {
        let table = self.table.as_str();
        Failure::usage(format!("table {table} has no key, so that no row of it can be named")).next(
            "begin with a row of a table that has a primary key, or columns that are unique and NOT NULL",
        )
    }
}

/// The pieces between separators that are not quoted.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

/// Without the double quotes around parts of it.
fn unquoted(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let (mut quoted, mut chars) = (false, text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                plain.push('"');
            }
            '"' => quoted = !quoted,
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ids(text: &str, key: &[&str]) -> Vec<Vec<String>> {
        let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        Root::parse(text).unwrap().ids(&key).unwrap()
    }

    #[test]
    fn rows_are_named_by_their_key_and_quotes_keep_what_would_separate() {
        assert_eq!(ids("weddings=7,8", &["id"]), [["7"], ["8"]]);
        assert_eq!(ids("w=a/b", &["id"]), [["a/b"]]);
        assert_eq!(ids("w=a=b", &["id"]), [["a=b"]]);
        assert_eq!(ids("w=\"a,b\",c\"/\"\"\"d", &["id"]), [["a,b"], ["c/\"d"]]);
        assert_eq!(ids("w=\"\"", &["id"]), [[""]]);
        assert_eq!(ids("seats=7/12,7/\"1/3\"", &["hall", "seat"]), [["7", "12"], ["7", "1/3"]]);
        let of = |text: &str| {
            let names = [(0, "public", "a=b"), (1, "x", "w"), (2, "public", "w")];
            Root::parse(text).unwrap().table(names.into_iter(), "the archive")
        };
        assert_eq!((of("w=1").unwrap(), of("x.w=1").unwrap(), of("\"a=b\"=1").unwrap()), (2, 1, 0));
        assert!(of("*.w=1").unwrap_err().what.contains("means 2 tables"));
        assert!(of("v=1").unwrap_err().what.contains("no table \"v\" in the archive"));
    }

    #[test]
    fn what_names_no_row_is_refused() {
        for bad in ["", "w", "=1", "w=", "w=1,", "w=,1", "w=\"1", "a.b.c=1", "\"w=1"] {
            assert!(Root::parse(bad).is_err(), "{bad}");
        }
        let key = ["a".to_owned(), "b".to_owned()];
        let failure = Root::parse("w=1").unwrap().ids(&key).unwrap_err();
        assert!(failure.what.contains("1 is no key of w, which has the columns a/b"), "{}", failure.what);
    }
}
