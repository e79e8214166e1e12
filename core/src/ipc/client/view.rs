//! What a client of a hub tells of itself to whoever explains its log.

use alloc::string::String;

use super::Client;
use super::links::Stage;
use crate::id::{ConnId, RequestId};
use crate::time::Instant;

/// Where a connection of the pool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is none; it is dialled then, if ever.
    Down(Option<Instant>),
    Dialing,
    Registering,
    /// It serves, and so many bytes wait to be sent.
    Serving {
        unsent: u64,
    },
    Closing,
}

impl Client {
    /// What a call is called on the wire.
    pub(crate) fn wire_name(&self, id: RequestId) -> String {
        self.state.wire_name(id)
    }

    /// Which of the pool a call has gone over that waits for its answer.
    pub(crate) fn went_over(&self, id: RequestId) -> Option<u32> {
        self.index_of(self.state.went_over(id)?)
    }

    /// Which of the pool a connection is.
    pub(crate) fn index_of(&self, conn: ConnId) -> Option<u32> {
        self.state.links.find(conn)
    }

    /// How the connections of the pool stand, in order.
    pub(crate) fn pool(&self) -> impl ExactSizeIterator<Item = Standing> {
        self.state.links.pool.iter().map(|link| match link.stage {
            Stage::Idle(at) => Standing::Down(at),
            Stage::Dialing(..) => Standing::Dialing,
            Stage::Registering(..) => Standing::Registering,
            Stage::Registered(..) => Standing::Serving { unsent: link.port.load.bytes() },
            Stage::Closing(..) => Standing::Closing,
        })
    }
}
