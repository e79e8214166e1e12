//! Logs that are cut, mixed up, or made up.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use crate::ipc;
use crate::ipc::hub::{self, Hub};
use crate::machine::{Action, Input, Machine, Peer};
use crate::policy::balance::Strategy;
use crate::record::{self, LogRecord, Options, RUN, Record};
use crate::replay::{self, Query};
use crate::save::Reader;
use crate::service::client::{self, Client};
use crate::service::server::{self, Server};
use crate::service::{Uw, UwRequest};
use crate::testing::play::rig::Toy;
use crate::time::Instant;

/// So many bytes that are not there may be written for records that are made up: what takes long, takes long.
const CLAIMS: u64 = 16 << 20;

/// A log as it is; and, of a machine that the first byte picks, the blocks of a log in another order and number, or records
/// that nobody has written. Whatever it is, it is read, played and told, or it is said why not.
pub fn log(data: &[u8]) {
    tell(data);
    let Some((&pick, rest)) = data.split_first() else { return };
    let log = recorded(pick >> 1);
    if pick & 1 == 0 {
        tell(&shuffled(&log, rest));
    } else if claims(rest) <= CLAIMS {
        let (one, other) = rest.split_at(rest.len() / 2);
        let forged = record::forged(&log, &[one, other]);
        let _ = replay::play_on(&record::forged(&log, &[rest]));
        let _ = replay::play_on(&forged);
        tell(&forged);
    }
}

/// Everything that can be asked of a log.
fn tell(log: &[u8]) {
    let replayed = replay::replay(log);
    if let Ok(replayed) = &replayed {
        let most = RUN * log.len() as u64;
        assert!(replayed.calls <= most && replayed.segments <= most);
    }
    let at = Instant::from_millis(1);
    let requests = [Query::Request("0.0"), Query::Request("1")];
    let others = [Query::Changes, Query::Failures, Query::Pick(2), Query::At(at)];
    for query in requests.into_iter().chain(others) {
        if let Ok(story) = replay::explain(log, query) {
            assert!(replayed.is_ok(), "a story of what is not so");
            assert!(story.to_string().len() <= 1_000 * (log.len() + 1));
        }
    }
    let _ = replay::diff(log, |config| config.cluster.strategy = Strategy::RoundRobin);
}

/// At most so many bytes; each record may say that what was before it comes again.
fn claims(records: &[u8]) -> u64 {
    let mut from = Reader::new(records);
    let records = core::iter::from_fn(|| LogRecord::read(&mut from).ok());
    let (most, count) = records.fold((0, 0), |(most, count), record| (record.claims().max(most), count + 1));
    RUN.saturating_mul(most).saturating_mul(count)
}

/// The blocks of a log, as often and in the order that `order` says, and up to 254 bytes of the last.
fn shuffled(log: &[u8], order: &[u8]) -> Vec<u8> {
    let mut starts: Vec<usize> = memchr::memmem::find_iter(log, b"PLRC").collect();
    starts.push(log.len());
    let blocks: Vec<&[u8]> = starts.windows(2).map(|at| &log[at[0]..at[1]]).collect();
    let Some((&cut, order)) = order.split_last() else { return Vec::new() };
    let mut shuffled = Vec::new();
    for &which in order.iter().take(16) {
        shuffled.extend_from_slice(blocks[usize::from(which) % blocks.len()]);
    }
    shuffled.truncate(shuffled.len() - usize::from(cut).saturating_sub(1).min(shuffled.len()));
    shuffled
}

/// The log of a machine that has been up to something, in segments of a few blocks.
fn recorded(pick: u8) -> Vec<u8> {
    let limit = |n| NonZeroU32::new(n).expect("not zero");
    let options = Options { segment: limit(1), segments: limit(100), content: pick / 5 % 2 == 1 };
    match pick % 5 {
        0 => of(Client::new(Uw::default(), client::Config::default(), 1), options, |client, now| {
            let _ = client.add_endpoint(now, "users.internal:3001");
            let request = UwRequest { method: "get", content: b"{}" };
            let _ = client.request(now, &request, client::Options::default());
        }),
        1 => of(Client::new(Toy, client::Config::default(), 1), options, |client, now| {
            let _ = client.add_endpoint(now, "users.internal:3001");
        }),
        2 => of(Server::new(server::Config::default()), options, |server, now| {
            server.accept(now, Peer::UNKNOWN);
        }),
        3 => of(Hub::new(hub::Config::default(), 1), options, |hub, now| {
            hub.accept(now, Peer::UNKNOWN);
        }),
        _ => {
            let config = ipc::client::Config::new("users");
            of(ipc::client::Client::new(config, 1), options, ipc::client::Client::connect)
        }
    }
}

fn of<M: Machine + Record>(mut machine: M, options: Options, act: impl Fn(&mut M, Instant)) -> Vec<u8> {
    machine.record(options);
    for turn in 0..3 {
        let now = Instant::from_millis(turn);
        act(&mut machine, now);
        while machine.event().is_some() {}
        while let Some(action) = machine.poll() {
            if let Action::Connect(conn) = action {
                machine.handle(now, Input::Connected(conn));
            }
        }
        machine.handle(now, Input::Tick);
    }
    machine.recorded()
}
