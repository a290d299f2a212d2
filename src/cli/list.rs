//! `pgkeep list` and `pgkeep list-safety`.

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::Ending;
use super::context::{Context, printable};
use super::table::layout;
use crate::failure::Failure;
use crate::listing::{self, Entry};

/// Flags of the lists: none but the global ones.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgkeep list
  pgkeep list-safety --json | jq -r '.archives[].file'

Oldest first. VERIFIED says whether the file, as it is now, was proven whole by validate or by a restore; DAMAGED \
that they found it damaged, BROKEN that it cannot even be opened. GUARDS is the log of the restore that a safety backup can undo.")]
pub struct ListArgs {}

/// Which archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those in `backups/`.
    Backups,
    /// Those in `safety_backups/`.
    SafetyBackups,
}

#[derive(Serialize)]
struct Archives {
    archives: Vec<Entry>,
}

/// Runs the command.
pub fn run(context: &Context, _args: &ListArgs, which: Which) -> Result<Ending, Failure> {
    let folder = match which {
        Which::Backups => context.folders.backups(),
        Which::SafetyBackups => context.folders.safety_backups(),
    };
    let archives = listing::list(&context.folders, &folder)
        .map_err(|e| Failure::from_io(format!("reading folder {}", folder.display()), &e))?;
    let text = if archives.is_empty() {
        format!("no archives in {}", folder.display())
    } else {
        table(&archives, which)
    };
    context.result(&Archives { archives }, &text)?;
    Ok(Ending::Done)
}

fn table(archives: &[Entry], which: Which) -> String {
    let mut head = vec!["FILE", "CREATED (UTC)", "DATABASE", "TABLES", "ROWS", "SIZE", "VERIFIED"];
    if which == Which::SafetyBackups {
        head.push("GUARDS");
    }
    let rows = archives.iter().map(|entry| {
        let number = |n: Option<u64>| n.map(|n| HumanCount(n).to_string()).unwrap_or_default();
        let verified = match &entry.error {
            Some(error) => format!("BROKEN: {error}"),
            None if entry.verified => "yes".to_owned(),
            None if entry.damaged => "DAMAGED".to_owned(),
            None => "not yet".to_owned(),
        };
        let mut row = vec![
            printable(&entry.file),
            entry.created_at.map(|t| t.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default(),
            printable(entry.database.as_deref().unwrap_or_default()),
            number(entry.tables),
            number(entry.rows),
            HumanBytes(entry.bytes).to_string(),
            verified,
        ];
        if which == Which::SafetyBackups {
            row.push(printable(entry.guards.as_deref().unwrap_or_default()));
        }
        row
    });
    layout(&head, &[3, 4, 5], rows)
}
