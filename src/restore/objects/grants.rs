//! Privileges that users have given on, or taken from, what is not theirs: the host's objects, and what extensions bring.

use std::collections::HashMap;

use tokio_postgres::{Client, Error};

use super::change::inverted;
use super::plan::{ObjectPlan, Touched};
use crate::archive::model::Header;
use crate::postgres::ddl;
use crate::restore::RestoreOptions;
use crate::schema::script::{Left, LeftStatement};
use crate::schema::{Grant, Kind, Object, Schema, Section};

/// What users have given on objects of the host's and the target lacks; where a restore is undone, what it has given.
pub fn of_users(
    header: &Header,
    live: &Schema,
    options: &RestoreOptions,
    touched: Touched<'_>,
) -> Vec<Object> {
    let Some(schema) = &header.schema else { return Vec::new() };
    let brought = options.host.brings(&schema.objects);
    if brought.is_empty() {
        return Vec::new();
    }
    let there: HashMap<&str, &Object> = live.objects.iter().map(|o| (o.identity.as_str(), o)).collect();
    let mut all = Vec::new();
    for (_, object) in schema.objects.iter().enumerate().filter(|(at, _)| brought.contains(at)) {
        let name = object.schema.as_deref().filter(|_| object.kind.is_relation()).unwrap_or_default();
        if !options.filter.is_all() && !options.filter.wants(name, &object.name) {
            continue;
        }
        let identity = object.identity.as_str();
        let live = there.get(identity);
        if live.is_none() && object.kind != Kind::Privileges
            || touched.is_some_and(|touched| !touched.iter().any(|t| t == identity))
        {
            continue;
        }
        let given = live.map(|live| options.host.users_grants(live)).unwrap_or_default();
        let wanted = options.host.users_grants(object);
        let too_much = given.iter().filter(|g| touched.is_some() && !wanted.contains(g));
        let mut grants: Vec<Grant> = too_much.filter_map(|grant| inverted(grant)).collect();
        grants.extend(wanted.into_iter().filter(|g| !given.contains(g)).cloned());
        if !grants.is_empty() {
            let mut grant = Object::new(object.kind, identity, object.schema.as_deref(), &*object.name);
            (grant.section, grant.privileges) = (Section::PostData, grants);
            all.push(grant);
        }
    }
    all
}

/// Leaves those REVOKEs to others that have done nothing. Who is no owner takes away only what he gave himself, and where
/// that was nothing the server does not even warn.
pub async fn check_revoked(
    client: &Client,
    version: u32,
    plan: &ObjectPlan,
    left: &Left,
) -> Result<(), Error> {
    let brought = plan.make.iter().filter(|o| o.kind == Kind::Privileges);
    let revokes: Vec<(&Object, &Grant)> = brought
        .chain(&plan.grants)
        .flat_map(|o| o.privileges.iter().map(move |grant| (o, grant)))
        .filter(|(_, grant)| grant.sql.starts_with("REVOKE "))
        .collect();
    if revokes.is_empty() {
        return Ok(());
    }
    let live = ddl::read(client, version).await?;
    let there: HashMap<&str, &Object> = live.objects.iter().map(|o| (o.identity.as_str(), o)).collect();
    for (object, grant) in revokes {
        // What one version of an extension lacks has been told of.
        let Some(live) = there.get(object.identity.as_str()) else { continue };
        let says = |sql: &str| live.privileges.iter().any(|live| live.sql == sql);
        // Everybody has it of a new object, a role only if somebody gave it.
        let is_done = match grant.roles.is_empty() {
            true => says(&grant.sql),
            false => inverted(grant).is_none_or(|given| !says(&given.sql)),
        };
        if !is_done {
            let reason = "only who gave it, or the owner, can take it away".to_owned();
            left.push(LeftStatement { object: object.identity.clone(), sql: grant.sql.clone(), reason });
        }
    }
    Ok(())
}
