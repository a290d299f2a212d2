//! What to dump, and in which pieces of work.
//!
//! A *table part* is an ordinary table, or a partitioned table with all its partitions; where only some partitions
//! are wanted, each wanted one is a part of its own, so that a part is always whole. A *unit* is one COPY: a page
//! range of one heap. Ranges begin at fixed page numbers whatever the table's size or the number of workers, so that
//! an unchanged range gives the same chunks.

use super::copy::{BinaryColumns, CopyFormat, statement};
use crate::archive::model;
use crate::postgres::catalog::{Catalog, Relation, RelationKind};
use crate::row::CellForm;
use crate::selection::TableFilter;

/// Pages of one unit when a table has no TOAST: 16 MiB. Small enough that the last unit does not leave the other
/// workers idle for long, large enough that the round trips of a COPY do not count.
const UNIT_PAGES: u64 = 2048;

/// Pages of a heap: from `first` to before `end`, or to the last one there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// The first of them.
    pub first: u64,
    /// The first that is not among them; none: all that follow are.
    pub end: Option<u64>,
}

/// One COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Position of the table part in the header.
    pub table: u32,
    /// Order of the unit within its part.
    pub range: u32,
    /// `oid` of the relation that is read.
    pub relation: u32,
    /// Which of its pages.
    pub pages: Pages,
    /// The statement.
    pub copy: String,
    /// Its format.
    pub format: CopyFormat,
    /// Estimated bytes to read.
    pub bytes: u64,
}

/// A table part with what its encoder needs.
#[derive(Clone, Debug)]
pub struct Part {
    /// As the header describes it.
    pub table: model::Table,
    /// `oid` of the table.
    pub relation: u32,
    /// How each column is written.
    pub forms: Vec<CellForm>,
    /// How each column is asked for in binary; none where it is read in text.
    pub binary: Option<BinaryColumns>,
}

/// Which rows of an extension's configuration tables are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Those that the extension says are the user's.
    Users,
    /// All: what the extension's own will be in the future, nobody knows.
    All,
}

/// Everything that one backup will do.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Table parts, in (schema, name) order.
    pub parts: Vec<Part>,
    /// Units, largest first.
    pub units: Vec<Unit>,
    /// Foreign tables that were left out, as shown to people.
    pub foreign: Vec<String>,
    /// Unlogged tables that have no rows because the server is a standby, as shown to people.
    pub without_rows: Vec<String>,
}

impl Plan {
    /// Plans a backup of the tables that `filter` wants, in that format where it can be.
    pub fn new(catalog: &Catalog, filter: &TableFilter, format: CopyFormat) -> Plan {
        let mut roots = Vec::new();
        for relation in catalog.relations.iter().filter(|r| r.partition_of.is_none()) {
            collect_parts(catalog, filter, relation, false, &mut roots);
        }
        let mut plan = Plan::of(catalog, roots, Rows::Users, format);
        plan.foreign = catalog
            .relations
            .iter()
            .filter(|r| r.kind == RelationKind::Foreign && filter.wants(&r.schema, &r.name))
            .map(Relation::shown)
            .collect();
        plan
    }

    /// Plans a backup of just these tables, each with all its partitions.
    pub fn of(catalog: &Catalog, mut roots: Vec<&Relation>, rows: Rows, format: CopyFormat) -> Plan {
        roots.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        let mut plan = Plan::default();
        for root in roots {
            let table = plan.parts.len() as u32;
            let mut part = Part::new(catalog, root);
            if format == CopyFormat::Text {
                part.binary = None;
            }
            if rows == Rows::Users {
                part.table.condition = root.condition.clone();
            }
            let chosen = part.table.condition.as_deref().unwrap_or_default();
            let mut range = 0;
            for leaf in catalog.leaves(root) {
                if leaf.unlogged && catalog.server.standby {
                    plan.without_rows.push(leaf.shown());
                    continue;
                }
                for (pages, condition, bytes) in units(leaf, chosen, catalog.server.version_num) {
                    let (columns, encoding) = (&part.table.columns, &catalog.server.encoding);
                    let (copy, format) = statement(columns, part.binary.as_ref(), leaf, &condition, encoding);
                    plan.units.push(Unit { table, range, relation: leaf.oid, pages, copy, format, bytes });
                    range += 1;
                }
            }
            plan.parts.push(part);
        }
        plan.units.sort_by_key(|u| std::cmp::Reverse(u.bytes));
        plan
    }

    /// Makes one unit of all units of a relation.
    pub fn unite(&mut self, relation: &Relation, encoding: &str) {
        let (mut of_it, others): (Vec<Unit>, Vec<Unit>) =
            std::mem::take(&mut self.units).into_iter().partition(|u| u.relation == relation.oid);
        self.units = others;
        of_it.sort_by_key(|u| u.range);
        if let Some(first) = of_it.into_iter().next() {
            let part = &self.parts[first.table as usize];
            let (copy, format) = statement(&part.table.columns, part.binary.as_ref(), relation, "", encoding);
            self.units.push(Unit { copy, format, pages: Pages::default(), bytes: relation.bytes, ..first });
        }
        self.units.sort_by_key(|u| std::cmp::Reverse(u.bytes));
    }

    /// Estimated bytes of all units.
    pub fn total_bytes(&self) -> u64 {
        self.units.iter().map(|u| u.bytes).sum()
    }
}

impl Part {
    /// Describes a table as the header does.
    pub fn new(catalog: &Catalog, relation: &Relation) -> Part {
        let (generated, plain): (Vec<_>, Vec<_>) = relation.columns.iter().partition(|c| c.generated);
        let forms: Vec<CellForm> = plain.iter().map(|c| CellForm::of_type(c.base_type)).collect();
        let columns = plain
            .iter()
            .zip(&forms)
            .map(|(c, form)| model::Column {
                name: c.name.clone(),
                type_name: c.type_name.clone(),
                form: *form,
                not_null: c.not_null,
            })
            .collect();
        let key = catalog.key(relation.oid, |name| plain.iter().any(|c| c.name == name));
        let constraints = catalog
            .constraints_of(relation.oid)
            .map(|c| model::Constraint {
                name: c.name.clone(),
                definition: c.definition.clone(),
                references: c
                    .foreign_key
                    .as_ref()
                    .and_then(|f| catalog.relation(f.references))
                    .map(|r| (r.schema.clone(), r.name.clone())),
            })
            .collect();
        Part {
            table: model::Table {
                schema: relation.schema.clone(),
                name: relation.name.clone(),
                partitioned: relation.kind == RelationKind::Partitioned,
                columns,
                generated: generated.iter().map(|c| c.name.clone()).collect(),
                key: key.map(|k| k.columns.iter().map(|c| c.name.clone()).collect()).unwrap_or_default(),
                constraints,
                extension: relation.extension.clone(),
                ..model::Table::default()
            },
            relation: relation.oid,
            forms,
            binary: BinaryColumns::new(catalog, relation),
        }
    }
}

/// Adds `relation` where it is wanted whole, else the wanted parts below it.
fn collect_parts<'a>(
    catalog: &'a Catalog,
    filter: &TableFilter,
    relation: &'a Relation,
    included_above: bool,
    out: &mut Vec<&'a Relation>,
) {
    if relation.kind == RelationKind::Foreign || filter.excludes(&relation.schema, &relation.name) {
        return;
    }
    let included =
        included_above || !filter.has_includes() || filter.includes(&relation.schema, &relation.name);
    if included && is_whole(catalog, filter, relation) {
        out.push(relation);
        return;
    }
    for partition in catalog.partitions(relation.oid) {
        collect_parts(catalog, filter, partition, included, out);
    }
}

/// Whether every partition below can and should be carried.
fn is_whole(catalog: &Catalog, filter: &TableFilter, relation: &Relation) -> bool {
    catalog.partitions(relation.oid).all(|p| {
        p.kind != RelationKind::Foreign
            && !filter.excludes(&p.schema, &p.name)
            && is_whole(catalog, filter, p)
    })
}

/// What follows the table's name in each of its units, with the estimated bytes of each. A condition of an extension's
/// may be any text that can stand there, so that nothing is put beside it: such a table, rarely large, is one unit.
fn units(leaf: &Relation, condition: &str, version: u32) -> Vec<(Pages, String, u64)> {
    if condition.trim().is_empty() {
        page_ranges(leaf, version)
    } else {
        vec![(Pages::default(), format!(" {condition}"), leaf.bytes)]
    }
}

/// Page ranges of a heap as SQL conditions, with the estimated bytes of each.
fn page_ranges(leaf: &Relation, version: u32) -> Vec<(Pages, String, u64)> {
    // Before version 14 a range of ctid reads the whole table: one unit. Other access methods may not know pages.
    let unit = unit_pages(leaf);
    if version < 140_000 || !leaf.heap || leaf.heap_pages <= unit {
        return vec![(Pages::default(), String::new(), leaf.bytes)];
    }
    let count = leaf.heap_pages.div_ceil(unit);
    (0..count)
        .map(|i| {
            // The last range has no upper bound: pages that were added since the size was read are in it.
            let pages = Pages { first: i * unit, end: (i + 1 < count).then_some((i + 1) * unit) };
            (pages, pages.condition(), leaf.bytes / count)
        })
        .collect()
}

impl Pages {
    /// What follows the table's name to mean the rows on these pages.
    pub fn condition(&self) -> String {
        let first = format!("ctid >= '({},0)'::pg_catalog.tid", self.first);
        match (self.first, self.end) {
            (0, None) => String::new(),
            (_, None) => format!(" WHERE {first}"),
            (_, Some(end)) => format!(" WHERE {first} AND ctid < '({end},0)'::pg_catalog.tid"),
        }
    }
}

/// Pages of a unit: fewer where much of the table is TOAST, in powers of two, so that a growing table keeps its
/// range boundaries for long.
fn unit_pages(leaf: &Relation) -> u64 {
    let heap_bytes = leaf.heap_pages.max(1) * 8192;
    let factor = (leaf.bytes / heap_bytes).max(1);
    (UNIT_PAGES >> factor.ilog2().min(8)).max(8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn relation(oid: u32, name: &str, kind: RelationKind, partition_of: Option<u32>, pages: u64) -> Relation {
        Relation {
            oid,
            schema: "public".into(),
            name: name.into(),
            kind,
            partition_of,
            filenode: 0,
            current_filenode: None,
            heap_pages: pages,
            bytes: pages * 8192,
            heap: true,
            row_security_active: false,
            row_security_forced: false,
            owner: "app".into(),
            is_owner: true,
            privileges: vec![],
            extension: None,
            condition: None,
            unlogged: false,
            columns: vec![],
        }
    }

    fn catalog(version_num: u32) -> Catalog {
        let mut catalog = Catalog::default();
        catalog.server.version_num = version_num;
        catalog.relations = vec![
            relation(1, "big", RelationKind::Table, None, 5000),
            relation(2, "events", RelationKind::Partitioned, None, 0),
            relation(3, "events_1", RelationKind::Table, Some(2), 10),
            relation(4, "events_2", RelationKind::Table, Some(2), 10),
            relation(5, "elsewhere", RelationKind::Foreign, None, 0),
        ];
        catalog
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.parts.iter().map(|p| p.table.name.as_str()).collect()
    }

    #[test]
    fn a_partitioned_table_is_one_part_and_its_partitions_are_units() {
        let plan = Plan::new(&catalog(150_000), &TableFilter::default(), CopyFormat::Binary);
        assert_eq!(names(&plan), ["big", "events"]);
        assert_eq!(plan.units.iter().filter(|u| u.table == 1).count(), 2);
        assert_eq!(plan.foreign, ["elsewhere"]);
    }

    #[test]
    fn page_ranges_cover_every_page_once_and_leave_the_end_open() {
        let plan = Plan::new(&catalog(150_000), &TableFilter::default(), CopyFormat::Binary);
        let mut big: Vec<_> = plan.units.iter().filter(|u| u.table == 0).collect();
        big.sort_by_key(|u| u.range);
        assert_eq!(big.len(), 3);
        assert!(big[0].copy.contains("ctid >= '(0,0)'") && big[0].copy.contains("ctid < '(2048,0)'"));
        assert!(big[2].copy.contains("ctid >= '(4096,0)'") && !big[2].copy.contains("ctid <"));
    }

    #[test]
    fn a_configuration_table_is_read_by_its_condition_as_one_unit_and_whole_for_an_undo() {
        let mut catalog = catalog(150_000);
        catalog.relations[0].condition = Some("WHERE id > 9 OR mine".into());
        let plan = Plan::new(&catalog, &TableFilter::default(), CopyFormat::Binary);
        let big: Vec<_> = plan.units.iter().filter(|u| u.table == 0).collect();
        assert_eq!(big.len(), 1);
        assert!(big[0].copy.contains("FROM ONLY \"public\".\"big\" WHERE id > 9 OR mine) TO STDOUT"));
        let plan = Plan::of(&catalog, vec![&catalog.relations[0]], Rows::All, CopyFormat::Text);
        assert_eq!((plan.units.len(), &plan.parts[0].table.condition), (3, &None));
        let mut united = plan.clone();
        united.unite(&catalog.relations[0], "UTF8");
        assert_eq!(united.units.len(), 1);
        assert_eq!(united.units[0].copy, "COPY \"public\".\"big\" TO STDOUT");
        catalog.relations[0].condition = Some(String::new());
        assert_eq!(
            Plan::new(&catalog, &TableFilter::default(), CopyFormat::Binary)
                .units
                .iter()
                .filter(|u| u.table == 0)
                .count(),
            3
        );
    }

    #[test]
    fn version_13_reads_a_table_as_one_unit() {
        let plan = Plan::new(&catalog(130_000), &TableFilter::default(), CopyFormat::Binary);
        assert_eq!(plan.units.iter().filter(|u| u.table == 0).count(), 1);
    }

    #[test]
    fn a_partitioned_table_without_one_of_its_partitions_falls_into_its_partitions() {
        let filter = TableFilter::parse(&[], &["events_2".into()]).unwrap();
        assert_eq!(names(&Plan::new(&catalog(150_000), &filter, CopyFormat::Binary)), ["big", "events_1"]);
        let filter = TableFilter::parse(&["events_1".into()], &[]).unwrap();
        assert_eq!(names(&Plan::new(&catalog(150_000), &filter, CopyFormat::Binary)), ["events_1"]);
        let filter = TableFilter::parse(&["events".into()], &[]).unwrap();
        assert_eq!(names(&Plan::new(&catalog(150_000), &filter, CopyFormat::Binary)), ["events"]);
    }
}
