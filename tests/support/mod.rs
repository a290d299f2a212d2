//! What the black-box tests and the benchmarks share: throwaway servers, the program under test, and ways to
//! compare databases and to hurt connections.
//!
//! Everything here is synchronous and panics with a sentence when the machine cannot do what a test needs.
//! Nothing leaks: a server dies with the test process, however that ends (see `cluster`).

#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod cluster;
mod digest;
mod numbers;
mod pgkeep;
mod pooler;
mod postgres;
mod proxy;
mod sql;

pub use client::{Client, difference};
pub use cluster::{Cluster, Database, Options, PASSWORD, percent_encoded, shared};
pub use digest::{Digest, database_digest, table_digest};
pub use numbers::Numbers;
pub use pgkeep::{Pgkeep, Run, Running};
pub use pooler::Pooler;
pub use postgres::{Postgres, majors};
pub use proxy::{AtCommit, Cut, Proxy};
pub use sql::{Rows, query, try_query, while_held};

/// The text of a file in `fixtures/`.
pub fn fixture(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Polls until `done` holds; panics with `what` after `seconds`.
pub fn wait_until(what: &str, seconds: u64, mut done: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    while !done() {
        assert!(std::time::Instant::now() < end, "waited {seconds} s in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
