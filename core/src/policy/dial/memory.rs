//! What earlier dials of a name are good for.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::{Config, Dial, MAX_ADDRESSES, Outcome, State};
use crate::error::Fault;
use crate::map::{Full, Map, Seed};
use crate::sched::Timers;
use crate::time::Instant;

/// What a [`Memory`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// How each of its dials goes.
    pub dial: Config,
    /// How long the address that has connected is tried first. After that the resolver's order counts again, so that a
    /// network that was broken once is not avoided for ever (RFC 6555, section 4.2). Default 10 min.
    pub worked: Duration,
    /// How long an address that has failed is tried last. Default 60 s.
    pub failed: Duration,
    /// How long the last known addresses serve while resolving fails or finds nothing: a resolver that stumbles
    /// must not empty the set (kgateway-dev/kgateway#2576), and a name that is really gone must go at last.
    /// Default 15 min.
    pub known: Duration,
    /// Names that are remembered; the one that was dialled longest ago makes room. At least 1, default 256.
    pub names: u32,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        MemoryConfig {
            dial: Config::default(),
            worked: Duration::from_secs(600),
            failed: Duration::from_secs(60),
            known: Duration::from_secs(900),
            names: 256,
        }
    }
}

/// Remembers for each name which addresses it had, which of them worked, and which have failed lately.
///
/// Every name is resolved anew for every dial, and [`begin`](Self::begin) is told what was found. When the dial is over,
/// or dropped, [`settle`](Self::settle) learns from it.
///
/// ```
/// use plimsoll_core::map::Seed;
/// use plimsoll_core::policy::dial::{Memory, Outcome, MemoryConfig};
/// use plimsoll_core::{rng::Pcg, time::Instant};
///
/// let resolved = ["[2001:db8::1]:80", "192.0.2.1:80"].map(|text| text.parse().unwrap());
/// let mut memory = Memory::new(MemoryConfig::default(), Seed::new(&mut Pcg::new(1, 1)));
/// let at = Instant::from_millis;
///
/// let mut dial = memory.begin(at(0), "users.internal:80", &resolved);
/// dial.tick(at(0)).unwrap();
/// let second = dial.tick(at(250)).unwrap(); // the first was silent
/// assert!(dial.connected(second.number));
/// memory.settle(at(270), "users.internal:80", &dial);
///
/// // The next dial begins where the last has ended, even if the resolver has nothing to say this time.
/// let mut dial = memory.begin(at(9_000), "users.internal:80", &[]);
/// assert_eq!(dial.tick(at(9_000)).unwrap().address, second.address);
/// ```
#[derive(Clone, Debug)]
pub struct Memory {
    config: MemoryConfig,
    names: Map<String, Name>,
    /// When each slot was last dialled.
    used: Timers,
}

#[derive(Clone, Debug)]
struct Name {
    /// In the resolver's order, families in turn.
    addresses: Vec<Known>,
    /// Until when they serve if there is nothing newer.
    known_until: Instant,
    worked: Option<Worked>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    address: SocketAddr,
    failed_until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Worked {
    address: SocketAddr,
    until: Instant,
}

impl Memory {
    /// Nothing is remembered yet, and no memory is taken: a driver that only accepts never dials.
    pub fn new(config: MemoryConfig, seed: Seed) -> Self {
        Memory { config, names: Map::growing(config.names.max(1), seed), used: Timers::new() }
    }

    /// Begins a dial of a name that was `resolved` to these addresses just now. Empty stands for a failure to resolve
    /// as well: then the last known addresses are dialled, if they are not too old.
    ///
    /// What worked last is tried first, what has failed lately last; the rest as the resolver says, families in turn.
    pub fn begin(&mut self, now: Instant, name: &str, resolved: &[SocketAddr]) -> Dial {
        if !resolved.is_empty() {
            self.learn(now, name, resolved);
        }
        let mut dial = Dial::empty(self.config.dial, now);
        let Some(slot) = self.names.find(name) else { return dial };
        self.used.set(slot, Some(now));
        if let Some((_, known)) = self.names.get(slot).filter(|(_, known)| now < known.known_until) {
            known.order(now, &mut dial);
        }
        dial
    }

    /// A dial of `name` is over, or is dropped. An attempt that nothing was heard of has failed if it was given
    /// its whole head start, unless another has won: then it was merely slower.
    pub fn settle(&mut self, now: Instant, name: &str, dial: &Dial) {
        let Some(known) = self.names.find(name).and_then(|slot| self.names.get_mut(slot)) else { return };
        let is_over = !matches!(dial.outcome(), Outcome::Racing);
        for lane in dial.lanes() {
            match lane.state {
                State::Won => known.connected(lane.address, now, self.config.worked),
                // Says nothing about the address.
                State::Failed(Fault::Exhausted) | State::Waiting => {}
                State::Running { since } if is_over || now < since + dial.head_start => {}
                State::Failed(_) | State::Running { .. } => {
                    known.failed(lane.address, now + self.config.failed);
                }
            }
        }
    }

    /// How many names are remembered.
    pub fn names(&self) -> usize {
        self.names.len()
    }

    fn learn(&mut self, now: Instant, name: &str, resolved: &[SocketAddr]) {
        let slot = self.names.find(name).map_or_else(|| self.add(name), Ok);
        if let Some(known) = slot.ok().and_then(|slot| self.names.get_mut(slot)) {
            known.replace(now, resolved);
            known.known_until = now + self.config.known;
        }
    }

    fn add(&mut self, name: &str) -> Result<u32, Full> {
        if self.names.is_full()
            && let Some((at, _)) = self.used.peek()
            && let Some(oldest) = self.used.pop_due(at)
        {
            self.names.remove(oldest);
        }
        let nothing = Name { addresses: Vec::new(), known_until: Instant::ZERO, worked: None };
        self.names.insert(name.into(), nothing)
    }
}

impl Name {
    /// Takes the addresses that were found now; of those that were known before, what was learnt stays.
    fn replace(&mut self, now: Instant, resolved: &[SocketAddr]) {
        let mut found = [None; MAX_ADDRESSES];
        for (place, lane) in found.iter_mut().zip(Dial::new(Config::default(), now, resolved).lanes()) {
            let known = self.addresses.iter().find(|known| known.address == lane.address);
            let fresh = Known { address: lane.address, failed_until: Instant::ZERO };
            *place = Some(known.copied().unwrap_or(fresh));
        }
        self.addresses.clear();
        self.addresses.extend(found.into_iter().flatten());
    }

    fn order(&self, now: Instant, dial: &mut Dial) {
        let worked = self.worked.filter(|worked| now < worked.until).map(|worked| worked.address);
        let addresses = self.addresses.iter();
        let has_failed = |known: &&Known| now < known.failed_until;
        let address = |known: &Known| known.address;
        let first = addresses.clone().filter(|known| Some(known.address) == worked && !has_failed(known));
        dial.add(first.map(address));
        dial.add(addresses.clone().filter(|known| !has_failed(known)).map(address));
        dial.add(addresses.filter(has_failed).map(address));
    }

    fn connected(&mut self, address: SocketAddr, now: Instant, length: Duration) {
        self.failed(address, Instant::ZERO);
        // Winning again does not make it longer: the first place would never be free again.
        if !self.worked.is_some_and(|worked| worked.address == address && now < worked.until) {
            self.worked = Some(Worked { address, until: now + length });
        }
    }

    fn failed(&mut self, address: SocketAddr, until: Instant) {
        if let Some(known) = self.addresses.iter_mut().find(|known| known.address == address) {
            known.failed_until = until;
        }
    }
}
