//! `plimsoll serve`: a service with methods to try clients with.

use std::error::Error;
use std::time::Duration;

use plimsoll_core::service::server::Config;
use plimsoll_core::wire::uw::code;
use plimsoll_tokio::{Ctx, HandlerError, Server};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::config::UwAddress;
use crate::run::{Signals, raise_descriptor_limit};

/// `sleep` takes no more.
const MAX_SLEEP: Duration = Duration::from_secs(60 * 60);
/// `size` takes no more: with what stands around it, the most that clients take by default.
const MAX_SIZE: usize = (10 << 20) - r#"{"data":""}"#.len();
/// How long what was taken may take once the end has come.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves until SIGTERM or SIGINT, then answers what was taken. A second signal ends the process at once.
pub(crate) fn run(address: &UwAddress) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Runtime::new()?.block_on(serve(address))
}

async fn serve(address: &UwAddress) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let limits = Config::default();
    raise_descriptor_limit(limits.connections.get());
    let server = Server::builder()
        .limits(limits)
        .raw_method("echo", |params, _| async move { echo(params) })
        .method("sleep", |params, _: Ctx| sleep(params))
        .method("fail", |params, _: Ctx| async move { fail(params) })
        .method("size", |params, _: Ctx| async move { size(params) })
        .bind(address.target())
        .await
        .map_err(|error| format!("{address}: {error}"))?;
    anstream::println!("serving {}", address.bound_to(server.local_addr()));
    signals.next().await;
    tokio::select! {
        _ = server.shutdown(DRAIN_TIMEOUT) => Ok(()),
        name = signals.next() => Err(format!("{name} again: stopped at once").into()),
    }
}

fn echo(params: Vec<u8>) -> Result<Vec<u8>, HandlerError> {
    match serde_json::from_slice::<&RawValue>(&params) {
        Ok(_) => Ok(params),
        Err(error) => Err(bad_request(format!("the parameters of echo are not JSON: {error}"))),
    }
}

#[derive(Deserialize)]
struct Sleep {
    ms: u64,
}

#[derive(Serialize)]
struct Slept {
    slept_ms: u64,
}

async fn sleep(Sleep { ms }: Sleep) -> Result<Slept, HandlerError> {
    let duration = Duration::from_millis(ms);
    if duration > MAX_SLEEP {
        return Err(bad_request(format!("ms must be at most {}", MAX_SLEEP.as_millis())));
    }
    tokio::time::sleep(duration).await;
    Ok(Slept { slept_ms: ms })
}

#[derive(Deserialize)]
struct Fail {
    code: String,
    message: String,
}

fn fail(Fail { code, message }: Fail) -> Result<(), HandlerError> {
    Err(HandlerError::new(code, message))
}

#[derive(Deserialize)]
struct Size {
    bytes: usize,
}

#[derive(Serialize)]
struct Data {
    data: String,
}

fn size(Size { bytes }: Size) -> Result<Data, HandlerError> {
    if bytes > MAX_SIZE {
        return Err(bad_request(format!("bytes must be at most {MAX_SIZE}")));
    }
    Ok(Data { data: "x".repeat(bytes) })
}

fn bad_request(message: String) -> HandlerError {
    HandlerError::new(code::BAD_REQUEST, message)
}
