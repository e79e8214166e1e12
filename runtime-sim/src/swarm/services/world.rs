//! A world of one service, from its beginning until all is at rest.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_core::drive::{Driver, ListenOptions, Runtime};
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::service::server::Server;
use plimsoll_core::time::Instant;

use super::book::{Book, Grey, Shared};
use super::callee::Callee;
use super::caller::{Application, Caller, Command};
use super::options::Options;
use super::rogue::{Nobody, Rogue};
use super::{Act, Ask, Manner, News};
use crate::swarm::desk::Desk;
use crate::swarm::dice::Dice;
use crate::swarm::faults::Ailments;
use crate::swarm::law::{Law, Stats, Violation};
use crate::swarm::plan::{Event, Fault, Feature, Plan, What};
use crate::{Host, Sim};

/// Requests that each client makes while it recovers, and how many of the last must succeed.
const KNOCKS: u32 = 40;
const KNOCK_EVERY: Duration = Duration::from_secs(1);
const MUST_SUCCEED: usize = 5;
/// How long an ordinary answer may take once all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// The latest that a server answers, at a manner of its own.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);
/// How long a host takes to begin after a crash.
const BOOT: Duration = Duration::from_millis(1);

struct World<'a> {
    plan: &'a Plan,
    options: Options,
    clients: u32,
    servers: u32,
    sim: Sim,
    hosts: Vec<Host>,
    ailments: Ailments,
    book: Shared,
    desks: Vec<Desk<Command>>,
    dice: Dice,
    todo: BTreeMap<(Instant, u64), Todo>,
    sequence: u64,
}

#[derive(Clone, Copy, Debug)]
enum Todo {
    Begin(What),
    /// One of a row of requests.
    Ask(Ask),
    /// A manner has ended.
    Behave(u32),
    /// What runs on a host begins again.
    Boot(u32),
}

/// Plays a plan.
///
/// # Errors
/// The first law that was broken.
pub(in crate::swarm) fn run(plan: &Plan, clients: u32, servers: u32) -> Result<Stats, Violation> {
    let mut world = World::new(plan, clients, servers);
    world.begin();
    world.play()?;
    world.recover()?;
    world.rest()
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, clients: u32, servers: u32) -> Self {
        let features = plan.features.iter().filter_map(|feature| match feature {
            Feature::Service(feature) => Some(*feature),
            _ => None,
        });
        let options = Options::new(features);
        let sim = Sim::new(plan.seed);
        let client_hosts = (0..clients).map(|place| format!("c{place}"));
        let hosts = client_hosts.chain((0..servers).map(|place| format!("s{place}")));
        let hosts: Vec<Host> = hosts.map(|name| sim.host(&name)).collect();
        let mut book = Book::new(servers);
        book.attempts = options.client.attempts.get().into();
        let ailments = Ailments::new(sim.faults(), plan);
        World {
            plan,
            options,
            clients,
            servers,
            sim,
            hosts,
            ailments,
            book: Shared::new(book),
            desks: Vec::new(),
            dice: Dice::new(plan.seed, 10),
            todo: BTreeMap::new(),
            sequence: 0,
        }
    }

    fn begin(&mut self) {
        (0..self.servers).for_each(|place| self.open_server(place));
        for place in 0..self.clients {
            self.desks.push(Desk::default());
            self.open_client(place);
        }
        for &Event { at, what } in &self.plan.events {
            self.at(Instant::ZERO + at, Todo::Begin(what));
        }
    }

    fn open_client(&mut self, place: u32) {
        let desk = Desk::default();
        self.desks[place as usize] = desk.clone();
        let host = self.hosts[place as usize].clone();
        let caller = Caller::new(
            place,
            self.servers,
            &self.options,
            self.dice.seed(),
            self.book.clone(),
            self.sim.now(),
        );
        let connector = host.connector();
        let book = self.book.clone();
        host.run(async move {
            Driver::new(caller, Application::new(desk), connector).await;
            book.open().finished += 1;
        });
    }

    fn open_server(&mut self, place: u32) {
        let host = self.hosts[(self.clients + place) as usize].clone();
        let (book, seed, now) = (self.book.clone(), self.dice.seed(), self.sim.now());
        book.open().forget(place);
        let lies =
            self.options.rogues.iter().find(|(rogue, _)| rogue % self.servers == place).map(|(_, n)| *n);
        let config = self.options.server;
        let runtime = host.clone();
        host.run(async move {
            let Ok((mut transports, _)) = runtime.listen("0.0.0.0:3001", &ListenOptions::default(), 1).await
            else {
                let what = "it cannot listen".into();
                return book.open().journal.broken(Law::Recovery, now, format!("s{place}"), what);
            };
            let Some(transport) = transports.pop() else { return };
            match lies {
                Some(per_mille) => {
                    let rogue = Rogue::new(place, per_mille, book.clone(), seed, now);
                    Driver::new(rogue, Nobody(book.clone(), place), transport).await;
                }
                None => {
                    let callee = Callee::new(place, book.clone(), seed);
                    Driver::new(Server::new(config), callee, transport).await;
                }
            }
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

    /// A host is back after a crash.
    fn boot(&mut self, host: u32) {
        if host < self.clients {
            self.book.open().orphan(host);
            let place = host;
            (0..self.servers).for_each(|server| _ = self.book.open().dismissed.remove(&(place, server)));
            self.open_client(place);
        } else {
            self.open_server(host - self.clients);
        }
    }

    fn act(&mut self, now: Instant, todo: Todo) {
        match todo {
            Todo::Begin(What::Fault(fault)) => {
                let mut book = self.book.open();
                book.disturb();
                book.journal.stats.faults += 1;
                if let Fault::Pause { host, .. } = fault {
                    book.paused.insert(host % (self.clients + self.servers));
                }
                drop(book);
                if let Fault::Crash { host, .. } = fault {
                    // What was to begin there after another crash does not.
                    let host = host % self.hosts.len() as u32;
                    self.todo.retain(|_, todo| !matches!(todo, Todo::Boot(other) if *other == host));
                }
                self.ailments.begin(now, fault, &self.hosts);
            }
            Todo::Begin(What::Service(act)) => self.begin_act(now, act),
            Todo::Begin(What::Hub(_)) => {}
            Todo::Boot(host) => self.boot(host),
            Todo::Ask(ask) => self.put(ask.client, Command::Ask(ask)),
            Todo::Behave(server) => {
                if matches!(self.book.open().servers[server as usize].manner, Manner::FailsFast) {
                    self.book.open().judge_grey(now);
                }
                self.behave(server, Manner::Well);
            }
        }
    }

    fn begin_act(&mut self, now: Instant, act: Act) {
        match act {
            Act::Ask(ask) => {
                for n in 0..ask.count {
                    self.at(now + ask.gap * n, Todo::Ask(ask));
                }
            }
            Act::Cancel { client, count } => (0..count).for_each(|_| self.put(client, Command::Cancel)),
            Act::Tell { client, server, news } => {
                self.book.open().disturb();
                self.put(client, Command::Tell(server % self.servers, news));
            }
            Act::Manner { server, manner, lasts } => {
                let server = server % self.servers;
                {
                    let mut book = self.book.open();
                    let grey = Grey { server, answered: BTreeMap::new() };
                    // Only these go by what endpoints have shown, and only among those of one level.
                    let strategy = self.options.client.cluster.strategy;
                    let sees = matches!(strategy, Strategy::P2cEwma | Strategy::HealthBased)
                        && self.options.levels == 1;
                    let is_rogue =
                        self.options.rogues.iter().any(|(rogue, _)| rogue % self.servers == server);
                    let is_grey = book.is_calm && sees && !is_rogue && manner == Manner::FailsFast;
                    book.disturb();
                    book.grey = is_grey.then_some(grey);
                    book.journal.stats.faults += 1;
                }
                self.behave(server, manner);
                self.at(now + lasts, Todo::Behave(server));
            }
        }
    }

    fn put(&self, client: u32, command: Command) {
        self.desks[(client % self.clients) as usize].put(command);
    }

    fn behave(&self, server: u32, manner: Manner) {
        let waker = {
            let mut book = self.book.open();
            let server = &mut book.servers[server as usize];
            server.manner = manner;
            server.waker.take()
        };
        waker.iter().for_each(std::task::Waker::wake_by_ref);
    }

    /// All faults have ended: within the time that is stated for it, requests must succeed again.
    fn recover(&mut self) -> Result<(), Violation> {
        self.book.open().is_recovering = true;
        (0..self.servers).for_each(|server| self.behave(server, Manner::Well));
        for client in 0..self.clients {
            self.put(client, Command::Calm);
            for server in 0..self.servers {
                for news in [News::Add, News::Resume, News::Healthy] {
                    self.put(client, Command::Tell(server, news));
                }
            }
        }
        let (begun, bound) = (self.sim.now(), self.options.recovery());
        // At first every second, and then as rarely as the time allows.
        for knock in 0..KNOCKS {
            let gap = if knock < KNOCKS / 2 { KNOCK_EVERY } else { KNOCK_EVERY.max(bound / KNOCKS) };
            self.pass(self.sim.now() + gap)?;
            let is_enough = knock as usize > MUST_SUCCEED;
            if is_enough && self.book.open().last_answered(self.clients, MUST_SUCCEED).is_ok() {
                return Ok(());
            }
            self.knock();
        }
        let mut rest = begun + bound;
        for _ in 0..MUST_SUCCEED {
            self.pass(rest)?;
            self.knock();
            rest = rest + KNOCK_EVERY;
        }
        self.pass(rest + PATIENCE)?;
        let book = &mut *self.book.open();
        if let Err((number, client, state)) = book.last_answered(self.clients, MUST_SUCCEED) {
            let what = format!("request {number}: {state}, {bound:?} after all faults had ended");
            book.journal.broken(Law::Recovery, rest, format!("c{client}"), what);
        }
        Ok(())
    }

    fn knock(&self) {
        for client in 0..self.clients {
            let ask = Ask {
                client,
                count: 1,
                gap: Duration::ZERO,
                size: 0,
                idempotent: false,
                timeout: Some(PATIENCE),
                key: None,
            };
            self.put(client, Command::Ask(ask));
        }
    }

    /// Nothing is asked any more: all that is open ends, and everything is returned.
    fn rest(mut self) -> Result<Stats, Violation> {
        let longest = self.plan.events.iter().filter_map(|event| match event.what {
            What::Service(Act::Ask(ask)) => ask.timeout,
            _ => None,
        });
        let longest = longest.max().unwrap_or_default().max(self.options.client.timeout);
        let quiet = self.sim.now() + longest.max(LONGEST_ANSWER) + Duration::from_secs(1);
        while self.sim.now() < quiet && self.book.open().is_busy() {
            self.pass(self.sim.now() + Duration::from_secs(1))?;
        }
        let quiet = self.sim.now();
        self.book.open().judge_rest(quiet);
        (0..self.clients).for_each(|client| self.put(client, Command::Shutdown));
        self.pass(quiet + Duration::from_secs(1))?;
        self.book.open().closing = Some(self.sim.now() + Duration::from_secs(5));
        (0..self.servers).for_each(|server| self.behave(server, Manner::Overloaded));
        let end = quiet + Duration::from_secs(40);
        self.pass(end)?;
        let mut book = self.book.open();
        if book.finished < self.clients + self.servers {
            let left = self.clients + self.servers - book.finished;
            let what = format!("{left} drivers have not come to their end");
            book.journal.broken(Law::Rest, end, "somebody".into(), what);
        }
        let mut stats = book.journal.stats;
        stats.events = self.sim.events();
        stats.time = self.sim.now() - Instant::ZERO;
        stats.worlds = 1;
        book.journal.violation().map_or(Ok(stats), |violation| Err(violation.clone()))
    }
}
