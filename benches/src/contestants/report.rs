//! What a child tells its parent.

use std::fmt;
use std::io::{self, Write};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Requests of this process that were answered as they should be.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// Counts answers. By one thread alone, so that it costs no more than the addition.
pub(super) fn answered(more: u64) {
    ANSWERED.store(ANSWERED.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

/// Counts an answer, on any thread.
pub(super) fn answered_here() {
    ANSWERED.fetch_add(1, Ordering::Relaxed);
}

/// Says that everything stands, and what the parent has to know; from now on another thread answers its lines, and
/// ends the process when it closes stdin, or is gone.
pub(super) fn ready(what: impl fmt::Display) {
    say(format_args!("ready {what}"));
    thread::spawn(|| {
        for _ in io::stdin().lines().map_while(io::Result::ok) {
            say(ANSWERED.load(Ordering::Relaxed));
        }
        process::exit(0);
    });
}

/// Says that so many requests were made and answered, and all is done.
pub(super) fn done(requests: u64) {
    say(format_args!("done {requests}"));
}

fn say(what: impl fmt::Display) {
    let mut stdout = io::stdout().lock();
    if writeln!(stdout, "{what}").and_then(|()| stdout.flush()).is_err() {
        // Nobody listens any more.
        process::exit(0);
    }
}
