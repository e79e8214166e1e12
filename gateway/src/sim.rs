//! `plimsoll sim`: a scenario in virtual time, under one policy or several, as a table, a picture and a page.

mod curves;
mod json;
mod page;
mod picture;
mod progress;
mod runs;
mod swarm;
mod table;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use plimsoll_sim::fleet::{Report, Scenario, ScenarioError};

use crate::call::USAGE;
use crate::figures::{quoted, thousands};

/// Something came out otherwise than the scenario states.
const OTHERWISE: u8 = 1;
/// What was found cannot be written.
const UNWRITABLE: u8 = 3;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The scenario
    #[arg(value_name = "SCENARIO.toml", required_unless_present = "swarm")]
    scenario: Option<PathBuf>,
    /// Where all chance comes from [default: 1; of a swarm, a fresh one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Policies to run side by side [default: all that the scenario has]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    policy: Vec<String>,
    /// Draw latency, goodput and load over time
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Write a report that needs no other file
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    swarm: swarm::Args,
}

/// Why there is nothing to show, or not all of it.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{}: cannot be written: {error}", path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("the figures cannot be printed: {0}")]
    Print(io::Error),
}

pub(crate) fn run(args: &Args) -> ExitCode {
    if args.swarm.swarm {
        return swarm::run(&args.swarm, args.seed);
    }
    match simulate(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => OTHERWISE.into(),
        Err(failure) => {
            anstream::eprintln!("plimsoll: {failure}");
            if let Failure::Usage(_) = failure { USAGE.into() } else { UNWRITABLE.into() }
        }
    }
}

/// Whether all came out as the scenario states.
fn simulate(args: &Args) -> Result<bool, Failure> {
    let file = args.scenario().display();
    let source = fs::read_to_string(args.scenario())
        .map_err(|error| Failure::Usage(format!("{file}: cannot be read: {error}")))?;
    let scenario = Scenario::parse(&source).map_err(|ScenarioError { line, message }| {
        let line = line.map(|line| format!("{line}:")).unwrap_or_default();
        Failure::Usage(format!("{file}:{line} {message}"))
    })?;
    let policies = args.policies(&scenario)?;
    // Nobody waits for a run only to hear that its picture has no place.
    [&args.plot, &args.html].into_iter().flatten().try_for_each(|path| is_writable(path))?;

    let reports = runs::run(&scenario, &policies, args.seed())
        .map_err(|error| Failure::Usage(format!("{file}: {error}")))?;
    let outcome = Outcome {
        name: scenario.name(),
        description: scenario.description(),
        source: &source,
        command: &args.command(&policies),
        reports: &reports,
    };
    outcome.print(args.json).map_err(Failure::Print)?;
    outcome.draw(args)?;
    Ok(outcome.is_as_stated())
}

impl Args {
    /// Without one nothing comes as far as this.
    fn scenario(&self) -> &Path {
        self.scenario.as_deref().unwrap_or(Path::new(""))
    }

    fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// Those that were asked for, or all.
    fn policies(&self, scenario: &Scenario) -> Result<Vec<String>, Failure> {
        let known: Vec<_> = scenario.policies().map(String::from).collect();
        if self.policy.is_empty() {
            return Ok(known);
        }
        for (at, name) in self.policy.iter().enumerate() {
            if !known.contains(name) {
                let (file, known) = (self.scenario().display(), known.join(", "));
                return Err(Failure::Usage(format!("{file}: has no policy `{name}`; it has {known}")));
            }
            if self.policy[..at].contains(name) {
                return Err(Failure::Usage(format!("--policy names `{name}` twice")));
            }
        }
        Ok(self.policy.clone())
    }

    /// What a shell takes to come to the same figures.
    fn command(&self, policies: &[String]) -> String {
        let (file, policies) = (self.scenario().display().to_string(), policies.join(","));
        format!("plimsoll sim {} --seed {} --policy {}", quoted(&file), self.seed(), quoted(&policies))
    }
}

fn is_writable(path: &Path) -> Result<(), Failure> {
    let open = OpenOptions::new().append(true).create(true).open(path);
    open.map(drop).map_err(|error| Failure::Write { path: path.into(), error })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::Write { path: path.into(), error })
}

/// What a scenario came to.
struct Outcome<'a> {
    name: &'a str,
    description: &'a str,
    /// The text of the scenario.
    source: &'a str,
    /// What makes it again.
    command: &'a str,
    /// One for each policy, in the order in which they were asked for.
    reports: &'a [Report],
}

impl Outcome<'_> {
    fn is_as_stated(&self) -> bool {
        self.reports.iter().all(Report::is_as_stated)
    }

    /// What it takes to come to the same.
    fn subtitle(&self) -> String {
        let Some(report) = self.reports.first() else { return String::new() };
        let version = env!("CARGO_PKG_VERSION");
        let (seed, length) = (report.seed, span(report.length));
        let events: u64 = self.reports.iter().map(|report| report.events).sum();
        format!("seed {seed}, {length} of virtual time, {} events, plimsoll {version}", thousands(events))
    }

    fn print(&self, as_json: bool) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        if as_json {
            serde_json::to_writer(&mut stdout, &json::Outcome::of(self))?;
            writeln!(stdout)?;
        } else {
            write!(stdout, "{self}")?;
        }
        stdout.flush()
    }

    fn draw(&self, args: &Args) -> Result<(), Failure> {
        if args.plot.is_none() && args.html.is_none() {
            return Ok(());
        }
        let picture = picture::draw(self.name, &self.subtitle(), self.reports);
        if let Some(path) = &args.plot {
            write(path, &picture)?;
        }
        if let Some(path) = &args.html {
            write(path, &page::write(self, &picture))?;
        }
        Ok(())
    }
}

/// A length of time for people: `1.5 s`, `10 min`, `1 h 30 min`.
fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let parts = match seconds {
        ..60 => return format!("{} s", (length.as_secs_f64() * 1e3).round() / 1e3),
        60..3_600 => [(seconds / 60, "min"), (seconds % 60, "s")],
        3_600..86_400 => [(seconds / 3_600, "h"), (seconds / 60 % 60, "min")],
        _ => [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h")],
    };
    let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{} {unit}", thousands(*n)));
    parts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_one_unit_or_two() {
        for (millis, text) in [
            (0, "0 s"),
            (1_500, "1.5 s"),
            (60_000, "1 min"),
            (90_500, "1 min 30 s"),
            (5_400_000, "1 h 30 min"),
            (3_600_000, "1 h"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }
}
