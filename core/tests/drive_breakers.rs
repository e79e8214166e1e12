//! Named breakers in virtual time, behaviour by behaviour.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn, ready};
use std::num::NonZeroU32;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use plimsoll_core::drive::breakers::{self, BreakerEvent, Broken, Events, TooManyNames};
use plimsoll_core::drive::{Clock, Time, Timer};
use plimsoll_core::policy::breaker::{Config, Counts, Mode, Outcome, State};
use plimsoll_core::time::Instant;

const API: &str = "external-api";
const RECOVERY: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(30);

/// A clock that stands still until it is moved.
#[derive(Clone, Default)]
struct Virtual(Arc<Mutex<Instant>>);

impl Virtual {
    fn advance(&self, length: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = *now + length;
    }
}

impl Time for Virtual {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }
}

impl Timer for Virtual {
    async fn sleep(&self, length: Duration) {
        let end = self.now() + length;
        poll_fn(|_| if self.now() >= end { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

type Breakers = breakers::Breakers<Virtual>;
type Result<T> = std::result::Result<T, Broken<&'static str>>;

fn breakers() -> (Breakers, Virtual) {
    let time = Virtual::default();
    (Breakers::on(time.clone()).seed(1).build(), time)
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A call that ends at once.
fn call(breakers: &Breakers, name: &str, result: std::result::Result<u32, &'static str>) -> Result<u32> {
    match poll(pin!(breakers.execute(name, ready(result)))) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the call has ended"),
    }
}

fn fail(breakers: &Breakers, name: &str, times: u32) {
    for _ in 0..times {
        assert_eq!(call(breakers, name, Err("down")), Err(Broken::Failed("down")));
    }
}

/// One that is half-open.
fn half_open() -> (Breakers, Virtual) {
    let (breakers, time) = breakers();
    fail(&breakers, API, 5);
    time.advance(RECOVERY);
    (breakers, time)
}

fn state(breakers: &Breakers, name: &str) -> State {
    breakers.stats(name).expect("a known name").state
}

fn next(events: &mut Events) -> Poll<Option<BreakerEvent>> {
    events.poll_next(&mut Context::from_waker(Waker::noop()))
}

fn all(events: &mut Events) -> Vec<BreakerEvent> {
    std::iter::from_fn(|| match next(events) {
        Poll::Ready(event) => event,
        Poll::Pending => None,
    })
    .collect()
}

#[test]
fn five_failures_open_it_and_what_is_refused_is_not_called() {
    let (breakers, time) = breakers();
    fail(&breakers, API, 4);
    assert_eq!(call(&breakers, API, Ok(1)), Ok(1), "a success in between changes nothing");
    fail(&breakers, API, 1);
    time.advance(Duration::from_secs(1));
    let called = Cell::new(false);
    let mut refused = pin!(breakers.execute(API, async {
        called.set(true);
        Ok::<_, &str>(1)
    }));
    let retry_after = Duration::from_secs(59);
    assert_eq!(poll(refused.as_mut()), Poll::Ready(Err(Broken::Open { name: API.into(), retry_after })));
    assert!(!called.get());
    assert_eq!(call(&breakers, "another", Ok(2)), Ok(2), "each name for itself");
}

#[test]
fn three_good_probes_close_it() {
    let (breakers, _time) = half_open();
    for expected in [State::HalfOpen, State::HalfOpen, State::Closed] {
        assert_eq!(call(&breakers, API, Ok(1)), Ok(1));
        assert_eq!(state(&breakers, API), expected);
    }
}

#[test]
fn a_call_that_takes_too_long_is_dropped_and_has_failed() {
    struct Dropped<'a>(&'a Cell<bool>);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let (breakers, time) = breakers();
    let dropped = Cell::new(false);
    {
        let mut slow = pin!(breakers.execute(API, async {
            let _guard = Dropped(&dropped);
            pending::<std::result::Result<u32, &str>>().await
        }));
        assert!(poll(slow.as_mut()).is_pending());
        time.advance(LIMIT - Duration::from_nanos(1));
        assert!(poll(slow.as_mut()).is_pending());
        time.advance(Duration::from_nanos(1));
        let timed_out = Broken::TimedOut { name: API.into(), limit: LIMIT };
        assert_eq!(poll(slow.as_mut()), Poll::Ready(Err(timed_out)));
    }
    assert!(dropped.get());
    let stats = breakers.stats(API).unwrap();
    assert_eq!((stats.failures, stats.ignored), (1, 0));
}

#[test]
fn a_future_that_is_dropped_gives_its_place_back_at_once_and_counts_as_nothing() {
    let (breakers, _time) = half_open();
    let probe = || Box::pin(breakers.execute(API, pending::<std::result::Result<u32, &str>>()));
    let mut out = [probe(), probe(), probe()];
    out.iter_mut().for_each(|probe| assert!(poll(probe.as_mut()).is_pending()));
    let full = Broken::Open { name: API.into(), retry_after: LIMIT };
    assert_eq!(call(&breakers, API, Ok(1)), Err(full));
    drop(out);
    assert_eq!(call(&breakers, API, Ok(1)), Ok(1));
    let stats = breakers.stats(API).unwrap();
    assert_eq!((stats.state, stats.ignored, stats.successes, stats.failures), (State::HalfOpen, 3, 1, 5));
}

#[test]
fn a_result_from_before_a_trip_does_not_count_after_it() {
    let (breakers, time) = breakers();
    let mut call = pin!(breakers.execute(API, async {
        let end = time.now() + RECOVERY / 3;
        poll_fn(|_| if time.now() >= end { Poll::Ready(()) } else { Poll::Pending }).await;
        Err::<u32, _>("late")
    }));
    assert!(poll(call.as_mut()).is_pending());
    fail(&breakers, API, 5);
    breakers.reset(API);
    time.advance(RECOVERY / 3);
    assert_eq!(poll(call), Poll::Ready(Err(Broken::Failed("late"))), "the caller has it all the same");
    assert_eq!(breakers.stats(API).unwrap().window, Counts::default());
}

#[test]
fn whoever_calls_says_what_an_error_means() {
    let (breakers, _time) = breakers();
    for outcome in [Outcome::Success, Outcome::Ignored, Outcome::Failure] {
        let call = breakers.execute_judged(
            API,
            |error: &&str| {
                assert_eq!(*error, "not found");
                outcome
            },
            ready(Err::<u32, _>("not found")),
        );
        assert_eq!(poll(pin!(call)), Poll::Ready(Err(Broken::Failed("not found"))));
    }
    let stats = breakers.stats(API).unwrap();
    assert_eq!((stats.successes, stats.ignored, stats.failures), (1, 1, 1));
}

#[test]
fn names_are_bounded_and_one_that_is_removed_makes_room() {
    let breakers = Breakers::on(Virtual::default()).names(2).build();
    call(&breakers, "one", Ok(1)).unwrap();
    call(&breakers, "two", Ok(1)).unwrap();
    let full = TooManyNames { limit: 2 };
    assert_eq!(call(&breakers, "three", Ok(1)), Err(Broken::TooManyNames(full)));
    assert_eq!(breakers.configure("three", Config::default()), Err(full));
    assert!(!breakers.can_execute("three"));
    call(&breakers, "two", Ok(1)).expect("known ones go on");
    assert!(breakers.remove("one") && !breakers.remove("one"));
    assert!(breakers.can_execute("three"));
    assert_eq!(call(&breakers, "three", Ok(1)), Ok(1));
    assert!(breakers.all_stats().keys().map(|name| &**name).eq(["three", "two"]));
}

#[test]
fn a_name_may_have_a_configuration_of_its_own_which_may_change() {
    let (breakers, _time) = breakers();
    let mode = Mode::Count { failures: NonZeroU32::MIN };
    breakers.configure(API, Config { mode, ..Config::default() }).unwrap();
    fail(&breakers, API, 1);
    assert_eq!(state(&breakers, API), State::Open);
    fail(&breakers, "another", 2);

    assert!(breakers.update_config("another", |config| config.mode = mode));
    assert_eq!(state(&breakers, "another"), State::Closed, "what was before stays");
    fail(&breakers, "another", 1);
    assert_eq!(state(&breakers, "another"), State::Open);
    assert!(!breakers.update_config("nobody", |_| unreachable!()));

    breakers.configure("another", Config { mode, recovery: RECOVERY * 2, ..Config::default() }).unwrap();
    assert_eq!(breakers.stats("another").unwrap().next_attempt, Some(RECOVERY), "it has begun");
    breakers.reset("another");
    fail(&breakers, "another", 1);
    assert_eq!(breakers.stats("another").unwrap().next_attempt, Some(RECOVERY * 2));
}

#[test]
fn the_default_of_all_names_may_be_another() {
    let config = Config { mode: Mode::Count { failures: NonZeroU32::MIN }, ..Config::default() };
    let breakers = Breakers::on(Virtual::default()).config(config).build();
    fail(&breakers, API, 1);
    assert!(!breakers.can_execute(API));
}

#[test]
fn a_reset_closes_one_or_all() {
    let (breakers, _time) = breakers();
    let names = ["one", "two", "three"];
    names.iter().for_each(|name| fail(&breakers, name, 5));
    assert!(breakers.reset("one") && !breakers.reset("nobody"));
    assert_eq!(names.map(|name| state(&breakers, name)), [State::Closed, State::Open, State::Open]);
    breakers.reset_all();
    assert_eq!(names.map(|name| state(&breakers, name)), [State::Closed; 3]);
    let stats = breakers.stats("two").unwrap();
    assert_eq!((stats.failures, stats.window, stats.opened), (5, Counts::default(), 1), "totals stay");
}

#[test]
fn asking_whether_a_call_would_be_admitted_takes_no_place() {
    let (breakers, time) = breakers();
    assert!(breakers.can_execute(API), "never heard of");
    assert_eq!(breakers.stats(API), None);
    fail(&breakers, API, 5);
    assert!(!breakers.can_execute(API));
    time.advance(RECOVERY);
    (0..100).for_each(|_| assert!(breakers.can_execute(API)));
    assert_eq!(breakers.stats(API).unwrap().rejected, 0);
}

#[test]
fn statistics_tell_when_it_failed_last_and_when_to_try_again() {
    let (breakers, time) = breakers();
    fail(&breakers, API, 4);
    time.advance(Duration::from_secs(7));
    let before = breakers.stats(API).unwrap();
    assert_eq!((before.last_failure, before.next_attempt), (Some(Duration::from_secs(7)), None));
    fail(&breakers, API, 1);
    time.advance(Duration::from_secs(20));
    call(&breakers, API, Ok(1)).unwrap_err();
    let stats = breakers.clone().all_stats()[API];
    assert_eq!((stats.state, stats.failures, stats.rejected, stats.opened), (State::Open, 5, 1, 1));
    assert_eq!(stats.last_failure, Some(Duration::from_secs(20)));
    assert_eq!(stats.next_attempt, Some(Duration::from_secs(40)));
    assert_eq!(stats.consecutive_failures, 5);
}

#[test]
fn events_tell_what_happened_in_its_order() {
    let (breakers, time) = breakers();
    let mode = Mode::Count { failures: NonZeroU32::MIN };
    breakers
        .configure(API, Config { mode, success_threshold: NonZeroU32::MIN, ..Config::default() })
        .unwrap();
    let mut events = breakers.events();
    fail(&breakers, API, 1);
    call(&breakers, API, Ok(1)).unwrap_err();
    time.advance(RECOVERY);
    call(&breakers, API, Ok(1)).unwrap();
    let name = || Arc::<str>::from(API);
    let changed = |from, to| BreakerEvent::StateChanged { name: name(), from, to };
    let expected = [
        BreakerEvent::RequestFailed { name: name() },
        changed(State::Closed, State::Open),
        BreakerEvent::RequestRejected { name: name(), retry_after: RECOVERY },
        changed(State::Open, State::HalfOpen),
        BreakerEvent::RequestSucceeded { name: name() },
        changed(State::HalfOpen, State::Closed),
    ];
    assert_eq!(all(&mut events), expected);
    fail(&breakers, API, 1);
    breakers.reset(API);
    let expected = [
        BreakerEvent::RequestFailed { name: name() },
        changed(State::Closed, State::Open),
        changed(State::Open, State::Closed),
    ];
    assert_eq!(all(&mut events), expected);
}

#[test]
fn a_listener_that_is_late_is_told_how_much_it_has_missed_and_all_are_told_the_end() {
    let (breakers, _time) = breakers();
    let (mut late, mut gone) = (breakers.events(), breakers.events());
    for _ in 0..1_030 {
        call(&breakers, API, Ok(1)).unwrap();
    }
    let told = all(&mut late);
    assert_eq!((told.len(), &told[1_024]), (1_025, &BreakerEvent::Missed(6)));
    call(&breakers, API, Ok(1)).unwrap();
    assert_eq!(all(&mut late).len(), 1, "it has caught up");
    all(&mut gone);
    assert!(next(&mut late).is_pending());
    let clone = breakers.clone();
    drop(breakers);
    assert!(next(&mut late).is_pending(), "one is left");
    drop(clone);
    assert_eq!(next(&mut late), Poll::Ready(None));
    assert_eq!(gone.wait(), None);
}

#[test]
fn who_is_woken_by_an_event_may_use_the_breakers() {
    struct Curious(Breakers, AtomicU32);
    impl Wake for Curious {
        fn wake(self: Arc<Self>) {
            let failures = self.0.stats(API).map_or(0, |stats| stats.failures);
            self.1.fetch_add(failures as u32, Ordering::SeqCst);
        }
    }
    let (breakers, _time) = breakers();
    let mut events = breakers.events();
    let curious = Arc::new(Curious(breakers.clone(), AtomicU32::new(0)));
    assert!(events.poll_next(&mut Context::from_waker(&Waker::from(curious.clone()))).is_pending());
    fail(&breakers, API, 1);
    assert_eq!(curious.1.load(Ordering::SeqCst), 1);
}

#[test]
fn who_listens_no_more_may_be_the_last_that_holds_the_breakers() {
    struct Last(#[expect(dead_code, reason = "held until it is dropped")] Breakers);
    impl Wake for Last {
        fn wake(self: Arc<Self>) {}
    }
    let (breakers, _time) = breakers();
    let mut events = breakers.events();
    let last = Waker::from(Arc::new(Last(breakers)));
    assert!(events.poll_next(&mut Context::from_waker(&last)).is_pending());
    drop(last);
    assert!(events.poll_next(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(events.poll_next(&mut Context::from_waker(Waker::noop())), Poll::Ready(None));
}

#[test]
fn errors_are_written_for_people() {
    let retry_after = Duration::from_secs(59);
    let open = Broken::<std::fmt::Error>::Open { name: API.into(), retry_after };
    let text = "external-api: too many calls have failed lately; the next may be tried in 59s";
    assert_eq!(open.to_string(), text);
    let timed_out = Broken::<std::fmt::Error>::TimedOut { name: API.into(), limit: LIMIT };
    assert_eq!(timed_out.to_string(), "external-api: no result within 30s");
    assert_eq!(Broken::Failed("down").to_string(), "down");
    let full = Broken::<&str>::TooManyNames(TooManyNames { limit: 2 });
    assert_eq!(full.to_string(), "there are 2 breakers, which is the limit: remove one, or allow more");
}

/// On threads, without async.
mod blocking {
    use super::*;

    type Breakers = breakers::Breakers<Clock>;

    fn config() -> Config {
        let mode = Mode::Count { failures: NonZeroU32::MIN };
        Config {
            mode,
            recovery: Duration::ZERO,
            multiplier: plimsoll_core::policy::Ratio::ONE,
            ..Config::default()
        }
    }

    #[test]
    fn a_call_that_returns_too_late_has_failed_whatever_it_returns() {
        let breakers = Breakers::new();
        breakers.configure(API, Config { lease: Duration::ZERO, ..Config::default() }).unwrap();
        let clock = Clock::start();
        let late = breakers.execute(API, || {
            let begun = clock.now();
            while clock.now() == begun {}
            Ok::<_, &str>(1)
        });
        assert_eq!(late, Err(Broken::TimedOut { name: API.into(), limit: Duration::ZERO }));
        assert_eq!(breakers.stats(API).unwrap().failures, 1);
    }

    #[test]
    fn a_call_that_panics_gives_its_place_back() {
        let breakers = Breakers::new();
        let panics = std::panic::catch_unwind(|| {
            breakers
                .execute(API, || -> std::result::Result<(), &str> { std::panic::resume_unwind(Box::new(())) })
        });
        assert!(panics.is_err());
        assert_eq!(breakers.stats(API).unwrap().ignored, 1);
        assert_eq!(breakers.execute(API, || Ok::<_, &str>(1)), Ok(1));
    }

    #[test]
    fn no_more_probes_are_out_than_must_succeed_however_many_threads_call() {
        let breakers = Breakers::builder().config(config()).build();
        breakers.execute(API, || Err::<(), _>("down")).unwrap_err();
        let (out, most) = (AtomicU32::new(0), AtomicU32::new(0));
        let probe = || {
            most.fetch_max(out.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            out.fetch_sub(1, Ordering::SeqCst);
            Err::<(), _>("neither well nor ill")
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _ = breakers.execute_judged(API, |_| Outcome::Ignored, probe);
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "{most:?} at a time");
        assert!(breakers.can_execute(API), "all places are free again");
    }

    #[test]
    fn events_are_waited_for() {
        let breakers = Breakers::new();
        let mut events = breakers.events();
        let listening = thread::spawn(move || std::iter::from_fn(|| events.wait()).count());
        for _ in 0..3 {
            breakers.execute(API, || Ok::<_, &str>(1)).unwrap();
        }
        drop(breakers);
        assert_eq!(listening.join().unwrap(), 3);
    }
}
