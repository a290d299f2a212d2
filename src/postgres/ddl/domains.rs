//! Domains. Their checks stand inside of the definition unless that would be a circle or they are not valid for all
//! that there is: then they are constraints of their own, made after the rows.

use std::collections::HashMap;

use tokio::try_join;
use tokio_postgres::Error;

use super::draft::{Address, Body, Clause, Draft, Piece, Reader, at, class, post_data};
use super::present::Group;
use super::rows::{OURS, draft, named_part, parts};
use crate::schema::{Kind, Object};

/// Reads domains and those of their constraints that stand alone.
pub async fn read(reader: Reader<'_>) -> Result<Vec<Draft>, Error> {
    let domains = format!(
        "SELECT t.oid, n.nspname::text AS schema, t.typname::text AS name,
                pg_catalog.pg_get_userbyid(t.typowner)::text AS owner, t.typarray, t.typnotnull,
                concat('DOMAIN ', pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(t.typname)) AS identity,
                ARRAY[concat(' AS ', pg_catalog.format_type(t.typbasetype, t.typtypmod),
                    CASE WHEN t.typcollation <> u.typcollation THEN concat(' COLLATE ',
                         pg_catalog.quote_ident(m.nspname), '.', pg_catalog.quote_ident(l.collname)) END,
                    ' DEFAULT ' || coalesce(pg_catalog.pg_get_expr(t.typdefaultbin, 0),
                                            pg_catalog.quote_literal(t.typdefault)))] AS ddl
           FROM pg_catalog.pg_type t
           JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
           JOIN pg_catalog.pg_type u ON u.oid = t.typbasetype
           LEFT JOIN pg_catalog.pg_collation l ON l.oid = t.typcollation
           LEFT JOIN pg_catalog.pg_namespace m ON m.oid = l.collnamespace
          WHERE t.typtype = 'd' AND {OURS}
          ORDER BY n.nspname, t.typname"
    );
    let (domains, mut constraints) =
        try_join!(reader.rows_of(Group::Domains, &domains), constraints(reader))?;
    let mut drafts = Vec::with_capacity(domains.len());
    for row in &domains {
        let Some(mut draft) = draft(row, Kind::Domain, class::TYPE)? else { continue };
        draft.parts.extend(parts(class::TYPE, &[row.try_get("typarray")?]));
        let own = constraints.remove(&draft.at.oid).unwrap_or_default();
        drafts.extend(complete(&mut draft, row.try_get("typnotnull")?, own));
        drafts.push(draft);
    }
    Ok(drafts)
}

/// A constraint of a domain.
struct Constraint {
    at: Address,
    /// Unquoted and quoted.
    name: (String, String),
    not_null: bool,
    valid: bool,
    definition: String,
}

/// All constraints of domains, by their domain and in the order of their names.
async fn constraints(reader: Reader<'_>) -> Result<HashMap<u32, Vec<Constraint>>, Error> {
    if reader.absent.has(Group::Domains) {
        return Ok(HashMap::new());
    }
    let rows = reader
        .rows(
            "SELECT c.oid, c.contypid, c.conname::text AS name, pg_catalog.quote_ident(c.conname) AS quoted,
                    c.contype = 'n' AS not_null, c.convalidated,
                    pg_catalog.pg_get_constraintdef(c.oid) AS definition
               FROM pg_catalog.pg_constraint c
              WHERE c.contypid <> 0 AND c.contype IN ('c', 'n')
              ORDER BY c.conname",
        )
        .await?;
    let mut constraints: HashMap<u32, Vec<Constraint>> = HashMap::new();
    for row in &rows {
        let Some(definition) = row.try_get("definition")? else { continue };
        constraints.entry(row.try_get("contypid")?).or_default().push(Constraint {
            at: at(class::CONSTRAINT, row.try_get("oid")?),
            name: (row.try_get("name")?, row.try_get("quoted")?),
            not_null: row.try_get("not_null")?,
            valid: row.try_get("convalidated")?,
            definition,
        });
    }
    Ok(constraints)
}

/// Puts a domain's definition together; gives the constraints that are objects of their own.
fn complete(domain: &mut Draft, not_null: bool, constraints: Vec<Constraint>) -> Vec<Draft> {
    let mut head = format!("CREATE {}{}", domain.object.identity, domain.object.create.concat());
    let (mut clauses, mut alone) = (Vec::new(), Vec::new());
    let mut named_not_null = false;
    for constraint in constraints {
        let object = object(domain, &constraint);
        if !constraint.valid {
            let mut draft = Draft::new(constraint.at, object);
            draft.needs.push(domain.at);
            alone.push(draft);
            continue;
        }
        let text = format!("CONSTRAINT {} {}", constraint.name.1, constraint.definition);
        if constraint.not_null {
            named_not_null = true;
            head.push_str(&format!(" {text}"));
            domain.parts.push(named_part(constraint.at, Some(object.identity)));
        } else {
            clauses.push(Clause {
                at: constraint.at,
                place: clauses.len(),
                text: format!("\n    {text}"),
                alone: object,
                always_inside: false,
            });
        }
    }
    // Before 17 it is no constraint with a name.
    if not_null && !named_not_null {
        head.push_str(" NOT NULL");
    }
    let mut pieces = vec![Piece::Text(head)];
    pieces.extend((0..clauses.len()).map(Piece::Place));
    domain.object.create = vec![String::new()];
    domain.body = Body::WithClauses { pieces, clauses };
    alone
}

/// A constraint as an object of its own.
fn object(domain: &Draft, constraint: &Constraint) -> Object {
    let (name, quoted) = &constraint.name;
    let of = &domain.object.identity;
    let schema = domain.object.schema.as_deref();
    let mut object = Object::new(Kind::Constraint, format!("CONSTRAINT {quoted} ON {of}"), schema, name);
    object.create = vec![format!("ALTER {of}\n    ADD CONSTRAINT {quoted} {}", constraint.definition)];
    object.drop = vec![format!("ALTER {of} DROP CONSTRAINT {quoted}")];
    post_data(object)
}
