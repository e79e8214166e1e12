//! What the service does, over either wire.

use std::time::Duration;

use plimsoll_core::wire::uw::code;
use plimsoll_tokio::HandlerError;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// `sleep` takes no more.
const MAX_SLEEP: Duration = Duration::from_secs(60 * 60);
/// `size` takes no more: with what stands around it, the most that clients take by default.
const MAX_SIZE: usize = (10 << 20) - r#"{"data":""}"#.len();

/// Over UW, an answer is JSON.
pub(super) fn echo_json(params: Vec<u8>) -> Result<Vec<u8>, HandlerError> {
    match serde_json::from_slice::<&RawValue>(&params) {
        Ok(_) => Ok(params),
        Err(error) => Err(bad_request(format!("the parameters of echo are not JSON: {error}"))),
    }
}

#[derive(Deserialize)]
pub(super) struct Sleep {
    ms: u64,
}

#[derive(Serialize)]
pub(super) struct Slept {
    slept_ms: u64,
}

pub(super) async fn sleep(Sleep { ms }: Sleep) -> Result<Slept, HandlerError> {
    let duration = Duration::from_millis(ms);
    if duration > MAX_SLEEP {
        return Err(bad_request(format!("ms must be at most {}", MAX_SLEEP.as_millis())));
    }
    tokio::time::sleep(duration).await;
    Ok(Slept { slept_ms: ms })
}

#[derive(Deserialize)]
pub(super) struct Fail {
    code: String,
    message: String,
}

pub(super) fn fail(Fail { code, message }: Fail) -> Result<(), HandlerError> {
    Err(HandlerError::new(code, message))
}

#[derive(Deserialize)]
pub(super) struct Size {
    bytes: usize,
}

#[derive(Serialize)]
pub(super) struct Data {
    data: String,
}

pub(super) fn size(Size { bytes }: Size) -> Result<Data, HandlerError> {
    if bytes > MAX_SIZE {
        return Err(bad_request(format!("bytes must be at most {MAX_SIZE}")));
    }
    Ok(Data { data: "x".repeat(bytes) })
}

pub(super) fn bad_request(message: String) -> HandlerError {
    HandlerError::new(code::BAD_REQUEST, message)
}
