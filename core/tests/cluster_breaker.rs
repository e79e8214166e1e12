//! What is told of the breakers of a cluster.

mod cluster_support;

use cluster_support::{Fleet, calm, limit};
use plimsoll_core::cluster::{Config, StateEvent};
use plimsoll_core::policy::breaker::{Mode, Outcome, State};

#[test]
fn a_probe_that_fails_before_the_next_tick_is_told_between_two_openings() {
    let mut config = Config { outliers: None, ..calm() };
    config.breaker.mode = Mode::Count { failures: limit(1) };
    let mut fleet = Fleet::new(config, 1);
    let (one, other) = (fleet.take(), fleet.take());
    fleet.give_back(one, Outcome::Failure);
    // As after a pause: a late result comes in before the tick that would have let the endpoint back.
    fleet.now = fleet.now + config.breaker.recovery;
    fleet.give_back(other, Outcome::Failure);
    let probe = fleet.take();
    fleet.give_back(probe, Outcome::Failure);
    let to = |state: &StateEvent| match state {
        StateEvent::Breaker { to, .. } => Some(*to),
        _ => None,
    };
    let told: Vec<State> = fleet.states.iter().filter_map(to).collect();
    assert_eq!(told, [State::Open, State::HalfOpen, State::Open]);
}
