//! Bro IPC: what it costs to read a message, to convert one, and to route a call through the hub and its answer back.

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use plimsoll_core::id::ConnId;
use plimsoll_core::ipc::hub::{Config, Hub};
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::ipc::{Envelope, Format, Value, convert};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const IN_FLIGHT: usize = 256;

fn main() {
    divan::main();
}

/// A call of 209 bytes, or of any length above.
fn call(params: usize) -> Vec<u8> {
    let params = "x".repeat(params);
    format!(
        r#"{{"type":"CALL","id":"req-1699005123456-a7f3e9","from":"order","to":"user","method":"get","params":"{params}","context":{{"root":"root-1699005123456-0a1b2c","chain":["order","user"],"depth":2,"deadline":1699005153456}}}}"#
    )
    .into_bytes()
}

fn packed(params: usize) -> Vec<u8> {
    let json = call(params);
    let mut out = Vec::new();
    convert(Value::parse(Format::Json, &json).unwrap(), Format::MessagePack, &mut out, usize::MAX).unwrap();
    out
}

fn parse(bencher: Bencher<'_, '_>, format: Format, body: &[u8]) {
    bencher.counter(ItemsCount::new(IN_FLIGHT)).bench_local(|| {
        for _ in 0..IN_FLIGHT {
            let envelope = Envelope::parse(format, black_box(body)).unwrap();
            black_box((envelope.id().unwrap(), envelope.from().unwrap(), envelope.to().unwrap()));
        }
    });
}

#[divan::bench(args = [8, 4096])]
fn envelope_json(bencher: Bencher<'_, '_>, params: usize) {
    parse(bencher, Format::Json, &call(params));
}

#[divan::bench(args = [8, 4096])]
fn envelope_message_pack(bencher: Bencher<'_, '_>, params: usize) {
    parse(bencher, Format::MessagePack, &packed(params));
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

/// A hub with a caller and a callee, and what they say in a burst.
struct Route {
    hub: Hub,
    caller: ConnId,
    callee: ConnId,
    calls: Vec<u8>,
    answers: Vec<u8>,
    now: Instant,
}

impl Route {
    fn new(params: usize) -> Route {
        let now = Instant::ZERO;
        let mut hub = Hub::new(Config::default(), 1);
        let (caller, callee) =
            (hub.accept(now, Peer::UNKNOWN).unwrap(), hub.accept(now, Peer::UNKNOWN).unwrap());
        for (conn, name) in [(caller, "order"), (callee, "user")] {
            let register = format!(r#"{{"type":"REGISTER","serviceName":"{name}","methods":["get","set"]}}"#);
            hub.feed(now, conn, &frame(register.as_bytes()));
        }
        let (mut calls, mut answers, text) = (Vec::new(), Vec::new(), "x".repeat(params));
        let context = r#"{"root":"root-1699005123456-0a1b2c","chain":["order","user"],"depth":2,"deadline":1699005153456}"#;
        for n in 0..IN_FLIGHT {
            let id = format!("req-1699005123456-{n:06}");
            let call = format!(
                r#"{{"type":"CALL","id":"{id}","from":"order","to":"user","method":"get","params":"{text}","context":{context}}}"#
            );
            let answer = format!(
                r#"{{"type":"RESPONSE","id":"{id}","from":"user","to":"order","status":"success","data":"{text}","context":{context}}}"#
            );
            calls.extend(frame(call.as_bytes()));
            answers.extend(frame(answer.as_bytes()));
        }
        let mut route = Route { hub, caller, callee, calls, answers, now };
        for _ in 0..20 {
            route.burst();
        }
        route
    }

    /// 256 calls one way, and their answers the other.
    fn burst(&mut self) {
        self.now = self.now + core::time::Duration::from_micros(100);
        for from_caller in [true, false] {
            let (conn, bytes) =
                if from_caller { (self.caller, &self.calls) } else { (self.callee, &self.answers) };
            let mut sent = 0;
            while sent < bytes.len() {
                sent += self.hub.feed(self.now, conn, &bytes[sent..]);
                while self.hub.event().is_some() {}
            }
            while let Some(action) = self.hub.poll() {
                let Action::Flush(conn) = action else { unreachable!("{action:?}") };
                loop {
                    let mut bufs = [&[][..]; 16];
                    let filled = self.hub.send_bufs(conn, &mut bufs);
                    let n = bufs[..filled].iter().map(|buf| buf.len()).sum();
                    if n == 0 {
                        break;
                    }
                    self.hub.handle(self.now, Input::Sent(conn, n));
                }
            }
        }
    }
}

/// A call and its answer, of so many bytes of parameters, through the hub.
#[divan::bench(args = [64, 4096])]
fn hub_call_and_answer(bencher: Bencher<'_, '_>, params: usize) {
    let mut route = Route::new(params);
    bencher.counter(ItemsCount::new(IN_FLIGHT)).bench_local(|| route.burst());
    assert!(route.hub.metrics().answered >= 20 * IN_FLIGHT as u64 && route.hub.status().pending == 0);
}
