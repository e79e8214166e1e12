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
use crate::record::{self, Record, Recorder, Subject, Told, pair};
use crate::save::Snapshot;
use crate::time::Instant;

impl Record for Hub {
    fn record(&mut self, options: record::Options) {
        self.state.log = Some(Box::new(Recorder::new(Subject::Hub, options, true)));
        self.begin_segment();
    }

    fn recorder(&mut self) -> Option<&mut Recorder> {
        self.state.log.as_deref_mut()
    }

    fn stop_recording(&mut self) {
        self.state.log = None;
    }
}

impl Hub {
    #[cold]
    fn begin_segment(&mut self) {
        let masked = self.masked_snapshot();
        let now = self.state.now;
        if let Some(log) = &mut self.state.log {
            log.begin_segment(now, &masked);
        }
    }

    /// Without any bytes that came or go: what is read of them is in the log.
    pub(crate) fn masked_snapshot(&mut self) -> Vec<u8> {
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

    pub(super) fn note_input(&mut self, input: Input) {
        let State { log: Some(log), lines, now, .. } = &mut self.state else { return };
        if let Input::Sent(conn, _) = input
            && let Some(conn) = lines.table.get(conn)
        {
            log.mix(conn.port.send.sent());
            log.mix(conn.port.send.len() as u64);
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

    /// Notes what it does, to be compared.
    pub(crate) fn compare(&mut self, options: record::Options, now: Instant, hash: u64) {
        let mut log = Recorder::comparing(Subject::Hub, options, true);
        log.restart(now, hash);
        self.state.log = Some(Box::new(log));
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
