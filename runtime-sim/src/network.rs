//! Hosts, and who can reach whom: names, addresses, listeners, and what a way from one to the other is like.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::drive::Address;
use plimsoll_core::id::{Id, Table};
use plimsoll_core::time::{Instant, nanos};

use crate::stream::{Cargo, Stream, StreamId};
use crate::world::{Due, Scene};

/// The first port that is given to whoever asks for any.
const FIRST_PORT: u16 = 49_152;

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

impl Default for Link {
    fn default() -> Self {
        Link {
            latency: Duration::from_micros(500),
            jitter: Duration::ZERO,
            late_per_mille: 0,
            tail: Duration::from_millis(200),
            bandwidth: None,
            packet: None,
            window: NonZeroU32::new(256 * 1024).expect("not zero"),
        }
    }
}

impl Link {
    /// Between processes of one host.
    fn loopback() -> Self {
        Link { latency: Duration::from_micros(10), ..Link::default() }
    }
}

/// What listeners are; never built.
#[derive(Debug)]
pub(crate) enum ListenerKind {}
pub(crate) type ListenerId = Id<ListenerKind>;

/// Where something listens on a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Door {
    Port(u16),
    Path(PathBuf),
}

#[derive(Debug)]
struct Listener {
    host: u32,
    door: Door,
    backlog: usize,
    queue: VecDeque<StreamId>,
    wakers: Vec<Waker>,
    /// How many transports share it.
    shared: usize,
}

#[derive(Debug)]
struct HostState {
    name: String,
    ip: IpAddr,
    is_up: bool,
    paused_until: Option<Instant>,
    /// By how much its wall clock is wrong, in milliseconds.
    skew_ms: i64,
    next_port: u16,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Network {
    hosts: Vec<HostState>,
    by_ip: BTreeMap<IpAddr, u32>,
    names: BTreeMap<String, Vec<IpAddr>>,
    doors: BTreeMap<(u32, Door), ListenerId>,
    listeners: Table<ListenerKind, Listener>,
    pub(crate) streams: Table<crate::stream::StreamKind, Stream>,
    usual: Link,
    /// Those that are not as usual.
    links: BTreeMap<(u32, u32), Link>,
    /// When a way of limited bandwidth is free again.
    free_at: BTreeMap<(u32, u32), Instant>,
    /// Ways on which nothing arrives.
    cut: BTreeSet<(u32, u32)>,
    /// Hosts whose tasks are to be dropped.
    crashed: Vec<u32>,
    /// Hosts whose tasks are to look around again.
    resumed: Vec<u32>,
}

impl Network {
    /// Adds a host with a name and an address of its own, or finds the one of that name.
    pub(crate) fn host(&mut self, name: &str) -> u32 {
        if let Some(at) = self.hosts.iter().position(|host| host.name == name) {
            return at as u32;
        }
        let id = self.hosts.len() as u32;
        // 10.0.0.0/8 holds more than fit into memory.
        let [_, b, c, d] = (id + 1).to_be_bytes();
        let ip = IpAddr::V4(Ipv4Addr::new(10, b, c, d));
        self.hosts.push(HostState {
            name: name.into(),
            ip,
            is_up: true,
            paused_until: None,
            skew_ms: 0,
            next_port: FIRST_PORT,
        });
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

    pub(crate) fn is_up(&self, host: u32) -> bool {
        self.hosts[host as usize].is_up
    }

    /// What a name (`host:port`) means to a host.
    pub(crate) fn resolve(&self, from: u32, name: &str) -> io::Result<Vec<SocketAddr>> {
        let unknown = || io::Error::new(ErrorKind::NotFound, format!("nobody has the name {name}"));
        let (host, port) = name.rsplit_once(':').ok_or_else(unknown)?;
        let port = port.parse().map_err(|_| unknown())?;
        if host == "localhost" {
            return Ok(vec![(self.hosts[from as usize].ip, port).into()]);
        }
        let ips = self.names.get(host).ok_or_else(unknown)?;
        Ok(ips.iter().map(|&ip| (ip, port).into()).collect())
    }

    /// From now on `name` means these hosts, in this order.
    pub(crate) fn rename(&mut self, name: &str, hosts: &[u32]) {
        let ips = hosts.iter().map(|&host| self.hosts[host as usize].ip).collect();
        self.names.insert(name.into(), ips);
    }

    /// Listens; 0 is any port.
    pub(crate) fn listen(
        &mut self,
        host: u32,
        at: &Address,
        backlog: usize,
        shared: usize,
    ) -> io::Result<(ListenerId, Address)> {
        let state = &mut self.hosts[host as usize];
        let (door, address) = match at {
            Address::Unix(path) => (Door::Path(path.clone()), at.clone()),
            Address::Tcp(address) => {
                let mut port = address.port();
                if port == 0 {
                    port = state.next_port;
                    state.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
                }
                (Door::Port(port), SocketAddr::from((state.ip, port)).into())
            }
        };
        if self.doors.contains_key(&(host, door.clone())) {
            return Err(io::Error::new(
                ErrorKind::AddrInUse,
                format!("somebody listens at {address} already"),
            ));
        }
        let listener = Listener {
            host,
            door: door.clone(),
            backlog,
            queue: VecDeque::new(),
            wakers: Vec::new(),
            shared,
        };
        let id = self.listeners.insert(listener);
        self.doors.insert((host, door), id);
        Ok((id, address))
    }

    /// The next who has connected, and from where.
    pub(crate) fn accept(&mut self, id: ListenerId, waker: &Waker) -> Option<(StreamId, SocketAddr)> {
        let listener = self.listeners.get_mut(id)?;
        while let Some(stream) = listener.queue.pop_front() {
            if let Some(found) = self.streams.get(stream) {
                let from = self.hosts[found.host(0) as usize].ip;
                return Some((stream, (from, FIRST_PORT).into()));
            }
        }
        listener.wakers.retain(|old| !old.will_wake(waker));
        listener.wakers.push(waker.clone());
        None
    }

    /// One of those who share the listener has stopped; with the last, those in the queue are refused.
    pub(crate) fn stop_listening(&mut self, id: ListenerId, scene: &mut Scene<'_>) {
        let Some(listener) = self.listeners.get_mut(id) else { return };
        listener.shared -= 1;
        if listener.shared > 0 {
            return;
        }
        let Some(listener) = self.listeners.remove(id) else { return };
        self.doors.remove(&(listener.host, listener.door));
        for stream in listener.queue {
            self.close(stream, 1, scene);
        }
    }

    /// Begins to connect; the stream's first end learns how that ends.
    pub(crate) fn dial(&mut self, from: u32, to: &Address, scene: &mut Scene<'_>) -> io::Result<StreamId> {
        let (host, door) = match to {
            Address::Unix(path) => (from, Door::Path(path.clone())),
            Address::Tcp(address) if address.ip().is_loopback() => (from, Door::Port(address.port())),
            Address::Tcp(address) => match self.by_ip.get(&address.ip()) {
                Some(&host) => (host, Door::Port(address.port())),
                None => return Err(io::Error::new(ErrorKind::HostUnreachable, format!("no host is {to}"))),
            },
        };
        let knocks = self.doors.get(&(host, door)).copied();
        let window = self.link(from, host).window.get() as usize;
        let stream = self.streams.insert(Stream::new(from, host, window, knocks));
        self.send(stream, 1, Cargo::Dial, scene);
        Ok(stream)
    }

    /// Somebody knocks at the door that `stream` is for. `false`: there is nobody, or no room.
    pub(crate) fn knock(&mut self, stream: StreamId, door: Option<ListenerId>) -> bool {
        let Some(listener) = door.and_then(|door| self.listeners.get_mut(door)) else { return false };
        if listener.queue.len() >= listener.backlog {
            return false;
        }
        listener.queue.push_back(stream);
        listener.wakers.drain(..).for_each(Waker::wake);
        true
    }

    pub(crate) fn link(&self, from: u32, to: u32) -> Link {
        match self.links.get(&(from, to)) {
            Some(link) => *link,
            None if from == to => Link::loopback(),
            None => self.usual,
        }
    }

    pub(crate) fn set_usual(&mut self, link: Link) {
        self.usual = link;
    }

    pub(crate) fn set_link(&mut self, from: u32, to: u32, link: Link) {
        self.links.insert((from, to), link);
    }

    /// When a packet of so many bytes arrives that is sent now.
    pub(crate) fn arrival(&mut self, from: u32, to: u32, bytes: usize, scene: &mut Scene<'_>) -> Instant {
        let link = self.link(from, to);
        let mut sent = scene.now;
        if let Some(bandwidth) = link.bandwidth {
            let free_at = self.free_at.entry((from, to)).or_default();
            let takes = bytes as u128 * 1_000_000_000 / u128::from(bandwidth.get());
            sent = sent.max(*free_at) + Duration::from_nanos(takes as u64);
            *free_at = sent;
        }
        let jitter = if link.jitter.is_zero() { 0 } else { scene.rng.up_to(nanos(link.jitter)) };
        let is_late = link.late_per_mille > 0 && scene.rng.below(1_000) < link.late_per_mille;
        let tail = if is_late { link.tail } else { Duration::ZERO };
        sent + link.latency + Duration::from_nanos(jitter) + tail
    }

    /// Whether nothing arrives on this way now.
    pub(crate) fn is_cut(&self, from: u32, to: u32) -> bool {
        !self.is_up(to) || (!self.cut.is_empty() && self.cut.contains(&(from, to)))
    }

    pub(crate) fn cut(&mut self, from: u32, to: u32) {
        self.cut.insert((from, to));
    }

    /// What has been held back on this way is sent again.
    pub(crate) fn heal(&mut self, from: u32, to: u32, scene: &mut Scene<'_>) {
        if self.cut.remove(&(from, to)) {
            self.send_again(|stream, side| (stream.host(1 - side), stream.host(side)) == (from, to), scene);
        }
    }

    fn send_again(&mut self, of: impl Fn(&Stream, usize) -> bool, scene: &mut Scene<'_>) {
        for slot in 0..self.streams.slots() as u32 {
            let Some(id) = self.streams.id_at(slot) else { continue };
            for side in 0..2 {
                let stream = self.streams.get_mut(id).expect("it was found just now");
                if stream.is_held(side) && of(stream, side) {
                    let (from, to) = (stream.host(1 - side), stream.host(side));
                    let at = self.arrival(from, to, 0, scene);
                    self.streams.get_mut(id).expect("as above").release(side, at);
                    scene.agenda.add(at, Due::arrival(id, side));
                }
            }
        }
    }

    /// The host is gone at once: it says nothing to anybody any more.
    pub(crate) fn crash(&mut self, host: u32) {
        self.hosts[host as usize].is_up = false;
        self.crashed.push(host);
        self.abandon(host);
        self.doors.retain(|(of, _), listener| {
            let is_elsewhere = *of != host;
            if !is_elsewhere {
                self.listeners.remove(*listener);
            }
            is_elsewhere
        });
    }

    /// All that runs on the host is gone; its kernel stays, and says so.
    pub(crate) fn kill(&mut self, host: u32) {
        self.crashed.push(host);
    }

    /// The host comes back, once all that ran on it is gone.
    pub(crate) fn restart(&mut self, host: u32, scene: &mut Scene<'_>) {
        scene.agenda.add(scene.now, Due::Restart(host));
    }

    /// The host is back. Who still believes to be connected to it will be told otherwise.
    pub(crate) fn is_back(&mut self, host: u32, scene: &mut Scene<'_>) {
        let state = &mut self.hosts[host as usize];
        state.is_up = true;
        state.paused_until = None;
        self.send_again(|stream, side| stream.host(side) == host, scene);
    }

    /// Nothing runs on the host until then; its kernel goes on.
    pub(crate) fn pause(&mut self, host: u32, until: Instant, scene: &mut Scene<'_>) {
        self.hosts[host as usize].paused_until = Some(until);
        scene.agenda.add(until, Due::Resume(host));
    }

    pub(crate) fn resume(&mut self, host: u32, now: Instant) {
        let paused = &mut self.hosts[host as usize].paused_until;
        if paused.is_some_and(|until| until <= now) {
            *paused = None;
            self.resumed.push(host);
        }
    }

    /// Hosts on which nothing runs now.
    pub(crate) fn paused(&self) -> BTreeSet<u32> {
        (0..).zip(&self.hosts).filter(|(_, host)| host.paused_until.is_some()).map(|(id, _)| id).collect()
    }

    pub(crate) fn take_crashed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.crashed)
    }

    pub(crate) fn take_resumed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.resumed)
    }
}
