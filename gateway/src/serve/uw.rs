//! A service that speaks UW.

use std::error::Error;

use plimsoll_core::service::server::Config;
use plimsoll_tokio::{Ctx, Server};

use super::{Args, DRAIN_TIMEOUT, methods};
use crate::config::UwAddress;
use crate::recorded::loss;
use crate::run::{Signals, raise_descriptor_limit};

pub(super) async fn serve(address: &UwAddress, args: &Args) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let recording = args.record.recording()?;
    let limits = Config::default();
    raise_descriptor_limit(limits.connections.get());
    let builder = recording.iter().fold(Server::builder().limits(limits), |builder, it| builder.record(it));
    let server = builder
        .raw_method("echo", |params, _| async move { methods::echo_json(params) })
        .method("sleep", |params, _: Ctx| methods::sleep(params))
        .method("fail", |params, _: Ctx| async move { methods::fail(params) })
        .method("size", |params, _: Ctx| async move { methods::size(params) })
        .bind(address.target())
        .await
        .map_err(|error| format!("{address}: {error}"))?;
    anstream::println!("serving {}", address.bound_to(server.local_addr()));
    signals.next().await;
    tokio::select! {
        _ = server.shutdown(DRAIN_TIMEOUT) => recording.as_ref().and_then(loss).map_or(Ok(()), |loss| Err(loss.into())),
        name = signals.next() => Err(format!("{name} again: stopped at once").into()),
    }
}
