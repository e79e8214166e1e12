//! A hub in virtual time, with peers that write JSON by hand.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use plimsoll_core::id::ConnId;
use plimsoll_core::ipc::hub::{Config, Event, Hub};
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::ipc::{Format, Limits, Step, Value, convert, decode_frame};
use serde_json::{Value as Json, json};

/// The wall clock at the start, in milliseconds since 1970.
pub const WALL: u64 = 1_699_005_123_456;

pub fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

pub fn pack(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let value = Value::parse(Format::Json, text.as_bytes()).unwrap();
    convert(value, Format::MessagePack, &mut out, usize::MAX).unwrap();
    out
}

pub fn unpack(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let value = Value::parse(Format::MessagePack, bytes).unwrap();
    convert(value, Format::Json, &mut out, usize::MAX).unwrap();
    String::from_utf8(out).unwrap()
}

/// A call with 30 s of time.
pub fn call(id: &str, from: &str, to: &str, method: &str, params: Json) -> Json {
    let context = json!({"root": "root-1", "chain": [from, to], "depth": 2, "deadline": WALL + 30_000});
    json!({"type": "CALL", "id": id, "from": from, "to": to, "method": method, "params": params, "context": context})
}

/// The answer to a call.
pub fn success(id: &str, from: &str, to: &str, data: Json) -> Json {
    let context = json!({"root": "root-1"});
    json!({"type": "RESPONSE", "id": id, "from": from, "to": to, "status": "success", "data": data, "context": context})
}

pub fn register(name: &str, methods: &[&str]) -> Json {
    json!({"type": "REGISTER", "serviceName": name, "methods": methods, "version": "1.0.0", "metadata": {}})
}

pub fn member(name: &str, methods: &[&str], index: u32, size: u32) -> Json {
    let metadata = json!({"poolIndex": index, "poolSize": size});
    json!({"type": "REGISTER", "serviceName": name, "methods": methods, "version": "1.0.0", "metadata": metadata})
}

/// A hub, and the time.
pub struct World {
    pub hub: Hub,
    pub now: Instant,
    /// What became of the messages, in words.
    pub events: Vec<String>,
    pub closed: Vec<ConnId>,
}

impl World {
    pub fn new(config: Config) -> Self {
        let mut world = World {
            hub: Hub::new(config, 7),
            now: Instant::from_millis(5_000),
            events: Vec::new(),
            closed: Vec::new(),
        };
        world.handle(Input::Wall(WALL));
        world
    }

    pub fn accept(&mut self) -> ConnId {
        self.hub.accept(self.now, Peer::UNKNOWN).expect("the hub takes connections")
    }

    /// A connection that has registered.
    pub fn service(&mut self, name: &str, methods: &[&str]) -> ConnId {
        self.joins(&register(name, methods))
    }

    /// A connection whose registration was taken.
    pub fn joins(&mut self, registration: &Json) -> ConnId {
        let conn = self.accept();
        self.say(conn, registration);
        assert_eq!(self.hears(conn), [json!({"type": "REGISTER_ACK"})]);
        conn
    }

    /// A service that writes MessagePack.
    pub fn packed_service(&mut self, name: &str, methods: &[&str]) -> ConnId {
        let conn = self.accept();
        self.send(conn, &frame(&pack(&register(name, methods).to_string())));
        assert_eq!(self.unsent(conn), frame(b"\x81\xa4type\xacREGISTER_ACK"));
        self.take(conn);
        conn
    }

    pub fn handle(&mut self, input: Input) {
        self.hub.handle(self.now, input);
        self.settle();
    }

    /// Takes all events and does all actions.
    pub fn settle(&mut self) {
        loop {
            while let Some(event) = self.hub.event() {
                self.events.push(in_words(event));
            }
            match self.hub.poll() {
                Some(Action::Close(conn)) => self.closed.push(conn),
                Some(_) => {}
                None if self.hub.has_event() => {}
                None => return,
            }
        }
    }

    /// Moves the time on, and ticks whenever the hub wants it.
    pub fn sleep(&mut self, millis: u64) {
        let until = Instant::from_nanos(self.now.as_nanos() + millis * 1_000_000);
        while let Some(deadline) = self.hub.deadline().filter(|&at| at <= until) {
            self.now = self.now.max(deadline);
            self.handle(Input::Tick);
            assert_ne!(self.hub.deadline(), Some(deadline), "the deadline moves");
        }
        self.now = until;
        self.handle(Input::Tick);
    }

    pub fn say(&mut self, conn: ConnId, message: &Json) {
        let bytes = frame(message.to_string().as_bytes());
        self.send(conn, &bytes);
    }

    /// Sends all of it, as far as the hub takes it; how much that was.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.hub.feed(self.now, conn, &bytes[sent..]) {
                0 => break,
                n => sent += n,
            }
            self.settle();
        }
        sent
    }

    /// What waits to be sent.
    pub fn unsent(&self, conn: ConnId) -> Vec<u8> {
        let mut bufs = vec![&[][..]; 4_096];
        let n = self.hub.send_bufs(conn, &mut bufs);
        bufs[..n].concat()
    }

    /// The transport takes everything.
    pub fn take(&mut self, conn: ConnId) -> Vec<u8> {
        let bytes = self.unsent(conn);
        self.handle(Input::Sent(conn, bytes.len()));
        bytes
    }

    /// The transport takes everything; the messages in it, in whichever format.
    pub fn hears(&mut self, conn: ConnId) -> Vec<Json> {
        let bytes = self.take(conn);
        messages(&bytes)
    }

    /// The one answer that has come: its id, and its code, or else its data.
    pub fn answer(&mut self, conn: ConnId) -> (String, Json) {
        let heard = self.hears(conn);
        let [answer] = &heard[..] else { panic!("one answer: {heard:?}") };
        assert_eq!(answer["type"], "RESPONSE", "{answer}");
        let id = answer["id"].as_str().unwrap().to_string();
        match answer["status"].as_str() {
            Some("success") => (id, answer["data"].clone()),
            _ => (id, answer["error"]["code"].clone()),
        }
    }

    /// Whether one service can still call another.
    pub fn works(&mut self, caller: (ConnId, &str), callee: (ConnId, &str), method: &str) -> bool {
        self.say(caller.0, &call("check", caller.1, callee.1, method, json!([])));
        let heard = self.hears(callee.0);
        self.say(callee.0, &success("check", callee.1, caller.1, json!("checked")));
        heard.len() == 1 && self.hears(caller.0).iter().any(|answer| answer["data"] == "checked")
    }
}

pub fn messages(mut bytes: &[u8]) -> Vec<Json> {
    let mut messages = Vec::new();
    while let Ok(Step::Frame(body)) = decode_frame(bytes, &Limits { body: u32::MAX }) {
        let message = &bytes[body.clone()];
        messages.push(match message[0] {
            b'{' => serde_json::from_slice(message).unwrap(),
            _ => serde_json::from_str(&unpack(message)).unwrap(),
        });
        bytes = &bytes[body.end..];
    }
    assert!(bytes.is_empty(), "{bytes:?} is left over");
    messages
}

fn in_words(event: Event<'_>) -> String {
    match event {
        Event::Registered { register, .. } => format!("registered {}", register.service_name().unwrap()),
        Event::CallRouted { call, .. } => format!("call {}", call.id().unwrap()),
        Event::CallAnswered { refused: Some(refused), .. } => format!("refused {}", refused.code()),
        Event::CallAnswered { .. } => "query".into(),
        Event::ResponseRouted { response, .. } => format!("response {}", response.id().unwrap()),
        Event::ResponseDropped { why, .. } => format!("dropped {why:?}"),
        Event::Heartbeat { .. } => "heartbeat".into(),
        Event::Invalid { refused, .. } => format!("invalid {}", refused.code()),
        Event::Disconnected { service, cause, .. } => {
            format!("disconnected {} {cause:?}", service.unwrap_or("-"))
        }
        other => format!("{other:?}"),
    }
}
