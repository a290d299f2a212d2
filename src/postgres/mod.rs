//! Everything that knows a Postgres server.

pub mod connect;
pub mod connect_error;
pub mod conninfo;
pub mod copy;
pub mod dsn;
pub mod error;
mod interpret;
pub mod passfile;
pub mod resolve;
pub mod secret;
pub mod service;
pub mod session;
pub mod tls;
mod tls_verify;
