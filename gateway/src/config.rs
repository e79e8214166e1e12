//! What the gateway is told, and by whom: flags win over the environment, that over the file, that over the
//! defaults. Every setting remembers where its value came from, so that an error can point there and
//! `plimsoll check` can show it.

mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guards;
mod service;
mod shares;
mod units;
mod values;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;

use file::{File, Place, Source};
pub(crate) use guards::Guards;
pub(crate) use service::Project;
pub(crate) use units::{Interval, Size, Span};
pub(crate) use values::{LogLevel, MetricsPrefix, UwAddress, UwAddresses};
use values::{Shown, shown};

/// The file that is read if it exists and no other is named.
pub(crate) const DEFAULT_FILE: &str = "plimsoll.toml";

/// The effective configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) tls: Tls,
    pub(crate) project: Project,
    pub(crate) metrics_prefix: MetricsPrefix,
    pub(crate) log_level: LogLevel,
    pub(crate) record: Record,
    shown: String,
}

/// Where the gateway listens, and how much it takes.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// `localhost` means both 127.0.0.1 and ::1.
    pub(crate) host: String,
    /// 0 lets the system choose.
    pub(crate) port: u16,
    pub(crate) max_connections: u32,
    pub(crate) max_concurrent_requests: u32,
    pub(crate) max_concurrent_streams: u32,
    pub(crate) max_header_list_size: Size,
    pub(crate) max_body_size: Size,
    pub(crate) max_buffered_bodies: Size,
    pub(crate) request_timeout: Span,
    pub(crate) read_timeout: Span,
    pub(crate) write_timeout: Span,
    pub(crate) idle_timeout: Span,
    pub(crate) drain_timeout: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) enabled: bool,
    pub(crate) cert_dir: PathBuf,
    /// The certificate chain and its key, both PEM; none means development certificates in `cert_dir`.
    pub(crate) files: Option<(PathBuf, PathBuf)>,
    pub(crate) handshake_timeout: Span,
}

/// Whether what the pools of services are told is recorded.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Where to; none means that nothing is recorded.
    pub(crate) file: Option<PathBuf>,
    /// Whether bodies are recorded too.
    pub(crate) bodies: bool,
}

/// What can be said on the command line.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Flags {
    /// Address to listen on; `localhost` means 127.0.0.1 and ::1 [env: SERVER_HOST]
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Port to listen on, 0 for any free one [env: SERVER_PORT]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// `false` serves cleartext HTTP/2, for tests only [env: TLS_ENABLED]
    #[arg(long, value_name = "BOOL")]
    pub(crate) tls: Option<bool>,
    /// Directory of the development certificates [env: TLS_CERT_DIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) cert_dir: Option<PathBuf>,
    /// Certificate chain of your own, PEM [env: TLS_CERT_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) cert_file: Option<PathBuf>,
    /// Its private key, PEM [env: TLS_KEY_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Largest request body, such as 10MB [env: MAX_REQUEST_BODY_SIZE]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_body_size: Option<Size>,
    /// A project service elsewhere, in place of the embedded one; several addresses with commas between them [env:
    /// PROJECT_SERVICE_UW]
    #[arg(long, value_name = "uw://HOST:PORT|uw:/PATH")]
    pub(crate) project_service: Option<UwAddresses>,
    /// error, warn, info, debug or trace [env: LOG_LEVEL]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// Record what the pools of services are told, for replay, explain and diff; the last 16 MiB or so are kept [env:
    /// RECORD_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

/// Why a configuration is not one, as a sentence that begins with the place.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(String);

impl Config {
    /// Reads the file (or [`DEFAULT_FILE`] if that exists) and lays the environment and the flags over it.
    pub(crate) fn load(file: Option<&Path>, flags: Flags) -> Result<Config, ConfigError> {
        let path = match file {
            Some(path) => Some(path),
            None => Some(Path::new(DEFAULT_FILE)).filter(|path| path.exists()),
        };
        let source = match path {
            Some(path) => Source::read(path)
                .map_err(|error| ConfigError(format!("{}: cannot be read: {error}", path.display())))?,
            None => Source::default(),
        };
        Config::resolve(flags, |name| std::env::var(name).ok(), &source)
    }

    fn resolve(
        flags: Flags,
        env: impl Fn(&str) -> Option<String>,
        source: &Source,
    ) -> Result<Config, ConfigError> {
        let file = source.parse().map_err(ConfigError)?;
        let mut layers = Layers { env: &env, source, origins: BTreeMap::new(), shown: String::new() };
        layers.build(flags, file)
    }
}

/// The effective configuration as a TOML file that means the same, with the origin of each value.
impl Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Where a value came from.
#[derive(Clone, Debug)]
enum Origin {
    Flag,
    Env(&'static str),
    File(Place),
    Default,
    /// Another default than without `discovery.enabled`.
    Discovery,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("command line"),
            Origin::Env(name) => write!(f, "environment {name}"),
            Origin::File(place) => place.fmt(f),
            Origin::Default => f.write_str("default"),
            Origin::Discovery => f.write_str("default with discovery.enabled"),
        }
    }
}

struct Layers<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    source: &'a Source,
    /// Of the table that is being read: where each value came from, and how it reads.
    origins: BTreeMap<&'static str, (Origin, String)>,
    shown: String,
}

impl Layers<'_> {
    fn build(&mut self, flags: Flags, file: File) -> Result<Config, ConfigError> {
        let server = self.server(&flags, file.server)?;
        let tls = self.tls(&flags, file.tls)?;
        let profile = self.discovery(file.discovery)?;
        let project = self.project(profile, &flags, file.services.project)?;
        self.table("metrics");
        let metrics_prefix =
            self.take("prefix", None, "METRICS_PREFIX", file.metrics.prefix, MetricsPrefix::default())?;
        self.table("log");
        let log_level = self.take("level", flags.log_level, "LOG_LEVEL", file.log.level, LogLevel::Info)?;
        let record = self.record(&flags, file.record)?;
        let shown = std::mem::take(&mut self.shown);
        Ok(Config { server, tls, project, metrics_prefix, log_level, record, shown })
    }

    fn server(&mut self, flags: &Flags, file: file::ServerTable) -> Result<Server, ConfigError> {
        self.table("server");
        let server = Server {
            host: self.take("host", flags.host.clone(), "SERVER_HOST", file.host, "localhost".into())?,
            port: self.take("port", flags.port, "SERVER_PORT", file.port, 8000)?,
            max_connections: self.count(
                "max_connections",
                "SERVER_MAX_CONNECTIONS",
                file.max_connections,
                10_000,
            )?,
            max_concurrent_requests: self.count(
                "max_concurrent_requests",
                "SERVER_MAX_CONCURRENT_REQUESTS",
                file.max_concurrent_requests,
                10_000,
            )?,
            max_concurrent_streams: self.count(
                "max_concurrent_streams",
                "HTTP2_MAX_CONCURRENT_STREAMS",
                file.max_concurrent_streams,
                1_000,
            )?,
            max_header_list_size: self.take(
                "max_header_list_size",
                None,
                "HTTP2_MAX_HEADER_LIST_SIZE",
                file.max_header_list_size,
                Size::bytes(64 << 10),
            )?,
            max_body_size: self.take(
                "max_body_size",
                flags.max_body_size,
                "MAX_REQUEST_BODY_SIZE",
                file.max_body_size,
                Size::bytes(10 << 20),
            )?,
            max_buffered_bodies: self.take(
                "max_buffered_bodies",
                None,
                "SERVER_MAX_BUFFERED_BODIES",
                file.max_buffered_bodies,
                Size::bytes(256 << 20),
            )?,
            request_timeout: self.span(
                "request_timeout",
                "SERVER_REQUEST_TIMEOUT",
                file.request_timeout,
                30,
            )?,
            read_timeout: self.span("read_timeout", "SERVER_READ_TIMEOUT", file.read_timeout, 10)?,
            write_timeout: self.span("write_timeout", "SERVER_WRITE_TIMEOUT", file.write_timeout, 10)?,
            idle_timeout: self.span("idle_timeout", "HTTP2_IDLE_TIMEOUT", file.idle_timeout, 60)?,
            drain_timeout: self.span("drain_timeout", "SERVER_DRAIN_TIMEOUT", file.drain_timeout, 30)?,
        };
        if !self.take("http2", None, "HTTP2_ENABLED", file.http2, true)? {
            return Err(self.wrong("http2", "this gateway speaks nothing but HTTP/2; remove the setting"));
        }
        if server.max_body_size > server.max_buffered_bodies {
            return Err(
                self.wrong("max_body_size", "is larger than max_buffered_bodies, which holds all bodies")
            );
        }
        if server.max_header_list_size.get() > u64::from(u32::MAX) {
            return Err(self.wrong("max_header_list_size", "is above 4GB, the most that HTTP/2 can announce"));
        }
        Ok(server)
    }

    fn tls(&mut self, flags: &Flags, file: file::TlsTable) -> Result<Tls, ConfigError> {
        self.table("tls");
        let enabled = self.take("enabled", flags.tls, "TLS_ENABLED", file.enabled, true)?;
        let cert_dir = self.take(
            "cert_dir",
            flags.cert_dir.clone().map(Shown),
            "TLS_CERT_DIR",
            shown(file.cert_dir),
            Shown("certs".into()),
        )?;
        let cert = self.optional(
            "cert_file",
            flags.cert_file.clone().map(Shown),
            "TLS_CERT_FILE",
            shown(file.cert_file),
        )?;
        let key = self.optional(
            "key_file",
            flags.key_file.clone().map(Shown),
            "TLS_KEY_FILE",
            shown(file.key_file),
        )?;
        let handshake_timeout =
            self.span("handshake_timeout", "TLS_HANDSHAKE_TIMEOUT", file.handshake_timeout, 10)?;
        let files = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert.0, key.0)),
            (None, None) => None,
            (Some(_), None) => return Err(self.wrong("cert_file", "needs key_file beside it")),
            (None, Some(_)) => return Err(self.wrong("key_file", "needs cert_file beside it")),
        };
        Ok(Tls { enabled, cert_dir: cert_dir.0, files, handshake_timeout })
    }

    fn record(&mut self, flags: &Flags, file: file::RecordTable) -> Result<Record, ConfigError> {
        self.table("record");
        let path = self.optional("file", flags.record.clone().map(Shown), "RECORD_FILE", shown(file.file))?;
        let bodies = self.take("bodies", None, "RECORD_BODIES", file.bodies, false)?;
        if bodies && path.is_none() {
            return Err(self.wrong("bodies", "needs file beside it"));
        }
        Ok(Record { file: path.map(|Shown(path)| path), bodies })
    }

    fn table(&mut self, name: &str) {
        self.title(&format!("[{name}]"));
    }

    fn title(&mut self, title: &str) {
        self.origins.clear();
        let gap = if self.shown.is_empty() { "" } else { "\n" };
        self.shown += &format!("{gap}{title}\n");
    }

    fn count(
        &mut self,
        key: &'static str,
        env: &'static str,
        file: Option<Spanned<NonZeroU32>>,
        default: u32,
    ) -> Result<u32, ConfigError> {
        let default = NonZeroU32::new(default).expect("defaults are above zero");
        self.take(key, None, env, file, default).map(NonZeroU32::get)
    }

    fn span(
        &mut self,
        key: &'static str,
        env: &'static str,
        file: Option<Spanned<Span>>,
        default: u64,
    ) -> Result<Span, ConfigError> {
        self.take(key, None, env, file, Span::seconds(default))
    }

    fn take<T: Setting>(
        &mut self,
        key: &'static str,
        flag: Option<T>,
        env: &'static str,
        file: Option<Spanned<T>>,
        default: T,
    ) -> Result<T, ConfigError> {
        let found = self.find(flag, env, file)?;
        let (value, origin) = found.unwrap_or((default, Origin::Default));
        Ok(self.show(key, value, origin))
    }

    fn optional<T: Setting>(
        &mut self,
        key: &'static str,
        flag: Option<T>,
        env: &'static str,
        file: Option<Spanned<T>>,
    ) -> Result<Option<T>, ConfigError> {
        let found = self.find(flag, env, file)?;
        Ok(found.map(|(value, origin)| self.show(key, value, origin)))
    }

    fn find<T: Setting>(
        &self,
        flag: Option<T>,
        env: &'static str,
        file: Option<Spanned<T>>,
    ) -> Result<Option<(T, Origin)>, ConfigError> {
        if let Some(value) = flag {
            return Ok(Some((value, Origin::Flag)));
        }
        if let Some(text) = (self.env)(env).filter(|text| !text.is_empty()) {
            let value = text.parse().map_err(|error: T::Err| {
                let message = T::ALLOWED.map_or(error.to_string(), |allowed| format!("must be {allowed}"));
                ConfigError(format!("environment {env}={text}: {message}"))
            })?;
            return Ok(Some((value, Origin::Env(env))));
        }
        Ok(file.map(|spanned| self.placed(spanned)))
    }

    /// A value that only the file can set.
    fn only_file<T: Setting>(&mut self, key: &'static str, file: Option<Spanned<T>>, default: T) -> T {
        self.file_or(key, file, (default, Origin::Default))
    }

    fn file_or<T: Setting>(
        &mut self,
        key: &'static str,
        file: Option<Spanned<T>>,
        default: (T, Origin),
    ) -> T {
        let (value, origin) = file.map_or(default, |spanned| self.placed(spanned));
        self.show(key, value, origin)
    }

    /// A value that only the file can set, and that has no default.
    fn maybe<T: Setting>(&mut self, key: &'static str, file: Option<Spanned<T>>) -> Option<T> {
        let (value, origin) = self.placed(file?);
        Some(self.show(key, value, origin))
    }

    fn placed<T>(&self, spanned: Spanned<T>) -> (T, Origin) {
        let place = self.source.place(spanned.span().start);
        (spanned.into_inner(), Origin::File(place))
    }

    fn show<T: Setting>(&mut self, key: &'static str, value: T, origin: Origin) -> T {
        let text = value.to_string();
        let text = if T::IS_BARE { text } else { toml::Value::String(text).to_string() };
        self.shown += &format!("{:<46}  # {origin}\n", format!("{key} = {text}"));
        self.origins.insert(key, (origin, text));
        value
    }

    /// A value that was shown, and that another one speaks against.
    fn wrong(&self, key: &'static str, message: &str) -> ConfigError {
        match self.origins.get(key) {
            Some((origin, text)) => ConfigError(format!("{origin}: {key} = {text}: {message}")),
            None => ConfigError(format!("{key}: {message}")),
        }
    }
}

/// What a value must be able to do to come from any layer and be shown again.
trait Setting: FromStr<Err: Display> + Display {
    /// In a file it stands without quotes.
    const IS_BARE: bool = false;
    /// What it may be, if its parser's error does not say so.
    const ALLOWED: Option<&'static str> = None;
}

impl Setting for bool {
    const IS_BARE: bool = true;
    const ALLOWED: Option<&'static str> = Some("true or false");
}

impl Setting for u8 {
    const IS_BARE: bool = true;
    const ALLOWED: Option<&'static str> = Some("a whole number from 0 to 255");
}

impl Setting for u16 {
    const IS_BARE: bool = true;
    const ALLOWED: Option<&'static str> = Some("a whole number from 0 to 65535");
}

impl Setting for u32 {
    const IS_BARE: bool = true;
    const ALLOWED: Option<&'static str> = Some("a whole number from 0 to 4294967295");
}

impl Setting for NonZeroU32 {
    const IS_BARE: bool = true;
    const ALLOWED: Option<&'static str> = Some("a whole number from 1 to 4294967295");
}

impl Setting for String {}

#[cfg(test)]
mod tests;
