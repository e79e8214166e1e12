//! When a queue is too full, in items and in bytes, with hysteresis.
//!
//! Pressure turns on when either count reaches its high mark, and off only when both are down to their low
//! marks: between the two nothing changes, so that a queue that hovers around one mark does not flap.
//!
//! ```
//! use plimsoll_core::policy::watermark::{Band, Change, Watermark};
//!
//! let items = Band::new(50, 100).unwrap();
//! let bytes = Band::new(64 << 10, 256 << 10).unwrap();
//! let mut queue = Watermark::new(items, bytes);
//! assert_eq!(queue.add(1, 300 << 10), Some(Change::On)); // one item, but a large one
//! assert!(queue.is_above());
//! assert_eq!(queue.remove(1, 300 << 10), Some(Change::Off));
//! ```

/// A low and a high mark, low < high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    low: u64,
    high: u64,
}
crate::saved!(struct Band { low, high });

impl Band {
    /// A band from `low` to `high`; `None` unless low < high, for marks that meet would be on and off at once.
    pub const fn new(low: u64, high: u64) -> Option<Self> {
        if low < high { Some(Band { low, high }) } else { None }
    }

    /// At or below this there is no more pressure.
    pub const fn low(self) -> u64 {
        self.low
    }

    /// At or above this there is pressure; at least 1.
    pub const fn high(self) -> u64 {
        self.high
    }
}

/// The pressure has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A high mark was reached: stop taking in.
    On,
    /// Both counts are at their low marks or below: go on.
    Off,
}

/// Counts what a queue holds, and says when to stop and when to go on.
#[derive(Clone, Debug)]
pub struct Watermark {
    items_band: Band,
    bytes_band: Band,
    items: u64,
    bytes: u64,
    above: bool,
}
crate::saved!(struct Watermark { items_band, bytes_band, items, bytes, above });

impl Watermark {
    /// An empty queue.
    pub const fn new(items: Band, bytes: Band) -> Self {
        Watermark { items_band: items, bytes_band: bytes, items: 0, bytes: 0, above: false }
    }

    /// So much was put in.
    pub fn add(&mut self, items: u64, bytes: u64) -> Option<Change> {
        self.items = self.items.saturating_add(items);
        self.bytes = self.bytes.saturating_add(bytes);
        self.judge()
    }

    /// So much was taken out; more than there is counts as all there is.
    pub fn remove(&mut self, items: u64, bytes: u64) -> Option<Change> {
        self.items = self.items.saturating_sub(items);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.judge()
    }

    /// Whether there is pressure now.
    pub const fn is_above(&self) -> bool {
        self.above
    }

    /// How many items are held.
    pub const fn items(&self) -> u64 {
        self.items
    }

    /// How many bytes are held.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn judge(&mut self) -> Option<Change> {
        let full = self.items >= self.items_band.high || self.bytes >= self.bytes_band.high;
        let calm = self.items <= self.items_band.low && self.bytes <= self.bytes_band.low;
        match self.above {
            false if full => {
                self.above = true;
                Some(Change::On)
            }
            true if calm => {
                self.above = false;
                Some(Change::Off)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    fn queue() -> Watermark {
        Watermark::new(Band::new(5, 10).unwrap(), Band::new(50, 100).unwrap())
    }

    #[test]
    fn a_band_says_what_it_is_and_is_none_without_room_between() {
        let band = Band::new(5, 10).unwrap();
        assert_eq!((band.low(), band.high()), (5, 10));
        assert!(Band::new(5, 5).is_none() && Band::new(6, 5).is_none());
    }

    #[test]
    fn either_high_mark_turns_it_on() {
        assert_eq!(queue().add(10, 0), Some(Change::On));
        assert_eq!(queue().add(0, 100), Some(Change::On));
        assert_eq!(queue().add(9, 99), None);
    }

    #[test]
    fn only_both_low_marks_turn_it_off() {
        let mut queue = queue();
        assert_eq!(queue.add(10, 100), Some(Change::On));
        assert_eq!(queue.remove(5, 0), None, "the bytes are still high");
        assert_eq!(queue.remove(0, 49), None);
        assert_eq!(queue.remove(0, 1), Some(Change::Off));
    }

    #[test]
    fn marks_that_meet_are_refused() {
        assert_eq!(Band::new(5, 5), None);
        assert_eq!(Band::new(0, 0), None);
        assert!(Band::new(0, 1).is_some());
    }

    quickcheck! {
        fn changes_alternate_and_the_marks_hold(steps: Vec<(bool, u8, u8)>) -> bool {
            let (items_band, bytes_band) = (Band::new(200, 400).unwrap(), Band::new(150, 600).unwrap());
            let mut queue = Watermark::new(items_band, bytes_band);
            let (mut items, mut bytes) = (0u64, 0u64);
            steps.into_iter().all(|(add, i, b)| {
                let (i, b) = (u64::from(i), u64::from(b));
                let before = queue.is_above();
                let change = if add {
                    (items, bytes) = (items + i, bytes + b);
                    queue.add(i, b)
                } else {
                    (items, bytes) = (items.saturating_sub(i), bytes.saturating_sub(b));
                    queue.remove(i, b)
                };
                let told = match change {
                    None => queue.is_above() == before,
                    Some(Change::On) => !before && queue.is_above(),
                    Some(Change::Off) => before && !queue.is_above(),
                };
                let must_be_on = items >= 400 || bytes >= 600;
                let must_be_off = items <= 200 && bytes <= 150;
                told && (queue.items(), queue.bytes()) == (items, bytes)
                    && (!must_be_on || queue.is_above())
                    && (!must_be_off || !queue.is_above())
            })
        }
    }
}
