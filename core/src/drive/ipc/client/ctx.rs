//! What a handler is told about the call that it serves.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::{Call, Handle};
use super::error::CallError;
use crate::drive::methods::About;
use crate::ipc::Context;
use crate::wire::ipc::code;

/// What a handler may know about a call besides its parameters; and what it hands on when it calls other services.
#[derive(Clone)]
pub struct Ctx {
    /// The method that was called.
    pub method: Arc<str>,
    /// The service that has called it.
    pub caller: Arc<str>,
    /// On whose behalf, through which services, and until when.
    pub context: Arc<Context>,
    /// It does not keep the client.
    pub(super) handle: Handle,
}

impl Ctx {
    /// Calls `method` of `service` within this call: on the same behalf, by the same deadline. As
    /// [`Client::call_in`](super::Client::call_in) by the client that serves it, which is not kept alive by this.
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

    /// A call within this one, of which more can be said before it is sent.
    pub fn prepare<'a>(&self, service: &'a str, method: &'a str) -> Call<'a> {
        let handle = Cow::Owned(self.handle.clone());
        Call { handle, service, method, timeout: None, within: Some(self.context.clone()) }
    }

    /// How much time is left until the caller, or whoever has called it, waits no more.
    pub fn remaining(&self) -> Duration {
        self.context.remaining(self.handle.shared.clock.unix_ms())
    }
}

impl About for Ctx {
    const UNREADABLE: &'static str = code::DESERIALIZATION_FAILED;

    fn method(&self) -> &str {
        &self.method
    }
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ctx { method, caller, context, .. } = self;
        f.debug_struct("Ctx")
            .field("method", method)
            .field("caller", caller)
            .field("context", context)
            .finish()
    }
}
