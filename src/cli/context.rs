//! What every subcommand works with: folders, listener, signals, connection settings, and the ways to end.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::{Signal, getpid, kill_process};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::args::{ColorWhen, Global};
use super::config::Settings;
use super::screen::{Look, Screen};
use crate::archive::error::ArchiveError;
use crate::archive::model::Table;
use crate::connection::Connector;
use crate::failure::Failure;
use crate::folders::Folders;
use crate::postgres::connect::RetryPolicy;
use crate::postgres::conninfo::ConnInfo;
use crate::progress::{Event, Events, Listener};
use crate::selection::TableFilter;

/// What a subcommand works with.
pub struct Context {
    /// Flags of every command.
    pub global: Global,
    /// Where files lie.
    pub folders: Folders,
    /// Where events go.
    pub events: Events,
    /// Set by Ctrl-C and SIGTERM.
    pub cancel: CancellationToken,
    /// What the configuration file says beside flags.
    pub settings: Settings,
    screen: Arc<Screen>,
    color: bool,
    /// Whether standard output has its JSON object, or something else that none may follow.
    answered: AtomicBool,
    /// The database that was asked for, without its password.
    target: OnceLock<String>,
}

struct Shared(Arc<Screen>);

impl Listener for Shared {
    fn event(&self, event: &Event) {
        self.0.event(event);
    }
}

impl Context {
    /// For these flags; `logged` commands write to the log file.
    pub fn new(global: Global, settings: Settings, logged: bool) -> Context {
        let color = match global.color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        let look =
            Look { quiet: global.quiet, verbose: global.verbose, progress: !global.no_progress, color };
        // Names are shown as one would type them: backups/x, not ./backups/x.
        let folders = Folders::new(global.dir.strip_prefix(".").unwrap_or(&global.dir));
        let screen = Screen::new(look);
        let screen = Arc::new(if logged { screen.with_log(&folders) } else { screen });
        Context {
            folders,
            events: Events::new(Shared(screen.clone())),
            cancel: CancellationToken::new(),
            settings,
            global,
            screen,
            color,
            answered: AtomicBool::new(false),
            target: OnceLock::new(),
        }
    }

    /// Stops this process until somebody lets it go on (SIGCONT), as the shell's `fg` does.
    pub fn pause(&self) {
        self.screen.pause(|| {
            let _ = kill_process(getpid(), Signal::STOP);
        });
    }

    /// How to reach the database: flag, environment or file, else `DATABASE_URL`, else libpq's variables.
    pub fn connector(&self) -> Result<Connector, Failure> {
        let url = self
            .global
            .database_url
            .clone()
            .or_else(|| std::env::var("DATABASE_URL").ok().filter(|u| !u.is_empty()));
        let resolve = |url: Option<&str>| -> Result<ConnInfo, Failure> {
            let info = resolve(url)?;
            let info = match (&self.global.password_file, &self.global.password_command) {
                (Some(file), _) => info.with_password_file(file),
                (None, Some(command)) => info.with_password_command(command),
                (None, None) => Ok(info),
            };
            info.map_err(|e| unreachable_by(e.to_string()))
        };
        let info = resolve(url.as_deref())?;
        let fallback = |url: &String| {
            resolve(Some(url))
                .map_err(|f| Failure { what: format!("an address of fallback_urls: {}", f.what), ..f })
        };
        let fallbacks = self.global.fallback_url.iter().map(fallback);
        let fallbacks = fallbacks.collect::<Result<Vec<ConnInfo>, Failure>>()?;
        if let Some(other) = fallbacks.iter().find(|other| other.dbname != info.dbname) {
            return Err(unreachable_by(format!(
                "the fallback {} leads to database {}, not to {}",
                other.redacted(),
                other.dbname,
                info.dbname
            )));
        }
        let named = self.global.host_profile.clone();
        if let Some(name) = named.as_ref().filter(|name| self.settings.profiles.named(name).is_none()) {
            let names: Vec<&str> = self.settings.profiles.names().collect();
            let next =
                format!("choose one of {}, or make one in pgkeep.toml: [profiles.{name}]", names.join(", "));
            return Err(Failure::usage(format!("there is no host profile {name:?}")).next(next));
        }
        Ok(self.connecting(info, fallbacks, named))
    }

    /// How to reach another server than the database's, by its URL. What is said of the database's password and addresses
    /// says nothing of it.
    pub fn connector_at(&self, url: &str) -> Result<Connector, Failure> {
        Ok(self.connecting(resolve(Some(url))?, Vec::new(), None))
    }

    fn connecting(&self, info: ConnInfo, fallbacks: Vec<ConnInfo>, host: Option<String>) -> Connector {
        for warning in std::iter::once(&info).chain(&fallbacks).flat_map(|info| &info.warnings) {
            self.events.warn(warning.clone());
        }
        let _ = self.target.set(info.redacted());
        let retry = RetryPolicy { attempts: self.global.connect_attempts, ..RetryPolicy::default() };
        Connector::new(info, retry)
            .with_fallbacks(fallbacks)
            .with_profiles(self.settings.profiles.clone(), host)
    }

    /// The tables of groups of `pgkeep.toml`, by their names, without those that are left out; none where all tables are meant.
    pub fn tables_of(&self, groups: &[String], exclude: &[String]) -> Result<Option<TableFilter>, Failure> {
        let mut patterns = Vec::new();
        for name in groups {
            let Some(tables) = self.settings.data_types.get(name) else {
                let there: Vec<&str> = self.settings.data_types.keys().map(String::as_str).collect();
                let next = match there.as_slice() {
                    [] => "name groups of tables in pgkeep.toml: [data_types] guests = [\"guests\", \"guest_*\"]".to_owned(),
                    there => format!("choose from {}, or add it to [data_types] in pgkeep.toml", there.join(", ")),
                };
                return Err(Failure::usage(format!("there is no group of tables {name:?}")).next(next));
            };
            patterns.extend(tables.iter().cloned());
        }
        if patterns.is_empty() && exclude.is_empty() {
            return Ok(None);
        }
        TableFilter::parse(&patterns, exclude).map(Some).map_err(|e| Failure::usage(e.to_string()))
    }

    /// Finds an archive by path or bare name.
    pub fn find_archive(&self, name: &str) -> Result<PathBuf, Failure> {
        self.folders.find_archive(name).map_err(|tried| {
            // What one may not look at is not missing.
            let barred = tried.iter().find_map(|path| {
                let error = path.metadata().err()?;
                (error.kind() == std::io::ErrorKind::PermissionDenied).then_some((path, error))
            });
            if let Some((path, error)) = barred {
                let failure = Failure::from_io(format!("looking for {}", path.display()), &error);
                let next = "run it as the user who owns that folder, or let this one read it".to_owned();
                return Failure { next, ..failure }.state("nothing was read or written");
            }
            Failure::usage(format!(
                "there is no archive {name:?}, neither as a path nor in {} or {}",
                self.folders.backups().display(),
                self.folders.safety_backups().display()
            ))
            .state("nothing was read or written")
            .next("see what archives there are with pgkeep list and pgkeep list-safety (--dir says where to look)")
        })
    }

    /// Prints the result: `object` with `--json`, else `text`.
    pub fn result<T: Serialize>(&self, object: &T, text: &str) -> Result<(), Failure> {
        if self.global.json { self.json(object) } else { print(&format!("{}\n", text.trim_end())) }
    }

    /// Prints one JSON object.
    pub fn json<T: Serialize>(&self, object: &T) -> Result<(), Failure> {
        self.claim_output();
        let text = serde_json::to_string_pretty(object)
            .map_err(|e| Failure::failed(format!("the result cannot be written as JSON: {e}")))?;
        print(&format!("{text}\n"))
    }

    /// Keeps [`is_owed_json`](Self::is_owed_json) from being so: standard output has what it should.
    pub fn claim_output(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether `--json` was given and nothing has been printed for it.
    pub fn is_owed_json(&self) -> bool {
        self.global.json && !self.answered.load(Ordering::Relaxed)
    }

    /// The database that was asked for, without its password; empty before it is known.
    pub fn target(&self) -> String {
        self.target.get().cloned().unwrap_or_default()
    }

    /// Whether what is printed on standard output is coloured.
    pub fn colors_output(&self) -> bool {
        match self.global.color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// Writes a line to the log file alone.
    pub fn note(&self, level: &str, text: &str) {
        self.screen.note(level, text);
    }

    /// Prints a failure: what happened, what state things are in, what to do.
    pub fn explain(&self, failure: &Failure) {
        let failure = failure.clone().complete();
        for (level, text) in [("ERROR", &failure.what), ("STATE", &failure.state), ("NEXT", &failure.next)] {
            self.note(level, text);
        }
        self.screen.clear();
        explain(&failure, self.color);
    }
}

/// What a URL says, and what the environment says beside it.
fn resolve(url: Option<&str>) -> Result<ConnInfo, Failure> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let environment = |name: &str| std::env::var(name).ok();
    ConnInfo::resolve(url, &environment, home.as_deref()).map_err(|e| unreachable_by(e.to_string()))
}

/// Wrong settings of a connection.
fn unreachable_by(what: String) -> Failure {
    Failure::usage(what)
        .state("nothing was read or written")
        .next("give a URL such as postgres://user@host:5432/database with -d or PGKEEP_DATABASE_URL; the password best in ~/.pgpass")
}

/// Prints a failure to standard error.
pub fn explain(failure: &Failure, color: bool) {
    let failure = failure.clone().complete();
    let (red, bold, plain) = if color { ("\x1b[31;1m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let mut text = format!("{red}error:{plain} {}\n", printable_lines(&failure.what));
    if !failure.state.is_empty() {
        text += &format!("{bold}state:{plain} {}\n", printable_lines(&failure.state));
    }
    if !failure.next.is_empty() {
        text += &format!("{bold}next:{plain}  {}\n", printable_lines(&failure.next));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A name without control characters: no archive and no database may move the cursor of the terminal that shows it.
pub fn printable(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// As [`printable`], for a text of several lines.
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Writes to standard output. A reader that has gone away (`| head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::from_io("writing to standard output", &error))
        }
        _ => Ok(()),
    }
}

/// `1 table`, `2 tables`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// `1 table`, `3 tables`, `3 tables and large objects`: what an archive has of rows.
pub fn count_tables(tables: &[Table]) -> String {
    let (large, tables): (Vec<_>, Vec<_>) = tables.iter().partition(|t| t.large_objects);
    let more = if large.is_empty() { "" } else { " and large objects" };
    format!("{}{more}", count(tables.len() as u64, "table"))
}

/// An archive that cannot be used.
pub fn invalid(path: &Path, error: &ArchiveError) -> Failure {
    let failure = Failure::from_archive(error);
    // An operating system's error names the file already.
    let failure = if error.is_invalid() { failure.while_doing(path.display()) } else { failure };
    failure.state("nothing was changed").next("choose another archive (pgkeep list, pgkeep list-safety)")
}
