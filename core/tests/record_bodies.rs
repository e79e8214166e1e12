//! In a log with content, another body is a difference, whose log it may be, and wherever the body stands.

use plimsoll_core::id::ConnId;
use plimsoll_core::ipc::{self, Hub};
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::record::{Log, Options, Record};
use plimsoll_core::replay::{self, Unreplayable};
use plimsoll_core::service::server::{self, Server};
use plimsoll_core::testing::play::logs::changed;
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::ipc::{Format, Value};
use plimsoll_core::wire::uw::{Limits, encode_request};

const NOW: Instant = Instant::from_millis(1_000);

fn with_content() -> Options {
    Options { content: true, ..Options::default() }
}

/// It replays, and no more once any of these words is another.
fn compares(log: &[u8], words: &[&str]) {
    assert!(Log::read(log).unwrap().is_whole());
    assert_eq!(replay::replay(log).map(|replayed| replayed.ended), Ok(true));
    for word in words {
        let other = changed(log, word.as_bytes(), word.to_uppercase().as_bytes());
        assert_ne!(other, log, "{word} is in the log");
        let replayed = replay::replay(&other);
        assert!(matches!(replayed, Err(Unreplayable::Different(_))), "{word}: {replayed:?}");
    }
}

/// What a machine has to send on a connection.
fn take(machine: &mut impl Machine, conn: ConnId) -> Vec<u8> {
    let mut bufs = [&[][..]; 16];
    let n = machine.send_bufs(conn, &mut bufs);
    let sent = bufs[..n].concat();
    machine.handle(NOW, Input::Sent(conn, sent.len()));
    sent
}

#[test]
fn in_the_log_of_a_server() {
    let mut server = Server::new(server::Config::default());
    server.record(with_content());
    let conn = server.accept(NOW, Peer::UNKNOWN).unwrap();
    let mut tokens = Vec::new();
    for n in 0..5 {
        let mut frame = Vec::new();
        encode_request(&mut frame, WireId::new(n, 2, 3), "greet", b"asked", &Limits::default()).unwrap();
        server.feed(NOW, conn, &frame);
        let request = server.event().expect("a request");
        match n {
            0 => request.responder.reply(b"answered").unwrap(),
            1 => request.responder.fail("CODE", "failed").unwrap(),
            // Which nobody answers: it is heard of all the same.
            4 => drop(request),
            _ => tokens.push(request.responder.defer()),
        }
    }
    server.reply(NOW, tokens[0], b"later").unwrap();
    server.fail(NOW, tokens[1], "CODE", "fails at last").unwrap();
    take(&mut server, conn);
    compares(&server.recorded(), &["asked", "greet", "answered", "failed", "later", "fails at last"]);
}

/// A service calls itself by way of a hub.
#[test]
fn in_the_logs_of_a_hub_and_of_its_client() {
    let mut hub = Hub::new(ipc::hub::Config::default(), 1);
    let mut service = ipc::Client::new(ipc::client::Config::new("users"), 2);
    hub.record(with_content());
    service.record(with_content());
    service.register_method(NOW, "greet").unwrap();
    service.connect(NOW);
    let Some(Action::Connect(here)) = service.poll() else { panic!("it dials") };
    service.handle(NOW, Input::Connected(here));
    let there = hub.accept(NOW, Peer::UNKNOWN).unwrap();
    let text = |text| Value::parse(Format::Json, text).ok();
    for step in 0..8 {
        let sent = take(&mut service, here);
        hub.feed(NOW, there, &sent);
        while hub.event().is_some() {}
        service.feed(NOW, here, &take(&mut hub, there));
        let mut token = None;
        while let Some(event) = service.event() {
            let ipc::client::Event::Call(call) = event else { continue };
            match step {
                1 => call.responder.reply(text(br#""answered""#)).unwrap(),
                3 => call.responder.fail("CODE", "failed").unwrap(),
                _ => token = Some(call.responder.defer()),
            }
        }
        if let Some(token) = token {
            service.reply(NOW, token, text(br#""later""#)).unwrap();
        }
        let to = match step {
            0 | 2 | 4 => "users",
            5 => "absent",
            _ => continue,
        };
        let options = ipc::client::Options::default();
        service.call(NOW, to, "greet", text(br#""asked""#), None, options).unwrap();
    }
    let words = ["asked", "answered", "failed", "later"];
    compares(&hub.recorded(), &words);
    compares(&service.recorded(), &words);
    // What only the hub says.
    compares(&service.recorded(), &["no service of this name"]);
}
