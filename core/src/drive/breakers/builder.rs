//! What can be said about breakers before they are there.

use alloc::sync::Arc;
use core::hash::{BuildHasher, Hasher};
use core::num::NonZeroU32;
use std::hash::RandomState;

use super::table::Table;
use super::{Breakers, Shared};
use crate::policy::breaker::{Config, Mode};
use crate::rng::Pcg;

/// Failures within the period that trip, by default.
const FAILURES: NonZeroU32 = NonZeroU32::new(5).unwrap();

/// What can be said about [`Breakers`] before they are there.
#[derive(Clone, Debug)]
pub struct Builder<R> {
    runtime: R,
    config: Config,
    names: u32,
    seed: Option<u64>,
}

impl<R> Builder<R> {
    pub(super) fn new(runtime: R) -> Self {
        let config = Config { mode: Mode::Count { failures: FAILURES }, ..Config::default() };
        Builder { runtime, config, names: 1_024, seed: None }
    }

    /// The configuration of names that have none of their own. By default 5 failures within 300 s open a breaker,
    /// whatever else succeeds; the rest as [`Config::default`] says.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How many names there may be; at least 1, 1,024 by default.
    pub fn names(mut self, names: u32) -> Self {
        self.names = names.max(1);
        self
    }

    /// Where chance comes from (how long a breaker stays open the second time); another one each time by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Breakers that know no name yet.
    pub fn build(self) -> Breakers<R> {
        let seed = self.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let table = Table::new(self.config, self.names, Pcg::new(seed, 0));
        Breakers { shared: Arc::new(Shared { time: self.runtime, table }) }
    }
}
