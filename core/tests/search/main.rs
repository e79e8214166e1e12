//! Small worlds, searched exhaustively: every interleaving of what may happen, up to a stated depth.
//!
//! `cargo test -p plimsoll-core --test search -- --nocapture` tells how many states that were. `PLIMSOLL_SEARCH_DEEPER=2`
//! goes two moves deeper than usual everywhere; each takes several times as long as the one before.

#[path = "../ipc_support/mod.rs"]
mod ipc_support;

mod ages;
mod breaker;
mod client;

mod coalesce;

mod fast_failures;
mod hub;
mod ipc_client;
mod outliers;
mod pool;
mod server;

use std::fmt;

use plimsoll_core::testing::search::{Limits, World, search};

/// Every interleaving of so many moves, from `root` on.
#[allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "how long it takes is told, and decides nothing"
)]
#[track_caller]
fn explore<W: World>(name: &str, root: &W, depth: u32) {
    let deeper =
        std::env::var("PLIMSOLL_SEARCH_DEEPER").map_or(0, |more| more.parse().expect("a number of moves"));
    let began = std::time::Instant::now();
    let found = search(root, Limits { depth: depth + deeper, states: 100_000_000 });
    println!("{name}: {found}, {:.1} s", began.elapsed().as_secs_f64());
    if let Some(violation) = found.violation {
        panic!("{name}: {violation}");
    }
}

/// What a world says of itself if something does not hold.
fn agree<T: PartialEq + fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, and not {expected:?}")) }
}
