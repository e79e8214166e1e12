//! HTTP/2 over TLS in front: CPU of the process that takes the requests.

use crate::contestants::edge::{Edge, Haproxy, Standing};
use crate::rounds::{Contestant, Goal, Group};

pub(super) fn groups() -> Vec<Group> {
    let contestant =
        |name, edge| Contestant::new(name, move |time| Ok(vec![Standing::start(edge)?.measure(time)?]));
    vec![Group {
        name: "edge/16x32".into(),
        about: "CPU us per request of the edge alone, h2load over TLS, 16 connections x 32 streams; plimsoll in front of \
                a service over UW with limiter and breaker on, hyper answering by itself"
            .into(),
        figures: &["edge"],
        contestants: vec![
            contestant("hyper", Edge::Hyper),
            contestant("plimsoll", Edge::Plimsoll),
            contestant("haproxy, h1 behind", Edge::Haproxy(Haproxy::Http1)),
            contestant("haproxy, h2 behind", Edge::Haproxy(Haproxy::Http2)),
            contestant("haproxy, h2 behind, number, limit, breaker", Edge::Haproxy(Haproxy::Guarded)),
        ],
        goals: vec![
            Goal::ratio("plimsoll", "edge", "hyper", 1.3),
            Goal::ratio("plimsoll", "edge", "haproxy, h1 behind", 0.35),
            Goal::ratio("plimsoll", "edge", "haproxy, h2 behind", 0.35),
        ],
    }]
}
