//! A ring of bytes that grows.

use alloc::vec;
use alloc::vec::Vec;

use memchr::memmem;
use thiserror::Error;

/// How many bytes a ring has room for at first, unless it is told otherwise: 64 KiB.
pub const INITIAL_CAPACITY: usize = 64 * 1024;

/// What would have to be held is above the ring's maximum; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("the ring buffer would need room for {needed} bytes; its maximum is {maximum}")]
pub struct RingFull {
    /// How many bytes it would need room for.
    pub needed: usize,
    /// How many it may have room for.
    pub maximum: usize,
}

/// A FIFO of bytes in one block of memory. A write that does not fit makes the block larger, to twice its size or
/// by the length of the data, whichever is more, and never above the maximum.
///
/// ```
/// use plimsoll_core::buf::ring::RingBuffer;
///
/// let mut ring = RingBuffer::new(1 << 20);
/// ring.write(b"GET users\r\nGET ")?;
/// let end = ring.find_pattern(b"\r\n").unwrap();
/// let mut line = vec![0; end];
/// ring.read(&mut line);
/// ring.skip(2);
/// assert_eq!((&line[..], ring.len()), (&b"GET users"[..], 4));
/// # Ok::<(), plimsoll_core::buf::ring::RingFull>(())
/// ```
#[derive(Clone, Debug)]
pub struct RingBuffer {
    block: Vec<u8>,
    /// Where the first byte stands; below the block's length unless that is 0.
    head: usize,
    len: usize,
    maximum: usize,
}

impl RingBuffer {
    /// An empty ring that starts with 64 KiB (or `maximum`, if that is less) and grows up to `maximum` bytes.
    pub fn new(maximum: usize) -> Self {
        Self::with_capacity(INITIAL_CAPACITY, maximum)
    }

    /// An empty ring that starts with `capacity` bytes (or `maximum`, if that is less).
    pub fn with_capacity(capacity: usize, maximum: usize) -> Self {
        RingBuffer { block: vec![0; capacity.min(maximum)], head: 0, len: 0, maximum }
    }

    /// Appends all of `data`.
    ///
    /// # Errors
    /// If the ring would hold more than its maximum; nothing is written then.
    pub fn write(&mut self, data: &[u8]) -> Result<(), RingFull> {
        let needed = self.len.saturating_add(data.len());
        if needed > self.maximum {
            return Err(RingFull { needed, maximum: self.maximum });
        }
        if needed > self.capacity() {
            let grown = self.capacity().saturating_mul(2).max(self.capacity().saturating_add(data.len()));
            self.move_to(grown.min(self.maximum));
        }
        let tail = self.wrap(self.len);
        let (front, back) = data.split_at(data.len().min(self.capacity() - tail));
        self.block[tail..tail + front.len()].copy_from_slice(front);
        self.block[..back.len()].copy_from_slice(back);
        self.len = needed;
        Ok(())
    }

    /// The first `length` bytes (or all, if there are fewer), lent as two slices: what stands before the wrap,
    /// and what stands after it.
    pub fn peek(&self, length: usize) -> (&[u8], &[u8]) {
        let length = length.min(self.len);
        let front = length.min(self.capacity() - self.head);
        (&self.block[self.head..self.head + front], &self.block[..length - front])
    }

    /// Takes out as many bytes as `out` has room for; how many that were.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        let (front, back) = self.peek(out.len());
        let (read_front, read) = (front.len(), front.len() + back.len());
        out[..read_front].copy_from_slice(front);
        out[read_front..read].copy_from_slice(back);
        self.skip(read)
    }

    /// Drops the first `length` bytes (or all, if there are fewer); how many that were.
    pub fn skip(&mut self, length: usize) -> usize {
        let skipped = length.min(self.len);
        self.head = self.wrap(skipped);
        self.len -= skipped;
        skipped
    }

    /// Drops all bytes; the memory stays.
    pub fn clear(&mut self) {
        self.skip(self.len);
    }

    /// Makes room for `capacity` bytes in all; less than are held counts as what is held, so that this also gives
    /// memory back.
    ///
    /// # Errors
    /// If that is above the maximum; nothing is changed then.
    pub fn resize(&mut self, capacity: usize) -> Result<(), RingFull> {
        if capacity > self.maximum {
            return Err(RingFull { needed: capacity, maximum: self.maximum });
        }
        self.move_to(capacity.max(self.len));
        Ok(())
    }

    /// Where `pattern` first stands, counted from the first byte held; an empty pattern stands at 0. Linear in
    /// what is held, and quadratic in the length of the pattern at the wrap only.
    pub fn find_pattern(&self, pattern: &[u8]) -> Option<usize> {
        let (front, back) = self.peek(self.len);
        memmem::find(front, pattern)
            .or_else(|| find_over_wrap(front, back, pattern))
            .or_else(|| memmem::find(back, pattern).map(|at| front.len() + at))
    }

    /// How many bytes are held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes there is room for without growing.
    pub fn capacity(&self) -> usize {
        self.block.len()
    }

    /// How many bytes may be held.
    pub fn maximum(&self) -> usize {
        self.maximum
    }

    /// The place in the block that is `offset` bytes, at most its length, behind the head.
    fn wrap(&self, offset: usize) -> usize {
        let to_end = self.capacity() - self.head;
        if offset < to_end { self.head + offset } else { offset - to_end }
    }

    fn move_to(&mut self, capacity: usize) {
        let mut block = vec![0; capacity];
        let (front, back) = self.peek(self.len);
        block[..front.len()].copy_from_slice(front);
        block[front.len()..self.len].copy_from_slice(back);
        (self.block, self.head) = (block, 0);
    }
}

/// Where a pattern first stands that begins in `front` and ends in `back`.
fn find_over_wrap(front: &[u8], back: &[u8], pattern: &[u8]) -> Option<usize> {
    let first = front.len().saturating_sub(pattern.len().saturating_sub(1));
    (first..front.len()).find(|&at| {
        let (begin, end) = pattern.split_at(front.len() - at);
        front[at..] == *begin && back.starts_with(end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use quickcheck::quickcheck;

    const MAXIMUM: usize = 100;

    quickcheck! {
        /// Each operation is (what, number, data); the model is a queue of bytes.
        fn it_is_a_queue_of_bytes(ops: Vec<(u8, u8, Vec<u8>)>) -> bool {
            let mut ring = RingBuffer::with_capacity(4, MAXIMUM);
            let mut model: VecDeque<u8> = VecDeque::new();
            ops.iter().all(|(what, number, data)| {
                let (number, capacity) = (usize::from(*number), ring.capacity());
                // Two distinct bytes, so that patterns are found.
                let data: Vec<u8> = data.iter().map(|byte| byte % 2).take(number % 40).collect();
                let agrees = match what % 8 {
                    0..=3 => {
                        let needed = model.len() + data.len();
                        let fits = needed <= MAXIMUM;
                        let expected = fits.then_some(()).ok_or(RingFull { needed, maximum: MAXIMUM });
                        if fits {
                            model.extend(&data);
                        }
                        let grown = (2 * capacity).max(capacity + data.len()).min(MAXIMUM);
                        let grows = fits && needed > capacity;
                        ring.write(&data) == expected && ring.capacity() == if grows { grown } else { capacity }
                    }
                    4 => {
                        let mut out = [7; 40];
                        let read = ring.read(&mut out[..number % 40]);
                        let expected: Vec<u8> = model.drain(..model.len().min(number % 40)).collect();
                        out[..read] == expected
                    }
                    5 => {
                        let expected = model.drain(..model.len().min(number % 40)).count();
                        ring.skip(number % 40) == expected
                    }
                    6 if number % 8 == 0 => {
                        model.clear();
                        ring.clear();
                        true
                    }
                    6 => {
                        let (front, back) = ring.peek(number);
                        [front, back].concat() == model.iter().copied().take(number).collect::<Vec<u8>>()
                    }
                    _ if number > MAXIMUM => {
                        ring.resize(number) == Err(RingFull { needed: number, maximum: MAXIMUM })
                            && ring.capacity() == capacity
                    }
                    _ => ring.resize(number).is_ok() && ring.capacity() == number.max(model.len()),
                };
                let held: Vec<u8> = model.iter().copied().collect();
                let pattern = &data[..data.len().min(6)];
                let position = |pattern: &[u8]| (0..=held.len()).find(|&at| held[at..].starts_with(pattern));
                let (front, back) = ring.peek(usize::MAX);
                agrees
                    && [front, back].concat() == held
                    && ring.len() == held.len()
                    && ring.is_empty() == held.is_empty()
                    && ring.find_pattern(pattern) == position(pattern)
            })
        }
    }

    #[test]
    fn it_starts_at_64_kib_unless_the_maximum_is_less() {
        assert_eq!(RingBuffer::new(1 << 20).capacity(), 65_536);
        assert_eq!(RingBuffer::new(1_000).capacity(), 1_000);
    }

    #[test]
    fn a_pattern_is_found_over_the_wrap() {
        let mut ring = RingBuffer::with_capacity(8, 8);
        ring.write(b"......").unwrap();
        ring.skip(5);
        ring.write(b"abUWxyz").unwrap();
        assert_eq!(ring.peek(8), (&b".ab"[..], &b"UWxyz"[..]));
        assert_eq!(ring.find_pattern(b"bUW"), Some(2));
        assert_eq!(ring.find_pattern(b"UW"), Some(3));
        assert_eq!(ring.find_pattern(b"UWz"), None);
    }
}
