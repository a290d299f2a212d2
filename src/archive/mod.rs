//! Everything that knows the archive file, and nothing that knows Postgres, a network or a clock.
//!
//! The format is described byte by byte in `docs/format.md`.

pub mod model;
