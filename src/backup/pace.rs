//! How hard a dump works the server: at most so many bytes a second, fewer connections while others are at work, and a
//! word when the snapshot grows old.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::Error;

use crate::postgres::connect::Session;
use crate::progress::Events;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a second that the server is to send at most, over all connections.
    pub max_rate: Option<u64>,
    /// Whether connections pause while other sessions are at work.
    pub nice: bool,
}

/// Spreads bytes over time. What was not used is not made up for: a pause is followed by no burst.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: Option<u64>,
    /// When all bytes that were taken will have had their time.
    free_at: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(super) fn new(rate: Option<u64>) -> Throttle {
        Throttle { rate, free_at: Mutex::new(None) }
    }

    /// Takes the time of so many bytes. Returns how long to wait before taking more.
    fn reserve(&self, now: Instant, bytes: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let from = free_at.map_or(now, |at| at.max(now));
        let until = from + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        *free_at = Some(until);
        until - now
    }

    /// Waits until so many bytes have had their time.
    pub(super) async fn take(&self, bytes: usize) {
        let pause = self.reserve(Instant::now(), bytes as u64);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// How often the server is asked whether others are at work.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// How many connections may work while others do: one fewer for each session that is at work, and at least one.
#[derive(Debug)]
pub(super) struct Yielding {
    jobs: usize,
    /// The backends of the dump itself.
    own: String,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    asked_at: Option<Instant>,
    allowed: usize,
    warned: bool,
}

impl Yielding {
    /// For a dump over connections with these backends.
    pub(super) fn new(own: &[i32]) -> Yielding {
        let seen = Seen { asked_at: None, allowed: own.len(), warned: false };
        let list = own.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
        Yielding { jobs: own.len(), own: list, seen: Mutex::new(seen) }
    }

    /// Whether connection number `number` (from 0, which never pauses) may take more work. Asks the server over `session`
    /// if it was not asked for a while.
    pub(super) async fn may_work(
        &self,
        session: &Session,
        number: usize,
        events: &Events,
    ) -> Result<bool, Error> {
        let is_due = {
            let mut seen = self.seen();
            let due = seen.asked_at.is_none_or(|at| at.elapsed() >= ASKED_EVERY);
            if due {
                seen.asked_at = Some(Instant::now());
            }
            due
        };
        if is_due {
            let (busy, hidden) = self.others(session).await?;
            let mut seen = self.seen();
            let allowed = self.jobs.saturating_sub(busy).max(1);
            if allowed != seen.allowed {
                events
                    .info(format!("{busy} other sessions are at work: going on with {allowed} connections"));
                seen.allowed = allowed;
            }
            if hidden > 0 && !seen.warned {
                seen.warned = true;
                events.warn(format!(
                    "--nice does not see what {hidden} sessions of other roles do: GRANT pg_read_all_stats TO this role"
                ));
            }
        }
        Ok(number < self.seen().allowed)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sessions of others that are at work, and those of which the role may not know it.
    async fn others(&self, session: &Session) -> Result<(usize, usize), Error> {
        // Within a transaction the server would go on to say what it said first.
        let fresh = "SELECT pg_catalog.pg_stat_clear_snapshot()";
        session.client.batch_execute(fresh).await?;
        let sql = format!(
            "SELECT pg_catalog.count(*) FILTER (WHERE a.state = 'active'),
                    pg_catalog.count(*) FILTER (WHERE a.state IS NULL)
               FROM pg_catalog.pg_stat_activity a
              WHERE a.backend_type = 'client backend' AND a.pid NOT IN ({})",
            self.own
        );
        let row = &session.client.query_typed(&sql, &[]).await?[0];
        let count = |at: usize| usize::try_from(row.get::<_, i64>(at)).unwrap_or(0);
        Ok((count(0), count(1)))
    }
}

/// Says how old the snapshot is when it is half an hour old, and each time that it has doubled.
pub(super) async fn say_age(events: Events, taken_at: Instant) {
    let mut age = FIRST_SAID;
    loop {
        tokio::time::sleep_until((taken_at + age).into()).await;
        events.warn(old_snapshot(age));
        age *= 2;
    }
}

const FIRST_SAID: Duration = Duration::from_secs(30 * 60);

fn old_snapshot(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    format!(
        "the snapshot is {} h {:02} min old: for as long as it is held, vacuum cannot remove rows that were deleted or \
         changed since, anywhere in the database; a backup of fewer tables (--table), or with more --jobs, is shorter",
        minutes / 60,
        minutes % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_and_a_pause_is_not_made_up_for() {
        let throttle = Throttle::new(Some(1000));
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(throttle.reserve(start, 1000), second);
        // Another connection waits for both.
        assert_eq!(throttle.reserve(start, 500), second * 3 / 2);
        assert_eq!(throttle.reserve(start + second, 500), second);
        assert_eq!(throttle.reserve(start + second * 100, 2000), second * 2);
        assert_eq!(Throttle::new(None).reserve(start, u64::MAX), Duration::ZERO);
    }

    #[test]
    fn an_old_snapshot_is_called_by_its_age() {
        assert!(old_snapshot(FIRST_SAID).starts_with("the snapshot is 0 h 30 min old: "));
        assert!(old_snapshot(FIRST_SAID * 4).starts_with("the snapshot is 2 h 00 min old: "));
    }
}
