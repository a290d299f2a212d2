//! Rows of tables that a try removes, to be made again or not: they are counted, none goes that the restore promises to
//! keep or cannot bring back, and the log says how many went.

use std::collections::BTreeMap;

use super::Attempt;
use crate::failure::Failure;
use crate::postgres::catalog::{Catalog, Relation, RelationKind};
use crate::restore::Mode;
use crate::restore::log::RestoreLog;
use crate::restore::plan::RestorePlan;
use crate::restore::verify;
use crate::schema::{Kind, Section};

/// What goes with a table that is removed; of a partition tree that is removed, with all of it under its top.
pub(super) struct GoingTable {
    rows: u64,
    /// Whether the archive's rows for it come in afterwards.
    is_loaded: bool,
}

/// The tables that go, as shown.
pub(super) type Going = BTreeMap<String, GoingTable>;

impl Attempt<'_> {
    /// Counts the rows that go, and refuses where they may not.
    pub(super) async fn count_going(&self, catalog: &Catalog, plan: &RestorePlan) -> Result<Going, Failure> {
        let goes = |oid: &u32| plan.going.contains(oid);
        let relations = || plan.going.iter().filter_map(|oid| catalog.relation(*oid));
        let mut going = Going::new();
        let mut names = Vec::new();
        for relation in relations() {
            if matches!(relation.kind, RelationKind::Partitioned | RelationKind::Foreign) {
                continue;
            }
            let top = catalog.ancestors(relation.oid).take_while(goes).last();
            let top = top.and_then(|oid| catalog.relation(oid)).unwrap_or(relation);
            let is_loaded = self.is_loaded(catalog, relation);
            going.entry(top.shown()).or_insert(GoingTable { rows: 0, is_loaded }).is_loaded &= is_loaded;
            names.push((top.shown(), relation.from_item()));
        }
        let client = &self.session.client;
        for (shown, rows) in verify::count(client, &names).await? {
            going.entry(shown).and_modify(|table| table.rows = rows);
        }
        if self.options.rollback { Ok(going) } else { self.check_going(going) }
    }

    /// Whether the archive's rows come into the table, or into one that it is a partition of.
    fn is_loaded(&self, catalog: &Catalog, relation: &Relation) -> bool {
        let (header, options) = (self.archive.header(), self.options);
        let is_wanted = |r: &Relation| {
            options.filter.wants(&r.schema, &r.name)
                && header.tables.iter().any(|t| t.name == r.name && t.schema == r.schema)
        };
        let above = catalog.ancestors(relation.oid).filter_map(|oid| catalog.relation(oid));
        // It may belong to another table there than here.
        let mut objects = header.schema.iter().flat_map(|s| &s.objects);
        let mut is_partition = || {
            let name = Some((relation.schema.clone(), relation.name.clone()));
            objects.any(|o| o.kind == Kind::Attachment && o.section == Section::PreData && o.table == name)
        };
        options.objects.data
            && (std::iter::once(relation).chain(above).any(is_wanted)
                || (!header.tables.is_empty() && is_partition()))
    }

    /// Refuses to lose rows without a word.
    fn check_going(&self, going: Going) -> Result<Going, Failure> {
        let named = |is_lost: &dyn Fn(&GoingTable) -> bool| -> Vec<String> {
            let lost = going.iter().filter(|(_, table)| table.rows > 0 && is_lost(table));
            lost.map(|(shown, table)| match table.rows {
                1 => format!("TABLE {shown} holds 1 row"),
                rows => format!("TABLE {shown} holds {rows} rows"),
            })
            .collect()
        };
        let empty = named(&|table| !table.is_loaded);
        if !empty.is_empty() {
            return Err(Failure::failed(format!(
                "tables are to be made anew, and this restore does not bring their rows back:\n    {}",
                empty.join("\n    ")
            ))
            .state("the target is untouched")
            .next("restore the rows as well (without --schema-only, --section or --table), leave the tables as they are with --if-exists skip and without --clean, or empty them yourself first (TRUNCATE)"));
        }
        let full = named(&|_| true);
        // Who cleans wants them as archived.
        if !full.is_empty() && self.options.mode != Mode::Exact && !self.options.objects.clean {
            return Err(Failure::failed(format!(
                "tables are to be made anew, and rows that only the target has would be lost:\n    {}",
                full.join("\n    ")
            ))
            .state("the target is untouched")
            .next("give them the archive's rows alone with --mode exact or --clean, leave them as they are with --if-exists skip, or change their definition by hand (ALTER TABLE …)"));
        }
        Ok(going)
    }

    /// Says in the log that the rows went.
    pub(super) fn note_going(&self, going: &Going, log: &mut RestoreLog) {
        for (shown, table) in going.iter().filter(|(_, table)| table.rows > 0) {
            log.tables_restored.entry(shown.clone()).or_default().deleted += table.rows;
        }
    }
}

/// Rows before, by table.
pub(super) fn before(going: &Going) -> impl Iterator<Item = (String, u64)> {
    going.iter().map(|(shown, table)| (shown.clone(), table.rows))
}
