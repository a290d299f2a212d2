//! Gives comments, labels and privileges to the objects that they are about, and leaves to extensions what is theirs.

use std::collections::{HashMap, HashSet};

use super::comments::Comment;
use super::draft::{Address, Body, Draft, at, class};
use super::privileges::Privileges;
use crate::postgres::catalog::{STAGING_COMMENT, STAGING_SCHEMA};
use crate::schema::{Brought, Kind, Object, Section};

/// Leaves out what belongs to extensions: their members, and what belongs to a table that is one, but for its place in a
/// publication, which is the publication's, and what users put on the tables of queues. Returns, for each address that went with them, the extension that brings it;
/// and what was left out.
pub fn leave_to_extensions(
    drafts: &mut Vec<Draft>,
    members: HashMap<Address, Address>,
    of_queues: &HashMap<Address, Address>,
) -> (HashMap<Address, Address>, Vec<Brought>) {
    let extensions = drafts.iter().filter(|d| d.at.class == class::EXTENSION);
    let extensions: HashMap<Address, String> = extensions.map(|d| (d.at, d.object.name.clone())).collect();
    let mut brought = Vec::new();
    let mut tables = HashMap::new();
    for draft in drafts.iter() {
        if let (class::CLASS, Some(extension)) = (draft.at.class, members.get(&draft.at)) {
            let of_queue = of_queues.contains_key(&draft.at);
            tables.insert((draft.object.schema.clone(), draft.object.name.clone()), (*extension, of_queue));
        }
    }
    let mut alias = members;
    drafts.retain(|draft| {
        let object = &draft.object;
        let own = alias.get(&draft.at).copied();
        let of_publication = draft.at.class == class::PUBLICATION_REL;
        let by_table = object
            .table
            .as_ref()
            .filter(|_| !of_publication && !tables.is_empty())
            .and_then(|(schema, name)| tables.get(&(Some(schema.clone()), name.clone())))
            // No function of the extension makes these.
            .filter(|(_, of_queue)| !of_queue || !of_users(object))
            .map(|(extension, _)| *extension);
        let Some(extension) = own.or(by_table) else { return true };
        alias.insert(draft.at, extension);
        let clauses = match &draft.body {
            Body::WithClauses { clauses, .. } => clauses.as_slice(),
            _ => &[],
        };
        alias.extend(draft.parts.iter().map(|p| (p.at, extension)));
        alias.extend(clauses.iter().map(|c| (c.at, extension)));
        let extension = extensions.get(&extension).cloned().unwrap_or_default();
        brought.push(Brought { object: object.clone(), extension });
        false
    });
    (alias, brought)
}

/// What only users put on tables that an extension has made for them.
fn of_users(object: &Object) -> bool {
    match object.kind {
        Kind::Trigger | Kind::Rule | Kind::RowSecurity | Kind::Policy => true,
        Kind::Index => !object.name.ends_with("_vt_idx") && !object.name.starts_with("archived_at_idx_"),
        _ => false,
    }
}

/// Where something with a comment is: a draft, and which of its clauses.
#[derive(Clone, Copy)]
struct Place {
    draft: usize,
    clause: Option<usize>,
}

/// Gives comments and security labels to what they are about. Those of extensions' members come with the extension.
pub fn comments(drafts: &mut [Draft], comments: Vec<Comment>) {
    let wanted: HashSet<Address> = comments.iter().map(|c| c.at).collect();
    let mut places: HashMap<Address, (Place, String)> = HashMap::with_capacity(wanted.len());
    let mut keep = |at: Address, place: Place, identity: &String| {
        if wanted.contains(&at) {
            places.insert(at, (place, identity.clone()));
        }
    };
    for (number, draft) in drafts.iter().enumerate() {
        let own = Place { draft: number, clause: None };
        keep(draft.at, own, &draft.object.identity);
        for part in &draft.parts {
            if let Some(identity) = &part.identity {
                keep(part.at, own, identity);
            }
        }
        if let Body::WithClauses { clauses, .. } = &draft.body {
            for (n, clause) in clauses.iter().enumerate() {
                keep(clause.at, Place { draft: number, clause: Some(n) }, &clause.alone.identity);
            }
        }
    }
    for comment in comments {
        let Some((place, identity)) = places.get(&comment.at) else { continue };
        let sql = comment.sql(identity);
        let draft = &mut drafts[place.draft];
        match (&mut draft.body, place.clause) {
            (Body::WithClauses { clauses, .. }, Some(n)) => clauses[n].alone.comments.push(sql),
            _ => draft.object.comments.push(sql),
        }
    }
}

/// Leaves out constraints that come with others' and have no comment of their own: there is nothing to say of them.
pub fn leave_out_empty(drafts: &mut Vec<Draft>) {
    drafts.retain(|draft| {
        let object = &draft.object;
        object.kind != Kind::Constraint || !object.create.is_empty() || !object.comments.is_empty()
    });
}

/// Leaves out the schema of a restore that is at work, or that was killed with the server.
pub fn leave_out_staging(drafts: &mut Vec<Draft>) {
    let is_schema = |o: &Object| o.kind == Kind::Schema && o.name == STAGING_SCHEMA;
    let is_ours = |o: &Object| o.comments.iter().any(|c| c.contains(STAGING_COMMENT));
    if drafts.iter().any(|d| is_schema(&d.object) && is_ours(&d.object)) {
        drafts.retain(|d| !is_schema(&d.object) && d.object.schema.as_deref() != Some(STAGING_SCHEMA));
    }
}

/// Where the drafts of these addresses are, as far as there are any.
fn places_of(drafts: &[Draft], wanted: impl Iterator<Item = Address>) -> HashMap<Address, usize> {
    let wanted: HashSet<Address> = wanted.collect();
    let found = drafts.iter().enumerate().filter(|(_, d)| wanted.contains(&d.at));
    found.map(|(n, d)| (d.at, n)).collect()
}

/// Notes which roles the objects' definitions name.
pub fn roles(drafts: &mut [Draft], named: Vec<(Address, String)>) {
    let places = places_of(drafts, named.iter().map(|(at, _)| *at));
    for (at, role) in named {
        if let Some(place) = places.get(&at) {
            drafts[*place].object.roles.push(role);
        }
    }
}

/// Gives privileges to their objects; what has no object of its own, being an extension's or the system's, gets one of
/// kind [`Kind::Privileges`].
pub fn privileges(drafts: &mut Vec<Draft>, all: Vec<Privileges>) {
    let places = places_of(drafts, all.iter().map(|p| p.at));
    let mut seen = HashSet::new();
    for one in all {
        if let Some(place) = places.get(&one.at) {
            drafts[*place].object.privileges.extend(one.grants);
            continue;
        }
        if !seen.insert(one.at) {
            if let Some(last) = drafts.iter_mut().rev().find(|d| d.needs.first() == Some(&one.at)) {
                last.object.privileges.extend(one.grants);
                last.object.drop.extend(one.undo);
            }
            continue;
        }
        let identity = format!("PRIVILEGES ON {}", one.identity);
        let mut object = Object::new(Kind::Privileges, identity, one.schema.as_deref(), &*one.name);
        object.section = Section::PostData;
        object.privileges = one.grants;
        object.drop = one.undo;
        let mut draft = Draft::new(at(class::PRIVILEGES, drafts.len() as u32), object);
        draft.needs.push(one.at);
        drafts.push(draft);
    }
}
