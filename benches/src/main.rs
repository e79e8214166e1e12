//! `side-by-side`: whole processes that do the same work, measured in turn, and what they cost beside each other.
//!
//! Of figures that wander, those of one round are compared with each other, and of the ratios the median is taken:
//! whatever made a round slow made it slow for all. Each side of a contestant is a process of its own on a core of its
//! own; what counts is its CPU time, because rates say more about the neighbours than about the code.

mod cells;
mod contestants;
mod minute;
mod process;
mod rounds;
mod syscalls;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Anything that ends a measurement; the text says what and whose.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(name = "side-by-side", about = "Measures processes that do the same work beside each other")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    args: Args,
}

#[derive(clap::Args)]
struct Args {
    /// Only groups whose names contain this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// How often each contestant takes its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each turn is measured, after it has warmed up
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// Measure nothing: let every pair make some requests, and see that every one is answered as it should be
    #[arg(long)]
    check: bool,
}

#[derive(Subcommand)]
enum Command {
    /// One process of one contestant
    #[command(hide = true)]
    Contestant(contestants::Args),
    /// A client of Redis
    #[command(hide = true)]
    Resp(contestants::resp::Args),
    /// A process that an edge is measured with
    #[command(hide = true, subcommand)]
    Edge(contestants::edge::Role),
    /// A process at or beside a hub
    #[command(hide = true, subcommand)]
    Hub(contestants::hub::Role),
    /// A minute of load on the gateway: errors, and memory
    Minute,
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("write a number from 0.1 to 60".into()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Contestant(args)) => contestants::run(&args),
        Some(Command::Resp(args)) => contestants::resp::run(&args),
        Some(Command::Edge(role)) => contestants::edge::run(&role),
        Some(Command::Hub(role)) => contestants::hub::run(&role),
        Some(Command::Minute) => minute::run(),
        None if cli.args.check => check(&cli.args.only),
        None => measure(&cli.args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("side-by-side: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(only: &str) -> Result<()> {
    contestants::check(only)?;
    contestants::resp::check(only)?;
    #[cfg(feature = "peers")]
    contestants::edge::check(only)?;
    contestants::hub::check(only)?;
    Ok(())
}

fn measure(args: &Args) -> Result<()> {
    let mut groups = cells::groups();
    let names: Vec<_> = groups.iter().map(|group| group.name.clone()).collect();
    groups.retain(|group| group.name.contains(&args.only));
    if groups.is_empty() {
        return Err(
            format!("no group has {:?} in its name; there are {}", args.only, names.join(", ")).into()
        );
    }
    let seconds = Duration::from_secs_f64(args.seconds);
    println!("Median (least - most) of {} rounds of {} s each.", args.rounds, args.seconds);
    println!(
        "% waited: how long processes waited for a core, of the time that they ran; the less, the better the figures."
    );
    for group in groups {
        let results = rounds::run(&group, args.rounds, seconds);
        print!("\n{}", table::Table { group: &group, results: &results });
        io::stdout().flush()?;
    }
    Ok(())
}
