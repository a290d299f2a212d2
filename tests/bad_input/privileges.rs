//! What the role may not do is named, all at once, before anything is touched.

use crate::support::Pgkeep;
use crate::support::{Database, shared};
use crate::{backed_up, explained, no_archive, no_debris};

/// A database with a role that may log in and nothing else.
fn with_role(name: &str, role: &str, sql: &str) -> Database<'static> {
    let database = shared(None).database(name);
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'x'; {sql}"));
    database
}

#[test]
fn a_backup_names_every_table_schema_and_sequence_that_the_role_may_not_read() {
    let database = with_role(
        "unreadable",
        "clerk",
        "CREATE TABLE open (id int); GRANT SELECT ON open TO clerk;
         CREATE TABLE closed (id int); CREATE TABLE \"Closed too\" (id int);
         CREATE SCHEMA vault; CREATE TABLE vault.gold (id int); GRANT SELECT ON vault.gold TO clerk;
         CREATE SEQUENCE counter;",
    );
    let pgkeep = Pgkeep::on(&database.url_as("clerk", "x"));
    let run = explained(pgkeep.run(&["backup"]), 5);
    run.says("role clerk")
        .says("closed")
        .says("Closed too")
        .says("vault.gold")
        .says("USAGE")
        .says("counter")
        .says("SELECT");
    assert!(!run.stderr.contains("open ("), "{}", run.stderr);
    no_archive(&pgkeep, "backups");
    pgkeep.ok(&["backup", "--table", "open"]);
}

#[test]
fn a_restore_names_every_privilege_that_the_role_lacks() {
    let database = with_role(
        "unwritable",
        "porter",
        "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text); CREATE SEQUENCE s;
         INSERT INTO a VALUES (1, 'x'); INSERT INTO b VALUES (1, 'x'); SELECT nextval('s');
         GRANT SELECT, UPDATE, DELETE ON a TO porter; GRANT SELECT, INSERT ON b TO porter; GRANT SELECT ON s TO porter;",
    );
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute("UPDATE a SET v = 'changed'");
    let before = database.digest();
    let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &database.url_as("porter", "x"));
    let run = explained(pgkeep.run(&["restore", "--safe", "--file", &archive]), 5);
    run.says("role porter")
        .says("a (INSERT)")
        .says("b (DELETE, UPDATE)")
        .says("sequence s (UPDATE)")
        .says("GRANT INSERT ON \"public\".\"a\" TO \"porter\";")
        .says("untouched");
    assert_eq!(database.digest(), before);
    no_archive(&pgkeep, "safety_backups");
    no_debris(&database);
}

#[test]
fn a_restore_without_the_right_to_temporary_tables_is_refused_before_anything_is_touched() {
    let database = with_role(
        "temporary",
        "guest",
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x'); GRANT ALL ON t TO guest;
         REVOKE TEMPORARY ON DATABASE temporary FROM public;",
    );
    let (pgkeep, archive) = backed_up(&database.url);
    let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &database.url_as("guest", "x"));
    let run = explained(pgkeep.run(&["restore", "--safe", "--file", &archive]), 5);
    run.says("role guest").says("GRANT TEMPORARY ON DATABASE \"temporary\" TO \"guest\";").says("untouched");
    no_archive(&pgkeep, "safety_backups");
    database.execute("GRANT TEMPORARY ON DATABASE temporary TO guest");
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
}

#[test]
fn a_restore_by_a_stranger_to_the_triggers_is_refused_before_anything_is_written() {
    let database = with_role(
        "strangers",
        "stranger",
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x');
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER stamp BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();
         GRANT ALL ON t TO stranger;",
    );
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute("UPDATE t SET v = 'changed'");
    let before = database.digest();
    let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &database.url_as("stranger", "x"));
    let run = explained(pgkeep.run(&["restore", "--safe", "--file", &archive]), 5);
    run.says("role stranger").says("of t ").says("owner");
    assert_eq!(database.digest(), before);
    no_debris(&database);
}

#[test]
fn row_level_security_that_would_hide_rows_stops_a_backup_and_a_restore() {
    let database = with_role(
        "policies",
        "tenant",
        "CREATE TABLE mine (id int PRIMARY KEY, who text); CREATE TABLE forced (id int PRIMARY KEY, who text);
         INSERT INTO mine VALUES (1, 'tenant'), (2, 'other'); INSERT INTO forced VALUES (1, 'tenant'), (2, 'other');
         ALTER TABLE mine ENABLE ROW LEVEL SECURITY; ALTER TABLE forced ENABLE ROW LEVEL SECURITY;
         ALTER TABLE forced FORCE ROW LEVEL SECURITY; ALTER TABLE forced OWNER TO tenant;
         CREATE POLICY own ON mine USING (who = current_user); CREATE POLICY own ON forced USING (who = current_user);
         GRANT ALL ON mine TO tenant; GRANT ALL ON SCHEMA public TO tenant;",
    );
    let (pgkeep, archive) = backed_up(&database.url);
    let before = database.digest();
    let tenant = Pgkeep::on(&database.url_as("tenant", "x"));
    let run = explained(tenant.run(&["backup"]), 5);
    run.says("row-level security")
        .says("role tenant")
        .says("mine (owner postgres)")
        .says("forced (owner tenant, FORCE)")
        .says("BYPASSRLS");
    no_archive(&tenant, "backups");

    let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &database.url_as("tenant", "x"));
    let run = explained(pgkeep.run(&["restore", "--safe", "--mode", "exact", "--file", &archive]), 5);
    run.says("row-level security").says("mine").says("forced").says("untouched");
    assert_eq!(database.digest(), before);
    no_archive(&pgkeep, "safety_backups");

    database.execute("ALTER ROLE tenant BYPASSRLS");
    let tenant = Pgkeep::on(&database.url_as("tenant", "x"));
    let result = tenant.ok(&["backup", "--json"]).json();
    assert_eq!(result["rows"], 4, "no row is hidden");
}
