//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Flags;

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
}
