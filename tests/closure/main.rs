//! Which rows belong together: what is found in an archive and in a database is what anybody finds who follows the foreign
//! keys of all rows until nothing new comes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod archives;
mod found;
mod model;
mod modes;
mod named;
mod random;
mod restored;
mod state;
mod world;
