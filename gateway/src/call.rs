//! `plimsoll call`: one request to a service, for shells and scripts.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use plimsoll_core::cluster::{CloseCause, StateEvent};
use plimsoll_core::wire::uw;
use plimsoll_tokio::{Cause, Client, Events, ServiceConfig};
use serde_json::value::RawValue;

use crate::config::UwAddress;

const REMOTE_ERROR: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const NO_ANSWER: u8 = 3;

/// What the wire has room for.
const MAX_METHOD: usize = 255;
const MAX_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the service listens
    #[arg(value_name = "uw://HOST:PORT")]
    address: UwAddress,
    /// The method to call
    #[arg(value_parser = method)]
    method: String,
    /// Its params, sent as they are
    #[arg(value_name = "JSON", value_parser = json, allow_negative_numbers = true)]
    params: String,
    /// Milliseconds that connecting and the answer may take together
    #[arg(long, value_name = "MS", default_value_t = 5_000,
          value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT_MS))]
    timeout: u64,
}

pub(crate) fn method(text: &str) -> Result<String, String> {
    match text.len() {
        1..=MAX_METHOD => Ok(text.into()),
        n => Err(format!("a method has 1 to {MAX_METHOD} bytes, not {n}")),
    }
}

fn json(text: &str) -> Result<String, String> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(format!("that is not JSON: {error}")),
    }
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no connection: {0}")]
    Unreachable(CloseCause),
    #[error("{0}")]
    Call(Cause),
    #[error("the answer is not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("the answer cannot be printed: {0}")]
    Print(io::Error),
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let code = call(args).and_then(|answer| print(&answer));
    let code = code.unwrap_or_else(|failure| {
        anstream::eprintln!("plimsoll: {} {}: {failure}", args.address, args.method);
        if let Failure::Call(Cause::Misuse(_)) = failure { USAGE } else { NO_ANSWER }
    });
    code.into()
}

fn call(args: &Args) -> Result<Vec<u8>, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    let answer = runtime.block_on(async {
        let client = Client::builder().build();
        let mut events = client.events();
        let service = client
            .configure_service("", service_config(args))
            .map_err(|misuse| Failure::Call(Cause::Misuse(misuse)))?;
        let answer = service.call(&args.method).send(args.params.clone().into_bytes());
        // A request that was cut off has ended before the next dial fails: what is known of it goes first.
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|error| Failure::Call(error.cause)),
            cause = failed_dial(&mut events) => Err(Failure::Unreachable(cause)),
        }
    });
    // A name may still be looked up on another thread.
    runtime.shutdown_background();
    answer
}

/// One connection that is dialled when it is needed, and has nothing to do but to wait for one answer.
fn service_config(args: &Args) -> ServiceConfig {
    let timeout = Duration::from_millis(args.timeout);
    let mut config = ServiceConfig::new(args.address.target())
        .max_connections(1)
        .min_connections(0)
        .timeout(timeout)
        // A service may be busy with the answer, and unable to answer pings meanwhile.
        .health_check_interval(timeout * 2);
    config.client.cluster.connect_timeout = timeout;
    // An error is to be printed as it came.
    config.protocol.read_errors = false;
    config
}

async fn failed_dial(events: &mut Events) -> CloseCause {
    while let Some(event) = events.next().await {
        if let StateEvent::Closed { cause: cause @ CloseCause::Dial(_), .. } = event.event {
            return cause;
        }
    }
    std::future::pending().await
}

/// Prints content as it came, and says what it was.
fn print(content: &[u8]) -> Result<u8, Failure> {
    serde_json::from_slice::<&RawValue>(content).map_err(Failure::NotJson)?;
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(content)
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush())
        .map_err(Failure::Print)?;
    Ok(if uw::read_error(content).is_some() { REMOTE_ERROR } else { 0 })
}
