//! Tables of a schema once more, under other names: their definitions and whatever rows need, and not what acts on them or
//! watches over them.
//!
//! A copy has sequences of its own, and its foreign keys tie its tables to each other. It has no triggers, rules, policies
//! and privileges, and belongs to whoever makes it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::rename::{Names, Own, inherited, referred_to};
use super::script::ident;
use super::{Kind, Object, Section, scope};
use crate::selection::mapping::Name;
use crate::selection::shown_name;

/// The longest name, in bytes (`NAMEDATALEN` less one).
pub const LONGEST_NAME: usize = 63;

/// What is to be copied.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Tables that are made, by their names in the archive, and what they are to be called.
    pub made: &'a BTreeMap<Name, Name>,
    /// Tables that are there under their new names.
    pub there: &'a BTreeMap<Name, Name>,
    /// Sequences that the tables take their defaults from, and such a table.
    pub sequences: &'a BTreeMap<Name, Name>,
    /// Names of relations that nothing new can have.
    pub taken: HashSet<Name>,
    /// Schemas that are there.
    pub schemas: HashSet<String>,
}

/// The copy.
#[derive(Debug, Default)]
pub struct Copy {
    /// Its objects, each behind those that it needs.
    pub objects: Vec<Object>,
    /// What is called how.
    pub names: Names,
    /// Foreign keys that refer to tables which are not among the copied, by identity: left out.
    pub foreign_keys: Vec<String>,
    /// How many objects of other kinds were left out.
    pub left_out: BTreeMap<Kind, usize>,
    /// Partitions that are foreign tables, as shown: left out.
    pub foreign: Vec<String>,
    /// Identities of objects that it needs and does not have: each with one that needs it.
    pub needed: BTreeMap<String, String>,
    /// Tables that inherit from others which are not among the copied: both, as shown.
    pub heirs: Vec<(String, String)>,
}

/// Copies tables of `objects`.
pub fn copy(objects: &[Object], asked: Asked<'_>) -> Copy {
    let mut copy = Copy::default();
    let mut names = Naming { names: Names::default(), taken: asked.taken };
    names.names.tables.extend(asked.there.iter().map(|(old, new)| (old.clone(), new.clone())));
    names.taken.extend(asked.made.values().cloned());
    let mut tables: HashSet<Name> = asked.made.keys().cloned().collect();
    let partitions = Partitions::new(objects);
    for (old, new) in asked.made {
        names.names.tables.insert(old.clone(), new.clone());
        partitions.name(old, old, &mut names, &mut tables, &mut copy);
    }
    let kept = kept(objects, &tables, &names.names, &mut copy);
    let users = sequences(objects, &kept, asked.sequences);
    let kept: HashSet<usize> = kept.into_iter().chain(users.keys().copied()).collect();
    for (at, table) in &users {
        let old = named(&objects[*at]);
        let new = names.beside(&old, table);
        names.names.sequences.insert(old, new);
    }
    let mut in_order: Vec<usize> = kept.iter().copied().collect();
    in_order.sort_unstable();
    for at in &in_order {
        if let (Some(old), Some(table)) = (index_of(&objects[*at]), &objects[*at].table) {
            let new = names.beside(&old, table);
            names.names.indexes.insert(old, new);
        }
    }
    note_needs(objects, &kept, &names.names, &mut copy);
    note_left_out(objects, &kept, &tables, &mut copy);
    let names = names.names;
    let new: Vec<Object> = scope::keep(objects.to_vec(), &kept).iter().map(|o| renamed(o, &names)).collect();
    copy.objects = in_schemas(new, &asked.schemas);
    copy.names = names;
    copy
}

/// Names that are given.
struct Naming {
    names: Names,
    taken: HashSet<Name>,
}

impl Naming {
    /// The name of what belongs to a table, in the schema of that one's copy: its own, where that is free.
    fn beside(&mut self, old: &Name, table: &Name) -> Name {
        let (schema, copied) = self.names.tables.get(table).cloned().unwrap_or_else(|| table.clone());
        let own = &old.1;
        let of_table = match own.strip_prefix(table.1.as_str()) {
            Some(rest) if table.1 != copied => format!("{copied}{rest}"),
            _ => format!("{copied}_{own}"),
        };
        let numbered = (1_u64..).map(|n| format!("{own}{n}"));
        let all = [own.clone(), of_table].into_iter().chain(numbered);
        let fits = |name: &String| {
            name.len() <= LONGEST_NAME && !self.taken.contains(&(schema.clone(), name.clone()))
        };
        // Numbers go on for ever, but for a name that is as long as one may be.
        let clipped = (1_u64..).map(|n| format!("copy_{n}"));
        let name = all.take(1_000).chain(clipped).find(fits).unwrap_or_else(|| own.clone());
        self.taken.insert((schema.clone(), name.clone()));
        (schema, name)
    }
}

/// Partitions by the table that they are attached to, and which of them are foreign tables.
#[derive(Default)]
struct Partitions {
    of: HashMap<Name, Vec<Name>>,
    foreign: HashSet<Name>,
}

impl Partitions {
    fn new(objects: &[Object]) -> Partitions {
        let mut all = Partitions::default();
        for object in objects {
            if object.kind == Kind::ForeignTable {
                all.foreign.insert(named(object));
            }
            let Some(partition) = object.table.as_ref().filter(|_| object.kind == Kind::Attachment) else {
                continue;
            };
            let needs = object.needs.iter().filter_map(|at| objects.get(*at as usize));
            let above = needs.filter(|o| o.kind == Kind::Table).map(named).find(|above| above != partition);
            if let Some(above) = above.filter(|_| object.section == Section::PreData) {
                all.of.entry(above).or_default().push(partition.clone());
            }
        }
        all
    }

    /// Names those of a table, which is at or below `top`, and those below them.
    fn name(
        &self,
        table: &Name,
        top: &Name,
        names: &mut Naming,
        tables: &mut HashSet<Name>,
        copy: &mut Copy,
    ) {
        for partition in self.of.get(table).into_iter().flatten() {
            if self.foreign.contains(partition) {
                copy.foreign.push(shown_name(&partition.0, &partition.1));
            } else if tables.insert(partition.clone()) {
                let name = names.beside(partition, top);
                names.names.tables.insert(partition.clone(), name);
                self.name(partition, top, names, tables, copy);
            }
        }
    }
}

fn named(object: &Object) -> Name {
    (object.schema.clone().unwrap_or_default(), object.name.clone())
}

/// The positions of the tables and of what belongs to them, but for sequences.
fn kept(objects: &[Object], tables: &HashSet<Name>, names: &Names, copy: &mut Copy) -> Vec<usize> {
    let mut kept = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        let is_kept = match (object.kind, &object.table) {
            (Kind::Table, _) => tables.contains(&named(object)),
            (kind, Some(table)) => belongs(kind) && tables.contains(table),
            _ => false,
        };
        if !is_kept {
            continue;
        }
        let create = object.create.first().map(String::as_str).unwrap_or_default();
        let is_copied = |name: &Name| names.tables.contains_key(name);
        match object.kind {
            Kind::ForeignKey if !referred_to(create).iter().all(is_copied) => {
                copy.foreign_keys.push(object.identity.clone());
                continue;
            }
            Kind::Table => {
                let (schema, name) = named(object);
                let above = inherited(create).into_iter().filter(|above| !is_copied(above));
                copy.heirs
                    .extend(above.map(|above| (shown_name(&schema, &name), shown_name(&above.0, &above.1))));
            }
            _ => {}
        }
        kept.push(at);
    }
    kept
}

/// Whether a copied table has what it has of this kind.
fn belongs(kind: Kind) -> bool {
    use Kind::{Attachment, Constraint, Default, ForeignKey, Index, IndexMark, Sequence, SequenceOwner};
    matches!(
        kind,
        Attachment | Constraint | Default | ForeignKey | Index | IndexMark | Sequence | SequenceOwner
    )
}

/// The positions of the sequences that the copy has, with a table that uses each.
fn sequences(objects: &[Object], kept: &[usize], used: &BTreeMap<Name, Name>) -> BTreeMap<usize, Name> {
    let mut users = BTreeMap::new();
    for (at, object) in objects.iter().enumerate().filter(|(_, o)| o.kind == Kind::Sequence) {
        // Those of identity columns are among the kept.
        if let Some(table) = used.get(&named(object)).filter(|_| object.table.is_none()) {
            users.insert(at, table.clone());
        }
    }
    for at in kept {
        let object = &objects[*at];
        let table = object.table.clone().unwrap_or_else(|| named(object));
        if object.kind == Kind::Sequence {
            users.insert(*at, table);
            continue;
        }
        let needs = object.needs.iter().map(|n| *n as usize);
        for need in needs.filter(|n| objects.get(*n).is_some_and(|o| o.kind == Kind::Sequence)) {
            users.entry(need).or_insert_with(|| table.clone());
        }
    }
    users
}

/// The index that an object is, or that its constraint has.
fn index_of(object: &Object) -> Option<Name> {
    let create = object.create.first()?;
    let has_index = match object.kind {
        Kind::Index => true,
        // A partition's takes its name from a block, see `postgres::ddl::indexes`.
        Kind::Constraint => {
            let words = [" PRIMARY KEY ", " UNIQUE ", " EXCLUDE "];
            let head = create.split_once(" ADD CONSTRAINT ").map(|(_, rest)| rest);
            let definition = head.and_then(|rest| rest.get(ident(&object.name).len()..));
            create.starts_with("DO ")
                || definition.is_some_and(|d| words.iter().any(|word| d.starts_with(word)))
        }
        _ => false,
    };
    has_index.then(|| named(object))
}

/// Notes what is needed from elsewhere: not schemas, which are made, nor tables that are there under their new names.
fn note_needs(objects: &[Object], kept: &HashSet<usize>, names: &Names, copy: &mut Copy) {
    let mut in_order: Vec<usize> =
        kept.iter().copied().filter(|n| objects[*n].kind != Kind::ForeignKey).collect();
    in_order.sort_unstable();
    let is_there =
        |o: &Object| o.kind == Kind::Schema || o.kind == Kind::Table && names.tables.contains_key(&named(o));
    for at in in_order {
        let needs = objects[at].needs.iter().map(|n| *n as usize).filter(|n| !kept.contains(n));
        for need in needs.filter_map(|n| objects.get(n)).filter(|o| !is_there(o)) {
            let whole = need.identity.strip_prefix("SHELL OF ").unwrap_or(&need.identity);
            copy.needed.entry(whole.to_owned()).or_insert_with(|| objects[at].identity.clone());
        }
    }
}

/// Counts what the tables have, or what shows them, that the copy has not.
fn note_left_out(objects: &[Object], kept: &HashSet<usize>, tables: &HashSet<Name>, copy: &mut Copy) {
    let is_copied = |n: &u32| kept.contains(&(*n as usize)) && objects[*n as usize].kind == Kind::Table;
    for object in objects {
        let left = match (object.kind, &object.table) {
            (Kind::View | Kind::MaterializedView, _) => object.needs.iter().any(is_copied),
            (Kind::Sequence, _) | (_, None) => false,
            (kind, Some(table)) => !belongs(kind) && kind != Kind::Refresh && tables.contains(table),
        };
        if left {
            *copy.left_out.entry(object.kind).or_default() += 1;
        }
    }
}

/// The object under its new names, as one of whoever makes it.
fn renamed(object: &Object, names: &Names) -> Object {
    let table = object.table.clone().unwrap_or_else(|| named(object));
    let old = named(object);
    let is_index = matches!(object.kind, Kind::IndexMark | Kind::Attachment) || index_of(object).is_some();
    let new = match (object.kind, object.section) {
        (Kind::Table, _) | (Kind::Attachment, Section::PreData) => names.tables.get(&old),
        (Kind::Sequence | Kind::SequenceOwner, _) => names.sequences.get(&old),
        _ => names.indexes.get(&old).filter(|_| is_index),
    };
    let moved = names.tables.get(&table);
    let own = Own { table: Some(&table), index: is_index.then_some(&old) };
    let all = |statements: &[String]| statements.iter().map(|sql| names.statement(sql, own)).collect();
    Object {
        identity: names.identity(&object.identity, own),
        schema: new.or(moved).map(|(schema, _)| schema.clone()),
        name: new.map_or_else(|| object.name.clone(), |(_, name)| name.clone()),
        table: object.table.as_ref().and(moved).cloned(),
        owner: None,
        roles: Vec::new(),
        create: all(&object.create),
        drop: all(&object.drop),
        comments: all(&object.comments),
        privileges: Vec::new(),
        ..object.clone()
    }
}

/// The objects behind those of their schemas that are not there yet.
fn in_schemas(mut objects: Vec<Object>, there: &HashSet<String>) -> Vec<Object> {
    let mut missing: Vec<String> = objects.iter().filter_map(|o| o.schema.clone()).collect();
    missing.sort();
    missing.dedup();
    missing.retain(|schema| !there.contains(schema));
    let count = missing.len() as u32;
    for object in &mut objects {
        object.needs.iter_mut().for_each(|need| *need += count);
        let own = (0..).zip(&missing).find(|(_, schema)| object.schema.as_ref() == Some(schema));
        object.needs.splice(..0, own.map(|(at, _)| at));
    }
    let made = missing.iter().map(|schema| {
        let mut object = Object::new(Kind::Schema, format!("SCHEMA {}", ident(schema)), None, schema.clone());
        object.create = vec![format!("CREATE {}", object.identity)];
        object.drop = vec![format!("DROP {}", object.identity)];
        object
    });
    made.collect::<Vec<_>>().into_iter().chain(objects).collect()
}
