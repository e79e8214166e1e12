//! Plans of worlds of a hub.

use std::time::Duration;

use super::{Act, Call, Feature, Lie, Method};
use crate::Link;
use crate::swarm::dice::Dice;
use crate::swarm::plan::{Cast, Event, Fault, Feature as Any, Plan, What};
use crate::swarm::services;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// The plan of a seed.
pub(in crate::swarm) fn draw(seed: u64, dice: &mut Dice) -> Plan {
    let services = dice.between(2, 5);
    let mut features = Vec::new();
    if dice.chance(600) {
        let link = services::link(dice);
        features.push(Any::Link(Link { bandwidth: None, window: Link::default().window, ..link }));
    }
    features.extend(options(dice).into_iter().map(Any::Hub));
    Plan { seed, cast: Cast::Hub { services }, features, events: history(dice, services) }
}

fn options(dice: &mut Dice) -> Vec<Feature> {
    let mut chosen = Vec::new();
    let mut maybe = |dice: &mut Dice, per_mille: u32, draw: &mut dyn FnMut(&mut Dice) -> Feature| {
        if dice.chance(per_mille) {
            chosen.push(draw(dice));
        }
    };
    maybe(dice, 300, &mut |dice| Feature::Pool(dice.between(2, 4)));
    maybe(dice, 300, &mut |dice| Feature::MessagePack(dice.between(1, 3)));
    // The longest way to a service and back takes 580 ms: where a hub waits for less, no call might ever succeed.
    maybe(dice, 300, &mut |dice| Feature::Timeout(dice.between(600, 20_000)));
    maybe(dice, 300, &mut |dice| Feature::ClientTimeout(dice.between(200, 20_000)));
    maybe(dice, 200, &mut |dice| Feature::Pending(dice.between(1, 8)));
    maybe(dice, 200, &mut |dice| Feature::ClientPending(dice.between(1, 8)));
    maybe(dice, 200, &mut |dice| Feature::Serving(dice.between(1, 8)));
    maybe(dice, 500, &mut |dice| Feature::Heartbeat(dice.between(1_000, 20_000)));
    maybe(dice, 600, &mut |dice| {
        let base = dice.between(50, 2_000);
        Feature::Reconnect { base, cap: base * dice.between(1, 8) }
    });
    maybe(dice, 200, &mut |dice| Feature::RegisterTimeout(dice.between(500, 5_000)));
    maybe(dice, 300, &mut |dice| Feature::Fickle(dice.of(&[1, 10, 100])));
    chosen
}

/// Draws something that happens, among so many services.
type Draw = fn(&mut Dice, u32) -> What;

fn history(dice: &mut Dice, services: u32) -> Vec<Event> {
    let length = dice.span(20 * SECOND, 200 * SECOND);
    let kinds: [(u32, Draw); 6] =
        [(400, cancel), (400, leave), (300, unlearn), (600, lie), (500, crash), (400, other_fault)];
    let mut acts: Vec<Draw> = vec![call; 4];
    acts.extend(kinds.into_iter().filter(|(per_mille, _)| dice.chance(*per_mille)).map(|(_, draw)| draw));
    let mut at = SECOND;
    let mut events = Vec::new();
    for _ in 0..dice.between(10, 50) {
        // Much happens at once now and then.
        if !dice.chance(300) {
            at = dice.even(SECOND, length);
        }
        let act = dice.of(&acts);
        events.push(Event { at, what: act(dice, services) });
    }
    events.sort_by_key(|event| event.at);
    events
}

fn method(dice: &mut Dice) -> Method {
    match dice.below(10) {
        0 => Method::Late(dice.between(1, 10_000)),
        1 => Method::Never,
        2 => Method::Fail,
        3 => Method::Drop,
        4 => Method::Unknown,
        _ => Method::Echo,
    }
}

fn call(dice: &mut Dice, services: u32) -> What {
    What::Hub(Act::Call(Call {
        from: dice.below(services),
        to: if dice.chance(70) { services } else { dice.below(services) },
        method: method(dice),
        count: dice.of(&[1, 2, 5, 10, 20]),
        gap: if dice.chance(400) { Duration::ZERO } else { dice.span(MILLI, 500 * MILLI) },
        size: if dice.chance(30) { 20_000 } else { dice.between(0, 300) },
        timeout: dice.chance(300).then(|| dice.span(Duration::ZERO, 30 * SECOND)),
        depth: if dice.chance(300) { dice.between(1, 6) } else { 0 },
    }))
}

fn cancel(dice: &mut Dice, services: u32) -> What {
    What::Hub(Act::Cancel { service: dice.below(services), count: dice.between(1, 5) })
}

fn leave(dice: &mut Dice, services: u32) -> What {
    What::Hub(Act::Leave { service: dice.below(services), lasts: dice.span(10 * MILLI, 20 * SECOND) })
}

fn unlearn(dice: &mut Dice, services: u32) -> What {
    let method = dice.of(&[Method::Echo, Method::Late(0), Method::Never]);
    What::Hub(Act::Unlearn {
        service: dice.below(services),
        method,
        lasts: dice.span(10 * MILLI, 20 * SECOND),
    })
}

fn lie(dice: &mut Dice, _: u32) -> What {
    const LIES: [Lie; 9] = [
        Lie::Answers,
        Lie::Answers,
        Lie::AnswersAs,
        Lie::CallsAs,
        Lie::Claims,
        Lie::Garbage,
        Lie::Huge,
        Lie::Half,
        Lie::Calls,
    ];
    What::Hub(Act::Lie { lie: dice.of(&LIES), count: dice.of(&[1, 5, 30]) })
}

fn crash(dice: &mut Dice, services: u32) -> What {
    let host = if dice.chance(300) { 0 } else { dice.between(1, services) };
    What::Fault(Fault::Crash { host, lasts: dice.span(10 * MILLI, 30 * SECOND) })
}

fn other_fault(dice: &mut Dice, services: u32) -> What {
    let (a, b, lasts) = (dice.between(1, services), 0, dice.span(10 * MILLI, 30 * SECOND));
    What::Fault(match dice.below(6) {
        0 => Fault::Pause { host: dice.below(services + 1), lasts },
        1 => Fault::Reset { a, b },
        2 => Fault::Cut { from: a, to: b, lasts },
        3 => Fault::Partition { a, b, lasts },
        4 => Fault::Slow {
            a,
            b,
            link: Link { latency: dice.span(MILLI, 5 * SECOND), ..Link::default() },
            lasts,
        },
        _ => Fault::Skew {
            host: dice.below(services + 1),
            ms: i64::from(dice.below(200_000)) - 100_000,
            lasts,
        },
    })
}
