//! Circuit breakers by name, around code of any kind: a call of some API, a query, a file on a network.
//!
//! An adapter makes them usable by naming its runtime; code that blocks needs none, and names the [`Clock`]:
//!
//! ```
//! use plimsoll_core::drive::Clock;
//! use plimsoll_core::drive::breakers::{Breakers, Broken};
//!
//! let breakers: Breakers<Clock> = Breakers::new();
//! for _ in 0..5 {
//!     let result = breakers.execute("external-api", || Err::<(), _>("connection refused"));
//!     assert_eq!(result, Err(Broken::Failed("connection refused")));
//! }
//! let refused = breakers.execute("external-api", || -> Result<(), &str> { unreachable!("it is not called") });
//! assert!(matches!(refused, Err(Broken::Open { .. })));
//! assert_eq!(breakers.stats("external-api").unwrap().rejected, 1);
//! ```
//!
//! The decisions are [`policy::breaker`](crate::policy::breaker)'s. The names are the caller's, and bounded.

mod builder;
mod error;
mod events;
mod table;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

pub use builder::Builder;
pub use error::{Broken, TooManyNames};
pub use events::{BreakerEvent, Events};

use super::{Clock, Time, Timer};
use crate::policy::breaker::{Config, Counts, Outcome, State};
use crate::time::Instant;
use table::{Table, Ticket};

/// Circuit breakers by name. Cheap to clone; clones share them.
///
/// A name is known from its first call on, or from when it is [configured](Self::configure).
pub struct Breakers<R> {
    shared: Arc<Shared<R>>,
}

struct Shared<R> {
    time: R,
    table: Table,
}

/// What one breaker has counted, and how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerStats {
    /// Whether calls go through.
    pub state: State,
    /// Calls that succeeded, since it is known.
    pub successes: u64,
    /// Calls that failed, those that took too long too.
    pub failures: u64,
    /// Calls that said nothing: dropped, or judged so.
    pub ignored: u64,
    /// Calls that were refused.
    pub rejected: u64,
    /// How often it has opened.
    pub opened: u64,
    /// Results within the period: what the next failure is judged by.
    pub window: Counts,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// How long ago the last call failed.
    pub last_failure: Option<Duration>,
    /// In how long the next call may be tried; `None`: now.
    pub next_attempt: Option<Duration>,
}

impl<R: Timer> Breakers<R> {
    /// Runs `call` if the breaker `name` admits it. Every error counts as a failure, and so does a call that takes longer
    /// than the configured [`lease`](Config::lease), 30 s by default: it is dropped then.
    ///
    /// Dropping the future gives the call up: it counts as nothing, and its place is free at once.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn execute<T, E>(
        &self,
        name: &str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Broken<E>> {
        self.execute_judged(name, |_| Outcome::Failure, call).await
    }

    /// As [`execute`](Self::execute), but `judge` says what an error means: a request that was at fault itself
    /// ("not found") is a [`Success`](Outcome::Success) of whoever has answered it, or [`Ignored`](Outcome::Ignored).
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn execute_judged<T, E>(
        &self,
        name: &str,
        judge: impl FnOnce(&E) -> Outcome,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Broken<E>> {
        let ticket = self.admit(name)?;
        let mut call = pin!(call);
        let mut alarm = pin!(self.shared.time.sleep(ticket.limit()));
        let ended = poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => alarm.as_mut().poll(cx).map(|()| None),
        });
        ticket.end(ended.await, judge)
    }
}

impl Breakers<Clock> {
    /// Runs `call` on this thread if the breaker `name` admits it. Every error counts as a failure, and so does a call
    /// that takes longer than the configured [`lease`](Config::lease), 30 s by default.
    ///
    /// Nothing can interrupt the call: one that takes too long is told as [`Broken::TimedOut`] once it returns, whatever
    /// it returns. Give it a timeout of its own, too. One that panics counts as nothing.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn execute<T, E>(&self, name: &str, call: impl FnOnce() -> Result<T, E>) -> Result<T, Broken<E>> {
        self.execute_judged(name, |_| Outcome::Failure, call)
    }

    /// As [`execute`](Self::execute), but `judge` says what an error means: a request that was at fault itself
    /// ("not found") is a [`Success`](Outcome::Success) of whoever has answered it, or [`Ignored`](Outcome::Ignored).
    ///
    /// # Errors
    /// [`Broken`].
    pub fn execute_judged<T, E>(
        &self,
        name: &str,
        judge: impl FnOnce(&E) -> Outcome,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Broken<E>> {
        let ticket = self.admit(name)?;
        let result = call();
        let ended = Some(result).filter(|_| !ticket.is_overdue());
        ticket.end(ended, judge)
    }
}

impl<R: Time + Default> Breakers<R> {
    /// None yet; all by default.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Begins breakers of which more is to be said.
    pub fn builder() -> Builder<R> {
        Self::on(R::default())
    }
}

impl<R: Time> Breakers<R> {
    /// Begins breakers on a given runtime.
    pub fn on(runtime: R) -> Builder<R> {
        Builder::new(runtime)
    }

    /// Gives `name` a configuration of its own; one that is known goes on with it. Its [`lease`](Config::lease) is how
    /// long a call may take.
    ///
    /// # Errors
    /// [`TooManyNames`].
    pub fn configure(&self, name: &str, config: Config) -> Result<(), TooManyNames> {
        self.shared.table.configure(name, config)
    }

    /// Changes a part of the configuration of a name. State and results stay, as [`Breaker::update`] says. `false`: it
    /// is not known.
    ///
    /// [`Breaker::update`]: crate::policy::Breaker::update
    pub fn update_config(&self, name: &str, change: impl FnOnce(&mut Config)) -> bool {
        let Some(breaker) = self.shared.table.find(name) else { return false };
        let mut config = breaker.config();
        change(&mut config);
        breaker.update(config);
        true
    }

    /// Whether a call would be admitted now. Nothing is counted, and no place is taken.
    pub fn can_execute(&self, name: &str) -> bool {
        match self.shared.table.find(name) {
            Some(breaker) => breaker.check(self.now()),
            None => self.shared.table.has_room(),
        }
    }

    /// Closes one breaker, and forgets its results; the totals stay. `false`: it is not known.
    pub fn reset(&self, name: &str) -> bool {
        self.shared.table.find(name).map(|breaker| breaker.reset()).is_some()
    }

    /// Closes all, and forgets their results; the totals stay.
    pub fn reset_all(&self) {
        self.shared.table.all().for_each(|breaker| breaker.reset());
    }

    /// Forgets a name, so that another has room. Calls that are under way go on, and change nothing any more. `false`:
    /// it is not known.
    pub fn remove(&self, name: &str) -> bool {
        self.shared.table.remove(name)
    }

    /// What was counted of one breaker, and how it stands. `None`: it is not known.
    pub fn stats(&self, name: &str) -> Option<BreakerStats> {
        Some(self.shared.table.find(name)?.stats(self.now()))
    }

    /// The same of all.
    pub fn all_stats(&self) -> BTreeMap<Arc<str>, BreakerStats> {
        let now = self.now();
        self.shared.table.all().map(|breaker| (breaker.name().clone(), breaker.stats(now))).collect()
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        self.shared.table.hub.listen()
    }

    fn now(&self) -> Instant {
        self.shared.time.now()
    }

    fn admit<E>(&self, name: &str) -> Result<Ticket<'_, R>, Broken<E>> {
        let breaker = self.shared.table.find_or_add(name)?;
        Ticket::new(&self.shared.time, breaker)
    }
}

impl<R> Clone for Breakers<R> {
    fn clone(&self) -> Self {
        Breakers { shared: self.shared.clone() }
    }
}

impl<R: Time + Default> Default for Breakers<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> fmt::Debug for Breakers<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.shared.table.all().map(|breaker| breaker.name().clone())).finish()
    }
}
