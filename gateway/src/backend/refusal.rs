//! What our own policy refuses, in words: for clients, for machines, and as counters.

use plimsoll_core::error::Rejected;
use plimsoll_core::service::client::Rejections;
use plimsoll_tokio::Snapshot;

/// What a client is told.
pub(super) fn sentence(rejected: Rejected) -> String {
    match rejected {
        Rejected::Overloaded => "too many requests wait for the project service".into(),
        Rejected::CircuitOpen => {
            "the project service has failed too often lately, and is left alone for a while".into()
        }
        Rejected::Panicked => {
            "too few endpoints of the project service serve well, and then none is asked, as configured".into()
        }
        Rejected::Unhealthy => {
            "every endpoint of the project service is unhealthy or serves badly, and is left alone for a while".into()
        }
        Rejected::Throttled { per_mille } => {
            let percent = per_mille.div_ceil(10);
            format!("the project service refuses too much at present; {percent} % of all requests are not sent to it")
        }
        Rejected::Limited { limit } => {
            format!("{limit} requests to the project service are under way, as many as it can take at present")
        }
        Rejected::RateLimited { retry_after } => {
            let ms = retry_after.as_nanos().div_ceil(1_000_000);
            format!("more requests to the project service are not allowed yet; try again in {ms} ms")
        }
        other => format!("the project service cannot be reached: {other}"),
    }
}

/// A word for machines.
pub(crate) fn code(rejected: Rejected) -> &'static str {
    match rejected {
        Rejected::Overloaded => "OVERLOADED",
        Rejected::CircuitOpen => "CIRCUIT_OPEN",
        Rejected::Panicked => "PANICKED",
        Rejected::Unhealthy => "UNHEALTHY",
        Rejected::Throttled { .. } => "THROTTLED",
        Rejected::Limited { .. } => "CONCURRENCY_LIMITED",
        Rejected::RateLimited { .. } => "RATE_LIMITED",
        _ => "SERVICE_UNAVAILABLE",
    }
}

/// How many requests were refused, by why.
pub(crate) fn rejections(pool: &Snapshot) -> [(&'static str, u64); 9] {
    let Rejections {
        overloaded,
        circuit_open,
        no_endpoint,
        panicked,
        unhealthy,
        throttled,
        limited,
        rate_limited,
        shutting_down,
    } = pool.metrics.rejections;
    [
        ("overloaded", overloaded),
        ("circuit_open", circuit_open),
        ("no_endpoint", no_endpoint),
        ("panicked", panicked),
        ("unhealthy", unhealthy),
        ("throttled", throttled),
        ("limited", limited),
        ("rate_limited", rate_limited),
        ("shutting_down", shutting_down),
    ]
}
