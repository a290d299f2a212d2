//! Which objects of the archive's schema are in question, and what the target must have for them.

pub mod adapt;
pub mod apply;
pub mod change;
pub mod grants;
pub mod places;
pub mod plan;
pub mod removal;
pub mod steps;

use std::collections::HashSet;

use super::RestoreOptions;
use crate::failure::Failure;
use plan::{ObjectPlan, OfTables};

use crate::archive::model::{self, Header};
use crate::postgres::ddl::Secrets;
use crate::schema::script::Style;
use crate::schema::{Kind, Object, Schema, Section, scope};

/// What becomes of an object that the target has already, and that differs from the archived one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfExists {
    /// It stays, and that it differs is reported.
    #[default]
    Skip,
    /// The restore is refused.
    Fail,
    /// It is replaced.
    Replace,
}

/// What of the schema is restored, and how.
#[derive(Clone, Debug, Default)]
pub struct ObjectOptions {
    /// Objects that are made before rows.
    pub pre_data: bool,
    /// Rows, sequences' states and large objects.
    pub data: bool,
    /// Objects that are made after rows.
    pub post_data: bool,
    /// Objects of these kinds alone; empty: all.
    pub only: Vec<Kind>,
    /// What becomes of those that are there and differ.
    pub if_exists: IfExists,
    /// Remove first whatever of the archive's objects is there.
    pub clean: bool,
    /// Make the database first.
    pub create: bool,
    /// Make missing roles that the archive has.
    pub with_roles: bool,
    /// What is left out of the statements.
    pub style: Style,
}

impl ObjectOptions {
    /// Everything, with nothing left out.
    pub fn everything() -> ObjectOptions {
        ObjectOptions { pre_data: true, data: true, post_data: true, ..ObjectOptions::default() }
    }

    /// Whether objects of this kind are restored as the whole that they are.
    pub fn wants(&self, kind: Kind) -> bool {
        self.only.is_empty() || self.only.contains(&kind)
    }

    /// Whether objects of this kind are in question for a part of them: their privileges, or constraints and defaults
    /// that stand in a table's definition.
    pub fn wants_part(&self, kind: Kind) -> bool {
        self.only.contains(&Kind::Privileges) || (kind == Kind::Table && self.wants_inline())
    }

    /// Whether what may stand in a table's definition is chosen.
    pub fn wants_inline(&self) -> bool {
        self.only.contains(&Kind::Constraint) || self.only.contains(&Kind::Default)
    }

    /// Whether objects are in question at all.
    pub fn any_objects(&self) -> bool {
        self.pre_data || self.post_data
    }
}

/// The archived objects that these options choose, in the archive's order, as a server of `version` takes them: none that
/// the target's host brings himself.
pub fn chosen(header: &Header, options: &RestoreOptions, version: u32) -> Vec<Object> {
    let (filter, host, options) = (&options.filter, &options.host, &options.objects);
    let Some(schema) = header.schema.as_ref().filter(|_| options.any_objects()) else { return Vec::new() };
    let mut objects = schema.objects.clone();
    adapt::to_version(&mut objects, header.source.server_version_num, version);
    let brought = host.brings(&objects);
    if !brought.is_empty() {
        let others = (0..objects.len()).filter(|at| !brought.contains(at)).collect();
        objects = scope::keep(objects, &others);
    }
    if !filter.is_all() {
        objects = scope::choose(objects, filter).objects;
    }
    let wanted = |object: &Object| {
        let section = match object.section {
            Section::PreData => options.pre_data,
            Section::PostData => options.post_data,
        };
        // Empty ones would be no use.
        let is_complete = object.kind != Kind::LargeObject || options.data;
        section && is_complete && (options.wants(object.kind) || options.wants_part(object.kind))
    };
    let kept: HashSet<usize> = (0..objects.len()).filter(|n| wanted(&objects[*n])).collect();
    if kept.len() == objects.len() { objects } else { scope::keep(objects, &kept) }
}

/// Whether what is in a vault is in question.
pub fn secrets(header: &Header) -> Secrets {
    let archived = header.schema.iter().flat_map(|s| &s.objects).any(|o| o.kind == Kind::Secret);
    let touched = header.guards.iter().flat_map(|g| &g.objects).any(|t| t.starts_with("SECRET "));
    if archived || touched { Secrets::Taken } else { Secrets::Left }
}

/// Plans how the chosen objects meet those of the target. Undoing a restore is about what that restore touched, and
/// about nothing else.
pub fn plan(
    header: &Header,
    archived: &[Object],
    live: &Schema,
    options: &RestoreOptions,
    not_in_place: &HashSet<String>,
) -> Result<ObjectPlan, Failure> {
    let touched = options.rollback.then(|| header.guards.as_ref().map_or(&[][..], |g| g.objects.as_slice()));
    let of_tables = of_tables(header, options.rollback);
    // Of what the host has there a restore changes privileges alone, see `grants`: also of what a user had made where he
    // could, and where the host makes it himself by now.
    let brought: HashSet<&str> =
        options.host.brings(&live.objects).into_iter().map(|at| live.objects[at].identity.as_str()).collect();
    let is_own = |identity: &str| !brought.contains(identity);
    let own = touched.map(|all| all.iter().filter(|t| is_own(t)).cloned().collect::<Vec<_>>());
    let others = (0..archived.len()).filter(|at| is_own(&archived[*at].identity)).collect::<HashSet<_>>();
    let kept = (others.len() < archived.len()).then(|| scope::keep(archived.to_vec(), &others));
    let archived = kept.as_deref().unwrap_or(archived);
    let mut plan =
        ObjectPlan::new(archived, live, &options.objects, own.as_deref(), &of_tables, not_in_place)?;
    if options.objects.only.is_empty() && options.objects.post_data && !options.objects.style.no_privileges {
        plan.grants = grants::of_users(header, live, options, touched);
    }
    Ok(plan)
}

/// What the header says of tables beside their definitions. A partition's rows come with those of its table.
fn of_tables(header: &Header, rollback: bool) -> OfTables {
    let mut of_tables = OfTables::default();
    let named = |table: &model::Table| (table.schema.clone(), table.name.clone());
    for table in &header.tables {
        let keys = table.constraints.iter().filter(|c| c.references.is_some());
        of_tables
            .foreign_keys
            .extend(keys.map(|c| (table.schema.clone(), table.name.clone(), c.name.clone())));
    }
    if rollback {
        let objects = || header.schema.iter().flat_map(|s| &s.objects);
        let partitions = objects().filter(|o| o.kind == Kind::Attachment && o.section == Section::PreData);
        let names: HashSet<(String, String)> =
            header.tables.iter().map(named).chain(partitions.filter_map(|o| o.table.clone())).collect();
        let has_rows = |o: &&Object| {
            let name = (o.schema.clone().unwrap_or_default(), o.name.clone());
            o.kind == Kind::Table && names.contains(&name)
        };
        of_tables.with_rows = objects().filter(has_rows).map(|o| o.identity.clone()).collect();
    }
    of_tables
}

/// Whether a database that holds nothing but these objects is as good as new: it has none but what every new database
/// has, or what the archive has just so, and its extensions bring none of the archive's.
pub fn is_as_new(live: &Schema, archived: &[Object]) -> bool {
    let is_usual = |object: &Object| match object.kind {
        Kind::Extension | Kind::Language | Kind::Privileges => true,
        Kind::Schema => object.name == "public" || archived.iter().any(|a| a.identity == object.identity),
        _ => false,
    };
    live.objects.iter().all(is_usual) && !places::Taken::of(live).any(archived)
}
