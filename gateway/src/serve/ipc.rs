//! A service at a hub.

use std::error::Error;

use plimsoll_tokio::ipc::{Client, ClientEvent, Ctx, HandlerError};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Args, DRAIN_TIMEOUT, methods};
use crate::recorded::loss;
use crate::run::Signals;
use crate::target::IpcAddress;

/// `chain` makes no more calls.
const MAX_CALLS: usize = 100;

pub(super) async fn serve(hub: &IpcAddress, args: &Args) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let recording = args.record.recording()?;
    let builder = Client::builder(args.name.as_deref().unwrap_or_default());
    let mut builder = recording
        .iter()
        .fold(builder, |builder, recording| builder.record(recording))
        .path(hub.path())
        .serializer(args.serializer.unwrap_or_default().into())
        .pool_size(args.pool.unwrap_or(1))
        .raw_method("echo", |params, _| async move { Ok(params) })
        .method("sleep", |params, _: Ctx| methods::sleep(params))
        .method("fail", |params, _: Ctx| async move { methods::fail(params) })
        .method("size", |params, _: Ctx| async move { methods::size(params) })
        .method("ping", |_: Value, _: Ctx| async { Ok(ping()) })
        .method("chain", chain);
    if let Some(delay) = args.reconnect {
        builder = builder.reconnect_delay(delay.0.get());
    }
    let client = builder.build()?;
    let mut changes = client.changes();
    client.connect().await?;
    anstream::println!("serving {} at {hub}", client.service_name());
    let mut is_lost = false;
    loop {
        tokio::select! {
            _ = signals.next() => break,
            Some(event) = changes.next() => match event {
                ClientEvent::Registered { .. } if is_lost => tracing::info!("{event}"),
                ClientEvent::Disconnected { .. } => {
                    is_lost = true;
                    tracing::warn!("{event}");
                }
                ClientEvent::GatewayError { .. } | ClientEvent::Invalid(_) => tracing::warn!("{event}"),
                _ => {}
            },
        }
    }
    tokio::select! {
        _ = client.shutdown(DRAIN_TIMEOUT) => recording.as_ref().and_then(loss).map_or(Ok(()), |loss| Err(loss.into())),
        name = signals.next() => Err(format!("{name} again: stopped at once").into()),
    }
}

fn ping() -> Value {
    let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    json!({ "timestamp": u64::try_from(millis).unwrap_or_default() })
}

#[derive(Deserialize)]
struct Chain {
    calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    service: String,
    method: String,
    #[serde(default)]
    params: Value,
}

/// Makes one call after the other, all within the one that it serves.
async fn chain(Chain { calls }: Chain, ctx: Ctx) -> Result<Vec<Box<RawValue>>, HandlerError> {
    if calls.len() > MAX_CALLS {
        return Err(methods::bad_request(format!("there may be {MAX_CALLS} calls at most")));
    }
    let mut answers = Vec::new();
    for Call { service, method, params } in calls {
        answers.push(ctx.call(&service, &method, &params).await?);
    }
    Ok(answers)
}
