//! What happens in a world, as plain data: who is there, how they are configured, and what befalls them when.
//!
//! Every value means something in every world: a host is told by its place among all, counted round. So any part of a plan
//! can be taken out, and what is left is a plan.

use std::fmt;
use std::time::Duration;

use super::{hub, services};
use crate::Link;

/// A world and its history. The same plan gives the same history to the nanosecond.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Where all chance within the world comes from; what happens is said here.
    pub seed: u64,
    /// Who is there.
    pub cast: Cast,
    /// What is not as it is by default.
    pub features: Vec<Feature>,
    /// What happens, in the order of time.
    pub events: Vec<Event>,
}

/// Who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// Clients of one service, and its servers.
    Services {
        /// Hosts with a client each; at least one.
        clients: u32,
        /// Hosts with a server each; at least one.
        servers: u32,
    },
    /// A hub and services that call each other through it.
    Hub {
        /// Hosts with a service each; at least one.
        services: u32,
    },
}

/// Something that is not as it is by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feature {
    /// What every way is like.
    Link(Link),
    /// Of a client or server of one service.
    Service(services::Feature),
    /// Of a hub or its services.
    Hub(hub::Feature),
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// When, from the beginning.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// Something goes wrong.
    Fault(Fault),
    /// Somebody does something, in a world of one service.
    Service(services::Act),
    /// Somebody does something, at a hub.
    Hub(hub::Act),
}

/// Something that goes wrong for a while: it brings its own end, so that whoever takes it out takes out both.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "hosts by their places, and for how long")]
pub enum Fault {
    /// Nothing that one says reaches the other.
    Cut { from: u32, to: u32, lasts: Duration },
    /// Neither reaches the other.
    Partition { a: u32, b: u32, lasts: Duration },
    /// A host is gone with all that runs there, and comes back with nothing.
    Crash { host: u32, lasts: Duration },
    /// Nothing runs on a host.
    Pause { host: u32, lasts: Duration },
    /// All connections between two hosts end.
    Reset { a: u32, b: u32 },
    /// The ways between two hosts are like this.
    Slow { a: u32, b: u32, link: Link, lasts: Duration },
    /// The wall clock of a host is wrong by so many milliseconds.
    Skew { host: u32, ms: i64, lasts: Duration },
}

/// A story: who is there, what is special, and what happens line by line.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cast {
            Cast::Services { clients, servers } => {
                writeln!(f, "{clients} clients (c0, …) of one service with {servers} servers (s0, …)")?;
            }
            Cast::Hub { services } => writeln!(f, "a hub, and {services} services (s0, …)")?,
        }
        for feature in &self.features {
            match feature {
                Feature::Link(link) => writeln!(f, "  with {}", Way(link))?,
                Feature::Service(feature) => writeln!(f, "  with {feature:?}")?,
                Feature::Hub(feature) => writeln!(f, "  with {feature:?}")?,
            }
        }
        for Event { at, what } in &self.events {
            write!(f, "  {:>9.3} s  ", at.as_secs_f64())?;
            match what {
                What::Fault(fault) => writeln!(f, "{}", Told(fault, self.cast))?,
                What::Service(act) => writeln!(f, "{}", services::Told(act, self.cast))?,
                What::Hub(act) => writeln!(f, "{}", hub::Told(act, self.cast))?,
            }
        }
        Ok(())
    }
}

/// A host by its place.
pub(super) struct Who(pub(super) u32, pub(super) Cast);

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Cast::Services { clients, servers } => match self.0 % (clients + servers) {
                place if place < clients => write!(f, "c{place}"),
                place => write!(f, "s{}", place - clients),
            },
            Cast::Hub { services } => match self.0 % (services + 1) {
                0 => f.write_str("the hub"),
                place => write!(f, "s{}", place - 1),
            },
        }
    }
}

struct Told<'a>(&'a Fault, Cast);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = |place: &u32| Who(*place, self.1);
        match self.0 {
            Fault::Cut { from, to, lasts } => {
                write!(f, "nothing that {} says reaches {}, for {lasts:?}", who(from), who(to))
            }
            Fault::Partition { a, b, lasts } => {
                write!(f, "{} and {} are cut off from each other, for {lasts:?}", who(a), who(b))
            }
            Fault::Crash { host, lasts } => write!(f, "{} crashes, and is back after {lasts:?}", who(host)),
            Fault::Pause { host, lasts } => write!(f, "nothing runs on {}, for {lasts:?}", who(host)),
            Fault::Reset { a, b } => write!(f, "connections between {} and {} are reset", who(a), who(b)),
            Fault::Slow { a, b, link, lasts } => {
                write!(f, "between {} and {}, for {lasts:?}: {}", who(a), who(b), Way(link))
            }
            Fault::Skew { host, ms, lasts } => {
                write!(f, "the clock of {} is wrong by {ms} ms, for {lasts:?}", who(host))
            }
        }
    }
}

/// What of a link is not as usual.
struct Way<'a>(&'a Link);

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (link, usual) = (self.0, Link::default());
        write!(f, "latency {:?}", link.latency)?;
        if !link.jitter.is_zero() {
            write!(f, ", jitter {:?}", link.jitter)?;
        }
        if link.late_per_mille > 0 {
            write!(f, ", {} ‰ later by {:?}", link.late_per_mille, link.tail)?;
        }
        if let Some(bandwidth) = link.bandwidth {
            write!(f, ", {bandwidth} B/s")?;
        }
        if let Some(packet) = link.packet {
            write!(f, ", packets of {packet} B")?;
        }
        if link.window != usual.window {
            write!(f, ", window {} B", link.window)?;
        }
        Ok(())
    }
}
