//! Worlds of a hub: services that call each other, within each other's contexts, and one among them who lies.

mod book;
mod draw;
mod mallory;
mod operator;
mod options;
mod station;
mod world;

use std::fmt;
use std::time::Duration;

pub use options::Feature;

pub(super) use draw::draw;
pub(super) use world::run;

use super::plan::{Cast, Who};

/// What somebody does at a hub.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// A service calls, one call after the other.
    Call(Call),
    /// A service gives calls up: so many of those that have waited longest.
    Cancel {
        /// Its place.
        service: u32,
        /// How many.
        count: u32,
    },
    /// A service disconnects for a while.
    Leave {
        /// Its place.
        service: u32,
        /// For how long.
        lasts: Duration,
    },
    /// A service has a method no more, for a while.
    Unlearn {
        /// Its place.
        service: u32,
        /// Which.
        method: Method,
        /// For how long.
        lasts: Duration,
    },
    /// Somebody who has registered as `mallory` lies so often.
    Lie {
        /// How.
        lie: Lie,
        /// How often.
        count: u32,
    },
}

/// A row of calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    /// The place of the caller.
    pub from: u32,
    /// The place of the service that is called; whatever is beyond those there are is a name that nobody has.
    pub to: u32,
    /// What is called.
    pub method: Method,
    /// How many.
    pub count: u32,
    /// How long after each other.
    pub gap: Duration,
    /// Bytes of parameters, about.
    pub size: u32,
    /// How long each may take; `None` for the client's default.
    pub timeout: Option<Duration>,
    /// How many calls the callee makes within each, one within the other.
    pub depth: u32,
}

/// What can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Answers at once, or when the calls within have ended.
    Echo,
    /// Answers after so many milliseconds.
    Late(u32),
    /// Does not answer.
    Never,
    /// Fails.
    Fail,
    /// Drops the call.
    Drop,
    /// There is no such method.
    Unknown,
}

impl Method {
    /// Its name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Method::Echo => "echo",
            Method::Late(_) => "late",
            Method::Never => "never",
            Method::Fail => "fail",
            Method::Drop => "drop",
            Method::Unknown => "unknown",
        }
    }
}

/// How somebody lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Answers calls that others were asked, under its own name.
    Answers,
    /// The same, under the name of who was asked.
    AnswersAs,
    /// Calls under the name of another.
    CallsAs,
    /// Registers under the name of another, over a new connection.
    Claims,
    /// Says what is no message.
    Garbage,
    /// Announces more than may be sent.
    Huge,
    /// Begins a message and does not end it.
    Half,
    /// Calls another, and does not care for the answer.
    Calls,
}

pub(super) struct Told<'a>(pub(super) &'a Act, pub(super) Cast);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cast::Hub { services } = self.1 else { return write!(f, "{:?}", self.0) };
        let who = |place: &u32| Who(place % services + 1, self.1);
        match self.0 {
            Act::Call(call) => {
                write!(f, "{} makes {} calls to ", who(&call.from), call.count)?;
                match call.to {
                    to if to < services => write!(f, "{}", who(&to))?,
                    _ => f.write_str("nobody")?,
                }
                write!(f, " for {:?} of {} B", call.method, call.size)?;
                if call.count > 1 {
                    write!(f, ", {:?} apart", call.gap)?;
                }
                if let Some(timeout) = call.timeout {
                    write!(f, ", within {timeout:?} each")?;
                }
                if call.depth > 0 {
                    write!(f, ", and {} more within each", call.depth)?;
                }
                Ok(())
            }
            Act::Cancel { service, count } => write!(f, "{} gives {count} calls up", who(service)),
            Act::Leave { service, lasts } => write!(f, "{} disconnects, for {lasts:?}", who(service)),
            Act::Unlearn { service, method, lasts } => {
                write!(f, "{} has no method {method:?}, for {lasts:?}", who(service))
            }
            Act::Lie { lie, count } => write!(f, "mallory lies {count} times: {lie:?}"),
        }
    }
}
