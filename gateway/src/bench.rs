//! `plimsoll bench`: how fast a service answers, and what asking costs.

mod load;
mod progress;
mod report;

use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_core::cluster::{CloseCause, StateEvent};
use plimsoll_core::error::Misuse;
use plimsoll_tokio::{Client, Events, Service, ServiceConfig};
use rustix::time::{ClockId, clock_gettime};

use crate::call::{self, NO_ANSWER, USAGE};
use crate::config::UwAddress;
use crate::figures::thousands;
use crate::run::{Signals, raise_descriptor_limit};
use load::{Limit, Load, Tally};
use progress::Progress;
use report::Report;

/// As many calls as a client takes at a time.
const MAX_IN_FLIGHT: u32 = 65_536;
/// With the frame around it, no more than services take by default.
const MAX_SIZE: u32 = 10 << 20;
/// A JSON string has two quotes.
const MIN_SIZE: u32 = 2;
const DEFAULT_SECONDS: u64 = 5;
const MAX_REQUESTS: u64 = 1 << 40;
/// Pools, tables and estimates have grown to their size after so many requests.
const WARM_REQUESTS: u64 = 10_000;
const WARM_TIME: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the service listens
    #[arg(value_name = "uw://HOST:PORT")]
    address: UwAddress,
    /// Connections
    #[arg(short = 'c', value_name = "CONNS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Requests in flight on each connection
    #[arg(short = 'p', value_name = "IN_FLIGHT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_IN_FLIGHT)))]
    in_flight: u32,
    /// Stop after exactly so many requests
    #[arg(short = 'n', value_name = "REQUESTS", conflicts_with = "seconds",
          value_parser = clap::value_parser!(u64).range(1..=MAX_REQUESTS))]
    requests: Option<u64>,
    /// Stop after so many seconds [default: 5]
    #[arg(short = 'd', value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Bytes of the params, a JSON string
    #[arg(long, value_name = "BYTES", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(i64::from(MIN_SIZE)..=i64::from(MAX_SIZE)))]
    size: u32,
    /// Where requests are made: on the thread of the connections, or on N other threads
    #[arg(long, value_name = "same|threads:N", default_value = "same")]
    callers: Callers,
    /// The method to call
    #[arg(long, default_value = "echo", value_parser = call::method)]
    method: String,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

/// On which threads requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Callers {
    Same,
    Threads(u32),
}

const MAX_THREADS: u32 = 256;

impl FromStr for Callers {
    type Err = String;

    fn from_str(text: &str) -> Result<Callers, String> {
        let threads = text.strip_prefix("threads:").and_then(|n| n.parse().ok());
        match (text, threads) {
            ("same", _) => Ok(Callers::Same),
            (_, Some(n @ 1..=MAX_THREADS)) => Ok(Callers::Threads(n)),
            _ => Err(format!("write same, or threads:N with N from 1 to {MAX_THREADS}")),
        }
    }
}

/// Why it ended before its time, or has nothing to show.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no connection: {0}")]
    Unreachable(CloseCause),
    #[error("a connection was lost: {0}")]
    Lost(CloseCause),
    #[error("no request was answered: {0}")]
    NoAnswer(String),
    #[error("stopped by {0}")]
    Stopped(&'static str),
    #[error("{0}")]
    Misuse(Misuse),
    #[error("the figures cannot be printed: {0}")]
    Print(io::Error),
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let in_flight = u64::from(args.connections) * u64::from(args.in_flight);
    if in_flight > u64::from(MAX_IN_FLIGHT) {
        let (in_flight, most) = (thousands(in_flight), thousands(MAX_IN_FLIGHT.into()));
        anstream::eprintln!("plimsoll: {in_flight} requests in flight (-c times -p) are more than {most}");
        return USAGE.into();
    }
    let (report, end) = measure(args);
    let printed = report.as_ref().map_or(Ok(()), |report| print(args, report).map_err(Failure::Print));
    match end.and(printed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            anstream::eprintln!("plimsoll: {}: {failure}", args.address);
            // Whoever stops it wants the figures, and gets them.
            let is_wanted = matches!(failure, Failure::Stopped(_)) && report.is_some();
            if is_wanted { ExitCode::SUCCESS } else { NO_ANSWER.into() }
        }
    }
}

fn print(args: &Args, report: &Report) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut stdout, report)?;
        writeln!(stdout)?;
    } else {
        write!(stdout, "{}\n{report}", Title(args))?;
    }
    stdout.flush()
}

/// What is measured, for people.
struct Title<'a>(&'a Args);

impl std::fmt::Display for Title<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let args = self.0;
        let plural = if args.connections == 1 { "" } else { "s" };
        writeln!(f, "{} of {}", args.method.escape_debug(), args.address)?;
        write!(f, "{} connection{plural} x {} in flight, ", args.connections, args.in_flight)?;
        write!(f, "params of {} bytes, callers on ", thousands(args.size.into()))?;
        match args.callers {
            Callers::Same => writeln!(f, "the same thread"),
            Callers::Threads(1) => writeln!(f, "1 other thread"),
            Callers::Threads(n) => writeln!(f, "{n} other threads"),
        }
    }
}

/// The figures, as far as there are any, and why there are no more.
fn measure(args: &Args) -> (Option<Report>, Result<(), Failure>) {
    raise_descriptor_limit(args.connections);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return (None, Err(Failure::Runtime(error))),
    };
    let result = runtime.block_on(async {
        match Bench::prepare(args).await {
            Ok(bench) => bench.measure().await,
            Err(failure) => (None, Err(failure)),
        }
    });
    // A name may still be looked up on another thread.
    runtime.shutdown_background();
    result
}

/// A client that is connected and warm.
struct Bench<'a> {
    args: &'a Args,
    service: Service,
    watch: Watch,
    progress: Progress,
}

impl<'a> Bench<'a> {
    async fn prepare(args: &'a Args) -> Result<Self, Failure> {
        let signals = Signals::new().map_err(Failure::Runtime)?;
        let client = Client::builder().build();
        let events = client.events();
        let service = client.configure_service("", service_config(args)).map_err(Failure::Misuse)?;
        let mut bench =
            Bench { args, service, watch: Watch { events, signals }, progress: Progress::on_terminal() };
        bench.progress.say("connecting");
        bench.watch.connected(args.connections).await?;
        bench.warm_up().await?;
        Ok(bench)
    }

    async fn warm_up(&mut self) -> Result<(), Failure> {
        self.progress.say("warming up");
        let requests = self.args.requests.unwrap_or(WARM_REQUESTS).min(WARM_REQUESTS);
        let load = self.load(Limit::new(Some(requests), Some(Instant::now() + WARM_TIME)));
        tokio::select! {
            ended = load.run() => ended.map_err(Failure::Runtime)?,
            failure = self.watch.failure() => return Err(failure),
        }
        answered(&load.tally())
    }

    async fn measure(mut self) -> (Option<Report>, Result<(), Failure>) {
        let args = self.args;
        let (cpu, start) = (cpu_time(), Instant::now());
        let seconds = args.seconds.unwrap_or(DEFAULT_SECONDS);
        let until = args.requests.is_none().then(|| start + Duration::from_secs(seconds));
        let load = self.load(Limit::new(args.requests, until));
        let end = tokio::select! {
            ended = load.run() => ended.map_err(Failure::Runtime),
            failure = self.watch.failure() => Err(failure),
            never = self.progress.follow(&load, args.requests, seconds) => match never {},
        };
        let (elapsed, cpu) = (start.elapsed(), cpu_time().saturating_sub(cpu));
        let tally = load.tally();
        self.progress.clear();
        let end = end.and_then(|()| answered(&tally));
        ((tally.requests() > 0).then(|| Report::new(tally, elapsed, cpu)), end)
    }

    fn load(&self, limit: Limit) -> Load {
        let args = self.args;
        let params = format!("\"{}\"", "x".repeat((args.size - MIN_SIZE) as usize));
        let threads = match args.callers {
            Callers::Same => None,
            Callers::Threads(n) => Some(n),
        };
        let calls = Arc::new(load::Calls {
            service: self.service.clone(),
            method: args.method.clone(),
            params: params.into_bytes(),
            limit,
        });
        Load::new(calls, args.connections * args.in_flight, threads)
    }
}

/// Nothing is left out that a client does by default: deadlines, a wait queue, breaker, health, a retry budget, metrics.
fn service_config(args: &Args) -> ServiceConfig {
    let in_flight = args.connections * args.in_flight;
    let mut config = ServiceConfig::new(args.address.target())
        .max_connections(args.connections)
        .min_connections(args.connections)
        .in_flight(args.in_flight)
        // A connection that is lost leaves its callers waiting, and refuses none.
        .wait_queue(in_flight);
    config.client.cluster.dial_stagger = Duration::ZERO;
    config
}

fn answered(tally: &Tally) -> Result<(), Failure> {
    match tally.answered() {
        0 => Err(Failure::NoAnswer(report::errors(&tally.errors))),
        _ => Ok(()),
    }
}

/// What may end a bench before its time.
struct Watch {
    events: Events,
    signals: Signals,
}

impl Watch {
    /// Returns once so many connections stand.
    async fn connected(&mut self, connections: u32) -> Result<(), Failure> {
        let mut standing = 0;
        while standing < connections {
            match self.event().await? {
                StateEvent::Connected { .. } => standing += 1,
                StateEvent::Closed { cause, .. } => return Err(closed(cause)),
                _ => {}
            }
        }
        Ok(())
    }

    /// A connection that is lost ends it: what is measured while others are made is not what was asked for.
    async fn failure(&mut self) -> Failure {
        loop {
            match self.event().await {
                Ok(StateEvent::Closed { cause, .. }) => return closed(cause),
                Ok(_) => {}
                Err(failure) => return failure,
            }
        }
    }

    async fn event(&mut self) -> Result<StateEvent, Failure> {
        tokio::select! {
            event = self.events.next() => match event {
                Some(event) => Ok(event.event),
                None => std::future::pending().await,
            },
            signal = self.signals.next() => Err(Failure::Stopped(signal)),
        }
    }
}

fn closed(cause: CloseCause) -> Failure {
    match cause {
        CloseCause::Dial(_) | CloseCause::DialTimeout => Failure::Unreachable(cause),
        cause => Failure::Lost(cause),
    }
}

/// What all threads of this process have spent, in the kernel too.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
