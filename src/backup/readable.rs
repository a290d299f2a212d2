//! Whether the role may read all that is wanted: what it lacks is named at once, with the GRANTs that would do.

use std::collections::{BTreeSet, HashSet};

use super::copy::CopyFormat;
use super::plan::{Plan, Way};
use super::snapshot::wanted_sequences;
use crate::failure::{Failure, FailureKind};
use crate::postgres::catalog::{Catalog, Relation};
use crate::postgres::extensions;
use crate::schema::script::ident;
use crate::selection::TableFilter;

/// Refuses what [`check_readable`] does of all that `filter` wants, before anything is planned in earnest.
pub fn check_all_readable(catalog: &Catalog, filter: &TableFilter) -> Result<(), Failure> {
    let way = Way { format: CopyFormat::Text, jobs: 1, small: false, tids: false };
    let plan = Plan::new(catalog, filter, way);
    check_readable(
        catalog,
        &plan,
        &wanted_sequences(catalog, &plan, filter),
        &kept_as_objects(catalog, filter),
    )
}

/// Tables whose rows are taken as objects, and have to be read for that. A vault's are read by another way.
pub fn kept_as_objects(catalog: &Catalog, filter: &TableFilter) -> Vec<u32> {
    let is_read = |r: &&Relation| {
        r.left && extensions::keeps_objects(r) && r.schema != "vault" && filter.wants(&r.schema, &r.name)
    };
    catalog.relations.iter().filter(is_read).map(|r| r.oid).collect()
}

/// Refuses, naming all of them at once, tables and sequences that the role cannot read whole; `kept` are tables that are
/// read beside those of the plan.
pub fn check_readable(
    catalog: &Catalog,
    plan: &Plan,
    sequences: &HashSet<u32>,
    kept: &[u32],
) -> Result<(), Failure> {
    // What is missing on what, and the schema and the privilege that would do.
    let mut missing = Vec::new();
    let mut grants = Vec::new();
    let mut hidden = Vec::new();
    let mut seen = HashSet::new();
    let read = plan.parts.iter().map(|p| p.relation).chain(plan.units.iter().map(|u| u.relation));
    let read = read.chain(kept.iter().copied());
    for relation in read.filter(|oid| seen.insert(*oid)).filter_map(|oid| catalog.relation(oid)) {
        let lacks = relation.lacks(&["USAGE", "SELECT"]);
        if !lacks.is_empty() {
            missing.push(format!("{} ({})", relation.shown(), describe_lack(&lacks)));
        }
        for privilege in lacks {
            let on = if privilege == "USAGE" { None } else { Some(relation.quoted()) };
            grants.push((relation.schema.as_str(), on));
        }
        if relation.row_security_active {
            hidden.push(relation);
        }
    }
    for sequence in catalog.sequences.iter().filter(|s| sequences.contains(&s.oid) && !s.may_select) {
        missing.push(format!("sequence {} (no SELECT, or no USAGE on its schema)", sequence.shown()));
        grants.push((sequence.schema.as_str(), None));
        grants.push((sequence.schema.as_str(), Some(format!("SEQUENCE {}", sequence.quoted()))));
    }
    let role = &catalog.server.role;
    if !missing.is_empty() {
        return Err(Failure::new(
            FailureKind::Access,
            format!("role {role} may not read {}", missing.join(", ")),
        )
        .state("nothing was written")
        .next(format!("{} or leave tables out with --exclude", statements(role, &grants))));
    }
    if !hidden.is_empty() {
        return Err(row_security_failure(role, &hidden));
    }
    Ok(())
}

/// The failure for tables whose policies would hide rows from the role.
pub fn row_security_failure(role: &str, hidden: &[&Relation]) -> Failure {
    let names: Vec<String> = hidden
        .iter()
        .map(|r| {
            format!("{} (owner {}{})", r.shown(), r.owner, if r.row_security_forced { ", FORCE" } else { "" })
        })
        .collect();
    Failure::new(
        FailureKind::Access,
        format!("row-level security would hide rows from role {role} in {}", names.join(", ")),
    )
    .state("nothing was written")
    .next(format!(
        "connect as a role with BYPASSRLS (ALTER ROLE {role} BYPASSRLS, by a superuser) or as the tables' owner where policies are not FORCEd; or leave the tables out with --exclude"
    ))
}

/// The GRANTs that let `role` read: of a schema, or of something in it.
fn statements(role: &str, grants: &[(&str, Option<String>)]) -> String {
    /// Statements that somebody might still want to look at one by one.
    const SPELT_OUT: usize = 10;
    let to = ident(role);
    let statement = |(schema, on): &(&str, Option<String>)| match on {
        None => format!("GRANT USAGE ON SCHEMA {} TO {to};", ident(schema)),
        Some(on) => format!("GRANT SELECT ON {on} TO {to};"),
    };
    let mut all: Vec<String> = Vec::new();
    for grant in grants.iter().map(statement) {
        if !all.contains(&grant) {
            all.push(grant);
        }
    }
    if all.len() > SPELT_OUT {
        let schemas: BTreeSet<&str> = grants.iter().map(|(schema, _)| *schema).collect();
        let whole = |schema: &str| {
            let schema = ident(schema);
            format!(
                "GRANT USAGE ON SCHEMA {schema} TO {to}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {to}; GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {to};"
            )
        };
        all = schemas.into_iter().map(whole).collect();
    }
    all.join(" ")
}

fn describe_lack(lacks: &[&str]) -> String {
    lacks
        .iter()
        .map(|p| if *p == "USAGE" { "no USAGE on its schema".to_owned() } else { format!("no {p}") })
        .collect::<Vec<_>>()
        .join(", ")
}
