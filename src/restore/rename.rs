//! A restore under other names: which tables go where, and what the archive is then taken to hold.
//!
//! All that follows is a restore like any other: of an archive whose tables, sequences and definitions have the new names,
//! and which holds nothing else. Tables that are there under their new names take rows; the others are made.

mod target;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::RestoreOptions;
use super::entity::Chosen;
use super::plan;
use crate::archive::reader::Archive;
use crate::failure::Failure;
use crate::postgres::catalog::STAGING_SCHEMA;
use crate::schema::copy::LONGEST_NAME;
use crate::selection::mapping::Name;
use crate::selection::shown_name;

pub use target::apply;

/// A table of the archive, and where it goes.
#[derive(Clone, Debug)]
pub struct Going {
    /// Its position in the header.
    pub table: u32,
    /// Its name.
    pub old: Name,
    /// The name that it gets.
    pub new: Name,
}

/// What a restore is, under the new names.
#[derive(Debug)]
pub struct Renamed {
    /// The archive as it is taken.
    pub archive: Arc<Archive>,
    /// What is asked for.
    pub options: RestoreOptions,
    /// Archived tables by the names that they go by, as shown.
    pub mapped: BTreeMap<String, String>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

impl Renamed {
    /// A restore under the archive's own names.
    pub fn not(archive: Arc<Archive>, options: RestoreOptions) -> Renamed {
        Renamed { archive, options, mapped: BTreeMap::new(), notes: Vec::new() }
    }
}

/// Refuses what cannot be done under other names.
pub fn check(options: &RestoreOptions) -> Result<(), Failure> {
    let objects = &options.objects;
    let refused = [
        (!objects.only.is_empty(), "--only", "a copy has all that its tables need: leave it out"),
        (objects.create, "--create", "make the database first, then restore into it"),
        (objects.clean, "--clean", "remove what is in the way yourself, or choose another schema"),
        (
            objects.if_exists != super::objects::IfExists::Skip,
            "--if-exists",
            "tables that are there take rows and stay as they are: leave it out",
        ),
        (objects.with_roles, "--with-roles", "what is made belongs to the role that restores: leave it out"),
    ];
    match refused.into_iter().find(|(is_given, ..)| *is_given) {
        Some((_, flag, next)) => {
            Err(Failure::usage(format!("{flag} does not go with --map and --into-schema"))
                .state("the target is untouched")
                .next(next))
        }
        None => Ok(()),
    }
}

/// The tables that are restored, and where they go.
pub fn choose(archive: &Archive, options: &RestoreOptions) -> Result<Vec<Going>, Failure> {
    let header = archive.header();
    let names = || header.tables.iter().map(|t| (t.schema.as_str(), t.name.as_str()));
    plan::check_matches(header, &options.filter, &options.rows, &options.mapping)?;
    options.preferences.check(options.mode, names())?;
    // Without a choice, a mapping is one.
    let is_chosen = options.filter.has_includes() || options.places.is_some() || options.mapping.is_of_all();
    let takes_any = matches!(options.chosen, Chosen::Entity(_)) && options.deletes();
    let (mut going, mut homeless, mut unchosen) = (Vec::new(), Vec::new(), Vec::new());
    for (number, table) in (0..).zip(&header.tables).filter(|(_, table)| !table.large_objects) {
        let is_wanted = match &options.places {
            None => options.filter.wants(&table.schema, &table.name),
            Some(places) => !places.is_none(number),
        };
        match options.mapping.of(&table.schema, &table.name) {
            Some(new) if is_wanted || takes_any => {
                going.push(Going { table: number, old: (table.schema.clone(), table.name.clone()), new });
            }
            Some(_) if !options.mapping.is_of_all() => unchosen.push(table.shown()),
            None if is_wanted && is_chosen => homeless.push(table.shown()),
            _ => {}
        }
    }
    let refused =
        |what: String, next: &str| Err(Failure::usage(what).state("the target is untouched").next(next));
    if !homeless.is_empty() {
        let list = homeless.join(", ");
        return refused(
            format!("no --map says where these chosen tables go: {list}"),
            "add --map OLD=NEW for each, or --into-schema NAME for all; or restore them by a command of their own",
        );
    }
    if going.is_empty() || (!unchosen.is_empty() && options.places.is_none()) {
        let list = if unchosen.is_empty() { "nothing".to_owned() } else { unchosen.join(", ") };
        return refused(
            format!("--map and --into-schema name what is not chosen: {list}"),
            "choose it with --table, or leave it out of --map",
        );
    }
    check_names(&going)?;
    Ok(going)
}

/// Refuses names that no table can have, and one name for two.
fn check_names(going: &[Going]) -> Result<(), Failure> {
    let refused =
        |what: String, next: &str| Err(Failure::usage(what).state("the target is untouched").next(next));
    let mut taken: BTreeMap<&Name, &Name> = BTreeMap::new();
    for Going { old, new, .. } in going {
        let shown = |name: &Name| shown_name(&name.0, &name.1);
        let is_server = new.0.starts_with("pg_") || new.0 == "information_schema" || new.0 == STAGING_SCHEMA;
        if is_server {
            return refused(format!("schema {} is not for tables of yours", new.0), "choose another schema");
        }
        if new.0.len() > LONGEST_NAME || new.1.len() > LONGEST_NAME {
            return refused(
                format!("{} is longer than a name may be ({LONGEST_NAME} bytes)", shown(new)),
                "choose a shorter one",
            );
        }
        if let Some(other) = taken.insert(new, old) {
            return refused(
                format!("{} and {} would both go to {}", shown(other), shown(old), shown(new)),
                "say with --map where one of them goes, or choose one with --table or --exclude",
            );
        }
    }
    Ok(())
}
