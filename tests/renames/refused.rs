//! What cannot be done under other names is said before anything is touched.

use crate::archived;
use crate::support::Run;

const TABLES: &str = "
CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a); CREATE SCHEMA s;
CREATE TABLE s.a (id int); CREATE VIEW v AS SELECT 1 AS id; CREATE TABLE wide (id int PRIMARY KEY, more text);
CREATE TABLE base (id int); CREATE TABLE heir (n int) INHERITS (base);
CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE f (id int) SERVER far;
INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1);
";

#[test]
fn each_refusal_says_what_to_do() {
    let (database, pgkeep, archive) = archived("refused", None, TABLES);
    let before = database.digest();
    let long = format!("a={}", "x".repeat(64));
    let run = |arguments: &[&str]| -> Run {
        pgkeep.run(&[&["restore", "--safe", "--file", &archive], arguments].concat())
    };
    for (code, arguments, said) in [
        (2, vec!["--map", "nobody=x"], "no table of the archive matches \"nobody\""),
        (2, vec!["--map", "a=x", "--map", "b=x"], "a and b would both go to x"),
        (2, vec!["--map", "a=x", "--map", "public.a=y"], "it says a second time where a table goes"),
        (2, vec!["--into-schema", "c"], "a and s.a would both go to c.a"),
        (2, vec!["--map", "a"], "write OLD=NEW"),
        (2, vec!["--into-schema", "c.d"], "it is not the name of one schema"),
        (2, vec!["--map", "a=v"], "no table can go there: v is a view in the target"),
        (2, vec!["--map", "a=f"], "no table can go there: f is a foreign table in the target"),
        (2, vec!["--map", "a=pg_catalog.a"], "schema pg_catalog is not for tables of yours"),
        (2, vec!["--map", &long], "is longer than a name may be (63 bytes)"),
        (2, vec!["--map", "a=x", "--table", "a,b"], "no --map says where these chosen tables go: b"),
        (2, vec!["--map", "a=x", "--table", "b", "--map", "b=y"], "name what is not chosen: a"),
        (2, vec!["--map", "heir=x"], "heir inherits from base, which is not chosen"),
        (1, vec!["--map", "a=wide"], "wide: column \"more\" is not in the archive"),
        (1, vec!["--map", "a=x", "--data-only"], "the target has no such table"),
        (2, vec!["--map", "a=x", "--clean"], "--clean does not go with --map and --into-schema"),
        (2, vec!["--map", "a=x", "--create"], "--create does not go with --map"),
        (2, vec!["--map", "a=x", "--if-exists", "replace"], "--if-exists does not go with --map"),
        (2, vec!["--map", "a=x", "--only", "views"], "--only does not go with --map"),
    ] {
        let run = run(&arguments).expect_code(code);
        assert!(run.stderr.contains(said), "{arguments:?}: {}", run.stderr);
        if !said.starts_with("write") && !said.starts_with("it ") {
            run.says("state: the target is untouched").says("next:  ");
        }
        assert_eq!(database.digest(), before, "{arguments:?}");
    }
    for more in [&["--schema"][..], &[&archive]] {
        let arguments = [&["diff", &archive], more, &["--into-schema", "c"]].concat();
        pgkeep.run(&arguments).expect_code(2).says("--map and --into-schema are for the rows of a database");
    }
}

#[test]
fn a_definition_that_cannot_be_a_copys_leaves_nothing_behind() {
    let (database, pgkeep, archive) = archived(
        "own_row",
        None,
        "CREATE TABLE t (id int); CREATE FUNCTION own(t) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';
         ALTER TABLE t ADD CHECK (own(t.*)); INSERT INTO t VALUES (1)",
    );
    let before = database.digest();
    let run = pgkeep.run(&["restore", "--safe", "--file", &archive, "--into-schema", "c"]).expect_code(1);
    run.says("function public.own(c.t) does not exist").says("everything was rolled back");
    assert_eq!(database.digest(), before);
    assert_eq!(database.value("SELECT count(*)::text FROM pg_namespace WHERE nspname = 'c'"), "0");
}
