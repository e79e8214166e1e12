//! The application's side of a client: calls that come when they come, and callers who call again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use plimsoll_core::cluster::StateEvent;
use plimsoll_core::drive::Host as Application;
use plimsoll_core::error::Rejected;
use plimsoll_core::id::EndpointId;
use plimsoll_core::policy::breaker;
use plimsoll_core::policy::health_check::Level;
use plimsoll_core::policy::{Backoff, Ratio, RetryBudget};
use plimsoll_core::rng::Pcg;
use plimsoll_core::service::client::{Client, Event, Options, Outcome, RequestError};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::testing::fleet::exponential;
use plimsoll_core::time::Instant;
use plimsoll_core::wire::uw::code;

use super::bell::Bell;
use super::scenario::{CallerRetries, Callers, Profile};
use super::station::Orders;
use super::tally::Tally;

/// What all clients of a kind have in common.
#[derive(Debug)]
pub(super) struct Demand {
    pub(super) source: Source,
    pub(super) content: Vec<u8>,
    /// How many of the calls may run twice.
    pub(super) idempotent: Ratio,
    pub(super) retries: Option<CallerRetries>,
    pub(super) tally: Mutex<Tally>,
}

impl Demand {
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the calls of one client come from.
#[derive(Debug)]
pub(super) enum Source {
    /// From the world: this share of all.
    Open { profile: Profile, share: u64, of: u64 },
    /// From callers who wait for their answers, until the end.
    Closed { callers: Callers, until: Instant },
}

/// What the health checks of one client have found.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    changes: Vec<(EndpointId, Level)>,
    waker: Option<Waker>,
}

impl Findings {
    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An endpoint is different from before.
    pub(super) fn tell(&self, endpoint: EndpointId, level: Level) {
        let mut found = self.lock();
        found.changes.push((endpoint, level));
        if let Some(waker) = found.waker.take() {
            waker.wake();
        }
    }
}

/// One client's callers.
pub(super) struct Caller {
    demand: Arc<Demand>,
    findings: Option<Findings>,
    orders: Orders,
    /// Whether the process ends, once it has answered.
    stops: bool,
    budget: Option<RetryBudget>,
    rng: Pcg,
    /// Draws when calls come, and nothing else: they come at the same times whatever the policy.
    arrivals: Pcg,
    bell: Bell,
    /// When the next call comes, of an open loop.
    next: Option<Instant>,
    /// When calls are made that are due at a time, by their numbers: again, or after a thought.
    due: BinaryHeap<Reverse<(Instant, u32)>>,
    /// By number.
    calls: Vec<Call>,
    free: Vec<u32>,
    /// The counts of the client that were told last: retries, hedges, dials.
    told: [u64; 3],
}

/// A call that has no end yet, or a caller who thinks.
struct Call {
    came: Option<Instant>,
    again: u8,
    backoff: Option<Backoff>,
}

impl Caller {
    /// The first call comes after `start`.
    pub(super) fn new(
        demand: Arc<Demand>,
        findings: Option<Findings>,
        orders: Orders,
        bell: Bell,
        start: Instant,
        mut rng: Pcg,
    ) -> Caller {
        let budget = demand.retries.and_then(|retries| retries.budget());
        let mut caller = Caller {
            findings,
            orders,
            stops: false,
            budget: budget.map(|config| RetryBudget::new(config, start)),
            next: None,
            due: BinaryHeap::new(),
            calls: Vec::new(),
            free: Vec::new(),
            told: [0; 3],
            bell,
            arrivals: Pcg::new(rng.next_u64(), 1),
            rng,
            demand: demand.clone(),
        };
        match &demand.source {
            Source::Open { .. } => caller.next = caller.after(start),
            Source::Closed { callers, .. } => {
                (0..callers.count.get()).for_each(|_| caller.think(start));
            }
        }
        caller
    }

    /// When the next call comes after one, of an open loop.
    fn after(&mut self, now: Instant) -> Option<Instant> {
        match &self.demand.source {
            Source::Open { profile, share, of } => profile.next(now, *share, *of, &mut self.arrivals),
            Source::Closed { .. } => None,
        }
    }

    /// A caller of a closed loop will call.
    fn think(&mut self, now: Instant) {
        let Source::Closed { callers, until } = self.demand.source else { return };
        let at = now + exponential(&mut self.rng, callers.think.0);
        if at < until && !self.stops {
            let number = self.number(None);
            self.due.push(Reverse((at, number)));
        }
    }

    fn number(&mut self, came: Option<Instant>) -> u32 {
        let call = Call { came, again: 0, backoff: None };
        match self.free.pop() {
            Some(number) => {
                self.calls[number as usize] = call;
                number
            }
            None => {
                self.calls.push(call);
                self.calls.len() as u32 - 1
            }
        }
    }

    fn call(&mut self, now: Instant, number: u32, machine: &mut Client<Uw>) {
        let call = &mut self.calls[number as usize];
        if call.again == 0 {
            call.came = Some(now);
            self.demand.tally().came(now);
            if let Some(budget) = &mut self.budget {
                budget.deposit(now);
            }
        }
        let idempotent = match self.demand.idempotent.as_per_mille() {
            1_000.. => true,
            share => self.rng.below(1_000) < share,
        };
        let options =
            Options { timeout: None, idempotent, key: Some(self.rng.next_u64()), tag: number.into() };
        let request = UwRequest { method: "work", content: &self.demand.content };
        if let Err(error) = machine.request(now, &request, options) {
            self.failed(now, number, refusal(error));
        }
    }

    fn failed(&mut self, now: Instant, number: u32, how: &'static str) {
        let call = &mut self.calls[number as usize];
        if let Some(retries) = self.demand.retries
            && call.again < retries.times()
            && self.budget.as_mut().is_none_or(|budget| budget.withdraw(now))
        {
            call.again += 1;
            let backoff = call.backoff.get_or_insert_with(|| Backoff::new(retries.backoff()));
            let at = now + backoff.next(&mut self.rng);
            self.demand.tally().retries += 1;
            return self.due.push(Reverse((at, number)));
        }
        let came = call.came.unwrap_or(now);
        self.demand.tally().failed(came, how);
        self.end(now, number);
    }

    fn good(&mut self, now: Instant, number: u32) {
        let came = self.calls[number as usize].came.unwrap_or(now);
        self.demand.tally().good(came, now);
        self.end(now, number);
    }

    fn end(&mut self, now: Instant, number: u32) {
        self.calls[number as usize].came = None;
        self.free.push(number);
        self.think(now);
    }
}

impl Drop for Caller {
    /// Whoever called a process that is gone was not answered.
    fn drop(&mut self) {
        let mut tally = self.demand.tally();
        self.calls.iter().filter_map(|call| call.came).for_each(|came| tally.failed(came, "client_gone"));
    }
}

impl Application<Client<Uw>> for Caller {
    fn commands(&mut self, now: Instant, machine: &mut Client<Uw>) {
        if let Some(by) = self.orders.stop_by().filter(|_| !self.stops) {
            self.stops = true;
            self.next = None;
            self.due.retain(|Reverse((_, number))| self.calls[*number as usize].came.is_some());
            machine.shutdown(now, by);
        }
        if let Some(findings) = &self.findings {
            for (endpoint, level) in findings.lock().changes.drain(..) {
                machine.set_health(now, endpoint, level);
            }
        }
        while let Some(at) = self.next.filter(|&at| at <= now) {
            self.next = self.after(at);
            let number = self.number(None);
            self.call(now, number, machine);
        }
        while let Some(&Reverse((at, number))) = self.due.peek()
            && at <= now
        {
            self.due.pop();
            self.call(now, number, machine);
        }
    }

    fn event(&mut self, now: Instant, event: Event<'_>) {
        match event {
            Event::Outcome { tag, outcome: Outcome::Answer(_), .. } => self.good(now, tag as u32),
            Event::Outcome { tag, outcome, .. } => self.failed(now, tag as u32, failure(outcome)),
            Event::State(StateEvent::Ejected { .. }) => self.demand.tally().ejections += 1,
            Event::State(StateEvent::Breaker { to: breaker::State::Open, .. }) => {
                self.demand.tally().breaker_trips += 1;
            }
            Event::State(_) => {}
        }
    }

    fn publish(&mut self, _: Instant, machine: &mut Client<Uw>) {
        let metrics = machine.metrics();
        let counts = [metrics.retries, metrics.hedges, metrics.dials];
        if counts != self.told {
            let mut tally = self.demand.tally();
            let [retries, hedges, dials] = self.told;
            tally.retries += counts[0] - retries;
            tally.hedges += counts[1] - hedges;
            tally.dials += counts[2] - dials;
            self.told = counts;
        }
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.orders.wake(driver);
        if let Some(findings) = &self.findings {
            let mut found = findings.lock();
            if !found.changes.is_empty() {
                return true;
            }
            found.waker = Some(driver.clone());
        }
        let due = self.due.peek().map(|Reverse((at, _))| *at);
        self.bell.rings_at([self.next, due].into_iter().flatten().min(), driver)
    }
}

fn failure(outcome: Outcome<'_>) -> &'static str {
    match outcome {
        Outcome::Answer(_) => "good",
        Outcome::Remote { code: code::OVERLOADED, .. } => "overloaded",
        Outcome::Remote { code: code::INTERNAL_ERROR, .. } => "internal_error",
        Outcome::Remote { code: code::DEADLINE_EXCEEDED, .. } => "deadline_exceeded",
        Outcome::Remote { .. } => "remote",
        Outcome::Timeout { sent: true } => "timeout",
        Outcome::Timeout { sent: false } => "timeout_unsent",
        Outcome::Lost { .. } => "lost",
        Outcome::Protocol(_) => "protocol",
        Outcome::Cancelled => "cancelled",
    }
}

fn refusal(error: RequestError) -> &'static str {
    match error {
        RequestError::Rejected(Rejected::Overloaded) => "queue_full",
        RequestError::Rejected(Rejected::CircuitOpen) => "circuit_open",
        RequestError::Rejected(Rejected::NoEndpoint) => "no_endpoint",
        RequestError::Rejected(Rejected::Panicked) => "panicked",
        RequestError::Rejected(Rejected::Unhealthy) => "unhealthy",
        RequestError::Rejected(Rejected::Throttled { .. }) => "throttled",
        RequestError::Rejected(Rejected::Limited { .. }) => "limited",
        RequestError::Rejected(Rejected::RateLimited { .. }) => "rate_limited",
        RequestError::Rejected(_) => "rejected",
        RequestError::Misuse(_) => "misuse",
    }
}
