//! TLS: good certificates and bad ones, and peers that do not keep to the rules.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::fmt::Display;
use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::ground::Wire;
use crate::support::*;
use plimsoll_core::drive::client::{Cause, Client, ServiceConfig};
use plimsoll_core::drive::server::Server;
use plimsoll_core::drive::{Runtime, Timer};
use plimsoll_core::error::{Fault, TlsFault};
use plimsoll_core::service::client::{CloseCause, StateEvent};
use plimsoll_core::service::server::Config;
use plimsoll_core::wire::uw::{Limits, Mode, Step, decode_response};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Who issues certificates.
struct Authority {
    cert: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().into();
        Authority { cert, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `name`, which expires in that year.
    fn issue(&self, name: &str, expires: i32) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(expires, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.into(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).unwrap();
        roots
    }

    /// Trusts this authority; has a certificate of its own, or none.
    fn client(&self, identity: Option<Identity>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder =
            builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(self.roots());
        Arc::new(match identity {
            Some((cert, key)) => builder.with_client_auth_cert(vec![cert], key).unwrap(),
            None => builder.with_no_client_auth(),
        })
    }

    /// Serves with that certificate, whoever comes.
    fn server(&self, (cert, key): Identity) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Arc::new(builder.with_single_cert(vec![cert], key).unwrap())
    }

    /// Serves those who have a certificate of this authority.
    fn strict_server(&self, (cert, key): Identity) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider.clone()).build();
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_client_cert_verifier(verifier.unwrap());
        Arc::new(builder.with_single_cert(vec![cert], key).unwrap())
    }
}

/// The authority that everybody here trusts, and what goes with it.
struct Trusted {
    authority: Authority,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

static TRUSTED: LazyLock<Trusted> = LazyLock::new(|| {
    let authority = Authority::new("Known");
    let (client, server) = (authority.client(None), authority.server(authority.issue("127.0.0.1", 2999)));
    Trusted { authority, client, server }
});

fn serve_tls<R: Runtime + Timer>(world: &World<R>, tls: &Arc<ServerConfig>) -> Server<R> {
    let builder = methods(world, &Gate::default()).tls(tls.clone());
    within("a free port", builder.bind(&world.any_address())).expect("a free port")
}

fn config(address: impl Display, tls: &Arc<ClientConfig>) -> ServiceConfig {
    ServiceConfig::new(address.to_string())
        .tls(tls.clone())
        .max_connections(1)
        .timeout(Duration::from_secs(30))
        .reconnect_delay(Duration::from_millis(10))
}

/// Why the first connection that ends does so, for machines and for people.
fn first_end<R: Runtime>(
    world: &World<R>,
    config: ServiceConfig,
) -> (CloseCause, Option<Arc<str>>, Client<R>) {
    first_end_when(world, config, || {})
}

fn first_end_when<R: Runtime>(
    world: &World<R>,
    config: ServiceConfig,
    meanwhile: impl FnOnce(),
) -> (CloseCause, Option<Arc<str>>, Client<R>) {
    let client = Client::on(world.runtime.clone()).seed(7).build();
    let mut events = client.events();
    let service = client.configure_service("test", config).expect("a good configuration");
    let mut call = Box::pin(service.request::<u32>("echo", &1));
    begin(&mut call);
    meanwhile();
    let (cause, detail) = within("an end", async {
        loop {
            let event = events.next().await.expect("the client is there");
            if let StateEvent::Closed { cause, .. } = event.event {
                return (cause, event.detail);
            }
        }
    });
    drop(call);
    (cause, detail, client)
}

pub fn a_request_over_tls_is_answered<R: Runtime + Timer>(world: World<R>) {
    let server = serve_tls(&world, &TRUSTED.server);
    let (_client, service) = connect(&world, config(server.local_addr(), &TRUSTED.client));
    (0..100).for_each(|n| echo(&service, n));
}

pub fn three_mebibytes_over_tls_come_back_unchanged_many_at_a_time<R: Runtime + Timer>(world: World<R>) {
    let server = serve_tls(&world, &TRUSTED.server);
    let (_client, service) = connect(&world, config(server.local_addr(), &TRUSTED.client).max_connections(2));
    let text = "0123456789abcdef".repeat(3 * 65_536);
    let calls = (0..5).map(|n| {
        let (service, sent) = (&service, format!("{n}{text}"));
        async move { assert!(service.request::<String>("echo", &sent).await.unwrap() == sent) }
    });
    within("the answers", all(calls));
}

pub fn callers_over_tls_on_many_threads_are_all_woken<R: Runtime + Timer>(world: World<R>) {
    let server = serve_tls(&world, &TRUSTED.server);
    let (_client, service) = connect(&world, config(server.local_addr(), &TRUSTED.client));
    side_by_side(|callers| {
        for caller in 0..8 {
            let service = &service;
            callers.spawn(move || (0..200).for_each(|n| echo(service, caller * 1_000 + n)));
        }
    });
}

pub fn a_certificate_may_be_for_another_name_than_the_address<R: Runtime + Timer>(world: World<R>) {
    let authority = &TRUSTED.authority;
    let server = serve_tls(&world, &authority.server(authority.issue("users.internal", 2999)));
    let name = ServerName::try_from("users.internal").unwrap();
    let config = config(server.local_addr(), &TRUSTED.client).tls_for(name, TRUSTED.client.clone());
    let (_client, service) = connect(&world, config);
    echo(&service, 1);
}

pub fn tls_goes_over_a_unix_socket_to_whom_one_names<R: Runtime + Timer>(runtime: R) {
    let world = World::unix(runtime);
    let server = serve_tls(&world, &TRUSTED.server);
    let path = server.local_addr();
    let (cause, ..) = first_end(&world, config(path, &TRUSTED.client));
    assert_eq!(cause, CloseCause::Dial(Fault::Tls(TlsFault::NoName)));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let (_client, service) =
        connect(&world, config(path, &TRUSTED.client).tls_for(name, TRUSTED.client.clone()));
    echo(&service, 1);
}

pub fn a_certificate_that_is_no_good_is_a_dial_that_fails<R: Runtime + Timer>(world: World<R>) {
    let (authority, stranger) = (&TRUSTED.authority, Authority::new("Unknown"));
    let bad = [
        (stranger.server(stranger.issue("127.0.0.1", 2999)), TlsFault::UnknownIssuer, "UnknownIssuer"),
        (authority.server(authority.issue("users.internal", 2999)), TlsFault::WrongName, "users.internal"),
        // Seconds since 1970.
        (authority.server(authority.issue("127.0.0.1", 2001)), TlsFault::Expired, "978307200"),
    ];
    for (tls, fault, told) in bad {
        let server = serve_tls(&world, &tls);
        let (cause, detail, _) = first_end(&world, config(server.local_addr(), &TRUSTED.client));
        assert_eq!(cause, CloseCause::Dial(Fault::Tls(fault)));
        let detail = detail.expect("more than a machine takes");
        assert!(detail.contains("127.0.0.1") && detail.contains(told), "{detail}");
    }
}

pub fn clients_show_their_certificates_where_they_must<R: Runtime + Timer>(world: World<R>) {
    let authority = &TRUSTED.authority;
    let server = serve_tls(&world, &authority.strict_server(authority.issue("127.0.0.1", 2999)));
    let known = authority.client(Some(authority.issue("gateway.internal", 2999)));
    let (_client, service) = connect(&world, config(server.local_addr(), &known));
    echo(&service, 1);
    // It may have sent a request already, so that the end of the socket is a reset, which takes the reason along.
    let refused = |cause, alert| {
        cause == CloseCause::Fault(Fault::Tls(TlsFault::Refused(alert)))
            || cause == CloseCause::Fault(Fault::Reset)
    };
    let (cause, ..) = first_end(&world, config(server.local_addr(), &TRUSTED.client));
    assert!(refused(cause, 116), "{cause:?}");
    let expired = authority.client(Some(authority.issue("gateway.internal", 2001)));
    let (cause, ..) = first_end(&world, config(server.local_addr(), &expired));
    assert!(refused(cause, 45), "{cause:?}");
    echo(&service, 2);
}

pub fn a_server_without_tls_is_told_from_one_with_it<R: Runtime + Timer>(world: World<R>) {
    let server = serve(&world);
    let (cause, ..) = first_end(&world, config(server.local_addr(), &TRUSTED.client));
    let CloseCause::Dial(fault) = cause else { panic!("{cause:?}") };
    assert!(matches!(fault, Fault::Reset | Fault::Tls(TlsFault::Unfinished | TlsFault::NotTls)), "{fault:?}");
    let (_client, service) = connect(&world, ServiceConfig::new(server.local_addr().to_string()));
    echo(&service, 1);
}

pub fn a_client_without_tls_is_turned_away_and_disturbs_nobody<R: Runtime + Timer>(world: World<R>) {
    let server = serve_tls(&world, &TRUSTED.server);
    let (_client, service) = connect(&world, config(server.local_addr(), &TRUSTED.client));
    let mut peer = Peer::connect(&server.local_addr().to_string()).socket;
    peer.write_all(&Peer::request(1, "echo", "1")).unwrap();
    let mut told = Vec::new();
    peer.read_to_end(&mut told).unwrap();
    assert_eq!(told.first(), Some(&21), "an alert, and the end");
    echo(&service, 1);
}

pub fn a_server_that_stops_in_the_handshake_is_a_dial_that_takes_too_long<R: Runtime + Timer>(
    world: World<R>,
) {
    let listener = world.listener();
    let mut config = config(&listener.address, &TRUSTED.client);
    config.client.cluster.connect_timeout = Duration::from_millis(100);
    let (cause, ..) = first_end(&world, config);
    assert_eq!(cause, CloseCause::DialTimeout);
}

pub fn a_client_that_stops_in_the_handshake_is_let_go_and_disturbs_nobody<R: Runtime + Timer>(
    world: World<R>,
) {
    let limits = Config { frame_timeout: Duration::from_millis(200), ..Config::default() };
    let builder = methods(&world, &Gate::default()).limits(limits).tls(TRUSTED.server.clone());
    let server = within("a free port", builder.bind(&world.any_address())).unwrap();
    let mut silent = Peer::connect(&server.local_addr().to_string()).socket;
    let mut halting = Peer::connect(&server.local_addr().to_string()).socket;
    halting.write_all(&[22, 3, 1, 1]).unwrap();
    let (_client, service) = connect(&world, config(server.local_addr(), &TRUSTED.client));
    echo(&service, 1);
    for peer in [&mut silent, &mut halting] {
        // The end, or a reset if it has left something unread.
        assert!(!matches!(peer.read(&mut [0]), Ok(1..)));
    }
    echo(&service, 2);
}

/// A session that is plain rustls over a plain socket.
type Session<C> = StreamOwned<C, Box<dyn Wire>>;

fn dial<R: Runtime>(server: &Server<R>) -> Session<ClientConnection> {
    let address = server.local_addr().tcp().expect("a port");
    let name = ServerName::from(address.ip());
    let session = ClientConnection::new(TRUSTED.client.clone(), name).unwrap();
    StreamOwned::new(session, Peer::connect(&address.to_string()).socket)
}

/// The number of the next answer; `None` at the end.
fn answer(from: &mut impl Read) -> Option<u64> {
    let mut unread = Vec::new();
    loop {
        if let Step::Frame(head) = decode_response(&unread, &Limits::default(), Mode::Strict).unwrap() {
            return (0..100).find(|&n| id(n) == head.id);
        }
        let mut byte = [0];
        match from.read(&mut byte).expect("an answer, or an orderly end") {
            0 => return None,
            _ => unread.push(byte[0]),
        }
    }
}

pub fn who_half_closes_tls_is_still_answered<R: Runtime + Timer>(world: World<R>) {
    let gate = Gate::default();
    let builder = methods(&world, &gate).tls(TRUSTED.server.clone());
    let server = within("a free port", builder.bind(&world.any_address())).unwrap();
    let mut peer = dial(&server);
    peer.write_all(&Peer::request(1, "wait", "1")).unwrap();
    peer.conn.send_close_notify();
    peer.flush().unwrap();
    peer.sock.finish().unwrap();
    until("it arrives", || within("the status", server.metrics()).status.in_flight == 1);
    gate.open();
    assert_eq!(answer(&mut peer), Some(1));
    // It is told the end, if the socket takes that at once.
    assert!(!matches!(peer.read(&mut [0]), Ok(1..)));
}

pub fn a_slow_reader_of_tls_disturbs_nobody_and_gets_everything<R: Runtime + Timer>(world: World<R>) {
    const ANSWERS: u64 = 50;
    let server = serve_tls(&world, &TRUSTED.server);
    let mut slow = dial(&server);
    for n in 0..ANSWERS {
        slow.write_all(&Peer::request(n, "size", "65536")).unwrap();
    }
    let (_client, service) = connect(&world, config(server.local_addr(), &TRUSTED.client));
    until("answers pile up", || within("the status", server.metrics()).status.unsent > 0);
    (0..100).for_each(|n| echo(&service, n));
    let mut slow = std::io::BufReader::new(slow);
    for n in 0..ANSWERS {
        assert_eq!(answer(&mut slow), Some(n));
    }
}

/// A server that reads one request and ends, in one way or another.
fn end_after_a_request(listener: &Listener, orderly: bool) {
    let session = ServerConnection::new(TRUSTED.server.clone()).unwrap();
    let mut peer = StreamOwned::new(session, listener.accept().socket);
    let mut bytes = [0; 4096];
    assert!(peer.read(&mut bytes).unwrap() > 0);
    if orderly {
        peer.conn.send_close_notify();
        peer.flush().unwrap();
    }
    peer.sock.finish().unwrap();
    // Until the other side has closed, so that nothing is left unread.
    let _ = peer.sock.read_to_end(&mut Vec::new());
}

pub fn an_end_that_nobody_has_told_is_a_reset<R: Runtime + Timer>(world: World<R>) {
    for (orderly, fault) in [(true, Fault::Closed), (false, Fault::Reset)] {
        let listener = world.listener();
        let config = config(&listener.address, &TRUSTED.client);
        let (cause, ..) = first_end_when(&world, config, || end_after_a_request(&listener, orderly));
        assert_eq!(cause, CloseCause::Fault(fault));
    }
}

pub fn a_tls_connection_that_is_lost_is_replaced<R: Runtime + Timer>(world: World<R>) {
    let listener = world.listener();
    let address = listener.address.clone();
    let (_client, service) = connect(&world, config(&address, &TRUSTED.client));
    let mut call = Box::pin(service.request::<u32>("echo", &1));
    begin(&mut call);
    end_after_a_request(&listener, false);
    drop(listener);
    let error = within("the loss", call).unwrap_err();
    assert_eq!(error.cause, Cause::Lost { sent: true });
    let builder = methods(&world, &Gate::default()).tls(TRUSTED.server.clone());
    let _server = within("the port", builder.bind(&address)).unwrap();
    echo(&service, 2);
}

pub fn a_server_that_shuts_down_says_goodbye_over_tls<R: Runtime + Timer>(world: World<R>) {
    let server = serve_tls(&world, &TRUSTED.server);
    let mut peers: Vec<_> = (0..300).map(|_| dial(&server)).collect();
    for (n, peer) in (0..).zip(&mut peers) {
        peer.write_all(&Peer::request(n % 100, "echo", "1")).unwrap();
        assert_eq!(answer(peer), Some(n % 100));
    }
    within("the shutdown", server.shutdown(Duration::from_secs(30)));
    for mut peer in peers {
        assert_eq!(answer(&mut peer), None);
    }
}
