//! What the log of a client of a hub tells people: its calls, its answers, and its connections.

mod ipc_net;

use std::num::NonZeroU32;
use std::time::Duration;

use ipc_net::Net;
use plimsoll_core::ipc::client::{Config, Options as CallOptions};
use plimsoll_core::record::{Options, Record};
use plimsoll_core::replay::{self, Query};
use plimsoll_core::time::Instant;

/// An order service, a user service and the hub between them, all recorded; the hub dies and comes back.
fn world() -> (Net, [usize; 2]) {
    let mut net = Net::new();
    let services = ["order", "user"].map(|name| net.add(Config::new(name)));
    net.hub.record(Options::default());
    for at in services {
        net.services[at].client.record(Options::default());
        let now = net.now;
        net.services[at].client.connect(now);
        net.run();
    }
    let [order, user] = services;
    net.ask(order, "user", "echo", "1");
    net.ask(order, "user", "fail", "1");
    net.ask(order, "user", "none", "1");
    let now = net.now;
    let short = CallOptions { timeout: Some(Duration::from_millis(80)), tag: 5 };
    net.services[order].client.call(now, "user", "later", None, None, short).unwrap();
    net.call(order, "user", "later", "1", 6);
    net.sleep(100);
    let now = net.now;
    let tokens = std::mem::take(&mut net.services[user].tokens);
    for token in &tokens {
        let _ = net.services[user].client.reply(now, *token, None);
    }
    net.run();
    net.call(order, "user", "later", "1", 7);
    net.run();
    net.kill_hub();
    net.run();
    let now = net.now;
    net.services[order].client.call(now, "user", "echo", None, None, CallOptions::default()).unwrap_err();
    net.sleep(5_000);
    net.up = true;
    net.sleep(20_000);
    (net, services)
}

fn story(net: &mut Net, at: usize, query: Query<'_>) -> String {
    replay::explain(&net.services[at].client.recorded(), query).unwrap().to_string()
}

#[test]
fn a_call_says_which_way_it_went_and_how_it_ended() {
    let (mut net, [order, _]) = world();
    assert_eq!(
        story(&mut net, order, Query::Request("0.0")),
        r#"       0.000000 s  call 0.0 to "user" for "echo" goes over connection 0, the only one; 1 call without an answer now; on the wire it is "req-00000000-0000-8305-8000-0788379c6516"
       0.000000 s  call 0.0 to "user" for "echo" ends: it is answered, after 0ns
"#
    );
    assert_eq!(
        story(&mut net, order, Query::Request("0.3")),
        r#"       0.000000 s  call 0.3 to "user" for "later" goes over connection 0, the only one; 1 call without an answer now; on the wire it is "req-00000000-0000-8305-8000-c788379c6516"
       0.080000 s  call 0.3 to "user" for "later" ends: no answer in the time that this client allows (TIMEOUT), after 80ms; it was sent, at least in part, so that it may have run
"#
    );
}

#[test]
fn connections_that_are_lost_and_made_again_are_told_with_when() {
    let (mut net, [order, _]) = world();
    assert_eq!(
        story(&mut net, order, Query::Changes),
        r#"       0.000000 s  connect
       0.000000 s  connection 0: the hub is dialled
       0.000000 s  connection 0 stands, and tells the hub who it is for
       0.000000 s  connection 0 is registered: it carries calls from now on
       0.100000 s  connection 0 has ended, or could not be made: the connection was reset; it is dialled again in 5s
       0.100000 s  a call to "user" for "echo" is refused: no connection to the hub is registered
       5.100000 s  connection 0: the hub is dialled
       5.100000 s  connection 0 has ended, or could not be made: connection refused: nobody listens at this address; it is dialled again in 10s
      15.100000 s  connection 0: the hub is dialled
      15.100000 s  connection 0 stands, and tells the hub who it is for
      15.100000 s  connection 0 is registered: it carries calls from now on
"#
    );
}

#[test]
fn calls_that_came_to_nothing_are_told_at_both_ends() {
    let (mut net, [order, user]) = world();
    assert_eq!(
        story(&mut net, order, Query::Failures),
        r#"       0.000000 s  call 0.1 to "user" for "fail" ends: the service or the hub says that it has failed (NO_LUCK), after 0ns
       0.000000 s  call 0.2 to "user" for "none" ends: the service or the hub says that it has failed (METHOD_NOT_FOUND), after 0ns
       0.080000 s  call 0.3 to "user" for "later" ends: no answer in the time that this client allows (TIMEOUT), after 80ms; it was sent, at least in part, so that it may have run
       0.100000 s  call 1.1 to "user" for "later" ends: its connection to the hub was lost (CONNECTION_LOST), after 0ns; it was sent, at least in part, so that it may have run
       0.100000 s  a call to "user" for "echo" is refused: no connection to the hub is registered
"#
    );
    assert_eq!(
        story(&mut net, user, Query::Failures),
        r#"       0.000000 s  incoming call 2 of "order" for "fail" is answered: with the error NO_LUCK; the application has done so on the spot
       0.080000 s  nobody waits any more for incoming call 3 of "order" for "later": its time is over, or its connection has ended; the application has had it for 80ms
       0.100000 s  nobody waits any more for incoming call 5 of "order" for "later": its time is over, or its connection has ended; the application has had it for 0ns
"#
    );
}

#[test]
fn a_moment_shows_the_connections_and_who_is_waited_for() {
    let (mut net, [order, user]) = world();
    let told = story(&mut net, order, Query::At(Instant::from_millis(100)));
    assert_eq!(
        told.split_once("\"order\" is ").unwrap().1,
        r#"registered, with 5 methods; it waits for 2 answers, and has 0 calls in hand
connection 0: registered
it waits for 2 answers of "user", the first for 23ms
"#
    );
    let told = story(&mut net, user, Query::At(Instant::from_millis(5_000)));
    assert_eq!(
        told.split_once("\"user\" is ").unwrap().1,
        r#"not registered, with 5 methods; it waits for 0 answers, and has 0 calls in hand
connection 0: there is none, dialled in 177ms
"#
    );
}

/// Whoever follows a call from log to log needs one id.
#[test]
fn one_id_finds_a_call_in_the_logs_of_its_caller_of_the_hub_and_of_who_serves_it() {
    let mut net = Net::new();
    let [order, user] = ["order", "user"].map(|name| net.join(Config::new(name)));
    net.hub.record(Options::default());
    for at in [order, user] {
        net.services[at].client.record(Options::default());
    }
    net.ask(order, "user", "echo", "1");
    let own = story(&mut net, order, Query::Request("0.0"));
    let id = own.split('"').find(|word| word.starts_with("req-")).unwrap();
    assert_eq!(story(&mut net, order, Query::Request(id)), own);
    let served = story(&mut net, user, Query::Request(id));
    assert!(
        served.contains("incoming call 1 of \"order\" for \"echo\" is answered: with a result"),
        "{served}"
    );
    let routed = replay::explain(&net.hub.recorded(), Query::Request(id)).unwrap().to_string();
    assert!(routed.contains("call 1 of \"order\" to \"user\" for \"echo\" is answered after"), "{routed}");
}

#[test]
fn a_client_that_may_not_be_called_says_why() {
    let mut net = Net::new();
    let order = net.join(Config::new("order"));
    let user = net.add(Config { serving: NonZeroU32::new(1).unwrap(), ..Config::new("user") });
    net.services[user].client.record(Options::default());
    let now = net.now;
    net.services[user].client.connect(now);
    net.run();
    for tag in 0..2 {
        net.call(order, "user", "later", "1", tag);
    }
    net.run();
    assert_eq!(
        story(&mut net, user, Query::Failures),
        r#"       0.000000 s  incoming call 2 of "order" for "later" is refused (OVERLOADED): overloaded: the service has as many calls in hand as it may; on the wire it is "req-00000001-0000-8305-8000-0788379c6516"
"#
    );
}
