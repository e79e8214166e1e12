//! Callers of async clients: as many as requests may be in flight, each with one request after the other.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, spawn_blocking};

use super::report::{answered, done, ready};
use super::{Load, NOT_WHAT_WAS_SENT};
use crate::Result;

/// A handle to something that answers with what it is given.
pub(super) trait Echo: Clone + Send + 'static {
    type Content: AsRef<[u8]> + Clone + From<Vec<u8>> + Send;

    fn echo(&mut self, content: Self::Content) -> impl Future<Output = Result<Self::Content>> + Send;
}

/// One thread for everything.
pub(super) fn runtime() -> Result<Runtime> {
    // By default sockets are looked at after every 61 tasks: several times for the answers of one read.
    Ok(Builder::new_current_thread().event_interval(511).enable_all().build()?)
}

/// All that a client does once it stands connected. Callers are dealt round to the handles, which there are either one
/// of, or one for each connection.
pub(super) async fn call<E: Echo>(handles: Vec<E>, load: &Load) -> Result<()> {
    ready("");
    if load.apart {
        let load = load.clone();
        spawn_blocking(move || runtime()?.block_on(call_here(handles, &load))).await??;
    } else {
        call_here(handles, load).await?;
    }
    done(load.requests());
    Ok(())
}

async fn call_here<E: Echo>(handles: Vec<E>, load: &Load) -> Result<()> {
    let content = E::Content::from(load.content());
    let callers = u64::from(load.connections * load.in_flight);
    let mut tasks = JoinSet::new();
    for (at, handle) in (0..callers).zip(handles.iter().cycle()) {
        tasks.spawn(caller(handle.clone(), content.clone(), load.share(at, callers)));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// One caller.
pub(super) async fn caller<E: Echo>(mut handle: E, mut content: E::Content, requests: u64) -> Result<()> {
    let size = content.as_ref().len();
    for _ in 0..requests {
        content = handle.echo(content).await?;
        if content.as_ref().len() != size {
            return Err(NOT_WHAT_WAS_SENT.into());
        }
        answered(1);
    }
    Ok(())
}
