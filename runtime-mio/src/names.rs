//! Names to addresses, on threads that help: the standard library blocks while it asks.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::thread;

/// Names asked for at the same time, each on a thread; the rest wait. A thread ends when none waits.
const THREADS: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Names {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Those that nobody waits for any more are dropped, so it is as long as there are dials at most.
    waiting: VecDeque<(String, Weak<Mutex<Lookup>>)>,
    threads: usize,
}

#[derive(Debug, Default)]
struct Lookup {
    found: Option<io::Result<Vec<SocketAddr>>>,
    waker: Option<Waker>,
}

impl Names {
    /// The addresses of `target`, `host:port`.
    pub(crate) async fn resolve(self: Arc<Self>, target: String) -> io::Result<Vec<SocketAddr>> {
        let lookup = Arc::new(Mutex::new(Lookup::default()));
        self.ask(target, Arc::downgrade(&lookup))?;
        poll_fn(|cx| {
            let mut lookup = lock(&lookup);
            lookup.waker = Some(cx.waker().clone());
            lookup.found.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    fn ask(self: Arc<Self>, target: String, lookup: Weak<Mutex<Lookup>>) -> io::Result<()> {
        let mut queue = lock(&self.queue);
        queue.waiting.retain(|(_, lookup)| lookup.strong_count() > 0);
        queue.waiting.push_back((target, lookup));
        if queue.threads < THREADS {
            let names = self.clone();
            thread::Builder::new().name("plimsoll-names".into()).spawn(move || names.work())?;
            queue.threads += 1;
        }
        Ok(())
    }

    fn work(&self) {
        loop {
            let (target, lookup) = {
                let mut queue = lock(&self.queue);
                let Some(next) = queue.waiting.pop_front() else {
                    queue.threads -= 1;
                    return;
                };
                next
            };
            if lookup.strong_count() == 0 {
                continue;
            }
            let found = target.to_socket_addrs().map(Iterator::collect);
            let Some(lookup) = lookup.upgrade() else { continue };
            let waker = {
                let mut lookup = lock(&lookup);
                lookup.found = Some(found);
                lookup.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
