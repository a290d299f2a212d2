//! Carries out an [`ObjectPlan`] in the restoring transaction.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Client;

use super::apply::{self, What, one, run};
use super::plan::ObjectPlan;
use crate::failure::Failure;
use crate::postgres::error as pg;
use crate::schema::script::{Style, grants, ident};
use crate::schema::{Grant, Kind, Object, Section};

/// What can be replaced in place in principle, and in this case not: another result type, other columns. Tried out and
/// taken back.
pub async fn not_in_place(client: &Client, plan: &ObjectPlan) -> Result<HashSet<String>, Failure> {
    let mut not = HashSet::new();
    for (object, _) in &plan.in_place {
        let sql = in_place(object).join(";\n");
        client.batch_execute(&format!("SAVEPOINT pgkeep_try; {}", apply::SETTINGS)).await?;
        let tried = client.batch_execute(&sql).await;
        client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_try; RELEASE SAVEPOINT pgkeep_try").await?;
        // invalid_function_definition, invalid_table_definition, wrong_object_type, and invalid_parameter_value of a
        // sequence that has counted too far. Whatever else is wrong may be so because something is not made yet.
        if let Err(error) = tried
            && matches!(pg::sqlstate(&error), Some("42P13" | "42P16" | "42809" | "22023"))
        {
            not.insert(object.identity.clone());
        }
    }
    Ok(not)
}

/// Up to the rows: removes what has to go, changes what is there, makes what stands before the rows.
pub async fn before_rows(client: &Client, plan: &ObjectPlan, style: &Style) -> Result<(), Failure> {
    client.batch_execute(&format!("{} {}", apply::SETTINGS, as_role(style))).await?;
    let remove: Vec<&Object> = plan.remove.iter().collect();
    run(client, &remove, What::Removal, style).await?;
    let joining = plan.joining();
    let (attachments, early): (Vec<&Object>, Vec<&Object>) =
        plan.made_in(Section::PreData).into_iter().partition(|o| joining.is_attachment(o));
    run(client, &early, What::Definition, style).await?;
    for (archived, _) in &plan.in_place {
        let made =
            Object { create: in_place(archived), comments: Vec::new(), owner: None, ..archived.clone() };
        one(client, &made, What::Definition, style).await?;
    }
    // A sequence that belongs to a column has its table's owner, and only gets another one with it.
    let is_sequence = |(archived, _): &&(Object, Object)| archived.kind == Kind::Sequence;
    let all = || plan.in_place.iter().chain(&plan.adjust);
    for (archived, live) in all().filter(|o| !is_sequence(o)).chain(all().filter(is_sequence)) {
        adjust(client, archived, live, style).await?;
    }
    let of_joining: Vec<&Object> =
        plan.made_in(Section::PostData).into_iter().filter(|o| joining.is_index(o)).collect();
    run(client, &of_joining, What::Definition, style).await?;
    run(client, &attachments, What::Definition, style).await?;
    // Rows are written as the role that connects.
    Ok(client.batch_execute("RESET ROLE").await?)
}

/// Makes objects as the role that is asked for.
fn as_role(style: &Style) -> String {
    style.role.as_ref().map(|role| format!("SET LOCAL ROLE {}", ident(role))).unwrap_or_default()
}

/// Behind the rows: indexes, constraints, triggers; then privileges; then what acts upon the rest.
pub async fn after_rows(client: &Client, plan: &ObjectPlan, style: &Style) -> Result<(), Failure> {
    client.batch_execute(&format!("{} {}", apply::SETTINGS, as_role(style))).await?;
    let joining = plan.joining();
    let late: Vec<&Object> =
        plan.made_in(Section::PostData).into_iter().filter(|o| !joining.is_index(o)).collect();
    run(client, &late, What::Definition, style).await?;
    let made: Vec<&Object> = plan.make.iter().chain(&plan.put_back).collect();
    run(client, &made, What::Privileges, style).await?;
    run(client, &plan.made_last(), What::Definition, style).await?;
    Ok(client.batch_execute("RESET ROLE").await?)
}

/// The statements that replace an object of this identity.
fn in_place(object: &Object) -> Vec<String> {
    let replace = |sql: &String| match object.kind {
        Kind::View if sql.starts_with("CREATE VIEW ") => sql.replacen("CREATE ", "CREATE OR REPLACE ", 1),
        Kind::Sequence => {
            // What its definition does not say is as a new one has it.
            let head = format!("CREATE {}", object.identity);
            let options = sql.strip_prefix(&head).unwrap_or_default();
            let counts = if options.contains("\n    AS ") { "" } else { " AS bigint" };
            let cycles = if options.ends_with("CYCLE") { "" } else { " NO CYCLE" };
            format!("ALTER {}{counts}{options}{cycles}", object.identity)
        }
        _ => sql.clone(),
    };
    object.create.iter().map(replace).collect()
}

/// Brings owner, comments and privileges of what is there to the archived ones.
pub async fn adjust(client: &Client, archived: &Object, live: &Object, style: &Style) -> Result<(), Failure> {
    let mut statements = Vec::new();
    let owned = archived.owner == live.owner || style.no_owner;
    let privileged = style.no_privileges || (archived.privileges == live.privileges && owned);
    if !privileged {
        // Back to what a new object has, under the owner that it has now.
        if live.kind == Kind::DefaultPrivileges {
            statements.extend(live.drop.iter().cloned());
        } else {
            let undone: Vec<Grant> = live.privileges.iter().rev().filter_map(inverted).collect();
            statements.extend(grants(&undone, style));
        }
    }
    if !owned {
        let mut new = archived.owner_statement(style);
        // Nobody is said to own `public` where a new database's owner does; before 14 there was no such role.
        if archived.owner.is_none() && archived.kind == Kind::Schema {
            let sql = "SELECT pg_catalog.to_regrole('pg_database_owner') IS NOT NULL";
            if client.query_typed(sql, &[]).await?[0].get(0) {
                new = Some(format!("ALTER {} OWNER TO pg_database_owner", archived.identity));
            }
        }
        statements.extend(new);
    }
    statements.extend(comments(&archived.comments, &live.comments));
    if !privileged {
        statements.extend(archived.privilege_statements(style));
    }
    let changes = Object {
        create: statements,
        comments: Vec::new(),
        owner: None,
        tablespace: None,
        ..archived.clone()
    };
    one(client, &changes, What::Definition, style).await
}

/// The statements that turn the one comments into the others.
fn comments(wanted: &[String], there: &[String]) -> Vec<String> {
    let target = |sql: &String| sql.split_once(" IS ").map(|(target, _)| target.to_owned());
    let kept: HashMap<String, &String> = wanted.iter().filter_map(|sql| Some((target(sql)?, sql))).collect();
    let gone = there.iter().filter_map(target).filter(|t| !kept.contains_key(t));
    // What nobody says of `public` is what initdb says of it.
    let gone = gone.map(|t| match t.as_str() {
        "COMMENT ON SCHEMA public" => format!("{t} IS 'standard public schema'"),
        _ => format!("{t} IS NULL"),
    });
    gone.chain(wanted.iter().filter(|sql| !there.contains(sql)).cloned()).collect()
}

/// The statement that takes back what a GRANT or REVOKE of ours did.
fn inverted(grant: &Grant) -> Option<Grant> {
    let (verb, rest) = grant.sql.split_once(' ')?;
    let (instead, to, from) = match verb {
        "GRANT" => ("REVOKE", " TO ", " FROM "),
        "REVOKE" => ("GRANT", " FROM ", " TO "),
        _ => return None,
    };
    let rest = rest.strip_suffix(" WITH GRANT OPTION").unwrap_or(rest);
    // The last such word that is no part of a quoted name.
    let is_plain = |at: &usize| rest[..*at].matches('"').count().is_multiple_of(2);
    let at = rest.match_indices(to).map(|(at, _)| at).filter(is_plain).last()?;
    let sql = format!("{instead} {}{from}{}", &rest[..at], &rest[at + to.len()..]);
    Some(Grant { sql, ..grant.clone() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_granted_is_revoked_and_the_other_way_round() {
        for (sql, expected) in [
            ("GRANT SELECT ON TABLE s.t TO app", "REVOKE SELECT ON TABLE s.t FROM app"),
            (
                "GRANT ALL ON TABLE s.\" TO x\" TO \"a TO b\" WITH GRANT OPTION",
                "REVOKE ALL ON TABLE s.\" TO x\" FROM \"a TO b\"",
            ),
            ("REVOKE ALL ON FUNCTION f() FROM PUBLIC", "GRANT ALL ON FUNCTION f() TO PUBLIC"),
        ] {
            let grant = Grant { sql: sql.to_owned(), grantor: None, roles: Vec::new() };
            assert_eq!(inverted(&grant).unwrap().sql, expected);
        }
    }

    #[test]
    fn comments_that_are_no_longer_wanted_are_taken_away() {
        let (a, b) = ("COMMENT ON TABLE a IS 'x'".to_owned(), "COMMENT ON COLUMN a.b IS 'y'".to_owned());
        assert_eq!(
            comments(std::slice::from_ref(&a), &[a.clone(), b.clone()]),
            ["COMMENT ON COLUMN a.b IS NULL"]
        );
        assert_eq!(comments(&[a.clone(), b.clone()], &[a]), [b]);
    }
}
