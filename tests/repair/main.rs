//! `pgkeep repair` brings back rows that are missing or broken, and leaves all others alone.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod model;
mod random;

use serde_json::json;
use support::{Database, Pgkeep, database_digest, shared};

const SHOP: &str = "
    CREATE TABLE weddings (id int PRIMARY KEY, title text NOT NULL);
    CREATE TABLE guests (id int PRIMARY KEY, wedding int REFERENCES weddings, email text NOT NULL, name text);
    CREATE TABLE bookings (id bigint PRIMARY KEY, total numeric, note text);
    CREATE TABLE lines (a int, b text);
    CREATE TABLE people (id int PRIMARY KEY, boss int REFERENCES people);
    INSERT INTO weddings SELECT n, 'w' || n FROM generate_series(1, 5) n;
    INSERT INTO guests SELECT n, n % 5 + 1, 'g' || n || '@example', 'name ' || n FROM generate_series(1, 20) n;
    INSERT INTO bookings SELECT n, n * 10, NULL FROM generate_series(1, 10) n;
    INSERT INTO lines VALUES (1, 'x'), (1, 'x'), (2, NULL);
    INSERT INTO people VALUES (1, NULL), (2, 1), (3, 2);";

const CONFIG: &str = r#"
    [repair.guests]
    required = ["name"]
    [[check]]
    name = "totals"
    sql = "SELECT id, total FROM bookings WHERE total < 0;"
    table = "bookings"
"#;

/// What can be repaired.
const DAMAGE: &str = "
    ALTER TABLE guests ALTER email DROP NOT NULL;
    UPDATE guests SET email = NULL WHERE id IN (2, 3);
    UPDATE guests SET name = '' WHERE id = 3;
    UPDATE guests SET name = NULL WHERE id = 4;
    DELETE FROM guests WHERE id IN (5, 6);
    UPDATE bookings SET total = -1 WHERE id IN (1, 2);
    DELETE FROM bookings WHERE id = 3;
    DELETE FROM lines WHERE ctid = (SELECT min(ctid) FROM lines);
    SET session_replication_role = replica;
    DELETE FROM weddings WHERE id = 1;
    UPDATE guests SET wedding = 999 WHERE id = 7;
    DELETE FROM people WHERE id = 1;
    RESET session_replication_role;";

/// What people have done meanwhile, and is fine.
const EDITS: &str = "
    UPDATE guests SET name = 'changed' WHERE id IN (8, 10);
    UPDATE weddings SET title = 'changed' WHERE id = 2;
    UPDATE bookings SET note = 'changed' WHERE id = 4;
    INSERT INTO weddings VALUES (6, 'new');
    INSERT INTO guests VALUES (21, 6, 'new', 'new');
    INSERT INTO lines VALUES (3, 'new');";

struct Shop {
    database: Database<'static>,
    keeper: Pgkeep,
    archive: String,
}

impl Shop {
    fn new(major: Option<u32>, name: &str) -> Shop {
        let database = shared(major).database(name);
        database.execute(SHOP);
        let keeper = Pgkeep::on(&database.url);
        keeper.ok(&["backup"]);
        let archive = keeper.only_file("backups").to_str().unwrap().to_owned();
        std::fs::write(keeper.dir().join("pgkeep.toml"), CONFIG).unwrap();
        Shop { database, keeper, archive }
    }

    fn rows(&self, sql: &str) -> String {
        self.database.value(&format!(
            "SELECT COALESCE(string_agg(x::text, ' ' ORDER BY x::text), '') FROM ({sql}) AS s(x)"
        ))
    }
}

fn repaired(major: u32) {
    if shared(Some(major)).postgres.major != major {
        return;
    }
    let shop = Shop::new(Some(major), &format!("repaired {major}"));
    // The model: the same edits without the damage, but for the definition.
    let model = shared(Some(major)).database(&format!("repaired model {major}"));
    model.execute(SHOP);
    model.execute(EDITS);
    shop.database.execute(DAMAGE);
    shop.database.execute(EDITS);
    let damaged = database_digest(&shop.database.url);

    let file = shop.archive.as_str();
    let dry = shop.keeper.ok(&["repair", "--dry-run", "--sample", "2", "--json", "--file", file]).json();
    assert_eq!(database_digest(&shop.database.url), damaged, "a dry run has changed something");
    let found = json!({
        "bookings": {"found": {"check totals": 2, "missing": 1}},
        "guests": {"found": {"email is empty": 2, "guests_wedding_fkey refers to no row of weddings": 1, "missing": 2, "name is empty": 2}},
        "lines": {"found": {"missing": 1}},
        "people": {"found": {"missing": 1}},
        "weddings": {"found": {"missing": 1}},
    });
    assert_eq!(dry["repairs"], found);
    assert_eq!(dry["tables"]["guests"]["inserted"], 2);
    assert_eq!(dry["tables"]["guests"]["updated"], 4);
    assert_eq!(dry["tables"]["guests"]["samples"]["updated"].as_array().unwrap().len(), 2);

    let log = shop.keeper.ok(&["repair", "--json", "--file", file]).json();
    assert_eq!(log["repairs"], found);
    assert_eq!((&log["operation"], &log["status"]), (&json!("repair"), &json!("completed")));
    assert_eq!(database_digest(&shop.database.url), database_digest(&model.url));
    // Nothing is left to do.
    let run = shop.keeper.ok(&["repair", "--json", "--file", file]).json();
    assert_eq!((&run["total_inserted"], &run["total_updated"]), (&json!(0), &json!(0)));
    shop.keeper.ok(&["rollback", log["safety_backup_file"].as_str().unwrap()]);
    assert_eq!(database_digest(&shop.database.url), damaged, "after the rollback");
}

#[test]
fn only_what_is_missing_or_broken_comes_back_on_13() {
    repaired(13);
}

#[test]
fn only_what_is_missing_or_broken_comes_back_on_15() {
    repaired(15);
}

#[test]
fn only_what_is_missing_or_broken_comes_back_on_18() {
    repaired(18);
}

#[test]
fn what_the_archive_has_no_better_is_named_and_the_rest_is_repaired() {
    let shop = Shop::new(None, "repaired in part");
    shop.database.execute(DAMAGE);
    shop.database.execute(
        "SET session_replication_role = replica;
         INSERT INTO guests VALUES (30, 777, 'lost', 'lost'), (31, 2, NULL, 'lost'), (32, 1, 'fine', 'fine');
         INSERT INTO bookings VALUES (11, -5);
         RESET session_replication_role;",
    );
    let run = shop.keeper.run(&["repair", "--file", &shop.archive]).expect_code(3);
    for said in [
        "guests: why: 2 email is empty",
        "guests: NOT REPAIRED, the archive has them no better: 1 email is empty, 1 guests_wedding_fkey refers to no row of weddings",
        "bookings: NOT REPAIRED, the archive has them no better: 1 check totals",
        "repaired in part",
    ] {
        assert!(run.stdout.contains(said), "no {said:?} in:\n{}", run.stdout);
    }
    run.says("a check fails: totals").says("after the repair, too");
    assert_eq!(shop.rows("SELECT id FROM guests WHERE email IS NULL OR wedding = 777"), "30 31");
    assert_eq!(shop.rows("SELECT id FROM bookings WHERE total < 0"), "11");
}

#[test]
fn a_row_whose_parent_comes_back_keeps_what_was_changed_in_it_and_the_parent() {
    let shop = Shop::new(None, "repaired parents");
    shop.database.execute(
        "UPDATE guests SET wedding = 3, name = 'moved' WHERE id = 6; SET session_replication_role = replica;
         DELETE FROM weddings WHERE id = 3; UPDATE guests SET wedding = 3, email = 'other' WHERE id = 7; DELETE FROM people WHERE id = 3",
    );
    let dry = shop.keeper.ok(&["repair", "--dry-run", "--json", "--file", &shop.archive]).json();
    let log = shop.keeper.ok(&["repair", "--json", "--file", &shop.archive]).json();
    let missing = json!({"found": {"missing": 1}});
    assert_eq!(log["repairs"], json!({"people": missing, "weddings": missing}));
    assert_eq!(dry["repairs"], log["repairs"]);
    assert_eq!((&log["total_inserted"], &log["total_updated"]), (&json!(2), &json!(0)));
    let moved = "SELECT concat(id, wedding, name, email) FROM guests WHERE wedding = 3 AND (name = 'moved' OR email = 'other')";
    assert_eq!(shop.rows(moved), "63movedg6@example 73name 7other");
}

#[test]
fn tables_can_be_chosen_and_nothing_is_broken_by_it() {
    let shop = Shop::new(None, "repaired tables");
    shop.database.execute(DAMAGE);
    let damaged = database_digest(&shop.database.url);
    // Guests of a wedding that is gone and does not come along.
    shop.database.execute("SET session_replication_role = replica; DELETE FROM guests WHERE wedding = 1");
    let run = shop.keeper.run(&["repair", "--table", "guests", "--file", &shop.archive]).expect_code(1);
    run.says("would refer to rows that table weddings does not have");
    // The check is of another table, and what it finds there stays.
    shop.keeper.run(&["repair", "--table", "weddings,guests", "--file", &shop.archive]).expect_code(3);
    assert_eq!(shop.rows("SELECT count(*) FROM guests"), "20");
    let now = database_digest(&shop.database.url);
    for table in ["bookings", "lines"] {
        let table = damaged.keys().find(|name| name.contains(table)).unwrap();
        assert_eq!(damaged[table], now[table]);
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let shop = Shop::new(None, "repair refused");
    let config = shop.keeper.dir().join("pgkeep.toml");
    let refused = |toml: &str, says: &str| {
        std::fs::write(&config, toml).unwrap();
        let run = shop.keeper.run(&["repair", "--file", &shop.archive]).expect_code(2);
        run.says(says).says("next:");
    };
    let check = |sql: &str| format!("[[check]]\nname = \"c\"\nsql = \"{sql}\"\ntable = \"bookings\"\n");
    refused(&check("SELECT total FROM bookings"), "check c cannot say which rows of bookings are broken");
    refused(&check("SELECT id FROM nowhere"), "check c cannot say which rows of bookings are broken");
    refused("[repair.guests]\nrequired = [\"nme\"]\n", "requires column nme, which it does not have");
    refused(
        "[repair.gests]\nrequired = [\"name\"]\n",
        "names \"gests\", which no table of the archive is called",
    );
    refused("[repair.guests]\nrequire = [\"name\"]\n", "there is required");
    refused(
        "[[check]]\nname = \"c\"\nsql = \"SELECT 1\"\nexpect = 1\ntable = \"guests\"\n",
        "is the table whose rows its \"sql\" gives",
    );
}

#[test]
fn a_row_that_stands_in_the_way_is_told_of_with_what_repair_can_do() {
    let shop = Shop::new(None, "repair_in_the_way");
    shop.database.execute(
        "ALTER TABLE guests ADD UNIQUE (email); DELETE FROM guests WHERE id = 5;
         UPDATE guests SET email = 'g5@example' WHERE id = 6",
    );
    let before = shop.database.digest();
    let run = shop.keeper.run(&["repair", "--file", &shop.archive]).expect_code(1);
    run.says("guests_email_key").says("leave the table out with --exclude");
    assert!(!run.stderr.contains("--keep-going") && !run.stderr.contains("--mode"), "{}", run.stderr);
    assert_eq!(shop.database.digest(), before);
    shop.database.execute("UPDATE guests SET email = 'other' WHERE id = 6");
    shop.keeper.ok(&["repair", "--file", &shop.archive]);
    assert_eq!(shop.database.value("SELECT email FROM guests WHERE id = 5"), "g5@example");
}
