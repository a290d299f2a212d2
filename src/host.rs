//! Who runs the server: somebody's own machine, or a host that keeps much of it to itself.
//!
//! What is known of a host is data, a [`Profile`]: `host/profiles.toml` has those that come with pgkeep, and
//! `[profiles.NAME]` in `pgkeep.toml` changes them key by key or adds others.

mod objects;

use serde::Deserialize;
use tokio_postgres::{Client, Error};
use toml::{Table, Value};

use crate::postgres::quote;

const BUILT_IN: &str = include_str!("host/profiles.toml");

/// The profile of a server that nobody keeps anything of to himself; what every server is that nothing else fits.
pub const PLAIN: &str = "plain";

/// What is known of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is called in commands and settings.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// By what a server of the host is known.
    #[serde(default)]
    pub detect: Marks,
    /// The role with the most rights that a customer of the host gets; none where that is a superuser.
    #[serde(default)]
    pub administrator: Option<String>,
    /// Schemas that the host brings with what is in them. Here and in the lists that follow, a `*` at the end of a name
    /// stands for any ending.
    #[serde(default)]
    pub schemas: Vec<String>,
    /// Roles that are the host's.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Extensions that the host brings: none of them is made, and none is missed.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Indexes on the host's tables that he brings, or once brought: who made an index nobody can tell.
    #[serde(default)]
    pub indexes: Vec<String>,
    /// Tables of the host's (`schema.table`) whose rows are his users'.
    #[serde(default)]
    pub rows: Vec<String>,
    /// Columns of such tables that have other names in newer versions.
    #[serde(default)]
    pub renamed: Vec<Renamed>,
    /// Those among them whose rows are the host's all the same.
    #[serde(default)]
    pub own_rows: Vec<String>,
    /// What to do where a transaction-mode pooler is in the way.
    #[serde(default)]
    pub pooler: Option<String>,
    /// What is known of its addresses.
    #[serde(default)]
    pub addresses: Option<Addresses>,
}

impl Profile {
    /// Where to connect instead of to a pooler that shares server connections between transactions.
    pub fn other_way(&self) -> &str {
        self.pooler.as_deref().unwrap_or("connect to the server itself, or to a pooler in session mode")
    }
}

/// A column that has another name in newer versions of the host's table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renamed {
    /// The table, as `schema.table`.
    pub table: String,
    /// The old name.
    pub from: String,
    /// The new name.
    pub to: String,
}

/// What all has to be there. With no mark at all nothing is detected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// Roles, all of them.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Schemas, one of them.
    #[serde(default)]
    pub schemas: Vec<String>,
    /// Functions of any schema, all of them.
    #[serde(default)]
    pub functions: Vec<String>,
}

/// Names of the host's servers that often cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// What such a name begins with.
    pub begin: String,
    /// What it ends with.
    pub end: String,
    /// What to do where one of them cannot be reached.
    pub unreachable: String,
}

/// Profiles that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("profile {name:?}: {problem}")]
pub struct ProfileError {
    name: String,
    problem: String,
}

/// Profiles in the order in which servers are held against them.
#[derive(Clone, Debug)]
pub struct Profiles(Vec<Profile>);

impl Profiles {
    /// Those that come with pgkeep, changed by `changes`: tables of keys, by the profile's name. What has a new name is
    /// looked for first.
    pub fn with(changes: &Table) -> Result<Profiles, ProfileError> {
        let mut tables = built_in();
        let mut new = Vec::new();
        for (name, change) in changes {
            let fail = |problem: &str| ProfileError { name: name.clone(), problem: problem.to_owned() };
            let change = change.as_table().ok_or_else(|| fail("its settings must be a table"))?;
            if name.is_empty() {
                return Err(fail("it has no name"));
            }
            if change.contains_key("name") {
                return Err(fail("its name is that of its table"));
            }
            match tables.iter_mut().find(|table| table.get("name").and_then(Value::as_str) == Some(name)) {
                Some(table) => merge(table, change),
                None => {
                    let mut table = change.clone();
                    table.entry("title").or_insert_with(|| name.clone().into());
                    table.insert("name".to_owned(), name.clone().into());
                    new.push(table);
                }
            }
        }
        new.append(&mut tables);
        let read = |table: Table| {
            let name = table.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            Value::Table(table)
                .try_into()
                .map_err(|error: toml::de::Error| ProfileError { name, problem: error.message().to_owned() })
        };
        new.into_iter().map(read).collect::<Result<_, _>>().map(Profiles)
    }

    /// The one of this name.
    pub fn named(&self, name: &str) -> Option<&Profile> {
        self.0.iter().find(|profile| profile.name == name)
    }

    /// The names of all.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|profile| profile.name.as_str())
    }

    /// What to do where `host` cannot be reached, if something is known of names like it.
    pub fn unreachable(&self, host: &str) -> Option<&str> {
        let mut addresses = self.0.iter().filter_map(|profile| profile.addresses.as_ref());
        let is_one = |a: &&Addresses| host.starts_with(&a.begin) && host.ends_with(&a.end);
        addresses.find(is_one).map(|a| a.unreachable.as_str())
    }

    /// Whose server it is: one question. The last profile is that of a server that no other fits.
    pub async fn detect(&self, client: &Client) -> Result<&Profile, Error> {
        let list = |pick: fn(&Marks) -> &Vec<String>| {
            let names = self.0.iter().flat_map(|profile| pick(&profile.detect));
            format!(
                "ARRAY[{}]::pg_catalog.text[]",
                names.map(|n| quote::literal(n)).collect::<Vec<_>>().join(", ")
            )
        };
        let (roles, schemas, functions) = (list(|m| &m.roles), list(|m| &m.schemas), list(|m| &m.functions));
        let sql = format!(
            "SELECT ARRAY(SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r
                           WHERE r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({roles})),
                    ARRAY(SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_namespace n
                           WHERE n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({schemas})),
                    ARRAY(SELECT DISTINCT p.proname::pg_catalog.text FROM pg_catalog.pg_proc p
                           WHERE p.proname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({functions}))"
        );
        let row = &client.query_typed(&sql, &[]).await?[0];
        let found = Marks { roles: row.get(0), schemas: row.get(1), functions: row.get(2) };
        let fits = |profile: &&Profile| profile.detect.are_among(&found);
        let plain = || self.named(PLAIN).unwrap_or(&self.0[0]);
        Ok(self.0.iter().find(fits).unwrap_or_else(plain))
    }
}

impl Default for Profiles {
    fn default() -> Profiles {
        let tables = built_in().into_iter().map(|table| Value::Table(table).try_into());
        Profiles(tables.filter_map(Result::ok).collect())
    }
}

impl Marks {
    fn are_among(&self, found: &Marks) -> bool {
        let any = !self.roles.is_empty() || !self.schemas.is_empty() || !self.functions.is_empty();
        any && self.roles.iter().all(|role| found.roles.contains(role))
            && self.functions.iter().all(|function| found.functions.contains(function))
            && (self.schemas.is_empty() || self.schemas.iter().any(|schema| found.schemas.contains(schema)))
    }
}

/// Whether one of the patterns is, or begins, the name.
fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    })
}

/// The tables of `profiles.toml`, in its order.
fn built_in() -> Vec<Table> {
    let file = BUILT_IN.parse::<Table>().unwrap_or_default();
    let profiles = file.get("profile").and_then(Value::as_array);
    profiles.into_iter().flatten().filter_map(Value::as_table).cloned().collect()
}

/// Puts keys in the place of those of that name; a table's are put into the table.
fn merge(table: &mut Table, change: &Table) {
    for (key, value) in change {
        match (table.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(change)) => merge(inner, change),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn changed(toml: &str) -> Result<Profiles, ProfileError> {
        Profiles::with(&toml.parse::<Table>().unwrap())
    }

    fn marks(roles: &[&str], schemas: &[&str]) -> Marks {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Marks { roles: own(roles), schemas: own(schemas), functions: Vec::new() }
    }

    #[test]
    fn every_profile_that_comes_with_the_program_can_be_read_and_the_last_fits_what_no_other_does() {
        let all = Profiles::default();
        assert_eq!(all.0.len(), built_in().len());
        assert_eq!(all.0.len(), changed("").unwrap().0.len());
        let names: Vec<&str> = all.names().collect();
        assert_eq!(names.last(), Some(&PLAIN));
        for name in ["supabase", "aurora", "rds", "alloydb", "cloudsql", "azure", "neon"] {
            assert!(all.named(name).is_some_and(|p| p.detect != Marks::default()), "{name}");
        }
    }

    #[test]
    fn all_roles_and_one_schema_have_to_be_there() {
        let wanted = marks(&["a", "b"], &["x", "y"]);
        assert!(wanted.are_among(&marks(&["b", "a", "c"], &["y"])));
        assert!(!wanted.are_among(&marks(&["a"], &["x", "y"])));
        assert!(!wanted.are_among(&marks(&["a", "b"], &["z"])));
        assert!(!Marks::default().are_among(&wanted));
    }

    #[test]
    fn a_file_changes_profiles_key_by_key_and_adds_others() {
        let all = changed(
            "[supabase]\nadministrator = 'boss'\ndetect.roles = ['x']\n[ours]\ndetect.roles = ['ours_admin']",
        )
        .unwrap();
        let supabase = all.named("supabase").unwrap();
        assert_eq!(supabase.administrator.as_deref(), Some("boss"));
        assert_eq!(
            (supabase.title.as_str(), supabase.detect.roles.as_slice()),
            ("Supabase", &["x".to_owned()][..])
        );
        assert!(!supabase.detect.schemas.is_empty());
        assert_eq!(all.names().next(), Some("ours"));
        for (wrong, said) in [
            ("[ours]\ncolour = 'red'", "colour"),
            ("[ours]\ntitle = 3", "\"ours\""),
            ("ours = 3", "must be a table"),
            ("[rds]\nname = 'x'", "its name"),
        ] {
            let error = changed(wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn what_is_known_of_a_name_is_said_of_names_like_it_alone() {
        let all = Profiles::default();
        assert!(all.unreachable("db.abcdefgh.supabase.co").is_some_and(|text| text.contains("pooler")));
        assert_eq!(all.unreachable("db.example"), None);
    }
}
