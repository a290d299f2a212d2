//! Runs objects' statements. A failure names the object.

use tokio_postgres::{Client, Error};

use crate::failure::Failure;
use crate::postgres::{error as pg, quote};
use crate::restore::requirements::may_be_left;
use crate::restore::stage::BUILT_IN_FIRST_PATH;
use crate::schema::script::{Left, LeftStatement, Style};
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

    /// The same, with what belongs together in one piece: a GRANT with the role that it is given under.
    fn pieces(self, object: &Object, style: &Style) -> Vec<String> {
        match self {
            What::Privileges if !style.no_privileges => {
                object.privileges.iter().map(|grant| grant.statements(style).join(";\n")).collect()
            }
            _ => self.statements(object, style),
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
    // What the server logs of a statement that fails is the whole message: no secret goes with others.
    let is_secret = |o: &Object| o.kind == Kind::Secret;
    for group in objects.chunk_by(|a, b| is_secret(a) == is_secret(b)) {
        match group.first() {
            Some(first) if is_secret(first) => {
                for object in group {
                    one(client, object, what, style).await?;
                }
            }
            _ => run_batches(client, group, what, style).await?,
        }
    }
    Ok(())
}

async fn run_batches(client: &Client, objects: &[&Object], what: What, style: &Style) -> Result<(), Failure> {
    for batch in objects.chunks(BATCH) {
        let all: Vec<String> = batch.iter().flat_map(|o| what.statements(o, style)).collect();
        if all.is_empty() {
            continue;
        }
        let before = in_vain(style);
        // In a message of its own: one with a syntax error anywhere is refused as a whole. Polled together, they go out
        // one behind the other without waiting.
        let sql = format!("{}; RELEASE SAVEPOINT pgkeep_objects", all.join(";\n"));
        let (saved, done) =
            tokio::join!(client.batch_execute("SAVEPOINT pgkeep_objects"), client.batch_execute(&sql));
        saved?;
        let error = match done {
            Ok(()) if what != What::Privileges || in_vain(style) == before => continue,
            Ok(()) => {
                // One by one, which changes nothing: which of them was it?
                for object in batch {
                    one(client, object, what, style).await?;
                }
                continue;
            }
            Err(error) => error,
        };
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
    let grants = matches!(what, What::Privileges | What::Change);
    let mut pieces = what.pieces(object, style).into_iter();
    while let Some(sql) = pieces.next() {
        let before = in_vain(style);
        let Err(error) = statement(client, &sql).await else {
            if let Some(left) = style.left.as_ref().filter(|left| grants && left.in_vain() != before) {
                // Under the same role it would be in vain again.
                let alone = sql.strip_prefix("SET ROLE ").and_then(|rest| rest.split(";\n").nth(1));
                let sql = alone.unwrap_or(&sql).to_owned();
                let reason =
                    "the server has warned that not all of it was done, for want of the right to".to_owned();
                left.push(LeftStatement { object: object.identity.clone(), sql, reason });
            }
            continue;
        };
        let goes_with_triggers = match (what, &style.left) {
            (What::Removal, Some(left)) => with_its_triggers(client, object, &sql, &error, left).await?,
            _ => false,
        };
        if goes_with_triggers || leave(object, what, &sql, &error, style) {
            if what != What::Removal && makes(object, &sql) {
                // What is not there has no owner and no comment.
                leave_all(object, pieces, style);
                return Ok(());
            }
            if sql.contains(" OWNER TO ") {
                leave_owners_privileges(client, object, style).await?;
            }
            continue;
        }
        return Err(refused(object, what, &error));
    }
    Ok(())
}

/// How many grants were in vain so far, where somebody listens.
fn in_vain(style: &Style) -> u64 {
    style.left.as_ref().map_or(0, Left::in_vain)
}

/// The failure of a statement that an object is made, changed or removed by.
fn refused(object: &Object, what: What, error: &Error) -> Failure {
    let mut failure = match what {
        // The archive is not what it does not fit.
        What::PutBack => Failure::from_server(error).next(
            "drop it first, or change it so that it fits what is restored, then run the same command again",
        ),
        _ => explain(error),
    };
    if matches!(what, What::Definition | What::PutBack) && object.section == Section::PreData {
        failure.what = pg::describe_definition(error);
    }
    if object.kind == Kind::Refresh {
        failure = failure.next("restore with --section pre-data,data, then run what comes behind the rows with psql, which goes on behind an error: pgkeep export FILE --section post-data | psql; or leave the view empty: --exclude VIEW");
    }
    failure.while_doing(what.doing(object))
}

/// Leaves a statement to others where that was asked for: one that the role may not run, and that others' objects are
/// about, or what else somebody with the right may do later on. Not so where the rest of the restore would miss it.
fn leave(object: &Object, what: What, sql: &str, error: &Error, style: &Style) -> bool {
    let Some(left) = &style.left else { return false };
    let is_edge = is_at_the_edge(object.kind);
    // What it needs may have been left itself, or is for the host to make.
    let waits = is_edge && what == What::Definition && is_not_found(error) || object.kind == Kind::Job;
    if !waits && !is_for_others(error) {
        return false;
    }
    let makes = makes(object, sql);
    let can_wait = match what {
        What::Privileges => true,
        // Tables that need a function say so themselves.
        What::Definition | What::PutBack => is_edge || !makes || may_be_left(object.kind),
        What::Change => !sql.starts_with("CREATE "),
        What::Removal => is_edge,
    };
    if can_wait {
        let sql =
            if object.kind == Kind::Secret { object.concealed().create.join("; ") } else { sql.to_owned() };
        let (object, reason) = (object.identity.clone(), pg::describe(error));
        left.push(LeftStatement { object, sql, reason });
    }
    can_wait
}

/// Whether this is one of the statements that make the object, see `as_new`.
fn makes(object: &Object, sql: &str) -> bool {
    let anew = |own: &str| {
        own.strip_prefix("CREATE OR REPLACE ").is_some_and(|own| sql.strip_prefix("CREATE ") == Some(own))
    };
    object.create.iter().any(|own| own == sql || anew(own))
}

/// How many of these objects are not there after all: a statement that makes them was left to others.
pub fn unmade<'o>(objects: impl Iterator<Item = &'o Object>, left: &[LeftStatement]) -> u64 {
    let is_left = |o: &&Object| left.iter().any(|l| l.object == o.identity && makes(o, &l.sql));
    objects.filter(is_left).count() as u64
}

/// Leaves what stands behind a statement of an object that was left itself.
fn leave_all(object: &Object, statements: impl Iterator<Item = String>, style: &Style) {
    for sql in statements {
        if let Some(left) = style.left.as_ref().filter(|_| object.kind != Kind::Secret) {
            let reason = "comes behind the statement that makes it".to_owned();
            left.push(LeftStatement { object: object.identity.clone(), sql, reason });
        }
    }
}

/// Whether nothing that holds rows needs objects of this kind.
fn is_at_the_edge(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Trigger
            | Kind::Policy
            | Kind::Rule
            | Kind::Index
            | Kind::Statistics
            | Kind::ForeignKey
            | Kind::RowSecurity
            | Kind::Publication
            | Kind::PublicationMember
            | Kind::EventTrigger
            | Kind::Job
    )
}

/// Whether somebody else may do it: insufficient_privilege, and invalid_grant_operation, which is what who has a privilege
/// hears that gives it back to whom it comes from.
fn is_for_others(error: &Error) -> bool {
    matches!(pg::sqlstate(error), Some("42501" | "0LP01"))
}

/// What an owner is granted goes with him: who is to lose an object to its old owner, and had privileges on it, needs
/// them given again.
async fn leave_owners_privileges(client: &Client, object: &Object, style: &Style) -> Result<(), Failure> {
    let Some(left) = style.left.as_ref().filter(|_| !style.no_privileges) else { return Ok(()) };
    let owner: String = client.query_typed("SELECT CURRENT_USER::pg_catalog.text", &[]).await?[0].get(0);
    for grant in object.privileges.iter().filter(|g| g.roles.contains(&owner)) {
        let reason = "to be said again when the owner is another".to_owned();
        left.push(LeftStatement { object: object.identity.clone(), sql: grant.sql.clone(), reason });
    }
    Ok(())
}

/// Triggers of a function, as objects' identities; what else needs it as NULL.
const TRIGGERS_OF: &str = "
SELECT 'TRIGGER ' || pg_catalog.quote_ident(t.tgname) || ' ON '
         || pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
  FROM pg_catalog.pg_depend d
  LEFT JOIN pg_catalog.pg_trigger t ON d.classid = 2620 AND t.oid = d.objid
  LEFT JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE d.refclassid = 1255 AND d.refobjid = pg_catalog.to_regprocedure(";

/// A trigger on another's table can be made by who may not remove it; but with its function, which is his own, he may.
/// Removes a function that is refused because of nothing but triggers that should be gone already.
async fn with_its_triggers(
    client: &Client,
    object: &Object,
    sql: &str,
    error: &Error,
    left: &Left,
) -> Result<bool, Failure> {
    let Some(function) = object.identity.strip_prefix("FUNCTION ") else { return Ok(false) };
    // dependent_objects_still_exist
    if pg::sqlstate(error) != Some("2BP01") {
        return Ok(false);
    }
    let question = format!("{TRIGGERS_OF}{})", quote::literal(function));
    let rows = client.query_typed(&question, &[]).await?;
    let triggers: Vec<Option<String>> = rows.iter().map(|row| row.get(0)).collect();
    let is_left = |trigger: &Option<String>| trigger.as_ref().is_some_and(|t| left.has(t));
    if !triggers.iter().all(is_left) || statement(client, &format!("{sql} CASCADE")).await.is_err() {
        return Ok(false);
    }
    triggers.iter().flatten().for_each(|trigger| left.forget(trigger));
    Ok(true)
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
        let before = in_vain(style);
        let end = match client.batch_execute(&sql).await {
            Ok(()) if in_vain(style) == before => "RELEASE SAVEPOINT pgkeep_grant",
            Ok(()) => {
                one(client, object, What::Privileges, style).await?;
                "RELEASE SAVEPOINT pgkeep_grant"
            }
            Err(error) if is_not_found(&error) => {
                let reason = pg::describe(&error);
                not_there.push(format!("{} are left out: {reason}", object.identity));
                "ROLLBACK TO SAVEPOINT pgkeep_grant; RELEASE SAVEPOINT pgkeep_grant"
            }
            Err(error) if style.left.is_some() && is_for_others(&error) => {
                client.batch_execute("ROLLBACK TO SAVEPOINT pgkeep_grant").await?;
                one(client, object, What::Privileges, style).await?;
                "RELEASE SAVEPOINT pgkeep_grant"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_not_made_unless_it_was_but_its_owner() {
        let mut f = Object::new(Kind::Function, "FUNCTION s.f()", Some("s"), "f");
        f.create = vec!["CREATE OR REPLACE FUNCTION s.f() RETURNS int RETURN 1".to_owned()];
        let mut g = Object::new(Kind::Function, "FUNCTION s.g()", Some("s"), "g");
        g.create = f.create.clone();
        let unmade = |sql: &str| {
            let (object, sql, reason) = (f.identity.clone(), sql.to_owned(), String::new());
            unmade([&f, &g].into_iter(), &[LeftStatement { object, sql, reason }])
        };
        assert_eq!(unmade("CREATE FUNCTION s.f() RETURNS int RETURN 1"), 1);
        assert_eq!(unmade(&f.create[0]), 1);
        assert_eq!(unmade("ALTER FUNCTION s.f() OWNER TO other"), 0);
    }
}
