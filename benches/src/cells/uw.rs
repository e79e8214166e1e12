//! CPU of client and server for a request over UW v1 on loopback.

use crate::contestants::{Kind, Load, Pair};
use crate::rounds::{Contestant, Goal, Group};

const FIGURES: &[&str] = &["both", "client", "server"];

pub(super) fn groups() -> Vec<Group> {
    let cell = |name: &str, load: Load, ratio| Group {
        name: format!("uw/{name}"),
        about: format!("CPU us per request, {}", Shape(&load)),
        figures: FIGURES,
        contestants: Kind::ALL.iter().map(|&kind| contestant(kind, load.clone())).collect(),
        goals: vec![Goal::ratio("plimsoll", "both", "raw", ratio)],
    };
    vec![
        cell("64B-1x256", Load::new(1, 256, 64), 1.75),
        cell("64B-16x256", Load::new(16, 256, 64), 1.0),
        cell("64B-1x64", Load::new(1, 64, 64), 1.4),
        cell("64B-1x256-apart", Load { apart: true, ..Load::new(1, 256, 64) }, 2.1),
        cell("4KiB-1x256", Load::new(1, 256, 4_096), 1.25),
        cell("64B-1x1", Load::new(1, 1, 64), 1.1),
    ]
}

fn contestant(kind: Kind, load: Load) -> Contestant {
    Contestant::new(kind.name(), move |time| {
        let cpu = Pair::start(kind, &load)?.measure(time)?;
        Ok(vec![cpu.client + cpu.server, cpu.client, cpu.server])
    })
}

/// A load, for people.
struct Shape<'a>(&'a Load);

impl std::fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Load { connections, in_flight, size, apart, .. } = self.0;
        let plural = if *connections == 1 { "" } else { "s" };
        write!(f, "{size} B, {connections} connection{plural} x {in_flight} in flight")?;
        if *apart { f.write_str(", callers on another thread") } else { Ok(()) }
    }
}
