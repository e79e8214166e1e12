//! One request through the whole client, all policy on: deadline, breaker, balancer, retry budget, metrics. The peer is
//! the codec alone, so that what is counted beyond it is the client.

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use plimsoll_core::id::ConnId;
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::service::client::{Client, Config, Event, Options, Outcome};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::WireId;
use plimsoll_core::wire::uw::{Limits, Mode, Step, decode_request, encode_response};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const IN_FLIGHT: usize = 256;

fn main() {
    divan::main();
}

struct Pair {
    client: Client<Uw>,
    conn: ConnId,
    now: Instant,
    wire: Vec<u8>,
    ids: Vec<WireId>,
    answers: Vec<u8>,
}

impl Pair {
    fn new() -> Pair {
        let now = Instant::ZERO;
        let mut client = Client::new(Uw::default(), Config::default(), 1);
        client.add_endpoint(now, "users.internal:3001").unwrap();
        let Some(Action::Connect(conn)) = client.poll() else { unreachable!("one connection is kept up") };
        client.handle(now, Input::Connected(conn));
        let mut pair = Pair { client, conn, now, wire: Vec::new(), ids: Vec::new(), answers: Vec::new() };
        for _ in 0..100 {
            pair.burst();
        }
        pair
    }

    /// 256 requests, their answers, their events.
    fn burst(&mut self) {
        self.now = self.now + core::time::Duration::from_micros(100);
        let request = UwRequest { method: "echo", content: &[b'x'; 64] };
        for _ in 0..IN_FLIGHT {
            black_box(self.client.request(self.now, &request, Options::default()).unwrap());
        }
        while self.client.poll().is_some() {}
        self.send();
        self.answer();
        let mut answered = 0;
        while let Some(event) = self.client.event() {
            answered += usize::from(matches!(event, Event::Outcome { outcome: Outcome::Answer(_), .. }));
        }
        assert!(answered == IN_FLIGHT);
    }

    fn send(&mut self) {
        self.wire.clear();
        let mut bufs = [&[][..]; 16];
        let n = self.client.send_bufs(self.conn, &mut bufs);
        bufs[..n].iter().for_each(|buf| self.wire.extend_from_slice(buf));
        self.client.handle(self.now, Input::Sent(self.conn, self.wire.len()));
    }

    fn answer(&mut self) {
        self.ids.clear();
        self.answers.clear();
        let mut rest = &self.wire[..];
        while let Ok(Step::Frame(head)) = decode_request(rest, &Limits::default(), Mode::Strict) {
            encode_response(&mut self.answers, head.id, &rest[head.content.clone()], &Limits::default())
                .unwrap();
            rest = &rest[head.content.end..];
        }
        assert!(self.client.feed(self.now, self.conn, &self.answers) == self.answers.len());
    }
}

#[divan::bench]
fn client_request_and_answer(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::new();
    bencher.counter(ItemsCount::new(IN_FLIGHT)).bench_local(|| pair.burst());
}

/// What of it is the codec of the peer and the copying in between.
#[divan::bench]
fn codec_of_the_peer_alone(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::new();
    let request = UwRequest { method: "echo", content: &[b'x'; 64] };
    for _ in 0..IN_FLIGHT {
        pair.client.request(pair.now, &request, Options::default()).unwrap();
    }
    pair.send();
    let mut answers = Vec::new();
    let mut buf = vec![0; 1 << 20];
    bencher.counter(ItemsCount::new(IN_FLIGHT)).bench_local(|| {
        answers.clear();
        let mut rest = &pair.wire[..];
        while let Ok(Step::Frame(head)) = decode_request(rest, &Limits::default(), Mode::Strict) {
            encode_response(&mut answers, head.id, &rest[head.content.clone()], &Limits::default()).unwrap();
            rest = &rest[head.content.end..];
        }
        buf[..answers.len()].copy_from_slice(&answers);
        black_box(&buf);
    });
}
