//! TLS over sockets that do what a script says, with a session of rustls on the other side.

mod drive_support;

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use drive_support::echo::{Echo, ROOM};
use drive_support::scripted::{Bench, Peer, Runtime, Step};
use plimsoll_core::drive::tls::{ClientTls, Secured, ServerTls};
use plimsoll_core::drive::{Time, Timer};
use plimsoll_core::error::{Fault, TlsFault};
use plimsoll_core::id::ConnId;
use plimsoll_core::machine::Input;
use plimsoll_core::time::Instant;
use quickcheck::{Arbitrary, Gen, quickcheck};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

type SecuredBench = Bench<Secured<Runtime>>;

const NAME: &str = "users.internal";
const TARGET: &str = "users.internal:3001";

struct Configs {
    client: Arc<ClientConfig>,
    /// Trusts nobody.
    wary: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

static CONFIGS: LazyLock<Configs> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed([NAME.into()]).unwrap();
    let cert = CertificateDer::from(made.cert);
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(default_provider());
    let client = |trusted: &[&CertificateDer<'static>]| {
        let mut roots = RootCertStore::empty();
        trusted.iter().for_each(|cert| roots.add((*cert).clone()).unwrap());
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    };
    let server = ServerConfig::builder_with_provider(provider.clone());
    let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Configs {
        client: client(&[&cert]),
        wary: client(&[]),
        server: Arc::new(server.with_single_cert(vec![cert.clone()], key).unwrap()),
    }
});

/// A timer that runs out when the test says so.
#[derive(Clone, Default)]
struct Bell(Arc<Mutex<(bool, Vec<Waker>)>>);

impl Bell {
    fn ring(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        state.1.drain(..).for_each(Waker::wake);
    }
}

impl Time for Bell {
    fn now(&self) -> Instant {
        Instant::ZERO
    }
}

impl Timer for Bell {
    fn sleep(&self, length: Duration) -> impl Future<Output = ()> + Send {
        assert_eq!(length, Duration::from_secs(10));
        let state = self.0.clone();
        poll_fn(move |cx| {
            let mut state = state.lock().unwrap();
            state.1.push(cx.waker().clone());
            if state.0 { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

fn server(machine: Echo, bell: &Bell) -> SecuredBench {
    let tls = ServerTls::new(CONFIGS.server.clone(), bell.clone());
    Bench::with(machine, |runtime| Secured::server(runtime, Some(tls), Duration::from_secs(10)))
}

fn client(config: &Arc<ClientConfig>) -> SecuredBench {
    let tls = ClientTls::new(config.clone());
    Bench::with(Echo::new(), |runtime| Secured::client(runtime, Some(tls)))
}

/// The other end of a socket, and the session there.
struct Remote {
    peer: Peer,
    session: Connection,
    /// Bytes of what the driver has written that the session has read.
    read: usize,
    heard: Vec<u8>,
}

impl Remote {
    fn client(peer: Peer) -> Self {
        let name = ServerName::try_from(NAME).unwrap();
        let session = ClientConnection::new(CONFIGS.client.clone(), name).unwrap();
        Remote::new(peer, session.into())
    }

    fn server(peer: Peer) -> Self {
        Remote::new(peer, ServerConnection::new(CONFIGS.server.clone()).unwrap().into())
    }

    fn new(peer: Peer, mut session: Connection) -> Self {
        session.set_buffer_limit(None);
        Remote { peer, session, read: 0, heard: Vec::new() }
    }

    /// Exchanges bytes until both sides have nothing more to say.
    fn pump(&mut self, bench: &mut SecuredBench) {
        for _ in 0..10 {
            self.send(bench);
            bench.settle(&[&self.peer]);
            self.receive();
        }
    }

    fn send(&mut self, bench: &mut SecuredBench) {
        let records = self.records();
        self.peer.sends(&records);
        bench.run();
    }

    /// What the session has to say now.
    fn records(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    fn receive(&mut self) {
        let written = self.peer.written();
        let mut rest = &written[self.read..];
        while !rest.is_empty() && self.session.read_tls(&mut rest).unwrap() > 0 {
            self.session.process_new_packets().unwrap();
            let mut bytes = [0; 16_384];
            while let Ok(n @ 1..) = self.session.reader().read(&mut bytes) {
                self.heard.extend_from_slice(&bytes[..n]);
            }
        }
        self.read = written.len();
    }

    fn say(&mut self, bytes: &[u8]) {
        self.session.writer().write_all(bytes).unwrap();
    }

    /// What was said there and has arrived.
    fn heard(&mut self) -> Vec<u8> {
        self.receive();
        std::mem::take(&mut self.heard)
    }

    /// Whether the driver's side has said that it is done.
    fn is_told_the_end(&mut self) -> bool {
        self.receive();
        self.session.process_new_packets().unwrap().peer_has_closed()
    }
}

/// A server with a connection that stands.
fn accepted(machine: Echo) -> (SecuredBench, Remote) {
    let mut bench = server(machine, &Bell::default());
    let mut remote = Remote::client(bench.accept());
    remote.pump(&mut bench);
    assert!(!remote.session.is_handshaking());
    (bench, remote)
}

fn inputs(bench: &SecuredBench) -> Vec<Input> {
    let inputs = bench.inputs.borrow();
    inputs.iter().filter(|input| !matches!(input, Input::Wall(_))).copied().collect()
}

fn end(bench: &SecuredBench) -> Option<Fault> {
    inputs(bench).into_iter().find_map(|input| match input {
        Input::Closed(_, fault) => Some(fault),
        _ => None,
    })
}

fn sent(bench: &SecuredBench) -> usize {
    let sent = |input| if let Input::Sent(_, n) = input { n } else { 0 };
    inputs(bench).into_iter().map(sent).sum()
}

fn received(bench: &SecuredBench) -> Vec<u8> {
    bench.script.events.borrow().iter().flat_map(|(_, bytes)| bytes.clone()).collect()
}

const CONN: ConnId = ConnId::new(0, 0);

/// Something longer than a record.
fn text(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[derive(Clone, Debug)]
struct Script(Vec<Step>);

impl Arbitrary for Script {
    fn arbitrary(g: &mut Gen) -> Self {
        let step = |g: &mut Gen| match u8::arbitrary(g) % 6 {
            0 => Step::Block,
            1 => Step::Spurious,
            2 => Step::Interrupted,
            n => Step::Short(usize::from(n) * 300 - 899),
        };
        Script((0..u8::arbitrary(g)).map(|_| step(g)).collect())
    }
}

quickcheck! {
    fn whatever_the_socket_does_every_byte_comes_back_in_order(script: Script, lens: Vec<u16>, room: u8) -> bool {
        let room = if room.is_multiple_of(2) { ROOM } else { usize::from(room) * 100 };
        let mut bench = server(Echo::with_inbox(room), &Bell::default());
        let mut remote = Remote::client(bench.accept());
        remote.peer.0.borrow_mut().script.extend(script.0);
        let mut said = Vec::new();
        for len in lens.into_iter().take(4) {
            said.extend(text(len.into()));
            remote.say(&text(len.into()));
            remote.send(&mut bench);
            remote.receive();
        }
        remote.pump(&mut bench);
        remote.heard() == said
    }
}

#[test]
fn bytes_may_come_and_go_one_at_a_time() {
    for room in [ROOM, 8_192] {
        let mut bench = server(Echo::with_inbox(room), &Bell::default());
        let mut remote = Remote::client(bench.accept());
        remote.peer.0.borrow_mut().script.extend(std::iter::repeat_n(Step::Short(1), 20_000));
        remote.say(b"hello");
        remote.pump(&mut bench);
        assert_eq!(remote.heard(), b"hello");
    }
}

#[test]
fn what_is_decrypted_already_is_read_without_another_word_from_the_socket() {
    let (mut bench, mut remote) = accepted(Echo::with_inbox(5_000));
    let before = remote.peer.0.borrow().reads;
    remote.say(&text(12_000));
    remote.send(&mut bench);
    assert_eq!(received(&bench), text(12_000), "a record is longer than the room");
    assert_eq!(remote.peer.0.borrow().reads - before, 3);
}

#[test]
fn many_records_are_read_at_once_and_what_is_said_at_once_is_written_at_once() {
    let (mut bench, mut remote) = accepted(Echo::with_inbox(256 * 1024));
    for _ in 0..100 {
        remote.say(&text(100));
    }
    let before = remote.peer.0.borrow().reads;
    remote.send(&mut bench);
    assert_eq!(received(&bench).len(), 10_000);
    assert_eq!(remote.peer.0.borrow().reads - before, 1);
    let before = remote.peer.0.borrow().calls;
    bench.command(|_, machine| (0..100).for_each(|_| machine.say(CONN, &text(100))));
    assert_eq!(remote.peer.0.borrow().calls - before, 1);
    remote.receive();
    assert_eq!(remote.heard().len(), 20_000);
}

#[test]
fn the_last_byte_counts_as_sent_when_the_socket_has_all_and_the_others_when_they_are_encrypted() {
    let (mut bench, mut remote) = accepted(Echo::new());
    remote.peer.0.borrow_mut().script.extend([Step::Short(10), Step::Block, Step::Block, Step::Block]);
    bench.command(|_, machine| machine.say(CONN, b"hello"));
    assert_eq!(sent(&bench), 4);
    bench.command(|_, machine| machine.say(CONN, b" again"));
    assert_eq!(sent(&bench), 4);
    bench.settle(&[&remote.peer]);
    assert_eq!(sent(&bench), 11);
    remote.receive();
    assert_eq!(remote.heard(), b"hello again");
}

#[test]
fn a_connection_that_closes_once_all_is_sent_leaves_nothing_behind() {
    let (mut bench, mut remote) = accepted(Echo::new());
    remote.peer.0.borrow_mut().script.extend([Step::Block; 3]);
    remote.say(b"last words");
    remote.session.send_close_notify();
    remote.pump(&mut bench);
    assert!(remote.peer.0.borrow().dropped);
    assert_eq!(remote.heard(), b"last words");
    assert!(remote.is_told_the_end());
}

#[test]
fn for_a_socket_that_takes_nothing_little_is_encrypted() {
    let (mut bench, remote) = accepted(Echo::new());
    remote.peer.0.borrow_mut().script.extend([Step::Block; 10]);
    bench.command(|_, machine| machine.say(CONN, &text(1_000_000)));
    assert_eq!(sent(&bench), 64 * 1024);
}

#[test]
fn the_end_is_what_the_peer_says_is_the_end() {
    let (mut bench, mut remote) = accepted(Echo::new());
    remote.say(b"bye");
    remote.session.send_close_notify();
    remote.send(&mut bench);
    assert_eq!(received(&bench), b"bye");
    assert_eq!(inputs(&bench).iter().filter(|input| matches!(input, Input::ReadClosed(_))).count(), 1);
    assert_eq!(end(&bench), None);
}

#[test]
fn a_stream_that_just_ends_was_reset_and_what_came_before_counts() {
    let (mut bench, mut remote) = accepted(Echo::new());
    remote.say(b"bye");
    remote.send(&mut bench);
    remote.peer.ends();
    bench.run();
    assert_eq!(received(&bench), b"bye");
    assert_eq!(end(&bench), Some(Fault::Reset));
}

#[test]
fn what_came_before_a_bad_record_counts_and_the_peer_is_told_why() {
    let (mut bench, mut remote) = accepted(Echo::with_inbox(8_192));
    remote.say(b"fine");
    let mut records = remote.records();
    remote.say(b"bad");
    let mut bad = remote.records();
    *bad.last_mut().unwrap() ^= 1;
    records.extend(bad);
    remote.peer.sends(&records);
    bench.run();
    assert_eq!(received(&bench), b"fine");
    assert_eq!(end(&bench), Some(Fault::Tls(TlsFault::Broken)));
    let written = remote.peer.written();
    let told =
        remote.session.read_tls(&mut &written[remote.read..]).map(|_| remote.session.process_new_packets());
    assert!(matches!(told, Ok(Err(rustls::Error::AlertReceived(_)))), "{told:?}");
}

#[test]
fn keys_may_change_on_the_way() {
    let (mut bench, mut remote) = accepted(Echo::with_inbox(8_192));
    for _ in 0..5 {
        remote.session.refresh_traffic_keys().unwrap();
        remote.say(b"new keys ");
        remote.pump(&mut bench);
    }
    assert_eq!(remote.heard(), b"new keys ".repeat(5));
}

#[test]
fn a_write_that_fails_half_way_counts_as_sent() {
    let (mut bench, remote) = accepted(Echo::new());
    let script = [Step::Short(30_000), Step::Fail(ErrorKind::BrokenPipe), Step::Fail(ErrorKind::BrokenPipe)];
    remote.peer.0.borrow_mut().script.extend(script);
    bench.command(|_, machine| machine.say(CONN, &text(40_000)));
    bench.settle(&[&remote.peer]);
    assert_eq!(sent(&bench), 40_000, "the peer may have read the first record");
    remote.peer.ends();
    bench.run();
    assert_eq!(end(&bench), Some(Fault::Reset));
}

#[test]
fn a_peer_that_stops_in_the_handshake_is_let_go_in_time_and_disturbs_nobody() {
    for said in [0, 1, 100] {
        let bell = Bell::default();
        let mut bench = server(Echo::new(), &bell);
        let mut silent = Remote::client(bench.accept());
        let records = silent.records();
        silent.peer.sends(&records[..said]);
        bench.run();
        let mut other = Remote::client(bench.accept());
        other.say(b"hello");
        other.pump(&mut bench);
        assert_eq!(other.heard(), b"hello");
        bell.ring();
        bench.run();
        assert_eq!(end(&bench), Some(Fault::TimedOut));
        assert!(silent.peer.0.borrow().dropped && !other.peer.0.borrow().dropped);
    }
}

#[test]
fn a_peer_that_speaks_no_tls_is_told_so() {
    let mut bench = server(Echo::new(), &Bell::default());
    let peer = bench.accept();
    peer.sends(b"UW, by the way, is no TLS at all");
    bench.run();
    assert_eq!(end(&bench), Some(Fault::Tls(TlsFault::NotTls)));
    assert_eq!(peer.written()[0], 21, "an alert");
}

#[test]
fn a_dial_has_succeeded_when_its_handshake_has() {
    let mut bench = client(&CONFIGS.client);
    bench.command(|_, machine| _ = machine.dial(TARGET));
    let mut remote = Remote::server(bench.dialed(CONN));
    remote.receive();
    // It reads the answer, and its own part is held up.
    let script = [
        Step::Interrupted,
        Step::Short(10_000),
        Step::Interrupted,
        Step::Short(5),
        Step::Interrupted,
        Step::Block,
    ];
    remote.peer.0.borrow_mut().script.extend(script);
    remote.send(&mut bench);
    assert_eq!(inputs(&bench), []);
    remote.pump(&mut bench);
    assert_eq!(inputs(&bench), [Input::Connected(CONN)]);
    assert!(!remote.session.is_handshaking(), "and the last of it has left");
    remote.say(b"hello");
    remote.pump(&mut bench);
    assert_eq!(remote.heard(), b"hello");
}

#[test]
fn what_a_handshake_leaves_behind_leaves_without_a_word_of_the_machine() {
    let mut bench = server(Echo::new(), &Bell::default());
    let mut remote = Remote::client(bench.accept());
    remote.send(&mut bench);
    remote.receive();
    remote.peer.0.borrow_mut().script.extend([Step::Short(10_000), Step::Block]);
    remote.send(&mut bench);
    let before = remote.peer.written().len();
    assert!(!remote.session.is_handshaking());
    remote.peer.wake();
    bench.run();
    assert!(remote.peer.written().len() > before, "tickets to come back with");
}

#[test]
fn a_dial_that_is_cancelled_in_its_handshake_drops_the_socket() {
    let mut bench = client(&CONFIGS.client);
    bench.command(|_, machine| _ = machine.dial(TARGET));
    let mut remote = Remote::server(bench.dialed(CONN));
    bench.command(|_, machine| machine.close(CONN));
    assert!(remote.peer.0.borrow().dropped);
    remote.receive();
    remote.send(&mut bench);
    assert_eq!(inputs(&bench), []);
}

/// How a dial ends whose peer is given `remote`'s part.
fn failure(
    config: &Arc<ClientConfig>,
    target: &'static str,
    remote: impl FnOnce(&mut SecuredBench, Peer),
) -> Vec<Input> {
    let mut bench = client(config);
    bench.command(|_, machine| _ = machine.dial(target));
    let peer = bench.dialed(CONN);
    remote(&mut bench, peer.clone());
    bench.settle(&[&peer]);
    assert!(peer.0.borrow().dropped);
    inputs(&bench)
}

#[test]
fn a_handshake_that_fails_is_a_dial_that_fails_with_its_reason() {
    let serve = |bench: &mut SecuredBench, peer: Peer| {
        let mut remote = Remote::server(peer);
        bench.settle(&[&remote.peer]);
        remote.receive();
        remote.send(bench);
    };
    let faults = [
        (failure(&CONFIGS.wary, TARGET, serve), TlsFault::UnknownIssuer),
        (failure(&CONFIGS.client, "files.internal:3001", serve), TlsFault::WrongName),
        (failure(&CONFIGS.client, "[::1]:3001", serve), TlsFault::WrongName),
        (failure(&CONFIGS.client, "not a name:3001", |_, _| {}), TlsFault::NoName),
        (failure(&CONFIGS.client, "/run/users.sock", |_, _| {}), TlsFault::NoName),
        (failure(&CONFIGS.client, "unix:users.sock", |_, _| {}), TlsFault::NoName),
        (
            failure(&CONFIGS.client, TARGET, |_, peer| peer.sends(b"HTTP/1.1 400 Bad Request")),
            TlsFault::NotTls,
        ),
        (failure(&CONFIGS.client, TARGET, |_, peer| peer.ends()), TlsFault::Unfinished),
        (
            failure(&CONFIGS.client, TARGET, |_, peer| peer.sends(&[21, 3, 3, 0, 2, 2, 40])),
            TlsFault::Refused(40),
        ),
    ];
    for (inputs, fault) in faults {
        assert_eq!(inputs, [Input::Closed(CONN, Fault::Tls(fault))]);
    }
}

#[test]
fn why_the_peer_takes_no_more_is_read_before_it_is_told() {
    let mut bench = server(Echo::new(), &Bell::default());
    let mut remote = Remote::client(bench.accept());
    let mut records = remote.records();
    let script = [Step::Short(records.len()), Step::Fail(ErrorKind::BrokenPipe)];
    remote.peer.0.borrow_mut().script.extend(script);
    records.extend([21, 3, 3, 0, 2, 2, 80]);
    remote.peer.sends(&records);
    bench.run();
    assert_eq!(end(&bench), Some(Fault::Tls(TlsFault::Refused(80))));
}
