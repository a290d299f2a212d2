//! Whether an object is there: `table:users`, `column:users.email`, `function:place_booking`.

use std::fmt;

use crate::postgres::quote::{literal, qualified};

/// An object that should be there. Its name is as pgkeep shows it: a bare one is in schema `public`, and a part that
/// holds a dot is quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    kind: Kind,
    /// The parts of the name, the schema's first; those of what is in no schema are one.
    parts: Vec<String>,
    /// For a function: its arguments with the parentheses, where they were given.
    arguments: Option<String>,
    /// As it was given.
    shown: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Table,
    View,
    Index,
    Sequence,
    Type,
    Function,
    Column,
    Trigger,
    Policy,
    Extension,
    Schema,
}

const KINDS: [(&str, Kind); 11] = [
    ("table", Kind::Table),
    ("column", Kind::Column),
    ("function", Kind::Function),
    ("trigger", Kind::Trigger),
    ("view", Kind::View),
    ("index", Kind::Index),
    ("policy", Kind::Policy),
    ("type", Kind::Type),
    ("sequence", Kind::Sequence),
    ("extension", Kind::Extension),
    ("schema", Kind::Schema),
];

/// Why a text names no object.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} names no object: {problem}")]
pub struct ThingError {
    text: String,
    problem: String,
}

impl Thing {
    /// Parses `KIND:NAME` or `KIND NAME`.
    pub fn parse(text: &str) -> Result<Thing, ThingError> {
        let fail = |problem: String| ThingError { text: text.to_owned(), problem };
        let words = KINDS.map(|(word, _)| word).join(", ");
        let (word, name) = text
            .split_once([':', ' '])
            .ok_or_else(|| fail(format!("write KIND:NAME, KIND being one of {words}")))?;
        let kind = KINDS.iter().find(|(known, _)| *known == word.trim());
        let kind = kind.ok_or_else(|| fail(format!("choose of {words}")))?.1;
        let name = name.trim();
        let (name, arguments) = match (kind, opening(name)) {
            (Kind::Function, Some(at)) if name.ends_with(')') => {
                (name[..at].trim_end(), Some(name[at..].to_owned()))
            }
            _ => (name, None),
        };
        let mut parts = split(name).map_err(|problem| fail(problem.to_owned()))?;
        let (least, most) = kind.parts();
        if parts.len() < least || parts.len() > most {
            return Err(fail(format!("the name of a {word} is {}", kind.form())));
        }
        if most > 1 && parts.len() < most {
            parts.insert(0, "public".to_owned());
        }
        Ok(Thing {
            kind,
            parts,
            arguments,
            shown: format!("{} {}", word.trim(), text[word.len() + 1..].trim()),
        })
    }

    /// A query that gives a row if it is not there.
    pub(super) fn missing(&self) -> String {
        let relation = |kinds: &str| {
            format!(
                "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = {}
                 WHERE c.relname = {} AND c.relkind IN ({kinds})",
                self.part(0),
                self.part(1)
            )
        };
        let of = |catalog: &str, table: &str, name: &str, more: &str| {
            let relation = relation("'r', 'p', 'f', 'v', 'm'");
            let last = self.part(2);
            format!(
                "SELECT FROM pg_catalog.{catalog} x WHERE x.{name} = {last} {more} AND x.{table} IN (SELECT c.oid {relation})"
            )
        };
        let found = match self.kind {
            Kind::Table => format!("SELECT {}", relation("'r', 'p', 'f'")),
            Kind::View => format!("SELECT {}", relation("'v', 'm'")),
            Kind::Index => format!("SELECT {}", relation("'i', 'I'")),
            Kind::Sequence => format!("SELECT {}", relation("'S'")),
            Kind::Column => of("pg_attribute", "attrelid", "attname", "AND x.attnum > 0 AND NOT x.attisdropped"),
            Kind::Trigger => of("pg_trigger", "tgrelid", "tgname", "AND NOT x.tgisinternal"),
            Kind::Policy => of("pg_policy", "polrelid", "polname", ""),
            // Tables have types of their names, too.
            Kind::Type => format!(
                "SELECT FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
                  WHERE n.nspname = {} AND t.typname = {}
                    AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))",
                self.part(0),
                self.part(1)
            ),
            Kind::Function => match &self.arguments {
                Some(arguments) => {
                    let name = format!("{}{arguments}", qualified(&self.parts[0], &self.parts[1]));
                    format!("SELECT WHERE pg_catalog.to_regprocedure({}) IS NOT NULL", literal(&name))
                }
                None => format!(
                    "SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
                      WHERE n.nspname = {} AND p.proname = {}",
                    self.part(0),
                    self.part(1)
                ),
            },
            Kind::Extension => {
                format!("SELECT FROM pg_catalog.pg_extension x WHERE x.extname = {}", self.part(0))
            }
            Kind::Schema => {
                format!("SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = {}", self.part(0))
            }
        };
        format!("SELECT 1 WHERE NOT EXISTS ({found})")
    }

    fn part(&self, at: usize) -> String {
        literal(&self.parts[at])
    }
}

impl Kind {
    /// How many parts its name has at least and at most; of those in between the schema is `public`.
    fn parts(self) -> (usize, usize) {
        match self {
            Kind::Extension | Kind::Schema => (1, 1),
            Kind::Column | Kind::Trigger | Kind::Policy => (2, 3),
            _ => (1, 2),
        }
    }

    fn form(self) -> &'static str {
        match self.parts() {
            (1, 1) => "NAME",
            (2, _) => "TABLE.NAME or SCHEMA.TABLE.NAME",
            _ => "NAME or SCHEMA.NAME",
        }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Where the first parenthesis opens that is not quoted.
fn opening(name: &str) -> Option<usize> {
    let mut quoted = false;
    name.find(|c| {
        quoted ^= c == '"';
        c == '(' && !quoted
    })
}

/// The parts of a name between dots, unquoted.
fn split(name: &str) -> Result<Vec<String>, &'static str> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        let last = parts.len() - 1;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                parts[last].push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c => parts[last].push(c),
        }
    }
    match (quoted, parts.iter().any(String::is_empty)) {
        (true, _) => Err("a double quote is not closed"),
        (_, true) => Err("a name is empty"),
        _ => Ok(parts),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parts(text: &str) -> Vec<String> {
        Thing::parse(text).unwrap().parts
    }

    #[test]
    fn a_bare_name_means_schema_public_and_quotes_keep_dots() {
        assert_eq!(parts("table:users"), ["public", "users"]);
        assert_eq!(parts("table audit.users"), ["audit", "users"]);
        assert_eq!(parts("column:users.email"), ["public", "users", "email"]);
        assert_eq!(parts("trigger: audit.users.log"), ["audit", "users", "log"]);
        assert_eq!(parts("view:\"a.b\""), ["public", "a.b"]);
        assert_eq!(parts("type:\"say \"\"hi\"\"\""), ["public", "say \"hi\""]);
        assert_eq!(
            (parts("schema:audit"), parts("extension:pg_trgm")),
            (vec!["audit".into()], vec!["pg_trgm".into()])
        );
    }

    #[test]
    fn a_function_may_come_with_its_arguments() {
        let area = Thing::parse("function:geo.area(integer, text)").unwrap();
        assert_eq!(
            (area.parts.as_slice(), area.arguments.as_deref()),
            (&["geo".to_owned(), "area".to_owned()][..], Some("(integer, text)"))
        );
        assert_eq!(area.to_string(), "function geo.area(integer, text)");
        assert_eq!(Thing::parse("function:area").unwrap().arguments, None);
    }

    #[test]
    fn what_names_no_object_is_refused() {
        for wrong in [
            "users",
            "tabel:users",
            "table:",
            "table:a.b.c",
            "column:email",
            "schema:a.b",
            "view:\"a",
            "table:a..b",
        ] {
            assert!(Thing::parse(wrong).is_err(), "{wrong}");
        }
    }
}
