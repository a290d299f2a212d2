//! The server dies, as in a power cut, and comes back.

use crate::support::{Cluster, Options};
use crate::world::{Operation, Random, World, check_exit};

fn kill_server(world: &World, name: &str, operation: Operation, times: usize) {
    let mut random = Random::new(name);
    let extents = world.measure(operation);
    let mut from = world.state("at first");
    for turn in 0..times {
        let extent = extents[from];
        let moment = random.moment(turn, extent);
        let context = format!(
            "seed {}, turn {turn}, server killed at {moment:?} of {extent:?} of {operation:?}",
            random.seed
        );
        let logs = world.logs();
        let running = world.run_until(moment, operation, from);
        world.database.cluster.kill_9();
        world.proxy.resume();
        world.database.cluster.restart();
        let run = running.wait();
        let to = world.check(&context);
        match (operation, world.check_log(logs, to != from, &context)) {
            (Operation::Backup, _) => {
                assert_eq!(to, from, "{context}");
                // 5: it had not connected yet.
                assert!([Some(0), Some(1), Some(5)].contains(&run.code), "{context}: {}", run.stderr);
            }
            (_, Some(log)) => check_exit(&run, &log, to != from, &context),
            (_, None) => assert!([Some(1), Some(5)].contains(&run.code), "{context}: {}", run.stderr),
        }
        from = world.again(operation, to, &context);
    }
}

#[test]
fn a_server_that_is_killed_comes_back_in_the_state_before_or_after() {
    let cluster = Cluster::start(Options::default());
    let world = World::new(&cluster, "server_killed");
    kill_server(&world, "server_backup", Operation::Backup, 4);
    kill_server(&world, "server_restore", Operation::Restore, 7);
    kill_server(&world, "server_rollback", Operation::Rollback, 4);
}
