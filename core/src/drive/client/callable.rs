//! What a handle needs to know of a wire.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::service::{Protocol, Uw, UwRequest};

/// A [`Protocol`] whose services are called by handles: a call has a name (a method, a command, a subject) and a content.
///
/// On the way from the caller's task to the driver's both lie in one vector, which comes back with the answer. So a call
/// allocates nothing by itself, and whatever is written as bytes is written on the caller's side.
pub trait Callable: Protocol<Progress: Send> + Clone + Send + 'static {
    /// What a call is made with, beside its name: bytes, or what has gathered them.
    type Content: Into<Vec<u8>>;

    /// What a call comes to, in the vector that the call was made with.
    type Answer;

    /// The request that `name` and the bytes of a [`Content`](Self::Content) make.
    fn request<'a>(name: &'a str, content: &'a [u8]) -> Self::Request<'a>;

    /// What `content`, that of an answer that is no [`Failure`](crate::service::Verdict::Failure), says.
    fn answer(content: Vec<u8>) -> Self::Answer;

    /// The code or the message of a [`Failure`](crate::service::Verdict::Failure), as people write it; as the wire carries
    /// it by default.
    fn text(raw: &str) -> String {
        raw.into()
    }
}

impl Callable for Uw {
    type Content = Vec<u8>;
    type Answer = Vec<u8>;

    fn request<'a>(method: &'a str, content: &'a [u8]) -> UwRequest<'a> {
        UwRequest { method, content }
    }

    fn answer(content: Vec<u8>) -> Vec<u8> {
        content
    }

    /// The text that stands between the quotes of a JSON string.
    fn text(raw: &str) -> String {
        if raw.contains('\\') {
            serde_json::from_str(&format!("\"{raw}\"")).unwrap_or(raw.to_string())
        } else {
            raw.into()
        }
    }
}
