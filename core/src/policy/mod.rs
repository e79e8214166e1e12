//! Leaf machines, each usable alone: they answer by value, know only the time, and allocate nothing.
//!
//! | leaf | answers |
//! |---|---|
//! | [`Backoff`] | how long to wait before the next attempt |
//! | [`Watermark`] | whether a queue is too full, in items or bytes |
//! | [`Heartbeat`] | whether to ping a silent connection, and when its peer is dead |
//! | [`Breaker`] | whether to call what has failed lately |
//! | [`PeakEwma`] | what a call to an endpoint costs lately |
//! | [`Balancer`] | which endpoint gets the next call |
//! | [`Subset`] | which endpoints of a large fleet a client uses at all |
//! | [`Ramp`] | how much of its weight a fresh endpoint has |
//! | [`Priorities`] | which priority level takes the next call |
//! | [`panic`](mod@panic) | whether so many endpoints are out that all, or none, should be asked |
//! | [`RetryBudget`] | whether a call may be repeated |
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
pub mod ewma;
pub mod fixed;
pub mod heartbeat;
mod mix;
pub mod panic;
pub mod priority;
pub mod retry_budget;
pub mod slow_start;
pub mod subset;
pub mod watermark;

pub use backoff::Backoff;
pub use balance::Balancer;
pub use breaker::Breaker;
pub use ewma::PeakEwma;
pub use fixed::Ratio;
pub use heartbeat::Heartbeat;
pub use priority::Priorities;
pub use retry_budget::RetryBudget;
pub use slow_start::Ramp;
pub use subset::Subset;
pub use watermark::Watermark;
