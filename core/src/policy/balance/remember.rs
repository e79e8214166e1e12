//! What a [`Balancer`](super::Balancer) remembers for the strategies that know their members by slot or build a table of
//! them, and how it is brought up to date when the candidates change.
//!
//! Their picks stay out of line: they take no notice of a call, and a pick of the others is a few instructions that
//! must not grow by theirs.

use alloc::vec::Vec;

use super::consistent_hash::{self, Load};
use super::{Candidates, ConsistentHash, Prequal, WeightedRandom, WeightedRoundRobin, p2c, prequal};
use crate::rng::Pcg;

/// Which version was seen last.
#[derive(Clone, Debug, Default)]
struct Seen(Option<u64>);
crate::saved!(struct Seen { 0 });

impl Seen {
    /// Whether there may be anything new.
    fn is_new(&mut self, candidates: &impl Candidates) -> bool {
        let version = candidates.version();
        let new = version.is_none() || version != self.0;
        self.0 = version;
        new
    }
}

/// Where the slots stand now.
#[derive(Clone, Debug, Default)]
struct Positions {
    seen: Seen,
    /// By slot; [`NOWHERE`](Positions::NOWHERE) for those that are no candidates.
    at: Vec<u32>,
}
crate::saved!(struct Positions { seen, at });

impl Positions {
    const NOWHERE: u32 = u32::MAX;

    /// Whether anything may have changed.
    fn refresh(&mut self, candidates: &impl Candidates) -> bool {
        if !self.seen.is_new(candidates) {
            return false;
        }
        self.at.fill(Self::NOWHERE);
        for at in 0..super::bounded(candidates.len()) {
            let slot = candidates.slot(at as usize) as usize;
            if slot >= self.at.len() {
                self.at.resize(slot + 1, Self::NOWHERE);
            }
            self.at[slot] = at;
        }
        true
    }

    fn get(&self, slot: u32) -> Option<usize> {
        self.at.get(slot as usize).filter(|at| **at != Self::NOWHERE).map(|at| *at as usize)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Rotation {
    turns: WeightedRoundRobin,
    positions: Positions,
}
crate::saved!(struct Rotation { turns, positions });

impl Rotation {
    pub(super) fn new(rng: &mut Pcg) -> Self {
        let turns = WeightedRoundRobin::scattered(Pcg::new(rng.next_u64(), 1));
        Rotation { turns, positions: Positions::default() }
    }

    #[inline(never)]
    pub(super) fn pick(&mut self, candidates: &impl Candidates) -> Option<usize> {
        if self.positions.refresh(candidates) {
            for slot in 0..self.positions.at.len() as u32 {
                self.turns.set(slot, self.positions.get(slot).map_or(0, |at| candidates.weight(at)));
            }
        }
        self.positions.get(self.turns.pick()?)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Chances {
    table: WeightedRandom,
    seen: Seen,
}
crate::saved!(struct Chances { table, seen });

impl Chances {
    #[inline(never)]
    pub(super) fn pick(&mut self, rng: &mut Pcg, candidates: &impl Candidates) -> Option<usize> {
        if self.seen.is_new(candidates) {
            self.table.rebuild(candidates.len(), |at| candidates.weight(at));
        }
        self.table.pick(rng)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Ring {
    ring: ConsistentHash,
    positions: Positions,
    /// Who is on the ring, by slot: the name.
    names: Vec<Option<u64>>,
    members: usize,
}
crate::saved!(struct Ring { ring, positions, names, members });

impl Ring {
    pub(super) fn new() -> Self {
        let ring = ConsistentHash::new(consistent_hash::Config::default());
        Ring { ring, positions: Positions::default(), names: Vec::new(), members: 0 }
    }

    #[inline(never)]
    pub(super) fn pick(&mut self, rng: &mut Pcg, candidates: &impl Candidates) -> Option<usize> {
        if self.positions.refresh(candidates) {
            self.refresh(candidates);
        }
        if candidates.len() == 0 {
            return None;
        }
        let key = candidates.key().unwrap_or_else(|| rng.next_u64());
        let load = Load { calls: candidates.calls(), endpoints: super::bounded(candidates.len()) };
        let in_flight = |slot| self.positions.get(slot).map(|at| candidates.in_flight(at));
        self.positions.get(self.ring.pick(key, load, in_flight)?)
    }

    /// Who is out for a while keeps its points, and a pick passes over them. The ring is built anew if somebody has none,
    /// or most points are of those who are not there.
    fn refresh(&mut self, candidates: &impl Candidates) {
        let len = candidates.len();
        let on_ring = |at| self.names.get(candidates.slot(at) as usize) == Some(&Some(candidates.name(at)));
        if (0..len).all(on_ring) && self.members <= 2 * len {
            return;
        }
        self.names.clear();
        self.names.resize(self.positions.at.len(), None);
        for at in 0..len {
            self.names[candidates.slot(at) as usize] = Some(candidates.name(at));
        }
        self.members = len;
        self.ring.rebuild((0..len).map(|at| (candidates.slot(at), candidates.name(at))));
    }
}

#[derive(Clone, Debug)]
pub(super) struct Probed {
    pub(super) prequal: Prequal,
    positions: Positions,
}
crate::saved!(struct Probed { prequal, positions });

impl Probed {
    pub(super) fn new() -> Self {
        Probed { prequal: Prequal::new(prequal::Config::default()), positions: Positions::default() }
    }

    #[inline(never)]
    pub(super) fn pick(&mut self, rng: &mut Pcg, candidates: &impl Candidates) -> Option<usize> {
        self.positions.refresh(candidates);
        let position = |slot| self.positions.get(slot);
        let probed = self.prequal.pick_probed(candidates.now(), rng, candidates.len(), position);
        // Servers that tell nothing are compared by what they have shown.
        probed.or_else(|| p2c::pick(rng, candidates.len(), |at| candidates.cost(at)))
    }
}
