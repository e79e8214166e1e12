//! Who is registered: names, and the connections behind them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::api::Refused;
use super::pending::Calls;
use crate::id::ConnId;
use crate::map::{Map, Seed};
use crate::metrics::Rate;
use crate::time::Instant;
use crate::wire::ipc::{Envelope, Format, Value};

/// The longest name of a service or a method, in bytes.
const NAME: usize = 255;
/// What one registration may take up, in bytes.
const BYTES: usize = 64 << 10;

/// A registered name.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// In the order in which they registered.
    pub(super) members: Vec<ConnId>,
    /// How many members there may be, if it is a pool.
    pool: Option<u32>,
    /// The member that is asked first next time.
    pub(super) next: usize,
    /// Calls that it waits for.
    pub(super) calling: Calls,
    /// When anything last came from any of its members. A pool of the public client sends its heartbeats over one member
    /// after another, so that each is silent for long.
    pub(super) heard: Instant,
    /// In milliseconds since 1970.
    pub(super) connected_at: u64,
    pub(super) last_heartbeat: u64,
    /// Calls that were passed to it, by time.
    pub(super) rate: Rate,
}
crate::saved!(struct Service { members, pool, next, calling, heard, connected_at, last_heartbeat, rate });

/// What a connection has registered.
#[derive(Clone, Debug)]
pub(super) struct Registration {
    /// The slot of its service.
    pub(super) service: u32,
    /// Which member of a pool it is.
    index: Option<u32>,
    /// Sorted.
    methods: Vec<Box<str>>,
    version: Option<Box<str>>,
    format: Format,
    metadata: Option<Box<[u8]>>,
}
crate::saved!(struct Registration { service, index, methods, version, format, metadata });

impl Registration {
    pub(super) fn has(&self, method: &str) -> bool {
        self.methods.binary_search_by(|known| (**known).cmp(method)).is_ok()
    }

    pub(super) fn methods(&self) -> &[Box<str>] {
        &self.methods
    }

    pub(super) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    pub(super) fn metadata(&self) -> Option<Value<'_>> {
        Value::parse(self.format, self.metadata.as_deref()?).ok()
    }

    /// Copies what a message says, if it is not too much.
    fn read(
        register: &Envelope<'_>,
        service: u32,
        index: Option<u32>,
        methods: u32,
    ) -> Result<Self, Refused> {
        let mut bytes = register.metadata().map_or(0, |metadata| metadata.bytes().len());
        bytes += register.version().map_or(0, |version| version.len_at_most());
        let mut names: Vec<Box<str>> = Vec::new();
        for method in register.methods()? {
            bytes += method.len_at_most();
            if method.len_at_most() > NAME || names.len() >= methods as usize || bytes > BYTES {
                return Err(Refused::TooMuch);
            }
            names.push(method.get().into());
        }
        if bytes > BYTES {
            return Err(Refused::TooMuch);
        }
        names.sort_unstable();
        names.dedup();
        Ok(Registration {
            service,
            index,
            methods: names,
            version: register.version().map(|version| version.get().into()),
            format: register.format(),
            metadata: register.metadata().map(|metadata| metadata.bytes().into()),
        })
    }
}

/// All registered names.
#[derive(Clone, Debug)]
pub(super) struct Services {
    names: Map<Box<str>, Service>,
}
crate::saved!(struct Services { names });

impl Services {
    pub(super) fn new(limit: u32, seed: Seed) -> Self {
        Services { names: Map::new(limit, seed) }
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.names.find(name)
    }

    pub(super) fn name(&self, slot: u32) -> Option<&str> {
        self.names.get(slot).map(|(name, _)| &**name)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Service> {
        self.names.get(slot).map(|(_, service)| service)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Service> {
        self.names.get_mut(slot)
    }

    /// All of them, in the order of their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Service)> {
        (0..self.names.limit())
            .filter_map(|slot| self.names.get(slot))
            .map(|(name, service)| (&**name, service))
    }

    /// Takes a registration of a connection that has none.
    pub(super) fn register(
        &mut self,
        conn: ConnId,
        register: &Envelope<'_>,
        methods: u32,
        now: (Instant, u64),
        index_of: impl Fn(ConnId) -> Option<u32>,
    ) -> Result<Registration, Refused> {
        let name = register.service_name()?.get();
        if name.is_empty() || name.len() > NAME || name.starts_with('$') {
            return Err(Refused::BadName);
        }
        let pool = pool_of(register);
        let index = pool.map(|(index, _)| index);
        let (now, unix_ms) = now;
        if let Some(slot) = self.names.find(&*name) {
            let service = self.names.get_mut(slot).ok_or(Refused::NameTaken)?;
            let size = pool.map(|(_, size)| size).ok_or(Refused::NameTaken)?;
            if service.pool != Some(size) || service.members.iter().any(|&member| index_of(member) == index) {
                return Err(Refused::NameTaken);
            }
            let registration = Registration::read(register, slot, index, methods)?;
            service.members.push(conn);
            service.heard = now;
            service.last_heartbeat = unix_ms;
            return Ok(registration);
        }
        let mut registration = Registration::read(register, 0, index, methods)?;
        let service = Service {
            members: [conn].into(),
            pool: pool.map(|(_, size)| size),
            next: 0,
            calling: Calls::default(),
            heard: now,
            connected_at: unix_ms,
            last_heartbeat: unix_ms,
            rate: Rate::default(),
        };
        registration.service = self.names.insert(name.into(), service).map_err(|_| Refused::TooMuch)?;
        Ok(registration)
    }

    /// The same connection registers again: what it said before is forgotten.
    pub(super) fn register_again(
        &mut self,
        before: &Registration,
        register: &Envelope<'_>,
        methods: u32,
    ) -> Result<Registration, Refused> {
        let same =
            self.name(before.service).is_some_and(|name| register.service_name().is_ok_and(|n| n.is(name)));
        if !same || pool_of(register).map(|(index, _)| index) != before.index {
            return Err(Refused::OtherName);
        }
        Registration::read(register, before.service, before.index, methods)
    }

    /// A connection has gone; `true` if it was the last one of its service, whose calls are then to be forgotten before
    /// [`remove`](Self::remove).
    pub(super) fn leave(&mut self, slot: u32, conn: ConnId) -> bool {
        let Some(service) = self.names.get_mut(slot) else { return false };
        service.members.retain(|&member| member != conn);
        service.members.is_empty()
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<str>> {
        self.names.remove(slot).map(|(name, _)| name)
    }
}

impl Registration {
    pub(super) fn index(&self) -> Option<u32> {
        self.index
    }
}

/// Which member of a pool registers, and how many members the pool has.
fn pool_of(register: &Envelope<'_>) -> Option<(u32, u32)> {
    let metadata = register.metadata()?;
    let number = |key| metadata.member(key).and_then(Value::number).and_then(|n| u32::try_from(n).ok());
    let (index, size) = (number("poolIndex")?, number("poolSize")?);
    (index < size).then_some((index, size))
}
