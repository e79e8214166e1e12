//! Health checks: a client connects to a server now and then, and asks how it is.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use plimsoll_core::drive::{Dialer, Time, Timer};
use plimsoll_core::id::EndpointId;
use plimsoll_core::policy::HealthCheck;
use plimsoll_core::policy::health_check::{Config, Level, Step};
use plimsoll_core::rng::Pcg;

use super::caller::Findings;
use super::station::Orders;
use crate::host::Host;

/// Checks one endpoint for ever.
pub(super) async fn check(
    host: Host,
    target: String,
    endpoint: EndpointId,
    server: Orders,
    findings: Findings,
    config: Config,
    mut rng: Pcg,
) {
    let mut check = HealthCheck::new(config, host.now(), &mut rng);
    loop {
        host.sleep(check.deadline().since(host.now())).await;
        let Some(Step::Ask(ticket)) = check.tick(host.now(), &mut rng) else { continue };
        let connects = in_time(connects(&host, &target), host.sleep(config.timeout)).await;
        // What it says is heard by whoever can connect.
        let is_well = connects && rng.below(1_000) >= server.denies_health();
        let level = if is_well { Level::Healthy } else { Level::Unhealthy };
        if let Some(change) = check.answered(host.now(), ticket, level, &mut rng)
            // All begin as healthy.
            && (change.from.is_some() || change.to == Level::Unhealthy)
        {
            findings.tell(endpoint, change.to);
        }
    }
}

async fn connects(host: &Host, target: &str) -> bool {
    let Ok(addresses) = host.resolve(target).await else { return false };
    let Some(&address) = addresses.first() else { return false };
    host.connect(address.into()).await.is_ok()
}

/// What a future says, unless its time is over before.
async fn in_time(answers: impl Future<Output = bool>, over: impl Future<Output = ()>) -> bool {
    let (mut answers, mut over) = (pin!(answers), pin!(over));
    poll_fn(|cx| match answers.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(answer),
        Poll::Pending => over.as_mut().poll(cx).map(|()| false),
    })
    .await
}
