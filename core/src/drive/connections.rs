//! The sockets of one driver, by the slots of their connections, and the lists of those with work to do.
//!
//! Lists hold slots, not connections: an entry means "look at whoever lives there", so that an entry made for an
//! earlier tenant does no harm, and whether a slot is listed is a property of the slot. All else belongs to the
//! tenant and is replaced with it as one struct: nothing survives.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::task::{Context, Poll, Waker};
use std::io::{self, ErrorKind, IoSlice};

use super::{PollIo, ReadyList};
use crate::id::ConnId;
use crate::machine::Machine;

/// Slices handed to one write.
const SLICES: usize = 16;

/// Slots of the ready list that are no connections.
pub(super) const DIALS: u32 = 0;
pub(super) const ACCEPT: u32 = 1;
pub(super) const TIMER: u32 = 2;
const FIRST: u32 = 3;

/// One connection.
struct Tenant<Io> {
    conn: ConnId,
    /// `None` while it is dialled.
    io: Option<Io>,
    /// Whether the machine wants to read.
    reading: bool,
    /// Whether the end of the stream has been seen: reading goes on never after.
    ended: bool,
    /// Whether the socket may hold something. Otherwise its waker is registered.
    readable: bool,
    /// Whether the socket took less than there was, and its waker is registered.
    unwritten: bool,
}

struct Place<Io> {
    waker: Waker,
    tenant: Option<Tenant<Io>>,
    in_queue: bool,
    in_flush: bool,
    in_starved: bool,
}

/// What came of trying to read once.
pub(super) enum Received {
    /// Nothing to do here until it is listed again.
    Idle,
    /// So many bytes.
    Bytes(ConnId, usize),
    /// The machine has no room for what there is.
    NoRoom,
    /// The end of the stream.
    End(ConnId),
    Failed(ConnId, io::Error),
}

/// What came of trying to write once.
pub(super) enum Sent {
    /// Nothing left to write, or the socket takes no more now.
    Idle,
    Bytes(ConnId, usize),
    Failed(ConnId, io::Error),
}

pub(super) struct Connections<Io> {
    ready: ReadyList,
    /// Exchanged with the ready list.
    taken: Vec<u32>,
    places: Vec<Place<Io>>,
    /// Slots to read from.
    queue: VecDeque<u32>,
    /// Slots to write to.
    flush: Vec<u32>,
    /// Slots that have something to read and no room for it.
    starved: VecDeque<u32>,
}

impl<Io: PollIo> Connections<Io> {
    pub(super) fn new() -> Self {
        Connections {
            ready: ReadyList::new(),
            taken: Vec::new(),
            places: Vec::new(),
            queue: VecDeque::new(),
            flush: Vec::new(),
            starved: VecDeque::new(),
        }
    }

    /// The waker of one of the three that are no connections.
    pub(super) fn waker(&mut self, special: u32) -> Waker {
        self.ready.waker(special)
    }

    /// Lists the connections that were woken; calls `special` for the rest.
    pub(super) fn take_woken(&mut self, mut special: impl FnMut(u32)) {
        let mut taken = mem::take(&mut self.taken);
        self.ready.take(&mut taken);
        for &index in &taken {
            match index.checked_sub(FIRST) {
                Some(slot) => self.woken(slot),
                None => special(index),
            }
        }
        self.taken = taken;
    }

    fn woken(&mut self, slot: u32) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let Some(tenant) = &mut place.tenant else { return };
        if mem::take(&mut tenant.unwritten) {
            self.list_flush(slot);
        }
        self.list_read(slot);
    }

    /// Before the driver sleeps; `true`: not now.
    pub(super) fn arm(&mut self, driver: &Waker) -> bool {
        !self.queue.is_empty() || !self.flush.is_empty() || self.ready.arm(driver)
    }

    /// A new tenant; without a socket it is being dialled.
    pub(super) fn insert(&mut self, conn: ConnId, io: Option<Io>) {
        let slot = conn.slot();
        for slot in self.places.len() as u32..=slot {
            let waker = self.ready.waker(FIRST + slot);
            self.places.push(Place {
                waker,
                tenant: None,
                in_queue: false,
                in_flush: false,
                in_starved: false,
            });
        }
        let dialled = io.is_some();
        self.places[conn.index()].tenant =
            Some(Tenant { conn, io, reading: true, ended: false, readable: false, unwritten: false });
        if dialled {
            self.list_read(slot);
        }
    }

    /// The dial has succeeded. `false`: nobody waits for it any more.
    pub(super) fn connected(&mut self, conn: ConnId, io: Io) -> bool {
        match self.tenant(conn) {
            Some(tenant) if tenant.io.is_none() => self.insert(conn, Some(io)),
            _ => return false,
        }
        true
    }

    /// Drops the socket, if the id still names one. `Some(true)`: it was being dialled.
    pub(super) fn remove(&mut self, conn: ConnId) -> Option<bool> {
        let dialled = self.tenant(conn)?.io.is_none();
        self.places[conn.index()].tenant = None;
        Some(dialled)
    }

    pub(super) fn set_reading(&mut self, conn: ConnId, reading: bool) {
        let Some(tenant) = self.tenant(conn) else { return };
        tenant.reading = reading;
        if reading {
            self.list_read(conn.slot());
        }
    }

    pub(super) fn ended(&mut self, conn: ConnId) {
        if let Some(tenant) = self.tenant(conn) {
            tenant.ended = true;
        }
    }

    pub(super) fn flush(&mut self, conn: ConnId) {
        if self.tenant(conn).is_some() {
            self.list_flush(conn.slot());
        }
    }

    fn tenant(&mut self, conn: ConnId) -> Option<&mut Tenant<Io>> {
        self.places.get_mut(conn.index())?.tenant.as_mut().filter(|tenant| tenant.conn == conn)
    }

    pub(super) fn list_read(&mut self, slot: u32) {
        if !mem::replace(&mut self.places[slot as usize].in_queue, true) {
            self.queue.push_back(slot);
        }
    }

    pub(super) fn list_flush(&mut self, slot: u32) {
        if !mem::replace(&mut self.places[slot as usize].in_flush, true) {
            self.flush.push(slot);
        }
    }

    pub(super) fn list_starved(&mut self, slot: u32) {
        if !mem::replace(&mut self.places[slot as usize].in_starved, true) {
            self.starved.push_back(slot);
        }
    }

    /// How many slots are listed to read from.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn next_read(&mut self) -> Option<u32> {
        let slot = self.queue.pop_front()?;
        self.places[slot as usize].in_queue = false;
        Some(slot)
    }

    pub(super) fn has_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    /// Room may have come free: lists a few of those that had none. They take turns.
    pub(super) fn retry_starved(&mut self, limit: usize) {
        for _ in 0..limit.min(self.starved.len()) {
            let Some(slot) = self.starved.pop_front() else { return };
            self.places[slot as usize].in_starved = false;
            self.list_read(slot);
        }
    }

    /// The slots to write to; to be handed back by [`flushed`](Self::flushed).
    pub(super) fn take_flush(&mut self) -> Vec<u32> {
        for &slot in &self.flush {
            self.places[slot as usize].in_flush = false;
        }
        mem::take(&mut self.flush)
    }

    /// Gives the list's memory back.
    pub(super) fn flushed(&mut self, mut list: Vec<u32>) {
        if self.flush.is_empty() {
            list.clear();
            self.flush = list;
        }
    }

    /// Reads once, if there may be something: the machine is asked for room only then, since room that is lent out
    /// to a silent connection is lost to the others.
    pub(super) fn receive<M: Machine>(&mut self, slot: u32, machine: &mut M) -> Received {
        let Place { waker, tenant, .. } = &mut self.places[slot as usize];
        let Some(tenant) = tenant else { return Received::Idle };
        let (true, false, Some(io)) = (tenant.reading, tenant.ended, &mut tenant.io) else {
            return Received::Idle;
        };
        let cx = &mut Context::from_waker(waker);
        if !tenant.readable {
            match retrying(|| io.poll_readable(cx)) {
                Poll::Pending => return Received::Idle,
                Poll::Ready(Err(error)) => return Received::Failed(tenant.conn, error),
                Poll::Ready(Ok(())) => tenant.readable = true,
            }
        }
        let buf = machine.recv_buf(tenant.conn);
        if buf.is_empty() {
            return Received::NoRoom;
        }
        match retrying(|| io.poll_read(cx, buf)) {
            Poll::Pending => {
                tenant.readable = false;
                Received::Idle
            }
            Poll::Ready(Ok(0)) => Received::End(tenant.conn),
            Poll::Ready(Ok(n)) => {
                // A short read has drained the socket; what comes later is asked for without a read.
                tenant.readable = n == buf.len();
                Received::Bytes(tenant.conn, n)
            }
            Poll::Ready(Err(error)) => Received::Failed(tenant.conn, error),
        }
    }

    /// Writes once what the machine has to send.
    pub(super) fn send<M: Machine>(&mut self, slot: u32, machine: &M) -> Sent {
        let Place { waker, tenant, .. } = &mut self.places[slot as usize];
        let Some(tenant) = tenant else { return Sent::Idle };
        let Some(io) = &mut tenant.io else { return Sent::Idle };
        let mut bufs = [&[][..]; SLICES];
        let filled = machine.send_bufs(tenant.conn, &mut bufs);
        if filled == 0 {
            return Sent::Idle;
        }
        let slices = bufs.map(IoSlice::new);
        match retrying(|| io.poll_write(&mut Context::from_waker(waker), &slices[..filled])) {
            Poll::Pending => {
                tenant.unwritten = true;
                Sent::Idle
            }
            Poll::Ready(Ok(0)) => Sent::Failed(tenant.conn, ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(n)) => Sent::Bytes(tenant.conn, n),
            Poll::Ready(Err(error)) => Sent::Failed(tenant.conn, error),
        }
    }
}

/// Signals may interrupt a call a few times; a socket that says so for ever is broken.
pub(super) fn retrying<T>(mut call: impl FnMut() -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    for _ in 0..64 {
        match call() {
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
    Poll::Ready(Err(ErrorKind::Interrupted.into()))
}
