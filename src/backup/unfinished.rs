//! What a backup had when it ended before its end. It cannot go on: the snapshot that its rows are of is gone with its
//! connection. But whoever runs it again wants to know how far it was.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::progress::{Event, Events, Listener, Phase};

#[derive(Debug, Default)]
struct Sums {
    tables: BTreeSet<Arc<str>>,
    rows: u64,
    bytes: u64,
    total: u64,
}

/// What has been read up to now.
#[derive(Clone, Debug, Default)]
pub struct Had(Arc<Mutex<Sums>>);

struct Counting {
    had: Had,
    inner: Events,
}

impl Had {
    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to what a backup says on its way to `events`.
    pub fn listen(&self, events: &Events) -> Events {
        Events::new(Counting { had: self.clone(), inner: events.clone() })
    }

    /// What had been read, and that it starts anew; none where no row had been.
    pub fn describe(&self) -> Option<String> {
        let sums = self.sums();
        let of_total = match sums.total {
            0 => String::new(),
            total => format!(" of about {}", mebibytes(total)),
        };
        (sums.rows > 0).then(|| {
            format!(
                "it had read {} rows of {} ({}{of_total}), which are of a snapshot that is gone: a backup starts anew",
                sums.rows,
                match sums.tables.len() {
                    1 => "1 table".to_owned(),
                    tables => format!("{tables} tables"),
                },
                mebibytes(sums.bytes)
            )
        })
    }
}

/// With a digit behind the point.
pub(super) fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

impl Listener for Counting {
    fn event(&self, event: &Event) {
        let mut sums = self.had.sums();
        match event {
            Event::Started { phase: Phase::Backup, total_bytes } => sums.total = *total_bytes,
            Event::Advanced { phase: Phase::Backup, table, rows, bytes } => {
                sums.rows += rows;
                sums.bytes += bytes;
                if !sums.tables.contains(table) {
                    sums.tables.insert(table.clone());
                }
            }
            _ => {}
        }
        drop(sums);
        self.inner.emit(event.clone());
    }
}
