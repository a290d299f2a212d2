//! Objects as statements to run, in the way that was asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Grant, Kind, Object};

/// What is left out of, or added to, the statements of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Leave out owners: everything belongs to the role that runs the statements.
    pub no_owner: bool,
    /// Leave out GRANT and REVOKE.
    pub no_privileges: bool,
    /// Leave out tablespaces: everything goes to the database's own.
    pub no_tablespaces: bool,
    /// The role that the statements are run under, where it is not the session's own.
    pub role: Option<String>,
    /// Where statements go that the role may not run, and that others' objects are about; none: such a statement is a
    /// failure.
    pub left: Option<Left>,
}

/// A statement that somebody with the right to has to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftStatement {
    /// The object that it is about, by identity.
    pub object: String,
    /// The statement, without a semicolon.
    pub sql: String,
    /// What the server said.
    pub reason: String,
}

/// Statements that were left to others. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Left {
    statements: Arc<Mutex<Vec<LeftStatement>>>,
    in_vain: Arc<AtomicU64>,
}

impl Left {
    /// Adds one.
    pub fn push(&self, statement: LeftStatement) {
        let mut all = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains(&statement) {
            all.push(statement);
        }
    }

    /// Hears the server's warnings, by SQLSTATE: who may not grant or revoke something hears of it in no other way
    /// (privilege_not_granted, privilege_not_revoked).
    pub fn hear(&self, sqlstate: &str) {
        if matches!(sqlstate, "01007" | "01006") {
            self.in_vain.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many such warnings there have been.
    pub fn in_vain(&self) -> u64 {
        self.in_vain.load(Ordering::Relaxed)
    }

    /// Whether one is about this object.
    pub fn has(&self, object: &str) -> bool {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .any(|left| left.object == object)
    }

    /// Nobody has to run those about this object any more.
    pub fn forget(&self, object: &str) {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).retain(|left| left.object != object);
    }

    /// Takes them all.
    pub fn take(&self) -> Vec<LeftStatement> {
        std::mem::take(&mut self.statements.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PartialEq for Left {
    fn eq(&self, other: &Left) -> bool {
        Arc::ptr_eq(&self.statements, &other.statements)
    }
}

impl Eq for Left {}

/// A name as SQL, quoted if it has to be.
pub fn ident(name: &str) -> String {
    let plain = name
        .bytes()
        .enumerate()
        .all(|(i, b)| b.is_ascii_lowercase() || b == b'_' || (i > 0 && b.is_ascii_digit()));
    if plain && !name.is_empty() && !RESERVED.contains(&name) && !RESERVED_ELSEWHERE.contains(&name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Keywords that are no column's name unless they are quoted (manual, appendix C); some of them are functions.
pub const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "inner",
    "initially",
    "intersect",
    "into",
    "join",
    "lateral",
    "leading",
    "left",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "offset",
    "on",
    "only",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

/// Those that cannot name a role either (`RoleSpec` of the grammar), or that would be read as types and operators.
const RESERVED_ELSEWHERE: &[&str] = &[
    "and",
    "between",
    "bigint",
    "bit",
    "boolean",
    "char",
    "character",
    "coalesce",
    "dec",
    "decimal",
    "exists",
    "extract",
    "false",
    "float",
    "greatest",
    "grouping",
    "ilike",
    "in",
    "inout",
    "int",
    "integer",
    "interval",
    "is",
    "isnull",
    "least",
    "like",
    "national",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "or",
    "out",
    "overlay",
    "position",
    "precision",
    "public",
    "real",
    "row",
    "setof",
    "smallint",
    "substring",
    "time",
    "timestamp",
    "treat",
    "trim",
    "true",
    "values",
    "varchar",
    "xmltable",
];

impl Object {
    /// The statements that make the object, with its owner, its comments and its labels, without its privileges.
    pub fn definition(&self, style: &Style) -> Vec<String> {
        let mut all = Vec::with_capacity(self.create.len() + self.comments.len() + 1);
        let tablespace = self.tablespace.as_ref().filter(|_| !style.no_tablespaces);
        if !self.create.is_empty() {
            if let Some(name) = tablespace {
                all.push(format!("SET default_tablespace = {}", ident(name)));
            }
            if let Some(name) = &self.access_method {
                all.push(format!("SET default_table_access_method = {}", ident(name)));
            }
            all.extend(self.create.iter().cloned());
            if tablespace.is_some() {
                all.push("SET default_tablespace = ''".to_owned());
            }
            if self.access_method.is_some() {
                all.push("SET default_table_access_method = heap".to_owned());
            }
        }
        all.extend(self.owner_statement(style));
        all.extend(self.comments.iter().cloned());
        all
    }

    /// The statement that gives the object to its owner.
    pub fn owner_statement(&self, style: &Style) -> Option<String> {
        let owner = self.owner.as_ref().filter(|_| !style.no_owner)?;
        Some(format!("ALTER {} OWNER TO {}", self.identity, ident(owner)))
    }

    /// The statements that give the object's privileges, from what a new object of its owner has.
    pub fn privilege_statements(&self, style: &Style) -> Vec<String> {
        if style.no_privileges {
            return Vec::new();
        }
        grants(&self.privileges, style)
    }

    /// The statements that remove the object where it is there.
    pub fn removal(&self) -> Vec<String> {
        self.drop.iter().map(|sql| if_exists(sql)).collect()
    }

    /// The object as anybody may see it: of a secret, that there is one.
    pub fn concealed(&self) -> Object {
        let mut object = self.clone();
        if object.kind == Kind::Secret {
            object.create = vec![format!("-- {} is in the archive, and nowhere else", object.identity)];
            object.drop.clear();
        }
        object
    }

    /// The roles that the object's statements name.
    pub fn roles<'a>(&'a self, style: &Style) -> impl Iterator<Item = &'a str> {
        let owner = self.owner.as_deref().filter(|_| !style.no_owner);
        let grants = if style.no_privileges { &[] } else { self.privileges.as_slice() };
        let named = grants.iter().flat_map(|g| g.roles.iter().chain(&g.grantor).map(String::as_str));
        owner.into_iter().chain(self.roles.iter().map(String::as_str)).chain(named)
    }
}

/// Grants, each under the role that gave it.
pub fn grants(all: &[Grant], style: &Style) -> Vec<String> {
    all.iter().flat_map(|grant| grant.statements(style)).collect()
}

impl Grant {
    /// The statement, under the role that gave the privilege.
    pub fn statements(&self, style: &Style) -> Vec<String> {
        let Some(grantor) = self.grantor.as_ref().filter(|_| !style.no_owner) else {
            return vec![self.sql.clone()];
        };
        let back = match &style.role {
            Some(role) => format!("SET ROLE {}", ident(role)),
            None => "RESET ROLE".to_owned(),
        };
        vec![format!("SET ROLE {}", ident(grantor)), self.sql.clone(), back]
    }
}

/// A string constant, where `standard_conforming_strings` is on, as every script sets it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `DROP TABLE x` → `DROP TABLE IF EXISTS x`, `ALTER TABLE x DROP CONSTRAINT c` → both with IF EXISTS. What has no such
/// words is wrapped so that it does nothing where something is missing.
fn if_exists(sql: &str) -> String {
    let words = |sql: &str, first: &str| -> Option<usize> {
        let mut end = first.len();
        let rest = sql.strip_prefix(first)?;
        for word in rest.split_inclusive(' ') {
            let bare = word.trim_end();
            if bare.is_empty() || bare == "FOR" || !bare.bytes().all(|b| b.is_ascii_uppercase()) {
                break;
            }
            end += word.len();
        }
        Some(end)
    };
    if let Some(end) = words(sql, "DROP ") {
        return format!("{}IF EXISTS {}", &sql[..end], &sql[end..]);
    }
    if let Some(rest) = sql.strip_prefix("ALTER SEQUENCE ") {
        return format!("ALTER SEQUENCE IF EXISTS {rest}");
    }
    let of_table = ["ALTER TABLE ", "ALTER FOREIGN TABLE "].iter().any(|head| sql.starts_with(head));
    let Some(end) = words(sql, "ALTER ").filter(|_| of_table) else {
        let missing = "undefined_object OR undefined_table OR undefined_function OR undefined_column OR invalid_schema_name";
        let body = format!("BEGIN EXECUTE {}; EXCEPTION WHEN {missing} THEN NULL; END", literal(sql));
        return format!("DO {}", literal(&body));
    };
    let (head, rest) = sql.split_at(end);
    let head = head.strip_suffix("ONLY ").map_or((head, ""), |head| (head, "ONLY "));
    let rest = rest.replacen(" DROP CONSTRAINT ", " DROP CONSTRAINT IF EXISTS ", 1);
    format!("{}IF EXISTS {}{rest}", head.0, head.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        assert_eq!(
            ["app", "a b", "User", "user", "1a", ""].map(ident),
            ["app", "\"a b\"", "\"User\"", "\"user\"", "\"1a\"", "\"\""]
        );
    }

    #[test]
    fn removals_take_what_is_gone_already() {
        for (sql, expected) in [
            ("DROP TABLE public.t", "DROP TABLE IF EXISTS public.t"),
            ("DROP MATERIALIZED VIEW s.v", "DROP MATERIALIZED VIEW IF EXISTS s.v"),
            ("DROP TRIGGER t ON s.x", "DROP TRIGGER IF EXISTS t ON s.x"),
            ("DROP USER MAPPING FOR a SERVER s", "DROP USER MAPPING IF EXISTS FOR a SERVER s"),
            ("DROP CAST (a AS b)", "DROP CAST IF EXISTS (a AS b)"),
            (
                "ALTER TABLE ONLY s.t DROP CONSTRAINT c",
                "ALTER TABLE IF EXISTS ONLY s.t DROP CONSTRAINT IF EXISTS c",
            ),
            (
                "ALTER FOREIGN TABLE s.t DROP CONSTRAINT c",
                "ALTER FOREIGN TABLE IF EXISTS s.t DROP CONSTRAINT IF EXISTS c",
            ),
            ("ALTER SEQUENCE s.q OWNED BY NONE", "ALTER SEQUENCE IF EXISTS s.q OWNED BY NONE"),
        ] {
            assert_eq!(if_exists(sql), expected);
        }
    }
}
