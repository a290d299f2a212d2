//! pgkeep backs up and restores Postgres databases over an ordinary connection, and every restore can be undone.
//!
//! The crate is the engine; the program of the same name is a thin shell over it. `ARCHITECTURE.md` says what
//! each module owns.

pub mod archive;
pub mod backup;
pub mod check;
pub mod cli;
pub mod closure;
pub mod compare;
pub mod condition;
pub mod connection;
pub mod difference;
pub mod doctor;
pub mod export;
pub mod failure;
pub mod folders;
pub mod host;
pub mod listing;
pub mod postgres;
pub mod progress;
pub mod rehearse;
pub mod restore;
pub mod row;
pub mod schema;
pub mod selection;
