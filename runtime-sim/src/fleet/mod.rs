//! A fleet in one process: clients, servers and the network between them, in virtual time, all of them the machines and
//! drivers that ship; and what goes wrong, from a file.
//!
//! Calls come as an open loop: when they come, however badly those before them fare, as the users of a service do. (A closed
//! loop slows down with a slow server, and hides what it costs.)
//!
//! ```
//! use plimsoll_sim::fleet::{self, Scenario};
//!
//! let scenario = Scenario::parse(r#"
//!     name = "one slow host"
//!     description = "One of four servers becomes fifty times slower."
//!     length = "10s"
//!
//!     [[servers]]
//!     name = "users"
//!     count = 4
//!     workers = 2
//!     service = { exponential = "10ms" }
//!
//!     [[clients]]
//!     name = "web"
//!
//!     [load]
//!     rate = 300
//!
//!     [[fault.slow]]
//!     at = "5s"
//!     hosts = "users/3"
//!     factor = 50
//!
//!     [policy.in_turn]
//!     strategy = "round_robin"
//!     ejection = false
//!
//!     [policy.by_cost]
//!     strategy = "p2c_ewma"
//!
//!     [[expect.goodput]]
//!     at_least = 0.99
//!     missed_by = ["in_turn"]
//! "#)?;
//!
//! for policy in scenario.policies() {
//!     let report = fleet::run(&scenario, policy, 7, &mut |_| {})?;
//!     assert!(report.is_as_stated(), "{:?}", report.checks);
//! }
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod bell;
mod caller;
mod checker;
mod crew;
mod distribution;
mod histogram;
mod report;
mod run;
mod scenario;
mod stage;
mod station;
mod tally;
mod timeline;
mod verdict;

pub use report::{Bucket, Check, Latency, Mark, Progress, Report, Totals};
pub use run::{RunError, run};
pub use scenario::{Policy, Scenario, ScenarioError};
