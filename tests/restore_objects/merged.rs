//! Into a database that holds some of the objects, by default: what is missing is made, what is there stays.

use crate::world::World;

const SHOP: &str = r#"
    CREATE SCHEMA books;
    CREATE TYPE books.genre AS ENUM ('novel', 'poetry');
    CREATE FUNCTION books.shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT upper($1) || '!' $$;
    CREATE TABLE books.authors (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
    CREATE TABLE books.titles (id serial PRIMARY KEY, author int NOT NULL REFERENCES books.authors, genre books.genre,
                               title text CHECK (title <> ''), loud text GENERATED ALWAYS AS (books.shout(title)) STORED);
    CREATE INDEX titles_loud ON books.titles (books.shout(title));
    CREATE VIEW books.novels AS SELECT id, title FROM books.titles WHERE genre = 'novel';
    CREATE FUNCTION books.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
    CREATE TRIGGER touched BEFORE UPDATE ON books.titles FOR EACH ROW EXECUTE FUNCTION books.touch();
    CREATE TABLE books.sales (day date NOT NULL, title int, n int) PARTITION BY RANGE (day);
    CREATE TABLE books.sales_old PARTITION OF books.sales FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
    CREATE TABLE books.sales_new PARTITION OF books.sales FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
    CREATE INDEX sales_title ON books.sales (title);
    CREATE MATERIALIZED VIEW books.totals AS SELECT title, sum(n) AS n FROM books.sales GROUP BY title;
    ALTER TABLE books.authors OWNER TO object_owner;
    GRANT USAGE ON SCHEMA books TO object_owner, object_reader; GRANT SELECT ON books.titles TO object_reader;
    GRANT UPDATE (title) ON books.titles TO object_writer WITH GRANT OPTION;
    COMMENT ON TABLE books.titles IS 'what there is to read'; COMMENT ON COLUMN books.titles.loud IS 'for the deaf';
    INSERT INTO books.authors (name) VALUES ('Ann'), ('Bob'), ('Cid');
    INSERT INTO books.titles (author, genre, title) SELECT 1 + n % 3, 'novel', 'title ' || n FROM generate_series(1, 50) n;
    INSERT INTO books.sales SELECT '2019-12-01'::date + n, 1 + n % 50, n FROM generate_series(1, 90) n;
    REFRESH MATERIALIZED VIEW books.totals;
"#;

/// What the target has beside it.
const OTHERS: &str = "
    CREATE TABLE public.notes (id int PRIMARY KEY, note text); INSERT INTO public.notes VALUES (1, 'mine');
    CREATE VIEW public.shouted AS SELECT upper(note) AS note FROM public.notes;";

#[test]
fn missing_objects_are_made_beside_others_and_the_restore_can_be_undone() {
    for major in [None, Some(13), Some(18)] {
        let name = format!("merged {}", major.unwrap_or_default());
        let Some(world) = World::on(major, &name, SHOP) else { continue };
        let should = world.made_by(&format!("{name} should"), &format!("{SHOP} {OTHERS}"));
        world.database.execute(&format!("DROP SCHEMA books CASCADE; {OTHERS}"));
        let before = world.state();
        let run = world.restore(&["--safe"]);
        assert!(run.stdout.contains("objects made"), "{}", run.stdout);
        world.is_as(&format!("{name}: after the restore"), &should);
        world.undo_and_redo(&before, &should);
    }
}

#[test]
fn a_part_of_the_objects_and_of_the_rows_may_be_missing() {
    let Some(world) = World::new("merged part", SHOP) else { return };
    let should = world.state();
    for (damage, made) in [
        ("DROP TABLE books.sales CASCADE; DELETE FROM books.titles WHERE id % 2 = 0", 6),
        ("DROP TABLE books.titles CASCADE; UPDATE books.authors SET name = 'x'", 8),
        ("DROP VIEW books.novels; DROP TRIGGER touched ON books.titles; DROP INDEX books.titles_loud", 3),
        ("ALTER TABLE books.titles DROP CONSTRAINT titles_author_fkey; DELETE FROM books.authors", 1),
        ("ALTER TABLE books.titles ALTER author DROP NOT NULL, DROP CONSTRAINT titles_pkey", 1),
        ("DROP TABLE books.sales_new; DELETE FROM books.sales", 3),
        ("DROP MATERIALIZED VIEW books.totals", 1),
    ] {
        world.database.execute(damage);
        let before = world.state();
        world.restore(&["--safe", "--mode", "exact"]);
        let log = world.keeper.restore_log();
        assert!(log["objects_created"].as_u64().unwrap() >= made, "{damage}: {log:#}");
        let after = world.state();
        if !damage.contains("NOT NULL") {
            world.is_as(damage, &should);
        }
        world.undo_and_redo(&before, &after);
        world.restore(&["--safe", "--mode", "exact", "--if-exists", "replace"]);
        world.is_as(&format!("{damage}, replaced"), &should);
    }
}

#[test]
fn what_differs_stays_and_is_reported() {
    let Some(world) = World::new("merged differing", SHOP) else { return };
    world.database.execute(
        "CREATE OR REPLACE FUNCTION books.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN old; END $$;
         CREATE OR REPLACE VIEW books.novels AS SELECT id, title FROM books.titles WHERE genre = 'poetry';
         COMMENT ON TABLE books.titles IS NULL; REVOKE SELECT ON books.titles FROM object_reader;
         ALTER TABLE books.authors OWNER TO postgres;
         DROP INDEX books.sales_title; DELETE FROM books.titles WHERE id < 10;",
    );
    let before = world.state();
    let run = world.restore(&["--safe"]);
    assert!(run.stdout.contains("left as the target has it"), "{}", run.stdout);
    assert!(run.stdout.contains("VIEW books.novels (definition)"), "{}", run.stdout);
    let log = world.keeper.restore_log();
    let differing = log["objects_differing"].as_object().unwrap();
    let differing: Vec<String> =
        differing.iter().map(|(k, v)| format!("{k}: {}", v.as_str().unwrap())).collect();
    assert_eq!(
        differing,
        [
            "FUNCTION books.touch(): definition",
            "SEQUENCE books.authors_id_seq: owner",
            "TABLE books.authors: owner",
            "TABLE books.titles: comments, privileges",
            "VIEW books.novels: definition"
        ]
    );
    let after = world.state();
    assert!(after.contains("CREATE INDEX sales_title") && after.contains("genre = 'poetry'"), "{after}");
    assert_eq!(log["tables_restored"]["books.titles"]["inserted"], 9, "{log:#}");
    world.undo_and_redo(&before, &after);
}

#[test]
fn a_restore_that_is_to_fail_where_anything_differs_names_all_of_it_and_touches_nothing() {
    let Some(world) = World::new("merged fail", SHOP) else { return };
    world.database.execute(
        "CREATE OR REPLACE FUNCTION books.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN old; END $$;
         ALTER TABLE books.titles ADD later text; COMMENT ON TABLE books.sales IS 'sold'; DROP VIEW books.novels;
         REVOKE USAGE ON SCHEMA books FROM object_reader",
    );
    let before = world.state();
    let run = world.refused(&["--safe", "--if-exists", "fail"], 1);
    for object in [
        "FUNCTION books.touch() (definition)",
        "TABLE books.titles (definition)",
        "TABLE books.sales (comments)",
        "SCHEMA books (privileges)",
    ] {
        run.says(object);
    }
    assert!(!run.stderr.contains("novels"), "what is missing does not differ: {}", run.stderr);
    world.is_as("after the refusal", &before);
    assert!(world.keeper.files("safety_backups").is_empty());
}

#[test]
fn a_dry_run_says_what_would_be_made_and_changes_nothing() {
    let Some(world) = World::new("merged dry", SHOP) else { return };
    world.database.execute(
        "DROP VIEW books.novels; DROP TABLE books.sales CASCADE; DELETE FROM books.titles WHERE id < 10;
         CREATE OR REPLACE FUNCTION books.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN old; END $$",
    );
    let before = world.state();
    // Readers are not in its way, and it is not in theirs.
    crate::support::while_held(&world.database.url, "LOCK TABLE books.titles IN ROW EXCLUSIVE MODE", |_| {
        let log = world.restore(&["--dry-run", "--json", "--if-exists", "replace"]).json();
        assert_eq!(log["objects_replaced"], serde_json::json!(["FUNCTION books.touch()"]), "{log:#}");
        assert!(log["objects_created"].as_u64().unwrap() > 5, "{log:#}");
        assert_eq!(log["tables_restored"]["books.titles"]["inserted"], 9, "{log:#}");
        assert_eq!(log["tables_restored"]["books.sales"]["inserted"], 90, "{log:#}");
    });
    let run = world.restore(&["--dry-run"]);
    assert!(run.stdout.contains("nothing was changed"), "{}", run.stdout);
    world.is_as("after the dry runs", &before);
}

#[test]
fn a_dry_run_into_an_empty_database_says_what_would_be_made_and_makes_nothing() {
    let Some(world) = World::new("merged dry empty", SHOP) else { return };
    let empty = world.made_by("merged dry empty target", "");
    let url = world.database.cluster.url("merged dry empty target");
    let log =
        world.keeper.ok(&["restore", "--dry-run", "--json", "-d", &url, "--file", &world.archive]).json();
    assert!(log["objects_created"].as_u64().unwrap() > 15, "{log:#}");
    assert_eq!(log["tables_restored"]["books.titles"]["inserted"], 50, "{log:#}");
    crate::world::same("after the dry run", &empty, &crate::world::state(&world.client, &url));
}

#[test]
fn cleaning_brings_a_changed_database_back_to_what_was_archived() {
    let Some(world) = World::new("merged clean", SHOP) else { return };
    let should = world.made_by("merged clean should", &format!("{SHOP} {OTHERS}"));
    world.database.execute(&format!(
        "ALTER TABLE books.titles ADD later int; DROP VIEW books.novels; DELETE FROM books.titles;
         DROP TABLE books.sales_old; ALTER TYPE books.genre ADD VALUE 'drama'; DROP FUNCTION books.touch CASCADE;
         CREATE INDEX mine ON books.authors (name); {OTHERS}"
    ));
    let before = world.state();
    world.restore(&["--safe", "--clean"]);
    world.is_as("after the restore", &should);
    world.undo_and_redo(&before, &should);
}

#[test]
fn objects_of_the_archive_come_back_with_their_sections_one_after_the_other() {
    let Some(world) = World::new("merged sections", SHOP) else { return };
    let should = world.state();
    for (n, archive) in [world.archive.clone(), world.backup(&["--schema-only"])].into_iter().enumerate() {
        let name = format!("merged sections {n}");
        let target = world.database.cluster.database(&name);
        let rows = archive == world.archive;
        for section in ["pre-data", "data", "post-data"] {
            if section == "data" && !rows {
                continue;
            }
            let args = ["restore", "--safe", "-d", &target.url, "--section", section, "--file", &archive];
            let run = world.keeper.run(&args);
            assert_eq!(run.code, Some(0), "{section}: {}", run.stderr);
        }
        let is = crate::world::state(&world.client, &target.url);
        let plain = |text: &str| -> String {
            // Without rows there are no counts to compare.
            text.split_inclusive('\n')
                .filter(|l| rows || !l.contains(" rows, md5 ") && !l.contains("last value"))
                .collect()
        };
        crate::world::same(&name, &plain(&should), &plain(&is));
    }
}

#[test]
fn definitions_and_rows_can_be_restored_apart() {
    let Some(world) = World::new("merged apart", SHOP) else { return };
    let should = world.state();
    let target = world.database.cluster.database("merged apart target");
    let restore = |more: &[&str]| {
        world.keeper.ok(&[&["restore", "-d", &target.url, "--file", &world.archive, "--safe"], more].concat())
    };
    restore(&["--schema-only"]);
    assert_eq!(target.value("SELECT count(*) FROM books.titles"), "0");
    restore(&["--data-only"]);
    let is = crate::world::state(&world.client, &target.url);
    // Nobody has refreshed the materialized view: data alone does not.
    let but_filled = |text: &str| text.replace("WITH NO DATA", "WITH DATA");
    crate::world::same("both", &but_filled(&should), &but_filled(&is));
    // An archive of rows alone fits where the tables are.
    let rows = world.backup(&["--data-only"]);
    target.execute("DELETE FROM books.titles");
    world.keeper.ok(&["restore", "-d", &target.url, "--file", &rows, "--safe"]);
    assert_eq!(target.value("SELECT count(*) FROM books.titles"), "50");
}

#[test]
fn one_table_comes_back_with_all_that_it_needs_and_others_are_left_alone() {
    let Some(world) = World::new("merged table", SHOP) else { return };
    let should = world.state();
    world.database.execute(
        "DROP TABLE books.titles CASCADE; DROP TYPE books.genre; DROP INDEX books.sales_title; DELETE FROM books.sales;
         ALTER TABLE books.authors ADD mine int",
    );
    let before = world.state();
    world.restore(&["--safe", "--table", "books.titles"]);
    let after = world.state();
    for there in [
        "CREATE TABLE books.titles",
        "CREATE TYPE books.genre",
        "titles_loud",
        "TRIGGER touched",
        "titles_id_seq",
    ] {
        assert!(after.contains(there), "{there}");
    }
    assert_eq!(world.database.value("SELECT count(*) FROM books.titles"), "50");
    // The view is no part of it, nor is what differs elsewhere.
    assert!(
        !after.contains("sales_title")
            && !after.contains("VIEW books.novels")
            && after.contains("mine integer")
    );
    world.undo_and_redo(&before, &after);
    world.restore(&["--safe", "--clean"]);
    world.is_as("all of it", &should);
}
