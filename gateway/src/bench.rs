//! `plimsoll bench`: how fast a service answers, and what asking costs.

mod callee;
mod load;
mod progress;
mod report;

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::call::{self, NO_ANSWER, USAGE};
use crate::figures::thousands;
use crate::recorded::Record;
use crate::run::{Signals, raise_descriptor_limit};
use crate::target::{Serializer, Target};
use callee::{Callee, Events};
use load::{Limit, Load, Tally};
use progress::Progress;
use report::Report;

/// As many calls as a client takes at a time.
const MAX_IN_FLIGHT: u32 = 65_536;
/// With the frame around it, no more than services take by default.
const MAX_SIZE: u32 = 10 << 20;
/// As many as a client has at a hub.
const MAX_POOL: u32 = 64;
/// A JSON string has two quotes.
const MIN_SIZE: u32 = 2;
const DEFAULT_SECONDS: u64 = 5;
const MAX_REQUESTS: u64 = 1 << 40;
/// Pools, tables and estimates have grown to their size after so many requests.
const WARM_REQUESTS: u64 = 10_000;
const WARM_TIME: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the service listens: uw://HOST:PORT or uw:/PATH; or the hub that knows it: ipc:/PATH
    #[arg(value_name = "ADDRESS")]
    address: Target,
    /// The service, at a hub
    #[arg(value_parser = call::service)]
    service: Option<String>,
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
    /// How messages to a hub are written [default: json]
    #[arg(long, value_enum, hide_default_value = true)]
    serializer: Option<Serializer>,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    record: Record,
}

impl Args {
    /// On all connections.
    fn in_flight(&self) -> NonZeroU32 {
        NonZeroU32::new(self.connections.saturating_mul(self.in_flight)).unwrap_or(NonZeroU32::MIN)
    }

    fn serializer(&self) -> Serializer {
        self.serializer.unwrap_or_default()
    }

    /// What is wrong with them together.
    fn check(&self) -> Result<(), String> {
        let in_flight = self.in_flight().get();
        if in_flight > MAX_IN_FLIGHT {
            let (in_flight, most) = (thousands(in_flight.into()), thousands(MAX_IN_FLIGHT.into()));
            return Err(format!("{in_flight} requests in flight (-c times -p) are more than {most}"));
        }
        match (&self.address, &self.service, self.serializer) {
            (Target::Uw(_), Some(_), _) => {
                Err("a SERVICE is for hubs: what follows a uw: address are options".into())
            }
            (Target::Uw(_), _, Some(_)) => Err("--serializer is for hubs".into()),
            (Target::Ipc(_), None, _) => Err("what follows an ipc: address is a SERVICE".into()),
            (Target::Ipc(_), ..) if self.connections > MAX_POOL => {
                Err(format!("a client has at most {MAX_POOL} connections (-c) to a hub"))
            }
            _ => Ok(()),
        }
    }
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
    Unreachable(String),
    #[error("a connection was lost: {0}")]
    Lost(String),
    #[error("no request was answered: {0}")]
    NoAnswer(String),
    /// What was measured is whole.
    #[error("{0}")]
    Recording(String),
    #[error("stopped by {0}")]
    Stopped(&'static str),
    #[error("{0}")]
    Usage(String),
    #[error("the figures cannot be printed: {0}")]
    Print(io::Error),
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
}

pub(crate) fn run(args: &Args) -> ExitCode {
    if let Err(error) = args.check() {
        anstream::eprintln!("plimsoll: {error}");
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
        write!(f, "{} of ", args.method.escape_debug())?;
        if let Some(service) = &args.service {
            write!(f, "{} at ", service.escape_debug())?;
        }
        writeln!(f, "{}", args.address)?;
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
    callee: Arc<Callee>,
    watch: Watch,
    progress: Progress,
}

impl<'a> Bench<'a> {
    async fn prepare(args: &'a Args) -> Result<Self, Failure> {
        let signals = Signals::new().map_err(Failure::Runtime)?;
        let (callee, events) = Callee::new(args)?;
        let watch = Watch { events, signals };
        let mut bench = Bench { args, callee: Arc::new(callee), watch, progress: Progress::on_terminal() };
        bench.progress.say("connecting");
        let (callee, watch) = (&bench.callee, &mut bench.watch);
        tokio::try_join!(callee.connect(), watch.connected(args.connections))?;
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
        let end = self.callee.finish().await.and(end);
        ((tally.requests() > 0).then(|| Report::new(tally, elapsed, cpu)), end)
    }

    fn load(&self, limit: Limit) -> Load {
        let args = self.args;
        let threads = match args.callers {
            Callers::Same => None,
            Callers::Threads(n) => Some(n),
        };
        let calls = load::Calls { callee: self.callee.clone(), params: callee::params(args), limit };
        Load::new(Arc::new(calls), args.in_flight().get(), threads)
    }
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
        for _ in 0..connections {
            self.next().await?;
        }
        Ok(())
    }

    /// A connection that is lost ends it: what is measured while others are made is not what was asked for.
    async fn failure(&mut self) -> Failure {
        loop {
            if let Err(failure) = self.next().await {
                return failure;
            }
        }
    }

    async fn next(&mut self) -> Result<(), Failure> {
        tokio::select! {
            next = self.events.next() => next,
            signal = self.signals.next() => Err(Failure::Stopped(signal)),
        }
    }
}

/// What all threads of this process have spent, in the kernel too.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
