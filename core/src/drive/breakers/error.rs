//! How a guarded call can fail.

use alloc::sync::Arc;
use core::time::Duration;

use thiserror::Error;

/// A guarded call has failed, or was never made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Broken<E> {
    /// The breaker has refused it; nothing was called.
    #[error("{name}: too many calls have failed lately; the next may be tried in {retry_after:?}")]
    Open {
        /// The breaker.
        name: Arc<str>,
        /// Before that it is of no use to ask again.
        retry_after: Duration,
    },
    /// It took too long. Whether it has had an effect, nobody can tell.
    #[error("{name}: no result within {limit:?}")]
    TimedOut {
        /// The breaker.
        name: Arc<str>,
        /// How long it might take.
        limit: Duration,
    },
    /// There is no breaker of that name, and no room for one; nothing was called.
    #[error(transparent)]
    TooManyNames(#[from] TooManyNames),
    /// What the call itself said.
    #[error(transparent)]
    Failed(E),
}

/// There are as many breakers as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there are {limit} breakers, which is the limit: remove one, or allow more")]
pub struct TooManyNames {
    /// How many there may be.
    pub limit: u32,
}
