//! The network between pgkeep and the server breaks or falls silent.

use std::time::Duration;

use crate::support::{Cut, shared};
use crate::world::{Moment, Operation, Random, World, check_exit};

/// How a connection is hurt.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Cut(Cut),
    /// Nothing passes any more, and the operator loses patience.
    StallAndInterrupt,
}

fn hurt(name: &str, operation: Operation, first_turn: usize, faults: &[Fault]) {
    let world = World::new(shared(None), name);
    let mut random = Random::new(name);
    let extents = world.measure(operation);
    let mut from = world.state("at first");
    for (turn, fault) in (first_turn..).zip(faults) {
        let extent = extents[from];
        let moment = random.moment(turn, extent);
        let context = format!(
            "seed {}, turn {turn}, {fault:?} at {moment:?} of {extent:?} of {operation:?}",
            random.seed
        );
        let logs = world.logs();
        let running = match (fault, moment) {
            (Fault::Cut(how), Moment::Bytes(bytes)) => {
                world.proxy.cut_after(bytes, *how);
                world.pgkeep.spawn(&world.command(operation, from))
            }
            _ => world.run_until(moment, operation, from),
        };
        match fault {
            Fault::Cut(how) => {
                if matches!(moment, Moment::Time(_)) {
                    world.proxy.cut(*how);
                }
            }
            Fault::StallAndInterrupt => {
                world.proxy.stall();
                running.interrupt();
            }
        }
        let run = running.wait_for(Duration::from_secs(40));
        world.proxy.resume();
        let to = world.check(&context);
        match (operation, world.check_log(logs, to != from, &context)) {
            (Operation::Backup, _) => assert_eq!(to, from, "{context}"),
            (_, Some(log)) => check_exit(&run, &log, to != from, &context),
            (_, None) => {}
        }
        let allowed: &[i32] = match fault {
            // 5: cut before it was connected.
            Fault::Cut(_) => &[0, 1, 5],
            Fault::StallAndInterrupt => &[0, 130, 6],
        };
        assert!(allowed.contains(&run.code.unwrap()), "{context}: {:?}\n{}", run.code, run.stderr);
        from = world.again(operation, to, &context);
    }
}

const CUTS: [Fault; 6] = {
    let (close, reset) = (Fault::Cut(Cut::Close), Fault::Cut(Cut::Reset));
    [close, reset, reset, reset, close, close]
};

#[test]
fn a_backup_whose_connections_are_cut_leaves_no_broken_archive() {
    hurt("cut_backup", Operation::Backup, 0, &CUTS);
}

#[test]
fn a_restore_whose_connection_is_cut_is_done_or_undone() {
    hurt("cut_restore", Operation::Restore, 0, &CUTS);
}

#[test]
fn a_rollback_whose_connection_is_cut_is_done_or_undone() {
    hurt("cut_rollback", Operation::Rollback, 0, &CUTS[..4]);
}

#[test]
fn what_is_interrupted_on_a_silent_network_ends_undone() {
    let stall = [Fault::StallAndInterrupt];
    // Side by side: it is mostly waiting.
    std::thread::scope(|scope| {
        scope.spawn(|| hurt("silent_backup", Operation::Backup, 1, &stall));
        scope.spawn(|| hurt("silent_restore", Operation::Restore, 1, &stall));
        scope.spawn(|| hurt("silent_commit", Operation::Restore, 2, &stall));
        scope.spawn(|| hurt("silent_rollback", Operation::Rollback, 1, &stall));
    });
}
