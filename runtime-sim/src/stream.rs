//! Connections: bytes go to and fro in their order, and arrive when the way lets them.
//!
//! As TCP does, a stream loses nothing: where the way is cut, or the host at its end is down, what was sent waits to be
//! sent again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::id::Id;
use plimsoll_core::time::Instant;

use crate::doors::Knocks;
use crate::network::Network;
use crate::world::{Due, Scene, wait};

/// What streams are; never built.
#[derive(Debug)]
pub(crate) enum StreamKind {}
pub(crate) type StreamId = Id<StreamKind>;

/// What travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cargo {
    /// May I? The door was full so many times.
    Dial { again: u8 },
    /// You may.
    Accepted,
    /// So many of the bytes that were written.
    Bytes(u32),
    /// There is room again.
    Room,
    /// Nothing more will come.
    End,
    /// The connection is no more.
    Reset,
    /// It has taken too long.
    TimedOut,
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
    TimedOut,
}

impl Ended {
    /// What reading says then; the end of the stream is no error.
    fn error(self) -> Option<io::Error> {
        match self {
            Ended::Orderly => None,
            Ended::Reset => Some(ErrorKind::ConnectionReset.into()),
            Ended::TimedOut => Some(ErrorKind::TimedOut.into()),
        }
    }
}

/// There may be millions of these, and most of them are silent: what is only needed while something travels is lent.
#[derive(Debug)]
struct End {
    host: u32,
    standing: Standing,
    ended: Option<Ended>,
    /// Whether the other end wants to know of room here.
    is_awaited: bool,
    /// Reading and writing wait with the same one.
    waker: Option<Waker>,
    traffic: Option<Box<Traffic>>,
}

/// What is on its way to one end, or was not read there.
#[derive(Debug, Default)]
struct Traffic {
    /// In its order, and when it arrives if nothing before it is late.
    flying: VecDeque<(Instant, Cargo)>,
    /// Whether that waits for the way to be free.
    is_held: bool,
    /// Written at the other end and not read here; so many of them have arrived.
    bytes: VecDeque<u8>,
    arrived: u32,
}

/// Kept to be lent again.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    #[expect(clippy::vec_box, reason = "the boxes are what is lent")]
    kept: Vec<Box<Traffic>>,
}

impl Spare {
    /// So many are kept, each with room for so many bytes.
    const KEPT: usize = 4_096;
    const BYTES: usize = 16 * 1024;

    fn take(&mut self) -> Box<Traffic> {
        self.kept.pop().unwrap_or_default()
    }

    fn give(&mut self, mut traffic: Box<Traffic>) {
        if self.kept.len() < Spare::KEPT {
            traffic.bytes.shrink_to(Spare::BYTES);
            self.kept.push(traffic);
        }
    }
}

impl End {
    fn new(host: u32, standing: Standing) -> Self {
        End { host, standing, ended: None, is_awaited: false, waker: None, traffic: None }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn arrived(&self) -> u32 {
        self.traffic.as_ref().map_or(0, |traffic| traffic.arrived)
    }

    /// Bytes on their way, or not read.
    fn unread(&self) -> usize {
        self.traffic.as_ref().map_or(0, |traffic| traffic.bytes.len())
    }

    fn traffic(&mut self, spare: &mut Spare) -> &mut Traffic {
        self.traffic.get_or_insert_with(|| spare.take())
    }

    /// Gives back what was lent, if there is nothing in it.
    fn tidy(&mut self, spare: &mut Spare) {
        let is_empty = |traffic: &mut Box<Traffic>| traffic.flying.is_empty() && traffic.bytes.is_empty();
        if let Some(traffic) = self.traffic.take_if(is_empty) {
            spare.give(traffic);
        }
    }
}

/// A connection. The first of its ends has dialled.
#[derive(Debug)]
pub(crate) struct Stream {
    ends: [End; 2],
    window: u32,
    pub(crate) knocks_at: Knocks,
    /// Nothing on the way knows of it any more: whatever is sent is lost.
    is_forgotten: bool,
    /// Which ends have said that they write no more.
    finished: [bool; 2],
}

impl Stream {
    pub(crate) fn new(from: u32, to: u32, window: u32, knocks_at: Knocks) -> Self {
        let ends = [End::new(from, Standing::Dialling), End::new(to, Standing::Open)];
        Stream { ends, window, knocks_at, is_forgotten: false, finished: [false; 2] }
    }

    pub(crate) fn host(&self, side: usize) -> u32 {
        self.ends[side].host
    }
}

impl Network {
    /// Sends something to one end.
    pub(crate) fn send(&mut self, id: StreamId, to: usize, cargo: Cargo, scene: &mut Scene<'_>) {
        self.send_after(id, to, cargo, Duration::ZERO, scene);
    }

    pub(crate) fn send_after(
        &mut self,
        id: StreamId,
        to: usize,
        cargo: Cargo,
        delay: Duration,
        scene: &mut Scene<'_>,
    ) {
        let Some(stream) = self.streams.get(id) else { return };
        let hosts = (stream.host(1 - to), stream.host(to));
        if stream.is_forgotten || !self.is_up(hosts.0) {
            return;
        }
        let bytes = if let Cargo::Bytes(n) = cargo { n } else { 0 };
        let at = self.arrival(hosts.0, hosts.1, bytes, scene) + delay;
        let Some(stream) = self.streams.get_mut(id) else { return };
        let traffic = stream.ends[to].traffic(&mut self.spare);
        traffic.flying.push_back((at, cargo));
        if !traffic.is_held {
            scene.agenda.add(at, Due::arrival(id, to));
        }
    }

    /// What was held back for one end is sent again.
    pub(crate) fn send_again(&mut self, id: StreamId, side: usize, scene: &mut Scene<'_>) {
        let Some(stream) = self.streams.get(id) else { return };
        let hosts = (stream.host(1 - side), stream.host(side));
        if !stream.ends[side].traffic.as_ref().is_some_and(|traffic| traffic.is_held) {
            return;
        }
        let at = self.arrival(hosts.0, hosts.1, 0, scene);
        let Some(stream) = self.streams.get_mut(id) else { return };
        let traffic = stream.ends[side].traffic(&mut self.spare);
        traffic.is_held = false;
        for (arrival, _) in &mut traffic.flying {
            *arrival = (*arrival).max(at);
            scene.agenda.add(*arrival, Due::arrival(id, side));
        }
    }

    /// Something was to arrive.
    pub(crate) fn arrives(&mut self, id: StreamId, side: usize, scene: &mut Scene<'_>) {
        loop {
            let Some(stream) = self.streams.get(id) else { return };
            let is_cut = self.is_cut(stream.host(1 - side), stream.host(side));
            let Some(stream) = self.streams.get_mut(id) else { return };
            let end = &mut stream.ends[side];
            let Some(traffic) = &mut end.traffic else { return };
            if traffic.flying.front().is_none_or(|&(at, _)| at > scene.now) {
                return;
            }
            if is_cut {
                traffic.is_held = true;
                return;
            }
            let Some((_, cargo)) = traffic.flying.pop_front() else { return };
            if let Cargo::Bytes(n) = cargo {
                traffic.arrived += n;
            } else {
                end.tidy(&mut self.spare);
            }
            self.takes(id, side, cargo, scene);
        }
    }

    fn takes(&mut self, id: StreamId, side: usize, cargo: Cargo, scene: &mut Scene<'_>) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let end = &mut stream.ends[side];
        if end.standing == Standing::Gone {
            // Whoever still sends is told that nobody is there.
            if matches!(cargo, Cargo::Dial { .. } | Cargo::Bytes(_)) {
                self.send(id, 1 - side, Cargo::Reset, scene);
            }
            return;
        }
        match cargo {
            Cargo::Dial { again } => return self.dialled(id, again, scene),
            Cargo::Accepted => end.standing = Standing::Open,
            Cargo::Bytes(_) | Cargo::Room => {}
            Cargo::End => end.ended = end.ended.or(Some(Ended::Orderly)),
            Cargo::Reset => end.ended = Some(Ended::Reset),
            Cargo::TimedOut => end.ended = Some(Ended::TimedOut),
        }
        end.wake();
    }

    /// Whether a dial has come to an end.
    pub(crate) fn connected(&mut self, id: StreamId, waker: &Waker) -> Option<io::Result<()>> {
        let end = &mut self.streams.get_mut(id)?.ends[0];
        match (end.standing, end.ended) {
            (Standing::Dialling, Some(Ended::Reset)) => Some(Err(ErrorKind::ConnectionRefused.into())),
            (_, Some(Ended::TimedOut)) => Some(Err(ErrorKind::TimedOut.into())),
            (Standing::Dialling, _) => {
                wait(&mut end.waker, waker);
                None
            }
            _ => Some(Ok(())),
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
        let Some(traffic) = end.traffic.as_mut().filter(|traffic| traffic.arrived > 0) else {
            if let Some(ended) = end.ended {
                return Some(ended.error().map_or(Ok(0), Err));
            }
            wait(&mut end.waker, waker);
            return None;
        };
        let n = buf.len().min(traffic.arrived as usize);
        traffic.bytes.read_exact(&mut buf[..n]).expect("so many have arrived");
        traffic.arrived -= n as u32;
        end.tidy(&mut self.spare);
        if std::mem::take(&mut end.is_awaited) {
            self.send(id, 1 - side, Cargo::Room, scene);
        }
        Some(Ok(n))
    }

    /// Whether a read would not wait.
    pub(crate) fn readable(&mut self, id: StreamId, side: usize, waker: &Waker) -> bool {
        let Some(stream) = self.streams.get_mut(id) else { return true };
        let end = &mut stream.ends[side];
        let is_readable = end.ended.is_some() || end.arrived() > 0;
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
        if stream.finished[side] || stream.ends[side].ended.is_some_and(|ended| ended != Ended::Orderly) {
            return Some(Err(ErrorKind::BrokenPipe.into()));
        }
        let hosts = (stream.host(side), stream.host(1 - side));
        let there = &mut stream.ends[1 - side];
        let room = (stream.window as usize).saturating_sub(there.unread());
        if room == 0 {
            there.is_awaited = true;
            wait(&mut stream.ends[side].waker, waker);
            return None;
        }
        let bytes = &mut there.traffic(&mut self.spare).bytes;
        let mut left = room;
        for buf in bufs {
            let part = &buf[..left.min(buf.len())];
            scene.history.bytes(part);
            bytes.extend(part);
            left -= part.len();
        }
        let n = (room - left) as u32;
        let packet = self.link(hosts.0, hosts.1).packet.map_or(n, |packet| packet.get());
        let mut unsent = n;
        while unsent > 0 {
            let part = unsent.min(packet);
            self.send(id, 1 - side, Cargo::Bytes(part), scene);
            unsent -= part;
        }
        Some(Ok(n as usize))
    }

    /// The process at one end writes no more, and reads on.
    pub(crate) fn finish(&mut self, id: StreamId, side: usize, scene: &mut Scene<'_>) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if !std::mem::replace(&mut stream.finished[side], true)
            && stream.ends[side].ended != Some(Ended::Reset)
        {
            self.send(id, 1 - side, Cargo::End, scene);
        }
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
            let cargo = if here.arrived() == 0 { Cargo::End } else { Cargo::Reset };
            self.send(id, 1 - side, cargo, scene);
        }
        self.leave(id, side);
    }

    /// Nobody is at this end any more.
    pub(crate) fn leave(&mut self, id: StreamId, side: usize) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.ends[side].standing = Standing::Gone;
        stream.ends[side].waker = None;
        if stream.ends[1 - side].standing == Standing::Gone {
            self.streams.remove(id);
        }
    }

    /// The host at an end, or at both, is gone without a word; so is what it would have sent again.
    pub(crate) fn abandon(&mut self, id: StreamId, host: u32) {
        for side in 0..2 {
            let Some(stream) = self.streams.get_mut(id) else { return };
            if stream.host(side) != host {
                continue;
            }
            let there = &mut stream.ends[1 - side];
            if let Some(traffic) = there.traffic.as_mut().filter(|traffic| traffic.is_held) {
                traffic.flying.clear();
                traffic.bytes.truncate(traffic.arrived as usize);
                traffic.is_held = false;
                there.tidy(&mut self.spare);
            }
            self.leave(id, side);
        }
    }

    /// Both ends of all connections between two hosts are told that they are no more.
    pub(crate) fn reset_between(&mut self, a: u32, b: u32, scene: &mut Scene<'_>) {
        for (id, _) in self.between(a, b) {
            for side in 0..2 {
                self.send(id, side, Cargo::Reset, scene);
            }
        }
    }

    /// Whatever is sent on the connections between two hosts from now on is lost.
    pub(crate) fn forget_between(&mut self, a: u32, b: u32) {
        for (id, _) in self.between(a, b) {
            if let Some(stream) = self.streams.get_mut(id) {
                stream.is_forgotten = true;
            }
        }
    }
}
