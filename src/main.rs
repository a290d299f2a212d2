//! The `pgkeep` program: parse, run, exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgkeep::cli::main()
}
