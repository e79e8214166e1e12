//! What a recorder knows beforehand in a replay: what the machine will find in bytes that are not in the log.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::Recorder;
use crate::save::{Reader, Save};
use crate::wire::ipc::ConvertError;

/// In the order in which it will be asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    /// What the bytes to be decoded begin with.
    bytes: VecDeque<Vec<u8>>,
    conversions: VecDeque<Result<usize, ConvertError>>,
    writes: VecDeque<Option<usize>>,
}

impl Recorder {
    /// The bytes to be decoded next begin so.
    pub(crate) fn expect(&mut self, bytes: Vec<u8>) {
        self.script.bytes.push_back(bytes);
    }

    /// In a replay, puts back what the log has of bytes that are about to be decoded.
    pub(crate) fn put_back(&mut self, bytes: &mut [u8]) {
        if self.is_comparing()
            && let Some(known) = self.script.bytes.pop_front()
        {
            let n = known.len().min(bytes.len());
            bytes[..n].copy_from_slice(&known[..n]);
        }
    }

    pub(crate) fn expect_conversion(&mut self, len: usize, error: &[u8]) {
        let failed = ConvertError::load(&mut Reader::new(error));
        self.script.conversions.push_back(failed.map_or(Ok(len), Err));
    }

    /// In a replay, what came of the conversion that is about to be made.
    pub(crate) fn conversion(&mut self) -> Option<Result<usize, ConvertError>> {
        if self.is_comparing() { self.script.conversions.pop_front() } else { None }
    }

    pub(crate) fn expect_write(&mut self, len: Option<usize>) {
        self.script.writes.push_back(len);
    }

    /// In a replay, how many bytes are written now, if they can be.
    pub(crate) fn write_again(&mut self) -> Option<Option<usize>> {
        if self.is_comparing() { self.script.writes.pop_front() } else { None }
    }
}
