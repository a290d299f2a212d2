//! Objects come back into databases that hold others: what is missing is made, what differs stays, is refused or is
//! replaced, and whatever became of it can be undone. pg_dump judges: it must say the very same of two databases.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod anew;
mod bad;
mod chosen;
mod created;
mod emptied;
mod excluded;
#[path = "../schema/fixture.rs"]
mod fixture;
mod killed;
mod later;
mod loaded;
mod merged;
mod migrated;
mod occupied;
mod replaced;
mod resumed;
mod roles;
mod said;
#[path = "../support/mod.rs"]
mod support;
mod surroundings;
mod versions;
mod world;
