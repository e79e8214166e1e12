//! The circuit breaker beside a model that remembers everything and computes nothing ahead.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::time::Duration;

use super::Op;
use crate::policy::Ratio;
use crate::policy::breaker::{Breaker, Config, Mode, Open, Outcome, Permit, State, Transition};
use crate::rng::Pcg;
use crate::time::Instant;

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u8),
    ToDeadline,
    Admit,
    Settle(u8, Outcome),
    Lose(u8),
    Tick,
    Reset,
}

impl Step {
    fn of((kind, whom, how): Op) -> Step {
        let outcomes = [Outcome::Success, Outcome::Failure, Outcome::Failure, Outcome::Ignored];
        match kind {
            0..=19 => Step::Wait(whom % 200),
            20..=49 => Step::ToDeadline,
            50..=129 => Step::Admit,
            130..=229 => Step::Settle(whom, outcomes[usize::from(how % 4)]),
            230..=239 => Step::Lose(whom),
            240..=253 => Step::Tick,
            254..=255 => Step::Reset,
        }
    }
}

/// One call that was admitted: in which era, and for a probe until when.
#[derive(Clone, Copy)]
struct Call {
    era: usize,
    lease_end: Instant,
    is_back: bool,
}

pub(super) struct Model {
    config: Config,
    state: State,
    era: usize,
    until: Instant,
    reopened: u32,
    calls: Vec<Call>,
    /// All results of this era: when, and whether a success.
    results: Vec<(Instant, bool)>,
}

impl Model {
    pub(super) fn new(config: Config, now: Instant) -> Model {
        Model {
            config,
            state: State::Closed,
            era: 0,
            until: now,
            reopened: 0,
            calls: Vec::new(),
            results: Vec::new(),
        }
    }

    /// Whether it becomes half-open.
    pub(super) fn now_is(&mut self, now: Instant) -> bool {
        let over = self.state == State::Open && now >= self.until;
        if over {
            self.enter(State::HalfOpen);
        }
        over
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    fn enter(&mut self, to: State) -> Option<Transition> {
        let from = core::mem::replace(&mut self.state, to);
        self.era += 1;
        self.results.clear();
        Some(Transition { from, to })
    }

    pub(super) fn admits(&self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open => false,
            State::HalfOpen => {
                let out = self.calls.iter().filter(|call| call.era == self.era && !call.is_back);
                out.filter(|call| call.lease_end > now).count() < self.config.success_threshold.get() as usize
            }
        }
    }

    /// A call begins that is admitted; its number.
    pub(super) fn call(&mut self, now: Instant) -> usize {
        let lease_end = now + self.config.lease;
        self.calls.push(Call { era: self.era, lease_end, is_back: false });
        self.calls.len() - 1
    }

    pub(super) fn settle(&mut self, now: Instant, index: usize, outcome: Outcome) -> Option<Transition> {
        let call = &mut self.calls[index];
        call.is_back = true;
        if call.era != self.era || outcome == Outcome::Ignored {
            return None;
        }
        self.results.push((now, outcome == Outcome::Success));
        let successes = self.results.iter().filter(|result| result.1).count();
        match (self.state, outcome) {
            (State::HalfOpen, Outcome::Success)
                if successes >= self.config.success_threshold.get() as usize =>
            {
                self.reopened = 0;
                self.enter(State::Closed)
            }
            (State::HalfOpen, Outcome::Failure) => {
                self.reopened += 1;
                self.enter(State::Open)
            }
            (State::Closed, Outcome::Failure) if self.is_too_much(now) => self.enter(State::Open),
            _ => None,
        }
    }

    fn is_too_much(&self, now: Instant) -> bool {
        let tenth = self.config.period.as_nanos() as u64 / 10;
        let oldest = (now.as_nanos() / tenth).saturating_sub(9) * tenth;
        let within = || self.results.iter().filter(|result| result.0.as_nanos() >= oldest);
        let failures = within().filter(|result| !result.1).count();
        match self.config.mode {
            Mode::Count { failures: limit } => failures >= limit.get() as usize,
            Mode::Rate { consecutive, success, volume } => {
                let row = self.results.iter().rev().take_while(|result| !result.1).count();
                let (total, bound) = (within().count(), success.as_per_mille() as usize);
                row >= consecutive.get() as usize
                    || total >= volume.get() as usize && (total - failures) * 1_000 < total * bound
            }
        }
    }

    /// It has opened now, until then: whether that is what jitter leaves open for the n-th time.
    pub(super) fn opens_until(&mut self, now: Instant, until: Instant) -> bool {
        self.until = until;
        let open = until.since(now);
        let multiplier = self.config.multiplier.as_per_mille() / 1_000;
        let grown = self.config.recovery * multiplier.saturating_pow(self.reopened.min(20));
        let longest = grown.min(self.config.recovery_cap);
        let shortest = if self.reopened == 0 { longest } else { longest / multiplier };
        (shortest..=longest).contains(&open)
    }
}

fn run(config: Config, seed: u64, steps: impl Iterator<Item = Step>) -> Result<(), String> {
    let mut now = Instant::from_millis(77_000);
    let mut breaker = Breaker::new(config, Pcg::new(seed, 1));
    let mut model = Model::new(config, now);
    let mut permits: Vec<(Permit, usize)> = Vec::new();
    for (number, step) in steps.enumerate() {
        match step {
            Step::Wait(seconds) => now = now + Duration::from_secs(seconds.into()),
            Step::ToDeadline => now = now.max(breaker.deadline().unwrap_or(now)),
            _ => {}
        }
        let fail = |what: &str| Err(format!("{what} at step {number}, {step:?}, {now:?}"));
        let mut changed = None;
        match step {
            Step::Admit => {
                model.now_is(now);
                let expected = model.admits(now);
                match breaker.admit(now) {
                    Ok(permit) => {
                        if !expected || permit.is_probe() != (model.state == State::HalfOpen) {
                            return fail("admitted");
                        }
                        permits.push((permit, model.call(now)));
                    }
                    Err(Open { retry_at }) => {
                        if expected || retry_at <= now {
                            return fail("refused");
                        }
                    }
                }
            }
            Step::Settle(which, outcome) if !permits.is_empty() => {
                let (permit, index) = permits.swap_remove(usize::from(which) % permits.len());
                let expected = model.settle(now, index, outcome);
                changed = breaker.settle(now, permit, outcome);
                if changed != expected {
                    return fail(&format!("{changed:?} instead of {expected:?}"));
                }
            }
            Step::Lose(which) if !permits.is_empty() => {
                let _lost = permits.swap_remove(usize::from(which) % permits.len());
            }
            Step::Settle(..) | Step::Lose(_) | Step::Wait(_) | Step::ToDeadline => {}
            Step::Tick => {
                model.now_is(now);
                breaker.tick(now);
                if breaker.deadline().is_some_and(|deadline| deadline <= now) {
                    return fail("a deadline that a tick does not move");
                }
                let ticked = format!("{breaker:?}");
                if breaker.tick(now).is_some() || format!("{breaker:?}") != ticked {
                    return fail("a repeated tick changes something");
                }
            }
            Step::Reset => {
                breaker.reset();
                model.reopened = 0;
                model.enter(State::Closed);
            }
        }
        if changed.is_some_and(|change| change.to == State::Open) {
            let until = breaker.deadline().expect("an open breaker has a deadline");
            if !model.opens_until(now, until) {
                return fail("an open time out of its bounds");
            }
        }
        let mut seen = model.state;
        if seen == State::Open && now >= model.until {
            seen = State::HalfOpen;
        }
        if breaker.state(now) != seen {
            return fail(&format!("{} instead of {seen}", breaker.state(now)));
        }
        if breaker.check(now) != breaker.clone().admit(now).map(drop) {
            return fail("a check that says another thing than what admits");
        }
    }
    Ok(())
}

/// What the breaker is told to do, from a few small numbers.
fn config([mode, failures, row, successes, multiplier]: [u8; 5]) -> Config {
    let count = |n: u8| NonZeroU32::new(u32::from(n) % 4 + 1).expect("above zero");
    let mode = if mode % 2 == 0 {
        Mode::Count { failures: count(failures) }
    } else {
        let success = Ratio::per_mille(500 + u32::from(failures));
        Mode::Rate { consecutive: count(row), success, volume: count(failures) }
    };
    let multiplier = Ratio::per_mille((u32::from(multiplier) % 3 + 1) * 1_000);
    Config { mode, multiplier, success_threshold: count(successes), ..Config::default() }
}

/// Whether breaker and model agree over a history.
///
/// # Errors
/// Where they first do not.
pub fn agrees(shape: [u8; 5], seed: u64, ops: &[Op]) -> Result<(), String> {
    run(config(shape), seed, ops.iter().map(|&op| Step::of(op)))
}
