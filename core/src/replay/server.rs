//! A server plays a log.

use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;

use super::player::{Came, Player, error, tell};
use crate::id::Id;
use crate::machine::{Machine, Peer};
use crate::record::Record as _;
use crate::record::alike::next_id;
use crate::record::format::{Record, Segment};
use crate::record::kinds::Kind;
use crate::save::{Damaged, Reader, Save, Snapshot};
use crate::service::server::{Server, Token};
use crate::time::Instant;
use crate::wire::WireId;
use crate::wire::uw;

pub(crate) struct ServerPlayer {
    pub(crate) server: Server,
    whole: bool,
    last_id: [u8; 16],
}

impl Player for ServerPlayer {
    type Machine = Server;

    fn machine(&mut self) -> &mut Self::Machine {
        &mut self.server
    }

    fn load(segment: &Segment<'_>) -> Result<Self, Damaged> {
        let server = Server::restore(segment.snapshot)?;
        Ok(ServerPlayer { server, whole: segment.head.whole, last_id: [0; 16] })
    }

    fn expect(&mut self, finding: &Record<'_>, name: &str) {
        if self.whole {
            return;
        }
        let bytes = match finding.kind {
            Kind::Asked => {
                let [content, _, high, low, ..] = finding.fields;
                let id = next_id(&mut self.last_id, [high, low]);
                let mut head = Vec::new();
                let encoded = uw::encode_request(&mut head, WireId(id), name, &[], &uw::Limits::default());
                // The content itself is zeros, and there already.
                if encoded.is_ok()
                    && let Some(len) = head.last_chunk_mut::<4>()
                {
                    *len = (content as u32).to_le_bytes();
                }
                head
            }
            _ => finding.bytes.to_vec(),
        };
        if let Some(log) = self.server.recorder() {
            log.expect(bytes);
        }
    }

    fn restart(&mut self) {
        self.last_id = [0; 16];
    }

    fn call(&mut self, now: Instant, call: &Record<'_>, _: &str) -> Came {
        let ServerPlayer { server, whole, .. } = self;
        let [a, b, c, ..] = call.fields;
        let token = Token(Id::new(a as u32, b as u32));
        match call.kind {
            Kind::Reply | Kind::Fail | Kind::Defer | Kind::Unanswered => self.answer(call),
            Kind::Lent | Kind::NoEvent => self.take_event(),
            Kind::Accept => {
                let peer = Peer::load(&mut Reader::new(call.bytes)).unwrap_or(Peer::UNKNOWN);
                server.accept(now, peer);
            }
            Kind::Shutdown => server.shutdown(now, Instant::from_nanos(a)),
            Kind::ResetMetrics => server.reset_metrics(),
            Kind::LateReply => drop(server.reply(now, token, &content(*whole, call, c))),
            Kind::LateFail => {
                let (code, message) = error(call, c);
                let _ = server.fail(now, token, code, &message);
            }
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

    /// Does with the next request what was done.
    fn answer(&mut self, call: &Record<'_>) {
        let Some(request) = self.server.event() else { return };
        let [len, ..] = call.fields;
        match call.kind {
            Kind::Reply => drop(request.responder.reply(&content(self.whole, call, len))),
            Kind::Fail => {
                let (code, message) = error(call, len);
                let _ = request.responder.fail(code, &message);
            }
            Kind::Defer => drop(request.responder.defer()),
            _ => drop(request.responder),
        }
    }
}

/// The content of an answer, or as many zeros.
fn content<'a>(whole: bool, call: &Record<'a>, len: u64) -> Cow<'a, [u8]> {
    match whole {
        true => call.bytes.into(),
        false => vec![0; usize::try_from(len).unwrap_or(0)].into(),
    }
}
