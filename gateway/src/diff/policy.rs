//! Policies as a command line names them: strategies, keys with values, files.

use std::fs;
use std::str::FromStr;

use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::service::client;
use plimsoll_sim::fleet::{Policy, Scenario, ScenarioError};
use toml::{Table, Value};

/// A policy, and what a log can tell of it.
pub(super) struct Named {
    /// As it was asked for.
    pub(super) name: String,
    /// One behind the other: the last that speaks of something is right.
    parts: Vec<Policy>,
    /// What is to be said about some of its keys.
    pub(super) notes: Vec<Note>,
}

/// What a log cannot tell about a key, or not for sure.
#[derive(Debug, PartialEq)]
pub(super) struct Note {
    pub(super) key: String,
    /// Whether it was followed at all.
    pub(super) is_followed: bool,
    pub(super) why: &'static str,
}

impl Named {
    pub(super) fn apply(&self, config: &mut client::Config) {
        self.parts.iter().for_each(|part| part.apply(config));
    }

    /// Reads the keys of a policy. Those that a log cannot follow are noted, and left out.
    fn read(name: String, mut table: Table) -> Result<Named, ScenarioError> {
        // As a whole first: what is wrong is wrong, followed or not.
        Policy::parse(&table.to_string())?;
        let mut notes = Vec::new();
        prune(&mut table, "", &mut notes);
        Ok(Named { name, parts: vec![Policy::parse(&table.to_string())?], notes })
    }

    fn and(&mut self, more: Named) {
        self.name = format!("{},{}", self.name, more.name);
        self.parts.extend(more.parts);
        self.notes.extend(more.notes);
    }
}

/// Notes what is to be said about the keys of a table, and takes out those that a log cannot follow.
fn prune(table: &mut Table, within: &str, notes: &mut Vec<Note>) {
    table.retain(|key, value| {
        let key = format!("{within}{key}");
        if let (Value::Table(inner), "connections") = (&mut *value, &*key) {
            prune(inner, "connections.", notes);
        }
        let doubt = match (&*key, value.as_str()) {
            ("strategy", Some("prequal")) => {
                Some((true, "no probe of it has an answer in the log, and without it chooses as p2c_ewma"))
            }
            _ => doubt(&key),
        };
        let Some((is_followed, why)) = doubt else { return true };
        notes.push(Note { key, is_followed, why });
        is_followed
    });
}

/// Whether a log can follow a key that it cannot wholly answer for, and why not.
fn doubt(key: &str) -> Option<(bool, &'static str)> {
    let (followed, left_out) = (true, false);
    Some(match key {
        "attempts" | "retry_budget" => {
            (left_out, "a retry asks whom nobody has asked then, and no answer to it is in the log")
        }
        "hedging" => {
            (left_out, "a second copy asks whom nobody has asked then, and no answer to it is in the log")
        }
        "caller_retries" => (left_out, "what callers do about a failure is beyond the log of a client"),
        "server" => (left_out, "the log is that of a client: its servers were as they were"),
        "prefer_own_zone" => (left_out, "no log knows zones"),
        "health_checks" => (left_out, "what health checks have found is taken from the log, as it was"),
        "heartbeat" => (left_out, "a log has answers only to the pings that were sent then"),
        "backoff" | "connections.stagger" | "connections.connect_timeout" => (
            left_out,
            "dials succeed at once where they have succeeded then, and fail where they have failed",
        ),
        "connections.max_age" | "connections.idle_close" => {
            (left_out, "connections end when they have ended then")
        }
        "timeout" => {
            (followed, "of what has timed out then, nobody knows whether it would have been answered later")
        }
        "throttle" | "concurrency" => {
            (followed, "it goes by the answers of then, which would have been others under another load")
        }
        _ => return None,
    })
}

/// The policies that `--policy` names, each time that it is given.
pub(super) fn read(arguments: &[String]) -> Result<Vec<Named>, String> {
    let mut all: Vec<Named> = Vec::new();
    for argument in arguments {
        let mut group: Vec<Named> = Vec::new();
        for item in items(argument) {
            match item.split_once('=') {
                None => group.extend(begin(item)?),
                Some((key, value)) => {
                    let more = key_value(item, key.trim(), value.trim())?;
                    match group.last_mut() {
                        Some(last) => last.and(more),
                        None => group.push(more),
                    }
                }
            }
        }
        all.extend(group);
    }
    match all.iter().enumerate().find(|(at, one)| all[..*at].iter().any(|other| other.name == one.name)) {
        Some((_, twice)) => Err(format!("--policy names `{}` twice", twice.name)),
        None if all.is_empty() => Err("--policy names no policy".into()),
        None => Ok(all),
    }
}

/// What stands between commas, those in braces aside.
fn items(argument: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    let split = argument.split(move |c| {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    split.map(str::trim).filter(|item| !item.is_empty())
}

/// What begins a policy: a strategy, or a file with one policy or several.
fn begin(item: &str) -> Result<Vec<Named>, String> {
    let (path, asked) = match item.rsplit_once(':') {
        Some((path, name)) if path.ends_with(".toml") => (path, Some(name)),
        _ => (item, None),
    };
    if path.ends_with(".toml") {
        return file(path, asked);
    }
    let strategy = Strategy::from_str(item).map_err(|error| {
        format!(
            "`{item}` is no policy: {error}; a policy is a strategy, KEY=VALUE, or a file that ends in .toml"
        )
    })?;
    let table = Table::from_iter([("strategy".into(), Value::from(strategy.name()))]);
    Ok(vec![Named::read(item.into(), table).map_err(|error| error.to_string())?])
}

fn key_value(item: &str, key: &str, value: &str) -> Result<Named, String> {
    // What is no number, switch or table is a text, for which nobody writes quotes in a shell.
    let table = Table::from_str(&format!("{key} = {value}"))
        .or_else(|_| Table::from_str(&format!("{key} = {}", Value::from(value))));
    let table = table.map_err(|_| format!("`{item}` is no KEY=VALUE of a policy"))?;
    Named::read(item.into(), table).map_err(|ScenarioError { message, .. }| format!("`{item}`: {message}"))
}

/// A policy of its own, or those of a scenario.
fn file(path: &str, asked: Option<&str>) -> Result<Vec<Named>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: cannot be read: {error}"))?;
    let wrong = |ScenarioError { line, message }: ScenarioError| {
        let line = line.map(|line| format!("{line}:")).unwrap_or_default();
        format!("{path}:{line} {message}")
    };
    let table = Table::from_str(&text).ok();
    let Some(Value::Table(policies)) = table.as_ref().and_then(|table| table.get("policy")) else {
        Policy::parse(&text).map_err(wrong)?;
        if let Some(name) = asked {
            return Err(format!("{path}: has no policy `{name}`: it is a policy itself"));
        }
        return Ok(vec![Named::read(path.into(), table.unwrap_or_default()).map_err(wrong)?]);
    };
    let scenario = Scenario::parse(&text).map_err(wrong)?;
    let known: Vec<_> = scenario.policies().collect();
    let named = |&name: &&str| match policies.get(name) {
        Some(Value::Table(table)) => Some(Named::read(name.into(), table.clone()).map_err(wrong)),
        _ => None,
    };
    match asked {
        None => known.iter().filter_map(named).collect(),
        Some(asked) => match known.iter().find(|&&name| name == asked).and_then(named) {
            Some(named) => Ok(vec![named?]),
            None => Err(format!("{path}: has no policy `{asked}`; it has {}", known.join(", "))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn names(arguments: &[&str]) -> Vec<String> {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.into()).collect();
        read(&arguments).unwrap().into_iter().map(|named| named.name).collect()
    }

    fn applied(argument: &str) -> client::Config {
        let mut config = client::Config::default();
        let named = read(&[argument.into()]).unwrap();
        named.iter().for_each(|named| named.apply(&mut config));
        config
    }

    #[test]
    fn strategies_stand_side_by_side_and_keys_belong_to_the_policy_before_them() {
        assert_eq!(names(&["random, round_robin"]), ["random", "round_robin"]);
        assert_eq!(names(&["random,timeout=2s", "random"]), ["random,timeout=2s", "random"]);
        assert_eq!(
            names(&["ejection=false,breaker={consecutive=3,volume=9},random"]),
            ["ejection=false,breaker={consecutive=3,volume=9}", "random"]
        );
    }

    #[test]
    fn values_are_those_of_scenarios_with_or_without_quotes() {
        for argument in ["timeout=250ms", r#"timeout="250ms""#] {
            assert_eq!(applied(argument).timeout, Duration::from_millis(250));
        }
        let config = applied("strategy=round_robin,ejection=false,rate_limit=100");
        assert_eq!(config.cluster.strategy, Strategy::RoundRobin);
        assert!(config.cluster.outliers.is_none() && config.rate_limit.is_some());
        assert_eq!(applied("connections.max=3").cluster.max_connections.get(), 3);
        assert_eq!(applied("random,strategy=prequal").cluster.strategy, Strategy::Prequal);
    }

    #[test]
    fn what_no_log_can_answer_is_noted_and_left_out() {
        let argument = r#"attempts=1,connections={max=3,max_age="10s"},timeout=1s"#.to_string();
        let [named] = &read(&[argument]).unwrap()[..] else { panic!("it is one policy") };
        let notes: Vec<_> = named.notes.iter().map(|note| (&*note.key, note.is_followed)).collect();
        assert_eq!(notes, [("attempts", false), ("connections.max_age", false), ("timeout", true)]);
        let mut config = client::Config::default();
        let usual = config.attempts;
        named.apply(&mut config);
        assert_eq!((config.attempts, config.cluster.max_age), (usual, None));
        assert_eq!((config.timeout, config.cluster.max_connections.get()), (Duration::from_secs(1), 3));
    }

    #[test]
    fn what_is_no_policy_is_told_with_what_would_be_one() {
        for (argument, words) in [
            ("best", "a policy is a strategy, KEY=VALUE, or a file"),
            ("strategy=best", "best"),
            ("speed=9", "unknown field `speed`"),
            ("timeout=soon", "no length of time"),
            ("attempts=many", "invalid type"),
            ("random,random", "twice"),
            ("absent.toml", "absent.toml: cannot be read"),
            (",", "no policy"),
        ] {
            let error = read(&[argument.into()]).err().unwrap_or_else(|| panic!("{argument} is none"));
            assert!(error.contains(words), "{argument}: {error}");
        }
    }
}
