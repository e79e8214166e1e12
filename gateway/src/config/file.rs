//! The configuration file: TOML in which every key is optional, and an unknown key is an error.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::units::{Size, Span};
use super::{LogLevel, UwAddress};

type Key<T> = Option<Spanned<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) server: ServerTable,
    pub(super) tls: TlsTable,
    pub(super) services: ServicesTable,
    pub(super) log: LogTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerTable {
    pub(super) host: Key<String>,
    pub(super) port: Key<u16>,
    pub(super) http2: Key<bool>,
    pub(super) max_connections: Key<std::num::NonZeroU32>,
    pub(super) max_concurrent_requests: Key<std::num::NonZeroU32>,
    pub(super) max_concurrent_streams: Key<std::num::NonZeroU32>,
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
pub(super) struct ProjectTable {
    pub(super) address: Key<UwAddress>,
    pub(super) max_connections: Key<std::num::NonZeroU32>,
    pub(super) min_connections: Key<std::num::NonZeroU32>,
    pub(super) connect_timeout: Key<Span>,
    pub(super) request_timeout: Key<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogTable {
    pub(super) level: Key<LogLevel>,
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

    #[cfg(test)]
    pub(super) fn of(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    pub(super) fn parse(&self) -> Result<File, String> {
        toml::from_str(&self.text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            format!("{}: {}", self.place(offset), error.message().trim_end())
        })
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
