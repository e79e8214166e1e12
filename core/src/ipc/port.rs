//! The bytes of one connection: the next message in what was received, and what is to be sent.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::buf::{Receiver, SendPool, SendQueue};
use crate::error::ProtocolError;
use crate::policy::watermark::{Band, Watermark};
use crate::record::Recorder;
use crate::record::kinds::Kind;
use crate::sched::Signals;
use crate::time::Instant;
use crate::wire::ipc::{HEADER, Limits, Step, decode_frame};

#[derive(Clone, Debug)]
pub(super) struct Port {
    /// The length of the next message, which is whole in the receive buffer and not yet taken.
    pub(super) head: Option<usize>,
    pub(super) send: SendQueue,
    /// Bytes that wait to be sent.
    pub(super) load: Watermark,
    pub(super) signals: Signals,
    /// When the first byte of the message was seen that is not yet whole.
    pub(super) began: Option<Instant>,
}
crate::saved!(struct Port { head, send, load, signals, began });

impl Port {
    pub(super) fn new(unsent: Band) -> Self {
        let any = const { Band::new(0, u64::MAX).expect("low is below high") };
        Port {
            head: None,
            send: SendQueue::default(),
            load: Watermark::new(any, unsent),
            signals: Signals::new(),
            began: None,
        }
    }

    /// Finds the next message, which stays where it is until it is taken; whether there is one. Only marks bytes of the
    /// receiver as needed, so that what is lent stays in place.
    pub(super) fn look_ahead(
        &mut self,
        receiver: &mut Receiver,
        slot: u32,
        now: Instant,
        limits: &Limits,
        log: &mut Option<Box<Recorder>>,
    ) -> Result<bool, ProtocolError> {
        if self.head.is_some() {
            return Ok(true);
        }
        let bytes = receiver.bytes(slot);
        if bytes.is_empty() {
            self.began = None;
            return Ok(false);
        }
        let step = match log {
            None => decode_frame(bytes, limits)?,
            Some(log) => {
                log.put_back(receiver.bytes_mut(slot));
                let bytes = receiver.bytes(slot);
                log.find_bytes(Kind::Raw, [], &bytes[..bytes.len().min(HEADER)]);
                decode_frame(bytes, limits)?
            }
        };
        match step {
            Step::Need(total) => {
                receiver.need(slot, total);
                self.began = self.began.or(Some(now));
            }
            Step::Frame(body) => {
                self.began = None;
                self.head = Some(body.end);
            }
        }
        Ok(self.head.is_some())
    }

    /// Lets `write` append what is to be sent; how many bytes that were.
    pub(super) fn push<E>(
        &mut self,
        pool: &mut SendPool,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let before = self.send.len();
        self.send.push_with(pool, write)?;
        let more = (self.send.len() - before) as u64;
        self.load.add(0, more);
        Ok(more)
    }

    /// The transport took so many bytes; how many of them there were.
    pub(super) fn sent(&mut self, pool: &mut SendPool, n: usize) -> u64 {
        let n = n.min(self.send.len());
        self.send.advance(pool, n);
        self.removed(n as u64);
        n as u64
    }

    /// Takes so many bytes at a stream position out again, none of which the transport has taken.
    pub(super) fn cut(&mut self, from: u64, len: u64) {
        self.send.cut(from, len as usize);
        self.removed(len);
    }

    fn removed(&mut self, n: u64) {
        self.load.remove(0, n);
        if self.send.is_empty() {
            self.signals.emptied();
        }
    }
}
