//! `plimsoll hub`: where services that speak Bro IPC find each other.

mod http;
mod table;

use std::error::Error;
use std::io::{self, Write};
use std::path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_core::drive::ListenOptions;
use plimsoll_core::wire::ipc::Limits;
use plimsoll_tokio::ipc::{Hub, HubConfig, HubEvent};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Interval, LogLevel, Size};
use crate::recorded::{Record, loss};
use crate::run::{Signals, raise_descriptor_limit};
use http::Http;

/// How long what waits to be sent may take once the end has come.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Smaller ones leave no room for an envelope; larger ones would not fit into what may wait to be sent.
const FRAME_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=32 << 20;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen: the path of a Unix socket
    #[arg(long, value_name = "PATH", default_value = "/tmp/bro-gateway.sock")]
    socket: String,
    /// Rights of the socket; who may write may connect
    #[arg(long, value_name = "OCTAL", default_value = "600", value_parser = mode)]
    mode: u32,
    /// Take connections only from processes of this user
    #[arg(long, value_name = "UID")]
    require_uid: Option<u32>,
    /// Serve /health and /services there, over HTTP/1.1; port 0 for any free one
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Until a call is answered with TIMEOUT, in ms or like 30s
    #[arg(long, value_name = "TIME", default_value = "30s")]
    timeout: Interval,
    /// How often services say that they are alive, in ms or like 30s; one silent for three times as long is gone
    #[arg(long, value_name = "TIME", default_value = "30s")]
    heartbeat: Interval,
    /// Size of the largest message, from 1KB to 32MB
    #[arg(long, value_name = "SIZE", default_value = "16MB", value_parser = frame)]
    max_frame: u32,
    /// Log each message
    #[arg(long)]
    debug: bool,
    #[command(flatten)]
    record: Record,
}

impl Args {
    pub(crate) fn log_level(&self) -> LogLevel {
        if self.debug { LogLevel::Debug } else { LogLevel::Info }
    }

    fn config(&self) -> HubConfig {
        HubConfig {
            require_uid: self.require_uid,
            limits: Limits { body: self.max_frame },
            timeout: self.timeout.0.get(),
            heartbeat_interval: self.heartbeat.0.get(),
            ..HubConfig::default()
        }
    }
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) => Ok(mode),
        _ => Err("write it in octal, from 0 to 777".into()),
    }
}

fn frame(text: &str) -> Result<u32, String> {
    let size = text.parse::<Size>()?.get();
    let size = Some(size).filter(|size| FRAME_BYTES.contains(size)).and_then(|size| size.try_into().ok());
    size.ok_or_else(|| "a message may have 1KB to 32MB".into())
}

/// Runs until SIGTERM or SIGINT. A second signal ends the process at once.
pub(crate) fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(args))
}

async fn serve(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let mut status = signal(SignalKind::user_defined1())?;
    let config = args.config();
    raise_descriptor_limit(config.connections.get());
    let path = path::absolute(&args.socket)?;
    let path = path.to_str().ok_or("the path of the working directory is not UTF-8")?;
    let listening = ListenOptions { mode: args.mode, ..ListenOptions::default() };
    let recording = args.record.recording()?;
    let builder = Hub::builder().limits(config).listening(listening);
    let builder = recording.iter().fold(builder, |builder, recording| builder.record(recording));
    let hub = Arc::new(builder.bind(path).await?);
    let mut events = if args.debug { hub.events() } else { hub.changes() };
    let mut http = match &args.http {
        Some(address) => Some(Http::bind(address, hub.clone()).await?),
        None => None,
    };
    anstream::println!("hub at ipc:{path}");
    if let Some(http) = &http {
        anstream::println!("status at http://{0}/health and http://{0}/services", http.address());
    }
    let name = loop {
        tokio::select! {
            name = signals.next() => break name,
            _ = status.recv() => show(&hub).await,
            event = events.next() => log(event.ok_or(HAS_ENDED)?),
            () = async { http.as_mut().expect("there is one").step().await }, if http.is_some() => {}
        }
    };
    tracing::info!("{name}: the hub stops");
    if let Some(http) = http {
        http.stop().await;
    }
    let hub = Arc::into_inner(hub).ok_or(HAS_ENDED)?;
    let dropped = tokio::select! {
        dropped = hub.shutdown(DRAIN_TIMEOUT) => dropped,
        name = signals.next() => return Err(format!("{name} again: stopped at once").into()),
    };
    while let Some(event) = events.next().await {
        log(event);
    }
    if dropped.calls > 0 {
        tracing::warn!("{} calls were not answered", dropped.calls);
    }
    recording.as_ref().and_then(loss).map_or(Ok(()), |loss| Err(loss.into()))
}

const HAS_ENDED: &str = "the hub has ended by itself";

/// What happens with every message is for those who debug.
fn log(event: HubEvent) {
    match event {
        HubEvent::CallRouted(_)
        | HubEvent::CallAnswered { .. }
        | HubEvent::ResponseRouted { .. }
        | HubEvent::ResponseDropped { .. }
        | HubEvent::Heartbeat { .. } => tracing::debug!("{event}"),
        HubEvent::Invalid { .. } | HubEvent::Missed(_) => tracing::warn!("{event}"),
        _ => tracing::info!("{event}"),
    }
}

/// Nobody may be reading any more: that is no reason to stop.
async fn show(hub: &Hub) {
    let text = table::table(&hub.status().await, &hub.services().await, &hub.metrics().await);
    let mut stdout = io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        tracing::warn!("the services cannot be printed: {error}");
    }
}
