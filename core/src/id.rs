//! Names for things that come and go: a slot, and the generation that tells its tenants apart.

use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;

/// Names one tenant of a slot. When the slot is given to another tenant, the generation differs, so that a
/// late completion for the old one finds nothing (law 7).
pub struct Id<T> {
    slot: u32,
    generation: u32,
    kind: PhantomData<fn() -> T>,
}
crate::saved!(impl[T] struct Id<T> { slot, generation, kind });

/// Kinds of things that ids name; never built.
pub mod kind {
    /// See [`ConnId`](super::ConnId).
    #[derive(Clone, Debug)]
    pub enum Conn {}
    /// See [`EndpointId`](super::EndpointId).
    #[derive(Clone, Debug)]
    pub enum Endpoint {}
    /// See [`RequestId`](super::RequestId).
    #[derive(Clone, Debug)]
    pub enum Request {}
}

/// Names one connection of a machine.
pub type ConnId = Id<kind::Conn>;
/// Names one endpoint (an address that serves) of a cluster.
pub type EndpointId = Id<kind::Endpoint>;
/// Names one request that a machine has taken.
pub type RequestId = Id<kind::Request>;

impl<T> Id<T> {
    /// The id of the tenant number `generation` of `slot`.
    pub const fn new(slot: u32, generation: u32) -> Self {
        Id { slot, generation, kind: PhantomData }
    }

    /// The place in a table; dense and small, so that drivers can index by it.
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// Which tenant of the slot is meant.
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// The slot as an index.
    pub const fn index(self) -> usize {
        self.slot as usize
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.slot == other.slot && self.generation == other.generation
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.slot, self.generation).cmp(&(other.slot, other.generation))
    }
}
impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.slot, self.generation).hash(state);
    }
}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}
impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A table of tenants named by generational ids. Freed slots are reused last-in first-out; nothing is ever
/// iterated in an order that depends on hashing or addresses.
#[derive(Debug)]
pub struct Table<K, V> {
    slots: Vec<(u32, Option<V>)>,
    free: Vec<u32>,
    kind: PhantomData<fn() -> K>,
}
crate::saved!(impl[K, V: crate::save::Save] struct Table<K, V> { slots, free, kind });

impl<K, V: Clone> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Table { slots: self.slots.clone(), free: self.free.clone(), kind: PhantomData }
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table { slots: Vec::new(), free: Vec::new(), kind: PhantomData }
    }
}

impl<K, V> Table<K, V> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many tenants there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is no tenant.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One more than the highest slot ever used.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The id that the next [`insert`](Self::insert) will give.
    pub fn next_id(&self) -> Id<K> {
        match self.free.last() {
            Some(&slot) => Id::new(slot, self.slots[slot as usize].0),
            None => Id::new(self.slots.len() as u32, 0),
        }
    }

    /// Moves a tenant in.
    ///
    /// # Panics
    /// At 2³² − 1 tenants; every table in this crate is limited far below.
    pub fn insert(&mut self, value: V) -> Id<K> {
        let id = self.next_id();
        match self.free.pop() {
            Some(slot) => self.slots[slot as usize].1 = Some(value),
            None => {
                assert!(id.slot < u32::MAX, "a table is limited to 2^32 - 1 slots");
                self.slots.push((0, Some(value)));
            }
        }
        id
    }

    /// Moves the tenant out; its id names nothing from then on.
    pub fn remove(&mut self, id: Id<K>) -> Option<V> {
        let (generation, tenant) = self.slots.get_mut(id.index())?;
        if *generation != id.generation {
            return None;
        }
        let value = tenant.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(value)
    }

    /// The tenant, if `id` still names it.
    pub fn get(&self, id: Id<K>) -> Option<&V> {
        match self.slots.get(id.index()) {
            Some((generation, tenant)) if *generation == id.generation => tenant.as_ref(),
            _ => None,
        }
    }

    /// The tenant, if `id` still names it.
    pub fn get_mut(&mut self, id: Id<K>) -> Option<&mut V> {
        match self.slots.get_mut(id.index()) {
            Some((generation, tenant)) if *generation == id.generation => tenant.as_mut(),
            _ => None,
        }
    }

    /// The id of whoever lives in `slot` now.
    pub fn id_at(&self, slot: u32) -> Option<Id<K>> {
        let (generation, tenant) = self.slots.get(slot as usize)?;
        tenant.as_ref().map(|_| Id::new(slot, *generation))
    }

    /// All tenants, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Id<K>, &V)> {
        self.slots.iter().enumerate().filter_map(|(slot, (generation, tenant))| {
            tenant.as_ref().map(|value| (Id::new(slot as u32, *generation), value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_id_finds_nothing_after_its_slot_is_reused() {
        let mut table: Table<kind::Conn, &str> = Table::new();
        let first = table.insert("first");
        assert_eq!(table.remove(first), Some("first"));
        let promised = table.next_id();
        let second = table.insert("second");
        assert_eq!(promised, second);
        assert_eq!(second.slot(), first.slot());
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&"second"));
        assert_eq!(table.len(), 1);
    }
}
