//! `plimsoll`: a gateway that speaks HTTP/2 to clients and multiplexed protocols to services.

mod activity;
mod backend;
mod bench;
mod body;
mod call;
mod certs;
mod cli;
mod config;
mod diff;
mod edge;
mod explain;
mod exposition;
mod figures;
mod flood;
mod front;
mod health;
mod http1;
mod http2;
mod hub;
mod metrics;
mod preface;
mod projects;
mod recorded;
mod replay;
mod reply;
mod routes;
mod run;
mod serve;
mod services;
mod sim;
mod target;
mod tls;

use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use cli::{Cli, Command, Gateway};
use config::{Config, LogLevel};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => gateway(cli.gateway),
        Some(Command::Check { file, flags }) => check(file, flags),
        Some(Command::Serve(args)) => {
            if let Err(error) = args.check() {
                anstream::eprintln!("plimsoll: {error}");
                return call::USAGE.into();
            }
            log_to_stderr(args.log_level());
            serve::run(&args)
        }
        Some(Command::Hub(args)) => {
            log_to_stderr(args.log_level());
            hub::run(&args)
        }
        // Its exit codes say more than that something went wrong.
        Some(Command::Call(args)) => return call::run(&args),
        Some(Command::Bench(args)) => return bench::run(&args),
        Some(Command::Sim(args)) => return sim::run(&args),
        Some(Command::Replay(args)) => return replay::run(&args),
        Some(Command::Explain(args)) => return explain::run(&args),
        Some(Command::Diff(args)) => return diff::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("plimsoll: {error}");
            ExitCode::FAILURE
        }
    }
}

fn gateway(Gateway { config, flags }: Gateway) -> Result<(), Box<dyn Error>> {
    let config = Config::load(config.as_deref(), flags)?;
    log_to_stderr(config.log_level);
    tokio::runtime::Runtime::new()?.block_on(run::run(config))
}

fn check(file: Option<std::path::PathBuf>, flags: config::Flags) -> Result<(), Box<dyn Error>> {
    let config = Config::load(file.as_deref(), flags)?;
    anstream::print!("{config}");
    Ok(())
}

fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // What libraries log about every frame would drown what the gateway has to say.
    let filter = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("plimsoll", level);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}
