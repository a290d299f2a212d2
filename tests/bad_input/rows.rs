//! A row that the target does not take: which row, which constraint, and everything is undone.

use crate::support::{Database, Pgkeep, Run, shared};
use crate::{backed_up, explained, log_says_undone, no_debris};

/// Backs `before` up, changes the target by `change`, and returns the failing restore, having checked that it was
/// undone and that no value of a row is in what was printed or logged.
fn refused(name: &str, before: &str, change: &str, secret: &str) -> Run {
    let database: Database = shared(None).database(name);
    database.execute(before);
    let (pgkeep, archive): (Pgkeep, String) = backed_up(&database.url);
    database.execute(change);
    let digest = database.digest();
    let run = explained(pgkeep.run(&["restore", "--safe", "--file", &archive]), 1);
    run.says("rolled back");
    assert_eq!(database.digest(), digest);
    no_debris(&database);
    let log = log_says_undone(&pgkeep);
    assert_eq!(log["rolled_back"], true, "{log:#}");
    for text in [&run.stderr, &log.to_string()] {
        assert!(!text.contains(secret), "a row's value is shown:\n{text}");
    }
    run
}

#[test]
fn a_unique_value_that_another_row_holds() {
    refused(
        "row_unique",
        "CREATE TABLE t (id int PRIMARY KEY, email text UNIQUE); INSERT INTO t SELECT n, 'mail' || n FROM generate_series(1, 100) n",
        "DELETE FROM t WHERE id = 77; INSERT INTO t VALUES (1000, 'mail77')",
        "mail77",
    )
    .says("table t")
    .says("id = 77")
    .says("t_email_key")
    .says("--mode exact");
}

#[test]
fn a_value_that_a_new_check_forbids() {
    refused(
        "row_check",
        "CREATE TABLE t (id int PRIMARY KEY, age int); INSERT INTO t SELECT n, 40000 + n FROM generate_series(1, 100) n",
        "DELETE FROM t WHERE id = 50; ALTER TABLE t ADD CONSTRAINT \"not fifty\" CHECK (age <> 40050)",
        "40050)",
    )
    .says("table t")
    .says("id = 50")
    .says("not fifty");
}

#[test]
fn a_null_where_the_target_has_become_not_null() {
    refused(
        "row_null",
        "CREATE TABLE t (id int PRIMARY KEY, v text, w text); INSERT INTO t VALUES (1, 'a', 'secret1'), (2, NULL, 'secret2')",
        "UPDATE t SET v = 'a'; ALTER TABLE t ALTER v SET NOT NULL",
        "secret",
    )
    .says("table t")
    .says("id = 2")
    .says("column \"v\"");
}

#[test]
fn a_range_that_overlaps() {
    refused(
        "row_exclusion",
        "CREATE TABLE t (id int PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH &&)); INSERT INTO t VALUES (1, '[1111,2222)'), (2, '[3333,4444)')",
        "DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (9, '[4000,5000)')",
        "4444",
    )
    .says("table t")
    .says("id = 2")
    .says("t_during_excl");
}

#[test]
fn a_value_that_the_domain_no_longer_holds() {
    refused(
        "row_domain",
        "CREATE DOMAIN code AS text; CREATE TABLE t (id int PRIMARY KEY, c code); INSERT INTO t VALUES (1, 'ok'), (2, 'forbidden-code')",
        "DELETE FROM t WHERE id = 2; ALTER DOMAIN code ADD CONSTRAINT short CHECK (length(value) < 5)",
        "forbidden-code",
    )
    .says("table t")
    .says("archived row (id = 2)")
    .says("short")
    .says("the target no longer takes such a row");
}

#[test]
fn an_enum_value_that_the_target_does_not_know() {
    let source = shared(None).database("row_enum_source");
    source.execute("CREATE TYPE mood AS ENUM ('calm', 'secret-mood'); CREATE TABLE t (id int PRIMARY KEY, m mood); INSERT INTO t VALUES (1, 'calm'), (2, 'secret-mood')");
    let (pgkeep, archive) = backed_up(&source.url);
    let target = shared(None).database("row_enum_target");
    target.execute("CREATE TYPE mood AS ENUM ('calm'); CREATE TABLE t (id int PRIMARY KEY, m mood)");
    let before = target.digest();
    let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &target.url);
    let run = explained(pgkeep.run(&["restore", "--safe", "--file", &archive]), 1);
    run.says("table t").says("archived row 2").says("column m").says("mood").says("types");
    assert!(!run.stderr.contains("secret-mood"), "{}", run.stderr);
    assert_eq!(target.digest(), before);
    log_says_undone(&pgkeep);
}

#[test]
fn a_row_whose_parent_is_gone() {
    for owner in [false, true] {
        let role = if owner {
            "CREATE ROLE keeper LOGIN PASSWORD 'x'; GRANT ALL ON SCHEMA public TO keeper;"
        } else {
            ""
        };
        let database = shared(None).database(&format!("row_orphan_{owner}"));
        database.execute(&format!(
            "{role} CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int, CONSTRAINT \"Of whom\" FOREIGN KEY (p) REFERENCES parent);
             INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (10, 1), (20, 2);"
        ));
        if owner {
            database.execute("ALTER TABLE parent OWNER TO keeper; ALTER TABLE child OWNER TO keeper");
        }
        let url = if owner { database.url_as("keeper", "x") } else { database.url.clone() };
        let (pgkeep, archive) = backed_up(&url);
        database.execute("DELETE FROM child WHERE id = 20; DELETE FROM parent WHERE id = 2");
        let before = database.digest();
        let run = explained(pgkeep.run(&["restore", "--safe", "--table", "child", "--file", &archive]), 1);
        run.says("table child").says("table parent").says("Of whom").says("(id = 20)").says("rolled back");
        assert_eq!(database.digest(), before);
        log_says_undone(&pgkeep);
        no_debris(&database);
    }
}
