//! Endpoints of a service that come, go and change while calls are made: commands to all its shards, by address.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use thiserror::Error;

use super::host::{Answer, Command};
use super::service::Service;
use crate::cluster::EndpointOptions;
use crate::drive::{Key, NotSent};
use crate::error::Misuse;
use crate::id::EndpointId;
use crate::policy::health_check::Level;
use crate::service::Protocol;
use crate::service::client::Client;
use crate::time::Instant;

/// A command about an endpoint that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{service}, endpoint {address}: {cause}")]
pub struct EndpointError {
    /// The service.
    pub service: Box<str>,
    /// The address that was named; empty if it was about all of them.
    pub address: Box<str>,
    /// Why not.
    #[source]
    pub cause: EndpointCause,
}

/// Why a command about an endpoint was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndpointCause {
    /// The service has no endpoint at this address, or has removed it.
    #[error("the service has no endpoint at this address")]
    Unknown,
    /// The service has one at this address already.
    #[error("the service has an endpoint at this address already")]
    Known,
    /// It can never be carried out as it was asked for.
    #[error("{0}")]
    Misuse(Misuse),
    /// As many calls and commands are under way as the service takes; later it may work.
    #[error("as many calls and commands are under way as the service takes; try again later")]
    Busy,
    /// The client has been shut down.
    #[error("the client has been shut down")]
    Closed,
}

/// What is to become of an endpoint that is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Remove,
    Drain,
    Resume,
    Weight(u32),
    Health(Level),
}

/// The endpoints of one machine, by address and by id.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    known: BTreeMap<Arc<str>, EndpointId>,
    /// By slot. One that was removed stays here until another has its slot: its last connections are told of later.
    names: Vec<Option<(EndpointId, Arc<str>)>>,
}

impl Endpoints {
    /// The address of an endpoint.
    pub(super) fn address(&self, id: EndpointId) -> Option<&Arc<str>> {
        let (known, address) = self.names.get(id.index())?.as_ref()?;
        (*known == id).then_some(address)
    }

    /// Adds an endpoint to the machine.
    pub(super) fn add(
        &mut self,
        now: Instant,
        machine: &mut Client<impl Protocol>,
        address: &str,
        options: EndpointOptions,
    ) -> Result<(), EndpointCause> {
        if self.known.contains_key(address) {
            return Err(EndpointCause::Known);
        }
        let id = machine.add_endpoint_with(now, address, options).map_err(EndpointCause::Misuse)?;
        let address: Arc<str> = address.into();
        self.known.insert(address.clone(), id);
        if self.names.len() <= id.index() {
            self.names.resize(id.index() + 1, None);
        }
        self.names[id.index()] = Some((id, address));
        Ok(())
    }

    pub(super) fn change(
        &mut self,
        now: Instant,
        machine: &mut Client<impl Protocol>,
        address: &str,
        change: Change,
    ) -> Result<(), EndpointCause> {
        let id = *self.known.get(address).ok_or(EndpointCause::Unknown)?;
        let found = match change {
            // To resume one that serves changes nothing.
            Change::Resume => machine.resume_endpoint(now, id) || machine.breaker(id).is_some(),
            Change::Remove => {
                self.known.remove(address);
                machine.remove_endpoint(now, id)
            }
            Change::Drain => machine.drain_endpoint(now, id),
            Change::Weight(weight) => machine.set_weight(now, id, weight),
            Change::Health(level) => machine.set_health(now, id, level),
        };
        if found { Ok(()) } else { Err(EndpointCause::Unknown) }
    }
}

/// Commands about endpoints, by the address that they were given (`host:port`, as it was written). They hold for all
/// shards, and are carried out even if their future is dropped.
impl<P> Service<P> {
    /// Adds an endpoint, and begins to connect to it.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub async fn add_endpoint(&self, address: &str) -> Result<(), EndpointError> {
        self.add_endpoint_with(address, EndpointOptions::default()).await
    }

    /// Adds an endpoint of which more is known.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub async fn add_endpoint_with(
        &self,
        address: &str,
        options: EndpointOptions,
    ) -> Result<(), EndpointError> {
        let name: Arc<str> = address.into();
        let add = |_, key| Command::AddEndpoint { key, address: name.clone(), options };
        self.command(address, add).await
    }

    /// Sends no more calls to an endpoint, and forgets it. Calls that are under way there end by themselves.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub async fn remove_endpoint(&self, address: &str) -> Result<(), EndpointError> {
        self.change(address, Change::Remove).await
    }

    /// Sends no more calls to an endpoint until it is resumed. Calls that are under way there end by themselves; when the
    /// last connection of a shard has closed, it tells with
    /// [`StateEvent::Drained`](crate::service::client::StateEvent::Drained).
    ///
    /// # Errors
    /// [`EndpointError`].
    pub async fn drain_endpoint(&self, address: &str) -> Result<(), EndpointError> {
        self.change(address, Change::Drain).await
    }

    /// Sends calls to an endpoint again that was drained; one that was not stays as it is.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub async fn resume_endpoint(&self, address: &str) -> Result<(), EndpointError> {
        self.change(address, Change::Resume).await
    }

    /// How many calls an endpoint gets in proportion to the others, by the strategies that go by weight: up to 1,000,000,
    /// 0 for none.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub async fn set_weight(&self, address: &str, weight: u32) -> Result<(), EndpointError> {
        self.change(address, Change::Weight(weight)).await
    }

    /// What a health check outside says of an endpoint; one that is unhealthy gets no calls while enough others do.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub async fn set_health(&self, address: &str, level: Level) -> Result<(), EndpointError> {
        self.change(address, Change::Health(level)).await
    }

    /// How many connections are kept up per endpoint from now on, of all shards together.
    ///
    /// # Errors
    /// [`EndpointCause::Closed`], [`EndpointCause::Busy`].
    pub async fn scale(&self, connections: u32) -> Result<(), EndpointError> {
        let of = self.shared.shards.len() as u32;
        let part = |at: u32| connections / of + u32::from(at < connections % of);
        self.command("", |at, key| Command::Scale { key, connections: part(at) }).await
    }

    async fn change(&self, address: &str, change: Change) -> Result<(), EndpointError> {
        let name: Arc<str> = address.into();
        let change = |_, key| Command::ChangeEndpoint { key, address: name.clone(), change };
        self.command(address, change).await
    }

    /// Sends a command to all shards before it waits for any.
    async fn command(
        &self,
        address: &str,
        command: impl Fn(u32, Key) -> Command,
    ) -> Result<(), EndpointError> {
        let failed = |cause| EndpointError { service: self.name().into(), address: address.into(), cause };
        let shards = &self.shared.shards;
        let mut keys = Vec::with_capacity(shards.len());
        for (at, shard) in (0..).zip(shards) {
            keys.push(shard.send_control(|key| command(at, key)));
        }
        let mut result = Ok(());
        for (shard, key) in shards.iter().zip(keys) {
            let part = match key {
                Ok(key) => match shard.answer(key, Command::Cancel).await {
                    Some(Answer::Endpoint(part)) => part,
                    _ => Err(EndpointCause::Closed),
                },
                Err(NotSent::Full) => Err(EndpointCause::Busy),
                Err(NotSent::Closed) => Err(EndpointCause::Closed),
            };
            result = result.and(part);
        }
        result.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::service::Uw;
    use crate::service::client::Config;

    const NOW: Instant = Instant::from_millis(1);

    fn id(machine: &Client<Uw>) -> EndpointId {
        machine.endpoints().last().expect("an endpoint").0
    }

    #[test]
    fn one_that_was_removed_has_a_name_until_another_has_its_slot() {
        let mut machine = Client::new(Uw::default(), Config::default(), 1);
        let mut endpoints = Endpoints::default();
        let options = EndpointOptions::default();
        endpoints.add(NOW, &mut machine, "users-a.internal:3001", options).unwrap();
        let first = id(&machine);
        endpoints.change(NOW, &mut machine, "users-a.internal:3001", Change::Remove).unwrap();
        while machine.poll().is_some() {}
        assert_eq!(endpoints.address(first).map(|name| &**name), Some("users-a.internal:3001"));
        endpoints.add(NOW, &mut machine, "users-b.internal:3001", options).unwrap();
        let second = id(&machine);
        assert_eq!((second.index(), second == first), (first.index(), false));
        assert_eq!(endpoints.address(first), None);
        assert_eq!(endpoints.address(second).map(|name| &**name), Some("users-b.internal:3001"));
    }

    #[test]
    fn the_same_address_can_come_back_while_its_last_connections_end() {
        let mut machine = Client::new(Uw::default(), Config::default(), 1);
        let mut endpoints = Endpoints::default();
        let (address, options) = ("users-a.internal:3001", EndpointOptions::default());
        for _ in 0..3 {
            endpoints.add(NOW, &mut machine, address, options).unwrap();
            assert_eq!(endpoints.add(NOW, &mut machine, address, options), Err(EndpointCause::Known));
            endpoints.change(NOW, &mut machine, address, Change::Drain).unwrap();
            endpoints.change(NOW, &mut machine, address, Change::Resume).unwrap();
            endpoints.change(NOW, &mut machine, address, Change::Resume).unwrap();
            endpoints.change(NOW, &mut machine, address, Change::Remove).unwrap();
            let unknown = endpoints.change(NOW, &mut machine, address, Change::Weight(1));
            assert_eq!(unknown, Err(EndpointCause::Unknown));
        }
    }
}
