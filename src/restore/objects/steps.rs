//! What an [`ObjectPlan`] does, in the order in which it is done.

use std::collections::{BTreeSet, HashSet};

use super::apply::What;
use super::plan::ObjectPlan;
use crate::postgres::quote;
use crate::schema::{Kind, Object, Section};

/// What is done to get an object there.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// It is made.
    Make(&'a Object),
    /// It had to make room, and is made again.
    PutBack(&'a Object),
    /// It replaces the one that is there.
    Replace(&'a Object),
}

impl<'a> Step<'a> {
    /// The object.
    pub fn object(&self) -> &'a Object {
        let (Step::Make(object) | Step::PutBack(object) | Step::Replace(object)) = self;
        object
    }

    /// Which statements that takes.
    pub fn what(&self) -> What {
        match self {
            Step::Make(_) => What::Definition,
            Step::PutBack(_) => What::PutBack,
            Step::Replace(_) => What::Change,
        }
    }
}

impl ObjectPlan {
    /// What is made or replaced in this section, in the archive's order, put back ones behind; without what is made last
    /// of all.
    pub fn steps_in(&self, section: Section) -> Vec<Step<'_>> {
        let replaced = self.in_place.iter().map(|(o, _)| Step::Replace(o));
        let mut steps: Vec<Step<'_>> = self.make.iter().map(Step::Make).chain(replaced).collect();
        steps.sort_by_key(|step| self.order.get(&step.object().identity).copied());
        steps.extend(self.put_back.iter().map(Step::PutBack));
        steps.retain(|s| s.object().section == section && !s.object().kind.is_last());
        steps
    }

    /// What is made last of all, event triggers behind the filling of views, which they would act upon.
    pub fn made_last(&self) -> Vec<Step<'_>> {
        let all = self.make.iter().map(Step::Make).chain(self.put_back.iter().map(Step::PutBack));
        let (triggers, others): (Vec<Step<'_>>, Vec<Step<'_>>) =
            all.filter(|s| s.object().kind.is_last()).partition(|s| s.object().kind == Kind::EventTrigger);
        [others, triggers].concat()
    }

    /// Sequences that are removed and made again.
    pub fn sequences_anew(&self) -> impl Iterator<Item = &Object> {
        let made = self.make.iter().chain(&self.put_back).filter(|o| o.kind == Kind::Sequence);
        let made: HashSet<&str> = made.map(|o| o.identity.as_str()).collect();
        self.gone().filter(move |o| o.kind == Kind::Sequence && made.contains(o.identity.as_str()))
    }

    /// The tables, views and sequences that are changed or that changed objects belong to, as SQL.
    pub fn relations(&self) -> Vec<String> {
        let changed = self.in_place.iter().chain(&self.adjust).map(|(o, _)| o);
        let all = self.gone().chain(&self.make).chain(&self.put_back).chain(changed);
        let name = |o: &Object| match (&o.table, &o.schema) {
            (Some((schema, table)), _) => Some((schema.clone(), table.clone())),
            (None, Some(schema)) if o.kind.is_relation() => Some((schema.clone(), o.name.clone())),
            _ => None,
        };
        let names: BTreeSet<(String, String)> = all.filter_map(name).collect();
        names
            .iter()
            .map(|(schema, name)| format!("{}.{}", quote::ident(schema), quote::ident(name)))
            .collect()
    }

    /// The partitions that are made for tables that are there. `first`: whether rows are to meet the indexes and constraints
    /// of all tables that are made.
    pub fn joining(&self, first: bool) -> Joining {
        let made = || self.make.iter().chain(&self.put_back);
        let tables: HashSet<&str> = made().filter_map(|o| o.identity.strip_prefix("TABLE ")).collect();
        let joins = |o: &&Object| {
            let above = o.create.first().and_then(|sql| sql.strip_prefix("ALTER TABLE ONLY "));
            let above = above.and_then(|sql| Some(sql.split_once(" ATTACH PARTITION ")?.0));
            above.is_some_and(|above| !tables.contains(above))
        };
        let attachments = made().filter(|o| o.kind == Kind::Attachment && o.section == Section::PreData);
        let partitions = attachments.filter(joins).filter_map(|o| o.table.clone()).collect();
        let new = made().filter(|o| first && o.kind == Kind::Table);
        let new = new.filter_map(|o| Some((o.schema.clone()?, o.name.clone()))).collect();
        Joining { partitions, new }
    }
}

/// Tables whose indexes and constraints are made before the rows: partitions of tables that are there. The server makes a partition's indexes when it is attached, by names of its own
/// choice, unless it has them: so those of the archive are made first. And tables that are made, where each row is to be
/// refused for itself by what would else not be made for all of them.
#[derive(Debug, Default)]
pub struct Joining {
    partitions: HashSet<(String, String)>,
    new: HashSet<(String, String)>,
}

impl Joining {
    fn is_of(&self, object: &Object) -> bool {
        object.table.as_ref().is_some_and(|table| self.partitions.contains(table))
    }

    /// Whether this is the attachment of such a partition.
    pub fn is_attachment(&self, object: &Object) -> bool {
        object.kind == Kind::Attachment && object.section == Section::PreData && self.is_of(object)
    }

    /// Whether this is an index or a constraint that is made before the rows.
    pub fn is_early(&self, object: &Object) -> bool {
        let is_of_new = || object.table.as_ref().is_some_and(|table| self.new.contains(table));
        // What it does not ask of rows that are there it would ask of those that come.
        let is_valid = || !object.create.iter().any(|sql| sql.trim_end().ends_with(" NOT VALID"));
        let is_early = match object.kind {
            Kind::Index | Kind::Constraint => self.is_of(object) || (is_of_new() && is_valid()),
            Kind::ForeignKey | Kind::IndexMark => is_of_new() && is_valid(),
            // The indexes of a partition follow it when it is attached.
            Kind::Attachment => is_of_new() && !self.is_of(object),
            _ => false,
        };
        object.section == Section::PostData && is_early
    }
}
