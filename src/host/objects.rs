//! Which objects of a database are the host's, and which its users have made: also on what is the host's.

use std::collections::{HashMap, HashSet};

use super::{Profile, matches_any};
use crate::postgres::catalog::{Catalog, Relation};
use crate::postgres::extensions;
use crate::schema::{Grant, Kind, Object};

impl Profile {
    /// Whether the host brings this schema and what is in it.
    pub fn manages(&self, schema: &str) -> bool {
        matches_any(&self.schemas, schema)
    }

    /// Whether this role is the host's.
    pub fn has_role(&self, role: &str) -> bool {
        matches_any(&self.roles, role)
    }

    /// Whether this table is the host's.
    pub fn owns(&self, relation: &Relation) -> bool {
        self.manages(&relation.schema) && self.has_role(&relation.owner)
    }

    /// Whether the rows of a table of this name are its users', be it the host's own table.
    pub fn shares_rows(&self, schema: &str, table: &str) -> bool {
        let name = format!("{schema}.{table}");
        !self.manages(schema) || matches_any(&self.rows, &name) && !matches_any(&self.own_rows, &name)
    }

    /// Whether the rows of a table are carried: all but those that the host keeps for himself.
    pub fn carries_rows(&self, relation: &Relation) -> bool {
        !self.owns(relation) || self.shares_rows(&relation.schema, &relation.name)
    }

    /// Marks what stays behind when this database is backed up, with its `objects` or without.
    pub fn leave_out(&self, catalog: &mut Catalog, objects: bool) {
        let mut left = HashSet::new();
        for relation in &mut catalog.relations {
            relation.left = !self.carries_rows(relation) || objects && extensions::keeps_objects(relation);
            if relation.left {
                left.insert(relation.oid);
            }
        }
        for sequence in &mut catalog.sequences {
            sequence.left = match sequence.used_by.as_slice() {
                [] => self.manages(&sequence.schema) && !sequence.is_owner,
                tables => tables.iter().all(|t| left.contains(t)),
            };
        }
    }

    /// The newer name of a column of `table`, which is given as `schema.table`.
    pub fn renamed(&self, table: &str, column: &str) -> Option<&str> {
        let found = self.renamed.iter().find(|r| r.table == table && r.from == column);
        found.map(|renamed| renamed.to.as_str())
    }

    /// The older name of a column of `table`.
    pub fn once_called(&self, table: &str, column: &str) -> Option<&str> {
        let found = self.renamed.iter().find(|r| r.table == table && r.to == column);
        found.map(|renamed| renamed.from.as_str())
    }

    /// Positions of the objects that the host brings. `objects` are in their order: each behind what it needs.
    pub fn brings(&self, objects: &[Object]) -> HashSet<usize> {
        if self.schemas.is_empty() && self.roles.is_empty() {
            return HashSet::new();
        }
        let mut brought = Brought { profile: self, objects, tables: HashMap::new(), all: HashSet::new() };
        for (at, object) in objects.iter().enumerate() {
            if brought.is_one(object) {
                brought.all.insert(at);
            }
            if object.kind.is_relation() {
                brought.tables.insert((object.schema.as_deref(), object.name.as_str()), at);
            }
        }
        brought.all
    }

    /// The privileges of an object of the host's that its users have given or taken from everybody: what the host gives comes
    /// from him, and goes to his own roles or to the most that a customer can be.
    pub fn users_grants<'o>(&self, object: &'o Object) -> Vec<&'o Grant> {
        let is_users = |grant: &&Grant| {
            let by_user = grant.grantor.as_ref().is_some_and(|role| !self.has_role(role));
            let from_all = grant.roles.is_empty() && grant.sql.starts_with("REVOKE ");
            let is_other = |role: &String| !self.has_role(role) && self.administrator.as_ref() != Some(role);
            by_user || from_all || grant.roles.iter().any(is_other)
        };
        object.privileges.iter().filter(is_users).collect()
    }
}

struct Brought<'a> {
    profile: &'a Profile,
    objects: &'a [Object],
    /// Tables, views and sequences so far, by schema and name.
    tables: HashMap<(Option<&'a str>, &'a str), usize>,
    /// What the host brings of those so far.
    all: HashSet<usize>,
}

impl Brought<'_> {
    fn is_one(&self, object: &Object) -> bool {
        let by_owner = || object.owner.as_deref().is_some_and(|owner| self.profile.has_role(owner));
        match object.kind {
            Kind::Schema => self.profile.manages(&object.name) && by_owner(),
            Kind::Extension => matches_any(&self.profile.extensions, &object.name),
            Kind::EventTrigger | Kind::Publication | Kind::ForeignDataWrapper | Kind::Server => by_owner(),
            Kind::PublicationMember => self.needs(object, |o| o.kind == Kind::Publication),
            Kind::DefaultPrivileges => {
                let of_schema = object.schema.as_deref();
                self.profile.has_role(&object.name) && of_schema.is_some_and(|s| self.profile.manages(s))
            }
            _ => match (&object.table, &object.schema) {
                (Some((schema, table)), _) => self.is_on_its_table(object, schema, table),
                (None, Some(schema)) if self.profile.manages(schema) => match object.owner {
                    Some(_) => by_owner(),
                    // What has no owner of its own (statistics of old servers, privileges): as what it is about.
                    None => true,
                },
                _ => false,
            },
        }
    }

    /// Whether it came with its table, or was put there by a user.
    fn is_on_its_table(&self, object: &Object, schema: &str, table: &str) -> bool {
        let at = self.tables.get(&(Some(schema), table));
        if !at.is_some_and(|at| self.all.contains(at)) {
            return false;
        }
        match object.kind {
            // The host's call functions that he keeps beside the table. Those that he offers to others, as for webhooks, are in
            // a schema of their own.
            Kind::Trigger => self.needs(object, |o| {
                matches!(o.kind, Kind::Function | Kind::Procedure) && o.schema.as_deref() == Some(schema)
            }),
            Kind::Policy | Kind::Rule => false,
            Kind::ForeignKey => !self.needs_own(object, |o| o.kind == Kind::Table),
            Kind::Index => matches_any(&self.profile.indexes, &object.name),
            _ => true,
        }
    }

    /// Whether it needs something of the host's that is so.
    fn needs(&self, object: &Object, is: impl Fn(&Object) -> bool) -> bool {
        let needed = object.needs.iter().map(|at| *at as usize);
        needed.into_iter().any(|at| self.all.contains(&at) && self.objects.get(at).is_some_and(&is))
    }

    /// Whether it needs something of a user's that is so.
    fn needs_own(&self, object: &Object, is: impl Fn(&Object) -> bool) -> bool {
        let needed = object.needs.iter().map(|at| *at as usize);
        needed.into_iter().any(|at| !self.all.contains(&at) && self.objects.get(at).is_some_and(&is))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::host::Profiles;

    fn object(kind: Kind, schema: &str, name: &str, owner: Option<&str>, needs: &[u32]) -> Object {
        let mut object = Object::new(kind, format!("{} {name}", kind.one()), Some(schema), name);
        object.owner = owner.map(str::to_owned);
        object.needs = needs.to_vec();
        object
    }

    fn on_table(kind: Kind, table: (&str, &str), name: &str, needs: &[u32]) -> Object {
        let mut object = object(kind, table.0, name, None, needs);
        object.table = Some((table.0.to_owned(), table.1.to_owned()));
        object
    }

    #[test]
    fn what_users_put_on_tables_of_the_host_is_theirs() {
        let all = Profiles::default();
        let supabase = all.named("supabase").unwrap();
        let users = ("auth", "users");
        let objects = [
            object(Kind::Schema, "", "auth", Some("supabase_admin"), &[]),
            object(Kind::Table, "auth", "users", Some("supabase_auth_admin"), &[0]),
            object(Kind::Function, "auth", "stamp", Some("supabase_auth_admin"), &[0]),
            object(Kind::Function, "public", "handle_new_user", Some("postgres"), &[]),
            object(Kind::Function, "auth", "mine", Some("postgres"), &[0]),
            on_table(Kind::Trigger, users, "stamp", &[1, 2]),
            on_table(Kind::Trigger, users, "on_auth_user_created", &[1, 3]),
            on_table(Kind::Policy, users, "mine", &[1]),
            on_table(Kind::Index, users, "users_instance_id_idx", &[1]),
            on_table(Kind::Index, users, "my_index", &[1]),
            on_table(Kind::RowSecurity, users, "users", &[1]),
            object(Kind::Table, "public", "profiles", Some("postgres"), &[]),
            on_table(Kind::ForeignKey, ("public", "profiles"), "to_users", &[11, 1]),
            on_table(Kind::ForeignKey, users, "to_profiles", &[1, 11]),
            on_table(Kind::ForeignKey, users, "to_users", &[1]),
        ];
        let mut brought: Vec<usize> = supabase.brings(&objects).into_iter().collect();
        brought.sort_unstable();
        assert_eq!(brought, [0, 1, 2, 5, 8, 10, 14]);
        assert!(all.named("plain").unwrap().brings(&objects).is_empty());
    }

    #[test]
    fn rows_are_carried_but_for_those_that_the_host_keeps() {
        let all = Profiles::default();
        let supabase = all.named("supabase").unwrap();
        for (schema, table, carried) in [
            ("public", "anything", true),
            ("auth", "users", true),
            ("auth", "schema_migrations", false),
            ("storage", "objects", true),
            ("storage", "migrations", false),
            ("realtime", "messages", false),
            ("supabase_migrations", "schema_migrations", true),
        ] {
            assert_eq!(supabase.shares_rows(schema, table), carried, "{schema}.{table}");
        }
    }
}
