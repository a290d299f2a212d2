//! What a crash leaves behind: pgkeep, the server or the network between them dies at some moment of a backup, a
//! restore or a rollback. Whatever the moment, the target holds exactly what it held before or exactly what it was to
//! hold, the log does not lie about which, and every archive that is listed is whole.
//!
//! The moments are drawn by a generator whose seed stands in each failure's message; `PGKEEP_TEST_SEED` sets it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod commit;
mod killed;
mod network;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod world;
