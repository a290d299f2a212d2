//! The tables' owner, who may not set the replica role: takes foreign keys off and puts them on again inside of the
//! transaction.

use crate::support::try_query;
use crate::{Ground, says, servers};

const OFF: &str = "taken off and put on again";

/// Tables in a circle, one that refers to itself, and what is easily lost of a key: an odd name, its comment, its
/// actions, that old rows are not checked. `odd` holds a row that breaks the key that is NOT VALID.
const TABLES: &str = "
    CREATE TABLE a (id int PRIMARY KEY, code text UNIQUE NOT NULL, v text, b int NOT NULL);
    CREATE TABLE b (id int PRIMARY KEY, v text, a int NOT NULL, code text);
    CREATE TABLE self (id int PRIMARY KEY, v text, above int CONSTRAINT up REFERENCES self ON DELETE CASCADE);
    CREATE TABLE odd (id int PRIMARY KEY, a int);
    INSERT INTO a VALUES (1, 'c1', 'x', 1), (2, 'c2', 'x', 2), (3, 'c3', 'x', 1);
    INSERT INTO b VALUES (1, 'x', 2, 'c1'), (2, 'x', 1, 'c2');
    INSERT INTO self VALUES (1, 'x', NULL), (2, 'x', 1), (3, 'x', 2);
    INSERT INTO odd VALUES (1, 1), (2, 77);
    ALTER TABLE a ADD CONSTRAINT \"To b, with \"\"care\"\"\" FOREIGN KEY (b) REFERENCES b ON DELETE RESTRICT ON UPDATE RESTRICT;
    ALTER TABLE b ADD CONSTRAINT back FOREIGN KEY (a) REFERENCES a ON DELETE CASCADE;
    ALTER TABLE b ADD CONSTRAINT by_code FOREIGN KEY (code) REFERENCES a (code) MATCH FULL ON UPDATE CASCADE ON DELETE SET NULL;
    ALTER TABLE odd ADD CONSTRAINT half FOREIGN KEY (a) REFERENCES a ON DELETE SET DEFAULT NOT VALID;
    COMMENT ON CONSTRAINT \"To b, with \"\"care\"\"\" ON a IS 'it''s kept'; COMMENT ON CONSTRAINT half ON odd IS 'half';
    ALTER TABLE a OWNER TO :role; ALTER TABLE b OWNER TO :role; ALTER TABLE self OWNER TO :role; ALTER TABLE odd OWNER TO :role;
    GRANT ALL ON SCHEMA public TO :role;";

const ADDED: &str = "INSERT INTO a VALUES (8, 'c8', 'new', 9), (9, 'c9', 'new', 8); INSERT INTO b VALUES (8, 'new', 9, 'c9'), (9, 'new', 8, NULL);
    INSERT INTO self VALUES (8, 'new', 9), (9, 'new', 8)";
/// Every row of the circle changes or goes, and a code changes that others refer to.
const DAMAGE: &str = "UPDATE a SET v = 'other', b = 2 WHERE id < 4; UPDATE a SET code = 'd1' WHERE id = 1; UPDATE b SET code = 'd1' WHERE id = 1;
    DELETE FROM a WHERE id = 3; DELETE FROM self WHERE id IN (1, 2, 3); DELETE FROM odd WHERE id = 1; UPDATE b SET v = 'other', a = 1 WHERE id < 4";

const KEYS: [(&str, &str); 5] = [
    ("To b, with \"care\" of table a", OFF),
    ("back of table b", OFF),
    ("by_code of table b", OFF),
    ("half of table odd", OFF),
    ("up of table self", OFF),
];

#[test]
fn an_owners_keys_in_a_circle_come_off_and_on_again_as_they_were() {
    for major in servers() {
        let ground = Ground::new(major, "way_circle", TABLES);
        ground.has_just("a b odd self", false);
        let marks = ground.marks();
        for kept in ["NOT VALID", "it's kept", "RESTRICT", "SET DEFAULT", "MATCH FULL", "valid f"] {
            assert!(marks.contains(kept), "{marks}");
        }
        ground.there_and_back(ADDED, DAMAGE, |log| says(log, "disabled by the tables' owner", &KEYS));
        // They are enforced again.
        for broken in ["UPDATE a SET b = 55", "UPDATE self SET above = 55", "INSERT INTO odd VALUES (7, 55)"]
        {
            let refused = try_query(&ground.url, broken).unwrap_err();
            assert!(refused.contains("23503"), "{refused}");
        }
        query_cascade(&ground);
    }
}

/// Whether the actions are there: in a transaction that is undone.
fn query_cascade(ground: &Ground) {
    let left = ground.database.query(
        "BEGIN; DELETE FROM self WHERE id = 8; SELECT count(*) FROM self WHERE id IN (8, 9); ROLLBACK",
    );
    assert_eq!(left[0][0].as_deref(), Some("0"));
}

#[test]
fn a_key_that_the_restored_rows_break_undoes_all_and_comes_back() {
    for major in servers() {
        let ground = Ground::new(major, "way_broken", TABLES);
        ground.quietly("DELETE FROM b; UPDATE a SET v = 'other'");
        let (rows, marks) = (ground.database.digest(), ground.marks());
        let mut only_a = ground.restore("exact");
        only_a.extend(["--table".to_owned(), "a".to_owned()]);
        let run = ground.keeper.run(&only_a).expect_code(1);
        run.says("To b, with \"care\"").says("(id = 1)").says("the target is as it was");
        ground.is_untouched(&rows, &marks);
        let log = ground.keeper.restore_log();
        says(&log, "disabled by the tables' owner", &KEYS[..4]);
    }
}
