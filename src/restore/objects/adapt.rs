//! Definitions of an older server as a newer one takes them, and says them; and the other way round, where that loses
//! nothing.

use std::collections::HashSet;

use crate::schema::script::ident;
use crate::schema::{Grant, Kind, Object};

/// The longest name, in bytes (`NAMEDATALEN` less one).
const LONGEST_NAME: usize = 63;

/// The privileges on a table before version 17.
const ALL_BEFORE_17: &str = "SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER";

/// Changes what a server of version `to` (`server_version_num`) no longer takes, or takes otherwise than that of version
/// `from` did, where that changes nothing else.
pub fn to_version(objects: &mut [Object], from: u32, to: u32) {
    if from < 140_000 && to >= 140_000 {
        for object in objects.iter_mut().filter(|o| o.kind == Kind::Type) {
            name_multirange(object);
        }
    }
    if (from < 150_000) != (to < 150_000) {
        privileges_of_public(objects, to);
        persistence_of_sequences(objects, to);
    }
    // Before 16 a subscription worked with the privileges of its owner, since then with those of each table's, unless it
    // says so.
    if from < 160_000 && to >= 160_000 {
        for object in objects.iter_mut().filter(|o| o.kind == Kind::Subscription) {
            for sql in object.create.iter_mut().filter(|sql| sql.starts_with("CREATE SUBSCRIPTION ")) {
                if let Some(rest) = sql.strip_suffix(')') {
                    // Before 14 nothing was streamed and nobody could say so; 18 streams unless told otherwise.
                    let streaming = if from < 140_000 { ", streaming = off" } else { "" };
                    *sql = format!("{rest}{streaming}, run_as_owner = true)");
                }
            }
        }
    }
    // 17 made MAINTAIN a privilege of tables. What was all before is not all any more, and what was never there is not
    // revoked.
    if from < 170_000 && to >= 170_000 {
        for grant in objects.iter_mut().flat_map(|o| &mut o.privileges) {
            let sql = &mut grant.sql;
            let is_plain = sql.starts_with("GRANT ALL ON TABLE ") || sql.starts_with("REVOKE ALL ON TABLE ");
            if is_plain || (sql.starts_with("ALTER DEFAULT PRIVILEGES ") && sql.contains(" ALL ON TABLES ")) {
                *sql = sql.replacen(" ALL ON TABLE", &format!(" {ALL_BEFORE_17} ON TABLE"), 1);
            }
        }
    }
    if from < 170_000 && to >= 170_000 {
        for object in objects.iter_mut().filter(|o| o.kind == Kind::Domain) {
            name_not_null(object);
        }
    }
    if to < 180_000 {
        return;
    }
    // A child may no longer hold nulls where its parent may not: if it does, its rows say so.
    for object in objects.iter_mut().filter(|o| matches!(o.kind, Kind::Table | Kind::ForeignTable)) {
        object.create.retain(|sql| !(sql.starts_with("ALTER ") && sql.ends_with(" DROP NOT NULL")));
    }
    // A partitioned table has no storage, so that UNLOGGED never meant anything for one (release notes of 18).
    for object in objects.iter_mut().filter(|o| o.kind == Kind::Table) {
        for sql in &mut object.create {
            if sql.starts_with("CREATE UNLOGGED TABLE ") && sql.contains("\nPARTITION BY ") {
                *sql = sql.replacen("UNLOGGED ", "", 1);
            }
        }
    }
}

/// 14 gave each range type a multirange type, which it names like this (`makeMultirangeTypeName`).
fn name_multirange(object: &mut Object) {
    let mut quoted = false;
    let dot = object.identity.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '.' && !quoted
    });
    let Some(schema) = dot.and_then(|(at, _)| object.identity[..at].strip_prefix("TYPE ")) else { return };
    let name = match object.name.contains("range") {
        true => object.name.replacen("range", "multirange", 1),
        false => format!("{}_multirange", clipped(&object.name, LONGEST_NAME - "_multirange".len())),
    };
    let qualified = format!("{schema}.{}", ident(clipped(&name, LONGEST_NAME)));
    for sql in object.create.iter_mut().filter(|sql| sql.contains(" AS RANGE (\n    subtype = ")) {
        // Behind the subtype, as a newer server's definitions have it.
        if let Some(at) = sql.match_indices('\n').nth(1).map(|(at, _)| at) {
            let comma = if sql[..at].ends_with(',') { "" } else { "," };
            let more = if comma.is_empty() { "," } else { "" };
            sql.insert_str(at, &format!("{comma}\n    multirange_type_name = {qualified}{more}"));
        }
    }
}

/// 17 gave names to domains' not-null constraints, which it chooses like this (`makeObjectName`).
fn name_not_null(object: &mut Object) {
    const WORDS: &str = " NOT NULL";
    const LABEL: &str = "_not_null";
    let name = ident(&format!("{}{LABEL}", clipped(&object.name, LONGEST_NAME - LABEL.len())));
    let Some(sql) = object.create.first_mut().filter(|sql| sql.starts_with("CREATE DOMAIN ")) else { return };
    let before_checks = sql.find(&format!("{WORDS}\n    CONSTRAINT "));
    let at = before_checks.or_else(|| sql.strip_suffix(WORDS).map(str::len));
    if let Some(at) = at.filter(|_| !sql.contains(&format!("CONSTRAINT {name} "))) {
        sql.insert_str(at, &format!(" CONSTRAINT {name}"));
    }
}

/// The beginning of a name that fits into so many bytes.
fn clipped(name: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    &name[..end.unwrap_or_default()]
}

/// Up to 14 everybody may make objects in the schema `public` of a new database, and its privileges are said from nothing;
/// since 15 from the USAGE that everybody has.
fn privileges_of_public(objects: &mut [Object], to: u32) {
    let nothing = "REVOKE ALL ON SCHEMA public FROM PUBLIC";
    let no_usage = "REVOKE USAGE ON SCHEMA public FROM PUBLIC";
    let usage = "GRANT USAGE ON SCHEMA public TO PUBLIC";
    let grant = |sql: &str| Grant { sql: sql.to_owned(), grantor: None, roles: Vec::new() };
    for object in objects.iter_mut().filter(|o| o.identity == "SCHEMA public") {
        let all = &mut object.privileges;
        if to >= 150_000 {
            let has_usage = all.iter().any(|g| g.sql == usage);
            for change in all.iter_mut().filter(|g| g.sql == nothing) {
                change.sql = no_usage.to_owned();
            }
            all.retain(|g| !has_usage || (g.sql != usage && g.sql != no_usage));
        } else if let Some(change) = all.iter_mut().find(|g| g.sql == no_usage) {
            change.sql = nothing.to_owned();
        } else {
            all.splice(..0, [grant(nothing), grant(usage)]);
        }
    }
}

/// 15 has unlogged sequences, and those of an unlogged table's columns become that unless it is told otherwise.
fn persistence_of_sequences(objects: &mut [Object], to: u32) {
    let unlogged: HashSet<(Option<String>, String)> = objects
        .iter()
        .filter(|o| o.create.first().is_some_and(|sql| sql.starts_with("CREATE UNLOGGED TABLE ")))
        .map(|o| (o.schema.clone(), o.name.clone()))
        .collect();
    for object in objects.iter_mut().filter(|o| o.kind == Kind::Sequence) {
        let of_unlogged =
            object.table.clone().is_some_and(|(schema, name)| unlogged.contains(&(Some(schema), name)));
        let Some(sql) = object.create.first_mut() else { continue };
        if to < 150_000 {
            *sql = sql.replacen("CREATE UNLOGGED SEQUENCE ", "CREATE SEQUENCE ", 1);
            *sql = sql.replacen("\n    UNLOGGED", "", 1).replacen("\n    LOGGED", "", 1);
        } else if of_unlogged && sql.contains(" AS IDENTITY (\n    SEQUENCE NAME ") {
            // Behind its name: an option to a line.
            let head = sql.match_indices('\n').nth(1).map(|(at, _)| at);
            sql.insert_str(head.unwrap_or(sql.len()), "\n    LOGGED");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(kind: Kind, name: &str, create: &str, from: u32, to: u32) -> String {
        let mut object = Object::new(kind, format!("TYPE public.{name}"), Some("public"), name);
        object.create = vec![create.to_owned()];
        let mut all = [object];
        to_version(&mut all, from, to);
        all[0].create[0].clone()
    }

    #[test]
    fn range_types_name_their_multiranges_as_the_server_would() {
        let long = "é".repeat(31);
        for (name, multirange) in [
            ("floats", "floats_multirange".to_owned()),
            ("a range or range", "\"a multirange or range\"".to_owned()),
            (&long, format!("\"{}_multirange\"", "é".repeat(26))),
        ] {
            for (more, behind) in [("", ""), (",\n    subtype_diff = d", ",\n    subtype_diff = d")] {
                let sql = format!("CREATE TYPE public.x AS RANGE (\n    subtype = integer{more}\n)");
                let should = format!(
                    "CREATE TYPE public.x AS RANGE (\n    subtype = integer,\n    multirange_type_name = public.{multirange}{behind}\n)"
                );
                assert_eq!(adapted(Kind::Type, name, &sql, 130_000, 140_000), should);
            }
        }
    }

    #[test]
    fn not_null_of_a_domain_gets_the_name_that_the_server_would_choose() {
        let check = "\n    CONSTRAINT c CHECK ((VALUE <> 'x NOT NULL'))";
        for more in ["", check] {
            let sql = format!("CREATE DOMAIN public.d AS text NOT NULL{more}");
            let should = format!("CREATE DOMAIN public.d AS text CONSTRAINT d_not_null NOT NULL{more}");
            assert_eq!(adapted(Kind::Domain, "d", &sql, 160_000, 180_000), should);
            let nullable = format!("CREATE DOMAIN public.d AS text{more}");
            assert_eq!(adapted(Kind::Domain, "d", &nullable, 160_000, 180_000), nullable);
        }
    }
}
