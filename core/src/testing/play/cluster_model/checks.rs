//! What must be so whenever the cluster rests.

use super::{Conn, Endpoint, World};
use crate::cluster::{Duty, StateEvent};

impl World {
    pub(super) fn check(&mut self) {
        let gone = |endpoint: &Endpoint, conns: &[Conn]| {
            endpoint.duty == Duty::Removed && conns.iter().all(|conn| conn.endpoint != endpoint.id)
        };
        self.endpoints.retain(|endpoint| !gone(endpoint, &self.conns));
        self.check_status();
        self.check_told();
        self.check_connections();
        let dialing = self.conns.iter().any(|conn| conn.dialing.is_some());
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.duty == Duty::Serving) {
            let (id, lasting) = (endpoint.id, self.lasting(endpoint.id));
            let may = !self.gave_up
                && self.of(id).all(|conn| conn.dialing.is_none())
                && endpoint.dial_at <= self.now;
            assert!(!may || lasting >= self.kept(endpoint), "{id} is not dialled");
            let helps = self.admits(endpoint) && lasting < self.config.max_connections.get();
            assert!(
                self.waiting.is_empty() || dialing || !may || !helps,
                "{id} is not dialled for who waits"
            );
        }
        assert!(self.waiting.is_empty() || self.candidates().next().is_none(), "somebody waits in vain");
    }

    fn check_status(&mut self) {
        let status = self.cluster.status();
        let dialing = self.conns.iter().filter(|conn| conn.dialing.is_some()).count() as u32;
        let in_flight = self.conns.iter().map(|conn| conn.in_flight).sum::<u32>();
        assert_eq!((status.connections, status.dialing), (self.conns.len() as u32 - dialing, dialing));
        assert_eq!((status.in_flight, status.waiting), (in_flight, self.waiting.len() as u32));
        assert_eq!(status.endpoints as usize, self.endpoints.len());
        for status in self.cluster.endpoint_status(self.now) {
            let endpoint = self.endpoints.iter().find(|endpoint| endpoint.id == status.id);
            let endpoint = endpoint.expect("an endpoint that the model knows");
            assert_eq!(
                (status.duty, status.weight, status.health),
                (endpoint.duty, endpoint.weight, endpoint.health)
            );
            assert_eq!(status.breaker, endpoint.breaker.state(), "the breaker of {}", status.id);
            assert_eq!(status.reachable, endpoint.reachable, "whether {} can be reached", status.id);
            let standing = self.of(status.id).filter(|conn| conn.dialing.is_none()).count() as u32;
            assert_eq!((status.connections, status.in_flight), (standing, self.in_flight(status.id)));
        }
    }

    fn check_told(&mut self) {
        while let Some(state) = self.cluster.state_event() {
            match state {
                StateEvent::Breaker { endpoint, to } => {
                    if let Some(endpoint) = self.endpoint(endpoint) {
                        assert_eq!(endpoint.moves.pop_front(), Some(to), "how a breaker moves");
                    }
                }
                StateEvent::Drained { endpoint } => {
                    if let Some(endpoint) = self.endpoint(endpoint) {
                        assert!(!core::mem::replace(&mut endpoint.told_drained, true), "told twice");
                    }
                }
                StateEvent::Missed(missed) => panic!("{missed} events were missed"),
                _ => {}
            }
        }
        for endpoint in &self.endpoints {
            assert!(endpoint.moves.is_empty(), "{:?} of {} not told", endpoint.moves, endpoint.id);
            let drained = endpoint.duty == Duty::Draining && self.of(endpoint.id).next().is_none();
            assert_eq!(endpoint.told_drained, drained, "whether {} is told to be drained", endpoint.id);
        }
    }

    fn check_connections(&mut self) {
        let (now, config) = (self.now, self.config);
        let most_silent = config.heartbeat.interval + config.heartbeat.timeout;
        for at in 0..self.conns.len() {
            let conn = &self.conns[at];
            let id = conn.id;
            let open = self.of(conn.endpoint).filter(|conn| conn.takes_requests()).count() as u32;
            let endpoint = self.endpoints.iter().find(|endpoint| endpoint.id == conn.endpoint);
            let serves = endpoint.is_some_and(|endpoint| endpoint.duty == Duty::Serving);
            // One that was dialled for a request that did not wait then ends when it stands.
            let needless = self.draining && self.waiting.is_empty() && conn.dialing.is_none();
            let kept = conn.in_flight > 0 || serves && !conn.retiring && !needless;
            assert!(kept, "{id} is there for nothing");
            assert!(conn.dialing.is_none_or(|until| until > now), "the dial of {id} takes too long");
            assert!(conn.dialing.is_some() || now < conn.received + most_silent, "{id} is silent");
            let spare = conn.takes_requests() && conn.in_flight == 0 && open > config.min_connections;
            let since = spare.then(|| conn.spare.unwrap_or(now));
            assert!(since.is_none_or(|since| now < since + 2 * config.idle_close), "{id} is idle");
            self.conns[at].spare = since;
        }
    }
}
