//! Places that only one object can have: a name among the relations of a schema, a table's primary key. An archived object
//! may find its place taken by one of another identity (a view where it was a table, a primary key of another name); then
//! that one makes room if it may and no rows go with it, else the archived one is left out, and what needs it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::plan::{is_removable, is_table, of_queue};
use crate::schema::script::ident;
use crate::schema::{Kind, Object, Schema};
use crate::selection::shown_name;

/// A place, by schema and name where nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place<'a> {
    /// Among tables, views, sequences, indexes and composite types.
    Relation(&'a str, &'a str),
    /// Among types; every table and view has one of its rows.
    Type(&'a str, &'a str),
    /// Among functions, procedures and aggregates, by what follows that word.
    Routine(&'a str),
    /// Among the constraints of a table, by that one's schema and name and its own.
    Constraint(&'a str, &'a str, Cow<'a, str>),
    /// The primary key of a table.
    PrimaryKey(&'a str, &'a str),
    /// What makes a column count, by the beginning of the statement that says so.
    Identity(&'a str),
    /// That a sequence belongs to a column.
    Owner(&'a str, &'a str),
    /// The members of a publication, by that one's name.
    Members(&'a str),
}

/// The places that an object has by being there, where the archive may have another one.
fn own<'a>(object: &'a Object) -> Vec<Place<'a>> {
    if object.identity.starts_with("SHELL OF ") {
        return Vec::new();
    }
    let schema = object.schema.as_deref().unwrap_or_default();
    let (relation, row_type) = (Place::Relation(schema, &object.name), Place::Type(schema, &object.name));
    let create = object.create.first().map(String::as_str).unwrap_or_default();
    let table = object.table.as_ref().map(|(schema, name)| (schema.as_str(), name.as_str()));
    match (object.kind, table) {
        (Kind::Table | Kind::ForeignTable | Kind::View | Kind::MaterializedView, _) => {
            vec![relation, row_type]
        }
        (Kind::Sequence, _) => {
            let identity = create.split_once(" ADD GENERATED ").map(|(column, _)| Place::Identity(column));
            [relation].into_iter().chain(identity).collect()
        }
        (Kind::Index, _) => vec![relation],
        (Kind::Constraint | Kind::ForeignKey, Some((schema, table))) => {
            let mut places = vec![Place::Constraint(schema, table, Cow::Borrowed(&object.name))];
            let definition = definition(object).unwrap_or_default();
            if definition.starts_with("PRIMARY KEY ") {
                places.push(Place::PrimaryKey(schema, table));
            }
            if ["PRIMARY KEY ", "UNIQUE ", "EXCLUDE "].iter().any(|word| definition.starts_with(word)) {
                places.push(relation);
            }
            places
        }
        (Kind::Type, _) if create.starts_with(&format!("CREATE {} AS (", object.identity)) => {
            vec![relation, row_type]
        }
        (Kind::Type | Kind::Domain, _) => vec![row_type],
        (Kind::Function | Kind::Procedure | Kind::Aggregate, _) => {
            object.identity.split_once(' ').map(|(_, rest)| Place::Routine(rest)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The places that an object has no use for itself, but that nothing else can have beside it.
fn kept_free<'a>(object: &'a Object) -> Vec<Place<'a>> {
    let schema = object.schema.as_deref().unwrap_or_default();
    let create = object.create.first().map(String::as_str).unwrap_or_default();
    match object.kind {
        Kind::Table | Kind::ForeignTable => inline_constraints(create)
            .map(|name| Place::Constraint(schema, &object.name, Cow::Owned(name)))
            .collect(),
        Kind::Sequence if create.starts_with("ALTER ") => vec![Place::Owner(schema, &object.name)],
        Kind::Publication if is_for_all_tables(object) => {
            object.identity.split_once(' ').map(|(_, name)| Place::Members(name)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The places that an object cannot do without.
fn wanted<'a>(object: &'a Object) -> Vec<Place<'a>> {
    let schema = object.schema.as_deref().unwrap_or_default();
    match object.kind {
        Kind::SequenceOwner => vec![Place::Owner(schema, &object.name)],
        Kind::PublicationMember => publication(object).map(Place::Members).into_iter().collect(),
        _ => own(object),
    }
}

/// Whether a publication has all tables and can have no members.
pub fn is_for_all_tables(object: &Object) -> bool {
    let create = object.create.first().map(String::as_str).unwrap_or_default();
    create.starts_with(&format!("CREATE {} FOR ALL TABLES", object.identity))
}

/// The publication that a member is of, as SQL has its name.
pub fn publication(member: &Object) -> Option<&str> {
    let (_, rest) = member.create.first()?.split_once("ALTER PUBLICATION ")?;
    [" ADD TABLE ONLY ", " ADD TABLES IN SCHEMA "].iter().find_map(|verb| Some(rest.split_once(verb)?.0))
}

/// The names of constraints that stand in the definition of a table.
fn inline_constraints(create: &str) -> impl Iterator<Item = String> {
    create.split("CONSTRAINT ").skip(1).filter_map(|rest| Some(name(rest)?.0))
}

/// What a constraint says behind its name.
fn definition(constraint: &Object) -> Option<&str> {
    let (_, rest) = constraint.create.first()?.split_once(" ADD CONSTRAINT ")?;
    Some(name(rest)?.1.trim_start())
}

/// The name that a text begins with, unquoted, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', ',', '\n']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut from = 0;
    while let Some(at) = quoted[from..].find('"').map(|at| from + at) {
        if !quoted[at + 1..].starts_with('"') {
            return Some((quoted[..at].replace("\"\"", "\""), &quoted[at + 1..]));
        }
        from = at + 2;
    }
    None
}

/// Who has a place.
#[derive(Clone, Copy, Debug)]
enum Holder<'a> {
    /// The object at this position.
    Object(usize),
    /// The object at this position, of which it is a part or a property.
    PartOf(usize),
    /// This extension.
    Extension(&'a str),
}

/// The places of a target that are taken.
#[derive(Debug)]
pub struct Taken<'a> {
    live: &'a Schema,
    places: HashMap<Place<'a>, Holder<'a>>,
    brought: HashMap<&'a str, &'a str>,
}

impl<'a> Taken<'a> {
    /// Those of this target.
    pub fn of(live: &'a Schema) -> Taken<'a> {
        let mut places = HashMap::new();
        for (n, object) in live.objects.iter().enumerate() {
            places.extend(kept_free(object).into_iter().map(|p| (p, Holder::PartOf(n))));
        }
        for (n, object) in live.objects.iter().enumerate() {
            places.extend(own(object).into_iter().map(|p| (p, Holder::Object(n))));
        }
        for brought in &live.brought {
            let holder = Holder::Extension(&brought.extension);
            places.extend(own(&brought.object).into_iter().map(|p| (p, holder)));
        }
        let brought = live.brought.iter().map(|b| (b.object.identity.as_str(), b.extension.as_str()));
        Taken { live, places, brought: brought.collect() }
    }

    /// Whether extensions have the place of any of these.
    pub fn any(&self, archived: &[Object]) -> bool {
        let is_extension = |holder: &Holder<'_>| matches!(holder, Holder::Extension(_));
        archived.iter().any(|object| self.by(object).iter().any(is_extension))
    }

    /// Who has a place that the object wants.
    fn by(&self, object: &Object) -> Vec<Holder<'a>> {
        let same = self.brought.get(object.identity.as_str()).map(|e| Holder::Extension(e));
        let others = wanted(object).into_iter().filter_map(|place| self.places.get(&place).copied());
        same.into_iter().chain(others).collect()
    }

    /// What makes room for an archived object: none of it holds rows, or belongs to another table.
    pub fn making_room(&self, archived: &Object) -> BTreeSet<usize> {
        let mut going = BTreeSet::new();
        for holder in self.by(archived) {
            let Holder::Object(n) = holder else { continue };
            let there = &self.live.objects[n];
            let is_elsewhere = there.table.is_some() && there.table != archived.table;
            if is_table(there) || is_elsewhere || !is_removable(there) {
                continue;
            }
            going.insert(n);
            // What belonged to it is of no use to what comes.
            if matches!(there.kind, Kind::View | Kind::MaterializedView) {
                let is_of = |o: &Object| {
                    let table = o.table.as_ref();
                    table.is_some_and(|(schema, name)| there.is_named(schema, name))
                };
                going.extend(self.live.objects.iter().enumerate().filter(|(_, o)| is_of(o)).map(|(n, _)| n));
            }
        }
        going
    }

    /// Who has a place that the object wants and does not leave with `removed`.
    fn staying(&self, object: &Object, removed: &BTreeSet<usize>, tables: &Tables<'_>) -> Option<Holder<'a>> {
        let objects = &self.live.objects;
        let stays = |n: usize| {
            let there = &objects[n];
            let goes_along = there.table.as_ref().is_some_and(|(s, t)| tables.contains(&(s, t)));
            !removed.contains(&n) && !goes_along
        };
        self.by(object).into_iter().find(|holder| match holder {
            Holder::Object(n) | Holder::PartOf(n) => stays(*n),
            Holder::Extension(name) => objects
                .iter()
                .enumerate()
                .all(|(n, o)| o.kind != Kind::Extension || o.name != *name || stays(n)),
        })
    }

    /// Which of the archived objects at `missing`, ascending, cannot be made beside what stays when `removed` goes.
    pub fn left(
        &self,
        archived: &[Object],
        missing: &[usize],
        removed: &BTreeSet<usize>,
        rollback: bool,
    ) -> Left {
        let objects = &self.live.objects;
        // Whose table is not there has nowhere to be; undoing a restore may not leave anything out.
        let homeless = if rollback { HashSet::new() } else { self.homeless(archived, missing) };
        let tables: Tables<'_> = removed
            .iter()
            .map(|n| &objects[*n])
            .filter(|o| is_table(o))
            .map(|o| (o.schema.as_deref().unwrap_or_default(), o.name.as_str()))
            .collect();
        let mut left = Left::default();
        loop {
            let declarations = std::mem::take(&mut left.declarations);
            left = self.left_with(archived, missing, declarations.clone(), &homeless, &|object| {
                self.staying(object, removed, &tables)
            });
            if left.declarations == declarations {
                return left;
            }
        }
    }

    /// Those of the missing objects that belong to a table (view) which is neither in the target nor made.
    fn homeless(&self, archived: &[Object], missing: &[usize]) -> HashSet<usize> {
        let made = || missing.iter().map(|at| &archived[*at]);
        let relations = self.live.objects.iter().chain(made()).filter(|o| o.kind.is_relation());
        let relations = relations.map(|o| (o.schema.as_deref().unwrap_or_default(), o.name.as_str()));
        let of_queues: Vec<(String, String)> = made().flat_map(of_queue).collect();
        let of_queues = of_queues.iter().map(|(schema, name)| (schema.as_str(), name.as_str()));
        let there: Tables<'_> = relations.chain(of_queues).collect();
        let brought = |schema: &str, name: &str| {
            let name = format!(" {}.{}", ident(schema), ident(name));
            self.brought.keys().any(|identity| identity.ends_with(&name))
        };
        let is_homeless = |at: &&usize| {
            let table = archived[**at].table.as_ref();
            table.is_some_and(|(s, n)| !there.contains(&(s.as_str(), n.as_str())) && !brought(s, n))
        };
        missing.iter().filter(is_homeless).copied().collect()
    }

    /// The same where these declarations are not made either.
    fn left_with(
        &self,
        archived: &[Object],
        missing: &[usize],
        declarations: HashSet<usize>,
        homeless: &HashSet<usize>,
        staying: &dyn Fn(&Object) -> Option<Holder<'a>>,
    ) -> Left {
        let objects = &self.live.objects;
        let mut left = Left::default();
        // Those that leave what needs them without it.
        let mut lacking = declarations;
        for at in missing {
            let object = &archived[*at];
            let reason = match staying(object) {
                Some(Holder::Extension(name)) => {
                    if !self.brought.contains_key(object.identity.as_str()) {
                        lacking.insert(*at);
                    }
                    format!("in the target that belongs to extension {name}")
                }
                Some(Holder::PartOf(n)) => {
                    lacking.insert(*at);
                    format!("in the target that is for {} to say", objects[n].identity)
                }
                Some(Holder::Object(n)) => {
                    let there = &objects[n];
                    if !is_like(object, there) {
                        lacking.insert(*at);
                    }
                    if object.kind == Kind::Sequence && there.kind == Kind::Sequence {
                        left.stand_ins.insert(named(object), named(there));
                    }
                    left.taken.push(format!("{}: {} is in its place", object.identity, there.identity));
                    format!("in its place the target has {}", there.identity)
                }
                None if homeless.contains(at) => {
                    lacking.insert(*at);
                    let (schema, name) = object.table.clone().unwrap_or_default();
                    format!("needs {}, which the target does not have", shown_name(&schema, &name))
                }
                None => {
                    let by_name = matches!(object.kind, Kind::IndexMark | Kind::Attachment);
                    let lacks = |n: &&u32| {
                        let need = **n as usize;
                        let is_own = whole(&archived[need]) == object.identity;
                        !is_own && (lacking.contains(&need) || by_name && left.at.contains_key(&need))
                    };
                    let Some(need) = object.needs.iter().find(lacks) else { continue };
                    lacking.insert(*at);
                    format!("needs {}", whole(&archived[*need as usize]))
                }
            };
            left.at.insert(*at, reason);
        }
        // A declaration is nothing without what it declares.
        let wholes: HashSet<&str> = left.at.keys().map(|at| archived[*at].identity.as_str()).collect();
        let declares = |at: &&usize| {
            let whole = archived[**at].identity.strip_prefix("SHELL OF ");
            whole.is_some_and(|whole| wholes.contains(whole))
        };
        left.declarations = missing.iter().filter(declares).copied().collect();
        left
    }
}

type Tables<'a> = HashSet<(&'a str, &'a str)>;

/// Archived objects that cannot be made.
#[derive(Debug, Default)]
pub struct Left {
    /// Their positions, and why.
    pub at: BTreeMap<usize, String>,
    /// Positions of declarations of those.
    pub declarations: HashSet<usize>,
    /// Each whose place an object of the user's has, and that object.
    pub taken: Vec<String>,
    /// Archived sequences and those that do their work in the target, by schema and name.
    pub stand_ins: HashMap<(String, String), (String, String)>,
}

/// Whether constraints are the same but for their names, so that what needs the one can do with the other.
fn is_like(archived: &Object, there: &Object) -> bool {
    archived.kind == Kind::Constraint
        && there.kind == Kind::Constraint
        && archived.table == there.table
        && definition(archived) == definition(there)
}

fn named(object: &Object) -> (String, String) {
    (object.schema.clone().unwrap_or_default(), object.name.clone())
}

fn whole(object: &Object) -> &str {
    object.identity.strip_prefix("SHELL OF ").unwrap_or(&object.identity)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_read_quoted_or_not() {
        assert_eq!(name("c CHECK (x)").unwrap(), ("c".to_owned(), " CHECK (x)"));
        assert_eq!(name("\"a \"\"b\" UNIQUE").unwrap(), ("a \"b".to_owned(), " UNIQUE"));
        assert_eq!(name("\"never closed"), None);
        let create =
            "CREATE TABLE t (\n    a int CONSTRAINT n NOT NULL,\n    CONSTRAINT \"C c\" CHECK (a > 0)\n)";
        assert_eq!(inline_constraints(create).collect::<Vec<_>>(), ["n", "C c"]);
    }

    #[test]
    fn a_constraint_with_an_index_has_the_place_of_a_relation_too() {
        let mut key = Object::new(Kind::Constraint, "CONSTRAINT k ON s.t", Some("s"), "k");
        key.table = Some(("s".to_owned(), "t".to_owned()));
        key.create = vec!["ALTER TABLE ONLY s.t\n    ADD CONSTRAINT k PRIMARY KEY (a)".to_owned()];
        let constraint = Place::Constraint("s", "t", Cow::Borrowed("k"));
        assert_eq!(own(&key), [constraint.clone(), Place::PrimaryKey("s", "t"), Place::Relation("s", "k")]);
        key.create = vec!["ALTER TABLE s.t\n    ADD CONSTRAINT k CHECK ((a > 0)) NOT VALID".to_owned()];
        assert_eq!(own(&key), [constraint]);
    }
}
