//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench;
use crate::call;
use crate::config::{Flags, UwAddress};

/// A gateway: HTTP/2 in front, pools of multiplexed connections to services behind.
///
/// Without a command it serves. Settings come from flags, then the environment, then the file, then defaults;
/// `plimsoll check` shows which.
#[derive(Parser)]
#[command(name = "plimsoll", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) gateway: Gateway,
}

#[derive(Args)]
pub(crate) struct Gateway {
    /// Configuration file; plimsoll.toml is read if it exists
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Say what is wrong with a configuration, or print the effective one
    Check {
        /// The file; plimsoll.toml is read if it exists
        file: Option<PathBuf>,
        #[command(flatten)]
        flags: Flags,
    },
    /// Call a method of a service, and print what it answers
    ///
    /// Exits with 0 after an answer; with 1 if the service answered an error, which is printed the same way; with 2 if
    /// it was asked for in a wrong way; with 3 if there was no answer, or one that is not JSON.
    Call(call::Args),
    /// Measure how fast a service answers, and what asking costs
    ///
    /// Each caller makes one request after the other; there are CONNS times IN_FLIGHT of them. The client does all it
    /// does by default: deadlines, breaker, health, retry budget, metrics. What is measured begins after a warm-up of
    /// at most 10,000 requests or 1 second. Ctrl-C stops it, and prints what there is.
    ///
    /// Rate and latencies are those of answers, errors of the service included; latencies are at most 12.5 % too high.
    /// MB (10^6 bytes) are params and answers together. Exits with 0 once it has figures, whatever errors they count;
    /// with 2 if it was asked for in a wrong way; with 3 if nothing answered, or a connection was lost: what was
    /// measured until then is printed.
    Bench(bench::Args),
    /// Serve methods to try clients with: echo, sleep, fail, size, ping
    ///
    /// `echo` answers its params, `sleep {"ms"}` after so many milliseconds, `fail {"code","message"}` that error,
    /// `size {"bytes"}` so many bytes of data, `ping` the time. SIGTERM and SIGINT end it once what it took is answered.
    Serve {
        /// Where to listen; port 0 for any free one
        #[arg(value_name = "uw://HOST:PORT")]
        address: UwAddress,
    },
}
