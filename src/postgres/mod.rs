//! Everything that knows a Postgres server.

pub mod catalog;
pub mod connect;
pub mod connect_error;
pub mod conninfo;
pub mod copy;
pub mod ddl;
pub mod dsn;
pub mod error;
pub mod extensions;
mod interpret;
pub mod passfile;
pub mod quote;
pub mod resolve;
pub mod secret;
pub mod service;
pub mod session;
pub mod settings;
mod socket;
pub mod tap;
pub mod tid;
pub mod tls;
mod tls_verify;
