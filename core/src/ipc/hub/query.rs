//! Questions to the hub itself: calls to the service `$hub`.

use alloc::format;

use super::api::{Refused, ServiceStatus};
use super::services::Service;
use super::state::State;
use crate::id::ConnId;
use crate::machine::Peer;
use crate::wire::ipc::{Envelope, Reply, Value, Writer, write_result};

/// What is asked.
enum Question<'a> {
    Status,
    Services,
    Service(&'a str, &'a Service),
}

impl State {
    /// Answers one of the methods `status`, `services` and `service` (of `{"name": …}`).
    pub(super) fn query(&mut self, id: ConnId, call: &Envelope<'_>) -> Result<(), Refused> {
        let question = self.question(call)?;
        let reply = Reply { id: call.id()?, from: call.to()?, to: call.from()?, context: call.raw_context() };
        let mut out = alloc::vec::Vec::new();
        let written = write_result(&mut out, call.format(), &self.config.limits, &reply, |body| {
            match question {
                Question::Status => self.write_status(body),
                Question::Services => {
                    body.array(self.services.len());
                    self.services.iter().for_each(|(name, service)| self.write_service(body, name, service));
                    body.end_array();
                }
                Question::Service(name, service) => self.write_service(body, name, service),
            }
            Ok(())
        });
        written.map_err(|_| Refused::AnswerTooLarge)?;
        self.metrics.queries += 1;
        let _ = self.lines.push(&self.config, id, |to| {
            to.extend_from_slice(&out);
            Ok::<(), core::convert::Infallible>(())
        });
        Ok(())
    }

    fn question(&self, call: &Envelope<'_>) -> Result<Question<'_>, Refused> {
        Ok(match &*call.method()?.get() {
            "status" => Question::Status,
            "services" => Question::Services,
            "service" => {
                let name = call.params().and_then(|params| params.member("name")).and_then(Value::text);
                let slot =
                    name.and_then(|name| self.services.find(&name.get())).ok_or(Refused::ServiceNotFound)?;
                let name = self.services.name(slot).ok_or(Refused::ServiceNotFound)?;
                Question::Service(name, self.services.get(slot).ok_or(Refused::ServiceNotFound)?)
            }
            _ => return Err(Refused::MethodNotFound),
        })
    }

    fn write_status(&self, body: &mut Writer<'_>) {
        let (status, metrics) = (self.status(), &self.metrics);
        body.object(13);
        body.key("running").bool(self.drain_until.is_none());
        body.key("socketPath").text(&self.config.socket_path);
        body.key("connectedServices").number(u64::from(status.services));
        body.key("services").array(status.services);
        self.services.iter().for_each(|(name, _)| body.text(name));
        body.end_array();
        body.key("connections").number(u64::from(status.connections));
        body.key("pendingCalls").number(u64::from(status.pending));
        body.key("callsPerSecond").number(metrics.rate.per_second(self.now));
        body.key("routed").number(metrics.routed);
        body.key("refused").number(metrics.refused);
        body.key("timedOut").number(metrics.timed_out);
        body.key("lost").number(metrics.lost);
        body.key("turnedAway").number(metrics.turned_away + metrics.strangers);
        body.key("unsentBytes").number(status.unsent);
        body.end_object();
    }

    fn write_service(&self, body: &mut Writer<'_>, name: &str, service: &Service) {
        let status = self.service_status(name, service);
        body.object(11);
        body.key("name").text(name);
        body.key("methods").array(u32::try_from(status.methods.len()).unwrap_or(u32::MAX));
        status.methods.iter().for_each(|method| body.text(method));
        body.end_array();
        body.key("connectedAt").number(status.connected_at);
        body.key("lastHeartbeat").number(status.last_heartbeat);
        match status.version {
            Some(version) => body.key("version").text(version),
            None => body.key("version").null(),
        }
        match status.metadata {
            Some(metadata) => body.key("metadata").copy(metadata),
            None => body.key("metadata").null(),
        }
        body.key("peer");
        write_peer(body, status.peer);
        body.key("connections").number(u64::from(status.connections));
        body.key("pendingCalls").number(u64::from(status.calling));
        body.key("servingCalls").number(u64::from(status.called));
        body.key("callsPerSecond").number(status.calls_per_second);
        body.end_object();
    }

    /// How a service stands.
    pub(super) fn service_status<'a>(&'a self, name: &'a str, service: &'a Service) -> ServiceStatus<'a> {
        let conn = |member: &ConnId| self.lines.table.get(*member);
        let first = service.members.first().and_then(conn);
        let peer = first.map_or(Peer::UNKNOWN, |first| first.peer);
        let first = first.and_then(|first| first.registration.as_ref());
        ServiceStatus {
            peer,
            name,
            connections: u32::try_from(service.members.len()).unwrap_or(u32::MAX),
            connected_at: service.connected_at,
            last_heartbeat: service.last_heartbeat,
            calling: service.calling.len,
            called: service.members.iter().filter_map(conn).map(|conn| conn.called.len).sum(),
            calls_per_second: service.rate.per_second(self.now),
            methods: first.map_or(&[], |first| first.methods()),
            version: first.and_then(|first| first.version()),
            metadata: first.and_then(|first| first.metadata()),
        }
    }
}

/// What is known of it.
fn write_peer(body: &mut Writer<'_>, peer: Peer) {
    let pid = peer.credentials.and_then(|credentials| credentials.pid);
    body.object(
        2 * u32::from(peer.credentials.is_some())
            + u32::from(pid.is_some())
            + u32::from(peer.address.is_some()),
    );
    if let Some(credentials) = peer.credentials {
        body.key("uid").number(u64::from(credentials.uid));
        body.key("gid").number(u64::from(credentials.gid));
    }
    if let Some(pid) = pid {
        body.key("pid").number(u64::from(pid));
    }
    if let Some(address) = peer.address {
        body.key("address").text(&format!("{address}"));
    }
    body.end_object();
}
