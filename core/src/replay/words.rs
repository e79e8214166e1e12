//! Records as people read them.

use core::fmt;

use crate::id::ConnId;
use crate::record::codes;
use crate::record::format::Record;
use crate::record::kinds::Kind;

/// A record, and the name of its request.
pub(crate) struct Words<'a>(pub(crate) &'a Record<'a>, pub(crate) &'a str);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Words(record, name) = self;
        let [a, b, c, d, ..] = record.fields;
        let id = ConnId::new(a as u32, b as u32);
        let text = || alloc::string::String::from_utf8_lossy(record.bytes);
        let error = || text().replace('\0', ": ");
        match record.kind {
            Kind::Connected => write!(f, "connection {id} stands"),
            Kind::Received => write!(f, "{c} bytes received on connection {id}"),
            Kind::Filled => write!(f, "{c} bytes are said to have been received on connection {id}"),
            Kind::Sent => write!(f, "{c} bytes sent on connection {id}"),
            Kind::ReadClosed => write!(f, "the peer of connection {id} sends no more"),
            Kind::Closed => write!(f, "connection {id} closed: {}", codes::to_fault(c)),
            Kind::Tick => write!(f, "time passes"),
            Kind::Wall => write!(f, "the wall clock shows {a} ms"),
            Kind::Accept if a == 0 => write!(f, "a connection is turned away"),
            Kind::Accept => write!(f, "connection {} is accepted", ConnId::new(b as u32, c as u32)),
            Kind::Room if c == 0 => write!(f, "no room to read for connection {id}"),
            Kind::Room => write!(f, "room to read for connection {id}, and nothing to be read"),
            Kind::PolledNothing => write!(f, "nothing to do"),
            Kind::PolledConnect => write!(f, "to do: dial connection {id}"),
            Kind::PolledClose => write!(f, "to do: close connection {id}"),
            Kind::PolledReadOn => write!(f, "to do: read from connection {id} again"),
            Kind::PolledReadOff => write!(f, "to do: read from connection {id} no more"),
            Kind::PolledFlush => write!(f, "to do: send on connection {id}"),
            Kind::NoEvent => write!(f, "nothing to tell"),
            Kind::Event if a == crate::record::Told::Request as u64 => write!(f, "told: a call"),
            Kind::Event if a == crate::record::Told::Message as u64 => write!(f, "told: a message"),
            Kind::Event => match a {
                1 => write!(f, "told: request {b} is answered with {c} bytes"),
                2 => write!(f, "told: request {b} has failed at the service"),
                3 => write!(f, "told: request {b} has timed out"),
                4 => write!(f, "told: request {b} is lost"),
                5 => write!(f, "told: request {b} is lost, since its peer broke the rules"),
                6 => write!(f, "told: request {b} is cancelled"),
                _ => write!(f, "told: a change at endpoint {b}"),
            },
            Kind::Shutdown => write!(f, "shut down"),
            Kind::ResetMetrics => write!(f, "metrics are reset"),
            Kind::Name => write!(f, "the word {:?}", text()),
            Kind::Check => write!(f, "everything that has come out by then has the check {a:016x}"),
            Kind::Need => write!(f, "found: a frame that is not whole before {a} bytes"),
            Kind::Ours => write!(f, "found: an answer of {c} bytes to request {a} (its use {b})"),
            Kind::Next => write!(f, "found: an answer of {a} bytes to the request that is next in line"),
            Kind::Answer => write!(f, "found: an answer of {a} bytes"),
            Kind::Control => write!(f, "found: {a} bytes of the wire's own"),
            Kind::Skip => write!(f, "found: {a} bytes of garbage"),
            Kind::Broken => write!(f, "found: {}", codes::to_protocol_error([a, b, c])),
            Kind::Failure => write!(f, "found: the failure {:?}", text()),
            Kind::Load => write!(f, "found: {b} requests in flight at the peer"),
            Kind::Greeting => write!(f, "found: a greeting of {a} bytes, to be answered {b} times"),
            Kind::Question => write!(f, "found: a ping of {} bytes", a.saturating_sub(1)),
            Kind::Request => {
                let refused = record.fields[8];
                write!(f, "request {name:?} of {c} bytes: {}", codes::refusal(refused))
            }
            Kind::Cancel => write!(f, "request {a} is given up"),
            Kind::AddEndpoint => write!(f, "endpoint {:?} is added", text()),
            Kind::SetWeight => write!(f, "endpoint {a} has the weight {c}"),
            Kind::RemoveEndpoint => write!(f, "endpoint {a} is removed"),
            Kind::DrainEndpoint => write!(f, "endpoint {a} is drained"),
            Kind::ResumeEndpoint => write!(f, "endpoint {a} is used again"),
            Kind::SetHealth => write!(f, "endpoint {a} is {}", codes::to_health(c)),
            Kind::Scale => write!(f, "{a} connections per endpoint"),
            Kind::Asked => write!(f, "found: a request {name:?} of {a} bytes"),
            Kind::AskedAlike => write!(f, "found: a request like the last"),
            Kind::Lent => write!(f, "told: a request, of which nothing is made"),
            Kind::Replied => write!(f, "told: a request, which is answered as the last was"),
            Kind::Served => {
                write!(f, "found: a request like the last; told: a request, answered as the last was")
            }
            Kind::Requests => write!(f, "{a} requests like the last"),
            Kind::Answered => write!(f, "told: a request is answered"),
            Kind::Answers => {
                write!(f, "found and told: {a} answers like the last, to those that are next in line")
            }
            Kind::Raw => write!(f, "found: {} bytes that are no request", record.bytes.len()),
            Kind::Written => write!(f, "found: {a} bytes were written"),
            Kind::Connect => write!(f, "connect"),
            Kind::Disconnect => write!(f, "disconnect"),
            Kind::RegisterMethod => write!(f, "the method {:?} is added", text()),
            Kind::UnregisterMethod => write!(f, "the method {:?} is removed", text()),
            Kind::Call => {
                let (to, method) = name.split_once('\0').unwrap_or(("", name));
                write!(
                    f,
                    "a call of {method:?} of {to:?}{}",
                    if record.fields[5] == 0 { "" } else { " is refused" }
                )
            }
            Kind::Message => write!(f, "found: a message"),
            Kind::Converted => write!(f, "found: {a} bytes in the other format"),
            Kind::Reply => write!(f, "told: a request, which is answered with {a} bytes"),
            Kind::Fail => write!(f, "told: a request, which is answered with the error {:?}", error()),
            Kind::Defer => write!(f, "told: a request, which is put off as {id}"),
            Kind::Unanswered => write!(f, "told: a request, which is dropped without an answer"),
            Kind::LateReply => write!(f, "request {id} is answered with {c} bytes"),
            Kind::LateFail => write!(f, "request {id} is answered with the error {:?}", error()),
        }?;
        let _ = d;
        Ok(())
    }
}
