//! A world of a hub, from its beginning until all is at rest.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_core::drive::{Driver, ListenOptions, Runtime};
use plimsoll_core::ipc::hub::Hub;
use plimsoll_core::time::Instant;

use super::book::Shared;
use super::mallory::{Mallory, Whisperer};
use super::operator::Operator;
use super::options::Options;
use super::station::{Application, Command, Station};
use super::{Act, Call, Lie, Method};
use crate::swarm::desk::Desk;
use crate::swarm::dice::Dice;
use crate::swarm::faults::Ailments;
use crate::swarm::law::{Law, Stats, Violation};
use crate::swarm::plan::{Event, Fault, Feature, Plan, What};
use crate::{Host, Sim};

/// Calls that each service makes while it recovers, and how many of the last must succeed.
const KNOCKS: u32 = 40;
const KNOCK_EVERY: Duration = Duration::from_secs(1);
const MUST_SUCCEED: usize = 3;
/// How long an ordinary answer may take once all is well.
const PATIENCE: Duration = Duration::from_secs(20);
/// By how much deadlines are wrong, at most: one clock is ahead by 100 s, and another behind.
const WRONG: Duration = Duration::from_secs(200);
/// How long a host takes to begin after a crash.
const BOOT: Duration = Duration::from_millis(1);

struct World<'a> {
    plan: &'a Plan,
    options: Options,
    services: u32,
    sim: Sim,
    /// The hub's first.
    hosts: Vec<Host>,
    mallory: Host,
    ailments: Ailments,
    book: Shared,
    desks: Vec<Desk<Command>>,
    ear: Desk<Lie>,
    dice: Dice,
    todo: BTreeMap<(Instant, u64), Todo>,
    sequence: u64,
    /// Things that are not as they should be, for a while.
    disturbed: u32,
}

#[derive(Clone, Copy, Debug)]
enum Todo {
    Begin(What),
    /// One of a row of calls.
    Call(Call),
    /// Somebody who has left is back.
    Back(u32),
    /// A service has a method again.
    Learn(u32, Method),
    /// What runs on a host begins again.
    Boot(u32),
}

/// Plays a plan.
///
/// # Errors
/// The first law that was broken.
pub(in crate::swarm) fn run(plan: &Plan, services: u32) -> Result<Stats, Violation> {
    let mut world = World::new(plan, services);
    world.begin();
    world.play()?;
    world.recover()?;
    world.rest()
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, services: u32) -> Self {
        let features = plan.features.iter().filter_map(|feature| match feature {
            Feature::Hub(feature) => Some(*feature),
            _ => None,
        });
        let options = Options::new(features);
        let sim = Sim::new(plan.seed);
        let names = std::iter::once("hub".into()).chain((0..services).map(|place| format!("s{place}")));
        World {
            plan,
            options,
            services,
            hosts: names.map(|name| sim.host(&name)).collect(),
            mallory: sim.host("mallory"),
            ailments: Ailments::new(sim.faults(), plan),
            sim,
            book: Shared::new(),
            desks: vec![Desk::default(); services as usize],
            ear: Desk::default(),
            dice: Dice::new(plan.seed, 13),
            todo: BTreeMap::new(),
            sequence: 0,
            disturbed: 0,
        }
    }

    fn begin(&mut self) {
        self.open_hub();
        (0..self.services).for_each(|place| self.open_service(place));
        for &Event { at, what } in &self.plan.events {
            self.at(Instant::ZERO + at, Todo::Begin(what));
        }
        let lies = self.plan.events.iter().any(|event| matches!(event.what, What::Hub(Act::Lie { .. })));
        if lies {
            let (seed, now) = (self.dice.seed(), self.sim.now());
            let mallory = Mallory::new(self.services, self.book.clone(), seed, now);
            self.mallory.run(Driver::new(mallory, Whisperer(self.ear.clone()), self.mallory.connector()));
        }
        // Until all have registered.
        self.book.open().calm_since = Some(Instant::ZERO + KNOCK_EVERY);
    }

    fn open_hub(&mut self) {
        let host = self.hosts[0].clone();
        let (config, book, seed) = (self.options.hub.clone(), self.book.clone(), self.dice.seed());
        let (runtime, now) = (host.clone(), self.sim.now());
        host.run(async move {
            let Ok((mut transports, _)) = runtime.listen("0.0.0.0:4000", &ListenOptions::default(), 1).await
            else {
                let what = "it cannot listen".into();
                return book.open().journal.broken(Law::Recovery, now, "the hub".into(), what);
            };
            let Some(transport) = transports.pop() else { return };
            let operator = Operator::new(config.clone(), book.clone());
            Driver::new(Hub::new(config, seed), operator, transport).await;
            book.open().finished += 1;
        });
    }

    fn open_service(&mut self, place: u32) {
        let desk = Desk::default();
        self.desks[place as usize] = desk.clone();
        let host = self.hosts[place as usize + 1].clone();
        let (seed, book) = (self.dice.seed(), self.book.clone());
        let station = Station::new(place, self.services, &self.options, seed, book.clone(), self.sim.now());
        let connector = host.connector();
        host.run(async move {
            Driver::new(station, Application::new(place, book.clone(), desk), connector).await;
            book.open().finished += 1;
        });
    }

    fn at(&mut self, at: Instant, todo: Todo) {
        self.todo.insert((at, self.sequence), todo);
        self.sequence += 1;
    }

    /// Lets time pass, and reports what was broken.
    fn pass(&mut self, until: Instant) -> Result<(), Violation> {
        self.sim.run_until(until);
        self.book.open().journal.violation().map_or(Ok(()), |violation| Err(violation.clone()))
    }

    fn play(&mut self) -> Result<(), Violation> {
        loop {
            let next = self.todo.keys().next().map(|(at, _)| *at);
            let Some(at) = next.into_iter().chain(self.ailments.next()).min() else { return Ok(()) };
            self.pass(at)?;
            for host in self.ailments.heal(at, &self.hosts) {
                self.at(at + BOOT, Todo::Boot(host));
            }
            while let Some(entry) = self.todo.first_entry()
                && entry.key().0 <= at
            {
                let todo = entry.remove();
                self.act(at, todo);
            }
        }
    }

    fn act(&mut self, now: Instant, todo: Todo) {
        match todo {
            Todo::Begin(What::Fault(fault)) => {
                // What a fault has left behind is not followed up: it is not calm any more.
                self.book.open().calm_since = None;
                self.disturbed += 1;
                self.book.open().journal.stats.faults += 1;
                if let Fault::Crash { host, .. } = fault {
                    // What was to begin there after another crash does not.
                    let host = host % self.hosts.len() as u32;
                    self.todo.retain(|_, todo| !matches!(todo, Todo::Boot(other) if *other == host));
                }
                self.ailments.begin(now, fault, &self.hosts);
            }
            Todo::Begin(What::Hub(act)) => self.begin_act(now, act),
            Todo::Begin(What::Service(_)) => {}
            Todo::Call(call) => self.put(call.from, Command::Call(call)),
            Todo::Back(place) => {
                self.put(place, Command::Connect);
                self.calms(now);
            }
            Todo::Learn(place, method) => self.put(place, Command::Learn(method)),
            Todo::Boot(0) => self.open_hub(),
            Todo::Boot(host) => {
                self.book.open().orphan(host - 1);
                self.open_service(host - 1);
            }
        }
    }

    fn begin_act(&mut self, now: Instant, act: Act) {
        match act {
            Act::Call(call) => {
                for n in 0..call.count {
                    self.at(now + call.gap * n, Todo::Call(call));
                }
            }
            Act::Cancel { service, count } => (0..count).for_each(|_| self.put(service, Command::Cancel)),
            Act::Leave { service, lasts } => {
                self.disturbed += 1;
                self.book.open().calm_since = None;
                self.put(service, Command::Disconnect);
                self.at(now + lasts, Todo::Back(service));
            }
            Act::Unlearn { service, method, lasts } => {
                self.put(service, Command::Unlearn(method));
                self.at(now + lasts, Todo::Learn(service, method));
            }
            Act::Lie { lie, count } => {
                self.book.open().journal.stats.faults += 1;
                (0..count).for_each(|_| self.ear.put(lie));
            }
        }
    }

    /// Something is as it should be again.
    fn calms(&mut self, now: Instant) {
        self.disturbed -= 1;
        if self.disturbed == 0 {
            self.book.open().calm_since = Some(now + PATIENCE);
        }
    }

    fn put(&self, service: u32, command: Command) {
        self.desks[(service % self.services) as usize].put(command);
    }

    /// All faults have ended: within the time that is stated for it, calls must succeed again.
    fn recover(&mut self) -> Result<(), Violation> {
        self.book.open().is_recovering = true;
        self.ear.put(Lie::Garbage);
        (0..self.services).for_each(|service| self.put(service, Command::Calm));
        let (begun, bound) = (self.sim.now(), self.options.recovery());
        // At first every second, and then as rarely as the time allows.
        for knock in 0..KNOCKS {
            let gap = if knock < KNOCKS / 2 { KNOCK_EVERY } else { KNOCK_EVERY.max(bound / KNOCKS) };
            self.pass(self.sim.now() + gap)?;
            let is_enough = knock as usize > MUST_SUCCEED;
            if is_enough && self.book.open().last_answered(self.services, MUST_SUCCEED).is_ok() {
                return Ok(());
            }
            self.knock();
        }
        let mut rest = self.sim.now().max(begun + bound);
        for _ in 0..MUST_SUCCEED {
            self.pass(rest)?;
            self.knock();
            rest = rest + KNOCK_EVERY;
        }
        self.pass(rest + PATIENCE)?;
        let book = &mut *self.book.open();
        if let Err((number, service, state)) = book.last_answered(self.services, MUST_SUCCEED) {
            let what = format!("call {number}: {state}, {bound:?} after all faults had ended");
            book.journal.broken(Law::Recovery, rest, format!("s{service}"), what);
        }
        Ok(())
    }

    fn knock(&self) {
        for from in 0..self.services {
            let call = Call {
                from,
                to: (from + 1) % self.services,
                method: Method::Echo,
                count: 1,
                gap: Duration::ZERO,
                size: 0,
                timeout: None,
                depth: 0,
            };
            self.put(from, Command::Call(call));
        }
    }

    /// Nothing is called any more: all that is open ends, and everything is returned.
    fn rest(mut self) -> Result<Stats, Violation> {
        let longest = self.plan.events.iter().filter_map(|event| match event.what {
            What::Hub(Act::Call(call)) => call.timeout,
            _ => None,
        });
        let longest =
            longest.max().unwrap_or_default().max(self.options.client.timeout).max(self.options.hub.timeout);
        let quiet = self.sim.now() + longest + PATIENCE;
        while self.sim.now() < quiet && self.book.open().is_busy() {
            self.pass(self.sim.now() + Duration::from_secs(1))?;
        }
        // Calls that are never answered are given up by who was called only at their deadlines.
        self.pass(self.sim.now() + longest + WRONG + Duration::from_secs(1))?;
        let quiet = self.sim.now();
        self.book.open().judge_rest(quiet);
        let until = quiet + Duration::from_secs(5);
        (0..self.services).for_each(|service| self.put(service, Command::Shutdown(until)));
        self.pass(until)?;
        let waker = {
            let mut book = self.book.open();
            book.closing = Some(until + Duration::from_secs(5));
            book.hub_waker.take()
        };
        waker.iter().for_each(std::task::Waker::wake_by_ref);
        let end = until + Duration::from_secs(10);
        self.pass(end)?;
        let mut book = self.book.open();
        if book.finished < self.services + 1 {
            let what = format!("{} drivers have not come to their end", self.services + 1 - book.finished);
            book.journal.broken(Law::Rest, end, "somebody".into(), what);
        }
        let mut stats = book.journal.stats;
        stats.events = self.sim.events();
        stats.time = self.sim.now() - Instant::ZERO;
        stats.worlds = 1;
        book.journal.violation().map_or(Ok(stats), |violation| Err(violation.clone()))
    }
}
