//! Random worlds keep all laws, and what breaks one is found, and made small.

use std::time::Duration;

use plimsoll_sim::swarm::{
    Ask, Cast, Effort, Event, Feature, Law, Manner, Plan, Quest, ServiceAct, ServiceFeature, Violation, What,
    run, seek, shrink,
};

/// A plan of many events, in which a server gives the answer to another request for a while.
fn mistaken() -> (Plan, Violation) {
    let is_large = |plan: &Plan| {
        matches!(plan.cast, Cast::Services { servers: 2.., .. })
            && plan.events.len() >= 40
            && plan.features.len() >= 5
    };
    let mistakes = |server| {
        let manner = ServiceAct::Manner { server, manner: Manner::Mistakes, lasts: Duration::from_secs(60) };
        Event { at: Duration::from_secs(5), what: What::Service(manner) }
    };
    let with_mistakes = |mut plan: Plan| {
        plan.events.insert(0, mistakes(0));
        plan.events.insert(1, mistakes(1));
        plan.events.sort_by_key(|event| event.at);
        plan
    };
    let large = (0..).map(Plan::of_seed).filter(is_large).map(with_mistakes);
    large.filter_map(|plan| run(&plan).err().map(|violation| (plan, violation))).next().expect("one of many")
}

#[test]
fn all_laws_hold_in_a_few_hundred_worlds() {
    let (stats, found) = seek(Quest { first: 0, seeds: 200, time: None }, |_| {});
    if let Some(found) = found {
        panic!("seed {}: {}", found.seed, found.violation);
    }
    assert_eq!(stats.worlds, 200);
    // They have seen what they are there for.
    assert!(stats.requests > 5_000 && stats.answered > stats.requests / 2, "{stats}");
    assert!(stats.faults > 500 && stats.trips > 30 && stats.ejections > 3 && stats.retries > 300, "{stats}");
}

#[test]
fn the_same_seed_is_the_same_world_to_the_nanosecond() {
    for seed in 0..20 {
        let plan = Plan::of_seed(seed);
        assert_eq!(plan, Plan::of_seed(seed));
        assert_eq!(run(&plan), run(&plan), "seed {seed}");
    }
    let hashes = (0..20).map(|seed| run(&Plan::of_seed(seed)).expect("all laws hold").hash);
    let mut hashes: Vec<u64> = hashes.collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 20);
}

#[test]
fn a_broken_law_is_found_and_made_small_enough_to_be_read() {
    let (plan, violation) = mistaken();
    assert_eq!(violation.law, Law::Delivery);
    let (small, violation) = shrink(&plan, &violation, Effort::default());
    assert_eq!(violation.law, Law::Delivery);
    assert_eq!(run(&small), Err(violation));
    // The mistake, and a request.
    assert!(small.events.len() <= 2 && small.features.is_empty(), "{small}");
    assert_eq!(small.cast, Cast::Services { clients: 1, servers: 1 });
    let story = small.to_string();
    assert!(story.contains("makes 1 requests") || !story.contains("makes"), "{story}");
    assert!(story.contains("s0 answers so: Mistakes"), "{story}");
}

#[test]
fn where_only_the_order_says_whose_an_answer_is_one_for_another_is_found_too() {
    let world = |manner| {
        let manner = ServiceAct::Manner { server: 0, manner, lasts: Duration::from_secs(60) };
        let ask = Ask {
            client: 0,
            count: 3,
            gap: Duration::from_secs(1),
            size: 100,
            idempotent: false,
            timeout: None,
            key: None,
        };
        let event = |seconds, act| Event { at: Duration::from_secs(seconds), what: What::Service(act) };
        Plan {
            seed: 1,
            cast: Cast::Services { clients: 1, servers: 1 },
            features: vec![Feature::Service(ServiceFeature::Resp)],
            events: vec![event(5, manner), event(6, ServiceAct::Ask(ask))],
        }
    };
    let stats = run(&world(Manner::Well)).expect("all laws hold");
    assert!(stats.requests > 3 && stats.answered == stats.requests, "{stats}");
    assert_eq!(run(&world(Manner::Mistakes)).map_err(|violation| violation.law), Err(Law::Delivery));
}

#[test]
fn a_world_gives_back_all_its_memory_and_takes_no_more_than_it_may() {
    const MOST: u64 = 64 << 20;
    // What is made once and kept.
    run(&Plan::of_seed(0)).expect("all laws hold");
    for seed in 0..30 {
        let plan = Plan::of_seed(seed);
        let memory = allocation_counter::measure(|| drop(run(&plan)));
        assert_eq!(memory.bytes_current, 0, "seed {seed}");
        assert!(memory.bytes_max < MOST, "seed {seed}: {} bytes at a time", memory.bytes_max);
    }
}
