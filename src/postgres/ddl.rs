//! Catalog → DDL: every object of a database that is not the server's own, with the SQL that makes it.
//!
//! A constant number of queries, one file for each group of kinds: each gives [`draft::Draft`]s. `order` joins them by what
//! the catalog says of dependencies, breaks circles, and puts each object behind all that it needs.
//!
//! Everything is read under the caller's transaction with an empty search path (see `settings`), so that the server's
//! own functions (`pg_get_viewdef` and the like) name everything by its schema.

pub mod acl;
pub mod comments;
pub mod configuration;
pub mod database;
pub mod draft;
pub mod foreign;
pub mod large_objects;
pub mod materialized;
pub mod policies;
pub mod privileges;
pub mod replication;
pub mod roles;
pub mod triggers;
pub mod views;
