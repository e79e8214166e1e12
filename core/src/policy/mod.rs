//! Leaf machines, each usable alone: they answer by value, know only the time, and allocate nothing once warm.
//!
//! | leaf | answers |
//! |---|---|
//! | [`Backoff`] | how long to wait before the next attempt |
//! | [`Watermark`] | whether a queue is too full, in items or bytes |
//! | [`Heartbeat`] | whether to ping a silent connection, and when its peer is dead |
//! | [`Phi`] | how sure it is that a silent peer is dead |
//! | [`HealthCheck`] | when to ask an endpoint how it is, and its level after the answers |
//! | [`HealthScore`] | how well an endpoint serves, from 0 to 1 |
//! | [`Breaker`] | whether to call what has failed lately |
//! | [`Outliers`] | which endpoints serve worse than the others, and are left out |
//! | [`PeakEwma`] | what a call to an endpoint costs lately |
//! | [`Balancer`] | which endpoint gets the next call |
//! | [`Subset`] | which endpoints of a large fleet a client uses at all |
//! | [`Ramp`] | how much of its weight a fresh endpoint has |
//! | [`Priorities`] | which priority level takes the next call |
//! | [`panic`](mod@panic) | whether so many endpoints are out that all, or none, should be asked |
//! | [`Dial`] | which address of a name to try next, and which connection has won |
//! | [`RetryBudget`] | whether a call may be repeated |
//! | [`Hedging`] | whether to ask a second endpoint without waiting for the first |
//! | [`Concurrency`] | how many calls may be in flight, found out by watching |
//! | [`Throttle`] | whether to send what would be refused anyway |
//! | [`Limiter`], [`Gcra`] | whether a caller has used up its rate |
//! | [`Coalesce`] | whether an equal request is in flight already |
//! | [`Cache`] | whether an answer was given lately |
//!
//! [`fixed`] holds the arithmetic they share: fractions and decays without floating point.
//!
//! They have a shape in common. A `Config` of public fields has the defaults, and each field says its range; a
//! value outside counts as the nearest inside. What depends on time takes `now`, and time that runs backwards
//! does no harm. What has to act by itself has a `deadline()` and a `tick(now)`: sleep until the one, then call
//! the other; an early or a repeated tick changes nothing. What needs chance takes a [`Pcg`](crate::rng::Pcg),
//! so that the same seed gives the same answers.

pub mod backoff;
pub mod balance;
pub mod breaker;
mod buckets;
pub mod coalesce;
pub mod concurrency;
pub mod dedup;
pub mod dial;
pub mod ewma;
pub mod fixed;
pub mod gcra;
pub mod health_check;
pub mod health_score;
pub mod heartbeat;
pub mod hedge;
mod mix;
pub mod outlier;
pub mod panic;
pub mod phi;
pub mod priority;
pub mod retry_budget;
pub mod slow_start;
pub mod subset;
pub mod throttle;
pub mod watermark;

pub use backoff::Backoff;
pub use balance::Balancer;
pub use breaker::Breaker;
pub use coalesce::Coalesce;
pub use concurrency::Concurrency;
pub use dedup::Cache;
pub use dial::Dial;
pub use ewma::PeakEwma;
pub use fixed::Ratio;
pub use gcra::{Gcra, Limiter};
pub use health_check::HealthCheck;
pub use health_score::HealthScore;
pub use heartbeat::Heartbeat;
pub use hedge::Hedging;
pub use outlier::Outliers;
pub use phi::Phi;
pub use priority::Priorities;
pub use retry_budget::RetryBudget;
pub use slow_start::Ramp;
pub use subset::Subset;
pub use throttle::Throttle;
pub use watermark::Watermark;
