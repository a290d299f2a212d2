//! Roles of the archive that the target's cluster lacks. They belong to no database, so that a restore that is undone
//! removes those that it made, and a rollback leaves them.

use std::collections::HashSet;

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::{RestoreOptions, create};
use crate::connection::Connector;
use crate::failure::Failure;
use crate::progress::Events;
use crate::schema::Role;
use crate::schema::script::ident;

/// Those of `roles` that are not there.
pub async fn missing<'r>(client: &Client, roles: &'r [Role]) -> Result<Vec<&'r Role>, Failure> {
    let sql = "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r";
    let there: HashSet<String> = client.query_typed(sql, &[]).await?.iter().map(|row| row.get(0)).collect();
    Ok(roles.iter().filter(|role| !there.contains(&role.name)).collect())
}

/// Makes those of `roles` that are not there. Returns their names.
pub async fn make_missing(client: &Client, roles: &[Role]) -> Result<Vec<String>, Failure> {
    let missing = missing(client, roles).await?;
    let steps = missing.iter().flat_map(|role| role.create.iter().map(|sql| (&role.name, sql)));
    let steps =
        steps.chain(missing.iter().flat_map(|role| role.memberships.iter().map(|sql| (&role.name, sql))));
    for (name, sql) in steps {
        client
            .batch_execute(sql)
            .await
            .map_err(|e| Failure::from_server(&e).while_doing(format!("making role {name}")))?;
    }
    Ok(missing.iter().map(|role| role.name.clone()).collect())
}

/// Removes roles that a failed restore has made, over a new connection: the old one may be lost, or in a transaction that
/// failed.
pub async fn remove(connector: &Connector, options: &RestoreOptions, made: &[String]) -> Result<(), Failure> {
    let events = Events::silent();
    let session = match options.objects.create {
        true => create::connect(connector, &events, &CancellationToken::new()).await?,
        false => connector.connect(&events).await.map_err(|e| Failure::failed(e.to_string()))?,
    };
    let client = &session.client;
    for name in made.iter().rev() {
        client.batch_execute(&format!("DROP ROLE IF EXISTS {}", ident(name))).await?;
    }
    Ok(())
}
