//! The connection breaks at the one moment when pgkeep cannot know what became of its work: during COMMIT.

use crate::support::{AtCommit, Cluster, Options, Run, shared, wait_until};
use crate::world::{Operation, World, check_exit};

/// Lets `what` happen to the COMMIT of a restore or a rollback, and returns how that ended and where it left the
/// database: in the state that it came from or the other.
fn at_commit(world: &World, operation: Operation, what: AtCommit, then_refuse: bool) -> (Run, bool, String) {
    let context = format!("{operation:?}, {what:?}, then refuse: {then_refuse}");
    let (from, logs) = (world.state(&context), world.logs());
    world.proxy.at_commit(what, then_refuse);
    let running = world.pgkeep.spawn(&world.command(operation, from));
    if matches!(what, AtCommit::HoldRequest | AtCommit::HoldAnswer) {
        wait_until(&format!("{context}: the commit is held"), 30, || world.proxy.had_commit());
        running.interrupt();
    }
    let run = running.wait();
    assert!(world.proxy.had_commit(), "{context}: no COMMIT was seen");
    world.proxy.resume();
    let moved = world.check(&context) != from;
    let log = world.check_log(logs, moved, &context).expect("a restore that commits has a log");
    check_exit(&run, &log, moved, &context);
    (run, moved, context)
}

#[test]
fn a_commit_that_never_arrived_is_rolled_back() {
    let world = World::new(shared(None), "commit_lost");
    for operation in [Operation::Restore, Operation::Rollback] {
        let (run, moved, context) = at_commit(&world, operation, AtCommit::LoseRequest, false);
        assert!(!moved && run.code == Some(1), "{context}: {}", run.stderr);
        run.says("committing").says("the target is as it was");
        assert_eq!(world.pgkeep.restore_log()["status"], "rolled_back");
        let from = world.state(&context);
        world.again(operation, from, &context);
    }
}

#[test]
fn a_commit_whose_answer_is_lost_is_found_out_over_a_new_connection() {
    let world = World::new(shared(None), "commit_unanswered");
    for operation in [Operation::Restore, Operation::Rollback] {
        let (run, moved, context) = at_commit(&world, operation, AtCommit::LoseAnswer, false);
        assert!(moved && run.code == Some(0), "{context}: {}", run.stderr);
        run.says("no answer to the commit came; the server confirms that it was committed");
        assert_eq!(world.pgkeep.restore_log()["status"], "completed");
    }
}

#[test]
fn a_commit_that_nobody_can_be_asked_about_ends_with_6_and_the_way_back() {
    let mut world = World::new(shared(None), "commit_unknown");
    world.pgkeep = world.pgkeep.env("PGKEEP_CONNECT_ATTEMPTS", "1");
    for operation in [Operation::Restore, Operation::Rollback] {
        for (what, is_done) in [(AtCommit::LoseAnswer, true), (AtCommit::LoseRequest, false)] {
            let (run, moved, context) = at_commit(&world, operation, what, true);
            assert!(moved == is_done && run.code == Some(6), "{context}: {}", run.stderr);
            run.says("nobody knows whether the restore was committed");
            let log = world.pgkeep.restore_log();
            assert_eq!((&log["status"], &log["rolled_back"]), (&"failed".into(), &false.into()), "{context}");
            // The way back that it names leads to the state before, whichever it was.
            let before = world.state(&context);
            let next = log["next_step"].as_str().unwrap();
            let command = next.split_once("pgkeep ").unwrap().1;
            world.pgkeep.ok(&command.split(' ').collect::<Vec<_>>());
            let after = world.check(&context);
            assert_eq!(after, if is_done { 1 - before } else { before }, "{context}: {command}");
        }
    }
}

#[test]
fn a_commit_that_is_held_up_can_be_interrupted() {
    // Where a new connection can be had, the truth is found out, and the server is told that the old one is gone. Else
    // nobody knows: the network may deliver the request long after its sender has left, as it does here.
    let cases = [
        ("commit_held_answer", AtCommit::HoldAnswer, false, true, 0),
        ("commit_held_request", AtCommit::HoldRequest, false, false, 130),
        ("commit_held_all", AtCommit::HoldRequest, true, true, 6),
    ];
    // Side by side: it is mostly waiting.
    std::thread::scope(|scope| {
        for (name, what, then_refuse, is_done, code) in cases {
            scope.spawn(move || {
                let mut world = World::new(shared(None), name);
                world.pgkeep = world.pgkeep.env("PGKEEP_CONNECT_ATTEMPTS", "1");
                let (run, moved, context) = at_commit(&world, Operation::Restore, what, then_refuse);
                assert!(moved == is_done && run.code == Some(code), "{context}: {}", run.stderr);
            });
        }
    });
}

#[test]
fn a_crash_does_not_lend_the_transaction_s_number_to_another() {
    // Nothing is flushed but what has to be: a crash forgets the numbers of all later transactions.
    let config = vec!["wal_writer_delay = 10s".to_owned()];
    let cluster = Cluster::start(Options { config, ..Options::default() });
    let world = World::new(&cluster, "commit_crash");
    let context = "the server crashes during the commit, and others go on";
    let from = world.state(context);
    world.proxy.at_commit(AtCommit::HoldRequest, true);
    let running = world.pgkeep.spawn(&world.command(Operation::Restore, from));
    wait_until("the commit is held", 30, || world.proxy.had_commit());
    cluster.kill_9();
    cluster.restart();
    world
        .database
        .execute("DO $$ BEGIN FOR i IN 1..2000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$");
    world.proxy.refuse(false);
    world.proxy.resume();
    let run = running.wait();
    assert_eq!((world.check(context), run.code), (from, Some(1)), "{}", run.stderr);
    let log = world.check_log(0, false, context).unwrap();
    assert_eq!(log["status"], "rolled_back", "{log:#}");
}
