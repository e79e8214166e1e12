//! `/metrics`: the same counters as JSON for people, or as text for Prometheus if it asks by `Accept`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use plimsoll_core::cluster::EndpointStatus;
use plimsoll_core::metrics::Histogram;
use plimsoll_core::policy::health_check::Level;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};
use serde_json::{Value, json};

use crate::backend::{PROJECT_SERVICE, rejections};
use crate::metrics::{CLASSES, ConnEnd, Route, Snapshot};
use crate::reply::Reply;
use crate::routes::Routes;
use crate::services;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    OpenMetrics,
    Prometheus,
}

/// All counters in the format that `Accept` asks for.
pub(crate) async fn reply(routes: &Routes, headers: &HeaderMap) -> Reply {
    let all = All {
        edge: routes.metrics.snapshot(),
        project: routes.backend.pool().await,
        endpoints: routes.backend.endpoints().await,
        is_embedded: routes.services.is_embedded,
    };
    let prefix = routes.metrics_prefix.stem();
    match format(headers) {
        Format::Json => Reply::of(StatusCode::OK, &all.json()),
        Format::OpenMetrics => Reply::new(StatusCode::OK, OPENMETRICS, openmetrics(prefix, all)),
        Format::Prometheus => Reply::new(StatusCode::OK, PROMETHEUS, classic(&openmetrics(prefix, all))),
    }
}

/// The first type in `Accept` that is served, by its weight; JSON for `*/*` and for nothing.
fn format(headers: &HeaderMap) -> Format {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut best = (Format::Json, 0.0);
    for item in accept.flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/openmetrics-text" => Format::OpenMetrics,
            "text/plain" => Format::Prometheus,
            "application/json" | "application/*" | "*/*" => Format::Json,
            _ => continue,
        };
        let weight =
            parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse).unwrap_or(0.0);
        if weight > best.1 {
            best = (format, weight);
        }
    }
    best.0
}

#[derive(Debug)]
struct All {
    edge: Snapshot,
    project: plimsoll_tokio::Snapshot,
    endpoints: Vec<EndpointStatus<'static>>,
    /// The service runs in this process, for as long as the gateway does.
    is_embedded: bool,
}

impl All {
    fn json(&self) -> Value {
        let edge = &self.edge;
        let classes =
            (0..CLASSES.len()).map(|class| (CLASSES[class], edge.class(class))).collect::<BTreeMap<_, _>>();
        let ended = ConnEnd::ALL
            .iter()
            .map(|&end| (end.name(), edge.ended[end as usize]))
            .collect::<BTreeMap<_, _>>();
        json!({
            "gateway": {
                "requests_processed": edge.processed(),
                "requests_per_second": edge.per_second,
                "avg_response_time_ms": millis(edge.latency.mean()),
                "p99_response_time_ms": millis(edge.latency.quantile(990)),
                "active_requests": edge.active_requests,
                "cancelled_requests": edge.cancelled,
                "responses": classes,
                "uptime_seconds": edge.uptime.as_secs(),
            },
            "server": { "active_connections": edge.active_connections, "ended_connections": ended },
            "uw_clients": { (PROJECT_SERVICE): self.pool_json() },
        })
    }

    fn pool_json(&self) -> Value {
        let (status, pool) = (&self.project.status, &self.project.metrics);
        json!({
            "connections": status.connections,
            "available": status.available,
            "dialing": status.dialing,
            "in_flight": status.in_flight,
            "waiting": status.waiting,
            "endpoints": status.endpoints,
            "endpoints_out": status.endpoints_out,
            "requests": pool.requests,
            "requests_per_second": self.project.requests_per_second,
            "succeeded": pool.succeeded,
            "failed": {
                "remote": pool.failures.remote,
                "timeout": pool.failures.timeout,
                "lost": pool.failures.lost,
                "protocol": pool.failures.protocol,
                "cancelled": pool.failures.cancelled,
            },
            "rejected": pool.rejected,
            "rejections": rejections(&self.project).into_iter().collect::<BTreeMap<_, _>>(),
            "retries": pool.retries,
            "hedges": pool.hedges,
            "hedges_won": pool.hedges_won,
            "avg_response_time_ms": millis(pool.latency.mean()),
            "p99_response_time_ms": millis(pool.latency.quantile(990)),
            "bytes_in": pool.bytes_in,
            "bytes_out": pool.bytes_out,
            "reconnects": pool.reconnects,
            "pings": pool.pings,
            "probes": pool.probes,
            "late_responses": pool.late_responses,
            "skipped_bytes": pool.skipped_bytes,
            "protocol_errors": pool.protocol_errors,
        })
    }
}

fn millis(duration: Option<Duration>) -> f64 {
    duration.unwrap_or_default().as_secs_f64() * 1_000.0
}

fn openmetrics(prefix: &str, all: All) -> String {
    let mut registry = Registry::with_prefix(prefix);
    registry.register_collector(Box::new(all));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

/// The older text format: there the name of a counter's family carries `_total` too, and units are unknown.
fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let is_counter = |name: &str| openmetrics.contains(&format!("# TYPE {name} counter\n"));
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("UNIT" | "EOF"), ..) => continue,
            (Some("#"), Some(keyword), Some(name), Some(rest)) if is_counter(name) => {
                text += &format!("# {keyword} {name}_total {rest}\n");
            }
            _ => {
                text += line;
                text.push('\n');
            }
        }
    }
    text
}

type NoLabels = [(&'static str, &'static str); 0];

const SERVICE: [(&str, &str); 1] = [("service", PROJECT_SERVICE)];

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.encode_edge(&mut encoder)?;
        self.encode_service(&mut encoder)?;
        self.encode_endpoints(&mut encoder)
    }
}

impl All {
    fn encode_edge(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let edge = &self.edge;
        let mut family =
            encoder.encode_descriptor("http_requests", "Answered requests", None, MetricType::Counter)?;
        for route in Route::ALL {
            for (class, name) in CLASSES.iter().enumerate().skip(1) {
                let labels = [("route", route.pattern()), ("status", *name)];
                counter(family.encode_family(&labels)?, edge.answers[route as usize][class])?;
            }
        }
        let help = "Requests whose client left before the answer";
        counter(
            encoder.encode_descriptor("http_requests_cancelled", help, None, MetricType::Counter)?,
            edge.cancelled,
        )?;
        gauge(encoder, "http_requests_active", "Requests that are being answered", edge.active_requests)?;
        let help = "From a request's headers to the head of its answer";
        let encoder_of = encoder.encode_descriptor(
            "http_request_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        histogram(encoder_of, &edge.latency)?;
        gauge(encoder, "http_connections_active", "Connections that stand", edge.active_connections)?;
        let help = "Connections that ended, by how";
        let mut family =
            encoder.encode_descriptor("http_connections_ended", help, None, MetricType::Counter)?;
        for end in ConnEnd::ALL {
            counter(family.encode_family(&[("how", end.name())])?, edge.ended[end as usize])?;
        }
        let help = "Since it started, as far as this process knows";
        let mut family =
            encoder.encode_descriptor("uptime", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        family.encode_family(&[("service", "api-gateway")])?.encode_gauge(&edge.uptime.as_secs_f64())?;
        if self.is_embedded {
            family.encode_family(&SERVICE)?.encode_gauge(&edge.uptime.as_secs_f64())?;
        }
        Ok(())
    }

    /// What is told of each endpoint, and of the service as a whole where that differs from its sums.
    fn encode_endpoints(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "0 closed, 1 open, 2 half-open: of the endpoint that lets most through";
        let state = services::circuit(&self.endpoints);
        let mut family = encoder.encode_descriptor("circuit_breaker_state", help, None, MetricType::Gauge)?;
        family.encode_family(&SERVICE)?.encode_gauge(&(state as i64))?;
        let help = "What a request took lately, on average over the endpoints that are used";
        let mut family =
            encoder.encode_descriptor("service_response_time_ms", help, None, MetricType::Gauge)?;
        family.encode_family(&SERVICE)?.encode_gauge(&services::response_time_ms(&self.endpoints))?;
        type Read = fn(&EndpointStatus<'_>) -> f64;
        let gauges: [(&str, &str, Read); 5] = [
            ("endpoint_health", "1 healthy, 0.5 degraded, 0 unhealthy", |e| match services::level(e) {
                Level::Healthy => 1.0,
                Level::Degraded => 0.5,
                Level::Unhealthy => 0.0,
            }),
            ("endpoint_circuit_breaker_state", "0 closed, 1 open, 2 half-open", |e| {
                f64::from(e.breaker as u8)
            }),
            ("endpoint_connections", "Connections that stand", |e| e.connections.into()),
            ("endpoint_in_flight", "Requests on a connection", |e| e.in_flight.into()),
            ("endpoint_score", "How well it serves, from 0 to 1", |e| f64::from(e.score_per_mille) / 1_000.0),
        ];
        for (name, help, read) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for endpoint in &self.endpoints {
                let labels = [("service", PROJECT_SERVICE), ("endpoint", &endpoint.address)];
                family.encode_family(&labels)?.encode_gauge(&read(endpoint))?;
            }
        }
        Ok(())
    }

    fn encode_service(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let (status, pool) = (&self.project.status, &self.project.metrics);
        let gauges: [(&str, &str, u64); 5] = [
            ("service_health", "1 if a request could be sent now", u64::from(status.available > 0)),
            ("service_connections", "Connections that stand", status.connections.into()),
            ("service_in_flight", "Requests on a connection", status.in_flight.into()),
            ("service_waiting", "Requests that wait for a connection", status.waiting.into()),
            ("service_endpoints_out", "Endpoints whose breaker is open", status.endpoints_out.into()),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            family.encode_family(&SERVICE)?.encode_gauge(&(value as i64))?;
        }
        let counters: [(&str, &str, u64); 14] = [
            ("service_requests", "Requests taken", pool.requests),
            ("service_failures", "Requests that did not succeed", pool.failed),
            ("service_rejected", "Requests refused before they were sent", pool.rejected),
            ("service_retries", "Times that a request was sent again", pool.retries),
            ("service_hedges", "Second copies sent because a request was slow", pool.hedges),
            ("service_hedges_won", "Second copies that were answered first", pool.hedges_won),
            ("service_reconnects", "Connections that were lost", pool.reconnects),
            ("service_pings", "Pings sent", pool.pings),
            ("service_probes", "Questions to endpoints how busy they are", pool.probes),
            ("service_received_bytes", "Bytes received", pool.bytes_in),
            ("service_sent_bytes", "Bytes sent", pool.bytes_out),
            ("service_late_responses", "Answers that nobody waited for", pool.late_responses),
            ("service_skipped_bytes", "Bytes skipped on the way to the next frame", pool.skipped_bytes),
            (
                "service_protocol_errors",
                "Connections closed for breaking the wire's rules",
                pool.protocol_errors,
            ),
        ];
        for (name, help, value) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter(family.encode_family(&SERVICE)?, value)?;
        }
        let help = "Requests refused by this gateway's own policy, by why";
        let mut family = encoder.encode_descriptor("service_rejections", help, None, MetricType::Counter)?;
        for (reason, value) in rejections(&self.project) {
            let labels = [("service", PROJECT_SERVICE), ("reason", reason)];
            counter(family.encode_family(&labels)?, value)?;
        }
        let help = "From a request being taken to its answer";
        let mut family = encoder.encode_descriptor(
            "service_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        histogram(family.encode_family(&SERVICE)?, &pool.latency)
    }
}

fn counter(mut encoder: MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter(&value, None::<&Exemplar<NoLabels, u64>>)
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> fmt::Result {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&(value as i64))
}

/// Upper bounds in milliseconds.
const BOUNDS: [u64; 13] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 30_000];

fn histogram(mut encoder: MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let mut below = 0;
    let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(BOUNDS.len() + 1);
    for ms in BOUNDS {
        let at_most = histogram.at_most(Duration::from_millis(ms));
        buckets.push((ms as f64 / 1_000.0, at_most - below));
        below = at_most;
    }
    buckets.push((f64::INFINITY, histogram.count() - below));
    let sum = histogram.sum_nanos() as f64 / 1e9;
    encoder.encode_histogram(
        sum,
        histogram.count(),
        &buckets,
        None::<&HashMap<usize, Exemplar<NoLabels, f64>>>,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> All {
        let metrics = crate::metrics::Metrics::default();
        let now = tokio::time::Instant::now();
        metrics.answered(Route::Health, StatusCode::OK, Duration::from_millis(3), now);
        metrics.answered(Route::Health, StatusCode::OK, Duration::from_secs(60), now);
        All {
            edge: metrics.snapshot(),
            project: plimsoll_tokio::Snapshot::default(),
            endpoints: Vec::new(),
            is_embedded: true,
        }
    }

    #[test]
    fn accept_chooses_the_format_by_weight() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, expected) in [
            ("*/*", Format::Json),
            ("", Format::Json),
            ("text/html, */*;q=0.1", Format::Json),
            ("text/plain", Format::Prometheus),
            ("TEXT/PLAIN; version=0.0.4", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            (prometheus, Format::OpenMetrics),
            ("text/plain;q=nonsense", Format::Json),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            assert_eq!(format(&headers), expected, "{accept}");
        }
    }

    #[test]
    fn openmetrics_text_has_families_units_and_an_end() {
        let text = openmetrics("plimsoll", all());
        for line in [
            "# TYPE plimsoll_http_requests counter",
            "plimsoll_http_requests_total{route=\"/health\",status=\"2xx\"} 2",
            "plimsoll_http_request_duration_seconds_bucket{le=\"0.002\"} 0",
            "plimsoll_http_request_duration_seconds_bucket{le=\"0.005\"} 1",
            "plimsoll_http_request_duration_seconds_bucket{le=\"+Inf\"} 2",
            "plimsoll_http_request_duration_seconds_count 2",
            "plimsoll_service_health{service=\"project-service\"} 0",
            "# UNIT plimsoll_service_duration_seconds seconds",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn classic_text_names_counters_as_their_samples() {
        let text = classic(&openmetrics("plimsoll", all()));
        assert!(text.contains("# TYPE plimsoll_http_requests_total counter\n"), "{text}");
        assert!(text.contains("# TYPE plimsoll_http_requests_active gauge\n"), "{text}");
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    }
}
