//! Everything that knows a Postgres server.

pub mod copy;
