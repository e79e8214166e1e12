//! A fleet in one process: clients, servers and the network between them, in virtual time.

mod report;

pub use report::{Bucket, Check, Latency, Mark, Progress, Report, Totals};
