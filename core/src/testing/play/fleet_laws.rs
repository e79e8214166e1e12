//! A service client of some endpoints, with everything switched on that can be, as a subject of the laws.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::client_laws::Surroundings;
use super::limit;
use super::rig::{Frame, Wire};
use crate::cluster::EndpointOptions;
use crate::policy::balance::{PREQUAL_FLEET, Strategy};
use crate::policy::fixed::Ratio;
use crate::policy::gcra::Quota;
use crate::policy::{breaker, concurrency, hedge, throttle};
use crate::service::Uw;
use crate::service::client::{Client, Config, Event};
use crate::testing::laws::{Op, Subject};
use crate::time::Instant;

/// The client chooses by whichever strategy the seed says, and its peers tell how busy they are.
pub struct Fleet(Surroundings<Uw>);

fn strategy(seed: u64) -> Strategy {
    Strategy::ALL[seed as usize % Strategy::ALL.len()]
}

/// As few as will do, so that much happens to each.
fn endpoints(seed: u64) -> u32 {
    if strategy(seed) == Strategy::Prequal { PREQUAL_FLEET as u32 + 4 } else { 4 }
}

fn config(seed: u64) -> Config {
    let mut config = Config {
        throttle: Some(throttle::Config { factor: Ratio::percent(120), ..Default::default() }),
        concurrency: Some(concurrency::Config { samples: limit(3), ..Default::default() }),
        rate_limit: Some(Quota::new(limit(20), Duration::from_secs(1))),
        hedging: Some(hedge::Config { volume: 1, ..Default::default() }),
        ..Config::default()
    };
    let cluster = &mut config.cluster;
    cluster.strategy = strategy(seed);
    cluster.max_connections = limit(2);
    cluster.in_flight = limit(2);
    cluster.grow_at = 1;
    cluster.max_age = Some(Duration::from_secs(30));
    cluster.subset = (seed / 16).is_multiple_of(4).then(|| limit(2));
    cluster.breaker.mode = match seed / 32 % 2 {
        0 => breaker::Mode::Count { failures: limit(2) },
        _ => breaker::Mode::Rate { consecutive: limit(2), success: Ratio::percent(80), volume: limit(4) },
    };
    cluster.breaker.recovery = Duration::from_secs(3);
    if let Some(outliers) = &mut cluster.outliers {
        outliers.sweep = Duration::from_secs(1);
        outliers.consecutive = limit(3);
        outliers.success_hosts = 2;
        outliers.success_volume = limit(2);
    }
    config
}

impl Subject for Fleet {
    type Machine = Client<Uw>;

    fn new(seed: u64) -> (Self, Client<Uw>) {
        let (surroundings, _) = Surroundings::new(seed);
        let mut client = Client::new(Uw::default(), config(seed), seed);
        client.set_explain(Some(limit(4)));
        for n in 0..endpoints(seed) {
            let options = EndpointOptions { priority: u8::from(n == 3), weight: 1 + n % 3 };
            client.add_endpoint_with(Instant::ZERO, &format!("users-{n}.internal:3001"), options).unwrap();
        }
        (Fleet(surroundings), client)
    }

    fn command(&mut self, client: &mut Client<Uw>, now: Instant, number: u16) {
        self.0.command(client, now, number);
    }

    fn event(&mut self, event: Event<'_>) -> (u64, String) {
        (0, format!("{event:?}"))
    }

    fn hear(&mut self, peer: u32, bytes: &[u8]) -> Vec<String> {
        self.0.hear(peer, bytes)
    }

    fn speak(&mut self, peer: u32, number: u16) -> Vec<u8> {
        let answer = |frame: Frame| {
            let load = format!(r#"{{"timestamp":1,"in_flight":{},"latency_us":{number}}}"#, peer % 4);
            let text = match number % 3 {
                _ if frame.tag.is_none() => load.as_str(),
                0 => Uw::REFUSAL,
                1 => r#"{"error":{"code":"INTERNAL_ERROR","message":"broken"}}"#,
                _ => "{}",
            };
            Uw::answer(&frame, text)
        };
        self.0.heard_by(peer).into_iter().flat_map(answer).collect()
    }
}

/// First, connections are dialled, and stand.
pub fn with_connections(ops: &[Op]) -> Vec<Op> {
    let (act, finish_dial) = (12, 7);
    let dials = [(act, 7), (finish_dial, 1), (finish_dial, 2), (finish_dial, 4)];
    dials.repeat(8).into_iter().chain(ops.iter().copied()).collect()
}
