//! A hub that is asked by calls that block.

use std::io;
use std::time::Duration;

use plimsoll_core::drive::ipc::hub::{
    Builder, Config, Dropped, Events, Hub as Inner, HubEvent, HubStatus, Metrics, ServiceInfo,
};
use plimsoll_core::drive::{Address, ListenOptions, Recording};

use crate::Mio;

/// A hub that runs. Dropping it closes its connections at once; [`shutdown`](Self::shutdown) is the gentle way.
#[derive(Debug)]
pub struct Hub {
    inner: Inner<Mio>,
    mio: Mio,
}

/// What can be said about a hub before it is there.
#[derive(Debug, Default)]
pub struct HubBuilder {
    inner: Builder<()>,
    mio: Option<Mio>,
}

impl HubBuilder {
    /// Other limits and times than those of [`Config::default`].
    pub fn limits(mut self, config: Config) -> Self {
        self.inner = self.inner.limits(config);
        self
    }

    /// Records everything that it is told: see [`record`](plimsoll_core::record).
    pub fn record(mut self, recording: &Recording) -> Self {
        self.inner = self.inner.record(recording);
        self
    }

    /// Turns away whoever is not a process of this user, as far as the system tells whose they are: over Unix sockets it
    /// does, over TCP nobody gets in.
    pub fn require_uid(mut self, uid: u32) -> Self {
        self.inner = self.inner.require_uid(uid);
        self
    }

    /// How often services are expected to tell that they are alive; one that is silent for three times as long is gone.
    /// 30 s by default.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.inner = self.inner.heartbeat_interval(interval);
        self
    }

    /// How long a call may take, if its context does not leave it less. 30 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.inner = self.inner.timeout(timeout);
        self
    }

    /// Listens in another way than that of [`ListenOptions::default`]: who may connect to its Unix socket, how many may
    /// wait to be accepted.
    pub fn listening(mut self, options: ListenOptions) -> Self {
        self.inner = self.inner.listening(options);
        self
    }

    /// All that happens, from [`HubEvent::Started`] on; see [`Hub::events`].
    pub fn events(&self) -> HubEvents {
        HubEvents { inner: self.inner.events(), mio: self.mio.clone() }
    }

    /// Binds `addr` (`host:port`; port 0 for any) and runs.
    ///
    /// # Errors
    /// What the operating system says to binding; as [`Mio::start`], unless a loop was given.
    pub fn bind(self, addr: &str) -> io::Result<Hub> {
        let mio = self.mio.map_or_else(Mio::start, Ok)?;
        Ok(Hub { inner: mio.wait(self.inner.on(mio.clone()).bind(addr))?, mio })
    }
}

impl Hub {
    /// Begins a hub with a loop on a thread of its own.
    pub fn builder() -> HubBuilder {
        HubBuilder::default()
    }

    /// Begins a hub on a given loop.
    pub fn on(mio: Mio) -> HubBuilder {
        HubBuilder { mio: Some(mio), ..HubBuilder::default() }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> &Address {
        self.inner.local_addr()
    }

    /// All that happens from now on, each call included. 1,024 events are kept for a listener that is late; then one says
    /// how many were missed. Routing never waits for a listener, and while there is none, costs nothing for it.
    pub fn events(&self) -> HubEvents {
        HubEvents { inner: self.inner.events(), mio: Some(self.mio.clone()) }
    }

    /// What changes from now on: services that come and go, and the end of the hub. Events that come with each message
    /// are not among them, so that a flood of those cannot wash them away.
    pub fn changes(&self) -> HubEvents {
        HubEvents { inner: self.inner.changes(), mio: Some(self.mio.clone()) }
    }

    /// How it stands. After the end of its loop, it does not run.
    pub fn status(&self) -> HubStatus {
        self.mio.wait(self.inner.status())
    }

    /// What was counted since it runs.
    pub fn metrics(&self) -> Metrics {
        self.mio.wait(self.inner.metrics())
    }

    /// The registered services.
    pub fn services(&self) -> Vec<ServiceInfo> {
        self.mio.wait(self.inner.services())
    }

    /// One registered service.
    pub fn service(&self, name: &str) -> Option<ServiceInfo> {
        self.mio.wait(self.inner.service(name))
    }

    /// Whether a service of this name is registered.
    pub fn is_connected(&self, name: &str) -> bool {
        self.mio.wait(self.inner.is_connected(name))
    }

    /// Stops to listen, takes no more messages, and closes each connection once it is sent what waits for it; what is left
    /// after `within` is dropped.
    pub fn shutdown(self, within: Duration) -> Dropped {
        self.mio.wait(self.inner.shutdown(within))
    }
}

/// The events from now on; each is waited for, and the end is when the hub has stopped.
#[derive(Debug)]
pub struct HubEvents {
    inner: Events,
    /// `None`: they began before there was a loop.
    mio: Option<Mio>,
}

impl Iterator for HubEvents {
    type Item = HubEvent;

    fn next(&mut self) -> Option<HubEvent> {
        match &self.mio {
            Some(mio) => mio.wait(self.inner.next()),
            None => self.inner.wait(),
        }
    }
}
