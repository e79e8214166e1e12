//! The wire of a replay: it knows from the log what was decoded.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;

use crate::error::{Misuse, ProtocolError};
use crate::record::codes;
use crate::record::format::Record;
use crate::record::kinds::Kind;
use crate::save::{Damaged, Reader, Save, Writer};
use crate::service::{Decoded, Described, Protocol, Verdict};
use crate::wire::{Ids, Load, WireId};

/// In place of the id of an answer to whoever is next in line: no client writes it.
pub(crate) const NEXT_IN_LINE: WireId = WireId([0xff; 16]);

/// Stands in for the wire of a client whose log has no content: contents are zeros, and whatever the wire has read in them
/// comes from the log. `IDS`: whether the wire has ids.
#[derive(Clone, Debug)]
pub struct Surrogate<const IDS: bool> {
    ids: Ids,
    script: RefCell<Script>,
}

/// What comes next, by what it is asked for.
#[derive(Clone, Debug, Default)]
struct Script {
    decoded: VecDeque<Result<Decoded, ProtocolError>>,
    /// Behind how many good ones.
    failures: VecDeque<(u64, bool, bool)>,
    verdicts: u64,
    loads: VecDeque<Option<Load>>,
    greetings: VecDeque<(usize, u32)>,
    questions: VecDeque<Option<usize>>,
}

/// A request as a log has it.
#[derive(Clone, Copy, Debug)]
pub struct Masked<'a> {
    pub(crate) described: Described<'a>,
    /// The length of its frame, or why there was none.
    pub(crate) frame: Result<usize, Misuse>,
}

/// Its ids are to be told.
impl<const IDS: bool> Default for Surrogate<IDS> {
    fn default() -> Self {
        Self::new(Ids::new(0))
    }
}

impl<const IDS: bool> Surrogate<IDS> {
    pub(crate) fn new(ids: Ids) -> Self {
        Surrogate { ids, script: RefCell::default() }
    }

    /// A segment begins: verdicts are counted anew.
    pub(crate) fn restart(&self) {
        self.script.borrow_mut().verdicts = 0;
    }

    /// Takes a finding of the log.
    pub(crate) fn expect(&self, record: &Record<'_>) {
        let script = &mut *self.script.borrow_mut();
        let length = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let [a, b, c, d, e, ..] = record.fields;
        let response = |id, content: u64, before: u64, behind: u64| {
            let end = length(before).saturating_add(length(content));
            Decoded::Response { id, content: length(before)..end, len: end.saturating_add(length(behind)) }
        };
        match record.kind {
            Kind::Need => script.decoded.push_back(Ok(Decoded::Need(length(a)))),
            Kind::Ours => {
                let id = self.ids.id(a as u32, b as u32);
                script.decoded.push_back(Ok(response(Some(id), c, d, e)));
            }
            Kind::Answer => {
                let id = record.bytes.try_into().ok().map(WireId);
                script.decoded.push_back(Ok(response(id, a, b, c)));
            }
            Kind::Next => script.decoded.push_back(Ok(response(IDS.then_some(NEXT_IN_LINE), a, b, c))),
            Kind::Control => script.decoded.push_back(Ok(Decoded::Control(length(a)))),
            Kind::Skip => script.decoded.push_back(Ok(Decoded::Skip(length(a)))),
            Kind::Broken => script.decoded.push_back(Err(codes::to_protocol_error([a, b, c]))),
            Kind::Failure => script.failures.push_back((a, b & 1 != 0, b & 2 != 0)),
            Kind::Load => {
                let load = Load { in_flight: b as u32, latency: Duration::from_nanos(c) };
                script.loads.push_back((a != 0).then_some(load));
            }
            Kind::Greeting => script.greetings.push_back((length(a), b as u32)),
            Kind::Question => script.questions.push_back(length(a).checked_sub(1)),
            _ => {}
        }
    }

    /// The next bytes are an answer without a content of its own.
    pub(crate) fn answer(&self, id: WireId, len: usize, failed: Option<(bool, bool)>) {
        let script = &mut *self.script.borrow_mut();
        script.decoded.push_back(Ok(Decoded::Response { id: Some(id), content: len..len, len }));
        let at = script.verdicts + 1;
        script.failures.extend(failed.map(|(unhealthy, overloaded)| (at, unhealthy, overloaded)));
        if failed.is_some() {
            // Once more, when its outcome is told.
            script.failures.extend(failed.map(|(unhealthy, overloaded)| (1, unhealthy, overloaded)));
        }
    }

    fn ask(&self, out: &mut Vec<u8>) -> bool {
        let len = self.script.borrow_mut().questions.pop_front().flatten();
        zeros(out, len.unwrap_or(0));
        len.is_some()
    }
}

fn zeros(out: &mut Vec<u8>, n: usize) {
    out.resize(out.len() + n, 0);
}

impl<const IDS: bool> Protocol for Surrogate<IDS> {
    type Request<'a> = Masked<'a>;
    type Progress = ();
    const HAS_IDS: bool = IDS;

    fn greet(&self, out: &mut Vec<u8>) -> u32 {
        let (len, answers) = self.script.borrow_mut().greetings.pop_front().unwrap_or_default();
        zeros(out, len);
        answers
    }

    fn encode(&self, out: &mut Vec<u8>, _: WireId, request: &Masked<'_>) -> Result<(), Misuse> {
        zeros(out, request.frame?);
        Ok(())
    }

    fn describe<'a>(&self, request: &'a Masked<'_>) -> Described<'a> {
        request.described
    }

    fn ping(&self, out: &mut Vec<u8>, _: WireId, _: u64) -> bool {
        self.ask(out)
    }

    fn probe(&self, out: &mut Vec<u8>, _: WireId) -> bool {
        self.ask(out)
    }

    fn load(&self, _: &[u8]) -> Option<Load> {
        self.script.borrow_mut().loads.pop_front().flatten()
    }

    /// Where the log has nothing more, it is said that more bytes are needed: the replay sees the difference.
    fn decode(&self, (): &mut (), bytes: &[u8]) -> Result<Decoded, ProtocolError> {
        match self.script.borrow_mut().decoded.pop_front() {
            Some(Ok(Decoded::Response { len, .. } | Decoded::Control(len) | Decoded::Skip(len)))
                if len > bytes.len() =>
            {
                Ok(Decoded::Need(bytes.len() + 1))
            }
            Some(decoded) => decoded,
            None => Ok(Decoded::Need(bytes.len() + 1)),
        }
    }

    fn verdict<'a>(&self, _: &'a [u8]) -> Verdict<'a> {
        let script = &mut *self.script.borrow_mut();
        script.verdicts += 1;
        let failed = script.failures.pop_front_if(|(behind, ..)| *behind <= script.verdicts);
        match failed {
            None => Verdict::Success,
            Some((_, unhealthy, overloaded)) => {
                script.verdicts = 0;
                Verdict::Failure { code: "", message: "", unhealthy, overloaded }
            }
        }
    }
}

impl<const IDS: bool> Save for Surrogate<IDS> {
    fn save(&self, _: &mut Writer) {}

    /// Its ids are those of the requests beside it.
    fn load(_: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(Surrogate::default())
    }
}
