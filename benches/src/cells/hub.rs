//! Calls that a hub passes on: CPU of its process for each.

use crate::contestants::Load;
use crate::contestants::hub::{Hub, Trio};
use crate::rounds::{Contestant, Goal, Group};

pub(super) fn groups() -> Vec<Group> {
    let goal = Some(0.2);
    vec![
        cpu("64B-1x256", Load::new(1, 256, 64), goal),
        cpu("64B-16x256", Load::new(16, 256, 64), goal),
        cpu("4KiB-1x256", Load::new(1, 256, 4_096), goal),
        cpu("4KiB-16x256", Load::new(16, 256, 4_096), goal),
        cpu("200B-1x1", Load::new(1, 1, 200), None),
        cpu("200B-1x64", Load::new(1, 64, 200), None),
        cpu("200B-16x1", Load::new(16, 1, 200), None),
        cpu("200B-16x64", Load::new(16, 64, 200), None),
    ]
}

fn cpu(name: &str, load: Load, goal: Option<f64>) -> Group {
    let Load { connections, in_flight, size, .. } = load;
    let about = format!(
        "CPU us per call of the hub alone, there and back, {size} B, callers and in flight each: {connections} x {in_flight}"
    );
    let contestant = |hub: Hub| {
        let load = load.clone();
        Contestant::new(hub.name(), move |time| {
            let spent = Trio::start(hub, &load)?.measure(time)?;
            Ok(vec![spent.hub, spent.service, spent.callers, spent.waited])
        })
    };
    let goals = goal.into_iter().flat_map(|at_most| {
        [Hub::Plimsoll, Hub::PlimsollUnix]
            .map(|hub| Goal::ratio(hub.name(), "hub", Hub::Nats.name(), at_most))
    });
    Group {
        name: format!("hub/{name}"),
        about,
        figures: &["hub", "service", "callers", "% waited"],
        contestants: Hub::ALL.map(contestant).into(),
        goals: goals.collect(),
    }
}
