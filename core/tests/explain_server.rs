//! What the log of a server tells people: over which connection a request came, what it waited for, and what became of it.

mod support;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::error::Fault;
use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{Input, Machine, Peer};
use plimsoll_core::policy::watermark::Band;
use plimsoll_core::record::{Options, Record};
use plimsoll_core::replay::{self, Query};
use plimsoll_core::service::server::Config;
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use support::World;

fn limit(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// A server that is recorded, and peers with addresses.
struct Recorded(World);

impl Recorded {
    fn new(config: Config) -> Self {
        let mut world = World::new(config);
        world.server.record(Options::default());
        Recorded(world)
    }

    fn accept(&mut self, peer: &str) -> Option<ConnId> {
        let address: SocketAddr = peer.parse().unwrap();
        let peer = Peer { address: Some(address), credentials: None };
        self.0.server.accept(self.0.now, peer)
    }

    fn wait(&mut self, millis: u64) {
        self.0.now = self.0.now + Duration::from_millis(millis);
        self.0.handle(Input::Tick);
    }

    fn story(&mut self, query: Query<'_>) -> String {
        replay::explain(&self.0.server.recorded(), query).unwrap().to_string()
    }
}

/// Two clients of a server that may have two requests of each in hand.
fn busy() -> (Recorded, ConnId, ConnId) {
    let mut it = Recorded::new(Config { in_flight: limit(2), ..Config::default() });
    let (web, batch) = (it.accept("10.0.0.1:4000").unwrap(), it.accept("10.0.0.2:4000").unwrap());
    for id in 0..3 {
        it.0.request(batch, id, "export", "[1]");
    }
    let tokens: Vec<_> = std::iter::from_fn(|| it.0.defer()).collect();
    assert_eq!(tokens.len(), 2);
    it.0.actions();
    it.wait(5);
    it.0.request(web, 7, "getUser", "[7]");
    it.wait(2);
    assert!(it.0.echo() && !it.0.echo());
    it.wait(33);
    it.0.server.fail(it.0.now, tokens[0], "OVERLOADED", "come later").unwrap();
    let third = it.0.defer().unwrap();
    it.wait(10);
    it.0.handle(Input::Closed(batch, Fault::Reset));
    it.0.actions();
    it.wait(1);
    it.0.server.reply(it.0.now, third, b"[]").unwrap_err();
    (it, web, batch)
}

#[test]
fn a_request_that_had_to_wait_says_what_for_and_what_became_of_it() {
    let (mut it, ..) = busy();
    assert_eq!(
        it.story(Query::Request("3")),
        r#"       1.000000 s  request 3 "export" with 3 bytes has come over connection 1.0 (10.0.0.2:4000); on the wire it is 00000002-0000-8000-8000-000000000000
       1.040000 s  request 3 is handed to the application after 40ms; it was held back: the connection has 2 requests in hand, of 2 that it may have; 1 request in hand besides
       1.050000 s  request 3 "export" of connection 1.0 (10.0.0.2:4000) is given up by its peer (the connection was reset); the application has had it for 10ms
       1.051000 s  request 3 is answered 1ms too late: nobody waits for it any more
"#
    );
}

#[test]
fn a_request_is_found_by_its_number_and_by_its_id_on_the_wire() {
    let (mut it, ..) = busy();
    let story = it.story(Query::Request("4"));
    assert_eq!(
        story,
        r#"       1.005000 s  request 4 "getUser" with 3 bytes has come over connection 0.0 (10.0.0.1:4000); on the wire it is 00000007-0000-8000-8000-000000000000
       1.007000 s  request 4 is handed to the application after 2ms, when that asked for one; 2 requests in hand besides
       1.007000 s  request 4 "getUser" of connection 0.0 (10.0.0.1:4000) is answered: with a result; it has waited for 2ms; the application has done so on the spot
"#
    );
    assert_eq!(it.story(Query::Request(&WireId::new(7, 0, 0).to_string())), story);
    assert_eq!(it.story(Query::Request("5")), "");
}

#[test]
fn failures_say_who_has_given_up_and_how_long_the_application_has_worked() {
    let (mut it, ..) = busy();
    assert_eq!(
        it.story(Query::Failures),
        r#"       1.040000 s  request 1 "export" of connection 1.0 (10.0.0.2:4000) is answered: with the error OVERLOADED; the application has worked on it for 40ms
       1.050000 s  request 2 "export" of connection 1.0 (10.0.0.2:4000) is given up by its peer (the connection was reset); the application has had it for 50ms
       1.050000 s  request 3 "export" of connection 1.0 (10.0.0.2:4000) is given up by its peer (the connection was reset); the application has had it for 10ms
"#
    );
}

#[test]
fn connections_that_come_pause_and_go_are_told_with_their_peers() {
    let (mut it, ..) = busy();
    assert_eq!(
        it.story(Query::Changes),
        r#"       1.000000 s  connection 0.0 (10.0.0.1:4000) is accepted; 1 connection stands now
       1.000000 s  connection 1.0 (10.0.0.2:4000) is accepted; 2 connections stand now
       1.000000 s  connection 1.0 (10.0.0.2:4000) is read no more for now: the connection has 2 requests in hand, of 2 that it may have
       1.050000 s  connection 1.0 (10.0.0.2:4000) is ended by its peer: the connection was reset; 2 requests given up with it; 77 bytes of answers are dropped
"#
    );
}

#[test]
fn a_moment_shows_who_is_held_back_and_what_the_application_has_in_hand() {
    let (mut it, ..) = busy();
    let story = it.story(Query::At(Instant::from_millis(1_030)));
    let standing = story.split_once("the server: ").unwrap().1;
    assert_eq!(
        standing,
        r#"2 connections, 1 of them not read; 2 requests in hand, 1 waiting to be handed out; 26 bytes to be sent
connection 1.0 (10.0.0.2:4000): 2 requests in hand, 0 bytes to be sent, not read for 30ms: the connection has 2 requests in hand, of 2 that it may have
connection 0.0 (10.0.0.1:4000): 0 requests in hand, 26 bytes to be sent
request 1 "export" of connection 1.0 (10.0.0.2:4000): in hand for 30ms
request 2 "export" of connection 1.0 (10.0.0.2:4000): in hand for 30ms
"#
    );
}

#[test]
fn requests_of_one_read_wait_from_then_on() {
    let mut it = Recorded::new(Config::default());
    let conn = it.accept("10.0.0.1:4000").unwrap();
    let both = [support::request(1, "first", "[1]"), support::request(2, "second", "[2]")].concat();
    it.0.send(conn, &both);
    it.wait(20);
    assert!(it.0.echo());
    it.wait(5);
    assert!(it.0.echo());
    assert_eq!(
        it.story(Query::Request("2")),
        r#"       1.000000 s  request 2 "second" with 3 bytes has come over connection 0.0 (10.0.0.1:4000); on the wire it is 00000002-0000-8000-8000-000000000000
       1.025000 s  request 2 is handed to the application after 25ms, when that asked for one
       1.025000 s  request 2 "second" of connection 0.0 (10.0.0.1:4000) is answered: with a result; it has waited for 25ms; the application has done so on the spot
"#
    );
}

#[test]
fn a_server_that_is_full_says_so_and_when_it_reads_on() {
    let unsent = Band::new(100, 400).unwrap();
    let mut it = Recorded::new(Config { in_flight_total: limit(4), unsent, ..Config::default() });
    let conns = ["10.0.0.1:1", "10.0.0.2:1"].map(|peer| it.accept(peer).unwrap());
    let mut tokens = Vec::new();
    for id in 0..4 {
        it.0.request(conns[id as usize % 2], id, "export", "[1]");
        tokens.extend(it.0.defer());
        it.0.actions();
    }
    assert_eq!(tokens.len(), 3, "the last place is kept for a newcomer");
    let newcomer = it.accept("10.0.0.3:1").unwrap();
    it.0.request(newcomer, 9, "getUser", "[9]");
    tokens.extend(it.0.defer());
    it.0.actions();
    it.wait(15);
    let large = format!("\"{}\"", "x".repeat(500));
    for token in tokens {
        it.0.server.reply(it.0.now, token, large.as_bytes()).unwrap();
        it.0.actions();
    }
    it.wait(4);
    it.0.answers(conns[0]);
    it.0.actions();
    assert_eq!(
        it.story(Query::Changes),
        r#"       1.000000 s  connection 0.0 (10.0.0.1:1) is accepted; 1 connection stands now
       1.000000 s  connection 1.0 (10.0.0.2:1) is accepted; 2 connections stand now
       1.000000 s  connection 2.0 (10.0.0.3:1) is accepted; 3 connections stand now
       1.000000 s  connection 0.0 (10.0.0.1:1) is read no more for now: the server has 4 requests in hand, of 4 that it may have
       1.000000 s  connection 1.0 (10.0.0.2:1) is read no more for now: the server has 4 requests in hand, of 4 that it may have
       1.000000 s  connection 2.0 (10.0.0.3:1) is read no more for now: the server has 4 requests in hand, of 4 that it may have
       1.015000 s  connection 2.0 (10.0.0.3:1) is read again, after 15ms
       1.015000 s  connection 2.0 (10.0.0.3:1) is read no more for now: its peer has yet to read 525 bytes of answers, of 400 that may wait
       1.019000 s  connection 0.0 (10.0.0.1:1) is read again, after 19ms
"#
    );
    it.wait(6);
    it.0.answers(conns[1]);
    it.0.defer().unwrap();
    assert_eq!(
        it.story(Query::Request("4")),
        r#"       1.000000 s  request 4 "export" with 3 bytes has come over connection 1.0 (10.0.0.2:1); on the wire it is 00000003-0000-8000-8000-000000000000
       1.025000 s  request 4 is handed to the application after 25ms; it was held back: the server has 3 requests in hand, and keeps the last quarter of 4 for connections that have none
"#
    );
}

#[test]
fn who_is_turned_away_and_what_is_dropped_by_a_shutdown_is_told() {
    let mut it = Recorded::new(Config { connections: limit(2), ..Config::default() });
    let conn = it.accept("10.0.0.1:1").unwrap();
    it.accept("10.0.0.2:1").unwrap();
    assert_eq!(it.accept("10.0.0.3:1"), None);
    for id in 0..2 {
        it.0.request(conn, id, "export", "[1]");
    }
    it.0.defer().unwrap();
    it.wait(10);
    it.0.server.shutdown(it.0.now, it.0.now + Duration::from_secs(1));
    it.0.actions();
    assert_eq!(it.accept("10.0.0.4:1"), None);
    it.0.sleep(1_000);
    it.0.actions();
    assert_eq!(
        it.story(Query::Changes),
        r#"       1.000000 s  connection 0.0 (10.0.0.1:1) is accepted; 1 connection stands now
       1.000000 s  connection 1.0 (10.0.0.2:1) is accepted; 2 connections stand now
       1.000000 s  10.0.0.3:1 is turned away: 2 connections stand, as many as may
       1.010000 s  the server shuts down: it takes nothing more, and has 1s for 1 request in hand
       1.010000 s  connection 1.0 (10.0.0.2:1) is ended by the server: the server shuts down
       1.010000 s  10.0.0.4:1 is turned away: the server shuts down
       2.010000 s  connection 0.0 (10.0.0.1:1) is ended by the server: the server shuts down; 1 request given up with it
"#
    );
    assert_eq!(
        it.story(Query::Failures),
        r#"       1.000000 s  10.0.0.3:1 is turned away: 2 connections stand, as many as may
       1.010000 s  request 2 "export" of connection 0.0 (10.0.0.1:1) is given up by the server (the server shuts down); the application has never had it
       1.010000 s  10.0.0.4:1 is turned away: the server shuts down
       2.010000 s  request 1 "export" of connection 0.0 (10.0.0.1:1) is given up by the server (the server shuts down); the application has had it for 1.01s
"#
    );
}

#[test]
fn a_peer_that_breaks_the_rules_or_dawdles_is_ended_by_the_server() {
    let mut it = Recorded::new(Config::default());
    let (liar, dawdler) = (it.accept("10.0.0.1:1").unwrap(), it.accept("10.0.0.2:1").unwrap());
    it.0.send(liar, b"GET / HTTP/1.1\r\n\r\n");
    it.0.send(dawdler, &support::request(1, "getUser", "[1]")[..20]);
    it.0.sleep(10_000);
    it.0.actions();
    let story = it.story(Query::Changes);
    let ends: Vec<_> = story.lines().filter(|line| line.contains(" is ended by ")).collect();
    assert_eq!(
        ends.join("\n"),
        r#"       1.000000 s  connection 0.0 (10.0.0.1:1) is ended by the server: the peer sent bytes that cannot begin a frame (expected the magic 55 57)
      11.000000 s  connection 1.0 (10.0.0.2:1) is ended by the server: a request did not arrive in time"#
    );
}

#[test]
fn what_was_in_hand_before_the_log_begins_is_in_it_too() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    world.request(conn, 1, "export", "[1]");
    world.request(conn, 2, "next", "[2]");
    let token = world.defer().unwrap();
    world.handle(Input::Tick);
    world.server.record(Options::default());
    let mut it = Recorded(world);
    it.wait(30);
    assert!(it.0.echo());
    it.0.server.reply(it.0.now, token, b"[]").unwrap();
    assert_eq!(
        it.story(Query::Request("1")),
        r#"       0.030000 s  request 1 (from before the log) of connection 0.0 is answered: with a result; the application has worked on it for 30ms
"#
    );
    assert_eq!(
        it.story(Query::Request("2")),
        r#"       0.030000 s  request 2 is handed to the application; 1 request in hand besides
       0.030000 s  request 2 "next" of connection 0.0 is answered: with a result; the application has done so on the spot
"#
    );
}
