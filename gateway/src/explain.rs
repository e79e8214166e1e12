//! `plimsoll explain`: why a request went where it went, why an endpoint was left out, why one had to wait, who has gone.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use plimsoll_core::record::Subject;
use plimsoll_core::replay::{self, Fact, Happening, Line, Query, Story};
use plimsoll_core::time::Instant;
use serde_json::{Map, Value, json};

use crate::figures::micros;
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
    /// How one request or call fared, by the id that the other stories tell: 3.0 of a client, its number of a server or a
    /// hub, or its id on the wire, which is the same in the logs of both ends
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// The choice of this number, from 1: of an endpoint, of who serves a call, of the connection that it goes over
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

pub(crate) fn run(args: &Args) -> ExitCode {
    recorded::run(&args.file, |log| {
        let story = replay::explain(&log.bytes, args.about.query(log)?)?;
        args.about.check(&story)?;
        Ok((if args.json { data(&story) } else { told(log, &story) }, 0))
    })
}

impl About {
    fn query(&self, log: &LogFile) -> Result<Query<'_>, Failure> {
        Ok(match (&self.request, self.pick, self.at) {
            (Some(id), ..) => Query::Request(id),
            (_, Some(n), _) => Query::Pick(n),
            (_, _, Some(Since(since))) => Query::At(replay::replay(&log.bytes)?.from + since),
            _ if self.failures => Query::Failures,
            _ => Query::Changes,
        })
    }

    /// Fails if there is nothing of what was asked for.
    fn check(&self, story: &Story) -> Result<(), Failure> {
        let length = story.to.since(story.from);
        let missing = match (&self.request, self.pick, self.at) {
            (Some(id), ..) if story.lines.is_empty() => format!("no request {id} is in the log"),
            (_, Some(_), _) if story.subject == Subject::Server => {
                "a server chooses nobody; ask how a request fared (--request), or how things stood (--at)"
                    .into()
            }
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
    let line = |Line { at, call, what }: &Line| {
        let mut told = told_one(what);
        told.insert("at_s".into(), since(*at).into());
        told.insert("call".into(), (*call).into());
        told
    };
    let story = json!({
        "seconds": since(story.to),
        "lines": story.lines.iter().map(line).collect::<Vec<_>>(),
        "more": story.more,
        "standing": story.standing.iter().map(told_one).collect::<Vec<_>>(),
    });
    format!("{story}\n")
}

/// What has happened, or stands so, as a sentence and as data.
fn told_one(what: &Happening) -> Map<String, Value> {
    let (kind, about) = match what {
        Happening::Decision(decision) => Teller { name: str::to_string }.details(decision),
        _ => (what.kind(), Value::Object(what.facts().into_iter().map(field).collect())),
    };
    let mut told = Map::new();
    told.insert("kind".into(), kind.into());
    told.insert("story".into(), what.to_string().into());
    told.insert(kind.into(), about);
    told
}

fn field((name, fact): (&str, Fact<'_>)) -> (String, Value) {
    let value = match fact {
        Fact::Text(text) => text.into_owned().into(),
        Fact::Number(number) => number.into(),
        Fact::Flag(flag) => flag.into(),
        Fact::Time(time) => return (format!("{name}_us"), micros(time).into()),
        _ => Value::Null,
    };
    (name.into(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_stories_tell_them() {
        let since = |text: &str| text.parse().map(|Since(since)| since.as_micros());
        for (text, micros) in [("12.000345", 12_000_345), ("1.5s", 1_500_000), ("800ms", 800_000), ("0", 0)] {
            assert_eq!(since(text), Ok(micros));
        }
        assert!(["", "-1", "nan", "1h", "1e300s"].iter().all(|text| since(text).is_err()));
    }
}
