//! UW, version 1: the wire of the service client.
//!
//! All integers are little-endian. A UUID is its 16 bytes in the order in which they are written as text.
//!
//! | request | bytes | response | bytes |
//! |---|---|---|---|
//! | magic `55 57` | 2 | magic `55 57` | 2 |
//! | version `01` | 1 | version `01` | 1 |
//! | request id (UUID) | 16 | request id (UUID) | 16 |
//! | method length | 1 | content length, u32 | 4 |
//! | method, UTF-8 | 0..=255 | content, JSON | n |
//! | content length, u32 | 4 | | |
//! | content, JSON | n | | |
//!
//! Method `getUser` with `{"id":1}`, and the answer `{"ok":true}`:
//!
//! ```text
//! 55 57 01                                          magic, version
//! 00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff   request id 00112233-4455-6677-8899-aabbccddeeff
//! 07 67 65 74 55 73 65 72                           method
//! 08 00 00 00 7b 22 69 64 22 3a 31 7d               content
//!
//! 55 57 01
//! 00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff
//! 0b 00 00 00 7b 22 6f 6b 22 3a 74 72 75 65 7d
//! ```
//!
//! Encoders append to a buffer. Decoders keep no state: they look at a slice that starts where a frame should
//! start, and lend what they find as ranges into it, so that the caller decides what is copied.
//!
//! ```
//! use plimsoll_core::wire::WireId;
//! use plimsoll_core::wire::uw::{Limits, Mode, Step, decode_request, encode_request};
//!
//! let limits = Limits::default();
//! let mut bytes = Vec::new();
//! encode_request(&mut bytes, WireId::new(0, 0, 1), "getUser", br#"{"id":1}"#, &limits)?;
//!
//! // Too little has come: the decoder says how much to wait for.
//! assert_eq!(decode_request(&bytes[..9], &limits, Mode::Strict)?, Step::Need(24));
//!
//! let Step::Frame(head) = decode_request(&bytes, &limits, Mode::Strict)? else { panic!() };
//! assert_eq!(&bytes[head.method], b"getUser");
//! assert_eq!(head.content.end, bytes.len()); // the next frame starts here
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Version 1 has no mark for errors; a response that says one is told by its shape, see [`read_error`].

mod decode;
mod encode;
mod error_object;
mod load;

pub use decode::{Mode, RequestHead, ResponseHead, Step, decode_request, decode_response};
pub use encode::{encode_request, encode_response, set_request_id, write_ping_content};
pub use error_object::{RemoteError, code, read_error, write_error};
pub use load::{LOAD_PING, asks_for_load, read_load, write_load};

/// What every frame starts with.
pub const MAGIC: [u8; 2] = [0x55, 0x57];
/// The version of the wire that this module speaks.
pub const VERSION: u8 = 1;
/// The longest method name, in bytes.
pub const MAX_METHOD: usize = u8::MAX as usize;
/// The size of the smallest request, in bytes: no method, no content.
pub const REQUEST_HEADER: usize = 24;
/// The size of the smallest response, in bytes: no content.
pub const RESPONSE_HEADER: usize = 23;
/// The method that a client calls to see whether a connection is alive; any answer will do.
pub const PING: &str = "ping";

/// Magic and version together.
const PREFIX: [u8; 3] = [MAGIC[0], MAGIC[1], VERSION];
/// Where the request id ends: at the method length of a request, at the content length of a response.
const ID_END: usize = 19;

/// How large a frame may be. Encoders and decoders refuse the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest content, in bytes. 10 MiB by default.
    pub content: u32,
}
crate::saved!(struct Limits { content });

impl Default for Limits {
    fn default() -> Self {
        Limits { content: 10 * 1024 * 1024 }
    }
}
