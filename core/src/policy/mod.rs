//! Leaf machines, each usable alone: they answer by value, and know only the time.

pub mod backoff;
pub mod balance;
pub mod breaker;
mod buckets;
pub mod ewma;
pub mod fixed;
pub mod heartbeat;
pub mod retry_budget;
pub mod watermark;

pub use backoff::Backoff;
pub use balance::Balancer;
pub use breaker::Breaker;
pub use ewma::PeakEwma;
pub use fixed::Ratio;
pub use heartbeat::Heartbeat;
pub use retry_budget::RetryBudget;
pub use watermark::Watermark;
