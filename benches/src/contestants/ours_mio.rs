//! Plimsoll on mio: a handle that blocks, from as many threads as requests are in flight.

use plimsoll_core::cluster::StateEvent;
use plimsoll_mio::Client;

use super::blocking::on_threads;
use super::ours_tokio::config;
use super::{Load, METHOD};
use crate::Result;

pub(super) fn client(address: &str, load: &Load) -> Result<()> {
    let client = Client::builder().build()?;
    let mut events = client.events();
    let service = client.configure_service("echo", config(address, load))?;
    let connected = |event: plimsoll_core::drive::client::ServiceEvent| {
        matches!(event.event, StateEvent::Connected { .. })
    };
    for _ in 0..load.connections {
        if !events.by_ref().any(connected) {
            return Err("the client has ended".into());
        }
    }
    drop(events);
    on_threads(load, |_| {
        let service = service.clone();
        Ok(move |content| Ok(service.call(METHOD).send(content)?))
    })
}
