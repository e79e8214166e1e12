//! Machines as bytes: what loads and what does not, and how large they are.

use std::fmt::Debug;
use std::time::Duration;

use plimsoll_core::id::ConnId;
use plimsoll_core::ipc::hub::Event;
use plimsoll_core::ipc::{self, Hub};
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::save::{Damaged, Reader, Save, Snapshot, Writer, checksum};
use plimsoll_core::sched::{Deadlines, Timers, Turns};
use plimsoll_core::service::client::{self, Client, Options};
use plimsoll_core::service::server::{self, Server};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::ipc::{Context, Envelope, Format, MessageError, Value};
use plimsoll_core::wire::uw::{Limits, encode_request};
use quickcheck::quickcheck;

const NOW: Instant = Instant::from_millis(1_000);
const ECHO: UwRequest<'_> = UwRequest { method: "echo", content: &[b'x'; 64] };

/// Dials succeed, and the network takes everything.
fn work(client: &mut Client<Uw>) {
    let mut lost = Vec::new();
    loop {
        while client.event().is_some() {}
        match client.poll() {
            Some(Action::Connect(conn)) => client.handle(NOW, Input::Connected(conn)),
            Some(Action::Flush(conn)) => take(client, conn, &mut lost),
            Some(Action::Close(_) | Action::Read(..)) => {}
            None => return,
        }
    }
}

/// What a machine has to send on a connection.
fn take(machine: &mut impl Machine, conn: ConnId, out: &mut Vec<u8>) {
    out.clear();
    let mut bufs = [&[][..]; 16];
    let n = machine.send_bufs(conn, &mut bufs);
    bufs[..n].iter().for_each(|buf| out.extend_from_slice(buf));
    machine.handle(NOW, Input::Sent(conn, out.len()));
}

/// With a connection to each endpoint, and requests that are sent and not answered.
fn a_client(endpoints: u32, in_flight: u32) -> Client<Uw> {
    let mut client = Client::new(Uw::default(), client::Config::default(), 42);
    for n in 0..endpoints {
        client.add_endpoint(NOW, &format!("users-{n}.internal:3001")).unwrap();
    }
    work(&mut client);
    for _ in 0..in_flight {
        client.request(NOW, &ECHO, Options::default()).unwrap();
    }
    work(&mut client);
    assert_eq!(client.status().in_flight, in_flight);
    client
}

/// Each of its connections has a request that is answered later, and half of another.
fn a_server(connections: u32) -> Server {
    let mut server = Server::new(server::Config::default());
    let mut frame = Vec::new();
    encode_request(&mut frame, WireId::new(1, 2, 3), ECHO.method, ECHO.content, &Limits::default()).unwrap();
    for _ in 0..connections {
        let conn = server.accept(NOW, Peer::UNKNOWN).unwrap();
        server.feed(NOW, conn, &frame);
        server.feed(NOW, conn, &frame[..frame.len() / 2]);
        let _ = server.event().expect("a request").responder.defer();
    }
    server
}

/// A service of this name, in the middle of a call of itself; and the hub.
fn a_service_and_its_hub(name: &str) -> (ipc::Client, Hub) {
    let mut hub = Hub::new(ipc::hub::Config::default(), 1);
    let mut service = ipc::Client::new(ipc::client::Config::new(name), 2);
    service.register_method(NOW, "greet").unwrap();
    service.connect(NOW);
    let Some(Action::Connect(here)) = service.poll() else { panic!("it dials") };
    service.handle(NOW, Input::Connected(here));
    let there = hub.accept(NOW, Peer::UNKNOWN).unwrap();
    let mut wire = Vec::new();
    for step in 0..2 {
        take(&mut service, here, &mut wire);
        hub.feed(NOW, there, &wire);
        while hub.event().is_some() {}
        take(&mut hub, there, &mut wire);
        // It is told that it is registered, and then half of that it is called.
        service.feed(NOW, here, &wire[..wire.len() >> step]);
        while service.event().is_some() {}
        if step == 0 {
            service.call(NOW, name, "greet", None, None, ipc::client::Options::default()).unwrap();
        }
    }
    assert_eq!((service.status().pending, hub.status().pending), (1, 1));
    (service, hub)
}

fn comes_back<M: Snapshot>(machine: &M) {
    let snapshot = machine.snapshot();
    assert!(M::restore(&snapshot).unwrap().snapshot() == snapshot);
    let (front, back) = snapshot.split_at(snapshot.len() / 2);
    assert_eq!(M::restore(front).err(), Some(Damaged::Checksum));
    assert_eq!(M::restore(back).err(), Some(Damaged::Kind));
}

#[test]
fn every_machine_comes_back() {
    let (service, hub) = a_service_and_its_hub("greeter");
    comes_back(&a_client(10, 256));
    comes_back(&a_server(10));
    comes_back(&service);
    comes_back(&hub);
    assert_eq!(Server::restore(&hub.snapshot()).err(), Some(Damaged::Kind));
}

/// A member of a pool that was called last is not called again because the hub was saved in between.
#[test]
fn whose_turn_it_is_in_a_pool_is_kept() {
    let mut hub = Hub::new(ipc::hub::Config::default(), 1);
    let mut member = |index: u32| {
        let conn = hub.accept(NOW, Peer::UNKNOWN).unwrap();
        let body = format!(
            r#"{{"type":"REGISTER","serviceName":"user","methods":["get"],"metadata":{{"poolIndex":{index},"poolSize":3}}}}"#
        );
        hub.feed(NOW, conn, &message(&body));
        assert!(matches!(hub.event(), Some(Event::Registered { .. })));
        conn
    };
    let members = [member(0), member(1), member(2)];
    let called = [0, 1, 2, 3].map(|n| {
        hub = Hub::restore(&hub.snapshot()).unwrap();
        let body = format!(
            r#"{{"type":"CALL","id":"{n}","from":"user","to":"user","method":"get","context":{{"root":"r","chain":["user","user"],"depth":2,"deadline":30000}}}}"#
        );
        hub.feed(NOW, members[0], &message(&body));
        let Some(Event::CallRouted { to, .. }) = hub.event() else { panic!("it is routed") };
        // Answered, so that all have as little to do.
        let answer = format!(r#"{{"type":"RESPONSE","id":"{n}","from":"user","to":"user","status":"success"}}"#);
        hub.feed(NOW, to, &message(&answer));
        assert!(matches!(hub.event(), Some(Event::ResponseRouted { .. })));
        to
    });
    assert_eq!(called[..3].iter().filter(|&&to| members.contains(&to)).count(), 3);
    assert!(
        called[0] != called[1] && called[1] != called[2] && called[2] != called[0] && called[3] == called[0]
    );
}

/// Why a message was not taken names a field, in words that stand in the program: they are found again.
#[test]
fn what_is_said_of_a_message_comes_back() {
    fn of(text: &str) -> Result<Envelope<'_>, MessageError> {
        Envelope::parse(Format::Json, text.as_bytes())
    }
    let of_context = |text: &'static str| Context::read(Value::parse(Format::Json, text.as_bytes()).unwrap());
    let call = of(r#"{"type":"CALL","status":1}"#).unwrap();
    let mut errors = vec![MessageError::NotAMap, MessageError::TooLong];
    errors.extend(["[]", "{", "{}", r#"{"type":1}"#, r#"{"type":"NEWS"}"#].map(|text| of(text).unwrap_err()));
    let contexts = [
        "7",
        r#"{"root":"r","root":"r"}"#,
        r#"{"root":1}"#,
        r#"{"root":"r"}"#,
        r#"{"root":"r","chain":[]}"#,
        r#"{"root":"r","chain":[],"depth":1}"#,
    ];
    errors.extend(contexts.map(|text| of_context(text).unwrap_err()));
    errors.extend([call.id().unwrap_err(), call.context().unwrap_err(), call.status().unwrap_err()]);
    for name in ["type", "id", "from", "to", "method", "params", "data", "error", "serviceName", "timestamp"]
    {
        errors.push(of(&format!(r#"{{"type":"CALL","{name}":1,"{name}":2}}"#)).unwrap_err());
    }
    for error in errors {
        let mut out = Writer::new();
        error.save(&mut out);
        assert_eq!(MessageError::load(&mut Reader::new(out.as_bytes())), Ok(error));
    }
}

fn message(body: &str) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body.as_bytes()].concat()
}

/// What opens a segment of a recording takes a small part of it.
#[test]
fn a_snapshot_takes_some_kilobytes() {
    let size = |machine: &dyn Fn() -> Vec<u8>| machine().len();
    let idle = size(&|| a_client(10, 0).snapshot());
    let busy = size(&|| a_client(10, 256).snapshot());
    let server = size(&|| a_server(1_000).snapshot());
    println!(
        "client of 10 endpoints: {idle} bytes idle, {busy} with 256 in flight; server of 1,000: {server}"
    );
    assert!(idle < 8_000 && busy - idle < 256 * 150 && server < 1_000 * 400, "{idle} {busy} {server}");
}

/// Whatever is loaded from damaged bytes: an error, or (under a checksum that is right all the same) a machine, of which
/// nothing is promised.
fn does_not_panic<M: Snapshot + Debug>(machine: &M, place: u32, mask: u8, cut: Option<u32>) -> bool {
    let mut snapshot = machine.snapshot();
    let len = snapshot.len() as u32;
    snapshot[(place % len) as usize] ^= mask;
    snapshot.truncate(cut.map_or(len, |cut| cut % len) as usize);
    let is_refused = (mask == 0 && cut.is_none()) || M::restore(&snapshot).is_err();
    if let Some((bytes, sum)) = snapshot.split_last_chunk_mut() {
        *sum = checksum(bytes).to_le_bytes();
        let _ = M::restore(&snapshot);
    }
    is_refused
}

fn again<T: Save>(value: &T) -> T {
    let mut out = Writer::new();
    value.save(&mut out);
    T::load(&mut Reader::new(out.as_bytes())).unwrap()
}

quickcheck! {
    /// Who is next, and who is due first of those that are due at once.
    fn an_order_that_is_saved_and_loaded_stays_as_it_is(steps: Vec<(u8, u8, u8)>) -> bool {
        let (mut turns, mut timers, mut deadlines) = (Turns::new(3), Timers::new(), Deadlines::new());
        let mut copies = (turns.clone(), timers.clone(), deadlines.clone());
        let mut seen = [Vec::new(), Vec::new()];
        for (what, key, number) in steps {
            let (key, time) = (u32::from(key % 8), Duration::from_millis(u64::from(number % 32)));
            let all = [(&mut turns, &mut timers, &mut deadlines), (&mut copies.0, &mut copies.1, &mut copies.2)];
            for ((turns, timers, deadlines), seen) in all.into_iter().zip(&mut seen) {
                match what % 4 {
                    0 => turns.set(key, number > 32),
                    1 => timers.set(key, (number > 32).then(|| NOW + time)),
                    2 => deadlines.insert(key, NOW, time),
                    _ => drop(deadlines.remove(key)),
                }
                let turn = turns.current();
                turn.into_iter().for_each(|key| turns.took(key));
                let due = if number % 4 == 0 { (timers.pop_due(NOW + time), deadlines.pop_due(NOW)) } else { (None, None) };
                seen.push((turn, due, timers.next(), deadlines.next()));
            }
            copies = (again(&copies.0), again(&copies.1), again(&copies.2));
        }
        seen[0] == seen[1]
    }

    fn no_damage_to_a_client_goes_unnoticed_or_panics(place: u32, mask: u8, cut: Option<u32>) -> bool {
        does_not_panic(&a_client(3, 7), place, mask, cut)
    }

    fn no_damage_to_a_server_goes_unnoticed_or_panics(place: u32, mask: u8, cut: Option<u32>) -> bool {
        does_not_panic(&a_server(3), place, mask, cut)
    }

    fn no_damage_to_a_service_or_its_hub_goes_unnoticed_or_panics(place: u32, mask: u8, cut: Option<u32>) -> bool {
        let (service, hub) = a_service_and_its_hub("greeter");
        does_not_panic(&service, place, mask, cut) && does_not_panic(&hub, place, mask, cut)
    }
}
