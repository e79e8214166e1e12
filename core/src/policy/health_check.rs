//! When to ask an endpoint how it is, and what to make of its answers.
//!
//! One bad answer is not an outage: an endpoint goes down after `fall` bad answers in a row, and comes back after `rise`
//! good ones. There are two such boundaries, between healthy and degraded and between degraded and unhealthy, and each
//! counts for itself. The first answer decides at once. Checks are spread: the first lies anywhere in the first
//! interval, the others are up to a tenth early, so that a fleet is not asked all at once.
//!
//! ```
//! use core::time::Duration;
//! use plimsoll_core::policy::health_check::{Answer, Config, HealthCheck, Level, Step};
//! use plimsoll_core::{rng::Pcg, time::Instant};
//!
//! let mut rng = Pcg::new(1, 1);
//! let mut check = HealthCheck::new(Config::default(), Instant::ZERO, &mut rng);
//! let due = check.deadline();
//! let Some(Step::Ask(ticket)) = check.tick(due, &mut rng) else { panic!("it is due") };
//! // The application asks `GET /health`, and reads what it can of the answer.
//! let answer = Answer { accepted: true, body: None };
//! let change = check.answered(due + Duration::from_millis(3), ticket, answer.level(), &mut rng).unwrap();
//! assert_eq!((change.from, change.to), (None, Level::Healthy));
//! ```

use core::fmt;
use core::num::NonZeroU32;
use core::time::Duration;

use crate::rng::Pcg;
use crate::time::{Instant, nanos};

/// How many past checks are kept.
pub const HISTORY: usize = 10;

/// How well somebody serves; a lower one is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Not to be used.
    Unhealthy,
    /// Serves, but not as it should.
    Degraded,
    /// Serves.
    Healthy,
}
crate::saved!(enum Level { 0 = Unhealthy, 1 = Degraded, 2 = Healthy });

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Unhealthy => "unhealthy",
            Level::Degraded => "degraded",
            Level::Healthy => "healthy",
        })
    }
}

/// What an endpoint said of itself, where it said anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// What it calls itself.
    pub status: Option<Level>,
    /// How much of its memory is used, in per cent.
    pub memory: Option<u8>,
    /// How busy its processors are, in per cent.
    pub cpu: Option<u8>,
    /// How many of its dependencies work.
    pub dependencies_up: u32,
    /// How many it has.
    pub dependencies: u32,
}

/// An answer to a check, read by whoever speaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the protocol calls it good: a 2xx of HTTP, SERVING of gRPC, a pong.
    pub accepted: bool,
    /// The body, if there is one that can be read.
    pub body: Option<Body>,
}

impl Answer {
    /// The level that the answer speaks for. What the endpoint calls itself comes first; then an answer that is not
    /// accepted is unhealthy, and so is an endpoint none of whose dependencies work; more than 90 % of memory or
    /// processors used, or a dependency down, is degraded.
    pub fn level(self) -> Level {
        const FULL: u8 = 90;
        let body = self.body.unwrap_or_default();
        if let Some(status) = body.status {
            return status;
        }
        let up = body.dependencies_up.min(body.dependencies);
        if !self.accepted || (body.dependencies > 0 && up == 0) {
            return Level::Unhealthy;
        }
        let is_full = |used: Option<u8>| used.is_some_and(|used| used > FULL);
        if is_full(body.memory) || is_full(body.cpu) || up < body.dependencies {
            return Level::Degraded;
        }
        Level::Healthy
    }
}

/// How often to ask, and how many answers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The longest time from the start of one check to the next; each is up to a tenth shorter. Below 1 ms it
    /// counts as that. Default 30 s.
    pub interval: Duration,
    /// When an answer is late; it counts as unhealthy then. Default 5 s.
    pub timeout: Duration,
    /// Good answers in a row until it is better. Default 2.
    pub rise: NonZeroU32,
    /// Bad answers in a row until it is worse. Default 3.
    pub fall: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            rise: const { NonZeroU32::new(2).unwrap() },
            fall: const { NonZeroU32::new(3).unwrap() },
        }
    }
}

/// Names one check, so that an answer that comes after its time changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// What a tick asks for, or has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the endpoint, and hand the answer to [`HealthCheck::answered`].
    Ask(Ticket),
    /// The endpoint did not answer in time; give up asking. If that has changed its level, how.
    TimedOut(Option<Change>),
}

/// The level has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was; `None` before the first answer.
    pub from: Option<Level>,
    /// What it is.
    pub to: Level,
}

/// One check that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it began.
    pub asked: Instant,
    /// How long the answer took; `None` if none came in time.
    pub took: Option<Duration>,
    /// The level that this answer alone spoke for.
    pub level: Level,
}

/// Checks one endpoint.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    config: Config,
    level: Option<Level>,
    /// Whether it is worse than healthy, and whether it is unhealthy: the two boundaries.
    impaired: Boundary,
    down: Boundary,
    phase: Phase,
    /// The number of the last check, from 1 on.
    number: u64,
    history: [Option<Record>; HISTORY],
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Waiting { until: Instant },
    Asking { since: Instant },
}

impl HealthCheck {
    /// An endpoint that was not asked yet. The first check lies anywhere within the interval.
    pub fn new(config: Config, now: Instant, rng: &mut Pcg) -> Self {
        let config = Config { interval: config.interval.max(Duration::from_millis(1)), ..config };
        let until = now + Duration::from_nanos(rng.up_to(nanos(config.interval)));
        HealthCheck {
            config,
            level: None,
            impaired: Boundary::default(),
            down: Boundary::default(),
            phase: Phase::Waiting { until },
            number: 0,
            history: [None; HISTORY],
        }
    }

    /// Time has passed; early and repeated ticks change nothing.
    pub fn tick(&mut self, now: Instant, rng: &mut Pcg) -> Option<Step> {
        if now < self.deadline() {
            return None;
        }
        match self.phase {
            Phase::Waiting { .. } => {
                self.phase = Phase::Asking { since: now };
                self.number += 1;
                Some(Step::Ask(Ticket(self.number)))
            }
            Phase::Asking { since } => {
                let record = Record { asked: since, took: None, level: Level::Unhealthy };
                Some(Step::TimedOut(self.end(now, record, rng)))
            }
        }
    }

    /// The endpoint has answered, or could not be reached ([`Level::Unhealthy`]). Ignored after its time.
    pub fn answered(&mut self, now: Instant, ticket: Ticket, level: Level, rng: &mut Pcg) -> Option<Change> {
        let Phase::Asking { since } = self.phase else { return None };
        if ticket.0 != self.number {
            return None;
        }
        self.end(now, Record { asked: since, took: Some(now.since(since)), level }, rng)
    }

    /// When to tick next.
    pub fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Waiting { until } => until,
            Phase::Asking { since } => since + self.config.timeout,
        }
    }

    /// The level; `None` before the first answer.
    pub fn level(&self) -> Option<Level> {
        self.level
    }

    /// The last checks, the newest first; at most [`HISTORY`].
    pub fn history(&self) -> impl Iterator<Item = &Record> {
        self.history.iter().flatten()
    }

    fn end(&mut self, now: Instant, record: Record, rng: &mut Pcg) -> Option<Change> {
        self.history.rotate_right(1);
        self.history[0] = Some(record);
        let interval = nanos(self.config.interval);
        let next = record.asked + Duration::from_nanos(interval - rng.up_to(interval / 10));
        self.phase = Phase::Waiting { until: next.max(now) };
        self.judge(record.level)
    }

    fn judge(&mut self, answer: Level) -> Option<Change> {
        let (rise, fall) = match self.level {
            Some(_) => (self.config.rise.get(), self.config.fall.get()),
            None => (1, 1),
        };
        let impaired = self.impaired.observe(answer < Level::Healthy, rise, fall);
        let down = self.down.observe(answer < Level::Degraded, rise, fall);
        let to = match (impaired, down) {
            (_, true) => Level::Unhealthy,
            (true, false) => Level::Degraded,
            (false, false) => Level::Healthy,
        };
        let from = self.level.replace(to);
        (from != Some(to)).then_some(Change { from, to })
    }
}

/// One side of a boundary, and how many answers in a row have come from the other.
#[derive(Clone, Copy, Debug, Default)]
struct Boundary {
    is_below: bool,
    against: u32,
}

impl Boundary {
    fn observe(&mut self, is_below: bool, rise: u32, fall: u32) -> bool {
        if is_below == self.is_below {
            self.against = 0;
            return self.is_below;
        }
        self.against += 1;
        if self.against >= if is_below { fall } else { rise } {
            *self = Boundary { is_below, against: 0 };
        }
        self.is_below
    }
}

/// How many are at each level, and what that makes of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// So many are healthy.
    pub healthy: u32,
    /// So many are degraded.
    pub degraded: u32,
    /// So many are unhealthy.
    pub unhealthy: u32,
}

impl Summary {
    /// One more, at this level.
    pub fn add(&mut self, level: Level) {
        match level {
            Level::Healthy => self.healthy += 1,
            Level::Degraded => self.degraded += 1,
            Level::Unhealthy => self.unhealthy += 1,
        }
    }

    /// How many there are.
    pub fn total(&self) -> u32 {
        self.healthy + self.degraded + self.unhealthy
    }

    /// The whole is unhealthy if somebody is and nobody is healthy; else degraded if anybody is not healthy; a whole
    /// of nobody is healthy.
    pub fn overall(&self) -> Level {
        match self {
            Summary { unhealthy: 0, degraded: 0, .. } => Level::Healthy,
            Summary { unhealthy: 1.., healthy: 0, .. } => Level::Unhealthy,
            _ => Level::Degraded,
        }
    }
}

impl FromIterator<Level> for Summary {
    fn from_iter<I: IntoIterator<Item = Level>>(levels: I) -> Self {
        let mut summary = Summary::default();
        levels.into_iter().for_each(|level| summary.add(level));
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::Level::{Degraded, Healthy, Unhealthy};
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    struct Bench {
        check: HealthCheck,
        rng: Pcg,
    }

    impl Bench {
        fn new() -> Self {
            let mut rng = Pcg::new(7, 7);
            Bench { check: HealthCheck::new(Config::default(), Instant::ZERO, &mut rng), rng }
        }

        fn ask(&mut self) -> (Instant, Ticket) {
            let due = self.check.deadline();
            match self.check.tick(due, &mut self.rng) {
                Some(Step::Ask(ticket)) => (due, ticket),
                other => panic!("{other:?}"),
            }
        }

        fn answer(&mut self, level: Level) -> Level {
            let (due, ticket) = self.ask();
            self.check.answered(due + Duration::from_millis(1), ticket, level, &mut self.rng);
            self.check.level().unwrap()
        }
    }

    /// The level after each answer.
    fn levels(answers: &[Level]) -> Vec<Level> {
        let mut bench = Bench::new();
        answers.iter().map(|&level| bench.answer(level)).collect()
    }

    #[test]
    fn one_failure_does_not_flip_it_three_do_and_two_good_ones_bring_it_back() {
        assert_eq!(
            levels(&[
                Healthy, Unhealthy, Unhealthy, Healthy, Unhealthy, Unhealthy, Unhealthy, Healthy, Healthy
            ]),
            [Healthy, Healthy, Healthy, Healthy, Healthy, Healthy, Unhealthy, Unhealthy, Healthy]
        );
    }

    #[test]
    fn degraded_answers_on_the_way_down_count_for_their_own_boundary() {
        assert_eq!(
            levels(&[Healthy, Degraded, Unhealthy, Unhealthy, Unhealthy, Degraded, Healthy, Healthy]),
            [Healthy, Healthy, Healthy, Degraded, Unhealthy, Unhealthy, Degraded, Healthy]
        );
    }

    #[test]
    fn the_first_answer_decides() {
        for level in [Healthy, Degraded, Unhealthy] {
            assert_eq!(levels(&[level]), [level]);
        }
    }

    #[test]
    fn an_answer_after_its_time_changes_nothing() {
        let mut bench = Bench::new();
        let (due, late) = bench.ask();
        let end = bench.check.deadline();
        assert_eq!(end, due + Duration::from_secs(5));
        assert_eq!(bench.check.tick(due, &mut bench.rng), None, "an early tick");
        let change = Change { from: None, to: Unhealthy };
        assert_eq!(bench.check.tick(end, &mut bench.rng), Some(Step::TimedOut(Some(change))));
        assert_eq!(bench.check.answered(end, late, Healthy, &mut bench.rng), None);
        let (due, _) = bench.ask();
        assert_eq!(bench.check.answered(due, late, Healthy, &mut bench.rng), None);
        assert_eq!(bench.check.history().count(), 1);
        assert_eq!(bench.check.level(), Some(Unhealthy));
    }

    #[test]
    fn the_last_ten_are_kept_the_newest_first() {
        let mut bench = Bench::new();
        (0..14).for_each(|n| _ = bench.answer(if n == 13 { Degraded } else { Healthy }));
        let history: Vec<&Record> = bench.check.history().collect();
        assert_eq!(history.len(), HISTORY);
        assert_eq!(history[0].level, Degraded);
        assert!(history.windows(2).all(|pair| pair[0].asked > pair[1].asked));
        assert_eq!(history[0].took, Some(Duration::from_millis(1)));
    }

    #[test]
    fn checks_that_begin_together_drift_apart() {
        let mut rng = Pcg::new(3, 3);
        let mut first: Vec<u64> = (0..100)
            .map(|_| HealthCheck::new(Config::default(), Instant::ZERO, &mut rng).deadline().as_nanos())
            .collect();
        first.sort_unstable();
        assert!(first[0] < 2_000_000_000 && first[99] > 28_000_000_000);
        let mut bench = Bench::new();
        let gaps: Vec<Duration> = (0..100)
            .map(|_| {
                bench.answer(Healthy);
                let asked = bench.check.history().next().unwrap().asked;
                bench.check.deadline().since(asked)
            })
            .collect();
        assert!(gaps.iter().all(|gap| (27_000..=30_000).contains(&gap.as_millis())));
        assert!(gaps.iter().max().unwrap().abs_diff(*gaps.iter().min().unwrap()) > Duration::from_secs(2));
    }

    #[test]
    fn what_a_body_says() {
        let said = |accepted, body| Answer { accepted, body: Some(body) }.level();
        let body =
            Body { memory: Some(90), cpu: Some(90), dependencies_up: 2, dependencies: 2, status: None };
        assert_eq!(said(true, body), Healthy);
        assert_eq!(said(true, Body { memory: Some(91), ..body }), Degraded);
        assert_eq!(said(true, Body { cpu: Some(91), ..body }), Degraded);
        assert_eq!(said(true, Body { dependencies_up: 1, ..body }), Degraded);
        assert_eq!(said(true, Body { dependencies_up: 0, ..body }), Unhealthy);
        assert_eq!(said(false, body), Unhealthy);
        assert_eq!(said(false, Body { status: Some(Degraded), ..body }), Degraded, "503 that says degraded");
        assert_eq!(said(true, Body { status: Some(Unhealthy), ..body }), Unhealthy);
        assert_eq!(Answer { accepted: true, body: None }.level(), Healthy);
        assert_eq!(Answer { accepted: false, body: None }.level(), Unhealthy);
    }

    #[test]
    fn the_whole_is_as_its_parts() {
        let overall = |levels: &[Level]| levels.iter().copied().collect::<Summary>().overall();
        assert_eq!(overall(&[]), Healthy);
        assert_eq!(overall(&[Healthy, Healthy]), Healthy);
        assert_eq!(overall(&[Healthy, Degraded]), Degraded);
        assert_eq!(overall(&[Healthy, Unhealthy]), Degraded);
        assert_eq!(overall(&[Degraded, Unhealthy]), Unhealthy);
        assert_eq!(overall(&[Degraded]), Degraded);
        let levels = [Healthy, Degraded, Degraded, Unhealthy, Unhealthy, Unhealthy, Unhealthy];
        assert_eq!(levels.into_iter().collect::<Summary>().total(), 7);
    }

    quickcheck! {
        fn it_moves_only_as_far_as_rise_or_fall_answers_in_a_row_agree(answers: Vec<u8>) -> bool {
            let answers: Vec<Level> =
                answers.iter().map(|n| [Unhealthy, Degraded, Healthy][usize::from(n % 3)]).collect();
            let after = levels(&answers);
            (1..after.len()).all(|i| {
                let run = |n: usize| &answers[(i + 1).saturating_sub(n)..=i];
                match after[i].cmp(&after[i - 1]) {
                    core::cmp::Ordering::Less => run(3).iter().all(|&level| level <= after[i]),
                    core::cmp::Ordering::Greater => run(2).iter().all(|&level| level >= after[i]),
                    core::cmp::Ordering::Equal => true,
                }
            })
        }
    }
}
