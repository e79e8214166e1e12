//! What is like what was before it is counted, or written in short.
//!
//! Under load, almost all that a machine is told and does is one of three steps: a request like the last one is sent; the
//! answer to the oldest request has come, of the same length as the last, and is told; a request like the last one is lent
//! and answered on the spot. A step is noted by a few comparisons, and costs no byte, or those by which its id differs.

use core::mem;
use core::time::Duration;

use super::Recorder;
use super::kinds::{Kind, Tail};
use super::names::NAMES;
use crate::id::ConnId;
use crate::time::Instant;

/// So many steps are counted at most before they are written: a replay sees a difference in their outputs by then.
pub(crate) const RUN: u64 = 256;

/// Noted, and not written yet: more of the same may follow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Pending {
    #[default]
    Nothing,
    Requests(u64),
    Answers(u64),
    /// So many answers, and one more that was found, but is not told.
    Found(u64),
    /// A request was found whose id differs so much from the last, as [`Tail::Id`] has it.
    Asked(u32),
    /// A request is lent.
    Lent,
    /// Both; the one that is lent was found before.
    AskedAndLent(u32),
}

const _: () = assert!(NAMES <= 1 << 8);

/// What was noted last, of each kind that others may be like.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alike {
    pending: Pending,
    /// The check of the last pending step.
    check: u8,
    request: Option<Request>,
    /// The lengths of an answer.
    answer: Option<[u64; 3]>,
    /// The length and the name of a request that was found, in one number.
    asked: Option<u64>,
    id: [u64; 2],
    reply: Option<u64>,
}

/// What a client noted of a request that it has taken, but for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) len: usize,
    pub(crate) frame: usize,
    pub(crate) timeout: Option<Duration>,
    pub(crate) key: Option<u64>,
    pub(crate) idempotent: bool,
}

impl Recorder {
    /// Whether a request is like the last: then it is to be [counted](Self::one_more_request) only.
    #[inline]
    pub(crate) fn is_like_last(&self, now: Instant, request: &Request, name: &[u8]) -> bool {
        self.alike.request.as_ref() == Some(request)
            && now == self.now
            && self.room.is_none()
            && self.last_name(name).is_some()
    }

    /// Notes a request. Others may be like it if it was taken, and no content is kept.
    pub(crate) fn request(&mut self, now: Instant, fields: [u64; 9], content: &[u8], like: Option<Request>) {
        self.alike.request = like.filter(|_| !self.keeps_content());
        self.put_bytes(Kind::Request, Some(now), fields, content);
    }

    /// Notes a request that is like the last.
    #[inline]
    pub(crate) fn one_more_request(&mut self) {
        match self.alike.pending {
            Pending::Requests(n) if n < RUN => self.suspend(Pending::Requests(n + 1)),
            _ => {
                self.write_pending();
                self.suspend(Pending::Requests(1));
            }
        }
    }

    /// The answer to the request that is next in line was found; `lengths`: of its content, and of what stands before and
    /// behind it.
    #[inline]
    pub(crate) fn found_next(&mut self, lengths: [u64; 3]) {
        if self.alike.answer != Some(lengths) || self.room.is_some() {
            self.alike.answer = Some(lengths);
            return self.find(Kind::Next, lengths);
        }
        match self.alike.pending {
            Pending::Answers(n) if n < RUN => self.suspend(Pending::Found(n)),
            _ => {
                self.write_pending();
                self.suspend(Pending::Found(0));
            }
        }
    }

    /// An answer is told.
    #[inline]
    pub(crate) fn answered(&mut self) {
        match self.alike.pending {
            Pending::Found(n) if self.room.is_none() => self.suspend(Pending::Answers(n + 1)),
            _ => self.put(Kind::Answered, None, []),
        }
    }

    /// A request was found in what a peer has sent.
    #[inline]
    pub(crate) fn asked(&mut self, id: [u8; 16], name: u64, len: u64) {
        let ([high, low], last) = (turned(id), self.alike.id);
        self.alike.id = [high, low];
        let differs = [fold(high.wrapping_sub(last[0])), fold(low.wrapping_sub(last[1]))];
        let fits = differs[0] < 1 << 16 && differs[1] < 1 << 8;
        let asked = Some(len << 8 | name);
        if self.alike.asked != asked || self.room.is_some() || !fits {
            self.alike.asked = asked;
            return self.find(Kind::Asked, [len, name, differs[0], differs[1]]);
        }
        self.write_pending();
        self.suspend(Pending::Asked((differs[0] | differs[1] << 16) as u32));
    }

    /// A request is lent. What is made of it says so, too.
    #[inline(never)]
    pub(crate) fn lent(&mut self, conn: ConnId, method: &[u8], content: &[u8]) {
        // Its id was found before, and is in the log as it is.
        self.mix(u64::from(conn.slot()) << 32 ^ content.len() as u64);
        self.mix_bytes(method);
        self.mix_content(content);
        self.write_room();
        match self.alike.pending {
            Pending::Asked(id) => self.suspend(Pending::AskedAndLent(id)),
            _ => {
                self.write_pending();
                self.suspend(Pending::Lent);
            }
        }
    }

    /// The request that is lent was answered with so many bytes.
    #[inline(never)]
    pub(crate) fn replied(&mut self, now: Instant, content: &[u8], sent: bool) {
        let len = content.len() as u64;
        let repeats = self.alike.reply == Some(len) && sent && now == self.now;
        match mem::take(&mut self.alike.pending) {
            Pending::AskedAndLent(id) if repeats => self.write_id(Kind::Served, self.top(), id),
            Pending::Lent if repeats => self.find(Kind::Replied, []),
            pending => {
                self.alike.pending = pending;
                self.alike.reply = (sent && !self.keeps_content()).then_some(len);
                let kept = if self.keeps_content() { content } else { &[] };
                self.of_lent(Kind::Reply, now, [len, sent.into()], kept);
            }
        }
    }

    /// Something else was made of the request that is lent.
    pub(crate) fn of_lent<const N: usize>(
        &mut self,
        kind: Kind,
        now: Instant,
        fields: [u64; N],
        bytes: &[u8],
    ) {
        self.alike.pending = match self.alike.pending {
            Pending::AskedAndLent(id) => Pending::Asked(id),
            Pending::Lent => Pending::Nothing,
            pending => pending,
        };
        if kind.shape().1 == Tail::Bytes {
            self.put_bytes(kind, Some(now), fields, bytes);
        } else {
            self.put(kind, Some(now), fields);
        }
    }

    /// Nothing is like what was before.
    pub(super) fn forget_alike(&mut self) {
        self.alike = Alike::default();
    }

    pub(super) fn is_pending(&self) -> bool {
        !matches!(self.alike.pending, Pending::Nothing)
    }

    #[inline]
    fn suspend(&mut self, pending: Pending) {
        self.alike.pending = pending;
        self.alike.check = self.top();
    }

    /// Writes what was only counted.
    #[inline]
    pub(crate) fn write_pending(&mut self) {
        if self.is_pending() {
            self.write_what_is_pending();
        }
    }

    fn write_what_is_pending(&mut self) {
        let Alike { check, answer, .. } = self.alike;
        match mem::take(&mut self.alike.pending) {
            Pending::Nothing => {}
            Pending::Requests(n) => self.write_at_once(Kind::Requests, check, [n]),
            Pending::Answers(n) => self.write_at_once(Kind::Answers, check, [n]),
            Pending::Found(n) => {
                if n > 0 {
                    self.write_at_once(Kind::Answers, check, [n]);
                }
                self.write_at_once(Kind::Next, check, answer.unwrap_or_default());
            }
            Pending::Asked(id) => self.write_id(Kind::AskedAlike, check, id),
            Pending::Lent => self.write_at_once(Kind::Lent, check, []),
            Pending::AskedAndLent(id) => {
                self.write_id(Kind::AskedAlike, check, id);
                self.write_at_once(Kind::Lent, check, []);
            }
        }
    }
}

/// By so much the halves of an id are turned so that the bits that change most are the lowest: in
/// [ours](crate::wire::WireId::new), the slot and the generation. The ids of others are only longer that way.
const TO_SLOT: u32 = 32;
const TO_GENERATION: u32 = 18;

fn turned(id: [u8; 16]) -> [u64; 2] {
    let id = u128::from_be_bytes(id);
    [((id >> 64) as u64).rotate_left(TO_SLOT), (id as u64).rotate_left(TO_GENERATION)]
}

/// A small number, whether it goes up or down: 0, −1, 1, −2, …
fn fold(by: u64) -> u64 {
    by << 1 ^ ((by as i64) >> 63) as u64
}

fn unfold(by: u64) -> u64 {
    by >> 1 ^ (by & 1).wrapping_neg()
}

/// The id that differs so much from the last.
pub(crate) fn next_id(last: &mut [u8; 16], [high, low]: [u64; 2]) -> [u8; 16] {
    let [last_high, last_low] = turned(*last);
    let high = last_high.wrapping_add(unfold(high)).rotate_right(TO_SLOT);
    let low = last_low.wrapping_add(unfold(low)).rotate_right(TO_GENERATION);
    *last = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    *last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Options, Subject};
    use crate::wire::WireId;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    fn recorder() -> Recorder {
        Recorder::comparing(Subject::Server, Options::default(), true, false)
    }

    quickcheck! {
        fn ids_are_found_again_by_what_is_new_in_them(ids: Vec<(u64, u64)>) -> bool {
            let mut recorder = recorder();
            let mut last = [0; 16];
            ids.into_iter().all(|(high, low)| {
                let id = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
                recorder.asked(id, 0, 0);
                recorder.write_pending();
                let mut from = crate::save::Reader::new(recorder.written());
                let record = crate::record::format::Record::read(&mut from).unwrap();
                let at = if record.kind == Kind::Asked { 2 } else { 0 };
                next_id(&mut last, [record.fields[at], record.fields[at + 1]]) == id
            })
        }
    }

    #[test]
    fn a_request_that_is_like_the_last_takes_five_bytes_on_a_server() {
        let mut recorder = recorder();
        let conn = ConnId::new(0, 1);
        let mut lengths = Vec::new();
        for n in 0..50 {
            recorder.asked(WireId::new(100 - n, 7 + n % 3, 99).0, 0, 64);
            recorder.lent(conn, b"echo", &[0; 64]);
            recorder.replied(Instant::ZERO, &[0; 64], true);
            lengths.push(recorder.written().len());
        }
        assert!(lengths[2..].iter().all(|&len| len == 5), "{lengths:?}");
    }

    #[test]
    fn a_burst_of_requests_and_its_answers_take_as_few_bytes_as_one() {
        let request = Request { len: 64, frame: 96, timeout: None, key: None, idempotent: false };
        let mut recorder = recorder();
        let mut sizes = Vec::new();
        for burst in [1, 200] {
            for _ in 0..burst {
                if recorder.is_like_last(Instant::ZERO, &request, b"echo") {
                    recorder.one_more_request();
                } else {
                    let name = recorder.name(b"echo");
                    recorder.request(Instant::ZERO, [0, name, 64, 28, 0, 0, 0, 0, 0], &[], Some(request));
                }
            }
            for _ in 0..burst {
                recorder.found_next([64, 28, 0]);
                recorder.answered();
            }
            recorder.write_pending();
            sizes.push(recorder.written().len());
        }
        assert!(sizes[1] <= sizes[0], "{sizes:?}");
    }
}
