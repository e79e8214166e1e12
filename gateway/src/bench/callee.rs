//! What is measured: a service that speaks UW, or one at a hub.

use std::borrow::Cow;
use std::time::Duration;

use plimsoll_core::cluster::{CloseCause, StateEvent};
use plimsoll_core::drive::Recording;
use plimsoll_core::drive::client::Builder;
use plimsoll_core::error::Rejected;
use plimsoll_tokio::{Cause, Client, Service, ServiceConfig, ipc};

use super::{Args, Failure};
use crate::config::UwAddress;
use crate::recorded::loss;
use crate::target::{IpcAddress, Serializer, Target, name_for};

/// Who is called.
pub(super) enum Callee {
    Uw { client: Client, service: Service, method: String, recording: Option<Recording> },
    Ipc { client: ipc::Client, service: String, method: String, recording: Option<Recording> },
}

/// A call that has failed.
pub(super) struct Failed {
    /// That of the service, or what we call it when there is none.
    pub(super) code: Cow<'static, str>,
    /// Whether the service, or its hub, has answered so.
    pub(super) is_answer: bool,
}

impl Callee {
    /// With a client that does all it does by default: deadlines, a wait queue, breaker, health, a retry budget, metrics.
    pub(super) fn new(args: &Args) -> Result<(Callee, Events), Failure> {
        match &args.address {
            Target::Uw(address) => Callee::with_uw(address, args),
            Target::Ipc(hub) => Callee::at_hub(hub, args),
        }
    }

    fn with_uw(address: &UwAddress, args: &Args) -> Result<(Callee, Events), Failure> {
        let recording = args.record.recording().map_err(Failure::Usage)?;
        let builder = Client::builder();
        let client = recording.iter().fold(builder, Builder::record).build();
        let events = Events::Uw(client.events());
        let service = client.configure_service("", service_config(address, args));
        let service = service.map_err(|misuse| Failure::Usage(misuse.to_string()))?;
        Ok((Callee::Uw { client, service, method: args.method.clone(), recording }, events))
    }

    fn at_hub(hub: &IpcAddress, args: &Args) -> Result<(Callee, Events), Failure> {
        let in_flight = args.in_flight();
        let recording = args.record.recording().map_err(Failure::Usage)?;
        let builder = ipc::Client::builder(&name_for("bench"));
        let client = recording
            .iter()
            .fold(builder, |builder, recording| builder.record(recording))
            .path(hub.path())
            .serializer(args.serializer().into())
            .pool_size(args.connections)
            .auto_reconnect(false)
            .configure(|config| config.pending = config.pending.max(in_flight))
            .build()
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let events = Events::Ipc { changes: client.changes(), is_registered: false };
        let (service, method) = (args.service.clone().unwrap_or_default(), args.method.clone());
        Ok((Callee::Ipc { client, service, method, recording }, events))
    }

    /// Begins to connect, if that does not happen by itself.
    pub(super) async fn connect(&self) -> Result<(), Failure> {
        match self {
            Callee::Uw { .. } => Ok(()),
            Callee::Ipc { client, .. } => {
                client.connect().await.map_err(|error| Failure::Unreachable(error.why.to_string()))
            }
        }
    }

    /// Ends the recording, if there is one.
    pub(super) async fn finish(&self) -> Result<(), Failure> {
        let recording = match self {
            Callee::Uw { client, recording: Some(recording), .. } => {
                client.shutdown(Duration::ZERO).await;
                recording
            }
            Callee::Ipc { client, recording: Some(recording), .. } => {
                client.shutdown(Duration::ZERO).await;
                recording
            }
            _ => return Ok(()),
        };
        loss(recording).map_or(Ok(()), |loss| Err(Failure::Recording(loss)))
    }

    /// One call. Its answer may come in the vector of its params.
    pub(super) async fn call(&self, params: Vec<u8>) -> Result<Vec<u8>, Failed> {
        match self {
            Callee::Uw { service, method, .. } => {
                service.call(method).send(params).await.map_err(|error| uw_failed(error.cause))
            }
            Callee::Ipc { client, service, method, .. } => {
                client.prepare(service, method).send(params).await.map_err(|error| ipc_failed(error.cause))
            }
        }
    }
}

fn service_config(address: &UwAddress, args: &Args) -> ServiceConfig {
    let mut config = ServiceConfig::new(address.target())
        .max_connections(args.connections)
        .min_connections(args.connections)
        .in_flight(args.in_flight)
        // A connection that is lost leaves its callers waiting, and refuses none.
        .wait_queue(args.in_flight().get());
    config.client.cluster.dial_stagger = Duration::ZERO;
    config
}

fn uw_failed(cause: Cause) -> Failed {
    let ours = |code| Failed { code: Cow::Borrowed(code), is_answer: false };
    match cause {
        Cause::Remote { code, .. } => Failed { code: code.to_string().into(), is_answer: true },
        Cause::Timeout { .. } => ours("TIMEOUT"),
        Cause::Lost { .. } => ours("LOST"),
        Cause::Protocol(_) => ours("PROTOCOL_ERROR"),
        Cause::Rejected(Rejected::CircuitOpen) => ours("CIRCUIT_OPEN"),
        Cause::Rejected(_) => ours("REJECTED"),
        _ => ours("NOT_SENT"),
    }
}

fn ipc_failed(cause: ipc::Cause) -> Failed {
    match cause {
        ipc::Cause::Remote { code, .. } => Failed { code: code.into(), is_answer: true },
        cause => Failed { code: cause.code().to_string().into(), is_answer: false },
    }
}

/// A JSON string of so many bytes, as it is said in the format of the callee.
pub(super) fn params(args: &Args) -> Vec<u8> {
    let size = args.size as usize;
    let text = |head: &[u8]| [head, "x".repeat(size - head.len()).as_bytes()].concat();
    let len = |head: usize| u32::try_from(size - head).unwrap_or(u32::MAX).to_be_bytes();
    match (args.serializer(), size) {
        (Serializer::Json, _) => format!("\"{}\"", "x".repeat(size - 2)).into_bytes(),
        // fixstr, str 8, str 16, str 32 of the MessagePack specification.
        (Serializer::Msgpack, ..=32) => text(&[0xa0 | len(1)[3]]),
        (Serializer::Msgpack, ..=257) => text(&[0xd9, len(2)[3]]),
        (Serializer::Msgpack, ..=65_538) => text(&[&[0xda], &len(3)[2..]].concat()),
        (Serializer::Msgpack, _) => text(&[&[0xdb], &len(5)[..]].concat()),
    }
}

/// What happens to the connections of a client.
pub(super) enum Events {
    Uw(plimsoll_tokio::Events),
    Ipc { changes: ipc::Events, is_registered: bool },
}

impl Events {
    /// Returns when one more stands, or fails when one has ended.
    pub(super) async fn next(&mut self) -> Result<(), Failure> {
        loop {
            match self {
                Events::Uw(events) => match events.next().await.map(|event| event.event) {
                    Some(StateEvent::Connected { .. }) => return Ok(()),
                    Some(StateEvent::Closed { cause, .. }) => return Err(closed(cause)),
                    Some(_) => {}
                    None => return std::future::pending().await,
                },
                Events::Ipc { changes, is_registered } => match changes.next().await {
                    Some(ipc::ClientEvent::Registered { .. }) => {
                        *is_registered = true;
                        return Ok(());
                    }
                    Some(ipc::ClientEvent::Disconnected { cause, .. }) => {
                        let failure = if *is_registered { Failure::Lost } else { Failure::Unreachable };
                        return Err(failure(cause.to_string()));
                    }
                    Some(_) => {}
                    None => return std::future::pending().await,
                },
            }
        }
    }
}

fn closed(cause: CloseCause) -> Failure {
    match cause {
        CloseCause::Dial(_) | CloseCause::DialTimeout => Failure::Unreachable(cause.to_string()),
        cause => Failure::Lost(cause.to_string()),
    }
}
