//! `/services/stats`: how the parts that decide stand, each under the name it has in the service discovery that this
//! gateway inherits.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use plimsoll_core::cluster::EndpointStatus;
use plimsoll_core::policy::breaker;
use plimsoll_core::policy::health_check::Level;
use plimsoll_tokio::Snapshot;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{Services, circuit, id, millis, name, response_time_ms, summary};
use crate::backend::{PROJECT_SERVICE, rejections};
use crate::metrics::Route;
use crate::reply::{Reply, now_rfc3339, rfc3339};
use crate::routes::Routes;

impl Services {
    pub(crate) async fn stats(&self, routes: &Routes) -> Reply {
        let endpoints = routes.backend.endpoints().await;
        let pool = routes.backend.pool().await;
        let body = json!({
            "serviceManager": self.manager(&endpoints),
            "loadBalancer": self.balancer(&endpoints, &pool),
            "healthCheck": checks(&endpoints),
            "apiGateway": gateway(routes),
            "circuitBreaker": breakers(&endpoints, &pool),
            "timestamp": now_rfc3339(),
        });
        Reply::of(StatusCode::OK, &body)
    }

    fn manager(&self, endpoints: &[EndpointStatus<'_>]) -> Value {
        let health = summary(endpoints).overall();
        let status = if health == Level::Unhealthy { "failed" } else { "running" };
        json!({
            "totalServices": 1,
            "runningServices": u8::from(status == "running"),
            "failedServices": u8::from(status == "failed"),
            "serviceStatuses": {
                (PROJECT_SERVICE): {
                    "name": PROJECT_SERVICE,
                    "status": status,
                    "startedAt": self.started,
                    "health": health.to_string(),
                    "dependencies": {},
                },
            },
        })
    }

    fn balancer(&self, endpoints: &[EndpointStatus<'_>], pool: &Snapshot) -> Value {
        json!({
            "strategy": self.strategy,
            "totalServices": endpoints.len(),
            "totalRequests": pool.metrics.requests,
            "averageResponseTime": response_time_ms(endpoints),
            "rejections": rejections(pool).into_iter().collect::<BTreeMap<_, _>>(),
            "serviceMetrics": by_id(endpoints, metrics),
        })
    }
}

fn metrics(endpoint: &EndpointStatus<'_>) -> Value {
    json!({
        "activeConnections": endpoint.in_flight,
        "connections": endpoint.connections,
        "totalRequests": ended(&endpoint.breaker_stats),
        "averageResponseTime": millis(endpoint),
        "errorRate": f64::from(endpoint.error_per_mille) / 1_000.0,
        "score": f64::from(endpoint.score_per_mille) / 1_000.0,
        "weight": endpoint.weight,
        "priority": endpoint.priority,
    })
}

fn checks(endpoints: &[EndpointStatus<'_>]) -> Value {
    let summary = summary(endpoints);
    let total = summary.total();
    json!({
        "totalChecks": total,
        "averageResponseTime": response_time_ms(endpoints),
        "successRate": f64::from(summary.healthy) / f64::from(total.max(1)),
        "serviceStats": {
            (PROJECT_SERVICE): {
                "checks": total,
                "successes": summary.healthy,
                "failures": summary.unhealthy,
                "averageResponseTime": response_time_ms(endpoints),
            },
        },
    })
}

fn gateway(routes: &Routes) -> Value {
    let snapshot = routes.metrics.snapshot();
    json!({
        "totalRoutes": Route::ALL.iter().filter(|&&route| route != Route::Unknown).count(),
        "registeredServices": 1,
        "totalRequests": snapshot.processed(),
        "requestsPerSecond": snapshot.per_second,
        "uptime": snapshot.uptime.as_secs(),
    })
}

/// The breaker of each endpoint, and before them, under the name of the service, all of them as one.
fn breakers(endpoints: &[EndpointStatus<'_>], pool: &Snapshot) -> Value {
    let mut all = Map::from_iter([(PROJECT_SERVICE.into(), whole(endpoints, pool))]);
    all.extend(endpoints.iter().map(|endpoint| (id(endpoint), breaker_of(endpoint))));
    all.into()
}

fn breaker_of(endpoint: &EndpointStatus<'_>) -> Value {
    let stats = &endpoint.breaker_stats;
    json!({
        "state": name(endpoint.breaker),
        "ejected": endpoint.ejected,
        // Within the monitoring period, as those two are counted in what this gateway inherits.
        "failureCount": stats.window.failures,
        "successCount": stats.window.successes,
        "consecutiveFailures": stats.consecutive_failures,
        "totalRequests": ended(stats),
        "totalFailures": stats.failed,
        "totalSuccesses": stats.succeeded,
        "rejected": stats.rejected,
        "opened": stats.opened,
        "lastFailureTime": ago(endpoint.last_failure),
        "nextAttempt": ahead(endpoint.next_attempt),
    })
}

/// A request that no breaker lets through is refused before any single one of them is asked: it counts here.
fn whole(endpoints: &[EndpointStatus<'_>], pool: &Snapshot) -> Value {
    let sum = |of: fn(&breaker::Stats) -> u64| {
        endpoints.iter().map(|endpoint| of(&endpoint.breaker_stats)).sum::<u64>()
    };
    let state = circuit(endpoints);
    let next = endpoints.iter().filter_map(|endpoint| endpoint.next_attempt).min();
    json!({
        "state": name(state),
        "failureCount": sum(|stats| stats.window.failures),
        "successCount": sum(|stats| stats.window.successes),
        "totalRequests": sum(ended),
        "totalFailures": sum(|stats| stats.failed),
        "totalSuccesses": sum(|stats| stats.succeeded),
        "rejected": pool.metrics.rejections.circuit_open,
        "opened": sum(|stats| stats.opened),
        "lastFailureTime": ago(endpoints.iter().filter_map(|endpoint| endpoint.last_failure).min()),
        "nextAttempt": ahead(next.filter(|_| state != breaker::State::Closed)),
    })
}

/// The requests whose end a breaker was told.
fn ended(stats: &breaker::Stats) -> u64 {
    stats.succeeded + stats.failed + stats.ignored + stats.stale
}

fn ago(since: Option<Duration>) -> Option<String> {
    since.map(|since| rfc3339(OffsetDateTime::now_utc() - since))
}

fn ahead(until: Option<Duration>) -> Option<String> {
    until.map(|until| rfc3339(OffsetDateTime::now_utc() + until))
}

fn by_id(endpoints: &[EndpointStatus<'_>], of: impl Fn(&EndpointStatus<'_>) -> Value) -> Value {
    endpoints.iter().map(|endpoint| (id(endpoint), of(endpoint))).collect::<Map<_, _>>().into()
}
