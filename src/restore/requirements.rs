//! What the target's cluster must have for the objects that are to be made: roles, tablespaces, extensions. What is
//! missing is named all at once, before anything is touched.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tokio_postgres::Client;

use super::create;
use super::objects::ObjectOptions;
use crate::failure::{Failure, FailureKind};
use crate::postgres::quote;
use crate::schema::script::ident;
use crate::schema::{Kind, Object, Role, Schema};

/// Checks what `objects` need of the cluster. `roles` are those that the archive can make.
pub async fn check(
    client: &Client,
    objects: &[Object],
    schema: Option<&Schema>,
    options: &ObjectOptions,
) -> Result<(), Failure> {
    let roles = schema.map_or(&[][..], |s| s.roles.as_slice());
    let database = schema.and_then(|s| s.database.as_ref()).filter(|_| options.create);
    let mut problems = Vec::new();
    let mut steps = Vec::new();
    let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
    if let Some(database) = database {
        wanted.extend(create::roles(database, &options.style).into_iter().map(|role| (role, "the database")));
    }
    for object in objects {
        for role in object.roles(&options.style) {
            wanted.entry(role).or_insert(&object.identity);
        }
    }
    missing_roles(client, wanted, roles, options, &mut problems, &mut steps).await?;
    missing_tablespaces(client, objects, options, &mut problems, &mut steps).await?;
    missing_extensions(client, objects, &mut problems, &mut steps).await?;
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("the target lacks what the archive needs:\n    {}", problems.join("\n    ")))
        .state("the target is untouched")
        .next(steps.join("; ")))
}

/// Checks that the role may make `objects` where they belong: in schemas that are there. A schema that is made is its
/// maker's.
pub async fn check_may_make(
    client: &Client,
    objects: &[Object],
    options: &ObjectOptions,
) -> Result<(), Failure> {
    let role = options.style.role.as_ref().map_or("CURRENT_USER".to_owned(), |role| quote::literal(role));
    let sql = format!(
        "SELECT 'schema', n.nspname::pg_catalog.text, pg_catalog.has_schema_privilege({role}, n.oid, 'CREATE'),
                {role}::pg_catalog.text
           FROM pg_catalog.pg_namespace n
         UNION ALL
         SELECT 'database', d.datname::pg_catalog.text,
                pg_catalog.has_database_privilege({role}, d.oid, 'CREATE'), {role}::pg_catalog.text
           FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
    );
    let rows = client.query_typed(&sql, &[]).await?;
    let is_there = |schema: &str| rows.iter().any(|r| (r.get::<_, &str>(0), r.get(1)) == ("schema", schema));
    let makes_schemas = objects.iter().any(|o| o.kind == Kind::Schema && !is_there(&o.name));
    // What belongs to a table is its owner's to make, and an extension knows itself where it may.
    let is_left = |kind: Kind| options.style.left.is_some() && may_be_left(kind);
    let stands_alone = |o: &&Object| {
        o.table.is_none() && !o.create.is_empty() && o.kind != Kind::Extension && !is_left(o.kind)
    };
    let schemas: HashSet<&str> =
        objects.iter().filter(stands_alone).filter_map(|o| o.schema.as_deref()).collect();
    let lacks = rows.iter().filter(|row| !row.get::<_, bool>(2));
    let lacks = lacks.map(|row| (row.get::<_, &str>(0), row.get::<_, &str>(1)));
    let lacks: Vec<(&str, &str)> = lacks
        .filter(|(what, name)| if *what == "schema" { schemas.contains(name) } else { makes_schemas })
        .collect();
    if lacks.is_empty() {
        return Ok(());
    }
    let role: &str = rows[0].get(3);
    let on: Vec<String> = lacks.iter().map(|(what, name)| format!("{what} {name}")).collect();
    let grant = |(what, name): &(&str, &str)| {
        format!("GRANT CREATE ON {} {} TO {};", what.to_uppercase(), ident(name), ident(role))
    };
    let what = format!("role {role} may not make objects in {} (no CREATE)", on.join(", "));
    Err(Failure::new(FailureKind::Access, what)
        .state("the target is untouched")
        .next(lacks.iter().map(grant).collect::<Vec<_>>().join(" ")))
}

/// Whether objects of this kind, standing alone, may be left to others: a restore goes on without, and whatever cannot do
/// without will say so.
pub fn may_be_left(kind: Kind) -> bool {
    matches!(kind, Kind::Function | Kind::Procedure)
}

/// Names in the first column of a query's answer.
async fn names(client: &Client, sql: &str) -> Result<HashSet<String>, Failure> {
    Ok(client.query_typed(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

async fn missing_roles(
    client: &Client,
    mut wanted: BTreeMap<&str, &str>,
    roles: &[Role],
    options: &ObjectOptions,
    problems: &mut Vec<String>,
    steps: &mut Vec<String>,
) -> Result<(), Failure> {
    let there = names(client, "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r").await?;
    wanted.retain(|role, _| !there.contains(*role));
    let archived: HashSet<&str> = roles.iter().map(|r| r.name.as_str()).collect();
    let made = |role: &str| options.with_roles && archived.contains(role);
    let (missing, can_be_made): (Vec<_>, Vec<_>) =
        wanted.into_iter().filter(|(role, _)| !made(role)).partition(|(role, _)| !archived.contains(role));
    let all: Vec<String> = missing
        .iter()
        .chain(&can_be_made)
        .map(|(role, user)| format!("role {role} (first needed for {user})"))
        .collect();
    if all.is_empty() {
        return Ok(());
    }
    problems.extend(all);
    if !can_be_made.is_empty() {
        steps.push("add --with-roles, which makes the roles that the archive has".to_owned());
    }
    if !missing.is_empty() {
        const SPELT_OUT: usize = 10;
        let mut made: Vec<String> =
            missing.iter().take(SPELT_OUT).map(|(role, _)| format!("CREATE ROLE {}", ident(role))).collect();
        if missing.len() > SPELT_OUT {
            made.push("…".to_owned());
        }
        steps.push(format!("make them: {}", made.join("; ")));
    }
    steps.push("or leave owners and privileges out with --no-owner --no-privileges".to_owned());
    Ok(())
}

async fn missing_tablespaces(
    client: &Client,
    objects: &[Object],
    options: &ObjectOptions,
    problems: &mut Vec<String>,
    steps: &mut Vec<String>,
) -> Result<(), Failure> {
    if options.style.no_tablespaces {
        return Ok(());
    }
    let wanted: BTreeSet<&str> = objects.iter().filter_map(|o| o.tablespace.as_deref()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let there = names(client, "SELECT t.spcname::pg_catalog.text FROM pg_catalog.pg_tablespace t").await?;
    let missing: Vec<&str> = wanted.into_iter().filter(|name| !there.contains(*name)).collect();
    if !missing.is_empty() {
        problems.extend(missing.iter().map(|name| format!("tablespace {name}")));
        steps.push(
            "make the tablespaces (CREATE TABLESPACE … LOCATION …), or leave them out with --no-tablespaces"
                .to_owned(),
        );
    }
    Ok(())
}

async fn missing_extensions(
    client: &Client,
    objects: &[Object],
    problems: &mut Vec<String>,
    steps: &mut Vec<String>,
) -> Result<(), Failure> {
    let wanted: Vec<&str> =
        objects.iter().filter(|o| o.kind == Kind::Extension).map(|o| o.name.as_str()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let sql = "SELECT e.name::pg_catalog.text FROM pg_catalog.pg_available_extensions() e";
    let there = names(client, sql).await?;
    let missing: Vec<&str> = wanted.into_iter().filter(|name| !there.contains(*name)).collect();
    if !missing.is_empty() {
        problems
            .extend(missing.iter().map(|name| format!("extension {name} is not installed on the server")));
        steps.push("install the extensions' packages on the server".to_owned());
    }
    Ok(())
}
