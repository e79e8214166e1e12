//! Many calls that are sent together.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::task::{Context as TaskContext, Poll, ready};
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::{Handle, Parcel, read, refused, written};
use super::ctx::Ctx;
use super::error::{CallError, Cause};
use super::host::{Answer, Command};
use crate::drive::Key;
use crate::ipc::Context;

/// Calls that go out in one write, and come back as one list of results.
#[must_use = "a batch is made by `send`"]
pub struct Batch<'a> {
    pub(super) handle: Cow<'a, Handle>,
    pub(super) timeout: Option<Duration>,
    pub(super) within: Option<Arc<Context>>,
    pub(super) calls: Vec<(Names, Result<Parcel, Cause>)>,
}

/// Whom a call is for, to be named if it fails.
pub(super) struct Names {
    service: String,
    method: String,
}

impl Batch<'_> {
    /// How long each call may take, instead of the client's own timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// All are made within a call that a handler serves.
    pub fn within(mut self, ctx: &Ctx) -> Self {
        self.within = Some(ctx.context.clone());
        self
    }

    /// One more call. Parameters that cannot be written fail that call, and no other.
    pub fn call(mut self, service: &str, method: &str, params: &(impl Serialize + ?Sized)) -> Self {
        let parcel = written(params).map(|params| Parcel::new(params, service, method));
        self.calls.push((Names { service: service.into(), method: method.into() }, parcel));
        self
    }

    /// Sends them all, and waits for all. The results are in the order of the calls; if they differ in type, `T` is
    /// `serde_json::Value`. Dropping the future gives all up that have not ended. Calls beyond the client's limits are
    /// [`Cause::Overloaded`].
    pub fn send<T: DeserializeOwned>(self) -> impl Future<Output = Vec<Result<T, CallError>>> + use<T> {
        let Batch { handle, timeout, within, calls } = self;
        let mut waiting = Waiting { handle: handle.into_owned(), keys: Vec::new(), next: 0 };
        let (mut names, mut failed, mut parcels) = (Vec::new(), Vec::new(), Vec::new());
        for (name, parcel) in calls {
            names.push(name);
            let (cause, parcel) = match parcel {
                Ok(parcel) => (None, Some(parcel)),
                Err(cause) => (Some(cause), None),
            };
            failed.push(cause);
            parcels.extend(parcel);
        }
        async move {
            let commands = parcels.into_iter().map(|parcel| {
                let within = within.clone();
                move |key| Command::Call { key, parcel, timeout, within, raw: false }
            });
            let sent = waiting.handle.mailbox.send_all(commands);
            let none_sent = match sent {
                Ok(keys) => {
                    waiting.keys = keys;
                    None
                }
                Err(error) => Some(refused(error)),
            };
            let mut results = Vec::with_capacity(names.len());
            for (Names { service, method }, cause) in names.into_iter().zip(failed) {
                let result = match cause.or_else(|| none_sent.clone()) {
                    Some(cause) => Err(cause),
                    None => poll_fn(|cx| waiting.poll_next(cx)).await,
                };
                let result = result.and_then(|result| read(&result));
                results.push(result.map_err(|cause| CallError {
                    service: Box::from(service),
                    method: Box::from(method),
                    cause,
                }));
            }
            results
        }
    }
}

/// Calls that were sent; of those from `next` on the results were not taken.
struct Waiting {
    handle: Handle,
    keys: Vec<Key>,
    next: usize,
}

impl Waiting {
    /// The results are taken in order: whoever waits for all of them need be woken for the next one only.
    fn poll_next(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<Vec<u8>, Cause>> {
        let Some(&key) = self.keys.get(self.next) else { return Poll::Ready(Err(Cause::Closed)) };
        let answer = ready!(self.handle.mailbox.poll(key, cx));
        self.next += 1;
        Poll::Ready(match answer {
            Some(Answer::Call(result)) => result.map_err(|cause| *cause),
            _ => Err(Cause::Closed),
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for &key in &self.keys[self.next..] {
            self.handle.mailbox.abandon(key, || Command::GivenUp(key));
        }
    }
}
