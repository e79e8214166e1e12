//! The configuration file: TOML in which every key is optional, and an unknown key is an error.

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::guards::{ConcurrencyTable, HedgingTable, RateLimitTable, ThrottleTable};
use super::shares::{Factor, Percent};
use super::units::{Interval, Size, Span};
use super::values::{BreakerMode, PanicMode, StrategyName};
use super::{LogLevel, MetricsPrefix, UwAddress, UwAddresses};

pub(super) type Key<T> = Option<Spanned<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) server: ServerTable,
    pub(super) tls: TlsTable,
    pub(super) discovery: DiscoveryTable,
    pub(super) services: ServicesTable,
    pub(super) metrics: MetricsTable,
    pub(super) log: LogTable,
    pub(super) record: RecordTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerTable {
    pub(super) host: Key<String>,
    pub(super) port: Key<u16>,
    pub(super) http2: Key<bool>,
    pub(super) max_connections: Key<NonZeroU32>,
    pub(super) max_concurrent_requests: Key<NonZeroU32>,
    pub(super) max_concurrent_streams: Key<NonZeroU32>,
    pub(super) max_header_list_size: Key<Size>,
    pub(super) max_body_size: Key<Size>,
    pub(super) max_buffered_bodies: Key<Size>,
    pub(super) request_timeout: Key<Span>,
    pub(super) read_timeout: Key<Span>,
    pub(super) write_timeout: Key<Span>,
    pub(super) idle_timeout: Key<Span>,
    pub(super) drain_timeout: Key<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsTable {
    pub(super) enabled: Key<bool>,
    pub(super) cert_dir: Key<PathBuf>,
    pub(super) cert_file: Key<PathBuf>,
    pub(super) key_file: Key<PathBuf>,
    pub(super) handshake_timeout: Key<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServicesTable {
    pub(super) project: ProjectTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DiscoveryTable {
    pub(super) enabled: Key<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProjectTable {
    pub(super) address: Key<UwAddresses>,
    pub(super) strategy: Key<StrategyName>,
    pub(super) explain: Key<u32>,
    pub(super) request_timeout: Key<Span>,
    pub(super) connect_timeout: Key<Span>,
    pub(super) max_connections: Key<NonZeroU32>,
    pub(super) min_connections: Key<NonZeroU32>,
    pub(super) in_flight: Key<NonZeroU32>,
    pub(super) grow_at: Key<u32>,
    pub(super) burst: Key<u32>,
    pub(super) idle_close: Key<Span>,
    pub(super) max_age: Key<Span>,
    pub(super) subset: Key<NonZeroU32>,
    pub(super) dial_stagger: Key<Span>,
    pub(super) reconnect_delay: Key<Span>,
    pub(super) max_reconnect_delay: Key<Span>,
    pub(super) health_check_interval: Key<Interval>,
    pub(super) health_check_timeout: Key<Span>,
    pub(super) waiting_requests: Key<NonZeroU32>,
    pub(super) waiting_bytes: Key<Size>,
    pub(super) endpoints: Vec<EndpointTable>,
    pub(super) breaker: BreakerTable,
    pub(super) outliers: OutliersTable,
    pub(super) panic: PanicTable,
    pub(super) priorities: PrioritiesTable,
    pub(super) slow_start: SlowStartTable,
    pub(super) latency: LatencyTable,
    pub(super) throttle: Option<ThrottleTable>,
    pub(super) adaptive_concurrency: Option<ConcurrencyTable>,
    pub(super) rate_limit: Option<Spanned<RateLimitTable>>,
    pub(super) hedging: Option<HedgingTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointTable {
    pub(super) address: Spanned<UwAddress>,
    pub(super) weight: Key<u32>,
    pub(super) priority: Key<u8>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BreakerTable {
    pub(super) mode: Key<BreakerMode>,
    pub(super) failure_threshold: Key<NonZeroU32>,
    pub(super) success_rate: Key<Percent>,
    pub(super) volume: Key<NonZeroU32>,
    pub(super) monitoring_period: Key<Span>,
    pub(super) recovery_timeout: Key<Span>,
    pub(super) recovery_multiplier: Key<Factor>,
    pub(super) recovery_cap: Key<Span>,
    pub(super) success_threshold: Key<NonZeroU32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OutliersTable {
    pub(super) enabled: Key<bool>,
    pub(super) consecutive: Key<NonZeroU32>,
    pub(super) sweep: Key<Span>,
    pub(super) deviations: Key<Factor>,
    pub(super) success_hosts: Key<u32>,
    pub(super) success_volume: Key<NonZeroU32>,
    pub(super) failures: Key<Percent>,
    pub(super) failure_volume: Key<NonZeroU32>,
    pub(super) base: Key<Span>,
    pub(super) longest: Key<Span>,
    pub(super) most: Key<Percent>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PanicTable {
    pub(super) threshold: Key<Percent>,
    pub(super) mode: Key<PanicMode>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PrioritiesTable {
    pub(super) overprovision: Key<Factor>,
    pub(super) hold: Key<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SlowStartTable {
    pub(super) enabled: Key<bool>,
    pub(super) window: Key<Span>,
    pub(super) aggression: Key<Factor>,
    pub(super) floor: Key<Percent>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LatencyTable {
    pub(super) decay: Key<Span>,
    pub(super) initial: Key<Span>,
    pub(super) penalty: Key<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetricsTable {
    pub(super) prefix: Key<MetricsPrefix>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogTable {
    pub(super) level: Key<LogLevel>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RecordTable {
    pub(super) file: Key<PathBuf>,
    pub(super) bodies: Key<bool>,
}

/// A place in the file, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path, self.line, self.column)
    }
}

/// The text of a file, so that a byte offset in it can be told as a line and a column.
#[derive(Debug, Default)]
pub(super) struct Source {
    path: String,
    text: String,
}

impl Source {
    pub(super) fn read(path: &Path) -> std::io::Result<Source> {
        Ok(Source { path: path.display().to_string(), text: std::fs::read_to_string(path)? })
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn of(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    pub(super) fn parse(&self) -> Result<File, String> {
        toml::from_str(&self.text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let key = self.key_of(offset).map(|key| format!("{key}: ")).unwrap_or_default();
            format!("{}: {key}{}", self.place(offset), error.message().trim_end())
        })
    }

    /// The key whose value begins at `offset`.
    fn key_of(&self, offset: usize) -> Option<&str> {
        let before = self.text.get(..offset)?;
        let line = before.rsplit('\n').next()?;
        Some(line.split_once('=')?.0.trim())
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            path: self.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}
