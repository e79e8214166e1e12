//! What all hosts share: the time, what is going to happen, and who waits for it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::id::{Id, Table};
use plimsoll_core::rng::Pcg;
use plimsoll_core::sched::Timers;
use plimsoll_core::time::Instant;

use crate::executor::Spawner;
use crate::network::Network;
use crate::stream::StreamId;

/// The world, to all who live in it.
#[derive(Clone, Debug)]
pub(crate) struct World {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    spawner: Spawner,
}

/// All there is, at one point of virtual time.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) now: Instant,
    pub(crate) network: Network,
    pub(crate) agenda: Agenda,
    pub(crate) alarms: Alarms,
    /// Where all chance comes from.
    pub(crate) rng: Pcg,
    pub(crate) history: History,
}

impl World {
    pub(crate) fn new(seed: u64, spawner: Spawner) -> Self {
        let state = State {
            now: Instant::ZERO,
            network: Network::default(),
            agenda: Agenda::default(),
            alarms: Alarms::default(),
            rng: Pcg::new(seed, 0),
            history: History::default(),
        };
        World { shared: Arc::new(Shared { state: Mutex::new(state), spawner }) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing runs on the host for so long; its kernel goes on.
    pub(crate) fn pause(&self, host: u32, length: Duration) {
        let mut state = self.lock();
        let (network, mut scene) = state.network();
        let until = scene.now + length;
        network.pause(host, until, &mut scene);
    }

    pub(crate) fn spawner(&self) -> &Spawner {
        &self.shared.spawner
    }
}

impl State {
    /// When something happens next.
    pub(crate) fn next(&self) -> Option<Instant> {
        [self.agenda.next(), self.alarms.timers.next()].into_iter().flatten().min()
    }

    /// Lets the time be `now`, and everything happen that is due. How much that was.
    pub(crate) fn advance(&mut self, now: Instant) -> u64 {
        self.now = self.now.max(now);
        let mut events = 0;
        while let Some(due) = self.agenda.pop_due(self.now) {
            self.history.event(self.now, due.word());
            let (network, mut scene) = self.network();
            match due {
                Due::Arrival { slot, generation, side } => {
                    network.arrives(StreamId::new(slot, generation), side.into(), &mut scene);
                }
                Due::Resume(host) => network.resume(host, scene.now),
                Due::Restart(host) => network.is_back(host, &mut scene),
            }
            events += 1;
        }
        while let Some(key) = self.alarms.timers.pop_due(self.now) {
            self.history.event(self.now, u64::from(key));
            self.alarms.ring(key);
            events += 1;
        }
        events
    }

    /// The network, and what it needs to act.
    pub(crate) fn network(&mut self) -> (&mut Network, Scene<'_>) {
        let State { now, network, agenda, rng, history, .. } = self;
        (network, Scene { now: *now, agenda, rng, history })
    }
}

/// What the network needs to act.
pub(crate) struct Scene<'a> {
    pub(crate) now: Instant,
    pub(crate) agenda: &'a mut Agenda,
    pub(crate) rng: &'a mut Pcg,
    pub(crate) history: &'a mut History,
}

/// All that has ever happened, as a number: what happened when, and every byte that was written.
#[derive(Debug, Default)]
pub(crate) struct History {
    hash: u64,
}

impl History {
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    fn event(&mut self, now: Instant, what: u64) {
        self.word(now.as_nanos());
        self.word(what);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.word(u64::from_le_bytes(word));
        }
    }

    /// Fibonacci hashing, with a shift that brings what the product has mixed back to where the next one mixes.
    fn word(&mut self, word: u64) {
        let mixed = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash = mixed ^ (mixed >> 29);
    }
}

/// What arrives when, and in which order at the same time: that in which it was sent.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<(Instant, u64, Due)>>,
    sequence: u64,
}

/// What is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Something arrives at one end of a stream.
    Arrival { slot: u32, generation: u32, side: u8 },
    /// A host goes on that was paused.
    Resume(u32),
    /// A host comes back.
    Restart(u32),
}

impl Due {
    /// As a number, different for each.
    fn word(self) -> u64 {
        match self {
            Due::Arrival { slot, generation, side } => {
                u64::from(slot) << 32 ^ u64::from(generation) << 1 ^ u64::from(side)
            }
            Due::Resume(host) => u64::MAX - u64::from(host),
            Due::Restart(host) => u64::MAX / 2 - u64::from(host),
        }
    }

    pub(crate) fn arrival(stream: StreamId, side: usize) -> Due {
        Due::Arrival { slot: stream.slot(), generation: stream.generation(), side: side as u8 }
    }
}

impl Agenda {
    pub(crate) fn add(&mut self, at: Instant, due: Due) {
        self.heap.push(Reverse((at, self.sequence, due)));
        self.sequence += 1;
    }

    fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    fn pop_due(&mut self, now: Instant) -> Option<Due> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((.., due))| due)
    }
}

/// What alarms are; never built.
#[derive(Debug)]
pub(crate) enum AlarmKind {}
pub(crate) type AlarmId = Id<AlarmKind>;

/// Timers that can be set again and again, by the slots of their ids.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    table: Table<AlarmKind, Alarm>,
    timers: Timers,
}

#[derive(Debug, Default)]
struct Alarm {
    has_rung: bool,
    waker: Option<Waker>,
}

impl Alarms {
    pub(crate) fn add(&mut self) -> AlarmId {
        self.table.insert(Alarm::default())
    }

    pub(crate) fn set(&mut self, id: AlarmId, at: Instant) {
        if let Some(alarm) = self.table.get_mut(id) {
            alarm.has_rung = false;
            self.timers.set(id.slot(), Some(at));
        }
    }

    pub(crate) fn has_rung(&mut self, id: AlarmId, waker: &Waker) -> bool {
        let Some(alarm) = self.table.get_mut(id) else { return false };
        if !alarm.has_rung {
            wait(&mut alarm.waker, waker);
        }
        alarm.has_rung
    }

    pub(crate) fn remove(&mut self, id: AlarmId) {
        if self.table.remove(id).is_some() {
            self.timers.set(id.slot(), None);
        }
    }

    fn ring(&mut self, slot: u32) {
        let id = self.table.id_at(slot);
        if let Some(alarm) = id.and_then(|id| self.table.get_mut(id)) {
            alarm.has_rung = true;
            alarm.waker.iter().for_each(Waker::wake_by_ref);
        }
    }
}

/// Keeps whom to wake; clones it only if it is another.
pub(crate) fn wait(place: &mut Option<Waker>, waker: &Waker) {
    if !place.as_ref().is_some_and(|old| old.will_wake(waker)) {
        *place = Some(waker.clone());
    }
}
