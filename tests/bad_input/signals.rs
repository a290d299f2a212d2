//! Ctrl-C and SIGTERM: exit code 130, undone, no debris.

use crate::support::{Database, Pgkeep, Proxy, Run, Running, shared, wait_until, while_held};
use crate::{BULK, backed_up, explained, log_says_undone, no_archive, no_debris, no_temporary_file};

/// Sends the signal in the middle of the work, and lets the network go on when pgkeep has taken notice.
fn interrupted(pgkeep: &Pgkeep, proxy: &Proxy, after: u64, terminate: bool, arguments: &[&str]) -> Run {
    let end = proxy.forwarded() + after;
    proxy.stall_after(after);
    let running: Running = pgkeep.spawn(arguments);
    wait_until("it is in the middle", 60, || proxy.forwarded() >= end);
    if terminate {
        running.terminate();
    } else {
        running.interrupt();
    }
    wait_until("the signal is noticed", 20, || {
        pgkeep.files("logs").iter().any(|log| std::fs::read_to_string(log).unwrap().contains("interrupted"))
    });
    proxy.resume();
    let run = explained(running.wait(), 130);
    run.says("interrupted");
    run
}

fn bulk(name: &str) -> (Database<'static>, Proxy) {
    let database = shared(None).database(name);
    database.execute(BULK);
    let proxy = Proxy::to(database.cluster.port);
    (database, proxy)
}

#[test]
fn an_interrupted_backup_leaves_nothing() {
    let (database, proxy) = bulk("interrupted_backup");
    for terminate in [false, true] {
        for jobs in ["1", "3"] {
            let pgkeep = Pgkeep::on(&proxy.url(&database.url, database.cluster.port));
            let run = interrupted(&pgkeep, &proxy, 1_000_000, terminate, &["backup", "--jobs", jobs]);
            run.says("no archive was left behind");
            no_archive(&pgkeep, "backups");
            no_debris(&database);
        }
    }
}

#[test]
fn an_interrupted_restore_is_undone() {
    let (database, proxy) = bulk("interrupted_restore");
    let (_archives, archive) = backed_up(&database.url);
    database.execute("DELETE FROM bulk WHERE id % 2 = 0");
    let before = database.digest();
    // In the middle of the safety backup, and in the middle of loading.
    for (after, terminate) in [(1_000_000, false), (5_000_000, true)] {
        let pgkeep = Pgkeep::on(&proxy.url(&database.url, database.cluster.port));
        let run = interrupted(&pgkeep, &proxy, after, terminate, &["restore", "--safe", "--file", &archive]);
        run.says("the target is as it was");
        let log = log_says_undone(&pgkeep);
        assert!(log["error"].as_str().unwrap().ends_with("interrupted"), "{log:#}");
        no_temporary_file(pgkeep.dir());
        no_debris(&database);
        assert_eq!(database.digest(), before);
        assert_eq!(pgkeep.files("safety_backups").len(), usize::from(after > 2_000_000));
    }
}

#[test]
fn a_backup_that_waits_for_a_lock_can_be_interrupted() {
    let (database, proxy) = bulk("interrupted_wait");
    let pgkeep = Pgkeep::on(&database.url);
    drop(proxy);
    while_held(&database.url, "LOCK TABLE bulk IN ACCESS EXCLUSIVE MODE", |_| {
        let running = pgkeep.spawn(&["backup"]);
        wait_until("the backup waits", 20, || {
            database.value("SELECT count(*) FROM pg_locks WHERE relation = 'bulk'::regclass AND NOT granted")
                == "1"
        });
        wait_until("it says what it waits for", 20, || {
            let logs = pgkeep.files("logs");
            logs.iter().any(|log| std::fs::read_to_string(log).unwrap().contains("ACCESS EXCLUSIVE"))
        });
        running.interrupt();
        explained(running.wait(), 130).says("pg_blocking_pids");
    });
    no_archive(&pgkeep, "backups");
    no_debris(&database);
}
