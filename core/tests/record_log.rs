//! What a log is good for when it is damaged, cut, turned in a ring, or of another machine.

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::id::{ConnId, RequestId};
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::record::{Log, Options, Record, Subject, What};
use plimsoll_core::replay::{self, ClientHappening, Happening, Line, Query, Story, Unreplayable};
use plimsoll_core::service::client::{self, Client, Config};
use plimsoll_core::service::server::{self, Server};
use plimsoll_core::service::{Uw, UwRequest};
use plimsoll_core::testing::play::logs::{changed, forged, resealed};
use plimsoll_core::time::Instant;
use plimsoll_core::wire::uw::{Limits, Mode, Step, decode_request, encode_response};
use quickcheck::quickcheck;

const SECRET: &[u8] = b"the secret of a body";
/// The bytes of the block that says that a log has ended.
const END: usize = 32;

fn limit(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn ring(segments: u32) -> Options {
    Options { segment: limit(6_000), segments: limit(segments), content: false }
}

/// A client of three endpoints, of which the second answers slowly, and fails now and then.
struct Session {
    client: Client<Uw>,
    now: Instant,
    conns: Vec<ConnId>,
    late: Vec<(ConnId, Vec<u8>)>,
    ids: Vec<RequestId>,
    answers: u32,
}

impl Session {
    fn new(seed: u64, options: Options) -> Self {
        let mut client = Client::new(Uw::default(), Config::default(), seed);
        for n in 1..=3 {
            client.add_endpoint(Instant::ZERO, &format!("users-{n}.internal:3001")).unwrap();
        }
        client.record(options);
        let (conns, late, ids) = (Vec::new(), Vec::new(), Vec::new());
        Session { client, now: Instant::ZERO, conns, late, ids, answers: 0 }
    }

    fn run(mut self, turns: u32) -> Self {
        for turn in 0..turns {
            self.now = self.now + Duration::from_millis(3);
            self.client.handle(self.now, Input::Tick);
            for _ in 0..turn % 7 {
                let request = UwRequest { method: "getUser", content: SECRET };
                self.ids.extend(self.client.request(self.now, &request, client::Options::default()));
            }
            self.turn();
            for (conn, bytes) in std::mem::take(&mut self.late) {
                for piece in bytes.chunks(11) {
                    self.client.feed(self.now, conn, piece);
                }
            }
            self.turn();
        }
        self
    }

    fn turn(&mut self) {
        loop {
            while self.client.event().is_some() {}
            match self.client.poll() {
                None => return,
                Some(Action::Connect(conn)) => {
                    self.conns.push(conn);
                    self.client.handle(self.now, Input::Connected(conn));
                }
                Some(Action::Flush(conn)) => self.serve(conn),
                Some(Action::Read(..) | Action::Close(_)) => {}
            }
        }
    }

    fn serve(&mut self, conn: ConnId) {
        let mut bufs = [&[][..]; 8];
        let n = self.client.send_bufs(conn, &mut bufs);
        let sent = bufs[..n].concat();
        self.client.handle(self.now, Input::Sent(conn, sent.len()));
        let (mut rest, limits, mut answers) = (&sent[..], Limits::default(), Vec::new());
        while let Ok(Step::Frame(head)) = decode_request(rest, &limits, Mode::Strict) {
            self.answers += 1;
            let fails = self.answers.is_multiple_of(50);
            let answer = if fails {
                br#"{"error":{"code":"OVERLOADED","message":"the secret of a body"}}"#
            } else {
                SECRET
            };
            encode_response(&mut answers, head.id, answer, &limits).unwrap();
            rest = &rest[head.content.end..];
        }
        match self.client.target(conn) {
            Some("users-2.internal:3001") => self.late.push((conn, answers)),
            _ => drop(self.client.feed(self.now, conn, &answers)),
        }
    }

    fn log(&mut self) -> Vec<u8> {
        self.client.recorded()
    }
}

fn log(turns: u32, options: Options) -> Vec<u8> {
    Session::new(7, options).run(turns).log()
}

#[test]
fn a_log_of_many_segments_is_replayed_from_its_first() {
    let log = log(300, ring(1_000));
    let replayed = replay::replay(&log).unwrap();
    assert!(replayed.segments > 3, "{replayed}");
    assert_eq!(replayed.time(), Duration::from_millis(900));
}

#[test]
fn a_replay_says_how_much_it_has_compared() {
    let now = Instant::ZERO;
    let mut client = Client::new(Uw::default(), Config::default(), 1);
    client.add_endpoint(now, "users.internal:3001").unwrap();
    client.record(Options::default());
    let Some(Action::Connect(conn)) = client.poll() else { panic!("it dials") };
    client.handle(now, Input::Connected(conn));
    assert!(client.event().is_some() && client.event().is_none());
    let request = UwRequest { method: "getUser", content: SECRET };
    client.request(now, &request, client::Options::default()).unwrap();
    assert_eq!(client.poll(), Some(Action::Flush(conn)));
    assert_eq!(client.poll(), None);
    client.handle(now, Input::Tick);
    let replayed = replay::replay(&client.recorded()).unwrap();
    assert_eq!((replayed.inputs, replayed.actions, replayed.events), (2, 2, 1));
    // Nothing to tell, the request, and nothing to do.
    assert_eq!(replayed.calls, 2 + 2 + 1 + 3);
}

#[test]
fn a_ring_that_has_gone_round_is_replayed_from_its_oldest_segment() {
    let all = replay::replay(&log(900, ring(1_000))).unwrap();
    let log = log(900, ring(3));
    let left = replay::replay(&log).unwrap();
    assert_eq!((left.segments, left.damage, left.to), (3, None, all.to));
    assert!(left.calls < all.calls / 2);
}

#[test]
fn no_byte_of_a_body_is_in_a_log() {
    let log = log(300, ring(1_000));
    for part in SECRET.windows(6) {
        assert!(
            !log.windows(part.len()).any(|window| window == part),
            "{:?}",
            part.escape_ascii().to_string()
        );
    }
    assert!(log.windows(7).any(|window| window == b"getUser"));
}

#[test]
fn content_is_kept_on_request_and_the_log_replays_as_well() {
    let log = log(300, Options { content: true, ..ring(1_000) });
    assert!(log.windows(SECRET.len()).any(|window| window == SECRET));
    assert_eq!(replay::replay(&log).unwrap().damage, None);
}

fn differs(log: &[u8]) -> String {
    match replay::replay(log) {
        Err(Unreplayable::Different(difference)) => difference.to_string(),
        other => panic!("a difference was expected, and there was {other:?}"),
    }
}

/// One segment, so that no snapshot tells the difference first.
fn one_segment(content: bool) -> Options {
    Options { content, ..Options::default() }
}

#[test]
fn with_content_another_body_and_another_method_are_differences() {
    let log = log(60, one_segment(true));
    assert!(Log::read(&log).unwrap().is_whole());
    for (that, this) in [
        // What was asked, and what was answered; what is asked only; what is answered only, and read as a failure.
        (SECRET, &b"the secret of a bodY"[..]),
        (b"getUser", b"getUsed"),
        (b"OVERLOADED", b"OVERLOADER"),
    ] {
        differs(&changed(&log, that, this));
    }
    let at = log.windows(SECRET.len()).rposition(|window| window == SECRET).unwrap();
    let mut last = log;
    last[at] = b'T';
    differs(&resealed(last));
}

#[test]
fn a_record_that_speaks_of_more_bytes_than_any_machine_takes_is_damage() {
    let mut server = Server::new(server::Config::default());
    server.record(Options::default());
    let log = server.recorded();
    // A reply of 2^60 bytes: its kind, a byte of the hash, the length, that it was sent, and no bytes.
    let reply = [60, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 0];
    let Err(Unreplayable::Damaged(damage)) = replay::replay(&forged(&log, &reply)) else {
        panic!("it is damage")
    };
    assert_eq!(damage.what, What::Record);
}

#[test]
fn content_changes_nothing_in_a_story_or_under_another_policy() {
    let [with, without] = [true, false].map(|content| log(60, one_segment(content)));
    for query in [Query::Changes, Query::Failures, Query::Pick(20), Query::At(Instant::from_millis(100))] {
        let [one, other] = [&with, &without].map(|log| replay::explain(log, query).unwrap().to_string());
        assert_eq!(one, other);
    }
    let [one, other] = [&with, &without]
        .map(|log| replay::diff(log, |config| config.cluster.strategy = Strategy::RoundRobin).unwrap());
    assert_eq!(one.to_string(), other.to_string());
    assert!(replay::explain(&changed(&with, b"getUser", b"getUsed"), Query::Changes).is_err());
}

#[test]
fn without_content_bodies_and_the_frames_around_them_are_not_compared() {
    let log = log(60, one_segment(false));
    assert!(!Log::read(&log).unwrap().is_whole());
    assert!(replay::replay(&changed(&log, b"getUser", b"getUsed")).is_ok());
}

#[test]
fn the_whole_hash_finds_what_slips_past_the_byte_in_each_record() {
    let mut client = Client::new(Uw::default(), Config::default(), 1);
    client.record(one_segment(false));
    client.add_endpoint(Instant::ZERO, "users.internal:3001").unwrap();
    let log = client.recorded();
    // The hash that the segment begins with, behind the head of its block, a number of blocks and a time: its highest byte,
    // which stands in the record, is the same.
    let mut changed = log;
    assert_eq!(changed[34], 0);
    changed[34] = 1;
    assert!(differs(&resealed(changed)).contains("everything that has come out by then has the check"));
}

#[test]
fn a_machine_that_decides_otherwise_is_found_out_at_its_first_decision() {
    // Records of one client behind the snapshot of another, whose chance is another.
    let (one, other) = (Session::new(7, ring(1_000)), Session::new(8, ring(1_000)));
    let (mut log, other) = (one.run(40).log(), other.run(0).log());
    log.splice(..second_block(&log), other[..other.len() - END].iter().copied());
    let Err(Unreplayable::Different(difference)) = replay::replay(&log) else { panic!("they differ") };
    assert!(difference.call < 60 && !difference.before.is_empty(), "{difference}");
    assert_ne!(difference.expected, difference.got);
}

#[test]
fn a_machine_that_decides_otherwise_within_a_burst_is_found_out_by_its_end() {
    let burst = |seed, requests| {
        let mut session = Session::new(seed, ring(1_000));
        session.turn();
        let request = UwRequest { method: "getUser", content: SECRET };
        for _ in 0..requests {
            session.client.request(session.now, &request, client::Options::default()).unwrap();
        }
        session.log()
    };
    let (mut log, other) = (burst(7, 100), burst(8, 0));
    // Records of one client behind the snapshot of another, as above.
    let (records, others) = (second_block(&log), second_block(&other));
    log.splice(..records, other[..others].iter().copied());
    let Err(Unreplayable::Different(difference)) = replay::replay(&log) else { panic!("they differ") };
    assert!(difference.expected.contains("99 requests"), "{difference}");
}

fn second_block(log: &[u8]) -> usize {
    log.windows(4).enumerate().filter(|(_, window)| *window == b"PLRC").nth(1).unwrap().0
}

#[test]
fn a_cut_log_is_replayed_up_to_the_cut() {
    let log = log(300, ring(1_000));
    let whole = replay::replay(&log).unwrap();
    let mut last = 0;
    for cut in (0..log.len()).step_by(997) {
        match replay::replay(&log[..cut]) {
            Ok(replayed) => {
                assert!(replayed.calls >= last && replayed.calls <= whole.calls);
                last = replayed.calls;
            }
            Err(Unreplayable::Damaged(_)) => assert_eq!(last, 0, "cut at {cut}"),
            Err(error) => panic!("cut at {cut}: {error}"),
        }
    }
    assert!(last > whole.calls / 2);
}

/// Where the blocks of a log begin.
fn blocks(log: &[u8]) -> Vec<usize> {
    let starts = log.windows(4).enumerate().filter(|(_, window)| *window == b"PLRC");
    starts.map(|(at, _)| at).collect()
}

#[test]
fn a_log_that_is_cut_between_two_blocks_is_not_taken_for_one_that_ended() {
    let log = log(100, ring(1_000));
    assert!(replay::replay(&log).unwrap().ended);
    let blocks = blocks(&log);
    assert!(blocks.len() > 4 && log.len() - blocks.last().unwrap() == END);
    for &end in &blocks[1..] {
        let replayed = replay::replay(&log[..end]).unwrap();
        assert!(!replayed.ended && replayed.to_string().ends_with("; then the log is cut"), "{replayed}");
    }
    // Without the last block that has records, the end is told, but not believed.
    let [.., last, end] = blocks[..] else { panic!("many blocks") };
    let replayed = replay::replay(&[&log[..last], &log[end..]].concat()).unwrap();
    let missing = replayed.damage.map(|damage| (damage.at, damage.what));
    assert_eq!((missing, replayed.ended), (Some((last, What::Missing { missing: 1 })), false));
}

#[test]
fn a_log_that_is_taken_in_pieces_ends_with_its_machine() {
    let mut session = Session::new(7, ring(1_000));
    let mut log = Vec::new();
    for _ in 0..20 {
        session = session.run(5);
        log.extend(std::iter::from_fn(|| session.client.take_recorded(true)).flat_map(|piece| piece.bytes));
    }
    assert!(!replay::replay(&log).unwrap().ended);
    let whole = replay::replay(&[&log[..], &session.client.recorded()].concat()).unwrap();
    log.extend(session.client.end_recording().into_iter().flat_map(|piece| piece.bytes));
    assert_eq!(replay::replay(&log), Ok(whole));
    assert!(session.client.recorded().is_empty());
}

#[test]
fn of_a_log_that_lacks_a_block_all_before_it_is_replayed_and_the_gap_is_told() {
    let log = log(600, ring(1_000));
    // The second segment's head is overwritten.
    let second = log.windows(4).enumerate().filter(|(_, window)| *window == b"PLRC").nth(4).unwrap().0;
    let mut damaged = log.clone();
    damaged[second..second + 4].fill(0xee);
    let replayed = replay::replay(&damaged).unwrap();
    let damage = replayed.damage.expect("it is told");
    assert!(damage.at >= second - 1 && damage.at <= second, "{damage} at {second}");
    assert!(replayed.calls > 0 && replayed.calls < replay::replay(&log).unwrap().calls);
}

quickcheck! {
    fn a_log_with_a_changed_byte_is_never_taken_for_the_whole(at: usize, change: u8) -> bool {
        let log = log(60, ring(1_000));
        let whole = replay::replay(&log).unwrap();
        let mut damaged = log.clone();
        let at = at % log.len();
        damaged[at] ^= change.max(1);
        match replay::replay(&damaged) {
            Ok(replayed) => replayed.damage.is_some() && replayed.calls <= whole.calls,
            Err(Unreplayable::Damaged(_)) => true,
            Err(_) => false,
        }
    }

    fn any_bytes_are_no_log_and_no_panic(bytes: Vec<u8>) -> bool {
        replay::replay(&bytes).is_err()
    }
}

#[test]
fn a_request_has_a_story() {
    let mut session = Session::new(7, ring(1_000)).run(120);
    let log = session.log();
    let id = session.ids[100];
    let story = replay::explain(&log, Query::Request(&id.to_string())).unwrap();
    let told: Vec<_> = story.lines.iter().map(|line| &line.what).collect();
    assert!(
        matches!(told[0], Happening::Client(ClientHappening::Taken { request, .. }) if *request == id),
        "{story}"
    );
    assert!(told.iter().any(|what| matches!(what, Happening::Decision(_))), "{story}");
    assert!(
        matches!(told.last(), Some(Happening::Client(ClientHappening::Ended { request, .. })) if *request == id),
        "{story}"
    );
    assert!(story.to_string().contains("goes to users-"), "{story}");
}

#[test]
fn a_pick_and_a_moment_are_explained() {
    let log = log(120, ring(1_000));
    let pick = replay::explain(&log, Query::Pick(40)).unwrap();
    assert!(pick.to_string().contains("candidates"), "{pick}");
    let moment = replay::explain(&log, Query::At(Instant::from_millis(200))).unwrap();
    assert_eq!(moment.standing.len(), 3, "{moment}");
    assert!(!moment.lines.is_empty() && moment.lines.iter().any(|line| line.at > Instant::from_millis(200)));
}

#[test]
fn what_happens_alike_at_one_time_is_one_line() {
    let line =
        |ms, what: &str| Line { at: Instant::from_millis(ms), call: ms, what: Happening::Input(what.into()) };
    let story = Story {
        subject: Subject::Client,
        from: Instant::ZERO,
        to: Instant::from_millis(2),
        lines: vec![line(1, "one"), line(1, "one"), line(1, "other"), line(2, "other")],
        more: 0,
        standing: vec![],
    };
    let told: Vec<_> = story.to_string().lines().map(|line| line.trim().to_string()).collect();
    assert_eq!(told, ["0.001000 s  one (2 times)", "0.001000 s  other", "0.002000 s  other"]);
}

/// Bursts like those of a loaded client, as many as make many segments.
#[test]
fn a_client_under_load_is_not_disturbed_by_its_log() {
    for options in [None, Some(Options { segment: limit(2_000), segments: limit(2), content: false })] {
        let mut session = Session::new(7, ring(1));
        session.client.stop_recording();
        if let Some(options) = options {
            session.client.record(options);
        }
        session.turn();
        for _ in 0..400 {
            session.now = session.now + Duration::from_micros(100);
            for _ in 0..256 {
                let request = UwRequest { method: "echo", content: SECRET };
                session.client.request(session.now, &request, client::Options::default()).unwrap();
            }
            session.turn();
            for (conn, bytes) in std::mem::take(&mut session.late) {
                assert_eq!(session.client.feed(session.now, conn, &bytes), bytes.len());
            }
            session.turn();
        }
        let log = session.client.recorded();
        assert!(options.is_none() || replay::replay(&log).unwrap().segments == 2);
    }
}
