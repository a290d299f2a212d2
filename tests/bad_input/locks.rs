//! Others hold what a restore needs.

use crate::support::{Cluster, Options, Pgkeep, Proxy, shared, wait_until, while_held};
use crate::{BULK, backed_up, explained, log_says_undone, no_archive, no_debris, shop};

#[test]
fn a_lock_that_is_not_granted_names_who_holds_it() {
    let database = shop("locked");
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute("UPDATE orders SET note = 'damaged'");
    let before = database.digest();
    let url = format!("{}?application_name=month%20end", database.url);
    while_held(&url, "UPDATE orders SET note = 'mine' WHERE id = 1", |pid| {
        let run = pgkeep.run(&["restore", "--safe", "--lock-timeout", "300ms", "--file", &archive]);
        let run = explained(run, 1);
        run.says("table orders")
            .says(&format!("PID {pid}"))
            .says("user postgres")
            .says("month end")
            .says("idle in transaction");
        run.says("untouched").says("--lock-timeout");
    });
    assert_eq!(database.digest(), before);
    log_says_undone(&pgkeep);
    no_archive(&pgkeep, "safety_backups");
    no_debris(&database);
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
}

#[test]
fn a_reader_in_the_way_of_an_owner_s_restore_is_named() {
    let database = shop("read_meanwhile");
    database.execute(
        "CREATE ROLE landlord LOGIN PASSWORD 'x'; ALTER SCHEMA public OWNER TO landlord;
         ALTER TABLE customers OWNER TO landlord; ALTER TABLE orders OWNER TO landlord;",
    );
    let (pgkeep, archive) = backed_up(&database.url_as("landlord", "x"));
    database.execute("UPDATE orders SET note = 'damaged'");
    let before = database.digest();
    while_held(&database.url, "SELECT FROM orders", |pid| {
        let run = pgkeep.run(&["restore", "--safe", "--lock-timeout", "300ms", "--file", &archive]);
        explained(run, 1).says("table orders is locked").says(&format!("PID {pid}")).says("--lock-timeout");
    });
    assert_eq!(database.digest(), before);
    log_says_undone(&pgkeep);
    no_debris(&database);
    pgkeep.ok(&["restore", "--safe", "--file", &archive]);
}

#[test]
fn a_table_that_nobody_may_even_read_does_not_hold_a_restore_up_for_ever() {
    let database = shop("locked_out");
    let (pgkeep, archive) = backed_up(&database.url);
    database.execute("CREATE TABLE unrelated (id int)");
    let before = database.digest();
    while_held(&database.url, "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE", |_| {
        for safe in ["--safe", "--yes"] {
            let run =
                explained(pgkeep.run(&["restore", safe, "--lock-timeout", "300ms", "--file", &archive]), 1);
            run.says("table orders is locked by PID ").says("untouched").says("--lock-timeout");
        }
        explained(pgkeep.run(&["rollback", "latest"]), 2);
        // Those that are not locked can be restored.
        let source = crate::shop("locked_out_source");
        source.execute("CREATE TABLE other (id int)");
        let (_folder, other) = backed_up(&source.url);
        explained(pgkeep.run(&["restore", "--safe", "--data-only", "--table", "other", "--file", &other]), 1)
            .says("other: the target has no such table");
    });
    // A lock on a table that is not asked for is nobody's business.
    while_held(&database.url, "LOCK TABLE unrelated IN ACCESS EXCLUSIVE MODE", |_| {
        pgkeep.ok(&["restore", "--safe", "--lock-timeout", "300ms", "--file", &archive]);
        pgkeep.ok(&["backup", "--exclude", "unrelated"]);
    });
    assert_eq!(database.digest(), before);
    no_debris(&database);
}

#[test]
fn of_two_restores_into_one_target_the_second_says_who_is_at_work() {
    let database = shared(None).database("two_restores");
    database.execute(BULK);
    let (pgkeep, archive) = backed_up(&database.url);
    let original = database.digest();
    database.execute("DELETE FROM bulk WHERE id % 2 = 0");
    let proxy = Proxy::to(database.cluster.port);
    let first = Pgkeep::on(&proxy.url(&database.url, database.cluster.port));
    proxy.stall_after(4_000_000);
    let running = first.spawn(&["restore", "--safe", "--file", &archive]);
    wait_until("the first restore is at work", 60, || proxy.forwarded() >= 4_000_000);
    let second =
        explained(pgkeep.run(&["restore", "--safe", "--lock-timeout", "300ms", "--file", &archive]), 1);
    second.says("another pgkeep restore").says("PID ").says("untouched").says("wait for it");
    log_says_undone(&pgkeep);
    no_archive(&pgkeep, "safety_backups");
    proxy.resume();
    running.wait().expect_code(0);
    assert_eq!(database.digest(), original);
    no_debris(&database);
}

#[test]
fn a_prepared_transaction_that_nobody_ended_is_named() {
    let database = shop("prepared");
    let (pgkeep, archive) = backed_up(&database.url);
    let before = database.digest();
    // Readers may go on beside the first, and nobody beside the second.
    for (name, statement) in [
        ("payment 17", "UPDATE orders SET note = 'mine' WHERE id = 1"),
        ("payment 18", "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"),
    ] {
        database.execute(&format!("BEGIN; {statement}; PREPARE TRANSACTION '{name}'"));
        let run = pgkeep.run(&["restore", "--safe", "--lock-timeout", "300ms", "--file", &archive]);
        database.execute(&format!("ROLLBACK PREPARED '{name}'"));
        explained(run, 1)
            .says(&format!("table orders is locked by prepared transaction '{name}' (user postgres"))
            .says("ROLLBACK PREPARED")
            .says("untouched");
    }
    assert_eq!(database.digest(), before);
    no_debris(&database);
}

#[test]
fn more_tables_than_the_server_has_locks_for_is_said() {
    let config = ["max_connections = 10", "max_locks_per_transaction = 10", "max_prepared_transactions = 0"];
    let config = config.map(str::to_owned).to_vec();
    let cluster = Cluster::start(Options { config, ..Options::default() });
    let database = cluster.database("many");
    // The server keeps a reserve, and creates fewer of them in one transaction.
    for hundred in 0..8 {
        database.execute(&format!(
            "DO $$ BEGIN FOR i IN 1..100 LOOP EXECUTE format('CREATE TABLE t_{hundred}_%s (id int)', i); END LOOP; END $$"
        ));
    }
    let pgkeep = Pgkeep::on(&database.url);
    explained(pgkeep.run(&["backup"]), 1)
        .says("out of shared memory")
        .says("raise max_locks_per_transaction");
    no_archive(&pgkeep, "backups");
    pgkeep.ok(&["backup", "--table", "t_1_*"]);
}
