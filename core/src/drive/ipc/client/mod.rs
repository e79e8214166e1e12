//! A client: a service at a hub, which calls others and is called.

mod batch;
mod cache;
mod call;
mod config;
mod ctx;
mod error;
mod events;
mod host;
mod retry;
mod serving;

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::sync::atomic::Ordering;
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use super::super::methods::HandlerError;
pub use crate::ipc::Context;
pub use crate::ipc::client::{Config, MethodError, Metrics};
pub use crate::wire::ipc::Format;
pub use batch::Batch;
pub use cache::CacheLimits;
pub use call::{Call, Sending};
pub use config::Builder;
pub use ctx::Ctx;
pub use error::{BuildError, CallError, Cause, ConnectError, NotRegistered};
pub use events::{ClientEvent, Events};
pub use retry::Retry;

use crate::drive::methods::{Json, Method, Raw, Typed};
use crate::drive::{Key, Runtime, Timer};
use crate::ipc::client as machine;
use call::Handle;
use host::{Answer, Command};

/// A service at a hub. Cheap to clone; when all clones are gone, its connections are closed.
///
/// A handler must not hold a clone of the client that it serves, which would never be gone: it calls on by its
/// [`Ctx`].
pub struct Client<R> {
    handle: Handle,
    runtime: R,
}

/// How a client stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientStatus {
    /// Whether a connection to the hub stands.
    pub connected: bool,
    /// Whether a connection stands that the hub has acknowledged.
    pub registered: bool,
    /// The name of its service.
    pub service_name: String,
    /// Calls that wait for their answer.
    pub pending: u32,
    /// Calls by others whose handlers wait.
    pub serving: u32,
    /// What it can be called for, sorted.
    pub methods: Vec<String>,
}

/// What a shutdown cut short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Calls that were made and not answered.
    pub calls: u32,
}

impl ClientStatus {
    fn of(client: &machine::Client) -> Self {
        let status = client.status();
        ClientStatus {
            connected: status.connected,
            registered: status.registered,
            service_name: status.service_name.into(),
            pending: status.pending,
            serving: status.serving,
            methods: client.methods().map(String::from).collect(),
        }
    }
}

impl<R: Runtime + Default> Client<R> {
    /// Begins a client, under the name by which others call it.
    pub fn builder(service_name: &str) -> Builder<R> {
        Client::on(R::default(), service_name)
    }
}

impl<R: Runtime> Client<R> {
    /// Begins a client on a given runtime.
    pub fn on(runtime: R, service_name: &str) -> Builder<R> {
        Builder::new(runtime, service_name)
    }

    /// The name of its service.
    pub fn service_name(&self) -> &str {
        &self.handle.shared.service
    }

    /// Connects, and waits until the hub has acknowledged the registration of one connection, or until none can be made.
    /// In that case the client goes on trying by itself if it is to reconnect; [`disconnect`](Self::disconnect) ends that.
    /// A client that is connected already is so at once.
    ///
    /// # Errors
    /// [`ConnectError`] says what the hub, or the system, has against it.
    pub async fn connect(&self) -> Result<(), ConnectError> {
        let why = match self.ask(Command::Connect).await {
            Some(Answer::Connected(Ok(()))) => return Ok(()),
            Some(Answer::Connected(Err(why))) => why,
            _ => NotRegistered::Closed,
        };
        let shared = &self.handle.shared;
        Err(ConnectError { service: Box::from(&*shared.service), path: Box::from(&*shared.path), why })
    }

    /// Ends all calls as [`Cause::Disconnected`], and closes all connections. None is made again before the next
    /// [`connect`](Self::connect).
    pub async fn disconnect(&self) {
        self.ask(Command::Disconnect).await;
    }

    /// Makes no more calls, sees those it has made and those it serves to their end, and disconnects for good; at the
    /// latest after `within`.
    pub async fn shutdown(&self, within: Duration) -> Dropped {
        match self.ask(|key| Command::Shutdown { key, within }).await {
            Some(Answer::Shutdown(dropped)) => dropped,
            _ => Dropped::default(),
        }
    }

    /// Answers calls of `name` with what `handler` makes of their parameters; a handler of the same name is replaced. The
    /// hub is told at once.
    ///
    /// The handler runs in the task of the connection: whatever takes long by itself belongs on another thread. It is
    /// dropped when nobody waits for it any more. Parameters that cannot be read as `P` are answered with
    /// `DESERIALIZATION_FAILED`, a panic with `INTERNAL_ERROR`.
    ///
    /// # Errors
    /// [`MethodError`].
    pub async fn register_method<P, T, F, Fut>(&self, name: &str, handler: F) -> Result<(), MethodError>
    where
        P: DeserializeOwned + 'static,
        T: Serialize + 'static,
        F: Fn(P, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, HandlerError>> + Send + 'static,
    {
        self.register(name, Typed::<Json, _, _, _, _>::new(handler)).await
    }

    /// As [`register_method`](Self::register_method), with parameters and results as they are on the wire: one value in
    /// the client's own format each, or nothing.
    ///
    /// # Errors
    /// [`MethodError`].
    pub async fn register_raw_method<F, Fut>(&self, name: &str, handler: F) -> Result<(), MethodError>
    where
        F: Fn(Vec<u8>, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<u8>, HandlerError>> + Send + 'static,
    {
        self.register(name, Typed::<Raw, _, _, _, _>::new(handler)).await
    }

    async fn register(&self, name: &str, method: impl Method<Ctx>) -> Result<(), MethodError> {
        let (name, pool) = (Arc::from(name), method.pool());
        match self.ask(|key| Command::Register { key, name, pool }).await {
            Some(Answer::Registered(result)) => result,
            // Nobody will call it any more.
            _ => Ok(()),
        }
    }

    /// Forgets a method; calls of it that are under way go on. `false` if there is none of that name.
    pub async fn unregister_method(&self, name: &str) -> bool {
        let answer = self.ask(|key| Command::Unregister { key, name: name.into() }).await;
        matches!(answer, Some(Answer::Unregistered(true)))
    }

    /// Calls `method` of `service`, and reads the result as `T`. Dropping the future gives the call up.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<T: DeserializeOwned>(
        &self,
        service: &str,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.prepare(service, method).json(params).await
    }

    /// As [`call`](Self::call), within a call that a handler serves: on the same behalf, and by the same deadline.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call_in<T: DeserializeOwned>(
        &self,
        ctx: &Ctx,
        service: &str,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.prepare(service, method).within(ctx).json(params).await
    }

    /// A call of which more can be said before it is sent: options, or raw bytes.
    pub fn prepare<'a>(&'a self, service: &'a str, method: &'a str) -> Call<'a> {
        Call { handle: Cow::Borrowed(&self.handle), service, method, timeout: None, within: None }
    }

    /// As [`call`](Self::call), made again as `retry` says while it fails. The call may run more than once.
    ///
    /// # Errors
    /// [`CallError`], of the last time.
    pub async fn call_with_retry<T: DeserializeOwned>(
        &self,
        service: &str,
        method: &str,
        params: &(impl Serialize + ?Sized),
        retry: Retry,
    ) -> Result<T, CallError>
    where
        R: Timer,
    {
        let mut attempt = 0;
        loop {
            let error = match self.call(service, method, params).await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            attempt += 1;
            match retry.wait(attempt, &error) {
                Some(wait) => self.runtime.sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    /// Many calls that go out in one write, and come back as one list of results.
    pub fn batch(&self) -> Batch<'_> {
        Batch { handle: Cow::Borrowed(&self.handle), timeout: None, within: None, calls: Vec::new() }
    }

    /// Forgets all results that were kept.
    pub fn clear_cache(&self) {
        self.handle.shared.cache.clear();
    }

    /// Whether a connection stands that the hub has acknowledged.
    pub fn is_connected(&self) -> bool {
        self.handle.shared.registered.load(Ordering::Acquire)
    }

    /// What it can be called for, sorted.
    pub async fn methods(&self) -> Vec<String> {
        self.status().await.methods
    }

    /// How it stands.
    pub async fn status(&self) -> ClientStatus {
        match self.ask(Command::Status).await {
            Some(Answer::Status(status)) => *status,
            _ => ClientStatus { service_name: self.service_name().into(), ..ClientStatus::default() },
        }
    }

    /// What was counted since its start.
    pub async fn metrics(&self) -> Metrics {
        match self.ask(Command::Metrics).await {
            Some(Answer::Metrics(metrics)) => *metrics,
            _ => Metrics::default(),
        }
    }

    /// All that happens from now on, each call included. 1,024 events are kept for a listener that is late; then one says
    /// how many were missed. While nobody listens, this costs nothing.
    pub fn events(&self) -> Events {
        self.handle.shared.feeds.all()
    }

    /// What changes from now on: all events but those that come with every call, so that these cannot wash them away.
    pub fn changes(&self) -> Events {
        self.handle.shared.feeds.changes()
    }

    /// `None`: the driver has ended, or is asked too much at a time.
    async fn ask(&self, question: impl FnOnce(Key) -> Command) -> Option<Answer> {
        let key = self.handle.mailbox.send_control(question).ok()?;
        self.handle.mailbox.answer(key, Command::GivenUp).await
    }
}

impl<R: Clone> Clone for Client<R> {
    fn clone(&self) -> Self {
        Client { handle: self.handle.clone(), runtime: self.runtime.clone() }
    }
}
