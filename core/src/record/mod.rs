//! The log of a machine: everything that it was told, so that the same can be told to it again.
//!
//! A machine decides by its configuration, its seed and its inputs alone. A recorder in it notes the inputs, and what
//! came of each: so a [replay](crate::replay) goes through the same states, and says where it does not. Handlers and sockets
//! take no part in it; a log from any runtime replays on any other. A whole example stands [there](crate::replay).
//!
//! # What is in a log, and what is not
//!
//! - Every call that can change the machine: what the runtime tells, with the time; which actions and events were drained;
//!   every command of the application, with the names of methods and the addresses of endpoints.
//! - **Bodies are masked**: in their place stands their length, and what the machine has read in them (whether it was a
//!   failure, with its code; whether the bytes were a frame). Where bytes were *no* frame, they are kept as they came, since
//!   they are what one wants to see. [`Options::content`] keeps what is received, asked and answered.
//! - With every record, a byte of a running hash of everything that came out: actions, outcomes with their lengths, where each
//!   request went under which id. A difference shows at the very call, but for once in 256 times; then at the next. Calls
//!   that were like the last are counted, up to 256 of them: there it shows at the end of their record. The whole
//!   hash, of 64 bits, stands wherever the log was handed on, ten times a second or so, and at its end.
//! - Tags that an application gives its requests only with content: they decide nothing.
//!
//! # The form
//!
//! A log is a run of segments, and an end: where that is missing, the process was killed or still runs, or the disk was full.
//! Each segment begins with a snapshot of the machine (see [`save`](crate::save)), so that what is left of a ring replays from
//! the oldest one on. It is a run of blocks with a checksum each: [`Log::read`] gives everything up to the first damage, and
//! says where that is. In a block stand records: a byte for the kind, whose highest bit says that time has passed; a byte of
//! the hash; the nanoseconds that have passed, if so; then numbers, in 7-bit groups, and for some kinds bytes behind their
//! number. That is a handful of bytes per record.
//!
//! Under load, almost everything is like what was just before, and takes less: requests of the same length to the same method
//! at the same time are one record that counts them; so are answers of the same length that come in the order of their
//! requests. A request that a server answers on the spot takes 5 bytes, three of which say how its id differs from the last.

pub(crate) mod alike;
pub(crate) mod codes;
pub(crate) mod format;
pub(crate) mod kinds;
pub(crate) mod mask;
pub(crate) mod names;
mod recorder;
mod script;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU32;

#[cfg(feature = "fuzzing")]
pub(crate) use alike::RUN;
#[cfg(feature = "fuzzing")]
pub(crate) use format::Record as LogRecord;
pub use format::{Damage, Log, VERSION, What};
#[cfg(any(test, feature = "testing"))]
pub(crate) use format::{forged, reseal};
pub use recorder::Piece;
#[doc(hidden)]
pub use recorder::Recorder;

use crate::time::Instant;

pub(crate) use codes::{of_health, of_misuse, of_protocol_error, of_rejected};

/// How much is kept, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment has about so many bytes besides its snapshot; more, if the snapshot has more than twice as many. 1 MiB.
    pub segment: NonZeroU32,
    /// So many segments are kept until they are taken; then the oldest is dropped. 16.
    pub segments: NonZeroU32,
    /// Whether bodies are kept too, and a replay compares every byte. No.
    pub content: bool,
}

impl Default for Options {
    fn default() -> Self {
        const fn limit(n: u32) -> NonZeroU32 {
            NonZeroU32::new(n).expect("a limit is not zero")
        }
        Options { segment: limit(1 << 20), segments: limit(16), content: false }
    }
}

/// A machine that can be recorded. While it is off, that costs a branch wherever something would be noted.
pub trait Record {
    #[doc(hidden)]
    const SUBJECT: Subject;

    /// Whether its wire has ids.
    #[doc(hidden)]
    const HAS_IDS: bool = true;

    /// Where its recorder stands.
    #[doc(hidden)]
    fn log(&mut self) -> &mut Option<Box<Recorder>>;

    /// The time that it has last been told.
    #[doc(hidden)]
    fn told_time(&self) -> Instant;

    /// Its snapshot with zeros in place of all bytes that came or go: what was read in them is in the log.
    #[doc(hidden)]
    fn masked_snapshot(&mut self) -> Vec<u8>;

    /// Records from now on. What was recorded before and not taken is dropped.
    fn record(&mut self, options: Options) {
        *self.log() = Some(Box::new(Recorder::new(Self::SUBJECT, options, Self::HAS_IDS)));
        self.begin_segment();
    }

    /// Records no more, and drops what nobody has taken.
    fn stop_recording(&mut self) {
        *self.log() = None;
    }

    /// Its snapshot as it is, if a replay knows the wire.
    #[doc(hidden)]
    fn whole_snapshot(&self) -> Option<Vec<u8>>;

    /// Notes what it does in a replay, to be compared.
    #[doc(hidden)]
    fn compare(&mut self, options: Options, whole: bool, now: Instant, hash: u64) {
        let mut log = Recorder::comparing(Self::SUBJECT, options, Self::HAS_IDS, whole);
        log.restart(now, hash);
        *self.log() = Some(Box::new(log));
    }

    #[doc(hidden)]
    #[cold]
    fn begin_segment(&mut self) {
        let keeps_content = self.recorder().is_some_and(|log| log.keeps_content());
        let whole = if keeps_content { self.whole_snapshot() } else { None };
        let (is_whole, now) = (whole.is_some(), self.told_time());
        let snapshot = whole.unwrap_or_else(|| self.masked_snapshot());
        if let Some(log) = self.log() {
            log.begin_segment(now, &snapshot, is_whole);
        }
    }

    #[doc(hidden)]
    fn recorder(&mut self) -> Option<&mut Recorder> {
        self.log().as_deref_mut()
    }

    /// What was recorded and not [taken](Self::take_recorded), as one log that ends here; nothing if it is not recorded.
    fn recorded(&mut self) -> Vec<u8> {
        self.recorder().map_or_else(Vec::new, |log| log.log())
    }

    /// Takes the oldest piece of the log that is finished. `seal`: the one that is being written is finished now.
    fn take_recorded(&mut self, seal: bool) -> Option<Piece> {
        let log = self.recorder()?;
        if seal {
            log.seal();
        }
        log.take()
    }

    /// Records no more, and hands over what nobody has taken, with the end of the log.
    fn end_recording(&mut self) -> Vec<Piece> {
        self.log().take().map_or_else(Vec::new, |log| log.end())
    }

    /// Whether anything has happened that is not in a finished piece yet.
    #[doc(hidden)]
    fn has_unsealed(&mut self) -> bool {
        self.recorder().is_some_and(|log| log.has_news())
    }
}

/// Which machine a log is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Subject {
    /// A client of a service.
    Client = 1,
    /// A server.
    Server = 2,
    /// A hub of Bro IPC.
    Hub = 3,
    /// A client of a hub.
    IpcClient = 4,
}

impl Subject {
    const fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Subject::Client,
            2 => Subject::Server,
            3 => Subject::Hub,
            4 => Subject::IpcClient,
            _ => return None,
        })
    }
}

/// What an application was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Told {
    Answer = 1,
    Remote = 2,
    Timeout = 3,
    Lost = 4,
    Protocol = 5,
    Cancelled = 6,
    State = 7,
    Request = 8,
    Message = 9,
}

/// An id as two numbers.
pub(crate) fn pair<T>(id: crate::id::Id<T>) -> [u64; 2] {
    [id.slot().into(), id.generation().into()]
}
