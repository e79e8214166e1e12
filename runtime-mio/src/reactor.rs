//! What sockets and timers share with the loop that waits for them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use mio::event::{Event, Source};
use mio::{Interest, Registry, Token};
use plimsoll_core::drive::Clock;
use plimsoll_core::time::Instant;

/// Of the loop's own waker; no socket has it.
pub(crate) const WAKE: Token = Token(usize::MAX);

#[derive(Debug)]
pub(crate) struct Reactor {
    pub(crate) clock: Clock,
    registry: Registry,
    sockets: Mutex<Sockets>,
    timers: Mutex<Timers>,
}

#[derive(Debug, Default)]
struct Sockets {
    /// By token.
    places: Vec<Option<Arc<Mutex<Readiness>>>>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Timers {
    pending: BTreeMap<(Instant, u64), Option<Waker>>,
    next: u64,
}

/// What is known about one socket. Events are edges: what was told stays so until a call would block.
#[derive(Debug, Default)]
struct Readiness {
    readable: bool,
    writable: bool,
    /// The end of the stream has come, or an error: no further event will tell of what is still to be read.
    closed: bool,
    waker: Option<Waker>,
}

impl Reactor {
    pub(crate) fn new(clock: Clock, registry: Registry) -> Self {
        Reactor { clock, registry, sockets: Mutex::default(), timers: Mutex::default() }
    }

    /// Hands an event to the socket that it is about. One of an earlier socket of the same token does no harm: the
    /// first call that would block sets it right.
    pub(crate) fn deliver(&self, event: &Event) {
        let socket = lock(&self.sockets).places.get(event.token().0).cloned().flatten();
        let Some(socket) = socket else { return };
        let waker = {
            let mut readiness = lock(&socket);
            let closed = event.is_read_closed() || event.is_error();
            readiness.readable |= event.is_readable() || closed;
            readiness.writable |= event.is_writable() || event.is_write_closed() || closed;
            readiness.closed |= closed;
            readiness.waker.clone()
        };
        waker.iter().for_each(Waker::wake_by_ref);
    }

    /// Wakes those whose time has come; when the next one's comes.
    pub(crate) fn expire(&self) -> Option<Instant> {
        let now = self.clock.now();
        loop {
            let mut timers = lock(&self.timers);
            let first = timers.pending.first_entry()?;
            let (at, _) = *first.key();
            if at > now {
                return Some(at);
            }
            let waker = first.remove();
            drop(timers);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

/// A socket that the loop watches.
#[derive(Debug)]
pub struct Watched<S: Source> {
    socket: S,
    token: Token,
    interest: Interest,
    readiness: Arc<Mutex<Readiness>>,
    reactor: Arc<Reactor>,
}

impl<S: Source> Watched<S> {
    /// For both directions, all the time.
    pub(crate) fn new(socket: S, reactor: &Arc<Reactor>) -> io::Result<Self> {
        Watched::with(socket, reactor, Interest::READABLE | Interest::WRITABLE)
    }

    /// For what is to be read, and to be written by [`poll_write_watching`](Self::poll_write_watching).
    pub(crate) fn reading(socket: S, reactor: &Arc<Reactor>) -> io::Result<Self> {
        Watched::with(socket, reactor, Interest::READABLE)
    }

    fn with(mut socket: S, reactor: &Arc<Reactor>, interest: Interest) -> io::Result<Self> {
        let readiness = Readiness { writable: !interest.is_writable(), ..Readiness::default() };
        let readiness = Arc::new(Mutex::new(readiness));
        let token = {
            let mut sockets = lock(&reactor.sockets);
            let at = sockets.free.pop().unwrap_or(sockets.places.len());
            if at == sockets.places.len() {
                sockets.places.push(None);
            }
            sockets.places[at] = Some(readiness.clone());
            Token(at)
        };
        let registered = reactor.registry.register(&mut socket, token, interest);
        // Dropped on failure, which gives the token back.
        let watched = Watched { socket, token, interest, readiness, reactor: reactor.clone() };
        registered.map(|()| watched)
    }

    pub(crate) fn get(&self) -> &S {
        &self.socket
    }

    /// Reads, or does what else needs the socket to be readable. `drained`: it has left nothing behind.
    pub(crate) fn poll_read<T>(
        &self,
        cx: &Context<'_>,
        read: impl FnOnce(&S) -> io::Result<T>,
        drained: impl FnOnce(&T) -> bool,
    ) -> Poll<io::Result<T>> {
        // Held throughout, so that an event that comes in between is not undone.
        let mut readiness = lock(&self.readiness);
        if !readiness.readable {
            return readiness.wait(cx);
        }
        match read(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                readiness.readable = false;
                readiness.wait(cx)
            }
            done => {
                if let Ok(value) = &done {
                    readiness.readable = readiness.closed || !drained(value);
                }
                Poll::Ready(done)
            }
        }
    }

    /// Writes, or does what else needs the socket to be writable.
    pub(crate) fn poll_write<T>(
        &self,
        cx: &Context<'_>,
        write: impl FnOnce(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let mut readiness = lock(&self.readiness);
        if !readiness.writable {
            return readiness.wait(cx);
        }
        match write(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                readiness.writable = false;
                readiness.wait(cx)
            }
            done => Poll::Ready(done),
        }
    }

    /// Writes to a socket that is watched for room only while it has none. Linux tells of room on a Unix socket whenever
    /// the peer has read something, wanted or not, and each time the loop would wake for nothing.
    pub(crate) fn poll_write_watching<T>(
        &mut self,
        cx: &Context<'_>,
        write: impl FnOnce(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let written = self.poll_write(cx, write);
        if written.is_pending() != self.interest.is_writable() {
            self.interest = match written {
                Poll::Pending => Interest::READABLE | Interest::WRITABLE,
                Poll::Ready(_) => Interest::READABLE,
            };
            // What is watched anew is looked at anew: room that has come in the meantime is told, too.
            self.reactor.registry.reregister(&mut self.socket, self.token, self.interest)?;
        }
        written
    }

    pub(crate) fn poll_readable(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut readiness = lock(&self.readiness);
        if readiness.readable { Poll::Ready(Ok(())) } else { readiness.wait(cx) }
    }
}

impl<S: Source> Drop for Watched<S> {
    fn drop(&mut self) {
        // A socket that was never registered says so, and there is nothing to undo.
        let _ = self.reactor.registry.deregister(&mut self.socket);
        let mut sockets = lock(&self.reactor.sockets);
        sockets.places[self.token.0] = None;
        sockets.free.push(self.token.0);
    }
}

impl Readiness {
    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if !self.waker.as_ref().is_some_and(|old| old.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// One timer, which may be set again and again.
#[derive(Debug)]
pub struct Timer {
    id: u64,
    at: Option<Instant>,
    reactor: Arc<Reactor>,
}

impl Timer {
    pub(crate) fn new(reactor: Arc<Reactor>) -> Self {
        let id = {
            let mut timers = lock(&reactor.timers);
            timers.next += 1;
            timers.next
        };
        Timer { id, at: None, reactor }
    }

    pub(crate) fn set(&mut self, at: Instant) {
        // A waker is dropped after the lock: it may be the last that holds a task, and that task another timer.
        let _removed;
        let mut timers = lock(&self.reactor.timers);
        _removed = self.at.replace(at).and_then(|old| timers.pending.remove(&(old, self.id)));
        timers.pending.insert((at, self.id), None);
    }

    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let _replaced;
        match lock(&self.reactor.timers).pending.get_mut(&(at, self.id)) {
            Some(waker) => {
                _replaced = waker.replace(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(at) = self.at else { return };
        let _removed = lock(&self.reactor.timers).pending.remove(&(at, self.id));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
