//! Who is there, and where: servers, clients, and the ways between their zones.

use std::num::{NonZeroU16, NonZeroU64};
use std::time::Duration;

use plimsoll_core::policy::Ratio;
use serde::Deserialize;
use serde::de::Deserializer;
use toml::Spanned;

use super::units::{Factor, Length, Share};
use super::{Problem, at};
use crate::Link;
use crate::fleet::distribution::Distribution;

/// Servers of one kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    pub(crate) name: Spanned<String>,
    #[serde(default = "one")]
    pub(crate) count: Spanned<u32>,
    #[serde(default = "somewhere")]
    pub(crate) zone: String,
    priority: Option<Spanned<u8>>,
    #[serde(default = "plain_one")]
    pub(crate) weight: u32,
    pub(crate) service: Service,
    /// Requests that it works on at a time.
    #[serde(default = "one")]
    pub(crate) workers: Spanned<u32>,
    /// Requests that wait for a worker; the next is answered OVERLOADED.
    #[serde(default = "queue")]
    pub(crate) queue: u32,
    /// Connections that wait to be accepted; the next is refused.
    #[serde(default = "backlog")]
    pub(crate) backlog: NonZeroU16,
    pub(crate) cold: Option<Cold>,
    pub(crate) spells: Option<Spells>,
}

impl Group {
    /// Its level: those after it are called when it is too weak.
    pub(crate) fn priority(&self) -> u8 {
        self.priority.as_ref().map_or(0, |priority| *priority.get_ref())
    }
}

/// How long a worker takes for a request.
#[derive(Clone, Debug)]
pub(crate) struct Service(pub(crate) Distribution);

/// What a server costs more that has just begun, because it remembers nothing yet.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cold {
    /// So many times as long does the first request take.
    pub(crate) factor: Factor,
    /// After so many it takes the usual time; evenly less from the first to there.
    pub(crate) requests: u32,
}

/// All servers of a group are slow at the same times, as when they share a disk or a database.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spells {
    /// From one to the next, on average.
    pub(crate) every: Length,
    pub(crate) lasts: Length,
    pub(crate) factor: Factor,
}

/// Clients of one kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Clients {
    pub(crate) name: Spanned<String>,
    #[serde(default = "one")]
    pub(crate) count: Spanned<u32>,
    #[serde(default = "somewhere")]
    pub(crate) zone: String,
    /// How much of the load comes from each, in proportion to the others.
    #[serde(default = "factor_one")]
    pub(crate) share: Factor,
}

/// The way between two zones, or within one, to and fro. What is not said is as in [`Link::default`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Way {
    pub(crate) between: Spanned<[String; 2]>,
    latency: Option<Length>,
    jitter: Option<Length>,
    late_share: Option<Share>,
    tail: Option<Length>,
    /// Bytes per second, for each two hosts.
    bandwidth: Option<NonZeroU64>,
}

impl Way {
    pub(crate) fn link(&self) -> Link {
        let usual = Link::default();
        let or = |length: Option<Length>, usual: Duration| length.map_or(usual, |length| length.0);
        Link {
            latency: or(self.latency, usual.latency),
            jitter: or(self.jitter, usual.jitter),
            late_per_mille: self.late_share.map_or(usual.late_per_mille, |share| share.0.as_per_mille()),
            tail: or(self.tail, usual.tail),
            bandwidth: self.bandwidth,
            ..usual
        }
    }
}

fn one() -> Spanned<u32> {
    Spanned::new(0..0, 1)
}

fn plain_one() -> u32 {
    1
}

fn factor_one() -> Factor {
    Factor(Ratio::ONE)
}

fn backlog() -> NonZeroU16 {
    const { NonZeroU16::new(4_096).unwrap() }
}

fn queue() -> u32 {
    64
}

fn somewhere() -> String {
    "a".into()
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            constant: Option<Length>,
            exponential: Option<Length>,
            log_normal: Option<Length>,
            sigma: Option<Factor>,
            quantiles: Option<Vec<(f64, Length)>>,
        }
        let table = Table::deserialize(deserializer)?;
        let Table { constant, exponential, log_normal, sigma, quantiles } = table;
        let distribution = match (constant, exponential, log_normal, sigma, quantiles) {
            (Some(time), None, None, None, None) => Distribution::Constant(time.0),
            (None, Some(mean), None, None, None) => Distribution::Exponential(mean.0),
            (None, None, Some(median), Some(sigma), None) => {
                // Six deviations of 3 are 65 million times the median.
                let sigma = sigma.0.as_per_mille().min(3_000);
                Distribution::LogNormal { median: median.0, sigma }
            }
            (None, None, None, None, Some(table)) => {
                quantiles_of(&table).map_err(serde::de::Error::custom)?
            }
            _ => {
                return Err(serde::de::Error::custom(
                    "the time of service is one of { constant = \"10ms\" }, { exponential = \"10ms\" }, { log_normal = \
                     \"10ms\", sigma = 0.8 } (the median, and the deviation of its logarithm), { quantiles = [[0, \"1ms\"], \
                     [0.5, \"5ms\"], [0.99, \"40ms\"], [1, \"500ms\"]] }",
                ));
            }
        };
        Ok(Service(distribution))
    }
}

fn quantiles_of(table: &[(f64, Length)]) -> Result<Distribution, &'static str> {
    let millionth = |quantile: f64| (quantile * 1e6).round() as u32;
    let table: Vec<(u32, Duration)> = table.iter().map(|&(q, time)| (millionth(q), time.0)).collect();
    let rises = table.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
    let ends =
        table.first().map(|first| first.0) == Some(0) && table.last().map(|last| last.0) == Some(1_000_000);
    match rises && ends {
        true => Ok(Distribution::Quantiles(table)),
        false => Err("quantiles begin at 0, end at 1, and rise, and so do their times"),
    }
}

/// Servers and clients that a world can hold.
const MOST_SERVERS: u32 = 10_000;
const MOST_CLIENTS: u32 = 1_000;

pub(super) fn check(groups: &[Group], clients: &[Clients]) -> Result<(), Problem> {
    let mut names: Vec<&Spanned<String>> = Vec::new();
    for name in groups.iter().map(|group| &group.name).chain(clients.iter().map(|clients| &clients.name)) {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let text = name.get_ref();
        if text.is_empty() || text.len() > 40 || !text.chars().all(is_plain) {
            return at(name, "a name is up to 40 of a-z, 0-9, - and _");
        }
        if names.iter().any(|other| other.get_ref() == text) {
            return at(name, format!("there are two of the name {text:?}"));
        }
        names.push(name);
    }
    for group in groups {
        if let Some(priority) = group.priority.as_ref().filter(|priority| *priority.get_ref() > 7) {
            return at(priority, "a priority is a number from 0 to 7");
        }
        if *group.workers.get_ref() == 0 {
            return at(&group.workers, "a server without workers never answers");
        }
    }
    let in_all = |counts: &mut dyn Iterator<Item = &Spanned<u32>>, most: u32, what: &str| {
        let mut sum = 0u32;
        for count in counts {
            sum = sum.saturating_add(*count.get_ref());
            if *count.get_ref() == 0 || sum > most {
                return at(count, format!("{what} are 1 to {most} in all"));
            }
        }
        Ok(())
    };
    in_all(&mut groups.iter().map(|group| &group.count), MOST_SERVERS, "servers")?;
    in_all(&mut clients.iter().map(|clients| &clients.count), MOST_CLIENTS, "clients")
}
