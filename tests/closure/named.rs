//! What must be said, and what is at the edge: rows that are nowhere, tables that cannot be read, types and keys of which an
//! archive does not tell enough.

use std::collections::BTreeMap;

use pgkeep::failure::FailureKind;

use crate::found::{Asked, ask, ask_archive, backup, of_archive, of_database, scope};
use crate::support::{Database, shared};

/// The rows that a database and its archive both give, as `table n`.
fn found(database: &Database<'_>, roots: &[&str], tables: &[&str]) -> Vec<String> {
    let roots: Vec<String> = roots.iter().map(|text| (*text).to_owned()).collect();
    let asked = scope(&roots, None);
    let (live, _) = ask(&database.url, &Asked::Entity(&asked)).unwrap();
    let tables: Vec<String> = tables.iter().map(|table| format!("public.{table}")).collect();
    let live = of_database(&database.url, &live, &tables);
    let archive = backup(&database.url, &[]);
    let (chosen, _) = ask_archive(&archive, &asked).unwrap();
    assert_eq!(of_archive(&archive, &chosen, &BTreeMap::new()), live);
    live.into_iter().map(|(table, n)| format!("{table} {n}")).collect()
}

#[test]
fn a_key_of_one_partition_counts_for_its_table_and_one_by_many_columns_for_what_they_pair() {
    let database = shared(None).database("odd_keys");
    database.execute(
        "CREATE TABLE o (n int, \"a b\" int, c int, UNIQUE (c, \"a b\"), PRIMARY KEY (\"a b\", c));
         INSERT INTO o VALUES (1, 1, 2), (2, 2, 1);
         CREATE TABLE p (n int, id int PRIMARY KEY, back int) PARTITION BY RANGE (id);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
         CREATE TABLE x (n int, id int PRIMARY KEY, a int, c int, one int REFERENCES p1,
                         FOREIGN KEY (c, a) REFERENCES o (c, \"a b\"));
         ALTER TABLE p2 ADD FOREIGN KEY (back) REFERENCES x;
         INSERT INTO p VALUES (1, 1, NULL), (2, 11, NULL);
         INSERT INTO x VALUES (1, 1, 2, 1, 1), (2, 2, 1, 2, NULL);
         INSERT INTO p VALUES (3, 12, 1), (4, 2, NULL)",
    );
    assert_eq!(found(&database, &["o=1/2"], &["o", "x", "p"]), ["o 1", "x 2"]);
    assert_eq!(found(&database, &["o=2/1"], &["o", "x", "p"]), ["o 2", "p 1", "p 3", "x 1"]);
    assert_eq!(found(&database, &["p=1"], &["o", "x", "p"]), ["o 2", "p 1", "p 3", "x 1"]);
}

#[test]
fn values_are_equal_as_the_operator_of_the_key_has_it_also_through_domains() {
    let database = shared(None).database("equal_to_a_key");
    database.execute(
        "CREATE DOMAIN price AS numeric(10,2); CREATE DOMAIN dear AS price;
         CREATE TABLE a (n int, id price PRIMARY KEY); CREATE TABLE b (n int, a dear REFERENCES a);
         CREATE TABLE f (n int, id float8 PRIMARY KEY); CREATE TABLE g (n int, f float4 REFERENCES f, i int REFERENCES f);
         CREATE TABLE d (n int, id timestamp PRIMARY KEY); CREATE TABLE e (n int, d date REFERENCES d);
         INSERT INTO a VALUES (1, 1), (2, 2); INSERT INTO b VALUES (1, 1.0), (2, 2.00);
         INSERT INTO f VALUES (1, 0.5), (2, '-0'), (3, 'NaN'); INSERT INTO g VALUES (1, 0.5, 0), (2, 'NaN', NULL), (3, 0, 0);
         INSERT INTO d VALUES (1, '2025-01-02'), (2, '0001-01-01 BC'); INSERT INTO e VALUES (1, '2025-01-02'), (2, '0001-01-01 BC')",
    );
    assert_eq!(found(&database, &["a=1.0"], &["a", "b"]), ["a 1", "b 1"]);
    assert_eq!(found(&database, &["f=0"], &["f", "g"]), ["f 1", "f 2", "g 1", "g 3"]);
    assert_eq!(found(&database, &["f=NaN"], &["f", "g"]), ["f 3", "g 2"]);
    assert_eq!(found(&database, &["d=0001-01-01 00:00:00 BC"], &["d", "e"]), ["d 2", "e 2"]);
}

#[test]
fn what_only_a_server_can_compare_is_an_error_of_an_archive_that_names_the_key() {
    let database = shared(None).database("only_a_server");
    database.execute(
        "CREATE TABLE w (n int, id int PRIMARY KEY, code interval UNIQUE);
         CREATE TABLE c (n int, code interval, CONSTRAINT by_code FOREIGN KEY (code) REFERENCES w (code));
         INSERT INTO w VALUES (1, 1, '24:00'), (2, 2, NULL); INSERT INTO c VALUES (1, '1 day')",
    );
    let asked = scope(&["w=1".to_owned()], None);
    let (live, _) = ask(&database.url, &Asked::Entity(&asked)).unwrap();
    let tables = ["public.w".to_owned(), "public.c".to_owned()];
    assert_eq!(of_database(&database.url, &live, &tables).len(), 2);
    let failure = ask_archive(&backup(&database.url, &[]), &asked).unwrap_err();
    assert!(
        failure.what.contains("foreign key by_code of c cannot be followed in an archive"),
        "{}",
        failure.what
    );
    // Where nobody can refer to anything, nothing has to be compared.
    database.execute("DELETE FROM c");
    ask_archive(&backup(&database.url, &[]), &asked).unwrap();
}

#[test]
fn a_row_that_is_nowhere_and_a_table_that_has_no_key_are_named() {
    let database = shared(None).database("nowhere");
    database.execute(
        "CREATE TABLE w (n int, id int PRIMARY KEY); CREATE TABLE k (n int); CREATE TABLE c (a int, b uuid, PRIMARY KEY (a, b));
         INSERT INTO w VALUES (1, 1)",
    );
    let archive = backup(&database.url, &[]);
    for (root, says) in [
        ("w=1,2", "has the key 2"),
        ("w=x", "has the key x"),
        ("w=99999999999", "has the key 99999999999"),
        ("k=1", "table k has no key"),
        ("v=1", "there is no table \"v\""),
        ("*=1", "means 3 tables"),
        ("c=1", "has the columns a/b"),
        ("c=1/2", "has the key 1/2"),
    ] {
        let asked = scope(&[root.to_owned()], None);
        for failure in [
            ask(&database.url, &Asked::Entity(&asked)).unwrap_err(),
            ask_archive(&archive, &asked).unwrap_err(),
        ] {
            assert_eq!(failure.kind, FailureKind::Usage, "{root}: {}", failure.what);
            assert!(failure.what.contains(says), "{root}: {}", failure.what);
        }
    }
}

#[test]
fn a_table_that_the_role_may_not_read_is_a_failure_of_access() {
    let cluster = shared(None);
    let database = cluster.database("may_not");
    database.execute(
        "CREATE TABLE w (n int, id int PRIMARY KEY); CREATE TABLE c (n int, w int REFERENCES w);
         INSERT INTO w VALUES (1, 1); INSERT INTO c VALUES (1, 1);
         CREATE ROLE may_not LOGIN PASSWORD 'x'; GRANT SELECT ON w TO may_not",
    );
    let asked = scope(&["w=1".to_owned()], None);
    let url = database.url_as("may_not", "x");
    let failure = ask(&url, &Asked::Entity(&asked)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Access, "{}", failure.what);
    database.execute("GRANT SELECT ON c TO may_not; ALTER TABLE c ENABLE ROW LEVEL SECURITY");
    let failure = ask(&url, &Asked::Entity(&asked)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Access, "{}", failure.what);
}

#[test]
fn a_key_that_is_not_followed_is_said_where_rows_could_be_concerned() {
    let database = shared(None).database("left_open");
    database.execute(
        "CREATE TABLE w (n int, id int PRIMARY KEY); CREATE TABLE v (n int, id int PRIMARY KEY);
         CREATE TABLE c (n int, w int REFERENCES w, v int CONSTRAINT to_v REFERENCES v);
         INSERT INTO w VALUES (1, 1); INSERT INTO v VALUES (1, 1); INSERT INTO c VALUES (1, 1, 1)",
    );
    let asked = scope(&["w=1".to_owned()], None);
    let archive = backup(&database.url, &["--exclude", "v"]);
    let (chosen, tree) = ask_archive(&archive, &asked).unwrap();
    assert_eq!(of_archive(&archive, &chosen, &BTreeMap::new()).len(), 2);
    assert_eq!(tree.not_followed, ["to_v of c: v is not in the archive"]);
    let archive = backup(&database.url, &[]);
    assert_eq!(ask_archive(&archive, &asked).unwrap().1.not_followed, [""; 0]);
}

#[test]
fn an_index_serves_where_there_is_one_also_under_settings_that_would_not_have_it() {
    let database = shared(None).database("by_index");
    database.execute(
        "CREATE TABLE w (n int, id int PRIMARY KEY);
         CREATE TABLE c (n int, w bigint REFERENCES w); CREATE INDEX ON c (w);
         INSERT INTO w SELECT i, i FROM generate_series(1, 20000) i;
         INSERT INTO c SELECT i, 1 + i % 20000 FROM generate_series(1, 200000) i; ANALYZE;
         ALTER DATABASE by_index SET enable_indexscan = off; ALTER DATABASE by_index SET enable_bitmapscan = off",
    );
    let asked = scope(&["w=7".to_owned()], None);
    let before = database.value("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'c'");
    let (live, _) = ask(&database.url, &Asked::Entity(&asked)).unwrap();
    assert_eq!(live.values().map(Vec::len).sum::<usize>(), 11);
    let after =
        database.value("SELECT pg_sleep(1)::text || seq_scan FROM pg_stat_user_tables WHERE relname = 'c'");
    assert_eq!(after, before);
}
