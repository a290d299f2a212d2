//! What to dump, and in which pieces of work.
//!
//! A *table part* is an ordinary table, or a partitioned table with all its partitions; where only some partitions
//! are wanted, each wanted one is a part of its own, so that a part is always whole. A *unit* is one COPY: a whole heap,
//! or some of its pages.

use super::copy::{BinaryColumns, CopyFormat, statement};
use super::units::{self, SMALL_BYTES};
use std::collections::HashMap;

use crate::archive::model;
use crate::postgres::catalog::{Catalog, Relation, RelationKind};
use crate::postgres::tid::{Tid, TidRange};
use crate::row::CellForm;
use crate::selection::{RowChoice, TableFilter};

/// One COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Position of the table part in the header.
    pub table: u32,
    /// Order of the unit within its part.
    pub range: u32,
    /// `oid` of the relation that is read.
    pub relation: u32,
    /// Which of its rows.
    pub tids: TidRange,
    /// Whether each row begins with its `ctid`.
    pub has_tids: bool,
    /// Whether it reads rows that were chosen one by one.
    pub chosen: bool,
    /// The statement.
    pub copy: String,
    /// Its format.
    pub format: CopyFormat,
    /// Estimated bytes to read.
    pub bytes: u64,
}

impl Unit {
    /// Whether the server has to plan it.
    pub fn is_query(&self) -> bool {
        self.copy.starts_with("COPY (")
    }
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

/// How tables are read.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// In which format, where it can be.
    pub format: CopyFormat,
    /// How many connections share the work.
    pub jobs: usize,
    /// Whether they are to have short units, between which they may pause.
    pub small: bool,
    /// Whether it is to be known where the chunks of large tables begin, so that some can be read again.
    pub tids: bool,
}

/// What of the tables is taken, where that is not all.
#[derive(Clone, Copy, Default)]
pub(super) struct Taken<'a> {
    /// Of these tables and partitions, by `oid`, the rows that stand there.
    pub rows: Option<&'a HashMap<u32, Vec<Tid>>>,
    /// The columns, among others.
    pub choice: Option<&'a RowChoice>,
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
    /// Plans a backup of the tables that `filter` wants.
    pub fn new(catalog: &Catalog, filter: &TableFilter, way: Way) -> Plan {
        Plan::narrowed(catalog, filter, way, Taken::default())
    }

    /// The same where not all rows and columns are taken.
    pub(super) fn narrowed(catalog: &Catalog, filter: &TableFilter, way: Way, taken: Taken<'_>) -> Plan {
        let mut roots = Vec::new();
        for relation in catalog.relations.iter().filter(|r| r.partition_of.is_none() && !r.left) {
            collect_parts(catalog, filter, relation, false, &mut roots);
        }
        let mut plan = Plan::of_rows(catalog, roots, Rows::Users, way, taken);
        plan.foreign = foreign(catalog, filter);
        plan
    }

    /// Plans a backup of just these tables, each with all its partitions.
    pub fn of(catalog: &Catalog, roots: Vec<&Relation>, rows: Rows, way: Way) -> Plan {
        Plan::of_rows(catalog, roots, rows, way, Taken::default())
    }

    /// The same where not all rows and columns are taken.
    pub(super) fn of_rows(
        catalog: &Catalog,
        mut roots: Vec<&Relation>,
        rows: Rows,
        way: Way,
        taken: Taken<'_>,
    ) -> Plan {
        let no_rows = HashMap::new();
        let chosen = taken.rows.unwrap_or(&no_rows);
        roots.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        let mut plan = Plan::default();
        let mut leaves = Vec::new();
        for root in roots {
            let mut part = Part::new(catalog, root);
            if way.format == CopyFormat::Text {
                part.binary = None;
            }
            if let Some(columns) = taken.choice.and_then(|choice| choice.columns(&root.schema, &root.name)) {
                part.keep(&columns);
            }
            let is_chosen = catalog.leaves(root).iter().any(|leaf| chosen.contains_key(&leaf.oid));
            if rows == Rows::Users && !is_chosen {
                part.table.condition = root.condition.clone();
            }
            for leaf in catalog.leaves(root) {
                if leaf.unlogged && catalog.server.standby {
                    plan.without_rows.push(leaf.shown());
                } else {
                    leaves.push((plan.parts.len() as u32, leaf));
                }
            }
            plan.parts.push(part);
        }
        let version = catalog.server.version_num;
        // A condition of an extension's may be any text that can stand there, so that nothing is put beside it.
        let can_be_cut = |(table, leaf): &&(u32, &Relation)| {
            plan.parts[*table as usize].is_all() && !chosen.contains_key(&leaf.oid)
        };
        let cuttable: Vec<&Relation> = leaves.iter().filter(can_be_cut).map(|l| l.1).collect();
        let pages = units::pages_of_units(&cuttable, way.jobs, way.small, version);
        let encoding = &catalog.server.encoding;
        let (mut table, mut range) = (0, 0);
        for (of, leaf) in leaves {
            if of != table {
                (table, range) = (of, 0);
            }
            let part = &plan.parts[table as usize];
            if let Some(tids) = chosen.get(&leaf.oid) {
                let units = part.chosen_units((table, range), leaf, tids, encoding);
                range += units.len() as u32;
                plan.units.extend(units);
                continue;
            }
            let ranges = tid_ranges(leaf, pages.get(&leaf.oid).copied());
            let bytes = leaf.bytes / ranges.len().max(1) as u64;
            let has_tids = way.tids && part.is_all() && leaf.heap && leaf.bytes > SMALL_BYTES;
            for tids in ranges {
                plan.units.push(part.unit((table, range), leaf, tids, has_tids, bytes, encoding));
                range += 1;
            }
        }
        plan.units.sort_by_key(|u| std::cmp::Reverse(u.bytes));
        plan
    }

    /// Makes one unit of all units of a relation, by a COPY that is no query.
    pub fn unite(&mut self, relation: &Relation, encoding: &str) {
        let (mut of_it, others): (Vec<Unit>, Vec<Unit>) =
            std::mem::take(&mut self.units).into_iter().partition(|u| u.relation == relation.oid);
        self.units = others;
        of_it.sort_by_key(|u| u.range);
        if let Some(first) = of_it.into_iter().next() {
            let part = &self.parts[first.table as usize];
            let binary = part.binary.as_ref().filter(|binary| !binary.calls());
            let (copy, format) = statement(&part.table.columns, binary, relation, ("", false), encoding);
            let (tids, has_tids, bytes) = (TidRange::default(), false, relation.bytes);
            self.units.push(Unit { copy, format, tids, has_tids, bytes, ..first });
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

    /// Leaves out what is neither one of these columns nor of the key.
    fn keep(&mut self, columns: &[String]) {
        let table = &mut self.table;
        let is_kept = |name: &String| columns.contains(name) || table.key.contains(name);
        let kept: Vec<bool> = table.columns.iter().map(|c| is_kept(&c.name)).collect();
        let others = table.columns.iter().zip(&kept).filter(|(_, kept)| !**kept);
        table.left_out = others.map(|(column, _)| column.name.clone()).collect();
        keep(&mut table.columns, &kept);
        keep(&mut self.forms, &kept);
        if let Some(binary) = &mut self.binary {
            binary.keep(&kept);
        }
    }

    /// Whether no condition of an extension's says which of its rows are meant.
    pub fn is_all(&self) -> bool {
        self.table.condition.as_deref().unwrap_or_default().trim().is_empty()
    }

    /// The unit at `place` (table, range) that reads some rows of `leaf`, a table of this part.
    pub fn unit(
        &self,
        place: (u32, u32),
        leaf: &Relation,
        tids: TidRange,
        has_tids: bool,
        bytes: u64,
        encoding: &str,
    ) -> Unit {
        let condition = match &self.table.condition {
            Some(chosen) if !self.is_all() => format!(" {chosen}"),
            _ => tids.condition(),
        };
        // A query of a small table would cost more than the printing of its values.
        let is_query = !condition.is_empty() || has_tids || leaf.bytes > SMALL_BYTES;
        let binary = self.binary.as_ref().filter(|binary| is_query || !binary.calls());
        let (copy, format) = statement(&self.table.columns, binary, leaf, (&condition, has_tids), encoding);
        let (table, range) = place;
        Unit { table, range, relation: leaf.oid, tids, has_tids, chosen: false, copy, format, bytes }
    }
}

/// Adds `relation` where it is wanted whole, else the wanted parts below it.
pub(super) fn collect_parts<'a>(
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

/// Foreign tables that are wanted, and whose rows live elsewhere, as shown to people.
pub(super) fn foreign(catalog: &Catalog, filter: &TableFilter) -> Vec<String> {
    let is_foreign = |r: &&Relation| r.kind == RelationKind::Foreign && filter.wants(&r.schema, &r.name);
    catalog.relations.iter().filter(is_foreign).map(Relation::shown).collect()
}

/// Keeps what the flag at its place says.
pub(super) fn keep<T>(all: &mut Vec<T>, kept: &[bool]) {
    let mut flags = kept.iter();
    all.retain(|_| flags.next().is_none_or(|kept| *kept));
}

/// Whether every partition below can and should be carried.
fn is_whole(catalog: &Catalog, filter: &TableFilter, relation: &Relation) -> bool {
    catalog.partitions(relation.oid).all(|p| {
        p.kind != RelationKind::Foreign
            && !filter.excludes(&p.schema, &p.name)
            && is_whole(catalog, filter, p)
    })
}

/// All rows of a heap, or those of so many pages each.
fn tid_ranges(leaf: &Relation, pages: Option<u64>) -> Vec<TidRange> {
    let count = pages.map_or(1, |pages| leaf.heap_pages.div_ceil(pages).max(1));
    // Blocks have 32 bits.
    let tid = |n: u64| {
        let block = u32::try_from(n * pages.unwrap_or_default()).unwrap_or(u32::MAX);
        Tid { block, item: 0 }
    };
    // The last range has no upper bound: pages that were added since the size was read are in it.
    (0..count).map(|n| TidRange { first: tid(n), end: (n + 1 < count).then(|| tid(n + 1)) }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::postgres::catalog::tests::heap;

    fn relation(oid: u32, name: &str, kind: RelationKind, partition_of: Option<u32>, pages: u64) -> Relation {
        Relation { name: name.into(), kind, partition_of, ..heap(oid, pages) }
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

    const WHOLE: Way = Way { format: CopyFormat::Binary, jobs: 1, small: false, tids: false };
    const CUT: Way = Way { jobs: 2, ..WHOLE };

    fn names(plan: &Plan) -> Vec<&str> {
        plan.parts.iter().map(|p| p.table.name.as_str()).collect()
    }

    #[test]
    fn a_partitioned_table_is_one_part_and_its_partitions_are_units() {
        let plan = Plan::new(&catalog(150_000), &TableFilter::default(), WHOLE);
        assert_eq!(names(&plan), ["big", "events"]);
        assert_eq!(plan.units.iter().filter(|u| u.table == 1).count(), 2);
        assert_eq!(plan.foreign, ["elsewhere"]);
    }

    /// The units of the first table, in order.
    fn big(plan: &Plan) -> Vec<&Unit> {
        let mut units: Vec<_> = plan.units.iter().filter(|u| u.table == 0).collect();
        units.sort_by_key(|u| u.range);
        units
    }

    #[test]
    fn page_ranges_cover_every_page_once_and_leave_the_end_open() {
        let plan = Plan::new(&catalog(150_000), &TableFilter::default(), CUT);
        let units = big(&plan);
        assert_eq!(units.len(), 3);
        assert!(units[0].copy.contains("ctid >= '(0,0)'") && units[0].copy.contains("ctid < '(2048,0)'"));
        assert!(units[2].copy.contains("ctid >= '(4096,0)'") && !units[2].copy.contains("ctid <"));
        assert!(!units[0].has_tids);
    }

    #[test]
    fn a_whole_table_is_no_query_unless_it_is_to_be_known_where_its_chunks_begin() {
        let plan = Plan::new(&catalog(150_000), &TableFilter::default(), WHOLE);
        assert_eq!(big(&plan)[0].copy, "COPY \"public\".\"big\" TO STDOUT (FORMAT binary)");
        let plan = Plan::new(&catalog(150_000), &TableFilter::default(), Way { tids: true, ..WHOLE });
        let units = big(&plan);
        assert_eq!(
            units[0].copy,
            "COPY (SELECT ctid FROM ONLY \"public\".\"big\") TO STDOUT (FORMAT binary)"
        );
        assert!(units[0].has_tids && !plan.units.iter().any(|u| u.has_tids && u.table > 0));
    }

    #[test]
    fn a_configuration_table_is_read_by_its_condition_as_one_unit_and_whole_for_an_undo() {
        let mut catalog = catalog(150_000);
        catalog.relations[0].condition = Some("WHERE id > 9 OR mine".into());
        let plan = Plan::new(&catalog, &TableFilter::default(), Way { tids: true, ..CUT });
        assert_eq!((big(&plan).len(), big(&plan)[0].has_tids), (1, false));
        assert!(big(&plan)[0].copy.contains("FROM ONLY \"public\".\"big\" WHERE id > 9 OR mine) TO STDOUT"));
        let text = Way { format: CopyFormat::Text, ..CUT };
        let plan = Plan::of(&catalog, vec![&catalog.relations[0]], Rows::All, text);
        assert_eq!((plan.units.len(), &plan.parts[0].table.condition), (3, &None));
        let mut united = plan.clone();
        united.unite(&catalog.relations[0], "UTF8");
        assert_eq!(united.units.len(), 1);
        assert_eq!(united.units[0].copy, "COPY \"public\".\"big\" TO STDOUT");
        catalog.relations[0].condition = Some(String::new());
        assert_eq!(big(&Plan::new(&catalog, &TableFilter::default(), CUT)).len(), 3);
    }

    #[test]
    fn version_13_reads_a_table_as_one_unit() {
        assert_eq!(big(&Plan::new(&catalog(130_000), &TableFilter::default(), CUT)).len(), 1);
    }

    #[test]
    fn a_partitioned_table_without_one_of_its_partitions_falls_into_its_partitions() {
        let filter = TableFilter::parse(&[], &["events_2".into()]).unwrap();
        assert_eq!(names(&Plan::new(&catalog(150_000), &filter, WHOLE)), ["big", "events_1"]);
        let filter = TableFilter::parse(&["events_1".into()], &[]).unwrap();
        assert_eq!(names(&Plan::new(&catalog(150_000), &filter, WHOLE)), ["events_1"]);
        let filter = TableFilter::parse(&["events".into()], &[]).unwrap();
        assert_eq!(names(&Plan::new(&catalog(150_000), &filter, WHOLE)), ["events"]);
    }
}
