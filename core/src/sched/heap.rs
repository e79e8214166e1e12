//! An indexed 4-ary min-heap: keys ordered by when they are due, each at most once, movable and removable.
//!
//! Four children a node halve the depth against two, and their comparisons touch adjacent memory (D. B. Johnson,
//! "Priority queues with update and finding minimum spanning trees", 1975).

use alloc::vec::Vec;

use super::{MAX_KEYS, NONE, load_key, save_key};
use crate::save::{Damaged, Reader, Save, Writer};
use crate::time::Instant;

const ARITY: usize = 4;

/// When something is due; the sequence number makes the order total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) at: Instant,
    pub(super) sequence: u64,
}
crate::saved!(struct Due { at, sequence });

#[derive(Clone, Debug, Default)]
pub(super) struct Heap {
    nodes: Vec<(Due, u32)>,
    /// Where each key stands in `nodes`; [`NONE`] if nowhere.
    positions: Vec<u32>,
}

impl Save for Heap {
    fn save(&self, out: &mut Writer) {
        let Heap { nodes, positions } = self;
        nodes.save(out);
        out.length(positions.len());
        positions.iter().for_each(|&position| save_key(position, out));
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let nodes = Save::load(from)?;
        let positions = (0..from.length()?).map(|_| load_key(from)).collect::<Result<_, _>>()?;
        Ok(Heap { nodes, positions })
    }
}

impl Heap {
    pub(super) fn peek(&self) -> Option<(Due, u32)> {
        self.nodes.first().copied()
    }

    pub(super) fn get(&self, key: u32) -> Option<Due> {
        self.position(key).map(|position| self.nodes[position].0)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Inserts the key, or moves it.
    pub(super) fn set(&mut self, key: u32, due: Due) {
        assert!(key < MAX_KEYS, "timers are limited to keys below 2^32 - 2");
        match self.position(key) {
            Some(position) => self.place(position, (due, key)),
            None => {
                if self.positions.len() <= key as usize {
                    self.positions.resize(key as usize + 1, NONE);
                }
                self.nodes.push((due, key));
                self.place(self.nodes.len() - 1, (due, key));
            }
        }
    }

    pub(super) fn remove(&mut self, key: u32) -> bool {
        let Some(position) = self.position(key) else { return false };
        self.positions[key as usize] = NONE;
        self.nodes.swap_remove(position);
        if let Some(&last) = self.nodes.get(position) {
            self.place(position, last);
        }
        true
    }

    fn position(&self, key: u32) -> Option<usize> {
        self.positions
            .get(key as usize)
            .filter(|&&position| position != NONE)
            .map(|&position| position as usize)
    }

    /// Lets `node` rise or sink from `position`, whose content it replaces.
    fn place(&mut self, position: usize, node: (Due, u32)) {
        let risen = self.rise(position, node.0);
        let settled = if risen == position { self.sink(position, node.0) } else { risen };
        self.put(settled, node);
    }

    fn rise(&mut self, mut position: usize, due: Due) -> usize {
        while position > 0 {
            let parent = (position - 1) / ARITY;
            if self.nodes[parent].0 <= due {
                break;
            }
            self.put(position, self.nodes[parent]);
            position = parent;
        }
        position
    }

    fn sink(&mut self, mut position: usize, due: Due) -> usize {
        loop {
            let first = position * ARITY + 1;
            let end = self.nodes.len().min(first + ARITY);
            let Some(least) = (first..end).min_by_key(|&child| self.nodes[child].0) else { break };
            if self.nodes[least].0 >= due {
                break;
            }
            self.put(position, self.nodes[least]);
            position = least;
        }
        position
    }

    fn put(&mut self, position: usize, node: (Due, u32)) {
        self.nodes[position] = node;
        self.positions[node.1 as usize] = position as u32;
    }
}
