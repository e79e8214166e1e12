//! One call of a service.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::callable::Callable;
use super::error::{CallError, Cause};
use super::host::{Answer, Command};
use super::service::{Service, refused};
use crate::drive::Key;
use crate::policy::balance::consistent_hash::hash_key;
use crate::service::Uw;

/// One call that is being prepared. Dropping the future of [`json`](Self::json) or [`send`](Self::send) gives the call
/// up and frees its place at once.
#[must_use = "a call is made by `json` or `send`"]
pub struct Call<'a, P = Uw> {
    /// Or the name that no service has.
    pub(super) service: Result<Cow<'a, Service<P>>, &'a str>,
    pub(super) name: &'a str,
    pub(super) timeout: Option<Duration>,
    pub(super) idempotent: bool,
    pub(super) about: Option<u64>,
}

impl<P> Call<'_, P> {
    /// How long it may take, waiting and retries included.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// It may run more than once: it is sent again if a connection is lost that had begun to send it.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// What it is about (a user, a file): calls with the same key go to the same endpoint, by `consistent_hash`, of all
    /// clients of the service alike. Its hash is [`hash_key`].
    pub fn key(mut self, key: &str) -> Self {
        self.about = Some(hash_key(key.as_bytes()));
        self
    }

    fn error(&self, cause: Cause) -> CallError {
        match &self.service {
            Ok(service) => service.error(self.name, cause),
            Err(name) => CallError { service: Box::from(*name), method: Box::from(self.name), cause },
        }
    }
}

impl Call<'_> {
    /// Sends parameters as JSON, and reads the answer as `T`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn json<T: DeserializeOwned>(self, params: &(impl Serialize + ?Sized)) -> Result<T, CallError> {
        let content = serde_json::to_vec(params)
            .map_err(|error| self.error(Cause::Unserializable(error.to_string())))?;
        let mut sending = self.send(content);
        let answer = (&mut sending).await?;
        serde_json::from_slice(&answer).map_err(|error| sending.call.error(Cause::NotJson(error.to_string())))
    }
}

impl<'a, P: Callable> Call<'a, P> {
    /// Sends `content` as it is; the answer comes back in the same vector. Over UW, both are vectors of bytes.
    pub fn send(self, content: P::Content) -> Sending<'a, P> {
        Sending { call: self, stage: Stage::Begin(content.into()) }
    }
}

impl<P> Clone for Call<'_, P> {
    fn clone(&self) -> Self {
        Call { service: self.service.clone(), ..*self }
    }
}

/// A call on its way: ends with the answer, or a [`CallError`]. Nothing happens until it is polled. If it
/// is dropped, the call is given up.
#[must_use = "futures do nothing unless they are polled"]
pub struct Sending<'a, P = Uw> {
    call: Call<'a, P>,
    stage: Stage,
}

enum Stage {
    Begin(Vec<u8>),
    Waiting { shard: usize, key: Key },
    Ended,
}

impl<P> Sending<'_, P> {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Cause>> {
        let Ok(service) = &self.call.service else { return Poll::Ready(Err(Cause::UnknownService)) };
        let shards = &service.shared.shards;
        match &mut self.stage {
            Stage::Begin(content) => {
                let shard = service.next_shard();
                let Call { name, timeout, idempotent, about, .. } = self.call;
                let content_len = content.len();
                content.extend_from_slice(name.as_bytes());
                let bytes = mem::take(content);
                let command = |key| Command::Call { key, bytes, content_len, timeout, idempotent, about };
                match shards[shard].send_and_wait(cx, command) {
                    Ok(key) => self.stage = Stage::Waiting { shard, key },
                    Err(error) => return Poll::Ready(Err(refused(error))),
                }
                Poll::Pending
            }
            Stage::Waiting { shard, key } => match shards[*shard].poll(*key, cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Answer::Call(result))) => Poll::Ready(result.map_err(|cause| *cause)),
                Poll::Ready(_) => Poll::Ready(Err(Cause::Closed)),
            },
            Stage::Ended => panic!("polled after it had ended"),
        }
    }
}

impl<P: Callable> Future for Sending<'_, P> {
    type Output = Result<P::Answer, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.poll_answer(cx));
        self.stage = Stage::Ended;
        Poll::Ready(answer.map(P::answer).map_err(|cause| self.call.error(cause)))
    }
}

impl<P> Drop for Sending<'_, P> {
    fn drop(&mut self) {
        if let (Stage::Waiting { shard, key }, Ok(service)) = (&self.stage, &self.call.service) {
            service.shared.shards[*shard].abandon(*key, || Command::Cancel(*key));
        }
    }
}
