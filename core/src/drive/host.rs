//! The application's side of a driver.

use core::task::Waker;

use crate::machine::Machine;
use crate::time::Instant;

/// Takes commands to a machine, and events from it. An async handle with a mailbox is one; so is a table of request
/// handlers, or a struct of the user's own that needs no handle at all.
pub trait Host<M: Machine> {
    /// At the start of every turn, and once more if there were events in it: what the application wants of the machine.
    fn commands(&mut self, now: Instant, machine: &mut M);

    /// One event, lent out of the receive buffer: whatever shall outlive the call is copied.
    fn event(&mut self, now: Instant, event: M::Event<'_>);

    /// At the end of every turn: what was gathered is handed to the application, all at once.
    fn publish(&mut self, now: Instant, machine: &mut M);

    /// The driver is dropped before the machine has shut down, or panics: the last that is seen of it.
    fn abandoned(&mut self, machine: &mut M) {
        let _ = machine;
    }

    /// Before the driver sleeps: whom to wake when there are commands. `true`: there are some already.
    fn arm(&mut self, driver: &Waker) -> bool;

    /// When the driver is to look at it again, even if nothing else happens.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether connections are still to be accepted. Once it is not so, the driver stops to listen for good.
    fn is_listening(&self) -> bool {
        true
    }
}
