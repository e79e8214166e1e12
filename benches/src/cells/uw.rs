//! Requests over UW v1 on loopback: CPU of client and server, system calls, memory.

use std::fmt;

use crate::contestants::{Kind, Load, Pair, calls_per_request};
use crate::rounds::{Contestant, Goal, Group};

/// Those that speak UW.
const UW: [Kind; 3] = [Kind::Raw, Kind::PlainTokio, Kind::Plimsoll];
const BESIDE_TONIC: [Kind; 4] = [Kind::Raw, Kind::PlainTokio, Kind::Plimsoll, Kind::Tonic];

pub(super) fn groups() -> Vec<Group> {
    let mut beside_tonic = cpu("64B-1x256", Load::new(1, 256, 64), 1.75, &BESIDE_TONIC);
    beside_tonic.goals.push(Goal::ratio("plimsoll", "both", "tonic", 1.0 / 30.0));
    vec![
        beside_tonic,
        cpu("64B-16x256", Load::new(16, 256, 64), 1.0, &UW),
        cpu("64B-1x64", Load::new(1, 64, 64), 1.4, &UW),
        cpu("64B-1x256-apart", Load { apart: true, ..Load::new(1, 256, 64) }, 2.1, &UW),
        cpu("4KiB-1x256", Load::new(1, 256, 4_096), 1.25, &UW),
        cpu("64B-1x1", Load::new(1, 1, 64), 1.1, &UW),
        recorded(),
        system_calls(),
        idle_connections(),
    ]
}

fn cpu(name: &str, load: Load, goal: f64, kinds: &[Kind]) -> Group {
    let goals = vec![Goal::ratio("plimsoll", "both", "raw", goal)];
    Group { goals, ..spent(name, &load, kinds) }
}

/// Who spends how much on a load, without a goal.
pub(super) fn spent(name: &str, load: &Load, kinds: &[Kind]) -> Group {
    let contestant = |&kind: &Kind| {
        let load = load.clone();
        Contestant::new(kind.name(), move |time| {
            let spent = Pair::start(kind, &load)?.measure(time)?;
            Ok(vec![spent.client + spent.server, spent.client, spent.server, spent.waited])
        })
    };
    Group {
        name: format!("uw/{name}"),
        about: format!("CPU us per request, {}", Shape(load)),
        figures: &["both", "client", "server", "% waited"],
        contestants: kinds.iter().map(contestant).collect(),
        goals: Vec::new(),
    }
}

/// What a log of everything costs, on both sides.
fn recorded() -> Group {
    let mut group = spent("64B-1x256-recorded", &Load::new(1, 256, 64), &[Kind::Plimsoll, Kind::Recorded]);
    group.goals.push(Goal::ratio("recorded", "both", "plimsoll", 1.03));
    group
}

fn system_calls() -> Group {
    let load = Load::new(1, 1, 64);
    let contestant = |kind: Kind| {
        let load = load.clone();
        Contestant::new(kind.name(), move |_| {
            let calls = calls_per_request(kind, &load)?;
            Ok(vec![calls.client, calls.server])
        })
    };
    let goal = |figure| Goal { of: "plimsoll", figure, beside: None, at_most: 4.0 };
    Group {
        name: "uw/64B-1x1-syscalls".into(),
        about: format!("system calls per request, {}", Shape(&load)),
        figures: &["client", "server"],
        contestants: UW.map(contestant).into(),
        goals: vec![goal("client"), goal("server")],
    }
}

fn idle_connections() -> Group {
    let contestant = |name, kind, idle| {
        let load = Load { idle, ..Load::new(1, 1, 64) };
        Contestant::new(name, move |time| {
            let spent = Pair::with_raw_client(kind, &load)?.measure(time)?;
            Ok(vec![spent.server, spent.grown as f64 / 1e6, spent.waited])
        })
    };
    Group {
        name: "uw/64B-1000-open".into(),
        about: "the server of so many connections, one of them with 1 request in flight, the client raw: \
                CPU us per request, MB of resident memory more than before they came"
            .into(),
        figures: &["server", "memory", "% waited"],
        contestants: vec![
            contestant("plimsoll 1", Kind::Plimsoll, 0),
            contestant("plimsoll 1,000", Kind::Plimsoll, 999),
            contestant("plain-tokio 1", Kind::PlainTokio, 0),
            contestant("plain-tokio 1,000", Kind::PlainTokio, 999),
            contestant("raw 1", Kind::Raw, 0),
            contestant("raw 1,000", Kind::Raw, 999),
        ],
        goals: vec![
            Goal::ratio("plimsoll 1,000", "server", "plimsoll 1", 1.2),
            Goal { of: "plimsoll 1,000", figure: "memory", beside: None, at_most: 4.0 },
        ],
    }
}

/// A load, for people.
pub(super) struct Shape<'a>(pub(super) &'a Load);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Load { connections, in_flight, size, apart, unix, .. } = self.0;
        let plural = if *connections == 1 { "" } else { "s" };
        write!(f, "{size} B, {connections} connection{plural} x {in_flight} in flight")?;
        if *apart {
            f.write_str(", callers on another thread")?;
        }
        if *unix { f.write_str(", Unix socket") } else { Ok(()) }
    }
}
