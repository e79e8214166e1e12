//! `plimsoll diff`: yesterday's requests under another policy.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::record::{self, CAVEAT, Diff, Share};

use crate::figures::thousands;
use crate::recorded::{self, DIFFERS, LogFile, plain};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log of a client
    file: PathBuf,
    /// How endpoints are to be chosen instead, such as p2c_ewma, least_connections or round_robin
    #[arg(long, value_name = "STRATEGY")]
    policy: Strategy,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    recorded::run(&args.file, |log| {
        let diff = record::diff(&log.bytes, |config| config.cluster.strategy = args.policy)?;
        let is_same = diff.same == diff.compared && diff.apart == 0;
        Ok((told(log, &diff, args.policy), if is_same { 0 } else { DIFFERS }))
    })
}

fn told(log: &LogFile, diff: &Diff, policy: Strategy) -> String {
    let mut text = String::new();
    let Diff { compared, same, apart, .. } = diff;
    let [compared, same, apart] = [compared, same, apart].map(|n| thousands(*n));
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}", log.title());
    let _ = writeln!(
        text,
        "under {policy}, {same} of {compared} requests go where they went; {apart} cannot be compared,"
    );
    let _ = writeln!(text, "since one of the two clients lets them wait or refuses them\n");
    let _ = write!(text, "{}", shares(&diff.shares, policy));
    if let Some(first) = &diff.first {
        let at = first.at.since(diff.from).as_secs_f64();
        let (id, name, call) = (first.id, &first.name, thousands(first.call));
        let _ = writeln!(text, "\nthe first that goes elsewhere: {id} {name:?} at {at:.6} s, call {call}");
        let _ = writeln!(text, "  then:  {}", first.then);
        let _ = writeln!(text, "  under {policy}: {}", first.other);
    }
    let _ = writeln!(text, "\nThis is {CAVEAT}");
    plain(&text)
}

/// A line for each endpoint.
fn shares(shares: &[Share], policy: Strategy) -> String {
    let sum = |of: fn(&Share) -> u64| shares.iter().map(of).sum::<u64>().max(1) as f64;
    let (then, other) = (sum(|share| share.then), sum(|share| share.other));
    let cell = |n: u64, of: f64| format!("{} ({:.1} %)", thousands(n), n as f64 * 100.0 / of);
    let wide = shares.iter().map(|share| share.address.chars().count()).max().unwrap_or(0).max(8);
    let mut text = String::new();
    let _ = writeln!(text, "{:wide$}   {:>20}   {:>20}", "endpoint", "then", policy.to_string());
    for share in shares {
        let (then, other) = (cell(share.then, then), cell(share.other, other));
        let _ = writeln!(text, "{:wide$}   {then:>20}   {other:>20}", share.address);
    }
    text
}
