//! What a peer that breaks the rules costs: itself.

mod support;

use plimsoll_core::error::Fault;
use plimsoll_core::machine::{Action, Input, Machine};
use plimsoll_core::service::server::{Closed, Config, ProtocolErrors};
use plimsoll_core::wire::uw::{Limits, Mode};
use support::{World, request, texts};

#[test]
fn requests_before_garbage_are_answered_and_then_the_connection_is_closed() {
    let mut world = World::new(Config::default());
    let (conn, other) = (world.accept(), world.accept());
    let bytes =
        [request(1, "m", "1"), request(2, "m", "2"), b"garbage".to_vec(), request(3, "m", "3")].concat();
    world.send(conn, &bytes);
    let token = world.defer().unwrap();
    assert_eq!(world.echo_all(), 1, "nothing after the garbage is taken");
    assert_eq!(world.actions(), [Action::Read(conn, false), Action::Flush(conn)]);
    world.send(conn, &request(4, "m", "4"));
    assert!(!world.server.has_event(), "nothing more is read");
    let flood = vec![0; 1 << 20];
    assert_eq!(world.send(conn, &flood), flood.len(), "what comes is thrown away");
    world.handle(Input::ReadClosed(conn));
    assert_eq!(texts(&world.answers(conn)), [(2, "2")]);
    world.server.reply(world.now, token, b"1").unwrap();
    assert_eq!(texts(&world.answers(conn)), [(1, "1")]);
    assert_eq!(world.actions(), [Action::Close(conn)]);
    world.request(other, 5, "m", "5");
    assert!(world.echo(), "only that peer pays");
    let metrics = world.server.metrics();
    assert_eq!(metrics.protocol_errors, ProtocolErrors { bad_magic: 1, ..ProtocolErrors::default() });
    assert_eq!(metrics.closed, Closed { protocol: 1, ..Closed::default() });
}

#[test]
fn every_breach_is_counted_by_its_kind() {
    let mut bad_method = request(1, "m", "1");
    bad_method[20] = 0xff;
    let mut bad_version = request(1, "m", "1");
    bad_version[2] = 9;
    let too_large = request(1, "m", &"x".repeat(101));
    let mut world = World::new(Config { limits: Limits { content: 100 }, ..Config::default() });
    for bytes in [&b"G"[..], &bad_version, &bad_method, &too_large[..25]] {
        let conn = world.accept();
        world.send(conn, bytes);
        assert_eq!(world.actions(), [Action::Close(conn)]);
    }
    let each = ProtocolErrors { bad_magic: 1, bad_version: 1, bad_method: 1, too_large: 1, stalled: 0 };
    assert_eq!(world.server.metrics().protocol_errors, each);
}

#[test]
fn a_server_that_resynchronises_skips_garbage_and_counts_it() {
    let mut world = World::new(Config { mode: Mode::Resync, ..Config::default() });
    let conn = world.accept();
    let bytes = [request(1, "m", "1"), b"garbage".to_vec(), request(2, "m", "2"), b"more".to_vec()].concat();
    world.send(conn, &bytes);
    assert_eq!(world.echo_all(), 2);
    assert_eq!(world.answers(conn).len(), 2);
    assert_eq!(world.server.metrics().skipped_bytes, 11);
    assert_eq!(world.server.metrics().protocol_errors, ProtocolErrors::default());
    assert_eq!(world.server.status().connections, 1);
}

#[test]
fn a_frame_that_dribbles_is_cut_off_ten_seconds_after_its_first_byte() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    world.sleep(5_000);
    let bytes = request(1, "m", &"x".repeat(1_000));
    for byte in &bytes[..99] {
        world.send(conn, &[*byte]);
        world.sleep(100);
    }
    assert_eq!(world.actions(), []);
    world.sleep(99);
    assert_eq!(world.actions(), []);
    world.sleep(1);
    assert_eq!(world.actions(), [Action::Close(conn)]);
    assert_eq!(world.server.metrics().protocol_errors.stalled, 1);
    assert_eq!(world.server.metrics().closed, Closed { protocol: 1, ..Closed::default() });
}

#[test]
fn every_frame_has_its_own_time() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    let bytes: Vec<u8> = (0..10).flat_map(|id| request(id, "m", "12345678")).collect();
    // A frame of 33 bytes takes 6.6 s, and pieces never end where frames do.
    for piece in bytes.chunks(7) {
        world.send(conn, piece);
        world.sleep(1_400);
        world.echo_all();
        world.answers(conn);
    }
    assert_eq!(world.server.metrics().answered, 10);
    assert_eq!(world.server.metrics().protocol_errors.stalled, 0);
}

#[test]
fn a_frame_is_not_blamed_for_the_time_in_which_the_server_did_not_read() {
    let one = std::num::NonZeroU32::new(1).unwrap();
    let mut world = World::new(Config { in_flight: one, ..Config::default() });
    let conn = world.accept();
    let half = request(2, "m", "2");
    world.request(conn, 1, "m", "1");
    let token = world.defer().unwrap();
    assert_eq!(world.actions(), [Action::Read(conn, false)]);
    world.sleep(30_000);
    world.send(conn, &half[..10]);
    world.sleep(30_000);
    world.server.reply(world.now, token, b"1").unwrap();
    assert_eq!(world.actions(), [Action::Read(conn, true), Action::Flush(conn)]);
    world.sleep(9_999);
    assert_eq!(world.actions(), []);
    world.sleep(1);
    assert_eq!(world.actions(), [Action::Close(conn)]);
}

#[test]
fn silent_connections_cost_nothing_but_their_place_until_they_are_idle_for_too_long() {
    let mut world = World::new(Config::default());
    let conns: Vec<_> = (0..5_000).map(|_| world.accept()).collect();
    world.request(conns[0], 1, "m", "1");
    assert!(world.echo());
    world.sleep(600_000);
    let closed = world.actions().iter().filter(|action| matches!(action, Action::Close(_))).count();
    assert_eq!((closed, world.server.metrics().closed.idle), (5_000, 5_000));
}

#[test]
fn inputs_for_connections_that_never_were_are_ignored() {
    let mut world = World::new(Config::default());
    let conn = world.accept();
    let stranger = plimsoll_core::id::ConnId::new(conn.slot(), conn.generation() + 1);
    let far = plimsoll_core::id::ConnId::new(999, 0);
    for conn in [stranger, far] {
        assert!(world.server.recv_buf(conn).is_empty());
        for input in [
            Input::Connected(conn),
            Input::Received(conn, 10),
            Input::Sent(conn, 10),
            Input::ReadClosed(conn),
            Input::Closed(conn, Fault::Reset),
        ] {
            world.handle(input);
        }
    }
    assert_eq!(world.actions(), []);
    assert_eq!(world.server.status().connections, 1);
}
