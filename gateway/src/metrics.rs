//! What the edge counts: under one lock that is held for a few instructions, read as one snapshot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use plimsoll_core::metrics::{Histogram, Rate};
use plimsoll_core::time::Instant as Moment;
use tokio::time::Instant;

/// The routes by their pattern, so that ids in paths do not become labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Projects,
    Project,
    Health,
    Metrics,
    Services,
    ServicesHealth,
    ServicesStats,
    ServicesExplain,
    /// Any path that is no route, and requests refused before they are routed.
    Unknown,
}

impl Route {
    pub(crate) const ALL: [Route; 9] = [
        Route::Projects,
        Route::Project,
        Route::Health,
        Route::Metrics,
        Route::Services,
        Route::ServicesHealth,
        Route::ServicesStats,
        Route::ServicesExplain,
        Route::Unknown,
    ];

    pub(crate) fn pattern(self) -> &'static str {
        match self {
            Route::Projects => "/api/projects",
            Route::Project => "/api/projects/:id",
            Route::Health => "/health",
            Route::Metrics => "/metrics",
            Route::Services => "/services",
            Route::ServicesHealth => "/services/health",
            Route::ServicesStats => "/services/stats",
            Route::ServicesExplain => "/services/explain",
            Route::Unknown => "unknown",
        }
    }
}

/// Status codes by their first digit.
pub(crate) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// How a connection ended, or why it never was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnEnd {
    /// By either side, in order.
    Closed,
    /// Over the limit of connections.
    Refused,
    /// No TLS handshake, or none in time.
    Handshake,
    /// The peer broke the rules of HTTP, or vanished.
    Error,
    /// Too many frames that carry nothing.
    Flood,
    /// Nobody used it for long.
    Idle,
    /// The client did not take an answer that it asked for.
    Stuck,
}

impl ConnEnd {
    pub(crate) const ALL: [ConnEnd; 7] = [
        ConnEnd::Closed,
        ConnEnd::Refused,
        ConnEnd::Handshake,
        ConnEnd::Error,
        ConnEnd::Flood,
        ConnEnd::Idle,
        ConnEnd::Stuck,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            ConnEnd::Closed => "closed",
            ConnEnd::Refused => "refused",
            ConnEnd::Handshake => "handshake_failed",
            ConnEnd::Error => "error",
            ConnEnd::Flood => "flood",
            ConnEnd::Idle => "idle",
            ConnEnd::Stuck => "stuck",
        }
    }
}

/// All counters at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Answers by route and class, in the order of [`Route::ALL`] and [`CLASSES`].
    pub(crate) answers: [[u64; CLASSES.len()]; Route::ALL.len()],
    /// From a request's headers to the head of its answer.
    pub(crate) latency: Histogram,
    rate: Rate,
    /// Requests whose client left before the answer.
    pub(crate) cancelled: u64,
    pub(crate) active_requests: u64,
    pub(crate) active_connections: u64,
    /// Connections that ended, in the order of [`ConnEnd::ALL`].
    pub(crate) ended: [u64; ConnEnd::ALL.len()],
    pub(crate) per_second: u64,
    pub(crate) uptime: Duration,
}

impl Snapshot {
    pub(crate) fn processed(&self) -> u64 {
        self.answers.iter().flatten().sum()
    }

    /// Answers of one class, over all routes.
    pub(crate) fn class(&self, class: usize) -> u64 {
        self.answers.iter().map(|classes| classes[class]).sum()
    }
}

/// The counters of one gateway.
pub(crate) struct Metrics {
    start: Instant,
    /// Apart from the others, for it changes twice with every request.
    active_requests: AtomicU64,
    counters: Mutex<Snapshot>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics { start: Instant::now(), active_requests: AtomicU64::new(0), counters: Mutex::default() }
    }
}

impl Metrics {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.counters().clone();
        let now = Instant::now();
        snapshot.active_requests = self.active_requests();
        snapshot.uptime = now.duration_since(self.start);
        snapshot.per_second = snapshot.rate.per_second(self.moment(now));
        snapshot
    }

    pub(crate) fn active_requests(&self) -> u64 {
        self.active_requests.load(Ordering::Relaxed)
    }

    /// How many were active before it.
    pub(crate) fn request_began(&self) -> u64 {
        self.active_requests.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn request_gave_way(&self) {
        self.active_requests.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn request_ended(&self, active: bool, answered: bool) {
        if active {
            self.active_requests.fetch_sub(1, Ordering::Relaxed);
        }
        if !answered {
            self.counters().cancelled += 1;
        }
    }

    pub(crate) fn answered(&self, route: Route, status: StatusCode, latency: Duration, now: Instant) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let now = self.moment(now);
        let mut counters = self.counters();
        counters.answers[route as usize][class] += 1;
        counters.latency.record(latency);
        counters.rate.record(now);
    }

    pub(crate) fn connection_began(&self) {
        self.counters().active_connections += 1;
    }

    pub(crate) fn connection_ended(&self, end: ConnEnd) {
        let mut counters = self.counters();
        counters.active_connections -= 1;
        counters.ended[end as usize] += 1;
    }

    pub(crate) fn connection_refused(&self) {
        self.counters().ended[ConnEnd::Refused as usize] += 1;
    }

    fn moment(&self, now: Instant) -> Moment {
        Moment::from_nanos(u64::try_from(now.duration_since(self.start).as_nanos()).unwrap_or(u64::MAX))
    }

    fn counters(&self) -> MutexGuard<'_, Snapshot> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_and_end_has_its_own_place() {
        assert!(Route::ALL.iter().enumerate().all(|(place, &route)| route as usize == place));
        assert!(ConnEnd::ALL.iter().enumerate().all(|(place, &end)| end as usize == place));
    }

    #[test]
    fn requests_are_counted_by_route_class_and_fate() {
        let metrics = Metrics::default();
        for answered in [true, true, false] {
            metrics.request_began();
            metrics.request_ended(true, answered);
        }
        metrics.request_began();
        let now = Instant::now();
        metrics.answered(Route::Health, StatusCode::OK, Duration::from_millis(1), now);
        metrics.answered(Route::Unknown, StatusCode::NOT_FOUND, Duration::from_millis(3), now);
        let snapshot = metrics.snapshot();
        assert_eq!((snapshot.processed(), snapshot.class(1), snapshot.class(3)), (2, 1, 1));
        assert_eq!((snapshot.cancelled, snapshot.active_requests), (1, 1));
        assert_eq!(snapshot.latency.mean(), Some(Duration::from_millis(2)));
    }
}
