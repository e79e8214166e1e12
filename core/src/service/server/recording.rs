//! What a server notes while it is recorded.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Server;
use super::api::Token;
use super::state::{Addressee, Log, State};
use crate::id::ConnId;
use crate::machine::Input;
use crate::record::kinds::Kind;
use crate::record::{Record, Recorder, Subject, pair};
use crate::save::Snapshot;
use crate::time::Instant;
use crate::wire::uw::{self, RequestHead};

/// So many bytes of a ping are kept.
const PING: usize = 256;
/// The bytes of a request's head without its method, and where the length of that stands.
const HEAD: usize = 24;
const METHOD_LEN: usize = 19;

impl Record for Server {
    const SUBJECT: Subject = Subject::Server;

    fn log(&mut self) -> &mut Option<Box<Recorder>> {
        &mut self.state.log
    }

    fn told_time(&self) -> Instant {
        self.state.now
    }

    /// Of what was received, the heads of requests that wait are left.
    fn masked_snapshot(&mut self) -> Vec<u8> {
        let state = self.state.without_log();
        let head = |slot| {
            let conn = self.state.conns.id_at(slot).and_then(|id| self.state.conns.get(id));
            conn.and_then(|conn| conn.head.as_ref()).map_or(0, |head| head.content.start)
        };
        let mut masked = Server { receiver: self.receiver.masked(head), state };
        for slot in masked.state.slots() {
            if let Some(conn) = masked.state.conns.id_at(slot).and_then(|id| masked.state.conns.get_mut(id)) {
                conn.send.mask();
            }
        }
        masked.snapshot()
    }

    fn whole_snapshot(&self) -> Option<Vec<u8>> {
        Some(self.snapshot())
    }
}

impl Server {
    /// Bytes are about to be noted as sent.
    pub(super) fn note_sent(&mut self, conn: ConnId, n: usize) {
        if let State { log: Some(log), conns, .. } = &mut self.state
            && let Some(conn) = conns.get(conn)
        {
            log.mix_sent(&conn.send, n);
        }
    }

    pub(super) fn note_input(&mut self, input: Input) {
        let State { log: Some(log), conns, now, .. } = &mut self.state else { return };
        if let Input::Sent(conn, _) = input
            && let Some(conn) = conns.get(conn)
        {
            log.sent_from(&conn.send);
        }
        log.input(*now, input);
        if log.is_full() {
            self.begin_segment();
        }
    }
}

impl State {
    #[inline]
    pub(super) fn note<const N: usize>(&mut self, kind: Kind, fields: [u64; N]) {
        if let Some(log) = &mut self.log {
            log.put(kind, Some(self.now), fields);
        }
    }

    /// The request that is lent was put off, or dropped.
    pub(super) fn note_end<const N: usize>(&mut self, kind: Kind, fields: [u64; N]) {
        if let Some(log) = &mut self.log {
            log.of_lent(kind, self.now, fields, &[]);
        }
    }

    pub(super) fn note_room(&mut self, conn: ConnId, room: bool) {
        if let Some(log) = &mut self.log {
            log.gave_room(conn, room);
        }
    }

    /// The request that is lent was answered.
    #[inline]
    pub(super) fn note_reply(&mut self, content: &[u8], sent: bool) {
        if let Some(log) = &mut self.log {
            log.replied(self.now, content, sent);
        }
    }

    /// A request that was put off was answered, or nobody waits for it any more.
    pub(super) fn note_late_reply(&mut self, token: Token, content: &[u8], sent: bool) {
        let Some(log) = &mut self.log else { return };
        let kept = if log.keeps_content() { content } else { &[] };
        let [slot, generation] = pair(token.0);
        let fields = [slot, generation, content.len() as u64, sent.into()];
        log.put_bytes(Kind::LateReply, Some(self.now), fields, kept);
    }

    pub(super) fn note_failure(
        &mut self,
        token: Option<Token>,
        to: Option<Addressee>,
        [code, message]: [&str; 2],
        sent: bool,
    ) {
        let State { log: Some(log), now, .. } = self else { return };
        let mut bare = Vec::new();
        uw::write_error(&mut bare, code, "");
        // Of the message, as it was written, with its escapes.
        let len = log.frame.saturating_sub(bare.len()) as u64;
        let len = if to.is_some() { len } else { 0 };
        let words = log.words(code, message);
        match token.map(|token| pair(token.0)) {
            None => log.of_lent(Kind::Fail, *now, [len, sent.into()], words.as_bytes()),
            Some([slot, generation]) => {
                let fields = [slot, generation, len, sent.into()];
                log.put_bytes(Kind::LateFail, Some(*now), fields, words.as_bytes());
            }
        }
    }
}

impl Recorder {
    /// A request was found.
    #[inline(never)]
    pub(super) fn found(&mut self, bytes: &[u8], head: &RequestHead) {
        let name = self.name(&bytes[head.method.clone()]);
        self.asked(head.id.0, name, head.content.len() as u64);
    }
}

/// A frame is not whole, or none.
pub(super) fn note_part(log: &mut Log, bytes: &[u8]) {
    if let Some(log) = log {
        log.find_bytes(Kind::Raw, [], &bytes[..head_of(bytes)]);
    }
}

/// A ping was found, which ends there.
pub(super) fn note_ping(log: &mut Log, bytes: &[u8], end: usize) {
    if let Some(log) = log {
        log.find_bytes(Kind::Raw, [], &bytes[..end.min(PING)]);
    }
}

/// So many bytes were no frame.
pub(super) fn note_skip(log: &mut Log, bytes: &[u8], n: usize) {
    if let Some(log) = log {
        log.find_bytes(Kind::Raw, [], &bytes[..head_of(bytes).max(n + 2).min(bytes.len())]);
    }
}

/// How many bytes belong to the head of a request, of those that are there.
fn head_of(bytes: &[u8]) -> usize {
    let method = bytes.get(METHOD_LEN).copied().unwrap_or(0);
    (HEAD + usize::from(method)).min(bytes.len())
}
