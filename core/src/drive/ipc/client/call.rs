//! One call of a service.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::sync::atomic::AtomicBool;
use core::task::{Context as TaskContext, Poll, ready};
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cache::Cache;
use super::ctx::Ctx;
use super::error::{CallError, Cause};
use super::events::ClientEvent;
use super::host::{Answer, Command};
use crate::drive::ipc::feeds::Feeds;
use crate::drive::{Clock, Key, Mailbox, NotSent};
use crate::ipc::Context;
use crate::wire::ipc::{Format, Value};

/// What all handles of a client share.
pub(super) struct Shared {
    pub(super) service: Arc<str>,
    pub(super) path: Arc<str>,
    pub(super) format: Format,
    pub(super) clock: Clock,
    /// Whether a connection stands that the hub has acknowledged.
    pub(super) registered: AtomicBool,
    pub(super) cache: Cache,
    pub(super) feeds: Feeds<ClientEvent>,
}

/// Talks to the driver of a client.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) mailbox: Mailbox<Command, Answer>,
    pub(super) shared: Arc<Shared>,
}

/// One call that is being prepared. Dropping the future of [`json`](Self::json) or [`send`](Self::send) gives the call up and
/// frees its place at once.
#[derive(Clone)]
#[must_use = "a call is made by `json` or `send`"]
pub struct Call<'a> {
    pub(super) handle: Cow<'a, Handle>,
    pub(super) service: &'a str,
    pub(super) method: &'a str,
    pub(super) timeout: Option<Duration>,
    pub(super) within: Option<Arc<Context>>,
}

impl<'a> Call<'a> {
    /// How long it may take, instead of the client's own timeout. The deadline of its context may leave it less.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// It is made within another one, which a handler serves: on the same behalf, and by the same deadline.
    pub fn within(mut self, ctx: &Ctx) -> Self {
        self.within = Some(ctx.context.clone());
        self
    }

    /// Sends parameters, and reads the result as `T`; both in whatever format the client writes.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn json<T: DeserializeOwned>(self, params: &(impl Serialize + ?Sized)) -> Result<T, CallError> {
        let content = written(params).map_err(|cause| self.error(cause))?;
        let handle = self.handle.clone();
        let cache = &handle.shared.cache;
        let now = || handle.shared.clock.now();
        let keeping = cache.place(self.service, self.method, &content);
        if let Some(result) = keeping.as_ref().and_then(|place| cache.find(now(), place)) {
            return read(&result).map_err(|cause| self.error(cause));
        }
        let mut sending = self.begin(content, false);
        let result = (&mut sending).await?;
        let value = read(&result).map_err(|cause| sending.call.error(cause))?;
        if let Some(place) = keeping {
            cache.keep(now(), place, &result);
        }
        Ok(value)
    }

    /// Sends parameters as they are, which are one value in the client's own format, or nothing; so is the result, which
    /// comes back in the same vector.
    pub fn send(self, params: Vec<u8>) -> Sending<'a> {
        self.begin(params, true)
    }

    fn begin(self, content: Vec<u8>, raw: bool) -> Sending<'a> {
        Sending { call: self, raw, stage: Stage::Begin(content) }
    }

    pub(super) fn error(&self, cause: Cause) -> CallError {
        CallError { service: Box::from(self.service), method: Box::from(self.method), cause }
    }
}

/// What the wire is to carry, checked here, since the hub closes the connection of who sends it something else.
pub(super) fn written(params: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, Cause> {
    let content = serde_json::to_vec(params).map_err(|error| Cause::Unserializable(error.to_string()))?;
    checked(Format::Json, &content)?;
    Ok(content)
}

fn checked(format: Format, content: &[u8]) -> Result<(), Cause> {
    match Value::parse(format, content) {
        Ok(_) => Ok(()),
        Err(error) => Err(Cause::Unserializable(error.to_string())),
    }
}

pub(super) fn read<T: DeserializeOwned>(result: &[u8]) -> Result<T, Cause> {
    serde_json::from_slice(result).map_err(|error| Cause::Unreadable(error.to_string()))
}

pub(super) fn refused(error: NotSent) -> Cause {
    match error {
        NotSent::Full => Cause::Overloaded,
        NotSent::Closed => Cause::Closed,
    }
}

/// A call on its way: ends with the result as it came, or a [`CallError`]. Nothing happens until it is polled. If it is
/// dropped, the call is given up.
#[must_use = "futures do nothing unless they are polled"]
pub struct Sending<'a> {
    pub(super) call: Call<'a>,
    raw: bool,
    stage: Stage,
}

enum Stage {
    Begin(Vec<u8>),
    Waiting(Key),
    Ended,
}

/// What is sent to the driver: the parameters, and behind them whom and what they are for. One vector travels out, and
/// comes back with the result.
pub(super) struct Parcel {
    pub(super) bytes: Vec<u8>,
    pub(super) service_at: usize,
    pub(super) method_at: usize,
}

impl Parcel {
    pub(super) fn new(params: Vec<u8>, service: &str, method: &str) -> Self {
        let (service_at, mut bytes) = (params.len(), params);
        bytes.extend_from_slice(service.as_bytes());
        let method_at = bytes.len();
        bytes.extend_from_slice(method.as_bytes());
        Parcel { bytes, service_at, method_at }
    }

    pub(super) fn params(&self) -> &[u8] {
        &self.bytes[..self.service_at]
    }

    pub(super) fn service(&self) -> &str {
        core::str::from_utf8(&self.bytes[self.service_at..self.method_at]).expect("it was a string before")
    }

    pub(super) fn method(&self) -> &str {
        core::str::from_utf8(&self.bytes[self.method_at..]).expect("it was a string before")
    }
}

impl Sending<'_> {
    fn poll_answer(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Vec<u8>, Cause>> {
        let handle = &self.call.handle;
        match &mut self.stage {
            Stage::Begin(params) => {
                let raw = self.raw;
                if raw && !params.is_empty() {
                    checked(handle.shared.format, params)?;
                }
                let Call { service, method, timeout, .. } = self.call;
                let parcel = Parcel::new(mem::take(params), service, method);
                let within = self.call.within.clone();
                let command = |key| Command::Call { key, parcel, timeout, within, raw };
                match handle.mailbox.send_and_wait(cx, command) {
                    Ok(key) => self.stage = Stage::Waiting(key),
                    Err(error) => return Poll::Ready(Err(refused(error))),
                }
                Poll::Pending
            }
            Stage::Waiting(key) => match handle.mailbox.poll(*key, cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Answer::Call(result))) => Poll::Ready(result.map_err(|cause| *cause)),
                Poll::Ready(_) => Poll::Ready(Err(Cause::Closed)),
            },
            Stage::Ended => panic!("polled after it had ended"),
        }
    }
}

impl Future for Sending<'_> {
    type Output = Result<Vec<u8>, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.poll_answer(cx));
        self.stage = Stage::Ended;
        Poll::Ready(answer.map_err(|cause| self.call.error(cause)))
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if let Stage::Waiting(key) = &self.stage {
            self.call.handle.mailbox.abandon(*key, || Command::GivenUp(*key));
        }
    }
}
