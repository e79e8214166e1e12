//! A server plays a log.

use alloc::vec;
use alloc::vec::Vec;

use super::super::Record as _;
use super::super::format::{Record, Segment};
use super::super::kinds::Kind;
use super::{Came, Player, flat_id, tell};
use crate::id::Id;
use crate::machine::{Machine, Peer};
use crate::save::{Damaged, Reader, Save, Snapshot};
use crate::service::server::{Server, Token};
use crate::time::Instant;
use crate::wire::WireId;
use crate::wire::uw;

pub(crate) struct ServerPlayer {
    pub(crate) server: Server,
    last_id: [u8; 16],
    /// A request is lent with the next call, which says what becomes of it.
    lends: bool,
}

impl Player for ServerPlayer {
    type Machine = Server;

    fn machine(&mut self) -> &mut Self::Machine {
        &mut self.server
    }

    fn load(segment: &Segment<'_>) -> Result<Self, Damaged> {
        let server = Server::restore(segment.snapshot)?;
        Ok(ServerPlayer { server, last_id: [0; 16], lends: false })
    }

    fn expect(&mut self, finding: &Record<'_>, name: &str) {
        let bytes = match finding.kind {
            Kind::Asked => {
                let id = flat_id(&mut self.last_id, finding);
                let mut head = Vec::new();
                let encoded = uw::encode_request(&mut head, WireId(id), name, &[], &uw::Limits::default());
                // The content itself is zeros, and there already.
                if encoded.is_ok()
                    && let Some(len) = head.last_chunk_mut::<4>()
                {
                    *len = (finding.fields[2] as u32).to_le_bytes();
                }
                head
            }
            _ => finding.bytes.to_vec(),
        };
        if let Some(log) = self.server.recorder() {
            log.expect(bytes);
        }
    }

    fn defers(&self) -> bool {
        self.lends
    }

    fn restart(&mut self) {
        self.last_id = [0; 16];
    }

    fn call(&mut self, now: Instant, call: &Record<'_>, _: &str) -> Came {
        if core::mem::take(&mut self.lends) {
            if self.answer(call) {
                return Came::Nothing;
            }
            // It was lent, and forgotten.
            self.take_event();
        }
        let server = &mut self.server;
        let [a, b, c, ..] = call.fields;
        let token = Token(Id::new(a as u32, b as u32));
        match call.kind {
            Kind::Event => self.lends = true,
            Kind::NoEvent => self.take_event(),
            Kind::Accept => {
                let peer = Peer::load(&mut Reader::new(call.bytes)).unwrap_or(Peer::UNKNOWN);
                server.accept(now, peer);
            }
            Kind::Shutdown => server.shutdown(now, Instant::from_nanos(a)),
            Kind::ResetMetrics => server.reset_metrics(),
            Kind::LateReply => drop(server.reply(now, token, &zeros(c))),
            Kind::LateFail => drop(server.fail(now, token, code(call), &filler(c))),
            _ => return tell(server, now, call),
        }
        Came::Nothing
    }
}

impl ServerPlayer {
    /// A request of which nothing comes is lent, and forgotten.
    fn take_event(&mut self) {
        if let Some(request) = self.server.event() {
            core::mem::forget(request.responder);
        }
    }

    /// Does with the request that is lent what was done; whether this call was about it.
    fn answer(&mut self, call: &Record<'_>) -> bool {
        if !matches!(call.kind, Kind::Reply | Kind::Fail | Kind::Defer | Kind::Unanswered) {
            return false;
        }
        let Some(request) = self.server.event() else { return true };
        let [len, ..] = call.fields;
        match call.kind {
            Kind::Reply => drop(request.responder.reply(&zeros(len))),
            Kind::Fail => drop(request.responder.fail(code(call), &filler(len))),
            Kind::Defer => drop(request.responder.defer()),
            _ => drop(request.responder),
        }
        true
    }
}

fn zeros(len: u64) -> Vec<u8> {
    vec![0; usize::try_from(len).unwrap_or(0)]
}

fn filler(len: u64) -> alloc::string::String {
    "x".repeat(usize::try_from(len).unwrap_or(0))
}

fn code<'a>(call: &Record<'a>) -> &'a str {
    core::str::from_utf8(call.bytes).unwrap_or("")
}
