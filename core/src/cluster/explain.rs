//! Why: every pick, wait, refusal, ejection and trip, as data and as a sentence.
//!
//! Off, it costs a look at one pointer per decision. On ([`Cluster::set_explain`](super::Cluster::set_explain)), each
//! decision allocates what it tells, and the latest are kept:
//!
//! ```
//! use core::num::NonZeroU32;
//! use plimsoll_core::cluster::{Action, Cluster, Config, Want};
//! use plimsoll_core::time::Instant;
//!
//! let now = Instant::ZERO;
//! let mut cluster = Cluster::new(Config::default(), 7);
//! cluster.set_explain(NonZeroU32::new(100));
//! cluster.add_endpoint(now, "users.internal:3001").unwrap();
//! let Some(Action::Dial(conn)) = cluster.poll() else { panic!() };
//!
//! assert!(cluster.checkout(now, Want::default()).is_err());
//! cluster.connected(now, conn);
//! assert!(cluster.checkout(now, Want::default()).is_ok());
//!
//! let said: Vec<String> = cluster.explanations().map(|why| why.to_string()).collect();
//! assert_eq!(
//!     said,
//!     [
//!         "0.000 s: a request waits; left out: users.internal:3001 (no connection stands yet)",
//!         "0.000 s: a request goes to users.internal:3001, the only candidate",
//!     ]
//! );
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::error::Rejected;
use crate::id::EndpointId;
use crate::policy::balance::Strategy;
use crate::policy::breaker;
use crate::policy::outlier;
use crate::policy::panic::Spread;
use crate::time::Instant;

/// Candidates, and excluded endpoints, that one explanation lists; those beyond are counted.
pub const LISTED: usize = 16;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// When it was made.
    pub at: Instant,
    /// What was decided, and why.
    pub decision: Decision,
}

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// A request goes to an endpoint.
    Pick(Pick),
    /// A request has to wait, since nobody has room for it now.
    Wait(Left),
    /// A request was refused.
    Rejection {
        /// What its caller is told.
        rejected: Rejected,
        /// Who might have taken it.
        left: Left,
    },
    /// An endpoint is left out, because it serves worse than the others.
    Ejection {
        /// Which one.
        endpoint: Named,
        /// What it has done.
        cause: outlier::Cause,
        /// It comes back with the first sweep from then on.
        until: Instant,
        /// How many are out now, with it, because of ejection or an open breaker.
        out: u32,
        /// Of how many.
        of: u32,
    },
    /// A breaker has changed its state.
    Trip {
        /// Whose.
        endpoint: Named,
        /// What it was.
        from: breaker::State,
        /// What it is.
        to: breaker::State,
        /// Failures since the last success, the one that tripped it included.
        consecutive: u32,
        /// Results in its window before.
        window: breaker::Counts,
    },
}

/// An endpoint, with its address: it may be gone when somebody reads this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Which one.
    pub id: EndpointId,
    /// Its address.
    pub address: String,
}

/// Why a request goes where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Where to.
    pub endpoint: Named,
    /// The strategy.
    pub strategy: Strategy,
    /// What it has looked at.
    pub rule: Rule,
    /// The priority level, and what it takes of all requests, in thousandths.
    pub priority: u8,
    /// See [`priority`](Self::priority).
    pub share: u32,
    /// Whether the level panics.
    pub spread: Spread,
    /// The first of the endpoints that could take it.
    pub candidates: Vec<Candidate>,
    /// How many there were.
    pub of: u32,
    /// Those that could not.
    pub left: Left,
    /// How often a fresh endpoint was picked, and passed the request on.
    pub passed_on: u32,
    /// The endpoint that was picked first, and avoided because the request has failed there.
    pub avoided: Option<Named>,
}

/// What a strategy has looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// It was its turn.
    Turn,
    /// It has the fewest requests.
    LeastLoaded,
    /// It has the highest score.
    HighestScore,
    /// It was drawn.
    Drawn,
    /// The cheaper of two that were drawn.
    CheaperOf(Candidate, Candidate),
    /// It owns the key, or stands in for the owner that is overloaded.
    Key(Option<u64>),
    /// By what the endpoints have said of themselves.
    Probes,
}

/// An endpoint that could take the request, as the strategy saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which one.
    pub endpoint: Named,
    /// Requests on it, more if it is fresh and counts for less.
    pub in_flight: u32,
    /// What one more costs: the peak average of its round trips in nanoseconds × (requests on it + 1).
    pub cost: u64,
    /// Its weight, in thousandths.
    pub weight: u32,
    /// Its health score, from 0 to 1,000; 0 if it passes.
    pub score: u32,
    /// It is fresh, and does not take part in this pick.
    pub passes: bool,
}

/// Endpoints that could not take a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The first of them, each with its cause.
    pub excluded: Vec<(Named, Exclusion)>,
    /// How many more there are.
    pub more: u32,
}

/// Why an endpoint could not take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exclusion {
    /// It was removed.
    Removed,
    /// It is drained.
    Draining,
    /// It is not in this client's subset.
    Spare,
    /// It is of another priority level.
    Priority(u8),
    /// Its breaker lets nothing through.
    CircuitOpen,
    /// It serves worse than the others.
    Ejected,
    /// Its health check says so.
    Unhealthy,
    /// The last dial has failed.
    Unreachable,
    /// No connection stands yet.
    NotConnected,
    /// All its connections are full.
    Full,
    /// Its level panics, and then asks nobody.
    Panicked,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exclusion::Removed => "removed",
            Exclusion::Draining => "drained",
            Exclusion::Spare => "not in this client's subset",
            Exclusion::Priority(level) => return write!(f, "of priority {level}"),
            Exclusion::CircuitOpen => "circuit open",
            Exclusion::Ejected => "ejected",
            Exclusion::Unhealthy => "unhealthy",
            Exclusion::Unreachable => "the last dial failed",
            Exclusion::NotConnected => "no connection stands yet",
            Exclusion::Full => "all its connections are full",
            Exclusion::Panicked => "its level panics, and asks nobody",
        })
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (endpoint, why)) in self.excluded.iter().enumerate() {
            write!(f, "{}{endpoint} ({why})", if at == 0 { "; left out: " } else { ", " })?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (of, strategy) = (self.of, self.strategy);
        write!(f, "a request goes to {}, ", self.endpoint)?;
        if let Some(avoided) = &self.avoided {
            write!(f, "since it has failed at {avoided}, which {strategy} picked of {of} candidates")?;
        } else if of == 1 {
            f.write_str("the only candidate")?;
        } else {
            match &self.rule {
                Rule::Turn => write!(f, "whose turn it was of {of} candidates by {strategy}")?,
                Rule::LeastLoaded => write!(f, "the least loaded of {of} candidates")?,
                Rule::HighestScore => write!(f, "the healthiest of {of} candidates")?,
                Rule::Drawn => write!(f, "drawn from {of} candidates by {strategy}")?,
                Rule::CheaperOf(one, other) => write!(
                    f,
                    "the cheaper of {} ({}) and {} ({}), drawn from {of} candidates",
                    one.endpoint,
                    Price(one),
                    other.endpoint,
                    Price(other)
                )?,
                Rule::Key(Some(key)) => write!(f, "by its key {key:016x} among {of} candidates")?,
                Rule::Key(None) => write!(f, "drawn from {of} candidates, since it has no key")?,
                Rule::Probes => write!(f, "by the probes of {of} candidates")?,
            }
        }
        if self.passed_on > 0 {
            write!(f, "; {} fresh ones drawn before passed it on", self.passed_on)?;
        }
        if self.share < 1_000 {
            write!(f, "; priority {} takes {} ‰", self.priority, self.share)?;
        }
        if self.spread == Spread::All {
            f.write_str("; in panic, health and ejections do not count")?;
        }
        self.left.fmt(f)
    }
}

struct Price<'a>(&'a Candidate);

impl fmt::Display for Price<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.passes { f.write_str("fresh, passes") } else { Cost(self.0.cost).fmt(f) }
    }
}

/// Nanoseconds, for people.
struct Cost(u64);

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns @ ..1_000_000 => write!(f, "{} µs", ns / 1_000),
            ns => write!(f, "{}.{:01} ms", ns / 1_000_000, ns / 100_000 % 10),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Seconds(self.at).fmt(f)?;
        f.write_str(": ")?;
        match &self.decision {
            Decision::Pick(pick) => pick.fmt(f),
            Decision::Wait(left) => write!(f, "a request waits{left}"),
            Decision::Rejection { rejected, left } => write!(f, "a request is refused ({rejected}){left}"),
            Decision::Ejection { endpoint, cause, until, out, of } => {
                write!(
                    f,
                    "{endpoint} is ejected until {}: {cause}; {out} of {of} are out now",
                    Seconds(*until)
                )
            }
            Decision::Trip { endpoint, from, to, consecutive, window } => write!(
                f,
                "the circuit breaker of {endpoint} goes from {from} to {to}: {consecutive} failures in a row, \
                 {} of {} in its window failed",
                window.failures,
                window.failures.saturating_add(window.successes)
            ),
        }
    }
}

/// Since the epoch of the driver.
struct Seconds(Instant);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_nanos() / 1_000_000;
        write!(f, "{}.{:03} s", ms / 1_000, ms % 1_000)
    }
}
