//! Questions to the hub itself: calls to the service `$hub`.

use super::api::Refused;
use super::services::Service;
use super::state::State;
use crate::id::ConnId;
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
        body.object(11);
        body.key("running").bool(self.drain_until.is_none());
        body.key("socketPath").text(&self.config.socket_path);
        body.key("connectedServices").number(u64::from(status.services));
        body.key("services").array(status.services);
        self.services.iter().for_each(|(name, _)| body.text(name));
        body.end_array();
        body.key("connections").number(u64::from(status.connections));
        body.key("pendingCalls").number(u64::from(status.pending));
        body.key("routed").number(metrics.routed);
        body.key("refused").number(metrics.refused);
        body.key("timedOut").number(metrics.timed_out);
        body.key("lost").number(metrics.lost);
        body.key("unsentBytes").number(status.unsent);
        body.end_object();
    }

    fn write_service(&self, body: &mut Writer<'_>, name: &str, service: &Service) {
        let registered = |conn: &ConnId| self.lines.table.get(*conn)?.registration.as_ref();
        // All members of a pool tell the same about themselves, as a rule; the first speaks for them.
        let first = service.members.first().and_then(registered);
        body.object(8);
        body.key("name").text(name);
        let methods = first.map(|first| first.methods());
        body.key("methods").array(methods.as_ref().map_or(0, |methods| methods.len() as u32));
        methods.into_iter().flatten().for_each(|method| body.text(method));
        body.end_array();
        body.key("connectedAt").number(service.connected_at);
        body.key("lastHeartbeat").number(service.last_heartbeat);
        match first.and_then(|first| first.version()) {
            Some(version) => body.key("version").text(version),
            None => body.key("version").null(),
        }
        match first.and_then(|first| first.metadata()) {
            Some(metadata) => body.key("metadata").copy(metadata),
            None => body.key("metadata").null(),
        }
        body.key("connections").number(service.members.len() as u64);
        body.key("pendingCalls").number(u64::from(service.calling.len));
        body.end_object();
    }
}
