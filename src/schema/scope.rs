//! The part of a schema that goes with chosen tables.

use std::collections::{HashMap, HashSet};

use super::{Kind, Object, Section};
use crate::selection::TableFilter;

/// Objects that were chosen, and what is to be said about it.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// The objects, with all that they need.
    pub objects: Vec<Object>,
    /// Identities of foreign keys that refer to a table that is not chosen, and are not among the objects.
    pub left_out: Vec<String>,
    /// Tables whose rows were not chosen, and which are among the objects because another needs them: each with that.
    pub without_rows: Vec<(String, String)>,
}

/// The objects that go with what `filter` chooses. Where it includes tables (views, sequences): those, what belongs to
/// them, and all that these need. Where it only excludes some: everything but those.
pub fn choose(objects: Vec<Object>, filter: &TableFilter) -> Chosen {
    if filter.has_includes() {
        with_tables(objects, |schema, name| filter.wants(schema, name))
    } else if filter.is_all() {
        Chosen { objects, ..Chosen::default() }
    } else {
        without_tables(objects, |schema, name| filter.excludes(schema, name))
    }
}

/// The table (view, sequence) that an object is or belongs to, by schema and name.
fn table_of(object: &Object) -> Option<(&str, &str)> {
    match (&object.table, &object.schema) {
        (Some((schema, name)), _) => Some((schema, name)),
        (None, Some(schema)) if object.kind.is_relation() => Some((schema, &object.name)),
        (None, None) if object.kind == Kind::LargeObject => Some(("pg_catalog", "pg_largeobject")),
        _ => None,
    }
}

/// Whether a foreign key refers to a table for which `is_chosen` says no.
fn refers_elsewhere(objects: &[Object], at: usize, is_chosen: &[bool]) -> bool {
    let is_other = |n: &u32| {
        let n = *n as usize;
        objects.get(n).is_some_and(|o| o.kind == Kind::Table) && !is_chosen[n]
    };
    objects[at].kind == Kind::ForeignKey && objects[at].needs.iter().any(is_other)
}

fn with_tables(objects: Vec<Object>, wants: impl Fn(&str, &str) -> bool) -> Chosen {
    let is_chosen: Vec<bool> =
        objects.iter().map(|o| table_of(o).is_some_and(|(schema, name)| wants(schema, name))).collect();
    let mut left_out = Vec::new();
    let mut kept: HashSet<usize> = HashSet::new();
    let mut next: Vec<usize> = Vec::new();
    for (at, object) in objects.iter().enumerate().filter(|(at, _)| is_chosen[*at]) {
        if refers_elsewhere(&objects, at, &is_chosen) {
            left_out.push(object.identity.clone());
        } else {
            next.push(at);
        }
    }
    while let Some(at) = next.pop() {
        if kept.insert(at) {
            next.extend(objects[at].needs.iter().map(|n| *n as usize));
        }
        if next.is_empty() {
            next.extend(constraints_of_domains(&objects, &kept));
        }
    }
    Chosen { objects: keep(objects, &kept), left_out, without_rows: Vec::new() }
}

/// Constraints that stand apart from a domain that is kept: nothing needs them, and yet they are part of it.
fn constraints_of_domains(objects: &[Object], kept: &HashSet<usize>) -> Vec<usize> {
    let of_kept = |o: &Object| {
        let mut needs = o.needs.iter().map(|n| *n as usize);
        needs.any(|n| kept.contains(&n) && objects.get(n).is_some_and(|d| d.kind == Kind::Domain))
    };
    let apart = |o: &Object| o.kind == Kind::Constraint && o.table.is_none();
    (0..objects.len()).filter(|n| !kept.contains(n) && apart(&objects[*n]) && of_kept(&objects[*n])).collect()
}

fn without_tables(objects: Vec<Object>, excludes: impl Fn(&str, &str) -> bool) -> Chosen {
    let mut is_chosen: Vec<bool> =
        objects.iter().map(|o| table_of(o).is_none_or(|(schema, name)| !excludes(schema, name))).collect();
    let mut of_table: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
    for (at, object) in objects.iter().enumerate() {
        if let Some(table) = table_of(object) {
            of_table.entry(table).or_default().push(at);
        }
    }
    // With a table go its partitions and the sequences of its columns.
    let mut gone: Vec<usize> = (0..objects.len()).filter(|n| !is_chosen[*n]).collect();
    let mut parts: HashMap<usize, Vec<(&str, &str)>> = HashMap::new();
    for object in objects.iter().filter(|o| o.kind == Kind::Attachment && o.section == Section::PreData) {
        for above in &object.needs {
            parts
                .entry(*above as usize)
                .or_default()
                .extend(&object.table.as_ref().map(|(s, n)| (s.as_str(), n.as_str())));
        }
    }
    while let Some(at) = gone.pop() {
        let owned = |n: &&u32| {
            let object = objects.get(**n as usize);
            objects[at].kind == Kind::SequenceOwner && object.is_some_and(|o| o.kind == Kind::Sequence)
        };
        let sequences = objects[at].needs.iter().filter(owned).map(|n| *n as usize);
        let partitions = parts.remove(&at).unwrap_or_default();
        let partitions = partitions.iter().filter_map(|table| of_table.get(table)).flatten().copied();
        for more in sequences.chain(partitions).collect::<Vec<_>>() {
            if std::mem::replace(&mut is_chosen[more], false) {
                gone.push(more);
            }
        }
    }
    // What others need stays after all, as the whole that it is, but without rows.
    let has_rows = is_chosen.clone();
    let mut without_rows = Vec::new();
    let mut kept: HashSet<usize> = HashSet::new();
    let (keys, mut next): (Vec<usize>, Vec<usize>) = (0..objects.len())
        .rev()
        .filter(|n| is_chosen[*n])
        .partition(|n| objects[*n].kind == Kind::ForeignKey);
    while let Some(at) = next.pop() {
        if objects[at].kind == Kind::ForeignKey || !kept.insert(at) {
            continue;
        }
        for need in objects[at].needs.iter().map(|n| *n as usize) {
            if std::mem::replace(&mut is_chosen[need], true) {
                continue;
            }
            next.push(need);
            let table = table_of(&objects[need]);
            for more in table.and_then(|table| of_table.get(&table)).into_iter().flatten() {
                if objects[*more].kind == Kind::Refresh {
                    continue;
                }
                is_chosen[*more] = true;
                next.push(*more);
                if matches!(objects[*more].kind, Kind::Table | Kind::MaterializedView) {
                    without_rows.push((objects[*more].identity.clone(), objects[at].identity.clone()));
                }
            }
        }
    }
    // Rows cannot refer to rows that are not there. (Those of tables without rows need nothing but their tables.)
    let mut left_out = Vec::new();
    let of_rowless = (0..objects.len()).filter(|n| is_chosen[*n] && !has_rows[*n]);
    let of_rowless = of_rowless.filter(|n| objects[*n].kind == Kind::ForeignKey);
    for at in keys.into_iter().rev().chain(of_rowless) {
        if refers_elsewhere(&objects, at, if has_rows[at] { &has_rows } else { &is_chosen }) {
            left_out.push(objects[at].identity.clone());
        } else {
            kept.insert(at);
        }
    }
    Chosen { objects: keep(objects, &kept), left_out, without_rows }
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn object(kind: Kind, name: &str, table: Option<&str>, needs: &[u32]) -> Object {
        let mut object = Object::new(kind, format!("{} {name}", kind.one()), Some("public"), name);
        object.table = table.map(|t| ("public".to_owned(), t.to_owned()));
        object.needs = needs.to_vec();
        object
    }

    fn filter(tables: &str, exclude: &str) -> TableFilter {
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        TableFilter::parse(&list(tables), &list(exclude)).unwrap()
    }

    fn names(chosen: &Chosen) -> Vec<&str> {
        chosen.objects.iter().map(|o| o.name.as_str()).collect()
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
        let chosen = choose(all, &filter("a", ""));
        assert_eq!(names(&chosen), ["mood", "a", "a_i"]);
        assert_eq!(chosen.objects[2].needs, [1]);
        assert_eq!(chosen.left_out, ["foreign key a_b"]);
    }

    #[test]
    fn a_domain_brings_the_constraints_that_stand_apart_from_it() {
        let all = vec![
            object(Kind::Domain, "email", None, &[]),
            object(Kind::Domain, "other", None, &[]),
            object(Kind::Table, "a", None, &[0]),
            object(Kind::Constraint, "looks_right", None, &[0]),
            object(Kind::Constraint, "of_the_other", None, &[1]),
        ];
        assert_eq!(names(&choose(all, &filter("a", ""))), ["email", "a", "looks_right"]);
    }

    #[test]
    fn all_but_the_excluded_tables_stays_and_these_stay_without_rows_where_something_needs_them() {
        let all = || {
            vec![
                object(Kind::Function, "f", None, &[]),
                object(Kind::Sequence, "a_id_seq", None, &[]),
                object(Kind::Table, "a", None, &[1]),
                object(Kind::Table, "b", None, &[]),
                object(Kind::Table, "b_1", None, &[]),
                object(Kind::SequenceOwner, "a_id_seq", Some("a"), &[1, 2]),
                object(Kind::Attachment, "b_1", Some("b_1"), &[3, 4]),
                object(Kind::Index, "a_i", Some("a"), &[2]),
                object(Kind::ForeignKey, "b_a", Some("b"), &[2, 3]),
            ]
        };
        let chosen = choose(all(), &filter("", "a"));
        assert_eq!(names(&chosen), ["f", "b", "b_1", "b_1"]);
        assert_eq!(chosen.left_out, ["foreign key b_a"]);
        let chosen = choose(all(), &filter("", "b"));
        assert_eq!(names(&chosen), ["f", "a_id_seq", "a", "a_id_seq", "a_i"]);
        let mut with_view = all();
        with_view.push(object(Kind::View, "v", None, &[2]));
        let chosen = choose(with_view, &filter("", "a"));
        assert_eq!(chosen.objects.len(), 9);
        assert_eq!(chosen.left_out, ["foreign key b_a"]);
        assert_eq!(chosen.without_rows, [("table a".to_owned(), "view v".to_owned())]);
    }
}
