//! Which objects a person means by a name.

use super::{Kind, Object};
use crate::selection::{Pattern, PatternError};

/// The objects that `name` means, in their order: those of that name with all that belongs to them, such as a table's
/// indexes and triggers, or all functions of a name whatever their arguments.
///
/// A name is a pattern as of tables (a bare one means schema `public`, or what is in no schema); or an identity, with
/// or without its kind, such as `FUNCTION public.area(integer)` or `area(integer)`.
pub fn named<'a>(objects: &'a [Object], name: &str) -> Result<Vec<&'a Object>, PatternError> {
    let exact: Vec<&Object> = objects.iter().filter(|o| is_identity(o, name)).collect();
    // Of a table its name is wanted with all that belongs to it; a declaration comes with what it declares.
    if !exact.is_empty() && !exact.iter().any(|o| o.kind.is_relation()) {
        return Ok(exact);
    }
    let belongs_to_exact = |object: &Object| {
        exact.iter().any(|e| {
            let own = (e.schema.as_deref(), e.name.as_str());
            let table = object.table.as_ref().map(|(schema, name)| (Some(schema.as_str()), name.as_str()));
            (e.kind == object.kind && own == (object.schema.as_deref(), object.name.as_str()))
                || table == Some(own)
        })
    };
    if !exact.is_empty() {
        return Ok(objects.iter().filter(|o| belongs_to_exact(o)).collect());
    }
    let pattern = Pattern::parse(name)?;
    let bare = pattern.is_bare();
    let means = |object: &&Object| {
        let own = match &object.schema {
            Some(schema) => pattern.matches(schema, &object.name),
            None if object.table.is_some() => false,
            None => bare && pattern.matches("public", &object.name),
        };
        own || object.table.as_ref().is_some_and(|(schema, table)| pattern.matches(schema, table))
    };
    let domains: Vec<String> = objects
        .iter()
        .filter(|o| o.kind == Kind::Domain && means(o))
        .map(|domain| format!(" ON {}", domain.identity))
        .collect();
    let of_domain = |object: &Object| {
        object.kind == Kind::Constraint && domains.iter().any(|domain| object.identity.ends_with(domain))
    };
    Ok(objects.iter().filter(|o| means(o) || of_domain(o)).collect())
}

/// Whether `name` is the object's identity, or its identity without the kind; `public.` may be left out of that.
fn is_identity(object: &Object, name: &str) -> bool {
    if object.identity == name {
        return true;
    }
    let kind = object.kind.one().to_uppercase();
    let Some(rest) = object.identity.strip_prefix(&kind).and_then(|rest| rest.strip_prefix(' ')) else {
        return false;
    };
    let has_arguments = matches!(object.kind, Kind::Function | Kind::Procedure | Kind::Aggregate);
    has_arguments && (is_call(rest, name) || rest.strip_prefix("public.").is_some_and(|r| is_call(r, name)))
}

/// Whether `name` is the identity's `function(arguments)`, with names and modes of arguments or without.
fn is_call(identity: &str, name: &str) -> bool {
    let arguments = |text: &str| -> Option<(String, Vec<String>)> {
        let (function, arguments) = text.strip_suffix(')')?.split_once('(')?;
        Some((function.to_owned(), arguments.split(',').map(|a| a.trim().to_owned()).collect()))
    };
    let (Some((function, full)), Some((wanted, given))) = (arguments(identity), arguments(name)) else {
        return false;
    };
    let ends_with = |long: &str, short: &str| {
        long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with(' '))
    };
    let is_argument = |(full, given): (&String, &String)| ends_with(full, given) || ends_with(given, full);
    function == wanted && full.len() == given.len() && full.iter().zip(&given).all(is_argument)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn object(kind: Kind, identity: &str, schema: Option<&str>, name: &str, table: Option<&str>) -> Object {
        let mut object = Object::new(kind, identity, schema, name);
        object.table = table.map(|t| ("public".to_owned(), t.to_owned()));
        object
    }

    fn all() -> Vec<Object> {
        let public = Some("public");
        vec![
            object(Kind::Schema, "SCHEMA users", None, "users", None),
            object(Kind::Function, "FUNCTION public.area(integer)", public, "area", None),
            object(Kind::Function, "FUNCTION public.area(a text)", public, "area", None),
            object(Kind::Table, "TABLE public.users", public, "users", None),
            object(Kind::Table, "TABLE auth.users", Some("auth"), "users", None),
            object(Kind::Index, "INDEX public.users_name", public, "users_name", Some("users")),
            object(Kind::Trigger, "TRIGGER log ON public.users", None, "log", Some("users")),
        ]
    }

    fn found(name: &str) -> Vec<String> {
        named(&all(), name).unwrap().iter().map(|o| o.identity.clone()).collect()
    }

    #[test]
    fn a_table_comes_with_all_that_belongs_to_it() {
        let users = ["TABLE public.users", "INDEX public.users_name", "TRIGGER log ON public.users"];
        assert_eq!(found("public.users"), users);
        assert_eq!(found("TABLE public.users"), users);
        assert_eq!(found("users"), [&["SCHEMA users"], &users[..]].concat());
        assert_eq!(found("auth.*"), ["TABLE auth.users"]);
        assert_eq!(found("users_name"), ["INDEX public.users_name"]);
    }

    #[test]
    fn a_function_is_meant_by_its_name_or_by_its_arguments_too() {
        assert_eq!(found("area").len(), 2);
        for name in ["FUNCTION public.area(a text)", "public.area(a text)", "area(text)"] {
            assert_eq!(found(name), ["FUNCTION public.area(a text)"]);
        }
        assert!(found("area(bigint)").is_empty() && found("nothing").is_empty());
    }
}
