//! The requests that wait for their answers: found by what their id says, and by a hash of it.

use plimsoll_core::cluster::{Action, Cluster, Config, Place, Want};
use plimsoll_core::service::client::pending::Pending;
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use rustc_hash::FxHashMap;

/// Requests in flight.
const IN_FLIGHT: usize = 256;

/// What a client has to know of a request when its answer comes.
#[derive(Clone, Copy)]
struct Entry {
    place: Place,
    taken: Instant,
    tag: u64,
    #[expect(dead_code, reason = "it makes the entry as large as one is")]
    attempts: u8,
}

fn place() -> Place {
    let mut cluster = Cluster::new(Config::default(), 1);
    cluster.add_endpoint(Instant::ZERO, "users.internal:3001").expect("a good address");
    let Some(Action::Dial(conn)) = cluster.poll() else { unreachable!("one connection is kept up") };
    cluster.connected(Instant::ZERO, conn);
    cluster.checkout(Instant::ZERO, Want::default()).expect("room on the connection")
}

/// The client's table.
pub struct Ours {
    pending: Pending,
    ids: Vec<WireId>,
    next: usize,
}

/// A map from the whole id.
pub struct ByHash {
    pending: FxHashMap<u128, Entry>,
    place: Place,
    ids: Vec<u128>,
    next: usize,
    last: u128,
}

impl Default for Ours {
    fn default() -> Self {
        let mut pending = Pending::new(place());
        let ids = (0..IN_FLIGHT as u64).map(|tag| pending.insert(Instant::ZERO, tag)).collect();
        Ours { pending, ids, next: 0 }
    }
}

impl Ours {
    /// The request that waits for longest is answered, and another is sent.
    ///
    /// # Panics
    /// If it is not found.
    #[inline]
    pub fn request(&mut self) {
        let id = &mut self.ids[self.next];
        let tag = self.pending.take(*id).expect("it was sent");
        *id = self.pending.insert(Instant::ZERO, tag);
        self.next = (self.next + 1) % IN_FLIGHT;
    }
}

impl Default for ByHash {
    fn default() -> Self {
        let mut by_hash =
            ByHash { pending: FxHashMap::default(), place: place(), ids: Vec::new(), next: 0, last: 0 };
        for tag in 0..IN_FLIGHT as u64 {
            let id = by_hash.insert(tag);
            by_hash.ids.push(id);
        }
        by_hash
    }
}

impl ByHash {
    /// As [`Ours::request`].
    ///
    /// # Panics
    /// If it is not found.
    #[inline]
    pub fn request(&mut self) {
        let entry = self.pending.remove(&self.ids[self.next]).expect("it was sent");
        assert!(entry.place == self.place && entry.taken == Instant::ZERO);
        self.ids[self.next] = self.insert(entry.tag);
        self.next = (self.next + 1) % IN_FLIGHT;
    }

    /// An id of as little work as can be: the last one and one more.
    #[inline]
    fn insert(&mut self, tag: u64) -> u128 {
        self.last += 1;
        let entry = Entry { place: self.place, taken: Instant::ZERO, tag, attempts: 1 };
        self.pending.insert(self.last, entry);
        self.last
    }
}
