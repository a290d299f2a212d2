//! The command line as clap sees it. Values are turned into the engines' options by each subcommand's file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    backup, check, completions, diff, doctor, export, list, rehearse, repair, restore, rollback, show,
    validate,
};

/// Backs up and restores Postgres and Supabase databases; every restore can be undone.
#[derive(Debug, Parser)]
#[command(
    name = "pgkeep",
    version,
    about,
    after_help = "\
Examples:
  pgkeep backup -d postgres://app@db.example/shop
  pgkeep restore --safe --file shop_backup_20251128_074723
  pgkeep rollback latest
  pgkeep show shop_backup_20251128_074723 bookings | jq .

Connection, first that is given: -d, PGKEEP_DATABASE_URL, database_url in pgkeep.toml, DATABASE_URL, then libpq's own (PGHOST…, PGSERVICE, ~/.pgpass). Every flag can also be given as PGKEEP_… or as a key in pgkeep.toml.

Exit codes: 0 done; 1 failed, target unchanged or put back; 2 wrong usage or configuration; 3 partial (--keep-going); 4 archive invalid or corrupt; 5 cannot connect or not permitted; 6 failed and not put back; 7 different (diff --exit-code, check --compare); 130 interrupted."
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Database to work on: a postgres:// URL or key=value pairs; better without a password (use ~/.pgpass)
    #[arg(
        short = 'd',
        long,
        value_name = "URL",
        global = true,
        env = "PGKEEP_DATABASE_URL",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub database_url: Option<String>,
    /// Another address of the same database, tried where those before it do not lead there; may be given several times (the variable holds one)
    #[arg(
        long,
        value_name = "URL",
        global = true,
        env = "PGKEEP_FALLBACK_URL",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub fallback_url: Vec<String>,
    /// File that holds the password
    #[arg(long, value_name = "FILE", global = true, env = "PGKEEP_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,
    /// Command that prints the password
    #[arg(
        long,
        value_name = "COMMAND",
        global = true,
        env = "PGKEEP_PASSWORD_COMMAND",
        hide_env_values = true,
        hide_default_value = true
    )]
    pub password_command: Option<String>,
    /// How often a connection is tried when the server is not reachable or not ready
    #[arg(long, value_name = "N", global = true, env = "PGKEEP_CONNECT_ATTEMPTS", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub connect_attempts: u32,
    /// Whose server it is, by the name of a host profile [default: it is found out]
    #[arg(long, value_name = "NAME", global = true, env = "PGKEEP_HOST_PROFILE")]
    pub host_profile: Option<String>,
    /// Folder that holds backups/, safety_backups/, summaries/ and logs/
    #[arg(long, value_name = "DIR", global = true, env = "PGKEEP_DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Configuration file [default: pgkeep.toml in the current folder, if there]
    #[arg(long, value_name = "FILE", global = true, env = "PGKEEP_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print one JSON object on standard output; everything else goes to standard error
    #[arg(long, global = true, env = "PGKEEP_JSON")]
    pub json: bool,
    /// Print nothing but the result, warnings and errors
    #[arg(short, long, global = true, env = "PGKEEP_QUIET")]
    pub quiet: bool,
    /// Print details
    #[arg(short, long, global = true, env = "PGKEEP_VERBOSE")]
    pub verbose: bool,
    /// Show no progress
    #[arg(long, global = true, env = "PGKEEP_NO_PROGRESS")]
    pub no_progress: bool,
    /// When to use colours
    #[arg(long, value_name = "WHEN", global = true, env = "PGKEEP_COLOR", default_value = "auto")]
    pub color: ColorWhen,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Back up a database to an archive
    Backup(backup::BackupArgs),
    /// Restore an archive into a database; undone by itself on failure
    Restore(restore::RestoreArgs),
    /// Put a database back exactly as a safety backup saw it
    Rollback(rollback::RollbackArgs),
    /// List the safety backups
    ListSafety(list::ListArgs),
    /// List the backups
    List(list::ListArgs),
    /// Prove an archive whole
    Validate(validate::ValidateArgs),
    /// Show what is in an archive, or the rows of one of its tables as JSON objects
    Show(show::ShowArgs),
    /// Write an archive as an SQL script that psql restores, or a table of it as CSV
    Export(export::ExportArgs),
    /// List what differs between the definitions in an archive and those in a database or another archive
    Diff(diff::DiffArgs),
    /// Look a server, a role and a connection over: what is well, and what would fail
    Doctor(doctor::DoctorArgs),
    /// Prove that an archive restores: into a scratch database, which is compared, checked and removed
    Rehearse(rehearse::RehearseArgs),
    /// Restore only those rows that are missing or broken
    Repair(repair::RepairArgs),
    /// Run your own checks: PASS or FAIL, with the rows that should not be
    Check(check::CheckArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man(completions::ManArgs),
}

/// Connections to use: as many as there are cores, at most 8, where nothing is said.
pub fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(8)
}

/// Parses bytes a second: the likes of `500k`, `20M` and `1G`, in powers of 1024 as Postgres's own tools have them.
pub fn rate(text: &str) -> Result<u64, String> {
    let wrong = || "write it like 500000, 500k, 20M or 1G".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "" => 1,
        "k" | "K" | "kB" => 1 << 10,
        "M" | "MB" => 1 << 20,
        "G" | "GB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let rate = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)?;
    if rate < 1024 { Err("must be at least 1k".to_owned()) } else { Ok(rate) }
}

/// Parses the likes of `10s`, `500ms` and `5min`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|e| format!("{e}; write it like 10s, 500ms or 5min"))?;
    // The server takes milliseconds as a 32-bit integer, and 0 as "for ever".
    if duration.as_millis() == 0 || duration.as_millis() > i32::MAX as u128 {
        return Err("must be between 1ms and 24days".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn rates_have_units_of_1024() {
        assert_eq!(rate("500000"), Ok(500_000));
        assert_eq!(rate("32k"), Ok(32 << 10));
        assert_eq!((rate("20M"), rate("20MB")), (Ok(20 << 20), Ok(20 << 20)));
        assert_eq!(rate("1G"), Ok(1 << 30));
        for wrong in ["", "k", "1T", "1.5M", "-1", "0", "100", "99999999999999G", "1 M"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
