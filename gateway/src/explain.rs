//! `plimsoll explain`: why a request went where it went, why an endpoint was left out, why one had to wait.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use plimsoll_core::id::RequestId;
use plimsoll_core::record::{self, Happening, Line, Query, Story};
use plimsoll_core::time::Instant;
use serde_json::{Map, Value, json};

use crate::recorded::{self, Failure, LogFile, plain};
use crate::services::explain::Teller;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log
    file: PathBuf,
    #[command(flatten)]
    about: About,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(multiple = false)]
struct About {
    /// How one request fared, by the id that the other stories tell: 3.0
    #[arg(long, value_name = "ID", value_parser = request)]
    request: Option<RequestId>,
    /// The choice of an endpoint of this number, from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pick: Option<u64>,
    /// How things stood at a time since the beginning of the log (12.5, 12.5s or 800ms), and what was decided about then
    #[arg(long, value_name = "TIME")]
    at: Option<Since>,
    /// Every request that was refused, or ended without a good answer
    #[arg(long)]
    failures: bool,
}

/// Since the beginning of a log.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Since(Duration);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Since, String> {
        let (number, unit) = match text.strip_suffix("ms") {
            Some(number) => (number, 1e-3),
            None => (text.strip_suffix('s').unwrap_or(text), 1.0),
        };
        let seconds = number.trim().parse::<f64>().ok().map(|number| number * unit);
        seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(Since).ok_or_else(|| {
            format!("`{text}` is no time since the beginning; write it like 12.5, 12.5s or 800ms")
        })
    }
}

fn request(text: &str) -> Result<RequestId, String> {
    let id = text
        .split_once('.')
        .and_then(|(slot, generation)| Some(RequestId::new(slot.parse().ok()?, generation.parse().ok()?)));
    id.ok_or_else(|| format!("`{text}` is not the id of a request, two numbers such as 3.0"))
}

pub(crate) fn run(args: &Args) -> ExitCode {
    recorded::run(&args.file, |log| {
        let story = record::explain(&log.bytes, args.about.query(log)?)?;
        args.about.check(&story)?;
        Ok((if args.json { data(&story) } else { told(log, &story) }, 0))
    })
}

impl About {
    fn query(&self, log: &LogFile) -> Result<Query, Failure> {
        Ok(match (self.request, self.pick, self.at) {
            (Some(id), ..) => Query::Request(id),
            (_, Some(n), _) => Query::Pick(n),
            (_, _, Some(Since(since))) => Query::At(record::replay(&log.bytes)?.from + since),
            _ if self.failures => Query::Failures,
            _ => Query::Changes,
        })
    }

    /// Fails if there is nothing of what was asked for.
    fn check(&self, story: &Story) -> Result<(), Failure> {
        let length = story.to.since(story.from);
        let missing = match (self.request, self.pick, self.at) {
            (Some(id), ..) if story.lines.is_empty() => format!("no request {id} is in the log"),
            (_, Some(n), _) if story.lines.is_empty() => format!("fewer than {n} choices are in the log"),
            (_, _, Some(Since(since))) if since > length => {
                format!("the log ends {:.6} s after its beginning", length.as_secs_f64())
            }
            _ => return Ok(()),
        };
        Err(Failure::Usage(missing))
    }
}

fn told(log: &LogFile, story: &Story) -> String {
    let length = story.to.since(story.from).as_secs_f64();
    let story = match story.lines.is_empty() {
        true => "nothing of that kind has happened\n".to_string(),
        false => plain(&story.to_string()),
    };
    format!("{}, {length:.6} s\n{story}", log.title())
}

fn data(story: &Story) -> String {
    let since = |at: Instant| at.since(story.from).as_secs_f64();
    let lines = story.lines.iter().map(|line| told_line(line, since(line.at)));
    let endpoints = story.endpoints.iter().map(|status| {
        json!({
            "address": status.address,
            "connections": status.connections,
            "in_flight": status.in_flight,
            "breaker": status.breaker.to_string(),
            "ejected": status.ejected,
            "reachable": status.reachable,
            "score": f64::from(status.score_per_mille) / 1e3,
        })
    });
    let story = json!({
        "seconds": since(story.to),
        "lines": lines.collect::<Vec<_>>(),
        "more": story.more,
        "endpoints": endpoints.collect::<Vec<_>>(),
    });
    format!("{story}\n")
}

/// What has happened, as a sentence and as data.
fn told_line(Line { call, what, .. }: &Line, at: f64) -> Value {
    let (kind, about) = match what {
        Happening::Taken { id, name, len, waiting, in_flight } => (
            "taken",
            json!({
                "request": id.to_string(), "name": name, "bytes": len, "waiting": waiting, "in_flight": in_flight,
            }),
        ),
        Happening::Refused { name, why } => ("refused", json!({ "name": name, "why": why })),
        Happening::Moved { id, to, attempt } => {
            ("moved", json!({ "request": id.to_string(), "to": to, "attempt": attempt }))
        }
        Happening::Decision(decision) => Teller { name: str::to_string }.details(decision),
        Happening::Ended { id, how, code, took } => (
            "ended",
            json!({
                "request": id.to_string(), "how": how, "code": code, "took_us": took.map(|ns| ns as f64 / 1e3),
            }),
        ),
        Happening::Changed(_, address) => ("changed", json!({ "endpoint": address })),
        _ => ("input", Value::Object(Map::new())),
    };
    json!({ "at_s": at, "call": call, "kind": kind, "story": what.to_string(), (kind): about })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_ids_are_read_as_stories_tell_them() {
        let since = |text: &str| text.parse().map(|Since(since)| since.as_micros());
        for (text, micros) in [("12.000345", 12_000_345), ("1.5s", 1_500_000), ("800ms", 800_000), ("0", 0)] {
            assert_eq!(since(text), Ok(micros));
        }
        assert!(["", "-1", "nan", "1h", "1e300s"].iter().all(|text| since(text).is_err()));
        assert_eq!(request("3.17"), Ok(RequestId::new(3, 17)));
        assert!(["", "3", "3.", ".1", "-1.0", "3.1.2"].iter().all(|text| request(text).is_err()));
    }
}
