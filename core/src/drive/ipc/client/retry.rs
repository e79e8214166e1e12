//! Calls that are made again.

use core::time::Duration;

use super::error::{CallError, Cause};
use crate::wire::ipc::code;

/// How often a call is made again that has failed, and after how long. The call may run more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many times after the first. 3.
    pub times: u32,
    /// How long to wait before the first of them; before the second twice as long, and so on. 1 s.
    pub delay: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { times: 3, delay: Duration::from_secs(1) }
    }
}

impl Retry {
    /// How long to wait before the call is made for the `attempt`-th time after the first; `None` if it is not, because it
    /// was made often enough, or because it would fail in the same way.
    pub fn wait(&self, attempt: u32, error: &CallError) -> Option<Duration> {
        let again = attempt <= self.times && is_of_use(&error.cause);
        again.then(|| self.delay.saturating_mul(attempt))
    }
}

fn is_of_use(cause: &Cause) -> bool {
    match cause {
        Cause::Misuse(_) | Cause::Unserializable(_) | Cause::Unreadable(_) | Cause::Closed => false,
        // Its time is over, and its depth stays as it is.
        Cause::Context(_) | Cause::DeadlineExceeded { .. } => false,
        cause => !matches!(cause.code(), code::METHOD_NOT_FOUND | code::SERVICE_NOT_FOUND),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str) -> CallError {
        let cause = Cause::Remote { code: code.into(), message: "so".into() };
        CallError { service: "users".into(), method: "get".into(), cause }
    }

    #[test]
    fn a_call_is_made_three_times_more_each_after_a_longer_wait() {
        let waits = (1..6).map(|attempt| Retry::default().wait(attempt, &error("EXECUTION_FAILED")));
        let seconds = |n| Some(Duration::from_secs(n));
        assert!(waits.eq([seconds(1), seconds(2), seconds(3), None, None]));
    }

    #[test]
    fn what_is_not_there_is_not_asked_again() {
        assert_eq!(Retry::default().wait(1, &error("SERVICE_NOT_FOUND")), None);
        assert_eq!(Retry::default().wait(1, &error("METHOD_NOT_FOUND")), None);
        let mut lost = error("");
        lost.cause = Cause::Lost { sent: true };
        assert!(Retry::default().wait(1, &lost).is_some());
        lost.cause = Cause::Unserializable("so".into());
        assert_eq!(Retry::default().wait(1, &lost), None);
    }
}
