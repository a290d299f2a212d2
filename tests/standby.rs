//! A hot standby can be backed up, and is not written to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use pgkeep::connection::Connector;
use pgkeep::postgres::connect::RetryPolicy;
use pgkeep::postgres::conninfo::ConnInfo;
use pgkeep::progress::Events;
use pgkeep::restore::fate::{self, Transaction};
use support::{Cluster, Options, Pgkeep, fixture};

/// Asks a server about a transaction that it has not heard of.
#[tokio::main]
async fn what_became_of_a_commit(url: &str) -> Option<bool> {
    let info = ConnInfo::resolve(Some(url), &|_| None, None).unwrap();
    let connector = Connector::new(info, RetryPolicy::once());
    let transaction = Transaction::keep("4000000000", &connector).await;
    fate::ask(&connector, Some(&transaction), &Events::silent()).await
}

#[test]
fn a_standby_is_backed_up_with_several_connections_and_a_restore_into_it_is_refused() {
    let cluster = Cluster::start(Options::default());
    let database = cluster.database("shop");
    database.execute(&fixture("reservations.sql"));
    let original = database.digest();
    let volatile = cluster.database("volatile");
    volatile.execute(
        "CREATE UNLOGGED TABLE cache (a int); INSERT INTO cache VALUES (1);
         CREATE TABLE kept (a int); INSERT INTO kept VALUES (2), (3)",
    );
    let rows = database.query("SELECT count(*) FROM bookings");
    cluster.stop();
    // A server that was shut down and finds this file follows nobody, and yet answers as a standby does.
    std::fs::write(cluster.data_dir().join("standby.signal"), "").unwrap();
    cluster.restart();
    assert_eq!(database.value("SELECT pg_is_in_recovery()"), "t");

    let pgkeep = Pgkeep::on(&database.url);
    let result = pgkeep.ok(&["backup", "--jobs", "4", "--json"]).json();
    assert!(result["jobs"].as_u64().unwrap() > 1, "{result:#}");
    let archive = pgkeep.only_file("backups");
    let archive = archive.to_str().unwrap();
    pgkeep.ok(&["validate", archive]);
    // Of what is not in the WAL a standby has nothing.
    let of_volatile = Pgkeep::on(&volatile.url);
    let run = of_volatile.ok(&["backup", "--json"]);
    run.says("unlogged table cache is left empty");
    assert_eq!((run.json()["rows"].as_u64(), run.json()["tables"].as_u64()), (Some(2), Some(2)));
    for more in [&["--safe"][..], &["--yes"], &["--dry-run"]] {
        let arguments = [&["restore", "--file", archive], more].concat();
        let run = pgkeep.run(&arguments).expect_code(5);
        run.says("standby").says("read-only").says("untouched");
    }
    assert!(pgkeep.files("safety_backups").is_empty());

    // It may lag behind: that a standby knows nothing of a transaction proves nothing.
    assert_eq!(what_became_of_a_commit(&database.url), None);

    std::fs::remove_file(cluster.data_dir().join("standby.signal")).unwrap();
    cluster.restart();
    assert_eq!(database.digest(), original);
    database.execute("DELETE FROM bookings");
    pgkeep.ok(&["restore", "--safe", "--file", archive]);
    assert_eq!(database.query("SELECT count(*) FROM bookings"), rows);
    // The server that committed it, or did not, knows.
    assert_eq!(what_became_of_a_commit(&database.url), Some(false));
}
