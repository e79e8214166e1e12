//! Plimsoll on smol: async handles on both sides, as on tokio.

use std::future;

use plimsoll_smol::{Client, Server};
use smol::LocalExecutor;

use super::callers::caller;
use super::ours_tokio::{config, connected};
use super::report::{done, ready};
use super::{Load, METHOD};
use crate::Result;

pub(super) fn server(listen: &str) -> Result<()> {
    smol::block_on(async {
        let server = Server::builder()
            .raw_method(METHOD, |content, _| async move { Ok(content) })
            .bind(listen)
            .await?;
        ready(server.local_addr());
        future::pending().await
    })
}

/// The callers run on the thread of the drivers, or all on this one.
pub(super) fn client(address: &str, load: &Load) -> Result<()> {
    let local = LocalExecutor::new();
    smol::block_on(local.run(async {
        let client = Client::builder().build();
        let mut events = client.events();
        let service = client.configure_service("echo", config(address, load))?;
        connected(&mut events, load.connections).await?;
        drop(events);
        ready("");
        let callers = u64::from(load.connections * load.in_flight);
        let tasks: Vec<_> = (0..callers)
            .map(|at| {
                let caller = caller(service.clone(), load.content(), load.share(at, callers));
                if load.apart { local.spawn(caller) } else { smol::spawn(caller) }
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        done(load.requests());
        Ok(())
    }))
}
