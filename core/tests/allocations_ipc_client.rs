//! Law 9, for the client of Bro IPC: once warm, calling and serving allocate nothing.

use plimsoll_core::id::ConnId;
use plimsoll_core::ipc::client::{Client, Config, Event, Incoming, Options, Token};
use plimsoll_core::ipc::hub::{self, Hub};
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::ipc::{Format, Value};

const BURST: usize = 50;

/// A client that calls itself by way of a hub, in bursts: most calls are answered on the spot, some later, some fail, some
/// are given up before their answer comes.
struct Load {
    client: Client,
    hub: Hub,
    here: ConnId,
    there: ConnId,
    now: u64,
    tokens: Vec<Token>,
    wire: Vec<u8>,
    ended: usize,
}

impl Load {
    fn new(format: Format) -> Self {
        let now = Instant::ZERO;
        let mut hub = Hub::new(hub::Config::default(), 7);
        let mut client = Client::new(Config { format, ..Config::new("own") }, 7);
        client.register_method(now, "get").unwrap();
        client.connect(now);
        let Some(Action::Connect(here)) = client.poll() else { panic!("it dials") };
        let there = hub.accept(now, Peer::UNKNOWN).unwrap();
        client.handle(now, Input::Connected(here));
        let (tokens, wire) = (Vec::with_capacity(BURST), Vec::with_capacity(1 << 20));
        let mut load = Load { client, hub, here, there, now: 0, tokens, wire, ended: 0 };
        load.exchange();
        assert!(load.client.is_connected());
        load
    }

    /// Until nothing more is to be carried.
    fn exchange(&mut self) {
        let now = Instant::from_millis(self.now);
        loop {
            carry(now, &mut self.wire, (&mut self.client, self.here), (&mut self.hub, self.there));
            let sent = self.wire.len();
            while self.hub.event().is_some() {}
            while self.hub.poll().is_some() {}
            carry(now, &mut self.wire, (&mut self.hub, self.there), (&mut self.client, self.here));
            while let Some(event) = self.client.event() {
                match event {
                    Event::Call(call) => self.tokens.extend(serve(call)),
                    Event::Outcome { .. } => self.ended += 1,
                    _ => {}
                }
            }
            while self.client.poll().is_some() {}
            for token in self.tokens.drain(..) {
                let later = Value::parse(Format::Json, b"\"later\"").ok();
                self.client.reply(now, token, later).unwrap();
            }
            if sent + self.wire.len() == 0 {
                return;
            }
        }
    }

    fn run(&mut self, calls: usize) {
        for _ in 0..calls.div_ceil(BURST) {
            self.now += 1;
            let now = Instant::from_millis(self.now);
            self.client.handle(now, Input::Tick);
            self.hub.handle(now, Input::Tick);
            for n in 0..BURST {
                let params = [b'1'; BURST];
                let params = Value::parse(Format::Json, &params[..n + 1]).ok();
                let options = Options { tag: n as u64, ..Options::default() };
                let id = self.client.call(now, "own", "get", params, None, options).unwrap();
                if n % 10 == 9 {
                    self.client.cancel(now, id);
                }
            }
            self.exchange();
        }
    }
}

fn carry(
    now: Instant,
    wire: &mut Vec<u8>,
    from: (&mut impl Machine, ConnId),
    to: (&mut impl Machine, ConnId),
) {
    wire.clear();
    let mut bufs = [&[][..]; 16];
    let filled = from.0.send_bufs(from.1, &mut bufs);
    bufs[..filled].iter().for_each(|buf| wire.extend_from_slice(buf));
    assert_eq!(to.0.feed(now, to.1, wire), wire.len());
    from.0.handle(now, Input::Sent(from.1, wire.len()));
}

fn serve(call: Incoming<'_>) -> Option<Token> {
    let Incoming { params, responder, .. } = call;
    match params.map_or(0, |params| params.bytes().len()) % 4 {
        0 => return Some(responder.defer()),
        1 => responder.fail("NO", "not today").unwrap(),
        _ => responder.reply(params).unwrap(),
    }
    None
}

#[test]
fn a_warm_client_makes_and_serves_calls_without_an_allocation() {
    for (format, calls) in [(Format::Json, 40_000), (Format::MessagePack, 10_000)] {
        let mut load = Load::new(format);
        load.run(4_000);
        load.ended = 0;
        let allocated = allocation_counter::measure(|| load.run(calls));
        assert_eq!(allocated.count_total, 0, "{format:?}");
        assert_eq!((load.ended, load.client.status().pending, load.client.status().serving), (calls, 0, 0));
    }
}
