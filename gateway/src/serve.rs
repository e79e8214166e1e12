//! `plimsoll serve`: a service with methods to try clients with.

mod ipc;
mod methods;
mod uw;

use std::error::Error;
use std::time::Duration;

use crate::call;
use crate::config::{Interval, LogLevel};
use crate::recorded::Record;
use crate::target::{Serializer, Target};

/// How long what was taken may take once the end has come.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen: uw://HOST:PORT (port 0 for any free one) or uw:/PATH; or the hub to register with: ipc:/PATH
    #[arg(value_name = "ADDRESS")]
    address: Target,
    /// The name to register with a hub
    #[arg(long, value_parser = call::service)]
    name: Option<String>,
    /// How messages to a hub are written [default: json]
    #[arg(long, value_enum, hide_default_value = true)]
    serializer: Option<Serializer>,
    /// Connections to a hub, from 1 to 64; more than one are a pool that shares the calls [default: 1]
    #[arg(long, value_name = "CONNS", value_parser = clap::value_parser!(u32).range(1..=64))]
    pool: Option<u32>,
    /// How long to wait before a lost connection to a hub is made again, in ms or like 30s; longer each time [default: 5s]
    #[arg(long, value_name = "TIME")]
    reconnect: Option<Interval>,
    #[command(flatten)]
    record: Record,
}

impl Args {
    pub(crate) fn log_level(&self) -> LogLevel {
        match self.address {
            Target::Uw(_) => LogLevel::Warn,
            // A hub that comes and goes is worth knowing.
            Target::Ipc(_) => LogLevel::Info,
        }
    }

    /// Something that only a hub needs.
    fn for_hubs(&self) -> Option<&'static str> {
        let given = [
            ("--name", self.name.is_some()),
            ("--serializer", self.serializer.is_some()),
            ("--pool", self.pool.is_some()),
            ("--reconnect", self.reconnect.is_some()),
        ];
        given.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
    }

    /// What is wrong with them together.
    pub(crate) fn check(&self) -> Result<(), String> {
        match (&self.address, self.for_hubs()) {
            (Target::Uw(_), Some(flag)) => Err(format!("{flag} is for hubs, and {} is none", self.address)),
            (Target::Ipc(_), _) if self.name.is_none() => {
                Err(format!("a service at {} needs a --name", self.address))
            }
            _ => Ok(()),
        }
    }
}

/// Serves until SIGTERM or SIGINT, then answers what was taken. A second signal ends the process at once.
pub(crate) fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Runtime::new()?;
    match &args.address {
        Target::Uw(address) => runtime.block_on(uw::serve(address, args)),
        Target::Ipc(hub) => runtime.block_on(ipc::serve(hub, args)),
    }
}
