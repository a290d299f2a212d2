//! Events that the engines emit. Terminal bars, plain lines and the log file are listeners; the engines know none
//! of them.

use std::sync::Arc;

/// What a long step is doing, as shown to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reading an archive to prove it whole.
    Validate,
    /// Copying rows from the server to an archive.
    Backup,
    /// The backup that a restore takes of its own target.
    SafetyBackup,
    /// Reading live rows to tell which of them are as archived.
    Compare,
    /// Sending archived rows to the server.
    Load,
    /// Comparing archived rows with live rows and writing the differences.
    Merge,
    /// Proving the result before commit.
    Verify,
    /// Making objects before rows come in.
    Define,
    /// Making indexes, constraints and whatever else comes after the rows.
    Finish,
    /// Writing an archive in another form.
    Export,
}

impl Phase {
    /// The word that stands before a progress bar.
    pub fn title(self) -> &'static str {
        match self {
            Phase::Validate => "validating",
            Phase::Backup => "backing up",
            Phase::SafetyBackup => "safety backup",
            Phase::Compare => "comparing",
            Phase::Load => "loading",
            Phase::Merge => "merging",
            Phase::Verify => "verifying",
            Phase::Define => "defining",
            Phase::Finish => "finishing",
            Phase::Export => "exporting",
        }
    }
}

/// One thing that happened. Row values and secrets never stand in an event.
#[derive(Clone, Debug)]
pub enum Event {
    /// A phase begins; `total_bytes` is its estimated work (0: unknown).
    Started {
        /// Which phase.
        phase: Phase,
        /// Estimated bytes of work.
        total_bytes: u64,
    },
    /// Work done since the last such event.
    Advanced {
        /// Which phase.
        phase: Phase,
        /// The table worked on, as shown to people.
        table: Arc<str>,
        /// Rows done.
        rows: u64,
        /// Bytes of work done, in the unit of `total_bytes`.
        bytes: u64,
    },
    /// A phase ended.
    Finished {
        /// Which phase.
        phase: Phase,
    },
    /// What the server holds for this work from now on, and who is kept waiting by it: for whoever pauses it.
    Holds(String),
    /// Something the operator should know and that needs no action.
    Info(String),
    /// Something the operator should know and may have to act on.
    Warning(String),
    /// Detail for `-v` and the log file.
    Detail(String),
}

/// Receives events; called from several threads.
pub trait Listener: Send + Sync {
    /// Takes one event; must not block for long.
    fn event(&self, event: &Event);
}

/// A shared listener, handed to every engine.
#[derive(Clone)]
pub struct Events(Arc<dyn Listener>);

impl Events {
    /// Events that go to `listener`.
    pub fn new(listener: impl Listener + 'static) -> Self {
        Events(Arc::new(listener))
    }

    /// Events that nobody hears.
    pub fn silent() -> Self {
        struct Silent;
        impl Listener for Silent {
            fn event(&self, _: &Event) {}
        }
        Events::new(Silent)
    }

    /// Emits one event.
    pub fn emit(&self, event: Event) {
        self.0.event(&event);
    }

    /// Emits [`Event::Holds`].
    pub fn holds(&self, what: impl Into<String>) {
        self.emit(Event::Holds(what.into()));
    }

    /// Emits [`Event::Info`].
    pub fn info(&self, text: impl Into<String>) {
        self.emit(Event::Info(text.into()));
    }

    /// Emits [`Event::Warning`].
    pub fn warn(&self, text: impl Into<String>) {
        self.emit(Event::Warning(text.into()));
    }

    /// Emits [`Event::Detail`].
    pub fn detail(&self, text: impl Into<String>) {
        self.emit(Event::Detail(text.into()));
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}
