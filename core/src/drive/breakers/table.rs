//! The breakers by their names, and the tickets of calls under way.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::events::BreakerEvent;
use super::{BreakerStats, Broken, Time, TooManyNames};
use crate::drive::hub::{Hub, Wakes};
use crate::policy::breaker::{Breaker, Config, Outcome, Permit, Transition};
use crate::rng::Pcg;
use crate::time::Instant;

pub(super) struct Table {
    config: Config,
    limit: u32,
    names: RwLock<Names>,
    pub(super) hub: Arc<Hub<BreakerEvent>>,
}

struct Names {
    breakers: BTreeMap<Arc<str>, Arc<Named>>,
    rng: Pcg,
}

pub(super) struct Named {
    name: Arc<str>,
    breaker: Mutex<Breaker>,
    hub: Arc<Hub<BreakerEvent>>,
}

impl Table {
    pub(super) fn new(config: Config, limit: u32, rng: Pcg) -> Self {
        let names = RwLock::new(Names { breakers: BTreeMap::new(), rng });
        Table { config, limit, names, hub: Arc::default() }
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Named>> {
        self.read().breakers.get(name).cloned()
    }

    pub(super) fn find_or_add(&self, name: &str) -> Result<Arc<Named>, TooManyNames> {
        self.find(name).map_or_else(|| self.add(name, self.config), Ok)
    }

    pub(super) fn configure(&self, name: &str, config: Config) -> Result<(), TooManyNames> {
        self.add(name, config)?.update(config);
        Ok(())
    }

    /// The one of this name, which is made if need be.
    fn add(&self, name: &str, config: Config) -> Result<Arc<Named>, TooManyNames> {
        let mut names = self.write();
        if let Some(breaker) = names.breakers.get(name) {
            return Ok(breaker.clone());
        }
        if names.breakers.len() >= self.limit as usize {
            return Err(TooManyNames { limit: self.limit });
        }
        let rng = Pcg::new(names.rng.next_u64(), 0);
        let breaker = Mutex::new(Breaker::new(config, rng));
        let named = Arc::new(Named { name: name.into(), breaker, hub: self.hub.clone() });
        names.breakers.insert(named.name.clone(), named.clone());
        Ok(named)
    }

    pub(super) fn has_room(&self) -> bool {
        self.read().breakers.len() < self.limit as usize
    }

    pub(super) fn remove(&self, name: &str) -> bool {
        self.write().breakers.remove(name).is_some()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Arc<Named>> {
        let all: Vec<_> = self.read().breakers.values().cloned().collect();
        all.into_iter()
    }

    fn read(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.hub.close();
    }
}

impl Named {
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn check(&self, now: Instant) -> bool {
        self.lock().check(now).is_ok()
    }

    pub(super) fn config(&self) -> Config {
        *self.lock().config()
    }

    pub(super) fn update(&self, config: Config) {
        self.lock().update(config);
    }

    pub(super) fn reset(&self) {
        self.tell(|breaker, tell| {
            if let Some(transition) = breaker.reset() {
                tell(self.changed(transition));
            }
        });
    }

    pub(super) fn stats(&self, now: Instant) -> BreakerStats {
        let breaker = self.lock();
        let stats = breaker.stats(now);
        BreakerStats {
            state: breaker.state(now),
            successes: stats.succeeded,
            failures: stats.failed,
            ignored: stats.ignored,
            rejected: stats.rejected,
            opened: stats.opened,
            window: stats.window,
            consecutive_failures: stats.consecutive_failures,
            last_failure: stats.last_failure.map(|at| now.since(at)),
            next_attempt: breaker.check(now).err().map(|open| open.retry_at.since(now)),
        }
    }

    /// Leave for one call, and when it should have ended.
    fn admit(&self, now: Instant) -> Result<(Permit, Instant), Duration> {
        self.tell(|breaker, tell| {
            if let Some(transition) = breaker.tick(now) {
                tell(self.changed(transition));
            }
            let ends = now + breaker.config().lease;
            breaker.admit(now).map(|permit| (permit, ends)).map_err(|open| {
                let retry_after = open.retry_at.since(now);
                tell(BreakerEvent::RequestRejected { name: self.name.clone(), retry_after });
                retry_after
            })
        })
    }

    fn settle(&self, now: Instant, permit: Permit, outcome: Outcome) {
        self.tell(|breaker, tell| {
            let name = self.name.clone();
            let transition = breaker.settle(now, permit, outcome);
            match outcome {
                Outcome::Success => tell(BreakerEvent::RequestSucceeded { name }),
                Outcome::Failure => tell(BreakerEvent::RequestFailed { name }),
                Outcome::Ignored => {}
            }
            if let Some(transition) = transition {
                tell(self.changed(transition));
            }
        });
    }

    fn changed(&self, Transition { from, to }: Transition) -> BreakerEvent {
        BreakerEvent::StateChanged { name: self.name.clone(), from, to }
    }

    /// Changes the breaker, and tells what has happened in that order; whoever listens is woken when no lock is held.
    fn tell<T>(&self, change: impl FnOnce(&mut Breaker, &mut dyn FnMut(BreakerEvent)) -> T) -> T {
        let mut wakes = Wakes::default();
        let mut breaker = self.lock();
        let done = change(&mut breaker, &mut |event| wakes.add(self.hub.publish(|| event.clone())));
        drop(breaker);
        wakes.wake();
        done
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way. Dropped, it gives its place back at once, and counts as nothing.
pub(super) struct Ticket<'a, R: Time> {
    time: &'a R,
    breaker: Arc<Named>,
    permit: Option<Permit>,
    begun: Instant,
    ends: Instant,
}

impl<'a, R: Time> Ticket<'a, R> {
    pub(super) fn new<E>(time: &'a R, breaker: Arc<Named>) -> Result<Self, Broken<E>> {
        let begun = time.now();
        match breaker.admit(begun) {
            Ok((permit, ends)) => Ok(Ticket { time, breaker, begun, ends, permit: Some(permit) }),
            Err(retry_after) => Err(Broken::Open { name: breaker.name.clone(), retry_after }),
        }
    }

    /// How long the call may take.
    pub(super) fn limit(&self) -> Duration {
        self.ends.since(self.begun)
    }

    pub(super) fn is_overdue(&self) -> bool {
        self.time.now() > self.ends
    }

    /// `None`: it took too long.
    pub(super) fn end<T, E>(
        mut self,
        ended: Option<Result<T, E>>,
        judge: impl FnOnce(&E) -> Outcome,
    ) -> Result<T, Broken<E>> {
        let outcome = match &ended {
            Some(Ok(_)) => Outcome::Success,
            Some(Err(error)) => judge(error),
            None => Outcome::Failure,
        };
        self.settle(outcome);
        match ended {
            Some(result) => result.map_err(Broken::Failed),
            None => Err(Broken::TimedOut { name: self.breaker.name.clone(), limit: self.limit() }),
        }
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(permit) = self.permit.take() {
            self.breaker.settle(self.time.now(), permit, outcome);
        }
    }
}

impl<R: Time> Drop for Ticket<'_, R> {
    fn drop(&mut self) {
        self.settle(Outcome::Ignored);
    }
}
