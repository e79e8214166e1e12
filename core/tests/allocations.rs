//! Law 9: once warm, the steady state allocates nothing.

use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{Action, Input, Machine, Peer};
use plimsoll_core::service::server::{Config, Request, Server, Token};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{Limits, encode_request};

/// Requests of a mix: most answered on the spot, some later, some with an error; a ping now and then.
struct Load {
    server: Server,
    conns: Vec<ConnId>,
    /// What every connection sends each time, and how many requests of it are no pings.
    wire: Vec<u8>,
    requests: usize,
    tokens: Vec<Token>,
    now: u64,
}

impl Load {
    fn new(connections: usize) -> Self {
        let mut server = Server::new(Config::default());
        let conns = (0..connections).map(|_| server.accept(Instant::ZERO, Peer::UNKNOWN).unwrap()).collect();
        let mut wire = Vec::new();
        for n in 0..50u32 {
            let method = if n % 10 == 9 { "ping" } else { "method" };
            let content = [b' '; 300];
            let content = &content[..n as usize * 6];
            encode_request(&mut wire, WireId::new(n, 0, 0), method, content, &Limits::default()).unwrap();
        }
        Load { server, conns, wire, requests: 45, tokens: Vec::with_capacity(1_000), now: 0 }
    }

    /// Every connection sends its requests, cut in the middle of a frame, and takes all its answers.
    fn round(&mut self) -> usize {
        self.now += 1;
        let now = Instant::from_millis(self.now);
        let (first, second) = self.wire.split_at(self.wire.len() / 2);
        for piece in [first, second] {
            for &conn in &self.conns {
                assert_eq!(self.server.feed(now, conn, piece), piece.len());
                self.tokens.extend(std::iter::from_fn(|| self.server.event().map(handle)).flatten());
            }
            for token in self.tokens.drain(..) {
                self.server.reply(now, token, b"later").unwrap();
            }
            while let Some(action) = self.server.poll() {
                let Action::Flush(conn) = action else { panic!("{action:?}") };
                let mut bufs = [&[][..]; 16];
                let filled = self.server.send_bufs(conn, &mut bufs);
                let n = bufs[..filled].iter().map(|buf| buf.len()).sum();
                self.server.handle(now, Input::Sent(conn, n));
            }
        }
        self.server.handle(now, Input::Tick);
        self.requests * self.conns.len()
    }

    fn run(&mut self, requests: usize) {
        let mut done = 0;
        while done < requests {
            done += self.round();
        }
    }
}

fn handle(request: Request<'_>) -> Option<Token> {
    let Request { content, responder, .. } = request;
    match content.len() % 5 {
        0 => return Some(responder.defer()),
        1 => responder.fail("NO", "not today").unwrap(),
        2 => drop(responder),
        _ => responder.reply(content).unwrap(),
    }
    None
}

#[test]
fn a_warm_server_answers_100_000_requests_without_an_allocation() {
    for connections in [1, 20] {
        let mut load = Load::new(connections);
        load.run(10_000);
        let allocated = allocation_counter::measure(|| load.run(100_000));
        assert_eq!(allocated.count_total, 0, "over {connections} connections");
        assert!(load.server.metrics().requests >= 110_000);
        assert_eq!(load.server.status().in_flight, 0);
    }
}
