//! What a hub notes while it is recorded.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Hub;
use super::api::{Cause, Event};
use super::state::State;
use crate::buf::Lent;
use crate::id::ConnId;
use crate::machine::Input;
use crate::record::kinds::Kind;
use crate::record::{Record, Recorder, Subject, Told, pair};
use crate::save::Snapshot;
use crate::time::Instant;

impl Record for Hub {
    const SUBJECT: Subject = Subject::Hub;

    fn log(&mut self) -> &mut Option<Box<Recorder>> {
        &mut self.state.log
    }

    fn told_time(&self) -> Instant {
        self.state.now
    }

    fn masked_snapshot(&mut self) -> Vec<u8> {
        let log = self.state.log.take();
        let mut masked = Hub { receiver: self.receiver.masked(|_| 0), state: self.state.clone(), lent: None };
        self.state.log = log;
        let table = &mut masked.state.lines.table;
        for slot in 0..table.slots() as u32 {
            if let Some(conn) = table.id_at(slot).and_then(|id| table.get_mut(id)) {
                conn.port.send.mask();
            }
        }
        masked.snapshot()
    }

    fn whole_snapshot(&self) -> Option<Vec<u8>> {
        Some(self.snapshot())
    }
}

impl Hub {
    /// Bytes are about to be noted as sent.
    pub(super) fn note_sent(&mut self, conn: ConnId, n: usize) {
        if let State { log: Some(log), lines, .. } = &mut self.state
            && let Some(conn) = lines.table.get(conn)
        {
            log.mix_sent(&conn.port.send, n);
        }
    }

    pub(super) fn note_input(&mut self, input: Input) {
        let State { log: Some(log), lines, now, .. } = &mut self.state else { return };
        if let Input::Sent(conn, _) = input
            && let Some(conn) = lines.table.get(conn)
        {
            log.sent_from(&conn.port.send);
        }
        log.input(*now, input);
        if log.is_full() {
            self.begin_segment();
        }
    }

    /// A message is about to be taken.
    #[cold]
    pub(super) fn note_message(&mut self, conn: ConnId, lent: &Lent) {
        let State { log: Some(log), lines, .. } = &mut self.state else { return };
        let message = self.receiver.lent_mut(lent);
        log.put_back(message);
        log.message(lines.table.get(conn).and_then(|conn| conn.format), message);
    }
}

impl State {
    pub(super) fn note<const N: usize>(&mut self, kind: Kind, fields: [u64; N]) {
        if let Some(log) = &mut self.log {
            log.put(kind, Some(self.now), fields);
        }
    }

    pub(super) fn note_room(&mut self, conn: ConnId, room: bool) {
        if let Some(log) = &mut self.log {
            log.gave_room(conn, room);
        }
    }
}

impl Recorder {
    /// What became of a message.
    pub(super) fn passed_on(&mut self, conn: ConnId, event: &Event<'_>) {
        let (what, to) = match event {
            Event::Registered { .. } => (0, None),
            Event::CallRouted { to, .. } => (1, Some(*to)),
            Event::CallAnswered { refused: None, .. } => (2, None),
            Event::CallAnswered { refused: Some(refused), .. } => {
                self.mix_debug(refused);
                (3, None)
            }
            Event::ResponseRouted { to, .. } => (4, Some(*to)),
            Event::ResponseDropped { .. } => (5, None),
            Event::Heartbeat { .. } => (6, None),
            Event::Invalid { refused, .. } => {
                self.mix_debug(refused);
                (7, None)
            }
            Event::Disconnected { .. } | Event::Missed(_) => (8, None),
        };
        self.mix(what);
        let [slot, generation] = to.map_or([u64::MAX; 2], pair);
        self.mix(slot);
        self.mix(generation);
        self.event(Told::Message, conn.slot(), 0);
    }

    /// A connection has ended.
    pub(super) fn ended(&mut self, conn: ConnId, cause: Cause) {
        self.mix_debug(&cause);
        self.mix(conn.generation().into());
        self.event(Told::State, conn.slot(), 0);
    }
}
