//! A priority level: the endpoints that share its part of the requests.

use alloc::vec::Vec;

use super::endpoint::Counted;
use crate::id::EndpointId;
use crate::policy::panic::{self, Spread};

#[derive(Clone, Debug)]
pub(super) struct Level {
    /// Endpoints that can take a request.
    pub(super) listed: Vec<EndpointId>,
    /// Counts the changes of the list, and of the weights in it.
    pub(super) version: u64,
    /// Endpoints that serve.
    pub(super) serving: u32,
    /// Of those, the ones whose breaker lets nothing through.
    pub(super) out: u32,
    /// Of those, the ones whose breaker, health check or comparison with the others speaks against them.
    pub(super) barred: u32,
    /// Of those, the ones that nothing speaks against.
    pub(super) available: u32,
    /// Of those that serve, the ones that have done so for a while.
    pub(super) seasoned: u32,
    /// Of those that serve, the ones whose weight still grows.
    pub(super) ramping: u32,
    pub(super) in_flight: u64,
    pub(super) spread: Spread,
    /// The rank above which nobody gets into this client's subset; `None`: everybody is to be looked at.
    pub(super) subset_limit: Option<u64>,
    /// Whether somebody came who may be in it, and none was chosen since.
    pub(super) is_unchosen: bool,
}
crate::saved!(struct Level {
    listed, version, serving, out, barred, available, seasoned, ramping, in_flight, spread, subset_limit,
    is_unchosen
});

impl Level {
    pub(super) fn new() -> Self {
        Level {
            listed: Vec::new(),
            version: 0,
            serving: 0,
            out: 0,
            barred: 0,
            available: 0,
            seasoned: 0,
            ramping: 0,
            in_flight: 0,
            spread: Spread::Available,
            subset_limit: None,
            is_unchosen: false,
        }
    }

    /// An endpoint counts differently now. Whether that lets the level panic, or calm down.
    pub(super) fn recount(&mut self, before: Counted, now: Counted, config: panic::Config) -> bool {
        let change = |count: &mut u32, before: bool, now: bool| {
            *count = *count + u32::from(now) - u32::from(before);
        };
        change(&mut self.serving, before.serving, now.serving);
        change(&mut self.out, before.out, now.out);
        change(&mut self.barred, before.barred, now.barred);
        change(&mut self.available, before.available, now.available);
        let spread = panic::assess(config, self.available, self.serving);
        core::mem::replace(&mut self.spread, spread) != spread
    }
}
