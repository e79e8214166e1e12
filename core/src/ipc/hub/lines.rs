//! The connections of a hub as far as their bytes and their ends go.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::api::{Cause, Config, Metrics};
use super::conn::{Conn, Intake};
use crate::buf::SendPool;
use crate::id::{ConnId, Table, kind};
use crate::machine::Action;
use crate::sched::ReadyList;

/// Emptied send chunks that are kept, at most 128 KiB each.
const KEPT_CHUNKS: usize = 256;

#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub(super) table: Table<kind::Conn, Conn>,
    /// Connections with an action for the runtime.
    pub(super) actions: ReadyList,
    /// Connections that are to be closed, which is done one by one: the end of one may be the end of another.
    doomed: VecDeque<(ConnId, Cause)>,
    pool: SendPool,
    /// Bytes that wait to be sent, in all.
    pub(super) unsent: u64,
}
crate::saved!(struct Lines { table, actions, doomed, pool, unsent });

impl Lines {
    pub(super) fn new() -> Self {
        Lines {
            table: Table::new(),
            actions: ReadyList::new(),
            doomed: VecDeque::new(),
            pool: SendPool::new(KEPT_CHUNKS),
            unsent: 0,
        }
    }

    /// The connection, unless it is gone or about to be.
    pub(super) fn live(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.table.get_mut(id).filter(|conn| !conn.closed)
    }

    /// Lets `write` append what is to be sent. Nothing is sent to a connection that has had its last words, and one that
    /// lets too much wait has its end.
    pub(super) fn push<E>(
        &mut self,
        config: &Config,
        id: ConnId,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(conn) = self.table.get_mut(id).filter(|conn| !conn.closed) else { return Ok(()) };
        if matches!(conn.intake, Intake::Stopped(..)) {
            return Ok(());
        }
        self.unsent += conn.port.push(&mut self.pool, write)?;
        let waits = conn.port.load.bytes();
        let in_all = self.unsent > u64::from(config.unsent_total.get()) && waits > config.unsent.low();
        if in_all || waits >= config.unsent.high().saturating_mul(2) {
            self.doomed.push_back((id, Cause::SlowReader));
        }
        self.settle(id);
        Ok(())
    }

    /// The transport took so many bytes.
    pub(super) fn sent(&mut self, id: ConnId, n: usize, metrics: &mut Metrics) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| !conn.closed) else { return };
        let n = conn.port.sent(&mut self.pool, n);
        self.unsent -= n;
        metrics.bytes_out += n;
        self.settle(id);
    }

    /// Brings the list of actions in line with what a connection wants; dooms one that is through.
    pub(super) fn settle(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id).filter(|conn| !conn.closed) else { return };
        if let Some(cause) = conn.finished() {
            self.doomed.push_back((id, cause));
        }
        let waits = conn.port.signals.update(conn.reads(), !conn.port.send.is_empty());
        self.actions.set(id.slot(), waits);
    }

    pub(super) fn doom(&mut self, id: ConnId, cause: Cause) {
        self.doomed.push_back((id, cause));
    }

    pub(super) fn next_doomed(&mut self) -> Option<(ConnId, Cause)> {
        self.doomed.pop_front()
    }

    /// Drops what a connection has to send, and has the runtime told.
    pub(super) fn close(&mut self, id: ConnId) {
        let Some(conn) = self.table.get_mut(id) else { return };
        conn.closed = true;
        self.unsent -= conn.port.send.len() as u64;
        conn.port.send.clear(&mut self.pool);
        self.actions.push(id.slot());
    }

    /// The runtime knows that the connection is gone.
    pub(super) fn forget(&mut self, id: ConnId) {
        if self.table.remove(id).is_some() {
            self.actions.remove(id.slot());
        }
    }

    pub(super) fn poll(&mut self) -> Option<Action> {
        let slot = self.actions.peek()?;
        let id = self.table.id_at(slot)?;
        let conn = self.table.get_mut(id)?;
        if conn.closed {
            self.forget(id);
            return Some(Action::Close(id));
        }
        let action = conn.port.signals.next(id, conn.reads());
        let waits = conn.port.signals.update(conn.reads(), !conn.port.send.is_empty());
        self.actions.set(slot, waits);
        action
    }
}
