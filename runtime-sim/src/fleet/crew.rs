//! Who is in a scenario: every host by a number, and those that a few words mean.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use toml::Spanned;

use super::scenario::{Problem, Scenario, at};

/// A host, by its number among its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Server(u32),
    Client(u32),
}

/// One host.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) node: Node,
    /// Of its group, or kind of clients, in the order of the file.
    pub(super) kind: usize,
    kind_name: String,
    /// Within it, from 1.
    number: u32,
    pub(super) zone: String,
}

impl Member {
    /// The name of the host.
    pub(super) fn name(&self) -> String {
        format!("{}-{}.internal", self.kind_name, self.number)
    }
}

/// All hosts: the servers in the order of their numbers, then the clients.
#[derive(Clone, Debug)]
pub(super) struct Crew {
    pub(super) members: Vec<Member>,
}

impl Crew {
    pub(super) fn of(scenario: &Scenario) -> Crew {
        let mut members = Vec::new();
        let mut servers = 0..;
        for (kind, group) in scenario.groups.iter().enumerate() {
            for number in 1..=*group.count.get_ref() {
                members.push(Member {
                    node: Node::Server(servers.next().unwrap_or_default()),
                    kind,
                    kind_name: group.name.get_ref().clone(),
                    number,
                    zone: group.zone.clone(),
                });
            }
        }
        let mut clients = 0..;
        for (kind, group) in scenario.clients.iter().enumerate() {
            for number in 1..=*group.count.get_ref() {
                members.push(Member {
                    node: Node::Client(clients.next().unwrap_or_default()),
                    kind,
                    kind_name: group.name.get_ref().clone(),
                    number,
                    zone: group.zone.clone(),
                });
            }
        }
        Crew { members }
    }

    /// Those that `words` mean: `users`, `users/3`, `users/1-5`, `zone b`, or several of these with commas between them.
    pub(super) fn find(&self, words: &Spanned<String>) -> Result<Vec<Node>, Problem> {
        let mut found = BTreeSet::new();
        for word in words.get_ref().split(',') {
            let Some(selector) = Selector::read(word.trim()) else {
                return at(
                    words,
                    format!(r#"{word:?} names no hosts; write "users", "users/3", "users/1-5" or "zone b""#),
                );
            };
            let before = found.len();
            found.extend(
                self.members.iter().filter(|member| selector.means(member)).map(|member| member.node),
            );
            if found.len() == before {
                let kinds: BTreeSet<_> =
                    self.members.iter().map(|member| member.kind_name.as_str()).collect();
                let kinds: Vec<_> = kinds.into_iter().collect();
                return at(
                    words,
                    format!(
                        "{word:?} means no host, or none that was not named before; there are {}",
                        kinds.join(", ")
                    ),
                );
            }
        }
        Ok(found.into_iter().collect())
    }

    /// The same, if all of them are servers.
    pub(super) fn find_servers(&self, words: &Spanned<String>) -> Result<Vec<u32>, Problem> {
        let server = |node| if let Node::Server(server) = node { Some(server) } else { None };
        match self.find(words)?.into_iter().map(server).collect() {
            Some(servers) => Ok(servers),
            None => at(words, "this can only happen to servers, and some of these are clients"),
        }
    }

    /// The same, if all of them are clients.
    pub(super) fn find_clients(&self, words: &Spanned<String>) -> Result<Vec<u32>, Problem> {
        let client = |node| if let Node::Client(client) = node { Some(client) } else { None };
        match self.find(words)?.into_iter().map(client).collect() {
            Some(clients) => Ok(clients),
            None => at(words, "this can only happen to clients, and some of these are servers"),
        }
    }
}

/// What one of the words means.
enum Selector<'a> {
    Zone(&'a str),
    Kind(&'a str),
    Numbers(&'a str, RangeInclusive<u32>),
}

impl<'a> Selector<'a> {
    fn read(word: &'a str) -> Option<Self> {
        if let Some(zone) = word.strip_prefix("zone ") {
            return Some(Selector::Zone(zone.trim()));
        }
        let Some((kind, numbers)) = word.split_once('/') else { return Some(Selector::Kind(word)) };
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        Some(Selector::Numbers(kind, first.parse().ok()?..=last.parse().ok()?))
    }

    fn means(&self, member: &Member) -> bool {
        match self {
            Selector::Zone(zone) => member.zone == *zone,
            Selector::Kind(kind) => member.kind_name == *kind,
            Selector::Numbers(kind, numbers) => member.kind_name == *kind && numbers.contains(&member.number),
        }
    }
}
