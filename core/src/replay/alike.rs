//! Records that say of something only that it is like what was before.

use crate::record::alike::RUN;
use crate::record::format::{CLAIMS, Record};
use crate::record::kinds::{FIELDS, Kind, Side};

/// What a record stands for: so often, this finding if there is one, then this call if there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps<'a> {
    pub(super) times: u64,
    pub(super) finding: Option<Record<'a>>,
    pub(super) call: Option<Record<'a>>,
}

/// The last records of a segment that others may be like.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Last<'a> {
    request: Option<Record<'a>>,
    next: Option<Record<'a>>,
    asked: Option<Record<'a>>,
    reply: Option<Record<'a>>,
}

impl<'a> Last<'a> {
    /// What a record stands for; `None` if it makes no sense.
    pub(super) fn steps(&mut self, record: Record<'a>) -> Option<Steps<'a>> {
        let [a, b, ..] = record.fields;
        let finding = |finding| Steps { times: 1, finding: Some(finding), call: None };
        let call = |call| Steps { times: 1, finding: None, call: Some(call) };
        let asked = |last: Option<Record<'a>>| {
            let last = last?;
            let [len, name, ..] = last.fields;
            Some(Record { fields: fields([len, name, a, b]), ..last })
        };
        match record.kind {
            Kind::Request => self.request = Some(record),
            Kind::Next => self.next = Some(record),
            Kind::Asked => self.asked = Some(record),
            Kind::Reply => self.reply = Some(record),
            _ => {}
        }
        let steps = match record.kind {
            Kind::Requests => Steps { times: a, ..call(now(self.request?)) },
            Kind::Answers => {
                let answered = Record { kind: Kind::Answered, fields: [0; FIELDS], ..record };
                Steps { times: a, call: Some(answered), ..finding(now(self.next?)) }
            }
            Kind::AskedAlike => finding(asked(self.asked)?),
            Kind::Replied => call(now(self.reply?)),
            Kind::Served => Steps { call: Some(now(self.reply?)), ..finding(asked(self.asked)?) },
            _ => match record.side {
                Side::Finding => finding(record),
                Side::Call => call(record),
            },
        };
        let claims = |record: Option<Record<'a>>| record.map_or(0, |record| record.claims());
        let claimed = steps.times.saturating_mul(claims(steps.finding).saturating_add(claims(steps.call)));
        (steps.times <= RUN && claimed <= CLAIMS).then_some(steps)
    }
}

fn now(record: Record<'_>) -> Record<'_> {
    Record { passed: 0, ..record }
}

fn fields([a, b, c, d]: [u64; 4]) -> [u64; FIELDS] {
    let mut fields = [0; FIELDS];
    fields[..4].copy_from_slice(&[a, b, c, d]);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, fields: [u64; FIELDS]) -> Record<'static> {
        Record { kind, side: kind.shape().2, passed: 0, check: 0, fields, bytes: &[] }
    }

    #[test]
    fn a_record_stands_for_no_more_than_one_may_have_been_written_for() {
        let run = |n| record(Kind::Requests, [n, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut last = Last::default();
        assert!(last.steps(run(1)).is_none(), "like nothing");
        last.steps(record(Kind::Request, [0, 0, 64, 28, 0, 0, 0, 0, 0])).unwrap();
        assert_eq!(last.steps(run(RUN)).unwrap().times, RUN);
        assert!(last.steps(run(RUN + 1)).is_none());
        last.steps(record(Kind::Request, [0, 0, CLAIMS / 2, 28, 0, 0, 0, 0, 0])).unwrap();
        assert!(last.steps(run(1)).is_some() && last.steps(run(2)).is_none());
    }
}
