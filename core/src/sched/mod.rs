//! What a machine that owns many nodes schedules with: who is ready ([`ReadyList`], [`Turns`]), who wants to be woken when
//! ([`Timers`]), and which requests run out of time ([`Deadlines`]).
//!
//! All three are keyed by a small dense `u32` (the slot of an [`Id`](crate::id::Id)): tables as long as the
//! highest key ever used, no hashing, no allocation once warm. They hold each key at most once, so they are
//! bounded by the table that gives out the slots. Keys stay below [`MAX_KEYS`].

use crate::save::{Damaged, Reader, Save, Writer};

mod deadlines;
mod heap;
mod ready;
mod signals;
mod timers;
mod turns;

pub use deadlines::Deadlines;
pub use ready::ReadyList;
pub(crate) use signals::Signals;
pub use timers::Timers;
pub use turns::Turns;

/// One more than the highest key; the two numbers above it mark the ends of lists and what is in no list.
pub const MAX_KEYS: u32 = u32::MAX - 1;

/// The end of a list, and the position of what is in no heap.
const NONE: u32 = u32::MAX;

/// A key, or one of the two marks above all keys, which are so many that they are worth being short.
fn save_key(key: u32, out: &mut Writer) {
    key.wrapping_sub(MAX_KEYS).save(out);
}

fn load_key(from: &mut Reader<'_>) -> Result<u32, Damaged> {
    u32::load(from).map(|key| key.wrapping_add(MAX_KEYS))
}
