//! What a hub says about itself.

use alloc::string::String;
use alloc::vec::Vec;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ipc::hub::{self, ServiceStatus};
use crate::machine::Peer;
use crate::time::Instant;
use crate::wire::ipc::{Format, Value, convert};

/// How a hub stands; also the answer to a call of `status` of the service `$hub`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HubStatus {
    /// Whether it runs, and is not shutting down.
    pub running: bool,
    /// What clients dial.
    pub socket_path: String,
    /// How many services are registered.
    pub connected_services: u32,
    /// Their names.
    pub services: Vec<String>,
    /// Connections that stand, registered or not.
    pub connections: u32,
    /// Calls that wait for their answer.
    pub pending_calls: u32,
    /// Calls that were passed on over the last second.
    pub calls_per_second: u64,
    /// Calls that were passed on since the start.
    pub routed: u64,
    /// Calls that were refused since the start.
    pub refused: u64,
    /// Calls whose time was over since the start.
    pub timed_out: u64,
    /// Calls whose service went before it had answered, since the start.
    pub lost: u64,
    /// Connections that were turned away since the start: too many, or not of the required user.
    pub turned_away: u64,
    /// Bytes that wait to be sent.
    pub unsent_bytes: u64,
}

/// One registered service; also the answer to a call of `service` of the service `$hub`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceInfo {
    /// Its name.
    pub name: String,
    /// What it can be called for, sorted.
    pub methods: Vec<String>,
    /// When it has registered first, in milliseconds since 1970.
    pub connected_at: u64,
    /// When it has last told that it is alive, in milliseconds since 1970; its registration counts.
    pub last_heartbeat: u64,
    /// Its version, if it tells.
    pub version: Option<String>,
    /// What else it tells about itself.
    pub metadata: Option<serde_json::Value>,
    /// Who is at the other end.
    pub peer: PeerInfo,
    /// Its connections; more than one if it is a pool.
    pub connections: u32,
    /// Calls that it has made and that wait for their answer.
    pub pending_calls: u32,
    /// Calls that it was passed and has not answered.
    pub serving_calls: u32,
    /// Calls that it was passed over the last second.
    pub calls_per_second: u64,
}

/// Who is at the other end of a connection, as far as the system tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerInfo {
    /// Of a Unix socket: the effective user of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Of a Unix socket: the effective group of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Of a Unix socket: the id of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Of a TCP connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
}

impl From<Peer> for PeerInfo {
    fn from(peer: Peer) -> Self {
        PeerInfo {
            uid: peer.credentials.map(|credentials| credentials.uid),
            gid: peer.credentials.map(|credentials| credentials.gid),
            pid: peer.credentials.and_then(|credentials| credentials.pid),
            address: peer.address,
        }
    }
}

impl HubStatus {
    pub(super) fn of(hub: &hub::Hub, now: Instant, socket_path: &str) -> Self {
        let (status, metrics) = (hub.status(), hub.metrics());
        HubStatus {
            running: !status.draining,
            socket_path: socket_path.into(),
            connected_services: status.services,
            services: hub.services().map(|service| service.name.into()).collect(),
            connections: status.connections,
            pending_calls: status.pending,
            calls_per_second: metrics.rate.per_second(now),
            routed: metrics.routed,
            refused: metrics.refused,
            timed_out: metrics.timed_out,
            lost: metrics.lost,
            turned_away: metrics.turned_away + metrics.strangers,
            unsent_bytes: status.unsent,
        }
    }
}

impl From<ServiceStatus<'_>> for ServiceInfo {
    fn from(service: ServiceStatus<'_>) -> Self {
        ServiceInfo {
            name: service.name.into(),
            methods: service.methods.iter().map(|method| String::from(&**method)).collect(),
            connected_at: service.connected_at,
            last_heartbeat: service.last_heartbeat,
            version: service.version.map(String::from),
            metadata: service.metadata.and_then(json),
            peer: service.peer.into(),
            connections: service.connections,
            pending_calls: service.calling,
            serving_calls: service.called,
            calls_per_second: service.calls_per_second,
        }
    }
}

/// A value of either format; `None` if JSON has no words for it.
pub(super) fn json(value: Value<'_>) -> Option<serde_json::Value> {
    let mut text = Vec::new();
    convert(value, Format::Json, &mut text, usize::MAX).ok()?;
    serde_json::from_slice(&text).ok()
}
