//! Named breakers, on the timers of a runtime.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::future::{pending, ready};
use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::drive::Timer;
use plimsoll_core::drive::breakers::{Breakers, Broken};
use plimsoll_core::policy::breaker::{Config, Mode, State};

use crate::support::*;

const API: &str = "external-api";

/// Opens with the first failure, and lets one probe through at once.
fn sensitive() -> Config {
    let mode = Mode::Count { failures: NonZeroU32::MIN };
    Config { mode, recovery: Duration::ZERO, success_threshold: NonZeroU32::MIN, ..Config::default() }
}

pub fn a_guarded_call_that_takes_too_long_is_given_up(runtime: impl Timer) {
    let limit = Duration::from_millis(20);
    let breakers = Breakers::on(runtime).config(Config { lease: limit, ..Config::default() }).build();
    let call = breakers.execute(API, pending::<Result<u32, ()>>());
    let timed_out = Broken::TimedOut { name: API.into(), limit };
    assert_eq!(within("the timeout", call), Err(timed_out));
    assert_eq!(breakers.stats(API).unwrap().failures, 1);
}

pub fn a_guarded_call_that_is_dropped_gives_its_place_back(runtime: impl Timer) {
    let breakers = Breakers::on(runtime).config(sensitive()).build();
    within("an error", breakers.execute(API, ready(Err::<u32, _>("down")))).unwrap_err();
    let mut probe = Box::pin(breakers.execute(API, pending::<Result<u32, &str>>()));
    begin(&mut probe);
    let refused = within("a refusal", breakers.execute(API, ready(Ok::<_, &str>(1))));
    assert!(matches!(refused, Err(Broken::Open { .. })));
    drop(probe);
    assert_eq!(within("a result", breakers.execute(API, ready(Ok::<_, &str>(1)))), Ok(1));
    assert_eq!(breakers.stats(API).unwrap().state, State::Closed);
}

pub fn a_guarded_call_is_made_until_it_has_failed_too_often(runtime: impl Timer) {
    let breakers = Breakers::on(runtime).build();
    let mut made = 0;
    for _ in 0..10 {
        let call = breakers.execute(API, async {
            made += 1;
            Err::<u32, _>("down")
        });
        within("a result", call).unwrap_err();
    }
    assert_eq!(made, 5);
    let stats = breakers.stats(API).unwrap();
    assert_eq!((stats.state, stats.failures, stats.rejected), (State::Open, 5, 5));
}
