//! Flags, environment and `pgkeep.toml` in one: a key of the file becomes the default of the flag of that name, so
//! that clap's own precedence (flag, then environment, then default) is the contract's.
//!
//! Keys are the flags' long names with `_` for `-`. A key at the top goes for every command that has the flag, one in
//! a table of a command's name (`[restore]`) for that command alone.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Command};
use toml::{Table, Value};

use super::args::Global;
use super::checks;
use super::repair;
use super::restore::ModeArg;
use crate::check::Check;
use crate::host::Profiles;
use crate::restore::preference::{Preference, Preferences, StatusRank};
use crate::selection::Pattern;

/// Keys whose name is not the flag's: a list reads better in the plural.
const ALIASES: [(&str, &str); 3] =
    [("critical_tables", "critical"), ("tables", "table"), ("fallback_urls", "fallback_url")];

/// Reads the file: the one named, or `pgkeep.toml` in the current folder if it is there.
pub fn read(named: Option<&Path>) -> Result<Option<(PathBuf, Table)>> {
    let path = named.unwrap_or(Path::new("pgkeep.toml")).to_path_buf();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        // A link that leads nowhere is a file that is missing, not one that was never there.
        Err(_) if named.is_none() && path.symlink_metadata().is_err() => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("configuration file {}", path.display())),
    };
    match text.parse::<Table>() {
        Ok(table) => Ok(Some((path, table))),
        Err(error) => {
            let start = error.span().map_or(0, |s| s.start);
            let line = 1 + text.bytes().take(start).filter(|b| *b == b'\n').count();
            // The text around the place, and so the error itself, is left out: it may hold a password.
            bail!("configuration file {}, line {line}: not valid TOML: {}", path.display(), error.message())
        }
    }
}

/// What of the file is no flag.
#[derive(Debug, Default)]
pub struct Settings {
    /// What is known of hosts.
    pub profiles: Profiles,
    /// What decides between two versions of a row.
    pub preferences: Preferences,
    /// Groups of tables, by their names.
    pub data_types: DataTypes,
    /// The user's checks.
    pub checks: Vec<Check>,
    /// Columns that must have a value, for repairs.
    pub required: Vec<(Pattern, Vec<String>)>,
}

impl Settings {
    /// Takes it out of the file.
    pub fn take(path: &Path, table: &mut Table) -> Result<Settings> {
        let (checks, data_types) = (checks::read(path, table)?, data_types(path, table)?);
        let take = || {
            anyhow::Ok(Settings {
                profiles: profiles(table)?,
                preferences: preferences(table)?,
                data_types,
                checks,
                required: repair::required(table)?,
            })
        };
        take().with_context(|| format!("configuration file {}", path.display()))
    }
}

/// `[profiles.NAME]`, changes of host profiles.
fn profiles(table: &mut Table) -> Result<Profiles> {
    let changes = match table.remove("profiles") {
        None => Table::new(),
        Some(Value::Table(changes)) => changes,
        Some(_) => bail!("\"profiles\" must be a table of tables, [profiles.NAME]"),
    };
    Ok(Profiles::with(&changes)?)
}

/// `[merge.TABLE]`, how rows of some tables meet.
fn preferences(table: &mut Table) -> Result<Preferences> {
    let tables = match table.remove("merge") {
        None => Table::new(),
        Some(Value::Table(tables)) => tables,
        Some(_) => bail!("\"merge\" must be a table of tables, [merge.TABLE]"),
    };
    let mut preferences = Preferences::default();
    for (name, value) in tables {
        let Value::Table(keys) = value else { bail!("\"merge.{name}\" must be a table, [merge.TABLE]") };
        let preference = preference(&keys).with_context(|| format!("[merge.{name:?}]"))?;
        preferences.add(&name, preference).with_context(|| format!("[merge.{name:?}]"))?;
    }
    Ok(preferences)
}

fn preference(keys: &Table) -> Result<Preference> {
    let mut preference = Preference::default();
    let (mut column, mut ranks) = (None, None);
    for (key, value) in keys {
        match key.as_str() {
            "mode" => {
                let text = text(key, value)?;
                let mode = ModeArg::from_str(&text, false);
                preference.mode = Some(
                    mode.map_err(|_| anyhow!("mode {text:?}: there are upsert, exact, missing and newer"))?
                        .into(),
                );
            }
            "newer_by" => preference.newer_by = strings(key, value)?,
            "status_column" => column = Some(text(key, value)?),
            "status_rank" => {
                let Value::Array(list) = value else {
                    bail!("status_rank must be a list, the lowest status first")
                };
                // Statuses of one rank stand in a list of their own.
                ranks = Some(list.iter().map(|same| strings(key, same)).collect::<Result<Vec<_>>>()?);
            }
            _ => bail!(
                "there is no setting {key:?} here: there are mode, newer_by, status_column and status_rank"
            ),
        }
    }
    preference.status = match (column, ranks) {
        (column, Some(ranks)) => {
            Some(StatusRank { column: column.unwrap_or_else(|| "status".to_owned()), ranks })
        }
        (Some(_), None) => bail!("status_column says nothing without status_rank"),
        (None, None) => None,
    };
    if let Some(status) = &preference.status {
        if status.ranks.iter().flatten().any(|value| value.contains('\0')) {
            bail!("status_rank names a status that no text of the server's can be");
        }
        if status.ranks.is_empty() {
            bail!("status_rank names no status");
        }
        let mut all: Vec<&String> = status.ranks.iter().flatten().collect();
        let number = all.len();
        all.sort();
        all.dedup();
        if all.len() < number {
            bail!("status_rank names a status twice");
        }
    }
    Ok(preference)
}

/// Names of groups of tables, each with the patterns of its tables.
pub type DataTypes = BTreeMap<String, Vec<String>>;

/// Takes the groups of tables out of the file, `[data_types]`. A list of that name is the flag's default.
pub fn data_types(path: &Path, table: &mut Table) -> Result<DataTypes> {
    let Some(Value::Table(groups)) = table.get("data_types") else { return Ok(DataTypes::new()) };
    let group = |(name, patterns): (&String, &Value)| {
        Ok((name.clone(), strings(&format!("data_types.{name}"), patterns)?))
    };
    let groups = groups.iter().map(group).collect::<Result<DataTypes>>();
    table.remove("data_types");
    groups.with_context(|| format!("configuration file {}", path.display()))
}

/// Makes the file's values the defaults of `command`'s flags.
pub fn apply(command: Command, path: &Path, table: &Table) -> Result<Command> {
    apply_keys(command, table).with_context(|| format!("configuration file {}", path.display()))
}

fn apply_keys(mut command: Command, table: &Table) -> Result<Command> {
    let unknown = |key: &str| anyhow!("there is no setting {key:?}");
    // Sections come last: what they say goes for their command, whatever the top of the file says.
    let (sections, plain): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_table());
    for (key, value) in plain.into_iter().chain(sections) {
        let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        let mut used = false;
        if let Value::Table(section) = value {
            let name = names.iter().find(|n| n.replace('-', "_") == *key).ok_or_else(|| unknown(key))?;
            for (inner, value) in section {
                let full = format!("{key}.{inner}");
                if !has(&command, name, inner) {
                    return Err(unknown(&full));
                }
                let value = strings(&full, value)?;
                command = command.mut_subcommand(name, |c| set(c, inner, &value));
            }
            continue;
        }
        let value = strings(key, value)?;
        if flag(&command, key).is_some() {
            command = set(command, key, &value);
            used = true;
        }
        for name in names {
            if has(&command, &name, key) {
                command = command.mut_subcommand(&name, |c| set(c, key, &value));
                used = true;
            }
        }
        if !used {
            return Err(unknown(key));
        }
    }
    Ok(command)
}

fn has(command: &Command, subcommand: &str, key: &str) -> bool {
    command.find_subcommand(subcommand).is_some_and(|c| flag(c, key).is_some())
}

/// The id of the flag that `key` means.
fn flag(command: &Command, key: &str) -> Option<String> {
    let key = ALIASES.iter().find(|(alias, _)| *alias == key).map_or(key, |(_, name)| name);
    command
        .get_arguments()
        .find(|a| a.get_long().is_some_and(|l| l.replace('-', "_") == key) && key != "config")
        .map(|a| a.get_id().to_string())
}

fn set(command: Command, key: &str, values: &[String]) -> Command {
    let Some(id) = flag(&command, key) else { return command };
    command.mut_arg(id, |arg| {
        // A list joined by commas is what flags with a delimiter take; others are given value by value.
        let values: Vec<String> = values.to_vec();
        match arg.get_action() {
            ArgAction::Append => arg.default_values(values),
            // To clap a default does not answer what is required.
            _ => arg.default_value(values.join(",")).required(false),
        }
    })
}

fn text(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        _ => bail!("{key:?} must be a text"),
    }
}

/// A text, or a list of them; numbers and truth values as text.
pub fn strings(key: &str, value: &Value) -> Result<Vec<String>> {
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    };
    let bad = || anyhow!("{key:?} must be a text, a number, true or false, or a list of texts");
    match value {
        Value::Array(list) => list.iter().map(|v| plain(v).ok_or_else(bad)).collect(),
        single => Ok(vec![plain(single).ok_or_else(bad)?]),
    }
}

/// Makes on/off flags take `1`, `yes`, `on` and their opposites from the environment and the file, and an empty
/// variable mean none: CI systems have no other way to unset one.
pub fn relax(command: Command) -> Command {
    let relax = |arg: clap::Arg| {
        let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        let arg = if empty { arg.env(Resettable::Reset) } else { arg };
        match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(clap::builder::BoolishValueParser::new()),
            _ => arg,
        }
    };
    command.mut_args(relax).mut_subcommands(move |c| c.mut_args(relax))
}

/// Settles what excludes each other: of `--quiet` and `--verbose`, of the two origins of a password, the one that was
/// given nearer to the command goes. Two that were given equally near are wrong usage.
pub fn settle(matches: &ArgMatches, global: &mut Global) -> Result<(), clap::Error> {
    if global.quiet && global.verbose {
        match nearer(matches, "quiet", "verbose")? {
            Ordering::Less => global.quiet = false,
            _ => global.verbose = false,
        }
    }
    if global.password_file.is_some() && global.password_command.is_some() {
        match nearer(matches, "password_file", "password_command")? {
            Ordering::Less => global.password_file = None,
            _ => global.password_command = None,
        }
    }
    Ok(())
}

/// Which of two flags was given nearer to the command.
fn nearer(matches: &ArgMatches, one: &str, other: &str) -> Result<Ordering, clap::Error> {
    // The order of `ValueSource` is that of clap's precedence.
    match matches.value_source(one).cmp(&matches.value_source(other)) {
        Ordering::Equal => {
            let [one, other] = [one, other].map(|name| name.replace('_', "-"));
            let text =
                format!("--{one} and --{other} exclude each other\n\nFor more information, try '--help'.\n");
            Err(clap::Error::raw(ErrorKind::ArgumentConflict, text))
        }
        order => Ok(order),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::cli::args::{Cli, Command as Sub};

    fn parse(toml: &str, args: &[&str]) -> std::result::Result<Cli, String> {
        let table = toml.parse::<Table>().unwrap();
        let command =
            apply(relax(Cli::command()), Path::new("pgkeep.toml"), &table).map_err(|e| format!("{e:#}"))?;
        let matches = command.try_get_matches_from(args).map_err(|e| e.to_string())?;
        let mut cli = Cli::from_arg_matches(&matches).map_err(|e| e.to_string())?;
        settle(&matches, &mut cli.global).map_err(|e| e.to_string()).map(|()| cli)
    }

    #[test]
    fn a_flag_beats_the_file_and_a_section_goes_for_its_command_alone() {
        let toml = "dir = '/a'\njobs = 3\n[restore]\nsafe = true\nlock_timeout = '1min'\n";
        let cli = parse(toml, &["pgkeep", "restore", "--file", "f", "--jobs", "1"]).unwrap();
        let Sub::Restore(args) = cli.command else { unreachable!() };
        assert_eq!(cli.global.dir, Path::new("/a"));
        assert!(args.safe);
        assert_eq!((args.shared.jobs, args.shared.lock_timeout.as_secs()), (Some(1), 60));
        let cli = parse(toml, &["pgkeep", "backup", "--dir", "/b"]).unwrap();
        let Sub::Backup(args) = cli.command else { unreachable!() };
        assert_eq!((cli.global.dir.as_path(), args.jobs), (Path::new("/b"), Some(3)));
    }

    #[test]
    fn what_excludes_each_other_is_settled_in_favour_of_the_nearer() {
        let file = "password_file = 'f'\nverbose = true";
        let global = parse(file, &["pgkeep", "list", "--password-command", "c", "-q"]).unwrap().global;
        assert_eq!((global.password_file, global.password_command.as_deref()), (None, Some("c")));
        assert!(global.quiet && !global.verbose);
        assert!(parse("", &["pgkeep", "list", "-q", "-v"]).unwrap_err().contains("--quiet and --verbose"));
        assert!(parse("password_file = 'f'\npassword_command = 'c'", &["pgkeep", "list"]).is_err());
    }

    #[test]
    fn the_file_can_answer_what_is_required() {
        let cli = parse("[restore]\nfile = 'nightly'", &["pgkeep", "restore"]).unwrap();
        let Sub::Restore(args) = cli.command else { unreachable!() };
        assert_eq!(args.file, "nightly");
        assert!(parse("", &["pgkeep", "restore"]).is_err());
    }

    #[test]
    fn critical_tables_are_a_list() {
        let cli = parse("critical_tables = ['users', 'bookings']", &["pgkeep", "validate", "f"]).unwrap();
        let Sub::Validate(args) = cli.command else { unreachable!() };
        assert_eq!(args.critical, ["users", "bookings"]);
    }

    #[test]
    fn groups_of_tables_are_no_setting_of_a_flag() {
        let toml = "[data_types]\nguests = ['guests', 'guest_*']\nplan = 'timeline'\n[backup]\ndata_types = ['plan']";
        let mut table = toml.parse::<Table>().unwrap();
        let path = Path::new("pgkeep.toml");
        let groups = data_types(path, &mut table).unwrap();
        assert_eq!(groups["guests"], ["guests", "guest_*"]);
        assert_eq!((groups["plan"].as_slice(), groups.len()), (&["timeline".to_owned()][..], 2));
        assert!(apply(relax(Cli::command()), path, &table).is_ok());
        let mut list = "data_types = ['guests']".parse::<Table>().unwrap();
        assert!(data_types(path, &mut list).unwrap().is_empty() && !list.is_empty());
        let mut wrong = "[data_types.guests]\nx = 1".parse::<Table>().unwrap();
        assert!(format!("{:#}", data_types(path, &mut wrong).unwrap_err()).contains("data_types.guests"));
    }

    #[test]
    fn a_misspelt_key_is_named() {
        assert!(parse("job = 3", &["pgkeep", "list"]).unwrap_err().contains("\"job\""));
        assert!(
            parse("[restore]\nsave = true", &["pgkeep", "list"]).unwrap_err().contains("\"restore.save\"")
        );
    }

    #[test]
    fn a_password_in_the_file_is_not_in_the_help() {
        let table = "database_url = 'postgres://u:s3cret@h/d'".parse::<Table>().unwrap();
        let command = apply(Cli::command(), Path::new("pgkeep.toml"), &table).unwrap();
        assert!(!command.clone().render_long_help().to_string().contains("s3cret"));
        let mut backup = command.find_subcommand("backup").unwrap().clone();
        assert!(!backup.render_long_help().to_string().contains("s3cret"));
    }
}
