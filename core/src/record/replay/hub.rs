//! A hub plays a log.

use super::super::format::{Record, Segment};
use super::super::kinds::Kind;
use super::super::mask::unmask;
use super::super::{Record as _, Recorder};
use super::{Came, Player, tell};
use crate::ipc::hub::Hub;
use crate::machine::{Machine, Peer};
use crate::save::{Damaged, Reader, Save, Snapshot};
use crate::time::Instant;

pub(crate) struct HubPlayer {
    hub: Hub,
}

impl Player for HubPlayer {
    type Machine = Hub;

    fn machine(&mut self) -> &mut Self::Machine {
        &mut self.hub
    }

    fn load(segment: &Segment<'_>) -> Result<Self, Damaged> {
        Ok(HubPlayer { hub: Hub::restore(segment.snapshot)? })
    }

    fn expect(&mut self, finding: &Record<'_>, _: &str) {
        if let Some(log) = self.hub.recorder().filter(|log| !log.is_whole()) {
            expect(log, finding);
        }
    }

    fn call(&mut self, now: Instant, call: &Record<'_>, _: &str) -> Came {
        match call.kind {
            Kind::Event | Kind::NoEvent => drop(self.hub.event()),
            Kind::Accept => {
                let peer = Peer::load(&mut Reader::new(call.bytes)).unwrap_or(Peer::UNKNOWN);
                self.hub.accept(now, peer);
            }
            Kind::Shutdown => self.hub.shutdown(now, Instant::from_nanos(call.fields[0])),
            Kind::ResetMetrics => self.hub.reset_metrics(),
            _ => return tell(&mut self.hub, now, call),
        }
        Came::Nothing
    }
}

/// A finding in messages of Bro IPC.
pub(super) fn expect(log: &mut Recorder, finding: &Record<'_>) {
    match finding.kind {
        Kind::Raw => log.expect(finding.bytes.to_vec()),
        Kind::Message => log.expect(unmask(finding.bytes)),
        Kind::Converted => {
            log.expect_conversion(usize::try_from(finding.fields[0]).unwrap_or(0), finding.bytes);
        }
        Kind::Written => {
            let len = usize::try_from(finding.fields[0]).unwrap_or(0);
            log.expect_write((finding.fields[1] == 0).then_some(len));
        }
        _ => {}
    }
}
