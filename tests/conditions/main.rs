//! Conditions and columns without a server: `show`, and `diff` of two archives, choose what a server would.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod compared;
mod random;
mod shown;
