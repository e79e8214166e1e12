//! The client against a real `redis-server`, on every runtime: each scenario is written once, in [`scenarios`].

mod scenarios;
mod server;

use plimsoll_mio::Mio;
use plimsoll_resp::{Args, Resp, Value};
use plimsoll_smol::Smol;
use plimsoll_tokio::Tokio;

macro_rules! suite {
    ($runtime:ident, $on:path) => {
        suite! { $runtime, $on:
            a_thousand_calls_at_once_are_each_answered_with_their_own,
            errors_are_told_to_their_callers_and_to_nobody_else,
            values_stand_in_values,
            eight_mebibytes_go_there_and_come_back_unchanged,
            a_hundred_thousand_values_come_in_one_answer,
            a_call_that_takes_too_long_keeps_its_place,
            a_call_that_is_dropped_keeps_its_place,
            who_knows_the_password_is_let_in_and_nobody_else,
            every_connection_is_on_the_database_that_was_chosen,
            what_would_spoil_the_connection_is_not_sent,
            a_connection_without_work_is_kept_alive_by_pings,
            a_server_that_is_killed_and_comes_back_is_found_again,
            the_breaker_opens_when_the_server_is_silent_and_closes_when_it_answers,
        }
    };
    ($runtime:ident, $on:path: $($name:ident,)*) => {
        mod $runtime {
            $(#[test]
            fn $name() {
                $on(|runtime| super::scenarios::$name(runtime));
            })*
        }
    };
}

suite!(on_tokio, super::with_tokio);
suite!(on_smol, super::with_smol);
suite!(on_mio, super::with_mio);

fn with_tokio(scenario: impl FnOnce(Tokio)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _inside = runtime.enter();
    scenario(Tokio::default());
}

fn with_smol(scenario: impl FnOnce(Smol)) {
    scenario(Smol::default());
}

fn with_mio(scenario: impl FnOnce(Mio)) {
    scenario(Mio::start().unwrap());
}

/// What mio has of its own: the handle without async.
#[test]
fn the_handle_that_blocks_speaks_it_too() {
    let redis = server::Redis::start(&[]);
    let client = plimsoll_mio::Client::builder().protocol::<Resp>().build().unwrap();
    let config = plimsoll_mio::ServiceConfig::over(Resp::default(), redis.socket());
    let cache = client.configure_service("cache", config).unwrap();
    assert_eq!(cache.call("SET").send(Args::from(["a", "1"])).unwrap().value(), Value::Simple(b"OK"));
    let answer = client.call("cache", "INCR").send(Args::from(["a"])).unwrap();
    assert_eq!(answer.integer(), Some(2));
    let error = cache.clone().call("LPUSH").send(Args::from(["a", "b"])).unwrap_err();
    assert!(error.to_string().starts_with("cache.LPUSH: the service answered WRONGTYPE: "), "{error}");
}
