//! How archived objects meet those of a target that holds some: what is made, what is replaced and by which way, what
//! has to give way for that and comes back, and what stays although it differs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::places::Taken;
use super::{IfExists, ObjectOptions, removal};
use crate::failure::Failure;
use crate::postgres::extensions::tables_of_queue;
use crate::schema::compare::differences;
use crate::schema::{Kind, Object, Schema, Section};

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
    /// Objects of the host's, with privileges that users have given on them and that the target lacks.
    pub grants: Vec<Object>,
    /// The target's default privileges, which must not act upon what is made or put back.
    pub default_privileges: Vec<Object>,
    /// Objects of which could not be told whether they can be replaced in place, because others hold them.
    pub untried: Vec<String>,
    /// Objects that differ and stay, and what differs.
    pub differing: BTreeMap<String, String>,
    /// Archived relations that are not made because something else is in their place, by schema and name, and why.
    pub left: HashMap<(String, String), String>,
    /// Archived sequences that are not made, and those that do their work in the target, by schema and name.
    pub stand_ins: HashMap<(String, String), (String, String)>,
    /// Relations that this restore has made, by schema and name: there is no row in them to meet.
    pub made: HashSet<(String, String)>,
    /// Objects that are there just so.
    pub same: usize,
    /// Positions of archived objects, by identity.
    pub(super) order: HashMap<String, usize>,
}

/// Which objects the undoing of a restore is about: the identities that the restore touched.
pub type Touched<'a> = Option<&'a [String]>;

/// What the archive's tables say of objects, chosen or not.
#[derive(Debug, Default)]
pub struct OfTables {
    /// Identities of the tables whose rows a safety backup brings back.
    pub with_rows: HashSet<String>,
    /// Foreign keys: schema and name of the table, and their own names.
    pub foreign_keys: HashSet<(String, String, String)>,
}

impl ObjectPlan {
    /// Plans how `archived` meets `target`. Objects in `not_in_place` cannot be replaced in place: they are removed and
    /// made again.
    pub fn new(
        archived: &[Object],
        target: &Schema,
        options: &ObjectOptions,
        touched: Touched<'_>,
        of_tables: &OfTables,
        not_in_place: &HashSet<String>,
    ) -> Result<ObjectPlan, Failure> {
        let touched: Option<HashSet<&str>> = touched.map(|all| all.iter().map(String::as_str).collect());
        let in_scope = |o: &&Object| touched.as_ref().is_none_or(|t| t.contains(o.identity.as_str()));
        let live = target.objects.as_slice();
        let all = archived;
        let archived: Vec<&Object> = all.iter().filter(in_scope).collect();
        let at: HashMap<&str, usize> =
            live.iter().enumerate().map(|(n, o)| (o.identity.as_str(), n)).collect();
        let wanted = archived.iter().filter(|o| options.wants(o.kind));
        let archived_at: HashMap<&str, &Object> = wanted.map(|o| (o.identity.as_str(), *o)).collect();
        let rollback = touched.is_some();
        let replaces = rollback || options.clean || options.if_exists == IfExists::Replace;
        let order = all.iter().enumerate().map(|(n, o)| (o.identity.clone(), n)).collect();
        let mut plan = ObjectPlan { order, ..ObjectPlan::default() };
        let mut missing = Vec::new();
        let mut refused = Vec::new();
        let mut removed: BTreeSet<usize> = BTreeSet::new();
        if rollback {
            // What the restore made goes again.
            let made = |o: &&Object| in_scope(o) && !archived_at.contains_key(o.identity.as_str());
            removed.extend(live.iter().filter(made).filter_map(|o| at.get(o.identity.as_str())));
        }
        let undone = removed.clone();
        for object in &archived {
            let is_wanted = options.wants(object.kind);
            let Some(n) = at.get(object.identity.as_str()).copied() else {
                if is_wanted && !is_declared_already(object, &at) && object.kind != Kind::LargeObject {
                    missing.extend(plan.order.get(&object.identity));
                }
                continue;
            };
            let there = &live[n];
            let part = (!is_wanted).then(|| plan.part_of(object, there, options));
            let object = part.as_ref().unwrap_or(object);
            let what = what_differs(object, there, options);
            // Those of a host's roles nobody else may remove.
            let stays = object.kind == Kind::DefaultPrivileges && options.style.left.is_some();
            if options.clean && is_wanted && is_removable(object) && !stays {
                removed.insert(n);
            } else if what.is_empty() {
                plan.same += 1;
            } else if replaces {
                let redefined = what.contains(&"definition");
                let can = can_be_in_place(object) && can_be_in_place(there);
                if redefined && can && !not_in_place.contains(&object.identity) {
                    plan.in_place.push((object.clone(), there.clone()));
                } else if redefined && is_removable(object) {
                    removed.insert(n);
                } else {
                    if redefined {
                        let hint = match object.kind {
                            Kind::Subscription => ": see ALTER SUBSCRIPTION",
                            _ => "",
                        };
                        plan.differing.insert(object.identity.clone(), format!("definition{hint}"));
                    }
                    if what.iter().any(|w| *w != "definition") {
                        plan.adjust.push((object.clone(), there.clone()));
                    }
                }
            } else if options.if_exists == IfExists::Fail {
                refused.push(format!("{} ({})", object.identity, what.join(", ")));
            } else {
                plan.differing.insert(object.identity.clone(), what.join(", "));
            }
        }
        let known = Known { archived: &archived_at, of_tables };
        let left_out = plan.make_missing(all, missing, target, &known, (replaces, rollback), &mut removed)?;
        if options.if_exists == IfExists::Fail && !replaces {
            refused.extend(left_out);
        }
        if !refused.is_empty() {
            return Err(Failure::failed(format!("objects of the target differ from the archive's:\n    {}", refused.join("\n    ")))
                .state("the target is untouched")
                .next("see how with pgkeep diff FILE live --schema --full; --if-exists skip leaves them as they are, --if-exists replace replaces them"));
        }
        let undone = rollback.then_some(&undone);
        let clean = options.clean;
        plan.give_way(live, &known, removed, undone)
            .map_err(|blocked| removal::blocked_failure(&blocked, rollback, clean))?;
        plan.default_privileges =
            live.iter().filter(|o| o.kind == Kind::DefaultPrivileges).cloned().collect();
        plan.make.sort_by_key(|o| plan.order.get(&o.identity).copied());
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

    /// Sees to the archived objects at `missing`, which the target does not have: they are made, where nothing else is in
    /// their place or what is there makes room. Returns the others, and why.
    fn make_missing(
        &mut self,
        archived: &[Object],
        missing: Vec<usize>,
        target: &Schema,
        known: &Known<'_>,
        (replaces, rollback): (bool, bool),
        removed: &mut BTreeSet<usize>,
    ) -> Result<Vec<String>, Failure> {
        let taken = Taken::of(target);
        if replaces {
            removed.extend(missing.iter().flat_map(|at| taken.making_room(&archived[*at])));
        }
        let (gone, _) = closure(&target.objects, known, removed);
        let left = taken.left(archived, &missing, &gone, rollback);
        if replaces && !left.taken.is_empty() {
            return Err(Failure::failed(format!(
                "something else is in the place of what is to come back:\n    {}",
                left.taken.join("\n    ")
            ))
            .state("the target is untouched")
            .next("rename or remove what is in its place (ALTER … RENAME …, DROP …), then run the same command again"));
        }
        let mut refused = Vec::new();
        for (at, reason) in &left.at {
            let object = &archived[*at];
            refused.push(format!("{} ({reason})", object.identity));
            if object.kind.is_relation() {
                let name = (object.schema.clone().unwrap_or_default(), object.name.clone());
                self.left.insert(name, reason.clone());
            }
            self.differing.insert(object.identity.clone(), reason.clone());
        }
        let is_made = |at: &&usize| !left.at.contains_key(at) && !left.declarations.contains(at);
        self.make = missing.iter().filter(is_made).map(|at| archived[*at].clone()).collect();
        self.stand_ins = left.stand_ins;
        Ok(refused)
    }

    /// Removes what needs the removed ones, too, and sees to it that it comes back; or what is in the way of that.
    fn give_way(
        &mut self,
        live: &[Object],
        known: &Known<'_>,
        chosen: BTreeSet<usize>,
        undone: Option<&BTreeSet<usize>>,
    ) -> Result<(), Vec<String>> {
        let (removed, blocked) = closure(live, known, &chosen);
        if !blocked.is_empty() {
            return Err(blocked);
        }
        let making: HashSet<String> = self.make.iter().map(|o| o.identity.clone()).collect();
        let gone: HashSet<&str> = removed.iter().map(|n| live[*n].identity.as_str()).collect();
        let (back, in_the_way) = removal::coming_back(live, &removed, &chosen, undone, known);
        if !in_the_way.is_empty() {
            return Err(in_the_way);
        }
        self.put_back = back.into_iter().map(|n| live[n].clone()).collect();
        self.in_place.retain(|(o, _)| !gone.contains(o.identity.as_str()));
        self.adjust.retain(|(o, _)| !gone.contains(o.identity.as_str()));
        self.differing.retain(|identity, _| !gone.contains(identity.as_str()));
        let goes = |o: &&&Object| {
            let whole = o.identity.strip_prefix("SHELL OF ").unwrap_or(&o.identity);
            gone.contains(whole) || gone.contains(o.identity.as_str())
        };
        let again = known.archived.values().filter(goes).filter(|o| !making.contains(&o.identity));
        self.make.extend(again.map(|o| (*o).clone()));
        let (statements, along) = removal::split(live, &removed);
        let objects = |all: Vec<usize>| all.into_iter().map(|n| live[n].clone()).collect();
        (self.remove, self.along) = (objects(statements), objects(along));
        Ok(())
    }

    /// What is left of the plan when it has been carried out.
    pub fn done(&self) -> ObjectPlan {
        let (left, stand_ins) = (self.left.clone(), self.stand_ins.clone());
        ObjectPlan { left, stand_ins, made: self.coming(), ..ObjectPlan::default() }
    }

    /// Whether nothing is changed.
    pub fn is_none(&self) -> bool {
        self.remove.is_empty()
            && self.along.is_empty()
            && self.make.is_empty()
            && self.put_back.is_empty()
            && self.in_place.is_empty()
            && self.adjust.is_empty()
            && self.grants.is_empty()
    }

    /// The identities of everything that is made, removed or changed.
    pub fn touched(&self) -> Vec<String> {
        let changed = self.in_place.iter().chain(&self.adjust).map(|(o, _)| o).chain(&self.grants);
        let all = self.gone().chain(&self.make).chain(&self.put_back).chain(changed);
        all.map(|o| o.identity.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Everything that is removed, to be made again or not.
    pub(super) fn gone(&self) -> impl Iterator<Item = &Object> {
        self.remove.iter().chain(&self.along)
    }

    /// The identities of everything that takes the place of something.
    pub fn replaced(&self) -> Vec<String> {
        let gone: HashSet<&str> = self.gone().map(|o| o.identity.as_str()).collect();
        let made = self.make.iter().filter(|o| gone.contains(o.identity.as_str()));
        let changed = self.in_place.iter().chain(&self.adjust).map(|(o, _)| o).chain(&self.grants);
        made.chain(&self.put_back).chain(changed).map(|o| o.identity.clone()).collect()
    }

    /// Objects that are made where none was.
    pub fn new_ones(&self) -> impl Iterator<Item = &Object> {
        let gone: HashSet<&str> = self.gone().map(|o| o.identity.as_str()).collect();
        self.make.iter().filter(move |o| !gone.contains(o.identity.as_str()))
    }

    /// Identities of what is removed and does not come back.
    pub fn removed_for_good(&self) -> Vec<String> {
        let back: HashSet<&str> =
            self.make.iter().chain(&self.put_back).map(|o| o.identity.as_str()).collect();
        self.gone().filter(|o| !back.contains(o.identity.as_str())).map(|o| o.identity.clone()).collect()
    }

    /// Tables and sequences that are made, by schema and name.
    pub fn coming(&self) -> HashSet<(String, String)> {
        let made = || self.make.iter().chain(&self.put_back);
        let relations = made().filter(|o| o.kind.is_relation()).map(schema_and_name);
        relations.chain(made().flat_map(of_queue)).collect()
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
        let relations = self.gone().filter(|o| is_table(o)).map(schema_and_name);
        relations.chain(self.gone().flat_map(of_queue)).collect()
    }
}

/// The chosen objects and all that needs them, and what forbids that.
fn closure(live: &[Object], known: &Known<'_>, chosen: &BTreeSet<usize>) -> (BTreeSet<usize>, Vec<String>) {
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
            let is_archived = known.archived.contains_key(object.identity.as_str());
            let is_heir = is_table(cause) && is_archived;
            // What a restore made anew comes back with the rows that it had.
            let is_saved = is_archived && known.of_tables.with_rows.contains(&object.identity);
            let holds_rows = is_table(object) && !is_heir && !is_saved;
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
    (removed, blocked)
}

/// What the archive has.
pub struct Known<'a> {
    /// Its objects, by identity.
    pub archived: &'a HashMap<&'a str, &'a Object>,
    /// What its tables say.
    pub of_tables: &'a OfTables,
}

/// What differs of what is wanted.
fn what_differs(archived: &Object, live: &Object, options: &ObjectOptions) -> Vec<&'static str> {
    let mut what = if options.style.no_tablespaces {
        let anywhere = |o: &Object| Object { tablespace: None, ..o.clone() };
        differences(&anywhere(archived), &anywhere(live))
    } else {
        differences(archived, live)
    };
    what.retain(|w| match *w {
        "owner" => !options.style.no_owner,
        "privileges" => !options.style.no_privileges,
        _ => true,
    });
    what
}

fn schema_and_name(object: &Object) -> (String, String) {
    (object.schema.clone().unwrap_or_default(), object.name.clone())
}

/// The tables that come and go with a queue.
pub(super) fn of_queue(object: &Object) -> Vec<(String, String)> {
    if object.kind != Kind::Queue {
        return Vec::new();
    }
    let schema = object.schema.clone().unwrap_or_default();
    tables_of_queue(&object.name).map(|name| (schema.clone(), name)).into()
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
/// removed cannot be made again. Large objects come and go with their bytes, queues with their rows. A subscription that
/// is made again is not active and knows no table: replication would stop.
pub(super) fn is_removable(object: &Object) -> bool {
    use Kind::{Extension, Language, LargeObject, Queue, Schema, Subscription};
    !matches!(object.kind, Schema | Extension | Language | LargeObject | Queue | Subscription)
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
