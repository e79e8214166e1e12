//! Plimsoll on tokio: async handles on both sides, and nothing is left out that they do by default: a deadline for every
//! request, a wait queue, breaker, health, a retry budget, metrics.

use std::future;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use plimsoll_core::cluster::StateEvent;
use plimsoll_tokio::{Client, Events, Server, Service, ServiceConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinSet, spawn_blocking};

use super::report::{answered, done, ready};
use super::{Load, METHOD};
use crate::Result;

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

pub(super) fn server() -> Result<()> {
    runtime()?.block_on(async {
        let server = Server::builder()
            .raw_method(METHOD, |content, _| async move { Ok(content) })
            .bind("127.0.0.1:0")
            .await?;
        ready(server.local_addr());
        future::pending().await
    })
}

pub(super) fn client(address: SocketAddr, load: &Load) -> Result<()> {
    runtime()?.block_on(async {
        let client = Client::builder().build();
        let mut events = client.events();
        let service = client.configure_service("echo", config(address, load))?;
        connected(&mut events, load.connections).await?;
        // Nobody listens while it is measured, as nobody does by default.
        drop(events);
        ready("");
        if load.apart {
            let load = load.clone();
            spawn_blocking(move || runtime()?.block_on(call(service, &load))).await??;
        } else {
            call(service, load).await?;
        }
        done(load.requests.unwrap_or(u64::MAX));
        Ok(())
    })
}

fn config(address: SocketAddr, load: &Load) -> ServiceConfig {
    let mut config = ServiceConfig::new(address.to_string())
        .max_connections(load.connections)
        .min_connections(load.connections)
        .in_flight(load.in_flight);
    config.client.cluster.dial_stagger = Duration::ZERO;
    config
}

async fn connected(events: &mut Events, connections: u32) -> Result<()> {
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

/// As many callers as requests may be in flight, each with one request after the other.
async fn call(service: Service, load: &Load) -> Result<()> {
    let content = load.content();
    let mut callers = JoinSet::new();
    let all = u64::from(load.connections * load.in_flight);
    let requests = load.requests.unwrap_or(u64::MAX);
    for at in 0..all {
        let share = requests / all + u64::from(at < requests % all);
        callers.spawn(caller(service.clone(), content.clone(), share));
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}

async fn caller(service: Service, mut content: Vec<u8>, requests: u64) -> Result<()> {
    let size = content.len();
    for _ in 0..requests {
        content = service.call(METHOD).send(mem::take(&mut content)).await?;
        if content.len() != size {
            return Err("an answer is not what was sent".into());
        }
        answered(1);
    }
    Ok(())
}
