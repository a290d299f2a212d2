//! Carries out an [`ObjectPlan`] in the restoring transaction.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Client;

use super::apply::{self, What, one, run};
use super::plan::ObjectPlan;
use super::steps::Step;
use crate::failure::Failure;
use crate::postgres::error as pg;
use crate::schema::script::{Style, ident};
use crate::schema::{Grant, Kind, Object, Section};

/// What can be replaced in place in principle, and in this case cannot.
#[derive(Debug, Default)]
pub struct NotInPlace {
    /// It never can: another result type, other columns.
    pub never: HashSet<String>,
    /// It could not as the target is: it may need what is not made yet, and then be of another shape all the same.
    pub not_yet: HashSet<String>,
    /// Nobody knows: others hold it. In a dry run alone.
    pub untried: Vec<String>,
}

/// Tries replacing in place, and takes it back. Where this is a `dry_run`, nobody is made to wait for it.
pub async fn not_in_place(client: &Client, plan: &ObjectPlan, dry_run: bool) -> Result<NotInPlace, Failure> {
    let mut not = NotInPlace::default();
    let wait = if dry_run { "SET LOCAL lock_timeout = '100ms';" } else { "" };
    client.batch_execute(&format!("SAVEPOINT pgkeep_try; {} {wait}", apply::SETTINGS)).await?;
    // One may need what another gains.
    for (object, _) in &plan.in_place {
        // The savepoint in a message of its own, see `apply::run`.
        let sql = format!("{}; RELEASE SAVEPOINT pgkeep_one", in_place(object).join(";\n"));
        let (saved, tried) =
            tokio::join!(client.batch_execute("SAVEPOINT pgkeep_one"), client.batch_execute(&sql));
        saved?;
        let Err(error) = tried else { continue };
        const BACK: &str = "ROLLBACK TO SAVEPOINT pgkeep_one; RELEASE SAVEPOINT pgkeep_one";
        if dry_run && pg::is_lock_timeout(&error) {
            client.batch_execute(BACK).await?;
            not.untried.push(object.identity.clone());
            continue;
        }
        // Nothing was learnt of the object, and trying again would only wait again.
        if pg::is_lock_timeout(&error) || pg::is_cancelled(&error) || pg::is_serialization_failure(&error) {
            return Err(apply::explain(&error).while_doing(format!("replacing {}", object.identity)));
        }
        client.batch_execute(BACK).await?;
        // invalid_function_definition, invalid_table_definition, wrong_object_type, and invalid_parameter_value of a
        // sequence that has counted too far.
        let is_certain = matches!(pg::sqlstate(&error), Some("42P13" | "42P16" | "42809" | "22023"));
        let not = if is_certain { &mut not.never } else { &mut not.not_yet };
        not.insert(object.identity.clone());
    }
    client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_try; RELEASE SAVEPOINT pgkeep_try").await?;
    Ok(not)
}

/// Up to the rows: removes what has to go, changes what is there, makes what stands before the rows.
///
/// `constraints`: also the indexes and constraints of tables that are made, so that each row meets them.
pub async fn before_rows(
    client: &Client,
    plan: &ObjectPlan,
    style: &Style,
    constraints: bool,
) -> Result<(), Failure> {
    set_defaults_aside(client, plan, style).await?;
    client.batch_execute(&format!("{} {}", apply::SETTINGS, as_role(style))).await?;
    let remove: Vec<&Object> = plan.remove.iter().collect();
    run(client, &remove, What::Removal, style).await?;
    let joining = plan.joining(constraints);
    let (attachments, early): (Vec<Step<'_>>, Vec<Step<'_>>) =
        plan.steps_in(Section::PreData).into_iter().partition(|s| joining.is_attachment(s.object()));
    take(client, &early, style).await?;
    // A sequence that belongs to a column has its table's owner, and only gets another one with it.
    adjust_all(client, plan, style, |o| o.section == Section::PreData && o.kind != Kind::Sequence).await?;
    adjust_all(client, plan, style, |o| o.kind == Kind::Sequence).await?;
    let of_joining: Vec<Step<'_>> =
        plan.steps_in(Section::PostData).into_iter().filter(|s| joining.is_early(s.object())).collect();
    take(client, &of_joining, style).await?;
    take(client, &attachments, style).await?;
    // Rows are written as the role that connects.
    Ok(client.batch_execute("RESET ROLE").await?)
}

/// Takes steps in this order: what is new may need what another gains by being replaced, and the other way round.
async fn take(client: &Client, steps: &[Step<'_>], style: &Style) -> Result<(), Failure> {
    for steps in steps.chunk_by(|a, b| a.what() == b.what()) {
        let what = steps[0].what();
        if what != What::Change {
            let objects: Vec<&Object> = steps.iter().map(Step::object).collect();
            run(client, &objects, what, style).await?;
            continue;
        }
        for step in steps {
            let object = step.object();
            let change = Object { create: in_place(object), ..object.clone() };
            one(client, &change, what, style).await?;
        }
    }
    Ok(())
}

async fn adjust_all(
    client: &Client,
    plan: &ObjectPlan,
    style: &Style,
    which: impl Fn(&Object) -> bool,
) -> Result<(), Failure> {
    for (archived, live) in plan.in_place.iter().chain(&plan.adjust).filter(|(o, _)| which(o)) {
        adjust(client, archived, live, style).await?;
    }
    Ok(())
}

/// Makes objects as the role that is asked for.
fn as_role(style: &Style) -> String {
    style.role.as_ref().map(|role| format!("SET LOCAL ROLE {}", ident(role))).unwrap_or_default()
}

/// Behind the rows: indexes, constraints, triggers; then privileges; then what acts upon the rest. Returns warnings.
/// `constraints`: as before the rows.
pub async fn after_rows(
    client: &Client,
    plan: &ObjectPlan,
    style: &Style,
    constraints: bool,
) -> Result<Vec<String>, Failure> {
    client.batch_execute(&format!("{} {}", apply::SETTINGS, as_role(style))).await?;
    let joining = plan.joining(constraints);
    let late: Vec<Step<'_>> =
        plan.steps_in(Section::PostData).into_iter().filter(|s| !joining.is_early(s.object())).collect();
    take(client, &late, style).await?;
    adjust_all(client, plan, style, |o| o.section == Section::PostData && o.kind != Kind::Sequence).await?;
    let made: Vec<&Object> = plan.make.iter().chain(&plan.put_back).collect();
    let warnings = apply::grant(client, &made, style).await?;
    apply::grant(client, &plan.grants.iter().collect::<Vec<_>>(), style).await?;
    put_defaults_back(client, plan, style).await?;
    take(client, &plan.made_last(), style).await?;
    client.batch_execute("RESET ROLE").await?;
    Ok(warnings)
}

/// Takes the default privileges away that would act upon what is made: those of the roles that make it. What objects are
/// granted is said from what a new one has where there are none.
async fn set_defaults_aside(client: &Client, plan: &ObjectPlan, style: &Style) -> Result<(), Failure> {
    let makers = makers(client, plan, style).await?;
    let aside = plan.default_privileges.iter().filter(|o| makers.contains(&o.name));
    for object in aside {
        client.batch_execute(&object.drop.join(";\n")).await.map_err(|e| {
            Failure::from_server(&e).while_doing(format!("setting aside {}", object.identity))
        })?;
    }
    Ok(())
}

/// Gives back those that stay as they are.
async fn put_defaults_back(client: &Client, plan: &ObjectPlan, style: &Style) -> Result<(), Failure> {
    if plan.default_privileges.is_empty() {
        return Ok(());
    }
    client.batch_execute("RESET ROLE").await?;
    let makers = makers(client, plan, style).await?;
    let touched: HashSet<String> = plan.touched().into_iter().collect();
    let back =
        plan.default_privileges.iter().filter(|o| makers.contains(&o.name) && !touched.contains(&o.identity));
    let back: Vec<&Object> = back.collect();
    run(client, &back, What::Privileges, &Style::default()).await?;
    Ok(client.batch_execute(&as_role(style)).await?)
}

/// The roles that make objects, where there are default privileges that could act.
async fn makers(client: &Client, plan: &ObjectPlan, style: &Style) -> Result<HashSet<String>, Failure> {
    if plan.default_privileges.is_empty() {
        return Ok(HashSet::new());
    }
    let own: String = client.query_typed("SELECT CURRENT_USER::pg_catalog.text", &[]).await?[0].get(0);
    Ok(std::iter::once(own).chain(style.role.clone()).collect())
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
            statements.extend(together(&undone, style));
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
        statements.extend(together(&archived.privileges, style));
    }
    one(client, &Object { create: statements, ..archived.clone() }, What::Change, style).await
}

/// Grants, each in one piece with the role that it is given under.
fn together(grants: &[Grant], style: &Style) -> Vec<String> {
    grants.iter().map(|grant| grant.statements(style).join(";\n")).collect()
}

/// The statements that turn the one comments into the others.
fn comments(wanted: &[String], there: &[String]) -> Vec<String> {
    // Names may hold that word, too.
    let is_word = |sql: &str, at: usize| sql[..at].matches('"').count().is_multiple_of(2);
    let target = |sql: &String| {
        let at = sql.match_indices(" IS ").map(|(at, _)| at).find(|at| is_word(sql, *at))?;
        Some(sql[..at].to_owned())
    };
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
pub fn inverted(grant: &Grant) -> Option<Grant> {
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
        let odd = "COMMENT ON COLUMN public.\"x IS y\".\"a\"\" IS b\" IS 'it IS \"so'".to_owned();
        assert_eq!(comments(&[], &[odd]), ["COMMENT ON COLUMN public.\"x IS y\".\"a\"\" IS b\" IS NULL"]);
    }
}
