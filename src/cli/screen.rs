//! What a person sees while an engine works: bars on a terminal, a plain line now and then elsewhere, and the log
//! file. All of it goes to standard error; standard output is for results.

use std::collections::HashMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};

use super::context::printable_lines;
use crate::folders::{Folders, create_private_folder};
use crate::progress::{Event, Listener, Phase};

/// Time between two plain lines where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// How much is shown, and how.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Warnings alone.
    pub quiet: bool,
    /// Details, too.
    pub verbose: bool,
    /// Whether to show progress.
    pub progress: bool,
    /// Whether to use colours.
    pub color: bool,
}

struct Running {
    bar: Option<ProgressBar>,
    started: Instant,
    said: Instant,
    total: u64,
    done: u64,
    rows: u64,
}

struct State {
    phases: HashMap<Phase, Running>,
    /// What the server holds for this work, and since when.
    holds: Option<(String, DateTime<Utc>)>,
    log: Option<File>,
}

/// The listener of the command line.
pub struct Screen {
    look: Look,
    state: Mutex<State>,
}

impl Screen {
    /// A screen without a log file.
    pub fn new(look: Look) -> Screen {
        Screen { look, state: Mutex::new(State { phases: HashMap::new(), holds: None, log: None }) }
    }

    /// Also writes to today's file in `logs/`. A folder that cannot be written to is said, and no reason to stop: the
    /// work's own files decide that.
    pub fn with_log(self, folders: &Folders) -> Screen {
        let folder = folders.logs();
        let path = folder.join(format!("pgkeep_{}.log", Utc::now().format("%Y%m%d")));
        let opened = create_private_folder(&folder)
            .and_then(|()| std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&path));
        match opened {
            Ok(file) => self.state().log = Some(file),
            Err(error) => self.line("warning: ", &format!("no log file {}: {error}", path.display())),
        }
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, prefix: &str, text: &str) {
        let state = self.state();
        let prefix = match (self.look.color, prefix) {
            (true, "warning: ") => "\x1b[33mwarning:\x1b[0m ",
            (_, prefix) => prefix,
        };
        let print = || {
            // Nobody may be reading any more; that is no reason to stop a backup.
            let _ = writeln!(std::io::stderr(), "{prefix}{}", printable_lines(text));
        };
        match state.phases.values().find_map(|r| r.bar.as_ref()) {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Writes a line to the log file alone.
    pub fn note(&self, level: &str, text: &str) {
        if let Some(file) = &mut self.state().log {
            let stamp = Utc::now().format("%Y-%m-%dT%H:%M:%SZ");
            // A full disk ends the work by the files that matter.
            let _ = writeln!(file, "{stamp} {level} [{}] {}", std::process::id(), text.replace('\n', " "));
        }
    }

    fn start(&self, phase: Phase, total: u64) {
        let shown = self.look.progress && !self.look.quiet;
        let bar = (shown && std::io::stderr().is_terminal()).then(|| {
            let bar = if total > 0 { ProgressBar::new(total) } else { ProgressBar::new_spinner() };
            let template = if total > 0 {
                "{prefix} [{bar:28}] {percent:>3}%  {bytes_per_sec}  ETA {eta}  {msg}"
            } else {
                "{prefix} {spinner} {elapsed}  {msg}"
            };
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(format!("{:>13}", phase.title()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let now = Instant::now();
        self.state().phases.insert(phase, Running { bar, started: now, said: now, total, done: 0, rows: 0 });
    }

    fn advance(&self, phase: Phase, table: &str, rows: u64, bytes: u64) {
        let mut state = self.state();
        let Some(running) = state.phases.get_mut(&phase) else { return };
        running.rows += rows;
        running.done += bytes;
        if let Some(bar) = &running.bar {
            bar.inc(bytes);
            let rows =
                if running.rows > 0 { format!("{} rows  ", HumanCount(running.rows)) } else { String::new() };
            bar.set_message(format!("{rows}{}", printable_lines(table)));
        } else if self.look.progress && !self.look.quiet && running.said.elapsed() >= PLAIN_INTERVAL {
            running.said = Instant::now();
            let line = plain_line(phase, running);
            drop(state);
            self.line("", &line);
        }
    }

    /// Takes down the bars of work that did not come to its end: what is said now is not to be drawn over.
    pub fn clear(&self) {
        let phases = std::mem::take(&mut self.state().phases);
        for bar in phases.into_values().filter_map(|running| running.bar) {
            bar.finish_and_clear();
        }
    }

    /// Says that the work is paused and what stays held meanwhile, and calls `stop`, which returns when it goes on. The bar is
    /// gone until then, so that the shell's prompt stands by itself.
    pub fn pause(&self, stop: impl FnOnce()) {
        let held = match &self.state().holds {
            Some((what, since)) => {
                format!("held on the server since {}: {what}", since.format("%H:%M:%S UTC"))
            }
            None => "nothing is held on the server yet".to_owned(),
        };
        let process = std::process::id();
        let text = format!(
            "paused; {held}\n  to go on: fg, or kill -CONT {process}\n  to end it instead: kill {process} && kill -CONT {process}"
        );
        self.note("WARN", &text);
        let mut state = self.state();
        let bar = state.phases.values().find_map(|r| r.bar.clone());
        let since = Instant::now();
        let paused = || {
            let _ = writeln!(std::io::stderr(), "{text}");
            stop();
            let _ = writeln!(std::io::stderr(), "going on");
        };
        match bar {
            Some(bar) => bar.suspend(paused),
            None => paused(),
        }
        // The time that it stood still says nothing of how fast it is.
        for running in state.phases.values_mut() {
            running.started += since.elapsed();
            running.bar.iter().for_each(ProgressBar::reset_eta);
        }
        drop(state);
        self.note("INFO", "going on");
    }

    fn finish(&self, phase: Phase) {
        let Some(running) = self.state().phases.remove(&phase) else { return };
        if let Some(bar) = running.bar {
            bar.finish_and_clear();
        }
        let seconds = running.started.elapsed().as_secs_f64();
        self.note("INFO", &format!("{} ended after {seconds:.3} s, {} rows", phase.title(), running.rows));
    }
}

fn plain_line(phase: Phase, running: &Running) -> String {
    let elapsed = running.started.elapsed();
    let rate = running.done as f64 / elapsed.as_secs_f64().max(0.001);
    let mut line =
        format!("{}: {} rows, {}", phase.title(), HumanCount(running.rows), HumanBytes(running.done));
    if running.total > 0 {
        let part = (running.done as f64 / running.total as f64).min(1.0);
        let left = running.total.saturating_sub(running.done) as f64 / rate.max(1.0);
        line += &format!(
            " of {} ({:.0} %), {}/s, ETA {}",
            HumanBytes(running.total),
            part * 100.0,
            HumanBytes(rate as u64),
            HumanDuration(Duration::from_secs_f64(left.min(1e9)))
        );
    }
    line
}

impl Listener for Screen {
    fn event(&self, event: &Event) {
        match event {
            Event::Started { phase, total_bytes } => self.start(*phase, *total_bytes),
            Event::Advanced { phase, table, rows, bytes } => self.advance(*phase, table, *rows, *bytes),
            Event::Finished { phase } => self.finish(*phase),
            Event::Holds(what) => self.state().holds = Some((what.clone(), Utc::now())),
            Event::Info(text) => {
                self.note("INFO", text);
                if !self.look.quiet {
                    self.line("", text);
                }
            }
            Event::Warning(text) => {
                self.note("WARN", text);
                self.line("warning: ", text);
            }
            Event::Detail(text) => {
                self.note("DETAIL", text);
                if self.look.verbose {
                    self.line("", text);
                }
            }
        }
    }
}
