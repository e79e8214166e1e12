//! Half-open: who probes, and how many have come back well.

use core::num::NonZeroU32;

use crate::time::Instant;

/// How many probes may be out at a time, whatever the threshold.
pub const MAX_PROBES: usize = 8;

#[derive(Clone, Debug)]
pub(super) struct Probation {
    /// Since when, until somebody was told.
    untold: Option<Instant>,
    successes: u32,
    next: NonZeroU32,
    out: [Option<Probe>; MAX_PROBES],
}
crate::saved!(struct Probation { untold, successes, next, out });

#[derive(Clone, Copy, Debug)]
struct Probe {
    number: NonZeroU32,
    lease_end: Instant,
}
crate::saved!(struct Probe { number, lease_end });

impl Probation {
    pub(super) fn new(since: Instant) -> Self {
        Probation { untold: Some(since), successes: 0, next: NonZeroU32::MIN, out: [None; MAX_PROBES] }
    }

    /// Whether this is the first to ask for it.
    pub(super) fn tell(&mut self) -> bool {
        self.untold.take().is_some()
    }

    /// A place for one more probe, or when one may come free by itself.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        lease_end: Instant,
        limit: NonZeroU32,
    ) -> Result<NonZeroU32, Instant> {
        if let Some(first_end) = self.full_until(now, limit) {
            return Err(first_end);
        }
        let number = self.next;
        self.next = number.checked_add(1).unwrap_or(NonZeroU32::MIN);
        if let Some(place) = self.out.iter_mut().find(|place| place.is_none()) {
            *place = Some(Probe { number, lease_end });
        }
        Ok(number)
    }

    /// When the next place may come free by itself; `None` if one is free.
    pub(super) fn full_until(&self, now: Instant, limit: NonZeroU32) -> Option<Instant> {
        let limit = limit.get().min(MAX_PROBES as u32) as usize;
        let out = || self.probes().map(|probe| probe.lease_end).filter(|&end| now < end);
        out().min().filter(|_| out().count() >= limit)
    }

    /// The probe is back. Nothing happens if its lease had ended before: its place is another's by now.
    pub(super) fn give_back(&mut self, number: NonZeroU32) {
        self.free(|probe| probe.number == number);
    }

    pub(super) fn end_leases(&mut self, now: Instant) {
        self.free(|probe| probe.lease_end <= now);
    }

    /// One more success; whether that makes enough.
    pub(super) fn succeeded(&mut self, threshold: NonZeroU32) -> bool {
        self.successes += 1;
        self.successes >= threshold.get()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.untold.or_else(|| self.first_lease_end())
    }

    fn first_lease_end(&self) -> Option<Instant> {
        self.probes().map(|probe| probe.lease_end).min()
    }

    fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.out.iter().flatten()
    }

    fn free(&mut self, which: impl Fn(&Probe) -> bool) {
        for place in &mut self.out {
            place.take_if(|probe| which(probe));
        }
    }
}
