//! How a call can fail, in words for people.

use alloc::boxed::Box;
use alloc::string::String;

use thiserror::Error;

use super::callable::Callable;
use crate::error::{Misuse, ProtocolError, Rejected};
use crate::service::client::{Outcome, RequestError};

/// A call that failed: which one, and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{service}.{method}: {cause}")]
pub struct CallError {
    /// The service that was called.
    pub service: Box<str>,
    /// The method of it.
    pub method: Box<str>,
    /// Why it failed.
    #[source]
    pub cause: Cause,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Cause {
    /// The service answered that it failed.
    #[error("the service answered {code}: {message}")]
    Remote {
        /// A word for machines, such as `METHOD_NOT_FOUND`.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// No answer in time.
    #[error("no answer in time; {}", fate(*.sent))]
    Timeout {
        /// Whether any byte of it left: if so, nobody can tell whether it ran.
        sent: bool,
    },
    /// Its connection was lost, and it may not be tried again.
    #[error("the connection was lost; {}", fate(*.sent))]
    Lost {
        /// Whether any byte of it left: if so, nobody can tell whether it ran.
        sent: bool,
    },
    /// The peer broke the rules of the wire. Whether the call ran, nobody can tell.
    #[error("{0}")]
    Protocol(ProtocolError),
    /// It was given up.
    #[error("given up")]
    Cancelled,
    /// Our own policy refused it; nothing was sent, and later it may work.
    #[error("{0}")]
    Rejected(Rejected),
    /// It can never work as it was asked for; nothing was sent.
    #[error("{0}")]
    Misuse(Misuse),
    /// The parameters cannot be written as JSON; nothing was sent.
    #[error("the parameters cannot be written as JSON: {0}")]
    Unserializable(String),
    /// The service has answered, but not with the JSON that was asked for.
    #[error("the answer is not the JSON that was asked for: {0}")]
    NotJson(String),
    /// No service of this name was configured.
    #[error("no service of this name is configured")]
    UnknownService,
    /// The client has been shut down.
    #[error("the client has been shut down")]
    Closed,
}

/// Whether what has no answer may have run.
pub(in crate::drive) fn fate(sent: bool) -> &'static str {
    if sent { "it was sent, and whether it ran is unknown" } else { "it was not sent" }
}

impl Cause {
    /// What an outcome that is no answer means.
    pub(super) fn of<P: Callable>(outcome: Outcome<'_>) -> Self {
        match outcome {
            Outcome::Remote { code, message } => {
                Cause::Remote { code: P::text(code), message: P::text(message) }
            }
            Outcome::Timeout { sent } => Cause::Timeout { sent },
            Outcome::Lost { sent } => Cause::Lost { sent },
            Outcome::Protocol(error) => Cause::Protocol(error),
            Outcome::Cancelled | Outcome::Answer(_) => Cause::Cancelled,
        }
    }
}

impl From<RequestError> for Cause {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Rejected(rejected) => Cause::Rejected(rejected),
            RequestError::Misuse(misuse) => Cause::Misuse(misuse),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Uw;
    use alloc::string::ToString;

    #[test]
    fn a_remote_message_is_read_as_the_text_it_is() {
        let outcome = Outcome::Remote { code: "TEAPOT", message: r#"say \"\u00e9\"\n"# };
        let message = "say \"é\"\n".to_string();
        assert_eq!(Cause::of::<Uw>(outcome), Cause::Remote { code: "TEAPOT".into(), message });
        assert_eq!(Uw::text(r"\ud800"), r"\ud800", "a lone surrogate is left as it is");
    }

    #[test]
    fn an_error_says_which_call_failed_and_what_is_known() {
        let error =
            CallError { service: "users".into(), method: "get".into(), cause: Cause::Lost { sent: true } };
        let text = "users.get: the connection was lost; it was sent, and whether it ran is unknown";
        assert_eq!(error.to_string(), text);
    }
}
