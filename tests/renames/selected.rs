//! Under other names with a choice of rows: the choice names what is archived.

use crate::support::fixture;
use crate::{archived, count};

#[test]
fn conditions_columns_and_preferences_name_the_archived_table() {
    let (database, pgkeep, archive) = archived("conditions", None, &fixture("reservations.sql"));
    let into = ["restore", "--safe", "--file", &archive, "--into-schema", "few"];
    let price = database.value("SELECT price::text FROM tours ORDER BY price OFFSET 4 LIMIT 1");
    let least = format!("least={price}");
    let dearer = format!("tours WHERE previous_id IS NULL AND price >= {price}");
    let run = pgkeep.ok(&[
        &into[..],
        &[
            "--table",
            "import_lines,tours",
            "--where",
            "tours: previous_id IS NULL AND price >= $least",
            "--param",
            &least,
        ],
    ]
    .concat());
    run.says("CONSTRAINT tours_operator_id_fkey ON public.tours");
    assert_eq!(count(&database, "few.tours"), count(&database, &dearer));
    assert!((1..12).contains(&count(&database, "few.tours")) && count(&database, "few.import_lines") == 63);
    let ids = database.value("SELECT string_agg(id::text, ',') FROM few.tours");
    let there = format!("tours: id IN ({ids})");
    database.execute("UPDATE few.tours SET title = 'x', description = 'x'");
    pgkeep.ok(&[&into[..], &["--table", "tours", "--columns", "tours: title", "--where", &there]].concat());
    assert_eq!(
        count(&database, "few.tours WHERE description = 'x' AND title <> 'x'"),
        count(&database, "few.tours")
    );

    let before = count(&database, "few.tours WHERE description = 'x'");
    let rules = "[merge.tours]\nmode = 'missing'\n";
    std::fs::write(pgkeep.dir().join("pgkeep.toml"), rules).unwrap();
    pgkeep.ok(&[&into[..], &["--table", "tours"]].concat());
    assert_eq!(
        (count(&database, "few.tours WHERE description = 'x'"), count(&database, "few.tours")),
        (before, 12)
    );
}

#[test]
fn one_customers_rows_are_looked_at_in_a_schema_of_their_own() {
    let (database, pgkeep, archive) = archived("customer", None, &fixture("reservations.sql"));
    let id =
        database.value("SELECT customer_id::text FROM bookings GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1");
    let before = database.digest();
    let entity = format!("users={id}");
    let other = "audit.users=customer.audit_users";
    let into = [
        "restore",
        "--safe",
        "--file",
        &archive,
        "--into-schema",
        "customer",
        "--map",
        other,
        "--entity",
        &entity,
    ];
    let seen = pgkeep.ok(&[&into[..], &["--dry-run", "--json"]].concat()).json();
    pgkeep.ok(&into);
    let bookings = count(&database, &format!("bookings WHERE customer_id = '{id}'"));
    assert_eq!(count(&database, "customer.bookings"), bookings);
    assert_eq!(seen["tables"]["customer.bookings"]["inserted"], bookings);
    assert_eq!(count(&database, &format!("customer.users WHERE id = '{id}'")), 1);
    // A sequence of the copy goes on behind the archive's rows.
    let next =
        "SELECT (nextval(pg_get_serial_sequence('customer.schedules', 'id')) > max(id))::text FROM schedules";
    assert_eq!(database.value(next), "true");
    // In mode exact what was added to it goes, by the names that it has there.
    database.execute(&format!(
        "UPDATE customer.bookings SET note = 'x' WHERE customer_id = '{id}'; DELETE FROM customer.booking_items;
         INSERT INTO customer.bookings SELECT (jsonb_populate_record(b, jsonb_build_object(
             'id', md5(b.reference)::uuid, 'reference', 'x', 'invoice_no', NULL))).* FROM customer.bookings b LIMIT 1"
    ));
    assert_eq!(count(&database, "customer.bookings"), bookings + 1);
    pgkeep.ok(&[&into[..], &["--mode", "exact"]].concat());
    assert_eq!(count(&database, "customer.bookings WHERE note = 'x'"), 0);
    assert_eq!(count(&database, "customer.bookings"), bookings);
    pgkeep.ok(&["rollback", "latest"]);
    assert!(before.iter().all(|(k, v)| database.digest().get(k) == Some(v)));
}

#[test]
fn rows_that_the_chosen_ones_need_come_along() {
    let (database, pgkeep, archive) = archived("references", None, &fixture("reservations.sql"));
    let some = ["--table", "package_tours", "--with-references", "--into-schema", "needed"];
    pgkeep.ok(&[&["restore", "--safe", "--file", &archive][..], &some].concat());
    assert_eq!(count(&database, "needed.package_tours"), 12);
    let needed =
        count(&database, "tours t WHERE EXISTS (SELECT FROM package_tours p WHERE p.tour_id IN (t.id))");
    assert!(count(&database, "needed.tours") >= needed && count(&database, "needed.operators") > 0);
    let keys = "pg_constraint WHERE contype = 'f' AND convalidated AND connamespace = 'needed'::regnamespace";
    assert!(count(&database, keys) >= 4);
}
