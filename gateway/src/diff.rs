//! `plimsoll diff`: yesterday's requests under another policy, or under several, side by side.

mod policy;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use plimsoll_core::replay::{self, CAVEAT, Change, Count, Diff, Fate, Share};
use plimsoll_core::time::Instant;
use serde_json::{Value, json};

use crate::figures::thousands;
use crate::recorded::{self, DIFFERS, Failure, LogFile, plain};
use crate::services::explain::Teller;
use policy::{Named, Note};

/// Ejections and opened breakers of one policy that are told.
const CHANGES: usize = 8;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log of a client
    file: PathBuf,
    /// What to decide by instead: strategies (p2c_ewma,round_robin), keys of a scenario's policy (ejection=false,timeout=2s;
    /// they belong to the strategy or file before them), files (FILE.toml with such keys, or a scenario: FILE.toml:NAME for
    /// one of its policies); several stand side by side
    #[arg(long, value_name = "B", required = true)]
    policy: Vec<String>,
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    recorded::run(&args.file, |log| {
        let policies = policy::read(&args.policy).map_err(Failure::Usage)?;
        let mut columns = Vec::new();
        for policy in policies {
            let diff = replay::diff(&log.bytes, |config| policy.apply(config))?;
            columns.push(Column { policy, diff });
        }
        let differs = columns.iter().any(|column| column.diff.first.is_some());
        let text = if args.json { data(&columns) } else { told(log, &columns) };
        Ok((text, if differs { DIFFERS } else { 0 }))
    })
}

/// A policy, and what it comes to.
struct Column {
    policy: Named,
    diff: Diff,
}

fn told(log: &LogFile, columns: &[Column]) -> String {
    let mut text = format!("{}\n", log.title());
    for Column { policy, diff } in columns {
        let Diff { compared, same, apart, answers, evidence, .. } = diff;
        let [compared, same, apart, answers, evidence] =
            [compared, same, apart, answers, evidence].map(|n| thousands(*n));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "under {}, {same} of {compared} requests go where they went; {apart} cannot be compared,\n\
             since one of the two clients lets them wait or refuses them; {evidence} of {answers} answers are of the endpoint \
             that it asks too",
            policy.name
        );
    }
    text.push('\n');
    text.push_str(&table(columns));
    columns.iter().for_each(|column| tell_more(column, &mut text));
    let _ = writeln!(text, "\nThis is {CAVEAT}");
    plain(&text)
}

/// A line for each endpoint, and one for everything else that was decided.
fn table(columns: &[Column]) -> String {
    let shares = columns.iter().map(|column| {
        let all = column.diff.shares.iter();
        all.map(|Share { address, then, other }| (address.as_str(), [*then, *other])).collect()
    });
    let counts = columns.iter().map(|column| {
        let all = column.diff.counts.iter();
        all.map(|Count { what, then, other }| (what.as_str(), [*then, *other])).collect()
    });
    let shares = Rows::new(shares.collect(), |n, all| {
        format!("{} ({:.1} %)", thousands(n), n as f64 * 100.0 / all.max(1) as f64)
    });
    let counts = Rows::new(counts.collect(), |n, _| thousands(n));
    let head =
        ["then".to_string()].into_iter().chain(columns.iter().map(|column| column.policy.name.clone()));
    let mut lines = vec![("endpoint".to_string(), head.collect::<Vec<_>>())];
    lines.extend(shares.lines);
    if !counts.lines.is_empty() {
        lines.push((String::new(), Vec::new()));
        lines.extend(counts.lines);
    }
    let wide =
        |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
    let first = wide(&mut lines.iter().map(|(name, _)| name));
    let other = wide(&mut lines.iter().flat_map(|(_, cells)| cells)).max(20);
    let mut text = String::new();
    for (name, cells) in &lines {
        let line =
            cells.iter().fold(format!("{name:first$}"), |line, cell| format!("{line}   {cell:>other$}"));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// What was counted by name: as it was then, and in a column for each policy.
struct Rows {
    lines: Vec<(String, Vec<String>)>,
}

impl Rows {
    fn new(columns: Vec<BTreeMap<&str, [u64; 2]>>, cell: fn(u64, u64) -> String) -> Rows {
        let names: BTreeMap<&str, u64> =
            columns.iter().flatten().map(|(&name, &[then, _])| (name, then)).collect();
        // What one policy has not met was counted by the others.
        let all_then = names.values().sum();
        let lines = names.iter().map(|(&name, &then)| {
            let others = columns.iter().map(|column| {
                let all = column.values().map(|[_, other]| other).sum();
                cell(column.get(name).map_or(0, |[_, other]| *other), all)
            });
            (name.to_string(), [cell(then, all_then)].into_iter().chain(others).collect())
        });
        Rows { lines: lines.collect() }
    }
}

/// What is to be said about one policy by itself.
fn tell_more(Column { policy, diff }: &Column, text: &mut String) {
    let since = |at: Instant| at.since(diff.from).as_secs_f64();
    let name = &policy.name;
    if let Some(first) = &diff.first {
        let id = first.id.map(|id| format!("{id} ")).unwrap_or_default();
        let (at, call) = (since(first.at), thousands(first.call));
        let _ = writeln!(
            text,
            "\nthe first that fares otherwise: {id}{:?} at {at:.6} s, call {call}",
            first.name
        );
        let _ = writeln!(text, "  then:  {}", first.then);
        let _ = writeln!(text, "  under {name}: {}", first.other);
    }
    let own: Vec<_> = diff.changes.iter().filter(|change| change.other).collect();
    for change in own.iter().take(CHANGES) {
        let decision = replay::Happening::Decision(change.decision.clone());
        let _ = writeln!(text, "  under {name}, at {:.6} s: {decision}", since(change.at));
    }
    if let more @ 1.. = own.len().saturating_sub(CHANGES) {
        let _ = writeln!(text, "  … and {more} more of that kind");
    }
    if diff.let_in > 0 {
        let let_in = thousands(diff.let_in);
        let _ = writeln!(
            text,
            "{name} lets in {let_in} requests that were refused then: no log can tell what had come of them"
        );
    }
    for Note { key, is_followed, why } in &policy.notes {
        let how = if *is_followed { "goes only so far" } else { "is left out" };
        let _ = writeln!(text, "{key} of {name} {how}: {why}");
    }
}

fn data(columns: &[Column]) -> String {
    let policies = columns.iter().map(|Column { policy, diff }| {
        let since = |at: Instant| at.since(diff.from).as_secs_f64();
        let fate = |fate: &Fate| json!({ "endpoint": fate.address(), "story": fate.to_string() });
        let change = |Change { at, other, decision }: &Change| {
            let (kind, about) = Teller { name: str::to_string }.details(decision);
            let story = replay::Happening::Decision(decision.clone()).to_string();
            json!({ "at_s": since(*at), "other": other, "kind": kind, "story": story, (kind): about })
        };
        let share = |Share { address, then, other }: &Share| {
            json!({ "endpoint": address, "then": then, "other": other })
        };
        let count = |Count { what, then, other }: &Count| json!({ "what": what, "then": then, "other": other });
        let note = |Note { key, is_followed, why }: &Note| json!({ "key": key, "followed": is_followed, "why": why });
        json!({
            "policy": policy.name,
            "compared": diff.compared,
            "same": diff.same,
            "apart": diff.apart,
            "answers": diff.answers,
            "evidence": diff.evidence,
            "let_in": diff.let_in,
            "first": diff.first.as_ref().map(|first| json!({
                "at_s": since(first.at),
                "call": first.call,
                "request": first.id.map(|id| id.to_string()),
                "name": first.name,
                "then": fate(&first.then),
                "other": fate(&first.other),
            })),
            "shares": diff.shares.iter().map(share).collect::<Vec<_>>(),
            "counts": diff.counts.iter().map(count).collect::<Vec<_>>(),
            "changes": diff.changes.iter().map(change).collect::<Vec<_>>(),
            "notes": policy.notes.iter().map(note).collect::<Vec<_>>(),
        })
    });
    let all: Vec<Value> = policies.collect();
    format!("{}\n", json!({ "policies": all, "caveat": CAVEAT }))
}
