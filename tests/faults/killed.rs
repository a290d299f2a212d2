//! `kill -9` of pgkeep.

use crate::support::shared;
use crate::world::{Operation, Random, World};

fn kill_pgkeep(name: &str, operation: Operation, times: usize) {
    let world = World::new(shared(None), name);
    let mut random = Random::new(name);
    let extent = world.measure(operation);
    let mut from = world.state("at first");
    for turn in 0..times {
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
