//! What must hold within a client, seen from outside: limits, budgets, caps, breakers, ages.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_core::cluster::{self, Duty, EndpointStatus};
use plimsoll_core::id::{ConnId, EndpointId};
use plimsoll_core::policy::breaker::{MAX_PROBES, State};
use plimsoll_core::policy::health_check::Level;
use plimsoll_core::service::Protocol;
use plimsoll_core::service::client::{Client, CloseCause, Config, StateEvent};
use plimsoll_core::time::{Instant, nanos};

use super::book::Book;
use crate::swarm::journal::Journal;
use crate::swarm::law::Law;

/// So many connections that ended of age tell whether they did so together.
const AGED: usize = 6;

#[derive(Debug)]
pub(super) struct Watch {
    place: u32,
    name: String,
    config: Config,
    /// When the client began.
    since: Instant,
    /// The longest that any request may take.
    longest_timeout: Duration,
    endpoints: BTreeMap<EndpointId, Seen>,
    /// What the last state event of a breaker said; nothing is known after events were missed.
    told: BTreeMap<EndpointId, State>,
    ejected: u32,
    /// When each connection stood.
    connected: BTreeMap<ConnId, Instant>,
    /// How long those stood that ended of age.
    lifetimes: Vec<Duration>,
}

/// What was seen of an endpoint at the last look.
#[derive(Clone, Copy, Debug)]
struct Seen {
    state: State,
    opened: u64,
    /// The fewest requests that were in flight since it let nothing through: none of them is a probe.
    overhang: u32,
    /// How many requests may have been given up before, of all that still hold a place.
    given_up: u64,
}

impl Watch {
    pub(super) fn new(place: u32, config: &Config, now: Instant) -> Self {
        Watch {
            place,
            name: format!("c{place}"),
            config: *config,
            since: now,
            longest_timeout: config.timeout,
            endpoints: BTreeMap::new(),
            told: BTreeMap::new(),
            ejected: 0,
            connected: BTreeMap::new(),
            lifetimes: Vec::new(),
        }
    }

    /// The client tells of a change.
    pub(super) fn told(&mut self, now: Instant, event: StateEvent, journal: &mut Journal) {
        match event {
            StateEvent::Connected { conn, .. } => _ = self.connected.insert(conn, now),
            StateEvent::Closed { conn, cause, .. } => {
                let since = self.connected.remove(&conn);
                if cause == CloseCause::Aged {
                    self.lifetimes.extend(since.map(|since| now - since));
                }
            }
            StateEvent::Breaker { endpoint, to } => {
                journal.stats.trips += u64::from(to == State::Open);
                let from = self.told.insert(endpoint, to);
                let before = match to {
                    State::Open => &[State::Closed, State::HalfOpen][..],
                    State::HalfOpen => &[State::Open],
                    State::Closed => &[State::HalfOpen],
                };
                if let Some(from) = from.filter(|from| !before.contains(from)) {
                    let what = format!("the breaker of {endpoint} goes from {from} to {to}");
                    journal.broken(Law::Breaker, now, self.name.clone(), what);
                }
            }
            StateEvent::Ejected { .. } => journal.stats.ejections += 1,
            StateEvent::Missed(_) => {
                self.told.clear();
                self.connected.clear();
            }
            _ => {}
        }
        journal.note(now, 5, event.endpoint().map_or(0, |endpoint| u64::from(endpoint.slot())));
    }

    /// Looks at everything that can be looked at.
    pub(super) fn look<P: Protocol>(&mut self, now: Instant, client: &Client<P>, book: &mut Book) {
        let was_paused = book.paused.contains(&self.place);
        let (status, cluster) = (client.status(), &self.config.cluster);
        book.placed.insert(self.place, status.in_flight);
        let mut broken = |law, what: String| book.journal.broken(law, now, self.name.clone(), what);
        if status.waiting > cluster.waiters.get() {
            broken(
                Law::Limits,
                format!("{} requests wait for a place, of {} allowed", status.waiting, cluster.waiters),
            );
        }
        let room = u64::from(status.connections) * u64::from(cluster.in_flight.get());
        if u64::from(status.in_flight) > room {
            broken(
                Law::Limits,
                format!("{} requests are in flight, and there is room for {room}", status.in_flight),
            );
        }
        let mut most = u64::from(status.endpoints) * u64::from(cluster.max_connections.get());
        if cluster.max_age.is_some() {
            // Those too old serve until their successors stand, and then finish what they have.
            most = 2 * most + u64::from(status.in_flight);
        }
        if u64::from(status.connections + status.dialing) > most {
            broken(
                Law::Limits,
                format!("{} connections and {} dials, of {most}", status.connections, status.dialing),
            );
        }
        let metrics = client.metrics();
        let failures = &metrics.failures;
        // A probe that is given up gives its permit back, but on a wire without ids keeps its place.
        let given_up = if P::HAS_IDS { 0 } else { failures.cancelled + failures.timeout + metrics.hedges };
        let (mut serving, mut out) = (0, 0);
        for endpoint in client.endpoint_status() {
            serving += u32::from(endpoint.duty == Duty::Serving);
            out += u32::from(endpoint.ejected);
            // A probe whose lease has ended is still out.
            let may_outlast = self.longest_timeout > self.config.cluster.breaker.lease || was_paused;
            let seen = Seen::new(&endpoint, given_up);
            let before = self.endpoints.get(&endpoint.id).copied().unwrap_or(seen);
            match look_at_breaker(before, seen, cluster, may_outlast, &endpoint) {
                Ok(seen) => _ = self.endpoints.insert(endpoint.id, seen),
                Err(what) => broken(Law::Breaker, what),
            }
        }
        if let Some(outliers) = &cluster.outliers {
            let allowed = (outliers.most.of(serving.into())).min(u64::from(serving.saturating_sub(1)));
            // When others are removed, those that are out by then may be too many.
            if out > self.ejected && u64::from(out) > allowed {
                broken(
                    Law::EjectionCap,
                    format!("{out} of {serving} endpoints are ejected, {allowed} may be"),
                );
            }
            self.ejected = out;
        }
        let budget = &self.config.retry_budget;
        let again = u128::from(metrics.retries + metrics.hedges);
        let time = u128::from(nanos(now - self.since) + nanos(budget.ttl)) * u128::from(budget.per_second);
        let paid = u128::from(metrics.requests) * u128::from(budget.ratio.as_per_mille()) * 1_000_000 + time;
        if again * 1_000_000_000 > paid {
            broken(
                Law::RetryBudget,
                format!(
                    "{again} requests were sent again, of {} in {:?}",
                    metrics.requests,
                    now - self.since
                ),
            );
        }
    }

    /// A request is made that may take so long.
    pub(super) fn asks(&mut self, timeout: Duration) {
        self.longest_timeout = self.longest_timeout.max(timeout);
    }

    /// Whether the next request could go to any endpoint: all are connected, idle, and well.
    pub(super) fn is_free(&self, client: &Client<impl Protocol>) -> bool {
        client.endpoint_status().all(|endpoint| {
            endpoint.connections > 0
                && endpoint.in_flight == 0
                && endpoint.breaker == State::Closed
                && endpoint.duty == Duty::Serving
                && endpoint.health == Level::Healthy
                && !endpoint.ejected
        })
    }

    /// Everything has come to rest.
    pub(super) fn rest(&self, now: Instant, client: &Client<impl Protocol>, book: &mut Book) {
        let was_paused = book.paused.contains(&self.place);
        let journal = &mut book.journal;
        let metrics = client.metrics();
        journal.stats.retries += metrics.retries + metrics.hedges;
        let mut broken = |law, what: String| journal.broken(law, now, self.name.clone(), what);
        let status = client.status();
        if (status.in_flight, status.waiting) != (0, 0) {
            broken(
                Law::Rest,
                format!("{} in flight and {} waiting, at rest", status.in_flight, status.waiting),
            );
        }
        let permits = client.admission().concurrency().map_or(0, |limit| limit.in_flight());
        if permits > 0 {
            broken(Law::Rest, format!("{permits} permits are out, at rest"));
        }
        if metrics.requests != metrics.succeeded + metrics.failed {
            broken(Law::Books, format!("requests in and out differ: {metrics:?}"));
        }
        if let Some(age) = self.config.cluster.max_age
            && let (Some(least), Some(most)) = (self.lifetimes.iter().min(), self.lifetimes.iter().max())
            && self.lifetimes.len() >= AGED
            && !was_paused
            && *most - *least < age / 200
        {
            let count = self.lifetimes.len();
            broken(
                Law::Expiry,
                format!("{count} connections stood for {least:?} to {most:?}, as if they were one"),
            );
        }
    }
}

impl Seen {
    fn new(endpoint: &EndpointStatus<'_>, given_up: u64) -> Self {
        let EndpointStatus { breaker: state, in_flight, .. } = *endpoint;
        Seen { state, opened: endpoint.breaker_stats.opened, overhang: in_flight, given_up }
    }
}

/// What is to be remembered of an endpoint that was seen before, and is now; or what is wrong with it.
fn look_at_breaker(
    before: Seen,
    now: Seen,
    config: &cluster::Config,
    may_outlast: bool,
    endpoint: &EndpointStatus<'_>,
) -> Result<Seen, String> {
    let breaker = &config.breaker;
    let longest = breaker.recovery_cap.max(breaker.lease);
    if let Some(left) = endpoint.next_attempt.filter(|left| *left > longest) {
        return Err(format!("{} is let out in {left:?} only", endpoint.address));
    }
    if now.state != State::HalfOpen || before.state == State::Closed || now.opened != before.opened {
        return Ok(now);
    }
    // Half-open since the last look, or for longer.
    let overhang = before.overhang.min(now.overhang);
    let probes = breaker.success_threshold.get().min(MAX_PROBES as u32);
    let given_up = now.given_up - before.given_up;
    let (out, most) = (endpoint.in_flight, u64::from(overhang + probes) + given_up);
    if u64::from(out) > most && !may_outlast {
        return Err(format!(
            "{out} requests are out to {}, which may have {probes} probes",
            endpoint.address
        ));
    }
    Ok(Seen { overhang, given_up: before.given_up, ..now })
}
