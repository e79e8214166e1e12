//! What happens to the endpoints of a service, in sentences for operators.

use std::fmt::{self, Display};

use plimsoll_core::cluster::StateEvent;
use plimsoll_core::policy::health_check::Level;
use plimsoll_core::policy::panic::Spread;
use plimsoll_core::policy::priority::LEVELS;
use plimsoll_tokio::ServiceEvent;

/// One line per event.
pub(super) fn log(ServiceEvent { service, endpoint, event, detail, .. }: &ServiceEvent) {
    let endpoint = endpoint.as_deref().unwrap_or("-");
    match event {
        StateEvent::Connected { .. } => tracing::info!("{service}: connected to {endpoint}"),
        StateEvent::Closed { cause, .. } if cause.is_error() => {
            let detail = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            tracing::warn!("{service}: no connection to {endpoint}: {cause}{detail}");
        }
        StateEvent::Closed { cause, .. } => {
            tracing::debug!("{service}: connection to {endpoint} closed: {cause}");
        }
        StateEvent::Breaker { to, .. } => {
            tracing::warn!("{service}: the circuit breaker of {endpoint} is {to}");
        }
        StateEvent::Ejected { cause, .. } => {
            tracing::warn!(
                "{service}: {endpoint} serves worse than the others and is left out for a while: {cause}"
            );
        }
        StateEvent::Returned { .. } => tracing::info!("{service}: {endpoint} is no longer left out"),
        StateEvent::Health { to: Level::Healthy, .. } => {
            tracing::info!("{service}: {endpoint} is healthy again, its health check says");
        }
        StateEvent::Health { to, .. } => {
            tracing::warn!("{service}: {endpoint} is {to}, its health check says");
        }
        StateEvent::Drained { .. } => {
            tracing::info!(
                "{service}: {endpoint} is drained: no connection to it is left, and it may be stopped"
            );
        }
        StateEvent::Panic { priority, spread } => match spread {
            Spread::Available => {
                tracing::info!(
                    "{service}: enough endpoints of priority {priority} serve again; its panic is over"
                );
            }
            Spread::All => tracing::warn!(
                "{service}: too few endpoints of priority {priority} serve well; requests go to all of them now, \
                 unhealthy and ejected ones too"
            ),
            Spread::None => tracing::warn!(
                "{service}: too few endpoints of priority {priority} serve well; none of them gets requests now"
            ),
        },
        StateEvent::Failover { shares } => {
            tracing::warn!("{service}: requests go to other priority levels than before: {}", Shares(shares));
        }
        StateEvent::Missed(n) => tracing::warn!("{service}: {n} changes of connections were not logged"),
        other => tracing::debug!("{service}: {endpoint}: {other:?}"),
    }
}

/// What each priority level takes, for people.
struct Shares<'a>(&'a [u16; LEVELS]);

impl Display for Shares<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut taking = self.0.iter().enumerate().filter(|(_, share)| **share > 0).peekable();
        if taking.peek().is_none() {
            return f.write_str("none of them can take any");
        }
        for (n, (level, &share)) in taking.enumerate() {
            let percent = f32::from(share) / 10.0;
            write!(f, "{}priority {level} takes {percent} %", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_priority_levels_are_told_in_per_cent() {
        assert_eq!(
            Shares(&[700, 295, 5, 0, 0, 0, 0, 0]).to_string(),
            "priority 0 takes 70 %, priority 1 takes 29.5 %, priority 2 takes 0.5 %"
        );
        assert_eq!(Shares(&[0; LEVELS]).to_string(), "none of them can take any");
    }
}
