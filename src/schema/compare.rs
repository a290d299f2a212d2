//! What differs between two schemas.

use std::collections::HashMap;

use super::{Kind, Object};

/// What differs between the objects of two schemas, each list in the order of its schema.
#[derive(Debug, Default, PartialEq)]
pub struct Comparison<'a> {
    /// Only in the new one.
    pub added: Vec<&'a Object>,
    /// Only in the old one.
    pub removed: Vec<&'a Object>,
    /// In both, and not the same.
    pub changed: Vec<Change<'a>>,
    /// How many are the same in both.
    pub same: usize,
}

/// An object that is not the same in both schemas.
#[derive(Debug, PartialEq)]
pub struct Change<'a> {
    /// As the old schema has it.
    pub old: &'a Object,
    /// As the new schema has it.
    pub new: &'a Object,
    /// What differs: see [`differences`].
    pub what: Vec<&'static str>,
}

/// What differs between two objects of one identity: `definition`, `owner`, `comments` (with security labels) and
/// `privileges`, none where they are the same.
///
/// Comments and privileges that only stand in another order are the same: the order is that in which they were given.
pub fn differences(a: &Object, b: &Object) -> Vec<&'static str> {
    let definition = |o: &Object| (o.kind, o.create.clone(), o.tablespace.clone(), o.access_method.clone());
    let mut what = Vec::new();
    if definition(a) != definition(b) {
        what.push("definition");
    }
    if a.owner != b.owner {
        what.push("owner");
    }
    if sorted(&a.comments) != sorted(&b.comments) {
        what.push("comments");
    }
    let grants = |o: &Object| {
        let mut all: Vec<_> = o.privileges.iter().map(|g| (g.sql.clone(), g.grantor.clone())).collect();
        all.sort();
        all
    };
    if grants(a) != grants(b) {
        what.push("privileges");
    }
    what
}

/// Compares all objects of two schemas by their identities. Large objects are left out: they count as rows.
pub fn compare<'a>(old: &'a [Object], new: &'a [Object]) -> Comparison<'a> {
    let before: HashMap<&str, &Object> = old.iter().map(|o| (o.identity.as_str(), o)).collect();
    let after: HashMap<&str, &Object> = new.iter().map(|o| (o.identity.as_str(), o)).collect();
    let mut comparison = Comparison::default();
    for object in new.iter().filter(|o| is_compared(o)) {
        match before.get(object.identity.as_str()) {
            None => comparison.added.push(object),
            Some(other) => match differences(other, object) {
                what if what.is_empty() => comparison.same += 1,
                what => comparison.changed.push(Change { old: other, new: object, what }),
            },
        }
    }
    comparison.removed =
        old.iter().filter(|o| is_compared(o) && !after.contains_key(o.identity.as_str())).collect();
    comparison
}

/// Not what only declares another object, which follows: nobody sees the difference in a database.
fn is_compared(object: &Object) -> bool {
    match object.kind {
        Kind::LargeObject => false,
        Kind::ShellType | Kind::View => !object.identity.starts_with("SHELL OF "),
        _ => true,
    }
}

fn sorted(texts: &[String]) -> Vec<&String> {
    let mut all: Vec<&String> = texts.iter().collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Grant;

    fn table(name: &str) -> Object {
        let mut object = Object::new(Kind::Table, format!("TABLE public.{name}"), Some("public"), name);
        object.create = vec![format!("CREATE TABLE public.{name} (\n)")];
        object
    }

    fn grant(sql: &str) -> Grant {
        Grant { sql: sql.to_owned(), grantor: None, roles: Vec::new() }
    }

    #[test]
    fn each_part_of_an_object_that_differs_is_named() {
        let a = table("a");
        let mut b = a.clone();
        b.needs = vec![3];
        assert!(differences(&a, &b).is_empty());
        b.owner = Some("app".to_owned());
        b.comments = vec!["COMMENT ON TABLE public.a IS 'x'".to_owned()];
        b.privileges = vec![grant("GRANT SELECT ON TABLE public.a TO app")];
        assert_eq!(differences(&a, &b), ["owner", "comments", "privileges"]);
        b.tablespace = Some("fast".to_owned());
        assert_eq!(differences(&a, &b)[0], "definition");
    }

    #[test]
    fn grants_in_another_order_are_no_difference() {
        let (mut a, mut b) = (table("a"), table("a"));
        a.privileges = vec![grant("GRANT 1"), grant("GRANT 2")];
        b.privileges = vec![grant("GRANT 2"), grant("GRANT 1")];
        assert!(differences(&a, &b).is_empty());
    }

    #[test]
    fn objects_are_added_removed_changed_or_the_same() {
        let mut changed = table("c");
        changed.owner = Some("app".to_owned());
        let declaration =
            Object { identity: "SHELL OF VIEW public.v".to_owned(), kind: Kind::View, ..table("v") };
        let old = [table("a"), table("b"), table("c")];
        let new = [declaration, table("b"), changed, table("d")];
        let comparison = compare(&old, &new);
        assert_eq!(comparison.added, [&new[3]]);
        assert_eq!(comparison.removed, [&old[0]]);
        assert_eq!(comparison.changed, [Change { old: &old[2], new: &new[2], what: vec!["owner"] }]);
        assert_eq!(comparison.same, 1);
    }
}
