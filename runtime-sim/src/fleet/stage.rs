//! The world of a scenario: hosts, what runs on them, and what is done to them.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plimsoll_core::cluster::EndpointOptions;
use plimsoll_core::drive::{Driver, ListenOptions, Runtime, Timer};
use plimsoll_core::policy::Ratio;
use plimsoll_core::rng::Pcg;
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::Client;
use plimsoll_core::service::server::Server;
use plimsoll_core::time::Instant;

use super::bell::Bell;
use super::caller::{Caller, Demand, Findings, Source};
use super::checker::check;
use super::crew::{Crew, Member, Node};
use super::scenario::{Policy, Scenario};
use super::station::{Orders, Station, Work};
use super::tally::{Cut, Tally, Traffic};
use super::timeline::Deed;
use crate::{Faults, Host, Link, Sim};

const PORT: u16 = 3001;
/// Clients start within the first second, in nanoseconds.
const STARTS: u64 = 1_000_000_000;

/// The world, and what it takes to change it.
pub(super) struct Stage<'a> {
    scenario: &'a Scenario,
    policy: &'a Policy,
    pub(super) sim: Sim,
    faults: Faults,
    servers: Vec<Place>,
    clients: Vec<Place>,
    /// By zones, where ways are not as usual.
    ways: Vec<([String; 2], Link)>,
    works: Vec<Arc<Work>>,
    /// By kind of clients.
    pub(super) demands: Vec<Arc<Demand>>,
    pub(super) traffic: Arc<Traffic>,
    rng: Pcg,
}

/// A host in it.
struct Place {
    member: Member,
    host: Host,
    orders: Orders,
}

impl<'a> Stage<'a> {
    /// Everybody is there, and begins.
    pub(super) fn new(scenario: &'a Scenario, policy: &'a Policy, seed: u64) -> Stage<'a> {
        let mut rng = Pcg::new(seed, 1);
        let sim = Sim::new(rng.next_u64());
        let cut = Cut::of(scenario.length());
        let place =
            |member: Member| Place { host: sim.host(&member.name()), member, orders: Orders::default() };
        let places = Crew::of(scenario).members.into_iter().map(place);
        let (servers, clients) =
            places.partition(|place: &Place| matches!(place.member.node, Node::Server(_)));
        let ways = scenario.ways.iter().map(|way| (way.between.get_ref().clone(), way.link())).collect();
        let mut stage = Stage {
            scenario,
            policy,
            faults: sim.faults(),
            sim,
            servers,
            clients,
            ways,
            works: works(scenario),
            demands: demands(scenario, policy, cut),
            traffic: Arc::new(Traffic::new(cut)),
            rng,
        };
        for (between, link) in stage.ways.clone() {
            stage.set_way(&between, link);
        }
        (0..stage.servers.len()).for_each(|at| stage.start_server(at, false));
        for at in 0..stage.clients.len() {
            // Not all in the same instant: that would be a herd of its own.
            let start = Instant::from_nanos(stage.rng.up_to(STARTS));
            stage.start_client(at, start);
        }
        stage
    }

    /// Calls that have no end yet.
    pub(super) fn open(&self) -> u64 {
        self.demands.iter().map(|demand| demand.tally().open).sum()
    }

    fn start_server(&mut self, at: usize, is_cold: bool) {
        let place = &self.servers[at];
        place.orders.start();
        let (host, work) = (place.host.clone(), self.works[place.member.kind].clone());
        let options = ListenOptions { backlog: work.backlog, ..ListenOptions::default() };
        let rng = Pcg::new(self.rng.next_u64(), 2);
        let bell = Bell::of(&host);
        let station = Station::new(work, place.orders.clone(), self.traffic.clone(), is_cold, bell, rng);
        let machine = Server::new(self.policy.server());
        place.host.run(async move {
            let listening = host.listen(&format!("0.0.0.0:{PORT}"), &options, 1).await;
            let transport = listening.ok().and_then(|(mut transports, _)| transports.pop());
            Driver::new(machine, station, transport.expect("nobody else listens on the host")).await;
        });
    }

    fn start_client(&mut self, at: usize, start: Instant) {
        let (scenario, policy, place) = (self.scenario, self.policy, &self.clients[at]);
        place.orders.start();
        let mut machine = Client::new(Uw::default(), policy.client(), self.rng.next_u64());
        let checks = policy.health_checks();
        let findings = checks.map(|_| Findings::default());
        for server in &self.servers {
            let target = format!("{}:{PORT}", server.member.name());
            let group = &scenario.groups[server.member.kind];
            let is_far = policy.prefers_own_zone() && group.zone != place.member.zone;
            let priority = group.priority() + u8::from(is_far);
            let options = EndpointOptions { weight: group.weight, priority };
            let endpoint = machine.add_endpoint_with(start, &target, options).expect("a server has a name");
            if let (Some(config), Some(findings)) = (checks, &findings) {
                let rng = Pcg::new(self.rng.next_u64(), 3);
                let (host, orders) = (place.host.clone(), server.orders.clone());
                place.host.run(check(host, target, endpoint, orders, findings.clone(), config, rng));
            }
        }
        let demand = self.demands[place.member.kind].clone();
        let rng = Pcg::new(self.rng.next_u64(), 4);
        let orders = place.orders.clone();
        let caller = Caller::new(demand, findings, orders, Bell::of(&place.host), start, rng);
        let (host, later) = (place.host.clone(), start.since(self.sim.now()));
        place.host.run(async move {
            host.sleep(later).await;
            Driver::new(machine, caller, host.connector()).await;
        });
    }

    /// Does it now.
    pub(super) fn perform(&mut self, deed: &Deed) {
        match deed {
            Deed::Ail(servers, ailment) => self.each(servers, |server| server.orders.ail(*ailment)),
            Deed::Cure(servers, ailment) => self.each(servers, |server| server.orders.cure(*ailment)),
            Deed::Crash(nodes) => nodes.iter().for_each(|&node| self.faults.crash(self.host(node))),
            Deed::Kill(nodes) => nodes.iter().for_each(|&node| self.faults.kill(self.host(node))),
            Deed::Stop(nodes, within) => {
                // What is not done by then is cut off a little earlier than the next process begins.
                let by = self.sim.now() + *within * 9 / 10;
                nodes.iter().for_each(|&node| self.place(node).orders.stop(by));
            }
            Deed::Start(nodes) => nodes.iter().for_each(|&node| self.start(node)),
            Deed::Pause(nodes, length) => {
                nodes.iter().for_each(|&node| self.faults.pause(self.host(node), *length));
            }
            Deed::Cut(from, to) => self.each_way(from, to, |from, to| self.faults.cut(from, to)),
            Deed::Join(from, to) => self.each_way(from, to, |from, to| self.faults.join(from, to)),
            Deed::Way(between, changed) => {
                let first = self.ways.iter().find(|(of, _)| is_same(of, between)).map(|(_, link)| *link);
                self.set_way(between, changed.or(first).unwrap_or_default());
            }
            Deed::Reading(clients, limit) => self.set_reading(clients, *limit),
            Deed::Resolve(names) => {
                for &(name, to) in names {
                    let (name, to) = (&self.servers[name as usize], &self.servers[to as usize]);
                    self.faults.resolve_to(&name.member.name(), &[&to.host]);
                }
            }
            Deed::Busy(nodes, turn) => {
                nodes.iter().for_each(|&node| self.faults.slow(self.host(node), *turn))
            }
            Deed::Skew(nodes, by) => nodes.iter().for_each(|&node| self.faults.skew(self.host(node), *by)),
        }
    }

    fn each(&self, servers: &[u32], act: impl Fn(&Place)) {
        servers.iter().for_each(|&server| act(&self.servers[server as usize]));
    }

    fn each_way(&self, from: &[Node], to: &[Node], act: impl Fn(&Host, &Host)) {
        for &from in from {
            to.iter().filter(|&&to| to != from).for_each(|&to| act(self.host(from), self.host(to)));
        }
    }

    fn start(&mut self, node: Node) {
        self.faults.restart(self.host(node));
        match node {
            Node::Server(server) => self.start_server(server as usize, true),
            Node::Client(client) => self.start_client(client as usize, self.sim.now()),
        }
    }

    fn place(&self, node: Node) -> &Place {
        match node {
            Node::Server(server) => &self.servers[server as usize],
            Node::Client(client) => &self.clients[client as usize],
        }
    }

    fn host(&self, node: Node) -> &Host {
        &self.place(node).host
    }

    /// Between a client and a server: nobody else talks.
    fn set_way(&self, between: &[String; 2], link: Link) {
        for client in &self.clients {
            let has_ends =
                |server: &&Place| is_same(between, &[client.member.zone.clone(), server.member.zone.clone()]);
            for server in self.servers.iter().filter(has_ends) {
                self.faults.link(&client.host, &server.host, link);
            }
        }
    }

    fn set_reading(&self, clients: &[u32], bandwidth: Option<NonZeroU64>) {
        for client in clients.iter().map(|&client| &self.clients[client as usize]) {
            for server in &self.servers {
                let zones = [client.member.zone.clone(), server.member.zone.clone()];
                let first = self.ways.iter().find(|(of, _)| is_same(of, &zones)).map(|(_, link)| *link);
                let first = first.unwrap_or_default();
                let link = Link { bandwidth: bandwidth.or(first.bandwidth), ..first };
                self.faults.link(&client.host, &server.host, link);
            }
        }
    }
}

fn is_same(way: &[String; 2], other: &[String; 2]) -> bool {
    way == other || (way[0] == other[1] && way[1] == other[0])
}

fn works(scenario: &Scenario) -> Vec<Arc<Work>> {
    let answer: Arc<[u8]> = body(*scenario.load().answer_bytes.get_ref()).into();
    let work = |group: &super::scenario::Group| Work {
        time: group.service.0.clone(),
        workers: *group.workers.get_ref(),
        queue: group.queue,
        cold: group.cold,
        backlog: group.backlog.get().into(),
        answer: answer.clone(),
    };
    scenario.groups.iter().map(|group| Arc::new(work(group))).collect()
}

fn demands(scenario: &Scenario, policy: &Policy, cut: Cut) -> Vec<Arc<Demand>> {
    let load = scenario.load();
    let until = Instant::ZERO + scenario.length();
    let shares = scenario.clients.iter().map(|kind| share(kind) * u64::from(*kind.count.get_ref()));
    let of: u64 = shares.sum();
    let demand = |kind: &super::scenario::Clients| Demand {
        source: match load.callers {
            Some(callers) => Source::Closed { callers, until },
            None => Source::Open { profile: load.profile(until), share: share(kind), of },
        },
        content: body(*load.request_bytes.get_ref()),
        idempotent: load.idempotent.map_or(Ratio::ONE, |share| share.0),
        retries: policy.caller_retries(),
        tally: Mutex::new(Tally::new(cut)),
    };
    scenario.clients.iter().map(|kind| Arc::new(demand(kind))).collect()
}

fn share(kind: &super::scenario::Clients) -> u64 {
    kind.share.0.as_per_mille().into()
}

/// A text of so many bytes, in JSON.
fn body(bytes: u32) -> Vec<u8> {
    let mut body = vec![b'x'; bytes as usize];
    if let [first, .., last] = &mut body[..] {
        (*first, *last) = (b'"', b'"');
    }
    body
}

/// How long the ends of the last calls are waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
