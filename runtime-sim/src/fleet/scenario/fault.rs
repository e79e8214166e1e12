//! What goes wrong, when, and to whom.

use std::num::{NonZeroU32, NonZeroU64};

use serde::Deserialize;
use toml::Spanned;

use super::topology::Way;
use super::units::{Factor, Length, Share};

/// All faults, by kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Faults {
    pub(crate) slow: Vec<Slow>,
    pub(crate) fail_fast: Vec<Plain>,
    pub(crate) fail_share: Vec<FailShare>,
    pub(crate) grey: Vec<Grey>,
    pub(crate) leak: Vec<Leak>,
    pub(crate) flap: Vec<Flap>,
    pub(crate) busy: Vec<Busy>,
    pub(crate) crash: Vec<Plain>,
    pub(crate) kill: Vec<Plain>,
    pub(crate) restart: Vec<Restart>,
    pub(crate) deploy: Vec<Deploy>,
    pub(crate) pause: Vec<Plain>,
    pub(crate) partition: Vec<Partition>,
    pub(crate) one_way: Vec<OneWay>,
    pub(crate) link: Vec<Change>,
    pub(crate) slow_reader: Vec<SlowReader>,
    pub(crate) resolve: Vec<Resolve>,
    pub(crate) skew: Vec<Skew>,
}

/// From when to when: without `for`, to the end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plain {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) hosts: Spanned<String>,
}

/// Work takes so many times as long.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slow {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) hosts: Spanned<String>,
    pub(crate) factor: Factor,
}

/// Processors have so much else to do that each turn of a driver takes so long.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Busy {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) hosts: Spanned<String>,
    pub(crate) turn: Length,
}

/// Such a share of the answers is INTERNAL_ERROR, after the usual work.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FailShare {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) hosts: Spanned<String>,
    pub(crate) share: Share,
}

/// Slow, wrong now and then, and well if asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grey {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) hosts: Spanned<String>,
    pub(crate) factor: Factor,
    pub(crate) share: Share,
}

/// With every thousand requests, work takes so much longer, in usual times, until the host is started anew.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Leak {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) hosts: Spanned<String>,
    pub(crate) per_thousand: Factor,
}

/// Such a share of the health checks is answered that it is not well, though it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flap {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) hosts: Spanned<String>,
    pub(crate) share: Share,
}

/// Stops as it should, answering what it has taken, and starts anew, remembering nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restart {
    pub(crate) at: Length,
    pub(crate) hosts: Spanned<String>,
    /// From the stop to the start.
    pub(crate) down: Length,
}

/// Restarts one after the other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deploy {
    pub(crate) at: Length,
    pub(crate) hosts: Spanned<String>,
    /// So many at a time.
    pub(crate) batch: NonZeroU32,
    /// From one batch to the next.
    pub(crate) every: Length,
    pub(crate) down: Length,
    /// Whether they are killed instead of stopped.
    #[serde(default)]
    pub(crate) kill: bool,
}

/// Nothing passes between the one and the other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Partition {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) hosts: Spanned<String>,
    pub(crate) from: Spanned<String>,
}

/// Nothing that the one says reaches the other.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneWay {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) from: Spanned<String>,
    pub(crate) to: Spanned<String>,
}

/// The way between two zones is like that.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) way: Way,
}

/// Clients that take in only so much from each server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlowReader {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) hosts: Spanned<String>,
    pub(crate) bytes_per_second: NonZeroU64,
}

/// The names of servers mean other hosts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolve {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) hosts: Spanned<String>,
    pub(crate) to: Spanned<String>,
}

/// Wall clocks are wrong.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Skew {
    pub(crate) at: Length,
    pub(crate) r#for: Option<Length>,
    pub(crate) hosts: Spanned<String>,
    pub(crate) by_ms: i64,
}
