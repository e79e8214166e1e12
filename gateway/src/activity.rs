//! What one connection is busy with, so that it can be closed when it is idle or stuck.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::reply::http_date;

/// The exchanges of a connection.
pub(crate) struct Activity {
    idle_timeout: Duration,
    write_timeout: Duration,
    metrics: Arc<Metrics>,
    /// Random, for the numbers of requests.
    name: [u8; 16],
    state: Mutex<State>,
}

struct State {
    /// When the connection's turn began.
    now: Instant,
    /// The wall clock then, for answers, and until when that is right.
    date: HeaderValue,
    date_until: Instant,
    last_read: Instant,
    last_end: Instant,
    begun: u32,
    /// Every open exchange; from when its answer last made progress, once it has one.
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Clone, Copy)]
enum Place {
    Free,
    Asked,
    Sending(Instant),
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
    pub(crate) fn new(idle_timeout: Duration, write_timeout: Duration, metrics: Arc<Metrics>) -> Activity {
        let now = Instant::now();
        let state = State {
            now,
            date: HeaderValue::from_static(""),
            date_until: now,
            last_read: now,
            last_end: now,
            begun: 0,
            places: Vec::new(),
            free: Vec::new(),
        };
        let name = Uuid::new_v4().into_bytes();
        Activity { idle_timeout, write_timeout, metrics, name, state: Mutex::new(state) }
    }

    /// The connection has its turn: to all that it does until the next one, this is the time.
    pub(crate) fn turn(&self) {
        let now = Instant::now();
        let mut state = self.state();
        state.now = now;
        if now >= state.date_until {
            let (date, left) = http_date(OffsetDateTime::now_utc());
            state.date = date;
            state.date_until = now + left;
        }
    }

    /// Something was read; what time it is.
    pub(crate) fn read(&self) -> Instant {
        let mut state = self.state();
        state.last_read = state.now;
        state.now
    }

    pub(crate) fn last_read(&self) -> Instant {
        self.state().last_read
    }

    /// A request has begun. It lasts until what is returned is dropped.
    pub(crate) fn begin(&self) -> Exchange<'_> {
        let mut state = self.state();
        let number = state.begun;
        state.begun = number.wrapping_add(1);
        let place = state.free.pop().unwrap_or_else(|| {
            state.places.push(Place::Free);
            state.places.len() as u32 - 1
        });
        state.places[place as usize] = Place::Asked;
        let began = state.now;
        drop(state);
        let others = self.metrics.request_began();
        Exchange { activity: self, place, number, began, others, active: true, answered: false }
    }

    pub(crate) fn verdict(&self, now: Instant) -> Verdict {
        let state = self.state();
        let idle_at = state.last_end + self.idle_timeout;
        if state.free.len() == state.places.len() && idle_at <= now {
            return Verdict::Idle;
        }
        let since = state.places.iter().filter_map(|place| match place {
            Place::Sending(since) => Some(*since),
            Place::Free | Place::Asked => None,
        });
        let stuck_at = since.min().map(|since| since + self.write_timeout);
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
pub(crate) struct Exchange<'a> {
    activity: &'a Activity,
    place: u32,
    number: u32,
    began: Instant,
    others: u64,
    active: bool,
    answered: bool,
}

impl Exchange<'_> {
    /// When its headers were read.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// How many requests were active when it began.
    pub(crate) fn others(&self) -> u64 {
        self.others
    }

    /// It is refused, and so is no longer one of the active requests.
    pub(crate) fn give_way(&mut self) {
        if mem::take(&mut self.active) {
            self.activity.metrics.request_gave_way();
        }
    }

    /// A number that no other request has: one for the connection, at random, and in it one after the other.
    pub(crate) fn number(&self) -> Uuid {
        let mut bytes = self.activity.name;
        bytes[12..].copy_from_slice(&self.number.to_be_bytes());
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// The answer begins; its date.
    pub(crate) fn answered(&mut self) -> HeaderValue {
        self.answered = true;
        let mut state = self.activity.state();
        state.places[self.place as usize] = Place::Sending(state.now);
        state.date.clone()
    }

    /// The client has taken a piece of the answer.
    pub(crate) fn progress(&self) {
        let mut state = self.activity.state();
        state.places[self.place as usize] = Place::Sending(state.now);
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.places[self.place as usize] = Place::Free;
        state.free.push(self.place);
        state.last_end = state.now;
        drop(state);
        self.activity.metrics.request_ended(self.active, self.answered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const IDLE: Duration = Duration::from_secs(60);
    const WRITE: Duration = Duration::from_secs(10);

    async fn advance(activity: &Activity, time: Duration) {
        tokio::time::advance(time).await;
        activity.turn();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_while_nothing_is_open_on_it() {
        let activity = Activity::new(IDLE, WRITE, Arc::default());
        let exchange = activity.begin();
        advance(&activity, IDLE * 2).await;
        assert!(matches!(activity.verdict(Instant::now()), Verdict::LookAgain(_)));
        drop(exchange);
        assert_eq!(activity.verdict(Instant::now()), Verdict::LookAgain(Instant::now() + WRITE));
        advance(&activity, IDLE).await;
        assert_eq!(activity.verdict(Instant::now()), Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_stuck_when_one_answer_makes_no_progress_whatever_the_others_do() {
        let activity = Activity::new(IDLE, WRITE, Arc::default());
        let (mut slow, mut fast) = (activity.begin(), activity.begin());
        slow.answered();
        advance(&activity, WRITE / 2).await;
        fast.answered();
        slow.progress();
        advance(&activity, WRITE - Duration::from_millis(1)).await;
        fast.progress();
        assert!(matches!(activity.verdict(Instant::now()), Verdict::LookAgain(_)));
        advance(&activity, Duration::from_millis(1)).await;
        assert_eq!(activity.verdict(Instant::now()), Verdict::Stuck);
    }

    #[tokio::test]
    async fn every_request_has_a_number_of_its_own() {
        let connections = [(); 2].map(|()| Activity::new(IDLE, WRITE, Arc::default()));
        let exchanges = connections.iter().flat_map(|activity| [activity.begin(), activity.begin()]);
        let numbers: HashSet<_> = exchanges.map(|exchange| exchange.number()).collect();
        assert_eq!(numbers.len(), 4);
    }
}
