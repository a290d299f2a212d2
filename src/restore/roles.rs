//! Roles of the archive that the target's cluster lacks. They belong to no database, so that a restore that is undone
//! removes those that it made, and a rollback leaves them.

use std::collections::HashSet;

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::run::ROLLBACK_TIMEOUT;
use super::{RestoreOptions, create};
use crate::connection::{Connector, stop};
use crate::failure::{Failure, FailureKind};
use crate::postgres::connect::Session;
use crate::progress::Events;
use crate::schema::Role;
use crate::schema::script::ident;

/// Those of `roles` that are not there.
pub async fn missing<'r>(client: &Client, roles: &'r [Role]) -> Result<Vec<&'r Role>, Failure> {
    let sql = "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r";
    let there: HashSet<String> = client.query_typed(sql, &[]).await?.iter().map(|row| row.get(0)).collect();
    Ok(roles.iter().filter(|role| !there.contains(&role.name)).collect())
}

/// Makes those of `roles` that are not there, in the caller's transaction, with their memberships and members: also
/// those that were there. Returns their names.
pub async fn make_missing(client: &Client, roles: &[Role]) -> Result<Vec<String>, Failure> {
    let missing = missing(client, roles).await?;
    for role in &missing {
        for sql in &role.create {
            let doing = || format!("making role {}", role.name);
            client.batch_execute(sql).await.map_err(|e| Failure::from_server(&e).while_doing(doing()))?;
        }
    }
    let made: HashSet<String> = missing.iter().map(|role| ident(&role.name)).collect();
    for sql in roles.iter().flat_map(|role| &role.memberships) {
        let Some((of, member)) =
            named(sql).filter(|(of, member)| made.contains(*of) || made.contains(*member))
        else {
            continue;
        };
        client
            .batch_execute(sql)
            .await
            .map_err(|e| Failure::from_server(&e).while_doing(format!("granting role {of} to {member}")))?;
    }
    Ok(missing.iter().map(|role| role.name.clone()).collect())
}

/// The role and its member that a `GRANT role TO member` names, as SQL spells them.
fn named(sql: &str) -> Option<(&str, &str)> {
    let (of, rest) = first_name(sql.strip_prefix("GRANT ")?)?;
    let (member, _) = first_name(rest.strip_prefix(" TO ")?)?;
    Some((of, member))
}

/// The name at the beginning of a text, and what is behind it.
fn first_name(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let end = text.char_indices().find(|(_, c)| {
        // A doubled mark ends and begins again.
        quoted ^= *c == '"';
        *c == ' ' && !quoted
    });
    let end = end.map_or(text.len(), |(at, _)| at);
    (end > 0).then(|| text.split_at(end))
}

/// The same in a transaction of their own: all of them or none.
pub async fn make_at_once(
    session: &Session,
    roles: &[Role],
    cancel: &CancellationToken,
) -> Result<Vec<String>, Failure> {
    let client = &session.client;
    let made = async {
        client.batch_execute("BEGIN").await?;
        make_missing(client, roles).await
    };
    let made = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::interrupted()),
        made = made => made,
    };
    let failure = match made {
        Ok(names) => match client.batch_execute("COMMIT").await {
            Ok(()) => return Ok(names),
            Err(error) => Failure {
                kind: FailureKind::NotPutBack,
                ..Failure::from_server(&error)
                    .while_doing("making roles")
                    .state(format!(
                        "the database is untouched; whether these roles were made is not known: {}",
                        names.join(", ")
                    ))
                    .next("when the server can be reached, run the same command again")
            },
        },
        Err(failure) => failure.state("the target is as it was: no role was made"),
    };
    stop(session).await;
    let _ = tokio::time::timeout(ROLLBACK_TIMEOUT, client.batch_execute("ROLLBACK")).await;
    Err(failure)
}

/// Removes roles that a failed restore has made, over a new connection: the old one may be lost, or in a transaction that
/// failed. In one statement, for they may have granted each other.
pub async fn remove(connector: &Connector, options: &RestoreOptions, made: &[String]) -> Result<(), Failure> {
    let events = Events::silent();
    let session = match options.objects.create {
        true => create::connect(connector, &events, &CancellationToken::new()).await?,
        false => connector.connect(&events).await.map_err(|e| Failure::failed(e.to_string()))?,
    };
    Ok(session.client.batch_execute(&removal(made)).await?)
}

fn removal(made: &[String]) -> String {
    let names: Vec<String> = made.iter().map(|name| ident(name)).collect();
    format!("DROP ROLE IF EXISTS {}", names.join(", "))
}

/// The failure of a restore whose roles could not be removed.
pub fn left(failure: Failure, made: &[String], error: &Failure) -> Failure {
    let state =
        format!("{}; roles that had been made are left ({}): {error}", failure.state, made.join(", "));
    let next = format!("{}; remove the roles: {}", failure.next, removal(made));
    Failure {
        kind: FailureKind::NotPutBack,
        state: state.trim_start_matches("; ").to_owned(),
        next: next.trim_start_matches("; ").to_owned(),
        ..failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_tells_of_which_role_to_whom() {
        for (sql, of, member) in [
            ("GRANT a TO b", "a", "b"),
            ("GRANT a TO b WITH ADMIN OPTION GRANTED BY c", "a", "b"),
            ("GRANT \"x \"\" TO y\" TO \"Z z\" WITH ADMIN FALSE", "\"x \"\" TO y\"", "\"Z z\""),
        ] {
            assert_eq!(named(sql), Some((of, member)), "{sql}");
        }
        assert_eq!(named("REVOKE a FROM b"), None);
    }
}
