//! From a plan that breaks a law to a small one that breaks the same: delta debugging (A. Zeller and R. Hildebrandt,
//! "Simplifying and Isolating Failure-Inducing Input", 2002) over events and options, then fewer hosts, smaller numbers,
//! shorter times.

use std::time::{Duration, Instant};

use super::plan::{Cast, Event, Fault, Plan, What};
use super::services::{Act, Ask};
use super::{Law, Violation, hub, run};

/// How long it is tried to make a plan smaller.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs, at most.
    pub runs: u32,
    /// Time on the clock of this machine, at most.
    pub time: Duration,
}

impl Default for Effort {
    fn default() -> Self {
        Effort { runs: 3_000, time: Duration::from_secs(30) }
    }
}

/// The smallest plan found that breaks the same law, and how it does.
pub fn shrink(plan: &Plan, violation: &Violation, effort: Effort) -> (Plan, Violation) {
    let mut search = Search {
        best: plan.clone(),
        violation: violation.clone(),
        left: effort.runs,
        until: Instant::now() + effort.time,
    };
    loop {
        let before = search.best.clone();
        search.drop_parts(|plan| &mut plan.events);
        search.drop_parts(|plan| &mut plan.features);
        search.shrink_cast();
        search.simplify_events();
        search.shorten();
        if search.best == before || search.is_over() {
            return (search.best, search.violation);
        }
    }
}

struct Search {
    best: Plan,
    violation: Violation,
    left: u32,
    until: Instant,
}

impl Search {
    fn is_over(&self) -> bool {
        self.left == 0 || Instant::now() >= self.until
    }

    /// Takes a plan if it breaks the same law.
    fn accepts(&mut self, plan: Plan) -> bool {
        if self.is_over() || plan == self.best {
            return false;
        }
        self.left -= 1;
        let Err(violation) = run(&plan) else { return false };
        let is_same = is_same(&violation, &self.violation);
        if is_same {
            (self.best, self.violation) = (plan, violation);
        }
        is_same
    }

    /// Leaves out halves, quarters, and so on to single ones.
    fn drop_parts<T>(&mut self, parts: impl Fn(&mut Plan) -> &mut Vec<T>) {
        let mut size = parts(&mut self.best).len().div_ceil(2);
        while size > 0 && !self.is_over() {
            let mut at = 0;
            while at < parts(&mut self.best).len() {
                let mut smaller = self.best.clone();
                let list = parts(&mut smaller);
                let end = list.len().min(at + size);
                list.drain(at..end);
                if !self.accepts(smaller) {
                    at += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    fn shrink_cast(&mut self) {
        loop {
            let smaller: &[Cast] = match self.best.cast {
                Cast::Services { clients, servers } => &[
                    Cast::Services { clients: 1, servers },
                    Cast::Services { clients: (clients - 1).max(1), servers },
                    Cast::Services { clients, servers: servers.div_ceil(2) },
                    Cast::Services { clients, servers: (servers - 1).max(1) },
                ],
                Cast::Hub { services } => &[Cast::Hub { services: (services - 1).max(1) }],
            };
            if !smaller.iter().any(|&cast| self.accepts(Plan { cast, ..self.best.clone() })) {
                return;
            }
        }
    }

    fn simplify_events(&mut self) {
        for at in 0..self.best.events.len() {
            loop {
                let simpler = simpler(self.best.events[at].what);
                if !simpler.into_iter().any(|what| self.accepts(self.with(at, what))) {
                    break;
                }
            }
        }
    }

    fn with(&self, at: usize, what: What) -> Plan {
        let mut plan = self.best.clone();
        plan.events[at].what = what;
        plan
    }

    /// Lets things happen sooner after each other.
    fn shorten(&mut self) {
        for at in 0..self.best.events.len() {
            let before = at.checked_sub(1).map_or(Duration::ZERO, |before| self.best.events[before].at);
            let gap = self.best.events[at].at - before;
            for less in [Duration::ZERO, gap / 2, Duration::from_secs(gap.as_secs())] {
                let mut plan = self.best.clone();
                plan.events[at..].iter_mut().for_each(|Event { at, .. }| *at = *at - gap + less);
                if less < gap && self.accepts(plan) {
                    break;
                }
            }
        }
    }
}

/// Whether two plans go wrong in the same way; of panics, whether they are at the same place.
fn is_same(a: &Violation, b: &Violation) -> bool {
    let place = |violation: &Violation| violation.what.rsplit_once('(').map(|(_, place)| place.to_owned());
    a.law == b.law && (a.law != Law::Panic || place(a) == place(b))
}

/// The same, but less of it; the least first.
fn simpler(what: What) -> Vec<What> {
    let halves =
        |lasts: Duration| [Duration::from_secs(1), lasts / 2].into_iter().filter(move |half| *half < lasts);
    let fewer = |count: u32| {
        [1, count / 2, count.saturating_sub(1)].into_iter().filter(move |fewer| (1..count).contains(fewer))
    };
    match what {
        What::Service(Act::Ask(ask)) => {
            let mut asks: Vec<Ask> = fewer(ask.count).map(|count| Ask { count, ..ask }).collect();
            asks.extend((ask.size > 0).then_some(Ask { size: 0, ..ask }));
            asks.extend(ask.key.map(|_| Ask { key: None, ..ask }));
            asks.extend(ask.timeout.map(|_| Ask { timeout: None, ..ask }));
            asks.extend(ask.idempotent.then_some(Ask { idempotent: false, ..ask }));
            asks.into_iter().map(|ask| What::Service(Act::Ask(ask))).collect()
        }
        What::Hub(hub::Act::Call(call)) => {
            let mut calls: Vec<hub::Call> =
                fewer(call.count).map(|count| hub::Call { count, ..call }).collect();
            calls.extend((call.size > 0).then_some(hub::Call { size: 0, ..call }));
            calls.extend((call.depth > 0).then_some(hub::Call { depth: call.depth - 1, ..call }));
            calls.extend(call.timeout.map(|_| hub::Call { timeout: None, ..call }));
            calls.into_iter().map(|call| What::Hub(hub::Act::Call(call))).collect()
        }
        What::Hub(hub::Act::Lie { lie, count }) => {
            fewer(count).map(|count| What::Hub(hub::Act::Lie { lie, count })).collect()
        }
        What::Hub(hub::Act::Leave { service, lasts }) => {
            halves(lasts).map(|lasts| What::Hub(hub::Act::Leave { service, lasts })).collect()
        }
        What::Service(Act::Cancel { client, count }) if count > 1 => {
            vec![What::Service(Act::Cancel { client, count: 1 })]
        }
        What::Service(Act::Manner { server, manner, lasts }) => {
            halves(lasts).map(|lasts| What::Service(Act::Manner { server, manner, lasts })).collect()
        }
        What::Fault(Fault::Cut { from, to, lasts }) => {
            halves(lasts).map(|lasts| What::Fault(Fault::Cut { from, to, lasts })).collect()
        }
        What::Fault(Fault::Partition { a, b, lasts }) => {
            let one_way = Fault::Cut { from: a, to: b, lasts };
            let shorter = halves(lasts).map(|lasts| Fault::Partition { a, b, lasts });
            shorter.chain([one_way]).map(What::Fault).collect()
        }
        What::Fault(Fault::Crash { host, lasts }) => {
            halves(lasts).map(|lasts| What::Fault(Fault::Crash { host, lasts })).collect()
        }
        What::Fault(Fault::Pause { host, lasts }) => {
            halves(lasts).map(|lasts| What::Fault(Fault::Pause { host, lasts })).collect()
        }
        What::Fault(Fault::Skew { host, ms, lasts }) => {
            halves(lasts).map(|lasts| What::Fault(Fault::Skew { host, ms, lasts })).collect()
        }
        What::Fault(Fault::Slow { a, b, link, lasts }) => {
            halves(lasts).map(|lasts| What::Fault(Fault::Slow { a, b, link, lasts })).collect()
        }
        _ => Vec::new(),
    }
}
