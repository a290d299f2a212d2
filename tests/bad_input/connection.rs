//! The server is not there, does not let us in, or goes away in the middle.

use crate::support::{Cluster, Cut, Options, Pgkeep, Proxy, shared, wait_until};
use crate::{BULK, backed_up, explained, log_says_undone, no_archive, no_debris, no_temporary_file, shop};

/// A port of this machine where nobody listens.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn no_server_is_tried_again_and_then_said_by_every_command() {
    let database = shop("no_server");
    let (pgkeep, archive) = backed_up(&database.url);
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
    let port = free_port();
    let url = format!("postgres://postgres:x@127.0.0.1:{port}/shop");
    let pgkeep = pgkeep.env("PGKEEP_DATABASE_URL", &url).env("PGKEEP_CONNECT_ATTEMPTS", "2");
    let commands: [&[&str]; 3] =
        [&["backup"], &["restore", "--safe", "--file", &archive], &["rollback", "latest"]];
    for command in commands {
        let run = explained(pgkeep.run(command), 5);
        run.says(&format!("127.0.0.1:{port}")).says("connection refused").says("tried 2 times");
    }
    assert_eq!((pgkeep.files("backups").len(), pgkeep.files("safety_backups").len()), (1, 1));
    no_temporary_file(pgkeep.dir());
}

#[test]
fn a_wrong_password_is_said_once_and_never_shown() {
    let database = shop("wrong_password");
    let wrong = "wrong@:/%word";
    let pgkeep = Pgkeep::on(&database.url_as("postgres", wrong));
    let run = explained(pgkeep.run(&["backup", "-v"]), 5);
    run.says("postgres").says("password").says(".pgpass");
    assert!(!run.stderr.contains("trying again"), "a wrong password does not become right:\n{}", run.stderr);
    no_archive(&pgkeep, "backups");
    pgkeep.assert_secret_nowhere(wrong, &[&run]);
}

#[test]
fn no_such_database_is_named() {
    let pgkeep = Pgkeep::on(&shared(None).url("no such \"shop\""));
    let run = explained(pgkeep.run(&["backup"]), 5);
    run.says("no such \"shop\"").says("does not exist");
    no_archive(&pgkeep, "backups");
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_backup_leaves_no_archive() {
    let cluster = Cluster::start(Options::default());
    let database = cluster.database("dies");
    database.execute(BULK);
    // More than the buffers on the way hold, or the backup would be whole.
    database.execute("INSERT INTO bulk SELECT id + 6000 * n, payload FROM bulk, generate_series(1, 7) n");
    // Of two connections, one may die while it still joins the snapshot.
    for (jobs, doing) in [("1", "table bulk"), ("2", "connection")] {
        let proxy = Proxy::to(cluster.port);
        let pgkeep = Pgkeep::on(&proxy.url(&database.url, cluster.port));
        proxy.stall_after(1_000_000);
        let run = pgkeep.spawn(&["backup", "--jobs", jobs]);
        wait_until("a megabyte has passed", 60, || proxy.forwarded() >= 1_000_000);
        cluster.kill_9();
        proxy.resume();
        let run = explained(run.wait(), 1);
        run.says(doing).says("connection").says("no archive was left behind");
        no_archive(&pgkeep, "backups");
        cluster.restart();
        pgkeep.ok(&["backup"]);
    }
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_restore_comes_back_as_it_was() {
    let cluster = Cluster::start(Options::default());
    let database = cluster.database("dies");
    database.execute(BULK);
    let proxy = Proxy::to(cluster.port);
    let (pgkeep, archive) = backed_up(&proxy.url(&database.url, cluster.port));
    database
        .execute("DELETE FROM bulk WHERE id % 3 = 0; UPDATE bulk SET payload = 'damaged' WHERE id % 3 = 1");
    let before = database.digest();
    // The safety backup is a third of that; then it is in the middle of loading.
    proxy.stall_after(3_000_000);
    let start = proxy.forwarded();
    let run = pgkeep.spawn(&["restore", "--safe", "--file", &archive]);
    wait_until("three megabytes have passed", 60, || proxy.forwarded() >= start + 3_000_000);
    cluster.kill_9();
    proxy.resume();
    let run = explained(run.wait(), 1);
    run.says("connection").says("as it was");
    let log = log_says_undone(&pgkeep);
    assert!(log["safety_backup_file"].is_string(), "{log:#}");
    no_temporary_file(pgkeep.dir());
    cluster.restart();
    assert_eq!(database.digest(), before);
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
}

#[test]
fn a_network_that_cuts_in_the_middle_of_a_backup_leaves_no_archive() {
    let database = shared(None).database("cut_backup");
    database.execute(BULK);
    for how in [Cut::Close, Cut::Reset] {
        let proxy = Proxy::to(database.cluster.port);
        let pgkeep = Pgkeep::on(&proxy.url(&database.url, database.cluster.port));
        proxy.cut_after(1_000_000, how);
        let run = explained(pgkeep.run(&["backup", "--jobs", "1"]), 1);
        run.says("table bulk").says("connection").says("no archive was left behind");
        assert!(proxy.has_cut());
        no_archive(&pgkeep, "backups");
    }
    no_debris(&database);
}

#[test]
fn a_network_that_cuts_in_the_middle_of_a_restore_leaves_the_target_as_it_was() {
    let database = shared(None).database("cut_restore");
    database.execute(BULK);
    let proxy = Proxy::to(database.cluster.port);
    let (pgkeep, archive) = backed_up(&proxy.url(&database.url, database.cluster.port));
    database.execute("DELETE FROM bulk WHERE id % 3 = 0");
    let before = database.digest();
    for how in [Cut::Close, Cut::Reset] {
        proxy.cut_after(6_000_000, how);
        let run = explained(pgkeep.run(&["restore", "--safe", "--file", &archive]), 1);
        run.says("connection").says("as it was");
        assert!(proxy.has_cut());
        log_says_undone(&pgkeep);
        no_debris(&database);
        assert_eq!(database.digest(), before);
        no_temporary_file(pgkeep.dir());
    }
}
