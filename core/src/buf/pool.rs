//! Objects that are used again instead of being made anew.

use alloc::vec::Vec;

/// The size of a pooled request buffer, in bytes.
pub const BUFFER_SIZE: usize = 8_192;

/// Keeps objects that were given back, reset, for whoever asks next; the last one given back is the first one
/// lent, because it is still in the cache.
///
/// Plain function pointers make and reset the objects, so that a pool is plain data. Never empty-handed: a pool
/// that has nothing left makes a new object. What bounds memory is what it keeps.
///
/// ```
/// use plimsoll_core::buf::pool::ObjectPool;
///
/// let mut pool = ObjectPool::request_buffers();
/// let mut buffer = pool.get();
/// buffer.extend_from_slice(b"content");
/// assert!(pool.release(buffer));
/// assert!(pool.get().is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct ObjectPool<T> {
    kept: Vec<T>,
    create: fn() -> T,
    reset: fn(&mut T),
    maximum: usize,
}

impl<T> ObjectPool<T> {
    /// A pool that starts with `initial` objects (or `maximum`, if that is less) and keeps at most `maximum`.
    pub fn new(create: fn() -> T, reset: fn(&mut T), initial: usize, maximum: usize) -> Self {
        let mut kept = Vec::with_capacity(maximum);
        kept.extend(core::iter::repeat_with(create).take(initial.min(maximum)));
        ObjectPool { kept, create, reset, maximum }
    }

    /// An object as good as new: one that was given back, or else a new one.
    pub fn get(&mut self) -> T {
        self.kept.pop().unwrap_or_else(self.create)
    }

    /// Gives an object back. It is reset and kept; if the pool keeps its maximum already, it is dropped, and the
    /// answer is `false`.
    pub fn release(&mut self, mut object: T) -> bool {
        let keep = self.kept.len() < self.maximum;
        if keep {
            (self.reset)(&mut object);
            self.kept.push(object);
        }
        keep
    }

    /// How many objects are kept now.
    pub fn available(&self) -> usize {
        self.kept.len()
    }

    /// How many objects are kept at most.
    pub fn maximum(&self) -> usize {
        self.maximum
    }
}

impl ObjectPool<Vec<u8>> {
    /// Buffers with room for [`BUFFER_SIZE`] bytes: 50 at first, at most 200. One that has grown shrinks to that
    /// size when it is given back, so that a few large requests do not pin their memory for ever.
    pub fn request_buffers() -> Self {
        let reset = |buffer: &mut Vec<u8>| {
            buffer.clear();
            buffer.shrink_to(BUFFER_SIZE);
        };
        ObjectPool::new(|| Vec::with_capacity(BUFFER_SIZE), reset, 50, 200)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        /// `true` takes an object, `false` gives one back. The model counts what is kept.
        fn it_lends_clean_objects_and_keeps_at_most_its_maximum(ops: Vec<bool>, initial: u8, maximum: u8) -> bool {
            let (initial, maximum) = (usize::from(initial % 8), usize::from(maximum % 8));
            let mut pool: ObjectPool<Vec<u8>> = ObjectPool::new(Vec::new, Vec::clear, initial, maximum);
            let mut kept = initial.min(maximum);
            ops.iter().all(|&takes| {
                if takes {
                    kept = kept.saturating_sub(1);
                    pool.get().is_empty() && pool.available() == kept
                } else {
                    let fits = kept < maximum;
                    kept += usize::from(fits);
                    pool.release(b"used".to_vec()) == fits && pool.available() == kept
                }
            })
        }
    }

    #[test]
    fn request_buffers_start_at_50_keep_200_and_shrink_back() {
        let mut pool = ObjectPool::request_buffers();
        assert_eq!((pool.available(), pool.maximum()), (50, 200));
        let mut buffer = pool.get();
        assert_eq!(buffer.capacity(), BUFFER_SIZE);
        buffer.resize(10 * BUFFER_SIZE, 1);
        pool.release(buffer);
        let buffer = pool.get();
        assert!(buffer.is_empty() && buffer.capacity() == BUFFER_SIZE);
    }
}
