//! Law 9, for the service client: once warm, the steady state allocates nothing.

use std::time::Duration;

use plimsoll_core::id::{ConnId, RequestId};
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::policy::gcra::Quota;
use plimsoll_core::policy::{concurrency, hedge, throttle};
use plimsoll_core::service::client::{Client, Config, Event, Options};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::uw::{Limits, Mode, Step, decode_request, encode_response};

const BURST: usize = 60;

/// How many milliseconds the slow answers come together.
const SLOW: u64 = 5;

/// Bursts of requests, some of them idempotent, some cancelled before they are sent and some after, some that wait, some
/// so slow that they are hedged.
struct Load {
    client: Client<Uw>,
    now: u64,
    conns: Vec<ConnId>,
    requests: Vec<RequestId>,
    sent: Vec<u8>,
    answers: Vec<u8>,
    /// Slow answers, by connection.
    slow: Vec<Vec<u8>>,
    answered: usize,
    ended: usize,
}

impl Load {
    fn new() -> Self {
        let mut config = Config::default();
        config.cluster.in_flight = core::num::NonZeroU32::new(10).unwrap();
        config.cluster.max_connections = core::num::NonZeroU32::new(2).unwrap();
        config.cluster.min_connections = 2;
        // All guards are on, and let everything through.
        let enough = core::num::NonZeroU32::new(100_000).unwrap();
        config.rate_limit = Some(Quota::new(enough, Duration::from_secs(1)));
        config.throttle = Some(throttle::Config::default());
        config.concurrency =
            Some(concurrency::Config { minimum: enough, maximum: enough.get(), ..Default::default() });
        config.hedging = Some(hedge::Config::default());
        let mut client = Client::new(Uw::default(), config, 7);
        client.add_endpoint(Instant::ZERO, "users-a.internal:3001").unwrap();
        client.add_endpoint(Instant::ZERO, "users-b.internal:3001").unwrap();
        let (sent, answers) = (Vec::with_capacity(100_000), Vec::with_capacity(100_000));
        let mut load = Load {
            client,
            now: 0,
            conns: Vec::with_capacity(4),
            requests: Vec::with_capacity(BURST),
            sent,
            answers,
            slow: (0..4).map(|_| Vec::with_capacity(100_000)).collect(),
            answered: 0,
            ended: 0,
        };
        for _ in 0..100 {
            load.now += 1;
            load.client.handle(Instant::from_millis(load.now), Input::Tick);
            load.turn();
        }
        assert_eq!(load.conns.len(), 4);
        load
    }

    /// What a runtime does in a turn, and the answers of the peers.
    fn turn(&mut self) {
        let now = Instant::from_millis(self.now);
        loop {
            while let Some(event) = self.client.event() {
                self.ended += usize::from(matches!(event, Event::Outcome { .. }));
            }
            let Some(action) = self.client.poll() else { return };
            match action {
                Action::Connect(conn) => {
                    self.conns.push(conn);
                    self.client.handle(now, Input::Connected(conn));
                }
                Action::Flush(conn) => self.serve(now, conn),
                Action::Read(..) | Action::Close(_) => panic!("{action:?}"),
            }
        }
    }

    fn serve(&mut self, now: Instant, conn: ConnId) {
        let mut bufs = [&[][..]; 8];
        let n = self.client.send_bufs(conn, &mut bufs);
        self.sent.clear();
        bufs[..n].iter().for_each(|buf| self.sent.extend_from_slice(buf));
        self.client.handle(now, Input::Sent(conn, self.sent.len()));
        self.answers.clear();
        let (mut rest, limits) = (&self.sent[..], Limits::default());
        let at = self.conns.iter().position(|&other| other == conn).unwrap();
        while let Ok(Step::Frame(head)) = decode_request(rest, &limits, Mode::Strict) {
            self.answered += 1;
            let answers =
                if self.answered.is_multiple_of(23) { &mut self.slow[at] } else { &mut self.answers };
            encode_response(answers, head.id, &rest[head.content.clone()], &limits).unwrap();
            rest = &rest[head.content.end..];
        }
        assert_eq!(self.client.feed(now, conn, &self.answers), self.answers.len());
    }

    fn serve_slow(&mut self, now: Instant) {
        for (&conn, answers) in self.conns.iter().zip(&mut self.slow) {
            assert_eq!(self.client.feed(now, conn, answers), answers.len());
            answers.clear();
        }
    }

    fn run(&mut self, requests: usize) {
        let end = self.ended + requests;
        while self.ended < end {
            self.now += 1;
            let now = Instant::from_millis(self.now);
            self.client.handle(now, Input::Tick);
            if self.now.is_multiple_of(SLOW) {
                self.serve_slow(now);
            }
            self.requests.clear();
            for n in 0..BURST {
                let content = &[b' '; 300][..n * 5];
                let request = UwRequest { method: "method", content };
                let options = Options { idempotent: n % 3 == 0, tag: n as u64, ..Options::default() };
                self.requests.push(self.client.request(now, &request, options).unwrap());
            }
            for &id in self.requests.iter().step_by(7) {
                assert!(self.client.cancel(now, id));
            }
            self.turn();
        }
        self.serve_slow(Instant::from_millis(self.now));
        self.turn();
    }
}

#[test]
fn a_warm_client_makes_100_000_requests_without_an_allocation() {
    let mut load = Load::new();
    load.run(10_000);
    let allocated = allocation_counter::measure(|| load.run(100_000));
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
    let metrics = load.client.metrics();
    assert_eq!(metrics.failed, metrics.failures.cancelled);
    assert!(metrics.hedges > 100 && metrics.hedges_won > 10, "{} hedges", metrics.hedges);
    assert_eq!((load.client.status().in_flight, load.client.status().waiting), (0, 0));
}
