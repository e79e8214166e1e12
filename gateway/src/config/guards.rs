//! Guards in front of a service, all of them off unless their table is in the file: throttling, adaptive concurrency, a
//! rate limit, hedging. The keys are those of the policies, and so are the defaults.

use std::num::NonZeroU32;

use plimsoll_core::policy::gcra::Quota;
use plimsoll_core::policy::{Ratio, concurrency, hedge, throttle};
use serde::Deserialize;
use toml::Spanned;

use super::file::Key;
use super::shares::{Factor, Percent};
use super::units::Span;
use super::{ConfigError, Layers, Origin};

/// What decides whether a request is sent at all, and whether twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guards {
    pub(crate) throttle: Option<throttle::Config>,
    pub(crate) concurrency: Option<concurrency::Config>,
    pub(crate) rate_limit: Option<Quota>,
    pub(crate) hedging: Option<hedge::Config>,
}

#[derive(Debug, Default)]
pub(super) struct GuardTables {
    pub(super) throttle: Option<ThrottleTable>,
    pub(super) adaptive_concurrency: Option<ConcurrencyTable>,
    pub(super) rate_limit: Option<Spanned<RateLimitTable>>,
    pub(super) hedging: Option<HedgingTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ThrottleTable {
    enabled: Key<bool>,
    factor: Key<Factor>,
    most: Key<Percent>,
    window: Key<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConcurrencyTable {
    enabled: Key<bool>,
    minimum: Key<NonZeroU32>,
    maximum: Key<NonZeroU32>,
    samples: Key<NonZeroU32>,
    window: Key<Span>,
    remeasure: Key<Span>,
    tolerance: Key<Percent>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RateLimitTable {
    enabled: Key<bool>,
    requests: Key<NonZeroU32>,
    period: Key<Span>,
    burst: Key<NonZeroU32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HedgingTable {
    enabled: Key<bool>,
    percentile: Key<Percent>,
    volume: Key<u32>,
    least: Key<Span>,
    hedges: Key<u32>,
    period: Key<Span>,
}

impl Layers<'_> {
    pub(super) fn guards(&mut self, file: GuardTables) -> Result<Guards, ConfigError> {
        Ok(Guards {
            throttle: self.throttle(file.throttle)?,
            concurrency: self.concurrency(file.adaptive_concurrency)?,
            rate_limit: self.rate_limit(file.rate_limit)?,
            hedging: self.hedging(file.hedging)?,
        })
    }

    /// A table that is there is meant, unless it says otherwise.
    fn enabled(&mut self, table: &str, is_there: bool, file: Key<bool>) -> bool {
        self.table(table);
        self.file_or("enabled", file, (is_there, Origin::Default))
    }

    fn throttle(&mut self, file: Option<ThrottleTable>) -> Result<Option<throttle::Config>, ConfigError> {
        let (is_there, file) = (file.is_some(), file.unwrap_or_default());
        let default = throttle::Config::default();
        let enabled = self.enabled("services.project.throttle", is_there, file.enabled);
        let factor = self.only_file("factor", file.factor, default.factor.into()).get();
        if factor < Ratio::ONE {
            return Err(
                self.wrong("factor", "must be at least 1, or requests are refused that would be served")
            );
        }
        let config = throttle::Config {
            factor,
            most: self.only_file("most", file.most, default.most.into()).get(),
            window: self.length("window", file.window, default.window),
        };
        Ok(enabled.then_some(config))
    }

    fn concurrency(
        &mut self,
        file: Option<ConcurrencyTable>,
    ) -> Result<Option<concurrency::Config>, ConfigError> {
        let (is_there, file) = (file.is_some(), file.unwrap_or_default());
        let default = concurrency::Config::default();
        let enabled = self.enabled("services.project.adaptive_concurrency", is_there, file.enabled);
        let minimum = self.only_file("minimum", file.minimum, default.minimum);
        let usual = NonZeroU32::new(default.maximum).unwrap_or(minimum).max(minimum);
        let maximum = self.only_file("maximum", file.maximum, usual);
        if maximum < minimum {
            return Err(self.wrong("maximum", "is below minimum"));
        }
        let config = concurrency::Config {
            minimum,
            maximum: maximum.get(),
            samples: self.only_file("samples", file.samples, default.samples),
            window: self.length("window", file.window, default.window),
            remeasure: self.length("remeasure", file.remeasure, default.remeasure),
            tolerance: self.only_file("tolerance", file.tolerance, default.tolerance.into()).get(),
            ..default
        };
        Ok(enabled.then_some(config))
    }

    /// Has no default but for the period: how much a service takes, only its operator knows.
    fn rate_limit(&mut self, file: Option<Spanned<RateLimitTable>>) -> Result<Option<Quota>, ConfigError> {
        let place = file.as_ref().map(|file| self.source.place(file.span().start));
        let file = file.map(Spanned::into_inner).unwrap_or_default();
        let enabled = self.enabled("services.project.rate_limit", place.is_some(), file.enabled);
        let requests = self.maybe("requests", file.requests);
        let period = self.only_file("period", file.period, Span::seconds(1));
        let burst = self.maybe("burst", file.burst);
        match (enabled, requests, place) {
            (true, None, Some(place)) => Err(ConfigError(format!(
                "{place}: a rate limit needs `requests`: how many are allowed in each period"
            ))),
            (true, Some(requests), _) => {
                Ok(Some(Quota::new(requests, period.get()).with_burst(burst.unwrap_or(requests))))
            }
            _ => Ok(None),
        }
    }

    fn hedging(&mut self, file: Option<HedgingTable>) -> Result<Option<hedge::Config>, ConfigError> {
        let (is_there, file) = (file.is_some(), file.unwrap_or_default());
        let default = hedge::Config::default();
        let enabled = self.enabled("services.project.hedging", is_there, file.enabled);
        let config = hedge::Config {
            percentile: self.only_file("percentile", file.percentile, default.percentile.into()).get(),
            volume: self.only_file("volume", file.volume, default.volume),
            least: self.length("least", file.least, default.least),
            hedges: self.only_file("hedges", file.hedges, default.hedges),
            period: self.length("period", file.period, default.period),
        };
        Ok(enabled.then_some(config))
    }
}
