//! The laws of machines, for the service server.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::policy::watermark::Band;
use plimsoll_core::service::server::{Config, Request, Server, Token};
use plimsoll_core::testing::laws::{self, Op, Subject};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{Limits, Mode, Step, decode_response, encode_request};
use quickcheck::quickcheck;

/// A server, small enough that its limits are reached, or at its defaults.
struct Surroundings<const SMALL: bool> {
    tokens: Vec<Token>,
    taken: u16,
    asked: u32,
    /// What a peer has begun to send and not finished.
    begun: BTreeMap<u32, Vec<u8>>,
    /// What a peer has received of an answer.
    heard: BTreeMap<u32, Vec<u8>>,
}

fn small(seed: u64) -> Config {
    let limit = |n| NonZeroU32::new(n).unwrap();
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

type Small = Surroundings<true>;
type Large = Surroundings<false>;

/// Somebody must have connected for anything to happen.
fn with_connections(ops: Vec<Op>) -> Vec<Op> {
    [(1, 0), (1, 0), (1, 0)].into_iter().chain(ops).collect()
}

quickcheck! {
    fn cutting_changes_nothing(seed: u64, ops: Vec<Op>, cuts: Vec<u8>) -> Result<(), String> {
        laws::cutting::<Large>(seed, &with_connections(ops), &cuts)
    }

    fn early_and_repeated_ticks_change_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::early_and_repeated_ticks::<Small>(seed, &with_connections(ops))
    }

    fn a_tick_at_the_deadline_makes_progress(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::tick_at_deadline_makes_progress::<Small>(seed, &with_connections(ops))
    }

    fn an_undrained_action_is_due(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::undrained_action_is_due::<Small>(seed, &with_connections(ops))
    }

    fn a_clock_that_goes_back_changes_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::clock_going_back::<Small>(seed, &with_connections(ops))
    }

    fn the_same_seed_gives_the_same_trace(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::same_seed_same_trace::<Small>(seed, &with_connections(ops))
    }

    fn late_completions_change_nothing(seed: u64, ops: Vec<Op>) -> Result<(), String> {
        laws::recycled_slots_ignore_late_completions::<Small>(seed, &with_connections(ops))
    }
}
