//! Plimsoll on tokio: async handles on both sides, and nothing is left out that they do by default: a deadline for every
//! request, a wait queue, breaker, health, a retry budget, metrics.

use std::future;
use std::time::Duration;

use plimsoll_core::cluster::StateEvent;
use plimsoll_tokio::{Client, Events, Recording, Server, Service, ServiceConfig};

use super::callers::{Echo, call, runtime};
use super::report::ready;
use super::{Load, METHOD};
use crate::Result;

pub(super) fn server(listen: &str, recording: Option<&Recording>) -> Result<()> {
    runtime()?.block_on(async {
        let builder = Server::builder().raw_method(METHOD, |content, _| async move { Ok(content) });
        let builder = recording.into_iter().fold(builder, |builder, recording| builder.record(recording));
        let server = builder.bind(listen).await?;
        ready(server.local_addr());
        future::pending().await
    })
}

/// A service whose one method always answers the same.
pub(super) fn service(method: &'static str, content: &'static str) -> Result<()> {
    runtime()?.block_on(async {
        let answer = move |_, _| async move { Ok(content.as_bytes().to_vec()) };
        let server = Server::builder().raw_method(method, answer).bind("127.0.0.1:0").await?;
        ready(server.local_addr());
        future::pending().await
    })
}

pub(super) fn client(address: &str, load: &Load, recording: Option<&Recording>) -> Result<()> {
    runtime()?.block_on(async {
        let builder = recording.into_iter().fold(Client::builder(), |builder, to| builder.record(to));
        let client = builder.build();
        let mut events = client.events();
        let service = client.configure_service("echo", config(address, load))?;
        connected(&mut events, load.connections).await?;
        // Nobody listens while it is measured, as nobody does by default.
        drop(events);
        call(vec![service], load).await
    })
}

/// With the connections of that load from the start.
pub(super) fn config(address: &str, load: &Load) -> ServiceConfig {
    let mut config = ServiceConfig::new(address)
        .max_connections(load.connections)
        .min_connections(load.connections)
        .in_flight(load.in_flight);
    config.client.cluster.dial_stagger = Duration::ZERO;
    config
}

/// Waits until so many connections stand.
pub(super) async fn connected(events: &mut Events, connections: u32) -> Result<()> {
    let mut standing = 0;
    while standing < connections {
        let event = events.next().await.ok_or("the client has ended")?;
        match event.event {
            StateEvent::Connected { .. } => standing += 1,
            StateEvent::Closed { cause, .. } => return Err(format!("no connection: {cause}").into()),
            _ => {}
        }
    }
    Ok(())
}

impl Echo for Service {
    type Content = Vec<u8>;

    async fn echo(&mut self, content: Vec<u8>) -> Result<Vec<u8>> {
        Ok(self.call(METHOD).send(content).await?)
    }
}
