//! What a handle needs to know of a wire.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::service::{Protocol, Uw, UwRequest};

/// A [`Protocol`] whose services are called by handles: a call has a name (a method, a command, a subject) and a content.
///
/// On the way from the caller's task to the driver's both lie in one vector, which comes back with the answer. So a call
/// allocates nothing by itself, and whatever is written as bytes is written on the caller's side.
///
/// ```
/// use plimsoll_core::drive::Runtime;
/// use plimsoll_core::drive::client::{Callable, CallError, Client, ServiceConfig};
/// # use plimsoll_core::error::{Misuse, ProtocolError};
/// # use plimsoll_core::service::{Decoded, Protocol, Verdict};
/// # use plimsoll_core::wire::WireId;
/// # #[derive(Clone)]
/// # struct Capitals;
/// # impl Protocol for Capitals {
/// #     type Request<'a> = &'a str;
/// #     type Progress = usize;
/// #     const HAS_IDS: bool = false;
/// #     fn encode(&self, _: &mut Vec<u8>, _: WireId, _: &&str) -> Result<(), Misuse> { Ok(()) }
/// #     fn ping(&self, _: &mut Vec<u8>, _: WireId, _: u64) -> bool { false }
/// #     fn decode(&self, _: &mut usize, _: &[u8]) -> Result<Decoded, ProtocolError> { unreachable!() }
/// #     fn verdict<'a>(&self, _: &'a [u8]) -> Verdict<'a> { Verdict::Success }
/// # }
///
/// // The wire of capitals that `Protocol` shows: its questions are a name, and nothing else.
/// impl Callable for Capitals {
///     type Content = Vec<u8>;
///     type Answer = String;
///
///     fn request<'a>(country: &'a str, _: &'a [u8]) -> &'a str {
///         country
///     }
///
///     fn answer(line: Vec<u8>) -> String {
///         String::from_utf8_lossy(&line).trim_start_matches("ok ").into()
///     }
/// }
///
/// async fn capital_of_japan(runtime: impl Runtime) -> Result<String, CallError> {
///     let client = Client::on(runtime).protocol::<Capitals>().build();
///     let config = ServiceConfig::over(Capitals, "capitals.internal:3001");
///     let capitals = client.configure_service("capitals", config).expect("it has an address");
///     capitals.call("Japan").idempotent().send(Vec::new()).await
/// }
/// ```
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
