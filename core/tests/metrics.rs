//! What clients and servers count: what several have counted adds up.

use std::time::Duration;

use plimsoll_core::metrics::{Histogram, Rate};
use plimsoll_core::service::{client, server};
use plimsoll_core::time::Instant;

const NOW: Instant = Instant::from_millis(500);
const NEXT: Instant = Instant::from_millis(600);

fn latency() -> Histogram {
    let mut latency = Histogram::default();
    latency.record(Duration::from_millis(3));
    latency
}

fn rate() -> Rate {
    let mut rate = Rate::default();
    rate.record(NOW);
    rate
}

/// Every field is named, each with a number of its own: a new one that is not added up does not go unnoticed.
fn client_metrics() -> client::Metrics {
    client::Metrics {
        requests: 1,
        succeeded: 2,
        failed: 3,
        failures: client::Failures { remote: 4, timeout: 5, lost: 6, protocol: 7, cancelled: 8 },
        rejected: 9,
        rejections: client::Rejections {
            overloaded: 10,
            circuit_open: 11,
            no_endpoint: 12,
            panicked: 13,
            unhealthy: 14,
            throttled: 15,
            limited: 16,
            rate_limited: 17,
            shutting_down: 18,
        },
        retries: 19,
        hedges: 20,
        hedges_won: 21,
        latency: latency(),
        rate: rate(),
        bytes_in: 22,
        bytes_out: 23,
        dials: 24,
        reconnects: 25,
        pings: 26,
        probes: 27,
        skipped_bytes: 28,
        late_responses: 29,
        protocol_errors: 30,
    }
}

fn server_metrics() -> server::Metrics {
    server::Metrics {
        accepted: 1,
        refused: 2,
        closed: server::Closed { peer: 3, fault: 4, protocol: 5, idle: 6, shutdown: 7 },
        requests: 8,
        answered: 9,
        failed: 10,
        unanswered: 11,
        abandoned: 12,
        pings: 13,
        bytes_in: 14,
        bytes_out: 15,
        unsent_bytes: 16,
        protocol_errors: server::ProtocolErrors {
            bad_magic: 17,
            bad_version: 18,
            too_large: 19,
            bad_method: 20,
            stalled: 21,
        },
        skipped_bytes: 22,
        latency: latency(),
        rate: rate(),
    }
}

#[test]
fn what_two_clients_have_counted_adds_up() {
    let mut sum = client::Metrics::default();
    sum.merge(&client_metrics());
    assert_eq!(format!("{sum:?}"), format!("{:?}", client_metrics()), "nothing and something");
    sum.merge(&client_metrics());
    assert_eq!((sum.requests, sum.rejections.shutting_down, sum.protocol_errors), (2, 36, 60));
    assert_eq!((sum.latency.count(), sum.rate.per_second(NEXT)), (2, 2));
    sum.reset();
    assert_eq!(format!("{sum:?}"), format!("{:?}", client::Metrics::default()));
}

#[test]
fn what_two_servers_have_counted_adds_up() {
    let mut sum = server::Metrics::default();
    sum.merge(&server_metrics());
    assert_eq!(format!("{sum:?}"), format!("{:?}", server_metrics()), "nothing and something");
    sum.merge(&server_metrics());
    assert_eq!((sum.accepted, sum.closed.shutdown, sum.protocol_errors.stalled), (2, 14, 42));
    assert_eq!((sum.latency.count(), sum.rate.per_second(NEXT)), (2, 2));
    sum.reset();
    assert_eq!(format!("{sum:?}"), format!("{:?}", server::Metrics::default()));
}
