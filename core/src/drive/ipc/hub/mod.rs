//! A hub that runs.

mod events;
mod host;
mod view;

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hasher};
use core::marker::PhantomData;
use core::num::NonZeroU32;
use core::time::Duration;
use std::hash::RandomState;
use std::io;

pub use crate::ipc::hub::{Cause, Config, Metrics, Refused};
pub use events::{Events, HubEvent, Passing, Registration};
pub use view::{HubStatus, PeerInfo, ServiceInfo};

use crate::drive::hub::Wakes;
use crate::drive::ipc::feeds::Feeds;
use crate::drive::recording::Taped;
use crate::drive::{Address, Driver, Key, ListenOptions, Mailbox, Recording, Runtime, mailbox};
use crate::ipc::hub as machine;
use host::{Answer, Command, HubHost};

/// Questions of a hub's own handle that wait for their answers.
const CONTROLS: NonZeroU32 = NonZeroU32::new(64).expect("not zero");

/// What can be said about a hub before it is there.
#[derive(Debug)]
pub struct Builder<R> {
    runtime: R,
    config: Config,
    listening: ListenOptions,
    seed: Option<u64>,
    feeds: Arc<Feeds<HubEvent>>,
    recording: Option<Recording>,
}

impl<R> Builder<R> {
    /// Other limits and times than those of [`Config::default`].
    pub fn limits(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Turns away whoever is not a process of this user, as far as the system tells whose they are: over Unix sockets it
    /// does, over TCP nobody gets in.
    pub fn require_uid(mut self, uid: u32) -> Self {
        self.config.require_uid = Some(uid);
        self
    }

    /// How often services are expected to tell that they are alive; one that is silent for three times as long is gone.
    /// 30 s by default.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.config.heartbeat_interval = interval;
        self
    }

    /// How long a call may take, if its context does not leave it less. 30 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// Listens in another way than that of [`ListenOptions::default`]: who may connect to its Unix socket, how many may
    /// wait to be accepted.
    pub fn listening(mut self, options: ListenOptions) -> Self {
        self.listening = options;
        self
    }

    /// What its tables are hashed by, which peers should not be able to guess; another one each time by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// All that happens, from [`HubEvent::Started`] on; see [`Hub::events`].
    pub fn events(&self) -> Events {
        self.feeds.all()
    }

    /// Records everything that it is told: see [`record`](crate::record).
    pub fn record(mut self, recording: &Recording) -> Self {
        self.recording = Some(recording.clone());
        self
    }

    /// The same on another runtime.
    pub fn on<Q: Runtime>(self, runtime: Q) -> Builder<Q> {
        let Builder { config, listening, seed, feeds, recording, .. } = self;
        Builder { runtime, config, listening, seed, feeds, recording }
    }
}

/// On no runtime yet.
impl Default for Builder<()> {
    fn default() -> Self {
        Builder {
            runtime: (),
            config: Config::default(),
            listening: ListenOptions::default(),
            seed: None,
            feeds: Arc::default(),
            recording: None,
        }
    }
}

impl<R: Runtime> Builder<R> {
    /// Binds `addr` (the [path](crate::machine::unix_path) of a Unix socket; or `host:port`) and runs.
    ///
    /// # Errors
    /// What the operating system says to binding.
    pub async fn bind(mut self, addr: &str) -> io::Result<Hub<R>> {
        let (transports, local_addr) = self.runtime.listen(addr, &self.listening, 1).await?;
        let address = local_addr.to_string();
        self.config.socket_path.clone_from(&address);
        let seed = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let (mailbox, inbox) = mailbox(CONTROLS);
        let mut wakes = Wakes::default();
        self.feeds.change(&mut wakes, || HubEvent::Started { address: address.clone() });
        wakes.wake();
        // All routing is the work of one machine, which knows all services: there is one transport.
        if let Some(transport) = transports.into_iter().next() {
            let mut machine = machine::Hub::new(self.config, seed);
            let host = HubHost::new(inbox, self.feeds.clone(), address);
            let host = Taped::new(host, &mut machine, self.recording.as_ref());
            self.runtime.spawn(Driver::new(machine, host, transport));
        }
        Ok(Hub { mailbox, local_addr, feeds: self.feeds, runtime: PhantomData })
    }
}

/// A hub that runs. Dropping it closes its connections at once; [`shutdown`](Self::shutdown) is the gentle way.
#[derive(Debug)]
pub struct Hub<R> {
    mailbox: Mailbox<Command, Answer>,
    local_addr: Address,
    feeds: Arc<Feeds<HubEvent>>,
    runtime: PhantomData<fn() -> R>,
}

/// What a shutdown cut short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Calls that were passed on and not answered.
    pub calls: u32,
}

impl<R: Runtime + Default> Hub<R> {
    /// Begins a hub.
    pub fn builder() -> Builder<R> {
        Hub::on(R::default())
    }
}

impl<R: Runtime> Hub<R> {
    /// Begins a hub on a given runtime.
    pub fn on(runtime: R) -> Builder<R> {
        Builder::default().on(runtime)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> &Address {
        &self.local_addr
    }

    /// All that happens from now on, each call included. 1,024 events are kept for a listener that is late; then one says
    /// how many were missed. Routing never waits for a listener, and while there is none, costs nothing for it.
    pub fn events(&self) -> Events {
        self.feeds.all()
    }

    /// What changes from now on: services that come and go, and the end of the hub. Events that come with each message
    /// are not among them, so that a flood of those cannot wash them away.
    pub fn changes(&self) -> Events {
        self.feeds.changes()
    }

    /// How it stands. After the end of its driver, it does not run.
    pub async fn status(&self) -> HubStatus {
        match self.ask(Command::Status).await {
            Some(Answer::Status(status)) => status,
            _ => HubStatus { socket_path: self.local_addr.to_string(), ..HubStatus::default() },
        }
    }

    /// What was counted since it runs.
    pub async fn metrics(&self) -> Metrics {
        match self.ask(Command::Metrics).await {
            Some(Answer::Metrics(metrics)) => *metrics,
            _ => Metrics::default(),
        }
    }

    /// The registered services.
    pub async fn services(&self) -> Vec<ServiceInfo> {
        match self.ask(Command::Services).await {
            Some(Answer::Services(services)) => services,
            _ => Vec::new(),
        }
    }

    /// One registered service.
    pub async fn service(&self, name: &str) -> Option<ServiceInfo> {
        match self.ask(|key| Command::Service(key, String::from(name))).await {
            Some(Answer::Service(service)) => service.map(|service| *service),
            _ => None,
        }
    }

    /// Whether a service of this name is registered.
    pub async fn is_connected(&self, name: &str) -> bool {
        let answer = self.ask(|key| Command::IsConnected(key, String::from(name))).await;
        matches!(answer, Some(Answer::IsConnected(true)))
    }

    /// Stops to listen, takes no more messages, and closes each connection once it is sent what waits for it; what is left
    /// after `within` is dropped.
    pub async fn shutdown(self, within: Duration) -> Dropped {
        match self.ask(|key| Command::Shutdown { key, within }).await {
            Some(Answer::Shutdown(dropped)) => dropped,
            _ => Dropped::default(),
        }
    }

    /// `None`: the driver has ended, or is asked too much at a time.
    async fn ask(&self, question: impl FnOnce(Key) -> Command) -> Option<Answer> {
        let key = self.mailbox.send_control(question).ok()?;
        self.mailbox.answer(key, |_| Command::GivenUp).await
    }
}
