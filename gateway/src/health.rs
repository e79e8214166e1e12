//! `/health`: whether the gateway and what stands behind it can do their work, asked anew each time.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde::Serialize;
use time::OffsetDateTime;

use crate::reply::Reply;
use crate::routes::Routes;

/// How long a service may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Health {
    status: &'static str,
    services: Services,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
    response_time_ms: u64,
    /// Seconds since 1970.
    timestamp: i64,
}

#[derive(Serialize)]
struct Services {
    uw_services: UwServices,
    api_gateway: Gateway,
}

#[derive(Serialize)]
struct UwServices {
    project_service: Service,
}

#[derive(Serialize)]
struct Service {
    healthy: bool,
    status: &'static str,
    response_time_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Gateway {
    healthy: bool,
    requests_processed: u64,
    requests_per_second: u64,
    avg_response_time_ms: f64,
    uptime_seconds: u64,
}

/// 200 if all is well, else 503: `degraded` while the gateway itself still works.
pub(crate) async fn reply(routes: &Routes) -> Reply {
    let start = Instant::now();
    let project_service = project_service(routes).await;
    let healthy = project_service.healthy;
    let errors = project_service.error.iter().map(|error| format!("project_service: {error}")).collect();
    let health = Health {
        status: if healthy { "healthy" } else { "degraded" },
        services: Services { uw_services: UwServices { project_service }, api_gateway: gateway(routes) },
        errors,
        response_time_ms: millis(start.elapsed()),
        timestamp: OffsetDateTime::now_utc().unix_timestamp(),
    };
    Reply::of(if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &health)
}

async fn project_service(routes: &Routes) -> Service {
    let start = Instant::now();
    let error = routes.backend.ping(PING_TIMEOUT).await.err().map(|error| error.to_string());
    let healthy = error.is_none();
    let status = if healthy { "healthy" } else { "unhealthy" };
    Service { healthy, status, response_time_ms: millis(start.elapsed()), error }
}

fn gateway(routes: &Routes) -> Gateway {
    let snapshot = routes.metrics.snapshot();
    Gateway {
        healthy: true,
        requests_processed: snapshot.processed(),
        requests_per_second: snapshot.per_second,
        avg_response_time_ms: snapshot.latency.mean().unwrap_or_default().as_secs_f64() * 1_000.0,
        uptime_seconds: snapshot.uptime.as_secs(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
