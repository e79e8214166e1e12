//! Five endpoints that fail and serve in any order, while the breakers of some open and close.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::id::EndpointId;
use plimsoll_core::policy::fixed::Ratio;
use plimsoll_core::policy::outlier::{Change, Config, Outliers};
use plimsoll_core::testing::search::{Digest, World};
use plimsoll_core::time::Instant;

use crate::{agree, explore};

const SLOTS: u32 = 5;

#[derive(Clone)]
struct Endpoints {
    outliers: Outliers,
    now: Instant,
    /// By slot: who lives there, and whether its breaker is open.
    there: [Option<(EndpointId, bool)>; SLOTS as usize],
    generation: u32,
}

#[derive(Clone, Debug)]
enum Move {
    Fail(u32),
    Succeed(u32),
    TurnBreaker(u32),
    Remove(u32),
    Add(u32),
    Sweep,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Fail(slot) => write!(f, "endpoint {slot} fails"),
            Move::Succeed(slot) => write!(f, "endpoint {slot} serves"),
            Move::TurnBreaker(slot) => write!(f, "the breaker of endpoint {slot} opens or closes"),
            Move::Remove(slot) => write!(f, "endpoint {slot} is removed"),
            Move::Add(slot) => write!(f, "another endpoint comes to slot {slot}"),
            Move::Sweep => f.write_str("time passes to the sweep"),
        }
    }
}

impl Endpoints {
    fn new() -> Self {
        let config = Config {
            consecutive: NonZeroU32::new(2).unwrap(),
            failure_volume: NonZeroU32::MIN,
            base: Duration::from_secs(10),
            longest: Duration::from_secs(20),
            most: Ratio::percent(40),
            ..Config::default()
        };
        let mut world = Endpoints {
            outliers: Outliers::new(config, Instant::ZERO),
            now: Instant::ZERO,
            there: [None; SLOTS as usize],
            generation: 0,
        };
        (0..SLOTS).for_each(|slot| world.add(slot));
        world
    }

    fn add(&mut self, slot: u32) {
        let id = EndpointId::new(slot, self.generation);
        self.outliers.add(id);
        self.there[slot as usize] = Some((id, false));
    }

    fn here(&self) -> impl Iterator<Item = (EndpointId, bool)> {
        self.there.iter().flatten().copied()
    }

    /// How many are out, for whatever reason.
    fn out(&self) -> usize {
        self.here().filter(|(id, open)| *open || self.outliers.is_ejected(*id)).count()
    }

    /// What may be out: two fifths, and one is left.
    fn allowed(&self) -> usize {
        let count = self.here().count();
        (count * 2 / 5).min(count.saturating_sub(1))
    }

    fn fail(&mut self, slot: u32) -> Result<(), String> {
        let (id, _) = self.there[slot as usize].expect("an endpoint");
        let open =
            self.here().filter(|(other, open)| *open && *other != id && !self.outliers.is_ejected(*other));
        let open = open.count() as u32;
        match self.outliers.failed(self.now, id, open) {
            Some(_) => self.judge(),
            None => Ok(()),
        }
    }

    fn sweep(&mut self) -> Result<(), String> {
        self.now = self.now.max(self.outliers.deadline());
        let there = self.there;
        let is_open = |id: EndpointId| there[id.index()].is_some_and(|(_, open)| open);
        let mut ejected = false;
        self.outliers.tick(self.now, is_open, |change| ejected |= matches!(change, Change::Ejected(_)));
        if ejected { self.judge() } else { Ok(()) }
    }

    /// Somebody was ejected just now. Whoever falls behind a breaker later may be one more than that.
    fn judge(&self) -> Result<(), String> {
        let (out, allowed) = (self.out(), self.allowed());
        if out > allowed { Err(format!("{out} are out, of which {allowed} may be")) } else { Ok(()) }
    }
}

impl World for Endpoints {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = vec![Move::Sweep];
        for (slot, here) in (0..).zip(self.there) {
            match here {
                // All but the first two are as good as each other: they only fail, and so there is less to try.
                Some(_) if slot > 1 => moves.push(Move::Fail(slot)),
                Some(_) => moves.extend([
                    Move::Fail(slot),
                    Move::Succeed(slot),
                    Move::TurnBreaker(slot),
                    Move::Remove(slot),
                ]),
                None => moves.push(Move::Add(slot)),
            }
        }
        moves
    }

    fn apply(&mut self, step: &Move) -> Result<(), String> {
        match *step {
            Move::Fail(slot) => self.fail(slot)?,
            Move::Sweep => self.sweep()?,
            Move::Succeed(slot) => {
                let (id, _) = self.there[slot as usize].expect("an endpoint");
                self.outliers.succeeded(id);
            }
            Move::TurnBreaker(slot) => {
                let (_, open) = self.there[slot as usize].as_mut().expect("an endpoint");
                *open = !*open;
            }
            Move::Remove(slot) => {
                let (id, _) = self.there[slot as usize].take().expect("an endpoint");
                self.outliers.remove(id);
                self.generation += 1;
            }
            Move::Add(slot) => self.add(slot),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let ejected = self.here().filter(|(id, _)| self.outliers.is_ejected(*id)).count();
        agree("how many are ejected", self.outliers.ejected() as usize, ejected)
    }

    /// Whoever is out comes back.
    fn rest(mut self) -> Result<(), String> {
        for _ in 0..4 {
            self.sweep()?;
        }
        agree("who is out for ever", self.outliers.ejected(), 0)
    }

    fn digest(&self, digest: &mut Digest) {
        digest.now(self.now).without(&["generation", "candidates"]).add(&self.outliers);
        digest.add(&self.there.map(|here| here.map(|(_, open)| open)));
    }
}

#[test]
fn never_more_are_ejected_than_may_be() {
    explore("outliers", &Endpoints::new(), 6);
}
