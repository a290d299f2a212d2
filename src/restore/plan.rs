//! How the tables of an archive meet the tables of the target: which go where, in which order, and everything that
//! does not fit, found before anything is written and named all at once.

use std::collections::HashSet;
use std::sync::Arc;

use super::fit::{Fit, cast, fit};
use super::large_objects;
use super::objects::plan::ObjectPlan;
use super::preference::{ONLY_MISSING, Rules};
use super::refused::Refusing;
use super::repair::{self, Reason};
use super::{Mode, RestoreOptions, entity, stage};
use tokio_postgres::Client;

use crate::archive::model;
use crate::archive::reader::Archive;
use crate::closure::archive::ChosenRows;
use crate::failure::Failure;
use crate::postgres::catalog::{
    Catalog, ColumnInfo, ConstraintInfo, ForeignKey, Key, Relation, RelationKind, SequenceInfo,
};
use crate::postgres::{extensions, quote, settings};
use crate::row::CellForm;
use crate::selection::mapping::Mapping;
use crate::selection::{RowChoice, TableFilter};

/// One archived table and where its rows go.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Position in the archive's header.
    pub index: u32,
    /// As shown to people and in the log.
    pub shown: String,
    /// The target table's name, without its schema.
    pub name: String,
    /// `oid` of the target table.
    pub relation: u32,
    /// `"schema"."table"` of the target.
    pub quoted: String,
    /// What stands behind FROM and DELETE FROM.
    pub from_item: String,
    /// Columns in the archive's order, by their names in the target.
    pub columns: Vec<String>,
    /// How each archived column is written, those too that are left out.
    pub forms: Vec<CellForm>,
    /// Which archived columns are left out, because the host's table does not have them; empty: none.
    pub left_out: Vec<bool>,
    /// Columns of the target that the archive does not have, and that a row keeps when it is replaced.
    pub kept: Vec<String>,
    /// `::type` for a column of a domain, else empty. Rows are staged and compared as what a domain is over: its
    /// constraints are the target's business, and a row that is not written need not meet them (NOT VALID).
    pub casts: Vec<String>,
    /// What ends its COPY.
    pub copy_options: &'static str,
    /// The columns that tell rows apart; none: the whole row does.
    pub key: Option<Key>,
    /// The extension that brings the table.
    pub extension: Option<String>,
    /// How its rows meet.
    pub mode: Mode,
    /// Whether rows that only the target has are counted.
    pub counts_live_only: bool,
    /// What decides in mode `newer`.
    pub rules: Rules,
    /// The condition, as SQL, on the rows that are restored; none: all.
    pub chosen: Option<String>,
    /// Of a repair: what makes a row missing or broken; empty: all are restored.
    pub reasons: Vec<Reason>,
    /// The rows of the archive that are restored, by where they stand; none: all.
    pub places: Option<Arc<ChosenRows>>,
    /// What follows the table's name to mean those rows that mode `exact` may remove, where each of several has to hold:
    /// others the archive did not take on purpose, or nobody has chosen. None: all.
    pub removable: Vec<String>,
    /// The schema that its staging table lies in.
    pub staged_in: &'static str,
    /// Whether rows that the target refuses are left out one by one, and how they are told apart.
    pub refusing: Option<Refusing>,
}

/// A sequence of the archive and its counterpart.
#[derive(Clone, Debug)]
pub struct SequencePlan {
    /// As archived.
    pub archived: model::Sequence,
    /// In the target.
    pub target: SequenceInfo,
}

/// What a restore will do.
#[derive(Clone, Debug, Default)]
pub struct RestorePlan {
    /// Tables, parents before children where no circle forbids.
    pub tables: Vec<TablePlan>,
    /// Sequences.
    pub sequences: Vec<SequencePlan>,
    /// Large objects: as a table, whose `relation` is not among the catalog's.
    pub large_objects: Option<TablePlan>,
    /// Tables (and sequences) that do not fit, with the reason.
    pub misfits: Vec<(String, String)>,
    /// `oid`s of tables of the target that are removed, to be made again or not.
    pub going: Vec<u32>,
    /// `oid`s of tables of the target that become partitions, so that rows may be restored into them.
    pub joining: Vec<u32>,
    /// `oid`s of tables that the restore has just made: nothing is in them that rows could meet.
    pub fresh: HashSet<u32>,
    /// What is to be said of columns of the host's tables that differ.
    pub notes: Vec<String>,
}

impl TablePlan {
    /// What a decision between two versions of a row is called.
    pub fn rule(&self, decision: i16) -> String {
        if self.mode == Mode::Missing { ONLY_MISSING.to_owned() } else { self.rules.name(decision) }
    }

    /// Whether not all of its staged rows are restored.
    pub fn chooses(&self) -> bool {
        self.chosen.is_some() || (self.key.is_some() && !self.reasons.is_empty())
    }

    /// Refuses a condition that is not one expression of the columns of `from`, a table as it stands behind FROM: a
    /// statement of its own, say. Sent in a way in which the server takes one statement alone.
    pub async fn check_condition(&self, client: &Client, from: &str) -> Result<(), Failure> {
        let Some(condition) = &self.chosen else { return Ok(()) };
        client.batch_execute(stage::BUILT_IN_FIRST_PATH).await?;
        let name = quote::ident(&self.name);
        let sql = format!("SELECT ({condition}) IS TRUE FROM {from} AS {name} LIMIT 0");
        let next = match self.left_out.is_empty() && self.kept.is_empty() {
            true => {
                "write --where 'TABLE: CONDITION', the condition as it would stand behind WHERE; quote it from the shell"
            }
            false => {
                "write --where 'TABLE: CONDITION'; beside --columns, the condition may name those columns and those of the key: name more of them"
            }
        };
        client.query_typed(&sql, &[]).await.map_err(|error| {
            let what = Failure::from_server(&error).what;
            Failure::usage(format!("the condition on rows of {} cannot be used: {what}", self.shown))
                .state("the target is untouched")
                .next(next)
        })?;
        Ok(client.batch_execute("SET LOCAL search_path = ''").await?)
    }
}

impl RestorePlan {
    /// Plans a restore of the archived tables that the options want.
    pub fn new(
        archive: &Archive,
        catalog: &Catalog,
        options: &RestoreOptions,
        objects: &ObjectPlan,
    ) -> Result<RestorePlan, Failure> {
        let (filter, host) = (&options.filter, &*options.host);
        let header = archive.header();
        let (coming, going) = (objects.coming(), objects.going());
        let taking = objects.extensions_going();
        let is_in = |set: &HashSet<(String, String)>, schema: &str, name: &str| {
            !set.is_empty() && set.contains(&(schema.to_owned(), name.to_owned()))
        };
        check_matches(header, filter, &options.rows, &Mapping::default())?;
        let names = header.tables.iter().map(|t| (t.schema.as_str(), t.name.as_str()));
        options.preferences.check(options.mode, names)?;
        if let Some(repair) = &options.repair {
            repair.check(header)?;
        }
        let mut plan = RestorePlan::default();
        let mut chosen = HashSet::new();
        let is_made = |r: &Relation| is_in(&objects.made, &r.schema, &r.name);
        let reached = entity::reach(catalog, options)?;
        let is_reached = |table: &model::Table| {
            !reached.is_empty()
                && catalog.find(&table.schema, &table.name).is_some_and(|r| reached.contains(&r.oid))
        };
        for (index, table) in header.tables.iter().enumerate() {
            let is_users = || {
                let live = catalog.find(&table.schema, &table.name);
                is_in(&coming, &table.schema, &table.name) || live.is_some_and(|live| !host.owns(live))
            };
            let carried = host.shares_rows(&table.schema, &table.name) || is_users();
            let is_wanted = match &options.places {
                None => filter.wants(&table.schema, &table.name),
                Some(places) => !places.is_none(index as u32) || is_reached(table),
            };
            if !carried || !is_wanted {
                continue;
            }
            chosen.insert(index as u32);
            if table.large_objects && options.repair.is_some() {
                continue;
            }
            if table.large_objects {
                match large_objects::fit(index as u32, table, catalog, options.mode) {
                    Ok(fitting) => plan.large_objects = Some(fitting),
                    Err(reason) => plan.misfits.push((table.shown(), reason)),
                }
                continue;
            }
            // Its rows come into a table that is not there yet.
            if is_in(&coming, &table.schema, &table.name) || objects.makes_extension(&table.extension) {
                continue;
            }
            let chosen_columns = options.rows.columns(&table.schema, &table.name);
            match fit(catalog, table, host, chosen_columns.as_deref()) {
                Ok(Fit { relation, columns, kept, notes }) => {
                    let taken = |name: &str| columns.iter().flatten().any(|c| c.name == name);
                    let key = catalog.key(relation.oid, taken).cloned();
                    let is_of_columns = chosen_columns.is_some() || !table.left_out.is_empty();
                    if key.is_none() && is_of_columns && !catalog.leaves(relation).into_iter().all(is_made) {
                        plan.misfits.push((table.shown(), NO_KEY.to_owned()));
                        continue;
                    }
                    plan.notes.extend(notes);
                    let left_out: Vec<bool> = columns.iter().map(Option::is_none).collect();
                    let taken: Vec<&ColumnInfo> = columns.into_iter().flatten().collect();
                    let preference = options.preferences.of(&table.schema, &table.name);
                    let mode = preference.mode.unwrap_or(options.mode);
                    let casts: Vec<String> = taken.iter().map(|c| cast(c)).collect();
                    let typed = taken.iter().map(|c| c.name.as_str()).zip(casts.iter().map(String::as_str));
                    let rules = Rules::new(&preference, typed);
                    let condition = options.rows.condition(&table.schema, &table.name);
                    let of_condition = condition.iter().map(|c| format!("WHERE ({c}) IS TRUE"));
                    let places = options.places.clone().filter(|places| !places.is_all(index as u32));
                    let of_places = places.iter().map(|_| entity::NONE.to_owned());
                    let removable = removable(table, relation).into_iter();
                    let removable = removable.chain(of_condition).chain(of_places).collect();
                    let names: Vec<String> = taken.iter().map(|c| c.name.clone()).collect();
                    let reasons =
                        |repair| repair::reasons(repair, catalog, table, relation, key.as_ref(), &taken);
                    let reasons = options.repair.as_ref().map(reasons).unwrap_or_default();
                    plan.tables.push(TablePlan {
                        index: index as u32,
                        shown: table.shown(),
                        name: relation.name.clone(),
                        relation: relation.oid,
                        quoted: relation.quoted(),
                        from_item: relation.from_item(),
                        refusing: Refusing::new(options.rejects.as_ref(), &names),
                        columns: names,
                        forms: table.columns.iter().map(|c| c.form).collect(),
                        left_out: if left_out.contains(&true) { left_out } else { Vec::new() },
                        kept,
                        casts,
                        copy_options: settings::copy_options(&catalog.server.encoding),
                        key,
                        extension: table.extension.clone(),
                        mode,
                        counts_live_only: mode == Mode::Exact || (mode == Mode::Newer && options.compares),
                        rules,
                        chosen: condition,
                        reasons,
                        places,
                        removable,
                        staged_in: stage::TEMPORARY,
                    });
                }
                // A version of the host's may do without a table, of which nobody misses anything.
                Err(_)
                    if host.manages(&table.schema) && archive.totals().table_rows.get(index) == Some(&0) => {}
                Err(reason) => {
                    let left = objects.left.get(&(table.schema.clone(), table.name.clone()));
                    plan.misfits.push((table.shown(), left.cloned().unwrap_or(reason)));
                }
            }
        }
        // What stays behind when its database is backed up may not even be locked.
        let goes_along = |r: &Relation| {
            r.extension.as_deref().is_some_and(|e| taking.contains(e))
                && host.carries_rows(r)
                && !extensions::keeps_objects(r)
        };
        let gone = catalog.relations.iter().filter(|r| is_in(&going, &r.schema, &r.name) || goes_along(r));
        plan.going = gone.map(|r| r.oid).collect();
        let joining = objects.attached();
        let stays = |r: &&Relation| is_in(&joining, &r.schema, &r.name) && !plan.going.contains(&r.oid);
        plan.joining = catalog.relations.iter().filter(stays).map(|r| r.oid).collect();
        plan.set_aside_overlaps(catalog, &objects.detached());
        for sequence in &header.sequences {
            // A sequence that no table uses goes along when all tables do.
            let live =
                catalog.sequences.iter().find(|s| s.schema == sequence.schema && s.name == sequence.name);
            let is_hosts = host.manages(&sequence.schema) && live.is_none_or(|live| !live.is_owner);
            let with_all = filter.is_all() && !is_hosts;
            let wanted = with_all || sequence.used_by.iter().any(|t| chosen.contains(t));
            // That of a queue comes with its table.
            let with_table =
                |t: &u32| header.tables.get(*t as usize).is_some_and(|t| is_in(&coming, &t.schema, &t.name));
            let comes = is_in(&coming, &sequence.schema, &sequence.name)
                || objects.makes_extension(&sequence.extension)
                || sequence.extension.is_some() && sequence.used_by.iter().any(with_table);
            // What an entity's rows have used is used by others, too, but not in a copy.
            if !wanted || comes || (options.places.is_some() && options.mapping.is_none()) {
                continue;
            }
            let own_name = (sequence.schema.clone(), sequence.name.clone());
            let (schema, name) = objects.stand_ins.get(&own_name).unwrap_or(&own_name);
            let found = catalog.sequences.iter().find(|s| s.schema == *schema && s.name == *name);
            match found {
                Some(target) => {
                    plan.sequences.push(SequencePlan { archived: sequence.clone(), target: target.clone() })
                }
                None => plan.misfits.push((sequence.shown(), "the target has no such sequence".to_owned())),
            }
        }
        sort_parents_first(&mut plan.tables, catalog);
        Ok(plan)
    }

    /// Sets aside tables that are partitions of one another by now, and stay so: each would write the other's rows.
    fn set_aside_overlaps(&mut self, catalog: &Catalog, detached: &HashSet<(String, String)>) {
        let stays = |oid: &u32| {
            let relation = catalog.relation(*oid);
            relation.is_some_and(|r| !detached.contains(&(r.schema.clone(), r.name.clone())))
        };
        let mut overlaps = Vec::new();
        for table in &self.tables {
            let above = |oid: &u32| catalog.relation(*oid).and_then(|r| r.partition_of);
            let attached =
                std::iter::successors(Some(table.relation), |oid| above(oid).filter(|_| stays(oid)));
            for above in attached.skip(1) {
                if let Some(parent) = self.tables.iter().find(|t| t.relation == above) {
                    let reason =
                        "in the target one is a partition of the other, in the archive they are apart";
                    overlaps.push((table.index, format!("with table {}: {reason}", parent.shown)));
                    overlaps.push((parent.index, format!("with table {}: {reason}", table.shown)));
                }
            }
        }
        for (index, reason) in overlaps {
            // One reason is enough for a table with several.
            if let Some(at) = self.tables.iter().position(|t| t.index == index) {
                self.misfits.push((self.tables.remove(at).shown, reason));
            }
        }
    }

    /// The failure that names every misfit.
    pub fn misfit_failure(&self) -> Failure {
        let list: Vec<String> =
            self.misfits.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
        Failure::failed(format!("the archive does not fit the target:\n    {}", list.join("\n    ")))
            .state("the target is untouched")
            .next("bring the target's structure to the archive's, choose tables with --table, or use --keep-going to restore the tables that fit")
    }

    /// Refuses conditions that the server does not take. The transaction goes on only if there is none.
    pub async fn check_conditions(&self, client: &Client) -> Result<(), Failure> {
        for table in self.tables.iter().filter(|t| t.chooses()) {
            table.check_condition(client, &table.from_item).await?;
            repair::check(client, table).await?;
        }
        Ok(())
    }

    /// The tables in scope with everything above and below them in their partition trees.
    pub fn closure(&self, catalog: &Catalog) -> HashSet<u32> {
        let mut set = HashSet::new();
        let others = self.going.iter().chain(&self.joining).copied();
        for root in self.tables.iter().map(|t| t.relation).chain(others) {
            let mut below = vec![root];
            while let Some(oid) = below.pop() {
                set.insert(oid);
                below.extend(catalog.partitions(oid).map(|p| p.oid));
            }
            set.extend(catalog.ancestors(root));
        }
        set
    }

    /// The tables that are locked and saved: those whose rows are restored, and those that are removed; of a
    /// partition tree that is removed, its top.
    pub fn roots<'a>(&self, catalog: &'a Catalog) -> Vec<&'a Relation> {
        let is_restored = |oid: &u32| self.tables.iter().any(|t| t.relation == *oid);
        // A partition that is about to be taken off is locked and saved with its tree.
        let is_taken = |above: u32| self.going.contains(&above) || is_restored(&above);
        let stands_alone = |oid: &u32| !catalog.ancestors(*oid).any(is_taken);
        let restored = self.tables.iter().map(|t| t.relation).filter(stands_alone);
        let mut all: Vec<&Relation> = restored.filter_map(|oid| catalog.relation(oid)).collect();
        let others = self.going.iter().chain(&self.joining).copied();
        let others = others.filter(|oid| !is_restored(oid) && stands_alone(oid));
        others
            .filter_map(|oid| catalog.relation(oid))
            .for_each(|relation| with_own_rows(catalog, relation, &mut all));
        all
    }

    /// Tables outside of the scope that foreign keys tie to it.
    pub fn neighbours<'a>(&self, catalog: &'a Catalog) -> Vec<&'a Relation> {
        let scope = self.closure(catalog);
        let keys = self.foreign_keys(catalog);
        let mut oids: Vec<u32> = keys.iter().flat_map(|(c, f)| [c.table, f.references]).collect();
        oids.retain(|oid| !scope.contains(oid));
        oids.sort_unstable();
        oids.dedup();
        oids.into_iter().filter_map(|oid| catalog.relation(oid)).collect()
    }

    /// The foreign keys that touch the tables in scope. Inherited ones are covered by the constraint they come from.
    pub fn foreign_keys<'a>(&self, catalog: &'a Catalog) -> Vec<(&'a ConstraintInfo, &'a ForeignKey)> {
        let scope = self.closure(catalog);
        catalog
            .constraints
            .iter()
            .filter_map(|c| c.foreign_key.as_ref().map(|f| (c, f)))
            .filter(|(c, f)| !f.inherited && (scope.contains(&c.table) || scope.contains(&f.references)))
            .collect()
    }
}

/// Without a key a row of which only some columns are taken would be met by none, or by somebody else's.
const NO_KEY: &str =
    "the target has no key by which rows could be found of which only some columns are restored";

/// Refuses what means no table of the archive.
pub fn check_matches(
    header: &model::Header,
    filter: &TableFilter,
    rows: &RowChoice,
    mapping: &Mapping,
) -> Result<(), Failure> {
    let tables = header.tables.iter().map(|t| (t.schema.as_str(), t.name.as_str()));
    // Views and the like are chosen, too, where the archive has definitions.
    let relations = header.schema.iter().flat_map(|s| &s.objects).filter(|o| o.kind.is_relation());
    let relations = relations.map(|o| (o.schema.as_deref().unwrap_or_default(), o.name.as_str()));
    let mut unmatched = filter.unmatched(tables.clone().chain(relations));
    unmatched.extend(rows.unmatched(tables.clone()));
    unmatched.extend(mapping.unmatched(tables));
    if unmatched.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = unmatched.iter().map(|p| format!("{p:?}")).collect();
    Err(Failure::usage(format!("no table of the archive matches {}", list.join(", ")))
        .state("the target is untouched")
        .next("see what is inside with: pgkeep show FILE"))
}

/// Adds a tree whose rows are all on this server, else the parts of it of which that is so.
fn with_own_rows<'a>(catalog: &'a Catalog, relation: &'a Relation, all: &mut Vec<&'a Relation>) {
    if catalog.leaves(relation).iter().all(|r| r.kind != RelationKind::Foreign) {
        all.push(relation);
    } else {
        catalog.partitions(relation.oid).for_each(|r| with_own_rows(catalog, r, all));
    }
}

/// The condition on rows that may be removed. It is the target's own: the archive's is no SQL of ours to run.
fn removable(table: &model::Table, relation: &Relation) -> Option<String> {
    let of_extension = extensions::removable(relation.extension.as_deref(), &relation.schema, &relation.name);
    if of_extension.is_some() {
        return of_extension;
    }
    let given = |condition: &&String| !condition.trim().is_empty();
    table.condition.as_ref().filter(given)?;
    Some(relation.condition.as_ref().filter(given).cloned().unwrap_or_else(|| "WHERE false".to_owned()))
}

/// Orders tables so that those referred to come first. Tables of a circle keep their order among themselves.
fn sort_parents_first(tables: &mut Vec<TablePlan>, catalog: &Catalog) {
    let mut rest: Vec<TablePlan> = std::mem::take(tables);
    let edges: Vec<(u32, u32)> = catalog
        .constraints
        .iter()
        .filter_map(|c| c.foreign_key.as_ref().map(|f| (c.table, f.references)))
        .filter(|(child, parent)| child != parent)
        .collect();
    let mut waiting: HashSet<u32> = rest.iter().map(|t| t.relation).collect();
    while !rest.is_empty() {
        let free = |t: &TablePlan| {
            !edges.iter().any(|(child, parent)| *child == t.relation && waiting.contains(parent))
        };
        // In a circle nobody is free: the first is taken, and constraints are checked at the end anyway.
        let (mut ready, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(|t| free(t));
        rest = later;
        if ready.is_empty() {
            ready.push(rest.remove(0));
        }
        for table in &ready {
            waiting.remove(&table.relation);
        }
        tables.extend(ready);
    }
}
