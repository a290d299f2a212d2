//! Objects that should be there.

use crate::support::{Pgkeep, fixture, majors, shared};
use crate::{configure, error, reservations};

const THERE: [&str; 22] = [
    "table:users",
    "table:audit.users",
    "table:events",
    "table:events_other",
    "column:users.email",
    "column:audit.audit_logs.old_row",
    "column:upcoming.title",
    "function:take_seats",
    "function:audit.log_change()",
    "function:area(integer, booking_status)",
    "trigger:bookings.bookings_seats",
    "trigger:public.bookings.bookings_audit",
    "view:upcoming",
    "view:revenue",
    "view:odd.\"a.View\"",
    "index:bookings_customer",
    "policy:guest_notes.guest_notes_own",
    "type:booking_status",
    "type:email_address",
    "sequence:invoice_numbers",
    "extension:plpgsql",
    "schema:audit",
];

const MISSING: [&str; 14] = [
    "table:upcoming",
    "table:audit.bookings",
    "table:Users",
    "column:users.e_mail",
    "column:nothing.email",
    "function:take_seat",
    "function:take_seats(integer)",
    "trigger:users.bookings_seats",
    "trigger:bookings.RI_ConstraintTrigger_c_1",
    "view:bookings",
    "index:bookings",
    "type:bookings",
    "extension:pg_trgm",
    "schema:archive",
];

#[test]
fn what_is_there_passes_and_what_is_not_fails_on_every_major() {
    for major in majors() {
        let database = shared(Some(major)).database(&format!("check_exists_{major}"));
        database.execute(&fixture("reservations.sql"));
        database.execute(
            "CREATE SCHEMA odd; CREATE VIEW odd.\"a.View\" AS SELECT 1;
             CREATE FUNCTION area(integer, booking_status) RETURNS integer LANGUAGE sql AS 'SELECT 1';
             ALTER TABLE users ADD COLUMN e_mail int; ALTER TABLE users DROP COLUMN e_mail",
        );
        let pgkeep = Pgkeep::on(&database.url);
        let asked = |things: &[&str]| {
            let flags = things.iter().flat_map(|thing| ["--exists", thing]);
            let arguments: Vec<&str> = ["check", "--json"].into_iter().chain(flags).collect();
            pgkeep.run(&arguments)
        };
        let report = asked(&THERE).expect_code(0).json();
        assert_eq!(report["passed"], THERE.len(), "{major}: {report:#}");
        let report = asked(&MISSING).expect_code(1).json();
        assert_eq!(report["failed"], MISSING.len(), "{major}: {report:#}");
        assert_eq!(error(&report, "column users.e_mail"), "there is no column users.e_mail");
    }
}

#[test]
fn a_list_a_variable_and_the_file_name_objects_as_the_flag_does() {
    let (database, pgkeep) = reservations("check_exists_ways");
    let list = "table:users,function:audit.log_change(),view:upcoming";
    let report = pgkeep.ok(&["check", "--exists", list, "--json"]).json();
    assert_eq!(report["passed"], 3, "what is asked for alone: {report}");
    let run = pgkeep.run(&["check", "--exists", "table:usres", "seats are kept"]).expect_code(1);
    assert!(run.stdout.contains("FAIL  table usres: there is no table usres\n"), "{}", run.stdout);
    assert!(run.stdout.contains("PASS  seats are kept\n"));
    database.execute("DROP TRIGGER bookings_seats ON bookings");
    let run = pgkeep.run(&["check", "seats are kept"]).expect_code(1);
    assert!(run.stdout.contains("there is no trigger bookings.bookings_seats"), "{}", run.stdout);
    pgkeep.run(&["check", "--exists", "tabel:users"]).expect_code(2).says("choose of table, column");
    pgkeep.run(&["check", "--exists", "column:email"]).expect_code(2).says("TABLE.NAME or SCHEMA.TABLE.NAME");
    configure(&pgkeep, "exists = ['table:users', 'table:usres']");
    pgkeep.run(&["check"]).expect_code(1);
    let pgkeep = pgkeep.env("PGKEEP_EXISTS", "table:users,view:upcoming");
    pgkeep.ok(&["check"]);
}
