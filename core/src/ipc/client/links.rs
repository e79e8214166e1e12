//! The connections of a client: each dials, registers, beats, and waits before it dials again.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::api::{Cause, Config, Metrics, StateEvent};
use crate::buf::{Receiver, SendPool};
use crate::error::{Misuse, ProtocolError};
use crate::id::{ConnId, Table, kind};
use crate::ipc::port::Port;
use crate::machine::Action;
use crate::policy::backoff::Backoff;
use crate::record::Recorder;
use crate::record::kinds::Kind;
use crate::rng::Pcg;
use crate::time::Instant;
use crate::wire::ipc::Limits;

/// Emptied send chunks that are kept, at most 128 KiB each.
const KEPT_CHUNKS: usize = 64;
/// So many changes wait to be told.
const EVENTS: usize = 256;
/// How long the last bytes may take to be sent when the application disconnects.
const LINGER: core::time::Duration = core::time::Duration::from_secs(1);

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none; it is dialled then, if ever.
    Idle(Option<Instant>),
    Dialing(ConnId, Instant),
    /// The hub was told the name, and has not acknowledged it.
    Registering(ConnId, Instant),
    /// It serves; the next heartbeat is due then.
    Registered(ConnId, Instant),
    /// It closes once its last bytes are sent, for this cause.
    Closing(ConnId, Instant, Cause),
}
crate::saved!(enum Stage {
    0 = Idle(value), 1 = Dialing(first, second), 2 = Registering(first, second),
    3 = Registered(first, second), 4 = Closing(first, second, third)
});

impl Stage {
    pub(super) fn conn(self) -> Option<ConnId> {
        match self {
            Stage::Idle(_) => None,
            Stage::Dialing(conn, _)
            | Stage::Registering(conn, _)
            | Stage::Registered(conn, _)
            | Stage::Closing(conn, ..) => Some(conn),
        }
    }
}

/// One of the pool.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) stage: Stage,
    pub(super) port: Port,
    /// Waits for the receive budget.
    pub(super) starved: bool,
    /// How many bytes had left at the last heartbeat.
    pub(super) sent_before: Option<u64>,
    backoff: Backoff,
}
crate::saved!(struct Link { stage, port, starved, sent_before, backoff });

#[derive(Clone, Debug)]
pub(super) struct Links {
    pub(super) pool: Vec<Link>,
    /// Which of the pool a connection is; kept until the runtime knows of its end.
    conns: Table<kind::Conn, u32>,
    pub(super) actions: VecDeque<Action>,
    pub(super) events: VecDeque<StateEvent>,
    missed: u64,
    chunks: SendPool,
    rng: Pcg,
    /// Whether the application wants to be connected.
    pub(super) wanted: bool,
    /// Connections that have ended, whose calls are lost; and how many bytes their transports took.
    pub(super) ended: VecDeque<(ConnId, u64)>,
    /// Slots whose receive buffers nobody needs any more.
    pub(super) released: Vec<u32>,
    /// Where the search for the next connection begins.
    next: usize,
    /// Beside what is sent, since its length is all that a log has of it.
    pub(super) log: Option<Box<Recorder>>,
}
crate::saved!(struct Links {
    pool, conns, actions, events, missed, chunks, rng, wanted, ended, released, next;
    rebuilt log = None
});

impl Links {
    pub(super) fn new(config: &Config, rng: Pcg) -> Self {
        let link = || Link {
            stage: Stage::Idle(None),
            port: Port::new(config.unsent),
            starved: false,
            sent_before: None,
            backoff: Backoff::new(config.reconnect),
        };
        Links {
            pool: core::iter::repeat_with(link).take(config.pool_size.get().min(64) as usize).collect(),
            conns: Table::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            missed: 0,
            chunks: SendPool::new(KEPT_CHUNKS),
            rng,
            wanted: false,
            ended: VecDeque::new(),
            released: Vec::new(),
            next: 0,
            log: None,
        }
    }

    /// Which of the pool a connection is, while it stands.
    pub(super) fn find(&self, conn: ConnId) -> Option<u32> {
        let &index = self.conns.get(conn)?;
        (self.pool[index as usize].stage.conn() == Some(conn)).then_some(index)
    }

    pub(super) fn get(&mut self, conn: ConnId) -> Option<&mut Link> {
        let index = self.find(conn)?;
        Some(&mut self.pool[index as usize])
    }

    pub(super) fn view(&self, conn: ConnId) -> Option<&Link> {
        Some(&self.pool[self.find(conn)? as usize])
    }

    /// Whether no connection is left that the runtime knows of.
    pub(super) fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// The connection that the next call goes over: the registered one with the least to send, in turn.
    pub(super) fn choose(&mut self) -> Option<ConnId> {
        let len = self.pool.len();
        let at = |turn: usize| (self.next + turn) % len;
        let registered = (0..len).map(at).filter_map(|at| match self.pool[at].stage {
            Stage::Registered(conn, _) => Some((self.pool[at].port.load.bytes(), at, conn)),
            _ => None,
        });
        let (_, at, conn) = registered.min_by_key(|&(unsent, ..)| unsent)?;
        self.next = at + 1;
        Some(conn)
    }

    pub(super) fn tell(&mut self, event: StateEvent) {
        if self.events.len() < EVENTS {
            self.events.push_back(event);
        } else {
            self.missed += 1;
        }
    }

    pub(super) fn next_event(&mut self) -> Option<StateEvent> {
        self.events.pop_front().or_else(|| match core::mem::take(&mut self.missed) {
            0 => None,
            missed => Some(StateEvent::Missed(missed)),
        })
    }

    pub(super) fn has_event(&self) -> bool {
        !self.events.is_empty() || self.missed > 0
    }

    pub(super) fn dial(&mut self, now: Instant, index: u32, config: &Config, metrics: &mut Metrics) {
        let conn = self.conns.insert(index);
        metrics.dials += 1;
        let link = &mut self.pool[index as usize];
        // A whole new port: nothing of the last connection may be left.
        link.port = Port::new(config.unsent);
        link.starved = false;
        link.stage = Stage::Dialing(conn, now + config.connect_timeout);
        self.actions.push_back(Action::Connect(conn));
    }

    pub(super) fn registered(&mut self, conn: ConnId, beat: Instant) {
        let Some(index) = self.find(conn) else { return };
        let link = &mut self.pool[index as usize];
        (link.stage, link.sent_before) = (Stage::Registered(conn, beat), None);
        link.backoff.reset();
        self.tell(StateEvent::Registered { index });
    }

    /// Ends a connection. `told`: the runtime knows of it already.
    pub(super) fn end(&mut self, now: Instant, conn: ConnId, cause: Cause, told: bool, config: &Config) {
        if let Some(index) = self.find(conn) {
            let link = &mut self.pool[index as usize];
            if !matches!(link.stage, Stage::Dialing(..)) {
                self.released.push(conn.slot());
            }
            let told_before = matches!(link.stage, Stage::Closing(..));
            let again = self.wanted && config.auto_reconnect;
            let wait = again.then(|| now + link.backoff.next(&mut self.rng));
            link.stage = Stage::Idle(wait);
            self.ended.push_back((conn, link.port.send.sent()));
            link.port.send.clear(&mut self.chunks);
            link.port.head = None;
            if !told_before {
                self.tell(StateEvent::Disconnected { index, cause });
            }
            if !told {
                self.actions.push_back(Action::Close(conn));
            }
        }
        if told {
            self.conns.remove(conn);
        }
    }

    /// Ends a connection once what waits is sent. Its calls are lost at once.
    pub(super) fn close_gently(&mut self, now: Instant, conn: ConnId, cause: Cause, config: &Config) {
        let Some(index) = self.find(conn) else { return };
        let link = &mut self.pool[index as usize];
        match link.stage {
            Stage::Registering(..) | Stage::Registered(..) if !link.port.send.is_empty() => {
                link.stage = Stage::Closing(conn, now + LINGER, cause);
                link.port.head = None;
                self.ended.push_back((conn, link.port.send.sent()));
                self.tell(StateEvent::Disconnected { index, cause });
            }
            Stage::Closing(..) => {}
            _ => self.end(now, conn, cause, false, config),
        }
    }

    /// Finds the next message of a connection; `None` if it is none of the pool.
    pub(super) fn look_ahead(
        &mut self,
        conn: ConnId,
        receiver: &mut Receiver,
        now: Instant,
        limits: &Limits,
    ) -> Option<Result<bool, ProtocolError>> {
        let index = self.find(conn)?;
        let port = &mut self.pool[index as usize].port;
        Some(port.look_ahead(receiver, conn.slot(), now, limits, &mut self.log))
    }

    /// Lets `write` append what is to be sent; whether too much waits by now.
    pub(super) fn push(
        &mut self,
        conn: ConnId,
        config: &Config,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Misuse>,
    ) -> Result<bool, Misuse> {
        let Some(index) = self.find(conn) else { return Ok(false) };
        let link = &mut self.pool[index as usize];
        match &mut self.log {
            None => drop(link.port.push(&mut self.chunks, write)?),
            Some(log) => {
                let again = log.write_again();
                let written = link.port.push(&mut self.chunks, |out| match again {
                    None => write(out),
                    Some(Some(len)) => {
                        out.resize(out.len() + len, 0);
                        Ok(())
                    }
                    Some(None) => Err(Misuse::Unencodable("as it was then")),
                });
                log.find(Kind::Written, [written.unwrap_or(0), written.is_err().into()]);
                written?;
            }
        }
        let waits = link.port.load.bytes();
        self.settle(conn);
        Ok(waits >= config.unsent.high().saturating_mul(2))
    }

    /// The transport took so many bytes; how many there were.
    pub(super) fn sent(&mut self, conn: ConnId, n: usize) -> u64 {
        let Some(index) = self.find(conn) else { return 0 };
        let sent = self.pool[index as usize].port.sent(&mut self.chunks, n);
        self.settle(conn);
        sent
    }

    /// Takes `len` bytes at stream position `start` out of what is to be sent; `false` if one of them has left.
    pub(super) fn cut(&mut self, conn: ConnId, start: u64, len: u64) -> bool {
        let Some(index) = self.find(conn) else { return false };
        let port = &mut self.pool[index as usize].port;
        if port.send.sent() > start {
            return false;
        }
        port.cut(start, len);
        self.settle(conn);
        true
    }

    /// Has the runtime told what is new.
    pub(super) fn settle(&mut self, conn: ConnId) {
        let Some(index) = self.find(conn) else { return };
        let link = &mut self.pool[index as usize];
        let (read, write) = (!link.starved, !link.port.send.is_empty());
        if link.port.signals.update(read, write) {
            while let Some(action) = link.port.signals.next(conn, read) {
                self.actions.push_back(action);
            }
        }
    }

    /// The next action; one for a connection that has ended since is none.
    pub(super) fn poll(&mut self) -> Option<Action> {
        while let Some(action) = self.actions.pop_front() {
            let conn = action.conn();
            match action {
                Action::Close(_) if self.conns.remove(conn).is_some() => return Some(action),
                Action::Close(_) => {}
                _ if self.find(conn).is_some() => return Some(action),
                _ => {}
            }
        }
        None
    }

    /// When something is to be done about a connection.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.pool.iter().filter_map(|link| match link.stage {
            Stage::Idle(at) => at,
            Stage::Dialing(_, at)
            | Stage::Registering(_, at)
            | Stage::Registered(_, at)
            | Stage::Closing(_, at, _) => Some(at),
        });
        due.min()
    }
}
