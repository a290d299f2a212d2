//! A plan of rows that were chosen one by one: which tables they make, and units that name them by where they stand.
//!
//! The leader alone evaluates conditions, once, and workers are told the rows: a time such as `now()` is one, and names in a
//! condition mean what they mean in the application, which must not change how the workers' values are printed.

use std::collections::{BTreeSet, HashMap, HashSet};

use tokio_postgres::Client;

use super::copy::statement;
use super::plan::{Part, Plan, Rows, Taken, Unit, Way, collect_parts};
use super::{BackupOptions, Choice};
use crate::closure::Tree;
use crate::closure::live::{self, LiveRows, Start};
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, Relation, RelationKind};
use crate::postgres::quote;
use crate::postgres::tid::{Tid, TidRange};
use crate::selection::{RowChoice, TableFilter};

/// Rows that one unit names: a statement of some tens of kilobytes.
const CHOSEN_TOGETHER: usize = 4000;

/// What a row of a unit that names its rows is taken to have, in bytes.
const CHOSEN_ROW_BYTES: u64 = 200;

/// The tables, with their partitions, in which rows may be that are chosen by foreign keys, and in which they are looked for.
pub(super) fn reach(catalog: &Catalog, options: &BackupOptions) -> Result<BTreeSet<u32>, Failure> {
    match &options.choice {
        Choice::Entity { scope, .. } => live::reach(catalog, scope),
        _ => Ok(live::reach_up(catalog, &starts(catalog, options))),
    }
}

/// Finds the rows, in the transaction that holds the tables.
pub(super) async fn find(
    client: &Client,
    catalog: &Catalog,
    options: &BackupOptions,
) -> Result<(LiveRows, Tree), Failure> {
    match &options.choice {
        Choice::Entity { scope, .. } => live::entity(client, catalog, scope).await,
        _ => live::references(client, catalog, &starts(catalog, options)).await,
    }
}

/// The tables that are asked for, whole or by a condition.
fn starts(catalog: &Catalog, options: &BackupOptions) -> Vec<Start> {
    let parts = Plan::new(catalog, &options.filter, options.way()).parts;
    let start = |part: &Part| {
        let condition = options.rows.condition(&part.table.schema, &part.table.name);
        let condition = condition.map(|condition| match part.is_all() {
            true => condition,
            false => within(catalog, part, &condition),
        });
        Start { relation: part.relation, condition }
    };
    parts.iter().map(start).collect()
}

/// The condition for those rows of an extension's table that are the user's. What says which these are may be any text that
/// can stand behind the table's name.
fn within(catalog: &Catalog, part: &Part, condition: &str) -> String {
    let table = catalog.relation(part.relation).map(Relation::quoted).unwrap_or_default();
    let users = part.table.condition.as_deref().unwrap_or_default();
    format!(
        "({condition}) AND ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT ctid FROM ONLY {table} {users}\n))"
    )
}

/// The tables of which only some rows are asked for, by a condition.
pub(super) fn conditional(catalog: &Catalog, options: &BackupOptions) -> HashSet<u32> {
    match options.rows.conditions.is_empty() {
        true => HashSet::new(),
        false => {
            let starts = starts(catalog, options).into_iter();
            starts.filter(|start| start.condition.is_some()).map(|start| start.relation).collect()
        }
    }
}

/// The rows of these tables that meet their conditions, in the transaction that holds the tables. A partition without one
/// has an empty list.
pub(super) async fn meeting(
    client: &Client,
    catalog: &Catalog,
    options: &BackupOptions,
) -> Result<LiveRows, Failure> {
    if options.rows.conditions.is_empty() {
        return Ok(LiveRows::new());
    }
    let starts: Vec<Start> =
        starts(catalog, options).into_iter().filter(|start| start.condition.is_some()).collect();
    let mut rows = live::meeting(client, catalog, &starts).await?;
    for relation in starts.iter().filter_map(|start| catalog.relation(start.relation)) {
        for leaf in catalog.leaves(relation) {
            rows.entry(leaf.oid).or_default();
        }
    }
    Ok(rows)
}

/// Refuses conditions that no row meets: a typing error must not make an empty backup.
pub(super) fn check_met(
    catalog: &Catalog,
    conditional: &HashSet<u32>,
    rows: &LiveRows,
) -> Result<(), Failure> {
    let tables: Vec<&Relation> = catalog.relations.iter().filter(|r| conditional.contains(&r.oid)).collect();
    let has_rows = |leaf: &Relation| rows.get(&leaf.oid).is_some_and(|rows| !rows.is_empty());
    if tables.is_empty() || tables.iter().any(|table| catalog.leaves(table).into_iter().any(has_rows)) {
        return Ok(());
    }
    let names: Vec<String> = tables.iter().map(|table| table.shown()).collect();
    Err(Failure::usage(format!("no row of {} meets its condition", names.join(", ")))
        .state("nothing was written")
        .next("see what there is with psql, and mend --where and --param"))
}

/// Refuses conditions and columns that mean nothing in this backup.
pub(super) fn check(catalog: &Catalog, plan: &Plan, options: &BackupOptions) -> Result<(), Failure> {
    if options.rows.is_all() {
        return Ok(());
    }
    let asked: Vec<&Relation> =
        starts(catalog, options).iter().filter_map(|start| catalog.relation(start.relation)).collect();
    let mut unmatched =
        options.rows.conditions.unmatched(asked.iter().map(|r| (r.schema.as_str(), r.name.as_str())));
    let tables = || plan.parts.iter().map(|part| &part.table);
    unmatched.extend(options.rows.columns.unmatched(tables().map(|t| (t.schema.as_str(), t.name.as_str()))));
    if !unmatched.is_empty() {
        let list: Vec<String> = unmatched.iter().map(|p| format!("{p:?}")).collect();
        return Err(Failure::usage(format!("no table that is backed up matches {}", list.join(", ")))
            .state("nothing was written")
            .next("--where and --columns are about tables that are backed up: see them with pgkeep show; a partitioned table goes by its own name, not by those of its partitions"));
    }
    for table in tables() {
        let Some(columns) = options.rows.columns(&table.schema, &table.name) else { continue };
        let is_there = |name: &&String| !table.columns.iter().any(|c| c.name == **name);
        let unknown: Vec<String> = columns.iter().filter(is_there).map(|name| quote::ident(name)).collect();
        if !unknown.is_empty() {
            return Err(Failure::usage(format!(
                "{}: --columns names {}, which its rows do not have",
                table.shown(),
                unknown.join(", ")
            ))
            .state("nothing was written")
            .next("mind capitals; generated columns are computed by the server, and not in any backup"));
        }
        if table.key.is_empty() {
            return Err(Failure::usage(format!(
                "{}: it has no key, by which rows could be found of which only some columns are backed up",
                table.shown()
            ))
            .state("nothing was written")
            .next("take it whole, leave it out with --exclude, or give it a primary key"));
        }
    }
    Ok(())
}

/// What has to be locked so that none of these tables goes: whole trees, but before version 18 no foreign table can be.
pub(super) fn lockable<'a>(catalog: &'a Catalog, reached: &BTreeSet<u32>) -> Vec<&'a Relation> {
    let tops = reached.iter().filter_map(|oid| catalog.relation(*oid)).filter(|r| r.partition_of.is_none());
    tops.flat_map(|top| {
        let leaves = catalog.leaves(top);
        match leaves.iter().any(|leaf| leaf.kind == RelationKind::Foreign) {
            true => leaves.into_iter().filter(|leaf| leaf.kind != RelationKind::Foreign).collect(),
            false => vec![top],
        }
    })
    .collect()
}

impl Plan {
    /// What the rest of a backup is about: the tables in which there are rows, beside those that were asked for.
    pub(super) fn filter(&self, asked: &BackupOptions) -> TableFilter {
        let names = self.parts.iter().map(|part| (part.table.schema.as_str(), part.table.name.as_str()));
        match asked.choice {
            Choice::Entity { .. } => TableFilter::of_tables(names),
            _ => asked.filter.clone().and_tables(names),
        }
    }

    /// Plans a backup of rows by the tables that hold them, beside the tables that `asked` wants, if any. Of these, those
    /// that are `conditional` are not taken whole.
    pub(super) fn with_chosen(
        catalog: &Catalog,
        asked: Option<&TableFilter>,
        conditional: &HashSet<u32>,
        chosen: &HashMap<u32, Vec<Tid>>,
        choice: &RowChoice,
        way: Way,
    ) -> Plan {
        let tops = || catalog.relations.iter().filter(|r| r.partition_of.is_none() && !r.left);
        let mut roots = Vec::new();
        for top in tops().filter(|_| asked.is_some()) {
            collect_parts(catalog, asked.unwrap_or(&TableFilter::default()), top, false, &mut roots);
        }
        let leaves = |root: &Relation| catalog.leaves(root).iter().map(|leaf| leaf.oid).collect::<Vec<_>>();
        let there: HashSet<u32> = roots.iter().flat_map(|root| leaves(root)).collect();
        let whole = roots.iter().filter(|root| !conditional.contains(&root.oid));
        let mut covered: HashSet<u32> = whole.flat_map(|root| leaves(root)).collect();
        let chosen = chosen.iter().filter(|(leaf, tids)| !covered.contains(leaf) && !tids.is_empty());
        let chosen: HashMap<u32, Vec<Tid>> = chosen.map(|(leaf, tids)| (*leaf, tids.clone())).collect();
        for top in tops() {
            // A tree of which some partitions are taken whole has the others as tables of their own.
            let is_torn = leaves(top).iter().any(|leaf| there.contains(leaf));
            let mut parts = Vec::new();
            match is_torn {
                true => parts.extend(catalog.leaves(top)),
                false => collect_parts(catalog, &TableFilter::default(), top, false, &mut parts),
            }
            let is_new = |leaf: &u32| chosen.contains_key(leaf) && !there.contains(leaf);
            parts.retain(|part| leaves(part).iter().any(is_new));
            roots.extend(parts);
        }
        // Of these, what is not chosen is not taken.
        let mut rows = chosen;
        covered.extend(rows.keys());
        for leaf in roots.iter().flat_map(|root| leaves(root)).filter(|leaf| !covered.contains(leaf)) {
            rows.insert(leaf, Vec::new());
        }
        let taken = Taken { rows: Some(&rows), choice: Some(choice) };
        Plan::of_rows(catalog, roots, Rows::Users, way, taken)
    }
}

impl Part {
    /// The units, from `place` (table, range) on, that read these rows of `leaf`.
    pub(super) fn chosen_units(
        &self,
        (table, range): (u32, u32),
        leaf: &Relation,
        rows: &[Tid],
        encoding: &str,
    ) -> Vec<Unit> {
        let unit = |(range, rows): (u32, &[Tid])| {
            let condition = format!(" WHERE {}", Tid::among(rows, "ctid"));
            let (columns, binary) = (&self.table.columns, self.binary.as_ref());
            let (copy, format) = statement(columns, binary, leaf, (&condition, false), encoding);
            let bytes = rows.len() as u64 * CHOSEN_ROW_BYTES;
            let (tids, has_tids, chosen) = (TidRange::default(), false, true);
            Unit { table, range, relation: leaf.oid, tids, has_tids, chosen, copy, format, bytes }
        };
        (range..).zip(rows.chunks(CHOSEN_TOGETHER)).map(unit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::copy::CopyFormat;
    use crate::postgres::catalog::tests::heap;

    const WAY: Way = Way { format: CopyFormat::Binary, jobs: 1, small: false, tids: false };

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        let partition = |oid| Relation { partition_of: Some(2), ..heap(oid, 10) };
        let far = Relation { kind: RelationKind::Foreign, partition_of: Some(6), ..heap(8, 0) };
        let tree = |oid| Relation { kind: RelationKind::Partitioned, ..heap(oid, 0) };
        let here = Relation { partition_of: Some(6), ..heap(7, 10) };
        catalog.relations =
            vec![heap(1, 10), tree(2), partition(3), partition(4), heap(5, 10), tree(6), here, far];
        catalog
    }

    fn chosen(rows: &[(u32, usize)]) -> HashMap<u32, Vec<Tid>> {
        let tid = |n| Tid { block: n as u32, item: 1 };
        rows.iter().map(|(leaf, count)| (*leaf, (0..*count).map(tid).collect())).collect()
    }

    /// Of each unit its table, range and relation, and whether it names its rows.
    type Units = Vec<(u32, u32, u32, bool)>;

    fn with_chosen(asked: Option<&TableFilter>, conditional: &[u32], rows: &[(u32, usize)]) -> Plan {
        let conditional = conditional.iter().copied().collect();
        Plan::with_chosen(&catalog(), asked, &conditional, &chosen(rows), &RowChoice::default(), WAY)
    }

    fn plan(asked: Option<&[&str]>, conditional: &[u32], rows: &[(u32, usize)]) -> (Vec<String>, Units) {
        let asked = asked.map(|names| TableFilter::of_tables(names.iter().map(|name| ("public", *name))));
        let plan = with_chosen(asked.as_ref(), conditional, rows);
        let mut units: Vec<_> = plan.units.iter().map(|u| (u.table, u.range, u.relation, u.chosen)).collect();
        units.sort_unstable();
        (plan.parts.iter().map(|part| part.table.name.clone()).collect(), units)
    }

    #[test]
    fn only_tables_with_chosen_rows_are_there_and_a_few_thousand_of_these_are_read_at_once() {
        let (parts, units) = plan(None, &[], &[(1, 9000), (4, 1), (5, 0)]);
        assert_eq!(parts, ["t1", "t2"]);
        assert_eq!(units, [(0, 0, 1, true), (0, 1, 1, true), (0, 2, 1, true), (1, 0, 4, true)]);
        // Of a tree with a foreign table in it there are the partitions.
        assert_eq!(plan(None, &[], &[(7, 1)]).0, ["t7"]);
        let unit = &with_chosen(None, &[], &[(5, 2)]).units[0];
        let copy = "COPY (SELECT  FROM ONLY \"public\".\"t5\" WHERE ctid OPERATOR(pg_catalog.=) ANY \
                    ('{\"(0,1)\",\"(1,1)\"}'::pg_catalog.tid[])) TO STDOUT (FORMAT binary)";
        assert_eq!(unit.copy, copy);
    }

    #[test]
    fn what_is_wanted_whole_is_and_other_partitions_of_its_tree_are_tables_of_their_own() {
        let (parts, units) = plan(Some(&["t1", "t3"]), &[], &[(1, 5), (4, 2), (5, 1)]);
        assert_eq!(parts, ["t1", "t3", "t4", "t5"]);
        assert_eq!(units, [(0, 0, 1, false), (1, 0, 3, false), (2, 0, 4, true), (3, 0, 5, true)]);
    }

    #[test]
    fn a_table_with_a_condition_is_there_whatever_meets_it_and_its_other_rows_only_where_others_need_them() {
        let (parts, units) = plan(Some(&["t1", "t2", "t5"]), &[2, 5], &[(1, 5), (4, 2)]);
        assert_eq!(parts, ["t1", "t2", "t5"]);
        assert_eq!(units, [(0, 0, 1, false), (1, 0, 4, true)]);
        // Of a tree of which one partition is asked for, the others' rows are in tables of their own.
        let (parts, units) = plan(Some(&["t3"]), &[3], &[(3, 1), (4, 1)]);
        assert_eq!((parts, units), (vec!["t3".into(), "t4".into()], vec![(0, 0, 3, true), (1, 0, 4, true)]));
    }
}
