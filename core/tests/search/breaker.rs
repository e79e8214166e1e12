//! A breaker with three permits for probes, four calls in flight, and a reference that knows of nothing but the rules.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::policy::breaker::{Breaker, Config, Mode, Outcome, Permit, State};
use plimsoll_core::policy::fixed::Ratio;
use plimsoll_core::rng::Pcg;
use plimsoll_core::testing::search::{Digest, World};
use plimsoll_core::time::Instant;

use crate::{agree, explore};

const RECOVERY: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(4);
const PROBES: usize = 3;
const FAILURES: u32 = 2;

/// What a breaker has to be, told as simply as possible.
#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// By whom each place is taken, and until when it is kept.
    HalfOpen {
        successes: u32,
        out: Vec<(u32, Instant)>,
    },
}

#[derive(Clone)]
struct Calls {
    breaker: Breaker,
    now: Instant,
    rule: Rule,
    /// How often the rule has changed.
    epoch: u32,
    /// Calls under way: their permit, when it was given, and their number.
    live: Vec<(Permit, u32, u32)>,
    next: u32,
}

#[derive(Clone, Debug)]
enum Move {
    Admit,
    Settle(usize, Outcome),
    /// A call that never returns.
    Lose(usize),
    /// Time passes to the deadline, and nobody has noticed yet.
    Pass,
    Tick,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Admit => f.write_str("a call asks"),
            Move::Settle(at, outcome) => write!(f, "call {at} of those under way ends: {outcome:?}"),
            Move::Lose(at) => write!(f, "call {at} of those under way is never heard of again"),
            Move::Pass => f.write_str("time passes to the deadline"),
            Move::Tick => f.write_str("tick"),
        }
    }
}

impl Calls {
    fn new() -> Self {
        let config = Config {
            mode: Mode::Rate {
                consecutive: NonZeroU32::new(FAILURES).unwrap(),
                success: Ratio::per_mille(0),
                volume: NonZeroU32::MAX,
            },
            recovery: RECOVERY,
            multiplier: Ratio::ONE,
            success_threshold: NonZeroU32::new(PROBES as u32).unwrap(),
            lease: LEASE,
            ..Config::default()
        };
        Calls {
            breaker: Breaker::new(config, Pcg::new(1, 1)),
            now: Instant::from_millis(1_000),
            rule: Rule::Closed { failures: 0 },
            epoch: 0,
            live: Vec::new(),
            next: 0,
        }
    }

    /// What the time alone has changed.
    fn age(&mut self) {
        match &mut self.rule {
            Rule::Open { until } if *until <= self.now => {
                self.enter(Rule::HalfOpen { successes: 0, out: Vec::new() });
            }
            Rule::HalfOpen { out, .. } => out.retain(|(_, lease_end)| *lease_end > self.now),
            _ => {}
        }
    }

    fn enter(&mut self, rule: Rule) {
        self.rule = rule;
        self.epoch += 1;
    }

    fn admit(&mut self) -> Result<(), String> {
        let admitted = self.breaker.admit(self.now);
        self.age();
        let expected = match &mut self.rule {
            Rule::Closed { .. } => true,
            Rule::Open { .. } => false,
            Rule::HalfOpen { out, .. } if out.len() >= PROBES => false,
            Rule::HalfOpen { out, .. } => {
                out.push((self.next, self.now + LEASE));
                true
            }
        };
        agree("whether the call is admitted", admitted.is_ok(), expected)?;
        if let Ok(permit) = admitted {
            self.live.push((permit, self.epoch, self.next));
            self.next += 1;
        }
        Ok(())
    }

    fn settle(&mut self, at: usize, outcome: Outcome) -> Result<(), String> {
        let (permit, given, number) = self.live.remove(at);
        let before = self.epoch;
        let transition = self.breaker.settle(self.now, permit, outcome);
        if given == self.epoch {
            self.rule_settles(number, outcome);
        }
        agree("whether the state changes", transition.is_some(), before != self.epoch)
    }

    fn rule_settles(&mut self, number: u32, outcome: Outcome) {
        let open = Rule::Open { until: self.now + RECOVERY };
        match (&mut self.rule, outcome) {
            (Rule::Closed { failures }, Outcome::Success) => *failures = 0,
            (Rule::Closed { failures }, Outcome::Failure) if *failures + 1 < FAILURES => *failures += 1,
            (Rule::Closed { .. } | Rule::HalfOpen { .. }, Outcome::Failure) => self.enter(open),
            (Rule::HalfOpen { successes, out }, _) => {
                out.retain(|(other, _)| *other != number);
                *successes += u32::from(outcome == Outcome::Success);
                if *successes == PROBES as u32 {
                    self.enter(Rule::Closed { failures: 0 });
                }
            }
            _ => {}
        }
    }

    fn tick(&mut self) -> Result<(), String> {
        self.breaker.tick(self.now);
        self.age();
        agree("a tick on top of a tick", self.breaker.tick(self.now), None)
    }
}

impl World for Calls {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        if self.live.len() < 4 {
            moves.push(Move::Admit);
        }
        for at in 0..self.live.len() {
            let outcomes = [Outcome::Success, Outcome::Failure, Outcome::Ignored];
            moves.extend(outcomes.map(|outcome| Move::Settle(at, outcome)));
            moves.push(Move::Lose(at));
        }
        if self.breaker.deadline().is_some_and(|at| at > self.now) {
            moves.push(Move::Pass);
        }
        moves.push(Move::Tick);
        moves
    }

    fn apply(&mut self, step: &Move) -> Result<(), String> {
        match step {
            Move::Admit => self.admit(),
            Move::Settle(at, outcome) => self.settle(*at, *outcome),
            Move::Lose(at) => {
                _ = self.live.remove(*at);
                Ok(())
            }
            Move::Pass => {
                self.now = self.breaker.deadline().expect("a deadline");
                Ok(())
            }
            Move::Tick => self.tick(),
        }
    }

    fn check(&self) -> Result<(), String> {
        let mut aged = self.clone();
        aged.age();
        let (state, full_until) = match &aged.rule {
            Rule::Closed { .. } => (State::Closed, None),
            Rule::Open { until } => (State::Open, Some(*until)),
            Rule::HalfOpen { out, .. } => {
                let first = out.iter().map(|(_, lease_end)| *lease_end).min();
                (State::HalfOpen, first.filter(|_| out.len() >= PROBES))
            }
        };
        agree("its state", self.breaker.state(self.now), state)?;
        agree("when to ask again", self.breaker.check(self.now).err().map(|open| open.retry_at), full_until)
    }

    /// Whatever became of the calls under way: three that succeed close it, as soon as they are let through.
    fn rest(mut self) -> Result<(), String> {
        self.live.clear();
        for _ in 0..20 {
            if self.breaker.state(self.now) == State::Closed {
                return Ok(());
            }
            if self.admit().is_ok() && !self.live.is_empty() {
                self.settle(0, Outcome::Success)?;
            } else if let Some(at) = self.breaker.deadline() {
                self.now = self.now.max(at);
                self.tick()?;
            }
        }
        Err(format!("it never closes, whatever succeeds: {:?}", self.breaker.state(self.now)))
    }

    fn digest(&self, digest: &mut Digest) {
        // Numbers that only name something, and what grows without deciding anything here: the open time has no growth.
        digest.now(self.now).without(&[
            "config",
            "stats",
            "window",
            "generation",
            "next",
            "number",
            "growth",
            "rng",
        ]);
        let failures = self.breaker.stats(self.now).consecutive_failures;
        digest.add(&self.breaker).add(&matches!(self.rule, Rule::Closed { .. }).then_some(failures));
        let place = |number| match &self.rule {
            Rule::HalfOpen { out, .. } => out.iter().position(|(other, _)| *other == number),
            _ => None,
        };
        let live = self.live.iter().map(|(_, given, number)| (*given == self.epoch, place(*number)));
        digest.add(&live.collect::<Vec<_>>());
    }
}

#[test]
fn a_breaker_keeps_its_rules_in_every_order_of_four_calls() {
    explore("breaker", &Calls::new(), 40);
}
