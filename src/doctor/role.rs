//! What the role may do.

use tokio_postgres::Client;

use super::{Check, check_readable, count, some};
use crate::backup::large_objects;
use crate::failure::Failure;
use crate::host::Profile;
use crate::postgres::catalog::{Catalog, ServerFacts};
use crate::restore::triggers::set_replica_role;
use crate::schema::script::ident;
use crate::selection::shown_name;

/// Which role it is, and what of note it may.
pub async fn attributes(client: &Client) -> Result<Check, Failure> {
    let sql = "SELECT r.rolname::pg_catalog.text, r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolcreatedb
                 FROM pg_catalog.pg_roles r WHERE r.rolname = CURRENT_USER";
    let row = &client.query_typed(sql, &[]).await?[0];
    let name: &str = row.get(0);
    if row.get(1) {
        return Ok(Check::pass("role", format!("{name}, a superuser")));
    }
    let words = [(2, "bypasses row-level security"), (3, "makes roles"), (4, "makes databases")];
    let may = words.iter().filter(|(at, _)| row.get::<_, bool>(*at)).map(|(_, word)| *word);
    let may: Vec<&str> = std::iter::once("no superuser").chain(may).collect();
    Ok(Check::pass("role", format!("{name}: {}", may.join(", "))))
}

/// Whether it may read everything that a backup takes.
pub async fn reading(client: &Client, catalog: &Catalog, restores: bool) -> Result<Check, Failure> {
    let readable = check_readable(catalog);
    let readable = match catalog.server.has_large_objects {
        true if readable.is_ok() => large_objects::check_readable(client, &catalog.server).await,
        _ => readable,
    };
    Ok(match readable {
        Ok(()) => {
            let (tables, sequences) = (catalog.relations.len(), catalog.sequences.len());
            let all = format!("all: {}, {}", count(tables, "table"), count(sequences, "sequence"));
            Check::pass("reading", all)
        }
        // What a restore has to read depends on the archive.
        Err(failure) if restores => {
            let failure = failure.complete();
            Check::warn("reading", failure.what, failure.next)
        }
        Err(failure) => Check::failed("reading", failure),
    })
}

/// How a restore would keep triggers and foreign keys from acting.
pub async fn triggers(client: &Client, catalog: &Catalog, host: &Profile) -> Result<Check, Failure> {
    const NAME: &str = "triggers";
    client.batch_execute("SAVEPOINT pgkeep_doctor").await?;
    let may = set_replica_role(client).await;
    client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_doctor; RELEASE SAVEPOINT pgkeep_doctor").await?;
    let replica_role = may?;
    // Under the replica role those alone act that are marked so.
    let marks = if replica_role { "'A', 'R'" } else { "'O', 'A'" };
    let watched = format!(
        "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
           FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
            AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
            AND (EXISTS (SELECT FROM pg_catalog.pg_trigger t
                          WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ({marks}))
                 OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r
                             WHERE r.ev_class = c.oid AND r.ev_type IN ('2', '3', '4') AND r.ev_enabled IN ({marks})))
          ORDER BY 1, 2"
    );
    let rows = client.query_typed(&watched, &[]).await?;
    let strangers: Vec<String> = rows.iter().map(|row| shown_name(row.get(0), row.get(1))).collect();
    if strangers.is_empty() && replica_role {
        return Ok(Check::pass(NAME, "a restore keeps them from acting by session_replication_role"));
    }
    if strangers.is_empty() {
        let found = "a restore disables them as the tables' owner, and takes foreign keys off and on again; those of others' tables stay on";
        return Ok(Check::pass(NAME, found));
    }
    let found = format!(
        "nobody could keep them from acting in a restore into tables of others: {}",
        some(&strangers)
    );
    let role = ident(&catalog.server.role);
    let boss = host.administrator.as_deref().unwrap_or("a superuser");
    let grant = match catalog.server.version_num {
        150_000.. if !replica_role => {
            format!(", or let {boss} GRANT SET ON PARAMETER session_replication_role TO {role}")
        }
        _ => String::new(),
    };
    Ok(Check::warn(NAME, found, format!("restore as the tables' owner or {boss}{grant}")))
}

/// Where a restore would stage rows.
pub async fn staging(client: &Client, server: &ServerFacts) -> Result<Check, Failure> {
    const NAME: &str = "staging";
    let database = ident(&server.database);
    let role = ident(&server.role);
    if !server.may_create_temporary {
        let found =
            "a restore into tables that are there stages rows in temporary tables, and could make none";
        let advice = format!("GRANT TEMPORARY ON DATABASE {database} TO {role};");
        return Ok(Check::warn(NAME, found, advice));
    }
    let sql = "SELECT pg_catalog.has_database_privilege(d.oid, 'CREATE')
                 FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
    if client.query_typed(sql, &[]).await?[0].get(0) {
        return Ok(Check::pass(
            NAME,
            "a restore may make temporary tables, and a schema of its own for several connections",
        ));
    }
    let found = "a restore stages rows by one connection: the role may make temporary tables, and no schema";
    let advice =
        format!("to stage large tables over several: GRANT CREATE ON DATABASE {database} TO {role};");
    Ok(Check::warn(NAME, found, advice))
}

/// Whether it may follow changes. Nothing that pgkeep does needs it.
pub async fn replication(client: &Client) -> Result<Check, Failure> {
    let sql =
        "SELECT r.rolreplication OR r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = CURRENT_USER";
    let may: bool = client.query_typed(sql, &[]).await?[0].get(0);
    let found = if may { "the role may" } else { "the role may not; backups and restores need none" };
    Ok(Check::pass("replication", found))
}
