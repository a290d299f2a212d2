//! The fixtures load on every supported server, and always give the same rows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{Digest, fixture, majors, shared};

#[test]
fn the_booking_business_loads_on_every_major_with_the_same_rows() {
    let mut first: Option<Digest> = None;
    for major in majors() {
        let database = shared(Some(major)).database("reservations");
        database.execute(&fixture("reservations.sql"));
        assert_eq!(database.value("SELECT count(*) FROM bookings"), "53");
        let digest = database.digest();
        assert_eq!(first.get_or_insert_with(|| digest.clone()), &digest, "Postgres {major}");
    }
}

#[test]
fn the_generator_adds_a_thousand_bookings_a_step_and_breaks_no_rule() {
    let database = shared(None).database("scaled");
    database.execute(&fixture("reservations.sql"));
    database.execute(&fixture("reservations_scale.sql"));
    database.execute("SELECT generate_reservations(2)");
    database.execute("SELECT generate_reservations(1)");
    assert_eq!(database.value("SELECT count(*) FROM bookings"), "3053");
    assert_eq!(database.value("SELECT count(*) FROM audit.audit_logs"), "3053");
    let broken = "SELECT count(*) FROM booking_items i WHERE NOT EXISTS \
                  (SELECT FROM bookings b WHERE b.id = i.booking_id)";
    assert_eq!(database.value(broken), "0");
    let overbooked = "SELECT count(*) FROM schedules s WHERE seats - seats_left <> coalesce((SELECT sum(b.seats) \
                      FROM bookings b WHERE b.schedule_id = s.id AND b.status IN ('held', 'confirmed')), 0)";
    assert_eq!(database.value(overbooked), "0");
    // A booking made now still goes through the triggers.
    database.execute("UPDATE bookings SET status = 'cancelled' WHERE status = 'held'");
    assert_eq!(database.value(overbooked), "0");
}
