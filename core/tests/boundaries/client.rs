//! The service client.

use std::time::Duration;

use plimsoll_core::id::{ConnId, EndpointId, RequestId};
use plimsoll_core::machine::{Input, Machine};
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::Mode;
use plimsoll_core::policy::{concurrency, hedge};
use plimsoll_core::service::Uw;
use plimsoll_core::service::client::{Config, Options};
use plimsoll_core::testing::play::rig::{Dial, Rig, Toy, Wire, limit, steady};

use crate::{Fault, Player, jumped, strike_everywhere};
use Step::{
    Add, Answer, AnswerPart, AnswerRest, Ask, AskTwice, AskWithin, DialsEnd, Hold, Lose, Pass, Refuse,
    Remove, Shutdown, TakeEvents, Window,
};

/// Requests are numbered in the order in which they are made, connections among those that stand.
#[derive(Clone, Debug)]
enum Step {
    Ask,
    /// One that may run twice.
    AskTwice,
    /// With so many milliseconds.
    AskWithin(u64),
    /// Whoever has the request answers it.
    Answer(u64),
    /// With an answer of so many bytes, of which only so many come now.
    AnswerPart(u64, usize, usize),
    AnswerRest,
    /// Whoever has the request has too much to do.
    Refuse(u64),
    Lose(usize),
    /// The transport takes so many bytes more.
    Window(usize),
    DialsEnd(Dial),
    /// In milliseconds.
    Pass(u64),
    /// Nobody takes events any more.
    Hold,
    TakeEvents,
    Remove(usize),
    Add,
    Shutdown(u64),
}

struct Peers<W: Wire> {
    rig: Rig<W>,
    ids: Vec<RequestId>,
    endpoints: Vec<EndpointId>,
    /// What is left of an answer that has begun.
    rest: Option<(ConnId, Vec<u8>)>,
    shuts_down: bool,
}

impl<W: Wire + Default> Peers<W> {
    fn new(config: Config, endpoints: usize) -> Self {
        let (ids, rest) = (Vec::new(), None);
        let mut peers = Peers { rig: Rig::new(config), ids, endpoints: Vec::new(), rest, shuts_down: false };
        (0..endpoints).for_each(|_| peers.add());
        peers
    }
}

impl<W: Wire> Peers<W> {
    fn add(&mut self) {
        let address = format!("users-{}.internal:3001", self.endpoints.len());
        self.endpoints.push(self.rig.add(&address));
    }

    fn ask(&mut self, idempotent: bool, millis: Option<u64>) {
        let options =
            Options { idempotent, timeout: millis.map(Duration::from_millis), ..Options::default() };
        // After a fault it may be refused; its number is taken all the same.
        let none = RequestId::new(u32::MAX, u32::MAX);
        self.ids.push(self.rig.try_request(options).unwrap_or(none));
    }

    /// Where a request is that nobody has answered, and the bytes of its answer.
    fn answer_to(&mut self, tag: u64, text: &str) -> Option<(ConnId, Vec<u8>)> {
        let conn = self
            .rig
            .open()
            .into_iter()
            .find(|conn| self.rig.peers[conn].frames.iter().any(|frame| frame.tag == Some(tag)))?;
        let frames = &mut self.rig.peers.get_mut(&conn)?.frames;
        let at = frames.iter().position(|frame| frame.tag == Some(tag))?;
        // In the order in which they came, where the wire knows no other.
        let frame = frames.remove(if W::HAS_IDS { at } else { 0 });
        Some((conn, W::answer(&frame, text)))
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        if self.rig.peers[&conn].open {
            self.rig.feed(conn, bytes);
        }
    }

    fn answer(&mut self, tag: u64, text: &str) {
        self.send_rest();
        if let Some((conn, bytes)) = self.answer_to(tag, text) {
            self.send(conn, &bytes);
        }
    }

    fn send_rest(&mut self) {
        if let Some((conn, bytes)) = self.rest.take() {
            self.send(conn, &bytes);
        }
    }

    fn all_have_ended(&self) -> bool {
        let (metrics, status) = (self.rig.client.metrics(), self.rig.client.status());
        metrics.requests == metrics.succeeded + metrics.failed && status.in_flight + status.waiting == 0
    }

    /// Everybody answers and every dial succeeds, until `done`.
    #[track_caller]
    fn live_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        self.rig.run();
        for _ in 0..800 {
            self.rig.answer_everybody();
            if done(self) {
                return;
            }
            self.rig.pass_ms(500);
        }
        panic!("{what}: not within 400 s: {:?}", self.rig.client.status());
    }
}

impl<W: Wire> Player for Peers<W> {
    type Step = Step;

    fn play(&mut self, step: &Step) {
        let rig = &mut self.rig;
        match *step {
            Ask => self.ask(false, None),
            AskTwice => self.ask(true, None),
            AskWithin(millis) => self.ask(false, Some(millis)),
            Answer(tag) => self.answer(tag, "{}"),
            Refuse(tag) => self.answer(tag, W::REFUSAL),
            AnswerPart(tag, size, now) => {
                self.send_rest();
                if let Some((conn, bytes)) = self.answer_to(tag, &format!("\"{}\"", "x".repeat(size))) {
                    self.send(conn, &bytes[..now]);
                    self.rest = Some((conn, bytes[now..].to_vec()));
                }
            }
            AnswerRest => self.send_rest(),
            Lose(at) => {
                if let Some(&conn) = rig.open().get(at) {
                    rig.drop_conn(conn);
                }
            }
            Window(bytes) => rig.send_only(bytes),
            DialsEnd(dial) => rig.dial = dial,
            Pass(millis) => {
                // A clock that has jumped may have passed deadlines already.
                rig.run();
                rig.pass_ms(millis);
            }
            Hold => rig.drains = false,
            TakeEvents => {
                rig.drains = true;
                rig.run();
            }
            Remove(at) => _ = rig.remove(self.endpoints[at]),
            Add => self.add(),
            Shutdown(millis) => {
                self.shuts_down = true;
                rig.shutdown_within(millis);
            }
        }
    }

    fn targets(&self) -> Vec<Fault> {
        let requests = (0..self.ids.len()).filter(|at| self.rig.outcome(self.ids[*at]).is_none());
        let conns = 0..self.rig.open().len();
        requests.map(Fault::Cancel).chain(conns.map(Fault::Disconnect)).collect()
    }

    fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Cancel(at) => _ = self.rig.cancel(self.ids[at]),
            Fault::Disconnect(at) => {
                let conn = self.rig.open()[at];
                self.rig.drop_conn(conn);
            }
            Fault::Timeout => {
                self.rig.now = self.rig.client.deadline().map_or(self.rig.now, |at| at.max(self.rig.now));
                self.rig.handle(Input::Tick);
            }
            Fault::Forwards | Fault::Backwards => self.rig.now = jumped(self.rig.now, fault),
        }
    }

    fn finish(mut self) {
        (self.rig.drains, self.rig.window, self.rig.dial) = (true, usize::MAX, Dial::Succeeds);
        self.rig.run();
        self.send_rest();
        self.live_until("all requests end", |peers| peers.all_have_ended());
        self.rig.check_rest();
        self.rig.client.audit();
        let permits =
            |peers: &Self| peers.rig.client.admission().concurrency().map_or(0, |limit| limit.in_flight());
        assert_eq!(permits(&self), 0, "permits");
        if !self.shuts_down {
            self.live_until("another request is taken and answered", |peers| {
                let asked = peers.rig.try_request(Options::default());
                peers.rig.answer_everybody();
                asked.is_ok_and(|id| matches!(peers.rig.outcome(id), Some(done) if is_answer(done)))
            });
            self.live_until("all requests end", |peers| peers.all_have_ended());
            self.rig.check_rest();
            self.rig.shutdown_within(1_000);
        }
        self.live_until("it shuts down", |peers| peers.rig.client.is_finished());
        assert_eq!(self.rig.client.deadline(), None, "{:?}", self.rig.client.deadline_reason());
        self.rig.client.audit();
        assert_eq!(permits(&self), 0, "permits");
    }
}

fn is_answer(done: &plimsoll_core::testing::play::rig::Done) -> bool {
    matches!(done, plimsoll_core::testing::play::rig::Done::Answer(_))
}

/// Connections of one endpoint, and requests on each.
fn small(connections: u32, in_flight: u32) -> Config {
    let mut config = steady();
    config.cluster.max_connections = limit(connections);
    config.cluster.in_flight = limit(in_flight);
    config.cluster.grow_at = 0;
    config.cluster.burst = 1;
    config.cluster.strategy = Strategy::RoundRobin;
    config.cluster.breaker.mode = Mode::Count { failures: limit(u32::MAX) };
    let guard = concurrency::Config { minimum: limit(100), maximum: 100, ..Default::default() };
    config.concurrency = Some(guard);
    config
}

#[test]
fn a_pipelined_exchange_on_two_connections_leaves_nothing_behind() {
    let trace = [
        Ask,
        Ask,
        Pass(100),
        Ask,
        Ask,
        Answer(1),
        Answer(3),
        Ask,
        Answer(0),
        Answer(2),
        Ask,
        Answer(5),
        Answer(4),
    ];
    strike_everywhere("pipelined", || Peers::<Uw>::new(small(2, 4), 1), &trace);
    strike_everywhere("pipelined, without ids", || Peers::<Toy>::new(small(2, 4), 1), &trace);
}

#[test]
fn a_retry_after_a_lost_connection_leaves_nothing_behind() {
    let trace = [
        AskTwice,
        Ask,
        Window(0),
        Ask,
        Lose(0),
        Window(usize::MAX),
        Pass(1_000),
        Answer(0),
        Lose(0),
        AskTwice,
        DialsEnd(Dial::Fails),
        Pass(2_000),
        DialsEnd(Dial::Succeeds),
        Pass(2_000),
        Answer(3),
        Answer(2),
    ];
    strike_everywhere("retry", || Peers::<Uw>::new(small(1, 4), 1), &trace);
    strike_everywhere("retry, without ids", || Peers::<Toy>::new(small(1, 4), 1), &trace);
}

#[test]
fn a_probe_of_a_half_open_breaker_leaves_nothing_behind() {
    let mut config = small(1, 8);
    config.cluster.breaker.mode = Mode::Count { failures: limit(1) };
    config.cluster.breaker.recovery = Duration::from_secs(10);
    let trace = [
        Ask,
        AskWithin(5),
        Pass(5),
        Answer(0),
        Ask,
        Pass(10_000),
        Ask,
        Ask,
        Ask,
        Ask,
        Answer(3),
        Refuse(4),
        Pass(20_000),
        Ask,
        Ask,
        Ask,
        Answer(7),
        Answer(8),
        Answer(9),
        Ask,
        Answer(10),
    ];
    strike_everywhere("half-open", || Peers::<Uw>::new(config, 1), &trace);
    strike_everywhere("half-open, two endpoints", || Peers::<Uw>::new(config, 2), &trace);
}

#[test]
fn a_drain_while_requests_wait_leaves_nothing_behind() {
    let trace = [Ask, AskTwice, Ask, Shutdown(3_000), Answer(1), Ask, Answer(0), Pass(1_000), Answer(2)];
    strike_everywhere("drain", || Peers::<Uw>::new(small(1, 1), 1), &trace);
    strike_everywhere("drain, without ids", || Peers::<Toy>::new(small(1, 1), 1), &trace);
}

#[test]
fn a_big_answer_in_parts_leaves_nothing_behind() {
    let trace = [
        Ask,
        Ask,
        Pass(100),
        Ask,
        AnswerPart(0, 700_000, 10),
        Pass(100),
        AnswerRest,
        AnswerPart(1, 700_000, 300_000),
        AnswerRest,
        AnswerPart(2, 5_000, 4_999),
        AnswerRest,
    ];
    strike_everywhere("big answer", || Peers::<Uw>::new(small(2, 4), 1), &trace);
}

#[test]
fn a_hedged_request_leaves_nothing_behind() {
    let mut config = small(1, 4);
    config.hedging = Some(hedge::Config { volume: 2, ..Default::default() });
    let trace = [
        Ask,
        Pass(10),
        Answer(0),
        Ask,
        Pass(10),
        Answer(1),
        AskTwice,
        Pass(15),
        AskTwice,
        Answer(2),
        Pass(15),
        Lose(0),
        Answer(3),
        Answer(3),
        Answer(2),
    ];
    strike_everywhere("hedged", || Peers::<Uw>::new(config, 2), &trace);
    strike_everywhere("hedged, without ids", || Peers::<Toy>::new(config, 2), &trace);
}

#[test]
fn requests_that_wait_for_a_place_and_leave_in_part_leave_nothing_behind() {
    let trace = [
        Ask,
        Ask,
        Ask,
        Window(5),
        Answer(0),
        AskTwice,
        Window(7),
        Window(usize::MAX),
        Answer(1),
        Ask,
        Answer(2),
        Answer(3),
        Answer(4),
    ];
    strike_everywhere("waiting", || Peers::<Uw>::new(small(1, 1), 1), &trace);
    strike_everywhere("waiting, without ids", || Peers::<Toy>::new(small(1, 1), 1), &trace);
}

#[test]
fn an_application_that_takes_no_events_leaves_nothing_behind() {
    let trace = [Ask, Ask, Ask, Hold, Answer(0), Answer(1), Ask, Answer(2), TakeEvents, Answer(3)];
    strike_everywhere("no events", || Peers::<Uw>::new(small(1, 3), 1), &trace);
    strike_everywhere("no events, two connections", || Peers::<Uw>::new(small(2, 1), 1), &trace);
}

#[test]
fn endpoints_that_come_and_go_leave_nothing_behind() {
    let trace = [
        Ask,
        Ask,
        Ask,
        Remove(0),
        Answer(0),
        Add,
        Ask,
        Answer(1),
        Remove(1),
        Ask,
        Answer(2),
        Answer(3),
        Answer(4),
    ];
    strike_everywhere("endpoints", || Peers::<Uw>::new(small(1, 2), 2), &trace);
}
