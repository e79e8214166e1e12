//! Where commands for an application are put from outside.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

#[derive(Debug)]
pub(super) struct Desk<C>(Arc<Mutex<(Vec<C>, Option<Waker>)>>);

impl<C> Clone for Desk<C> {
    fn clone(&self) -> Self {
        Desk(self.0.clone())
    }
}

impl<C> Default for Desk<C> {
    fn default() -> Self {
        Desk(Arc::new(Mutex::new((Vec::new(), None))))
    }
}

impl<C> Desk<C> {
    pub(super) fn put(&self, command: C) {
        let waker = {
            let mut desk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            desk.0.push(command);
            desk.1.take()
        };
        waker.iter().for_each(Waker::wake_by_ref);
    }

    pub(super) fn take(&self, into: &mut VecDeque<C>) {
        into.extend(self.0.lock().unwrap_or_else(PoisonError::into_inner).0.drain(..));
    }

    /// Whom to wake for the next command; `true`: there are some already.
    pub(super) fn arm(&self, waker: &Waker) -> bool {
        let mut desk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        desk.1 = Some(waker.clone());
        !desk.0.is_empty()
    }
}
