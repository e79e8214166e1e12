//! What every world stands on: its hosts, what befalls them, what is to be done when; and how it recovers and ends.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_core::time::Instant;

use super::dice::Dice;
use super::faults::Ailments;
use super::journal::{Book, Shared};
use super::law::{Law, Stats, Violation};
use super::plan::{Event, Fault, Plan, What};
use crate::{Host, Sim};

/// How long a host takes to begin after a crash.
const BOOT: Duration = Duration::from_millis(1);

/// Requests that each caller makes while it recovers.
const KNOCKS: u32 = 40;
pub(super) const KNOCK_EVERY: Duration = Duration::from_secs(1);
/// How long an ordinary answer may take once all is well.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A world whose kind knows the deeds `D`.
pub(super) struct Ground<B, D> {
    pub(super) sim: Sim,
    /// By their places.
    pub(super) hosts: Vec<Host>,
    pub(super) book: Shared<B>,
    pub(super) dice: Dice,
    ailments: Ailments,
    todo: BTreeMap<(Instant, u64), Due<D>>,
    sequence: u64,
    /// Faults that were to end by then have ended.
    healed: Option<Instant>,
}

/// What is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due<D> {
    Fault(Fault),
    /// What runs on a host begins again.
    Boot(u32),
    Deed(D),
}

/// What must come true again once all faults have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    pub(super) callers: u32,
    /// So many of the last requests of each of them succeed.
    pub(super) successes: usize,
    /// Within this time.
    pub(super) bound: Duration,
}

impl<B: Book, D> Ground<B, D> {
    /// All that a plan has in store is due in time; of what is no fault, what is a deed for `deed`.
    pub(super) fn new(
        plan: &Plan,
        hosts: impl Iterator<Item = String>,
        book: B,
        dice: Dice,
        deed: impl Fn(What) -> Option<D>,
    ) -> Self {
        let sim = Sim::new(plan.seed);
        let hosts = hosts.map(|name| sim.host(&name)).collect();
        let ailments = Ailments::new(sim.faults(), plan);
        let mut ground = Ground {
            sim,
            hosts,
            book: Shared::new(book),
            dice,
            ailments,
            todo: BTreeMap::new(),
            sequence: 0,
            healed: None,
        };
        for &Event { at, what } in &plan.events {
            let due = match what {
                What::Fault(fault) => Some(Due::Fault(fault)),
                what => deed(what).map(Due::Deed),
            };
            if let Some(due) = due {
                ground.put_off(Instant::ZERO + at, due);
            }
        }
        ground
    }

    pub(super) fn now(&self) -> Instant {
        self.sim.now()
    }

    /// Something is to be done then.
    pub(super) fn at(&mut self, at: Instant, deed: D) {
        self.put_off(at, Due::Deed(deed));
    }

    fn put_off(&mut self, at: Instant, due: Due<D>) {
        self.todo.insert((at, self.sequence), due);
        self.sequence += 1;
    }

    /// Lets time pass, and reports what was broken.
    pub(super) fn pass(&mut self, until: Instant) -> Result<(), Violation> {
        self.sim.run_until(until);
        self.book.open().journal().violation().map_or(Ok(()), |violation| Err(violation.clone()))
    }

    /// The next that is due, when it is; `None` if there is nothing any more, and all faults have ended.
    pub(super) fn next(&mut self) -> Result<Option<(Instant, Due<D>)>, Violation> {
        loop {
            let first = self.todo.first_key_value().map(|(&(at, _), _)| at);
            let Some(at) = first.into_iter().chain(self.ailments.next()).min() else { return Ok(None) };
            // What is due at the same time is done before anything runs.
            if self.healed != Some(at) {
                self.healed = Some(at);
                self.pass(at)?;
                for host in self.ailments.heal(at, &self.hosts) {
                    self.put_off(at + BOOT, Due::Boot(host));
                }
            }
            if first == Some(at)
                && let Some((_, due)) = self.todo.pop_first()
            {
                return Ok(Some((at, due)));
            }
        }
    }

    /// A fault begins.
    pub(super) fn strike(&mut self, now: Instant, fault: Fault) {
        self.book.open().journal().stats.faults += 1;
        if let Fault::Crash { host, .. } = fault {
            // What was to begin there after another crash does not.
            let host = host % self.hosts.len() as u32;
            self.todo.retain(|_, due| !matches!(due, Due::Boot(other) if *other == host));
        }
        self.ailments.begin(now, fault, &self.hosts);
    }

    /// All faults have ended: within the time that is stated for it, requests succeed again. With each `knock`, every caller
    /// makes one.
    pub(super) fn recover(&mut self, recovery: Recovery, knock: impl Fn()) -> Result<(), Violation> {
        let Recovery { callers, successes, bound } = recovery;
        let begun = self.now();
        // At first every second, and then as rarely as the time allows.
        for n in 0..KNOCKS {
            let gap = if n < KNOCKS / 2 { KNOCK_EVERY } else { KNOCK_EVERY.max(bound / KNOCKS) };
            self.pass(self.now() + gap)?;
            let is_enough = n as usize > successes;
            if is_enough && self.book.open().last_answered(callers, successes).is_ok() {
                return Ok(());
            }
            knock();
        }
        let mut rest = self.now().max(begun + bound);
        for _ in 0..successes {
            self.pass(rest)?;
            knock();
            rest = rest + KNOCK_EVERY;
        }
        self.pass(rest + PATIENCE)?;
        let mut book = self.book.open();
        if let Err((who, what)) = book.last_answered(callers, successes) {
            let what = format!("{what}, {bound:?} after all faults had ended");
            book.journal().broken(Law::Recovery, rest, who, what);
        }
        Ok(())
    }

    /// Nothing is asked any more: all that is open ends, at the latest then.
    pub(super) fn quieten(&mut self, until: Instant) -> Result<(), Violation> {
        while self.now() < until && self.book.open().is_busy() {
            self.pass(self.now() + Duration::from_secs(1))?;
        }
        Ok(())
    }

    /// So many drivers come to their end by then, and with them the world.
    pub(super) fn finish(mut self, drivers: u32, end: Instant) -> Result<Stats, Violation> {
        self.pass(end)?;
        let mut book = self.book.open();
        let journal = book.journal();
        if journal.finished < drivers {
            let what = format!("{} drivers have not come to their end", drivers - journal.finished);
            journal.broken(Law::Rest, end, "somebody".into(), what);
        }
        let (events, time) = (self.sim.events(), self.now() - Instant::ZERO);
        let stats = Stats { events, time, worlds: 1, ..journal.stats };
        journal.violation().map_or(Ok(stats), |violation| Err(violation.clone()))
    }
}
