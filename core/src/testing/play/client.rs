//! Anything may happen in any order: the rig's laws hold after every step, and once the faults stop, everything
//! settles.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::rig::{ADDRESS, Dial, Done, Frame, Rig, Wire, steady};
use super::{Op, limit};
use crate::cluster::EndpointOptions;
use crate::error::Fault;
use crate::id::{ConnId, EndpointId, RequestId};
use crate::machine::{Input, Machine};
use crate::policy::fixed::Ratio;
use crate::policy::gcra::Quota;
use crate::policy::health_check::Level;
use crate::policy::{breaker, concurrency, hedge, throttle};
use crate::service::client::{Config, Options};

/// `extras`: what is off by default, a bit each; those above say how long it settles.
fn config(shape: u16, extras: u8) -> Config {
    let mut config = steady();
    if extras & 1 != 0 {
        // The least is a delay that is soon over.
        let (volume, percentile) = (1, Ratio::percent(50));
        config.hedging = Some(hedge::Config { volume, percentile, hedges: 2, ..Default::default() });
    }
    if extras & 2 != 0 {
        let burst = Quota::new(limit(20), Duration::from_secs(1));
        config.rate_limit = Some(burst);
        config.throttle = Some(throttle::Config::default());
        config.concurrency = Some(concurrency::Config { samples: limit(5), ..Default::default() });
    }
    let cluster = &mut config.cluster;
    let features = shape / 144;
    cluster.max_age = (features % 2 == 1).then_some(Duration::from_millis(700));
    cluster.subset = (features / 2 % 2 == 1).then(|| limit(1 + u32::from(shape % 2)));
    cluster.priorities.hold = Duration::from_millis(600);
    cluster.slow_start.window = Duration::from_millis(900);
    if let Some(outliers) = &mut cluster.outliers {
        outliers.consecutive = limit(2);
        outliers.sweep = Duration::from_millis(400);
        outliers.base = Duration::from_millis(500);
        outliers.most = Ratio::percent(60);
    }
    cluster.in_flight = limit(1 + u32::from(shape % 4));
    cluster.max_connections = limit(1 + u32::from(shape / 4 % 3));
    cluster.min_connections = u32::from(shape / 12 % 3);
    cluster.grow_at = u32::from(shape / 36 % 2);
    cluster.waiters = limit(4);
    cluster.idle_close = Duration::from_millis(400 + 100_000 * u64::from(shape / 72 % 2));
    cluster.backoff.base = Duration::from_millis(50);
    cluster.backoff.cap = Duration::from_millis(500);
    cluster.heartbeat.interval = Duration::from_millis(2_000);
    cluster.heartbeat.timeout = Duration::from_millis(300);
    cluster.connect_timeout = Duration::from_millis(300);
    cluster.breaker.recovery = Duration::from_millis(700);
    cluster.breaker.recovery_cap = Duration::from_millis(1_500);
    cluster.breaker.success_threshold = limit(1 + u32::from(shape % 3));
    cluster.breaker.lease = Duration::from_millis(900);
    cluster.breaker.mode = breaker::Mode::Count { failures: limit(3) };
    config
}

struct Play<W: Wire> {
    rig: Rig<W>,
    endpoints: Vec<EndpointId>,
    requests: Vec<RequestId>,
    /// Frames that were answered before, to answer again.
    answered: Vec<(ConnId, Frame)>,
    /// It settles for as long as it may.
    is_patient: bool,
}

impl<W: Wire> Play<W> {
    fn step(&mut self, (what, whom, much): Op) {
        let open = self.rig.open();
        let conn = open.get(usize::from(whom) % open.len().max(1)).copied();
        match what % 22 {
            0..=5 => {
                let timeout = (much % 4 != 0).then_some(Duration::from_millis(u64::from(much) * 4));
                let options = Options { timeout, idempotent: whom % 2 == 0, ..Options::default() };
                self.requests.extend(self.rig.try_request(options));
            }
            6 => {
                if !self.requests.is_empty() {
                    let id = self.requests[usize::from(whom) % self.requests.len()];
                    self.rig.cancel(id);
                }
            }
            7 | 8 => self.rig.send_only(if much % 3 == 0 { usize::MAX } else { usize::from(much) }),
            9..=12 => {
                if let Some(conn) = conn {
                    let mut frames = self.rig.frames(conn);
                    // A wire without ids answers in order.
                    if W::HAS_IDS && much % 2 == 0 {
                        frames.reverse();
                    }
                    let keep = frames.len().saturating_sub(1 + usize::from(much % 3));
                    let later = frames.split_off(frames.len() - keep);
                    for frame in frames {
                        if self.rig.peers[&conn].open {
                            let text = if much % 7 == 0 { "err down" } else { "{}" };
                            self.rig.answer(conn, &frame, text);
                        }
                        self.answered.push((conn, frame));
                    }
                    let peer = self.rig.peers.get_mut(&conn).unwrap();
                    peer.frames.splice(0..0, later);
                }
            }
            13 => {
                if let Some(conn) = conn {
                    self.rig.drop_conn(conn);
                }
            }
            14 => self.rig.dial = [Dial::Succeeds, Dial::Fails, Dial::Hangs][usize::from(much % 3)],
            15 | 16 => self.rig.pass_ms(u64::from(much) * 4),
            17 => match conn {
                Some(conn) if much % 4 == 0 => self.rig.feed(conn, b"\xff garbage\n"),
                Some(conn) if W::HAS_IDS && !self.answered.is_empty() => {
                    // Doubled, or on a connection that never asked.
                    let (_, frame) = self.answered[usize::from(much) % self.answered.len()].clone();
                    self.rig.answer(conn, &frame, "doubled");
                }
                _ => {}
            },
            18 => {
                if much % 2 == 0 && self.endpoints.len() < 4 {
                    let address = format!("users-{whom}.internal:3001");
                    let options = EndpointOptions { priority: whom % 3, weight: 1 };
                    let added = self.rig.client.add_endpoint_with(self.rig.now, &address, options);
                    self.endpoints.extend(added);
                    self.rig.run();
                } else if !self.endpoints.is_empty() {
                    let endpoint = self.endpoints.swap_remove(usize::from(whom) % self.endpoints.len());
                    self.rig.remove(endpoint);
                }
            }
            19 => {
                if let Some(&endpoint) = self.endpoints.get(usize::from(whom) % self.endpoints.len().max(1)) {
                    let (client, now) = (&mut self.rig.client, self.rig.now);
                    match much % 4 {
                        0 => _ = client.drain_endpoint(now, endpoint),
                        1 => _ = client.set_health(now, endpoint, Level::Unhealthy),
                        2 => _ = client.set_health(now, endpoint, Level::Healthy),
                        _ => _ = client.resume_endpoint(now, endpoint),
                    }
                    self.rig.run();
                }
            }
            20 => {
                self.rig.client.scale(self.rig.now, u32::from(much % 4));
                self.rig.run();
            }
            _ => {
                let dialled = self.rig.dials.get(usize::from(whom) % self.rig.dials.len().max(1));
                match (much % 4, dialled) {
                    (0, Some(&(_, conn))) => {
                        // A dial that hung is answered late, or twice.
                        let known = self.rig.client.target(conn).is_some();
                        let peer = self.rig.peers.get_mut(&conn).unwrap();
                        peer.open = known;
                        self.rig.handle(Input::Connected(conn));
                    }
                    (1, Some(&(_, conn))) => {
                        self.rig.peers.get_mut(&conn).unwrap().open = false;
                        self.rig.handle(Input::Closed(conn, Fault::Reset));
                    }
                    (2, _) => self.rig.drains = !self.rig.drains,
                    (_, _) if whom < 16 => self.rig.shutdown_within(u64::from(much) * 8),
                    _ => {}
                }
            }
        }
        self.rig.client.audit();
    }

    fn answer_whatever_is_asked(&mut self) {
        for conn in self.rig.open() {
            for frame in self.rig.frames(conn) {
                if self.rig.peers[&conn].open {
                    self.rig.answer(conn, &frame, "{}");
                }
            }
        }
    }

    /// Nobody waits, for a place or for an answer.
    fn is_at_rest(&self) -> bool {
        let status = self.rig.client.status();
        (status.in_flight, status.waiting) == (0, 0)
    }

    /// Within ten seconds all requests have ended. It need not take that long, but one in eight goes on to the end, to see
    /// that nothing comes after.
    fn settle(mut self) {
        self.rig.drains = true;
        self.rig.window = usize::MAX;
        self.rig.dial = Dial::Succeeds;
        for &endpoint in &self.endpoints {
            self.rig.client.resume_endpoint(self.rig.now, endpoint);
        }
        self.rig.run();
        for _ in 0..40 {
            self.answer_whatever_is_asked();
            if !self.is_patient && self.is_at_rest() {
                break;
            }
            self.rig.pass_ms(250);
            self.rig.client.audit();
        }
        self.rig.check_rest();
        let permits = self.rig.client.admission().concurrency().map(|limit| limit.in_flight());
        assert!(matches!(permits, None | Some(0)), "{permits:?} permits are left");
        assert!(self.rig.client.status().endpoints_out == 0 || !self.endpoints.is_empty());
        self.serves_again();
        self.rig.shutdown_within(1_000);
        self.rig.pass_ms(1_000);
        assert!(self.rig.client.is_finished());
        assert_eq!(self.rig.client.deadline(), None, "no timer runs after the shutdown");
    }

    /// New requests are served again. A peer that has begun with nonsense and has not said all of it costs the first on
    /// its connection.
    fn serves_again(&mut self) {
        for _ in 0..=self.rig.open().len() {
            if self.rig.try_request(Options::default()).is_err() {
                return;
            }
            for _ in 0..40 {
                self.answer_whatever_is_asked();
                if self.is_at_rest() {
                    break;
                }
                // The last dial may hang, and the endpoint back off.
                self.rig.pass_ms(100);
            }
            let id = *self.rig.order.last().expect("an outcome");
            match self.rig.outcome(id) {
                Some(Done::Answer(_)) => return,
                Some(Done::Protocol(_)) => {}
                other => panic!("not served again: {other:?}"),
            }
        }
        panic!("not served again: no peer keeps to the protocol any more");
    }
}

/// Does it all, then lets everything come to rest. The shape and the extras choose the configuration.
///
/// # Panics
/// If a request does not end exactly once, or is repeated though it may not be, or something does not come to rest.
pub fn play<W: Wire>(wire: W, shape: u16, extras: u8, ops: &[Op]) {
    let mut play = Play {
        rig: Rig::over(wire, config(shape, extras)),
        endpoints: Vec::new(),
        requests: Vec::new(),
        answered: Vec::new(),
        is_patient: extras & 0x1C == 0x1C,
    };
    play.endpoints.push(play.rig.add(ADDRESS));
    for &op in ops {
        play.step(op);
    }
    play.settle();
}
