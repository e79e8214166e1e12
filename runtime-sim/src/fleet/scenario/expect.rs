//! What must hold, and under which policy.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::units::{Factor, Length, Share};

/// All expectations, by kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expectations {
    pub(crate) goodput: Vec<Goodput>,
    pub(crate) latency: Vec<LatencyAtMost>,
    pub(crate) attempts: Vec<Attempts>,
    pub(crate) recovery: Vec<Recovery>,
    pub(crate) count: Vec<Count>,
}

/// Such a share of the calls that come in the window is answered well.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goodput {
    pub(crate) at_least: Share,
    #[serde(default)]
    pub(crate) from: Length,
    pub(crate) until: Option<Length>,
    pub(crate) clients: Option<Spanned<String>>,
    pub(crate) policies: Option<Spanned<Vec<String>>>,
    pub(crate) missed_by: Option<Spanned<Vec<String>>>,
}

/// Good calls that come in the window take no longer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LatencyAtMost {
    pub(crate) p50: Option<Length>,
    pub(crate) p90: Option<Length>,
    pub(crate) p99: Option<Length>,
    pub(crate) p999: Option<Length>,
    #[serde(default)]
    pub(crate) from: Length,
    pub(crate) until: Option<Length>,
    pub(crate) clients: Option<Spanned<String>>,
    pub(crate) policies: Option<Spanned<Vec<String>>>,
    pub(crate) missed_by: Option<Spanned<Vec<String>>>,
}

impl LatencyAtMost {
    /// What is said of which thousandth.
    pub(crate) fn quantiles(&self) -> impl Iterator<Item = (&'static str, u64, Duration)> {
        let said = [
            ("p50", 500, self.p50),
            ("p90", 900, self.p90),
            ("p99", 990, self.p99),
            ("p99.9", 999, self.p999),
        ];
        said.into_iter().filter_map(|(name, per_mille, most)| Some((name, per_mille, most?.0)))
    }
}

/// Requests reach servers at most so often per call in the window.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attempts {
    pub(crate) per_call: Factor,
    #[serde(default)]
    pub(crate) from: Length,
    pub(crate) until: Option<Length>,
    pub(crate) policies: Option<Spanned<Vec<String>>>,
    pub(crate) missed_by: Option<Spanned<Vec<String>>>,
}

/// So long after a time, such a share of the calls is answered well, from then on to the end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recovery {
    pub(crate) after: Length,
    pub(crate) within: Length,
    pub(crate) goodput: Share,
    pub(crate) policies: Option<Spanned<Vec<String>>>,
    pub(crate) missed_by: Option<Spanned<Vec<String>>>,
}

/// Something happens so often, in the whole run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Count {
    pub(crate) of: Counted,
    pub(crate) at_least: Option<u64>,
    pub(crate) at_most: Option<u64>,
    pub(crate) policies: Option<Spanned<Vec<String>>>,
    pub(crate) missed_by: Option<Spanned<Vec<String>>>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Counted {
    Failed,
    Retries,
    Hedges,
    Ejections,
    BreakerTrips,
    Dials,
    UnsentBytes,
}
