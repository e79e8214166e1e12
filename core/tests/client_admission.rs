//! Guards that refuse requests before they are taken, and get back what they gave however a request ends.

mod client_support;

use std::time::Duration;

use client_support::{Done, Rig, Toy, Wire, limit, millis, steady};
use plimsoll_core::error::Rejected;
use plimsoll_core::id::{ConnId, RequestId};
use plimsoll_core::policy::breaker;
use plimsoll_core::policy::concurrency;
use plimsoll_core::policy::gcra::Quota;
use plimsoll_core::policy::throttle;
use plimsoll_core::service::client::{Config, Options, RequestError};
use plimsoll_core::service::{Uw, UwRequest};

/// No breaker in the way.
fn patient() -> Config {
    let mut config = steady();
    config.cluster.breaker.mode = breaker::Mode::Count { failures: limit(u32::MAX) };
    config
}

fn at_most(n: u32) -> Config {
    let concurrency = concurrency::Config { minimum: limit(n), maximum: n, ..Default::default() };
    Config { concurrency: Some(concurrency), ..patient() }
}

fn per_second(n: u32) -> Config {
    Config { rate_limit: Some(Quota::new(limit(n), Duration::from_secs(1))), ..patient() }
}

fn throttled() -> Config {
    Config { throttle: Some(throttle::Config::default()), ..patient() }
}

fn refused<W: Wire>(rig: &mut Rig<W>) -> Rejected {
    match rig.try_request(Options::default()) {
        Err(RequestError::Rejected(rejected)) => rejected,
        other => panic!("{other:?}"),
    }
}

fn permits<W: Wire>(rig: &Rig<W>) -> u32 {
    rig.client.audit();
    rig.client.admission().concurrency().expect("a limit").in_flight()
}

#[test]
fn guards_are_off_unless_they_are_asked_for() {
    let (mut rig, conn) = Rig::<Uw>::connected(steady());
    for _ in 0..1_000 {
        rig.request();
    }
    rig.answer_all(conn);
    let admission = rig.client.admission();
    assert!(admission.concurrency().is_none() && admission.throttle().is_none());
}

#[test]
fn more_than_the_rate_is_refused_with_the_time_to_wait() {
    let (mut rig, conn) = Rig::<Uw>::connected(per_second(4));
    for _ in 0..4 {
        rig.request();
    }
    assert_eq!(refused(&mut rig), Rejected::RateLimited { retry_after: millis(250) });
    rig.pass_ms(249);
    assert_eq!(refused(&mut rig), Rejected::RateLimited { retry_after: millis(1) });
    rig.pass_ms(1);
    rig.request();
    let metrics = rig.client.metrics();
    assert_eq!((metrics.requests, metrics.rejected, metrics.rejections.rate_limited), (5, 2, 2));
    rig.answer_all(conn);
    rig.check_rest();
}

#[test]
fn what_was_refused_for_another_reason_does_not_count_against_the_rate() {
    let mut rig = Rig::<Uw>::new(per_second(4));
    for _ in 0..100 {
        assert_eq!(refused(&mut rig), Rejected::NoEndpoint);
    }
    rig.add(client_support::ADDRESS);
    for _ in 0..4 {
        rig.request();
    }
    assert!(matches!(refused(&mut rig), Rejected::RateLimited { .. }));
}

#[test]
fn as_many_requests_as_the_limit_are_in_flight() {
    let (mut rig, conn) = Rig::<Uw>::connected(at_most(3));
    for _ in 0..3 {
        rig.request();
    }
    assert_eq!(refused(&mut rig), Rejected::Limited { limit: 3 });
    assert_eq!((permits(&rig), rig.client.metrics().rejections.limited), (3, 1));
    rig.answer_all(conn);
    rig.request();
    assert_eq!(permits(&rig), 1);
}

#[test]
fn those_who_wait_for_a_place_count_as_in_flight() {
    let mut config = at_most(3);
    config.cluster.in_flight = limit(1);
    config.cluster.max_connections = limit(1);
    let (mut rig, _) = Rig::<Uw>::connected(config);
    for _ in 0..3 {
        rig.request();
    }
    assert_eq!(refused(&mut rig), Rejected::Limited { limit: 3 });
}

#[test]
fn the_limit_grows_for_a_service_that_stays_fast_and_shrinks_for_one_that_refuses() {
    let concurrency =
        concurrency::Config { samples: limit(10), window: Duration::ZERO, ..Default::default() };
    let mut config = Config { concurrency: Some(concurrency), ..patient() };
    config.cluster.max_connections = limit(1);
    let (mut rig, conn) = Rig::<Uw>::connected(config);
    let rounds = |rig: &mut Rig<Uw>, answer: &str| {
        for _ in 0..50 {
            while rig.try_request(Options::default()).is_ok() {}
            rig.pass_ms(10);
            for frame in rig.frames(conn) {
                rig.answer(conn, &frame, answer);
            }
        }
        rig.client.admission().concurrency().expect("a limit").limit()
    };
    let fast = rounds(&mut rig, "{}");
    assert!(fast > 100, "{fast}");
    let less = rounds(&mut rig, Uw::REFUSAL);
    assert!(less < fast / 10, "{less} after {fast}");
    let blamed = r#"{"error":{"code":"INTERNAL_ERROR","message":"a bug"}}"#;
    assert_eq!(rounds(&mut rig, blamed), less, "a failure that is no overload moves nothing");
    assert_eq!(permits(&rig), 0);
}

#[test]
fn the_time_until_there_is_a_connection_is_not_taken_for_the_service_being_slow() {
    let concurrency = concurrency::Config { samples: limit(3), ..Default::default() };
    let mut rig = Rig::<Uw>::new(Config { concurrency: Some(concurrency), ..patient() });
    rig.dial = client_support::Dial::Hangs;
    rig.add(client_support::ADDRESS);
    for _ in 0..3 {
        rig.request();
    }
    rig.pass_ms(900);
    let conn = rig.last_conn();
    rig.peers.get_mut(&conn).unwrap().open = true;
    rig.handle(plimsoll_core::machine::Input::Connected(conn));
    rig.pass_ms(10);
    rig.answer_all(conn);
    let limit = rig.client.admission().concurrency().expect("a limit");
    assert_eq!(limit.floor(), Some(millis(10)));
}

/// Two requests (the first idempotent), and what ends both.
fn ending<W: Wire + Default>(
    what: &str,
    config: Config,
    end: impl FnOnce(&mut Rig<W>, ConnId, [RequestId; 2]),
) {
    let (mut rig, conn) = Rig::<W>::connected(config);
    let ids = [rig.idempotent(), rig.request()];
    assert_eq!(permits(&rig), 2);
    end(&mut rig, conn, ids);
    for id in ids {
        assert!(rig.outcome(id).is_some(), "{what}: {id} has ended");
    }
    assert_eq!(permits(&rig), 0, "{what}");
    // What comes late changes nothing.
    rig.answer_everybody();
    assert_eq!(permits(&rig), 0, "{what}, and what came late");
}

#[test]
fn however_a_request_ends_its_permit_comes_back_once() {
    fn each<W: Wire + Default>() {
        let one = || Config { attempts: 1.try_into().unwrap(), ..at_most(2) };
        let narrow = || {
            let mut config = at_most(2);
            config.cluster.in_flight = limit(1);
            config.cluster.max_connections = limit(1);
            config
        };
        ending::<W>("answers", at_most(2), |rig, conn, _| rig.answer_all(conn));
        ending::<W>("refusals", at_most(2), |rig, conn, _| {
            for frame in rig.frames(conn) {
                rig.answer(conn, &frame, W::REFUSAL);
            }
        });
        ending::<W>("timeouts", at_most(2), |rig, _, _| rig.pass_ms(5_000));
        ending::<W>("timeouts in the queue", narrow(), |rig, _, _| rig.pass_ms(5_000));
        ending::<W>("losses", one(), |rig, conn, _| rig.drop_conn(conn));
        ending::<W>("a loss, and a retry that is answered", at_most(2), |rig, conn, [kept, lost]| {
            rig.drop_conn(conn);
            rig.assert_done(lost, Done::Lost { sent: true });
            assert_eq!((permits(rig), rig.outcome(kept)), (1, None));
            rig.pass_ms(2_000);
            rig.answer_everybody();
        });
        ending::<W>("cancels", at_most(2), |rig, _, ids| {
            ids.into_iter().for_each(|id| assert!(rig.cancel(id)))
        });
        ending::<W>("cancels in the queue", narrow(), |rig, _, ids| {
            ids.into_iter().rev().for_each(|id| assert!(rig.cancel(id)));
        });
        ending::<W>("garbage", one(), |rig, conn, _| rig.feed(conn, b"\xff garbage\n"));
        ending::<W>("a shutdown that is cut short", at_most(2), |rig, _, _| {
            rig.shutdown_within(10);
            rig.pass_ms(10);
        });
        ending::<W>("a shutdown with one that waits", narrow(), |rig, _, _| {
            rig.shutdown_within(10);
            rig.pass_ms(10);
        });
    }
    each::<Uw>();
    each::<Toy>();
}

#[test]
fn on_a_wire_without_ids_one_that_was_given_up_owes_no_permit_while_its_answer_is_awaited() {
    let (mut rig, conn) = Rig::<Toy>::connected(at_most(2));
    let ids = [rig.request(), rig.request()];
    rig.cancel(ids[0]);
    assert_eq!((permits(&rig), rig.client.status().in_flight), (1, 2));
    rig.answer_all(conn);
    assert_eq!((permits(&rig), rig.client.status().in_flight), (0, 0));
}

#[test]
fn one_that_the_wire_cannot_carry_leaves_nothing_behind() {
    let (mut rig, _) = Rig::<Uw>::connected(Config { throttle: throttled().throttle, ..at_most(2) });
    let long = "t".repeat(256);
    for _ in 0..100 {
        let refused =
            rig.client.request(rig.now, &UwRequest { method: &long, content: b"" }, Options::default());
        assert!(matches!(refused, Err(RequestError::Misuse(_))));
    }
    assert_eq!(permits(&rig), 0);
    assert_eq!(rig.client.admission().throttle().unwrap().refusals_per_mille(rig.now), 0);
    assert_eq!((rig.client.metrics().rejected, rig.client.metrics().rejections), (100, Default::default()));
}

/// Requests, each answered so; how many were let through.
fn rounds(rig: &mut Rig<Uw>, conn: ConnId, answer: &str) -> usize {
    let mut through = 0;
    for _ in 0..500 {
        through += usize::from(rig.try_request(Options::default()).is_ok());
        for frame in rig.frames(conn) {
            rig.answer(conn, &frame, answer);
        }
        rig.pass_ms(10);
    }
    through
}

#[test]
fn a_service_that_refuses_is_spared_and_asked_again_when_it_has_recovered() {
    let (mut rig, conn) = Rig::<Uw>::connected(throttled());
    assert_eq!(rounds(&mut rig, conn, "{}"), 500);
    for _ in 0..10 {
        rounds(&mut rig, conn, Uw::REFUSAL);
    }
    let through = rounds(&mut rig, conn, Uw::REFUSAL);
    assert!((60..130).contains(&through), "a fifth and less: {through}");
    let rejected = (0..100).find_map(|_| rig.try_request(Options::default()).err());
    let Some(RequestError::Rejected(Rejected::Throttled { per_mille })) = rejected else { panic!() };
    assert!((700..=900).contains(&per_mille), "{per_mille}");
    assert_eq!(rig.client.metrics().rejections.throttled, rig.client.metrics().rejected);
    for _ in 0..50 {
        rounds(&mut rig, conn, "{}");
    }
    assert_eq!(rounds(&mut rig, conn, "{}"), 500);
}

#[test]
fn a_service_that_answers_with_errors_of_its_own_has_refused_nothing() {
    let (mut rig, conn) = Rig::<Uw>::connected(throttled());
    let failed = r#"{"error":{"code":"EXECUTION_FAILED","message":"no such user"}}"#;
    assert_eq!(rounds(&mut rig, conn, failed), 500);
}

#[test]
fn callers_that_give_up_are_not_throttled_for_it() {
    let (mut rig, conn) = Rig::<Uw>::connected(throttled());
    for n in 0..1_000 {
        let id = rig.request();
        if n % 10 == 0 {
            rig.answer_all(conn);
        } else {
            rig.cancel(id);
        }
        rig.pass_ms(1);
    }
}

#[test]
fn requests_that_no_endpoint_could_take_are_not_held_against_the_service() {
    let mut rig = Rig::<Uw>::new(throttled());
    for _ in 0..1_000 {
        assert_eq!(refused(&mut rig), Rejected::NoEndpoint);
    }
    rig.add(client_support::ADDRESS);
    rig.request();
}

#[test]
fn a_request_that_one_guard_refuses_costs_the_others_nothing() {
    let guarded =
        Config { throttle: throttled().throttle, rate_limit: per_second(100).rate_limit, ..at_most(1) };
    let (mut rig, conn) = Rig::<Uw>::connected(guarded);
    rig.request();
    for _ in 0..1_000 {
        assert_eq!(refused(&mut rig), Rejected::Limited { limit: 1 });
    }
    assert_eq!(rig.client.admission().throttle().unwrap().refusals_per_mille(rig.now), 0);
    for _ in 0..99 {
        rig.answer_all(conn);
        rig.request();
    }
    rig.answer_all(conn);
    assert!(matches!(refused(&mut rig), Rejected::RateLimited { .. }), "1,000 refusals did not use it up");
    assert_eq!(permits(&rig), 0);
}
