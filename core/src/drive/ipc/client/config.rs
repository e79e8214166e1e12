//! What can be said about a client before it is there.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::hash::{BuildHasher, Hasher};
use core::num::NonZeroU32;
use core::sync::atomic::AtomicBool;
use core::time::Duration;
use std::hash::RandomState;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cache::{Cache, CacheLimits};
use super::call::{Handle, Shared};
use super::ctx::Ctx;
use super::error::BuildError;
use super::host::ClientHost;
use super::{Client, Config, Format, HandlerError};
use crate::drive::ipc::feeds::Feeds;
use crate::drive::methods::{Json, Method, Raw, Typed};
use crate::drive::recording::Taped;
use crate::drive::{Clock, Driver, Recording, Runtime, mailbox};
use crate::ipc::client as machine;
use crate::time::Instant;

/// Calls that have not ended at most, those among them that have not reached the driver; above it a call is `Overloaded`.
const CALLS: NonZeroU32 = NonZeroU32::new(65_536).expect("not zero");
/// The longest name of a service, in bytes.
const NAME: usize = 255;

/// What can be said about a client before it is there.
pub struct Builder<R> {
    runtime: R,
    config: Config,
    seed: Option<u64>,
    methods: Vec<(Arc<str>, Box<dyn Method<Ctx>>)>,
    cache: Cache,
    recording: Option<Recording>,
}

impl<R: Runtime> Builder<R> {
    pub(super) fn new(runtime: R, service_name: &str) -> Self {
        Builder {
            runtime,
            config: Config::new(service_name),
            seed: None,
            methods: Vec::new(),
            cache: Cache::new(CacheLimits::default()),
            recording: None,
        }
    }

    /// Records everything that it is told: see [`record`](crate::record).
    pub fn record(mut self, recording: &Recording) -> Self {
        self.recording = Some(recording.clone());
        self
    }

    /// Where the hub listens. `/tmp/bro-gateway.sock` by default.
    pub fn path(mut self, path: &str) -> Self {
        self.config.path = path.into();
        self
    }

    /// What the hub is told of the service's version. `1.0.0` by default.
    pub fn version(mut self, version: &str) -> Self {
        self.config.version = version.into();
        self
    }

    /// How messages are written: JSON by default, or MessagePack. Services need not agree, the hub converts.
    pub fn serializer(mut self, format: Format) -> Self {
        self.config.format = format;
        self
    }

    /// How many connections to the hub share the calls, from 1 to 64; 1 by default.
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.config.pool_size = NonZeroU32::new(connections.min(64)).unwrap_or(NonZeroU32::MIN);
        self
    }

    /// Whether a lost connection is made again; yes by default.
    pub fn auto_reconnect(mut self, again: bool) -> Self {
        self.config.auto_reconnect = again;
        self
    }

    /// How long to wait before a lost connection is made again: 5 s by default, doubled each time, up to 30 s.
    pub fn reconnect_delay(mut self, delay: Duration) -> Self {
        self.config.reconnect.base = delay;
        self
    }

    /// How long a call may take, if its context does not leave it less. 30 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// How long a connection may take to be made. 10 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long the hub may take to acknowledge a registration. 5 s by default.
    pub fn register_timeout(mut self, timeout: Duration) -> Self {
        self.config.register_timeout = timeout;
        self
    }

    /// How often the hub is told that the service is alive. 30 s by default.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.config.heartbeat_interval = interval;
        self
    }

    /// Anything else that is configured, limits above all.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Where all chance comes from: ids, and the roots of contexts. Another one each time by default; two clients of one
    /// name must not have the same.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Keeps the results of typed calls of a method for so long, by their parameters: a call that was answered so lately is
    /// answered from there.
    pub fn cached(mut self, service: &str, method: &str, kept: Duration) -> Self {
        self.cache.opt_in(service, method, kept);
        self
    }

    /// How much is kept of results.
    pub fn cache_limits(mut self, limits: CacheLimits) -> Self {
        self.cache.set_limits(limits);
        self
    }

    /// Answers calls of `name` with what `handler` makes of their parameters; as
    /// [`Client::register_method`], from the beginning.
    pub fn method<P, T, F, Fut>(mut self, name: &str, handler: F) -> Self
    where
        P: DeserializeOwned + 'static,
        T: Serialize + 'static,
        F: Fn(P, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, HandlerError>> + Send + 'static,
    {
        self.methods.push((name.into(), Box::new(Typed::<Json, _, _, _, _>::new(handler))));
        self
    }

    /// As [`method`](Self::method), with parameters and results as they are on the wire; as
    /// [`Client::register_raw_method`], from the beginning.
    pub fn raw_method<F, Fut>(mut self, name: &str, handler: F) -> Self
    where
        F: Fn(Vec<u8>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<u8>, HandlerError>> + Send + 'static,
    {
        self.methods.push((name.into(), Box::new(Typed::<Raw, _, _, _, _>::new(handler))));
        self
    }

    /// A client that is not connected.
    ///
    /// # Errors
    /// [`BuildError`]: a name that is none, or too many methods.
    pub fn build(self) -> Result<Client<R>, BuildError> {
        let Builder { runtime, config, seed, methods, cache, recording } = self;
        let name = &config.service_name;
        if name.is_empty() || name.len() > NAME || name.starts_with('$') {
            return Err(BuildError::BadName(Box::from(&**name)));
        }
        let shared = Arc::new(Shared {
            service: Arc::from(&**name),
            path: Arc::from(&*config.path),
            format: config.format,
            clock: Clock::start(),
            registered: AtomicBool::new(false),
            cache,
            feeds: Feeds::default(),
        });
        let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let mut machine = machine::Client::new(config, seed);
        for (name, _) in &methods {
            machine
                .register_method(Instant::ZERO, name)
                .map_err(|error| BuildError::Method { name: Box::from(&**name), error })?;
        }
        let (mailbox, inbox) = mailbox(CALLS);
        let own = Handle { mailbox: mailbox.uncounted(), shared: shared.clone() };
        let pools = methods.into_iter().map(|(name, method)| (name, method.pool())).collect();
        let host = Taped::new(ClientHost::new(inbox, own, pools), &mut machine, recording.as_ref());
        runtime.spawn(Driver::new(machine, host, runtime.connector()));
        Ok(Client { handle: Handle { mailbox, shared }, runtime })
    }
}
