//! Whose turn it is.

use super::ReadyList;

/// Keys that take turns, of a bounded burst each: to go on with the same one keeps what it needs in the cache, and the
/// bound keeps one that always has more from starving the others.
///
/// ```
/// use plimsoll_core::sched::Turns;
///
/// let mut turns = Turns::new(2);
/// turns.set(7, true);
/// turns.set(3, true);
/// let order = [(); 5].map(|()| {
///     let key = turns.current().unwrap();
///     turns.took(key);
///     key
/// });
/// assert_eq!(order, [7, 7, 3, 3, 7]);
/// ```
#[derive(Clone, Debug)]
pub struct Turns {
    ready: ReadyList,
    longest: u32,
    /// How many the one at the front has had.
    burst: u32,
}
crate::saved!(struct Turns { ready, longest, burst });

impl Turns {
    /// Nobody is ready; a burst will be at most `longest`.
    pub fn new(longest: u32) -> Self {
        Turns { ready: ReadyList::new(), longest, burst: 0 }
    }

    /// Whether the key has something to take.
    ///
    /// # Panics
    /// If the key is not below [`MAX_KEYS`](super::MAX_KEYS).
    pub fn set(&mut self, key: u32, ready: bool) {
        self.ready.set(key, ready);
    }

    /// The key whose turn it is.
    pub fn current(&self) -> Option<u32> {
        self.ready.peek()
    }

    /// One thing of `key`, which was the [`current`](Self::current) one, was taken, and [`set`](Self::set) told whether
    /// there is more.
    pub fn took(&mut self, key: u32) {
        self.burst += 1;
        if self.ready.peek() != Some(key) {
            self.burst = 0;
        } else if self.burst >= self.longest {
            self.ready.remove(key);
            self.ready.push(key);
            self.burst = 0;
        }
    }

    /// Whether nobody is ready.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }
}
