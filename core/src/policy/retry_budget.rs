//! How much may be sent again: one budget for retries, requeues and hedges.
//!
//! When a service fails, clients that retry each call three times send it four times the load, just then. A
//! budget ties what is repeated to what is asked: by default a fifth of the calls of the last 10 s, and 10 per
//! second besides, so that a client with few calls may retry too. After Finagle's `RetryBudget`
//! ("Retry Budgets", Finagle blog, 2016).
//!
//! ```
//! use plimsoll_core::policy::retry_budget::{Config, RetryBudget};
//! use plimsoll_core::time::Instant;
//!
//! let now = Instant::from_millis(1);
//! let mut budget = RetryBudget::new(Config { per_second: 0, ..Config::default() }, now);
//! (0..10).for_each(|_| budget.deposit(now)); // ten calls were made
//! assert!(budget.withdraw(now) && budget.withdraw(now)); // two of them may be repeated
//! assert!(!budget.withdraw(now));
//! ```
//!
//! Over any history, what was withdrawn is at most `ratio` × deposits + `per_second` × (elapsed + `ttl`).

use core::time::Duration;

use super::buckets::Buckets;
use super::fixed::Ratio;
use crate::time::{Instant, nanos};

/// What a [`RetryBudget`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How much of a retry each call gives. Default 20 %.
    pub ratio: Ratio,
    /// How many retries each second gives, whatever the calls. Default 10.
    pub per_second: u32,
    /// How long what was given may be kept, so that a quiet night does not pay for a storm in the morning; it is
    /// dropped a tenth of this at a time. What the seconds give is full at the start. Default 10 s.
    pub ttl: Duration,
}
crate::saved!(struct Config { ratio, per_second, ttl });

impl Default for Config {
    fn default() -> Self {
        Config { ratio: Ratio::percent(20), per_second: 10, ttl: Duration::from_secs(10) }
    }
}

/// A retry, in the unit of all balances: with it, both a thousandth of a call and a nanosecond of `per_second`
/// are whole numbers.
const RETRY: u64 = 1_000_000_000;

/// The budget of one service.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    per_call: u64,
    per_second: u32,
    calls: Buckets<u64>,
    /// The sum of `calls`.
    from_calls: u64,
    /// What the seconds have given, at most `reserve_cap`.
    reserve: u64,
    reserve_cap: u64,
    refilled: Instant,
}
crate::saved!(struct RetryBudget { per_call, per_second, calls, from_calls, reserve, reserve_cap, refilled });

impl RetryBudget {
    /// A budget before any call, with a full reserve of `per_second` × `ttl` retries.
    pub fn new(config: Config, now: Instant) -> Self {
        let reserve_cap = nanos(config.ttl).saturating_mul(u64::from(config.per_second));
        RetryBudget {
            per_call: config.ratio.of(RETRY),
            per_second: config.per_second,
            calls: Buckets::new(config.ttl),
            from_calls: 0,
            reserve: reserve_cap,
            reserve_cap,
            refilled: now,
        }
    }

    /// A call is made for the first time.
    pub fn deposit(&mut self, now: Instant) {
        let sum = &mut self.from_calls;
        let bucket = self.calls.at(now, |expired| *sum -= expired);
        if let Some(grown) = self.from_calls.checked_add(self.per_call) {
            *bucket += self.per_call;
            self.from_calls = grown;
        }
    }

    /// A call is to be made again: whether it may be. If so, it is paid for.
    pub fn withdraw(&mut self, now: Instant) -> bool {
        self.refill(now);
        if self.from_calls.saturating_add(self.reserve) < RETRY {
            return false;
        }
        let due = self.take_from_calls(RETRY);
        self.reserve -= due;
        true
    }

    /// How many retries could be made now.
    pub fn balance(&self, now: Instant) -> u64 {
        let from_calls: u64 = self.calls.alive(now).sum();
        from_calls.saturating_add(self.reserve_at(now)) / RETRY
    }

    fn refill(&mut self, now: Instant) {
        let sum = &mut self.from_calls;
        self.calls.at(now, |expired| *sum -= expired);
        self.reserve = self.reserve_at(now);
        self.refilled = self.refilled.max(now);
    }

    fn reserve_at(&self, now: Instant) -> u64 {
        let given = nanos(now.since(self.refilled)).saturating_mul(u64::from(self.per_second));
        self.reserve.saturating_add(given).min(self.reserve_cap)
    }

    /// Takes up to `due`, what expires next first; gives back what is still due.
    fn take_from_calls(&mut self, mut due: u64) -> u64 {
        for bucket in self.calls.oldest_first() {
            let taken = due.min(*bucket);
            *bucket -= taken;
            self.from_calls -= taken;
            due -= taken;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    fn withdraw_all(budget: &mut RetryBudget, now: Instant) -> u64 {
        let told = budget.balance(now);
        let taken = (0..10_000).take_while(|_| budget.withdraw(now)).count() as u64;
        assert_eq!(taken, told);
        taken
    }

    #[test]
    fn a_fifth_of_the_calls_and_ten_per_second() {
        let start = Instant::from_millis(7);
        let mut budget = RetryBudget::new(Config::default(), start);
        assert_eq!(withdraw_all(&mut budget, start), 100, "the reserve of 10 s");
        let later = start + Duration::from_secs(2);
        (0..1_000).for_each(|_| budget.deposit(later));
        assert_eq!(withdraw_all(&mut budget, later), 220);
    }

    #[test]
    fn what_calls_gave_is_forgotten_after_the_time_to_live() {
        let mut budget = RetryBudget::new(Config { per_second: 0, ..Config::default() }, Instant::ZERO);
        (0..1_000).for_each(|_| budget.deposit(Instant::ZERO));
        assert_eq!(budget.balance(Instant::from_millis(9_000)), 200);
        assert_eq!(withdraw_all(&mut budget, Instant::from_millis(10_000)), 0);
    }

    #[test]
    fn an_idle_hour_saves_no_more_than_the_reserve() {
        let mut budget = RetryBudget::new(Config::default(), Instant::ZERO);
        assert_eq!(withdraw_all(&mut budget, Instant::from_millis(3_600_000)), 100);
    }

    #[test]
    fn a_total_outage_is_not_amplified() {
        let mut budget = RetryBudget::new(Config::default(), Instant::ZERO);
        let mut retries = 0;
        for millis in 0..100_000 {
            let now = Instant::from_millis(millis);
            budget.deposit(now); // 1,000 calls per second, all of them fail three times
            retries += (0..2).filter(|_| budget.withdraw(now)).count();
        }
        assert!((20_000..=20_000 + 1_000 + 100).contains(&retries), "{retries}");
    }

    quickcheck! {
        fn never_more_than_the_budget(
            steps: Vec<(u16, u8, u8)>, ratio: u16, per_second: u8, ttl: u16
        ) -> bool {
            let ratio = Ratio::per_mille(u32::from(ratio) % 2_000);
            let ttl = Duration::from_millis(u64::from(ttl));
            let mut budget = RetryBudget::new(Config { ratio, per_second: per_second.into(), ttl }, Instant::ZERO);
            let mut now = Instant::ZERO;
            let (mut deposits, mut withdrawals) = (0u128, 0u128);
            steps.into_iter().all(|(gap, calls, retries)| {
                now = now + Duration::from_millis(u64::from(gap));
                (0..calls).for_each(|_| budget.deposit(now));
                deposits += u128::from(calls);
                let balance = budget.balance(now);
                let taken = (0..retries).filter(|_| budget.withdraw(now)).count();
                withdrawals += taken as u128;
                let time = u128::from(now.as_nanos()) + ttl.as_nanos();
                let given = deposits * u128::from(ratio.as_per_mille()) * 1_000_000 + time * u128::from(per_second);
                taken as u64 == balance.min(u64::from(retries)) && withdrawals * u128::from(RETRY) <= given
            })
        }
    }
}
