//! What a restore has to be permitted: everything that the role lacks, named at once, with the GRANTs that would do.

use super::plan::RestorePlan;
use crate::backup::readable::row_security_failure;
use crate::failure::{Failure, FailureKind};
use crate::postgres::catalog::{Catalog, Relation};
use crate::postgres::quote;

impl RestorePlan {
    /// Refuses, naming all at once, what the role may not do; to write is needed where `writes`.
    pub fn check_permitted(&self, catalog: &Catalog, writes: bool) -> Result<(), Failure> {
        let role = &catalog.server.role;
        // What is missing on what, and the statement that grants it.
        let mut missing = Vec::new();
        let mut hidden = Vec::new();
        for table in &self.tables {
            let Some(relation) = catalog.relation(table.relation) else { continue };
            let needed: &[&str] =
                if writes { &["SELECT", "INSERT", "DELETE", "UPDATE"] } else { &["SELECT"] };
            let lacks = relation.lacks(needed);
            if !relation.lacks(&["USAGE"]).is_empty() {
                let schema = format!("USAGE ON SCHEMA {}", quote::ident(&relation.schema));
                missing.push((format!("{} (USAGE on its schema)", relation.shown()), schema));
            } else if !lacks.is_empty() {
                let lacks = lacks.join(", ");
                let grant = format!("{lacks} ON {}", relation.quoted());
                missing.push((format!("{} ({lacks})", relation.shown()), grant));
            }
            hidden.extend(
                std::iter::once(relation)
                    .chain(catalog.leaves(relation))
                    .filter(|r| r.row_security_active)
                    .map(|r| r.oid),
            );
        }
        // Rows of tables that foreign keys tie to them are looked up.
        for relation in self.neighbours(catalog).into_iter().filter(|_| writes) {
            let lacks = relation.lacks(&["USAGE", "SELECT"]);
            if let Some(lacks) = lacks.first() {
                let on = match *lacks {
                    "USAGE" => format!("SCHEMA {}", quote::ident(&relation.schema)),
                    _ => relation.quoted(),
                };
                missing.push((format!("{} ({lacks})", relation.shown()), format!("{lacks} ON {on}")));
            }
        }
        // Archived rows are staged in temporary tables.
        let stages = !self.tables.is_empty() || self.large_objects.is_some();
        if stages && !catalog.server.may_create_temporary {
            let database = &catalog.server.database;
            let grant = format!("TEMPORARY ON DATABASE {}", quote::ident(database));
            missing.push((format!("database {database} (TEMPORARY)"), grant));
        }
        for sequence in self.sequences.iter().filter(|_| writes) {
            let target = &sequence.target;
            let lacks = match (target.may_select, target.may_update || target.is_owner) {
                (false, _) => "SELECT",
                (true, false) => "UPDATE",
                (true, true) => continue,
            };
            let grant = format!("{lacks} ON SEQUENCE {}", target.quoted());
            missing.push((format!("sequence {} ({lacks})", target.shown()), grant));
        }
        if !missing.is_empty() {
            const SPELT_OUT: usize = 10;
            let (what, mut grants): (Vec<String>, Vec<String>) = missing.into_iter().unzip();
            grants.dedup();
            let next = if grants.len() <= SPELT_OUT {
                let to = quote::ident(role);
                grants.iter().map(|grant| format!("GRANT {grant} TO {to};")).collect::<Vec<_>>().join(" ")
            } else {
                format!("GRANT what is missing TO {role};")
            };
            return Err(Failure::new(
                FailureKind::Access,
                format!("role {role} lacks privileges on {}", what.join(", ")),
            )
            .state("the target is untouched")
            .next(format!("connect as the owner of the tables, or: {next}")));
        }
        hidden.sort_unstable();
        hidden.dedup();
        if !hidden.is_empty() {
            let relations: Vec<&Relation> = hidden.iter().filter_map(|oid| catalog.relation(*oid)).collect();
            let failure = row_security_failure(role, &relations);
            return Err(Failure { state: "the target is untouched".to_owned(), ..failure });
        }
        Ok(())
    }
}
