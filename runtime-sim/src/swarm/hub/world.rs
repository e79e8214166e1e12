//! A world of a hub, from its beginning until all is at rest.

use std::time::Duration;

use plimsoll_core::drive::{Driver, ListenOptions, Runtime};
use plimsoll_core::ipc::hub::Hub;
use plimsoll_core::time::Instant;

use super::book::Book;
use super::mallory::{Mallory, Whisperer};
use super::operator::Operator;
use super::options::Options;
use super::station::{Application, Command, Station};
use super::{Act, Call, Lie, Method};
use crate::Host;
use crate::swarm::desk::Desk;
use crate::swarm::dice::Dice;
use crate::swarm::ground::{Due, Ground, KNOCK_EVERY, PATIENCE, Recovery};
use crate::swarm::law::{Law, Stats, Violation};
use crate::swarm::plan::{Feature, Plan, What};

/// How many of the last calls of each service must succeed once all is well.
const MUST_SUCCEED: usize = 3;
/// By how much deadlines are wrong, at most: one clock is ahead by 100 s, and another behind.
const WRONG: Duration = Duration::from_secs(200);

struct World<'a> {
    plan: &'a Plan,
    options: Options,
    services: u32,
    /// The hub's host is the first.
    ground: Ground<Book, Deed>,
    mallory: Host,
    desks: Vec<Desk<Command>>,
    ear: Desk<Lie>,
    /// Things that are not as they should be, for a while.
    disturbed: u32,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Begin(Act),
    /// One of a row of calls.
    Call(Call),
    /// Somebody who has left is back.
    Back(u32),
    /// A service has a method again.
    Learn(u32, Method),
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
        let hosts = std::iter::once("hub".into()).chain((0..services).map(|place| format!("s{place}")));
        let ground = Ground::new(plan, hosts, Book::default(), Dice::new(plan.seed, 13), |what| match what {
            What::Hub(act) => Some(Deed::Begin(act)),
            _ => None,
        });
        World {
            plan,
            options,
            services,
            mallory: ground.sim.host("mallory"),
            ground,
            desks: vec![Desk::default(); services as usize],
            ear: Desk::default(),
            disturbed: 0,
        }
    }

    fn begin(&mut self) {
        self.open_hub();
        (0..self.services).for_each(|place| self.open_service(place));
        let lies = self.plan.events.iter().any(|event| matches!(event.what, What::Hub(Act::Lie { .. })));
        if lies {
            let (seed, now) = (self.ground.dice.seed(), self.ground.now());
            let mallory = Mallory::new(self.services, self.ground.book.clone(), seed, now);
            self.mallory.run(Driver::new(mallory, Whisperer(self.ear.clone()), self.mallory.connector()));
        }
        // Until all have registered.
        self.ground.book.open().calm_since = Some(Instant::ZERO + KNOCK_EVERY);
    }

    fn open_hub(&mut self) {
        let Ground { hosts, book, dice, sim, .. } = &mut self.ground;
        let (host, runtime) = (hosts[0].clone(), hosts[0].clone());
        let (config, book, seed, now) = (self.options.hub.clone(), book.clone(), dice.seed(), sim.now());
        host.run(async move {
            let Ok((mut transports, _)) = runtime.listen("0.0.0.0:4000", &ListenOptions::default(), 1).await
            else {
                let what = "it cannot listen".into();
                return book.open().journal.broken(Law::Recovery, now, "the hub".into(), what);
            };
            let Some(transport) = transports.pop() else { return };
            let operator = Operator::new(config.clone(), book.clone());
            Driver::new(Hub::new(config, seed), operator, transport).await;
            book.open().journal.finished += 1;
        });
    }

    fn open_service(&mut self, place: u32) {
        let desk = Desk::default();
        self.desks[place as usize] = desk.clone();
        let Ground { hosts, book, dice, sim, .. } = &mut self.ground;
        let (host, seed, book) = (hosts[place as usize + 1].clone(), dice.seed(), book.clone());
        let station = Station::new(place, self.services, &self.options, seed, book.clone(), sim.now());
        let connector = host.connector();
        host.run(async move {
            Driver::new(station, Application::new(place, book.clone(), desk), connector).await;
            book.open().journal.finished += 1;
        });
    }

    fn play(&mut self) -> Result<(), Violation> {
        while let Some((now, due)) = self.ground.next()? {
            match due {
                Due::Fault(fault) => {
                    // What a fault has left behind is not followed up: it is not calm any more.
                    self.ground.book.open().calm_since = None;
                    self.disturbed += 1;
                    self.ground.strike(now, fault);
                }
                Due::Boot(0) => self.open_hub(),
                Due::Boot(host) => {
                    self.ground.book.open().orphan(host - 1);
                    self.open_service(host - 1);
                }
                Due::Deed(deed) => self.act(now, deed),
            }
        }
        Ok(())
    }

    fn act(&mut self, now: Instant, deed: Deed) {
        match deed {
            Deed::Begin(act) => self.begin_act(now, act),
            Deed::Call(call) => self.put(call.from, Command::Call(call)),
            Deed::Back(place) => {
                self.put(place, Command::Connect);
                self.calms(now);
            }
            Deed::Learn(place, method) => self.put(place, Command::Learn(method)),
        }
    }

    fn begin_act(&mut self, now: Instant, act: Act) {
        match act {
            Act::Call(call) => {
                for n in 0..call.count {
                    self.ground.at(now + call.gap * n, Deed::Call(call));
                }
            }
            Act::Cancel { service, count } => (0..count).for_each(|_| self.put(service, Command::Cancel)),
            Act::Leave { service, lasts } => {
                self.disturbed += 1;
                self.ground.book.open().calm_since = None;
                self.put(service, Command::Disconnect);
                self.ground.at(now + lasts, Deed::Back(service));
            }
            Act::Unlearn { service, method, lasts } => {
                self.put(service, Command::Unlearn(method));
                self.ground.at(now + lasts, Deed::Learn(service, method));
            }
            Act::Lie { lie, count } => {
                self.ground.book.open().journal.stats.faults += 1;
                (0..count).for_each(|_| self.ear.put(lie));
            }
        }
    }

    /// Something is as it should be again.
    fn calms(&mut self, now: Instant) {
        self.disturbed -= 1;
        if self.disturbed == 0 {
            self.ground.book.open().calm_since = Some(now + PATIENCE);
        }
    }

    fn put(&self, service: u32, command: Command) {
        self.desks[(service % self.services) as usize].put(command);
    }

    /// All faults have ended: within the time that is stated for it, calls must succeed again.
    fn recover(&mut self) -> Result<(), Violation> {
        self.ground.book.open().journal.is_recovering = true;
        self.ear.put(Lie::Garbage);
        (0..self.services).for_each(|service| self.put(service, Command::Calm));
        let (services, bound) = (self.services, self.options.recovery());
        let recovery = Recovery { callers: services, successes: MUST_SUCCEED, bound };
        let desks = &self.desks;
        let knock_all = || {
            (0..).zip(desks).for_each(|(service, desk)| desk.put(knock(service, (service + 1) % services)))
        };
        self.ground.recover(recovery, knock_all)
    }

    /// Nothing is called any more: all that is open ends, and everything is returned.
    fn rest(mut self) -> Result<Stats, Violation> {
        let longest = self.plan.events.iter().filter_map(|event| match event.what {
            What::Hub(Act::Call(call)) => call.timeout,
            _ => None,
        });
        let longest =
            longest.max().unwrap_or_default().max(self.options.client.timeout).max(self.options.hub.timeout);
        self.ground.quieten(self.ground.now() + longest + PATIENCE)?;
        // Calls that are never answered are given up by who was called only at their deadlines.
        let quiet = self.ground.now() + longest + WRONG + Duration::from_secs(1);
        self.ground.pass(quiet)?;
        self.ground.book.open().judge_rest(quiet);
        let until = quiet + Duration::from_secs(5);
        (0..self.services).for_each(|service| self.put(service, Command::Shutdown(until)));
        self.ground.pass(until)?;
        let waker = {
            let mut book = self.ground.book.open();
            book.journal.closing = Some(until + Duration::from_secs(5));
            book.hub_waker.take()
        };
        waker.iter().for_each(std::task::Waker::wake_by_ref);
        self.ground.finish(self.services + 1, until + Duration::from_secs(10))
    }
}

/// A service asks another whether all is well again.
fn knock(from: u32, to: u32) -> Command {
    Command::Call(Call {
        from,
        to,
        method: Method::Echo,
        count: 1,
        gap: Duration::ZERO,
        size: 0,
        // That of a client may be shorter than the way there and back.
        timeout: Some(PATIENCE),
        depth: 0,
    })
}
