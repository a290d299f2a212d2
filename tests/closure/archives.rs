//! Backups of what belongs together, and their way back into a database in which others live.

use pgkeep::archive::reader::Archive;

use crate::support::{Database, Pgkeep, shared};

/// Two weddings of one planner, with guests who bring each other, in partitions, and what nobody of them has.
const WEDDINGS: &str = "
    CREATE TABLE planners (n int, id int PRIMARY KEY, boss int REFERENCES planners);
    CREATE TABLE weddings (n int, id serial PRIMARY KEY, planner int REFERENCES planners);
    CREATE TABLE guests (n int, id int, wedding int REFERENCES weddings, brings int, PRIMARY KEY (id, wedding),
                         FOREIGN KEY (brings, wedding) REFERENCES guests) PARTITION BY LIST (wedding);
    CREATE TABLE guests_1 PARTITION OF guests FOR VALUES IN (1);
    CREATE TABLE guests_2 PARTITION OF guests FOR VALUES IN (2);
    CREATE TABLE guest_notes (n int, guest int, wedding int, note text, FOREIGN KEY (guest, wedding) REFERENCES guests);
    CREATE TABLE timeline_items (n int PRIMARY KEY, wedding int REFERENCES weddings, what text);
    CREATE TABLE prices (n int PRIMARY KEY);
    INSERT INTO planners VALUES (1, 1, NULL), (2, 2, 1), (3, 3, 1);
    INSERT INTO weddings VALUES (1, 1, 2), (2, 2, 2);
    INSERT INTO guests SELECT i, i, 1 + i % 2, CASE WHEN i > 6 THEN i - 2 END FROM generate_series(1, 10) i;
    INSERT INTO guest_notes SELECT i, 1 + i % 10, 1 + (1 + i % 10) % 2, 'note ' || i FROM generate_series(1, 20) i;
    INSERT INTO timeline_items SELECT i, 1 + i % 2, 'item' FROM generate_series(1, 6) i;
    INSERT INTO prices VALUES (1)";

fn archived(pgkeep: &Pgkeep) -> (Archive, Vec<(String, u64)>) {
    let archive = Archive::open(pgkeep.files("backups").last().unwrap()).unwrap();
    let names = archive.header().tables.iter().map(|table| table.shown());
    let tables = names.zip(archive.totals().table_rows.iter().copied()).collect();
    (archive, tables)
}

fn of(tables: &[(&str, u64)]) -> Vec<(String, u64)> {
    tables.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect()
}

fn counts(database: &Database<'_>) -> String {
    let count = |table: &str| database.value(&format!("SELECT count(*) FROM {table}"));
    ["planners", "weddings", "guests", "guest_notes", "timeline_items", "prices"].map(count).join(" ")
}

#[test]
fn one_customer_s_data_is_taken_and_comes_back_among_others() {
    let database = shared(None).database("one_customer");
    database.execute(WEDDINGS);
    let before = database.digest();
    let pgkeep = Pgkeep::on(&database.url);
    let run = pgkeep.ok(&["backup", "--entity", "weddings=2", "--json"]);
    run.says("weddings: 1 row\n├─ guests by wedding: 5 rows\n│  ├─ guest_notes by guest, wedding: 10 rows\n│  └─ guests by brings, wedding: see above or below\n└─ timeline_items by wedding: 3 rows\nrows that these refer to\n└─ planners: 2 rows");
    let result = run.json();
    assert_eq!((&result["rows"], &result["entity"]["rows"]), (&21.into(), &21.into()));
    assert_eq!(result["entity"]["needed"], serde_json::json!([{"table": "planners", "rows": 2}]));
    assert_eq!(result["entity"]["tables"][1]["by"], serde_json::json!(["wedding"]));
    let (archive, tables) = archived(&pgkeep);
    let expected =
        [("guest_notes", 10), ("guests", 5), ("planners", 2), ("timeline_items", 3), ("weddings", 1)];
    assert_eq!(tables, of(&expected));
    let selection = &archive.header().selection;
    assert_eq!(
        (selection.entity.as_slice(), selection.with_references),
        (&["weddings=2".to_owned()][..], false)
    );
    assert_eq!(selection.tables.len(), 5);
    assert_eq!(archive.header().sequences.len(), 1);
    let file = pgkeep.only_file("backups");
    let file = file.to_str().unwrap();
    pgkeep.ok(&["validate", file]);

    // Its rows are lost and spoilt, and somebody else's are there that came since.
    database.execute(
        "DELETE FROM guest_notes WHERE wedding = 2; DELETE FROM guests WHERE id IN (3, 5, 7, 9);
         UPDATE timeline_items SET what = 'spoilt' WHERE wedding = 2; INSERT INTO timeline_items VALUES (7, 1, 'new')",
    );
    let exact = pgkeep.run(&["restore", "--safe", "--mode", "exact", "--file", file]).expect_code(2);
    exact.says("holds one entity, weddings=2");
    assert_eq!(counts(&database), "3 2 6 10 7 1");
    pgkeep.ok(&["restore", "--safe", "--file", file]);
    assert_eq!(counts(&database), "3 2 10 20 7 1");
    database.execute("DELETE FROM timeline_items WHERE n = 7");
    assert_eq!(database.digest(), before);

    // And into a database that has nothing.
    let other = database.cluster.database("one_customer_alone");
    Pgkeep::on(&other.url).ok(&["restore", "--file", file]);
    assert_eq!(other.value("SELECT count(*) FROM guests"), "5");
    assert_eq!(
        other.value("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conparentid = 0"),
        "6"
    );
}

#[test]
fn an_entity_is_narrowed_to_groups_of_tables() {
    let database = shared(None).database("narrowed");
    database.execute(WEDDINGS);
    let pgkeep = Pgkeep::on(&database.url);
    let groups = "[data_types]\nguests = ['guests', 'guest_*']\ntimeline = ['timeline_*']\n";
    std::fs::write(pgkeep.dir().join("pgkeep.toml"), groups).unwrap();
    pgkeep.ok(&["backup", "--entity", "weddings=1", "--data-types", "timeline"]);
    let (archive, tables) = archived(&pgkeep);
    assert_eq!(tables, of(&[("planners", 2), ("timeline_items", 3), ("weddings", 1)]));
    assert_eq!(archive.header().selection.data_types, ["timeline"]);
    std::fs::remove_dir_all(pgkeep.dir().join("backups")).unwrap();
    // A row that is not of a group is not gone through to those that are.
    pgkeep.ok(&["backup", "--entity", "planners=2", "--data-types", "guests,timeline"]);
    assert_eq!(archived(&pgkeep).1, of(&[("planners", 2)]));
    std::fs::remove_dir_all(pgkeep.dir().join("backups")).unwrap();
    pgkeep.ok(&["backup", "--entity", "weddings=1", "--exclude", "guest_notes"]);
    assert_eq!(
        archived(&pgkeep).1,
        of(&[("guests", 5), ("planners", 2), ("timeline_items", 3), ("weddings", 1)])
    );
    let run = pgkeep.run(&["backup", "--entity", "weddings=1", "--data-types", "gifts"]).expect_code(2);
    run.says("there is no group of tables \"gifts\"").says("choose from guests, timeline");
    pgkeep.run(&["backup", "--entity", "weddings=3"]).expect_code(2).says("has the key 3");
    pgkeep.run(&["backup", "--entity", "weddings"]).expect_code(2).says("bad entity");
    pgkeep.run(&["backup", "--data-types", "guests"]).expect_code(2);
    assert_eq!(pgkeep.files("backups").len(), 1);
}

#[test]
fn the_rows_that_chosen_tables_need_come_along() {
    let database = shared(None).database("with_references");
    database.execute(WEDDINGS);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--table", "guests_2,timeline_items", "--with-references"]);
    let (archive, tables) = archived(&pgkeep);
    assert_eq!(tables, of(&[("guests_2", 5), ("planners", 2), ("timeline_items", 6), ("weddings", 2)]));
    assert!(archive.header().selection.with_references);
    let file = pgkeep.only_file("backups");
    let file = file.to_str().unwrap();
    pgkeep
        .run(&["restore", "--safe", "--mode", "exact", "--file", file])
        .expect_code(2)
        .says("only those rows");
    database.execute("TRUNCATE planners CASCADE");
    pgkeep.ok(&["restore", "--safe", "--data-only", "--file", file]);
    assert_eq!(counts(&database), "2 2 5 0 6 1");
}

#[test]
fn many_rows_come_in_several_units_and_by_several_connections() {
    let database = shared(None).database("many_rows");
    database.execute(
        "CREATE TABLE w (n int, id int PRIMARY KEY); CREATE TABLE c (n int, w int REFERENCES w, filler text);
         INSERT INTO w VALUES (1, 1), (2, 2);
         INSERT INTO c SELECT i, 1 + i % 2, repeat('x', 50) FROM generate_series(1, 60000) i",
    );
    let before = database.digest();
    let pgkeep = Pgkeep::on(&database.url);
    let run = pgkeep.ok(&["backup", "--entity", "w=1", "--jobs", "2", "--json"]);
    assert_eq!(run.json()["rows"], 30_001);
    let (archive, _) = archived(&pgkeep);
    let ranges =
        archive.table_chunks(0).iter().map(|chunk| chunk.range).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(ranges.len(), 8);
    database.execute("DELETE FROM c WHERE w = 1 AND n % 3 = 0");
    let file = pgkeep.only_file("backups");
    pgkeep.ok(&["restore", "--safe", "--file", file.to_str().unwrap()]);
    assert_eq!(database.digest(), before);
}

#[test]
fn a_role_that_may_not_read_a_table_on_the_way_is_told_all_that_is_missing() {
    let database = shared(None).database("on_the_way");
    database.execute(WEDDINGS);
    database.execute(
        "CREATE ROLE on_the_way LOGIN PASSWORD 'x'; GRANT SELECT ON weddings, planners TO on_the_way",
    );
    let pgkeep = Pgkeep::on(&database.url_as("on_the_way", "x"));
    let run = pgkeep.run(&["backup", "--entity", "weddings=1", "--data-only"]).expect_code(5);
    run.says("role on_the_way may not read").says("guests").says("timeline_items").says("GRANT SELECT ON");
    assert!(!run.stderr.contains("prices"));
}
