//! The service server as a subject of the laws.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::limit;
use crate::policy::watermark::Band;
use crate::service::server::{Config, Request, Server, Token};
use crate::testing::laws::{Op, Subject};
use crate::time::Instant;
use crate::wire::WireId;
use crate::wire::uw::{Limits, Mode, Step, decode_response, encode_request};

/// A server, small enough that its limits are reached, or at its defaults.
pub struct Surroundings<const SMALL: bool> {
    tokens: Vec<Token>,
    taken: u16,
    asked: u32,
    /// What a peer has begun to send and not finished.
    begun: BTreeMap<u32, Vec<u8>>,
    /// What a peer has received of an answer.
    heard: BTreeMap<u32, Vec<u8>>,
}

fn small(seed: u64) -> Config {
    Config {
        limits: Limits { content: 600_000 },
        mode: if seed.is_multiple_of(2) { Mode::Strict } else { Mode::Resync },
        frame_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        connections: limit(4),
        in_flight: limit(3),
        in_flight_total: limit(5),
        unsent: Band::new(64, 256).unwrap(),
        receive_budget: limit(1),
    }
}

impl<const SMALL: bool> Subject for Surroundings<SMALL> {
    type Machine = Server;

    fn new(seed: u64) -> (Self, Server) {
        let config = Config { mode: small(seed).mode, ..Config::default() };
        let server = Server::new(if SMALL { small(seed) } else { config });
        let (begun, heard) = (BTreeMap::new(), BTreeMap::new());
        (Surroundings { tokens: Vec::new(), taken: 0, asked: 0, begun, heard }, server)
    }

    fn command(&mut self, server: &mut Server, now: Instant, number: u16) {
        if number % 64 == 63 {
            return server.shutdown(now, now + Duration::from_millis(u64::from(number)));
        }
        let Some(picked) = usize::from(number).checked_rem(self.tokens.len()) else { return };
        let token = self.tokens.swap_remove(picked);
        let _ = match number % 3 {
            0 => server.fail(now, token, "LATER", "no"),
            _ => server.reply(now, token, &vec![b' '; usize::from(number) % 300]),
        };
    }

    fn event(&mut self, request: Request<'_>) -> (u64, String) {
        let Request { method, content, responder } = request;
        let seen = format!("{method} {} {:?}", content.len(), content.last());
        self.taken = self.taken.wrapping_add(1);
        match self.taken % 5 {
            0 => drop(responder),
            1 => responder.fail("NOW", "no").unwrap(),
            2 => responder.reply(&content[content.len().saturating_sub(99)..]).unwrap(),
            _ => self.tokens.push(responder.defer()),
        }
        (0, seen)
    }

    fn hear(&mut self, peer: u32, bytes: &[u8]) -> Vec<String> {
        let heard = self.heard.entry(peer).or_default();
        heard.extend(bytes);
        let mut answers = Vec::new();
        while let Ok(Step::Frame(head)) = decode_response(heard, &Limits::default(), Mode::Strict) {
            answers.push(format!("{} {}", head.id, String::from_utf8_lossy(&heard[head.content.clone()])));
            heard.drain(..head.content.end);
        }
        answers
    }

    fn speak(&mut self, peer: u32, number: u16) -> Vec<u8> {
        if let Some(rest) = self.begun.remove(&peer) {
            return rest;
        }
        let mut bytes = Vec::new();
        for _ in 0..number % 7 {
            self.asked += 1;
            let method = if self.asked.is_multiple_of(4) { "ping" } else { "method" };
            let content = vec![self.asked as u8; usize::from(number % 50)];
            let id = WireId::new(self.asked, 0, 0);
            encode_request(&mut bytes, id, method, &content, &Limits::default()).unwrap();
        }
        match number / 8 % 16 {
            0 => bytes.extend(b"garbage"),
            1 => {
                let large = vec![7; usize::from(number) * 150];
                let large = &large[..large.len().min(600_000)];
                let id = WireId::new(0, 0, 0);
                encode_request(&mut bytes, id, "large", large, &Limits::default()).unwrap();
            }
            2..=6 if !bytes.is_empty() => {
                let rest = bytes.split_off(bytes.len() - 1 - usize::from(number) % bytes.len());
                self.begun.insert(peer, rest);
            }
            _ => {}
        }
        bytes
    }
}

pub type Small = Surroundings<true>;
pub type Large = Surroundings<false>;

/// Somebody must have connected for anything to happen.
pub fn with_connections(ops: &[Op]) -> Vec<Op> {
    [(1, 0), (1, 0), (1, 0)].iter().chain(ops).copied().collect()
}
