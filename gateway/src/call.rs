//! `plimsoll call`: one request to a service, for shells and scripts.

mod ipc;
mod uw;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::target::{Serializer, Target};

const REMOTE_ERROR: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const NO_ANSWER: u8 = 3;

/// What the wires have room for.
const MAX_NAME: usize = 255;
const MAX_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the service listens: uw://HOST:PORT or uw:/PATH; or the hub that knows it: ipc:/PATH
    #[arg(value_name = "ADDRESS")]
    address: Target,
    /// The service, at a hub; its method; and the params, sent as they are
    #[arg(value_name = "[SERVICE] METHOD JSON", required = true, allow_negative_numbers = true)]
    words: Vec<String>,
    /// Milliseconds that connecting and the answer may take together
    #[arg(long, value_name = "MS", default_value_t = 5_000,
          value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT_MS))]
    timeout: u64,
    /// How messages to a hub are written [default: json]
    #[arg(long, value_enum, hide_default_value = true)]
    serializer: Option<Serializer>,
}

/// What is to be done, once it makes sense.
#[derive(Clone, Copy)]
struct Request<'a> {
    method: &'a str,
    /// JSON.
    params: &'a str,
    timeout: Duration,
}

/// What came back.
struct Answer {
    /// JSON, as it came.
    content: Vec<u8>,
    is_error: bool,
}

pub(crate) fn method(text: &str) -> Result<String, String> {
    name("a method", text).map(String::from)
}

pub(crate) fn service(text: &str) -> Result<String, String> {
    name("the name of a service", text).map(String::from)
}

fn name<'a>(what: &str, text: &'a str) -> Result<&'a str, String> {
    match text.len() {
        1..=MAX_NAME => Ok(text),
        n => Err(format!("{what} has 1 to {MAX_NAME} bytes, not {n}")),
    }
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    NoAnswer(String),
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
        // The params may be long.
        let names = args.words.split_last().map_or(&[][..], |(_, names)| names).join(" ");
        anstream::eprintln!("plimsoll: {} {}: {failure}", args.address, names.escape_debug());
        if let Failure::Usage(_) = failure { USAGE } else { NO_ANSWER }
    });
    code.into()
}

fn call(args: &Args) -> Result<Answer, Failure> {
    let words: Vec<_> = args.words.iter().map(String::as_str).collect();
    let request = |method, params| {
        let method = name("a method", method).map_err(Failure::Usage)?;
        serde_json::from_str::<&RawValue>(params)
            .map_err(|error| Failure::Usage(format!("the params are not JSON: {error}")))?;
        Ok(Request { method, params, timeout: Duration::from_millis(args.timeout) })
    };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    let answer = match (&args.address, words.as_slice(), args.serializer) {
        (Target::Uw(address), &[method, params], None) => {
            runtime.block_on(uw::call(address, request(method, params)?))
        }
        (Target::Ipc(hub), &[service, method, params], serializer) => {
            let service = name("the name of a service", service).map_err(Failure::Usage)?;
            let request = request(method, params)?;
            runtime.block_on(ipc::call(hub, service, request, serializer.unwrap_or_default()))
        }
        (Target::Uw(_), _, None) => Err(Failure::Usage("what follows a uw: address is METHOD JSON".into())),
        (Target::Uw(_), _, Some(_)) => Err(Failure::Usage("--serializer is for hubs".into())),
        (Target::Ipc(_), ..) => {
            Err(Failure::Usage("what follows an ipc: address is SERVICE METHOD JSON".into()))
        }
    };
    // A name may still be looked up on another thread.
    runtime.shutdown_background();
    answer
}

/// Prints content as it came, and says what it was.
fn print(Answer { content, is_error }: &Answer) -> Result<u8, Failure> {
    serde_json::from_slice::<&RawValue>(content).map_err(Failure::NotJson)?;
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(content)
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush())
        .map_err(Failure::Print)?;
    Ok(if *is_error { REMOTE_ERROR } else { 0 })
}
