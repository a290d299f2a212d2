//! Which of the objects that are removed take a statement of their own, and which go along with their table.

use std::collections::{BTreeSet, HashMap};

use crate::schema::{Kind, Object};

/// Splits the objects at `removed`: those that take a statement, the last first, and those that go along.
///
/// What belongs to a table goes with it. Not so where it needs something that is removed before the table: a check by a
/// function that takes the table's rows, a foreign key to another table. Nor does a sequence stay a column's that another
/// table counts by, too.
pub fn split(objects: &[Object], removed: &BTreeSet<usize>) -> (Vec<usize>, Vec<usize>) {
    let holds =
        |o: &Object| matches!(o.kind, Kind::Table | Kind::ForeignTable | Kind::View | Kind::MaterializedView);
    let holders: HashMap<(&str, &str), usize> = removed
        .iter()
        .map(|n| (*n, &objects[*n]))
        .filter(|(_, o)| holds(o))
        .map(|(n, o)| ((o.schema.as_deref().unwrap_or_default(), o.name.as_str()), n))
        .collect();
    let holder = |o: &Object| {
        let (schema, name) = o.table.as_ref().filter(|_| !holds(o))?;
        holders.get(&(schema.as_str(), name.as_str())).copied()
    };
    // The tables that need each sequence.
    let mut counting: HashMap<usize, BTreeSet<usize>> = HashMap::new();
    for n in removed {
        let table = if holds(&objects[*n]) { Some(*n) } else { holder(&objects[*n]) };
        for need in objects[*n].needs.iter().map(|need| *need as usize) {
            if let (Some(table), Kind::Sequence) = (table, objects[need].kind) {
                counting.entry(need).or_default().insert(table);
            }
        }
    }
    let shares = |object: &Object| {
        let mut needs = object.needs.iter().map(|need| *need as usize);
        object.kind == Kind::SequenceOwner && needs.any(|n| counting.get(&n).is_some_and(|t| t.len() > 1))
    };
    let goes_along = |object: &Object| {
        let Some(table) = holder(object).filter(|_| !shares(object)) else { return false };
        let is_in_the_way =
            |need: usize| need > table && removed.contains(&need) && holder(&objects[need]) != Some(table);
        !object.needs.iter().any(|need| is_in_the_way(*need as usize))
    };
    removed.iter().rev().partition(|n| {
        let object = &objects[**n];
        !object.drop.is_empty() && !goes_along(object)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind, name: &str, table: Option<&str>, needs: &[u32]) -> Object {
        let mut object = Object::new(kind, format!("{} {name}", kind.one()), Some("public"), name);
        object.table = table.map(|t| ("public".to_owned(), t.to_owned()));
        object.drop = vec![format!("DROP {name}")];
        object.needs = needs.to_vec();
        object
    }

    #[test]
    fn what_stands_in_the_way_of_something_else_does_not_wait_for_its_table() {
        let all = [
            object(Kind::Table, "a", None, &[]),
            object(Kind::Function, "takes_rows_of_a", None, &[0]),
            object(Kind::Table, "b", None, &[]),
            object(Kind::Constraint, "calls_that", Some("a"), &[0, 1]),
            object(Kind::Index, "i", Some("a"), &[0]),
            object(Kind::ForeignKey, "to_b", Some("a"), &[0, 2]),
            object(Kind::ForeignKey, "to_a", Some("b"), &[0, 2]),
        ];
        let (statements, along) = split(&all, &(0..all.len()).collect());
        assert_eq!((statements, along), (vec![5, 3, 2, 1, 0], vec![6, 4]));
        let all = [
            object(Kind::Sequence, "s", None, &[]),
            object(Kind::Table, "a", None, &[0]),
            object(Kind::Table, "b", None, &[0]),
            object(Kind::SequenceOwner, "s", Some("b"), &[0, 2]),
        ];
        assert_eq!(split(&all, &(0..all.len()).collect()), (vec![3, 2, 1, 0], vec![]));
        assert_eq!(split(&all, &[0, 2, 3].into()), (vec![2, 0], vec![3]));
        let all = [
            object(Kind::Table, "a", None, &[]),
            object(Kind::Function, "takes_rows_of_a", None, &[0]),
            object(Kind::Table, "b", None, &[]),
            object(Kind::Constraint, "calls_that", Some("a"), &[0, 1]),
            object(Kind::Index, "i", Some("a"), &[0]),
        ];
        // The function stays, so that nothing has to make room for it.
        let (statements, along) = split(&all, &[0, 3, 4].into());
        assert_eq!((statements, along), (vec![0], vec![4, 3]));
    }
}
