//! Runs objects' statements. A failure names the object.

use tokio_postgres::{Client, Error};

use crate::failure::Failure;
use crate::postgres::error as pg;
use crate::restore::stage::BUILT_IN_FIRST_PATH;
use crate::schema::script::Style;
use crate::schema::{Kind, Object, Section};

/// Definitions mean what they meant when they were read: the path is empty (see `settings`), functions are taken
/// before what they call is there, and nothing goes to a place that the definition does not name.
pub const SETTINGS: &str = "SET LOCAL check_function_bodies = false; SET LOCAL default_tablespace = '';
    SET LOCAL default_table_access_method = heap; SET LOCAL client_min_messages = warning;";

/// Objects whose statements go to the server in one message.
const BATCH: usize = 50;

/// Which of an object's statements are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Those that make it, with owner and comments. Where it is there after all, that is an error.
    Definition,
    /// The same, for what only the target has and had to make room.
    PutBack,
    /// Those in `create` just so: they change one that is there.
    Change,
    /// GRANT and REVOKE.
    Privileges,
    /// Those that remove it where it is there.
    Removal,
}

impl What {
    fn statements(self, object: &Object, style: &Style) -> Vec<String> {
        match self {
            // It is its owner who reads then, through the policies that are for him.
            What::Definition | What::PutBack if object.kind == Kind::Refresh => {
                let mut statements = vec!["SET LOCAL row_security = on".to_owned()];
                statements.extend(object.definition(style));
                statements.push("SET LOCAL row_security = off".to_owned());
                statements
            }
            What::Definition | What::PutBack => as_new(object, object.definition(style)),
            What::Change => object.create.clone(),
            What::Privileges => object.privilege_statements(style),
            What::Removal => object.removal(),
        }
    }

    fn doing(self, object: &Object) -> String {
        match self {
            What::Definition | What::Change => format!("making {}", object.identity),
            What::PutBack => format!("putting back {}, which only the target has", object.identity),
            What::Privileges if object.kind == Kind::Privileges => format!("granting {}", object.identity),
            What::Privileges => format!("granting privileges on {}", object.identity),
            What::Removal => format!("removing {}", object.identity),
        }
    }
}

/// The statements with nothing in them that would replace an object which nobody knows of, such as an extension's.
fn as_new(object: &Object, mut statements: Vec<String>) -> Vec<String> {
    if matches!(object.kind, Kind::Function | Kind::Procedure | Kind::Aggregate) {
        for sql in &mut statements {
            if let Some(rest) = sql.strip_prefix("CREATE OR REPLACE ") {
                *sql = format!("CREATE {rest}");
            }
        }
    }
    statements
}

/// Runs `what` of each of the objects, in a transaction that the caller has begun.
pub async fn run(client: &Client, objects: &[&Object], what: What, style: &Style) -> Result<(), Failure> {
    for batch in objects.chunks(BATCH) {
        let all: Vec<String> = batch.iter().flat_map(|o| what.statements(o, style)).collect();
        if all.is_empty() {
            continue;
        }
        // In a message of its own: one with a syntax error anywhere is refused as a whole. Polled together, they go out
        // one behind the other without waiting.
        let sql = format!("{}; RELEASE SAVEPOINT pgkeep_objects", all.join(";\n"));
        let (saved, done) =
            tokio::join!(client.batch_execute("SAVEPOINT pgkeep_objects"), client.batch_execute(&sql));
        saved?;
        let Err(error) = done else { continue };
        if client.is_closed() || pg::is_connection_loss(&error) || pg::is_cancelled(&error) {
            return Err(error.into());
        }
        client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_objects").await?;
        // One by one: which of them was it?
        for object in batch {
            one(client, object, what, style).await?;
        }
        client.batch_execute("RELEASE SAVEPOINT pgkeep_objects").await?;
    }
    Ok(())
}

/// Runs `what` of one object.
pub async fn one(client: &Client, object: &Object, what: What, style: &Style) -> Result<(), Failure> {
    for sql in what.statements(object, style) {
        statement(client, &sql).await.map_err(|e| {
            let mut failure = match what {
                // The archive is not what it does not fit.
                What::PutBack => Failure::from_server(&e).next(
                    "drop it first, or change it so that it fits what is restored, then run the same command again",
                ),
                _ => explain(&e),
            };
            if matches!(what, What::Definition | What::PutBack) && object.section == Section::PreData {
                failure.what = pg::describe_definition(&e);
            }
            if object.kind == Kind::Refresh {
                failure = failure.next("restore with --section pre-data,data, then run what comes behind the rows with psql, which goes on behind an error: pgkeep export FILE --section post-data | psql; or leave the view empty: --exclude VIEW");
            }
            failure.while_doing(what.doing(object))
        })?;
    }
    Ok(())
}

/// Grants the privileges of objects. What an extension brings may not be there in the target's version of it: returns
/// what is to be said of that.
pub async fn grant(client: &Client, objects: &[&Object], style: &Style) -> Result<Vec<String>, Failure> {
    let (brought, own): (Vec<&Object>, Vec<&Object>) =
        objects.iter().partition(|o| o.kind == Kind::Privileges);
    run(client, &own, What::Privileges, style).await?;
    let mut not_there = Vec::new();
    for object in brought {
        client.batch_execute("SAVEPOINT pgkeep_grant").await?;
        let sql = What::Privileges.statements(object, style).join(";\n");
        let end = match client.batch_execute(&sql).await {
            Ok(()) => "RELEASE SAVEPOINT pgkeep_grant",
            Err(error) if is_not_found(&error) => {
                let reason = pg::describe(&error);
                not_there.push(format!("{} are left out: {reason}", object.identity));
                "ROLLBACK TO SAVEPOINT pgkeep_grant; RELEASE SAVEPOINT pgkeep_grant"
            }
            Err(error) => return Err(explain(&error).while_doing(What::Privileges.doing(object))),
        };
        client.batch_execute(end).await?;
    }
    Ok(not_there)
}

/// Runs a statement. Functions of the user's that it calls (an index's, a check's) may need the path that they have in
/// the application: where something is not found, it is tried again with that.
async fn statement(client: &Client, sql: &str) -> Result<(), Error> {
    client.batch_execute("SAVEPOINT pgkeep_statement").await?;
    let result = match client.batch_execute(sql).await {
        Err(error) if is_not_found(&error) => {
            let sql = format!(
                "ROLLBACK TO SAVEPOINT pgkeep_statement; {BUILT_IN_FIRST_PATH}; {sql}; SET LOCAL search_path = ''"
            );
            // What the first attempt missed is what the person has to know.
            client.batch_execute(&sql).await.map_err(|again| if is_not_found(&again) { error } else { again })
        }
        result => result,
    };
    let end = match result {
        Ok(()) => "RELEASE SAVEPOINT pgkeep_statement",
        Err(_) => "ROLLBACK TO SAVEPOINT pgkeep_statement; RELEASE SAVEPOINT pgkeep_statement",
    };
    // A lost connection is the statement's error, not that of tidying up after it.
    let ended = client.batch_execute(end).await;
    result.and(ended)
}

/// Whether a table, function, type, operator or schema was not found.
fn is_not_found(error: &Error) -> bool {
    matches!(pg::sqlstate(error), Some("42P01" | "42883" | "42704" | "3F000"))
}

/// What the server said, and what can be done about it.
pub fn explain(error: &Error) -> Failure {
    let failure = Failure::from_server(error);
    let next = match pg::sqlstate(error) {
        // insufficient_privilege
        Some("42501") => {
            "connect as a superuser or as the objects' owner; --no-owner and --no-privileges leave out what only they may do"
        }
        // undefined_file: the library of a function; the control file of an extension
        Some("58P01") => {
            "install the library or extension on the server that is missing there, then run the same command again; a restore can leave the object out with --only or --section"
        }
        // undefined_object, undefined_table, undefined_function, invalid_schema_name
        Some("42704" | "42P01" | "42883" | "3F000") => {
            "make what is missing first (an extension, a role, a schema that the archive does not hold); a restore can leave the object out with --only, --table or --section"
        }
        // invalid_parameter_value: an option, or the provider of a security label
        Some("22023") => {
            "the server may be older than the one that the archive is of, or lack a library that is to be loaded at its start (shared_preload_libraries); else change the definition in the script of pgkeep export FILE --format sql"
        }
        // feature_not_supported, syntax_error, wrong_object_type of a property that such a thing did not have: another
        // major version
        Some("0A000" | "42601" | "42809") => {
            "the server may be older than the one that the archive is of, or may no longer take this definition: change it in the script of pgkeep export FILE --format sql"
        }
        // An integrity constraint: it was made where nobody looked at the rows.
        Some(code) if code.starts_with("23") => {
            "the archived rows themselves break it: restore with --section pre-data,data, then run what comes behind the rows with psql, which goes on behind an error: pgkeep export FILE --section post-data | psql"
        }
        _ => return failure,
    };
    failure.next(next)
}
