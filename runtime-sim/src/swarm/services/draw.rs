//! Plans of worlds of one service.
//!
//! Every kind of feature, act and fault is in a plan or not by chance (A. Groce and others, "Swarm Testing", ISSTA 2012): what
//! hides behind something that is always there comes up where that is missing.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use plimsoll_core::policy::balance::Strategy;

use super::{Act, Ask, Feature, Manner, News};
use crate::Link;
use crate::swarm::dice::Dice;
use crate::swarm::plan::{Cast, Event, Fault, Feature as Any, Plan, What};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
/// How many of a thousand worlds of one service speak RESP.
const RESP: u32 = 300;

/// The plan of a seed.
pub(in crate::swarm) fn draw(seed: u64, dice: &mut Dice) -> Plan {
    let many = dice.chance(40);
    let servers = if many { dice.between(10, 20) } else { dice.between(1, 6) };
    let clients = dice.between(1, if many { 2 } else { 4 });
    let mut features = Vec::new();
    if dice.chance(600) {
        features.push(Any::Link(link(dice)));
    }
    features.extend(options(dice, servers).into_iter().map(Any::Service));
    let events =
        if dice.chance(100) { grey(dice, clients, servers) } else { history(dice, clients, servers) };
    Plan { seed, cast: Cast::Services { clients, servers }, features, events }
}

/// What a way is like.
pub(in crate::swarm) fn link(dice: &mut Dice) -> Link {
    let mut link = Link { latency: dice.span(MILLI, 40 * MILLI), ..Link::default() };
    if dice.chance(300) {
        link.jitter = dice.span(MILLI, 50 * MILLI);
    }
    if dice.chance(100) {
        link.late_per_mille = dice.between(1, 50);
    }
    if dice.chance(100) {
        link.bandwidth = NonZeroU64::new(dice.between(20_000, 2_000_000).into());
    }
    if dice.chance(200) {
        link.packet = NonZeroU32::new(dice.of(&[7, 60, 600, 1_400]));
    }
    if dice.chance(100) {
        link.window = NonZeroU32::new(dice.of(&[64, 1_024, 8_192])).unwrap_or(link.window);
    }
    link
}

fn options(dice: &mut Dice, servers: u32) -> Vec<Feature> {
    let mut chosen = Vec::new();
    let mut maybe = |dice: &mut Dice, per_mille: u32, draw: &mut dyn FnMut(&mut Dice) -> Feature| {
        if dice.chance(per_mille) {
            chosen.push(draw(dice));
        }
    };
    maybe(dice, 500, &mut |dice| Feature::Strategy(dice.of(&Strategy::ALL)));
    maybe(dice, 400, &mut |dice| Feature::InFlight(dice.between(1, 8)));
    maybe(dice, 500, &mut |dice| {
        let most = dice.between(1, 4);
        Feature::Connections { least: dice.below(most + 1), most, grow_at: dice.below(4) }
    });
    maybe(dice, 300, &mut |dice| Feature::Waiters(dice.between(1, 32)));
    maybe(dice, 300, &mut |dice| Feature::Burst(dice.between(0, 4)));
    maybe(dice, 300, &mut |dice| Feature::Dials {
        stagger: dice.below(500),
        // A dial goes there and back; with less than that, it never gets anywhere.
        timeout: dice.between(500, 5_000),
    });
    maybe(dice, 300, &mut |dice| Feature::IdleClose(dice.between(500, 60_000)));
    maybe(dice, 500, &mut |dice| Feature::Heartbeat {
        interval: dice.between(2_000, 20_000),
        timeout: dice.between(200, 3_000),
    });
    maybe(dice, 500, &mut |dice| {
        let base = dice.between(10, 2_000);
        Feature::Backoff { base, cap: base * dice.between(1, 10) }
    });
    maybe(dice, 500, &mut |dice| {
        let recovery = dice.between(100, 10_000);
        Feature::Breaker {
            failures: dice.between(1, 8),
            recovery,
            cap: recovery * dice.between(1, 4),
            probes: dice.between(1, 4),
            lease: dice.between(200, 30_000),
        }
    });
    maybe(dice, 200, &mut |_| Feature::NoBreaker);
    maybe(dice, 300, &mut |dice| Feature::Outliers {
        failures: dice.between(1, 8),
        percent: dice.of(&[0, 10, 20, 34, 50, 100]),
        sweep: dice.between(500, 10_000),
        base: dice.between(500, 30_000),
    });
    maybe(dice, 200, &mut |_| Feature::NoOutliers);
    maybe(dice, 250, &mut |dice| Feature::MaxAge(dice.between(3_000, 60_000)));
    maybe(dice, 100, &mut |dice| Feature::Subset(dice.between(1, 4)));
    maybe(dice, 100, &mut |_| Feature::PanicNone);
    maybe(dice, 200, &mut |dice| Feature::SlowStart(dice.between(0, 20_000)));
    maybe(dice, 400, &mut |dice| Feature::Timeout(dice.between(100, 40_000)));
    maybe(dice, 300, &mut |dice| Feature::Attempts(dice.between(1, 5) as u8));
    maybe(dice, 200, &mut |dice| Feature::RetryBudget {
        percent: dice.of(&[0, 20, 100]),
        per_second: dice.of(&[0, 1, 10]),
    });
    maybe(dice, 80, &mut |_| Feature::Throttle);
    maybe(dice, 100, &mut |dice| Feature::Concurrency(dice.between(1, 5)));
    maybe(dice, 80, &mut |dice| Feature::RateLimit(dice.between(5, 50)));
    maybe(dice, 300, &mut |dice| Feature::Hedging {
        volume: dice.between(1, 20),
        percent: dice.of(&[50, 80, 95]),
    });
    maybe(dice, 50, &mut |dice| Feature::Outcomes(dice.between(1, 8)));
    maybe(dice, 100, &mut |_| Feature::Explain);
    maybe(dice, 300, &mut |dice| Feature::Fickle(dice.of(&[1, 10, 100])));
    maybe(dice, 300, &mut |dice| Feature::Echoes(dice.of(&[1, 10, 100])));
    maybe(dice, 150, &mut |dice| Feature::Levels(dice.between(2, 3)));
    maybe(dice, 150, &mut |dice| Feature::Rogue {
        server: dice.below(servers),
        per_mille: dice.of(&[10, 100, 500]),
    });
    maybe(dice, RESP, &mut |_| Feature::Resp);
    maybe(dice, 150, &mut |dice| Feature::ServerInFlight(dice.between(1, 8)));
    maybe(dice, 150, &mut |dice| Feature::ServerUnsent(dice.of(&[64, 1_024, 16_384])));
    maybe(dice, 100, &mut |dice| Feature::ServerIdle(dice.between(1_000, 60_000)));
    chosen
}

/// A steady load, and one server that fails fast.
fn grey(dice: &mut Dice, clients: u32, servers: u32) -> Vec<Event> {
    let (begins, lasts) = (40 * SECOND, dice.even(20 * SECOND, 40 * SECOND));
    let bad = Act::Manner { server: dice.below(servers), manner: Manner::FailsFast, lasts };
    let mut events = vec![Event { at: begins, what: What::Service(bad) }];
    for client in 0..clients {
        let ask = Ask {
            client,
            count: dice.between(60, 150),
            gap: dice.even(200 * MILLI, 400 * MILLI),
            size: 40,
            idempotent: dice.chance(300),
            timeout: None,
            key: None,
        };
        for at in [10 * SECOND, begins] {
            events.push(Event { at, what: What::Service(Act::Ask(ask)) });
        }
    }
    events.sort_by_key(|event| event.at);
    events
}

/// Draws something that happens, among so many clients and servers.
type Draw = fn(&mut Dice, u32, u32) -> What;

fn history(dice: &mut Dice, clients: u32, servers: u32) -> Vec<Event> {
    let length = dice.span(20 * SECOND, 300 * SECOND);
    let kinds: [(u32, Draw); 6] =
        [(500, cancel), (400, tell), (600, manner), (500, cut), (400, crash), (400, other_fault)];
    let mut acts: Vec<Draw> = vec![ask; 3];
    acts.extend(kinds.into_iter().filter(|(per_mille, _)| dice.chance(*per_mille)).map(|(_, draw)| draw));
    let count = dice.between(10, 60);
    let mut at = Duration::ZERO;
    let mut events = Vec::new();
    for _ in 0..count {
        // Much happens at once now and then.
        if !dice.chance(300) {
            at = dice.even(Duration::ZERO, length);
        }
        let act = dice.of(&acts);
        events.push(Event { at, what: act(dice, clients, servers) });
    }
    events.sort_by_key(|event| event.at);
    events
}

fn ask(dice: &mut Dice, clients: u32, _: u32) -> What {
    let is_large = dice.chance(30);
    What::Service(Act::Ask(Ask {
        client: dice.below(clients),
        count: if is_large { 1 } else { dice.of(&[1, 2, 5, 10, 20]) },
        gap: if dice.chance(400) { Duration::ZERO } else { dice.span(MILLI, 500 * MILLI) },
        size: if is_large { 20_000 } else { dice.between(0, 300) },
        idempotent: dice.chance(500),
        timeout: dice.chance(400).then(|| dice.span(Duration::ZERO, 60 * SECOND)),
        key: dice.chance(300).then(|| dice.below(5).into()),
    }))
}

fn cancel(dice: &mut Dice, clients: u32, _: u32) -> What {
    What::Service(Act::Cancel { client: dice.below(clients), count: dice.between(1, 5) })
}

fn tell(dice: &mut Dice, clients: u32, servers: u32) -> What {
    let scale = News::Scale(dice.below(4));
    let choices = [
        News::Add,
        News::Add,
        News::Remove,
        News::Remove,
        News::Drain,
        News::Resume,
        News::Unhealthy,
        News::Healthy,
        scale,
    ];
    What::Service(Act::Tell {
        client: dice.below(clients),
        server: dice.below(servers),
        news: dice.of(&choices),
    })
}

fn manner(dice: &mut Dice, _: u32, servers: u32) -> What {
    let manner = match dice.below(7) {
        0 | 1 => Manner::Late(dice.span(MILLI, 20 * SECOND)),
        2 => Manner::Never,
        3 => Manner::FailsFast,
        4 => Manner::Fails(dice.between(50, 1_000)),
        5 => Manner::Overloaded,
        _ => Manner::Drops(dice.between(50, 1_000)),
    };
    What::Service(Act::Manner {
        server: dice.below(servers),
        manner,
        lasts: dice.span(100 * MILLI, 60 * SECOND),
    })
}

fn lasts(dice: &mut Dice) -> Duration {
    dice.span(10 * MILLI, 40 * SECOND)
}

fn cut(dice: &mut Dice, clients: u32, servers: u32) -> What {
    let (client, server, lasts) = (dice.below(clients), clients + dice.below(servers), lasts(dice));
    What::Fault(match dice.below(3) {
        0 => Fault::Cut { from: client, to: server, lasts },
        1 => Fault::Cut { from: server, to: client, lasts },
        _ => Fault::Partition { a: client, b: server, lasts },
    })
}

fn crash(dice: &mut Dice, clients: u32, servers: u32) -> What {
    let host = if dice.chance(150) { dice.below(clients) } else { clients + dice.below(servers) };
    What::Fault(Fault::Crash { host, lasts: lasts(dice) })
}

fn other_fault(dice: &mut Dice, clients: u32, servers: u32) -> What {
    let (a, b, lasts) = (dice.below(clients), clients + dice.below(servers), lasts(dice));
    What::Fault(match dice.below(4) {
        0 => Fault::Pause { host: dice.below(clients + servers), lasts },
        1 => Fault::Reset { a, b },
        2 => Fault::Slow { a, b, link: Link { latency: dice.span(MILLI, 5 * SECOND), ..link(dice) }, lasts },
        _ => Fault::Skew {
            host: dice.below(clients + servers),
            ms: i64::from(dice.below(200_000)) - 100_000,
            lasts,
        },
    })
}
