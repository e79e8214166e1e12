//! What others got wrong: a test for each mistake, named after it, with the place where it was shipped.
//!
//! That each can fail is shown by `.ci/teeth`: it puts the mistake in (`teeth/*.patch`), and the test of that name fails.

mod client_support;
mod cluster_support;
mod ipc_support;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use client_support::{ADDRESS, Frame, Rig, Toy, Wire, limit, steady};
use cluster_support::{Fleet, calm};
use plimsoll_core::cluster::{CloseCause, Config, Place, StateEvent, Unplaced, Want};
use plimsoll_core::error::Rejected;
use plimsoll_core::id::{ConnId, EndpointId, RequestId};
use plimsoll_core::ipc;
use plimsoll_core::machine::{self, Input, Machine};
use plimsoll_core::map::Seed;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::breaker::{self, Breaker, Counts, Mode, Outcome, Permit, State};
use plimsoll_core::policy::coalesce::{self, Coalesce, Left, Role};
use plimsoll_core::policy::outlier::{self, Outliers};
use plimsoll_core::rng::Pcg;
use plimsoll_core::service::client::{Client, Options};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::time::Instant;
use serde_json::json;

const START: Instant = Instant::from_millis(1_000_000);
const RECOVERY: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(30);

/// A cluster that does nothing about failures but what a test is about.
fn plain() -> Config {
    let mut config = Config { outliers: None, ..calm() };
    config.breaker.mode = Mode::Count { failures: NonZeroU32::MAX };
    config
}

/// Its breakers open with the first failure, and let three probes through.
fn fragile() -> Config {
    let mut config = plain();
    config.breaker.mode = Mode::Count { failures: limit(1) };
    config
}

/// djc/bb8#59: the caller gave up between the moment a connection was taken for it and the moment it was told, and the
/// connection stayed taken.
#[test]
fn a_slot_leaked_by_a_cancelled_checkout() {
    let mut caller = Caller::new();
    let ids = [(); 4].map(|()| caller.request());
    caller.drain();
    let answers = caller.answers();
    caller.read(&answers);
    // The first answer is lent. Behind it the second is settled, and its place is taken for the last request, which is given
    // up before anybody has looked.
    assert!(caller.client.event().is_some());
    assert!(caller.client.cancel(START, ids[3]));
    assert!(caller.client.cancel(START, ids[2]));
    caller.drain();
    let status = caller.client.status();
    assert_eq!((status.in_flight, status.waiting), (0, 0));

    // Nor does any other step of a request keep a place: unsent, sent in part, sent, and waiting.
    let mut config = steady();
    config.cluster.in_flight = limit(2);
    config.cluster.max_connections = limit(1);
    let (mut rig, conn) = Rig::<Uw>::connected(config);
    for round in 0..50 {
        rig.window = [0, 5, usize::MAX][round % 3];
        let ids = [rig.request(), rig.request(), rig.request(), rig.request()];
        for n in 0..ids.len() {
            assert!(rig.cancel(ids[(n + round) % ids.len()]));
        }
        rig.window = usize::MAX;
        rig.run();
        let status = rig.client.status();
        assert_eq!((status.in_flight, status.waiting), (0, 0), "round {round}");
    }
    let after = [rig.request(), rig.request()];
    rig.answer_all(conn);
    after.iter().for_each(|id| rig.assert_answered(*id, "{}"));
    rig.check_rest();
}

/// redis/redis-py#2624: a command was cancelled between its bytes and its answer, the connection went on, and whoever asked next
/// was given that answer, and so did everybody after him. Here one of three is given up, each in turn, by its caller or by its
/// time.
#[test]
fn an_answer_to_a_cancelled_request_given_to_the_next() {
    for given_up in 0..3 {
        for times_out in [false, true] {
            let (mut rig, conn) = Rig::<Toy>::connected(steady());
            let ids = [0, 1, 2].map(|n| {
                if times_out && n == given_up { rig.request_within(10) } else { rig.request_within(60_000) }
            });
            if times_out {
                rig.pass_ms(10);
            } else {
                rig.cancel(ids[given_up]);
            }
            let last = rig.request();
            rig.feed(conn, b"ok 0\nok 1\nok 2\nok 3\n");
            for (n, id) in ids.into_iter().enumerate().filter(|(n, _)| *n != given_up) {
                rig.assert_answered(id, &format!("ok {n}"));
            }
            rig.assert_answered(last, "ok 3");
            rig.check_rest();
        }
    }
}

/// djc/bb8#122: a connection came back after a request had found none idle and before it stood in the queue, and nobody
/// woke it. Here a request comes between any two steps in the lives of two others that fill the connection: once all is
/// drained, and without any time passing, it is on the wire.
#[test]
fn a_wake_up_lost_between_no_idle_connection_and_enqueue() {
    for cut in 0..60 {
        for step in 0..8 {
            let mut caller = Caller::new();
            let mut steps = 0..;
            let mut late = |caller: &mut Caller| {
                if steps.next() == Some(step) {
                    caller.request();
                }
            };
            caller.request();
            caller.request();
            late(&mut caller);
            caller.drain();
            late(&mut caller);
            let answers = caller.answers();
            let (first, rest) = answers.split_at(cut.min(answers.len()));
            caller.read(first);
            late(&mut caller);
            caller.read(rest);
            late(&mut caller);
            for _ in 0..3 {
                caller.client.event();
                late(&mut caller);
            }
            caller.client.poll();
            late(&mut caller);
            caller.drain();
            assert_eq!(caller.frames().len(), 3, "cut at {cut}, asked at step {step}");
        }
    }

    // An owner of a cluster may do anything between the two.
    let config = Config { in_flight: limit(1), max_connections: limit(1), ..plain() };
    let mut fleet = Fleet::new(config, 1);
    let place = fleet.take();
    assert_eq!(fleet.checkout(Want::default()), Err(Unplaced::Full));
    fleet.give_back(place, Outcome::Success);
    assert!(fleet.cluster.wait(fleet.now, 1, 100, Want::default()));
    fleet.run();
    assert!(fleet.place_of(1).is_some());
}

/// A client with one connection that carries two requests at a time, call by call.
struct Caller {
    client: Client<Uw>,
    conn: ConnId,
    /// What the peer has received.
    bytes: Vec<u8>,
}

impl Caller {
    fn new() -> Caller {
        let mut config = steady();
        config.cluster.in_flight = limit(2);
        config.cluster.max_connections = limit(1);
        let mut client = Client::new(Uw::default(), config, 1);
        client.add_endpoint(START, ADDRESS).unwrap();
        let Some(machine::Action::Connect(conn)) = client.poll() else { panic!("no dial") };
        client.handle(START, Input::Connected(conn));
        Caller { client, conn, bytes: Vec::new() }
    }

    fn request(&mut self) -> RequestId {
        let request = UwRequest { method: "t1", content: b"{}" };
        self.client.request(START, &request, Options::default()).unwrap()
    }

    fn drain(&mut self) {
        while self.client.event().is_some() {}
        while self.client.poll().is_some() {}
        let mut bufs = [&[][..]; 8];
        let filled = self.client.send_bufs(self.conn, &mut bufs);
        let sent = bufs[..filled].concat();
        self.client.handle(START, Input::Sent(self.conn, sent.len()));
        self.bytes.extend(sent);
    }

    fn frames(&self) -> Vec<Frame> {
        let mut rest = &self.bytes[..];
        let next = || Uw::frame(rest).map(|(frame, len)| (frame, rest = &rest[len..]).0);
        std::iter::from_fn(next).collect()
    }

    fn answers(&self) -> Vec<u8> {
        self.frames()[..2].iter().flat_map(|frame| Uw::answer(frame, "{}")).collect()
    }

    fn read(&mut self, bytes: &[u8]) {
        assert_eq!(self.client.feed(START, self.conn, bytes), bytes.len());
    }
}

/// resilience4j/resilience4j#935: probes that never returned kept the breaker half-open for good. Their places are leased.
#[test]
fn a_half_open_breaker_stuck_because_its_probe_never_returned() {
    let mut fleet = Fleet::new(fragile(), 1);
    let place = fleet.take();
    fleet.give_back(place, Outcome::Failure);
    fleet.pass(RECOVERY);
    let lost: Vec<Place> = (0..3).map(|_| fleet.take()).collect();
    let refused = Err(Unplaced::Rejected(Rejected::CircuitOpen));
    assert_eq!(fleet.checkout(Want::default()), refused);
    fleet.pass(LEASE - Duration::from_nanos(1));
    assert_eq!(fleet.checkout(Want::default()), refused);
    fleet.pass(Duration::from_nanos(1));
    for _ in &lost {
        let probe = fleet.take();
        fleet.give_back(probe, Outcome::Success);
    }
    assert_eq!(fleet.status(fleet.endpoints[0]).breaker, State::Closed);
}

/// resilience4j/resilience4j#1432: callers that met in the moment of the change to half-open got permits beyond the limit.
/// Here whoever finds the open time over, three go out, and one more for each that is back.
#[test]
fn more_probes_than_allowed_in_a_race() {
    let probes = |breaker: &mut Breaker, now| -> Vec<Permit> {
        std::iter::from_fn(|| breaker.admit(now).ok()).take(100).collect()
    };
    for ticks_first in [true, false] {
        let mut breaker = opened();
        let now = START + RECOVERY;
        let mut out = Vec::new();
        if !ticks_first {
            out.extend(breaker.admit(now));
            assert_eq!(breaker.deadline(), Some(now), "somebody must be told");
        }
        assert!(breaker.tick(now).is_some() && breaker.tick(now).is_none(), "told once");
        out.extend(probes(&mut breaker, now));
        assert_eq!(out.len(), 3);

        assert_eq!(breaker.settle(now, out[1], Outcome::Ignored), None);
        assert_eq!(probes(&mut breaker, now).len(), 1, "one is back, one may go");
    }
}

fn opened() -> Breaker {
    let mut breaker = Breaker::new(breaker::Config::default(), Pcg::new(1, 1));
    for _ in 0..5 {
        let permit = breaker.admit(START).unwrap();
        breaker.settle(START, permit, Outcome::Failure);
    }
    breaker
}

/// App-vNext/Polly#217: calls that hung over from before the trip decided about what came after it.
#[test]
fn a_result_from_before_the_trip_counted_after_it() {
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Ignored] {
        let mut breaker = Breaker::new(breaker::Config::default(), Pcg::new(1, 1));
        let overhanging = [(); 8].map(|()| breaker.admit(START).unwrap());
        let trip = |permit: &Permit| breaker.settle(START, *permit, Outcome::Failure);
        assert_eq!(overhanging[..5].iter().filter_map(trip).count(), 1);
        assert_eq!(breaker.settle(START, overhanging[5], outcome), None, "while open");

        let now = START + RECOVERY;
        breaker.tick(now).expect("a transition");
        assert_eq!(breaker.settle(now, overhanging[6], outcome), None, "while half-open");
        assert_eq!(breaker.state(now), State::HalfOpen);

        let probes: Vec<Permit> = std::iter::from_fn(|| breaker.admit(now).ok()).collect();
        assert_eq!(probes.len(), 3, "nor does it give back a place it never had");
        for probe in probes {
            breaker.settle(now, probe, Outcome::Success);
        }
        assert_eq!(breaker.settle(now, overhanging[7], outcome), None, "when closed again");
        let stats = breaker.stats(now);
        assert_eq!((stats.window, stats.consecutive_failures, stats.stale), (Counts::default(), 0, 3));
    }
}

/// tower-rs/tower#856: a pick was kept as an index, and after a removal the index was another's.
#[test]
fn a_pick_by_index_that_hits_another_endpoint_after_a_removal() {
    let config = Config {
        strategy: Strategy::RoundRobin,
        in_flight: limit(2),
        max_connections: limit(1),
        ..fragile()
    };
    let mut fleet = Fleet::new(config, 4);
    let picks: BTreeMap<EndpointId, Place> =
        (0..4).map(|_| fleet.take()).map(|place| (place.endpoint, place)).collect();
    let first = fleet.endpoints[0];
    let addresses: BTreeMap<EndpointId, String> =
        fleet.cluster.endpoints().map(|(id, address)| (id, address.to_owned())).collect();
    assert!(fleet.remove(first));

    // The last has moved into the place of the first. Every pick is still that of its endpoint, and so is its slot.
    for (endpoint, address) in &addresses {
        assert_eq!(fleet.cluster.target(picks[endpoint].conn), Some(&address[..]));
    }
    let rest: BTreeMap<EndpointId, Place> =
        (0..3).map(|_| fleet.take()).map(|place| (place.endpoint, place)).collect();
    assert_eq!(rest.keys().copied().collect::<Vec<_>>(), fleet.endpoints[1..]);
    assert_eq!(fleet.checkout(Want::default()), Err(Unplaced::Full));
    let freed = fleet.endpoints[3];
    fleet.give_back(rest[&freed], Outcome::Success);
    assert_eq!(fleet.take().endpoint, freed);

    // Another moves into the slot of the first; a result that is late counts for nobody.
    fleet.lose(picks[&first].conn);
    let next = fleet.add();
    assert_eq!((next.slot(), fleet.take().endpoint), (first.slot(), next));
    fleet.cluster.settle(fleet.now, picks[&first], Outcome::Failure);
    assert_eq!(fleet.status(next).breaker, State::Closed);
}

/// envoyproxy/envoy#27066: the share that is out was checked before the ejection, so that one more went than may. Here all
/// endpoints fail, and of any number exactly so many are out that a tenth is not exceeded, however they are found.
#[test]
fn ejection_above_its_cap_by_one() {
    let at_once = outlier::Config::default();
    let by_sweep = outlier::Config { consecutive: NonZeroU32::MAX, ..at_once };
    for (config, behind_breakers) in [at_once, by_sweep].into_iter().zip([0, 2]) {
        for count in 1..=60 {
            let mut outliers = Outliers::new(config, START);
            let endpoints: Vec<_> = (0..count).map(|slot| EndpointId::new(slot, 0)).collect();
            endpoints.iter().for_each(|&endpoint| outliers.add(endpoint));
            for &endpoint in &endpoints {
                for _ in 0..60 {
                    outliers.failed(START, endpoint, behind_breakers);
                }
            }
            // The last of them are behind open breakers.
            let is_open = |id: EndpointId| id.slot() + behind_breakers >= count;
            outliers.tick(outliers.deadline(), is_open, |_| {});
            let allowed = (count / 10).saturating_sub(behind_breakers);
            assert_eq!(outliers.ejected(), allowed, "of {count}");
            let listed = endpoints.iter().filter(|&&endpoint| outliers.is_ejected(endpoint)).count();
            assert_eq!(listed, allowed as usize, "of {count}");
        }
    }
}

/// linera-io/linera-protocol#6577: the leader of equal requests gave up, and its followers waited for ever.
#[test]
fn a_follower_left_hanging_when_its_leader_is_dropped() {
    let mut flights = Coalesce::new(coalesce::Config::default(), Seed::new(&mut Pcg::new(1, 1)));
    let (first, _) = flights.join("user 7", 1).unwrap();
    let (second, _) = flights.join("user 7", 2).unwrap();
    flights.join("user 7", 3).unwrap();
    assert_eq!(flights.leave(first), Some(Left::Succeeded { by: second, member: &2 }));
    assert_eq!(flights.join("user 7", 4).unwrap().1, Role::Follower, "it still flies");
    let mut ended = Vec::new();
    flights.finish(second, |member| ended.push(member));
    assert_eq!(ended, [2, 3, 4]);
    assert_eq!((flights.flights(), flights.members()), (0, 0));
}

/// linkerd/linkerd2-proxy#4537: an endpoint that refuses at once has the shortest round trips, and was given all requests.
/// No breaker and no ejection helps here: the strategies that look at round trips must see through it by themselves.
#[test]
fn a_dead_endpoint_picked_for_ever_because_it_fails_fast() {
    for strategy in [Strategy::P2cEwma, Strategy::HealthBased] {
        let mut fleet = Fleet::new(Config { strategy, ..plain() }, 10);
        let dead = fleet.endpoints[4];
        let shares = fleet.calls_that(10_000, |endpoint| match endpoint == dead {
            true => (0, Outcome::Failure),
            false => (10, Outcome::Success),
        });
        let failed = shares.get(&dead).copied().unwrap_or(0);
        // A fair share were 1,000.
        assert!(failed < 100, "{strategy}: {failed}");
    }
}

/// transact-rs/sqlx#2854: connections that were opened together reached their age together, and all were dialled anew at
/// once. Here 60 do, each at its own time within a tenth of the hour.
#[test]
fn all_connections_expiring_in_the_same_instant() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let config = Config { max_age: Some(HOUR), min_connections: 10, ..plain() };
    let mut fleet = Fleet::new(config, 6);
    fleet.pass_secs(1);
    assert_eq!(fleet.cluster.status().connections, 60);
    fleet.states.clear();
    // How many end in each minute.
    let ends = [(); 70].map(|()| {
        fleet.pass_secs(60);
        let aged = |state: &StateEvent| matches!(state, StateEvent::Closed { cause: CloseCause::Aged, .. });
        fleet.states.drain(..).filter(aged).count()
    });
    assert_eq!((ends.iter().sum::<usize>(), ends[53..67].iter().sum::<usize>()), (60, 60), "{ends:?}");
    // Drawn from twelve minutes, 5 in each on average, with a deviation of 2.
    assert!(ends.iter().all(|count| *count <= 16), "{ends:?}");
    assert_eq!(fleet.cluster.status().connections, 60);
}

/// nirikshan/ipc-bro: a call that went nowhere was answered with an `ERROR`, which no caller looks for: it waited until its time
/// was over.
#[test]
fn a_caller_left_hanging_when_the_hub_cannot_route() {
    let mut world = ipc_support::World::new(ipc::hub::Config::default());
    let order = world.service("order", &[]);
    let user = world.service("user", &["get"]);
    for (id, to, method, code) in
        [("1", "nobody", "get", "SERVICE_NOT_FOUND"), ("2", "user", "drop", "METHOD_NOT_FOUND")]
    {
        world.say(order, &ipc_support::call(id, "order", to, method, json!(7)));
        assert_eq!(world.answer(order), (id.into(), json!(code)));
    }
    // Nor does one wait for a service that has gone.
    world.say(order, &ipc_support::call("3", "order", "user", "get", json!(7)));
    world.handle(Input::ReadClosed(user));
    assert_eq!(world.answer(order), ("3".into(), json!("CONNECTION_LOST")));
}

/// A hub that passes an answer on to whom it says to be for lets every service answer for every other.
#[test]
fn an_answer_taken_from_a_service_that_was_not_called() {
    let mut world = ipc_support::World::new(ipc::hub::Config::default());
    let order = world.service("order", &[]);
    let bank = world.service("bank", &["get"]);
    let mallory = world.service("mallory", &[]);
    world.say(order, &ipc_support::call("1", "order", "bank", "get", json!(7)));
    world.say(mallory, &ipc_support::success("1", "mallory", "order", json!(1_000_000)));
    assert_eq!(world.hears(order), Vec::<serde_json::Value>::new());
    world.take(bank);
    world.say(bank, &ipc_support::success("1", "bank", "order", json!(7)));
    assert_eq!(world.answer(order), ("1".into(), json!(7)));
}

/// nirikshan/ipc-bro: the context of the call that was served last stood in one field, and was that of every call made since, so
/// that calls at the same time went out on behalf of each other.
#[test]
fn contexts_of_calls_at_the_same_time_mixed_up() {
    use ipc::client::{Client, Config, Options};
    let mut client = Client::new(Config::new("user"), 7);
    client.handle(START, Input::Wall(1_000));
    client.connect(START);
    let Some(machine::Action::Connect(conn)) = client.poll() else { panic!("it wants a connection") };
    client.handle(START, Input::Connected(conn));
    client.feed(START, conn, &ipc_support::frame(br#"{"type":"REGISTER_ACK"}"#));
    while client.event().is_some() {}
    let within = |root: &str, caller: &str| {
        ipc::Context::create(root, caller, 1_000, Duration::from_secs(9)).extend("user").unwrap()
    };
    let (order, cart) = (within("root-order", "order"), within("root-cart", "cart"));
    for context in [Some(&order), Some(&cart), None, Some(&order)] {
        client.call(START, "role", "get", None, context, Options::default()).unwrap();
    }
    let mut bufs = [&[][..]; 8];
    let n = client.send_bufs(conn, &mut bufs);
    let calls = ipc_support::messages(&bufs[..n].concat());
    let sent: Vec<_> =
        calls.iter().filter(|call| call["type"] == "CALL").map(|call| &call["context"]).collect();
    for (at, root, chain) in [
        (0, "root-order", json!(["order", "user", "role"])),
        (1, "root-cart", json!(["cart", "user", "role"])),
        (3, "root-order", json!(["order", "user", "role"])),
    ] {
        assert_eq!((&sent[at]["root"], &sent[at]["chain"]), (&json!(root), &chain));
        assert_eq!((&sent[at]["depth"], &sent[at]["deadline"]), (&json!(3), &json!(10_000)));
    }
    assert_eq!((&sent[2]["chain"], &sent[2]["depth"]), (&json!(["user", "role"]), &json!(2)));
    assert_ne!(sent[2]["root"], "root-order");
}
