//! Names, addresses, listeners: who is reached by what, and who is let in.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::task::Waker;
use std::time::Duration;

use plimsoll_core::drive::Address;
use plimsoll_core::id::Id;
use plimsoll_core::machine::{Credentials, Peer};

use crate::network::Network;
use crate::stream::{Cargo, Stream, StreamId};
use crate::world::Scene;

/// The first port that is given to whoever asks for any.
pub(crate) const FIRST_PORT: u16 = 49_152;

/// Who runs everything.
const USER: u32 = 1_000;

/// How often a dial knocks again that found the queue full, as Linux does (`tcp_syn_retries`), and how long it waits for the
/// first time; each time is twice as long as the one before.
const KNOCKS: u8 = 6;
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// What listeners are; never built.
#[derive(Debug)]
pub(crate) enum ListenerKind {}
pub(crate) type ListenerId = Id<ListenerKind>;

/// Where something listens on a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Door {
    Port(Port),
    Path(PathBuf),
}

impl Door {
    /// Before all others of its host.
    pub(crate) const FIRST: Door = Door::Port(Port { is_ipv6: false, number: 0 });
}

/// Hosts have an IPv4 address each, and loopbacks of both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    is_ipv6: bool,
    number: u16,
}

impl Port {
    fn of(address: SocketAddr) -> Self {
        let is_ipv6 = address.is_ipv6() && address.ip().is_loopback();
        Port { is_ipv6, number: address.port() }
    }
}

/// What a dial is for. Who listens at a port is found out when it gets there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Knocks {
    Port(Port),
    Path(ListenerId),
}

/// Who runs on a host, to the other end of a Unix socket: one process runs there.
pub(crate) fn credentials(host: u32) -> Credentials {
    Credentials { uid: USER, gid: USER, pid: Some(host + 1) }
}

#[derive(Debug)]
pub(crate) struct Listener {
    host: u32,
    door: Door,
    backlog: usize,
    queue: VecDeque<StreamId>,
    wakers: Vec<Waker>,
    /// How many transports share it.
    shared: usize,
}

impl Network {
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
        let (door, address) = match at {
            Address::Unix(path) => (Door::Path(path.clone()), at.clone()),
            Address::Tcp(address) => {
                let own = self.hosts[host as usize].ip;
                let ip = if address.ip().is_loopback() { address.ip() } else { own };
                let mut address = SocketAddr::from((ip, address.port()));
                if address.port() == 0 {
                    self.take_port(host, &mut address)?;
                }
                (Door::Port(Port::of(address)), address.into())
            }
        };
        if self.doors.contains_key(&(host, door.clone())) {
            let text = format!("somebody listens at {address} already");
            return Err(io::Error::new(ErrorKind::AddrInUse, text));
        }
        let (queue, wakers) = (VecDeque::new(), Vec::new());
        let listener = Listener { host, door: door.clone(), backlog, queue, wakers, shared };
        let id = self.listeners.insert(listener);
        self.doors.insert((host, door), id);
        Ok((id, address))
    }

    /// Gives the address a port at which nobody listens.
    fn take_port(&mut self, host: u32, address: &mut SocketAddr) -> io::Result<()> {
        let next = &mut self.hosts[host as usize].next_port;
        for _ in FIRST_PORT..=u16::MAX {
            address.set_port(*next);
            *next = next.checked_add(1).unwrap_or(FIRST_PORT);
            if !self.doors.contains_key(&(host, Door::Port(Port::of(*address)))) {
                return Ok(());
            }
        }
        Err(io::Error::new(ErrorKind::AddrInUse, "all ports are taken"))
    }

    /// The next who has connected, and who that is.
    pub(crate) fn accept(&mut self, id: ListenerId, waker: &Waker) -> Option<(StreamId, Peer)> {
        let listener = self.listeners.get_mut(id)?;
        while let Some(stream) = listener.queue.pop_front() {
            let Some(found) = self.streams.get(stream) else { continue };
            let from = found.host(0);
            let peer = match listener.door {
                Door::Port(_) => {
                    let port = FIRST_PORT + (stream.slot() % u32::from(u16::MAX - FIRST_PORT)) as u16;
                    let address = (self.hosts[from as usize].ip, port).into();
                    Peer { address: Some(address), ..Peer::UNKNOWN }
                }
                Door::Path(_) => Peer { credentials: Some(credentials(from)), ..Peer::UNKNOWN },
            };
            return Some((stream, peer));
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
        let (host, knocks_at) = match to {
            Address::Unix(path) => match self.doors.get(&(from, Door::Path(path.clone()))) {
                Some(&listener) => (from, Knocks::Path(listener)),
                None => return Err(io::Error::new(ErrorKind::NotFound, format!("there is no socket {to}"))),
            },
            &Address::Tcp(address) if address.ip().is_loopback() => (from, Knocks::Port(Port::of(address))),
            &Address::Tcp(address) => match self.by_ip.get(&address.ip()) {
                Some(&host) => (host, Knocks::Port(Port::of(address))),
                None => return Err(io::Error::new(ErrorKind::HostUnreachable, format!("no host is {to}"))),
            },
        };
        let window = self.link(from, host).window.get();
        let stream = self.streams.insert(Stream::new(from, host, window, knocks_at));
        self.list(from, stream);
        self.list(host, stream);
        self.send(stream, 1, Cargo::Dial { again: 0 }, scene);
        Ok(stream)
    }

    /// Somebody knocks at a door. Where there is no room he knocks again, later and later.
    pub(crate) fn dialled(&mut self, id: StreamId, again: u8, scene: &mut Scene<'_>) {
        let Some(stream) = self.streams.get(id) else { return };
        let host = stream.host(1);
        let door = match stream.knocks_at {
            Knocks::Port(port) => self.doors.get(&(host, Door::Port(port))).copied(),
            Knocks::Path(listener) => Some(listener),
        };
        let door = door.filter(|_| !self.hosts[host as usize].refuses);
        let Some(listener) = door.and_then(|door| self.listeners.get_mut(door)) else {
            self.send(id, 0, Cargo::Reset, scene);
            return self.leave(id, 1);
        };
        if listener.queue.len() < listener.backlog {
            listener.queue.push_back(id);
            listener.wakers.drain(..).for_each(Waker::wake);
            return self.send(id, 0, Cargo::Accepted, scene);
        }
        if again == KNOCKS {
            self.send(id, 0, Cargo::TimedOut, scene);
            return self.leave(id, 1);
        }
        self.send_after(id, 1, Cargo::Dial { again: again + 1 }, FIRST_WAIT * (1 << again), scene);
    }
}
