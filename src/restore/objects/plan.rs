//! How archived objects meet those of a target that holds some: what is made, what is replaced and by which way, what
//! has to give way for that and comes back, and what stays although it differs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{IfExists, ObjectOptions, removal};
use crate::failure::Failure;
use crate::postgres::quote;
use crate::schema::compare::differences;
use crate::schema::{Kind, Object, Section};

/// What will become of objects.
#[derive(Clone, Debug, Default)]
pub struct ObjectPlan {
    /// Objects of the target that are removed, in the order of their removal.
    pub remove: Vec<Object>,
    /// Objects of the target that go along with those, without a statement of their own.
    pub along: Vec<Object>,
    /// Archived objects that are made, in their order.
    pub make: Vec<Object>,
    /// Removed objects that the archive does not have, and that are made again, in their order.
    pub put_back: Vec<Object>,
    /// Archived objects that replace the target's without its being removed: archived and live.
    pub in_place: Vec<(Object, Object)>,
    /// Objects of which only owner, comments or privileges are changed: archived and live.
    pub adjust: Vec<(Object, Object)>,
    /// The target's default privileges, which must not act upon what is made or put back.
    pub default_privileges: Vec<Object>,
    /// Objects of which could not be told whether they can be replaced in place, because others hold them.
    pub untried: Vec<String>,
    /// Objects that differ and stay, and what differs.
    pub differing: BTreeMap<String, String>,
    /// Objects that are there just so.
    pub same: usize,
}

/// Which objects the undoing of a restore is about: the identities that the restore touched.
pub type Touched<'a> = Option<&'a [String]>;

impl ObjectPlan {
    /// Plans how `archived` meets `live`. Objects in `not_in_place` cannot be replaced in place: they are removed and
    /// made again.
    pub fn new(
        archived: &[Object],
        live: &[Object],
        options: &ObjectOptions,
        touched: Touched<'_>,
        not_in_place: &HashSet<String>,
    ) -> Result<ObjectPlan, Failure> {
        let touched: Option<HashSet<&str>> = touched.map(|all| all.iter().map(String::as_str).collect());
        let in_scope = |o: &&Object| touched.as_ref().is_none_or(|t| t.contains(o.identity.as_str()));
        let archived: Vec<&Object> = archived.iter().filter(in_scope).collect();
        let at: HashMap<&str, usize> =
            live.iter().enumerate().map(|(n, o)| (o.identity.as_str(), n)).collect();
        let wanted = archived.iter().filter(|o| options.wants(o.kind));
        let archived_at: HashMap<&str, &Object> = wanted.map(|o| (o.identity.as_str(), *o)).collect();
        let rollback = touched.is_some();
        let mut plan = ObjectPlan::default();
        let mut refused = Vec::new();
        let mut removed: BTreeSet<usize> = BTreeSet::new();
        if rollback {
            // What the restore made goes again.
            let made = |o: &&Object| in_scope(o) && !archived_at.contains_key(o.identity.as_str());
            removed.extend(live.iter().filter(made).filter_map(|o| at.get(o.identity.as_str())));
        }
        for object in &archived {
            let is_wanted = options.wants(object.kind);
            let Some(n) = at.get(object.identity.as_str()).copied() else {
                if is_wanted && !is_declared_already(object, &at) && object.kind != Kind::LargeObject {
                    plan.make.push((*object).clone());
                }
                continue;
            };
            let there = &live[n];
            let part = (!is_wanted).then(|| plan.part_of(object, there, options));
            let object = part.as_ref().unwrap_or(object);
            let what = what_differs(object, there, options);
            if options.clean && is_wanted && is_removable(object) {
                removed.insert(n);
            } else if what.is_empty() {
                plan.same += 1;
            } else if rollback || options.clean || options.if_exists == IfExists::Replace {
                if !what.contains(&"definition") || !is_removable(object) {
                    if what.contains(&"definition") {
                        let hint = match object.kind {
                            Kind::Subscription => ": see ALTER SUBSCRIPTION",
                            _ => "",
                        };
                        plan.differing.insert(object.identity.clone(), format!("definition{hint}"));
                    }
                    if what != ["definition"] {
                        plan.adjust.push((object.clone(), there.clone()));
                    }
                } else if can_be_in_place(object)
                    && can_be_in_place(there)
                    && !not_in_place.contains(&object.identity)
                {
                    plan.in_place.push((object.clone(), there.clone()));
                } else {
                    removed.insert(n);
                }
            } else if options.if_exists == IfExists::Fail {
                refused.push(format!("{} ({})", object.identity, what.join(", ")));
            } else {
                plan.differing.insert(object.identity.clone(), what.join(", "));
            }
        }
        if !refused.is_empty() {
            return Err(Failure::failed(format!("objects of the target differ from the archive's:\n    {}", refused.join("\n    ")))
                .state("the target is untouched")
                .next("see how with pgkeep diff FILE live --schema --full; --if-exists skip leaves them as they are, --if-exists replace replaces them"));
        }
        plan.give_way(live, &archived_at, removed, rollback)?;
        plan.default_privileges =
            live.iter().filter(|o| o.kind == Kind::DefaultPrivileges).cloned().collect();
        Ok(plan)
    }

    /// What the archive has of an object of which only a part was chosen: its privileges. A table's constraints and
    /// defaults may stand in its definition, which is not changed; so that it differs is reported.
    fn part_of(&mut self, archived: &Object, live: &Object, options: &ObjectOptions) -> Object {
        if options.wants_inline()
            && archived.kind == Kind::Table
            && what_differs(archived, live, options).contains(&"definition")
        {
            let what = "definition, of which constraints and defaults may be a part".to_owned();
            self.differing.insert(archived.identity.clone(), what);
        }
        match options.only.contains(&Kind::Privileges) {
            true => Object { privileges: archived.privileges.clone(), ..live.clone() },
            false => live.clone(),
        }
    }

    /// Removes what needs the removed ones, too, and sees to it that it comes back.
    fn give_way(
        &mut self,
        live: &[Object],
        archived: &HashMap<&str, &Object>,
        chosen: BTreeSet<usize>,
        rollback: bool,
    ) -> Result<(), Failure> {
        let mut needed_by: HashMap<usize, Vec<usize>> = HashMap::new();
        for (n, object) in live.iter().enumerate() {
            object.needs.iter().for_each(|need| needed_by.entry(*need as usize).or_default().push(n));
        }
        let declarations: HashMap<&str, usize> = live
            .iter()
            .enumerate()
            .filter_map(|(n, o)| Some((o.identity.strip_prefix("SHELL OF ")?, n)))
            .collect();
        // Partitions that are to be taken off stay.
        let is_attachment = |o: &&Object| o.kind == Kind::Attachment && o.section == Section::PreData;
        let detached: HashSet<(Option<&String>, &String)> = chosen
            .iter()
            .map(|n| &live[*n])
            .filter(is_attachment)
            .filter_map(|o| o.table.as_ref().map(|(schema, name)| (Some(schema), name)))
            .collect();
        let mut removed = chosen.clone();
        let mut next: Vec<usize> = chosen.iter().copied().collect();
        let mut blocked = Vec::new();
        while let Some(n) = next.pop() {
            // What a materialized view was filled from may be empty afterwards.
            let is_data = live[n].kind == Kind::Refresh;
            let mut along = needed_by.get(&n).filter(|_| !is_data).cloned().unwrap_or_default();
            // A sequence goes with the column that it belongs to.
            if live[n].kind == Kind::SequenceOwner
                && live[n].needs.iter().any(|t| is_table_in(live, *t, &removed))
            {
                let sequences = live[n].needs.iter().map(|s| *s as usize);
                along.extend(sequences.filter(|s| live[*s].kind == Kind::Sequence));
            }
            along.extend(declared(live, n, &declarations));
            for other in along {
                if removed.contains(&other) {
                    continue;
                }
                let (object, cause) = (&live[other], &live[n]);
                // What inherits from a table is what that is; its rows are in the archive where it is.
                let is_heir = is_table(cause) && archived.contains_key(object.identity.as_str());
                let holds_rows = is_table(object) && !is_heir;
                if holds_rows && detached.contains(&(object.schema.as_ref(), &object.name)) {
                    continue;
                }
                if holds_rows || (cause.kind == Kind::Schema && object.kind != Kind::Privileges) {
                    blocked.push(format!("{} needs {}", object.identity, cause.identity));
                    continue;
                }
                removed.insert(other);
                next.push(other);
            }
        }
        if !blocked.is_empty() {
            return Err(blocked_failure(&blocked, rollback));
        }
        let making: HashSet<String> = self.make.iter().map(|o| o.identity.clone()).collect();
        let gone: HashSet<&str> = removed.iter().map(|n| live[*n].identity.as_str()).collect();
        let is_archived = |o: &Object| archived.contains_key(whole(&o.identity));
        let (back, in_the_way) = removal::coming_back(live, &removed, &chosen, is_archived);
        if !in_the_way.is_empty() {
            return Err(blocked_failure(&in_the_way, rollback));
        }
        self.put_back.extend(back.into_iter().map(|n| live[n].clone()));
        self.in_place.retain(|(o, _)| !gone.contains(o.identity.as_str()));
        self.adjust.retain(|(o, _)| !gone.contains(o.identity.as_str()));
        self.differing.retain(|identity, _| !gone.contains(identity.as_str()));
        let goes = |o: &&&Object| gone.contains(whole(&o.identity)) || gone.contains(o.identity.as_str());
        let again = archived.values().filter(goes).filter(|o| !making.contains(&o.identity));
        self.make.extend(again.map(|o| (*o).clone()));
        let (statements, along) = removal::split(live, &removed);
        let objects = |all: Vec<usize>| all.into_iter().map(|n| live[n].clone()).collect();
        (self.remove, self.along) = (objects(statements), objects(along));
        Ok(())
    }

    /// Puts what is made into the archive's order.
    pub fn in_order_of(mut self, archived: &[Object]) -> ObjectPlan {
        let order: HashMap<&str, usize> =
            archived.iter().enumerate().map(|(n, o)| (o.identity.as_str(), n)).collect();
        self.make.sort_by_key(|o| order.get(o.identity.as_str()).copied());
        self
    }

    /// Whether nothing is changed.
    pub fn is_none(&self) -> bool {
        self.remove.is_empty()
            && self.along.is_empty()
            && self.make.is_empty()
            && self.put_back.is_empty()
            && self.in_place.is_empty()
            && self.adjust.is_empty()
    }

    /// The identities of everything that is made, removed or changed.
    pub fn touched(&self) -> Vec<String> {
        let changed = self.in_place.iter().chain(&self.adjust).map(|(o, _)| o);
        let all = self.gone().chain(&self.make).chain(&self.put_back).chain(changed);
        all.map(|o| o.identity.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Everything that is removed, to be made again or not.
    fn gone(&self) -> impl Iterator<Item = &Object> {
        self.remove.iter().chain(&self.along)
    }

    /// The identities of everything that takes the place of something.
    pub fn replaced(&self) -> Vec<String> {
        let gone: HashSet<&str> = self.gone().map(|o| o.identity.as_str()).collect();
        let made = self.make.iter().filter(|o| gone.contains(o.identity.as_str()));
        let changed = self.in_place.iter().chain(&self.adjust).map(|(o, _)| o);
        made.chain(&self.put_back).chain(changed).map(|o| o.identity.clone()).collect()
    }

    /// How many objects are made where none was.
    pub fn new_ones(&self) -> u64 {
        let gone: HashSet<&str> = self.gone().map(|o| o.identity.as_str()).collect();
        self.make.iter().filter(|o| !gone.contains(o.identity.as_str())).count() as u64
    }

    /// Identities of what is removed and does not come back.
    pub fn removed_for_good(&self) -> Vec<String> {
        let back: HashSet<&str> =
            self.make.iter().chain(&self.put_back).map(|o| o.identity.as_str()).collect();
        self.gone().filter(|o| !back.contains(o.identity.as_str())).map(|o| o.identity.clone()).collect()
    }

    /// Whether it is one that the archive does not have, and that is made again.
    pub fn is_put_back(&self, object: &Object) -> bool {
        self.put_back.iter().any(|o| o.identity == object.identity)
    }

    /// Sequences that are removed and made again.
    pub fn sequences_anew(&self) -> impl Iterator<Item = &Object> {
        let made = self.make.iter().chain(&self.put_back).filter(|o| o.kind == Kind::Sequence);
        let made: HashSet<&str> = made.map(|o| o.identity.as_str()).collect();
        self.gone().filter(move |o| o.kind == Kind::Sequence && made.contains(o.identity.as_str()))
    }

    /// Tables and sequences that are made, by schema and name.
    pub fn coming(&self) -> HashSet<(String, String)> {
        let relations = self.make.iter().chain(&self.put_back).filter(|o| o.kind.is_relation());
        relations.map(|o| (o.schema.clone().unwrap_or_default(), o.name.clone())).collect()
    }

    /// Whether the extension, if any is given, is made, and with it what it brings.
    pub fn makes_extension(&self, name: &Option<String>) -> bool {
        name.as_ref()
            .is_some_and(|name| self.make.iter().any(|o| o.kind == Kind::Extension && o.name == *name))
    }

    /// Extensions that are removed, with their tables.
    pub fn extensions_going(&self) -> HashSet<&str> {
        self.gone().filter(|o| o.kind == Kind::Extension).map(|o| o.name.as_str()).collect()
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

    /// Tables that become partitions, by schema and name.
    pub fn attached(&self) -> HashSet<(String, String)> {
        let made = self.make.iter().chain(&self.put_back);
        let attachments = made.filter(|o| o.kind == Kind::Attachment && o.section == Section::PreData);
        attachments.filter_map(|o| o.table.clone()).collect()
    }

    /// Partitions that are taken off and stay, by schema and name.
    pub fn detached(&self) -> HashSet<(String, String)> {
        let attachments = self.remove.iter();
        let attachments = attachments.filter(|o| o.kind == Kind::Attachment && o.section == Section::PreData);
        attachments.filter_map(|o| o.table.clone()).collect()
    }

    /// Tables that are removed, by schema and name.
    pub fn going(&self) -> HashSet<(String, String)> {
        let relations = self.gone().filter(|o| is_table(o));
        relations.map(|o| (o.schema.clone().unwrap_or_default(), o.name.clone())).collect()
    }

    /// The partitions that are made for tables that are there.
    pub fn joining(&self) -> Joining {
        let made = || self.make.iter().chain(&self.put_back);
        let tables: HashSet<&str> = made().filter_map(|o| o.identity.strip_prefix("TABLE ")).collect();
        let joins = |o: &&Object| {
            let above = o.create.first().and_then(|sql| sql.strip_prefix("ALTER TABLE ONLY "));
            let above = above.and_then(|sql| Some(sql.split_once(" ATTACH PARTITION ")?.0));
            above.is_some_and(|above| !tables.contains(above))
        };
        let attachments = made().filter(|o| o.kind == Kind::Attachment && o.section == Section::PreData);
        Joining { partitions: attachments.filter(joins).filter_map(|o| o.table.clone()).collect() }
    }

    /// What is made in this section, put back ones behind; without what is made last of all.
    pub fn made_in(&self, section: Section) -> Vec<&Object> {
        let all = self.make.iter().chain(&self.put_back);
        all.filter(|o| o.section == section && !o.kind.is_last()).collect()
    }

    /// What is made last of all, event triggers behind the filling of views, which they would act upon.
    pub fn made_last(&self) -> Vec<&Object> {
        let all = self.make.iter().chain(&self.put_back).filter(|o| o.kind.is_last());
        let (triggers, others): (Vec<&Object>, Vec<&Object>) =
            all.partition(|o| o.kind == Kind::EventTrigger);
        [others, triggers].concat()
    }
}

/// Partitions of tables that are there. The server makes a partition's indexes when it is attached, by names of its own
/// choice, unless it has them: so those of the archive are made first.
#[derive(Debug, Default)]
pub struct Joining {
    partitions: HashSet<(String, String)>,
}

impl Joining {
    fn is_of(&self, object: &Object) -> bool {
        object.table.as_ref().is_some_and(|table| self.partitions.contains(table))
    }

    /// Whether this is the attachment of such a partition.
    pub fn is_attachment(&self, object: &Object) -> bool {
        object.kind == Kind::Attachment && object.section == Section::PreData && self.is_of(object)
    }

    /// Whether this is an index of such a partition, or a constraint that is made of one.
    pub fn is_index(&self, object: &Object) -> bool {
        matches!(object.kind, Kind::Index | Kind::Constraint)
            && object.section == Section::PostData
            && self.is_of(object)
    }
}

/// What differs of what is wanted.
fn what_differs(archived: &Object, live: &Object, options: &ObjectOptions) -> Vec<&'static str> {
    let mut what = differences(archived, live);
    what.retain(|w| match *w {
        "owner" => !options.style.no_owner,
        "privileges" => !options.style.no_privileges,
        _ => true,
    });
    what
}

/// The identity of what an object declares or is.
fn whole(identity: &str) -> &str {
    identity.strip_prefix("SHELL OF ").unwrap_or(identity)
}

fn blocked_failure(blocked: &[String], rollback: bool) -> Failure {
    let (what, next) = match rollback {
        true => (
            "the restore cannot be undone while what came later needs what it made",
            "drop these first, or change them so that they need it no more: a rollback removes nothing that came later",
        ),
        false => (
            "objects cannot be replaced while others need them",
            "change them by hand (ALTER …), drop what needs them, leave them as they are with --if-exists skip, or replace the tables as well: --clean",
        ),
    };
    Failure::failed(format!("{what}:\n    {}", blocked.join("\n    ")))
        .state("the target is untouched")
        .next(next)
}

pub(super) fn is_table(object: &Object) -> bool {
    matches!(object.kind, Kind::Table | Kind::ForeignTable)
}

fn is_table_in(live: &[Object], n: u32, removed: &BTreeSet<usize>) -> bool {
    removed.contains(&(n as usize)) && live.get(n as usize).is_some_and(is_table)
}

/// What goes with an object that was declared first: its declaration, and a type's own functions.
fn declared(live: &[Object], n: usize, declarations: &HashMap<&str, usize>) -> Vec<usize> {
    let object = &live[n];
    let Some(declaration) = declarations.get(object.identity.as_str()) else { return Vec::new() };
    let needs = object.needs.iter().map(|need| *need as usize);
    let is_own = |n: &usize| live[*n].kind == Kind::Function && live[*n].drop.is_empty();
    needs.filter(is_own).chain([*declaration]).collect()
}

/// Schemas and extensions hold what is not the archive's: they are never removed to be made again. What cannot be
/// removed cannot be made again. Large objects come and go with their bytes. A subscription that is made again is not
/// active and knows no table: replication would stop.
fn is_removable(object: &Object) -> bool {
    use Kind::{Extension, Language, LargeObject, Schema, Subscription};
    !matches!(object.kind, Schema | Extension | Language | LargeObject | Subscription)
        && !object.drop.is_empty()
}

/// Whether SQL knows a way to replace it that leaves what needs it alone.
fn can_be_in_place(object: &Object) -> bool {
    match object.kind {
        Kind::Function | Kind::Procedure | Kind::View => true,
        // Not that of an identity column, and none that is unlogged: there is more to them.
        Kind::Sequence => object.create.iter().all(|sql| sql.starts_with("CREATE SEQUENCE ")),
        _ => false,
    }
}

/// Whether this only declares what the target has whole.
fn is_declared_already(object: &Object, live: &HashMap<&str, usize>) -> bool {
    object.identity.strip_prefix("SHELL OF ").is_some_and(|whole| live.contains_key(whole))
}
