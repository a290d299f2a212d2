//! Which of the objects that are removed take a statement of their own, and which go along with their table; which of
//! those that the archive does not have come back.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::places::{is_for_all_tables, publication};
use super::plan::{Known, is_table};
use crate::failure::Failure;
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

/// Of the objects at `removed` that are not archived, those that are to be put back, in their order, and what stands in
/// the way of that: what an object needs that does not come back.
///
/// What was `chosen` goes for good. What belonged to a table that is replaced, or to a view that goes, belonged to that
/// as it was. Only what is `undone`, and a column's sequence, is surely missed by what needs it: in the place of
/// anything else the archive may have something that does as well.
pub fn coming_back(
    objects: &[Object],
    removed: &BTreeSet<usize>,
    chosen: &BTreeSet<usize>,
    undone: Option<&BTreeSet<usize>>,
    known: &Known<'_>,
) -> (Vec<usize>, Vec<String>) {
    let archived = known.archived;
    let is_archived = |n: usize| archived.contains_key(objects[n].identity.trim_start_matches("SHELL OF "));
    let table_goes = |n: usize| removed.contains(&n) && is_table(&objects[n]);
    let goes = |n: usize| chosen.contains(&n) && !is_archived(n);
    let is_view = |n: usize| matches!(objects[n].kind, Kind::View | Kind::MaterializedView);
    let named = |n: usize| (objects[n].schema.as_deref().unwrap_or_default(), objects[n].name.as_str());
    let holders: HashSet<(&str, &str)> = removed
        .iter()
        .filter(|n| table_goes(**n) || (goes(**n) && is_view(**n)))
        .map(|n| named(*n))
        .collect();
    let replaced: HashSet<(&str, &str)> =
        removed.iter().filter(|n| table_goes(**n) && is_archived(**n)).map(|n| named(*n)).collect();
    let owners = removed.iter().map(|n| &objects[*n]).filter(|o| o.kind == Kind::SequenceOwner);
    let of_columns: HashSet<usize> = owners
        .map(|o| o.needs.iter().map(|need| *need as usize))
        .filter(|needs| needs.clone().any(table_goes))
        .flatten()
        .collect();
    let belongs = |n: usize| {
        let object = &objects[n];
        let holder = object.table.as_ref().map(|(schema, name)| (schema.as_str(), name.as_str()));
        if object.kind == Kind::PublicationMember {
            // A place in a publication is the publication's, unless that takes all tables from now on.
            let publication = publication(object).map(|name| format!("PUBLICATION {name}"));
            let publication = publication.and_then(|identity| archived.get(identity.as_str()));
            if publication.is_some_and(|p| is_for_all_tables(p)) {
                return true;
            }
            if holder.is_some_and(|holder| replaced.contains(&holder)) {
                return false;
            }
        }
        // Who may use what an extension brings is no matter without it.
        let mut needs = object.needs.iter().map(|need| *need as usize);
        if object.kind == Kind::Privileges && needs.any(|n| objects[n].kind == Kind::Extension && goes(n)) {
            return true;
        }
        // The archive has the foreign key, and only because its other table was not chosen it is not among the objects.
        let is_known = |(schema, table): (&str, &str)| {
            let key = (schema.to_owned(), table.to_owned(), object.name.clone());
            known.of_tables.foreign_keys.contains(&key)
        };
        if object.kind == Kind::ForeignKey && holder.is_some_and(is_known) {
            return false;
        }
        holder.is_some_and(|holder| holders.contains(&holder))
            || (object.kind == Kind::Sequence && of_columns.contains(&n))
    };
    let mut missed: HashSet<usize> = HashSet::new();
    let (mut back, mut in_the_way) = (Vec::new(), Vec::new());
    for n in removed.iter().copied().filter(|n| !is_archived(*n)) {
        if goes(n) || belongs(n) {
            if objects[n].kind == Kind::Sequence || undone.is_some_and(|undone| undone.contains(&n)) {
                missed.insert(n);
            }
            continue;
        }
        match objects[n].needs.iter().find(|need| missed.contains(&(**need as usize))) {
            None => back.push(n),
            Some(need) => {
                let cause = &objects[*need as usize].identity;
                in_the_way.push(format!("{} needs {cause}, which goes", objects[n].identity));
                missed.insert(n);
            }
        }
    }
    (back, in_the_way)
}

/// The failure that names what is in the way of a replacement, of `--clean` or of a `rollback`.
pub fn blocked_failure(blocked: &[String], rollback: bool, clean: bool) -> Failure {
    let (what, next) = match (rollback, clean) {
        (true, _) => (
            "the restore cannot be undone while what came later needs what it made",
            "drop these first, or change them so that they need it no more: a rollback removes nothing that came later",
        ),
        (false, true) => (
            "what is to be removed is needed by tables of the target that are not, whose rows would be lost",
            "drop these tables or take them off first (ALTER TABLE … DETACH PARTITION), if nobody needs them; or restore them as well, without --table and --exclude",
        ),
        (false, false) => (
            "objects cannot be replaced while others need them",
            "change them by hand (ALTER …), drop what needs them, leave them as they are with --if-exists skip, or replace the tables as well: --clean",
        ),
    };
    Failure::failed(format!("{what}:\n    {}", blocked.join("\n    ")))
        .state("the target is untouched")
        .next(next)
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
