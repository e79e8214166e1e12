//! One endpoint, and its connections as far as choosing among them goes.

use alloc::string::String;
use alloc::vec::Vec;

use super::EndpointStatus;
use crate::id::{ConnId, EndpointId, Table, kind};
use crate::policy::breaker;
use crate::policy::health_check::Level as Health;
use crate::policy::panic::Spread;
use crate::policy::{Backoff, Breaker, HealthScore, Heartbeat, PeakEwma, Ramp};
use crate::time::Instant;

/// What an endpoint has shown counts for so long after its last answer, in nanoseconds: the seed's interval of health
/// checks. One that has served badly would otherwise never be asked again by its score, and so never show that it is well.
const REMEMBERED: u64 = 30_000_000_000;

/// An address that serves.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) address: String,
    /// A hash of the address, the same at every client.
    pub(super) name: u64,
    pub(super) priority: u8,
    pub(super) duty: Duty,
    /// It was told that its last connection has ended.
    pub(super) drained: bool,
    pub(super) conns: Vec<ConnId>,
    /// Of the connections, how many stand and take requests.
    pub(super) open: u32,
    /// Of the connections that take requests, how many are past their age: they do until a younger one stands.
    pub(super) aged: u32,
    /// Connections that take no more requests, and the requests on them.
    pub(super) retiring: u32,
    pub(super) retiring_in_flight: u32,
    /// The one dial that is under way.
    pub(super) dialing: Option<ConnId>,
    /// Not before this the next dial.
    pub(super) dial_at: Instant,
    /// A failure put `dial_at` off, and nothing was dialled since: connections that are lost together count once.
    pub(super) backing_off: bool,
    pub(super) in_flight: u32,
    /// The connection of the burst, and how many more requests go to it.
    pub(super) burst: Option<(ConnId, u32)>,
    pub(super) breaker: Breaker,
    /// Its breaker has let nothing through when last asked.
    pub(super) out: bool,
    pub(super) ejected: bool,
    /// What health checks say of it.
    pub(super) health: Health,
    /// The last dial has not failed.
    pub(super) reachable: bool,
    /// How it stood when its level was last counted.
    pub(super) counted: Counted,
    /// Its weight grows while it is fresh; `None` until its first connection stands.
    pub(super) ramp: Option<Ramp>,
    /// Its weight counts for less than it is.
    pub(super) ramping: bool,
    /// When to look at it again.
    pub(super) ramp_at: Option<Instant>,
    /// It has served for a whole ramp's time.
    pub(super) seasoned: bool,
    pub(super) ewma: PeakEwma,
    pub(super) score: HealthScore,
    /// Its share of the requests, in proportion to the others.
    pub(super) weight: u32,
    pub(super) backoff: Backoff,
    /// Where it stands in its level's list of endpoints that can take a request.
    pub(super) listed: Option<usize>,
}
crate::saved!(struct Endpoint {
    address, name, priority, duty, drained, conns, open, aged, retiring, retiring_in_flight, dialing, dial_at,
    backing_off, in_flight, burst, breaker, out, ejected, health, reachable, counted, ramp, ramping, ramp_at,
    seasoned, ewma, score, weight, backoff, listed
});

/// What an endpoint is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It gets requests.
    Serving,
    /// It is not in this client's subset.
    Spare,
    /// It gets no more requests, until it is resumed.
    Draining,
    /// It gets no more requests, and ends with its last connection.
    Removed,
}
crate::saved!(enum Duty { 0 = Serving, 1 = Spare, 2 = Draining, 3 = Removed });

/// What an endpoint adds to the counts of its level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) serving: bool,
    /// Its breaker lets nothing through.
    pub(super) out: bool,
    /// It is out, ejected or unhealthy.
    pub(super) barred: bool,
    /// Nothing speaks against it.
    pub(super) available: bool,
}
crate::saved!(struct Counted { serving, out, barred, available });

/// A connection, or the attempt at one.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) endpoint: EndpointId,
    pub(super) state: ConnState,
    pub(super) in_flight: u32,
    pub(super) last_used: Instant,
    /// Nobody reads from it, for want of room: its silence says nothing.
    pub(super) unread: bool,
    /// When it is too old.
    pub(super) expires: Option<Instant>,
    pub(super) age: Age,
}
crate::saved!(struct Conn { endpoint, state, in_flight, last_used, unread, expires, age });

#[derive(Clone, Debug)]
pub(super) enum ConnState {
    Dialing { until: Instant },
    Open { heartbeat: Heartbeat, proven: bool },
}
crate::saved!(enum ConnState { 0 = Dialing { until }, 1 = Open { heartbeat, proven } });

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Young,
    /// Too old: to be replaced.
    Aged,
    /// It takes no more requests.
    Retiring,
}
crate::saved!(enum Age { 0 = Young, 1 = Aged, 2 = Retiring });

impl Conn {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, ConnState::Open { .. })
    }

    fn takes_requests(&self, limit: u32) -> bool {
        self.is_open() && self.age != Age::Retiring && self.in_flight < limit
    }
}

pub(super) type Conns = Table<kind::Conn, Conn>;

impl Endpoint {
    pub(super) fn status(&self, now: Instant, id: EndpointId) -> EndpointStatus<'_> {
        let breaker_stats = self.breaker.stats(now);
        EndpointStatus {
            id,
            address: self.address.as_str().into(),
            priority: self.priority,
            weight: self.weight,
            duty: self.duty,
            breaker: self.breaker.state(now),
            breaker_stats,
            last_failure: breaker_stats.last_failure.map(|at| now.since(at)),
            next_attempt: self.breaker.check(now).err().map(|open| open.retry_at.since(now)),
            ejected: self.ejected,
            health: self.health,
            reachable: self.reachable,
            connections: self.open + self.retiring,
            in_flight: self.in_flight,
            score_per_mille: self.score.score(self.in_flight).as_per_mille(),
            error_per_mille: self.score.error_per_mille(),
            round_trip: self.score.round_trip(),
        }
    }

    pub(super) fn serves(&self) -> bool {
        self.duty == Duty::Serving
    }

    /// A request has ended after `round_trip` nanoseconds, well or not.
    #[inline]
    pub(super) fn learn(&mut self, now: Instant, round_trip: u64, served: bool) {
        if self.is_forgotten(now) {
            self.score = HealthScore::default();
        }
        self.ewma.ended(now, round_trip, served);
        self.score.ended(round_trip, served);
    }

    /// Whether its health score is too old to say anything.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        now.nanos_since(self.ewma.observed()) >= REMEMBERED
    }

    /// The requests that its connections still have room for.
    pub(super) fn room(&self, limit: u32) -> u32 {
        self.open.saturating_mul(limit).saturating_sub(self.in_flight - self.retiring_in_flight)
    }

    /// Connections that stand or are dialled, and are not to be replaced.
    pub(super) fn lasting(&self) -> u32 {
        self.conns.len() as u32 - self.retiring - self.aged
    }

    /// Whether it can take a request. In panic what is said of it does not count; what its breaker has seen does.
    pub(super) fn is_fit(&self, limit: u32, spread: Spread) -> bool {
        let wanted = match spread {
            Spread::Available => !self.ejected && self.health != Health::Unhealthy,
            Spread::All => true,
            Spread::None => false,
        };
        wanted && self.serves() && !self.out && self.room(limit) > 0
    }

    fn is_barred(&self) -> bool {
        self.out || self.ejected || self.health == Health::Unhealthy
    }

    /// Whether it begins to serve now: it has a connection, and is not on probation only.
    pub(super) fn may_join(&self, now: Instant) -> bool {
        let closed = self.breaker.state(now) == breaker::State::Closed;
        self.serves() && closed && !self.is_barred() && self.open > 0
    }

    pub(super) fn count(&self) -> Counted {
        let (serving, barred) = (self.serves(), self.is_barred());
        Counted {
            serving,
            out: serving && self.out,
            barred: serving && barred,
            available: serving && !barred && self.reachable,
        }
    }

    /// The connection that the next request goes to: that of the burst, or the least loaded; of equals the one
    /// used last, so that the others can grow idle and close.
    #[inline(always)]
    pub(super) fn choose(&mut self, conns: &Conns, limit: u32, burst: u32) -> Option<ConnId> {
        if let Some((id, left)) = self.burst
            && left > 0
            && conns.get(id).is_some_and(|conn| conn.in_flight < limit)
        {
            self.burst = Some((id, left - 1));
            return Some(id);
        }
        self.choose_anew(conns, limit, burst)
    }

    #[inline(never)]
    fn choose_anew(&mut self, conns: &Conns, limit: u32, burst: u32) -> Option<ConnId> {
        let candidates = self.conns.iter().filter_map(|&id| conns.get(id).map(|conn| (id, conn)));
        let (id, _) = candidates
            .filter(|(_, conn)| conn.takes_requests(limit))
            .min_by_key(|(_, conn)| (conn.in_flight, core::cmp::Reverse(conn.last_used)))?;
        self.burst = Some((id, burst.saturating_sub(1)));
        Some(id)
    }

    /// Ends the burst if it is on this connection.
    pub(super) fn end_burst(&mut self, conn: ConnId) {
        if self.burst.is_some_and(|(id, _)| id == conn) {
            self.burst = None;
        }
    }
}
