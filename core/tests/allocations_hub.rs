//! Law 9, for the hub of Bro IPC: once warm, routing allocates nothing.

use plimsoll_core::id::ConnId;
use plimsoll_core::ipc::hub::{Config, Hub};
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::ipc::{Format, Value, convert};

const BURST: usize = 50;

fn frame(json: &str, format: Format) -> Vec<u8> {
    let mut body = Vec::new();
    convert(Value::parse(Format::Json, json.as_bytes()).unwrap(), format, &mut body, usize::MAX).unwrap();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

/// Bursts of calls from one service to two others, one of another format, with their answers; some calls are refused,
/// and answered all the same; a heartbeat now and then.
struct Load {
    hub: Hub,
    conns: [ConnId; 3],
    calls: Vec<u8>,
    answers: [Vec<u8>; 2],
    now: u64,
}

impl Load {
    fn new() -> Self {
        let mut hub = Hub::new(Config::default(), 7);
        hub.handle(Instant::ZERO, Input::Wall(1_000));
        let conns = [(); 3].map(|()| hub.accept(Instant::ZERO, Peer::UNKNOWN).unwrap());
        let formats = [Format::Json, Format::Json, Format::MessagePack];
        for ((conn, format), name) in conns.into_iter().zip(formats).zip(["order", "user", "cart"]) {
            let register = format!(r#"{{"type":"REGISTER","serviceName":"{name}","methods":["get"]}}"#);
            hub.feed(Instant::ZERO, conn, &frame(&register, format));
        }
        let (mut calls, mut answers) = (Vec::new(), [Vec::new(), Vec::new()]);
        for n in 0..BURST {
            let (to, params) = (n % 2, "x".repeat(n * 6));
            let name = ["user", "cart"][to];
            let method = if n % 10 == 9 { "none" } else { "get" };
            // One in seven has no time.
            let deadline = if n % 7 == 0 { 1 } else { u64::from(u32::MAX) * 1_000 };
            calls.extend(frame(
                &format!(r#"{{"type":"CALL","id":"{n}","from":"order","to":"{name}","method":"{method}","params":"{params}","context":{{"root":"root","chain":["order","{name}"],"depth":2,"deadline":{deadline}}}}}"#),
                formats[0],
            ));
            answers[to].extend(frame(
                &format!(r#"{{"type":"RESPONSE","id":"{n}","from":"{name}","to":"order","status":"success","data":"{params}","context":null}}"#),
                formats[1 + to],
            ));
        }
        calls.extend(frame(r#"{"type":"HEARTBEAT","from":"order","timestamp":1}"#, formats[0]));
        let mut load = Load { hub, conns, calls, answers, now: 0 };
        load.turn();
        load
    }

    /// What a runtime does in a turn.
    fn turn(&mut self) {
        let now = Instant::from_millis(self.now);
        loop {
            while self.hub.event().is_some() {}
            let Some(action) = self.hub.poll() else { return };
            let Action::Flush(conn) = action else { panic!("{action:?}") };
            let mut bufs = [&[][..]; 16];
            let filled = self.hub.send_bufs(conn, &mut bufs);
            let n = bufs[..filled].iter().map(|buf| buf.len()).sum();
            self.hub.handle(now, Input::Sent(conn, n));
        }
    }

    fn round(&mut self) {
        self.now += 1;
        let now = Instant::from_millis(self.now);
        assert_eq!(self.hub.feed(now, self.conns[0], &self.calls), self.calls.len());
        self.turn();
        self.hub.handle(now, Input::Tick);
        for at in 0..2 {
            let half = self.answers[at].len() / 2;
            for piece in [0..half, half..self.answers[at].len()] {
                let piece = &self.answers[at][piece];
                assert_eq!(self.hub.feed(now, self.conns[1 + at], piece), piece.len());
                self.turn();
            }
        }
    }

    fn run(&mut self, calls: usize) {
        for _ in 0..calls.div_ceil(BURST) {
            self.round();
        }
    }
}

#[test]
fn a_warm_hub_routes_100_000_calls_without_an_allocation() {
    let mut load = Load::new();
    load.run(10_000);
    load.hub.reset_metrics();
    let allocated = allocation_counter::measure(|| load.run(100_000));
    assert_eq!(allocated.count_total, 0);
    let metrics = load.hub.metrics();
    assert!(metrics.routed > 70_000 && metrics.converted > 60_000, "{metrics:?}");
    assert_eq!((metrics.routed, load.hub.status().pending), (metrics.answered, 0));
    assert!(metrics.late > 0 && metrics.refused > 0 && metrics.heartbeats == 2_000);
}
