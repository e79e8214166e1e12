//! Hosts, and what a way from one to the other is like.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use plimsoll_core::id::Table;
use plimsoll_core::time::{Instant, nanos};

use crate::doors::{Door, FIRST_PORT, Listener, ListenerId, ListenerKind};
use crate::stream::{Spare, Stream, StreamId, StreamKind};
use crate::world::{Due, Scene};

/// What a way from one host to another is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// How long everything takes. Half a millisecond by default.
    pub latency: Duration,
    /// How much longer at most, by even chance. Nothing by default.
    pub jitter: Duration,
    /// How many of a thousand packets take a [`tail`](Self::tail) longer, as one does that is lost and sent again. None by
    /// default.
    pub late_per_mille: u32,
    /// How much longer those take. 200 ms by default, the least time after which Linux sends again.
    pub tail: Duration,
    /// Bytes per second; without limit by default.
    pub bandwidth: Option<NonZeroU64>,
    /// Bytes that travel together, at most: what is larger arrives in parts. Without limit by default.
    pub packet: Option<NonZeroU32>,
    /// Bytes on their way or not yet read, at most, per connection. 256 KiB by default.
    pub window: NonZeroU32,
}

/// Between two hosts, if nothing else was said.
const USUAL: Link = Link {
    latency: Duration::from_micros(500),
    jitter: Duration::ZERO,
    late_per_mille: 0,
    tail: Duration::from_millis(200),
    bandwidth: None,
    packet: None,
    window: NonZeroU32::new(256 * 1024).expect("not zero"),
};

/// Between processes of one host.
const LOOPBACK: Link = Link { latency: Duration::from_micros(10), ..USUAL };

impl Default for Link {
    fn default() -> Self {
        USUAL
    }
}

#[derive(Debug)]
pub(crate) struct HostState {
    name: String,
    pub(crate) ip: IpAddr,
    paused_until: Option<Instant>,
    /// Whether it lets nobody in any more.
    pub(crate) refuses: bool,
    /// By how much its wall clock is wrong, in milliseconds.
    skew_ms: i64,
    pub(crate) next_port: u16,
    /// All its connections; those that are no more among them are swept out now and then.
    streams: Vec<StreamId>,
    /// How many there may be until the next sweep.
    sweep_at: usize,
}

/// What becomes of those who run on a host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// They are gone.
    Crashed(u32),
    /// They stand still.
    Paused(u32),
    /// They go on.
    Resumed(u32),
    /// Each turn takes so long from now on.
    Slowed(u32, Duration),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) hosts: Vec<HostState>,
    by_name: BTreeMap<String, u32>,
    pub(crate) by_ip: BTreeMap<IpAddr, u32>,
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) doors: BTreeMap<(u32, Door), ListenerId>,
    pub(crate) listeners: Table<ListenerKind, Listener>,
    pub(crate) streams: Table<StreamKind, Stream>,
    pub(crate) spare: Spare,
    usual: Link,
    /// Those that are not as usual.
    links: BTreeMap<(u32, u32), Link>,
    /// When a way of limited bandwidth is free again.
    free_at: BTreeMap<(u32, u32), Instant>,
    /// Ways on which nothing arrives, and for how many reasons.
    cut: BTreeMap<(u32, u32), u32>,
    /// Hosts that are not there.
    down: BTreeSet<u32>,
    /// What the executor has not been told yet.
    changes: Vec<Change>,
}

impl Network {
    /// Adds a host with a name and an address of its own, or finds the one of that name.
    pub(crate) fn host(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.by_name.get(name) {
            return id;
        }
        let id = self.hosts.len() as u32;
        // 10.0.0.0/8 holds more than fit into memory.
        let [_, b, c, d] = (id + 1).to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(10, b, c, d));
        self.hosts.push(HostState {
            name: name.into(),
            ip,
            paused_until: None,
            refuses: false,
            skew_ms: 0,
            next_port: FIRST_PORT,
            streams: Vec::new(),
            sweep_at: 16,
        });
        self.by_name.insert(name.into(), id);
        self.by_ip.insert(ip, id);
        self.names.insert(name.into(), vec![ip]);
        id
    }

    pub(crate) fn name(&self, host: u32) -> &str {
        &self.hosts[host as usize].name
    }

    pub(crate) fn skew_ms(&self, host: u32) -> i64 {
        self.hosts[host as usize].skew_ms
    }

    pub(crate) fn set_skew(&mut self, host: u32, ms: i64) {
        self.hosts[host as usize].skew_ms = ms;
    }

    pub(crate) fn set_refuses(&mut self, host: u32, refuses: bool) {
        self.hosts[host as usize].refuses = refuses;
    }

    pub(crate) fn is_up(&self, host: u32) -> bool {
        self.down.is_empty() || !self.down.contains(&host)
    }

    /// A connection of a host.
    pub(crate) fn list(&mut self, host: u32, stream: StreamId) {
        let HostState { streams, sweep_at, .. } = &mut self.hosts[host as usize];
        if streams.len() >= *sweep_at {
            streams.retain(|&id| self.streams.get(id).is_some());
            *sweep_at = 2 * streams.len().max(8);
        }
        streams.push(stream);
    }

    /// The connections of a host, in the order in which they were dialled.
    fn of_host(&self, host: u32) -> Vec<StreamId> {
        let streams = self.hosts[host as usize].streams.iter();
        streams.copied().filter(|&id| self.streams.get(id).is_some()).collect()
    }

    /// The connections between two hosts, with the end that is at the first one.
    pub(crate) fn between(&self, a: u32, b: u32) -> Vec<(StreamId, usize)> {
        let mut found = Vec::new();
        for id in self.of_host(a) {
            let ends = self.streams.get(id).map(|stream| (stream.host(0), stream.host(1)));
            match ends {
                Some(ends) if ends == (a, b) => found.push((id, 0)),
                Some(ends) if ends == (b, a) => found.push((id, 1)),
                _ => {}
            }
        }
        found
    }

    pub(crate) fn link(&self, from: u32, to: u32) -> &Link {
        match if self.links.is_empty() { None } else { self.links.get(&(from, to)) } {
            Some(link) => link,
            None if from == to => &LOOPBACK,
            None => &self.usual,
        }
    }

    pub(crate) fn set_usual(&mut self, link: Link) {
        self.usual = link;
    }

    pub(crate) fn set_link(&mut self, from: u32, to: u32, link: Link) {
        self.links.insert((from, to), link);
    }

    /// When a packet of so many bytes arrives that is sent now.
    pub(crate) fn arrival(&mut self, from: u32, to: u32, bytes: u32, scene: &mut Scene<'_>) -> Instant {
        let link = self.link(from, to);
        let mut takes = link.latency;
        if !link.jitter.is_zero() {
            takes += Duration::from_nanos(scene.rng.up_to(nanos(link.jitter)));
        }
        if link.late_per_mille > 0 && scene.rng.below(1_000) < link.late_per_mille {
            takes += link.tail;
        }
        let Some(bandwidth) = link.bandwidth else { return scene.now + takes };
        let fills = u64::from(bytes) * 1_000_000_000 / bandwidth;
        let free_at = self.free_at.entry((from, to)).or_default();
        *free_at = scene.now.max(*free_at) + Duration::from_nanos(fills);
        *free_at + takes
    }

    /// Whether nothing arrives on this way now.
    pub(crate) fn is_cut(&self, from: u32, to: u32) -> bool {
        !self.is_up(to) || (!self.cut.is_empty() && self.cut.contains_key(&(from, to)))
    }

    pub(crate) fn cut(&mut self, from: u32, to: u32) {
        *self.cut.entry((from, to)).or_default() += 1;
    }

    /// One cut of this way is over. With the last, what has been held back is sent again.
    pub(crate) fn join(&mut self, from: u32, to: u32, scene: &mut Scene<'_>) {
        let Some(cuts) = self.cut.get_mut(&(from, to)) else { return };
        *cuts -= 1;
        if *cuts == 0 {
            self.cut.remove(&(from, to));
            for (id, side) in self.between(to, from) {
                self.send_again(id, side, scene);
            }
        }
    }

    /// The host is gone at once: it says nothing to anybody any more.
    pub(crate) fn crash(&mut self, host: u32) {
        self.down.insert(host);
        self.changes.push(Change::Crashed(host));
        for id in self.of_host(host) {
            self.abandon(id, host);
        }
        let doors = (host, Door::FIRST)..(host + 1, Door::FIRST);
        let doors: Vec<_> = self.doors.range(doors).map(|(door, _)| door.clone()).collect();
        for door in doors {
            if let Some(listener) = self.doors.remove(&door) {
                self.listeners.remove(listener);
            }
        }
    }

    /// All that runs on the host is gone; its kernel stays, and says so.
    pub(crate) fn kill(&mut self, host: u32) {
        self.changes.push(Change::Crashed(host));
    }

    /// The host comes back, once all that ran on it is gone.
    pub(crate) fn restart(&mut self, host: u32, scene: &mut Scene<'_>) {
        scene.agenda.add(scene.now, Due::Restart(host));
    }

    /// The host is back. Who still believes to be connected to it will be told otherwise.
    pub(crate) fn is_back(&mut self, host: u32, scene: &mut Scene<'_>) {
        if !self.down.remove(&host) {
            return;
        }
        self.hosts[host as usize].paused_until = None;
        self.changes.push(Change::Resumed(host));
        for id in self.of_host(host) {
            for side in 0..2 {
                if self.streams.get(id).is_some_and(|stream| stream.host(side) == host) {
                    self.send_again(id, side, scene);
                }
            }
        }
    }

    /// Nothing runs on the host until then; its kernel goes on.
    pub(crate) fn pause(&mut self, host: u32, until: Instant, scene: &mut Scene<'_>) {
        let paused = &mut self.hosts[host as usize].paused_until;
        *paused = (*paused).max(Some(until));
        self.changes.push(Change::Paused(host));
        scene.agenda.add(until, Due::Resume(host));
    }

    pub(crate) fn resume(&mut self, host: u32, now: Instant) {
        let paused = &mut self.hosts[host as usize].paused_until;
        if paused.is_some_and(|until| until <= now) {
            *paused = None;
            self.changes.push(Change::Resumed(host));
        }
    }

    pub(crate) fn slow(&mut self, host: u32, turn: Duration) {
        self.changes.push(Change::Slowed(host, turn));
    }

    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}
