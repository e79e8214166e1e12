//! Connections in memory: bytes arrive whole and in order after a latency, or wait where the way is cut.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::error::Fault;
use crate::id::{ConnId, Id, Table};
use crate::machine::{Action, Input, Machine, Peer};
use crate::time::Instant;

/// Slices taken from a machine at once.
const SLICES: usize = 16;

/// What connections are; never built.
#[derive(Debug)]
enum Wire {}

/// One end of a connection: 0 has dialled, 1 has accepted.
type EndId = (Id<Wire>, usize);

/// Something on its way from one end to the other.
#[derive(Debug)]
enum Parcel {
    Dial,
    Accepted,
    Bytes(Vec<u8>),
    Close(Fault),
}

#[derive(Debug)]
struct End {
    node: u32,
    /// The name that its machine knows it by; `None` before it is accepted, and once it is closed.
    conn: Option<ConnId>,
    reads: bool,
    /// Arrived, and not read.
    inbox: Vec<u8>,
    /// Stuck where the way to here is cut.
    held: VecDeque<Parcel>,
}

impl End {
    fn new(node: u32, conn: Option<ConnId>) -> Self {
        End { node, conn, reads: true, inbox: Vec::new(), held: VecDeque::new() }
    }
}

/// How a node is reached.
#[derive(Debug, Default)]
struct Node {
    /// Its end of each connection, by the slot of the machine's name for it.
    ends: Vec<Option<EndId>>,
    /// Ends with bytes that the machine has not taken.
    unread: Vec<EndId>,
    deaf: bool,
    mute: bool,
}

/// Nodes, the connections between them, and what is on its way. Nothing is ever lost: where a way is cut, parcels wait
/// for its end, as the segments of TCP do that are sent again.
#[derive(Debug)]
pub(super) struct Network {
    latency: Duration,
    nodes: Vec<Node>,
    addresses: BTreeMap<String, u32>,
    links: Table<Wire, [End; 2]>,
    /// In the order of their arrival, since all take equally long.
    on_the_way: VecDeque<(Instant, EndId, Parcel)>,
}

impl Network {
    pub(super) fn new(latency: Duration) -> Self {
        Network {
            latency,
            nodes: Vec::new(),
            addresses: BTreeMap::new(),
            links: Table::new(),
            on_the_way: VecDeque::new(),
        }
    }

    /// Adds a node, which others reach by its address if it has one.
    pub(super) fn add(&mut self, address: Option<String>) -> u32 {
        let node = self.nodes.len() as u32;
        self.nodes.push(Node::default());
        self.addresses.extend(address.map(|address| (address, node)));
        node
    }

    /// From now on nothing reaches the node if it is deaf, and nothing it says arrives if it is mute. What was held back
    /// until now arrives at once.
    pub(super) fn cut(&mut self, now: Instant, node: u32, deaf: bool, mute: bool) {
        (self.nodes[node as usize].deaf, self.nodes[node as usize].mute) = (deaf, mute);
        for slot in (0..self.links.slots() as u32).rev() {
            let Some(id) = self.links.id_at(slot) else { continue };
            for side in 0..2 {
                if self.is_cut((id, side)) {
                    continue;
                }
                let held = self.links.get_mut(id).map(|ends| core::mem::take(&mut ends[side].held));
                for parcel in held.into_iter().flatten().rev() {
                    self.on_the_way.push_front((now, (id, side), parcel));
                }
            }
        }
    }

    /// Whether the way to this end is cut.
    fn is_cut(&self, (id, side): EndId) -> bool {
        let Some(ends) = self.links.get(id) else { return false };
        self.nodes[ends[side].node as usize].deaf || self.nodes[ends[1 - side].node as usize].mute
    }

    /// When the next parcel arrives.
    pub(super) fn next(&self) -> Option<Instant> {
        self.on_the_way.front().map(|(at, ..)| *at)
    }

    /// Whom the next parcel reaches, if it arrives by `now`; then [`deliver`](Self::deliver) it.
    pub(super) fn receiver(&mut self, now: Instant) -> Option<u32> {
        while let Some((_, end, _)) = self.on_the_way.front().filter(|(at, ..)| *at <= now) {
            let end = *end;
            if !self.is_cut(end) {
                match self.links.get(end.0) {
                    Some(ends) => return Some(ends[end.1].node),
                    None => drop(self.on_the_way.pop_front()),
                }
            } else if let Some((.., parcel)) = self.on_the_way.pop_front()
                && let Some(ends) = self.links.get_mut(end.0)
            {
                ends[end.1].held.push_back(parcel);
            }
        }
        None
    }

    /// Hands the next parcel to the machine that it is for.
    pub(super) fn deliver(&mut self, now: Instant, machine: &mut impl Machine) {
        let Some((_, end, parcel)) = self.on_the_way.pop_front() else { return };
        let Some(ends) = self.links.get_mut(end.0) else { return };
        let here = &mut ends[end.1];
        match (parcel, here.conn) {
            (Parcel::Dial, _) => match machine.accept(now, Peer::UNKNOWN) {
                Some(conn) => {
                    here.conn = Some(conn);
                    let node = here.node;
                    self.name(node, conn, end);
                    self.send(now, end, Parcel::Accepted);
                }
                None => {
                    self.send(now, end, Parcel::Close(Fault::Refused));
                }
            },
            (Parcel::Accepted, Some(conn)) => machine.handle(now, Input::Connected(conn)),
            (Parcel::Bytes(bytes), Some(_)) => {
                if here.inbox.is_empty() {
                    here.inbox = bytes;
                    self.nodes[here.node as usize].unread.push(end);
                } else {
                    here.inbox.extend_from_slice(&bytes);
                }
            }
            (Parcel::Close(fault), Some(conn)) => {
                here.conn = None;
                self.forget(end.0);
                machine.handle(now, Input::Closed(conn, fault));
            }
            // It has closed already.
            (Parcel::Close(_), None) => self.forget(end.0),
            (_, None) => {}
        }
    }

    /// Does what a machine wants; every segment that it sends is shown to `seen`, with the node that it is for. Whether
    /// there was anything to do.
    pub(super) fn act(
        &mut self,
        now: Instant,
        node: u32,
        machine: &mut impl Machine,
        mut seen: impl FnMut(u32, &[u8]),
    ) -> bool {
        let mut busy = false;
        while let Some(action) = machine.poll() {
            busy = true;
            let conn = action.conn();
            if let Action::Connect(_) = action {
                self.dial(now, node, conn, machine.target(conn).unwrap_or_default());
                continue;
            }
            let Some(end) = self.find(node, conn) else { continue };
            match action {
                Action::Flush(_) => {
                    let segment = take_all(now, conn, machine);
                    if let Some(ends) = self.links.get(end.0) {
                        seen(ends[1 - end.1].node, &segment);
                    }
                    self.send(now, end, Parcel::Bytes(segment));
                }
                Action::Read(_, on) => self.set_reading(end, on),
                Action::Close(_) => self.close(now, end),
                Action::Connect(_) => {}
            }
        }
        busy
    }

    /// Lets a machine read what has arrived. Whether there was anything.
    pub(super) fn read(&mut self, now: Instant, node: u32, machine: &mut impl Machine) -> bool {
        let mut unread = core::mem::take(&mut self.nodes[node as usize].unread);
        let mut busy = false;
        unread.retain(|end| {
            let Some(end) = self.links.get_mut(end.0).map(|ends| &mut ends[end.1]) else { return false };
            let Some(conn) = end.conn.filter(|_| end.reads) else { return false };
            let n = machine.feed(now, conn, &end.inbox);
            end.inbox.drain(..n);
            busy |= n > 0;
            !end.inbox.is_empty()
        });
        self.nodes[node as usize].unread = unread;
        busy
    }

    fn dial(&mut self, now: Instant, node: u32, conn: ConnId, target: &str) {
        let Some(&to) = self.addresses.get(target) else { return };
        let id = self.links.insert([End::new(node, Some(conn)), End::new(to, None)]);
        self.name(node, conn, (id, 0));
        self.send(now, (id, 0), Parcel::Dial);
    }

    fn name(&mut self, node: u32, conn: ConnId, end: EndId) {
        let ends = &mut self.nodes[node as usize].ends;
        if ends.len() <= conn.index() {
            ends.resize(conn.index() + 1, None);
        }
        ends[conn.index()] = Some(end);
    }

    fn find(&self, node: u32, conn: ConnId) -> Option<EndId> {
        let end = self.nodes[node as usize].ends.get(conn.index()).copied().flatten()?;
        (self.links.get(end.0)?[end.1].conn == Some(conn)).then_some(end)
    }

    fn send(&mut self, now: Instant, from: EndId, parcel: Parcel) {
        self.on_the_way.push_back((now + self.latency, (from.0, 1 - from.1), parcel));
    }

    fn set_reading(&mut self, end: EndId, on: bool) {
        let Some(ends) = self.links.get_mut(end.0) else { return };
        let here = &mut ends[end.1];
        here.reads = on;
        let unread = &mut self.nodes[here.node as usize].unread;
        if on && !here.inbox.is_empty() && !unread.contains(&end) {
            unread.push(end);
        }
    }

    fn close(&mut self, now: Instant, end: EndId) {
        if let Some(ends) = self.links.get_mut(end.0) {
            ends[end.1].conn = None;
            self.send(now, end, Parcel::Close(Fault::Closed));
        }
    }

    /// Both ends know that the connection has ended.
    fn forget(&mut self, id: Id<Wire>) {
        self.links.remove(id);
    }
}

/// All that a machine has to send on a connection, which takes it whole.
fn take_all(now: Instant, conn: ConnId, machine: &mut impl Machine) -> Vec<u8> {
    let mut segment = Vec::new();
    loop {
        let mut bufs = [&[][..]; SLICES];
        let filled = machine.send_bufs(conn, &mut bufs);
        let before = segment.len();
        bufs[..filled].iter().for_each(|slice| segment.extend_from_slice(slice));
        let taken = segment.len() - before;
        if taken == 0 {
            return segment;
        }
        machine.handle(now, Input::Sent(conn, taken));
    }
}
