//! Whole machines without a runtime: the client with all its policy, and the server. The other side is the codec alone,
//! so that what is counted beyond it is the machine.

use core::hint::black_box;
use core::time::Duration;

use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::record::{self, Record};
use plimsoll_core::service::client::{Client, Config, Event, Options, Outcome};
use plimsoll_core::service::server::{self, Server};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{Limits, Mode, Step, decode_request, encode_request, encode_response};

/// Requests that are sent at once, and answered at once.
pub const IN_FLIGHT: usize = 256;

const CONTENT: [u8; 64] = [b'x'; 64];

/// A client with one connection.
pub struct Clients {
    client: Client<Uw>,
    conn: ConnId,
    now: Instant,
    wire: Vec<u8>,
    answers: Vec<u8>,
}

impl Default for Clients {
    fn default() -> Self {
        let now = Instant::ZERO;
        let mut client = Client::new(Uw::default(), Config::default(), 1);
        client.add_endpoint(now, "users.internal:3001").expect("a good address");
        let Some(Action::Connect(conn)) = client.poll() else { unreachable!("one connection is kept up") };
        client.handle(now, Input::Connected(conn));
        Clients { client, conn, now, wire: Vec::new(), answers: Vec::new() }
    }
}

impl Clients {
    /// The same, recorded.
    pub fn recorded() -> Self {
        let mut one = Clients::default();
        one.client.record(record::Options::default());
        one
    }

    /// The log since the last look at it.
    pub fn log(&mut self) -> Vec<u8> {
        self.client.recorded()
    }

    /// 256 requests, their answers, their events.
    ///
    /// # Panics
    /// If a request is not answered.
    pub fn burst(&mut self) {
        self.now = self.now + Duration::from_micros(100);
        self.request();
        while self.client.poll().is_some() {}
        self.send();
        answer(&self.wire, &mut self.answers);
        let (mut answered, mut rest) = (0, &self.answers[..]);
        while !rest.is_empty() {
            rest = &rest[self.client.feed(self.now, self.conn, rest)..];
            while let Some(event) = self.client.event() {
                answered += usize::from(matches!(event, Event::Outcome { outcome: Outcome::Answer(_), .. }));
            }
        }
        assert!(answered == IN_FLIGHT);
    }

    /// What the client sends for 256 requests.
    pub fn wire() -> Vec<u8> {
        let mut one = Clients::default();
        one.request();
        one.send();
        one.wire
    }

    fn request(&mut self) {
        let request = UwRequest { method: "echo", content: &CONTENT };
        for _ in 0..IN_FLIGHT {
            black_box(self.client.request(self.now, &request, Options::default()).expect("room for it"));
        }
    }

    fn send(&mut self) {
        self.wire.clear();
        let mut bufs = [&[][..]; 16];
        let n = self.client.send_bufs(self.conn, &mut bufs);
        bufs[..n].iter().for_each(|buf| self.wire.extend_from_slice(buf));
        self.client.handle(self.now, Input::Sent(self.conn, self.wire.len()));
    }
}

/// Answers all requests of `wire` with their content.
pub fn answer(wire: &[u8], answers: &mut Vec<u8>) {
    answers.clear();
    let mut rest = wire;
    while let Ok(Step::Frame(head)) = decode_request(rest, &Limits::default(), Mode::Strict) {
        encode_response(answers, head.id, &rest[head.content.clone()], &Limits::default())
            .expect("as small as its request");
        rest = &rest[head.content.end..];
    }
}

/// A server with one connection, whose handler answers on the spot.
pub struct Servers {
    server: Server,
    conn: ConnId,
    now: Instant,
    wire: Vec<u8>,
}

impl Default for Servers {
    fn default() -> Self {
        let mut server = Server::new(server::Config::default());
        let conn = server.accept(Instant::ZERO, Peer::UNKNOWN).expect("room for the first");
        let mut wire = Vec::new();
        for n in 0..IN_FLIGHT as u32 {
            encode_request(&mut wire, WireId::new(n, 0, 0), "echo", &CONTENT, &Limits::default())
                .expect("a small frame");
        }
        Servers { server, conn, now: Instant::ZERO, wire }
    }
}

impl Servers {
    /// The same, recorded.
    pub fn recorded() -> Self {
        let mut one = Servers::default();
        one.server.record(record::Options::default());
        one
    }

    /// The log since the last look at it.
    pub fn log(&mut self) -> Vec<u8> {
        self.server.recorded()
    }

    /// 256 requests, and their answers.
    ///
    /// # Panics
    /// If a request is not answered.
    pub fn burst(&mut self) {
        self.now = self.now + Duration::from_micros(100);
        let (mut answered, mut rest) = (0, &self.wire[..]);
        while !rest.is_empty() {
            rest = &rest[self.server.feed(self.now, self.conn, rest)..];
            while let Some(request) = self.server.event() {
                request.responder.reply(request.content).expect("room for an answer");
                answered += 1;
            }
        }
        assert!(answered == IN_FLIGHT);
        while self.server.poll().is_some() {}
        let mut bufs = [&[][..]; 16];
        loop {
            let filled = self.server.send_bufs(self.conn, &mut bufs);
            let n = bufs[..filled].iter().map(|buf| buf.len()).sum();
            if n == 0 {
                return;
            }
            black_box(&bufs);
            bufs = [&[]; 16];
            self.server.handle(self.now, Input::Sent(self.conn, n));
        }
    }
}
