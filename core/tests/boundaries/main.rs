//! A fault at every boundary: golden traces are played, and at every index of each a fault comes between two steps, every
//! one that there may be in turn: a cancelled request, a lost connection, a jump to the next deadline, a clock that jumps an
//! hour ahead or back. Then the trace goes on as if nothing had happened, and at its end nothing is left over: every request
//! that was taken has ended once, every permit, place, waiter and timer is given back, and another request is served.
//!
//! A trace is a list of inputs and commands. What makes no sense any more after a fault is passed over, as by a runtime that
//! has dropped the socket.

#[path = "../ipc_net/mod.rs"]
mod ipc_net;
#[path = "../support/mod.rs"]
mod server_support;

mod client;
mod ipc;
mod server;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use plimsoll_core::time::Instant;

/// What comes between two steps.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Of the request with this number.
    Cancel(usize),
    /// Of the connection, or service, with this number.
    Disconnect(usize),
    /// Time passes to the next deadline.
    Timeout,
    /// From the next step on, the clock shows an hour more.
    Forwards,
    /// From the next step on, the clock shows half of what it did.
    Backwards,
}

const HOUR: Duration = Duration::from_secs(3_600);

/// The time that the clock shows after a jump.
fn jumped(now: Instant, fault: Fault) -> Instant {
    match fault {
        Fault::Forwards => now + HOUR,
        Fault::Backwards => Instant::from_nanos(now.as_nanos() / 2),
        _ => now,
    }
}

/// A machine with all that surrounds it.
trait Player {
    type Step;

    fn play(&mut self, step: &Self::Step);

    /// Requests that may be cancelled, and connections that may be lost.
    fn targets(&self) -> Vec<Fault>;

    fn strike(&mut self, fault: Fault);

    /// Comes to rest, and looks that nothing is left over.
    fn finish(self);
}

/// Plays the trace with every fault at every index. How many runs that were is told.
fn strike_everywhere<P: Player>(name: &str, start: impl Fn() -> P, trace: &[P::Step]) {
    let mut runs = 1;
    tell(name, "without a fault", || {
        let mut player = start();
        trace.iter().for_each(|step| player.play(step));
        player.finish();
    });
    for at in 0..=trace.len() {
        let prefix = || {
            let mut player = start();
            trace[..at].iter().for_each(|step| player.play(step));
            player
        };
        let always = [Fault::Timeout, Fault::Forwards, Fault::Backwards];
        for fault in prefix().targets().into_iter().chain(always) {
            runs += 1;
            tell(name, &format!("{fault:?} before step {at}"), || {
                let mut player = prefix();
                player.strike(fault);
                trace[at..].iter().for_each(|step| player.play(step));
                player.finish();
            });
        }
    }
    println!("{name}: {} steps, {runs} runs", trace.len());
}

/// Says which run it was that failed.
#[track_caller]
fn tell(name: &str, what: &str, run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panics");
        panic!("{name}, {what}: {text}");
    }
}
