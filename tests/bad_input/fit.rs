//! The archive is whole, but the target is of another shape: all of it is named before anything is written.

use crate::{backed_up, explained, no_archive, no_debris, shop};

#[test]
fn every_table_and_column_that_does_not_fit_is_named_at_once() {
    let database = shop("misfits");
    database.execute(
        "CREATE TABLE gone (id int); CREATE TABLE lacking (id int, v text); CREATE TABLE extra (id int);
         CREATE TABLE other (id int, v int); CREATE TABLE narrower (v varchar(20)); CREATE TABLE computed (id int, v int);
         CREATE SEQUENCE lost; CREATE VIEW seen AS SELECT 1 AS id; CREATE TABLE viewed (id int);
         INSERT INTO gone VALUES (1); INSERT INTO lacking VALUES (1, 'x'); INSERT INTO other VALUES (1, 1);",
    );
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute(
        "DROP TABLE gone; ALTER TABLE lacking DROP v; ALTER TABLE extra ADD \"New one\" text; ALTER TABLE other ALTER v TYPE text;
         ALTER TABLE narrower ALTER v TYPE varchar(10); ALTER TABLE computed DROP v;
         ALTER TABLE computed ADD v int GENERATED ALWAYS AS (id + 1) STORED; DROP SEQUENCE lost;
         DROP TABLE viewed; CREATE VIEW viewed AS SELECT 1 AS id; UPDATE orders SET note = 'damaged';",
    );
    let before = database.digest();
    for safe in ["--safe", "--yes"] {
        let run = explained(pgkeep.run(&["restore", safe, "--data-only", "--file", &archive]), 1);
        run.says("gone: the target has no such table")
            .says("lacking: column \"v\" is missing in the target")
            .says("extra: column \"New one\" is not in the archive")
            .says("other: column \"v\" is text in the target, integer in the archive")
            .says("narrower: column \"v\" is character varying(10) in the target, character varying(20) in the archive")
            .says("computed: column \"v\" is generated in the target")
            .says("lost: the target has no such sequence")
            .says("viewed: the target has no such table")
            .says("untouched");
    }
    assert_eq!(database.digest(), before);
    no_archive(&pgkeep, "safety_backups");
    no_debris(&database);
    // Those that fit can be chosen, or told apart by pgkeep itself.
    pgkeep.ok(&["restore", "--safe", "--table", "orders", "--file", &archive]);
    let run = pgkeep
        .run(&["restore", "--safe", "--data-only", "--keep-going", "--json", "--file", &archive])
        .expect_code(3);
    let failed: Vec<String> = run.json()["tables_failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["table"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(failed.len(), 8, "{failed:?}");
}

#[test]
fn an_archive_of_another_database_altogether_changes_nothing() {
    let database = shop("fit_source");
    let (pgkeep, archive) = backed_up(&database.url);
    let other = crate::support::shared(None).database("fit_empty");
    let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &other.url);
    let run = explained(pgkeep.run(&["restore", "--safe", "--data-only", "--file", &archive]), 1);
    run.says("customers").says("orders").says("untouched");
    // With --keep-going there is nothing to keep going with: that is a failure, not a part.
    let run =
        explained(pgkeep.run(&["restore", "--safe", "--data-only", "--keep-going", "--file", &archive]), 1);
    run.says("no table could be restored");
    assert!(other.digest().is_empty());
}
