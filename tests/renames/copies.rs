//! Tables that are made under other names.

use crate::support::{Client, Database, Pgkeep, difference, fixture, majors, shared, table_digest};
use crate::{SURROUNDINGS, archived, count, odd};

/// A schema as pg_dump has it, rows too.
fn dump(client: &Client, database: &Database<'_>, schema: &str) -> String {
    let options = ["--no-owner", "--no-privileges", "--schema", schema];
    client.dump(&database.url, &options).unwrap()
}

#[test]
fn a_schema_full_of_its_own_name_is_copied_as_if_it_had_been_made_so() {
    for major in majors() {
        let Some(client) = Client::for_server(major) else { continue };
        for (number, own) in ["shop", "\"Sh.op \"\"x\"\"\""].into_iter().enumerate() {
            let name = format!("copied_{number}");
            let (database, pgkeep, archive) =
                archived(&name, Some(major), &(SURROUNDINGS.to_owned() + &odd(own, major)));
            let expected = shared(Some(major)).database(&format!("made_{number}"));
            expected.execute(SURROUNDINGS);
            expected.execute(&odd("copy", major));
            let before = database.digest();
            let into = ["restore", "--safe", "--into-schema", "copy", "--file", &archive];
            let run = pgkeep.ok(&into);
            assert!(run.stderr.is_empty(), "{}", run.stderr);
            let (copy, like) = (dump(&client, &database, "copy"), dump(&client, &expected, "copy"));
            assert_eq!(difference(&copy, &like), None, "{own} on {major}");
            assert_eq!(pgkeep.restore_log()["verified"], true);
            assert_eq!(pgkeep.restore_log()["mapped"]["copy.items"], shown(own, "items"));

            // It is compared with the archive, and written to, without a touch of the original.
            let diff =
                pgkeep.ok(&["diff", &archive, "live", "--into-schema", "copy", "--json", "--exit-code"]);
            assert_eq!(diff.json()["tables"]["copy.log"]["unchanged"], 40);
            database.execute(
                "INSERT INTO copy.items (shop) VALUES ('new'); INSERT INTO copy.log (at) VALUES ('2025-06-01');
                 INSERT INTO copy.\"T.x \"\"y\"\"\" (item) VALUES (1); INSERT INTO copy.été SELECT; DELETE FROM copy.log WHERE item = 40",
            );
            assert_eq!(database.value("SELECT max(id)::text FROM copy.items"), "41");
            let digest = database.digest();
            let of_original = |d: &crate::support::Digest| {
                d.keys().filter(|k| !k.contains("copy")).cloned().collect::<Vec<_>>()
            };
            assert_eq!(of_original(&before), of_original(&digest));
            assert!(before.iter().all(|(k, v)| digest.get(k) == Some(v)), "{own} on {major}");

            // A second restore finds the tables there, and makes them as archived again.
            let again = [&into[..], &["--mode", "exact"]].concat();
            pgkeep.ok(&again);
            let log = pgkeep.restore_log();
            assert_eq!((&log["total_inserted"], &log["total_deleted"]), (&1.into(), &4.into()), "{log:#}");
            assert_eq!(log["objects_created"], 0);

            // And it goes again.
            pgkeep.ok(&["rollback", "latest"]);
            let log = pgkeep.restore_log();
            assert_eq!((&log["total_inserted"], &log["total_deleted"]), (&4.into(), &1.into()));
        }
    }
}

fn shown(schema: &str, table: &str) -> String {
    format!("{schema}.{table}")
}

#[test]
fn the_booking_business_is_looked_at_beside_the_live_one_and_the_look_is_undone() {
    for major in majors() {
        let (database, pgkeep, archive) = archived("beside", Some(major), &fixture("reservations.sql"));
        database.execute("DELETE FROM bookings WHERE reference < 'BK-3'; UPDATE users SET phone = NULL");
        let before = database.digest();
        let restore = ["restore", "--safe", "--into-schema", "restored_2026", "--file", &archive];
        let into = [&restore[..], &["--map", "audit.users=restored_2026.audit_users"]].concat();
        let seen = pgkeep.ok(&[&into[..], &["--dry-run", "--json"]].concat()).json();
        assert_eq!(seen["tables"]["restored_2026.bookings"]["inserted"], 53);
        assert_eq!(database.digest(), before);
        let run = pgkeep.ok(&into);
        run.says("do not get what acts on them or shows them: 1 view, 1 materialized view, ");
        let log = pgkeep.restore_log();
        assert_eq!(log["tables_restored"]["restored_2026.bookings"]["inserted"], 53);
        assert_eq!(log["mapped"]["restored_2026.audit_users"], "audit.users");
        assert_eq!(log["mapped"]["restored_2026.users"], "users");
        assert!(log["warnings"][0].as_str().unwrap().contains("triggers"), "{log:#}");
        // What was archived, and nothing that acts on it.
        let triggers = "pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT tgisinternal
             AND c.relnamespace = 'restored_2026'::regnamespace";
        assert_eq!(count(&database, triggers), 0);
        assert_eq!(
            count(&database, "bookings"),
            53 - count(
                &database,
                "restored_2026.bookings r WHERE NOT EXISTS (SELECT FROM bookings b WHERE b.id = r.id)"
            )
        );
        assert_eq!(
            table_digest(&database.url, "public.import_lines"),
            table_digest(&database.url, "restored_2026.import_lines")
        );
        let keys = "pg_constraint f JOIN pg_class c ON c.oid = f.confrelid WHERE contype = 'f'
             AND f.connamespace = 'restored_2026'::regnamespace AND c.relnamespace <> f.connamespace";
        assert_eq!(count(&database, keys), 0);
        // The SQL of the guide: rows that are lost come back from the copy.
        database.execute(
            "INSERT INTO bookings OVERRIDING SYSTEM VALUE SELECT r.* FROM restored_2026.bookings r
              WHERE NOT EXISTS (SELECT FROM bookings b WHERE b.id = r.id)",
        );
        assert_eq!(count(&database, "bookings"), 53);

        let now = database.digest();
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(count(&database, "pg_namespace WHERE nspname = 'restored_2026'"), 0);
        let own = |d: &crate::support::Digest| {
            d.iter()
                .filter(|(k, _)| !k.contains("restored_2026"))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(own(&database.digest()), own(&now));
    }
}

#[test]
fn a_table_that_is_not_there_is_made_under_its_new_name_beside_the_old_one() {
    for major in majors() {
        let schema = SURROUNDINGS.to_owned() + &odd("shop", major);
        let (database, pgkeep, archive) = archived("by_map", Some(major), &schema);
        let maps = ["--map", "shop.items=shop.things", "--map", "shop.log=shop.journal"];
        let into = [&["restore", "--safe", "--file", &archive][..], &maps].concat();
        let before = database.digest();
        let run = pgkeep.ok(&into);
        run.says("left out, because they refer to tables that are not restored along: CONSTRAINT items_other_fkey ON shop.items");
        let made = "SELECT string_agg(relname, ' ' ORDER BY relname COLLATE \"C\") FROM pg_class
             WHERE relnamespace = 'shop'::regnamespace AND (relname LIKE 'things%' OR relname LIKE 'journal%')";
        assert_eq!(
            database.value(made),
            "journal journal.rest journal.rest_kind_idx journal.rest_pkey journal_2025 journal_2025_kind_idx \
             journal_2025_pkey journal_2025_shop journal_2025_shop_kind_idx journal_2025_shop_pkey journal_id_seq \
             journal_kind journal_other journal_other_kind_idx journal_other_pkey journal_pkey things things_id_seq \
             things_pkey things_shop things_shop_id_key"
        );
        assert_eq!(table_digest(&database.url, "shop.items"), table_digest(&database.url, "shop.things"));
        assert_eq!(table_digest(&database.url, "shop.log"), table_digest(&database.url, "shop.journal"));
        let refers = "SELECT string_agg(conrelid::regclass || ' ' || confrelid::regclass, ', ' ORDER BY conrelid::regclass::text)
             FROM pg_constraint WHERE contype = 'f' AND conparentid = 0
             AND conrelid IN ('shop.things'::regclass, 'shop.journal'::regclass)";
        assert_eq!(database.value(refers), "shop.journal shop.things, shop.things shop.things");
        // Its row goes by its new name.
        let check = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'c.d' AND conrelid = 'shop.things'::regclass";
        assert_eq!(database.value(check), "CHECK (whole(things.*))");
        database.execute("INSERT INTO shop.things (shop) VALUES ('a'); INSERT INTO shop.journal (at) VALUES ('2025-01-02')");
        assert_eq!(database.value("SELECT max(id)::text FROM shop.things"), "41");
        assert!(before.iter().all(|(k, v)| database.digest().get(k) == Some(v)));
        // All of it goes again.
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(database.digest(), before);
    }
}

#[test]
fn a_copy_can_be_made_in_an_empty_database() {
    for major in majors() {
        let (_source, pgkeep, archive) = archived("elsewhere", Some(major), &fixture("reservations.sql"));
        let empty = shared(Some(major)).database("empty");
        let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &empty.url);
        let into = ["restore", "--safe", "--into-schema", "look", "--file", &archive];
        let some = [&into[..], &["--table", "events,tours,operators,packages,package_tours,vehicles,boats"]]
            .concat();
        let run = pgkeep.ok(&some);
        run.says("left out, because they refer to tables that are not restored along: CONSTRAINT operators_head_guide_id_fkey ON public.operators");
        assert_eq!((count(&empty, "look.events"), count(&empty, "look.tours")), (240, 12));
        assert_eq!(count(&empty, "pg_namespace WHERE nspname IN ('look', 'audit')"), 1);
        pgkeep.ok(&["rollback", "latest"]);
        assert_eq!(count(&empty, "pg_namespace WHERE nspname = 'look'"), 0);
        // Types are not made: they belong to more than a copy.
        let run = pgkeep.run(&[&into[..], &["--table", "bookings,users"]].concat()).expect_code(1);
        run.says("error: the target lacks what the tables need:")
            .says("DOMAIN public.email_address (first needed for TABLE public.users)")
            .says("TYPE public.booking_status (first needed for TABLE public.bookings)")
            .says("state: the target is untouched")
            .says("next:  make it first: pgkeep show FILE --schema");
        assert_eq!(count(&empty, "pg_namespace WHERE nspname = 'look'"), 0);
    }
}

#[test]
fn a_copy_that_fails_in_an_empty_database_leaves_not_even_its_schema() {
    for major in majors() {
        let sql = "CREATE TABLE a (id serial PRIMARY KEY, v int); INSERT INTO a (v) VALUES (1), (2);
                   CREATE SCHEMA s; CREATE TABLE s.b (a int REFERENCES a); INSERT INTO s.b VALUES (2)";
        let (_source, pgkeep, archive) = archived("fails", Some(major), sql);
        let empty = shared(Some(major)).database("empty of a copy");
        let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &empty.url);
        let check = "[[check]]\nname = 'none'\nsql = 'SELECT * FROM \"The look\".a'\nexpect = 'no rows'\n";
        std::fs::write(pgkeep.dir().join("pgkeep.toml"), check).unwrap();
        let into =
            ["restore", "--safe", "--into-schema", "The look", "--map", "s.b=more.b", "--file", &archive];
        let run = pgkeep.run(&into).expect_code(1);
        run.says("a check fails: none").says("what had been made was removed again");
        let made = "pg_namespace WHERE nspname IN ('The look', 'more', 'pgkeep_restoring')";
        assert_eq!(count(&empty, made), 0);
        pgkeep.ok(&[&into[..], &["--no-checks"]].concat());
        assert_eq!(
            (count(&empty, "\"The look\".a"), count(&empty, "more.b"), count(&empty, made)),
            (2, 1, 2)
        );
    }
}

#[test]
fn names_that_would_be_the_same_in_the_new_schema_are_told_apart() {
    let (database, pgkeep, archive) = archived(
        "told_apart",
        None,
        "CREATE SCHEMA a; CREATE SCHEMA b;
         CREATE TABLE a.one (id serial PRIMARY KEY, v int); CREATE INDEX v ON a.one (v); INSERT INTO a.one (v) VALUES (1);
         CREATE TABLE b.two (id serial PRIMARY KEY, v int); CREATE INDEX v ON b.two (v); INSERT INTO b.two (v) VALUES (2);
         CREATE SEQUENCE b.one_id_seq; ALTER TABLE b.two ADD n int DEFAULT nextval('b.one_id_seq');
         COMMENT ON INDEX b.v IS 'of two'",
    );
    database.execute(
        "CREATE SCHEMA c; CREATE VIEW c.one_pkey AS SELECT 1; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    );
    pgkeep.ok(&["restore", "--safe", "--into-schema", "c", "--file", &archive]);
    let indexes = "SELECT string_agg(indexrelid::regclass || ' ' || indrelid::regclass, ', ' ORDER BY indexrelid::regclass::text COLLATE \"C\")
         FROM pg_index WHERE indrelid IN ('c.one'::regclass, 'c.two'::regclass)";
    assert_eq!(database.value(indexes), "c.one_one_pkey c.one, c.two_pkey c.two, c.two_v c.two, c.v c.one");
    assert_eq!(database.value("SELECT obj_description('c.two_v'::regclass)"), "of two");
    // Nobody else may read what had policies and privileges.
    assert_eq!(database.value("SELECT has_table_privilege('public', 'c.one', 'SELECT')::text"), "false");
    database.execute("INSERT INTO c.one DEFAULT VALUES; INSERT INTO c.two DEFAULT VALUES");
    assert_eq!(database.value("SELECT id::text || n FROM c.two WHERE id = 2"), "22");
    assert_eq!(database.value("SELECT last_value::text FROM b.one_id_seq"), "1");
    pgkeep.ok(&["rollback", "latest"]);
    // What was there stays.
    assert_eq!(count(&database, "pg_class WHERE relnamespace = 'c'::regnamespace"), 1);
}

#[test]
fn definitions_alone_are_copied_without_rows_and_a_role_of_few_rights_owns_what_it_makes() {
    let (database, pgkeep, archive) = archived("few_rights", None, &fixture("reservations.sql"));
    database.execute(
        "DROP ROLE IF EXISTS few; CREATE ROLE few LOGIN PASSWORD 'few'; GRANT CREATE ON DATABASE few_rights TO few",
    );
    let of_few = Pgkeep::on(&database.url_as("few", "few"));
    of_few.ok(&[
        "restore",
        "--safe",
        "--into-schema",
        "mine",
        "--table",
        "bookings,users,schedules",
        "--file",
        &archive,
        "--schema-only",
    ]);
    assert_eq!(count(&database, "mine.bookings"), 0);
    let others = "pg_class WHERE relnamespace = 'mine'::regnamespace AND relowner <> 'few'::regrole";
    assert_eq!(count(&database, others), 0);
    // Then the rows, of which the original's owner alone could write there.
    of_few.ok(&[
        "restore",
        "--safe",
        "--into-schema",
        "mine",
        "--table",
        "bookings,users,schedules",
        "--file",
        &archive,
    ]);
    assert_eq!(count(&database, "mine.bookings"), 53);
    drop(pgkeep);
}
