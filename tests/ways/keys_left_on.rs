//! Foreign keys that the role cannot take off, because their tables are others': they are left on, and written by in
//! an order that breaks none of them at any time, or deferred to the end where they may be.

use crate::support::try_query;
use crate::{Ground, ROWS_ONLY, says, servers};

const ORDER: &str = "left on, tables written in its order";
const DEFERRED: &str = "left on, deferred to the end";

/// Each refers to one that comes later in the alphabet; `m` is referred to and refers, and `z` is referred to by what
/// only the rows of it tell apart. Actions would reach `a` and `m` if a parent went before its children.
const CHAIN: &str = "
    CREATE TABLE z (id int PRIMARY KEY, code text UNIQUE NOT NULL, v text);
    CREATE TABLE m (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, z int NOT NULL CONSTRAINT to_z REFERENCES z ON DELETE CASCADE);
    CREATE TABLE a (id int PRIMARY KEY, v text, m int CONSTRAINT to_m REFERENCES m ON DELETE SET NULL,
                    code text CONSTRAINT by_code REFERENCES z (code));
    CREATE TABLE self (id int PRIMARY KEY, v text, above int CONSTRAINT up REFERENCES self);
    INSERT INTO z VALUES (1, 'c1', 'x'), (2, 'c2', 'x'), (3, 'c3', 'x');
    INSERT INTO m OVERRIDING SYSTEM VALUE VALUES (1, 'x', 1), (2, 'x', 2), (3, 'x', 3);
    INSERT INTO a VALUES (1, 'x', 1, 'c1'), (2, 'x', 2, 'c2'), (3, 'x', 3, NULL), (4, 'x', NULL, 'c3');
    INSERT INTO self VALUES (1, 'x', NULL), (2, 'x', 1), (3, 'x', 2), (4, 'x', 4);
    GRANT SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO :role;";

const CHAIN_ADDED: &str = "INSERT INTO z VALUES (7, 'c7', 'new'), (8, 'c8', 'new'); INSERT INTO m OVERRIDING SYSTEM VALUE VALUES (7, 'new', 7), (8, 'new', 8);
    INSERT INTO a VALUES (7, 'new', 7, 'c7'), (8, 'new', NULL, 'c8'); INSERT INTO self VALUES (7, 'new', 8), (8, 'new', 7)";
/// Parents that equal rows refer to change, whole families go, and rows that stay refer to what is not archived.
const CHAIN_DAMAGE: &str = "UPDATE z SET v = 'other' WHERE id = 1; UPDATE m SET v = 'other', z = 8 WHERE id = 1; UPDATE a SET m = 8, code = 'c8' WHERE id = 1;
    DELETE FROM a WHERE id IN (2, 3); DELETE FROM m WHERE id = 2; DELETE FROM z WHERE id = 2;
    UPDATE self SET v = 'other' WHERE id = 1; UPDATE self SET above = 7 WHERE id = 2; DELETE FROM self WHERE id IN (3, 4)";

#[test]
fn tables_of_others_whose_keys_form_a_chain_are_written_in_its_order() {
    for major in servers() {
        let ground = Ground::new(major, "way_chain", &format!("{CHAIN}{ROWS_ONLY}"));
        ground.has_just("", false);
        ground.there_and_back(CHAIN_ADDED, CHAIN_DAMAGE, |log| {
            says(
                log,
                "nothing to hold",
                &[
                    ("by_code of table a", ORDER),
                    ("to_m of table a", ORDER),
                    ("to_z of table m", ORDER),
                    ("up of table self", ORDER),
                ],
            );
        });
    }
}

/// A circle, which no order could be written in. One key is deferred by itself, the others have to be asked.
const DEFERRABLE: &str = "
    CREATE TABLE a (id int PRIMARY KEY, v text, b int NOT NULL);
    CREATE TABLE b (id int PRIMARY KEY, v text, a int NOT NULL, u int CONSTRAINT one UNIQUE DEFERRABLE);
    INSERT INTO a VALUES (1, 'x', 1), (2, 'x', 2), (3, 'x', 3); INSERT INTO b VALUES (1, 'x', 2, 1), (2, 'x', 1, 2), (3, 'x', 3, 3);
    ALTER TABLE a ADD CONSTRAINT late FOREIGN KEY (b) REFERENCES b DEFERRABLE INITIALLY DEFERRED;
    ALTER TABLE b ADD CONSTRAINT soon FOREIGN KEY (a) REFERENCES a DEFERRABLE INITIALLY IMMEDIATE;";
const DEFERRABLE_ADDED: &str = "INSERT INTO a VALUES (8, 'new', 9); INSERT INTO b VALUES (9, 'new', 8, 9)";
const DEFERRABLE_DAMAGE: &str = "DELETE FROM a WHERE id IN (2, 3); DELETE FROM b WHERE id IN (2, 3); UPDATE a SET v = 'other', b = 9 WHERE id = 1; UPDATE b SET a = 8, u = 2 WHERE id = 1";

#[test]
fn deferrable_keys_of_others_are_deferred_to_the_end_also_in_a_circle() {
    for major in servers() {
        let ground = Ground::new(major, "way_deferred", &format!("{DEFERRABLE}{ROWS_ONLY}"));
        ground.has_just("", false);
        ground.there_and_back(DEFERRABLE_ADDED, DEFERRABLE_DAMAGE, |log| {
            says(log, "nothing to hold", &[("late of table a", DEFERRED), ("soon of table b", DEFERRED)]);
        });
    }
}

#[test]
fn a_deferred_key_that_stays_broken_undoes_all_and_names_the_rows() {
    for major in servers() {
        let ground = Ground::new(major, "way_deferred_broken", &format!("{DEFERRABLE}{ROWS_ONLY}"));
        ground.quietly("DELETE FROM b; DELETE FROM a");
        let (rows, marks) = (ground.database.digest(), ground.marks());
        let mut only_a = ground.restore("exact");
        only_a.extend(["--table".to_owned(), "a".to_owned()]);
        let run = ground.keeper.run(&only_a).expect_code(1);
        run.says("foreign key late").says("(id = 1)").says("the target is as it was");
        ground.is_untouched(&rows, &marks);
    }
}

/// The role owns the table in the middle: its own key it takes off, that of the one below is somebody else's.
#[test]
fn an_owner_takes_off_what_is_his_and_leaves_on_what_is_anothers() {
    for major in servers() {
        let sql = format!(
            "{CHAIN}{ROWS_ONLY} ALTER TABLE m OWNER TO :role; GRANT REFERENCES ON z TO :role; GRANT ALL ON SCHEMA public TO :role;"
        );
        let ground = Ground::new(major, "way_mixed", &sql);
        ground.has_just("m", false);
        ground.there_and_back(CHAIN_ADDED, CHAIN_DAMAGE, |log| {
            says(
                log,
                "disabled by the tables' owner",
                &[
                    ("by_code of table a", ORDER),
                    ("to_m of table a", ORDER),
                    ("to_z of table m", "taken off and put on again"),
                    ("up of table self", ORDER),
                ],
            );
        });
    }
}

/// An owner could take it off, but not put it on again.
#[test]
fn a_key_to_a_table_that_its_owner_may_not_refer_to_is_left_on() {
    for major in servers() {
        let sql = format!("{CHAIN}{ROWS_ONLY} ALTER TABLE a OWNER TO :role;");
        let ground = Ground::new(major, "way_no_references", &sql);
        ground.has_just("a", false);
        let refused = try_query(&ground.url, "ALTER TABLE a ADD FOREIGN KEY (m) REFERENCES m").unwrap_err();
        assert!(refused.contains("42501"), "{refused}");
        ground.there_and_back(CHAIN_ADDED, CHAIN_DAMAGE, |log| {
            assert_eq!(log["foreign_keys_held"]["to_m of table a"], ORDER, "{log:#}");
        });
    }
}
