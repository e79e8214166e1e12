//! UW as a [`Protocol`]: what the service client speaks by default.

use alloc::vec::Vec;

use super::client::Client;
use super::{Decoded, Described, Protocol, Verdict};
use crate::error::{Misuse, ProtocolError};
use crate::save::Snapshot;
use crate::wire::uw::{self, Limits, Mode, Step, code};
use crate::wire::{Load, WireId};

/// The UW wire, version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uw {
    /// How large a content may be, in both directions.
    pub limits: Limits,
    /// What to do about bytes that cannot begin a frame.
    pub mode: Mode,
    /// Whether an answer of exactly the shape `{"error":{"code":…,"message":…}}` is a failure. Version 1 has no other
    /// mark of one; public clients take every answer for a success.
    pub read_errors: bool,
}
crate::saved!(struct Uw { limits, mode, read_errors });

impl Default for Uw {
    fn default() -> Self {
        Uw { limits: Limits::default(), mode: Mode::default(), read_errors: true }
    }
}

/// A request over UW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UwRequest<'a> {
    /// At most 255 bytes.
    pub method: &'a str,
    /// JSON, as far as the peer is concerned; not looked at here.
    pub content: &'a [u8],
}

impl Protocol for Uw {
    type Request<'a> = UwRequest<'a>;
    type Progress = ();
    const HAS_IDS: bool = true;

    fn encode(&self, out: &mut Vec<u8>, id: WireId, request: &UwRequest<'_>) -> Result<(), Misuse> {
        uw::encode_request(out, id, request.method, request.content, &self.limits)
    }

    fn describe<'a>(&self, request: &'a UwRequest<'_>) -> Described<'a> {
        Described { name: request.method, len: request.content.len(), content: request.content }
    }

    fn set_id(&self, frame: &mut [u8], id: WireId) {
        uw::set_request_id(frame, id);
    }

    fn ping(&self, out: &mut Vec<u8>, id: WireId, unix_ms: u64) -> bool {
        let mut content = Vec::new();
        uw::write_ping_content(&mut content, unix_ms);
        uw::encode_request(out, id, uw::PING, &content, &self.limits).is_ok()
    }

    fn probe(&self, out: &mut Vec<u8>, id: WireId) -> bool {
        uw::encode_request(out, id, uw::PING, uw::LOAD_PING, &self.limits).is_ok()
    }

    fn load(&self, content: &[u8]) -> Option<Load> {
        uw::read_load(content)
    }

    fn decode(&self, (): &mut (), bytes: &[u8]) -> Result<Decoded, ProtocolError> {
        Ok(match uw::decode_response(bytes, &self.limits, self.mode)? {
            Step::Need(total) => Decoded::Need(total),
            Step::Skip(n) => Decoded::Skip(n),
            Step::Frame(head) => {
                let len = head.content.end;
                Decoded::Response { id: Some(head.id), content: head.content, len }
            }
        })
    }

    fn save_client(client: &Client<Self>) -> Option<Vec<u8>> {
        Some(client.snapshot())
    }

    fn verdict<'a>(&self, content: &'a [u8]) -> Verdict<'a> {
        match uw::read_error(content).filter(|_| self.read_errors) {
            None => Verdict::Success,
            Some(error) => Verdict::Failure {
                code: error.code,
                message: error.message,
                unhealthy: [code::OVERLOADED, code::INTERNAL_ERROR, code::DEADLINE_EXCEEDED]
                    .contains(&error.code),
                overloaded: [code::OVERLOADED, code::DEADLINE_EXCEEDED].contains(&error.code),
            },
        }
    }
}
