//! What one connection is busy with, so that it can be closed when it is idle or stuck.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::metrics::Metrics;

/// The exchanges of a connection.
pub(crate) struct Activity {
    idle_timeout: Duration,
    write_timeout: Duration,
    state: Mutex<State>,
}

struct State {
    last_end: Instant,
    next: u64,
    /// Every open exchange; from when its answer last made progress, once it has one.
    open: BTreeMap<u64, Option<Instant>>,
}

/// What should happen to a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing before this time.
    LookAgain(Instant),
    /// Nobody has used it for long.
    Idle,
    /// The client does not take an answer that it asked for.
    Stuck,
}

impl Activity {
    pub(crate) fn new(idle_timeout: Duration, write_timeout: Duration) -> Arc<Activity> {
        let state = State { last_end: Instant::now(), next: 0, open: BTreeMap::new() };
        Arc::new(Activity { idle_timeout, write_timeout, state: Mutex::new(state) })
    }

    /// A request has begun. It lasts until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>, metrics: Arc<Metrics>) -> Exchange {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.open.insert(id, None);
        drop(state);
        metrics.request_began();
        Exchange { activity: Arc::clone(self), metrics, id, answered: false, permit: None }
    }

    pub(crate) fn verdict(&self, now: Instant) -> Verdict {
        let state = self.state();
        let idle_at = state.last_end + self.idle_timeout;
        if state.open.is_empty() && idle_at <= now {
            return Verdict::Idle;
        }
        let stuck_at = state.open.values().flatten().min().map(|&since| since + self.write_timeout);
        if stuck_at.is_some_and(|at| at <= now) {
            return Verdict::Stuck;
        }
        // What begins after this look is looked at in time too.
        let at_the_latest = now + self.write_timeout.min(self.idle_timeout);
        Verdict::LookAgain(stuck_at.unwrap_or(at_the_latest).min(at_the_latest))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request from its headers to the last byte of its answer.
pub(crate) struct Exchange {
    activity: Arc<Activity>,
    metrics: Arc<Metrics>,
    id: u64,
    answered: bool,
    permit: Option<OwnedSemaphorePermit>,
}

impl Exchange {
    /// Holds a place among all requests for as long as the exchange lasts.
    pub(crate) fn occupy(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    pub(crate) fn answered(&mut self) {
        self.answered = true;
    }

    /// The answer has begun, or the client has taken a piece of it.
    pub(crate) fn sending(&self) {
        self.activity.state().open.insert(self.id, Some(Instant::now()));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.open.remove(&self.id);
        state.last_end = Instant::now();
        drop(state);
        self.metrics.request_ended(self.answered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);
    const WRITE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_while_nothing_is_open_on_it() {
        let activity = Activity::new(IDLE, WRITE);
        let exchange = activity.begin(Arc::default());
        tokio::time::advance(IDLE * 2).await;
        assert!(matches!(activity.verdict(Instant::now()), Verdict::LookAgain(_)));
        drop(exchange);
        assert_eq!(activity.verdict(Instant::now()), Verdict::LookAgain(Instant::now() + WRITE));
        tokio::time::advance(IDLE).await;
        assert_eq!(activity.verdict(Instant::now()), Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_stuck_when_one_answer_makes_no_progress_whatever_the_others_do() {
        let activity = Activity::new(IDLE, WRITE);
        let (slow, fast) = (activity.begin(Arc::default()), activity.begin(Arc::default()));
        slow.sending();
        tokio::time::advance(WRITE / 2).await;
        fast.sending();
        slow.sending();
        tokio::time::advance(WRITE - Duration::from_millis(1)).await;
        fast.sending();
        assert!(matches!(activity.verdict(Instant::now()), Verdict::LookAgain(_)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(activity.verdict(Instant::now()), Verdict::Stuck);
    }
}
