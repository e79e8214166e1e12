//! Parts of a request's way, in this process: no contestant waits for anything.

use std::env;
use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use plimsoll_benches::parts::machines::{Clients, IN_FLIGHT, Servers};
use plimsoll_benches::parts::{decode, pending};
#[cfg(feature = "peers")]
use plimsoll_benches::parts::{peers, pick};
use plimsoll_core::wire::uw::Mode;
use rustix::time::{ClockId, clock_gettime};

use crate::Result;
use crate::rounds::{Contestant, Goal, Group};

/// Repetitions between two looks at the clock.
const BLOCK: u32 = 20_000;
/// Frames in a stream; 92 bytes each, so that all of them stay in the first cache.
const FRAMES: u32 = 100;

pub(super) fn groups() -> Vec<Group> {
    let mut groups = Vec::new();
    #[cfg(feature = "peers")]
    groups.extend([pick(10), pick(100)]);
    groups.extend([pending(), requests(), responses(), machines(), allocations()]);
    groups
}

#[cfg(feature = "peers")]
fn pick(endpoints: usize) -> Group {
    let tower = contestant("tower+3", move || {
        let mut four = peers::by_pending_requests(endpoints);
        move || four.request()
    });
    let ewma = contestant("tower-ewma+3", move || {
        let mut four = peers::by_peak_ewma(endpoints);
        move || four.request()
    });
    let ours = contestant("plimsoll", move || {
        let mut ours = pick::Ours::new(endpoints);
        move || ours.request()
    });
    let about = format!(
        "pick, rate limit, breaker and checkout together, {endpoints} endpoints; +3 are governor, recloser, deadpool"
    );
    group(&format!("pick-{endpoints}"), &about, [tower, ewma, ours], 1.0 / 6.0)
}

fn pending() -> Group {
    let map = contestant("hash-map", || {
        let mut map = pending::ByHash::default();
        move || map.request()
    });
    let ours = contestant("plimsoll", || {
        let mut ours = pending::Ours::default();
        move || ours.request()
    });
    group("pending", "a pending request, inserted and taken, 256 in flight", [map, ours], 0.25)
}

fn requests() -> Group {
    let bytes = decode::requests(FRAMES);
    let by_hand = frames("by-hand", bytes.clone(), decode::decode_requests_by_hand);
    let strict = frames("plimsoll", bytes.clone(), |bytes| decode::decode_requests(bytes, Mode::Strict));
    let resync = frames("resync", bytes, |bytes| decode::decode_requests(bytes, Mode::Resync));
    group("decode-requests", "a request of 92 bytes, decoded and lent", [by_hand, strict, resync], 1.3)
}

fn responses() -> Group {
    let bytes = decode::responses(FRAMES);
    let by_hand = frames("by-hand", bytes.clone(), decode::decode_responses_by_hand);
    let strict = frames("plimsoll", bytes.clone(), |bytes| decode::decode_responses(bytes, Mode::Strict));
    let resync = frames("resync", bytes, |bytes| decode::decode_responses(bytes, Mode::Resync));
    group("decode-responses", "a response of 92 bytes, decoded and lent", [by_hand, strict, resync], 1.3)
}

/// Without a goal of their own: what the processes can come down to.
fn machines() -> Group {
    let client = Contestant::new("client", |time| {
        let mut clients = Clients::default();
        per_item(time, IN_FLIGHT as u32, || clients.burst())
    });
    let server = Contestant::new("server", |time| {
        let mut servers = Servers::default();
        per_item(time, IN_FLIGHT as u32, || servers.burst())
    });
    let recorded_client = Contestant::new("client+log", |time| {
        let mut clients = Clients::recorded();
        per_item(time, IN_FLIGHT as u32, || clients.burst())
    });
    let recorded_server = Contestant::new("server+log", |time| {
        let mut servers = Servers::recorded();
        per_item(time, IN_FLIGHT as u32, || servers.burst())
    });
    Group {
        name: "parts/machines".into(),
        about: "CPU ns per request and answer of 64 B in a machine without a runtime".into(),
        figures: &["ns"],
        contestants: vec![client, server, recorded_client, recorded_server],
        goals: Vec::new(),
    }
}

fn allocations() -> Group {
    Group {
        name: "parts/allocations".into(),
        about: "allocations per request of 64 B in a warm machine".into(),
        figures: &["client", "server"],
        contestants: vec![Contestant::new("plimsoll", |_| count_allocations())],
        goals: ["client", "server"]
            .map(|figure| Goal { of: "plimsoll", figure, beside: None, at_most: 0.0 })
            .into(),
    }
}

/// By a program of its own, which is built first if it has to be.
fn count_allocations() -> Result<Vec<f64>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--release", "--quiet", "--package=plimsoll-benches", "--bin=count-allocations"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let figures = String::from_utf8(output.stdout)?;
    Ok(figures.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?)
}

/// The first is the reference; ours is called `plimsoll`.
fn group<const N: usize>(name: &str, about: &str, contestants: [Contestant; N], at_most: f64) -> Group {
    let reference = contestants[0].name;
    Group {
        name: format!("parts/{name}"),
        about: format!("CPU ns, {about}"),
        figures: &["ns"],
        contestants: contestants.into(),
        goals: vec![Goal::ratio("plimsoll", "ns", reference, at_most)],
    }
}

fn contestant<F: FnMut()>(name: &'static str, make: impl Fn() -> F + 'static) -> Contestant {
    Contestant::new(name, move |time| {
        let mut body = make();
        per_item(time, BLOCK, || (0..BLOCK).for_each(|_| body()))
    })
}

fn frames(name: &'static str, bytes: Vec<u8>, decode: fn(&[u8])) -> Contestant {
    Contestant::new(name, move |time| {
        per_item(time, FRAMES * 100, || (0..100).for_each(|_| decode(black_box(&bytes))))
    })
}

/// Nanoseconds of CPU for one of the `items` of a block.
fn per_item(time: Duration, items: u32, mut block: impl FnMut()) -> Result<Vec<f64>> {
    let warm = cpu() + time / 10;
    while cpu() < warm {
        block();
    }
    let (start, mut blocks) = (cpu(), 0u32);
    let mut spent = Duration::ZERO;
    while spent < time {
        block();
        blocks += 1;
        spent = cpu() - start;
    }
    Ok(vec![spent.as_nanos() as f64 / (f64::from(blocks) * f64::from(items))])
}

/// Of this process, so that nothing counts that others do.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
