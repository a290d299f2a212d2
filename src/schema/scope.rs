//! The part of a schema that goes with chosen tables.

use std::collections::HashSet;

use super::{Kind, Object};

/// The objects that go with the tables (views, sequences) that `wants` chooses by schema and name: those themselves,
/// what belongs to them, and all that these need. A foreign key to a table that is not chosen is left out and named.
pub fn with_tables(objects: Vec<Object>, wants: impl Fn(&str, &str) -> bool) -> (Vec<Object>, Vec<String>) {
    let wanted_table = |object: &Object| {
        let (schema, name) = match (&object.table, &object.schema) {
            (Some((schema, name)), _) => (schema.as_str(), name.as_str()),
            (None, Some(schema)) if object.kind.is_relation() => (schema.as_str(), object.name.as_str()),
            (None, None) if object.kind == Kind::LargeObject => ("pg_catalog", "pg_largeobject"),
            _ => return false,
        };
        wants(schema, name)
    };
    let is_chosen: Vec<bool> = objects.iter().map(wanted_table).collect();
    let mut left_out = Vec::new();
    let mut kept: HashSet<usize> = HashSet::new();
    let mut next: Vec<usize> = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        if !is_chosen[at] {
            continue;
        }
        let table = |n: &u32| objects.get(*n as usize).is_some_and(|o| o.kind == Kind::Table);
        let strange = |n: &u32| table(n) && !is_chosen[*n as usize];
        if object.kind == Kind::ForeignKey && object.needs.iter().any(strange) {
            left_out.push(object.identity.clone());
            continue;
        }
        next.push(at);
    }
    while let Some(at) = next.pop() {
        if kept.insert(at) {
            next.extend(objects[at].needs.iter().map(|n| *n as usize));
        }
    }
    (keep(objects, &kept), left_out)
}

/// The objects at `kept`, which hold all that they need among themselves or do without it.
pub fn keep(objects: Vec<Object>, kept: &HashSet<usize>) -> Vec<Object> {
    let mut position = vec![None; objects.len()];
    let mut next = 0_u32;
    let mut all = Vec::with_capacity(kept.len());
    for (at, mut object) in objects.into_iter().enumerate() {
        if !kept.contains(&at) {
            continue;
        }
        position[at] = Some(next);
        next += 1;
        object.needs =
            object.needs.iter().filter_map(|n| position.get(*n as usize).copied().flatten()).collect();
        all.push(object);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind, name: &str, table: Option<&str>, needs: &[u32]) -> Object {
        let mut object = Object::new(kind, format!("{} {name}", kind.one()), Some("public"), name);
        object.table = table.map(|t| ("public".to_owned(), t.to_owned()));
        object.needs = needs.to_vec();
        object
    }

    #[test]
    fn chosen_tables_bring_what_they_need_and_leave_other_tables_alone() {
        let all = vec![
            object(Kind::Type, "mood", None, &[]),
            object(Kind::Type, "unused", None, &[]),
            object(Kind::Table, "a", None, &[0]),
            object(Kind::Table, "b", None, &[]),
            object(Kind::Index, "a_i", Some("a"), &[2]),
            object(Kind::Index, "b_i", Some("b"), &[3]),
            object(Kind::ForeignKey, "a_b", Some("a"), &[2, 3]),
        ];
        let (kept, left_out) = with_tables(all, |_, name| name == "a");
        let names: Vec<&str> = kept.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["mood", "a", "a_i"]);
        assert_eq!(kept[2].needs, [1]);
        assert_eq!(left_out, ["foreign key a_b"]);
    }
}
