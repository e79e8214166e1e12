//! The table of requests by itself, for whoever measures what it costs.

use super::requests::{Requests, State};
use crate::cluster::Place;
use crate::time::Instant;
use crate::wire::WireId;

/// Requests that wait for their answers on one connection.
#[derive(Debug)]
pub struct Pending {
    requests: Requests,
    place: Place,
}

impl Pending {
    /// No request yet; all of them will be in this place.
    pub fn new(place: Place) -> Self {
        Pending { requests: Requests::new(1), place }
    }

    /// A request was sent under the id that is answered.
    #[inline]
    pub fn insert(&mut self, now: Instant, tag: u64) -> WireId {
        let slot = self.requests.open(now);
        let request = self.requests.get_mut(slot);
        request.state = State::Placed(self.place);
        request.tag = tag;
        self.requests.wire_id(slot)
    }

    /// Its answer came: the tag that it was given.
    #[inline]
    pub fn take(&mut self, id: WireId) -> Option<u64> {
        let slot = self.requests.find_wire(id, self.place.conn)?;
        let tag = self.requests.get(slot).tag;
        self.requests.close(slot);
        Some(tag)
    }
}
