//! `kill -9` of pgkeep.

use crate::support::{AtCommit, Cut, shared, wait_until};
use crate::world::{Operation, Random, World};

fn kill_pgkeep(name: &str, operation: Operation, times: usize) {
    let world = World::new(shared(None), name);
    let mut random = Random::new(name);
    let extents = world.measure(operation);
    let mut from = world.state("at first");
    for turn in 0..times {
        let extent = extents[from];
        let moment = random.moment(turn, extent);
        let context =
            format!("seed {}, turn {turn}, {operation:?} killed at {moment:?} of {extent:?}", random.seed);
        let logs = world.logs();
        let running = world.run_until(moment, operation, from);
        running.kill_9();
        let run = running.wait();
        world.proxy.resume();
        let to = world.check(&context);
        if run.code == Some(0) && operation != Operation::Backup {
            assert_ne!(to, from, "{context}: it was done already");
        }
        match operation {
            Operation::Backup => assert_eq!(to, from, "{context}"),
            _ => {
                world.check_log(logs, to != from, &context);
            }
        }
        from = world.again(operation, to, &context);
    }
}

#[test]
fn a_backup_that_is_killed_leaves_no_broken_archive() {
    kill_pgkeep("killed_backup", Operation::Backup, 12);
}

#[test]
fn a_restore_that_is_killed_is_done_or_undone() {
    kill_pgkeep("killed_restore", Operation::Restore, 12);
}

#[test]
fn a_rollback_that_is_killed_is_done_or_undone() {
    kill_pgkeep("killed_rollback", Operation::Rollback, 8);
}

#[test]
fn the_log_of_a_restore_that_is_killed_during_its_commit_leads_to_the_truth() {
    let world = World::new(shared(None), "killed_commit");
    for (operation, what) in
        [(Operation::Restore, AtCommit::HoldRequest), (Operation::Rollback, AtCommit::HoldAnswer)]
    {
        let context = format!("{operation:?} killed at {what:?}");
        let (from, logs) = (world.state(&context), world.logs());
        world.proxy.at_commit(what, false);
        let running = world.pgkeep.spawn(&world.command(operation, from));
        wait_until(&format!("{context}: the commit is held"), 30, || world.proxy.had_commit());
        running.kill_9();
        running.wait();
        world.proxy.cut(Cut::Reset);
        let to = world.check(&context);
        assert_eq!(to != from, what == AtCommit::HoldAnswer, "{context}");
        let log = world.check_log(logs, to != from, &context).unwrap();
        assert_eq!(log["status"], "running", "{context}");
        world.proxy.resume();
        world.again(operation, to, &context);
    }
}
