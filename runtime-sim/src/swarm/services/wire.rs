//! The wires of worlds of one service: one whose answers bear the id of their request, and one where only their order says
//! whose they are.

use plimsoll_core::drive::client::Callable;
use plimsoll_core::service::{Protocol, Uw, UwRequest};
use plimsoll_resp::{Args, Command, Resp, Value};

use crate::swarm::content;

/// What an answer says about whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// That of the request of this number.
    Request(u64),
    /// It is this one of all that were said [in turn](super::turns).
    Turn(u64),
}

/// A wire, as clients of a world speak it.
pub(super) trait Wire: Protocol<Progress: Send> + Default + Send + 'static {
    /// Lends the request that holds this content.
    fn ask<R>(content: &str, then: impl FnOnce(&Self::Request<'_>) -> R) -> R;

    /// Reads whose an answer is, or what is told of a failure.
    fn mark(said: &[u8]) -> Option<Mark>;
}

impl Wire for Uw {
    fn ask<R>(content: &str, then: impl FnOnce(&UwRequest<'_>) -> R) -> R {
        then(&UwRequest { method: "echo", content: content.as_bytes() })
    }

    fn mark(said: &[u8]) -> Option<Mark> {
        content::number(said).map(Mark::Request)
    }
}

impl Wire for Resp {
    fn ask<R>(content: &str, then: impl FnOnce(&Command<'_>) -> R) -> R {
        then(&Command::new("ECHO", &Args::from([content])))
    }

    fn mark(said: &[u8]) -> Option<Mark> {
        // Of a failure, only the text is told.
        let is_value = said.ends_with(b"\r\n");
        let serial =
            if is_value { in_value(Resp::answer(said.to_vec()).value()) } else { content::number(said) };
        serial.map(Mark::Turn)
    }
}

fn in_value(value: Value<'_>) -> Option<u64> {
    match value {
        Value::Simple(text) | Value::Error(text) | Value::Bulk(text) => content::number(text),
        Value::Integer(number) => u64::try_from(number).ok(),
        Value::Array(mut items) => items.find_map(in_value),
        Value::Null => None,
    }
}
