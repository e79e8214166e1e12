//! What a connection has still to send.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A chunk that has grown to this size is closed and the next begun, so that no chunk is ever moved as a whole.
/// Below it, one contiguous copy is faster than vectored writes.
const CHUNK: usize = 32 * 1024;
/// A chunk of more than this goes back to the allocator instead of the pool: one large body must not be paid for
/// until the process ends. What grows by doubling may be twice as large as a full chunk and the body that closed it.
const KEEP: usize = 4 * CHUNK;

/// Emptied chunks, shared by all connections of a machine, so that an idle connection holds none.
#[derive(Clone, Debug)]
pub struct SendPool {
    chunks: Vec<Vec<u8>>,
    limit: usize,
}
// Spare memory is not saved.
crate::saved!(struct SendPool { limit; rebuilt chunks = Vec::new() });

impl SendPool {
    /// Keeps at most `limit` chunks of at most 128 KiB.
    pub fn new(limit: usize) -> Self {
        SendPool { chunks: Vec::new(), limit }
    }

    fn take(&mut self) -> Vec<u8> {
        self.chunks.pop().unwrap_or_default()
    }

    fn give(&mut self, mut chunk: Vec<u8>) {
        if self.chunks.len() < self.limit && chunk.capacity() <= KEEP {
            chunk.clear();
            self.chunks.push(chunk);
        }
    }
}

/// The bytes a connection has still to send, in chunks, with the number of all bytes it was ever given: a position
/// in that stream says whether a frame has begun to leave.
#[derive(Clone, Debug, Default)]
pub struct SendQueue {
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that are sent.
    head: usize,
    len: usize,
    sent: u64,
}
crate::saved!(struct SendQueue { chunks, head, len, sent });

impl SendQueue {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes the transport has taken since the connection began.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The position of the byte that is pushed next.
    pub fn end(&self) -> u64 {
        self.sent + self.len as u64
    }

    /// Lets `write` append to the queue, and answers what it answers. What an error has written is taken back.
    pub fn push_with<E>(
        &mut self,
        pool: &mut SendPool,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.chunks.back().is_none_or(|chunk| chunk.len() >= CHUNK) {
            self.chunks.push_back(pool.take());
        }
        let chunk = self.chunks.back_mut().expect("a chunk was just pushed");
        let before = chunk.len();
        let result = write(chunk);
        if result.is_err() {
            chunk.truncate(before);
        }
        self.len += chunk.len() - before;
        result
    }

    /// Appends a copy of `bytes`.
    pub fn push(&mut self, pool: &mut SendPool, bytes: &[u8]) {
        let _ = self.push_with(pool, |out| {
            out.extend_from_slice(bytes);
            Ok::<(), core::convert::Infallible>(())
        });
    }

    /// Lends what waits, in order; how many slices were filled in.
    pub fn slices<'a>(&'a self, bufs: &mut [&'a [u8]]) -> usize {
        let mut filled = 0;
        let mut head = self.head;
        for (buf, chunk) in bufs.iter_mut().zip(&self.chunks) {
            *buf = &chunk[head..];
            head = 0;
            filled += 1;
        }
        if self.len == 0 { 0 } else { filled }
    }

    /// The transport took `n` bytes; more than waited counts as all.
    pub fn advance(&mut self, pool: &mut SendPool, n: usize) {
        let n = n.min(self.len);
        self.len -= n;
        self.sent += n as u64;
        let mut left = self.head + n;
        while let Some(chunk) = self.chunks.front() {
            if left < chunk.len() || (self.len > 0 && left == 0) {
                break;
            }
            left -= chunk.len();
            if let Some(chunk) = self.chunks.pop_front() {
                pool.give(chunk);
            }
        }
        self.head = left;
    }

    /// Zeros in place of all bytes.
    pub(crate) fn mask(&mut self) {
        self.chunks.iter_mut().for_each(|chunk| chunk.fill(0));
    }

    /// Copies the waiting bytes from stream position `from` to `to` into `out`. Positions that are already sent
    /// are left out.
    pub fn copy_range(&self, from: u64, to: u64, out: &mut Vec<u8>) {
        let mut at = self.sent;
        let mut head = self.head;
        for chunk in &self.chunks {
            let bytes = &chunk[head..];
            head = 0;
            let start = from.saturating_sub(at).min(bytes.len() as u64) as usize;
            let end = to.saturating_sub(at).min(bytes.len() as u64) as usize;
            if start < end {
                out.extend_from_slice(&bytes[start..end]);
            }
            at += bytes.len() as u64;
        }
    }

    /// Takes `len` bytes that wait at stream position `from` out again; what follows moves up. Nothing happens
    /// unless all of them wait.
    pub fn cut(&mut self, from: u64, len: usize) {
        if from < self.sent || from + len as u64 > self.end() {
            return;
        }
        let mut skip = self.head + (from - self.sent) as usize;
        let mut left = len;
        for chunk in &mut self.chunks {
            let start = skip.min(chunk.len());
            let end = (start + left).min(chunk.len());
            skip -= start;
            left -= end - start;
            chunk.drain(start..end);
        }
        self.len -= len;
        // No empty slice may stand before what waits: a runtime that writes it takes the socket for closed.
        if self.chunks.front().is_some_and(|chunk| chunk.len() == self.head) {
            self.chunks.pop_front();
            self.head = 0;
        }
        self.chunks.retain(|chunk| !chunk.is_empty());
    }

    /// Gives all chunks back: the connection has ended.
    pub fn clear(&mut self, pool: &mut SendPool) {
        self.advance(pool, usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use quickcheck::quickcheck;

    fn waiting(queue: &SendQueue) -> Vec<u8> {
        let mut bufs = [&[][..]; 64];
        let n = queue.slices(&mut bufs);
        bufs[..n].concat()
    }

    quickcheck! {
        /// Pushes of any size and advances of any size: what waits is what was pushed and not sent, and ranges
        /// are found by their position.
        fn a_queue_is_a_stream(ops: Vec<(bool, u16)>) -> bool {
            let mut pool = SendPool::new(2);
            let mut queue = SendQueue::default();
            let mut model: Vec<u8> = Vec::new();
            let mut sent = 0usize;
            for (push, n) in ops.into_iter().take(40) {
                if push {
                    let bytes = vec![n as u8; usize::from(n)];
                    queue.push(&mut pool, &bytes);
                    model.extend_from_slice(&bytes);
                } else {
                    queue.advance(&mut pool, usize::from(n));
                    sent = (sent + usize::from(n)).min(model.len());
                }
                let mut range = Vec::new();
                let (from, to) = (sent + usize::from(n) / 2, sent + usize::from(n));
                queue.copy_range(from as u64, to as u64, &mut range);
                let expected = &model[from.min(model.len())..to.min(model.len())];
                if waiting(&queue) != model[sent..] || queue.sent() != sent as u64 || range != expected {
                    return false;
                }
            }
            queue.clear(&mut pool);
            queue.is_empty() && queue.chunks.is_empty() && queue.end() == model.len() as u64
        }
    }

    quickcheck! {
        fn a_cut_takes_out_just_its_range(sizes: Vec<u16>, sent: u16, from: u16, len: u16) -> bool {
            let mut pool = SendPool::new(2);
            let mut queue = SendQueue::default();
            let mut model: Vec<u8> = Vec::new();
            for (index, &size) in sizes.iter().take(12).enumerate() {
                let bytes = vec![index as u8; usize::from(size)];
                queue.push(&mut pool, &bytes);
                model.extend_from_slice(&bytes);
            }
            let sent = usize::from(sent).min(model.len());
            queue.advance(&mut pool, sent);
            let (from, len) = (usize::from(from), usize::from(len));
            queue.cut(from as u64, len);
            if from >= sent && from + len <= model.len() {
                model.drain(from..from + len);
            }
            let rest = waiting(&queue) == model[sent..] && queue.end() == model.len() as u64;
            queue.advance(&mut pool, usize::MAX);
            rest && queue.is_empty() && queue.chunks.is_empty()
        }
    }

    #[test]
    fn a_refused_write_leaves_nothing_behind() {
        let mut pool = SendPool::new(1);
        let mut queue = SendQueue::default();
        queue.push(&mut pool, b"kept");
        let refused = queue.push_with(&mut pool, |out| {
            out.extend_from_slice(b"half");
            Err(())
        });
        assert_eq!(refused, Err(()));
        assert_eq!(waiting(&queue), b"kept");
        assert_eq!(queue.end(), 4);
    }

    #[test]
    fn an_emptied_queue_holds_no_chunk() {
        let mut pool = SendPool::new(1);
        let mut queue = SendQueue::default();
        queue.push(&mut pool, &[7; 100]);
        queue.advance(&mut pool, 100);
        assert_eq!(queue.chunks.len(), 0);
        assert_eq!(pool.chunks.len(), 1);
    }
}
