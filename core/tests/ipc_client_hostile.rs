//! Hubs that mean no good, or do not answer.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::error::{Fault, ProtocolError};
use plimsoll_core::id::{ConnId, RequestId};
use plimsoll_core::ipc::client::{CallError, Cause, Client, Config, Event, Options, Outcome, StateEvent};
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::policy::watermark::Band;
use plimsoll_core::time::Instant;
use plimsoll_core::wire::ipc::{Format, Limits, Step, Value, decode_frame};

const ACK: &str = r#"{"type":"REGISTER_ACK"}"#;

fn frame(body: &str) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body.as_bytes()].concat()
}

/// A client, and a hub that is played.
struct World {
    client: Client,
    now: Instant,
    conn: ConnId,
    events: Vec<String>,
    actions: Vec<Action>,
}

impl World {
    /// A client whose dial has succeeded.
    fn new(config: Config) -> World {
        let now = Instant::from_millis(1);
        let mut client = Client::new(config, 3);
        client.register_method(now, "get").unwrap();
        client.connect(now);
        let Some(Action::Connect(conn)) = client.poll() else { panic!("it dials") };
        let mut world = World { client, now, conn, events: Vec::new(), actions: Vec::new() };
        world.handle(Input::Wall(1_000));
        world.handle(Input::Connected(conn));
        world
    }

    fn registered(config: Config) -> World {
        let mut world = World::new(config);
        world.hear(frame(ACK));
        assert!(world.client.is_connected());
        world.sent();
        world.events.clear();
        world
    }

    fn handle(&mut self, input: Input) {
        self.client.handle(self.now, input);
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(event) = self.client.event() {
            self.events.push(match event {
                Event::Call(call) => format!("call {}", call.method),
                Event::Outcome { outcome, .. } => format!("{outcome:?}"),
                Event::State(StateEvent::Disconnected { cause, .. }) => format!("{cause:?}"),
                other => format!("{other:?}"),
            });
        }
        self.actions.extend(std::iter::from_fn(|| self.client.poll()));
    }

    fn hear(&mut self, bytes: Vec<u8>) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            match self.client.feed(self.now, self.conn, &bytes[taken..]) {
                0 => break,
                n => taken += n,
            }
            self.settle();
        }
        taken
    }

    /// The transport takes everything; the bodies in it.
    fn sent(&mut self) -> Vec<String> {
        let mut bufs = vec![&[][..]; 4_096];
        let n = self.client.send_bufs(self.conn, &mut bufs);
        let bytes = bufs[..n].concat();
        self.handle(Input::Sent(self.conn, bytes.len()));
        let (mut at, mut bodies) = (0, Vec::new());
        while let Ok(Step::Frame(body)) = decode_frame(&bytes[at..], &Limits { body: u32::MAX }) {
            bodies.push(String::from_utf8(bytes[at..][body.clone()].to_vec()).unwrap());
            at += body.end;
        }
        bodies
    }

    fn sleep(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.handle(Input::Tick);
    }

    fn call(&mut self) -> Result<RequestId, CallError> {
        self.client.call(self.now, "user", "get", None, None, Options::default())
    }

    #[track_caller]
    fn has_closed(&self, cause: Cause) {
        assert!(self.actions.contains(&Action::Close(self.conn)), "{:?}", self.actions);
        assert!(self.events.contains(&format!("{cause:?}")), "{:?}", self.events);
        assert!(!self.client.is_connected());
    }
}

fn world() -> World {
    World::registered(Config::new("own"))
}

#[test]
fn it_registers_as_the_public_client_does() {
    let mut world = World::new(Config::new("own"));
    let expected =
        r#"{"type":"REGISTER","serviceName":"own","methods":["get"],"version":"1.0.0","metadata":{}}"#;
    assert_eq!(world.sent(), [expected]);
    let mut pooled = World::new(Config { pool_size: NonZeroU32::new(2).unwrap(), ..Config::new("own") });
    let expected = expected.replace("{}", r#"{"poolIndex":0,"poolSize":2}"#);
    assert_eq!(pooled.sent(), [expected]);
}

#[test]
fn a_call_is_written_as_the_public_client_writes_it() {
    let mut world = world();
    let params = Value::parse(Format::Json, b"{ \"id\": 7 }").unwrap();
    world.client.call(world.now, "user", "get", Some(params), None, Options::default()).unwrap();
    let sent = world.sent().remove(0);
    let (start, rest) = sent.split_once("req-").unwrap();
    let (_, rest) = rest.split_once('"').unwrap();
    let (middle, rest) = rest.split_once("root-").unwrap();
    let (_, end) = rest.split_once('"').unwrap();
    assert_eq!(start, r#"{"type":"CALL","id":""#);
    assert_eq!(
        middle,
        r#","from":"own","to":"user","method":"get","params":{ "id": 7 },"context":{"root":""#
    );
    assert_eq!(end, r#","chain":["own","user"],"depth":2,"deadline":31000}}"#);
}

#[test]
fn a_hub_that_does_not_acknowledge_is_left() {
    let mut world = World::new(Config::new("own"));
    world.sent();
    assert_eq!(world.call(), Err(CallError::NotConnected));
    world.sleep(4_999);
    assert!(world.actions.iter().all(|action| !matches!(action, Action::Close(_))));
    world.sleep(1);
    world.has_closed(Cause::RegisterTimeout);
    world.sleep(5_000);
    assert!(matches!(world.actions.last(), Some(Action::Connect(_))), "and tried again");
}

#[test]
fn a_dial_that_takes_too_long_is_given_up() {
    let mut client = Client::new(Config::new("own"), 3);
    client.connect(Instant::ZERO);
    let Some(Action::Connect(conn)) = client.poll() else { panic!("it dials") };
    assert_eq!(client.deadline(), Some(Instant::from_millis(10_000)));
    client.handle(Instant::from_millis(10_000), Input::Tick);
    assert_eq!(client.poll(), Some(Action::Close(conn)));
    let cause = Cause::ConnectTimeout;
    assert!(
        matches!(client.event(), Some(Event::State(StateEvent::Disconnected { cause: c, .. })) if c == cause)
    );
    // The dial succeeds after all: nobody cares.
    client.handle(Instant::from_millis(10_001), Input::Connected(conn));
    assert!(client.event().is_none() && client.poll().is_none());
}

#[test]
fn a_length_of_4_gib_costs_the_connection() {
    let mut world = world();
    world.call().unwrap();
    world.hear(b"\xff\xff\xff\xff".to_vec());
    world.sent();
    world.has_closed(Cause::Protocol(ProtocolError::TooLarge { len: u64::from(u32::MAX), limit: 16 << 20 }));
    assert!(world.events.contains(&"Lost { sent: false }".to_string()));
}

#[test]
fn what_cannot_be_read_costs_the_connection_and_what_is_no_message_does_not() {
    for body in ["nope", "{\"type\":\"CALL\"", "{\"type\":\"CALL\",\"params\":[[}", ""] {
        let mut world = world();
        world.hear(frame(body));
        assert!(world.actions.contains(&Action::Close(world.conn)), "{body}");
    }
    let mut world = world();
    for body in
        [r#"{"type":"HELLO"}"#, r#"{"type":"REGISTER","serviceName":"own"}"#, r#"{"type":"RESPONSE"}"#]
    {
        world.hear(frame(body));
    }
    assert!(world.client.is_connected());
}

#[test]
fn answers_to_nothing_are_ignored() {
    let mut world = world();
    world.call().unwrap();
    let call = world.sent().remove(0);
    let id = call.split('"').find(|part| part.starts_with("req-")).unwrap().to_string();
    // The id of another client: one digit of the salt differs.
    let mut other = id.clone();
    let last = other.pop().unwrap();
    other.push(if last == '0' { '1' } else { '0' });
    for wrong in ["req-", "1", "req-00000000-0000-8000-8000-000000000000", &other] {
        world.hear(frame(&format!(r#"{{"type":"RESPONSE","id":"{wrong}","status":"success","data":1}}"#)));
    }
    world.hear(frame(&format!(r#"{{"type":"RESPONSE","id":"{id}","status":"maybe"}}"#)));
    assert_eq!(world.client.metrics().late, 5);
    world.hear(frame(&format!(r#"{{"type":"RESPONSE","id":"{id}","status":"success","data":1}}"#)));
    assert_eq!(world.events.last().unwrap(), "Success(Some(1))");
    world.hear(frame(&format!(r#"{{"type":"RESPONSE","id":"{id}","status":"success","data":1}}"#)));
    assert_eq!(world.client.metrics().late, 6, "an answer is taken once");
}

#[test]
fn a_failure_without_a_code_is_a_failed_execution() {
    let mut world = world();
    world.call().unwrap();
    let call = world.sent().remove(0);
    let id = call.split('"').find(|part| part.starts_with("req-")).unwrap();
    world.hear(frame(&format!(
        r#"{{"type":"RESPONSE","id":"{id}","status":"error","error":{{"message":"no"}}}}"#
    )));
    let (code, message) = ("EXECUTION_FAILED".into(), "no".into());
    let expected = Outcome::Failure { code, message };
    assert_eq!(world.events.last().unwrap(), &format!("{expected:?}"));
}

#[test]
fn a_call_that_the_public_hub_cannot_route_ends_at_once() {
    let mut world = world();
    world.call().unwrap();
    let call = world.sent().remove(0);
    let id = call.split('"').find(|part| part.starts_with("req-")).unwrap();
    // As ipc-bro 1.0.0 answers a call to nobody; it sends no RESPONSE.
    let error = r#""error":{"message":"Target service 'user' not found","code":"SERVICE_NOT_FOUND","stack":"at"},"timestamp":1"#;
    world.hear(frame(&format!(r#"{{"type":"ERROR","id":"{id}",{error}}}"#)));
    assert!(world.events.last().unwrap().starts_with(r#"Failure { code: "SERVICE_NOT_FOUND""#));
    world.hear(frame(&format!(r#"{{"type":"ERROR",{error}}}"#)));
    assert!(world.events.last().unwrap().starts_with("GatewayError"));
    assert_eq!((world.client.metrics().remote, world.client.metrics().gateway_errors), (1, 1));
}

#[test]
fn calls_that_make_no_sense_are_answered_without_asking_the_application() {
    let mut world = world();
    for (rest, code) in [
        (
            r#""method":"none","context":{"root":"r","chain":[],"depth":1,"deadline":9e15}"#,
            "METHOD_NOT_FOUND",
        ),
        (r#""method":"get","context":{"root":"r","chain":[],"depth":1,"deadline":1}"#, "DEADLINE_EXCEEDED"),
        (
            r#""method":"get","context":{"root":"r","chain":[],"depth":101,"deadline":9e15}"#,
            "MAX_DEPTH_EXCEEDED",
        ),
        (r#""method":"get","context":null"#, "INVALID_CONTEXT"),
        (r#""method":7,"context":null"#, "INVALID_MESSAGE"),
    ] {
        world.hear(frame(&format!(r#"{{"type":"CALL","id":"1","from":"order","to":"own",{rest}}}"#)));
        let answer = world.sent().remove(0);
        assert!(
            answer.contains(code)
                && answer.contains(r#""id":"1","from":"own","to":"order","status":"error""#)
        );
    }
    // Without an id there is nobody to answer.
    world.hear(frame(r#"{"type":"CALL","from":"order","to":"own","method":"get"}"#));
    assert!(world.sent().is_empty());
    assert_eq!((world.client.metrics().refused, world.client.metrics().served), (6, 0));
}

#[test]
fn a_hub_that_does_not_read_is_left() {
    let unsent = Band::new(1_000, 2_000).unwrap();
    let mut world = World::registered(Config { unsent, ..Config::new("own") });
    while world.call().is_ok() {}
    assert_eq!(world.call(), Err(CallError::Overloaded));
    // Answers are still given, up to a limit.
    let call = r#"{"type":"CALL","id":"1","from":"order","to":"own","method":"none","context":{"root":"r","chain":[],"depth":1,"deadline":9e15}}"#;
    for _ in 0..30 {
        world.hear(frame(call));
    }
    world.has_closed(Cause::SlowReader);
}

#[test]
fn events_that_nobody_takes_stop_the_reading() {
    let mut world = world();
    let call = r#"{"type":"CALL","id":"1","from":"order","to":"own","method":"get","context":{"root":"r","chain":[],"depth":1,"deadline":9e15}}"#;
    let flood = frame(call).repeat(100_000);
    let mut taken = 0;
    loop {
        match world.client.feed(world.now, world.conn, &flood[taken..]) {
            0 => break,
            n => taken += n,
        }
    }
    assert!(taken <= 256 * 1024, "{taken} bytes");
    world.settle();
    assert!(world.client.feed(world.now, world.conn, &flood[taken..]) > 0);
}

#[test]
fn changes_that_nobody_takes_are_counted() {
    let mut client = Client::new(Config::new("own"), 3);
    let mut now = Instant::ZERO;
    client.connect(now);
    for _ in 0..300 {
        while let Some(action) = client.poll() {
            client.handle(now, Input::Closed(action.conn(), Fault::Refused));
        }
        now = client.deadline().unwrap();
        client.handle(now, Input::Tick);
    }
    let mut told = 0;
    loop {
        match client.event() {
            Some(Event::State(StateEvent::Missed(missed))) => {
                assert_eq!(told + missed, 300);
                break;
            }
            Some(_) => told += 1,
            None => panic!("some were missed"),
        }
    }
    assert!(!client.has_event());
}
