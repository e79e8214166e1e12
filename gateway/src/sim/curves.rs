//! A report's figures over time, in the units that people see them in.

use plimsoll_sim::fleet::{Bucket, Report};
use serde::Serialize;

use crate::figures::micros;

/// One stretch of a run. As JSON, an object with these keys.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Point {
    /// Its middle, in seconds since the beginning.
    pub(super) at_s: f64,
    pub(super) offered_per_s: f64,
    pub(super) good_per_s: f64,
    /// Requests that reached a server.
    pub(super) attempts_per_s: f64,
    /// The most bytes of answers that one server held.
    pub(super) unsent_bytes: u64,
    /// Microseconds; `None` where no call was answered well.
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
}

pub(super) fn points(report: &Report) -> Vec<Point> {
    let ends = report.series.iter().skip(1).map(|bucket| bucket.at).chain([report.length]);
    report.series.iter().zip(ends).map(|(bucket, end)| point(bucket, end.as_secs_f64())).collect()
}

fn point(bucket: &Bucket, end: f64) -> Point {
    let begin = bucket.at.as_secs_f64();
    let wide = (end - begin).max(1e-9);
    let latency = |quantile| (bucket.good > 0).then(|| micros(quantile));
    Point {
        at_s: (begin + end) / 2.0,
        offered_per_s: bucket.offered as f64 / wide,
        good_per_s: bucket.good as f64 / wide,
        attempts_per_s: bucket.attempts as f64 / wide,
        unsent_bytes: bucket.unsent_bytes,
        p50_us: latency(bucket.p50),
        p99_us: latency(bucket.p99),
    }
}
