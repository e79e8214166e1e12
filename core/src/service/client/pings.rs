//! Requests of the client's own: whether a peer lives, and how busy it is.

use alloc::vec::Vec;

use super::Client;
use super::requests::State;
use crate::id::ConnId;
use crate::record::kinds::Kind;
use crate::service::Protocol;
use crate::wire::WireId;

impl<P: Protocol> Client<P> {
    /// Asks for a sign of life. Any answer is one.
    pub(super) fn ping(&mut self, conn: ConnId) {
        let slot = conn.slot();
        let before = self.links[slot as usize].ping;
        if before.is_some() && !P::HAS_IDS {
            return;
        }
        if let Some(unanswered) = before {
            self.vanish(slot, unanswered);
        }
        let unix_ms = self.wall.1.saturating_add(self.now.since(self.wall.0).as_millis() as u64);
        let asked = self.ask(conn, |protocol, out, id| protocol.ping(out, id, unix_ms));
        if asked.is_none() {
            // A wire without pings: silence is no sign of death.
            self.cluster.received(self.now, conn);
            return;
        }
        self.links[slot as usize].ping = asked;
        self.metrics.pings += 1;
    }

    /// Asks for the load, unless the last question was not answered.
    pub(super) fn probe(&mut self, conn: ConnId) {
        let slot = conn.slot();
        if P::HAS_IDS && self.cluster.has_conn(conn) && self.links[slot as usize].probe.is_none() {
            let asked = self.ask(conn, |protocol, out, id| protocol.probe(out, id));
            self.links[slot as usize].probe = asked;
            self.metrics.probes += u64::from(asked.is_some());
        }
    }

    /// Sends a request that nobody waits for. `None` if the wire has none such.
    fn ask(&mut self, conn: ConnId, encode: impl FnOnce(&P, &mut Vec<u8>, WireId) -> bool) -> Option<u32> {
        let slot = conn.slot();
        let request = self.requests.open(self.now);
        let id = self.requests.wire_id(request);
        let link = &mut self.links[slot as usize];
        let start = link.send.end();
        let protocol = &self.protocol;
        let encode = |out: &mut Vec<u8>| if encode(protocol, out, id) { Ok(()) } else { Err(()) };
        let asked = link.send.push_with(&mut self.send_pool, encode);
        let end = link.send.end();
        if let Some(log) = &mut self.log {
            log.find(Kind::Question, [asked.map_or(0, |()| end - start + 1)]);
        }
        if asked.is_err() {
            self.requests.close(request);
            return None;
        }
        self.requests.join(&mut link.line, request);
        let entry = self.requests.get_mut(request);
        entry.state = State::Ghost { conn, holds_place: false };
        entry.start = start;
        entry.len = (end - start) as u32;
        self.flush(slot);
        Some(request)
    }
}
