//! Roles that can do none of it: the refusal names the table and what would help, and nothing was written.

use crate::support::{Cluster, Options, Pgkeep, shared};
use crate::{Ground, ROWS_ONLY, says, servers};

#[test]
fn who_can_do_none_of_it_hears_so_before_any_row_or_definition_is_touched() {
    let config = vec!["log_statement = 'all'".to_owned()];
    let cluster = Cluster::start(Options { config, ..Options::default() });
    let database = cluster.database("way_none");
    database.execute(
        "CREATE ROLE nobody LOGIN PASSWORD 'x'; CREATE TABLE t (id int PRIMARY KEY, v text);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         INSERT INTO t VALUES (1, 'a'); CREATE TRIGGER swallow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
         GRANT SELECT, INSERT, UPDATE, DELETE ON t TO nobody",
    );
    let pgkeep = Pgkeep::on(&database.url_as("nobody", "x"));
    pgkeep.ok(&["backup"]);
    let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
    let restore = ["restore", "--safe", "--mode", "exact", "--file", &archive];
    database.execute("UPDATE t SET v = 'b'");
    let before = (database.digest(), cluster.log().len());
    let run = pgkeep.run(&restore).expect_code(5);
    run.says("role nobody").says("t (owner postgres)").says("the target is as it was");
    let log = cluster.log()[before.1..].to_owned();
    assert!(log.contains("pgkeep_stage_0"), "the log has its statements:\n{log}");
    for touch in ["DELETE FROM", "INSERT INTO \"public\"", "UPDATE ONLY", "ALTER TABLE", "DISABLE TRIGGER"] {
        assert!(!log.contains(touch), "{touch} in:\n{log}");
    }
    assert_eq!(database.digest(), before.0);
    // What would help does: the ownership that it names.
    database.execute("ALTER TABLE t OWNER TO nobody");
    pgkeep.ok(&restore);
    assert_eq!(database.value("SELECT v FROM t"), "a");
    let log = cluster.log();
    assert!(
        log.contains("DELETE FROM ONLY") && log.contains("DISABLE TRIGGER"),
        "the words that were looked for"
    );
}

/// Two tables of others that refer to each other, with nothing to defer.
const CIRCLE: &str = "
    CREATE TABLE a (id int PRIMARY KEY, v text, b int NOT NULL); CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL);
    INSERT INTO a VALUES (1, 'x', 1), (2, 'x', 2); INSERT INTO b VALUES (1, 1), (2, 2);
    ALTER TABLE a ADD CONSTRAINT there FOREIGN KEY (b) REFERENCES b; ALTER TABLE b ADD CONSTRAINT back FOREIGN KEY (a) REFERENCES a;";

#[test]
fn a_circle_of_others_that_no_order_can_be_written_in_is_undone_with_the_ways_out() {
    for major in servers() {
        let ground = Ground::new(major, "way_others_circle", &format!("{CIRCLE}{ROWS_ONLY}"));
        ground.has_just("", false);
        // Rows that stay where they are can be changed.
        ground.quietly("UPDATE a SET v = 'other', b = 2 WHERE id = 1");
        ground.keeper.ok(&ground.restore("exact"));
        ground.quietly("DELETE FROM a WHERE id = 2; DELETE FROM b WHERE id = 2");
        let (rows, marks) = (ground.database.digest(), ground.marks());
        let run = ground.keeper.run(&ground.restore("exact")).expect_code(1);
        run.says("foreign key constraint \"there\"")
            .says("cannot take off foreign key there of table a (owner postgres)")
            .says("the target is as it was");
        assert_eq!(run.stderr.contains("GRANT SET ON PARAMETER"), major >= 15, "{}", run.stderr);
        ground.is_untouched(&rows, &marks);
        const ORDER: &str = "left on, tables written in its order";
        let log = ground.keeper.restore_log();
        says(&log, "nothing to hold", &[("back of table b", ORDER), ("there of table a", ORDER)]);
        // Who owns them can.
        ground.database.execute(
            "ALTER TABLE a OWNER TO way_others_circle; ALTER TABLE b OWNER TO way_others_circle; GRANT ALL ON SCHEMA public TO way_others_circle",
        );
        ground.keeper.ok(&ground.restore("exact"));
        assert_eq!(ground.database.value("SELECT count(*) FROM a JOIN b ON a.b = b.id"), "2");
        assert_eq!(ground.marks(), marks);
    }
}

/// Rows of tables that are not restored would go, or change, with those that they refer to.
#[test]
fn actions_of_keys_that_stay_on_never_reach_rows_that_are_not_restored() {
    for major in servers() {
        for (name, action, damage) in [
            (
                "way_cascade",
                "ON DELETE CASCADE",
                "INSERT INTO p VALUES (3, 'c3'); INSERT INTO c VALUES (3, 3, NULL)",
            ),
            (
                "way_set_null",
                "ON DELETE SET NULL",
                "INSERT INTO p VALUES (3, 'c3'); INSERT INTO c VALUES (3, 3, NULL)",
            ),
            (
                "way_renamed",
                "ON DELETE CASCADE",
                "UPDATE p SET code = 'd1' WHERE id = 1; INSERT INTO c VALUES (3, 1, 'd1')",
            ),
        ] {
            let sql = format!(
                "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p {action}, code text REFERENCES p (code) ON UPDATE CASCADE);
                 INSERT INTO p VALUES (1, 'c1'), (2, 'c2'); INSERT INTO c VALUES (1, 1, NULL); {ROWS_ONLY}"
            );
            let ground = Ground::new(major, name, &sql);
            ground.has_just("", false);
            ground.database.execute(damage);
            let (rows, marks) = (ground.database.digest(), ground.marks());
            let mut only_p = ground.restore("exact");
            only_p.extend(["--table".to_owned(), "p".to_owned()]);
            ground
                .keeper
                .run(&only_p)
                .expect_code(1)
                .says("rows of table c")
                .says("of table c (owner postgres)");
            ground.is_untouched(&rows, &marks);
            // With the table they can go.
            ground.keeper.ok(&ground.restore("exact"));
            assert_eq!(ground.database.value("SELECT count(*) FROM c"), "1");
            ground.keeper.ok(&["rollback", "latest"]);
            ground.is_untouched(&rows, &marks);
        }
    }
}

#[test]
fn what_a_table_that_is_tied_to_the_restored_ones_needs_is_granted_as_it_is_told() {
    for major in servers() {
        let database = shared(Some(major)).database("way_tied");
        database.execute(
            "CREATE ROLE way_tied LOGIN PASSWORD 'x'; CREATE TABLE mine (id int PRIMARY KEY, v text);
             CREATE TABLE theirs (id int PRIMARY KEY, m int CONSTRAINT up REFERENCES mine); INSERT INTO mine VALUES (1, 'a'); INSERT INTO theirs VALUES (1, 1);
             ALTER TABLE mine OWNER TO way_tied",
        );
        let pgkeep = Pgkeep::on(&database.url_as("way_tied", "x"));
        pgkeep.ok(&["backup", "--table", "mine", "--data-only"]);
        database.execute("UPDATE mine SET v = 'b'");
        let archive = pgkeep.only_file("backups").to_str().unwrap().to_owned();
        let restore = ["restore", "--safe", "--file", &archive];
        for grant in [
            "GRANT SELECT ON \"public\".\"theirs\" TO \"way_tied\";",
            "GRANT UPDATE ON \"public\".\"theirs\" TO \"way_tied\";",
        ] {
            pgkeep.run(&restore).expect_code(5).says("theirs").says(grant).says("the target is untouched");
            database.execute(grant);
        }
        pgkeep.ok(&restore);
        assert_eq!(database.value("SELECT v FROM mine"), "a");
        says(
            &pgkeep.restore_log(),
            "nothing to hold",
            &[("up of table theirs", "left on, tables written in its order")],
        );
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(database.value("SELECT v FROM mine"), "b");
    }
}
