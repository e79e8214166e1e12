//! Equal requests in flight are sent once: the first to ask leads, the others follow and get the leader's answer.
//!
//! Also known as single flight (B. Fitzpatrick's groupcache, 2013). What goes wrong elsewhere is the leader that gives up
//! and leaves its followers waiting for ever (linera-io/linera-protocol#6577): here the one that has waited longest takes
//! over, and is told to send.
//!
//! ```
//! use plimsoll_core::map::Seed;
//! use plimsoll_core::policy::coalesce::{Coalesce, Config, Left, Role};
//! use plimsoll_core::rng::Pcg;
//!
//! let mut flights = Coalesce::new(Config::default(), Seed::new(&mut Pcg::new(1, 1)));
//! let (ada, role) = flights.join("user 7", "Ada")?;
//! assert_eq!(role, Role::Leader); // sends the request
//! let (bob, role) = flights.join("user 7", "Bob")?;
//! assert_eq!(role, Role::Follower); // waits
//!
//! assert_eq!(flights.leave(ada), Some(Left::Succeeded { by: bob, member: &"Bob" })); // Bob sends it
//! let mut ended = vec![];
//! flights.finish(bob, |who| ended.push(who));
//! assert_eq!(ended, ["Bob"]);
//! # Ok::<_, plimsoll_core::policy::coalesce::Full>(())
//! ```
//!
//! Every member ends exactly once: either it leaves, or it is among those told when its leader finishes. Coalesce only what
//! may be answered with an answer to somebody else: the key must hold all that the answer depends on, the caller's rights
//! too.

use core::hash::Hash;

use thiserror::Error;

use crate::id::{Id, Table};
use crate::map::{self, Map, Seed};

/// Names the kind of [`MemberId`]; never built.
#[derive(Clone, Debug)]
pub enum Member {}

/// Names one member of a flight, until it ends.
pub type MemberId = Id<Member>;

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Different requests in flight. Default 1,024.
    pub flights: u32,
    /// Followers of one leader. Default 1,024.
    pub followers: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { flights: 1_024, followers: 1_024 }
    }
}

/// The request was not taken in; send it by itself, or refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Full {
    /// As many different requests are in flight as may be.
    #[error("not coalesced: {limit} different requests are in flight, which is the limit")]
    Flights {
        /// The limit.
        limit: u32,
    },
    /// As many wait for this answer as may.
    #[error("not coalesced: {limit} requests wait for this answer, which is the limit")]
    Followers {
        /// The limit.
        limit: u32,
    },
}

/// What a member has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Send the request, and [`finish`](Coalesce::finish) with its outcome.
    Leader,
    /// Wait.
    Follower,
}

/// What has become of a flight that a member has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left<'a, T> {
    /// A follower has left; nothing else changes.
    Flies,
    /// The leader has left. This member leads now, and sends the request; what the old leader sent may be cancelled.
    Succeeded {
        /// Its id.
        by: MemberId,
        /// What it is to the caller.
        member: &'a T,
    },
    /// The leader has left, and nobody waited. What it sent may be cancelled.
    Ended,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that were to be sent.
    pub led: u64,
    /// Requests that were not, since they followed.
    pub followed: u64,
    /// Followers that took over.
    pub takeovers: u64,
    /// Requests that were not taken in.
    pub refused: u64,
}

/// Groups equal requests; `T` is what a member is to the caller.
#[derive(Clone, Debug)]
pub struct Coalesce<K, T> {
    config: Config,
    flights: Map<K, Flight>,
    members: Table<Member, Waiting<T>>,
    stats: Stats,
}

/// A list of members in the order in which they came; the first leads.
#[derive(Clone, Debug)]
struct Flight {
    first: MemberId,
    last: MemberId,
    followers: u32,
}

#[derive(Clone, Debug)]
struct Waiting<T> {
    member: T,
    flight: u32,
    before: Option<MemberId>,
    after: Option<MemberId>,
}

impl<K: Hash + Eq, T> Coalesce<K, T> {
    /// Nothing is in flight.
    pub fn new(config: Config, seed: Seed) -> Self {
        let flights = Map::new(config.flights, seed);
        Coalesce { config, flights, members: Table::new(), stats: Stats::default() }
    }

    /// A request is to be made: whether it is sent, or waits for the answer to one like it.
    ///
    /// # Errors
    /// [`Full`] if there is no room; nothing has changed then.
    pub fn join(&mut self, key: K, member: T) -> Result<(MemberId, Role), Full> {
        let joined = match self.flights.find(&key) {
            Some(slot) => self.follow(slot, member),
            None => self.lead(key, member),
        };
        match joined {
            Ok((_, Role::Leader)) => self.stats.led += 1,
            Ok((_, Role::Follower)) => self.stats.followed += 1,
            Err(_) => self.stats.refused += 1,
        }
        joined
    }

    /// A member does not wait any longer. `None` if it has ended before.
    pub fn leave(&mut self, id: MemberId) -> Option<Left<'_, T>> {
        let Waiting { flight: slot, before, after, .. } = self.members.remove(id)?;
        if let Some(after) = after.and_then(|after| self.members.get_mut(after)) {
            after.before = before;
        }
        if let Some(before) = before.and_then(|before| self.members.get_mut(before)) {
            before.after = after;
        }
        let flight = self.flights.get_mut(slot)?;
        match (before, after) {
            (None, None) => {
                self.flights.remove(slot);
                return Some(Left::Ended);
            }
            (None, Some(next)) => flight.first = next,
            (Some(previous), None) => flight.last = previous,
            (Some(_), Some(_)) => {}
        }
        flight.followers -= 1;
        if before.is_some() {
            return Some(Left::Flies);
        }
        let by = flight.first;
        self.stats.takeovers += 1;
        self.members.get(by).map(|next| Left::Succeeded { by, member: &next.member })
    }

    /// The leader's request has ended: `tell` hears of every member, the leader first, and the flight is over. How many
    /// that were; 0, and nothing changes, if `leader` leads nobody, such as one that has left.
    pub fn finish(&mut self, leader: MemberId, mut tell: impl FnMut(T)) -> u32 {
        let Some(slot) = self.members.get(leader).filter(|m| m.before.is_none()).map(|m| m.flight) else {
            return 0;
        };
        self.flights.remove(slot);
        let mut told = 0;
        let mut at = Some(leader);
        while let Some(Waiting { member, after, .. }) = at.and_then(|id| self.members.remove(id)) {
            tell(member);
            told += 1;
            at = after;
        }
        told
    }

    /// Whether a request like this is in flight.
    pub fn is_in_flight(&self, key: &K) -> bool {
        self.flights.find(key).is_some()
    }

    /// How many different requests are in flight.
    pub fn flights(&self) -> usize {
        self.flights.len()
    }

    /// How many members there are, leaders too.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn lead(&mut self, key: K, member: T) -> Result<(MemberId, Role), Full> {
        let id = self.members.next_id();
        let flight = Flight { first: id, last: id, followers: 0 };
        let full = |map::Full { limit }| Full::Flights { limit };
        let flight = self.flights.insert(key, flight).map_err(full)?;
        self.members.insert(Waiting { member, flight, before: None, after: None });
        Ok((id, Role::Leader))
    }

    fn follow(&mut self, slot: u32, member: T) -> Result<(MemberId, Role), Full> {
        let id = self.members.next_id();
        let limit = self.config.followers;
        let full = Full::Followers { limit };
        let flight = self.flights.get_mut(slot).filter(|flight| flight.followers < limit).ok_or(full)?;
        flight.followers += 1;
        let last = core::mem::replace(&mut flight.last, id);
        if let Some(last) = self.members.get_mut(last) {
            last.after = Some(id);
        }
        self.members.insert(Waiting { member, flight: slot, before: Some(last), after: None });
        Ok((id, Role::Follower))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Pcg;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    fn flights(config: Config) -> Coalesce<u8, u32> {
        Coalesce::new(config, Seed::new(&mut Pcg::new(1, 1)))
    }

    fn finish(flights: &mut Coalesce<u8, u32>, leader: MemberId) -> Vec<u32> {
        let mut told = Vec::new();
        let count = flights.finish(leader, |member| told.push(member));
        assert_eq!(count as usize, told.len());
        told
    }

    #[test]
    fn a_late_answer_of_a_leader_that_left_ends_nobody() {
        let mut flights = flights(Config::default());
        let (first, _) = flights.join(7, 1).unwrap();
        let (second, _) = flights.join(7, 2).unwrap();
        flights.leave(first);
        flights.join(8, 3).unwrap(); // in the slot that the first had
        assert!(finish(&mut flights, first).is_empty());
        assert_eq!(flights.leave(first), None);
        assert_eq!(finish(&mut flights, second), [2]);
    }

    #[test]
    fn only_the_leader_finishes() {
        let mut flights = flights(Config::default());
        let (first, _) = flights.join(7, 1).unwrap();
        let (second, _) = flights.join(7, 2).unwrap();
        assert!(finish(&mut flights, second).is_empty());
        assert_eq!(finish(&mut flights, first), [1, 2]);
    }

    #[test]
    fn a_leader_without_followers_that_leaves_ends_the_flight() {
        let mut flights = flights(Config::default());
        let (first, _) = flights.join(7, 1).unwrap();
        assert!(flights.is_in_flight(&7) && !flights.is_in_flight(&8));
        assert_eq!(flights.leave(first), Some(Left::Ended));
        assert!(!flights.is_in_flight(&7));
        assert_eq!(flights.join(7, 2).unwrap().1, Role::Leader);
    }

    #[test]
    fn both_limits_are_typed_and_change_nothing() {
        let mut flights = flights(Config { flights: 1, followers: 1 });
        let (first, _) = flights.join(7, 1).unwrap();
        let (second, _) = flights.join(7, 2).unwrap();
        assert_eq!(flights.join(7, 3), Err(Full::Followers { limit: 1 }));
        assert_eq!(flights.join(8, 4), Err(Full::Flights { limit: 1 }));
        assert_eq!(flights.leave(second), Some(Left::Flies));
        flights.join(7, 5).unwrap();
        assert_eq!(finish(&mut flights, first), [1, 5]);
        assert_eq!(flights.stats(), Stats { led: 1, followed: 2, takeovers: 0, refused: 2 });
    }

    quickcheck! {
        fn every_member_ends_exactly_once_and_every_flight_has_a_leader(steps: Vec<(u8, u8)>) -> bool {
            let mut flights = flights(Config { flights: 3, followers: 4 });
            let mut next = 0;
            // By key, who is in it: the first leads.
            let mut model: BTreeMap<u8, Vec<(MemberId, u32)>> = BTreeMap::new();
            for (what, pick) in steps {
                let key = pick % 5;
                let all: Vec<(u8, usize)> =
                    model.iter().flat_map(|(&key, of)| (0..of.len()).map(move |n| (key, n))).collect();
                match what % 4 {
                    0 | 1 => {
                        next += 1;
                        let room = model.get(&key).map_or(model.len() < 3, |of| of.len() <= 4);
                        let joined = flights.join(key, next);
                        assert_eq!(joined.is_ok(), room);
                        if let Ok((id, role)) = joined {
                            let of = model.entry(key).or_default();
                            assert_eq!(role == Role::Leader, of.is_empty());
                            of.push((id, next));
                        }
                    }
                    2 if !all.is_empty() => {
                        let (key, n) = all[usize::from(pick) % all.len()];
                        let of = model.get_mut(&key).unwrap();
                        let (id, _) = of.remove(n);
                        let expected = match of.first() {
                            None => Left::Ended,
                            Some((by, member)) if n == 0 => Left::Succeeded { by: *by, member },
                            Some(_) => Left::Flies,
                        };
                        assert_eq!(flights.leave(id), Some(expected));
                        assert_eq!(flights.leave(id), None);
                        model.retain(|_, of| !of.is_empty());
                    }
                    3 => {
                        if let Some(of) = model.remove(&key) {
                            let members: Vec<u32> = of.iter().map(|&(_, member)| member).collect();
                            assert_eq!(finish(&mut flights, of[0].0), members);
                            assert!(of.iter().all(|&(id, _)| flights.leave(id).is_none()));
                        }
                    }
                    _ => {}
                }
            }
            flights.flights() == model.len() && flights.members() == model.values().map(Vec::len).sum::<usize>()
        }
    }
}
