//! On whose behalf a call is made, through which services, and until when.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use thiserror::Error;

use crate::rng::Pcg;
use crate::wire::ipc::{self, MessageError, Value, Writer, code};

/// The most calls within each other, so that services that call each other in a circle come to an end.
pub const MAX_DEPTH: u32 = 100;

/// What travels with a call from service to service, and with every call that this causes.
///
/// A service that calls another of its own accord [creates](Self::create) one; a method that calls on
/// [extends](Self::extend) the one it was called with. Each adds whom it calls, so that a method finds its caller before
/// the last in `chain`, and the deadline only ever comes closer.
///
/// ```
/// use core::time::Duration;
/// use plimsoll_core::ipc::Context;
///
/// let origin = Context::create("root-1", "order", 1_699_005_123_456, Duration::from_secs(30));
/// let user = origin.extend("user")?;
/// assert_eq!(user.to_string(), "[root-1] order → user (depth: 2)");
/// assert_eq!(user.caller(), Some("order"));
/// assert_eq!(user.remaining(1_699_005_143_456), Duration::from_secs(10));
/// # Ok::<(), plimsoll_core::ipc::ContextError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// Names everything that one cause has set off.
    pub root: String,
    /// The services it has come through, from the one that began.
    pub chain: Vec<String>,
    /// How many services these are, from 1 to [`MAX_DEPTH`].
    pub depth: u32,
    /// In milliseconds since 1970.
    pub deadline: u64,
}

/// Why a call cannot be made in a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ContextError {
    /// There is none, or a part of it is missing.
    #[error("the context is invalid: {0}")]
    Invalid(MessageError),
    /// More than [`MAX_DEPTH`] calls within each other.
    #[error(
        "{depth} calls stand within each other, more than {MAX_DEPTH}: services may be calling each other in a circle"
    )]
    TooDeep {
        /// How many.
        depth: u64,
    },
    /// There is no time left.
    #[error("the deadline of the context has passed")]
    DeadlineExceeded,
}
crate::saved!(enum ContextError { 0 = Invalid(value), 1 = TooDeep { depth }, 2 = DeadlineExceeded });

impl ContextError {
    /// The word of the wire for it.
    pub const fn code(self) -> &'static str {
        match self {
            ContextError::Invalid(_) => code::INVALID_CONTEXT,
            ContextError::TooDeep { .. } => code::MAX_DEPTH_EXCEEDED,
            ContextError::DeadlineExceeded => code::DEADLINE_EXCEEDED,
        }
    }
}

impl Context {
    /// The context of a call that `service` makes of its own accord at `unix_ms`, with so much time.
    pub fn create(root: &str, service: &str, unix_ms: u64, timeout: Duration) -> Self {
        Context {
            root: root.into(),
            chain: [service.into()].into(),
            depth: 1,
            deadline: calculate_deadline(unix_ms, timeout),
        }
    }

    /// The context of a call to `target` that is made within this one.
    ///
    /// # Errors
    /// [`ContextError::TooDeep`].
    pub fn extend(&self, target: &str) -> Result<Self, ContextError> {
        let depth = self.depth.saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(ContextError::TooDeep { depth: u64::from(depth) });
        }
        let chain = self.chain.iter().map(String::as_str).chain([target]).map(String::from).collect();
        Ok(Context { root: self.root.clone(), chain, depth, deadline: self.deadline })
    }

    /// The same with less time: at most `timeout` from `unix_ms` on. More time there never is.
    #[must_use]
    pub fn within(mut self, unix_ms: u64, timeout: Duration) -> Self {
        self.deadline = self.deadline.min(calculate_deadline(unix_ms, timeout));
        self
    }

    /// Whether a call may still be made.
    ///
    /// # Errors
    /// An empty root, a depth of 0, too deep, too late.
    pub fn validate(&self, unix_ms: u64) -> Result<(), ContextError> {
        let invalid = |field| Err(ContextError::Invalid(MessageError::BadField(field)));
        match self {
            _ if self.root.is_empty() => invalid("context.root"),
            _ if self.depth < 1 => invalid("context.depth"),
            _ => check(u64::from(self.depth), self.deadline, unix_ms),
        }
    }

    /// Whether its time is over.
    pub fn is_exceeded(&self, unix_ms: u64) -> bool {
        unix_ms > self.deadline
    }

    /// How much time is left.
    pub fn remaining(&self, unix_ms: u64) -> Duration {
        Duration::from_millis(self.deadline.saturating_sub(unix_ms))
    }

    /// The service that made the call in which this context came.
    pub fn caller(&self) -> Option<&str> {
        self.chain.get(self.chain.len().checked_sub(2)?).map(String::as_str)
    }

    /// Copies a context out of a message.
    ///
    /// # Errors
    /// [`ContextError::Invalid`], and [`ContextError::TooDeep`] for a depth or a chain above [`MAX_DEPTH`].
    pub fn read(value: Value<'_>) -> Result<Self, ContextError> {
        let mut context = Context { root: String::new(), chain: Vec::new(), depth: 0, deadline: 0 };
        context.read_again(value)?;
        Ok(context)
    }

    /// As [`read`](Self::read), in place of what this one says, whose memory is used again.
    ///
    /// # Errors
    /// As `read`; what this one says then is of no use.
    pub fn read_again(&mut self, value: Value<'_>) -> Result<(), ContextError> {
        let lent = ipc::Context::read(value).map_err(ContextError::Invalid)?;
        let too_deep = ContextError::TooDeep { depth: lent.depth };
        let depth = u32::try_from(lent.depth).ok().filter(|&depth| depth <= MAX_DEPTH).ok_or(too_deep)?;
        let mut len = 0;
        for service in lent.chain.elements().into_iter().flatten() {
            let bad = ContextError::Invalid(MessageError::BadField("context.chain"));
            let service = service.text().ok_or(bad)?.get();
            if len == MAX_DEPTH as usize {
                return Err(ContextError::TooDeep { depth: len as u64 + 1 });
            }
            match self.chain.get_mut(len) {
                Some(place) => replace(place, &service),
                None => self.chain.push(service.into()),
            }
            len += 1;
        }
        self.chain.truncate(len);
        replace(&mut self.root, &lent.root.get());
        (self.depth, self.deadline) = (depth, lent.deadline);
        Ok(())
    }

    /// Appends it to a message.
    pub fn write(&self, body: &mut Writer<'_>) {
        body.object(4);
        body.key("root").text(&self.root);
        body.key("chain").array(u32::try_from(self.chain.len()).unwrap_or(u32::MAX));
        self.chain.iter().for_each(|service| body.text(service));
        body.end_array();
        body.key("depth").number(u64::from(self.depth));
        body.key("deadline").number(self.deadline);
        body.end_object();
    }
}

/// `[root] a → b (depth: 2)`
impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] ", self.root)?;
        for (at, service) in self.chain.iter().enumerate() {
            write!(f, "{}{service}", if at == 0 { "" } else { " → " })?;
        }
        write!(f, " (depth: {})", self.depth)
    }
}

fn replace(text: &mut String, by: &str) {
    text.clear();
    text.push_str(by);
}

/// Whether a call with a context of this depth and deadline may be made at `unix_ms`.
pub(super) fn check(depth: u64, deadline: u64, unix_ms: u64) -> Result<(), ContextError> {
    if unix_ms > deadline {
        return Err(ContextError::DeadlineExceeded);
    }
    if depth > u64::from(MAX_DEPTH) { Err(ContextError::TooDeep { depth }) } else { Ok(()) }
}

/// So much after `unix_ms`, in milliseconds since 1970.
pub fn calculate_deadline(unix_ms: u64, timeout: Duration) -> u64 {
    unix_ms.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX))
}

/// An id as the public client makes them, such as `req-1699005123456-a7f3e9`: a word, milliseconds since 1970, and six
/// random digits of base 36. Appended to `out`.
pub fn write_id(out: &mut String, prefix: &str, unix_ms: u64, rng: &mut Pcg) {
    use fmt::Write;
    let _ = write!(out, "{prefix}-{unix_ms}-");
    let digit = |n: u32| char::from_digit(n, 36).unwrap_or('0');
    out.extend((0..6).map(|_| digit(rng.below(36))));
}
