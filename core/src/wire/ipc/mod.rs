//! Bro IPC: the wire between services and their hub.
//!
//! A message is its length as four bytes, **big-endian**, and then a body: a JSON object, or a MessagePack map. Whoever
//! connects chooses, and the first byte of its first body tells which ([`Format::of`]).
//!
//! | message | fields |
//! |---|---|
//! | `CALL` | `type, id, from, to, method, params, context` |
//! | `RESPONSE` | `type, id, from, to, status` (`success` or `error`), `data` or `error{message, code, stack}`, `context` |
//! | `REGISTER` | `type, serviceName, methods[], version, metadata` |
//! | `REGISTER_ACK` | `type` |
//! | `HEARTBEAT` | `type, from, timestamp` (ms) |
//! | `ERROR` | `type, id, error{message, code, stack}, timestamp` |
//!
//! A `context` is `root` (text), `chain` (of text), `depth` (from 1), `deadline` (ms since 1970). Names of fields are told
//! by what they say, not by how they are written (`"fr\u006fm"` is `from`), and none may stand twice: otherwise a hub and a
//! service could read different things in one message.
//!
//! ```text
//! 00 00 00 17  {"type":"REGISTER_ACK"}
//! 00 00 00 14  de 00 01 a4 74 79 70 65 ac 52 45 47 49 53 54 45 52 5f 41 43 4b   (the same, as msgpackr writes it)
//! ```
//!
//! What a peer sends is checked as a whole before anything of it is believed or passed on, since a body that cannot be
//! read would stop the public implementation for good. Nothing is copied, and no tree is built: an [`Envelope`] knows
//! where its fields stand, and the rest is passed by.
//!
//! ```
//! use plimsoll_core::wire::ipc::{Envelope, Format, Kind, Limits, Step, decode_frame, write_heartbeat};
//!
//! let mut bytes = Vec::new();
//! write_heartbeat(&mut bytes, Format::Json, "users.internal", 1_699_005_123_456);
//! let Step::Frame(body) = decode_frame(&bytes, &Limits::default())? else { panic!("it is whole") };
//! assert_eq!(&bytes[body.clone()], br#"{"type":"HEARTBEAT","from":"users.internal","timestamp":1699005123456}"#);
//!
//! let envelope = Envelope::parse(Format::Json, &bytes[body])?;
//! assert_eq!(envelope.kind(), Kind::Heartbeat);
//! assert!(envelope.from()?.is("users.internal"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Between the two formats
//!
//! [`convert`] takes a body from one to the other:
//!
//! | JSON | MessagePack | |
//! |---|---|---|
//! | `null`, `true`, `false` | nil, true, false | |
//! | string | str | half of a surrogate pair becomes U+FFFD |
//! | integer of up to 32 bits | the shortest integer | |
//! | integer up to ±2⁵³ | float 64 | as msgpackr does, which reads 64-bit integers as BigInts |
//! | integer of up to 64 bits beyond | int 64, uint 64 | kept as it is |
//! | any other number | float 64 | beyond its range: refused |
//! | string ← | bin | base64 with padding (RFC 4648, section 4) |
//! | nothing, in an object; elsewhere `null` ← | ext 0 of one byte | msgpackr's `undefined` |
//! | `null` ← | float that is no number, or infinite | as `JSON.stringify` |
//! | refused | any other ext, a key that is no str | |

mod convert;
mod envelope;
mod message;
mod value;
mod write;

use core::ops::Range;

use thiserror::Error;

pub use convert::{ConvertError, convert};
pub use envelope::{Context, Envelope, Kind, Status};
pub use message::{
    Call, Register, Reply, write_call, write_error, write_failure, write_heartbeat, write_register,
    write_register_ack, write_result, write_success,
};
pub use value::{Elements, Members, Text, Value};
pub use write::{Writer, write_frame};

use crate::error::{Malformed, ProtocolError};
use crate::save::{self, Save};

/// The length before a body, in bytes.
pub const HEADER: usize = 4;

/// The name under which a hub itself is called.
pub const HUB: &str = "$hub";

/// What `error.code` says.
pub mod code {
    /// The hub did not take the connection: its name is taken, or the hub is full.
    pub const CONNECTION_FAILED: &str = "CONNECTION_FAILED";
    /// The connection to the hub, or of the service that was called, broke before there was an answer.
    pub const CONNECTION_LOST: &str = "CONNECTION_LOST";
    /// There is no connection to the hub, or it is not registered.
    pub const NOT_CONNECTED: &str = "NOT_CONNECTED";
    /// No service has this name.
    pub const SERVICE_NOT_FOUND: &str = "SERVICE_NOT_FOUND";
    /// The service has no such method.
    pub const METHOD_NOT_FOUND: &str = "METHOD_NOT_FOUND";
    /// The method failed.
    pub const EXECUTION_FAILED: &str = "EXECUTION_FAILED";
    /// There was no answer in the time that a hub or a client allows.
    pub const TIMEOUT: &str = "TIMEOUT";
    /// The deadline of the context has passed.
    pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
    /// The message breaks the rules of the wire.
    pub const INVALID_MESSAGE: &str = "INVALID_MESSAGE";
    /// The message cannot be said in the format of its receiver.
    pub const SERIALIZATION_FAILED: &str = "SERIALIZATION_FAILED";
    /// The bytes are no message.
    pub const DESERIALIZATION_FAILED: &str = "DESERIALIZATION_FAILED";
    /// The context is missing, or is none.
    pub const INVALID_CONTEXT: &str = "INVALID_CONTEXT";
    /// More calls within each other than are allowed.
    pub const MAX_DEPTH_EXCEEDED: &str = "MAX_DEPTH_EXCEEDED";
    /// Something is wrong with the hub or the service itself.
    pub const INTERNAL_ERROR: &str = "INTERNAL_ERROR";
    /// The service, or the hub, has as much to do as it may; ours, the public implementation has no word for it.
    pub const OVERLOADED: &str = "OVERLOADED";
}

/// How bodies are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON text (RFC 8259).
    #[default]
    Json,
    /// MessagePack.
    MessagePack,
}
crate::saved!(enum Format { 0 = Json, 1 = MessagePack });

impl Format {
    /// The format of a body that begins with this byte, if one does: `{`, or a map's head.
    pub const fn of(first: u8) -> Option<Format> {
        match first {
            b'{' => Some(Format::Json),
            0x80..=0x8f | 0xde | 0xdf => Some(Format::MessagePack),
            _ => None,
        }
    }
}

/// How large a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body, in bytes. 16 MiB by default.
    pub body: u32,
}
crate::saved!(struct Limits { body });

impl Default for Limits {
    fn default() -> Self {
        Limits { body: 16 << 20 }
    }
}

/// How far a decoder came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Asking again makes sense once so many bytes are there, counted from the start of the slice; always more than it
    /// has.
    Need(usize),
    /// A whole message stands at the start of the slice; its body stands here, and the message ends with it.
    Frame(Range<usize>),
}

/// Looks for a message at the start of `bytes`.
///
/// # Errors
/// A length above the limit, as soon as it is there.
#[inline]
pub fn decode_frame(bytes: &[u8], limits: &Limits) -> Result<Step, ProtocolError> {
    let Some(header) = bytes.first_chunk() else { return Ok(Step::Need(HEADER)) };
    let len = u32::from_be_bytes(*header);
    if len > limits.body {
        return Err(ProtocolError::TooLarge { len: u64::from(len), limit: u64::from(limits.body) });
    }
    let end = HEADER + len as usize;
    Ok(if end <= bytes.len() { Step::Frame(HEADER..end) } else { Step::Need(end) })
}

/// Why a body is not taken for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It cannot be read, and its sender is not to be trusted with another.
    #[error("the message cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// It is neither a JSON object nor a MessagePack map.
    #[error("a message is a JSON object or a MessagePack map; this begins with neither")]
    NotAMap,
    /// It has 4 GiB or more, which no frame holds.
    #[error("the message has 4 GiB or more")]
    TooLong,
    /// A field is missing.
    #[error("the field \"{0}\" is missing")]
    Missing(&'static str),
    /// A field stands twice.
    #[error("the field \"{0}\" stands twice")]
    Twice(&'static str),
    /// A field holds a value of another kind than it should.
    #[error("the field \"{0}\" does not hold what it should")]
    BadField(&'static str),
    /// There is no such type of message.
    #[error("there is no such type of message")]
    UnknownType,
}

/// A name is saved as it is written, and found again among those that there are.
impl Save for MessageError {
    fn save(&self, out: &mut save::Writer) {
        let (number, name) = match *self {
            MessageError::Malformed(malformed) => {
                out.byte(0);
                return malformed.save(out);
            }
            MessageError::NotAMap => (1, None),
            MessageError::TooLong => (2, None),
            MessageError::Missing(name) => (3, Some(name)),
            MessageError::Twice(name) => (4, Some(name)),
            MessageError::BadField(name) => (5, Some(name)),
            MessageError::UnknownType => (6, None),
        };
        out.byte(number);
        if let Some(name) = name {
            out.bytes(name.as_bytes());
        }
    }

    fn load(from: &mut save::Reader<'_>) -> Result<Self, save::Damaged> {
        let name = |from: &mut save::Reader<'_>| {
            let name = from.bytes()?;
            envelope::known_name(name).ok_or(from.invalid(name.len()))
        };
        Ok(match from.byte()? {
            0 => MessageError::Malformed(Save::load(from)?),
            1 => MessageError::NotAMap,
            2 => MessageError::TooLong,
            3 => MessageError::Missing(name(from)?),
            4 => MessageError::Twice(name(from)?),
            5 => MessageError::BadField(name(from)?),
            6 => MessageError::UnknownType,
            _ => return Err(from.invalid(1)),
        })
    }
}

impl MessageError {
    /// The word of the wire for it.
    pub const fn code(self) -> &'static str {
        match self {
            MessageError::Malformed(_) | MessageError::NotAMap | MessageError::TooLong => {
                code::DESERIALIZATION_FAILED
            }
            _ => code::INVALID_MESSAGE,
        }
    }

    /// Whether nothing that the sender sends can be trusted any more.
    pub const fn is_fatal(self) -> bool {
        matches!(self, MessageError::Malformed(_) | MessageError::NotAMap | MessageError::TooLong)
    }
}
