//! Random worlds: topologies, options, loads and faults by chance, and laws that hold in all of them.
//!
//! A [`Plan`] is all that happens in a world, as plain data drawn from a seed. [`run`] plays it with the machines and
//! drivers that ship, and looks after every turn of each machine whether a [`Law`] is broken. What breaks one is
//! [shrunk](shrink) by itself, until what is left can be read as a story.
//!
//! ```
//! use plimsoll_sim::swarm::{Plan, run};
//!
//! let stats = run(&Plan::of_seed(1)).expect("all laws hold");
//! assert!(stats.events > 0);
//! assert_eq!(run(&Plan::of_seed(1)).unwrap().hash, stats.hash); // the same to the nanosecond
//! ```

mod content;
mod desk;
mod dice;
mod faults;
mod ground;
mod hub;
mod journal;
mod law;
mod panics;
mod plan;
mod seeking;
mod services;
mod shrinking;

pub use hub::{Act as HubAct, Call, Feature as HubFeature, Lie, Method};
pub use law::{Law, Stats, Violation};
pub use plan::{Cast, Event, Fault, Feature, Plan, What};
pub use seeking::{Finding, Quest, seek};
pub use services::{Act as ServiceAct, Ask, Feature as ServiceFeature, Manner, News};
pub use shrinking::{Effort, shrink};

use dice::Dice;

/// How many of a thousand worlds are hubs.
const HUBS: u32 = 300;

impl Plan {
    /// The plan that is drawn from a seed.
    pub fn of_seed(seed: u64) -> Plan {
        let mut dice = Dice::new(seed, 1);
        if dice.chance(HUBS) { hub::draw(seed, &mut dice) } else { services::draw(seed, &mut dice) }
    }
}

/// Plays a plan from its beginning until everything is at rest.
///
/// # Errors
/// The first law that was broken.
pub fn run(plan: &Plan) -> Result<Stats, Violation> {
    panics::caught(|| match plan.cast {
        Cast::Services { clients, servers } => services::run(plan, clients.max(1), servers.max(1)),
        Cast::Hub { services } => hub::run(plan, services.max(1)),
    })
}
