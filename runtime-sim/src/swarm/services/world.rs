//! A world of one service, from its beginning until all is at rest.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_core::drive::{Driver, ListenOptions, Runtime};
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::service::Uw;
use plimsoll_core::service::server::Server;
use plimsoll_core::time::Instant;
use plimsoll_resp::Resp;

use super::book::{Book, Grey};
use super::callee::Callee;
use super::caller::{Application, Caller, Command};
use super::clerk::Clerk;
use super::options::Options;
use super::rogue::Rogue;
use super::scripted::{Audience, Scripted};
use super::wire::Wire;
use super::{Act, Ask, Manner, News};
use crate::swarm::desk::Desk;
use crate::swarm::dice::Dice;
use crate::swarm::ground::{Due, Ground, PATIENCE, Recovery};
use crate::swarm::law::{Law, Stats, Violation};
use crate::swarm::plan::{Fault, Feature, Plan, What};

/// How many of the last requests of each client must succeed once all is well.
const MUST_SUCCEED: usize = 5;
/// The latest that a server answers, at a manner of its own.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);

struct World<'a> {
    plan: &'a Plan,
    options: Options,
    clients: u32,
    servers: u32,
    ground: Ground<Book, Deed>,
    desks: Vec<Desk<Command>>,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Begin(Act),
    /// One of a row of requests.
    Ask(Ask),
    /// A manner has ended.
    Behave(u32),
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
        let book = Book::new(servers, &options.client);
        let client_hosts = (0..clients).map(|place| format!("c{place}"));
        let hosts = client_hosts.chain((0..servers).map(|place| format!("s{place}")));
        let ground = Ground::new(plan, hosts, book, Dice::new(plan.seed, 10), |what| match what {
            What::Service(act) => Some(Deed::Begin(act)),
            _ => None,
        });
        World { plan, options, clients, servers, ground, desks: Vec::new() }
    }

    fn begin(&mut self) {
        (0..self.servers).for_each(|place| self.open_server(place));
        for place in 0..self.clients {
            self.desks.push(Desk::default());
            self.open_client(place);
        }
    }

    fn open_client(&mut self, place: u32) {
        match self.options.speaks_resp {
            false => self.open_client_over::<Uw>(place),
            true => self.open_client_over::<Resp>(place),
        }
    }

    fn open_client_over<W: Wire>(&mut self, place: u32) {
        let desk = Desk::default();
        self.desks[place as usize] = desk.clone();
        let Ground { hosts, book, dice, sim, .. } = &mut self.ground;
        let (host, book) = (hosts[place as usize].clone(), book.clone());
        let caller =
            Caller::<W>::new(place, self.servers, &self.options, dice.seed(), book.clone(), sim.now());
        let connector = host.connector();
        host.run(async move {
            Driver::new(caller, Application::new(desk), connector).await;
            book.open().journal.finished += 1;
        });
    }

    fn open_server(&mut self, place: u32) {
        let Ground { hosts, book, dice, sim, .. } = &mut self.ground;
        let host = hosts[(self.clients + place) as usize].clone();
        let (book, seed, now) = (book.clone(), dice.seed(), sim.now());
        book.open().forget(place);
        let lies =
            self.options.rogues.iter().find(|(rogue, _)| rogue % self.servers == place).map(|(_, n)| *n);
        let (config, speaks_resp) = (self.options.server, self.options.speaks_resp);
        let runtime = host.clone();
        host.run(async move {
            let Ok((mut transports, _)) = runtime.listen("0.0.0.0:3001", &ListenOptions::default(), 1).await
            else {
                let what = "it cannot listen".into();
                return book.open().journal.broken(Law::Recovery, now, format!("s{place}"), what);
            };
            let Some(transport) = transports.pop() else { return };
            let audience = Audience(book.clone(), place);
            match lies {
                lies if speaks_resp => {
                    let clerk = Clerk::new(place, lies.unwrap_or(0), book.clone(), seed);
                    Driver::new(Scripted::new(clerk, book.clone(), now), audience, transport).await;
                }
                Some(per_mille) => {
                    let rogue = Rogue::new(place, per_mille, book.clone(), seed);
                    Driver::new(Scripted::new(rogue, book.clone(), now), audience, transport).await;
                }
                None => {
                    let callee = Callee::new(place, book.clone(), seed);
                    Driver::new(Server::new(config), callee, transport).await;
                }
            }
            book.open().journal.finished += 1;
        });
    }

    fn play(&mut self) -> Result<(), Violation> {
        while let Some((now, due)) = self.ground.next()? {
            match due {
                Due::Fault(fault) => {
                    let mut book = self.ground.book.open();
                    book.disturb();
                    if let Fault::Pause { host, .. } = fault {
                        book.paused.insert(host % (self.clients + self.servers));
                    }
                    drop(book);
                    self.ground.strike(now, fault);
                }
                Due::Boot(host) => self.boot(host),
                Due::Deed(deed) => self.act(now, deed),
            }
        }
        Ok(())
    }

    /// A host is back after a crash.
    fn boot(&mut self, host: u32) {
        if host < self.clients {
            self.ground.book.open().orphan(host);
            let place = host;
            (0..self.servers)
                .for_each(|server| _ = self.ground.book.open().dismissed.remove(&(place, server)));
            self.open_client(place);
        } else {
            self.open_server(host - self.clients);
        }
    }

    fn act(&mut self, now: Instant, deed: Deed) {
        match deed {
            Deed::Begin(act) => self.begin_act(now, act),
            Deed::Ask(ask) => self.put(ask.client, Command::Ask(ask)),
            Deed::Behave(server) => {
                let mut book = self.ground.book.open();
                if matches!(book.servers[server as usize].manner, Manner::FailsFast) {
                    book.judge_grey(now);
                }
                drop(book);
                self.behave(server, Manner::Well);
            }
        }
    }

    fn begin_act(&mut self, now: Instant, act: Act) {
        match act {
            Act::Ask(ask) => {
                for n in 0..ask.count {
                    self.ground.at(now + ask.gap * n, Deed::Ask(ask));
                }
            }
            Act::Cancel { client, count } => (0..count).for_each(|_| self.put(client, Command::Cancel)),
            Act::Tell { client, server, news } => {
                self.ground.book.open().disturb();
                self.put(client, Command::Tell(server % self.servers, news));
            }
            Act::Manner { server, manner, lasts } => {
                let server = server % self.servers;
                {
                    let mut book = self.ground.book.open();
                    let grey = Grey { server, answered: BTreeMap::new() };
                    // Only these go by what endpoints have shown, and only among those of one level.
                    let strategy = self.options.client.cluster.strategy;
                    let sees = matches!(strategy, Strategy::P2cEwma | Strategy::HealthBased)
                        && self.options.levels == 1;
                    // Beside one that lies, nobody can say which share is fair.
                    let is_honest = self.options.rogues.is_empty();
                    let is_grey = book.is_calm && sees && is_honest && manner == Manner::FailsFast;
                    book.disturb();
                    book.grey = is_grey.then_some(grey);
                    book.journal.stats.faults += 1;
                }
                self.behave(server, manner);
                self.ground.at(now + lasts, Deed::Behave(server));
            }
        }
    }

    fn put(&self, client: u32, command: Command) {
        self.desks[(client % self.clients) as usize].put(command);
    }

    fn behave(&self, server: u32, manner: Manner) {
        let waker = {
            let mut book = self.ground.book.open();
            let server = &mut book.servers[server as usize];
            server.manner = manner;
            server.waker.take()
        };
        waker.iter().for_each(std::task::Waker::wake_by_ref);
    }

    /// All faults have ended: within the time that is stated for it, requests must succeed again.
    fn recover(&mut self) -> Result<(), Violation> {
        self.ground.book.open().journal.is_recovering = true;
        (0..self.servers).for_each(|server| self.behave(server, Manner::Well));
        for client in 0..self.clients {
            self.put(client, Command::Calm);
            for server in 0..self.servers {
                for news in [News::Add, News::Resume, News::Healthy] {
                    self.put(client, Command::Tell(server, news));
                }
            }
        }
        let bound = self.options.recovery();
        let recovery = Recovery { callers: self.clients, successes: MUST_SUCCEED, bound };
        let desks = &self.desks;
        self.ground.recover(recovery, || (0..).zip(desks).for_each(|(client, desk)| desk.put(knock(client))))
    }

    /// Nothing is asked any more: all that is open ends, and everything is returned.
    fn rest(mut self) -> Result<Stats, Violation> {
        let longest = self.plan.events.iter().filter_map(|event| match event.what {
            What::Service(Act::Ask(ask)) => ask.timeout,
            _ => None,
        });
        let longest = longest.max().unwrap_or_default().max(self.options.client.timeout);
        let quiet = self.ground.now() + longest.max(LONGEST_ANSWER) + Duration::from_secs(1);
        self.ground.quieten(quiet)?;
        let quiet = self.ground.now();
        self.ground.book.open().judge_rest(quiet);
        (0..self.clients).for_each(|client| self.put(client, Command::Shutdown));
        self.ground.pass(quiet + Duration::from_secs(1))?;
        self.ground.book.open().journal.closing = Some(self.ground.now() + Duration::from_secs(5));
        (0..self.servers).for_each(|server| self.behave(server, Manner::Overloaded));
        self.ground.finish(self.clients + self.servers, quiet + Duration::from_secs(40))
    }
}

/// A client asks whether all is well again.
fn knock(client: u32) -> Command {
    Command::Ask(Ask {
        client,
        count: 1,
        gap: Duration::ZERO,
        size: 0,
        idempotent: false,
        timeout: Some(PATIENCE),
        key: None,
    })
}
