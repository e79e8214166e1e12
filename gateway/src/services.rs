//! `/services` and what lies below it: the services behind the gateway, one instance per endpoint, in the shapes of the
//! service discovery that this gateway inherits. Every answer is made from one look at the endpoints.

pub(crate) mod explain;
mod stats;

use http::StatusCode;
use plimsoll_core::cluster::{Duty, EndpointStatus};
use plimsoll_core::policy::breaker::State;
use plimsoll_core::policy::health_check::{Level, Summary};
use serde_json::{Value, json};

use crate::backend::PROJECT_SERVICE;
use crate::config::Project;
use crate::reply::{Reply, now_rfc3339};
use crate::routes::Routes;

/// What is known of the services without asking them.
pub(crate) struct Services {
    strategy: &'static str,
    /// The project service runs in this process.
    pub(crate) is_embedded: bool,
    started: String,
    /// See [`Project::explain`].
    explain: u32,
}

impl Services {
    pub(crate) fn new(project: &Project) -> Services {
        Services {
            strategy: project.cluster.strategy.name(),
            is_embedded: project.endpoints.is_empty(),
            started: now_rfc3339(),
            explain: project.explain,
        }
    }

    /// `/services`: every instance.
    pub(crate) async fn list(&self, routes: &Routes) -> Reply {
        let endpoints = routes.backend.endpoints().await;
        let summary = summary(&endpoints);
        let instances: Vec<Value> = endpoints.iter().map(|endpoint| self.instance(endpoint)).collect();
        let body = json!({
            "services": { (PROJECT_SERVICE): instances },
            "stats": {
                "totalServices": summary.total(),
                "healthyServices": summary.healthy,
                "degradedServices": summary.degraded,
                "unhealthyServices": summary.unhealthy,
                "servicesByType": { (PROJECT_SERVICE): summary.total() },
            },
            "timestamp": now_rfc3339(),
        });
        Reply::of(StatusCode::OK, &body)
    }

    /// `/services/health`: 200 if all is well, else 503.
    pub(crate) async fn health(&self, routes: &Routes) -> Reply {
        let endpoints = routes.backend.endpoints().await;
        let summary = summary(&endpoints);
        let now = now_rfc3339();
        let check = |endpoint: &EndpointStatus<'_>| {
            json!({
                "service": PROJECT_SERVICE,
                "id": id(endpoint),
                "status": level(endpoint).to_string(),
                "timestamp": now,
                "responseTime": millis(endpoint),
                "details": state(endpoint),
                "error": reason(endpoint),
            })
        };
        let overall = summary.overall();
        let body = json!({
            "overall": overall.to_string(),
            "services": endpoints.iter().map(check).collect::<Vec<_>>(),
            "timestamp": now,
            "summary": {
                "total": summary.total(),
                "healthy": summary.healthy,
                "unhealthy": summary.unhealthy,
                "degraded": summary.degraded,
            },
        });
        let is_healthy = overall == Level::Healthy;
        Reply::of(if is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
    }

    fn instance(&self, endpoint: &EndpointStatus<'_>) -> Value {
        let (host, port) = endpoint.address.rsplit_once(':').unwrap_or((&endpoint.address, "0"));
        let version = self.is_embedded.then_some(env!("CARGO_PKG_VERSION"));
        json!({
            "id": id(endpoint),
            "name": PROJECT_SERVICE,
            "version": version,
            "host": host,
            "port": port.parse::<u16>().unwrap_or_default(),
            "protocol": "uw",
            "healthEndpoint": "ping",
            "tags": [],
            "dependencies": [],
            "metadata": { "weight": endpoint.weight, "priority": endpoint.priority, "embedded": self.is_embedded },
            "registeredAt": self.started,
            "status": level(endpoint).to_string(),
            "state": state(endpoint),
        })
    }
}

fn id(endpoint: &EndpointStatus<'_>) -> String {
    id_at(&endpoint.address)
}

/// The id of the instance at an address.
fn id_at(address: &str) -> String {
    format!("{PROJECT_SERVICE}@{address}")
}

fn state(endpoint: &EndpointStatus<'_>) -> Value {
    json!({
        "circuitBreaker": name(endpoint.breaker),
        "ejected": endpoint.ejected,
        "reachable": endpoint.reachable,
        "duty": duty(endpoint.duty),
        "connections": endpoint.connections,
        "inFlight": endpoint.in_flight,
        "score": f64::from(endpoint.score_per_mille) / 1_000.0,
    })
}

fn name(state: State) -> &'static str {
    match state {
        State::Closed => "closed",
        State::Open => "open",
        State::HalfOpen => "half_open",
    }
}

fn duty(duty: Duty) -> &'static str {
    match duty {
        Duty::Serving => "serving",
        Duty::Spare => "spare",
        Duty::Draining => "draining",
        Duty::Removed => "removed",
    }
}

fn millis(endpoint: &EndpointStatus<'_>) -> f64 {
    endpoint.round_trip.as_secs_f64() * 1_000.0
}

/// What speaks most against an endpoint.
fn reason(endpoint: &EndpointStatus<'_>) -> Option<&'static str> {
    if !endpoint.reachable && endpoint.connections == 0 {
        return Some("the last dial failed, and no connection stands");
    }
    match (endpoint.breaker, endpoint.ejected, endpoint.health) {
        (State::Open, ..) => Some("its circuit breaker is open"),
        (_, true, _) => Some("it serves worse than the others, and is left out for a while"),
        (.., Level::Unhealthy) => Some("its health check says that it is not to be used"),
        (State::HalfOpen, ..) => Some("its circuit breaker lets only probes through"),
        (.., Level::Degraded) => Some("its health check says that it does not serve as it should"),
        _ => None,
    }
}

/// How well an endpoint serves, by what the gateway knows of it.
pub(crate) fn level(endpoint: &EndpointStatus<'_>) -> Level {
    match reason(endpoint) {
        None => Level::Healthy,
        Some(_) if is_usable(endpoint) => Level::Degraded,
        Some(_) => Level::Unhealthy,
    }
}

fn is_usable(endpoint: &EndpointStatus<'_>) -> bool {
    (endpoint.reachable || endpoint.connections > 0)
        && endpoint.breaker != State::Open
        && !endpoint.ejected
        && endpoint.health != Level::Unhealthy
}

fn summary(endpoints: &[EndpointStatus<'_>]) -> Summary {
    endpoints.iter().map(level).collect()
}

/// The breaker of the whole: that of the endpoint that lets most through.
pub(crate) fn circuit(endpoints: &[EndpointStatus<'_>]) -> State {
    let any = |state| endpoints.iter().any(|endpoint| endpoint.breaker == state);
    match (any(State::Closed), any(State::HalfOpen), any(State::Open)) {
        (true, ..) | (false, false, false) => State::Closed,
        (false, true, _) => State::HalfOpen,
        (false, false, true) => State::Open,
    }
}

/// The mean over those endpoints that have answered.
pub(crate) fn response_time_ms(endpoints: &[EndpointStatus<'_>]) -> f64 {
    let times: Vec<f64> = endpoints.iter().map(millis).filter(|&time| time > 0.0).collect();
    if times.is_empty() { 0.0 } else { times.iter().sum::<f64>() / times.len() as f64 }
}
