//! Connections: bytes go to and fro in their order, and arrive when the way lets them.
//!
//! As TCP does, a stream loses nothing: where the way is cut, or the host at its end is down, what was sent waits to be
//! sent again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::task::Waker;

use plimsoll_core::id::Id;
use plimsoll_core::time::Instant;

use crate::network::{ListenerId, Network};
use crate::world::{Due, Scene, wait};

/// What streams are; never built.
#[derive(Debug)]
pub(crate) enum StreamKind {}
pub(crate) type StreamId = Id<StreamKind>;

/// What travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cargo {
    /// May I?
    Dial,
    /// You may.
    Accepted,
    /// So many of the bytes that were written.
    Bytes(usize),
    /// There is room again.
    Room,
    /// Nothing more will come.
    End,
    /// The connection is no more.
    Reset,
}

/// How one end stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its dial is under way.
    Dialling,
    Open,
    /// Its process has closed it, or has gone with its host.
    Gone,
}

/// How reading ends, once all bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Orderly,
    Reset,
    Refused,
}

#[derive(Debug)]
struct End {
    host: u32,
    standing: Standing,
    /// Written at the other end and not read here; so many of them have arrived.
    bytes: VecDeque<u8>,
    arrived: usize,
    /// On its way here, in its order.
    flying: VecDeque<(Instant, Cargo)>,
    /// Whether that waits for the way to be free.
    is_held: bool,
    ended: Option<Ended>,
    /// Whether the other end wants to know of room here.
    is_awaited: bool,
    /// Reading and writing wait with the same one.
    waker: Option<Waker>,
}

impl End {
    fn new(host: u32, standing: Standing) -> Self {
        End {
            host,
            standing,
            bytes: VecDeque::new(),
            arrived: 0,
            flying: VecDeque::new(),
            is_held: false,
            ended: None,
            is_awaited: false,
            waker: None,
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// A connection, or one to be. End 0 has dialled.
#[derive(Debug)]
pub(crate) struct Stream {
    ends: [End; 2],
    window: usize,
    door: Option<ListenerId>,
}

impl Stream {
    pub(crate) fn new(from: u32, to: u32, window: usize, door: Option<ListenerId>) -> Self {
        Stream { ends: [End::new(from, Standing::Dialling), End::new(to, Standing::Open)], window, door }
    }

    pub(crate) fn host(&self, side: usize) -> u32 {
        self.ends[side].host
    }

    pub(crate) fn is_held(&self, side: usize) -> bool {
        self.ends[side].is_held
    }

    /// What was held back will arrive then.
    pub(crate) fn release(&mut self, side: usize, at: Instant) {
        let end = &mut self.ends[side];
        end.is_held = false;
        for (arrival, _) in &mut end.flying {
            *arrival = (*arrival).max(at);
        }
    }
}

impl Network {
    /// Sends something to one end.
    pub(crate) fn send(&mut self, id: StreamId, to: usize, cargo: Cargo, scene: &mut Scene<'_>) {
        let Some(stream) = self.streams.get(id) else { return };
        let hosts = (stream.host(1 - to), stream.host(to));
        if !self.is_up(hosts.0) {
            return;
        }
        let bytes = if let Cargo::Bytes(n) = cargo { n } else { 0 };
        let mut at = self.arrival(hosts.0, hosts.1, bytes, scene);
        let Some(stream) = self.streams.get_mut(id) else { return };
        let end = &mut stream.ends[to];
        if let Some(&(last, _)) = end.flying.back() {
            at = at.max(last);
        }
        end.flying.push_back((at, cargo));
        if !end.is_held {
            scene.agenda.add(at, Due::arrival(id, to));
        }
    }

    /// Something was to arrive.
    pub(crate) fn arrives(&mut self, id: StreamId, side: usize, scene: &mut Scene<'_>) {
        loop {
            let Some(stream) = self.streams.get(id) else { return };
            let is_cut = self.is_cut(stream.host(1 - side), stream.host(side));
            let Some(stream) = self.streams.get_mut(id) else { return };
            let end = &mut stream.ends[side];
            if end.flying.front().is_none_or(|&(at, _)| at > scene.now) {
                return;
            }
            if is_cut {
                end.is_held = true;
                return;
            }
            let Some((_, cargo)) = end.flying.pop_front() else { return };
            self.takes(id, side, cargo, scene);
        }
    }

    fn takes(&mut self, id: StreamId, side: usize, cargo: Cargo, scene: &mut Scene<'_>) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let door = stream.door;
        let end = &mut stream.ends[side];
        if end.standing == Standing::Gone {
            // Whoever still sends is told that nobody is there.
            if matches!(cargo, Cargo::Dial | Cargo::Bytes(_)) {
                self.send(id, 1 - side, Cargo::Reset, scene);
            }
            return;
        }
        match cargo {
            Cargo::Dial => return self.dialled(id, door, scene),
            Cargo::Accepted => end.standing = Standing::Open,
            Cargo::Bytes(n) => end.arrived += n,
            Cargo::Room => {}
            Cargo::End => end.ended = end.ended.or(Some(Ended::Orderly)),
            Cargo::Reset if end.standing == Standing::Dialling => end.ended = Some(Ended::Refused),
            Cargo::Reset => end.ended = Some(Ended::Reset),
        }
        end.wake();
    }

    fn dialled(&mut self, id: StreamId, door: Option<ListenerId>, scene: &mut Scene<'_>) {
        if self.knock(id, door) {
            return self.send(id, 0, Cargo::Accepted, scene);
        }
        self.send(id, 0, Cargo::Reset, scene);
        self.leave(id, 1);
    }

    /// Whether a dial has come to an end.
    pub(crate) fn connected(&mut self, id: StreamId, waker: &Waker) -> Option<io::Result<()>> {
        let end = &mut self.streams.get_mut(id)?.ends[0];
        match (end.standing, end.ended) {
            (_, Some(Ended::Refused | Ended::Reset)) => Some(Err(ErrorKind::ConnectionRefused.into())),
            (Standing::Open, _) => Some(Ok(())),
            _ => {
                wait(&mut end.waker, waker);
                None
            }
        }
    }

    /// Reads; `None` while there is nothing.
    pub(crate) fn read(
        &mut self,
        id: StreamId,
        side: usize,
        buf: &mut [u8],
        waker: &Waker,
        scene: &mut Scene<'_>,
    ) -> Option<io::Result<usize>> {
        let Some(stream) = self.streams.get_mut(id) else { return Some(Err(ErrorKind::NotConnected.into())) };
        let end = &mut stream.ends[side];
        let n = end.arrived.min(buf.len());
        if n == 0 {
            return match end.ended {
                Some(Ended::Orderly) => Some(Ok(0)),
                Some(Ended::Reset | Ended::Refused) => Some(Err(ErrorKind::ConnectionReset.into())),
                None => {
                    wait(&mut end.waker, waker);
                    None
                }
            };
        }
        io::Read::read_exact(&mut end.bytes, &mut buf[..n]).expect("so many have arrived");
        end.arrived -= n;
        if std::mem::take(&mut end.is_awaited) {
            self.send(id, 1 - side, Cargo::Room, scene);
        }
        Some(Ok(n))
    }

    /// Whether a read would not wait.
    pub(crate) fn readable(&mut self, id: StreamId, side: usize, waker: &Waker) -> bool {
        let Some(stream) = self.streams.get_mut(id) else { return true };
        let end = &mut stream.ends[side];
        let is_readable = end.arrived > 0 || end.ended.is_some();
        if !is_readable {
            wait(&mut end.waker, waker);
        }
        is_readable
    }

    /// Writes what there is room for; `None` while there is none.
    pub(crate) fn write(
        &mut self,
        id: StreamId,
        side: usize,
        bufs: &[IoSlice<'_>],
        waker: &Waker,
        scene: &mut Scene<'_>,
    ) -> Option<io::Result<usize>> {
        let Some(stream) = self.streams.get_mut(id) else { return Some(Err(ErrorKind::NotConnected.into())) };
        if matches!(stream.ends[side].ended, Some(Ended::Reset | Ended::Refused)) {
            return Some(Err(ErrorKind::BrokenPipe.into()));
        }
        let hosts = (stream.host(side), stream.host(1 - side));
        let there = &mut stream.ends[1 - side];
        let room = stream.window.saturating_sub(there.bytes.len());
        if room == 0 {
            there.is_awaited = true;
            wait(&mut stream.ends[side].waker, waker);
            return None;
        }
        let mut left = room;
        for buf in bufs {
            let part = &buf[..left.min(buf.len())];
            there.bytes.extend(part);
            left -= part.len();
        }
        let n = room - left;
        let packet = self.link(hosts.0, hosts.1).packet.map_or(n, |packet| packet.get() as usize);
        let mut unsent = n;
        while unsent > 0 {
            let part = unsent.min(packet);
            self.send(id, 1 - side, Cargo::Bytes(part), scene);
            unsent -= part;
        }
        Some(Ok(n))
    }

    /// The process at one end has closed it.
    pub(crate) fn close(&mut self, id: StreamId, side: usize, scene: &mut Scene<'_>) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let here = &stream.ends[side];
        if here.standing == Standing::Gone {
            return;
        }
        if matches!(here.ended, None | Some(Ended::Orderly)) {
            // As the kernels do: what was not read is told by a reset.
            let cargo = if here.arrived == 0 { Cargo::End } else { Cargo::Reset };
            self.send(id, 1 - side, cargo, scene);
        }
        self.leave(id, side);
    }

    /// Nobody is at this end any more.
    fn leave(&mut self, id: StreamId, side: usize) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.ends[side].standing = Standing::Gone;
        stream.ends[side].waker = None;
        if stream.ends[1 - side].standing == Standing::Gone {
            self.streams.remove(id);
        }
    }

    /// All that ran on a host is gone, without a word.
    pub(crate) fn abandon(&mut self, host: u32) {
        for slot in 0..self.streams.slots() as u32 {
            for side in 0..2 {
                let Some(id) = self.streams.id_at(slot) else { break };
                if self.streams.get(id).is_some_and(|stream| stream.host(side) == host) {
                    self.leave(id, side);
                }
            }
        }
    }

    /// Both ends of all connections between two hosts are told that they are no more.
    pub(crate) fn reset_between(&mut self, a: u32, b: u32, scene: &mut Scene<'_>) {
        for slot in 0..self.streams.slots() as u32 {
            let Some(id) = self.streams.id_at(slot) else { continue };
            let Some(stream) = self.streams.get_mut(id) else { continue };
            let hosts = (stream.host(0), stream.host(1));
            if hosts == (a, b) || hosts == (b, a) {
                for side in 0..2 {
                    self.send(id, side, Cargo::Reset, scene);
                }
            }
        }
    }
}
