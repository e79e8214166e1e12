//! A handle to one service.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::callable::Callable;
use super::config::ServiceConfig;
use super::endpoints::{EndpointCause, Endpoints};
use super::error::{CallError, Cause};
use super::events::ServiceEvent;
use super::host::{Answer, Command, Dropped, ServiceHost, Snapshot};
use crate::drive::hub::Hub;
use crate::drive::recording::Taped;
use crate::drive::{Driver, Key, Mailbox, NotSent, Recording, Runtime, mailbox};
use crate::error::{Misuse, Rejected};
use crate::rng::Pcg;
use crate::service::Uw;
use crate::service::client::Client;
use crate::time::Instant;

/// Calls that have not ended, of one shard, at most; above it a call is `Overloaded`.
const CALLS: NonZeroU32 = NonZeroU32::new(65_536).expect("not zero");

/// Calls one service. Cheap to clone; the service's drivers end when the client and all clones are gone.
pub struct Service<P = Uw> {
    pub(super) shared: Arc<Shared>,
    wire: PhantomData<fn() -> P>,
}

pub(super) struct Shared {
    name: Arc<str>,
    pub(super) shards: Vec<Mailbox<Command, Answer>>,
    /// Of the shard that takes the next call.
    next: AtomicUsize,
}

impl<P: Callable> Service<P> {
    pub(super) fn start<R: Runtime>(
        name: &str,
        config: &ServiceConfig<P>,
        shards: usize,
        rng: &mut Pcg,
        hub: &Arc<Hub<ServiceEvent>>,
        runtime: &R,
        recording: Option<&Recording>,
    ) -> Result<Self, Misuse> {
        let name: Arc<str> = name.into();
        let shards = config.shards(shards);
        let mut drivers = Vec::new();
        let mut mailboxes = Vec::new();
        for at in 0..shards {
            let mut machine = Client::new(config.protocol.clone(), config.share(at, shards), rng.next_u64());
            let mut endpoints = Endpoints::default();
            for (address, options) in &config.endpoints {
                let added = endpoints.add(Instant::ZERO, &mut machine, address, *options);
                if let Err(EndpointCause::Misuse(misuse)) = added {
                    return Err(misuse);
                }
            }
            let (handle, inbox) = mailbox(CALLS);
            let host = ServiceHost::<P>::new(inbox, name.clone(), at, endpoints, hub.clone());
            let transport = runtime.connector();
            #[cfg(feature = "tls")]
            let transport = crate::drive::tls::Secured::client(transport, config.tls.clone());
            #[cfg(feature = "tls")]
            let host = host.with_failures(transport.failures());
            let host = Taped::new(host, &mut machine, recording);
            drivers.push(Driver::new(machine, host, transport));
            mailboxes.push(handle);
        }
        drivers.into_iter().for_each(|driver| runtime.spawn(driver));
        let shared = Shared { name, shards: mailboxes, next: AtomicUsize::new(0) };
        Ok(Service { shared: Arc::new(shared), wire: PhantomData })
    }

    /// A call by its name (over UW, of a method), of which more can be said before it is sent.
    pub fn call<'a>(&'a self, name: &'a str) -> Call<'a, P> {
        Call { service: Ok(Cow::Borrowed(self)), name, timeout: None, idempotent: false, about: None }
    }
}

impl Service {
    /// Calls `method` with parameters that are written as JSON, and reads the answer as `T`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn request<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.call(method).json(params).await
    }
}

impl<P> Service<P> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What was counted and how things stand, of all shards together.
    ///
    /// # Errors
    /// [`Cause::Closed`] after a shutdown.
    pub async fn snapshot(&self) -> Result<Snapshot, CallError> {
        let mut sum = Snapshot::default();
        for shard in &self.shared.shards {
            let key =
                shard.send_control(Command::Snapshot).map_err(|error| self.error("", refused(error)))?;
            let Some(Answer::Snapshot(part)) = shard.answer(key, Command::Cancel).await else {
                return Err(self.error("", Cause::Closed));
            };
            sum.add(&part);
        }
        Ok(sum)
    }

    /// Counts from nothing again.
    pub fn reset_metrics(&self) {
        for shard in &self.shared.shards {
            // Its slot is free as soon as it is sent: nobody waits.
            if let Ok(key) = shard.send_control(|_| Command::ResetMetrics) {
                shard.abandon(key, || Command::Cancel(key));
            }
        }
    }

    /// Takes no more calls, sees those it has taken to their end, and ends the drivers; after `within` what is left
    /// ends as [`Cause::Lost`].
    pub async fn shutdown(&self, within: Duration) -> Dropped {
        self.end_shutdown(self.begin_shutdown(within)).await
    }

    /// Apart from waiting for it, so that many services drain at the same time.
    pub(super) fn begin_shutdown(&self, within: Duration) -> Vec<Option<Key>> {
        let shutdown =
            |shard: &Mailbox<_, _>| shard.send_control(|key| Command::Shutdown { key, within }).ok();
        self.shared.shards.iter().map(shutdown).collect()
    }

    pub(super) async fn end_shutdown(&self, keys: Vec<Option<Key>>) -> Dropped {
        let mut dropped = Dropped::default();
        for (shard, key) in self.shared.shards.iter().zip(keys) {
            let Some(key) = key else { continue };
            if let Some(Answer::Shutdown(part)) = shard.answer(key, Command::Cancel).await {
                dropped.requests += part.requests;
            }
        }
        dropped
    }

    /// Who takes the next call.
    pub(super) fn next_shard(&self) -> usize {
        match self.shared.shards.len() {
            1 => 0,
            n => self.shared.next.fetch_add(1, Ordering::Relaxed) % n,
        }
    }

    pub(super) fn error(&self, name: &str, cause: Cause) -> CallError {
        CallError { service: Box::from(self.name()), method: Box::from(name), cause }
    }
}

impl<P> Clone for Service<P> {
    fn clone(&self) -> Self {
        Service { shared: self.shared.clone(), wire: PhantomData }
    }
}

impl Snapshot {
    fn add(&mut self, part: &Snapshot) {
        self.metrics.merge(&part.metrics);
        self.requests_per_second += part.requests_per_second;
        let (sum, part) = (&mut self.status, part.status);
        sum.connections += part.connections;
        sum.available += part.available;
        sum.dialing += part.dialing;
        sum.in_flight += part.in_flight;
        sum.waiting += part.waiting;
        // Every shard knows the same endpoints, and judges them by itself: the worst counts.
        let available = if sum.endpoints == 0 { u32::MAX } else { sum.endpoints_available };
        sum.endpoints_available = available.min(part.endpoints_available);
        sum.endpoints_ejected = sum.endpoints_ejected.max(part.endpoints_ejected);
        sum.endpoints = sum.endpoints.max(part.endpoints);
        sum.endpoints_out = sum.endpoints_out.max(part.endpoints_out);
    }
}

pub(super) fn refused(error: NotSent) -> Cause {
    match error {
        NotSent::Full => Cause::Rejected(Rejected::Overloaded),
        NotSent::Closed => Cause::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::client::Status;

    #[test]
    fn of_what_shards_say_of_their_endpoints_the_worst_counts() {
        let part = |available, ejected| Snapshot {
            status: Status {
                endpoints: 3,
                endpoints_available: available,
                endpoints_ejected: ejected,
                connections: 2,
                ..Status::default()
            },
            ..Snapshot::default()
        };
        let mut sum = Snapshot::default();
        for part in [part(3, 0), part(1, 2), part(2, 1)] {
            sum.add(&part);
        }
        let Status { endpoints, endpoints_available, endpoints_ejected, connections, .. } = sum.status;
        assert_eq!((endpoints, endpoints_available, endpoints_ejected, connections), (3, 1, 2, 6));
    }
}
