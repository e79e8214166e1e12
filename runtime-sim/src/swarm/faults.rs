//! Faults that begin, and end by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_core::time::Instant;

use super::plan::{Fault, Feature, Plan};
use crate::{Faults, Host, Link};

/// So long everything lasts at least: what is over at once has not been.
const LEAST: Duration = Duration::from_millis(1);

/// The faults of a world.
#[derive(Debug)]
pub(super) struct Ailments {
    faults: Faults,
    usual: Link,
    /// What ends when.
    ends: BTreeMap<(Instant, u64), Fault>,
    sequence: u64,
    /// How many crashes a host is down for.
    down: BTreeMap<u32, u32>,
}

impl Ailments {
    pub(super) fn new(faults: Faults, plan: &Plan) -> Self {
        let link = plan.features.iter().rev().find_map(|feature| match feature {
            Feature::Link(link) => Some(*link),
            _ => None,
        });
        let usual = link.unwrap_or_default();
        faults.usual_link(usual);
        Ailments { faults, usual, ends: BTreeMap::new(), sequence: 0, down: BTreeMap::new() }
    }

    pub(super) fn begin(&mut self, now: Instant, fault: Fault, hosts: &[Host]) {
        let host = |place: u32| &hosts[place as usize % hosts.len()];
        let lasts = match fault {
            Fault::Cut { from, to, lasts } => {
                self.faults.cut(host(from), host(to));
                lasts
            }
            Fault::Partition { a, b, lasts } => {
                self.faults.partition(host(a), host(b));
                lasts
            }
            Fault::Crash { host: place, lasts } => {
                let down = self.down.entry(place % hosts.len() as u32).or_default();
                *down += 1;
                if *down == 1 {
                    self.faults.crash(host(place));
                }
                lasts
            }
            Fault::Slow { a, b, link, lasts } => {
                self.faults.link(host(a), host(b), link);
                lasts
            }
            Fault::Pause { host: place, lasts } => {
                self.faults.pause(host(place), lasts);
                lasts
            }
            Fault::Reset { a, b } => return self.faults.reset(host(a), host(b)),
            Fault::Skew { host: place, ms, lasts } => {
                self.faults.skew(host(place), ms);
                lasts
            }
        };
        self.ends.insert((now + lasts.max(LEAST), self.sequence), fault);
        self.sequence += 1;
    }

    /// When the next one ends.
    pub(super) fn next(&self) -> Option<Instant> {
        self.ends.keys().next().map(|(at, _)| *at)
    }

    /// Ends what is due. The hosts that are back after a crash, with nothing running.
    pub(super) fn heal(&mut self, now: Instant, hosts: &[Host]) -> Vec<u32> {
        let host = |place: u32| &hosts[place as usize % hosts.len()];
        let mut back = Vec::new();
        while let Some(entry) = self.ends.first_entry()
            && entry.key().0 <= now
        {
            match entry.remove() {
                Fault::Cut { from, to, .. } => self.faults.join(host(from), host(to)),
                Fault::Partition { a, b, .. } => self.faults.heal(host(a), host(b)),
                Fault::Slow { a, b, .. } => self.faults.link(host(a), host(b), self.usual),
                Fault::Crash { host: place, .. } => {
                    let place = place % hosts.len() as u32;
                    let down = self.down.entry(place).or_default();
                    *down -= 1;
                    if *down == 0 {
                        self.faults.restart(host(place));
                        back.push(place);
                    }
                }
                Fault::Skew { host: place, .. } => self.faults.skew(host(place), 0),
                Fault::Pause { .. } | Fault::Reset { .. } => {}
            }
        }
        back
    }
}
