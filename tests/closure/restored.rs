//! One customer's rows are restored, and nobody else's.

use serde_json::Value;

use crate::support::{Database, Pgkeep, Run, shared};

const WEDDINGS: &str = "
    CREATE TABLE planners (id int PRIMARY KEY, name text);
    CREATE TABLE weddings (id int PRIMARY KEY, planner int REFERENCES planners, title text);
    CREATE TABLE guests (id int PRIMARY KEY, wedding int NOT NULL REFERENCES weddings, brings int REFERENCES guests, name text, n numeric);
    CREATE TABLE rsvps (guest int REFERENCES guests, meal text) PARTITION BY LIST (meal);
    CREATE TABLE rsvps_fish PARTITION OF rsvps FOR VALUES IN ('fish');
    CREATE TABLE rsvps_rest PARTITION OF rsvps DEFAULT;
    CREATE TABLE notes (wedding int REFERENCES weddings, text text);
    INSERT INTO planners SELECT i, 'planner ' || i FROM generate_series(1, 3) i;
    INSERT INTO weddings SELECT i, 1 + i % 2, 'wedding ' || i FROM generate_series(1, 4) i;
    INSERT INTO guests SELECT i, 1 + i % 4, NULLIF(i - 4, i - 4 - greatest(i - 4, 0)), 'guest ' || i, 1.0 FROM generate_series(1, 4) i;
    INSERT INTO guests SELECT i, 1 + i % 4, i - 4, 'guest ' || i, 1.0 FROM generate_series(5, 40) i;
    INSERT INTO rsvps SELECT i, CASE i % 3 WHEN 0 THEN 'fish' ELSE 'soup' END FROM generate_series(1, 40) i;
    INSERT INTO notes SELECT 1 + i % 4, 'note' FROM generate_series(1, 12) i;";

/// Everybody's damage: rows of wedding 2 are changed, removed and added, and so are those of others.
const DAMAGE: &str = "
    DELETE FROM rsvps WHERE guest IN (1, 5, 6); UPDATE guests SET brings = NULL WHERE brings IN (5, 6);
    DELETE FROM guests WHERE id IN (5, 6); UPDATE guests SET name = 'changed' WHERE id IN (9, 10);
    UPDATE weddings SET title = 'changed', planner = 3; INSERT INTO guests VALUES (100, 2, NULL, 'new'), (101, 3, NULL, 'new');
    INSERT INTO rsvps VALUES (100, 'fish'), (101, 'soup'); INSERT INTO notes VALUES (2, 'new'), (3, 'new');
    DELETE FROM notes WHERE ctid = (SELECT min(ctid) FROM notes WHERE wedding = 2);
    UPDATE guests SET wedding = 2 WHERE id = 2; UPDATE planners SET name = 'changed'; DELETE FROM planners WHERE id = 2;";

/// Rows of a wedding, and all others.
fn rows(database: &Database<'_>, wedding: i32) -> (String, String) {
    let sql = |is: &str| {
        format!(
            "SELECT concat_ws(' / ', (SELECT string_agg(w::text, ' ' ORDER BY w::text) FROM weddings w WHERE {is}(id = {wedding})),
              (SELECT string_agg(g::text, ' ' ORDER BY g::text) FROM guests g WHERE {is}(wedding = {wedding})),
              (SELECT string_agg(r::text, ' ' ORDER BY r::text) FROM rsvps r WHERE {is}(guest IN (SELECT id FROM guests WHERE wedding = {wedding}))),
              (SELECT string_agg(n::text, ' ' ORDER BY n::text) FROM notes n WHERE {is}(wedding = {wedding})))"
        )
    };
    (database.value(&sql("")), database.value(&sql("NOT ")))
}

fn counts(run: &Run, key: &str) -> Vec<(String, [u64; 4])> {
    let json = run.json();
    let of = |t: &Value| ["inserted", "updated", "deleted", "unchanged"].map(|k| t[k].as_u64().unwrap());
    let all = json[key].as_object().unwrap_or_else(|| panic!("{json:#}"));
    all.iter().map(|(table, t)| (table.clone(), of(t))).filter(|(_, c)| c.iter().sum::<u64>() > 0).collect()
}

#[test]
fn an_entity_comes_back_and_the_rest_of_the_database_is_untouched() {
    let database = shared(None).database("one wedding");
    database.execute(WEDDINGS);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    let archived = rows(&database, 2);
    database.execute(DAMAGE);
    pgkeep.ok(&["backup", "--out", "now.json.zst"]);
    let damaged = (rows(&database, 2), database.digest());
    let entity = ["--json", "--entity", "weddings=2", "--file", "b.json.gz"];
    for mode in ["upsert", "exact", "missing"] {
        let flags = [&entity[..], &["--mode", mode]].concat();
        let dry = pgkeep.ok(&[&["restore", "--dry-run"], &flags[..]].concat());
        assert_eq!(database.digest(), damaged.1, "{mode}: a dry run");
        let run = pgkeep.ok(&[&["restore", "--safe"], &flags[..]].concat());
        run.says("weddings: 1 row").says("guests by wedding");
        assert_eq!(counts(&dry, "tables"), counts(&run, "tables_restored"), "{mode}");
        let (own, others) = rows(&database, 2);
        match mode {
            // Guest 2 is another wedding's in the archive, and came here since with what refers to it.
            "exact" => {
                let has = |text: &str| own.contains(text);
                assert!(
                    !has("new")
                        && !has("changed")
                        && has("(2,2,")
                        && has("(2,soup)")
                        && has("(5,2,")
                        && has("(9,2,5,\"guest 9\""),
                    "{own}"
                );
                assert_eq!(
                    own.replace("(2,2,,\"guest 2\",1.0) ", "").replace("(2,soup) ", ""),
                    archived.0,
                    "{mode}"
                );
            }
            "upsert" => assert!(own.contains("(100,2,,new,)") && own.contains("(9,2,5,\"guest 9\""), "{own}"),
            _ => assert!(own.contains("changed") && own.contains("(5,2,"), "{own}"),
        }
        assert_eq!(others, damaged.0.1, "{mode}: others");
        // The planner whom it needs is brought back, and others are not.
        let planners = database.value("SELECT string_agg(concat(id, name), ' ' ORDER BY id) FROM planners");
        let should = if mode == "missing" { "1changed 3changed" } else { "1planner 1 3changed" };
        assert_eq!(planners, should, "{mode}");
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(database.digest(), damaged.1, "{mode}, undone");
    }
    // What differs, without a server and with it.
    let exact = pgkeep.ok(&[&["restore", "--dry-run", "--mode", "exact"], &entity[..]].concat());
    let live = pgkeep.ok(&["diff", "b.json.gz", "--json", "--entity", "weddings=2"]);
    assert_eq!(counts(&live, "tables"), counts(&exact, "tables"));
    let other = pgkeep.ok(&["diff", "b.json.gz", "now.json.zst", "--json", "--entity", "weddings=2"]);
    assert_eq!(other.json()["tables"]["weddings"]["updated"], 1);
    pgkeep
        .run(&["restore", "--safe", "--entity", "weddings=77", "--file", "b.json.gz"])
        .expect_code(2)
        .says("weddings");
    assert_eq!(database.digest(), damaged.1);
}

#[test]
fn an_entity_whose_first_row_is_gone_comes_back_and_groups_of_tables_narrow_it() {
    let database = shared(None).database("gone wedding");
    database.execute(WEDDINGS);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    let original = database.digest();
    database.execute(
        "DELETE FROM rsvps WHERE guest IN (SELECT id FROM guests WHERE wedding = 2); UPDATE guests SET brings = NULL WHERE wedding = 2;
         DELETE FROM guests WHERE wedding = 2; DELETE FROM notes WHERE wedding = 2; DELETE FROM weddings WHERE id = 2",
    );
    let damaged = database.digest();
    pgkeep.ok(&["restore", "--safe", "--mode", "exact", "--entity", "weddings=2", "--file", "b.json.gz"]);
    assert_eq!(database.digest(), original);
    pgkeep.ok(&["rollback", "latest"]);
    assert_eq!(database.digest(), damaged);
    std::fs::write(pgkeep.dir().join("pgkeep.toml"), "[data_types]\npaper = ['notes']").unwrap();
    let narrow = [
        "restore",
        "--safe",
        "--entity",
        "weddings=2",
        "--data-types",
        "paper",
        "--json",
        "--file",
        "b.json.gz",
    ];
    let run = pgkeep.ok(&narrow);
    let tables: Vec<String> = counts(&run, "tables_restored").into_iter().map(|(table, _)| table).collect();
    assert_eq!(tables, ["notes", "planners", "weddings"]);
}

#[test]
fn chosen_tables_come_with_the_rows_that_they_refer_to() {
    let database = shared(None).database("with references");
    database.execute(WEDDINGS);
    let pgkeep = Pgkeep::on(&database.url);
    pgkeep.ok(&["backup", "--out", "b.json.gz"]);
    database.execute("DELETE FROM notes; DELETE FROM rsvps; DELETE FROM guests; DELETE FROM weddings; DELETE FROM planners");
    let restore = ["restore", "--safe", "--json", "--file", "b.json.gz", "--table", "notes"];
    pgkeep.run(&restore).expect_code(1).says("would refer to rows");
    let run = pgkeep.ok(&[&restore[..], &["--with-references"]].concat());
    let inserted: Vec<(String, u64)> =
        counts(&run, "tables_restored").into_iter().map(|(t, c)| (t, c[0])).collect();
    assert_eq!(inserted, [("notes".to_owned(), 12), ("planners".to_owned(), 2), ("weddings".to_owned(), 4)]);
    // What only is needed is no whole table: nothing of it is too much.
    database.execute("INSERT INTO planners VALUES (9); INSERT INTO notes VALUES (1, 'new')");
    pgkeep.ok(&[&restore[..], &["--with-references", "--mode", "exact"]].concat());
    assert_eq!(
        database.value("SELECT concat((SELECT count(*) FROM notes), (SELECT count(*) FROM planners))"),
        "123"
    );
}
