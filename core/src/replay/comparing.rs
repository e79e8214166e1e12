//! Plays a log to the machine at its head, and compares.

use super::client::{ClientPlayer, UwClientPlayer};
use super::hub::HubPlayer;
use super::ipc_client::IpcClientPlayer;
use super::outcome::{Replayed, Unreplayable};
use super::player::{Nobody, Player, Watch, load, play};
use super::server::ServerPlayer;
use crate::record::{Log, Subject};

/// Plays a log to a machine, and compares what it does with what it did.
///
/// # Errors
/// [`Unreplayable`]: nothing can be read, or the first difference.
pub fn replay(bytes: &[u8]) -> Result<Replayed, Unreplayable> {
    replay_as(&Log::read(bytes)?, true)
}

/// Plays a log to its end, whatever the machine does.
#[cfg(feature = "fuzzing")]
pub(crate) fn play_on(bytes: &[u8]) -> Result<Replayed, Unreplayable> {
    replay_as(&Log::read(bytes)?, false)
}

fn replay_as(log: &Log<'_>, compare: bool) -> Result<Replayed, Unreplayable> {
    match (log.subject(), log.is_whole(), log.segments[0].head.has_ids) {
        (Subject::Client, true, _) => play(&mut load::<UwClientPlayer>(log)?, log, compare, &mut Nobody),
        (Subject::Client, _, true) => play(&mut load::<ClientPlayer<true>>(log)?, log, compare, &mut Nobody),
        (Subject::Client, _, false) => {
            play(&mut load::<ClientPlayer<false>>(log)?, log, compare, &mut Nobody)
        }
        (Subject::IpcClient, ..) => play(&mut load::<IpcClientPlayer>(log)?, log, compare, &mut Nobody),
        (Subject::Hub, ..) => play(&mut load::<HubPlayer>(log)?, log, compare, &mut Nobody),
        (Subject::Server, ..) => play(&mut load::<ServerPlayer>(log)?, log, compare, &mut Nobody),
    }
}

/// Plays a log to the machine at its head, while somebody looks on. What cannot be compared is replayed first by one that can.
pub(crate) fn start<P: Player>(
    player: &mut P,
    log: &Log<'_>,
    watch: &mut impl Watch<P>,
) -> Result<Replayed, Unreplayable> {
    let compares = P::compares(&log.segments[0]);
    if !compares {
        replay_as(log, true)?;
    }
    play(player, log, compares, watch)
}
