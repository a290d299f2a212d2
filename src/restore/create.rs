//! A database of the restore's own making (`--create`), with the properties of the archived one.

use std::collections::BTreeSet;

use tokio_postgres::Client;

use crate::connection::{self, Connector};
use crate::failure::{Failure, FailureKind};
use crate::postgres::connect::Session;
use crate::postgres::error as pg;
use crate::progress::Events;
use crate::schema::Database;
use crate::schema::script::{Style, grants, ident};
use tokio_util::sync::CancellationToken;

/// Databases from which others can be made; one of them is on every server.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];

/// How often a database that is in use is tried to be removed.
const REMOVALS: u32 = 6;

/// How to reach the server that the database is to be made on, by a database that is there.
pub fn maintenance(connector: &Connector, name: &str) -> Connector {
    connector.changed(|info| info.dbname = name.to_owned())
}

/// Connects to the server while the database is not there yet.
pub async fn connect(
    connector: &Connector,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Session, Failure> {
    match connection::lead(&maintenance(connector, MAINTENANCE[0]), events, cancel).await {
        Err(failure) if failure.kind == FailureKind::Access => {
            connection::lead(&maintenance(connector, MAINTENANCE[1]), events, cancel)
                .await
                .map_err(|_| failure)
        }
        session => session,
    }
}

/// Whether there is such a database already.
pub async fn exists(client: &Client, name: &str) -> Result<bool, Failure> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datname = {})",
        crate::postgres::quote::literal(name)
    );
    Ok(client.query_typed(&sql, &[]).await?[0].get(0))
}

/// Refuses where there is such a database already.
pub async fn check_absent(client: &Client, name: &str) -> Result<(), Failure> {
    if exists(client, name).await? {
        return Err(Failure::usage(format!("--create: database {name} exists already"))
            .state("the target is untouched")
            .next("restore into it without --create, name another database with -d, or remove this one (dropdb) first"));
    }
    Ok(())
}

/// The roles that the database's own properties name.
pub fn roles<'a>(database: &'a Database, style: &Style) -> BTreeSet<&'a str> {
    let mut roles = BTreeSet::new();
    if !style.no_owner {
        roles.insert(database.owner.as_str());
        roles.extend(database.role_settings.iter().map(|(role, _)| role.as_str()));
    }
    if !style.no_privileges {
        let grants = database.privileges.iter();
        roles.extend(grants.flat_map(|g| g.roles.iter().chain(&g.grantor)).map(String::as_str));
    }
    roles.remove("");
    roles
}

/// Makes the database, with nothing in it.
pub async fn make(
    client: &Client,
    version: u32,
    name: &str,
    like: Option<&Database>,
    style: &Style,
) -> Result<(), Failure> {
    let mut sql = format!("CREATE DATABASE {} TEMPLATE template0", ident(name));
    if let Some(database) = like {
        // Before 15 there was no other, and no word for it.
        let options = match version < 150_000 {
            true => database.options.replace(" LOCALE_PROVIDER = libc", ""),
            false => database.options.clone(),
        };
        sql.push_str(&format!(" {options}"));
        if version >= 150_000 && !database.options.contains("LOCALE_PROVIDER") {
            // Before 15 there was no other; a template may have another.
            sql.push_str(" LOCALE_PROVIDER = libc");
        }
        if let Some(tablespace) = database.tablespace.as_ref().filter(|_| !style.no_tablespaces) {
            sql.push_str(&format!(" TABLESPACE = {}", ident(tablespace)));
        }
    }
    client.batch_execute(&sql).await.map_err(|error| {
        let failure = Failure::from_server(&error).while_doing(format!("making database {name}"));
        match pg::sqlstate(&error) {
            Some("42501") => failure.next("connect as a role with CREATEDB, or have the database made (createdb) and restore without --create"),
            _ => failure.next("make the database by hand with a locale that this server has (createdb --template template0 --locale …), then restore without --create"),
        }
    })
}

/// Refuses where the role may not give the database what the archived one had beside its contents. Returns roles that are
/// missing, and whose settings are left out.
pub async fn try_out(
    client: &Client,
    name: &str,
    like: &Database,
    style: &Style,
) -> Result<Vec<String>, Failure> {
    client.batch_execute("BEGIN").await?;
    let missing = finish(client, name, like, style).await;
    client.batch_execute("ROLLBACK").await?;
    missing.map_err(|failure| {
        failure.next("connect as a role that may do this, or have the database made (createdb) and restore without --create")
    })
}

/// Gives the database what the archived one had beside its contents. Last of all: a setting of the database should not
/// meet the restore. Returns roles that are missing, and whose settings are left out: only where owners are not wanted,
/// for else all roles must be there.
pub async fn finish(
    client: &Client,
    name: &str,
    like: &Database,
    style: &Style,
) -> Result<Vec<String>, Failure> {
    let roles = "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r";
    let there: BTreeSet<String> =
        client.query_typed(roles, &[]).await?.iter().map(|row| row.get(0)).collect();
    let database = ident(name);
    let mut all: Vec<String> = Vec::new();
    if !style.no_owner && !like.owner.is_empty() {
        all.push(format!("ALTER DATABASE {database} OWNER TO {}", ident(&like.owner)));
    }
    all.extend(like.alter.iter().map(|what| format!("ALTER DATABASE {database} {what}")));
    let (settings, missing): (Vec<_>, Vec<_>) =
        like.role_settings.iter().partition(|(role, _)| !style.no_owner || there.contains(role));
    all.extend(
        settings
            .into_iter()
            .map(|(role, what)| format!("ALTER ROLE {} IN DATABASE {database} {what}", ident(role))),
    );
    let text = crate::postgres::quote::literal;
    all.extend(
        like.comment.iter().map(|comment| format!("COMMENT ON DATABASE {database} IS {}", text(comment))),
    );
    all.extend(like.labels.iter().map(|(provider, label)| {
        format!("SECURITY LABEL FOR {} ON DATABASE {database} IS {}", ident(provider), text(label))
    }));
    if !style.no_privileges {
        all.extend(grants(&like.privileges, style).into_iter().map(|sql| sql.replacen("{}", &database, 1)));
    }
    for sql in all {
        client.batch_execute(&sql).await.map_err(|e| {
            Failure::from_server(&e).while_doing(format!("setting the properties of database {name}"))
        })?;
    }
    let mut missing: Vec<String> = missing.into_iter().map(|(role, _)| role.clone()).collect();
    missing.dedup();
    Ok(missing)
}

/// Removes a database that pgkeep has made.
pub async fn unmake(connector: &Connector, events: &Events, name: &str) -> Result<(), Failure> {
    let never = CancellationToken::new();
    let session = connect(connector, events, &never).await?;
    // A database with subscriptions is not removed. Theirs to other servers are those of the original.
    if let Ok(inside) = connector.connect(events).await {
        disconnect(&inside.client).await?;
    }
    let drop = format!("DROP DATABASE IF EXISTS {}", ident(name));
    // With FORCE all other sessions are ended, or none where one of them may not be: a superuser's, or the server's own, such
    // as autovacuum, which leaves by itself where somebody waits to remove the database.
    if session.server_version_num >= 130_000
        && session.client.batch_execute(&format!("{drop} WITH (FORCE)")).await.is_ok()
    {
        return Ok(());
    }
    let own = format!(
        "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
          WHERE a.datname = {} AND a.usename = CURRENT_USER",
        crate::postgres::quote::literal(name)
    );
    session.client.query_typed(&own, &[]).await?;
    let mut tries = 1;
    loop {
        match session.client.batch_execute(&drop).await {
            // object_in_use: the server has waited for five seconds.
            Err(error) if pg::sqlstate(&error) == Some("55006") && tries < REMOVALS => tries += 1,
            dropped => return Ok(dropped?),
        }
    }
}

/// Removes the subscriptions of a database; what they read from is left alone.
async fn disconnect(client: &Client) -> Result<(), Failure> {
    let sql = "SELECT s.subname::pg_catalog.text FROM pg_catalog.pg_subscription s
               JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
              WHERE d.datname = pg_catalog.current_database()";
    for row in client.query_typed(sql, &[]).await? {
        let name = ident(row.get(0));
        for what in [
            format!("ALTER SUBSCRIPTION {name} DISABLE"),
            format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"),
            format!("DROP SUBSCRIPTION {name}"),
        ] {
            client.batch_execute(&what).await?;
        }
    }
    Ok(())
}
