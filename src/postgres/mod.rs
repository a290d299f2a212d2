//! Everything that knows a Postgres server.
