//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench;
use crate::call;
use crate::config::Flags;
use crate::diff;
use crate::explain;
use crate::hub;
use crate::replay;
use crate::serve;
use crate::sim;

/// Flags name theirs themselves. A test sees to it that none is missing.
const ENVIRONMENT: &str = "\
Environment variables without a flag (and their defaults):
  The edge:
    HTTP2_ENABLED                    nothing but HTTP/2 is spoken (true)
    HTTP2_MAX_CONCURRENT_STREAMS     requests at a time on one connection (1000)
    HTTP2_MAX_HEADER_LIST_SIZE       headers of one request (64KB)
    HTTP2_IDLE_TIMEOUT               until an unused connection is closed (1m)
    SERVER_MAX_CONNECTIONS           connections at a time (10000)
    SERVER_MAX_CONCURRENT_REQUESTS   requests at a time (10000)
    SERVER_MAX_BUFFERED_BODIES       memory for all request bodies together (256MB)
    SERVER_REQUEST_TIMEOUT           until a request is answered (30s)
    SERVER_READ_TIMEOUT              for the next part of a request (10s)
    SERVER_WRITE_TIMEOUT             for a client to take the next part of an answer (10s)
    SERVER_DRAIN_TIMEOUT             for requests to finish after SIGTERM (30s)
    TLS_HANDSHAKE_TIMEOUT            for a TLS handshake (10s)
  The project service:
    LOAD_BALANCING_STRATEGY          how an endpoint is chosen (p2c_ewma)
    HEALTH_CHECK_INTERVAL            silence until a connection is pinged, in ms or like 30s (30s)
    CIRCUIT_BREAKER_THRESHOLD        failures that open the breaker of an endpoint (5)
    PROJECT_MAX_CONNECTIONS          connections per endpoint at most (15)
    PROJECT_MIN_CONNECTIONS          connections per endpoint that are kept (1)
    PROJECT_CONNECTION_TIMEOUT       for a connection to stand (5s)
    PROJECT_REQUEST_TIMEOUT          for an answer (15s)
    PROJECT_EXPLAIN                  decisions that /services/explain tells, 0 for none (0)
    SERVICE_DISCOVERY_ENABLED        true takes the defaults of the service discovery (false)
  The rest:
    RECORD_BODIES                    what is recorded has bodies too (false)
    METRICS_PREFIX                   what the names of metrics begin with (plimsoll_)

Everything else is said in the file; `plimsoll check` prints one that means what is in force.";

/// A gateway: HTTP/2 in front, pools of multiplexed connections to services behind.
///
/// Without a command it serves. Settings come from flags, then the environment, then the file, then defaults;
/// `plimsoll check` shows which.
#[derive(Parser)]
#[command(name = "plimsoll", version, args_conflicts_with_subcommands = true, after_long_help = ENVIRONMENT)]
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
    #[command(after_long_help = ENVIRONMENT)]
    Check {
        /// The file; plimsoll.toml is read if it exists
        file: Option<PathBuf>,
        #[command(flatten)]
        flags: Flags,
    },
    /// Call a method of a service, and print what it answers
    ///
    /// Exits with 0 after an answer; with 1 if the service (or the hub, for it) answered an error, which is printed the same
    /// way; with 2 if it was asked for in a wrong way; with 3 if there was no answer, or one that is not JSON.
    #[command(override_usage = "plimsoll call [OPTIONS] uw://HOST:PORT|uw:/PATH METHOD JSON\n       \
                                plimsoll call [OPTIONS] ipc:/PATH SERVICE METHOD JSON")]
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
    /// Simulate a fleet: a scenario of servers, clients and faults, in virtual time
    ///
    /// The code that ships runs on hosts and a network that exist only in memory, once for each policy. Prints goodput,
    /// errors, latencies and what it took, side by side, and whether all came out as the scenario states. The same
    /// scenario, seed and version print the same.
    ///
    /// Exits with 0 if all is as the scenario states; with 1 if something is not; with 2 if it was asked for in a wrong way,
    /// or the scenario is wrong; with 3 if a file cannot be written.
    Sim(sim::Args),
    /// Tell a recorded machine the same again, and see whether it does the same
    ///
    /// Logs are written with --record by the gateway, `plimsoll bench`, `plimsoll serve` and `plimsoll hub`, or by an
    /// application of your own. The first difference is shown with what comes before it.
    ///
    /// Exits with 0 if all is the same; with 1 if something differs; with 2 if it was asked for in a wrong way; with 3 if the
    /// log cannot be read, or not to its end: what comes before the damage is replayed.
    Replay(replay::Args),
    /// Tell the story of a recorded request, choice or moment; or of all that changed
    ///
    /// Exits with 0 once the story is told; with 1 if this program does not do what the log has; with 2 if it was asked for in
    /// a wrong way, or for what is not in the log; with 3 if the log cannot be read, or not to its end.
    Explain(explain::Args),
    /// Choose endpoints for recorded requests by another policy, and show what goes elsewhere
    ///
    /// Exits with 0 if every request goes where it went; with 1 if not; with 2 if it was asked for in a wrong way; with 3 if the
    /// log cannot be read, or not to its end.
    Diff(diff::Args),
    /// Serve methods to try clients with: echo, sleep, fail, size, ping; at a hub also chain
    ///
    /// `echo` answers its params, `sleep {"ms"}` after so many milliseconds, `fail {"code","message"}` that error,
    /// `size {"bytes"}` so many bytes of data, `ping` the time, and `chain {"calls":[{"service","method","params"}]}` the
    /// answers of calls that it makes itself, one after the other, on behalf of its caller. SIGTERM and SIGINT end it
    /// once what it took is answered. A hub that goes away is dialled again.
    Serve(serve::Args),
    /// Let services call each other: run a hub of Bro IPC
    ///
    /// JSON and MessagePack are told apart by themselves, and converted into each other. SIGUSR1 prints the services and
    /// how busy they are; a call of `status` or `services` of the service `$hub` tells the same. SIGTERM and SIGINT end it.
    ///
    /// A socket on which nobody listens any more is replaced; anything else in the way is left alone. The directory
    /// must be root's or the user's own, and not everybody's, unless it is sticky like /tmp.
    Hub(hub::Args),
}
