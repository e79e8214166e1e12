//! Commands to one real `redis-server`: CPU of the client.

use std::cell::OnceCell;
use std::rc::Rc;

use crate::contestants::Load;
use crate::contestants::resp::{Command, Kind, Server};
use crate::rounds::{Contestant, Goal, Group};

/// Bytes of what is sent, or read.
const SIZE: u32 = 64;

pub(super) fn groups() -> Vec<Group> {
    let cells =
        Command::ALL.into_iter().flat_map(|command| [1, 64, 256].map(|in_flight| (command, in_flight)));
    cells.map(|(command, in_flight)| group(command, in_flight)).collect()
}

fn group(command: Command, in_flight: u32) -> Group {
    // One for all turns of the group.
    let server: Rc<OnceCell<Server>> = Rc::default();
    let contestant = |kind: Kind| {
        let server = server.clone();
        Contestant::new(kind.name(), move |time| {
            let server = match server.get() {
                Some(server) => server,
                None => {
                    let started = Server::start()?;
                    server.get_or_init(|| started)
                }
            };
            Ok(server.measure(kind, command, &Load::new(1, in_flight, SIZE), time)?.to_vec())
        })
    };
    let goal = Goal::ratio("plimsoll", "client", "redis", 1.0 / 3.0);
    let has_goal = command == Command::Ping && in_flight == 256;
    Group {
        name: format!("resp/{}-1x{in_flight}", command.name()),
        about: format!(
            "CPU us per request of the client alone, {SIZE} B, 1 connection x {in_flight} in flight"
        ),
        figures: &["client", "% waited"],
        contestants: Kind::ALL.map(contestant).into(),
        goals: if has_goal { vec![goal] } else { Vec::new() },
    }
}
