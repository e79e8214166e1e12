//! Waiting for a future by parking the thread.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::thread::{self, Thread};
use std::thread_local;

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    /// Made once: waiting allocates nothing for it.
    static WAKER: Waker = Waker::from(Arc::new(Parked(thread::current())));
}

/// Blocks this thread until `future` is ready. Whoever makes it ready must run on another thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    WAKER.with(|waker| {
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(waker)) {
                return output;
            }
            // Others may unpark this thread as well; that costs a poll.
            thread::park();
        }
    })
}
