//! Four callers who ask for two things, and whose requests are sent once for all who ask for the same.

use std::collections::BTreeMap;
use std::fmt;

use plimsoll_core::map::Seed;
use plimsoll_core::policy::coalesce::{Coalesce, Config, Left, MemberId, Role};
use plimsoll_core::rng::Pcg;
use plimsoll_core::testing::search::{Digest, World};

use crate::{agree, explore};

const FOLLOWERS: usize = 2;

#[derive(Clone)]
struct Callers {
    flights: Coalesce<u8, u32>,
    /// By what they ask for, in the order in which they came: the first leads.
    asking: BTreeMap<u8, Vec<(MemberId, u32)>>,
    /// Somebody who does not ask any more.
    ended: Option<MemberId>,
    next: u32,
}

#[derive(Clone, Debug)]
enum Move {
    Join(u8),
    Leave(u8, usize),
    Finish(u8, usize),
    /// By one that has ended before.
    LeaveLate,
    FinishLate,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Move::Join(key) => write!(f, "a caller asks for {key}"),
            Move::Leave(key, at) => write!(f, "caller {at} of those who ask for {key} gives up"),
            Move::Finish(key, at) => write!(f, "caller {at} of those who ask for {key} has the answer"),
            Move::LeaveLate => f.write_str("one that has ended gives up"),
            Move::FinishLate => f.write_str("one that has ended has the answer"),
        }
    }
}

impl Callers {
    fn new() -> Self {
        let config = Config { flights: 2, followers: FOLLOWERS as u32 };
        let flights = Coalesce::new(config, Seed::new(&mut Pcg::new(1, 1)));
        Callers { flights, asking: BTreeMap::new(), ended: None, next: 0 }
    }

    fn join(&mut self, key: u8) -> Result<(), String> {
        let others = self.asking.entry(key).or_default();
        let expected = match others.len() {
            0 => Some(Role::Leader),
            1..=FOLLOWERS => Some(Role::Follower),
            _ => None,
        };
        let joined = self.flights.join(key, self.next);
        agree("its role", joined.ok().map(|(_, role)| role), expected)?;
        others.extend(joined.ok().map(|(id, _)| (id, self.next)));
        self.next += 1;
        Ok(())
    }

    fn leave(&mut self, key: u8, at: usize) -> Result<(), String> {
        let asking = self.asking.get_mut(&key).expect("somebody asks");
        let (id, _) = asking.remove(at);
        self.ended = Some(id);
        let expected = match asking.first() {
            None => Left::Ended,
            Some((by, member)) if at == 0 => Left::Succeeded { by: *by, member },
            Some(_) => Left::Flies,
        };
        agree("what becomes of the others", self.flights.leave(id), Some(expected))
    }

    fn finish(&mut self, key: u8, at: usize) -> Result<(), String> {
        let asking = self.asking.get_mut(&key).expect("somebody asks");
        let leader = asking[at].0;
        let expected: Vec<u32> = match at {
            0 => asking.drain(..).map(|(_, member)| member).collect(),
            _ => Vec::new(),
        };
        if at == 0 {
            self.ended = Some(leader);
        }
        let mut told = Vec::new();
        self.flights.finish(leader, |member| told.push(member));
        agree("who is told", told, expected)
    }
}

impl World for Callers {
    type Move = Move;

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        if self.asking.values().map(Vec::len).sum::<usize>() < 4 {
            moves.extend([Move::Join(0), Move::Join(1)]);
        }
        for (&key, asking) in &self.asking {
            moves.extend((0..asking.len()).flat_map(|at| [Move::Leave(key, at), Move::Finish(key, at)]));
        }
        if self.ended.is_some() {
            moves.extend([Move::LeaveLate, Move::FinishLate]);
        }
        moves
    }

    fn apply(&mut self, step: &Move) -> Result<(), String> {
        match *step {
            Move::Join(key) => self.join(key),
            Move::Leave(key, at) => self.leave(key, at),
            Move::Finish(key, at) => self.finish(key, at),
            Move::LeaveLate => {
                let ended = self.ended.expect("one that has ended");
                agree("leaving twice", self.flights.leave(ended), None)
            }
            Move::FinishLate => {
                let ended = self.ended.expect("one that has ended");
                agree("who is told", self.flights.finish(ended, |_| ()), 0)
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let members = self.asking.values().map(Vec::len).sum::<usize>();
        let flying = self.asking.values().filter(|asking| !asking.is_empty()).count();
        agree("requests and callers", (self.flights.flights(), self.flights.members()), (flying, members))?;
        self.asking.iter().try_for_each(|(key, asking)| {
            agree("whether it flies", self.flights.is_in_flight(key), !asking.is_empty())
        })
    }

    /// Every leader gets its answer, and with it everybody.
    fn rest(mut self) -> Result<(), String> {
        for key in [0, 1] {
            if self.asking.get(&key).is_some_and(|asking| !asking.is_empty()) {
                self.finish(key, 0)?;
            }
        }
        agree("who still waits", (self.flights.flights(), self.flights.members()), (0, 0))
    }

    fn digest(&self, digest: &mut Digest) {
        // Who came when is in the order; the numbers themselves decide nothing.
        let slots =
            |asking: &Vec<(MemberId, u32)>| asking.iter().map(|(id, _)| id.slot()).collect::<Vec<_>>();
        digest.add(&self.asking.values().map(slots).collect::<Vec<_>>());
        digest.add(&self.ended.map(|ended| ended.slot()));
    }
}

#[test]
fn callers_who_share_an_answer_all_get_it_whoever_gives_up() {
    explore("coalesce", &Callers::new(), 12);
}
