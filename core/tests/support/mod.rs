//! A server in virtual time, and what its peers see.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of this")]

use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::service::server::{Config, Request, Server, Token};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{Limits, Mode, Step, decode_response, encode_request};

/// The bytes of a request; `id` is its number.
pub fn request(id: u32, method: &str, content: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let any = Limits { content: u32::MAX };
    encode_request(&mut bytes, WireId::new(id, 0, 0), method, content.as_bytes(), &any).unwrap();
    bytes
}

/// A server, and the time.
pub struct World {
    pub server: Server,
    pub now: Instant,
}

impl World {
    pub fn new(config: Config) -> Self {
        World { server: Server::new(config), now: Instant::from_millis(1_000) }
    }

    pub fn accept(&mut self) -> ConnId {
        self.server.accept(self.now, Peer::UNKNOWN).expect("the server takes connections")
    }

    pub fn handle(&mut self, input: Input) {
        self.server.handle(self.now, input);
    }

    /// Moves the time on, and ticks whenever the server wants it.
    pub fn sleep(&mut self, millis: u64) {
        let until = Instant::from_nanos(self.now.as_nanos() + millis * 1_000_000);
        while let Some(deadline) = self.server.deadline().filter(|&at| at <= until) {
            self.now = self.now.max(deadline);
            let before = self.server.deadline();
            self.handle(Input::Tick);
            if self.server.deadline() == before {
                break; // actions wait
            }
        }
        self.now = until;
        self.handle(Input::Tick);
    }

    /// Sends all of it, as far as the server takes it; how much that was.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.server.feed(self.now, conn, &bytes[sent..]) {
                0 => break,
                n => sent += n,
            }
        }
        sent
    }

    pub fn request(&mut self, conn: ConnId, id: u32, method: &str, content: &str) {
        let bytes = request(id, method, content);
        assert_eq!(self.send(conn, &bytes), bytes.len());
    }

    pub fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.server.poll()).collect()
    }

    /// Takes one request and answers it with its own content.
    pub fn echo(&mut self) -> bool {
        let Some(Request { content, responder, .. }) = self.server.event() else { return false };
        responder.reply(content).unwrap();
        true
    }

    pub fn echo_all(&mut self) -> usize {
        std::iter::from_fn(|| self.echo().then_some(())).count()
    }

    /// Takes one request and leaves its answer for later.
    pub fn defer(&mut self) -> Option<Token> {
        self.server.event().map(|request| request.responder.defer())
    }

    /// What waits to be sent.
    pub fn unsent(&self, conn: ConnId) -> Vec<u8> {
        let mut bufs = [&[][..]; 1024];
        let n = self.server.send_bufs(conn, &mut bufs);
        bufs[..n].concat()
    }

    /// The transport takes everything; what the peer reads in it: number and content of each answer.
    pub fn answers(&mut self, conn: ConnId) -> Vec<(u32, String)> {
        let bytes = self.unsent(conn);
        self.handle(Input::Sent(conn, bytes.len()));
        answers_in(&bytes)
    }
}

pub fn answers_in(mut bytes: &[u8]) -> Vec<(u32, String)> {
    let mut answers = Vec::new();
    let any = Limits { content: u32::MAX };
    while let Ok(Step::Frame(head)) = decode_response(bytes, &any, Mode::Strict) {
        let content = String::from_utf8(bytes[head.content.clone()].to_vec()).unwrap();
        answers.push((head.id.slot(), content));
        bytes = &bytes[head.content.end..];
    }
    assert!(bytes.is_empty(), "{bytes:?} is left over");
    answers
}

/// Answers as tests write them.
pub fn texts(answers: &[(u32, String)]) -> Vec<(u32, &str)> {
    answers.iter().map(|(id, content)| (*id, content.as_str())).collect()
}
