//! Whether a request is taken at all: guards over the whole client, each of them optional.
//!
//! They are asked before a place is looked for, the cheapest first, and none of them counts what another one refuses.

use core::time::Duration;

use super::Config;
use crate::error::Rejected;
use crate::policy::concurrency::{self, Concurrency, Permit};
use crate::policy::gcra::{Gcra, Quota};
use crate::policy::throttle::Throttle;
use crate::rng::Pcg;
use crate::time::Instant;

/// The guards of a client, to be looked at.
#[derive(Clone, Debug)]
pub struct Admission {
    rate: Option<(Quota, Gcra)>,
    concurrency: Option<Concurrency>,
    throttle: Option<Throttle>,
    rng: Pcg,
    is_on: bool,
}
crate::saved!(struct Admission { rate, concurrency, throttle, rng, is_on });

/// What a request that was taken owes to the guards: settled exactly once, when it ends.
#[derive(Clone, Debug)]
pub(super) struct Leave {
    permit: Option<Permit>,
}
crate::saved!(struct Leave { permit });

impl Leave {
    /// Its request is on a connection only now.
    pub(super) fn restart(&mut self, now: Instant) {
        if let Some(permit) = &mut self.permit {
            permit.restart(now);
        }
    }
}

/// What the end of a request tells the guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The service has answered, if only that it could not.
    Answered,
    /// It has answered that it is to blame itself; how fast it did says nothing.
    Failed,
    /// It had too much to do, or let the request time out.
    Overloaded,
    /// Nothing: the request was given up, lost, or never sent.
    Unknown,
}

impl Admission {
    pub(super) fn new(config: &Config, rng: &mut Pcg) -> Self {
        let Config { throttle, concurrency, rate_limit, .. } = *config;
        let throttle = throttle.map(Throttle::new);
        let concurrency = concurrency.map(|config| {
            // Every request that was taken ends and settles its permit, so that none has to run out.
            let config = concurrency::Config { lease: Duration::MAX, ..config };
            Concurrency::new(config, Instant::ZERO, Pcg::new(rng.next_u64(), 3))
        });
        Admission {
            is_on: throttle.is_some() || concurrency.is_some() || rate_limit.is_some(),
            rate: rate_limit.map(|quota| (quota, Gcra::default())),
            concurrency,
            throttle,
            rng: Pcg::new(rng.next_u64(), 4),
        }
    }

    /// The throttle, if there is one.
    pub fn throttle(&self) -> Option<&Throttle> {
        self.throttle.as_ref()
    }

    /// The concurrency limit, if there is one, and how many requests are under it.
    pub fn concurrency(&self) -> Option<&Concurrency> {
        self.concurrency.as_ref()
    }

    /// Whether there is any guard.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Asks all guards for one request. `None`: there is none to ask, and nothing to settle.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Option<Leave>, Rejected> {
        if self.is_on { self.ask(now).map(Some) } else { Ok(None) }
    }

    fn ask(&mut self, now: Instant) -> Result<Leave, Rejected> {
        if let Some((quota, rate)) = &mut self.rate {
            rate.admit(now, *quota)
                .map_err(|limited| Rejected::RateLimited { retry_after: limited.retry_after() })?;
        }
        let permit = match self.concurrency.as_mut().map(|limit| limit.admit(now)) {
            Some(Err(limited)) => {
                self.give_back_rate();
                return Err(Rejected::Limited { limit: limited.limit });
            }
            Some(Ok(permit)) => Some(permit),
            None => None,
        };
        if let Some(throttle) = &mut self.throttle
            && let Err(throttled) = throttle.admit(now, &mut self.rng)
        {
            self.settle_permit(now, permit, concurrency::Outcome::Ignored);
            self.give_back_rate();
            return Err(Rejected::Throttled { per_mille: throttled.per_mille });
        }
        Ok(Leave { permit })
    }

    /// The request was not taken after all, for a reason that is none of theirs.
    pub(super) fn undo(&mut self, now: Instant, leave: Option<Leave>) {
        if leave.is_some() {
            self.give_back_rate();
        }
        self.settle(now, leave, Fate::Unknown);
    }

    /// The request has ended.
    pub(super) fn settle(&mut self, now: Instant, leave: Option<Leave>, fate: Fate) {
        let Some(leave) = leave else { return };
        let outcome = match fate {
            Fate::Answered => concurrency::Outcome::Served,
            Fate::Overloaded => concurrency::Outcome::Dropped,
            Fate::Failed | Fate::Unknown => concurrency::Outcome::Ignored,
        };
        self.settle_permit(now, leave.permit, outcome);
        if let Some(throttle) = &mut self.throttle {
            match fate {
                Fate::Answered | Fate::Failed => throttle.accepted(now),
                Fate::Overloaded => throttle.refused(now),
                Fate::Unknown => {}
            }
        }
    }

    fn settle_permit(&mut self, now: Instant, permit: Option<Permit>, outcome: concurrency::Outcome) {
        if let (Some(limit), Some(permit)) = (&mut self.concurrency, permit) {
            limit.settle(now, permit, outcome);
        }
    }

    fn give_back_rate(&mut self) {
        if let Some((quota, rate)) = &mut self.rate {
            rate.give_back(*quota);
        }
    }
}
