//! `pgkeep completions` and `pgkeep man`.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Ending;
use super::args::Cli;
use super::context::print;
use crate::failure::Failure;

/// Flags of `completions`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  pgkeep completions bash > ~/.local/share/bash-completion/completions/pgkeep"
)]
pub struct CompletionsArgs {
    /// Shell to complete for
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Flags of `man`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  pgkeep man | man -l -\n  pgkeep man --out-dir ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Folder to write the pages of all commands to, instead of printing the main one
    #[arg(long, value_name = "DIR", env = "PGKEEP_OUT_DIR")]
    pub out_dir: Option<PathBuf>,
}

/// Prints a completion script.
pub fn run(args: &CompletionsArgs) -> Result<Ending, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pgkeep", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Ending::Done)
}

/// Prints or writes manual pages.
pub fn man(args: &ManArgs) -> Result<Ending, Failure> {
    // There is no page about the command `help`, so none may refer to it.
    let command = Cli::command().disable_help_subcommand(true);
    match &args.out_dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut page)
                .map_err(|e| Failure::from_io("writing the manual page", &e))?;
            print(&String::from_utf8_lossy(&page))?;
        }
        Some(folder) => std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command, folder))
            .map_err(|e| Failure::from_io(format!("writing manual pages to {}", folder.display()), &e))?,
    }
    Ok(Ending::Done)
}
