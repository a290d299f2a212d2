//! Catalog → DDL: every object of a database that is not the server's own, with the SQL that makes it.
//!
//! A constant number of queries, one file for each group of kinds: each gives [`draft::Draft`]s. `order` joins them by what
//! the catalog says of dependencies, breaks circles, and puts each object behind all that it needs.
//!
//! Everything is read under the caller's transaction with an empty search path (see `settings`), so that the server's
//! own functions (`pg_get_viewdef` and the like) name everything by its schema.

pub mod draft;
pub mod foreign_keys;
pub mod indexes;
pub mod sequences;
pub mod statistics;
pub mod tables;
