//! The three runtimes beside each other and the raw loop: embedded, by async handles, by a handle that blocks.

use super::uw::spent;
use crate::contestants::{Kind, Load};
use crate::rounds::{Goal, Group};

/// A host of one's own, and no handle.
const EMBEDDED: [Kind; 4] = [Kind::Raw, Kind::MioEmbedded, Kind::TokioEmbedded, Kind::SmolEmbedded];
/// Async handles on both sides.
const HANDLES: [Kind; 3] = [Kind::Raw, Kind::Plimsoll, Kind::Smol];
/// The raw server, and callers with a thread each.
const BLOCKING: [Kind; 3] = [Kind::Blocking, Kind::BlockingShared, Kind::Mio];

pub(super) fn groups() -> Vec<Group> {
    let unix = |load| Load { unix: true, ..load };
    let (small, large) = (Load::new(1, 256, 64), Load::new(1, 256, 4_096));
    let mut tcp_handles = spent("64B-1x256-handles", &small, &HANDLES);
    tcp_handles.goals.push(Goal::ratio("smol", "both", "raw", 1.85));
    let mut unix_handles = spent("64B-1x256-handles-unix", &unix(small.clone()), &HANDLES);
    unix_handles.goals.push(Goal::ratio("smol", "both", "raw", 2.1));
    unix_handles.goals.push(Goal::ratio("plimsoll", "both", "raw", 1.95));
    vec![
        embedded("64B-1x256-embedded", &small),
        embedded("64B-1x256-embedded-unix", &unix(small)),
        embedded("4KiB-1x256-embedded", &large),
        embedded("4KiB-1x256-embedded-unix", &unix(large)),
        tcp_handles,
        unix_handles,
        blocking("64B-blocking-1", &Load::new(1, 1, 64)),
        blocking("64B-blocking-8", &Load::new(1, 8, 64)),
    ]
}

fn embedded(name: &str, load: &Load) -> Group {
    let mut group = spent(name, load, &EMBEDDED);
    group.goals.push(Goal::ratio("mio-embedded", "both", "raw", 1.15));
    group.goals.push(Goal::ratio("tokio-embedded", "both", "mio-embedded", 1.05));
    group.goals.push(Goal::ratio("smol-embedded", "both", "mio-embedded", 1.2));
    group
}

/// What in flight is, are threads.
fn blocking(name: &str, load: &Load) -> Group {
    let mut group = spent(name, load, &BLOCKING);
    group.goals.push(Goal::ratio("mio", "client", "blocking", 1.1));
    group.goals.push(Goal::ratio("mio", "client", "blocking-shared", 1.1));
    group
}
