//! A hash map that cannot be iterated: the order of a hash table depends on the seed and the history of the table, and one
//! decision made in that order is enough to break a replay (freenet/freenet-core#2810).
//!
//! It holds a limited number of entries in slots, and hashes only to find the slot; who needs an order (the oldest, the one
//! due next) links the slots. All its memory is taken when it is built, unless it is to [grow](Map::growing).
//!
//! ```
//! use plimsoll_core::map::{Map, Seed};
//! use plimsoll_core::rng::Pcg;
//!
//! let mut map: Map<&str, u32> = Map::new(2, Seed::new(&mut Pcg::new(1, 1)));
//! let slot = map.insert("users.internal", 7).unwrap();
//! assert_eq!(map.find("users.internal"), Some(slot));
//! assert_eq!(map.remove(slot), Some(("users.internal", 7)));
//! assert_eq!(map.find("users.internal"), None);
//! ```

use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::hash::{Hash, Hasher};

use thiserror::Error;

use crate::rng::Pcg;
use crate::save::{Damaged, Reader, Save, Writer};

/// The one place where a bare table may stand.
#[allow(clippy::disallowed_types)]
type Table = hashbrown::HashTable<u32>;

/// No entry more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the map holds {limit} entries, which is its limit")]
pub struct Full {
    /// How many it may hold.
    pub limit: u32,
}

/// No entry has the key that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an entry is added by `fill`"]
pub struct Vacant {
    hash: u64,
}

/// Up to `limit` entries, found by key or by slot.
#[derive(Clone)]
pub struct Map<K, V> {
    slots: Vec<Option<Entry<K, V>>>,
    free: Vec<u32>,
    table: Table,
    limit: u32,
    seed: Seed,
}

#[derive(Clone)]
struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
}

impl<K: Hash + Eq, V> Map<K, V> {
    /// An empty map of at most `limit` entries.
    pub fn new(limit: u32, seed: Seed) -> Self {
        let room = limit as usize;
        Map {
            slots: Vec::with_capacity(room),
            free: Vec::with_capacity(room),
            // Twice the room: a table that is more than half full grows instead of clearing the marks of what was
            // removed from it.
            table: Table::with_capacity(room * 2 + 1),
            limit,
            seed,
        }
    }

    /// An empty map that takes memory only as it comes to hold more than ever before: a large limit that is seldom reached
    /// then costs nothing, and what is in use stays in the caches of the processor.
    pub fn growing(limit: u32, seed: Seed) -> Self {
        Map { slots: Vec::new(), free: Vec::new(), table: Table::new(), limit, seed }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether there may be no more.
    pub fn is_full(&self) -> bool {
        self.len() >= self.limit as usize
    }

    /// How many there may be.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The slot of a key. It holds until the entry is removed, and is below [`limit`](Self::limit).
    pub fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        self.look(key).ok()
    }

    /// As [`find`](Self::find); what it returns for a key that is not there saves [`fill`](Self::fill) to look again.
    ///
    /// # Errors
    /// [`Vacant`] if no entry has the key.
    pub fn look<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Result<u32, Vacant>
    where
        K: Borrow<Q>,
    {
        let hash = self.seed.hash(key);
        let is_it = |entry: &Entry<K, V>| entry.hash == hash && entry.key.borrow() == key;
        let found = self.table.find(hash, |&slot| self.slots[slot as usize].as_ref().is_some_and(is_it));
        found.copied().ok_or(Vacant { hash })
    }

    /// Adds an entry, or replaces the value that the key has; the slot it has then.
    ///
    /// # Errors
    /// [`Full`] if the key is new and there is no room.
    pub fn insert(&mut self, key: K, value: V) -> Result<u32, Full> {
        match self.look(&key) {
            Ok(slot) => {
                let hash = self.slots[slot as usize].as_ref().map_or(0, |entry| entry.hash);
                self.slots[slot as usize] = Some(Entry { hash, key, value });
                Ok(slot)
            }
            Err(vacant) => self.fill(vacant, key, value),
        }
    }

    /// Adds an entry whose key is not there, as [`look`](Self::look) has found; nothing was added since.
    ///
    /// # Errors
    /// [`Full`] if there is no room.
    pub fn fill(&mut self, vacant: Vacant, key: K, value: V) -> Result<u32, Full> {
        let Vacant { hash } = vacant;
        debug_assert_eq!(self.look(&key), Err(vacant), "it is the key that was looked for");
        if self.is_full() {
            return Err(Full { limit: self.limit });
        }
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        if slot as usize == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot as usize] = Some(Entry { hash, key, value });
        let slots = &self.slots;
        self.table.insert_unique(hash, slot, |&slot| slots[slot as usize].as_ref().map_or(0, |e| e.hash));
        Ok(slot)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, slot: u32) -> Option<(K, V)> {
        let Entry { hash, key, value } = self.slots.get_mut(slot as usize)?.take()?;
        if let Ok(found) = self.table.find_entry(hash, |&other| other == slot) {
            found.remove();
        }
        self.free.push(slot);
        Some((key, value))
    }

    /// The entry in a slot.
    pub fn get(&self, slot: u32) -> Option<(&K, &V)> {
        self.slots.get(slot as usize)?.as_ref().map(|entry| (&entry.key, &entry.value))
    }

    /// The value in a slot.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut V> {
        self.slots.get_mut(slot as usize)?.as_mut().map(|entry| &mut entry.value)
    }

    /// Takes all entries out.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.free.clear();
        self.table.clear();
    }
}

/// The slots are saved, and which of them is given away next. Hashes are taken anew: they differ between platforms, and
/// nothing depends on them.
impl<K: Save + Hash + Eq, V: Save> Save for Map<K, V> {
    fn save(&self, out: &mut Writer) {
        let Map { slots, free, table: _, limit, seed } = self;
        limit.save(out);
        seed.save(out);
        out.length(slots.len());
        for entry in slots {
            entry.is_some().save(out);
            if let Some(Entry { hash: _, key, value }) = entry {
                key.save(out);
                value.save(out);
            }
        }
        free.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let limit = Save::load(from)?;
        let seed: Seed = Save::load(from)?;
        let mut slots = Vec::new();
        for _ in 0..from.length()? {
            let entry = Option::<(K, V)>::load(from)?;
            slots.push(entry.map(|(key, value)| Entry { hash: seed.hash(&key), key, value }));
        }
        let mut table = Table::with_capacity(slots.len() * 2 + 1);
        let hash = |slot: u32| slots[slot as usize].as_ref().map_or(0, |entry| entry.hash);
        for slot in (0..slots.len() as u32).filter(|&slot| slots[slot as usize].is_some()) {
            table.insert_unique(hash(slot), slot, |&slot| hash(slot));
        }
        Ok(Map { slots, free: Save::load(from)?, table, limit, seed })
    }
}

impl<K, V> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("len", &self.table.len())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// What hashes depend on: 128 bits that peers do not know, so that they cannot choose keys that collide.
#[derive(Clone, Copy, Debug)]
pub struct Seed([u64; 2]);
crate::saved!(struct Seed { 0 });

impl Seed {
    /// Draws one.
    pub fn new(rng: &mut Pcg) -> Self {
        Seed([rng.next_u64(), rng.next_u64()])
    }

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        let mut hasher = Sip::new(self.0);
        key.hash(&mut hasher);
        hasher.finish()
    }
}

/// SipHash-1-3 (J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", 2012; the rounds that Rust and
/// Python use for tables).
struct Sip {
    state: [u64; 4],
    /// The bytes of a word that is not full yet, and how many bytes there were in all.
    tail: u64,
    length: usize,
}

impl Sip {
    fn new([k0, k1]: [u64; 2]) -> Self {
        let state = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        Sip { state, tail: 0, length: 0 }
    }

    fn word(&mut self, word: u64) {
        self.state[3] ^= word;
        round(&mut self.state);
        self.state[0] ^= word;
    }
}

fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *c = c.wrapping_add(*d);
    *b = b.rotate_left(13) ^ *a;
    *d = d.rotate_left(16) ^ *c;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*b);
    *a = a.wrapping_add(*d);
    *b = b.rotate_left(17) ^ *c;
    *d = d.rotate_left(21) ^ *a;
    *c = c.rotate_left(32);
}

impl Hasher for Sip {
    fn write(&mut self, mut bytes: &[u8]) {
        let missing = (8 - self.length % 8) % 8;
        if !self.length.is_multiple_of(8) {
            let (now, rest) = bytes.split_at(missing.min(bytes.len()));
            for (i, &byte) in now.iter().enumerate() {
                self.tail |= u64::from(byte) << (8 * ((self.length + i) % 8));
            }
            self.length = self.length.wrapping_add(now.len());
            bytes = rest;
            if !self.length.is_multiple_of(8) {
                return;
            }
            let word = core::mem::take(&mut self.tail);
            self.word(word);
        }
        self.length = self.length.wrapping_add(bytes.len());
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        for (i, &byte) in rest.iter().enumerate() {
            self.tail |= u64::from(byte) << (8 * i);
        }
    }

    fn finish(&self) -> u64 {
        let mut end = Sip { state: self.state, tail: 0, length: 0 };
        end.word((self.length as u64) << 56 | self.tail);
        end.state[2] ^= 0xff;
        (0..3).for_each(|_| round(&mut end.state));
        end.state[0] ^ end.state[1] ^ end.state[2] ^ end.state[3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use quickcheck::quickcheck;

    fn seed() -> Seed {
        Seed::new(&mut Pcg::new(1, 1))
    }

    #[test]
    fn the_hash_is_siphash_1_3() {
        // Of 0, 1, 7 and 15 bytes 00 01 … with the key 00 01 … 0f, the message of the vector in the paper.
        let mut sip = Sip::new([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        assert_eq!(sip.finish(), 0xabac_0158_050f_c4dc);
        sip.write(&[0]);
        assert_eq!(sip.finish(), 0xc9f4_9bf3_7d57_ca93);
        sip.write(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(sip.finish(), 0xd392_7d98_9bb1_1140);
        sip.write(&[7, 8, 9, 10, 11, 12, 13, 14]);
        assert_eq!(sip.finish(), 0xd320_d86d_2a51_9956);
    }

    quickcheck! {
        fn the_hash_is_the_same_however_it_is_cut(bytes: Vec<u8>, cut: usize) -> bool {
            let (left, right) = bytes.split_at(cut % (bytes.len() + 1));
            let mut whole = Sip::new([1, 2]);
            whole.write(&bytes);
            let mut parts = Sip::new([1, 2]);
            parts.write(left);
            parts.write(right);
            whole.finish() == parts.finish()
        }

        fn it_agrees_with_an_ordered_map(grows: bool, steps: Vec<(u8, u8)>) -> bool {
            let mut map = if grows { Map::growing(24, seed()) } else { Map::new(24, seed()) };
            let mut model: BTreeMap<u8, u8> = BTreeMap::new();
            steps.into_iter().all(|(key, value)| {
                let key = key % 40;
                if value % 3 == 0 {
                    let gone = map.find(&key).and_then(|slot| map.remove(slot)).map(|(_, value)| value);
                    assert_eq!(gone, model.remove(&key));
                } else if model.len() < 24 || model.contains_key(&key) {
                    assert!(map.insert(key, value).unwrap() < 24);
                    model.insert(key, value);
                } else {
                    assert_eq!(map.insert(key, value), Err(Full { limit: 24 }));
                }
                let found = |key: &u8| map.find(key).and_then(|slot| map.get(slot)).map(|(_, &value)| value);
                map.len() == model.len() && (0..40).all(|key| found(&key) == model.get(&key).copied())
            })
        }
    }

    #[test]
    fn coming_and_going_for_long_takes_no_more_memory() {
        let mut map = Map::new(100, seed());
        let room = map.table.capacity();
        for n in 0..100_000u64 {
            if n >= 100 {
                let slot = map.find(&(n - 100)).unwrap();
                map.remove(slot);
            }
            map.insert(n, ()).unwrap();
            assert!(map.table.capacity() <= room);
        }
        assert_eq!((map.len(), map.slots.len()), (100, 100));
    }

    #[test]
    fn one_that_grows_takes_what_it_needs_and_no_more() {
        let mut map = Map::growing(1_000_000, seed());
        for n in 0..100_000u64 {
            if n >= 100 {
                let slot = map.find(&(n - 100)).unwrap();
                map.remove(slot);
            }
            let Err(vacant) = map.look(&n) else { panic!("it comes only now") };
            map.fill(vacant, n, ()).unwrap();
            assert!(map.table.capacity() < 512);
        }
        assert_eq!((map.len(), map.slots.len()), (100, 100));
    }
}
