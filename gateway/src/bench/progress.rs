//! What is said while it runs: one line that is written over again, and only to a terminal.

use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::time::Duration;

use super::load::Load;
use crate::figures::thousands;

const INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Progress {
    is_shown: bool,
}

impl Progress {
    /// Nothing is said if standard error is no terminal.
    pub(super) fn on_terminal() -> Self {
        Progress { is_shown: io::stderr().is_terminal() }
    }

    pub(super) fn say(&self, text: &str) {
        if self.is_shown {
            // Back to the first column, and erase what stood there.
            anstream::eprint!("\r\x1b[K{text}");
        }
    }

    pub(super) fn clear(&self) {
        self.say("");
    }

    /// Says every second how far it is.
    pub(super) async fn follow(&self, load: &Load, requests: Option<u64>, seconds: u64) -> Infallible {
        if !self.is_shown {
            return std::future::pending().await;
        }
        let mut before = 0;
        for second in 1u64.. {
            tokio::time::sleep(INTERVAL).await;
            let tally = load.tally();
            let done = tally.requests();
            let far = match requests {
                Some(all) => format!("{} of {} requests", thousands(done), thousands(all)),
                None => format!("{second} of {seconds} s, {} requests", thousands(done)),
            };
            let errors = match tally.failed() {
                0 => String::new(),
                n => format!(", {} errors", thousands(n)),
            };
            self.say(&format!("{far}, {} a second{errors}", thousands(done - before)));
            before = done;
        }
        unreachable!("seconds do not run out")
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
