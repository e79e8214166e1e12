//! What the runtime was told of a connection.

use crate::id::ConnId;
use crate::machine::Action;

/// Whether the runtime knows that there are bytes to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    None,
    Due,
    Told,
}
crate::saved!(enum Flush { 0 = None, 1 = Due, 2 = Told });

/// What the runtime was told of a connection, so that it is told only what is new. A connection begins as one that is
/// read and has nothing to send.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    flush: Flush,
    reads: bool,
}
crate::saved!(struct Signals { flush, reads });

impl Signals {
    pub(crate) const fn new() -> Self {
        Signals { flush: Flush::None, reads: true }
    }

    /// The connection wants this from now on. Whether there is something to tell.
    pub(crate) fn update(&mut self, read: bool, write: bool) -> bool {
        if write && self.flush == Flush::None {
            self.flush = Flush::Due;
        }
        read != self.reads || self.flush == Flush::Due
    }

    /// All there was to send is sent: what comes now is to be told again.
    pub(crate) fn emptied(&mut self) {
        self.flush = Flush::None;
    }

    /// Whether the runtime knows, or is about to be told, that there is something to send.
    pub(crate) fn sends(&self) -> bool {
        self.flush != Flush::None
    }

    /// What is to be told next.
    pub(crate) fn next(&mut self, conn: ConnId, read: bool) -> Option<Action> {
        if read != self.reads {
            self.reads = read;
            return Some(Action::Read(conn, read));
        }
        if self.flush == Flush::Due {
            self.flush = Flush::Told;
            return Some(Action::Flush(conn));
        }
        None
    }
}
