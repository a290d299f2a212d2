//! The scratch database: made under a name that says what it is, closed to others, removed again.

use std::hash::{BuildHasher, RandomState};

use chrono::Utc;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::Rehearsal;
use crate::connection::Connector;
use crate::failure::{Failure, FailureKind};
use crate::folders::stamp;
use crate::postgres::connect::Session;
use crate::postgres::error as pg;
use crate::progress::Events;
use crate::restore::create;
use crate::schema::Database;
use crate::schema::script::{Style, ident};

/// What the name begins with.
const PREFIX: &str = "pgkeep_rehearsal_";

/// A database of pgkeep's own.
#[derive(Debug)]
pub struct Scratch {
    /// Its name.
    pub name: String,
    /// How to reach it.
    pub connector: Connector,
}

/// Connects to the server by a database that every server has.
pub async fn connect(
    connector: &Connector,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Session, Failure> {
    let session = create::connect(connector, events, cancel).await?;
    connector.refuse_sharing(&session).await?;
    let sql = "SELECT r.rolname::pg_catalog.text, r.rolcreatedb OR r.rolsuper
                 FROM pg_catalog.pg_roles r WHERE r.rolname = CURRENT_USER";
    let rows = session.client.query_typed(sql, &[]).await?;
    let (role, may): (String, bool) = (rows[0].get(0), rows[0].get(1));
    if may {
        return Ok(session);
    }
    Err(Failure::new(
        FailureKind::Access,
        format!("role {role} may not make a scratch database (no CREATEDB)"),
    )
    .next(format!(
        "ALTER ROLE {} CREATEDB; or rehearse on another server, where a role may: --at URL",
        ident(&role)
    )))
}

/// Scratch databases that are there and that nobody is connected to.
pub async fn left_over(client: &Client) -> Result<Vec<String>, Failure> {
    let sql = format!(
        "SELECT d.datname::pg_catalog.text FROM pg_catalog.pg_database d
          WHERE pg_catalog.starts_with(d.datname::pg_catalog.text, '{PREFIX}')
            AND pg_catalog.pg_stat_get_db_numbackends(d.oid) = 0
          ORDER BY 1"
    );
    Ok(client.query_typed(&sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// What removes a database, as a command.
pub fn removal(connector: &Connector, name: &str) -> String {
    let server = create::maintenance(connector, "postgres").info().redacted();
    format!("dropdb --maintenance-db '{server}' {name}")
}

impl Scratch {
    /// Makes one of the archived database's encoding and locale. Others may not connect to it: it holds a copy of
    /// everything.
    pub async fn make(
        session: &Session,
        connector: &Connector,
        like: Option<&Database>,
        style: &Style,
        events: &Events,
        report: &mut Rehearsal,
    ) -> Result<Scratch, Failure> {
        let (client, version) = (&session.client, session.server_version_num);
        // RandomState is seeded by the system. The time tells a person what the database is, the rest keeps two apart.
        let number = RandomState::new().hash_one(std::process::id()) as u32;
        let name = format!("{PREFIX}{}_{number:08x}", stamp(Utc::now()));
        let scratch = Scratch { connector: create::maintenance(connector, &name), name };
        if let Err(failure) = create::make(client, version, &scratch.name, like, style).await {
            // Whether it was made nobody has said where the connection is gone.
            let removed = if client.is_closed() { scratch.remove(events).await } else { Ok(()) };
            let next = "rehearse on a server that has the locale and the tablespace of the archived database (--at URL), or with --no-tablespaces";
            return Err(scratch.unmade(Failure { next: next.to_owned(), ..failure }, removed));
        }
        let close = format!("REVOKE ALL ON DATABASE {} FROM PUBLIC", ident(&scratch.name));
        if let Err(error) = client.batch_execute(&close).await {
            let removed = scratch.remove(events).await;
            return Err(scratch.unmade(error.into(), removed));
        }
        if let Some(like) = like {
            match create::try_out(client, &scratch.name, like, style).await {
                Ok(missing) => {
                    for role in missing {
                        let text = format!(
                            "the settings that role {role} has in the database are not tried: there is no such role"
                        );
                        report.warn(events, text);
                    }
                }
                Err(failure) => {
                    let text = format!("restore --create would fail here: {}", failure.what);
                    report.warn(events, text);
                }
            }
        }
        Ok(scratch)
    }

    /// The failure to make it, with what is left of that.
    fn unmade(&self, failure: Failure, removed: Result<(), Failure>) -> Failure {
        let Err(error) = removed else { return failure };
        Failure {
            kind: FailureKind::NotPutBack,
            state: format!(
                "database {} may be on the server, and could not be removed: {}",
                self.name, error.what
            ),
            next: format!("when the server can be reached, remove it: {}", self.removal()),
            ..failure
        }
    }

    /// Gives the database the settings of the archived one, under which the application works.
    pub async fn take_settings(&self, client: &Client, like: &Database) -> Result<Vec<String>, Failure> {
        let mut refused = Vec::new();
        for what in like.alter.iter().filter(|what| what.starts_with("SET ")) {
            let sql = format!("ALTER DATABASE {} {what}", ident(&self.name));
            if let Err(error) = client.batch_execute(&sql).await {
                if pg::is_connection_loss(&error) {
                    return Err(error.into());
                }
                // Without its value, which may be a secret.
                let name = what.split(' ').nth(1).unwrap_or_default();
                refused.push(format!("the database's setting {name} is left out: {}", pg::describe(&error)));
            }
        }
        Ok(refused)
    }

    /// Removes it.
    pub async fn remove(&self, events: &Events) -> Result<(), Failure> {
        create::unmake(&self.connector, events, &self.name).await
    }

    /// What removes it, as a command.
    pub fn removal(&self) -> String {
        removal(&self.connector, &self.name)
    }
}
